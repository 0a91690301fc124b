//! What became of each file, as a table for other programs: CSV, JSON Lines or Parquet.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use messymash::atomic::NewFile;
use messymash::{Error, submission};
use parquet::basic::{LogicalType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, FloatType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;
use serde_json::{Map, json};

use crate::input::harmless;

/// The first columns; one for each label follows.
const COLUMNS: [&str; 6] = ["file", "outcome", "reason", "genre", "score", "before"];
/// Between several genres in one cell.
const BETWEEN: &str = "; ";
/// Rows that a Parquet file is given together; they wait in memory.
const GROUP: usize = 4096;

/// How a file ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Did {
    Tagged,
    WouldTag,
    /// It holds the genre that would be written.
    Already,
    /// The model is not sure enough.
    Unsure,
    Skipped,
    Failed,
}

impl Did {
    pub(super) fn words(self) -> &'static str {
        match self {
            Did::Tagged => "tagged",
            Did::WouldTag => "would tag",
            Did::Already => "tagged already",
            Did::Unsure => "unsure",
            Did::Skipped => "skipped",
            Did::Failed => "failed",
        }
    }

    fn name(self) -> String {
        self.words().replace(' ', "_")
    }
}

/// What is known of a file.
#[derive(Debug)]
pub(super) struct Row {
    /// Relative to the library.
    pub file: PathBuf,
    pub did: Did,
    pub reason: Option<String>,
    /// What the field is to hold, or holds.
    pub genres: Vec<String>,
    /// Of the likeliest genre.
    pub score: Option<f32>,
    /// What the field held.
    pub before: Vec<String>,
    /// Of all labels, in their order; none if it was not heard.
    pub scores: Vec<f32>,
    /// Whether there is no room for more.
    pub full: bool,
}

impl Row {
    pub(super) fn new(file: &Path) -> Self {
        Self {
            file: file.to_path_buf(),
            did: Did::Failed,
            reason: None,
            genres: Vec::new(),
            score: None,
            before: Vec::new(),
            scores: Vec::new(),
            full: false,
        }
    }
}

/// A table that is being written; [`Report::finish`] puts it in place.
pub(super) struct Report {
    path: PathBuf,
    table: Table,
    labels: Vec<String>,
}

enum Table {
    Csv(Box<csv::Writer<NewFile>>),
    Jsonl(NewFile),
    Parquet(Box<SerializedFileWriter<NewFile>>, Vec<Vec<Cell>>),
}

/// A value of a Parquet row.
enum Cell {
    Text(Option<String>),
    Number(Option<f32>),
}

impl Report {
    pub(super) fn create(path: &Path, labels: &[String]) -> Result<Self> {
        let kind = path
            .extension()
            .unwrap_or_default()
            .to_string_lossy()
            .to_lowercase();
        let labelled = labels.iter().map(|label| format!("score_{label}"));
        let header: Vec<String> = COLUMNS.iter().map(ToString::to_string).chain(labelled).collect();
        let table = match kind.as_str() {
            "csv" => {
                submission::may_write(path, &COLUMNS)?;
                let mut table = csv::Writer::from_writer(NewFile::create(path)?);
                table
                    .write_record(&header)
                    .with_context(|| path.display().to_string())?;
                Table::Csv(Box::new(table))
            }
            "jsonl" => {
                may_write(path, b"{\"file\":")?;
                Table::Jsonl(NewFile::create(path)?)
            }
            "parquet" => {
                may_write(path, b"PAR1")?;
                let properties = Arc::new(WriterProperties::builder().build());
                let writer = SerializedFileWriter::new(NewFile::create(path)?, schema(&header)?, properties)?;
                Table::Parquet(Box::new(writer), Vec::new())
            }
            _ => bail!(
                "{} is no name of a report: it must end in .csv, .jsonl or .parquet",
                path.display()
            ),
        };
        Ok(Self {
            path: path.to_path_buf(),
            table,
            labels: labels.to_vec(),
        })
    }

