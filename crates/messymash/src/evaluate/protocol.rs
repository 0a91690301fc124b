//! The two questions that a model is judged by, each a fixed choice of songs, noise and mashups.

use crate::dataset::Split;
use crate::{Error, Result};

/// What a model is judged by, so that figures of one protocol can be compared: [`Protocol::MASHUPS`] mashups of
/// [`Protocol::SEED`] with the default settings of recombination, noise of the folds that training never heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Noisy mashups of the songs that training never heard: how well it does on music that is new to it.
    UnseenSongs,
    /// New mashups of the songs it was trained on, in unheard noise: the competition's task, whose test set is made of the
    /// training songs. Training never makes these mashups, whatever its seed ([`JUDGING_EPOCH`](crate::remix::JUDGING_EPOCH)).
    NewMashups,
}

impl Protocol {
    /// Mashups of a full evaluation.
    pub const MASHUPS: u64 = 2000;
    /// Their seed.
    pub const SEED: u64 = 1000;

    /// As typed.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::UnseenSongs => "unseen-songs",
            Protocol::NewMashups => "new-mashups",
        }
    }

    /// What it takes from the data, in words.
    pub fn material_name(self) -> &'static str {
        match self {
            Protocol::UnseenSongs => "unheard songs, unheard noise",
            Protocol::NewMashups => "training songs, unheard noise",
        }
    }

    /// The songs to judge by, out of `split`. `trained` is the split that the model was trained with; the two may be one.
    ///
    /// # Errors
    /// [`Error::Config`] where a song that has to be unheard trained the model, where songs that are to be training songs did not
    /// train it (the first five are named), or where there is no song.
    pub fn songs<'a>(self, split: &'a Split, trained: &Split) -> Result<&'a [String]> {
        let songs = match self {
            Protocol::UnseenSongs => {
                trained.check_unheard(&split.validation)?;
                &split.validation
            }
            Protocol::NewMashups => {
                trained.check_heard(&split.train)?;
                &split.train
            }
        };
        if songs.is_empty() {
            let message = match self {
                Protocol::UnseenSongs => {
                    "the split keeps no song from training; judge by training songs (protocol new-mashups), or train with \
                     validation.fraction above 0"
                }
                Protocol::NewMashups => "the split has no training song",
            };
            return Err(Error::Config(message.into()));
        }
        Ok(songs)
    }

    /// The songs and the noise folds to judge by, as [`songs`](Self::songs).
    ///
    /// # Errors
    /// As of [`songs`](Self::songs), and [`Error::Config`] where a noise fold trained the model.
    pub fn material<'a>(self, split: &'a Split, trained: &Split) -> Result<(&'a [String], &'a [u32])> {
        let songs = self.songs(split, trained)?;
        trained.check_unheard_noise(&split.validation_folds)?;
        Ok((songs, &split.validation_folds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Heard;

    fn split(train: &[&str], validation: &[&str], folds: [&[u32]; 2]) -> Split {
        let owned = |ids: &[&str]| ids.iter().map(|id| id.to_string()).collect();
        Split {
            seed: 1,
            train: owned(train),
            validation: owned(validation),
            train_folds: folds[0].to_vec(),
            validation_folds: folds[1].to_vec(),
            before: Heard::default(),
        }
    }

    #[test]
    fn a_model_is_judged_by_its_own_split() {
        let own = split(&["a/1", "b/1"], &["a/2", "b/2"], [&[1, 2], &[5]]);
        let (songs, folds) = Protocol::UnseenSongs.material(&own, &own).unwrap();
        assert_eq!((songs, folds), (&own.validation[..], &[5][..]));
        let (songs, folds) = Protocol::NewMashups.material(&own, &own).unwrap();
        assert_eq!((songs, folds), (&own.train[..], &[5][..]));
    }

    #[test]
    fn every_leak_is_refused_and_named() {
        let own = split(&["a/blues.00001.x", "b/1"], &["a/2"], [&[1, 2], &[5]]);
        let refused = |protocol: Protocol, other: &Split| {
            let error = protocol.material(other, &own).unwrap_err();
            assert!(matches!(error, Error::Config(_)));
            error.to_string()
        };
        // Another split, which keeps from training what trained this model: another excerpt of the same recording.
        let other = split(&["a/2"], &["a/blues.00001.z", "b/2"], [&[1, 2], &[5]]);
        let message = refused(Protocol::UnseenSongs, &other);
        assert!(
            message.contains("1 of the 2 songs") && message.contains("a/blues.00001.z"),
            "{message}"
        );
        // Noise that trained it.
        let other = split(&["b/1"], &["a/2"], [&[1, 5], &[2]]);
        for protocol in [Protocol::UnseenSongs, Protocol::NewMashups] {
            let message = refused(protocol, &other);
            assert!(message.contains("noise fold 2"), "{message}");
        }
        // "Training songs" that are none.
        let other = split(&["b/1", "a/2"], &[], [&[1, 2], &[5]]);
        let message = refused(Protocol::NewMashups, &other);
        assert!(
            message.contains("a/2") && message.contains("did not train"),
            "{message}"
        );
        let message = refused(Protocol::UnseenSongs, &other);
        assert!(message.contains("keeps no song"), "{message}");
    }
}
