//! Waveform: decode any file or bytes as a stream, mono f32 in [-1, 1], resample.
#![allow(missing_docs, unused)]
use std::path::Path;
use std::sync::Arc;

use crate::Result;

/// Something a listener should know about the sound; never a reason not to answer. Codes: truncated_file, non_finite, clipped, silence, phase_cancelled, short_clip ...
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Warning { pub code: String, pub message: String }

/// What a decoder accepts, an argument so that tests, fuzzers and servers run the same code.
#[derive(Debug, Clone, PartialEq)]
pub struct AudioLimits { pub max_seconds: Option<f64>, pub sample_rates: std::ops::RangeInclusive<u32>, pub channels: std::ops::RangeInclusive<u16> }
impl Default for AudioLimits { fn default() -> Self { Self { max_seconds: None, sample_rates: 1_000..=768_000, channels: 1..=32 } } }

/// Mono sound in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Waveform { pub samples: Vec<f32>, pub sample_rate: u32, pub warnings: Vec<Warning> }

impl Waveform {
    pub fn new(samples: Vec<f32>, sample_rate: u32) -> Self { Self { samples, sample_rate, warnings: Vec::new() } }
    pub fn open(path: impl AsRef<Path>) -> Result<Self> { todo!() }
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>) -> Result<Self> { todo!() }
    /// whole-waveform band-limited resampling; output length = round(n * rate / self.sample_rate), delay compensated
    pub fn resample(&self, sample_rate: u32) -> Result<Self> { todo!() }
    pub fn seconds(&self) -> f64 { self.samples.len() as f64 / f64::from(self.sample_rate) }
    /// 16-bit PCM mono wav, replaced whole
    pub fn write_wav(&self, path: impl AsRef<Path>) -> Result<()> { todo!() }
}

/// Decodes and (optionally) resamples in blocks; memory does not grow with the length.
pub struct AudioStream { }
impl AudioStream {
    pub fn open(path: impl AsRef<Path>, limits: &AudioLimits) -> Result<Self> { todo!() }
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>, limits: &AudioLimits) -> Result<Self> { todo!() }
    /// a stream over samples that are in memory already
    pub fn from_waveform(waveform: &Waveform, limits: &AudioLimits) -> Result<Self> { todo!() }
    /// Converts what follows to `sample_rate` (no-op if equal). Call before the first block.
    pub fn resampled(self, sample_rate: u32) -> Result<Self> { todo!() }
    pub fn sample_rate(&self) -> u32 { todo!() }
    /// Total length where the container states it (untrusted: for progress only).
    pub fn expected_seconds(&self) -> Option<f64> { todo!() }
    /// Appends the next block of mono samples to `out`; false at the end.
    pub fn next_block(&mut self, out: &mut Vec<f32>) -> Result<bool> { todo!() }
    /// Seconds decoded so far (at the source's rate).
    pub fn seconds(&self) -> f64 { todo!() }
    /// Complete once next_block has returned false.
    pub fn warnings(&self) -> &[Warning] { todo!() }
}
