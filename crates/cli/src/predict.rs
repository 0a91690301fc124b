//! `messymash predict`: the competition's test set answered, ready to be uploaded.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use messymash::audio::{AudioLimits, AudioStream};
use messymash::classifier::{ClassifyOptions, fingerprint};
use messymash::dataset::{GENRES, Mashup, Stamp, TestSet};
use messymash::submission::{self, Answer, COLUMNS, Ensemble, Journal, Key, Member, Noted};
use messymash::{Classifier, Error, Warning};

use crate::input::{PrecisionArgs, ThreadArgs, WindowArgs, harmless, printable};
use crate::ordered::in_order;
use crate::progress::Progress;
use crate::submission::write_counts;
use crate::{Outcome, interrupt, is_interrupted};

/// The first columns of the table of scores; the genres follow.
const SCORE_COLUMNS: [&str; 4] = ["id", "filename", "genre", "score"];

/// Answer the competition's test set: test.csv in, submission.csv out.
///
/// Hears every file that test.csv names and writes one row id,genre for each of its rows, in its order, the ids as they are.
/// Several models are averaged. Scores are kept beside the output as they come (submission.csv.journal), so that the same
/// command goes on where it was stopped, and other weights take no time. If a file cannot be heard, no submission is written
/// unless --missing says what to answer. Exit code: 0 all well, 1 some files failed, 2 could not start, 130 interrupted.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A folder with the competition's test.csv in it or below
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The submission to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// A model directory, or the id of a model in the local Hugging Face cache, and how much its answer counts against the
    /// others' (1 if left out). May be given several times. Left out: the model inside this program
    #[arg(long, value_name = "DIR[=WEIGHT]", env = "MESSYMASH_MODEL")]
    model: Vec<String>,
    #[command(flatten)]
    precision: PrecisionArgs,
    #[command(flatten)]
    windows: WindowArgs,
    /// Also write every genre's score, one row a file
    #[arg(long, value_name = "FILE")]
    scores: Option<PathBuf>,
    /// The answer for files that cannot be heard. Left out: they are named, and no submission is written
    #[arg(long, value_name = "GENRE", value_parser = GENRES)]
    missing: Option<String>,
    #[command(flatten)]
    threads: ThreadArgs,
}

/// One model of those that answer.
struct Model {
    /// `None`: the one inside this program.
    path: Option<PathBuf>,
    weight: f64,
}

impl Model {
    /// Reads `DIR` or `DIR=WEIGHT`; a directory whose own name ends like that is taken as it is.
    fn parse(text: &str) -> Self {
        let weighted = text
            .rsplit_once('=')
            .filter(|_| !Path::new(text).exists())
            .and_then(|(path, weight)| Some((path, weight.trim().parse().ok()?)));
        let (path, weight) = weighted.unwrap_or((text, 1.0));
        Self {
            path: Some(path.into()),
            weight,
        }
    }

    fn name(&self) -> String {
        match &self.path {
            None => "the bundled model".into(),
            Some(path) => path.display().to_string(),
        }
    }
}

/// Everything that is settled before the first file is heard.
struct Plan {
    tests: TestSet,
    models: Vec<Model>,
    keys: Vec<Key>,
    ensemble: Ensemble,
    options: ClassifyOptions,
    /// The model that was loaded last, with its number: the first, unless there is none.
    loaded: Option<(usize, Classifier)>,
}

/// Files that cannot be heard, by row, and why.
type Failures = BTreeMap<usize, String>;

pub fn run(args: &Args) -> Result<Outcome> {
    args.threads.apply()?;
    let journal_path = journal_path(&args.out);
    check_outputs(args)?;
    let mut plan = Plan::new(args)?;
    let untold = plan.ensemble.untold();
    if !untold.is_empty() {
        eprintln!(
            "note: no model knows {}; they will not be answered",
            untold.join(", ")
        );
    }
    let mut journal = Journal::open(&journal_path)?;
    interrupt::listen()?;
    let total = plan.tests.mashups.len() * plan.models.len();
    let mut progress = Progress::new(total as u64);
    let mut failures = Failures::new();
    let heard = plan.hear(args, &mut journal, &mut failures, &mut progress);
    progress.finish();
    for (row, reason) in &failures {
        let Mashup { id, path } = &plan.tests.mashups[*row];
        let line = format!("cannot be heard: id {id}, {}: {reason}", path.display());
        eprintln!("{}", printable(&line));
    }
    match heard {
        Ok(()) => {}
        Err(error) if is_interrupted(&error) => {
            eprintln!(
                "stopped; what was heard is kept in {}: the same command goes on",
                journal_path.display()
            );
            return Ok(Outcome::Interrupted);
        }
        Err(error) => return Err(error),
    }
    if !failures.is_empty() && args.missing.is_none() {
        eprintln!(
            "no submission was written: {} of {} files cannot be heard. Mend them and give the same command again, which hears \
             only them, or say what to answer for them with --missing GENRE",
            failures.len(),
            plan.tests.mashups.len()
        );
        return Ok(Outcome::SomeFailed);
    }
    let answers = plan.write(args, &journal, &failures)?;
    tell(args, &plan, &answers, failures.len())?;
    Ok(Outcome::AllWell)
}

