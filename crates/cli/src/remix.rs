//! `messymash remix`: mashups as sound files, to listen to or to judge models by.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use messymash::dataset::Split;
use messymash::remix::{RECIPES_FILE, RemixOptions, Remixer, write_remixes};
use messymash::train::TrainConfig;

use crate::input::{DataArgs, ThreadArgs};
use crate::progress::Progress;
use crate::{Outcome, interrupt};

/// Write mashups as wav files, with their recipes.
///
/// Each mashup mixes stems of different songs of one genre with street noise on top, as training does. recipes.jsonl says
/// what every one is made of.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,
    /// The folder to write to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How many mashups
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Another seed gives other mashups; the same seed gives the same ones
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// A training recipe whose [remix] settings are used. Left out: the defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    threads: ThreadArgs,
}

pub fn run(args: &Args) -> Result<Outcome> {
    args.threads.apply()?;
    let data = args.data.open()?;
    let options = match &args.config {
        Some(path) => TrainConfig::load(path)?.remix,
        None => RemixOptions::default(),
    };
    let split = Split::everything(&data);
    let remixer = Remixer::new(&data, &split.train, &split.train_folds, options)?;
    interrupt::listen()?;
    let mut progress = Progress::new(args.count as u64);
    write_remixes(
        &remixer,
        args.seed,
        args.count as usize,
        &args.out,
        &mut |written| {
            progress.set(written as u64, "mashups");
            interrupt::check()
        },
    )?;
    progress.finish();
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{} mashups in {} ({RECIPES_FILE} says what they are made of)",
        args.count,
        args.out.display()
    )?;
    Ok(Outcome::AllWell)
}
