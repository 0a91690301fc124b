//! What was changed in a library, so that it can be undone, and what failed, so that it can be tried again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Field;
use crate::Result;
use crate::journal::{Lines, path_of, print, text_of};
use crate::submission::Key;

/// The first line, by which a journal is known.
const HEAD: &str = "{\"messymash\":\"journal of tags\",\"version\":1}\n";

/// A field of a file that was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The file, as it was named.
    pub file: PathBuf,
    /// Which field.
    pub field: Field,
}

/// What is known of a field of a file that was changed and not undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// What it held before it was changed first.
    pub original: Vec<String>,
    /// What was written last.
    pub last: Vec<String>,
    /// What that was to replace, if this program had written it: still there where it was stopped before the file was replaced.
    pub replaced: Option<Vec<String>>,
    /// By which model.
    pub model: Key,
}

impl State {
    /// Whether what the field holds now was written by this program.
    pub fn is_ours(&self, now: &[String]) -> bool {
        self.last == now || self.replaced.as_deref() == Some(now)
    }
}

/// A journal of changes. Files are best named relative to the library, so that it can be moved.
#[derive(Debug)]
pub struct Changes {
    lines: Lines<Line>,
    changed: HashMap<u128, Places>,
    failed: HashMap<u128, u64>,
}

/// Places of the first and the last change that was not undone.
#[derive(Debug, Clone, Copy)]
struct Places {
    first: u64,
    last: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    file: String,
    #[serde(flatten)]
    event: Event,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "did", rename_all = "snake_case")]
enum Event {
    /// About to be written: whether it was, the file tells.
    Write {
        field: Field,
        model: Key,
        before: Vec<String>,
        after: Vec<String>,
    },
    /// What was written is not to be taken back any more: it was, or somebody else wrote over it.
    Undo {
        field: Field,
    },
    Fail {
        reason: String,
    },
    Mend,
}

impl Changes {
    /// Opens a journal, or begins one.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) if another process has it open or the file is no such journal;
    /// [`Error::Io`](crate::Error::Io) if it cannot be written.
    pub fn open(path: &Path) -> Result<Self> {
        let (mut changed, mut failed) = (HashMap::new(), HashMap::new());
        let lines = Lines::open(path, HEAD, |place, line| {
            note(&mut changed, &mut failed, place, &line);
        })?;
        Ok(Self {
            lines,
            changed,
            failed,
        })
    }

    /// What is known of a field of a file; `None` if it was never changed, or that was undone.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if the journal cannot be read any more.
    pub fn state(&self, file: &Path, field: Field) -> Result<Option<State>> {
        let Some(places) = self.changed.get(&print_of(&text_of(file), field)) else {
            return Ok(None);
        };
        let (
            Event::Write { before: original, .. },
            Event::Write {
                before, after, model, ..
            },
        ) = (
            self.lines.at(places.first)?.event,
            self.lines.at(places.last)?.event,
        )
        else {
            return Ok(None);
        };
        Ok(Some(State {
            original,
            last: after,
            replaced: (places.first != places.last).then_some(before),
            model,
        }))
    }

    /// Notes what is about to be written. It is on disk when this returns, so that it can be undone whatever happens next. Where
    /// somebody else has changed the field since, `before` is from now on what there is to go back to.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    pub fn will_write(
        &mut self,
        change: &Change,
        model: &Key,
        before: &[String],
        after: &[String],
    ) -> Result<()> {
        let known = self.state(&change.file, change.field)?;
        if known.is_some_and(|known| !known.is_ours(before)) {
            self.append(&change.file, Event::Undo { field: change.field })?;
        }
        let event = Event::Write {
            field: change.field,
            model: model.clone(),
            before: before.to_vec(),
            after: after.to_vec(),
        };
        self.append(&change.file, event)?;
        self.lines.sync()
    }

    /// Notes that a field holds again what it held before all changes.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    pub fn undone(&mut self, change: &Change) -> Result<()> {
        self.append(&change.file, Event::Undo { field: change.field })
    }

    /// Notes how a file ended: with a reason why nothing could be done, or well.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    pub fn ended(&mut self, file: &Path, failure: Option<&str>) -> Result<()> {
        let event = match failure {
            Some(reason) => Event::Fail {
                reason: reason.to_string(),
            },
            None if self.has_failed(file) => Event::Mend,
            None => return Ok(()),
        };
        self.append(file, event)
    }

    /// Whether a file failed when it was worked on last.
    pub fn has_failed(&self, file: &Path) -> bool {
        self.failed.contains_key(&print(&[text_of(file).as_bytes()]))
    }

    /// Everything that was changed and not undone, in the order in which it was changed last.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) for an item if the journal cannot be read any more.
    pub fn changed(&self) -> Vec<u64> {
        let mut places: Vec<u64> = self.changed.values().map(|places| places.last).collect();
        places.sort_unstable();
        places
    }

    /// The change at a place that [`Changes::changed`] told.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if the journal cannot be read any more.
    pub fn at(&self, place: u64) -> Result<Option<Change>> {
        let line = self.lines.at(place)?;
        Ok(match line.event {
            Event::Write { field, .. } => Some(Change {
                file: path_of(&line.file),
                field,
            }),
            _ => None,
        })
    }

    fn append(&mut self, file: &Path, event: Event) -> Result<()> {
        let line = Line {
            file: text_of(file),
            event,
        };
        let place = self.lines.append(&line)?;
        note(&mut self.changed, &mut self.failed, place, &line);
        Ok(())
    }
}

