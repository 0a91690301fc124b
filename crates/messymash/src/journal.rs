//! Journals: JSON Lines that are only ever appended to, so that a process can be killed at any moment and what it had done is known.
//!
//! What the lines mean is said by who keeps one: [`crate::submission::Journal`] (scores), [`crate::tag::Changes`]. Lines stay on
//! disk; of each, callers keep no more than its place, so that memory hardly grows with the journal.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// The longest line, its end included; a longer one is not written.
const MAX_LINE: u64 = 1 << 22;

/// A journal of lines `T`. It is locked as long as it is open: two processes would mix their lines.
#[derive(Debug)]
pub struct Lines<T> {
    path: PathBuf,
    file: File,
    end: u64,
    of: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> Lines<T> {
    /// Opens a journal, or begins one with the line `head`, by which it is known; hands every whole line to `take`, with its place.
    /// A line that was cut off when a process died is removed, one that cannot be read is passed over.
    ///
    /// # Errors
    /// [`Error::Config`] if another process has it open, the file does not begin with `head`, or holds a line of more than 4 MiB;
    /// [`Error::Io`] if it cannot be written.
    pub fn open(path: &Path, head: &str, mut take: impl FnMut(u64, T)) -> Result<Self> {
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
        let mut lines = BufReader::new(&file);
        let mut line = Vec::new();
        let first = (head.len() as u64).min(MAX_LINE);
        (&mut lines)
            .take(first)
            .read_to_end(&mut line)
            .map_err(failed())?;
        let mut end = line.len() as u64;
        // A process may have died while it began the journal.
        if line != head.as_bytes() && head.as_bytes().starts_with(&line) {
            file.set_len(0).map_err(failed())?;
            file.write_all(head.as_bytes()).map_err(failed())?;
            end = head.len() as u64;
        } else if line != head.as_bytes() {
            return Err(Error::Config(format!(
                "{} is in the way: it is no journal of this kind and version. Choose another output, or remove it",
                path.display()
            )));
        } else {
            loop {
                line.clear();
                (&mut lines)
                    .take(MAX_LINE)
                    .read_until(b'\n', &mut line)
                    .map_err(failed())?;
                if line.last() != Some(&b'\n') {
                    // Cut off when a process died, unless it ends further on: then it is none of ours, and what follows may be.
                    while !line.is_empty() && line.last() != Some(&b'\n') {
                        line.clear();
                        (&mut lines)
                            .take(MAX_LINE)
                            .read_until(b'\n', &mut line)
                            .map_err(failed())?;
                    }
                    if line.is_empty() {
                        break;
                    }
                    return Err(Error::Config(format!(
                        "{}: the line that begins at byte {end} is too long. Remove that line",
                        path.display()
                    )));
                }
                if let Ok(read) = serde_json::from_slice(&line) {
                    take(end, read);
                }
                end += line.len() as u64;
            }
            file.set_len(end).map_err(failed())?;
        }
        Ok(Self {
            path: path.to_path_buf(),
            file,
            end,
            of: PhantomData,
        })
    }

    /// Adds a line and gives back its place; it is in the file when this returns.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written, or is longer than 4 MiB; the journal then is as it was.
    pub fn append(&mut self, line: &T) -> Result<u64> {
        let mut bytes = serde_json::to_vec(line).map_err(|e| Error::io(&self.path)(e.into()))?;
        bytes.push(b'\n');
        if bytes.len() as u64 > MAX_LINE {
            let error = io::Error::new(
                io::ErrorKind::InvalidInput,
                "what is to be noted is too long for the journal",
            );
            return Err(Error::io(&self.path)(error));
        }
        if let Err(error) = self.file.write_all(&bytes) {
            // A full disk takes half a line.
            let _ = self.file.set_len(self.end);
            return Err(Error::io(&self.path)(error));
        }
        let place = self.end;
        self.end += bytes.len() as u64;
        Ok(place)
    }

    /// The line at a place that [`Lines::open`] or [`Lines::append`] told.
    ///
    /// # Errors
    /// [`Error::Io`] if it is not there any more.
    pub fn at(&self, place: u64) -> Result<T> {
        let mut file = &self.file;
        let mut line = Vec::new();
        file.seek(SeekFrom::Start(place))
            .and_then(|_| BufReader::with_capacity(1024, file.take(MAX_LINE)).read_until(b'\n', &mut line))
            .map_err(Error::io(&self.path))?;
        serde_json::from_slice(&line).map_err(|e| Error::io(&self.path)(e.into()))
    }

    /// Makes what was appended survive a power cut.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(Error::io(&self.path))
    }
}

