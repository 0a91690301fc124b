//! Tells the genre of messy audio, and trains the Audio Spectrogram Transformer (AST) that does.
//!
//! ```
//! use messymash::{Classifier, Waveform};
//!
//! fn main() -> messymash::Result<()> {
//! #   std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).unwrap();
//!     let classifier = Classifier::bundled()?; // or Classifier::from_pretrained("runs/remix/best")?
//!     let song = Waveform::open("samples/mashup.flac")?;
//!     for prediction in classifier.classify(&song)?.top(3) {
//!         println!("{:5.1}%  {}", 100.0 * prediction.score, prediction.label);
//!     }
//!     Ok(())
//! }
//! ```
//!
//! That is all most callers need; [`guide`] goes through the rest by examples. Every stage behind it is public, in the order in which sound passes through them:
//! [`audio`] (any file or bytes as a stream of mono samples), [`fbank`] and [`features`] (the model's input),
//! [`ast`] (the model), [`checkpoint`] (a Hugging Face directory, in and out), [`classifier`] (windows, and one answer).
//! For training: [`dataset`] (the Messy Mashup layout, divided by song), [`remix`] (cross-song recombination),
//! [`specaugment`], [`optim`], [`train`], [`run`], [`events`]. For judging: [`evaluate`], [`metrics`], [`report`],
//! [`picture`], [`calibrate`] and [`verdict`] (what an answer is worth). For the competition: [`submission`]. For a music library: [`tag`].
//!
//! Work is spread over the current rayon pool. Nothing here prints, reads the network, or panics on any input; errors say
//! what the caller can do ([`Error`]).
#![forbid(unsafe_code)]

pub mod ast;
pub mod atomic;
pub mod audio;
pub mod calibrate;
pub mod checkpoint;
pub mod classifier;
pub mod dataset;
pub mod error;
pub mod evaluate;
pub mod events;
pub mod fbank;
pub mod features;
pub mod journal;
pub mod metrics;
pub mod optim;
pub mod picture;
pub mod random;
pub mod remix;
pub mod report;
pub mod run;
pub mod separate;
pub mod specaugment;
pub mod submission;
pub mod tag;
pub mod train;
pub mod verdict;

/// The README's example must compile too.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct Readme;

#[doc = include_str!("../guide.md")]
pub mod guide {}

pub use audio::{Warning, Waveform};
pub use classifier::{Classifier, Prediction, Predictions, StreamClassifier};
pub use error::{Error, Result};
pub use verdict::Verdict;

/// The instruction set that the element-wise arithmetic uses on this machine: `portable`, `avx2` or `avx512`.
pub fn instructions() -> &'static str {
    messymash_kernels::simd::level().name()
}
