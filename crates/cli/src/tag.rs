//! `messymash tag`: genres into the tags of a music library.

mod report;
mod undo;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use messymash::audio::{AudioLimits, AudioStream};
use messymash::classifier::{ClassifyOptions, Prediction, fingerprint};
use messymash::dataset::{Stamp, is_sound};
use messymash::submission::{Journal, Key, Noted};
use messymash::tag::{
    Change, Changes, Decision, Edit, Field, KeepTime, Playlists, Rules, Tags, decide, hands_off, sweep,
};
use messymash::{Classifier, Error};
use walkdir::WalkDir;

use self::report::{Did, Report, Row};
use crate::input::{ModelArgs, ThreadArgs, WindowArgs, printable_line};
use crate::ordered::each_in_order;
use crate::progress::Progress;
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

struct Library<'a> {
    args: &'a Args,
    classifier: Classifier,
    options: ClassifyOptions,
    rules: Rules,
    key: Key,
    scores: Mutex<Journal>,
    changes: Mutex<Changes>,
}

impl Library<'_> {
    /// Works on every file, and tells what became of it.
    fn run(&self, reports: &mut [Report], playlists: &mut Option<Playlists>) -> Result<Summary> {
        // Looked through twice, so that it is known how many there are without keeping their names.
        let mut total = 0;
        for path in found(&self.args.dir) {
            interrupt::check()?;
            if self.args.write {
                sweep(&path)?;
            }
            total += usize::from(self.wanted(&path));
        }
        let mut progress = Progress::new(total as u64);
        let mut summary = Summary::default();
        let pieces = found(&self.args.dir).filter(|path| self.wanted(path));
        let threads = rayon::current_num_threads();
        let result = each_in_order(
            pieces,
            total,
            threads,
            |path| self.row(&path),
            |row| {
                let row = row?;
                let path = self.args.dir.join(&row.file);
                let failure = row.reason.as_deref().filter(|_| row.did == Did::Failed);
                locked(&self.changes).ended(&row.file, failure)?;
                for report in reports.iter_mut() {
                    report.add(&row)?;
                }
                if let Some(playlists) = playlists {
                    for genre in &row.genres {
                        playlists.add(genre, &path)?;
                    }
                }
                progress.aside(|| tell(&row))?;
                summary.add(&row);
                progress.set(
                    summary.files,
                    &format!("files, {} failed", summary.of(Did::Failed)),
                );
                if row.full {
                    bail!(
                        "the disk is full: {} was left as it is. Make room and give the same command again",
                        path.display()
                    );
                }
                Ok(())
            },
        );
        progress.finish();
        result.map(|()| summary)
    }

    /// Whether a path is one of the files to work on.
    fn wanted(&self, path: &Path) -> bool {
        is_sound(path) && (!self.args.only_failed || locked(&self.changes).has_failed(self.relative(path)))
    }

    /// The name of a file in journals and reports: they go with the library if it moves.
    fn relative<'p>(&self, path: &'p Path) -> &'p Path {
        path.strip_prefix(&self.args.dir).unwrap_or(path)
    }

    /// What becomes of a file. Only an interruption is an error here.
    fn row(&self, path: &Path) -> messymash::Result<Row> {
        interrupt::check()?;
        let mut row = Row::new(self.relative(path));
        match self.tag(path, &mut row) {
            Ok(did) => row.did = did,
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            Err(error) => {
                row.full = matches!(&error, Error::Io { source, .. } if is_full(source));
                row.did = Did::Failed;
                row.reason = Some(match error {
                    Error::Io { source, .. } => source.to_string(),
                    other => other.to_string(),
                });
            }
        }
        Ok(row)
    }

    fn tag(&self, path: &Path, row: &mut Row) -> messymash::Result<Did> {
        let field = self.args.field();
        if let Some(reason) = hands_off(path, &self.args.dir)? {
            row.reason = Some(reason.into());
            return Ok(Did::Skipped);
        }
        let stamp = Stamp::of(path)?;
        let tags = Tags::read(path)?;
        row.before = tags.of(field).to_vec();
        let known = locked(&self.changes).state(&row.file, field)?;
        let ours = known.is_some_and(|known| known.is_ours(&row.before));
        let elsewhere = field == Field::Genre && row.before.is_empty() && tags.genre_elsewhere;
        if !ours && !self.args.overwrite && (!row.before.is_empty() || elsewhere) {
            row.reason = Some(if elsewhere {
                "it has a genre in another kind of tag (--overwrite writes one all the same)".into()
            } else {
                "it has one already (--overwrite replaces it)".into()
            });
            return Ok(Did::Skipped);
        }
        let noted = self.heard(path, &row.file, stamp)?;
        row.scores.clone_from(&noted.scores);
        let mut ranked: Vec<Prediction> = self
            .classifier
            .labels()
            .iter()
            .zip(&row.scores)
            .map(|(label, &score)| Prediction {
                label: label.clone(),
                score,
            })
            .collect();
        ranked.sort_by(|a, b| b.score.total_cmp(&a.score));
        row.score = ranked.first().map(|first| first.score);
        let decision = decide(&ranked, noted.verdict, &self.rules);
        let likeliest = ranked.first().map_or("", |first| &first.label);
        match decision {
            Decision::NotMusic(other) => {
                row.reason = Some(format!("it is no music: {}", other.name()));
                return Ok(Did::Skipped);
            }
            Decision::Nothing => {
                row.reason = Some(format!("not sure enough: {likeliest} is the likeliest"));
                return Ok(Did::Unsure);
            }
            // Somebody's word is worth more than none.
            Decision::Fallback(_) if !ours && (elsewhere || !row.before.is_empty()) => {
                row.reason = Some(format!(
                    "not sure enough: {likeliest} is the likeliest; what it has is not replaced by the fallback"
                ));
                return Ok(Did::Unsure);
            }
            Decision::Fallback(_) | Decision::Genres(_) => {}
        }
        row.genres = tags.stored(decision.values());
        if row.genres == row.before {
            return Ok(Did::Already);
        }
        if !self.args.write {
            return Ok(Did::WouldTag);
        }
        let edit = Edit::prepare(path, field, &row.genres, self.args.keep_time())?;
        let change = Change {
            file: row.file.clone(),
            field,
        };
        locked(&self.changes).will_write(&change, &self.key, edit.before(), &row.genres)?;
        let stamp = edit.stamp();
        edit.commit()?;
        // The sound is the same: it need not be heard again.
        locked(&self.scores).put(&row.file, stamp, &self.key, noted)?;
        Ok(Did::Tagged)
    }

    /// A score for each label, in the order of the labels, and the verdict: from the journal, or heard.
    fn heard(&self, path: &Path, file: &Path, stamp: Stamp) -> messymash::Result<Noted> {
        let labels = self.classifier.labels();
        let kept = locked(&self.scores).get(file, stamp, &self.key);
        if let Some(noted) = kept.filter(|noted| noted.scores.len() == labels.len()) {
            return Ok(noted);
        }
        let stream = AudioStream::open(path, &self.options.limits)?;
        let heard = self
            .classifier
            .classify_stream(stream, &self.options, &mut |_| interrupt::check())?;
        let score = |label: &String| {
            heard
                .predictions
                .iter()
                .find(|p| p.label == *label)
                .map_or(0.0, |p| p.score)
        };
        let scores: Vec<f32> = labels.iter().map(score).collect();
        if scores.iter().any(|score| !score.is_finite()) {
            let message = format!("{} gives it scores that are no numbers", self.classifier.name());
            return Err(Error::InvalidAudio(message));
        }
        if Stamp::of(path)? != stamp {
            let message = "the file changed while it was heard; give the same command again";
            return Err(Error::Tag(message.into()));
        }
        let noted = Noted {
            scores,
            verdict: heard.verdict,
        };
        locked(&self.scores).put(file, stamp, &self.key, noted.clone())?;
        Ok(noted)
    }
}

