//! What a run tells a person: a line for a file, and the sums at its end.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anyhow::Result;

use super::Args;
use super::report::{Did, Row};
use crate::input::printable_line;

/// A line about a file of which there is something to say.
pub(super) fn tell(row: &Row) -> io::Result<()> {
    if row.did == Did::Already {
        return Ok(());
    }
    let mut line = format!("{:<9}  {}", row.did.words(), row.file.to_string_lossy());
    if matches!(row.did, Did::Tagged | Did::WouldTag) {
        let before = match &row.before[..] {
            [] => String::new(),
            before => format!("{} -> ", before.join("; ")),
        };
        line = format!(
            "{line}  {before}{} ({:.2})",
            row.genres.join("; "),
            row.score.unwrap_or(0.0)
        );
    }
    if let Some(reason) = &row.reason {
        line = format!("{line}: {reason}");
    }
    writeln!(io::stdout().lock(), "{}", printable_line(&line))
}

/// How many files ended how.
#[derive(Default)]
pub(super) struct Summary {
    pub(super) files: u64,
    did: BTreeMap<Did, u64>,
    genres: BTreeMap<String, u64>,
}

impl Summary {
    pub(super) fn add(&mut self, row: &Row) {
        self.files += 1;
        *self.did.entry(row.did).or_default() += 1;
        for genre in &row.genres {
            *self.genres.entry(genre.clone()).or_default() += 1;
        }
    }

    pub(super) fn of(&self, did: Did) -> u64 {
        self.did.get(&did).copied().unwrap_or(0)
    }

    pub(super) fn failed(&self) -> bool {
        self.of(Did::Failed) > 0
    }

    pub(super) fn tell(&self, args: &Args, listed: Option<(usize, usize)>) -> Result<()> {
        let mut out = io::stdout().lock();
        let parts: Vec<String> = self
            .did
            .iter()
            .map(|(did, n)| format!("{n} {}", did.words()))
            .collect();
        writeln!(out, "{} files: {}", self.files, parts.join(", "))?;
        let mut genres: Vec<_> = self.genres.iter().collect();
        genres.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (genre, count) in genres {
            writeln!(out, "{count:>8}  {}", printable_line(genre))?;
        }
        if let Some((lists, left_out)) = listed {
            write!(out, "{lists} playlists")?;
            if left_out > 0 {
                write!(out, "; {left_out} files have names that no playlist can hold")?;
            }
            writeln!(out)?;
        }
        if self.of(Did::WouldTag) > 0 {
            writeln!(out, "nothing was written: the same command with --write does it")?;
        }
        if self.of(Did::Tagged) > 0 {
            let dir = printable_line(&args.dir.display().to_string());
            writeln!(out, "to take it back: messymash tag {dir} --undo --write")?;
        }
        Ok(())
    }
}
