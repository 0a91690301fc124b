//! `messymash evaluate`: how good a model is, on mashups or on whole songs.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use messymash::audio::AudioLimits;
use messymash::dataset::{Split, recording};
use messymash::evaluate::{Evaluation, Interval, Measures, evaluate_mashups, evaluate_songs};
use messymash::remix::{RemixOptions, Remixer};
use messymash::report::{self, Mistake};
use messymash::train::TrainConfig;
use messymash::{Classifier, atomic};

use crate::input::{DataArgs, ModelArgs, ThreadArgs, WindowArgs, printable};
use crate::progress::Progress;
use crate::{Outcome, interrupt};

/// Judge a model by labelled sound: by mashups with noise (--data), or by whole songs as they are (--songs).
///
/// Prints macro F1 with its 95 % interval (which allows for shared songs), and writes a report for people (report.html, report.md), the
/// confusion matrix as a picture (confusion.svg) and every answer (evaluation.json). With the split.json of a training run,
/// only songs and noise that the training never heard are used, unless --side train asks for the others.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    data: DataArgs,
    /// Judge by whole songs, DIR/<genre>/<file>, instead of mashups
    #[arg(long, value_name = "DIR", conflicts_with_all = ["data", "noise", "allow_missing_stems", "mashups", "seed", "config"])]
    songs: Option<PathBuf>,
    #[command(flatten)]
    windows: WindowArgs,
    /// The split.json of the training run. Left out: all songs, and all noise
    #[arg(long, value_name = "FILE")]
    split: Option<PathBuf>,
    /// Whose songs to use, of the split. Noise is always that which training never heard
    #[arg(long, default_value = "validation", requires = "split")]
    side: Side,
    /// How many mashups to judge by
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    mashups: u64,
    /// Another seed gives other mashups; the same seed gives the same ones
    #[arg(long, value_name = "S", default_value_t = 1000)]
    seed: u64,
    /// A training recipe whose [remix] settings are used. Left out: the defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder to write the report to
    #[arg(long, value_name = "DIR", default_value = "evaluation")]
    out: PathBuf,
    #[command(flatten)]
    threads: ThreadArgs,
}

/// Why there is nothing to judge by.
const NO_UNHEARD_SONG: &str =
    "the split keeps no song from training; use --side train to judge by training songs";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Side {
    /// Songs that trained the model
    Train,
    /// Songs that the training never heard
    Validation,
}

pub fn run(args: &Args) -> Result<Outcome> {
    args.threads.apply()?;
    let classifier = args.model.load()?;
    interrupt::listen()?;
    let split = args.split.as_deref().map(Split::load).transpose()?;
    let (evaluation, remixer) = match &args.songs {
        Some(folder) => (judge_songs(args, &classifier, folder, split)?, None),
        None => {
            let (evaluation, remixer) = judge_mashups(args, &classifier, split)?;
            (evaluation, Some(remixer))
        }
    };
    for failure in &evaluation.failures {
        eprintln!("{}", printable(failure));
    }
    let measures = evaluation.measure()?;
    let mistakes = report::mistakes(&evaluation, classifier.extractor(), remixer.as_ref());
    write_report(&args.out, &evaluation, &measures, &mistakes)?;
    let shown = |i: Interval| format!("{:.4} [{:.4}, {:.4}]", i.value, i.low, i.high);
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", evaluation.title)?;
    writeln!(out, "macro F1  {}", shown(measures.macro_f1))?;
    writeln!(out, "accuracy  {}", shown(measures.accuracy))?;
    writeln!(out, "report    {}", args.out.join("report.html").display())?;
    Ok(if evaluation.failures.is_empty() {
        Outcome::AllWell
    } else {
        Outcome::SomeFailed
    })
}

fn judge_mashups(
    args: &Args,
    classifier: &Classifier,
    split: Option<Split>,
) -> Result<(Evaluation, Remixer)> {
    let data = args.data.open()?;
    let options = args.windows.options(AudioLimits::default())?;
    let recipe = match &args.config {
        Some(path) => TrainConfig::load(path)?.remix,
        None => RemixOptions::default(),
    };
    let (songs, folds, of) = match split {
        None => {
            let all = Split::everything(&data);
            (all.train, all.train_folds, "all songs")
        }
        Some(split) => {
            split.check(&data)?;
            match args.side {
                Side::Train => (
                    split.train,
                    split.validation_folds,
                    "training songs, unheard noise",
                ),
                Side::Validation if split.validation.is_empty() => bail!("{NO_UNHEARD_SONG}"),
                Side::Validation => (
                    split.validation,
                    split.validation_folds,
                    "unheard songs, unheard noise",
                ),
            }
        }
    };
    let remixer = Remixer::new(&data, &songs, &folds, recipe)?;
    make_folder(&args.out)?;
    let mut progress = Progress::new(args.mashups);
    let mut evaluation = evaluate_mashups(
        classifier,
        &options,
        &remixer,
        args.seed,
        args.mashups,
        &mut |done| {
            progress.set(done, "mashups");
            interrupt::check()
        },
    )?;
    progress.finish();
    evaluation.title = format!("{} of {of}", evaluation.title);
    Ok((evaluation, remixer))
}

fn judge_songs(
    args: &Args,
    classifier: &Classifier,
    folder: &Path,
    split: Option<Split>,
) -> Result<Evaluation> {
    let only: Option<BTreeSet<String>> = split.map(|split| {
        let side = if args.side == Side::Train {
            split.train
        } else {
            split.validation
        };
        side.iter().map(|id| recording(id).to_string()).collect()
    });
    if only.as_ref().is_some_and(BTreeSet::is_empty) {
        bail!("{NO_UNHEARD_SONG}");
    }
    let options = args.windows.options(AudioLimits::default())?;
    make_folder(&args.out)?;
    let mut progress = Progress::new(0);
    let mut evaluation = evaluate_songs(classifier, &options, folder, only.as_ref(), &mut |done, total| {
        progress.set_total(total);
        progress.set(done, "songs");
        interrupt::check()
    })?;
    progress.finish();
    if only.is_some() {
        let of = if args.side == Side::Train {
            "trained on"
        } else {
            "never heard in training"
        };
        evaluation.title = format!("{} {of}", evaluation.title);
    }
    Ok(evaluation)
}

/// Before the work: a folder that cannot be made must not cost an evaluation.
fn make_folder(out: &Path) -> Result<()> {
    fs::create_dir_all(out).with_context(|| format!("cannot make the folder {}", out.display()))
}

fn write_report(
    out: &Path,
    evaluation: &Evaluation,
    measures: &Measures,
    mistakes: &[Mistake<'_>],
) -> Result<()> {
    atomic::write(&out.join("evaluation.json"), evaluation.to_json()?.as_bytes())?;
    atomic::write(
        &out.join("report.md"),
        report::markdown(evaluation, measures, mistakes).as_bytes(),
    )?;
    atomic::write(
        &out.join("report.html"),
        report::html(evaluation, measures, mistakes).as_bytes(),
    )?;
    atomic::write(
        &out.join("confusion.svg"),
        report::confusion_svg(evaluation, measures).as_bytes(),
    )?;
    Ok(())
}