/// All that lies in a folder, sorted, without what is hidden but for what a killed run left. Links to folders are not followed:
/// what they lead to is part of another library, or found anyhow.
fn found(dir: &Path) -> impl Iterator<Item = PathBuf> + Send {
    let hidden = |entry: &walkdir::DirEntry| {
        entry.depth() > 0
            && entry.file_type().is_dir()
            && entry.file_name().as_encoded_bytes().starts_with(b".")
    };
    let walk = WalkDir::new(dir).sort_by_file_name().into_iter();
    walk.filter_entry(move |entry| !hidden(entry))
        .filter_map(|entry| match entry {
            Ok(entry) if entry.file_type().is_dir() => None,
            Ok(entry) => Some(entry.into_path()),
            Err(error) => {
                eprintln!(
                    "note: {}; what lies there is not tagged",
                    printable_line(&error.to_string())
                );
                None
            }
        })
}

/// What several threads share; a thread that broke down broke nothing of it.
fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// A line about a file of which there is something to say.
fn tell(row: &Row) -> io::Result<()> {
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
struct Summary {
    files: u64,
    did: BTreeMap<Did, u64>,
    genres: BTreeMap<String, u64>,
}

impl Summary {
    fn add(&mut self, row: &Row) {
        self.files += 1;
        *self.did.entry(row.did).or_default() += 1;
        for genre in &row.genres {
            *self.genres.entry(genre.clone()).or_default() += 1;
        }
    }

    fn of(&self, did: Did) -> u64 {
        self.did.get(&did).copied().unwrap_or(0)
    }

    fn failed(&self) -> bool {
        self.of(Did::Failed) > 0
    }

    fn tell(&self, args: &Args, listed: Option<(usize, usize)>) -> Result<()> {
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