    pub(super) fn add(&mut self, row: &Row) -> Result<()> {
        let file = row.file.to_string_lossy();
        let score = |place: usize| row.scores.get(place).copied();
        let all = || (0..self.labels.len()).map(score);
        let failed = || self.path.display().to_string();
        match &mut self.table {
            Table::Csv(table) => {
                let number = |score: Option<f32>| score.map_or(String::new(), |score| format!("{score:.6}"));
                let texts = [
                    harmless(&file),
                    row.did.name(),
                    harmless(row.reason.as_deref().unwrap_or_default()),
                    harmless(&row.genres.join(BETWEEN)),
                    number(row.score),
                    harmless(&row.before.join(BETWEEN)),
                ];
                table
                    .write_record(texts.into_iter().chain(all().map(number)))
                    .with_context(failed)?;
            }
            Table::Jsonl(lines) => {
                let scores: Map<_, _> = self
                    .labels
                    .iter()
                    .zip(&row.scores)
                    .map(|(label, &score)| (label.clone(), json!(score)))
                    .collect();
                let rest = json!({
                    "outcome": row.did.name(), "reason": row.reason, "genres": row.genres, "score": row.score,
                    "before": row.before, "scores": scores,
                });
                let rest = rest.to_string();
                let name = serde_json::to_string(&file)?;
                writeln!(lines, "{{\"file\":{name},{}", &rest[1..]).with_context(failed)?;
            }
            Table::Parquet(writer, rows) => {
                let list = |values: &[String]| (!values.is_empty()).then(|| values.join(BETWEEN));
                let mut cells = vec![
                    Cell::Text(Some(file.into_owned())),
                    Cell::Text(Some(row.did.name())),
                    Cell::Text(row.reason.clone()),
                    Cell::Text(list(&row.genres)),
                    Cell::Number(row.score),
                    Cell::Text(list(&row.before)),
                ];
                cells.extend((0..self.labels.len()).map(|place| Cell::Number(score(place))));
                rows.push(cells);
                if rows.len() == GROUP {
                    write_group(writer, &std::mem::take(rows))?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<()> {
        let file = match self.table {
            Table::Csv(table) => table
                .into_inner()
                .map_err(|error| Error::io(&self.path)(error.into_error()))?,
            Table::Jsonl(lines) => lines,
            Table::Parquet(mut writer, rows) => {
                write_group(&mut writer, &rows)?;
                writer.into_inner()?
            }
        };
        Ok(file.finish()?)
    }
}

/// Nothing is lost but an earlier report.
fn may_write(path: &Path, head: &[u8]) -> Result<()> {
    let mut start = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(head.len() as u64).read_to_end(&mut start)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io(path)(error).into()),
    };
    if start.is_empty() || start == head {
        return Ok(());
    }
    bail!(
        "{} exists and is no report; it would be lost. Choose another name, or remove it",
        path.display()
    )
}

fn schema(header: &[String]) -> Result<Arc<Type>> {
    let mut fields = Vec::new();
    for (place, name) in header.iter().enumerate() {
        let repetition = if place < 2 {
            Repetition::REQUIRED
        } else {
            Repetition::OPTIONAL
        };
        let field = if place < COLUMNS.len() && name != "score" {
            Type::primitive_type_builder(name, Physical::BYTE_ARRAY)
                .with_logical_type(Some(LogicalType::String))
        } else {
            Type::primitive_type_builder(name, Physical::FLOAT)
        };
        fields.push(Arc::new(field.with_repetition(repetition).build()?));
    }
    Ok(Arc::new(
        Type::group_type_builder("files").with_fields(fields).build()?,
    ))
}

fn write_group(writer: &mut SerializedFileWriter<NewFile>, rows: &[Vec<Cell>]) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut group = writer.next_row_group()?;
    let mut place = 0;
    while let Some(mut column) = group.next_column()? {
        let (mut texts, mut numbers, mut there) = (Vec::new(), Vec::new(), Vec::new());
        for row in rows {
            match &row[place] {
                Cell::Text(text) => {
                    texts.extend(text.as_deref().map(ByteArray::from));
                    there.push(i16::from(text.is_some()));
                }
                Cell::Number(number) => {
                    numbers.extend(*number);
                    there.push(i16::from(number.is_some()));
                }
            }
        }
        // The first two are always there.
        let there = (place >= 2).then_some(&there[..]);
        if matches!(rows[0][place], Cell::Text(_)) {
            column.typed::<ByteArrayType>().write_batch(&texts, there, None)?;
        } else {
            column.typed::<FloatType>().write_batch(&numbers, there, None)?;
        }
        column.close()?;
        place += 1;
    }
    group.close()?;
    Ok(())
}
