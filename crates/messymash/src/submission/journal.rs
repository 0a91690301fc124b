//! What was heard already: one line for each sound and model, so that stopped work goes on.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ast::Precision;
use crate::classifier::ClassifyOptions;
use crate::dataset::Stamp;
use crate::{Error, Result};

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
        let all =
            format!("{version} {fingerprint} {precision:?} {windows:?} {tail:?} {function:?} {limits:?}");
        let digest = Sha256::digest(all);
        Self(digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect())
    }
}

/// Scores on disk, appended line by line; a line that was cut off when a process died is passed over.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// Locked as long as it is open: two processes would mix their lines.
    file: File,
    scores: HashMap<(PathBuf, Key), (Stamp, Vec<f32>)>,
}

/// A line.
#[derive(Serialize, Deserialize)]
struct Line {
    file: PathBuf,
    #[serde(flatten)]
    stamp: Stamp,
    model: Key,
    scores: Vec<f32>,
}

impl Journal {
    /// Opens a journal, or begins one.
    ///
    /// # Errors
    /// [`Error::Config`] if another process has it open or the file is no journal; [`Error::Io`] if it cannot be written.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = || Error::io(path);
        let mut options = OpenOptions::new();
        let mut file = options
            .create(true)
            .read(true)
            .append(true)
            .open(path)
            .map_err(failed())?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let message =
                    "is in use: another process works at the same output. Wait for it, or choose another";
                return Err(Error::Config(format!("{} {message}", path.display())));
            }
            Err(TryLockError::Error(error)) => return Err(failed()(error)),
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed())?;
        // A process may have died while it began the journal.
        if HEAD.as_bytes().starts_with(&bytes) && bytes.len() < HEAD.len() {
            file.set_len(0).map_err(failed())?;
            file.write_all(HEAD.as_bytes()).map_err(failed())?;
        } else if !bytes.starts_with(HEAD.as_bytes()) {
            return Err(Error::Config(format!(
                "{} is in the way: it is no journal of scores of this version. Choose another output, or remove it",
                path.display()
            )));
        }
        let whole = bytes
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |end| end + 1);
        if (HEAD.len()..bytes.len()).contains(&whole) {
            file.set_len(whole as u64).map_err(failed())?;
        }
        file.seek(SeekFrom::End(0)).map_err(failed())?;
        let lines = bytes[..whole].split(|&byte| byte == b'\n').skip(1);
        let scores = lines
            .filter_map(|line| serde_json::from_slice::<Line>(line).ok())
            .map(|line| ((line.file, line.model), (line.stamp, line.scores)))
            .collect();
        Ok(Self {
            path: path.to_path_buf(),
            file,
            scores,
        })
    }

    /// The scores of a file by a model, if the file has not changed since.
    pub fn get(&self, sound: &Path, stamp: Stamp, model: &Key) -> Option<&[f32]> {
        let (then, scores) = self.scores.get(&(text(sound), model.clone()))?;
        (*then == stamp).then_some(scores)
    }

    /// Notes scores, which must be finite; they are in the file when this returns.
    ///
    /// # Errors
    /// [`Error::Io`] if they cannot be written.
    pub fn put(&mut self, sound: &Path, stamp: Stamp, model: &Key, scores: Vec<f32>) -> Result<()> {
        let line = Line {
            file: text(sound),
            stamp,
            model: model.clone(),
            scores,
        };
        let mut bytes = serde_json::to_vec(&line).map_err(|e| Error::io(&self.path)(e.into()))?;
        bytes.push(b'\n');
        self.file.write_all(&bytes).map_err(Error::io(&self.path))?;
        self.scores.insert((line.file, line.model), (stamp, line.scores));
        Ok(())
    }
}

/// JSON holds Unicode only; other names are written as they are shown.
fn text(path: &Path) -> PathBuf {
    PathBuf::from(path.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::classifier::Tail;

    fn key(name: &str) -> Key {
        Key::new(name, Precision::F32, &ClassifyOptions::default())
    }

    #[test]
    fn what_was_noted_is_there_again_and_only_for_the_same_file_and_model() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let (sound, stamp) = (Path::new("mashups/song0001.wav"), Stamp { size: 7, modified: 9 });
        let scores = vec![0.1, 1.0 / 3.0, f32::MIN_POSITIVE];
        let mut journal = Journal::open(&path).unwrap();
        journal.put(sound, stamp, &key("a"), scores.clone()).unwrap();
        assert!(Journal::open(&path).unwrap_err().to_string().contains("in use"));
        drop(journal);
        let journal = Journal::open(&path).unwrap();
        assert_eq!(
            journal.get(sound, stamp, &key("a")),
            Some(&scores[..]),
            "bit for bit"
        );
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
                .put(Path::new(name), stamp, &key("m"), vec![0.5])
                .unwrap();
        }
        let bytes = fs::read(&path).unwrap();
        for cut in 0..bytes.len() {
            fs::write(&path, &bytes[..cut]).unwrap();
            let mut journal = Journal::open(&path).unwrap();
            journal.put(Path::new("c"), stamp, &key("m"), vec![0.25]).unwrap();
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
