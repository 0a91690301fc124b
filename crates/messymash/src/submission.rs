//! The competition's answer: a table `id,genre` with one row for each row of `test.csv`.
//!
//! [`Ensemble`] makes one answer of several models', [`Journal`] keeps their scores so that stopped work goes on,
//! [`write()`] writes the table and [`check`] finds what an upload would be refused or marked down for. What is to be answered
//! is read by [`TestSet`](crate::dataset::TestSet); which sound is what, is told by [`crate::Classifier`].

mod check;
mod ensemble;
mod journal;

use std::collections::BTreeMap;
use std::path::Path;

pub use check::{Checked, Expected, Fault, FaultKind, check};
pub use ensemble::{Ensemble, Member};
pub use journal::{Journal, Key, Noted};

use crate::{Error, Result, atomic};

/// The columns of a submission.
pub const COLUMNS: [&str; 2] = ["id", "genre"];

/// One row of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The id, exactly as `test.csv` has it.
    pub id: String,
    /// One of [`GENRES`](crate::dataset::GENRES).
    pub genre: String,
}

/// Writes a submission, the file replaced whole; rows in the order given, ids as they are.
///
/// # Errors
/// [`Error::Io`] if it cannot be written.
pub fn write(path: &Path, answers: &[Answer]) -> Result<()> {
    let rows = answers.iter().map(|answer| [&answer.id, &answer.genre]);
    write_table(path, &COLUMNS, rows)
}

/// Writes any table as CSV, the file replaced whole.
///
/// # Errors
/// [`Error::Io`] if it cannot be written.
pub fn write_table<R>(path: &Path, header: &[&str], rows: impl IntoIterator<Item = R>) -> Result<()>
where
    R: IntoIterator<Item: AsRef<[u8]>>,
{
    let failed = |error: csv::Error| Error::io(path)(std::io::Error::other(error));
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(header).map_err(failed)?;
    for row in rows {
        table.write_record(row).map_err(failed)?;
    }
    let bytes = table.into_inner().map_err(|e| Error::io(path)(e.into_error()))?;
    atomic::write(path, &bytes)
}

/// Checks that writing a table to `path` would lose nothing: there is no file yet, or one that begins with `header` (an
/// earlier one of the same kind).
///
/// # Errors
/// [`Error::Config`] if another file is there; [`Error::Io`] if its folder is not.
pub fn may_write(path: &Path, header: &[&str]) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        std::fs::read_dir(folder).map_err(Error::io(folder))?;
    }
    if !path.exists() {
        return Ok(());
    }
    let same = path.is_file()
        && csv::Reader::from_path(path)
            .and_then(|mut table| {
                Ok(table
                    .headers()?
                    .iter()
                    .take(header.len())
                    .eq(header.iter().copied()))
            })
            .unwrap_or(false);
    if same {
        return Ok(());
    }
    Err(Error::Config(format!(
        "{} exists and is not a table of {}; it would be lost. Choose another name, or remove it",
        path.display(),
        header.join(",")
    )))
}

/// How often each genre is told.
pub fn counts(answers: &[Answer]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for answer in answers {
        *counts.entry(answer.genre.as_str()).or_default() += 1;
    }
    counts
}
