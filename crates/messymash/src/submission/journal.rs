//! What was heard already: one line for each sound and model, so that stopped work goes on.

use std::collections::HashMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::Result;
use crate::ast::Precision;
use crate::classifier::ClassifyOptions;
use crate::dataset::Stamp;
use crate::journal::{Lines, print, text_of};
use crate::verdict::Verdict;

/// The first line, by which a journal is known.
const HEAD: &str = "{\"messymash\":\"journal of scores\",\"version\":1}\n";

/// What hears: a model and how it is used. Scores of one key and one unchanged file are the same whenever they are made.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(String);

impl Key {
    /// The key of a model with this [fingerprint](crate::classifier::fingerprint), computed in this precision, that hears
    /// as these options say. Another version of this library is another key.
    pub fn new(fingerprint: &str, precision: Precision, options: &ClassifyOptions) -> Self {
        let ClassifyOptions {
            windows,
            tail,
            function,
            limits,
            batch: _,
        } = options;
        let version = env!("CARGO_PKG_VERSION");
        let all = format!(
            "{version} with verdicts {fingerprint} {precision:?} {windows:?} {tail:?} {function:?} {limits:?}"
        );
        let digest = Sha256::digest(all);
        Self(digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect())
    }
}

/// What a model gave a sound.
#[derive(Debug, Clone, PartialEq)]
pub struct Noted {
    /// Of all labels, in the order that the caller keeps.
    pub scores: Vec<f32>,
    /// What may be made of them, where that is known.
    pub verdict: Option<Verdict>,
}

/// Scores on disk, appended line by line; a line that was cut off when a process died is passed over.
#[derive(Debug)]
pub struct Journal {
    lines: Lines<Line>,
    /// Places of the lines, by sound and model.
    places: HashMap<u128, u64>,
}

/// A line.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    file: String,
    #[serde(flatten)]
    stamp: Stamp,
    model: Key,
    scores: Vec<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verdict: Option<Verdict>,
}

impl Line {
    fn print(&self) -> u128 {
        print(&[self.file.as_bytes(), self.model.0.as_bytes()])
    }
}

impl Journal {
    /// Opens a journal, or begins one.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) if another process has it open or the file is no journal;
    /// [`Error::Io`](crate::Error::Io) if it cannot be written.
    pub fn open(path: &Path) -> Result<Self> {
        let mut places = HashMap::new();
        let lines = Lines::open(path, HEAD, |place, line: Line| {
            places.insert(line.print(), place);
        })?;
        Ok(Self { lines, places })
    }

    /// What a model gave a file, if the file has not changed since.
    pub fn get(&self, sound: &Path, stamp: Stamp, model: &Key) -> Option<Noted> {
        let print = print(&[text_of(sound).as_bytes(), model.0.as_bytes()]);
        let line = self.lines.at(*self.places.get(&print)?).ok()?;
        (line.stamp == stamp).then_some(Noted {
            scores: line.scores,
            verdict: line.verdict,
        })
    }

    /// Notes scores, which must be finite; they are in the file when this returns.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if they cannot be written.
    pub fn put(&mut self, sound: &Path, stamp: Stamp, model: &Key, noted: Noted) -> Result<()> {
        let line = Line {
            file: text_of(sound),
            stamp,
            model: model.clone(),
            scores: noted.scores,
            verdict: noted.verdict,
        };
        let place = self.lines.append(&line)?;
        self.places.insert(line.print(), place);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::classifier::Tail;
    use crate::verdict::NotMusic;

    fn key(name: &str) -> Key {
        Key::new(name, Precision::F32, &ClassifyOptions::default())
    }

    fn noted(scores: &[f32]) -> Noted {
        Noted {
            scores: scores.to_vec(),
            verdict: None,
        }
    }

    #[test]
    fn what_was_noted_is_there_again_and_only_for_the_same_file_and_model() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let (sound, stamp) = (Path::new("mashups/song0001.wav"), Stamp { size: 7, modified: 9 });
        let heard = noted(&[0.1, 1.0 / 3.0, f32::MIN_POSITIVE]);
        let mut journal = Journal::open(&path).unwrap();
        journal.put(sound, stamp, &key("a"), heard.clone()).unwrap();
        let judged = |verdict| Noted {
            verdict: Some(verdict),
            ..heard.clone()
        };
        let verdicts = [
            Verdict::Sure,
            Verdict::NotSure,
            Verdict::NotMusic(NotMusic::Silence),
        ];
        for verdict in verdicts {
            let sound = Path::new("judged.wav");
            journal.put(sound, stamp, &key("a"), judged(verdict)).unwrap();
            assert_eq!(journal.get(sound, stamp, &key("a")), Some(judged(verdict)));
        }
        assert!(Journal::open(&path).unwrap_err().to_string().contains("in use"));
        drop(journal);
        let journal = Journal::open(&path).unwrap();
        assert_eq!(journal.get(sound, stamp, &key("a")), Some(heard), "bit for bit");
        assert_eq!(journal.get(sound, stamp, &key("b")), None);
        assert_eq!(journal.get(sound, Stamp { size: 8, ..stamp }, &key("a")), None);
        assert_eq!(
            journal.get(sound, Stamp { modified: 8, ..stamp }, &key("a")),
            None
        );
        let others = ClassifyOptions {
            tail: Tail::Pad,
            ..ClassifyOptions::default()
        };
        assert_ne!(Key::new("a", Precision::F32, &others), key("a"));
        assert_ne!(
            Key::new("a", Precision::Int8, &ClassifyOptions::default()),
            key("a")
        );
    }

    #[test]
    fn a_line_cut_off_is_dropped_and_the_next_one_stands_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let stamp = Stamp { size: 1, modified: 2 };
        for name in ["a", "b"] {
            Journal::open(&path)
                .unwrap()
                .put(Path::new(name), stamp, &key("m"), noted(&[0.5]))
                .unwrap();
        }
        let bytes = fs::read(&path).unwrap();
        for cut in 0..bytes.len() {
            fs::write(&path, &bytes[..cut]).unwrap();
            let mut journal = Journal::open(&path).unwrap();
            journal
                .put(Path::new("c"), stamp, &key("m"), noted(&[0.25]))
                .unwrap();
            drop(journal);
            let journal = Journal::open(&path).unwrap();
            assert!(
                journal.get(Path::new("c"), stamp, &key("m")).is_some(),
                "cut at {cut}"
            );
            assert_eq!(journal.get(Path::new("b"), stamp, &key("m")), None);
        }
    }

    #[test]
    fn a_line_without_a_verdict_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let stamp = Stamp { size: 1, modified: 2 };
        let mut line = serde_json::json!({"file": "a.wav", "model": key("m"), "scores": [0.5]});
        let stamped = serde_json::to_value(stamp).unwrap();
        let fields = line.as_object_mut().unwrap();
        fields.extend(stamped.as_object().unwrap().clone());
        fs::write(&path, format!("{HEAD}{line}\n")).unwrap();
        let journal = Journal::open(&path).unwrap();
        assert_eq!(
            journal.get(Path::new("a.wav"), stamp, &key("m")),
            Some(noted(&[0.5]))
        );
    }

    #[test]
    fn another_file_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        fs::write(&path, "my diary\n").unwrap();
        assert!(
            Journal::open(&path)
                .unwrap_err()
                .to_string()
                .contains("no journal")
        );
        assert_eq!(fs::read(&path).unwrap(), b"my diary\n");
    }
}
