//! Tells the genre of messy audio, and trains the Audio Spectrogram Transformer (AST) that does.
#![forbid(unsafe_code)]

pub mod ast;
pub mod atomic;
pub mod audio;
pub mod checkpoint;
pub mod classifier;
pub mod dataset;
pub mod error;
pub mod evaluate;
pub mod fbank;
pub mod features;
pub mod metrics;
pub mod optim;
pub mod random;
pub mod remix;
pub mod report;
pub mod run;
pub mod separate;
pub mod specaugment;
pub mod train;

pub use audio::{Warning, Waveform};
pub use classifier::{Classifier, Prediction, Predictions};
pub use error::{Error, Result};

/// The instruction set that the element-wise arithmetic uses on this machine: `portable`, `avx2` or `avx512`.
pub fn instructions() -> &'static str {
    messymash_kernels::simd::level().name()
}
