//! Learning from another model: what it heard in each song, as a table, is what the outputs are to equal.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use crate::remix::Remix;
use crate::{Error, Result};

/// The `[teacher]` table of a recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeacherSettings {
    /// A safetensors file with the f32 tensor `targets`, `[songs, columns]`; its metadata holds `songs`, the ids of the songs of
    /// the rows, and `columns`, names for the model's outputs, both as JSON lists. `tools/teacher/targets.py` writes one.
    pub targets: PathBuf,
    /// What the numbers are.
    #[serde(default)]
    pub kind: TeacherKind,
}

/// What a teacher's numbers are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TeacherKind {
    /// Anything that the outputs are to equal; every song needs a row. The loss is the mean squared error.
    #[default]
    Values,
    /// Probabilities of the labels, for songs whose genre nobody wrote down; a song without a row has that of its folder. The loss is the cross
    /// entropy.
    Probabilities,
}

/// What a teacher heard in each song.
#[derive(Debug)]
pub(super) struct Teacher {
    /// What its numbers are.
    pub(super) kind: TeacherKind,
    /// Names of the outputs.
    pub(super) columns: Vec<String>,
    rows: HashMap<String, Vec<f32>>,
    /// Variance of the columns over all songs, their mean: what an answer that ignores the sound has for an error.
    pub(super) variance: f64,
    path: PathBuf,
}

impl Teacher {
    /// Reads a table.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Config`] if it is no such table.
    pub(super) fn load(settings: &TeacherSettings) -> Result<Self> {
        let path = &settings.targets;
        let bytes = fs::read(path).map_err(Error::io(path))?;
        Self::parse(&bytes, settings)
            .map_err(|message| Error::Config(format!("teacher.targets: {}: {message}", path.display())))
    }

    fn parse(bytes: &[u8], settings: &TeacherSettings) -> std::result::Result<Self, String> {
        let damaged = |e: safetensors::SafeTensorError| e.to_string();
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
        let list = |name: &str| -> std::result::Result<Vec<String>, String> {
            let text = metadata.metadata().as_ref().and_then(|all| all.get(name));
            let text = text.ok_or_else(|| format!("its metadata has no '{name}'"))?;
            serde_json::from_str(text)
                .map_err(|e| format!("'{name}' in its metadata is no list of names: {e}"))
        };
        let (songs, columns) = (list("songs")?, list("columns")?);
        let tensors = SafeTensors::deserialize(bytes).map_err(damaged)?;
        let targets = tensors.tensor("targets").map_err(damaged)?;
        if targets.dtype() != Dtype::F32 || targets.shape() != [songs.len(), columns.len()] {
            return Err(format!(
                "'targets' is {:?} {:?}, but {} songs and {} columns are named, in f32",
                targets.dtype(),
                targets.shape(),
                songs.len(),
                columns.len()
            ));
        }
        let values: Vec<f32> = targets
            .data()
            .chunks_exact(4)
            .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            .collect();
        if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
            return Err("'targets' is empty or holds what is no number".into());
        }
        let sums = values
            .chunks_exact(columns.len())
            .map(|row| row.iter().sum::<f32>());
        let apart = sums.fold(0.0, |most: f32, sum| most.max((sum - 1.0).abs()));
        let negative = values.iter().any(|value| *value < 0.0);
        if settings.kind == TeacherKind::Probabilities && (negative || apart > 1e-3) {
            return Err("'targets' are to be probabilities, but there is a row whose sum is not 1".into());
        }
        Ok(Self {
            kind: settings.kind,
            variance: variance(&values, columns.len()),
            rows: songs
                .into_iter()
                .zip(values.chunks_exact(columns.len()).map(<[f32]>::to_vec))
                .collect(),
            columns,
            path: settings.targets.clone(),
        })
    }

    /// What the teacher heard in the song that a mashup is a piece of.
    ///
    /// # Errors
    /// [`Error::Config`] if the table lacks it.
    pub(super) fn target(&self, remix: &Remix) -> Result<&[f32]> {
        self.row(remix.parts.first().map_or("", |part| &part.song))
    }

    /// What the teacher takes a mashup for, where it heard all songs in it: the mean of what it heard in each.
    pub(super) fn probabilities(&self, remix: &Remix) -> Option<Vec<f32>> {
        let rows = remix.parts.iter().map(|part| self.rows.get(&part.song));
        let rows: Vec<&Vec<f32>> = rows.collect::<Option<_>>()?;
        let mean = |column: usize| rows.iter().map(|row| row[column]).sum::<f32>() / rows.len() as f32;
        Some((0..self.columns.len()).map(mean).collect())
    }

    /// Checks that no song lacks a row that needs one.
    ///
    /// # Errors
    /// [`Error::Config`] that names one that does.
    pub(super) fn check(&self, songs: &[String]) -> Result<()> {
        match self.kind {
            TeacherKind::Values => songs.iter().try_for_each(|song| self.row(song).map(|_| ())),
            TeacherKind::Probabilities => songs.iter().try_for_each(|song| {
                let genre = song.split('/').next();
                match self.columns.iter().any(|column| Some(&column[..]) == genre) {
                    true => Ok(()),
                    false => self.row(song).map(|_| ()),
                }
            }),
        }
    }

    fn row(&self, song: &str) -> Result<&[f32]> {
        self.rows.get(song).map(Vec::as_slice).ok_or_else(|| {
            Error::Config(format!(
                "teacher.targets: {} has no row for the song '{song}'",
                self.path.display()
            ))
        })
    }
}

/// Variance of each column, their mean.
fn variance(values: &[f32], columns: usize) -> f64 {
    let rows = (values.len() / columns) as f64;
    let of = |column: usize| {
        let column = || values.iter().skip(column).step_by(columns).map(|&v| f64::from(v));
        let mean = column().sum::<f64>() / rows;
        column().map(|v| (v - mean).powi(2)).sum::<f64>() / rows
    };
    (0..columns).map(of).sum::<f64>() / columns as f64
}
