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
    /// What the model had heard when this training began from it, besides what trains it now.
    #[serde(default, skip_serializing_if = "Heard::is_empty")]
    pub before: Heard,
}

/// What trained a model that another one began from.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heard {
    /// Ids of songs, sorted. The data of the later training need not have them.
    pub songs: Vec<String>,
    /// Folds of noise.
    pub folds: Vec<u32>,
}

impl Heard {
    /// Whether it is nothing.
    pub fn is_empty(&self) -> bool {
        self.songs.is_empty() && self.folds.is_empty()
    }
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
        Self::draw(data, validation_fraction, validation_folds, seed, None)
    }

    /// The same for a training that begins from a model which was trained with the split `before`: no recording and no noise that
    /// trained it judges. Recordings that judged it come first among those that judge now, then those that it does not know; where a
    /// genre has too few of both, fewer judge, and in the end none ([`Split::judged`] tells who does then). What had trained it is kept in [`Split::before`], so that nobody calls it unheard later.
    ///
    /// # Errors
    /// As [`Split::by_song`], and [`Error::Config`] where one of the folds trained that model.
    pub fn by_song_after(
        before: &Split,
        data: &MessyMashup,
        validation_fraction: f64,
        validation_folds: &[u32],
        seed: u64,
    ) -> Result<Self> {
        let mut split = Self::draw(data, validation_fraction, validation_folds, seed, Some(before))?;
        let now: BTreeSet<&String> = split.train.iter().collect();
        let then: BTreeSet<&String> = before.train.iter().chain(&before.before.songs).collect();
        let songs = then.difference(&now).map(|song| song.to_string()).collect();
        let folds: BTreeSet<u32> = before
            .heard_folds()
            .filter(|fold| !split.train_folds.contains(fold))
            .collect();
        split.before = Heard {
            songs,
            folds: folds.into_iter().collect(),
        };
        Ok(split)
    }

    fn draw(
        data: &MessyMashup,
        validation_fraction: f64,
        validation_folds: &[u32],
        seed: u64,
        before: Option<&Split>,
    ) -> Result<Self> {
        if !(0.0..1.0).contains(&validation_fraction) {
            return Err(Error::Config(format!(
                "validation.fraction is {validation_fraction}; it must be at least 0 and less than 1"
            )));
        }
        let mut by_genre: BTreeMap<&str, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
        for song in &data.songs {
            let genre = by_genre.entry(data.genres[song.genre].as_str()).or_default();
            genre.entry(song.recording()).or_default().push(&song.id);
        }
        let heard = before.map(Split::recordings).unwrap_or_default();
        let judged: BTreeSet<&str> = before
            .map(|before| &before.validation)
            .into_iter()
            .flatten()
            .map(|id| recording(id))
            .collect();
        let (mut train, mut validation) = (Vec::new(), Vec::new());
        for (genre, recordings) in by_genre {
            let mut recordings: Vec<_> = recordings.into_iter().collect();
            // Keyed by the genre's name, so that adding a genre leaves the other genres' sides as they were.
            Random::new(&[purpose::SPLIT, seed, hash(genre)]).shuffle(&mut recordings);
            recordings.sort_by_key(|(name, _)| (heard.contains(name), !judged.contains(name)));
            let count = recordings.len();
            let free = recordings
                .iter()
                .filter(|(name, _)| !heard.contains(name))
                .count();
            let wanted = (count as f64 * validation_fraction).round() as usize;
            let judging = if validation_fraction > 0.0 && count >= 2 {
                wanted.clamp(1, count - 1).min(free)
            } else {
                0
            };
            let mut songs = recordings.into_iter().map(|(_, songs)| songs);
            validation.extend(songs.by_ref().take(judging).flatten().map(str::to_string));
            train.extend(songs.flatten().map(str::to_string));
        }
        train.sort();
        validation.sort();
        let folds: BTreeSet<u32> = data.noises.iter().map(|noise| noise.fold).collect();
        let asked = validation_folds;
        let (validation_folds, train_folds): (Vec<u32>, Vec<u32>) =
            folds.iter().partition(|fold| asked.contains(fold));
        if !folds.is_empty() && (validation_folds.is_empty() || train_folds.is_empty()) {
            let side = if train_folds.is_empty() {
                "training"
            } else {
                "validation"
            };
            return Err(Error::Config(format!(
                "validation.noise_folds is {asked:?} and leaves no noise for {side}: the data's noise has the folds {folds:?}. Name \
                 some of them, but not all"
            )));
        }
        let heard_folds: BTreeSet<u32> = before.into_iter().flat_map(Split::heard_folds).collect();
        if let Some(fold) = validation_folds.iter().find(|fold| heard_folds.contains(fold)) {
            let unheard: Vec<&u32> = folds.difference(&heard_folds).collect();
            let advice = if unheard.is_empty() {
                "It has heard every fold of this data's noise: give a folder of other noise".to_string()
            } else {
                format!("Name folds that it has not heard: {unheard:?}")
            };
            return Err(Error::Config(format!(
                "validation.noise_folds names {fold}, but noise of that fold trained the model that init names. {advice}"
            )));
        }
        Ok(Self {
            seed,
            train,
            validation,
            train_folds,
            validation_folds,
            before: Heard::default(),
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
            before: Heard::default(),
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
        match folds
            .iter()
            .find(|&&fold| self.heard_folds().any(|heard| heard == fold))
        {
            None => Ok(()),
            Some(fold) => Err(Error::Config(format!(
                "noise fold {fold} trained this model, says the split.json of its training: judge it by that split"
            ))),
        }
    }

    /// Genres of which no song is kept from training, though some of another genre are.
    pub fn unjudged<'a>(&self, data: &'a MessyMashup) -> Vec<&'a str> {
        let judged: BTreeSet<usize> = self
            .validation
            .iter()
            .filter_map(|id| Some(data.song(id)?.genre))
            .collect();
        let genres = data.genres.iter().enumerate();
        genres
            .filter(|(genre, _)| !judged.is_empty() && !judged.contains(genre))
            .map(|(_, name)| &name[..])
            .collect()
    }

    /// Songs that the split names and the data lacks.
    pub fn lacking(&self, data: &MessyMashup) -> Vec<String> {
        let songs = self.train.iter().chain(&self.validation);
        songs.filter(|id| data.song(id).is_none()).cloned().collect()
    }

    /// How many of these songs trained the model whose split this is, in whatever excerpt or version.
    pub fn count_heard<'a>(&self, songs: impl IntoIterator<Item = &'a str>) -> usize {
        let heard = self.recordings();
        songs
            .into_iter()
            .filter(|id| heard.contains(recording(id)))
            .count()
    }

    /// What trained the model, and the one that it began from.
    fn recordings(&self) -> BTreeSet<&str> {
        let songs = self.train.iter().chain(&self.before.songs);
        songs.map(|id| recording(id)).collect()
    }

    /// Folds of noise that trained the model, and the one that it began from.
    fn heard_folds(&self) -> impl Iterator<Item = u32> {
        self.train_folds.iter().chain(&self.before.folds).copied()
    }

    /// Checks that the split fits the data and keeps its promise. Songs of the data that it does not name are fine:
    /// they are not used.
    ///
    /// # Errors
    /// [`Error::Config`] where the data lacks songs that the split names (the first five are named), or where a
    /// recording or a noise fold is on both sides.
    pub fn check(&self, data: &MessyMashup) -> Result<()> {
        let unknown = self.lacking(data);
        if !unknown.is_empty() {
            return Err(Error::Config(format!(
                "the split names {} song(s) that the data lacks: {}. Give the data roots that it was made of",
                unknown.len(),
                first_five(&unknown)
            )));
        }
        let training = self.train.iter().chain(&self.before.songs);
        let training: HashMap<&str, &String> = training.map(|id| (recording(id), id)).collect();
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
                "the split has {} validation song(s) that trained the model, or the one that it began from: {}. Make a new split",
                shared.len(),
                first_five(&shared)
            )));
        }
        if let Some(fold) = self
            .heard_folds()
            .find(|fold| self.validation_folds.contains(fold))
        {
            return Err(Error::Config(format!(
                "the split has noise fold {fold} in validation, which trained the model, or the one that it began from; make a new split"
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
