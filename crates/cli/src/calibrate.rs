//! `messymash calibrate`: a model whose scores mean what they say, and which says when it is not sure or hears no music.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use messymash::calibrate::{
    HeardSound, Kinds, Labelled, Worth, apply_temperature, fit_rules, fit_temperature, hear, hear_waveform,
    try_rules,
};
use messymash::checkpoint::{Checkpoint, Stored, resolve};
use messymash::classifier::ClassifyOptions;
use messymash::dataset::{MessyMashup, Split};
use messymash::remix::{JUDGING_EPOCH, Remix, RemixOptions, Remixer};
use messymash::run::{SPLIT, split_of};
use messymash::{Classifier, Waveform};
use rayon::prelude::*;

use crate::input::{DataArgs, Sound, ThreadArgs, sounds};
use crate::progress::Progress;
use crate::{Outcome, interrupt};

/// Fit a model's scores to what they are worth, and teach it to say when it hears no music.
///
/// The temperature is fitted to noisy mashups of the songs that training never heard, and to the same songs clean; it goes into the weights of the
/// head, so every program gets the same scores. What tells music from speech and noise is fitted to training songs, training noise and the
/// --speech folders, and tried on the others. The figures printed are of sounds that had no part in the fit.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model directory
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The directory to write; it must not exist yet
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    /// The split.json of the training run. Left out: what lies beside the model
    #[arg(long, value_name = "FILE")]
    split: Option<PathBuf>,
    /// A folder of recorded speech to learn from. May be given several times
    #[arg(long, value_name = "DIR", required = true)]
    speech: Vec<PathBuf>,
    /// A folder of other people's speech to try it on. May be given several times
    #[arg(long, value_name = "DIR", required = true)]
    unheard_speech: Vec<PathBuf>,
    /// A folder of further music, of any genre, to learn what music is from. May be given several times
    #[arg(long, value_name = "DIR")]
    music: Vec<PathBuf>,
    /// A folder of other music to try it on. May be given several times
    #[arg(long, value_name = "DIR")]
    unheard_music: Vec<PathBuf>,
    /// A sound is called no music where music is less likely than this. More finds more noise, and takes more songs for it
    #[arg(long, value_name = "P", default_value_t = 0.1, value_parser = probability)]
    least_music: f32,
    /// How many mashups of each side to hear
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(50..=100_000))]
    mashups: u64,
    /// How many files of further music, of speech and of noise to hear of each side, at most
    #[arg(long, value_name = "N", default_value_t = 600, value_parser = clap::value_parser!(u16).range(10..=10_000))]
    sounds: u16,
    #[command(flatten)]
    threads: ThreadArgs,
}

fn probability(text: &str) -> Result<f32, String> {
    let value = text.parse::<f32>().ok().filter(|p| (0.0..=1.0).contains(p));
    value.ok_or_else(|| "it must be a number from 0 to 1".into())
}

/// Seed of the mashups: not that of the protocols, which judge the model later.
const SEED: u64 = 500;

/// What everything is heard with.
struct Ear<'a> {
    classifier: &'a Classifier,
    options: ClassifyOptions,
    data: &'a MessyMashup,
    most: usize,
}

