//! `messymash separate`: songs without stems become songs with stems.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use messymash::separate::{SeparateEvent, separate_folder};

use crate::input::{ThreadArgs, printable};
use crate::progress::Progress;
use crate::{Outcome, interrupt};

/// Split labelled songs into drums, bass, vocals and other, for training.
///
/// IN holds one folder per genre with song files in it; OUT gets the layout that train, remix and evaluate read. The
/// separation is a simple one, without a trained model: drums are what is short and broad, bass and vocals are bands of the
/// rest, and the four parts sum to the song. If you have a trained separator (such as Demucs), or true stems, use those:
/// they are better. Stopped work is taken up by the same command.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Songs as IN/<genre>/<file>
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// Stems go to OUT/genres_stems/<genre>/<song>/
    #[arg(value_name = "OUT")]
    output: PathBuf,
    #[command(flatten)]
    threads: ThreadArgs,
}

pub fn run(args: &Args) -> Result<Outcome> {
    args.threads.apply()?;
    interrupt::listen()?;
    let mut progress = Progress::new(0);
    let summary = separate_folder(&args.input, &args.output, &mut |event| {
        let (SeparateEvent::Separated { done, total, .. }
        | SeparateEvent::Skipped { done, total, .. }
        | SeparateEvent::Failed { done, total, .. }) = event;
        if let SeparateEvent::Failed { path, error, .. } = event {
            progress.say(&printable(&format!("{}: {error}", path.display())));
        }
        progress.set_total(total as u64);
        progress.set(done as u64, "songs");
        interrupt::check()
    })?;
    progress.finish();
    if let Some(first) = summary.passed_over.first() {
        eprintln!(
            "{}",
            printable(&format!(
                "{} sound files are not IN/<genre>/<file> and were passed over, such as {}",
                summary.passed_over.len(),
                first.display()
            ))
        );
    }
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{} songs separated, {} were there already, {} failed; stems in {}",
        summary.separated,
        summary.skipped,
        summary.failed.len(),
        args.output.join("genres_stems").display()
    )?;
    Ok(if summary.failed.is_empty() {
        Outcome::AllWell
    } else {
        Outcome::SomeFailed
    })
}
