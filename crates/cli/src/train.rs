//! `messymash train`: a recipe and data in, a run directory out.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use messymash::Error;
use messymash::train::{TrainConfig, TrainEvent, resume, train};

use crate::input::{ThreadArgs, printable, told};
use crate::progress::{Progress, clock};
use crate::{Outcome, interrupt, report};

/// Train a model by cross-song recombination, or go on with a training that was stopped.
///
/// The run directory holds the recipe, the split of the songs, the log (metrics.jsonl, and as curves for `tensorboard --logdir
/// RUN`), the model as it stands (last/) and the best one so far (best/), which every other command takes as --model, and at the
/// end a page about it all (report.html). Ctrl-C saves and stops; --resume goes on, step for step as if nothing had happened.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A recipe (TOML); see configs/ in the source. Left out: the defaults
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    config: Option<PathBuf>,
    /// A folder with the Messy Mashup layout somewhere below it: genres_stems/<genre>/<song>/{drums,vocals,bass,other}.wav and
    /// ESC-50-master. May be given several times
    #[arg(
        long,
        value_name = "DIR",
        required_unless_present = "resume",
        conflicts_with = "resume"
    )]
    data: Vec<PathBuf>,
    /// A further folder of noise (any sound files), besides those of the recipe. May be given several times
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    noise: Vec<PathBuf>,
    /// What `dataset check --inventory FILE` wrote, if not to the data's folder, where it is found without this
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    inventory: Option<PathBuf>,
    /// The run directory to make; it must not exist yet, or be empty
    #[arg(
        long,
        value_name = "RUN",
        required_unless_present = "resume",
        conflicts_with = "resume"
    )]
    out: Option<PathBuf>,
    /// Go on with the training in this run directory
    #[arg(long, value_name = "RUN")]
    resume: Option<PathBuf>,
    #[command(flatten)]
    threads: ThreadArgs,
}

pub fn run(args: &Args) -> Result<Outcome> {
    args.threads.apply()?;
    let mut config = match &args.config {
        Some(path) => TrainConfig::load(path)?,
        None => TrainConfig::default(),
    };
    config.data.extra_noise.extend(args.noise.iter().cloned());
    config.data.inventory = args.inventory.clone().or(config.data.inventory);
    interrupt::listen()?;
    let mut progress = Progress::new(0);
    let mut on_event = |event: TrainEvent| {
        show(&mut progress, &event);
        interrupt::check()
    };
    let (run, result) = match (&args.resume, &args.out) {
        (Some(run), _) => (run, resume(run, &mut on_event)),
        (None, Some(run)) => (run, train(&config, &args.data, run, &mut on_event)),
        (None, None) => bail!("give --out RUN, or --resume RUN"),
    };
    progress.finish();
    match result {
        Ok(()) => {
            eprintln!("done; the best model is {}", run.join("best").display());
            let page = report::beside(run);
            match report::write(run, &page) {
                Ok(()) => eprintln!("how it went: {}", page.display()),
                // The model is there: a page that cannot be written must not look like a failed training.
                Err(error) => eprintln!("the report cannot be written: {}", printable(&told(&error))),
            }
            Ok(Outcome::AllWell)
        }
        // Asked to stop before there was anything to save: while the data was looked through.
        Err(Error::Interrupted) if !run.join("config.toml").is_file() => {
            eprintln!("stopped before the first step; nothing was written");
            Ok(Outcome::Interrupted)
        }
        Err(Error::Interrupted) => {
            eprintln!("saved; go on with: messymash train --resume {}", run.display());
            Ok(Outcome::Interrupted)
        }
        Err(error) => Err(error).context("training stopped"),
    }
}

fn show(progress: &mut Progress, event: &TrainEvent) {
    match event {
        TrainEvent::Note(note) => progress.say(&printable(note)),
        TrainEvent::Surveyed { done, total } => {
            progress.set_total(*total as u64);
            progress.set(*done as u64, "files of the data looked at");
        }
        TrainEvent::Step {
            epoch,
            step,
            steps,
            loss,
            learning_rate,
            mashups_per_second,
            seconds_left,
        } => {
            progress.set_total(*steps);
            let message = format!(
                "epoch {epoch}, loss {loss:.3}, learning rate {learning_rate:.1e}, {mashups_per_second:.1} mashups/s, {} left",
                clock(*seconds_left)
            );
            progress.set(*step, &message);
        }
        TrainEvent::Validated {
            epoch,
            step,
            loss,
            score,
            best,
        } => progress.say(&format!(
            "epoch {epoch} (step {step}): validation loss {loss:.4}, {} {:.4}{}",
            score.name(),
            score.value(),
            if *best { ", the best so far" } else { "" }
        )),
    }
}
