//! `messymash dataset check`: what is wrong with the data, before hours are spent on it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Result;
use messymash::dataset::{
    DatasetOptions, INVENTORY_FILE, Inventory, KnownFacts, MessyMashup, ProblemKind, Scope,
};
use serde::Serialize;

use crate::input::{ThreadArgs, printable};
use crate::progress::Progress;
use crate::{Outcome, interrupt};

/// Look after a data set.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Check(CheckArgs),
}

/// Decode everything once and tell what is wrong: missing stems, corrupt, duplicate, short, clipped, misnamed and silent files.
///
/// Writes an inventory (messymash-inventory.json in DIR), so that neither training nor the next check decodes again what has
/// not changed; stopped work goes on. Exit code: 0 the data is whole (there may be warnings), 1 files are missing, unreadable
/// or damaged, 2 it could not start, 130 interrupted.
#[derive(Debug, clap::Args)]
struct CheckArgs {
    /// A folder with the Messy Mashup layout somewhere below it
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// A further folder of noise (any sound files). May be given several times
    #[arg(long, value_name = "DIR")]
    noise: Vec<PathBuf>,
    /// Where to write the inventory, if DIR cannot be written; give the same file to train
    #[arg(long, value_name = "FILE")]
    inventory: Option<PathBuf>,
    /// Decode every file anew, also those that the inventory knows
    #[arg(long)]
    again: bool,
    /// List every warning, not only the first ten of each kind
    #[arg(long)]
    all: bool,
    /// Print JSON, for programs; it has every warning
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    threads: ThreadArgs,
}

/// The documented JSON.
#[derive(Serialize)]
struct Answer<'a> {
    /// Whether nothing must be mended.
    whole: bool,
    root: &'a Path,
    /// `null` where it could not be written.
    inventory_file: Option<&'a Path>,
    /// What the data as a whole lacks.
    notes: &'a [String],
    inventory: &'a Inventory,
}

pub fn run(args: &Args) -> Result<Outcome> {
    let Command::Check(args) = &args.command;
    args.threads.apply()?;
    let root = std::fs::canonicalize(&args.dir).map_err(messymash::Error::io(&args.dir))?;
    let options = DatasetOptions {
        // What is missing is told with the rest.
        allow_missing_stems: true,
        list_faults: true,
        extra_noise: args.noise.clone(),
    };
    let data = MessyMashup::open(std::slice::from_ref(&root), &options)?;
    let file = args
        .inventory
        .clone()
        .unwrap_or_else(|| root.join(INVENTORY_FILE));
    let mut known = known(args, &root)?;
    interrupt::listen()?;
    let mut progress = Progress::new(0);
    let survey = data.survey(Scope::Everything, &mut known, &mut |done, total| {
        progress.set_total(total as u64);
        progress.set(done as u64, "files");
        interrupt::check()
    });
    progress.finish();
    let saved = known.save(&file, &root, survey.as_ref().ok());
    if let Err(error) = &saved {
        eprintln!(
            "{}",
            printable(&format!(
                "the inventory was not written ({error}); name another place with --inventory FILE, here and to train, or \
                 everything is decoded again"
            ))
        );
    }
    let inventory = match survey {
        Ok(inventory) => inventory,
        Err(messymash::Error::Interrupted) => {
            if saved.is_ok() {
                eprintln!(
                    "stopped; what was found is kept in {}: the same command goes on",
                    file.display()
                );
            }
            return Ok(Outcome::Interrupted);
        }
        Err(error) => return Err(error.into()),
    };
    let notes = inventory.notes();
    let mut out = io::stdout().lock();
    if args.json {
        let answer = Answer {
            whole: inventory.is_whole(),
            root: &root,
            inventory_file: saved.is_ok().then_some(&file),
            notes: &notes,
            inventory: &inventory,
        };
        serde_json::to_writer_pretty(&mut out, &answer).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        let warnings = if args.all { usize::MAX } else { WARNINGS };
        write!(out, "{}", printable(&inventory.text(&root, warnings)))?;
        for note in &notes {
            writeln!(out, "note: {}", printable(note))?;
        }
        if saved.is_ok() {
            writeln!(out, "inventory: {}", printable(&file.display().to_string()))?;
        }
        writeln!(out, "{}", printable(&verdict(&inventory, args.all)))?;
    }
    Ok(if inventory.is_whole() {
        Outcome::AllWell
    } else {
        Outcome::SomeFailed
    })
}

/// What earlier checks found.
fn known(args: &CheckArgs, root: &Path) -> Result<KnownFacts> {
    let mut known = KnownFacts::default();
    match &args.inventory {
        // Also read where it is not used: a file that is no inventory is not written over.
        Some(file) => known.read(file)?,
        None => known = KnownFacts::of_roots(&[root.to_path_buf()]),
    }
    Ok(if args.again { KnownFacts::default() } else { known })
}

/// Warnings of each kind that are listed without `--all`.
const WARNINGS: usize = 10;

/// The last line.
fn verdict(inventory: &Inventory, all: bool) -> String {
    let (mend, warn): (Vec<ProblemKind>, Vec<ProblemKind>) = inventory
        .problems
        .iter()
        .map(|problem| problem.kind)
        .partition(|kind| kind.must_be_mended());
    let unlisted = |kind: &ProblemKind| inventory.problems_of(*kind).count() > WARNINGS;
    let more = if !all && warn.iter().any(unlisted) {
        " (--all lists them)"
    } else {
        ""
    };
    match (mend.len(), warn.len()) {
        (0, 0) => "every file is whole, and nothing is odd".into(),
        (0, warnings) => format!("every file is whole; warnings: {warnings}{more}"),
        (faults, warnings) => format!(
            "faults to be mended, what is missing, unreadable or damaged: {faults}; warnings: {warnings}{more}"
        ),
    }
}
