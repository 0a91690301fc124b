//! The competition's test set alone: what is to be answered, whatever the state of the rest of the data.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::scan::{self, columns, csv_error, dataset};
use super::{Mashup, Table};
use crate::error::first_five;
use crate::{Error, Result};

/// The rows of a `test.csv`: what a submission has to answer.
#[derive(Debug, Clone, PartialEq)]
pub struct TestSet {
    /// The table.
    pub table: PathBuf,
    /// Its rows, in its order; ids are neither empty nor given twice.
    pub mashups: Vec<Mashup>,
}

impl TestSet {
    /// Finds `test.csv` in `root`, or beside `mashups/` or `genres_stems/` up to five levels below, and reads it. Stems
    /// and noise are not looked at. Columns are found by name; ids stay the text they are.
    ///
    /// # Errors
    /// [`crate::Error::Dataset`] where there is no such table, or several, or it has no row, an empty or repeated id or a
    /// row without a file; [`crate::Error::Io`] where a folder cannot be read.
    pub fn open(root: &Path) -> Result<Self> {
        let direct = fs::canonicalize(root).map_err(Error::io(root))?.join("test.csv");
        let mut tables = if direct.is_file() {
            vec![direct]
        } else {
            scan::test_tables(root)?
        };
        let (Some(table), true) = (tables.pop(), tables.is_empty()) else {
            return Err(dataset(
                root,
                "holds more than one test.csv; give the folder of the one that is meant".into(),
            ));
        };
        let mut mashups = Vec::new();
        read_table(&table, &mut mashups)?;
        if mashups.is_empty() {
            return Err(dataset(
                &table,
                "has no rows, so there is nothing to answer".into(),
            ));
        }
        let folder = table.parent().unwrap_or(Path::new("."));
        let mut rows: HashMap<&str, usize> = HashMap::new();
        let mut faults = Vec::new();
        for (row, mashup) in mashups.iter().enumerate().map(|(n, mashup)| (n + 1, mashup)) {
            if mashup.id.trim().is_empty() {
                faults.push(format!("row {row} has no id"));
            } else if let Some(first) = rows.insert(&mashup.id, row) {
                faults.push(format!("rows {first} and {row} have the same id {}", mashup.id));
            }
            if mashup.path == folder {
                faults.push(format!("row {row} has no filename"));
            }
        }
        if !faults.is_empty() {
            return Err(dataset(
                &table,
                format!("cannot be answered: {}", first_five(&faults)),
            ));
        }
        Ok(Self { table, mashups })
    }

    /// The file of a row as the table names it: relative to the table's folder.
    pub fn name<'a>(&self, mashup: &'a Mashup) -> &'a Path {
        let folder = self.table.parent().unwrap_or(Path::new("."));
        mashup.path.strip_prefix(folder).unwrap_or(&mashup.path)
    }
}

/// Appends the rows of a `test.csv`.
pub(super) fn read_table(table: &Path, mashups: &mut Vec<Mashup>) -> Result<()> {
    let folder = table.parent().unwrap_or(Path::new("."));
    // Ids are copied as text: a reader that trims or parses them would turn 0001 into 1 and spoil the submission.
    let text = Table::read(table)?;
    let (mut reader, mut lines) = (csv::Reader::from_reader(text.bytes()), text.lines());
    let headers = reader.headers().map_err(csv_error(table))?.clone();
    let [id_column, name_column] = columns(table, &headers, ["id", "filename"])?;
    for row in reader.records() {
        let row = row.map_err(|error| lines.error(table, &error))?;
        let name = row.get(name_column).unwrap_or_default().trim().replace('\\', "/");
        let direct = folder.join(&name);
        let below = folder.join("mashups").join(&name);
        let path = if direct.exists() || !below.exists() {
            direct
        } else {
            below
        };
        mashups.push(Mashup {
            id: row.get(id_column).unwrap_or_default().to_string(),
            path,
        });
    }
    Ok(())
}