/// Nothing that is not ours may be lost by writing.
fn check_outputs(args: &Args) -> Result<()> {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    if args
        .out
        .file_name()
        .is_some_and(|name| name == "sample_submission.csv")
    {
        bail!(
            "--out {} is the competition's own table; choose another name",
            args.out.display()
        );
    }
    submission::may_write(&args.out, &COLUMNS)?;
    if let Some(scores) = &args.scores {
        submission::may_write(scores, &SCORE_COLUMNS)?;
        if [&args.out, &journal_path(&args.out)]
            .into_iter()
            .any(|path| absolute(path) == absolute(scores))
        {
            bail!("--scores and --out must be different files");
        }
    }
    Ok(())
}

/// `submission.csv` -> `submission.csv.journal`
fn journal_path(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_os_string();
    name.push(".journal");
    out.with_file_name(name)
}

impl Plan {
    /// Reads the test set and loads every model once, so that nothing is wrong with them hours later; one of them at a time
    /// is in memory.
    fn new(args: &Args) -> Result<Self> {
        let tests = TestSet::open(&args.data)?;
        let options = args.windows.options(AudioLimits::default())?;
        let mut models: Vec<Model> = args.model.iter().map(|text| Model::parse(text)).collect();
        if models.is_empty() {
            models.push(Model {
                path: None,
                weight: 1.0,
            });
        }
        let (mut keys, mut members, mut loaded) = (Vec::new(), Vec::new(), None);
        // From the last on, since the first is the one to keep.
        for (number, model) in models.iter().enumerate().rev() {
            drop(loaded.take());
            let classifier = args.precision.load(model.path.as_deref())?;
            let print = fingerprint(model.path.as_deref())?;
            keys.push(Key::new(&print, classifier.model().precision(), &options));
            members.push(Member {
                name: model.name(),
                labels: classifier.labels().to_vec(),
                weight: model.weight,
            });
            loaded = Some((number, classifier));
        }
        keys.reverse();
        members.reverse();
        let ensemble = Ensemble::new(&members)?;
        Ok(Self {
            tests,
            models,
            keys,
            ensemble,
            options,
            loaded,
        })
    }

    /// Hears what the journal does not have yet, model after model. A file that one model could not hear is not tried again.
    fn hear(
        &mut self,
        args: &Args,
        journal: &mut Journal,
        failures: &mut Failures,
        progress: &mut Progress,
    ) -> Result<()> {
        let rows = self.tests.mashups.len();
        // What is odd about a sound is told once, not by every model.
        let mut noted: BTreeSet<usize> = BTreeSet::new();
        for number in 0..self.models.len() {
            let key = self.keys[number].clone();
            let mut to_do = Vec::new();
            for (row, mashup) in self.tests.mashups.iter().enumerate() {
                match Stamp::of(&mashup.path) {
                    _ if failures.contains_key(&row) => {}
                    Ok(stamp) if journal.get(&mashup.path, stamp, &key).is_some() => {}
                    Ok(stamp) => to_do.push((row, stamp)),
                    Err(error) => drop(failures.insert(row, reason(&error))),
                }
            }
            let first = (number + 1) * rows - to_do.len();
            progress.set(first as u64, &format!("files, {} failed", failures.len()));
            if to_do.is_empty() {
                continue;
            }
            let classifier = match self.loaded.take() {
                Some((loaded, classifier)) if loaded == number => classifier,
                other => {
                    drop(other);
                    args.precision.load(self.models[number].path.as_deref())?
                }
            };
            let mut done = first;
            let work = |place: usize| {
                let (row, stamp) = to_do[place];
                (row, stamp, self.scores(&classifier, &self.tests.mashups[row]))
            };
            in_order(
                to_do.len(),
                rayon::current_num_threads(),
                work,
                |(row, stamp, heard)| {
                    let mashup = &self.tests.mashups[row];
                    match heard {
                        Ok((heard, warnings)) => {
                            if !warnings.is_empty() && noted.insert(row) {
                                let notes: Vec<&str> = warnings.iter().map(|w| w.message.as_str()).collect();
                                let note = format!("note: {}: {}", mashup.path.display(), notes.join(" "));
                                progress.say(&printable(&note));
                            }
                            journal.put(&mashup.path, stamp, &key, heard)?;
                        }
                        Err(Error::Interrupted) => return Err(Error::Interrupted),
                        Err(error) => drop(failures.insert(row, reason(&error))),
                    }
                    done += 1;
                    progress.set(done as u64, &format!("files, {} failed", failures.len()));
                    Ok(())
                },
            )?;
        }
        Ok(())
    }

