//! The loop on a small data set: it learns, it stops and goes on, and it refuses what it cannot train on.
// A failed unwrap is a failed test, in helpers too.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod learning;
mod recipes;
mod resuming;
mod teacher;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use messymash::checkpoint::Checkpoint;
use messymash::dataset::{MessyMashup, Split};
use messymash::remix::{RemixOptions, Remixer};
use messymash::run::{RunRecord, Score};
use messymash::train::{TeacherKind, TeacherSettings, TrainConfig, TrainEvent, resume, train};
use messymash::{Error, Result};
use safetensors::tensor::{Dtype, TensorView};
use tempfile::TempDir;

/// A folder with the data in `data/` and the recipe in `recipe.toml`.
struct World {
    dir: TempDir,
}

impl World {
    fn new(recipe: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        common::write_data(&dir.path().join("data"));
        fs::write(dir.path().join("recipe.toml"), recipe).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn config(&self) -> TrainConfig {
        TrainConfig::load(&self.path("recipe.toml")).unwrap()
    }

    fn train(&self, run: &str, on_event: &mut dyn FnMut(TrainEvent) -> Result<()>) -> Result<()> {
        train(&self.config(), &[self.path("data")], &self.path(run), on_event)
    }
}

fn listen(_: TrainEvent) -> Result<()> {
    Ok(())
}

/// Interrupts once that many steps have been taken, and goes on asking to stop, as a noted Ctrl-C does.
fn stop_at(wanted: u64) -> impl FnMut(TrainEvent) -> Result<()> {
    move |event| match event {
        TrainEvent::Step { step, .. } | TrainEvent::Validated { step, .. } if step >= wanted => {
            Err(Error::Interrupted)
        }
        _ => Ok(()),
    }
}

/// The log without the times of day that it tells.
fn log(run: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines()
        .map(|line| {
            let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
            line.as_object_mut().unwrap().remove("seconds");
            line
        })
        .collect()
}

fn assert_same_run(a: &Path, b: &Path) {
    for file in [
        "last/model.safetensors",
        "last/optimizer.safetensors",
        "best/model.safetensors",
        "split.json",
        "config.toml",
    ] {
        assert!(
            fs::read(a.join(file)).unwrap() == fs::read(b.join(file)).unwrap(),
            "{file} differs"
        );
    }
    assert_eq!(log(a), log(b));
}

/// Everything of the recipe that a resumption could upset, in one.
fn rich_recipe(epochs: u64) -> String {
    let settings = "frozen_body_steps = 3\nhead_rate_factor = 10.0\nlayer_decay = 0.7\nema_decay = 0.9\nsave_every_steps";
    let tables = "\n[mixup]\nprobability = 0.5\n\n[shorten]\nprobability = 0.5\nseconds = [0.1, 0.2]\n\n[bandwidth]\nprobability = 0.5\n";
    common::recipe(epochs).replace("save_every_steps", settings) + tables
}
