//! Which songs and noise folds train the model, and which judge it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{MessyMashup, recording};
use crate::error::first_five;
use crate::random::{Random, purpose};
use crate::{Error, Result, atomic};

/// Which songs and noise folds belong to which side. Saved as `split.json`.
///
/// Songs are divided before anything is mixed, by [recording](super::recording): nothing of a validation song ever
/// reaches training, not through another excerpt or another separation of it either.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// The seed it was made with.
    pub seed: u64,
    /// Ids of the songs that train the model, sorted.
    pub train: Vec<String>,
    /// Ids of the songs that judge it, sorted.
    pub validation: Vec<String>,
    /// Folds of the noise in training.
    pub train_folds: Vec<u32>,
    /// Folds of the noise in validation.
    pub validation_folds: Vec<u32>,
}

impl Split {
    /// By song, stratified by genre, seeded; the same on every machine.
    ///
    /// `validation_fraction` is in [0, 1). Of each genre that many recordings, rounded, judge: at least one where
    /// the genre has two, and never all. 0 puts every song in `train` (validation mashups are then made of training
    /// songs with validation noise). Validation noise is that of `validation_folds`, training noise all other folds.
    ///
    /// # Errors
    /// [`Error::Config`] where the fraction is out of range, or where there is noise and a side would get none.
    pub fn by_song(
        data: &MessyMashup,
        validation_fraction: f64,
        validation_folds: &[u32],
        seed: u64,
    ) -> Result<Self> {
        if !(0.0..1.0).contains(&validation_fraction) {
            return Err(Error::Config(format!(
                "validation_fraction is {validation_fraction}; it must be at least 0 and less than 1"
            )));
        }
        let mut by_genre: BTreeMap<&str, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
        for song in &data.songs {
            let genre = by_genre.entry(data.genres[song.genre].as_str()).or_default();
            genre.entry(song.recording()).or_default().push(&song.id);
        }
        let (mut train, mut validation) = (Vec::new(), Vec::new());
        for (genre, recordings) in by_genre {
            let mut recordings: Vec<_> = recordings.into_values().collect();
            // Keyed by the genre's name, so that adding a genre leaves the other genres' sides as they were.
            Random::new(&[purpose::SPLIT, seed, hash(genre)]).shuffle(&mut recordings);
            let count = recordings.len();
            let wanted = (count as f64 * validation_fraction).round() as usize;
            let judging = if validation_fraction > 0.0 && count >= 2 {
                wanted.clamp(1, count - 1)
            } else {
                0
            };
            let mut songs = recordings.into_iter();
            validation.extend(songs.by_ref().take(judging).flatten().map(str::to_string));
            train.extend(songs.flatten().map(str::to_string));
        }
        train.sort();
        validation.sort();
        let folds: BTreeSet<u32> = data.noises.iter().map(|noise| noise.fold).collect();
        let (validation_folds, train_folds): (Vec<u32>, Vec<u32>) =
            folds.iter().partition(|fold| validation_folds.contains(fold));
        if !folds.is_empty() && (validation_folds.is_empty() || train_folds.is_empty()) {
            let side = if train_folds.is_empty() {
                "training"
            } else {
                "validation"
            };
            return Err(Error::Config(format!(
                "validation_folds leaves no noise for {side}: the data's noise has the folds {folds:?}. Name some of \
                 them, but not all"
            )));
        }
        Ok(Self {
            seed,
            train,
            validation,
            train_folds,
            validation_folds,
        })
    }

    /// The songs and the noise folds that judge the model while it trains: the validation side's, and where that has no song, the
    /// training songs.
    pub fn judged(&self) -> (&[String], &[u32]) {
        let songs = if self.validation.is_empty() {
            &self.train
        } else {
            &self.validation
        };
        (songs, &self.validation_folds)
    }

    /// Every song and every fold on the training side: for listening, and for judging a model that is to be judged by all.
    pub fn everything(data: &MessyMashup) -> Self {
        let mut train: Vec<String> = data.songs.iter().map(|song| song.id.clone()).collect();
        train.sort();
        let folds: BTreeSet<u32> = data.noises.iter().map(|noise| noise.fold).collect();
        let train_folds = folds.into_iter().collect();
        Self {
            seed: 0,
            train,
            validation: Vec::new(),
            train_folds,
            validation_folds: Vec::new(),
        }
    }

