//! The training loop.
#![allow(missing_docs, unused)]
use std::path::{Path, PathBuf};

use crate::Result;

/// The recipe: a TOML file, every key optional, an unknown key is an error.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig { pub seed: u64 }
impl Default for TrainConfig { fn default() -> Self { todo!() } }
impl TrainConfig { pub fn load(path: &Path) -> Result<Self> { todo!() } }

/// What the loop tells whoever shows progress.
#[derive(Debug, Clone, PartialEq)]
pub enum TrainEvent {
    /// A fact for the log (data, head re-initialised, resumed at ...).
    Note(String),
    Step { epoch: u64, step: u64, steps: u64, loss: f32, learning_rate: f32, mashups_per_second: f64, seconds_left: f64 },
    Validated { epoch: u64, step: u64, loss: f32, macro_f1: f64, best: bool },
}

/// Trains in a new run directory. `on_event` returning Err(Interrupted) saves last/ and stops.
pub fn train(config: &TrainConfig, data: &[PathBuf], run: &Path, on_event: &mut dyn FnMut(TrainEvent) -> Result<()>) -> Result<()> { todo!() }
/// Continues a run exactly where its last/ stands.
pub fn resume(run: &Path, on_event: &mut dyn FnMut(TrainEvent) -> Result<()>) -> Result<()> { todo!() }
