//! MessyMashup: index of songs, stems, noise; Split by song.
#![allow(missing_docs, unused)]
use std::path::{Path, PathBuf};

use crate::Result;

pub const GENRES: [&str; 10] = ["blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock"];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stem { Drums, Vocals, Bass, Other }
impl Stem { pub const ALL: [Stem; 4] = [Stem::Drums, Stem::Vocals, Stem::Bass, Stem::Other]; }

/// One song: id is "<genre>/<folder name>", unique in the data set. stems[i] is Stem::ALL[i]; None only if missing stems are allowed.
#[derive(Debug, Clone, PartialEq)]
pub struct Song { pub id: String, pub genre: usize, pub stems: [Option<PathBuf>; 4] }
#[derive(Debug, Clone, PartialEq)]
pub struct NoiseClip { pub id: String, pub path: PathBuf, pub fold: u32 }

#[derive(Debug, Clone, Default)]
pub struct DatasetOptions { pub allow_missing_stems: bool, pub extra_noise: Vec<PathBuf> }

#[derive(Debug, Clone)]
pub struct MessyMashup { pub genres: Vec<String>, pub songs: Vec<Song>, pub noises: Vec<NoiseClip> }
impl MessyMashup {
    /// Finds the layout below each root (several roots are merged: songs of one genre from each).
    pub fn open(roots: &[PathBuf], options: &DatasetOptions) -> Result<Self> { todo!() }
    /// Decodes everything once: lengths, rates, silent or unreadable files.
    pub fn inventory(&self) -> Inventory { todo!() }
}
pub struct Inventory { /* songs, stems, silent, unreadable, seconds, rates per genre */ }
impl std::fmt::Display for Inventory { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { todo!() } }

/// Which songs and noise folds belong to which side. Saved as split.json.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split { pub seed: u64, pub train: Vec<String>, pub validation: Vec<String>, pub train_folds: Vec<u32>, pub validation_folds: Vec<u32> }
impl Split {
    /// By song, stratified by genre, seeded. validation_fraction in [0, 1): 0 puts every song in train (and validation mashups are then made of train songs with validation noise).
    pub fn by_song(data: &MessyMashup, validation_fraction: f64, validation_folds: &[u32], seed: u64) -> Result<Self> { todo!() }
    pub fn load(path: &Path) -> Result<Self> { todo!() }
    pub fn save(&self, path: &Path) -> Result<()> { todo!() }
}
