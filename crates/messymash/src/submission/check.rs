//! What is wrong with a submission, row by row.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;

use super::COLUMNS;
use crate::dataset::{GENRES, Lines, Table, TestSet};
use crate::{Error, Result};

/// The ids that a submission must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The ids, in order; each once.
    ids: Vec<String>,
    /// The file they are from, for messages.
    source: String,
}

impl Expected {
    /// Those of the test set.
    pub fn of_test_set(tests: &TestSet) -> Self {
        let ids = tests.mashups.iter().map(|mashup| mashup.id.clone()).collect();
        Self {
            ids,
            source: name(&tests.table),
        }
    }

    /// Those of a `sample_submission.csv`.
    ///
    /// # Errors
    /// [`Error::Dataset`] if it is no table of the columns `id,genre` whose ids are all there and differ.
    pub fn of_sample(path: &Path) -> Result<Self> {
        let wrong = |message: String| Error::Dataset {
            path: path.to_path_buf(),
            message,
        };
        let unreadable = |error: csv::Error| wrong(format!("is not a readable table: {error}"));
        let text = Table::read(path)?;
        let (mut table, mut places) = (csv::Reader::from_reader(text.bytes()), text.lines());
        let header = table.headers().map_err(unreadable)?.clone();
        if header != COLUMNS[..] {
            let found = header.iter().collect::<Vec<_>>().join(",");
            return Err(wrong(format!(
                "is no sample submission: its columns are {found}, not {}",
                COLUMNS.join(",")
            )));
        }
        let mut lines: HashMap<String, u64> = HashMap::new();
        let mut ids = Vec::new();
        for row in table.records() {
            let row = row.map_err(|error| places.error(path, &error))?;
            let (id, line) = (row[0].to_string(), places.of(row.position()));
            if id.is_empty() {
                return Err(wrong(format!("line {line} has no id")));
            }
            if let Some(first) = lines.insert(id.clone(), line) {
                return Err(wrong(format!("lines {first} and {line} have the same id {id}")));
            }
            ids.push(id);
        }
        if ids.is_empty() {
            return Err(wrong("has no rows".into()));
        }
        Ok(Self {
            ids,
            source: name(path),
        })
    }

    /// How many rows a submission must have.
    pub fn rows(&self) -> usize {
        self.ids.len()
    }

    /// The name of the file that the ids are from.
    pub fn source(&self) -> &str {
        &self.source
    }
}

/// What kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// The header is not `id,genre`.
    Columns,
    /// A row that is not two fields of text.
    Row,
    /// An id that is empty, unknown, or given before.
    Id,
    /// A row that stands behind one it should stand before.
    Order,
    /// A genre that is empty, or none of the ten.
    Genre,
    /// An id that no row has.
    Missing,
}

/// Something to mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Line of the file, the header being 1; `None` for what is not there.
    pub line: Option<u64>,
    /// What kind of fault.
    pub kind: FaultKind,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.message),
            None => write!(f, "missing: {}", self.message),
        }
    }
}

/// What [`check`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// Rows below the header.
    pub rows: usize,
    /// How often each known genre is told.
    pub counts: BTreeMap<&'static str, usize>,
    /// What is to be mended, by line; missing rows last, in their order.
    pub faults: Vec<Fault>,
}

/// Compares a submission with what is expected: columns, ids (as text), order, number of rows, genres.
///
/// An id that differs only in how its number is written (`1` for `0001`, `1.0` for `1`) is one fault, not an unknown id and
/// a missing one. Of rows in the wrong order those are named that stand behind a row they should stand before.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read, [`Error::Dataset`] if it is larger than 64 MiB; everything that is wrong in it is a
/// [`Fault`].
pub fn check(path: &Path, expected: &Expected) -> Result<Checked> {
    let text = Table::read(path)?;
    let mut table = csv::ReaderBuilder::new().flexible(true).from_reader(text.bytes());
    let mut checker = Checker::new(expected, text.lines());
    let columns = COLUMNS.join(",");
    match table.headers() {
        Ok(header) if *header == COLUMNS[..] => {}
        Ok(header) => {
            let found = header.iter().collect::<Vec<_>>().join(",");
            checker.fault(
                Some(1),
                FaultKind::Columns,
                format!("the columns are {found:?}; they must be {columns}"),
            );
            return Ok(checker.checked);
        }
        Err(error) => {
            checker.fault(
                Some(1),
                FaultKind::Columns,
                format!("{error}; the columns must be {columns}"),
            );
            return Ok(checker.checked);
        }
    }
    for row in table.records() {
        match row {
            Ok(row) => checker.row(&row),
            Err(error) => {
                checker.checked.rows += 1;
                let line = checker.rows_at.of(error.position());
                checker.fault(Some(line), FaultKind::Row, "is no text in UTF-8".into());
            }
        }
    }
    checker.missing();
    Ok(checker.checked)
}

