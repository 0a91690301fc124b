//! FeatureExtractor: windows, pad, normalise (preprocessor_config.json).
#![allow(missing_docs, unused)]
use std::path::Path;

use crate::Result;

/// Turns a window of 16 kHz sound into the model's input, as `transformers.ASTFeatureExtractor` does.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureExtractor { pub num_mel_bins: usize, pub max_length: usize, pub mean: f32, pub std: f32, pub sampling_rate: u32, pub do_normalize: bool /* + private Fbank */ }
impl FeatureExtractor {
    pub fn new(num_mel_bins: usize, max_length: usize) -> Result<Self> { todo!() }
    /// reads the text of a preprocessor_config.json
    pub fn from_json(json: &str) -> Result<Self> { todo!() }
    pub fn to_json(&self) -> String { todo!() }
    /// Samples that fill one window exactly: 400 + (max_length-1)*160 for the published configuration (10.255 s -> 1024 frames)
    pub fn window_samples(&self) -> usize { todo!() }
    /// [max_length, num_mel_bins] row-major; longer sound is cut, shorter padded with zeros BEFORE normalising. Err(TooShort) under one frame.
    pub fn extract(&self, samples: &[f32]) -> Result<Vec<f32>> { todo!() }
}
