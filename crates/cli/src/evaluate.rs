//! `messymash evaluate`: how good a model is, by a protocol, on mashups or on whole songs.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;
use messymash::audio::AudioLimits;
use messymash::checkpoint::resolve;
use messymash::dataset::{Split, recording};
use messymash::evaluate::{
    Evaluation, Interval, Judges, Measures, Protocol, evaluate_mashups, evaluate_songs, evaluate_whole,
    loss_by_mess,
};
use messymash::remix::{RemixOptions, Remixer};
use messymash::report::{self, Mistake};
use messymash::run::{split_of, split_of_bundled};
use messymash::train::TrainConfig;
use messymash::{Classifier, atomic};

use crate::input::{DataArgs, ModelArgs, ThreadArgs, WindowArgs, printable};
use crate::progress::Progress;
use crate::{Outcome, interrupt};

/// Judge a model by labelled sound: by a protocol (--protocol), by mashups with noise (--data), or by whole songs as they are (--songs).
///
/// Prints macro F1 with its 95 % intervals (a jackknife and a bootstrap, both over songs), and writes a report for people
/// (report.html, report.md), the confusion matrix as a picture (confusion.svg) and every answer (evaluation.json). With the
/// split.json of a training run, only songs and noise that the training never heard are used, unless --side train asks for the
/// others.
///
/// A protocol judges by 2,000 mashups that are always the same for the same data, prints figures by genre, by signal-to-noise ratio and by
/// number of noises, and compares with the same songs clean (reported in the sub-folder clean). What the model was trained on is read
/// from the split.json beside it or in its run; songs or noise that would leak are refused.
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
    /// A named choice of songs, noise and mashups, so that figures can be compared
    #[arg(long, conflicts_with_all = ["songs", "side"])]
    protocol: Option<ProtocolArg>,
    /// The split.json of the training run. Left out: all songs and all noise; with --protocol, what lies beside the model
    #[arg(long, value_name = "FILE")]
    split: Option<PathBuf>,
    /// Whose songs to use, of the split. Noise is always that which training never heard
    #[arg(long, default_value = "validation", requires = "split")]
    side: Side,
    /// How many mashups to judge by. Left out: 1000; with --protocol, 2000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    mashups: Option<u64>,
    /// Another seed gives other mashups; the same seed gives the same ones
    #[arg(long, value_name = "S", default_value_t = Protocol::SEED)]
    seed: u64,
    /// A training recipe whose [remix] settings are used. Left out: the defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder to write the report to. Left out: evaluation/unseen-songs, evaluation/new-mashups, evaluation/mashups or
    /// evaluation/songs, by what is asked; an earlier report there is replaced
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    threads: ThreadArgs,
}

/// The sub-folder of the report on clean songs.
const CLEAN: &str = "clean";

