//! A model's answers on mashups, on songs of the data set, on files.

use std::collections::BTreeSet;
use std::path::Path;

use rayon::prelude::*;

use super::{Evaluation, Judged};
use crate::audio::AudioStream;
use crate::classifier::{ClassifyOptions, Prediction};
use crate::remix::{JUDGING_EPOCH, Remixer};
use crate::separate::labelled_songs;
use crate::{Classifier, Error, Result, dataset};

/// Sounds computed at once.
const AT_ONCE: usize = 16;

/// Judges a model by mashups 0 to `count` - 1 of `seed` ([`JUDGING_EPOCH`]) that `remixer` makes, heard as `options` say.
///
/// `progress` is told how many are done; what error it returns ends the work.
///
/// # Errors
/// [`Error::Config`] if the model lacks a genre of the remixer; those of [`Remixer::make`]; what `progress` says.
pub fn evaluate_mashups(
    classifier: &Classifier,
    options: &ClassifyOptions,
    remixer: &Remixer,
    seed: u64,
    count: u64,
    progress: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Evaluation> {
    let mut items = Vec::new();
    for first in (0..count).step_by(AT_ONCE) {
        let judged: Vec<Judged> = (first..count.min(first + AT_ONCE as u64))
            .into_par_iter()
            .map(|index| {
                let (remix, waveform) = remixer.make(seed, JUDGING_EPOCH, index)?;
                let truth = class_of(classifier, &remix.genre)?;
                let scores = scores(
                    classifier,
                    &classifier.classify_with(&waveform, options)?.predictions,
                );
                Ok(Judged::mashup(index, truth, scores, remix))
            })
            .collect::<Result<_>>()?;
        items.extend(judged);
        progress(items.len() as u64)?;
    }
    Ok(Evaluation {
        title: format!("{count} mashups, seed {seed}"),
        model: classifier.name().into(),
        labels: classifier.labels().to_vec(),
        items,
        failures: Vec::new(),
    })
}

/// Judges a model by songs of the data set as they are ([`Remixer::whole`]): nothing mixed in, no noise, heard as `options` say.
///
/// Songs that cannot be heard are listed in the record and do not stop the rest. `progress` is told how many are done; what error
/// it returns ends the work.
///
/// # Errors
/// [`Error::Config`] if the model lacks a genre; what `progress` says.
pub fn evaluate_whole(
    classifier: &Classifier,
    options: &ClassifyOptions,
    remixer: &Remixer,
    songs: &[String],
    progress: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Evaluation> {
    let (mut items, mut failures) = (Vec::new(), Vec::new());
    for some in songs.chunks(AT_ONCE) {
        let heard: Vec<Result<std::result::Result<Judged, String>>> = some
            .par_iter()
            .map(|song| {
                let heard = remixer.whole(song).and_then(|(remix, sound)| {
                    let predictions = classifier.classify_with(&sound, options)?.predictions;
                    Ok((remix, predictions))
                });
                let (remix, predictions) = match heard {
                    Ok(heard) => heard,
                    Err(error) => return Ok(Err(format!("{song}: {error}"))),
                };
                Ok(Ok(Judged {
                    name: song.clone(),
                    truth: class_of(classifier, &remix.genre)?,
                    scores: scores(classifier, &predictions),
                    songs: remix.songs(),
                    snr_db: None,
                    noises: Some(0),
                    remix: Some(remix),
                    file: None,
                }))
            })
            .collect();
        for result in heard {
            match result? {
                Ok(judged) => items.push(judged),
                Err(failure) => failures.push(failure),
            }
        }
        progress((items.len() + failures.len()) as u64)?;
    }
    Ok(Evaluation {
        title: format!("{} songs as they are", items.len()),
        model: classifier.name().into(),
        labels: classifier.labels().to_vec(),
        items,
        failures,
    })
}

/// Judges a model by whole labelled songs, `folder/<genre>/<file>`, heard as `options` say; with `only`, by those of the named recordings (such as
/// `blues/blues.00005`, see [`dataset::recording`]).
///
/// Files that cannot be heard are listed in the record and do not stop the rest. `progress` is told how many of how many are
/// done; what error it returns ends the work.
///
/// # Errors
/// [`Error::Dataset`] if there is no song; [`Error::Config`] if the model lacks a genre; what `progress` says.
pub fn evaluate_songs(
    classifier: &Classifier,
    options: &ClassifyOptions,
    folder: &Path,
    only: Option<&BTreeSet<String>>,
    progress: &mut dyn FnMut(u64, u64) -> Result<()>,
) -> Result<Evaluation> {
    let mut songs = labelled_songs(folder)?;
    let all = songs.len();
    songs.retain(|song| only.is_none_or(|only| only.contains(dataset::recording(&song.id()))));
    if let Some(first) = only
        .and_then(BTreeSet::first)
        .filter(|_| all > 0 && songs.is_empty())
    {
        return Err(Error::Dataset {
            path: folder.to_path_buf(),
            message: format!(
                "holds {all} songs, and none of those to judge by: they must be called as they were in training, <genre>/<file>, \
                 such as {first}"
            ),
        });
    }
    if songs.is_empty() {
        let message =
            "holds no songs to judge by: sound files are expected as <genre>/<file>, such as blues/song.mp3";
        return Err(Error::Dataset {
            path: folder.to_path_buf(),
            message: message.into(),
        });
    }
    let (mut items, mut failures) = (Vec::new(), Vec::new());
    for some in songs.chunks(AT_ONCE) {
        let heard: Vec<Result<std::result::Result<Judged, String>>> = some
            .par_iter()
            .map(|song| {
                let truth = class_of(classifier, &song.genre)?;
                let predictions = match AudioStream::open(&song.path, &options.limits)
                    .and_then(|stream| classifier.classify_stream(stream, options, &mut |_| Ok(())))
                {
                    Ok(predictions) => predictions.predictions,
                    Err(error) => return Ok(Err(format!("{}: {error}", song.path.display()))),
                };
                let songs = vec![dataset::recording(&song.id()).to_string()];
                let scores = scores(classifier, &predictions);
                Ok(Ok(Judged {
                    name: song.id(),
                    truth,
                    scores,
                    songs,
                    snr_db: None,
                    noises: None,
                    remix: None,
                    file: Some(song.path.to_string_lossy().into_owned()),
                }))
            })
            .collect();
        for result in heard {
            match result? {
                Ok(judged) => items.push(judged),
                Err(failure) => failures.push(failure),
            }
        }
        progress((items.len() + failures.len()) as u64, songs.len() as u64)?;
    }
    Ok(Evaluation {
        title: format!("{} whole songs", items.len()),
        model: classifier.name().into(),
        labels: classifier.labels().to_vec(),
        items,
        failures,
    })
}

/// Ids (`<genre>/<file name without extension>`) of the songs that [`evaluate_songs`] finds in a folder.
///
/// # Errors
/// [`Error::Io`] if a folder cannot be read.
pub(super) fn songs_in(folder: &Path) -> Result<Vec<String>> {
    Ok(labelled_songs(folder)?.iter().map(|song| song.id()).collect())
}

fn class_of(classifier: &Classifier, genre: &str) -> Result<usize> {
    classifier
        .labels()
        .iter()
        .position(|label| label == genre)
        .ok_or_else(|| {
            Error::Config(format!(
                "the data has the genre '{genre}', which the model does not know; it knows {}",
                classifier.labels().join(", ")
            ))
        })
}

/// Scores by class index from predictions by falling score.
fn scores(classifier: &Classifier, predictions: &[Prediction]) -> Vec<f32> {
    let of = |label: &String| {
        predictions
            .iter()
            .find(|p| p.label == *label)
            .map_or(0.0, |p| p.score)
    };
    classifier.labels().iter().map(of).collect()
}
