//! `messymash report`: a run directory as a page to look at.

use std::path::{Path, PathBuf};

use anyhow::Result;
use messymash::run::RunRecord;
use messymash::{atomic, report};

use crate::Outcome;

/// Write a page about a training run: learning curves, what its best model takes for what, how sure it is, its worst mistakes.
///
/// The page is one HTML file that needs nothing else. It can be written while the training goes on, and is written at its end.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run directory
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// The file to write. Left out: report.html in the run directory
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<Outcome> {
    let out = args.out.clone().unwrap_or_else(|| beside(&args.run));
    write(&args.run, &out)?;
    println!("{}", out.display());
    Ok(Outcome::AllWell)
}

/// Where the report of a run is, if nothing else is asked for.
pub fn beside(run: &Path) -> PathBuf {
    run.join("report.html")
}

/// Writes the report of a run to a file.
pub fn write(run: &Path, out: &Path) -> Result<()> {
    let page = report::run_html(&RunRecord::read(run)?)?;
    Ok(atomic::write(out, page.as_bytes())?)
}
