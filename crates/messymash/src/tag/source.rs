//! A file that is read piece by piece, and what another one is put together from.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{ogg, refused};
use crate::{Error, Result};

/// The most that a tag may take in memory: four covers of the largest kind.
const MAX_BYTES: u64 = 64 << 20;

/// A file open for reading.
pub(super) struct Source {
    file: File,
    path: PathBuf,
    len: u64,
}

/// A part of a new file.
pub(super) enum Piece {
    /// These bytes.
    Bytes(Vec<u8>),
    /// What stands there in the old one.
    Old(Range<u64>),
    /// The Ogg pages that stand there in the old one, the numbers of one stream's higher by `by`.
    Pages {
        range: Range<u64>,
        serial: [u8; 4],
        by: u32,
    },
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path))?;
        let len = file.metadata().map_err(Error::io(path))?.len();
        Ok(Self {
            file,
            path: path.to_path_buf(),
            len,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The bytes of a range, which must lie in the file and fit in memory.
    pub(super) fn bytes(&mut self, range: Range<u64>) -> Result<Vec<u8>> {
        let len = range.end.saturating_sub(range.start);
        if range.end > self.len {
            return Err(refused("the file ends inside its tags; it was probably cut off"));
        }
        if len > MAX_BYTES {
            return Err(refused("its tags take more than 64 MiB"));
        }
        let mut bytes = vec![0; len as usize];
        self.file
            .seek(SeekFrom::Start(range.start))
            .and_then(|_| self.file.read_exact(&mut bytes))
            .map_err(Error::io(&self.path))?;
        Ok(bytes)
    }

    /// Up to `len` bytes from `start`: fewer where the file ends.
    pub(super) fn at_most(&mut self, start: u64, len: u64) -> Result<Vec<u8>> {
        let start = start.min(self.len);
        self.bytes(start..self.len.min(start + len))
    }

    /// Takes the bytes of a range into a digest.
    pub(super) fn feed(&mut self, range: Range<u64>, digest: &mut Sha256) -> Result<()> {
        let mut sink = Sink(digest);
        self.copy(range, &mut sink)
    }

    /// Writes the bytes of a range to `target`, whose errors are told as this file's.
    pub(super) fn copy(&mut self, range: Range<u64>, target: &mut dyn Write) -> Result<()> {
        let wanted = range.end.saturating_sub(range.start);
        let copied = self
            .file
            .seek(SeekFrom::Start(range.start))
            .and_then(|_| std::io::copy(&mut (&mut self.file).take(wanted), target))
            .map_err(Error::io(&self.path))?;
        if copied != wanted {
            return Err(refused("the file became shorter while it was read"));
        }
        Ok(())
    }

    /// Writes a new file.
    pub(super) fn put_together(&mut self, pieces: &[Piece], target: &mut File) -> Result<()> {
        for piece in pieces {
            match piece {
                Piece::Bytes(bytes) => target.write_all(bytes).map_err(Error::io(&self.path))?,
                Piece::Old(range) => self.copy(range.clone(), target)?,
                Piece::Pages { range, serial, by } => {
                    let mut target = BufWriter::new(&mut *target);
                    ogg::renumber(self, range.clone(), *serial, *by, &mut target)?;
                    target.flush().map_err(Error::io(&self.path))?;
                }
            }
        }
        Ok(())
    }
}

struct Sink<'a>(&'a mut Sha256);

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Takes bytes into a digest with their length, so that no two lists of bytes look the same.
pub(super) fn feed(bytes: &[u8], digest: &mut Sha256) {
    digest.update((bytes.len() as u64).to_le_bytes());
    digest.update(bytes);
}
