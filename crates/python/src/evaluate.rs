//! How good a model is.

use std::path::PathBuf;

use messymash::checkpoint::resolve;
use messymash::dataset::{MessyMashup, Split};
use messymash::evaluate::{Evaluation, Measures, Protocol, evaluate_mashups, evaluate_songs};
use messymash::remix::Remixer;
use messymash::run::{split_of, split_of_bundled};
use messymash::{Error, Result};
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
        let evaluation = judge(model, judging, progress)?;
        let measures = evaluation.measure()?;
        json(&Answer { measures, evaluation })
    })
}

fn judge(model: &Model, judging: Judging, progress: &mut Progress) -> Result<Evaluation> {
    let hearing = judging.hearing.options()?;
    if let Some(folder) = &judging.songs {
        return evaluate_songs(&model.classifier, &hearing, folder, None, &mut |done, total| {
            progress.set(done, total)
        });
    }
    let remix = options(&judging.options)?;
    let protocol = match judging.protocol.as_deref() {
        None => None,
        Some("unseen-songs") => Some(Protocol::UnseenSongs),
        Some("new-mashups") => Some(Protocol::NewMashups),
        Some(other) => return Err(unknown("protocol", other, "unseen-songs, new-mashups")),
    };
    let split = judging.split.as_deref().map(Split::load).transpose()?;
    let data = judging.data.open()?;
    let (songs, folds) = match protocol {
        None => {
            let all = Split::everything(&data);
            (all.train, all.train_folds)
        }
        Some(protocol) => material(model, &data, protocol, split)?,
    };
    let count = judging
        .mashups
        .unwrap_or(protocol.map_or(1000, |_| Protocol::MASHUPS));
    let remixer = Remixer::new(&data, &songs, &folds, remix)?;
    evaluate_mashups(
        &model.classifier,
        &hearing,
        &remixer,
        judging.seed,
        count,
        &mut |done| progress.set(done, count),
    )
}

/// The songs and noise folds of a protocol, nothing of which leaks.
fn material(
    model: &Model,
    data: &MessyMashup,
    protocol: Protocol,
    given: Option<Split>,
) -> Result<(Vec<String>, Vec<u32>)> {
    let trained = match &model.path {
        None => Some(split_of_bundled()?),
        Some(path) => split_of(&resolve(path)?)?,
    };
    let Some(split) = given.as_ref().or(trained.as_ref()) else {
        return Err(Error::Config(
            "nothing tells what this model was trained on: give the split.json of its training run as split="
                .into(),
        ));
    };
    split.check(data)?;
    let (songs, folds) = protocol.material(split, trained.as_ref().unwrap_or(split))?;
    Ok((songs.to_vec(), folds.to_vec()))
}
