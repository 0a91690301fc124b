//! What can be chosen about how a sound is heard.

use std::num::NonZeroUsize;

use messymash_kernels::cross_entropy::softmax;

use crate::audio::AudioLimits;
use crate::{Error, Result};

/// Which part of a sound is heard.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Windows {
    /// The whole sound, in windows `hop` seconds apart. A rest of half a second or more at the end gets a window of its
    /// own, filled as [`ClassifyOptions::tail`] says.
    All {
        /// Seconds from one window's start to the next, at least 0.1.
        hop: f64,
    },
    /// Only the first window, short sound padded with zeros: exactly what `transformers` hears. Two seconds more are decoded, the
    /// rest of the sound is not: no limit counts it, and warnings do not tell of it.
    First,
}

/// What fills the last window where too little sound is left for it, or the only one of a short sound.
///
/// Which validates best is measured in `docs/experiments.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tail {
    /// The window begins earlier, so that it ends with the sound; a sound shorter than a window is repeated.
    #[default]
    Shift,
    /// The rest is repeated until the window is full.
    Repeat,
    /// The rest is followed by zeros, as `transformers` pads.
    Pad,
}

/// What makes scores of a window's logits; `transformers` calls it `function_to_apply`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScoreFunction {
    /// Probabilities that sum to 1: one label is right.
    Softmax,
    /// A probability for each label by itself: several may be right.
    Sigmoid,
    /// The logits as they are.
    None,
}

impl ScoreFunction {
    /// What `transformers` applies where nothing is asked for: by the `problem_type` of `config.json`.
    pub(super) fn of(problem_type: Option<&str>) -> Self {
        match problem_type {
            Some("regression") => Self::None,
            Some("multi_label_classification") => Self::Sigmoid,
            _ => Self::Softmax,
        }
    }

    pub(super) fn apply(self, scores: &mut [f32]) {
        match self {
            Self::Softmax => softmax(scores),
            Self::Sigmoid => scores.iter_mut().for_each(|x| *x = 1.0 / (1.0 + (-*x).exp())),
            Self::None => {}
        }
    }
}

/// How a sound is classified.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassifyOptions {
    /// Which part is heard. By default all, in windows 10.24 s apart (1024 frames, so that they touch).
    pub windows: Windows,
    /// What fills a window that the sound does not; of no account with [`Windows::First`], which pads.
    pub tail: Tail,
    /// What makes scores of the logits. `None`: softmax, unless the model's `config.json` has a `problem_type` that asks
    /// for something else, as in `transformers`.
    pub function: Option<ScoreFunction>,
    /// What is accepted as sound.
    pub limits: AudioLimits,
    /// Windows computed at once: more takes more memory. `None`: as many as is fast on the threads there are.
    pub batch: Option<NonZeroUsize>,
}

impl Default for ClassifyOptions {
    fn default() -> Self {
        Self {
            windows: Windows::All { hop: 10.24 },
            tail: Tail::default(),
            function: None,
            limits: AudioLimits::default(),
            batch: None,
        }
    }
}

impl ClassifyOptions {
    /// Checks the options, so that a mistake is found before the first file is.
    ///
    /// # Errors
    /// [`Error::Config`] for a hop outside 0.1 s to an hour.
    pub fn check(&self) -> Result<()> {
        match self.windows {
            Windows::All { hop } if !(0.1..=3600.0).contains(&hop) => Err(Error::Config(format!(
                "the hop is {hop} s; it must be from 0.1 to 3600"
            ))),
            _ => Ok(()),
        }
    }
}