    /// Reads a `split.json`. See [`Split::check`] for whether it fits the data.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Dataset`] where it is not a split.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        serde_json::from_str(&text).map_err(|error| Error::Dataset {
            path: path.to_path_buf(),
            message: format!("is not a split: {error}"),
        })
    }

    /// Writes it as JSON, the file replaced whole.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut text =
            serde_json::to_string_pretty(self).map_err(|error| Error::Config(error.to_string()))?;
        text.push('\n');
        atomic::write(path, text.as_bytes())
    }

    /// Checks that none of these songs trained the model whose split this is, nor any other excerpt or version of them.
    ///
    /// # Errors
    /// [`Error::Config`] that names the first five that did.
    pub fn check_unheard(&self, songs: &[String]) -> Result<()> {
        let heard = self.recordings();
        let leaked: Vec<String> = songs
            .iter()
            .filter(|id| heard.contains(recording(id)))
            .cloned()
            .collect();
        if leaked.is_empty() {
            return Ok(());
        }
        Err(Error::Config(format!(
            "{} of the {} songs to judge by trained this model, says the split.json of its training: {}. Judge it by that split",
            leaked.len(),
            songs.len(),
            first_five(&leaked)
        )))
    }

    /// Checks that all of these songs trained the model whose split this is, if in another excerpt or version.
    ///
    /// # Errors
    /// [`Error::Config`] that names the first five that did not.
    pub fn check_heard(&self, songs: &[String]) -> Result<()> {
        let heard = self.recordings();
        let others: Vec<String> = songs
            .iter()
            .filter(|id| !heard.contains(recording(id)))
            .cloned()
            .collect();
        if others.is_empty() {
            return Ok(());
        }
        Err(Error::Config(format!(
            "{} of the {} songs to judge by did not train this model, says the split.json of its training: {}. Judge it by that \
             split",
            others.len(),
            songs.len(),
            first_five(&others)
        )))
    }

    /// Checks that the noise of none of these folds trained the model whose split this is.
    ///
    /// # Errors
    /// [`Error::Config`] that names the fold.
    pub fn check_unheard_noise(&self, folds: &[u32]) -> Result<()> {
        match folds.iter().find(|fold| self.train_folds.contains(fold)) {
            None => Ok(()),
            Some(fold) => Err(Error::Config(format!(
                "noise fold {fold} trained this model, says the split.json of its training: judge it by that split"
            ))),
        }
    }

    /// What trained the model.
    fn recordings(&self) -> BTreeSet<&str> {
        self.train.iter().map(|id| recording(id)).collect()
    }

    /// Checks that the split fits the data and keeps its promise. Songs of the data that it does not name are fine:
    /// they are not used.
    ///
    /// # Errors
    /// [`Error::Config`] where the data lacks songs that the split names (the first five are named), or where a
    /// recording or a noise fold is on both sides.
    pub fn check(&self, data: &MessyMashup) -> Result<()> {
        let unknown: Vec<String> = self
            .train
            .iter()
            .chain(&self.validation)
            .filter(|id| data.song(id).is_none())
            .cloned()
            .collect();
        if !unknown.is_empty() {
            return Err(Error::Config(format!(
                "the split names {} song(s) that the data lacks: {}. Give the same data roots, or make a new split",
                unknown.len(),
                first_five(&unknown)
            )));
        }
        let training: HashMap<&str, &String> = self.train.iter().map(|id| (recording(id), id)).collect();
        let shared: Vec<String> = self
            .validation
            .iter()
            .filter_map(|id| {
                training
                    .get(recording(id))
                    .map(|other| format!("{id} (as {other})"))
            })
            .collect();
        if !shared.is_empty() {
            return Err(Error::Config(format!(
                "the split has {} validation song(s) in training too: {}. Make a new split",
                shared.len(),
                first_five(&shared)
            )));
        }
        if let Some(fold) = self
            .train_folds
            .iter()
            .find(|fold| self.validation_folds.contains(fold))
        {
            return Err(Error::Config(format!(
                "the split has noise fold {fold} on both sides; make a new split"
            )));
        }
        Ok(())
    }
}

/// The first eight bytes of the SHA-256 of `text`: stable over machines and versions, unlike the standard hasher.
fn hash(text: &str) -> u64 {
    Sha256::digest(text.as_bytes())
        .iter()
        .take(8)
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}