/// What tells a name from any other in little room: 128 bits of a digest of its parts.
pub fn print(parts: &[&[u8]]) -> u128 {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    let digest: [u8; 32] = digest.finalize().into();
    digest
        .first_chunk()
        .map_or(0, |bytes| u128::from_le_bytes(*bytes))
}

/// What a name that is no Unicode begins with in a journal; no path has a zero in it.
const BYTES: &str = "\0bytes:";

/// A path as JSON can hold it, so that [`path_of`] gives it back.
pub fn text_of(path: &Path) -> String {
    match path.to_str() {
        Some(text) => text.to_string(),
        None => {
            let bytes = path.as_os_str().as_encoded_bytes().iter();
            BYTES
                .chars()
                .chain(bytes.flat_map(|byte| format!("{byte:02x}").chars().collect::<Vec<_>>()))
                .collect()
        }
    }
}

/// The path that was written as this text.
pub fn path_of(text: &str) -> PathBuf {
    let Some(digits) = text.strip_prefix(BYTES) else {
        return text.into();
    };
    let bytes = digits.as_bytes().chunks(2).filter_map(|pair| {
        let pair = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(pair, 16).ok()
    });
    let bytes: Vec<u8> = bytes.collect();
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStringExt;
        std::ffi::OsString::from_vec(bytes).into()
    }
    #[cfg(not(unix))]
    String::from_utf8_lossy(&bytes).into_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_comes_back() {
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStrExt;
            let odd = Path::new(std::ffi::OsStr::from_bytes(b"a/\xFF\xFE.mp3"));
            assert_eq!(path_of(&text_of(odd)), odd);
        }
        for name in ["a/b.mp3", "音.flac", "bytes:00"] {
            assert_eq!(path_of(&text_of(Path::new(name))), Path::new(name));
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_refused_and_takes_no_other_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let open = |seen: &mut Vec<String>| Lines::<String>::open(&path, "head\n", |_, line| seen.push(line));
        let mut lines = open(&mut Vec::new()).unwrap();
        // Two quotes and the end are of the line.
        let longest = "x".repeat(MAX_LINE as usize - 3);
        lines.append(&longest).unwrap();
        assert!(lines.append(&format!("{longest}x")).is_err());
        let place = lines.append(&"two".to_string()).unwrap();
        assert_eq!(lines.at(place).unwrap(), "two");
        drop(lines);
        let mut seen = Vec::new();
        drop(open(&mut seen).unwrap());
        assert!(seen == [&longest, "two"]);

        // Of another hand: whole, it stops everything; cut off, it is removed.
        let good = std::fs::read(&path).unwrap();
        let bad = [&good[..], b"\"", longest.as_bytes(), longest.as_bytes()].concat();
        let whole = [&bad[..], b"\"\n\"three\"\n"].concat();
        std::fs::write(&path, &whole).unwrap();
        let error = open(&mut Vec::new()).unwrap_err().to_string();
        assert!(error.contains("too long"), "{error}");
        assert!(std::fs::read(&path).unwrap() == whole);
        std::fs::write(&path, &bad).unwrap();
        drop(open(&mut Vec::new()).unwrap());
        assert!(std::fs::read(&path).unwrap() == good);
    }

    #[test]
    fn lines_are_found_again_by_their_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let mut lines = Lines::<String>::open(&path, "head\n", |_, _| ()).unwrap();
        let places: Vec<u64> = ["one", "two"]
            .map(|line| lines.append(&line.to_string()).unwrap())
            .into();
        assert_eq!(lines.at(places[1]).unwrap(), "two");
        drop(lines);
        let mut seen = Vec::new();
        let lines = Lines::<String>::open(&path, "head\n", |place, line| seen.push((place, line))).unwrap();
        assert_eq!(
            seen,
            [(places[0], "one".to_string()), (places[1], "two".to_string())]
        );
        assert_eq!(lines.at(places[0]).unwrap(), "one");
    }
}
