//! CSV files as people's programs write them: rows that know their line.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::{Error, Result};

/// The largest table that is read, bytes: hundreds of times the competition's.
const MOST: u64 = 64 << 20;

/// A table in memory.
#[derive(Debug)]
pub(crate) struct Table(Vec<u8>);

impl Table {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Dataset`] where it is too large to be a table of this data set.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(Error::io(path))?;
        file.take(MOST + 1)
            .read_to_end(&mut bytes)
            .map_err(Error::io(path))?;
        if bytes.len() as u64 > MOST {
            return Err(Error::Dataset {
                path: path.to_path_buf(),
                message: format!("has more than {} MiB; no table of this data set has", MOST >> 20),
            });
        }
        Ok(Self(bytes))
    }

    /// Its bytes, for a CSV reader.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// What tells the lines of its rows.
    pub(crate) fn lines(&self) -> Lines<'_> {
        Lines {
            bytes: &self.0,
            at: 0,
            line: 1,
        }
    }
}

/// Lines of rows that come one after the other.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u64,
}

impl Lines<'_> {
    /// The line that the row at this position begins in, the header's being 1. The reader's own count is that of where it stopped
    /// before: in the middle of `\r\n`, or before blank lines.
    pub(crate) fn of(&mut self, position: Option<&csv::Position>) -> u64 {
        let from = position.map_or(0, |position| position.byte() as usize);
        while self.at < self.bytes.len() && (self.at < from || matches!(self.bytes[self.at], b'\r' | b'\n')) {
            let ends = match self.bytes[self.at] {
                b'\n' => true,
                b'\r' => self.bytes.get(self.at + 1) != Some(&b'\n'),
                _ => false,
            };
            self.line += u64::from(ends);
            self.at += 1;
        }
        self.line
    }

    /// What to say of a row of this table that cannot be read: with the line that it is in, which the reader does not know.
    pub(crate) fn error(&mut self, table: &Path, error: &csv::Error) -> Error {
        let line = self.of(error.position());
        let what = match error.kind() {
            csv::ErrorKind::UnequalLengths {
                expected_len, len, ..
            } => format!("{len} fields, where the header has {expected_len}"),
            csv::ErrorKind::Utf8 { .. } => "no text in UTF-8".into(),
            _ => error.to_string(),
        };
        Error::Dataset {
            path: table.to_path_buf(),
            message: format!("is not a readable table: line {line} has {what}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_line_end_is_counted_once() {
        for (text, expected) in [
            ("a,b\n1,x\n2,y\n", [2, 3]),
            ("\u{feff}a,b\r\n1,x\r\n2,y", [2, 3]),
            ("a,b\r1,x\r2,y\r", [2, 3]),
            ("a,b\n\n1,x\n\n\n2,y\n", [3, 6]),
            ("a,b\r\n\r\n1,x\r\n\r\n2,y\r\n", [3, 5]),
            ("\n\na,b\n1,\"x\r\nx\"\n2,y\n", [4, 6]),
        ] {
            let table = Table(text.as_bytes().to_vec());
            let mut lines = table.lines();
            let mut reader = csv::Reader::from_reader(table.bytes());
            let found: Vec<u64> = reader
                .records()
                .map(|row| lines.of(row.unwrap().position()))
                .collect();
            assert_eq!(found, expected, "{text:?}");
        }
    }
}