    /// One score a label, in the order of the ensemble's, with the verdict, and what was odd about the sound.
    fn scores(&self, classifier: &Classifier, mashup: &Mashup) -> messymash::Result<(Noted, Vec<Warning>)> {
        interrupt::check()?;
        let stream = AudioStream::open(&mashup.path, &self.options.limits)?;
        let heard = classifier.classify_stream(stream, &self.options, &mut |_| interrupt::check())?;
        let mut predictions = heard.predictions;
        predictions.sort_by(|a, b| a.label.cmp(&b.label));
        if predictions.iter().any(|p| !p.score.is_finite()) {
            let message = format!("{} gives it scores that are no numbers", classifier.name());
            return Err(Error::InvalidAudio(message));
        }
        let scores = predictions.into_iter().map(|p| p.score).collect();
        let verdict = heard.verdict;
        Ok((Noted { scores, verdict }, heard.warnings))
    }

    /// Averages, and writes the tables.
    fn write(&self, args: &Args, journal: &Journal, failures: &Failures) -> Result<Vec<Answer>> {
        let (mut answers, mut rows) = (Vec::new(), Vec::new());
        for (row, mashup) in self.tests.mashups.iter().enumerate() {
            let id = mashup.id.clone();
            let name = harmless(&self.tests.name(mashup).to_string_lossy());
            let (genre, figures) = match &args.missing {
                Some(genre) if failures.contains_key(&row) => (
                    genre.clone(),
                    vec![String::new(); 1 + self.ensemble.labels().len()],
                ),
                _ => {
                    let mean = self.mean(journal, mashup)?;
                    let (genre, best) = self.ensemble.likeliest(&mean).context("a model without labels")?;
                    let figures = std::iter::once(&best).chain(&mean);
                    (
                        genre.to_string(),
                        figures.map(|score| format!("{score:.6}")).collect(),
                    )
                }
            };
            rows.push([vec![id.clone(), name, genre.clone()], figures].concat());
            answers.push(Answer { id, genre });
        }
        if let Some(path) = &args.scores {
            let labels = self.ensemble.labels().iter().map(String::as_str);
            let header: Vec<&str> = SCORE_COLUMNS.into_iter().chain(labels).collect();
            submission::write_table(path, &header, rows)?;
        }
        submission::write(&args.out, &answers)?;
        Ok(answers)
    }

    /// The models' mean for a file that all of them have heard.
    fn mean(&self, journal: &Journal, mashup: &Mashup) -> Result<Vec<f64>> {
        let stamp = Stamp::of(&mashup.path)?;
        let scores: Option<Vec<Vec<f32>>> = self
            .keys
            .iter()
            .map(|key| Some(journal.get(&mashup.path, stamp, key)?.scores))
            .collect();
        let scores = scores
            .filter(|all| {
                all.iter()
                    .all(|scores| scores.len() == self.ensemble.labels().len())
            })
            .with_context(|| {
                format!(
                    "{} was changed while it was heard; give the same command again",
                    mashup.path.display()
                )
            })?;
        let scores: Vec<&[f32]> = scores.iter().map(Vec::as_slice).collect();
        Ok(self.ensemble.mean(&scores))
    }
}

/// Why, without the path that is told beside it.
fn reason(error: &Error) -> String {
    match error {
        Error::Io { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}

fn tell(args: &Args, plan: &Plan, answers: &[Answer], replaced: usize) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{} answers in {}", answers.len(), args.out.display())?;
    write_counts(&mut out, submission::counts(answers))?;
    if let (Some(genre), 1..) = (&args.missing, replaced) {
        writeln!(
            out,
            "{replaced} of them are {genre} because their files cannot be heard"
        )?;
    }
    let names: Vec<String> = plan.models.iter().map(Model::name).collect();
    let message = format!("messymash {}: {}", env!("CARGO_PKG_VERSION"), names.join(", "));
    writeln!(
        out,
        "upload: kaggle competitions submit -c jan-2026-dl-gen-ai-project -f {} -m {}",
        quoted(&args.out.display().to_string()),
        quoted(&message)
    )?;
    Ok(())
}

/// As a shell takes it for one word.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_string()
    } else {
        format!("'{}'", printable(text).replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_follow_the_last_equals_sign() {
        let parsed = |text| {
            let Model { path, weight } = Model::parse(text);
            (path.unwrap().display().to_string(), weight)
        };
        assert_eq!(parsed("runs/a"), ("runs/a".into(), 1.0));
        assert_eq!(parsed("runs/a=0.5"), ("runs/a".into(), 0.5));
        assert_eq!(parsed("runs/lr=3/best=2"), ("runs/lr=3/best".into(), 2.0));
        assert_eq!(parsed("runs/lr=fast"), ("runs/lr=fast".into(), 1.0));
        let dir = tempfile::tempdir().unwrap();
        let named = dir.path().join("lr=3");
        std::fs::create_dir(&named).unwrap();
        assert_eq!(
            parsed(named.to_str().unwrap()),
            (named.display().to_string(), 1.0)
        );
    }

    #[test]
    fn commands_can_be_pasted() {
        assert_eq!(quoted("runs/submission.csv"), "runs/submission.csv");
        assert_eq!(quoted("my file's"), "'my file'\\''s'");
    }
}
