//! File after file: what it has, what is heard in it, what is written.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Result, bail};
use messymash::audio::AudioStream;
use messymash::classifier::{ClassifyOptions, Prediction};
use messymash::dataset::{Stamp, is_sound};
use messymash::submission::{Journal, Key, Noted};
use messymash::tag::{
    Change, Changes, Decision, Edit, Field, Playlists, Rules, Tags, decide, hands_off, sweep,
};
use messymash::{Classifier, Error};
use walkdir::WalkDir;

use super::Args;
use super::report::{Did, Report, Row};
use super::summary::{Summary, tell};
use crate::input::printable_line;
use crate::interrupt;
use crate::ordered::each_in_order;
use crate::progress::Progress;

/// A library while it is tagged: what all its files are heard and tagged with.
pub(super) struct Library<'a> {
    pub(super) args: &'a Args,
    pub(super) classifier: Classifier,
    pub(super) options: ClassifyOptions,
    pub(super) rules: Rules,
    pub(super) key: Key,
    pub(super) scores: Mutex<Journal>,
    pub(super) changes: Mutex<Changes>,
}

impl Library<'_> {
    /// Works on every file, and tells what became of it.
    pub(super) fn run(&self, reports: &mut [Report], playlists: &mut Option<Playlists>) -> Result<Summary> {
        // Looked through twice, so that it is known how many there are without keeping their names.
        let mut total = 0;
        for path in found(&self.args.dir) {
            interrupt::check()?;
            if self.args.write {
                sweep(&path)?;
            }
            total += usize::from(self.wanted(&path));
        }
        let mut progress = Progress::new(total as u64);
        let mut summary = Summary::default();
        let pieces = found(&self.args.dir).filter(|path| self.wanted(path));
        let threads = rayon::current_num_threads();
        let result = each_in_order(
            pieces,
            total,
            threads,
            |path| self.row(&path),
            |row| {
                let row = row?;
                let path = self.args.dir.join(&row.file);
                let failure = row.reason.as_deref().filter(|_| row.did == Did::Failed);
                locked(&self.changes).ended(&row.file, failure)?;
                for report in reports.iter_mut() {
                    report.add(&row)?;
                }
                if let Some(playlists) = playlists {
                    for genre in &row.genres {
                        playlists.add(genre, &path)?;
                    }
                }
                progress.aside(|| tell(&row))?;
                summary.add(&row);
                progress.set(
                    summary.files,
                    &format!("files, {} failed", summary.of(Did::Failed)),
                );
                if row.full {
                    bail!(
                        "the disk is full: {} was left as it is. Make room and give the same command again",
                        path.display()
                    );
                }
                Ok(())
            },
        );
        progress.finish();
        result.map(|()| summary)
    }

    /// Whether a path is one of the files to work on.
    fn wanted(&self, path: &Path) -> bool {
        is_sound(path) && (!self.args.only_failed || locked(&self.changes).has_failed(self.relative(path)))
    }

    /// The name of a file in journals and reports: they go with the library if it moves.
    fn relative<'p>(&self, path: &'p Path) -> &'p Path {
        path.strip_prefix(&self.args.dir).unwrap_or(path)
    }

    /// What becomes of a file. Only an interruption is an error here.
    fn row(&self, path: &Path) -> messymash::Result<Row> {
        interrupt::check()?;
        let mut row = Row::new(self.relative(path));
        match self.tag(path, &mut row) {
            Ok(did) => row.did = did,
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            Err(error) => {
                row.full = matches!(&error, Error::Io { source, .. } if is_full(source));
                row.did = Did::Failed;
                row.reason = Some(match error {
                    Error::Io { source, .. } => source.to_string(),
                    other => other.to_string(),
                });
            }
        }
        Ok(row)
    }

    fn tag(&self, path: &Path, row: &mut Row) -> messymash::Result<Did> {
        let field = self.args.field();
        if let Some(reason) = hands_off(path, &self.args.dir)? {
            row.reason = Some(reason.into());
            return Ok(Did::Skipped);
        }
        let stamp = Stamp::of(path)?;
        let tags = Tags::read(path)?;
        row.before = tags.of(field).to_vec();
        let known = locked(&self.changes).state(&row.file, field)?;
        let ours = known.is_some_and(|known| known.is_ours(&row.before));
        let elsewhere = field == Field::Genre && row.before.is_empty() && tags.genre_elsewhere;
        if !ours && !self.args.overwrite && (!row.before.is_empty() || elsewhere) {
            row.reason = Some(if elsewhere {
                "it has a genre in another kind of tag (--overwrite writes one all the same)".into()
            } else {
                "it has one already (--overwrite replaces it)".into()
            });
            return Ok(Did::Skipped);
        }
        let noted = self.heard(path, &row.file, stamp)?;
        row.scores.clone_from(&noted.scores);
        let mut ranked: Vec<Prediction> = self
            .classifier
            .labels()
            .iter()
            .zip(&row.scores)
            .map(|(label, &score)| Prediction {
                label: label.clone(),
                score,
            })
            .collect();
        ranked.sort_by(|a, b| b.score.total_cmp(&a.score));
        row.score = ranked.first().map(|first| first.score);
        let decision = decide(&ranked, noted.verdict, &self.rules);
        let likeliest = ranked.first().map_or("", |first| &first.label);
        match decision {
            Decision::NotMusic(other) => {
                row.reason = Some(format!("it is no music: {}", other.name()));
                return Ok(Did::Skipped);
            }
            Decision::Nothing => {
                row.reason = Some(format!("not sure enough: {likeliest} is the likeliest"));
                return Ok(Did::Unsure);
            }
            // Somebody's word is worth more than none.
            Decision::Fallback(_) if !ours && (elsewhere || !row.before.is_empty()) => {
                row.reason = Some(format!(
                    "not sure enough: {likeliest} is the likeliest; what it has is not replaced by the fallback"
                ));
                return Ok(Did::Unsure);
            }
            Decision::Fallback(_) | Decision::Genres(_) => {}
        }
        row.genres = tags.stored(decision.values());
        if row.genres == row.before {
            return Ok(Did::Already);
        }
        if !self.args.write {
            return Ok(Did::WouldTag);
        }
        let edit = Edit::prepare(path, field, &row.genres, self.args.keep_time())?;
        let change = Change {
            file: row.file.clone(),
            field,
        };
        locked(&self.changes).will_write(&change, &self.key, edit.before(), &row.genres)?;
        let stamp = edit.stamp();
        edit.commit()?;
        // The sound is the same: it need not be heard again.
        locked(&self.scores).put(&row.file, stamp, &self.key, noted)?;
        Ok(Did::Tagged)
    }

    /// A score for each label, in the order of the labels, and the verdict: from the journal, or heard.
    fn heard(&self, path: &Path, file: &Path, stamp: Stamp) -> messymash::Result<Noted> {
        let labels = self.classifier.labels();
        let kept = locked(&self.scores).get(file, stamp, &self.key);
        if let Some(noted) = kept.filter(|noted| noted.scores.len() == labels.len()) {
            return Ok(noted);
        }
        let stream = AudioStream::open(path, &self.options.limits)?;
        let heard = self
            .classifier
            .classify_stream(stream, &self.options, &mut |_| interrupt::check())?;
        let score = |label: &String| {
            heard
                .predictions
                .iter()
                .find(|p| p.label == *label)
                .map_or(0.0, |p| p.score)
        };
        let scores: Vec<f32> = labels.iter().map(score).collect();
        if scores.iter().any(|score| !score.is_finite()) {
            let message = format!("{} gives it scores that are no numbers", self.classifier.name());
            return Err(Error::InvalidAudio(message));
        }
        if Stamp::of(path)? != stamp {
            let message = "the file changed while it was heard; give the same command again";
            return Err(Error::Tag(message.into()));
        }
        let noted = Noted {
            scores,
            verdict: heard.verdict,
        };
        locked(&self.scores).put(file, stamp, &self.key, noted.clone())?;
        Ok(noted)
    }
}

/// All that lies in a folder, sorted, without what is hidden but for what a killed run left. Links to folders are not followed:
/// what they lead to is part of another library, or found anyhow.
pub(super) fn found(dir: &Path) -> impl Iterator<Item = PathBuf> + Send {
    let hidden = |entry: &walkdir::DirEntry| {
        entry.depth() > 0
            && entry.file_type().is_dir()
            && entry.file_name().as_encoded_bytes().starts_with(b".")
    };
    let walk = WalkDir::new(dir).sort_by_file_name().into_iter();
    walk.filter_entry(move |entry| !hidden(entry))
        .filter_map(|entry| match entry {
            Ok(entry) if entry.file_type().is_dir() => None,
            Ok(entry) => Some(entry.into_path()),
            Err(error) => {
                eprintln!(
                    "note: {}; what lies there is not tagged",
                    printable_line(&error.to_string())
                );
                None
            }
        })
}

/// What several threads share; a thread that broke down broke nothing of it.
fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
