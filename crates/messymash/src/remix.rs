//! Cross-song recombination: stems, gains, tempo, noise -> Waveform + recipe.
#![allow(missing_docs, unused)]
use std::sync::Arc;

use crate::dataset::{MessyMashup, NoiseClip, Song, Stem};
use crate::{Result, Waveform};

/// Settings of the recombination (the [remix] table of a recipe).
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RemixOptions { pub seconds: f64 /* ... gains, tempo, noise ... */ }
impl Default for RemixOptions { fn default() -> Self { todo!() } }

/// Everything that was drawn: from it the mashup is remade sample for sample.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remix { pub genre: String, pub seed: u64 /* , parts: Vec<Part>, noises: Vec<Noise>, level ... */ }

/// Draws and renders mashups of the given songs and noises only. Shared by loader threads (&self everywhere, Sync).
pub struct Remixer { }
impl Remixer {
    pub fn new(data: &MessyMashup, songs: &[String], noise_folds: &[u32], options: RemixOptions) -> Result<Self> { todo!() }
    pub fn genres(&self) -> &[String] { todo!() }
    /// All randomness from (seed, epoch, index); the genre is index-balanced: genres[index % n] unless absent.
    pub fn draw(&self, seed: u64, epoch: u64, index: u64) -> Result<Remix> { todo!() }
    /// 16 kHz mono, options.seconds long.
    pub fn render(&self, remix: &Remix) -> Result<Waveform> { todo!() }
}