/// Mashups without a protocol.
const MASHUPS: u64 = 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ProtocolArg {
    /// Noisy mashups of songs that the training never heard
    UnseenSongs,
    /// New mashups of the training songs in unheard noise: the competition's task
    NewMashups,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Side {
    /// Songs that trained the model
    Train,
    /// Songs that the training never heard
    Validation,
}

impl Args {
    /// The folder to write to.
    fn out(&self) -> PathBuf {
        let question = match self.protocol.and(self.protocol()) {
            Some(protocol) => protocol.name(),
            None if self.songs.is_some() => "songs",
            None => "mashups",
        };
        self.out
            .clone()
            .unwrap_or_else(|| Path::new("evaluation").join(question))
    }

    /// The protocol asked for, by its name or by the side of a split; `None` for all songs and all noise.
    fn protocol(&self) -> Option<Protocol> {
        match (self.protocol, self.side) {
            (Some(ProtocolArg::UnseenSongs), _) => Some(Protocol::UnseenSongs),
            (Some(ProtocolArg::NewMashups), _) => Some(Protocol::NewMashups),
            (None, _) if self.split.is_none() => None,
            (None, Side::Validation) => Some(Protocol::UnseenSongs),
            (None, Side::Train) => Some(Protocol::NewMashups),
        }
    }

    /// The split that the model was trained with, if anything tells.
    fn trained(&self) -> Result<Option<Split>> {
        let Some(model) = &self.model.model else {
            return Ok(Some(split_of_bundled()?));
        };
        Ok(split_of(&resolve(model)?)?)
    }

    /// What judges the model.
    fn judges(&self) -> Result<Judges> {
        let given = self.split.as_deref().map(Split::load).transpose()?;
        Ok(Judges::new(self.protocol(), given, self.trained()?)?)
    }
}

pub fn run(args: &Args) -> Result<Outcome> {
    args.threads.apply()?;
    let classifier = args.model.load()?;
    interrupt::listen()?;
    let (evaluations, remixer) = match &args.songs {
        Some(folder) => (vec![judge_songs(args, &classifier, folder)?], None),
        None => {
            let (evaluations, remixer) = judge_mashups(args, &classifier)?;
            (evaluations, Some(remixer))
        }
    };
    let mut out = std::io::stdout().lock();
    let mut outcome = Outcome::AllWell;
    for (n, evaluation) in evaluations.iter().enumerate() {
        for failure in &evaluation.failures {
            eprintln!("{}", printable(failure));
            outcome = Outcome::SomeFailed;
        }
        let measures = evaluation.measure()?;
        let folder = if n == 0 {
            args.out()
        } else {
            args.out().join(CLEAN)
        };
        make_folder(&folder)?;
        let mistakes = report::mistakes(evaluation, classifier.extractor(), remixer.as_ref());
        write_report(&folder, evaluation, &measures, &mistakes)?;
        writeln!(out, "{}", evaluation.title)?;
        let (jackknife, bootstrap) = (&measures, &measures.bootstrap);
        for (name, i, b) in [
            ("macro F1", jackknife.macro_f1, bootstrap.macro_f1),
            ("accuracy", jackknife.accuracy, bootstrap.accuracy),
        ] {
            writeln!(
                out,
                "{name}  {}, bootstrap [{:.4}, {:.4}]",
                shown(i),
                b.low,
                b.high
            )?;
        }
        writeln!(out, "log loss  {:.4} nats", measures.log_loss)?;
        if args.protocol.is_some() && n == 0 {
            print_details(&mut out, evaluation, &measures)?;
        }
        writeln!(out, "report    {}", folder.join("report.html").display())?;
    }
    if let [messy, clean] = &evaluations[..] {
        writeln!(
            out,
            "\nclean minus messy, macro F1  {}",
            shown(loss_by_mess(clean, messy)?)
        )?;
    }
    writeln!(
        out,
        "\nin brackets: 95 % intervals over songs, of the jackknife where nothing else is said"
    )?;
    Ok(outcome)
}

fn shown(i: Interval) -> String {
    format!("{:.4} [{:.4}, {:.4}]", i.value, i.low, i.high)
}

/// Figures by genre, by signal-to-noise ratio and by number of noises.
fn print_details(out: &mut impl Write, evaluation: &Evaluation, m: &Measures) -> Result<()> {
    writeln!(
        out,
        "\n{:<18} {:>6} {:>10} {:>7} {:>7}",
        "genre", "F1", "precision", "recall", "sounds"
    )?;
    for (label, g) in evaluation.labels.iter().zip(&m.genres) {
        let (label, f1) = (printable(label), g.f1);
        writeln!(
            out,
            "{label:<18} {f1:>6.3} {:>10.3} {:>7.3} {:>7}",
            g.precision, g.recall, g.support
        )?;
    }
    for (title, bands) in [("music over noise", &m.by_snr), ("noises", &m.by_noises)] {
        writeln!(
            out,
            "\n{title:<18} {:>8} {:>9} {:>7}",
            "macro F1", "accuracy", "sounds"
        )?;
        for band in bands {
            writeln!(
                out,
                "{:<18} {:>8.3} {:>9.3} {:>7}",
                band.name, band.macro_f1, band.accuracy, band.count
            )?;
        }
    }
    writeln!(out)?;
    Ok(())
}

/// Judges by mashups, and where a protocol is asked for by its name, then by the same songs clean. With what made them.
fn judge_mashups(args: &Args, classifier: &Classifier) -> Result<(Vec<Evaluation>, Remixer)> {
    let data = args.data.open()?;
    let options = args.windows.options(AudioLimits::default())?;
    let recipe = match &args.config {
        Some(path) => TrainConfig::load(path)?.remix,
        None => RemixOptions::default(),
    };
    let material = args.judges()?.of_data(&data)?;
    let remixer = Remixer::new(&data, &material.songs, &material.folds, recipe)?;
    make_folder(&args.out())?;
    let by_name = args.protocol.and(args.protocol());
    let count = args
        .mashups
        .unwrap_or(by_name.map_or(MASHUPS, |_| Protocol::MASHUPS));
    let mut progress = Progress::new(count);
    let mut messy = evaluate_mashups(classifier, &options, &remixer, args.seed, count, &mut |done| {
        progress.set(done, "mashups");
        interrupt::check()
    })?;
    progress.finish();
    messy.title = format!("{} of {}", messy.title, material.name);
    let Some(protocol) = by_name else {
        return Ok((vec![messy], remixer));
    };
    messy.title = format!("{}: {}", protocol.name(), messy.title);
    if let Some(config) = &args.config {
        messy.title += &format!(", recombined as {} says", config.display());
    }
    let judged: BTreeSet<&str> = messy
        .items
        .iter()
        .flat_map(|item| &item.songs)
        .map(|song| &song[..])
        .collect();
    let same: Vec<String> = material
        .songs
        .into_iter()
        .filter(|song| judged.contains(recording(song)))
        .collect();
    let mut progress = Progress::new(same.len() as u64);
    let mut clean = evaluate_whole(classifier, &options, &remixer, &same, &mut |done| {
        progress.set(done, "clean songs");
        interrupt::check()
    })?;
    progress.finish();
    clean.title = format!(
        "{}: the same songs unmixed and without noise, {}",
        protocol.name(),
        clean.title
    );
    Ok((vec![messy, clean], remixer))
}

fn judge_songs(args: &Args, classifier: &Classifier, folder: &Path) -> Result<Evaluation> {
    let songs = args.judges()?.of_songs(folder)?;
    if let Some(first) = songs.unknown.first() {
        let (count, folder) = (songs.unknown.len(), folder.display());
        eprintln!(
            "{}",
            printable(&format!(
                "{count} songs in {folder} are not in the split and are left out, such as {first}"
            ))
        );
    }
    let options = args.windows.options(AudioLimits::default())?;
    make_folder(&args.out())?;
    let mut progress = Progress::new(0);
    let only = songs.only.as_ref();
    let mut evaluation = evaluate_songs(classifier, &options, folder, only, &mut |done, total| {
        progress.set_total(total);
        progress.set(done, "songs");
        interrupt::check()
    })?;
    progress.finish();
    evaluation.title += &songs.name;
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