fn print_of(file: &str, field: Field) -> u128 {
    let field = match field {
        Field::Private => b"private",
        Field::Genre => &b"genre"[..],
    };
    print(&[file.as_bytes(), field])
}

fn note(changed: &mut HashMap<u128, Places>, failed: &mut HashMap<u128, u64>, place: u64, line: &Line) {
    match &line.event {
        Event::Write { field, .. } => {
            changed
                .entry(print_of(&line.file, *field))
                .and_modify(|places| places.last = place)
                .or_insert(Places {
                    first: place,
                    last: place,
                });
        }
        Event::Undo { field } => drop(changed.remove(&print_of(&line.file, *field))),
        Event::Fail { .. } => drop(failed.insert(print(&[line.file.as_bytes()]), place)),
        Event::Mend => drop(failed.remove(&print(&[line.file.as_bytes()]))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ast::Precision;
    use crate::classifier::ClassifyOptions;

    #[test]
    fn the_original_is_kept_until_all_is_undone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tags");
        let key = |name| Key::new(name, Precision::F32, &ClassifyOptions::default());
        let strings = |text: &str| vec![text.to_string()];
        let change = Change {
            file: "a/song.mp3".into(),
            field: Field::Genre,
        };
        let mut changes = Changes::open(&path).unwrap();
        changes
            .will_write(&change, &key("a"), &strings("Rock"), &strings("jazz"))
            .unwrap();
        changes
            .will_write(&change, &key("b"), &strings("jazz"), &strings("pop"))
            .unwrap();
        changes.ended(Path::new("b.mp3"), Some("no sound")).unwrap();
        changes.ended(Path::new("c.mp3"), Some("no sound")).unwrap();
        changes.ended(Path::new("c.mp3"), None).unwrap();
        drop(changes);
        let mut changes = Changes::open(&path).unwrap();
        let state = State {
            original: strings("Rock"),
            last: strings("pop"),
            replaced: Some(strings("jazz")),
            model: key("b"),
        };
        assert_eq!(changes.state(&change.file, Field::Genre).unwrap(), Some(state));
        assert_eq!(changes.state(&change.file, Field::Private).unwrap(), None);
        assert!(changes.has_failed(Path::new("b.mp3")) && !changes.has_failed(Path::new("c.mp3")));
        let places = changes.changed();
        assert_eq!(places.len(), 1);
        assert_eq!(changes.at(places[0]).unwrap(), Some(change.clone()));
        changes.undone(&change).unwrap();
        assert_eq!(Changes::changed(&changes), Vec::<u64>::new());
    }

    #[test]
    fn what_somebody_else_wrote_between_is_what_there_is_to_go_back_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tags");
        let key = Key::new("a", Precision::F32, &ClassifyOptions::default());
        let strings = |text: &str| vec![text.to_string()];
        let change = Change {
            file: "song.mp3".into(),
            field: Field::Genre,
        };
        let mut changes = Changes::open(&path).unwrap();
        let mut write = |before: &str, after: &str| {
            changes
                .will_write(&change, &key, &strings(before), &strings(after))
                .unwrap();
            let state = changes.state(&change.file, Field::Genre).unwrap();
            state.unwrap()
        };
        assert_eq!(write("Rock", "jazz").replaced, None);
        // Stopped before the file was replaced: what it holds is ours, and the first value is still known.
        let state = write("jazz", "pop");
        assert!(state.is_ours(&strings("jazz")) && state.is_ours(&strings("pop")));
        assert!(!state.is_ours(&strings("Rock")) && !state.is_ours(&[]));
        let state = write("jazz", "blues");
        assert_eq!(state.original, strings("Rock"));
        assert!(!state.is_ours(&strings("pop")));
        let state = write("My Genre", "pop");
        assert_eq!((&state.original, &state.replaced), (&strings("My Genre"), &None));
        drop(changes);
        let changes = Changes::open(&path).unwrap();
        assert_eq!(changes.state(&change.file, Field::Genre).unwrap(), Some(state));
        assert_eq!(changes.changed().len(), 1);
    }
}