pub fn run(args: &Args) -> Result<Outcome> {
    args.threads.apply()?;
    if args.out.exists() {
        bail!("{} exists already; name a new directory", args.out.display());
    }
    let folder = resolve(&args.model)?;
    let own_split = split_of(&folder)?;
    let split = match &args.split {
        Some(path) => Split::load(path)?,
        None => own_split
            .clone()
            .context("nothing tells what the model was trained on: give --split FILE")?,
    };
    // What is saved beside the new model is what trained it.
    let own_split = own_split.unwrap_or_else(|| split.clone());
    own_split.check_unheard(&split.validation)?;
    own_split.check_unheard_noise(&split.validation_folds)?;
    check_apart(
        &[("--speech", &args.speech), ("--music", &args.music)],
        &[
            ("--unheard-speech", &args.unheard_speech),
            ("--unheard-music", &args.unheard_music),
        ],
    )?;
    if split.validation.is_empty() {
        bail!("the split keeps no song from training, so there is nothing to calibrate by");
    }
    let data = args.data.open()?;
    split.check(&data)?;
    let mut model = Checkpoint::load(&folder)?;
    let classifier = Classifier::from_pretrained(&folder)?;
    interrupt::listen()?;
    if !matches!(
        classifier.model().config().problem_type.as_deref(),
        None | Some("single_label_classification")
    ) {
        bail!("its config.json asks for other scores than those of a softmax; only these can be calibrated");
    }
    let ear = Ear {
        classifier: &classifier,
        options: ClassifyOptions::default(),
        data: &data,
        most: args.sounds.into(),
    };
    let trained = ear.music(&split.train, &split.train_folds, args.mashups, "training songs")?;
    let unheard = ear.music(
        &split.validation,
        &split.validation_folds,
        args.mashups,
        "unheard songs",
    )?;
    let fitted = fit_temperature(&unheard);
    let fit = ear.kinds((&trained, &args.music), &args.speech, &split.train_folds)?;
    let trial = ear.kinds(
        (&unheard, &args.unheard_music),
        &args.unheard_speech,
        &split.validation_folds,
    )?;
    let rules = fit_rules(&fit, args.least_music)?;

    println!(
        "temperature {:.3}, fitted to {} sounds of unheard songs",
        fitted.temperature,
        unheard.len()
    );
    println!("            loss    ECE     called sure   right of sure   right of not sure");
    for (name, worth) in [("as it was", fitted.before), ("calibrated", fitted.after)] {
        print_worth(name, worth);
    }
    println!("told music from the rest (sounds that had no part in the fit):");
    for (kind, told) in try_rules(&rules, &trial) {
        let told: Vec<String> = told
            .iter()
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        println!("  {kind:<7} {}", told.join(", "));
    }

    apply_temperature(&mut model, fitted.temperature);
    model.verdict = Some(rules);
    model.save(&args.out, Stored::F32)?;
    own_split.save(&args.out.join(SPLIT))?;
    eprintln!("written to {}", args.out.display());
    Ok(Outcome::AllWell)
}

fn print_worth(name: &str, worth: Worth) {
    println!(
        "{name:<10}  {:.3}   {:.3}   {:>9.1} %   {:>11.1} %   {:>15.1} %",
        worth.loss,
        worth.calibration_error,
        100.0 * worth.sure,
        100.0 * worth.right_of_sure,
        100.0 * worth.right_of_not_sure
    );
}

