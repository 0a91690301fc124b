//! How good a model is.

use std::path::PathBuf;

use messymash::Result;
use messymash::dataset::Split;
use messymash::evaluate::{Evaluation, Judges, Measures, Protocol, evaluate_mashups, evaluate_songs};
use messymash::remix::{RemixOptions, Remixer};
use messymash::run::{split_of, split_of_bundled};
use pyo3::prelude::*;
use serde::Serialize;

use crate::errors::{json, unknown};
use crate::model::{Hearing, Model};
use crate::remix::{Data, options};
use crate::work::Progress;

/// What a model is judged by.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Judging {
    data: Data,
    /// Whole labelled songs instead of mashups.
    songs: Option<PathBuf>,
    protocol: Option<String>,
    split: Option<PathBuf>,
    mashups: Option<u64>,
    seed: u64,
    options: String,
    hearing: Hearing,
}

#[derive(Serialize)]
struct Answer {
    measures: Measures,
    evaluation: Evaluation,
    /// Songs that the split does not know.
    left_out: Vec<String>,
}

/// Measures and every answer, JSON.
#[pyfunction]
#[pyo3(signature = (model, judging, progress=None))]
pub fn evaluate(
    py: Python<'_>,
    model: &Model,
    judging: Judging,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    model.pool.watch(py, progress, |progress| {
        let (evaluation, left_out) = judge(model, judging, progress)?;
        let measures = evaluation.measure()?;
        json(&Answer {
            measures,
            evaluation,
            left_out,
        })
    })
}

fn judge(model: &Model, judging: Judging, progress: &mut Progress) -> Result<(Evaluation, Vec<String>)> {
    let hearing = judging.hearing.options()?;
    let recipe = options(&judging.options)?;
    let protocol = match judging.protocol.as_deref() {
        None => None,
        Some("unseen-songs") => Some(Protocol::UnseenSongs),
        Some("new-mashups") => Some(Protocol::NewMashups),
        Some(other) => return Err(unknown("protocol", other, "unseen-songs, new-mashups")),
    };
    let split = judging.split.as_deref().map(Split::load).transpose()?;
    let trained = match &model.path {
        None => Some(split_of_bundled()?),
        Some(path) => split_of(path)?,
    };
    let judges = Judges::new(protocol, split, trained)?;
    if let Some(folder) = &judging.songs {
        let songs = judges.of_songs(folder)?;
        let only = songs.only.as_ref();
        let mut evaluation =
            evaluate_songs(&model.classifier, &hearing, folder, only, &mut |done, total| {
                progress.set(done, total)
            })?;
        evaluation.title += &songs.name;
        return Ok((evaluation, songs.unknown));
    }
    let data = judging.data.open()?;
    let material = judges.of_data(&data)?;
    let count = judging
        .mashups
        .unwrap_or(protocol.map_or(1000, |_| Protocol::MASHUPS));
    let own_recipe = recipe != RemixOptions::default();
    let remixer = Remixer::new(&data, &material.songs, &material.folds, recipe)?;
    let mut evaluation = evaluate_mashups(
        &model.classifier,
        &hearing,
        &remixer,
        judging.seed,
        count,
        &mut |done| progress.set(done, count),
    )?;
    evaluation.title = format!("{} of {}", evaluation.title, material.name);
    if let Some(protocol) = protocol {
        evaluation.title = format!("{}: {}", protocol.name(), evaluation.title);
    }
    if own_recipe {
        evaluation.title += ", recombined with other options";
    }
    Ok((evaluation, Vec::new()))
}
