//! What a classifier answers.

use serde::Serialize;

use crate::Warning;
use crate::verdict::Verdict;

/// A label and how likely it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prediction {
    /// The genre.
    pub label: String,
    /// Softmax probability, in [0, 1]; all labels' sum to 1. With another [`ScoreFunction`](super::ScoreFunction), what that gives.
    pub score: f32,
}

/// What one window of the sound is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WindowPredictions {
    /// Where it begins, seconds.
    pub start: f64,
    /// Where it ends, seconds; not beyond the sound's end.
    pub end: f64,
    /// All labels, by falling score.
    pub predictions: Vec<Prediction>,
}

/// What a sound is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Predictions {
    /// How long the sound is, seconds; with [`Windows::First`](super::Windows::First) no more than the window.
    pub seconds: f64,
    /// All labels, by falling score: the mean of the windows' scores.
    pub predictions: Vec<Prediction>,
    /// The windows, in order.
    pub windows: Vec<WindowPredictions>,
    /// Whether the answer is to be trusted. A model that was not fitted to tell knows silence only, and says nothing (`None`) of other sound.
    #[serde(flatten)]
    pub verdict: Option<Verdict>,
    /// What a listener should know.
    pub warnings: Vec<Warning>,
}

impl Predictions {
    /// The `k` likeliest labels (all, if there are fewer).
    pub fn top(&self, k: usize) -> &[Prediction] {
        &self.predictions[..k.min(self.predictions.len())]
    }
}
