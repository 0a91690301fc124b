//! `messymash tag`: genres into the tags of a music library.

mod library;
mod report;
mod summary;
mod undo;

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use messymash::audio::AudioLimits;
use messymash::classifier::fingerprint;
use messymash::submission::{Journal, Key};
use messymash::tag::{Changes, Field, KeepTime, Playlists, Rules};

use self::library::Library;
use self::report::Report;
use crate::input::{ModelArgs, ThreadArgs, WindowArgs};
use crate::{Outcome, interrupt, is_interrupted};

/// The folder of the journals, in the library.
const JOURNAL: &str = ".messymash";
/// How much the program steps back behind others.
#[cfg(unix)]
const NICE: i32 = 10;

/// Write genres into the tags of the music files of a folder.
///
/// Only tells what it would write, unless --write is given. What was heard is kept in a journal in the folder, so that a
/// stopped run goes on where it was, and writing after a dry run takes no time. Every file is written anew beside the old one,
/// compared with it - sound, pictures and all other tags must be the same - and only then put in its place; --undo takes
/// everything back. mp3, flac, ogg (Vorbis), m4a, wav and aiff. Exit code: 0 all well, 1 some files failed, 2 could not start,
/// 130 interrupted.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder of the music library
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Write. Left out: only tell what would be written
    #[arg(long)]
    write: bool,
    /// Put back what was in the tags before this program changed them (with --write; else only tell)
    #[arg(long, conflicts_with_all = ["only_failed", "playlists", "report", "overwrite"])]
    undo: bool,
    /// Where the genre goes
    #[arg(long, value_enum, default_value_t = FieldArg::Private)]
    field: FieldArg,
    /// Also replace what the field holds and this program did not write. Left out: such files are skipped
    #[arg(long)]
    overwrite: bool,
    /// Only the files that failed last time
    #[arg(long)]
    only_failed: bool,
    #[command(flatten)]
    rules: RuleArgs,
    /// Write a row for each file: .csv, .jsonl or .parquet. May be given several times
    #[arg(long, value_name = "FILE")]
    report: Vec<PathBuf>,
    /// Write a playlist (.m3u8) for each genre into a folder
    #[arg(long, value_name = "FOLDER")]
    playlists: Option<PathBuf>,
    /// Where the journals are kept. Left out: the folder .messymash in DIR
    #[arg(long, value_name = "FOLDER")]
    journal: Option<PathBuf>,
    /// Files keep their time of change, so that backups and players do not take them for new
    #[arg(long)]
    keep_time: bool,
    /// Refuse files longer than this. Left out: no limit
    #[arg(long, value_name = "SECONDS")]
    max_seconds: Option<f64>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    windows: WindowArgs,
    #[command(flatten)]
    threads: ThreadArgs,
    /// Do not step back behind other programs
    #[arg(long)]
    full_speed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FieldArg {
    /// A field MESSYMASH_GENRE that players do not show
    Private,
    /// The genre that players show
    Genre,
}

#[derive(Debug, clap::Args)]
struct RuleArgs {
    /// How sure the model must be (0 to 1) of the genre, whatever it says of itself. Left out: 0.5, and it must not say that it is
    /// not sure
    #[arg(long, value_name = "SCORE")]
    min_score: Option<f32>,
    /// How many genres a file may get
    #[arg(long, value_name = "N", default_value_t = 1)]
    count: usize,
    /// How sure the model must be (0 to 1) of a second and further genre
    #[arg(long, value_name = "SCORE", default_value_t = 0.25)]
    further_score: f32,
    /// What to write where the model is not sure. Left out: nothing
    #[arg(long, value_name = "TEXT")]
    fallback: Option<String>,
    /// Join several genres to one value with this. Left out: several values, as the format has them
    #[arg(long, value_name = "TEXT")]
    separator: Option<String>,
    /// What to write for a genre of the model, such as hiphop=Hip-Hop. May be given several times
    #[arg(long, value_name = "GENRE=TEXT", value_parser = name)]
    name: Vec<(String, String)>,
}

fn name(text: &str) -> Result<(String, String), String> {
    let (genre, name) = text
        .split_once('=')
        .ok_or("write GENRE=TEXT, such as hiphop=Hip-Hop")?;
    Ok((genre.to_string(), name.to_string()))
}

impl Args {
    fn field(&self) -> Field {
        match self.field {
            FieldArg::Private => Field::Private,
            FieldArg::Genre => Field::Genre,
        }
    }

    fn keep_time(&self) -> KeepTime {
        if self.keep_time {
            KeepTime::Yes
        } else {
            KeepTime::No
        }
    }

    fn rules(&self) -> Rules {
        let RuleArgs {
            min_score,
            count,
            further_score,
            fallback,
            separator,
            name,
        } = &self.rules;
        Rules {
            min_score: *min_score,
            further_score: *further_score,
            count: *count,
            fallback: fallback.clone(),
            separator: separator.clone(),
            names: name.clone(),
        }
    }

    /// The folder of the journals, which is made if there is none.
    fn journal(&self) -> Result<PathBuf> {
        let folder = self.journal.clone().unwrap_or_else(|| self.dir.join(JOURNAL));
        fs::create_dir_all(&folder).with_context(|| {
            format!(
                "cannot keep a journal in {}; choose another place with --journal FOLDER",
                folder.display()
            )
        })?;
        Ok(folder)
    }
}

pub fn run(args: &Args) -> Result<Outcome> {
    #[cfg(unix)]
    if !args.full_speed {
        // Before there are threads, which inherit it. Where it is forbidden, nothing is lost.
        let _ = rustix::process::nice(NICE);
    }
    args.threads.apply()?;
    if !args.dir.is_dir() {
        bail!("{} is no folder", args.dir.display());
    }
    let journal = args.journal()?;
    let changes = Changes::open(&journal.join("tags.jsonl"))?;
    if args.undo {
        return undo::run(args, changes);
    }
    let classifier = args.model.load()?;
    let limits = AudioLimits {
        max_seconds: args.max_seconds,
        ..AudioLimits::default()
    };
    let options = args.windows.options(limits)?;
    let rules = args.rules();
    rules.check(classifier.labels())?;
    let print = fingerprint(args.model.model.as_deref())?;
    let key = Key::new(&print, classifier.model().precision(), &options);
    let mut reports = Vec::new();
    for path in &args.report {
        reports.push(Report::create(path, classifier.labels())?);
    }
    let mut playlists = match &args.playlists {
        Some(folder) => Some(Playlists::new(folder)?),
        None => None,
    };
    let library = Library {
        args,
        classifier,
        options,
        rules,
        key,
        scores: Mutex::new(Journal::open(&journal.join("scores.jsonl"))?),
        changes: Mutex::new(changes),
    };
    interrupt::listen()?;
    let result = library.run(&mut reports, &mut playlists);
    // What is known is told, also of a run that was stopped.
    for report in reports {
        report.finish()?;
    }
    let mut listed = None;
    if let Some(playlists) = playlists
        && result.is_ok()
    {
        listed = Some(playlists.finish()?);
    }
    let summary = match result {
        Ok(summary) => summary,
        Err(error) if is_interrupted(&error) => {
            eprintln!("stopped; every file is whole, and the same command goes on");
            return Ok(Outcome::Interrupted);
        }
        Err(error) => return Err(error),
    };
    summary.tell(args, listed)?;
    Ok(if summary.failed() {
        Outcome::SomeFailed
    } else {
        Outcome::AllWell
    })
}
