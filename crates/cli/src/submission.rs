//! `messymash submission check`: whether an upload would be taken.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Result;
use messymash::dataset::TestSet;
use messymash::submission::{Checked, Expected, Fault, FaultKind, check};

use crate::Outcome;
use crate::input::printable;

/// Look after a submission to the competition.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Check(CheckArgs),
}

/// Find what is wrong with a submission before it is uploaded.
///
/// Compares columns, ids, order and number of rows with the test set, and genres with the competition's ten. Every fault is
/// named with its line. Exit code: 0 nothing is wrong, 1 there are faults, 2 it could not be read.
#[derive(Debug, clap::Args)]
struct CheckArgs {
    /// The submission, a table of id,genre
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    against: Against,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Against {
    /// A folder with the competition's test.csv in it or below
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The competition's sample_submission.csv, instead of the data
    #[arg(long, value_name = "FILE")]
    sample: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<Outcome> {
    let Command::Check(args) = &args.command;
    let expected = match (&args.against.data, &args.against.sample) {
        (_, Some(sample)) => Expected::of_sample(sample)?,
        (Some(data), _) => Expected::of_test_set(&TestSet::open(data)?),
        (None, None) => anyhow::bail!("give --data DIR or --sample FILE"),
    };
    let Checked { rows, counts, faults } = check(&args.file, &expected)?;
    let mut out = io::stdout().lock();
    for fault in &faults {
        writeln!(out, "{}", printable(&fault.to_string()))?;
    }
    let file = args.file.display().to_string();
    let file = printable(&file);
    if !faults.is_empty() {
        let (wanted, kinds) = (expected.rows(), kinds(&faults));
        let source = printable(expected.source());
        writeln!(
            out,
            "{file}: {} at fault ({kinds}); {rows} rows, {source} has {wanted}",
            faults.len()
        )?;
        return Ok(Outcome::SomeFailed);
    }
    writeln!(
        out,
        "{file} is right: {rows} rows, with the ids of {} in its order",
        printable(expected.source())
    )?;
    write_counts(&mut out, counts)?;
    Ok(Outcome::AllWell)
}

/// How often each genre is told, a line each.
pub fn write_counts<'a>(
    out: &mut impl Write,
    counts: impl IntoIterator<Item = (&'a str, usize)>,
) -> io::Result<()> {
    for (genre, count) in counts {
        writeln!(out, "  {genre:<12} {count:>6}")?;
    }
    Ok(())
}

/// "2 genre, 1 order"
fn kinds(faults: &[Fault]) -> String {
    let mut counts: BTreeMap<FaultKind, usize> = BTreeMap::new();
    for fault in faults {
        *counts.entry(fault.kind).or_default() += 1;
    }
    let named = counts.iter().map(|(kind, count)| {
        let kind = match kind {
            FaultKind::Columns => "columns",
            FaultKind::Row => "row",
            FaultKind::Id => "id",
            FaultKind::Order => "order",
            FaultKind::Genre => "genre",
            FaultKind::Missing => "missing",
        };
        format!("{count} {kind}")
    });
    named.collect::<Vec<_>>().join(", ")
}
