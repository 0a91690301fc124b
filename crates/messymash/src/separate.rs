//! Harmonic-percussive separation with bands: a song -> drums, bass, vocals-ish, other, which sum to the song exactly.
#![allow(missing_docs, unused)]
use crate::{Result, Waveform};
/// Parts in the order of dataset::Stem::ALL (drums, vocals, bass, other).
pub fn separate(song: &Waveform) -> Result<[Waveform; 4]> { todo!() }
