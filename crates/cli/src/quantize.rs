//! `messymash quantize`: a model directory with eight-bit weights from one with larger ones.

use std::path::PathBuf;

use anyhow::{Result, bail};
use messymash::checkpoint::{self, WEIGHTS, resolve};
use messymash::run::{SPLIT, split_of};

use crate::Outcome;

/// Write a copy of a model whose weights take a quarter of the room, and which is computed in eight bits.
///
/// The copy's config.json and README.md say what it was made of. `messymash classify --model OUT` then uses it as it does
/// any model; other programs cannot read it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model directory, or the id of a model in the local Hugging Face cache
    #[arg(value_name = "DIR")]
    model: PathBuf,
    /// The directory to write; it must not exist yet
    out: PathBuf,
}

pub fn run(args: &Args) -> Result<Outcome> {
    if args.out.exists() {
        bail!("{} exists already; name a new directory", args.out.display());
    }
    // So that `evaluate` and `calibrate` know of the copy, too, which songs it was trained on.
    let split = split_of(&resolve(&args.model)?)?;
    checkpoint::quantize(&args.model, &args.out)?;
    if let Some(split) = split {
        split.save(&args.out.join(SPLIT))?;
    }
    let size = std::fs::metadata(args.out.join(WEIGHTS)).map_or(0, |m| m.len());
    eprintln!(
        "{}: {:.1} MB of weights in eight bits",
        args.out.display(),
        size as f64 / 1e6
    );
    Ok(Outcome::AllWell)
}
