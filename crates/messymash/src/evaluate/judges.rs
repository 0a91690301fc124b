//! Which songs and which noise judge a model: a protocol's, by a split that leaks nothing, or all there are.

use std::collections::BTreeSet;
use std::path::Path;

use super::Protocol;
use super::judge::songs_in;
use crate::dataset::{MessyMashup, Split, recording};
use crate::{Error, Result};

/// What a model may be judged by, given what trained it.
#[derive(Debug)]
pub struct Judges {
    by: Option<(Protocol, Split)>,
    trained: Option<Split>,
}

/// The material of mashups.
#[derive(Debug)]
pub struct Material {
    /// Ids of songs.
    pub songs: Vec<String>,
    /// Folds of noise.
    pub folds: Vec<u32>,
    /// What they are, in words.
    pub name: String,
}

/// Whole songs of a folder.
#[derive(Debug)]
pub struct Whole {
    /// Recordings to judge by (see [`recording`]); `None`: all.
    pub only: Option<BTreeSet<String>>,
    /// What they are, in words that follow "12 whole songs".
    pub name: String,
    /// Songs of the folder that the split does not know, so that nobody can say whether they trained the model: left out.
    pub unknown: Vec<String>,
}

impl Judges {
    /// By `protocol`; with a `split` alone, by the songs that it keeps from training; with neither, by everything there is. `trained`
    /// is the split that the model was trained with, if anything tells; it divides the songs where no other is given.
    ///
    /// # Errors
    /// [`Error::Config`] where a protocol has no split.
    pub fn new(protocol: Option<Protocol>, split: Option<Split>, trained: Option<Split>) -> Result<Self> {
        let protocol = protocol.or(split.as_ref().map(|_| Protocol::UnseenSongs));
        let by = match (protocol, split.or_else(|| trained.clone())) {
            (None, _) => None,
            (Some(protocol), Some(split)) => Some((protocol, split)),
            (Some(_), None) => {
                return Err(Error::Config(
                    "nothing tells what this model was trained on: give the split.json of its training run (--split FILE, in Python \
                     split=)"
                        .into(),
                ));
            }
        };
        Ok(Self { by, trained })
    }

    /// Songs and noise of `data` to make mashups of.
    ///
    /// # Errors
    /// [`Error::Config`] where the split does not fit the data, or something would leak (see [`Protocol::material`]).
    pub fn of_data(&self, data: &MessyMashup) -> Result<Material> {
        let Some((protocol, split)) = &self.by else {
            let all = Split::everything(data);
            let heard = self.of_them_heard(&all.train);
            return Ok(Material {
                name: format!("all {} songs{heard}", all.train.len()),
                songs: all.train,
                folds: all.train_folds,
            });
        };
        split.check(data).map_err(|error| match error {
            Error::Config(message) if !split.lacking(data).is_empty() => Error::Config(format!(
                "{message}. To judge by other songs than those of the training, give neither a protocol nor a split"
            )),
            other => other,
        })?;
        let (songs, folds) = protocol.material(split, self.trained.as_ref().unwrap_or(split))?;
        Ok(Material {
            songs: songs.to_vec(),
            folds: folds.to_vec(),
            name: protocol.material_name().into(),
        })
    }

    /// Whole songs of `folder`, as [`evaluate_songs`](super::evaluate_songs) takes them.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder cannot be read; [`Error::Config`] where something would leak (see [`Protocol::songs`]).
    pub fn of_songs(&self, folder: &Path) -> Result<Whole> {
        let ids = songs_in(folder)?;
        let Some((protocol, split)) = &self.by else {
            return Ok(Whole {
                only: None,
                name: self.of_them_heard(&ids),
                unknown: Vec::new(),
            });
        };
        let songs = protocol.songs(split, self.trained.as_ref().unwrap_or(split))?;
        let sides = [&split.train, &split.validation, &split.before.songs];
        let known: BTreeSet<&str> = sides.into_iter().flatten().map(|id| recording(id)).collect();
        let name = match protocol {
            Protocol::UnseenSongs => " never heard in training",
            Protocol::NewMashups => " trained on",
        };
        Ok(Whole {
            only: Some(songs.iter().map(|id| recording(id).to_string()).collect()),
            name: name.into(),
            unknown: ids
                .into_iter()
                .filter(|id| !known.contains(recording(id)))
                .collect(),
        })
    }

    /// " (3 of them trained the model)", where that is known and any did.
    fn of_them_heard(&self, songs: &[String]) -> String {
        let songs = songs.iter().map(String::as_str);
        match self.trained.as_ref().map_or(0, |split| split.count_heard(songs)) {
            0 => String::new(),
            count => format!(" ({count} of them trained the model)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Heard;

    fn split(train: &str, validation: &str) -> Split {
        Split {
            seed: 1,
            train: vec![train.into()],
            validation: vec![validation.into()],
            train_folds: vec![1],
            validation_folds: vec![2],
            before: Heard::default(),
        }
    }

    #[test]
    fn a_split_is_never_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let songs = folder.path();
        std::fs::create_dir(songs.join("rock")).unwrap();
        for name in ["a", "b", "c"] {
            std::fs::write(songs.join("rock").join(name).with_extension("wav"), "").unwrap();
        }
        let (own, other) = (split("rock/a", "rock/b"), split("rock/b", "rock/a"));
        let judged = |protocol, given: Option<&Split>| -> Result<Option<Vec<String>>> {
            let whole = Judges::new(protocol, given.cloned(), Some(own.clone()))?.of_songs(songs)?;
            let unknown: &[&str] = if whole.only.is_some() { &["rock/c"] } else { &[] };
            assert_eq!(whole.unknown, unknown);
            Ok(whole.only.map(|only| only.into_iter().collect()))
        };
        let one = |id: &str| Some(vec![id.to_string()]);
        assert_eq!(judged(None, None).unwrap(), None);
        assert_eq!(judged(None, Some(&own)).unwrap(), one("rock/b"));
        assert_eq!(judged(Some(Protocol::UnseenSongs), None).unwrap(), one("rock/b"));
        assert_eq!(judged(Some(Protocol::NewMashups), None).unwrap(), one("rock/a"));
        // Another split, by which what trained the model would judge it.
        let error = judged(None, Some(&other)).unwrap_err().to_string();
        assert!(error.contains("rock/a"), "{error}");
        let error = Judges::new(Some(Protocol::UnseenSongs), None, None).unwrap_err();
        assert!(error.to_string().contains("split.json"), "{error}");
    }
}
