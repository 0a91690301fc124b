//! Stores a model directory in 16-bit floats, half the size: `cargo run --release --example store_f16 -- FROM TO`.
//!
//! A model card (README.md) that lies in TO is kept.

use std::path::Path;

use anyhow::{Context, Result};
use messymash::checkpoint::{Checkpoint, Stored};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [from, to] = &arguments[..] else {
        anyhow::bail!("usage: store_f16 FROM TO");
    };
    let (from, to) = (Path::new(from), Path::new(to));
    let mut checkpoint = Checkpoint::load(from)?;
    if let Ok(card) = std::fs::read_to_string(to.join("README.md")) {
        checkpoint.card = Some(card);
    }
    checkpoint.save(to, Stored::F16).context("cannot store the model")
}
