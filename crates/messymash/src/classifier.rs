//! Classifier: waveform -> Predictions {clip, windows, warnings}.
#![allow(missing_docs, unused)]
use std::path::Path;

use crate::audio::{AudioLimits, AudioStream};
use crate::{Result, Warning, Waveform};

#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Prediction { pub label: String, pub score: f32 }

/// One window of the sound: start and end in seconds, all labels by falling score.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct WindowPredictions { pub start: f64, pub end: f64, pub predictions: Vec<Prediction> }

#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Predictions { pub seconds: f64, /* all labels by falling score */ pub predictions: Vec<Prediction>, pub windows: Vec<WindowPredictions>, pub warnings: Vec<Warning> }
impl Predictions { pub fn top(&self, k: usize) -> &[Prediction] { &self.predictions[..k.min(self.predictions.len())] } }

/// How a sound longer or shorter than one window is heard.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Windows {
    /// Windows over the whole sound, `hop` seconds apart.
    All { hop: f64 },
    /// Only the first window: exactly the reference's answer.
    First,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ClassifyOptions { pub windows: Windows, pub limits: AudioLimits, pub batch: usize }
impl Default for ClassifyOptions { fn default() -> Self { todo!() } }

pub struct Classifier { }
impl Classifier {
    pub fn bundled() -> Result<Self> { todo!() }
    /// A model directory, or an id such as `owner/name` looked up in the local Hugging Face cache.
    pub fn from_pretrained(model: impl AsRef<Path>) -> Result<Self> { todo!() }
    pub fn labels(&self) -> &[String] { todo!() }
    /// "bundled" or what from_pretrained was given.
    pub fn name(&self) -> &str { todo!() }
    /// Facts for people: parameters, shape, window, where from, licence.
    pub fn info(&self) -> ModelInfo { todo!() }
    pub fn classify(&self, waveform: &Waveform) -> Result<Predictions> { todo!() }
    /// `progress` is told the seconds heard so far; returning Err(Interrupted) from it stops the work.
    pub fn classify_stream(&self, stream: AudioStream, options: &ClassifyOptions, progress: &mut dyn FnMut(f64) -> Result<()>) -> Result<Predictions> { todo!() }
}

#[derive(Debug, Clone, serde::Serialize)]
pub struct ModelInfo { pub name: String, pub labels: Vec<String>, pub parameters: usize, pub hidden_size: usize, pub num_hidden_layers: usize, pub num_attention_heads: usize, pub num_mel_bins: usize, pub max_length: usize, pub sampling_rate: u32, pub window_seconds: f64, pub card: Option<String> }