struct Checker<'a> {
    expected: &'a Expected,
    /// Place of each id among the expected ones.
    places: HashMap<&'a str, usize>,
    /// The same by the [bare] id, where only one has it.
    bare_places: HashMap<&'a str, Option<usize>>,
    /// What tells the lines of rows.
    rows_at: Lines<'a>,
    /// Line of the row that has an expected id.
    lines: Vec<Option<u64>>,
    /// Place of the row before.
    last: Option<usize>,
    checked: Checked,
}

impl<'a> Checker<'a> {
    fn new(expected: &'a Expected, rows_at: Lines<'a>) -> Self {
        let ids = || expected.ids.iter().map(String::as_str).enumerate();
        let mut bare_places = HashMap::new();
        for (place, id) in ids() {
            bare_places
                .entry(bare(id))
                .and_modify(|known| *known = None)
                .or_insert(Some(place));
        }
        Self {
            expected,
            places: ids().map(|(place, id)| (id, place)).collect(),
            bare_places,
            rows_at,
            lines: vec![None; expected.ids.len()],
            last: None,
            checked: Checked::default(),
        }
    }

    fn fault(&mut self, line: Option<u64>, kind: FaultKind, message: String) {
        self.checked.faults.push(Fault { line, kind, message });
    }

    fn row(&mut self, row: &csv::StringRecord) {
        self.checked.rows += 1;
        let line = self.rows_at.of(row.position());
        if row.len() != COLUMNS.len() {
            let message = format!("the row has {} fields; it must have {}", row.len(), COLUMNS.len());
            self.fault(Some(line), FaultKind::Row, message);
        }
        self.id(line, row.get(0).unwrap_or_default());
        if let Some(genre) = row.get(1) {
            self.genre(line, genre);
        }
    }

    fn id(&mut self, line: u64, id: &str) {
        let source = &self.expected.source;
        let place = match self.places.get(id) {
            Some(&place) => place,
            None if id.trim().is_empty() => {
                return self.fault(Some(line), FaultKind::Id, "the id is empty".into());
            }
            None => match self.bare_places.get(bare(id)) {
                Some(&Some(place)) => {
                    let message = format!(
                        "the id {id:?} is written {:?} in {source}",
                        self.expected.ids[place]
                    );
                    self.fault(Some(line), FaultKind::Id, message);
                    place
                }
                _ => {
                    return self.fault(
                        Some(line),
                        FaultKind::Id,
                        format!("the id {id:?} is not in {source}"),
                    );
                }
            },
        };
        if let Some(first) = self.lines[place] {
            let message = format!("the id {id:?} was given before, in line {first}");
            return self.fault(Some(line), FaultKind::Id, message);
        }
        self.lines[place] = Some(line);
        if let Some(last) = self.last.replace(place).filter(|&last| last > place) {
            let message = format!(
                "the id {id:?} stands behind {:?}; in {source} it stands before",
                self.expected.ids[last]
            );
            self.fault(Some(line), FaultKind::Order, message);
        }
    }

    fn genre(&mut self, line: u64, genre: &str) {
        if let Some(known) = GENRES.into_iter().find(|known| *known == genre) {
            *self.checked.counts.entry(known).or_default() += 1;
            return;
        }
        let letters = |text: &str| {
            text.chars()
                .filter(|c| c.is_alphanumeric())
                .collect::<String>()
                .to_lowercase()
        };
        let meant = GENRES.into_iter().find(|known| letters(genre) == *known);
        let message = match meant {
            Some(known) => format!("the genre {genre:?} must be written {known}"),
            None if genre.trim().is_empty() => "the genre is empty".into(),
            None => format!("the genre {genre:?} is none of {}", GENRES.join(", ")),
        };
        self.fault(Some(line), FaultKind::Genre, message);
    }

    fn missing(&mut self) {
        let missing = |(place, id): (usize, &String)| match self.lines[place] {
            Some(_) => None,
            None => Some(format!(
                "no row has the id {id:?} (row {} of {})",
                place + 1,
                self.expected.source
            )),
        };
        let messages: Vec<String> = self.expected.ids.iter().enumerate().filter_map(missing).collect();
        for message in messages {
            self.fault(None, FaultKind::Missing, message);
        }
    }
}

/// An id without what spreadsheets and data frames do to numbers: blanks, leading zeros, a final `.0`.
fn bare(id: &str) -> &str {
    let id = id.trim();
    let id = id.strip_suffix(".0").unwrap_or(id).trim_start_matches('0');
    if id.is_empty() { "0" } else { id }
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}