impl Ear<'_> {
    /// Mashups of these songs, and the songs as they are.
    fn music(&self, songs: &[String], folds: &[u32], mashups: u64, name: &str) -> Result<Vec<Labelled>> {
        let remixer = Remixer::new(self.data, songs, folds, RemixOptions::default())?;
        let mut progress = Progress::new(mashups + songs.len() as u64);
        let mut heard = Vec::new();
        let numbers: Vec<u64> = (0..mashups).collect();
        for some in numbers.chunks(32) {
            let made = |&number: &u64| self.labelled(remixer.make(SEED, JUDGING_EPOCH, number)?);
            heard.extend(some.par_iter().map(made).collect::<Result<Vec<_>>>()?);
            progress.set(heard.len() as u64, &format!("mashups of {name}"));
            interrupt::check()?;
        }
        for some in songs.chunks(32) {
            let whole = |song: &String| self.labelled(remixer.whole(song)?);
            heard.extend(some.par_iter().map(whole).collect::<Result<Vec<_>>>()?);
            progress.set(heard.len() as u64, name);
            interrupt::check()?;
        }
        progress.finish();
        Ok(heard)
    }

    fn labelled(&self, (remix, sound): (Remix, Waveform)) -> Result<Labelled> {
        let truth = self
            .classifier
            .labels()
            .iter()
            .position(|label| *label == remix.genre);
        Ok(Labelled {
            heard: hear_waveform(self.classifier, &sound, &self.options)?,
            truth: truth.with_context(|| format!("the model has no label '{}'", remix.genre))?,
            songs: remix.songs(),
        })
    }

    fn kinds(
        &self,
        (labelled, music): (&[Labelled], &[PathBuf]),
        speech: &[PathBuf],
        folds: &[u32],
    ) -> Result<Kinds> {
        let noise = self
            .data
            .noises
            .iter()
            .filter(|noise| folds.contains(&noise.fold));
        let noise: Vec<&Path> = noise.map(|noise| &*noise.path).collect();
        let noise: Vec<Sound> = spread(&noise, self.most)
            .map(|path| Sound::File(path.into()))
            .collect();
        let speech = sounds(speech)?;
        let speech: Vec<&Sound> = spread(&speech, self.most).collect();
        let mut heard: Vec<HeardSound> = labelled.iter().map(|labelled| labelled.heard.clone()).collect();
        if !music.is_empty() {
            let music = sounds(music)?;
            let music: Vec<&Sound> = spread(&music, self.most).collect();
            heard.extend(self.files(&music, "files of music")?);
        }
        Ok(Kinds {
            music: heard,
            speech: self.files(&speech, "files of speech")?,
            noise: self.files(&noise.iter().collect::<Vec<_>>(), "files of noise")?,
        })
    }

    fn files(&self, files: &[&Sound], name: &str) -> Result<Vec<HeardSound>> {
        let mut progress = Progress::new(files.len() as u64);
        let mut heard = Vec::new();
        for (done, some) in files.chunks(32).enumerate() {
            let one = |sound: &&Sound| {
                sound
                    .open(&self.options.limits)
                    .and_then(|stream| hear(self.classifier, stream, &self.options))
            };
            // What cannot be heard teaches nothing; the others do.
            heard.extend(
                some.par_iter()
                    .filter_map(|sound| one(sound).ok())
                    .collect::<Vec<_>>(),
            );
            progress.set((done * 32 + some.len()) as u64, name);
            interrupt::check()?;
        }
        progress.finish();
        if heard.is_empty() {
            bail!("there are no {name} that can be heard");
        }
        Ok(heard)
    }
}

/// Folders by the option that names them.
type Named<'a> = (&'a str, &'a Vec<PathBuf>);

/// Checks that no file is both learnt from and tried on: figures of sounds "that had no part in the fit" would be none.
fn check_apart<'a>(learnt: &[Named<'a>], tried: &[Named<'a>]) -> Result<()> {
    let files = |folders: &[PathBuf]| -> Result<BTreeSet<PathBuf>> {
        // Folders that were left out hold nothing, which is no error here.
        let found = if folders.is_empty() {
            Vec::new()
        } else {
            sounds(folders)?
        };
        let path = |sound: &Sound| match sound {
            Sound::File(path) => Some(std::fs::canonicalize(path).unwrap_or_else(|_| path.clone())),
            Sound::Stdin => None,
        };
        Ok(found.iter().filter_map(path).collect())
    };
    let found = |named: &[Named<'a>]| -> Result<Vec<(&'a str, BTreeSet<PathBuf>)>> {
        named
            .iter()
            .map(|(option, folders)| Ok((*option, files(folders)?)))
            .collect()
    };
    let tried = found(tried)?;
    for (fit, heard) in found(learnt)? {
        for (trial, unheard) in &tried {
            let both: Vec<&PathBuf> = unheard.intersection(&heard).collect();
            if let Some(first) = both.first() {
                bail!(
                    "{} sound files are in a folder of {fit} and in one of {trial}, such as {}: what is learnt from cannot be tried on",
                    both.len(),
                    first.display()
                );
            }
        }
    }
    Ok(())
}

/// At most `most` of them, evenly spread.
fn spread<T>(all: &[T], most: usize) -> impl Iterator<Item = &T> {
    let step = all.len().div_ceil(most.max(1)).max(1);
    all.iter().step_by(step)
}
