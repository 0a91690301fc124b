//! Everything that was written is taken back.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anyhow::Result;
use messymash::Error;
use messymash::tag::{Change, Changes, Edit, State, Tags, hands_off};

use super::Args;
use super::library::{found, is_full};
use crate::input::printable_line;
use crate::progress::Progress;
use crate::{Outcome, interrupt};

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Did {
    Would,
    Restored,
    /// It holds what it held before all changes.
    Already,
    Left,
    Failed,
}

impl Did {
    fn words(self) -> &'static str {
        match self {
            Did::Would => "would restore",
            Did::Restored => "restored",
            Did::Already => "as it was",
            Did::Left => "left",
            Did::Failed => "failed",
        }
    }
}

pub(super) fn run(args: &Args, mut changes: Changes) -> Result<Outcome> {
    interrupt::listen()?;
    if args.write {
        for path in found(&args.dir) {
            messymash::tag::sweep(&path)?;
        }
    }
    let places = changes.changed();
    let mut progress = Progress::new(places.len() as u64);
    let mut counts: BTreeMap<Did, u64> = BTreeMap::new();
    // The last change first.
    for (done, place) in places.iter().rev().enumerate() {
        if interrupt::check().is_err() {
            progress.finish();
            eprintln!("stopped; every file is whole, and the same command goes on");
            return Ok(Outcome::Interrupted);
        }
        let Some(change) = changes.at(*place)? else {
            continue;
        };
        let Some(state) = changes.state(&change.file, change.field)? else {
            continue;
        };
        let (did, reason) = match restore(args, &mut changes, &change, &state) {
            Ok(done) => done,
            Err(Error::Io { source, .. }) if is_full(&source) => {
                progress.finish();
                anyhow::bail!(
                    "the disk is full: {} was left as it is. Make room and give the same command again",
                    change.file.display()
                );
            }
            Err(Error::Io { source, .. }) => (Did::Failed, source.to_string()),
            Err(error) => (Did::Failed, error.to_string()),
        };
        *counts.entry(did).or_default() += 1;
        if did != Did::Already {
            let name = change.file.to_string_lossy();
            let line = printable_line(&format!("{:<13}  {name}: {reason}", did.words()));
            progress.aside(|| writeln!(io::stdout().lock(), "{line}"))?;
        }
        progress.set(done as u64 + 1, "files");
    }
    progress.finish();
    let mut out = io::stdout().lock();
    let parts: Vec<String> = counts
        .iter()
        .map(|(did, n)| format!("{n} {}", did.words()))
        .collect();
    writeln!(out, "{} changes: {}", places.len(), parts.join(", "))?;
    if counts.contains_key(&Did::Would) {
        writeln!(out, "nothing was written: the same command with --write does it")?;
    }
    Ok(if counts.contains_key(&Did::Failed) {
        Outcome::SomeFailed
    } else {
        Outcome::AllWell
    })
}

fn restore(
    args: &Args,
    changes: &mut Changes,
    change: &Change,
    state: &State,
) -> messymash::Result<(Did, String)> {
    let path = args.dir.join(&change.file);
    if let Some(reason) = hands_off(&path, &args.dir)? {
        return Ok((Did::Left, reason.into()));
    }
    let now = Tags::read(&path)?.of(change.field).to_vec();
    if now == state.original {
        // It was never written, or restored by a run that was killed.
        if args.write {
            changes.undone(change)?;
        }
        return Ok((Did::Already, String::new()));
    }
    if !state.is_ours(&now) {
        let reason = format!("it was changed since, to {}", shown(&now));
        return Ok((Did::Left, reason));
    }
    let what = format!("{} -> {}", shown(&now), shown(&state.original));
    if !args.write {
        return Ok((Did::Would, what));
    }
    Edit::prepare(&path, change.field, &state.original, args.keep_time())?.commit()?;
    changes.undone(change)?;
    Ok((Did::Restored, what))
}

fn shown(values: &[String]) -> String {
    if values.is_empty() {
        "nothing".into()
    } else {
        values.join("; ")
    }
}
