//! Training: a recipe, and the loop, which is a loop.
//!
//! Loader threads make mashups and their features ahead of the model; each step is forward, backward, clip, AdamW. All
//! randomness of example i in epoch e comes from (seed, e, i), so there is nothing random to save, and a resumed run takes
//! the very steps that the uninterrupted one would have taken.

mod augment;
mod loader;
mod recipe;
mod teacher;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;

use rayon::prelude::*;
use serde_json::json;

pub use augment::{Bandwidth, Mixup, Shorten};
pub use recipe::{DataSettings, ModelShape, TrainConfig, Validation};
pub use teacher::{TeacherKind, TeacherSettings};

use self::loader::{Examples, Loaders};
use self::teacher::Teacher;
use crate::ast::{Activations, Batch, Targets, Weights};
use crate::checkpoint::Checkpoint;
use crate::dataset::{DatasetOptions, KnownFacts, MessyMashup, Scope, Split};
use crate::evaluate::{Evaluation, Judged};
use crate::events::Shown;
use crate::optim::{AdamW, Average, Rates, clip_scale, global_norm};
use crate::remix::{JUDGING_EPOCH, Remix, Remixer};
use crate::run::{Kept, Run, Score, TrainState};
use crate::{Error, Result, metrics, report};

/// Batches that a loader thread may be ahead.
const AHEAD: usize = 2;

/// What the loop tells whoever shows progress.
#[derive(Debug, Clone, PartialEq)]
pub enum TrainEvent {
    /// The data is being looked through, before the first step.
    Surveyed {
        /// Files that were looked at.
        done: usize,
        /// Files that there are.
        total: usize,
    },
    /// A fact for the log.
    Note(String),
    /// A step was taken.
    Step {
        /// From 1.
        epoch: u64,
        /// Steps taken.
        step: u64,
        /// Steps in all.
        steps: u64,
        /// Mean loss of the batch: cross entropy, nats, or with a teacher the squared error.
        loss: f32,
        /// Learning rate of the step.
        learning_rate: f64,
        /// Since the start or the resumption.
        mashups_per_second: f64,
        /// By that speed.
        seconds_left: f64,
    },
    /// An epoch ended with a validation.
    Validated {
        /// From 1.
        epoch: u64,
        /// Steps taken.
        step: u64,
        /// Mean loss of the validation mashups, as of a step.
        loss: f64,
        /// How good the answers to the validation mashups were.
        score: Score,
        /// Whether this is the best so far.
        best: bool,
    },
}

/// Trains in a new run directory.
///
/// `on_event` hears of every step; if it returns [`Error::Interrupted`], the run is saved and the training ends with that
/// error, to be continued by [`resume`].
///
/// # Errors
/// [`Error::Config`], [`Error::Dataset`], [`Error::Run`], [`Error::Checkpoint`] before the first step; later [`Error::Io`],
/// or what `on_event` says.
pub fn train(
    config: &TrainConfig,
    data: &[PathBuf],
    run: &Path,
    on_event: &mut dyn FnMut(TrainEvent) -> Result<()>,
) -> Result<()> {
    config.check()?;
    Run::check_new(run)?;
    let config = &config.with_absolute_paths()?;
    let before = config.split_before()?;
    let dataset = open_data(config, data)?;
    let validation = &config.validation;
    let (fraction, folds, seed) = (validation.fraction, &validation.noise_folds, validation.seed);
    let split = match &before {
        Some(before) => Split::by_song_after(before, &dataset, fraction, folds, seed)?,
        None => Split::by_song(&dataset, fraction, folds, seed)?,
    };
    let all_heard = |before: &Split| before.count_heard(songs_of(&split)) == dataset.songs.len();
    if fraction > 0.0 && split.validation.is_empty() && before.as_ref().is_some_and(all_heard) {
        return Err(Error::Config(
            "every song of the data trained the model that init names, so none can judge: give songs that it has not heard, or set \
             validation.fraction = 0 to judge by training songs"
                .into(),
        ));
    }
    let teacher = config.load_teacher()?.map(Arc::new);
    let model = config.first_model(labels(teacher.as_deref(), &dataset))?;
    let loaders = Loaders::new(config, &model, teacher, (&dataset, &split))?;
    let mut known = KnownFacts::of_roots(data);
    if let Some(path) = &config.data.inventory {
        known.read(path)?;
    }
    let inventory = dataset.survey(Scope::Training, &mut known, &mut |done, total| {
        on_event(TrainEvent::Surveyed { done, total })
    })?;
    on_event(TrainEvent::Note(inventory.to_string()))?;
    inventory.check()?;
    for note in notes_of_split(config, before.as_ref(), &split, &dataset) {
        on_event(TrainEvent::Note(note))?;
    }
    for note in &model.notes {
        on_event(TrainEvent::Note(note.clone()))?;
    }
    let run = Run::create(run, config, data, &split)?;
    let optimizer = config.optimizer(model.ast.weights());
    let average = config.average(model.ast.weights());
    let state = TrainState::default();
    Trainer::new((run, state), config, (model, optimizer, average), loaders).train(on_event)
}

fn songs_of(split: &Split) -> impl Iterator<Item = &str> {
    split.train.iter().chain(&split.validation).map(String::as_str)
}

/// What there is to know about who judges a training.
fn notes_of_split(
    config: &TrainConfig,
    before: Option<&Split>,
    split: &Split,
    dataset: &MessyMashup,
) -> Vec<String> {
    let mut notes = Vec::new();
    match before {
        Some(before) => {
            let heard = before.count_heard(songs_of(split));
            let judged = match (heard, split.validation.is_empty()) {
                (0, _) => "",
                (_, true) => ", and training songs judge: the validation flatters",
                (_, false) => "; they do not judge this one",
            };
            let songs = dataset.songs.len();
            notes.push(format!("the model that init names was trained on {heard} of the {songs} songs{judged}"));
        }
        None if config.init.is_some() => notes.push(
            "nothing tells what trained the model that init names: if it has heard these songs, the validation flatters".into(),
        ),
        None => {}
    }
    let unjudged = split.unjudged(dataset);
    if !unjudged.is_empty() {
        notes.push(format!(
            "no song of {} is kept from training (there are too few, or the model that init names has heard them): the validation says \
             nothing of these genres",
            unjudged.join(", ")
        ));
    }
    notes
}

/// Continues a run where its `last/` stands: from there on it is the uninterrupted run, bit for bit, on a machine of the same
/// instruction set.
///
/// # Errors
/// As [`train`].
pub fn resume(run: &Path, on_event: &mut dyn FnMut(TrainEvent) -> Result<()>) -> Result<()> {
    let (run, state) = Run::open(run)?;
    let config = run.config()?;
    let dataset = open_data(&config, &run.data()?)?;
    let split = run.split()?;
    split.check(&dataset)?;
    let teacher = config.load_teacher()?.map(Arc::new);
    let last = run.load_last(&config)?;
    let (model, kept) = match last {
        None => (config.first_model(labels(teacher.as_deref(), &dataset))?, None),
        Some((model, kept)) => (model, Some(kept)),
    };
    let mut optimizer = config.optimizer(model.ast.weights());
    let mut average = config.average(model.ast.weights());
    if let Some(kept) = kept {
        (optimizer.step, optimizer.m, optimizer.v) = (state.step, kept.m, kept.v);
        average = kept.average;
    }
    let loaders = Loaders::new(&config, &model, teacher, (&dataset, &split))?;
    if run.recipe_changed() {
        on_event(TrainEvent::Note(
            "config.toml was changed since the run was saved: from here on it is another run than it would have been".into(),
        ))?;
    }
    on_event(TrainEvent::Note(format!("resumed after {} steps", state.step)))?;
    Trainer::new((run, state), &config, (model, optimizer, average), loaders).train(on_event)
}

/// What makes the mashups that judge a training of `config` on the data of these roots: of the songs and noise that `split`
/// keeps from it, or where it keeps no song, of the training songs.
///
/// # Errors
/// [`Error::Dataset`], [`Error::Config`] where the data, or the songs of the split in it, are not there (any more).
pub fn validation_remixer(config: &TrainConfig, data: &[PathBuf], split: &Split) -> Result<Remixer> {
    let dataset = open_data(config, data)?;
    let (songs, folds) = split.judged();
    Remixer::new(&dataset, songs, folds, config.remix.clone())
}

/// What the outputs of the model are called.
fn labels<'a>(teacher: Option<&'a Teacher>, dataset: &'a MessyMashup) -> &'a [String] {
    teacher.map_or(&dataset.genres, |teacher| &teacher.columns)
}

fn open_data(config: &TrainConfig, data: &[PathBuf]) -> Result<MessyMashup> {
    let options = DatasetOptions {
        allow_missing_stems: config.data.allow_missing_stems,
        extra_noise: config.data.extra_noise.clone(),
        ..DatasetOptions::default()
    };
    let dataset = MessyMashup::open(data, &options)?;
    if dataset.songs.is_empty() {
        return Err(Error::Config(
            "the data has no song: give a folder with genres_stems/<genre>/<song>/{drums,bass,vocals,other}.wav".into(),
        ));
    }
    Ok(dataset)
}

/// A training under way.
struct Trainer<'a> {
    config: &'a TrainConfig,
    loaders: Loaders<'a>,
    model: Checkpoint,
    optimizer: AdamW,
    /// Of the weights; judged and kept in their place.
    average: Option<Average>,
    gradients: Weights,
    activations: Activations,
    run: Run,
    state: TrainState,
    started: Instant,
    /// When the step under way began to wait for its batch.
    began: Instant,
    seconds_before: f64,
}

impl<'a> Trainer<'a> {
    fn new(
        (run, state): (Run, TrainState),
        config: &'a TrainConfig,
        (model, optimizer, average): (Checkpoint, AdamW, Option<Average>),
        loaders: Loaders<'a>,
    ) -> Self {
        Self {
            gradients: model.ast.weights().zeros_like(),
            activations: Activations::default(),
            seconds_before: state.seconds,
            started: Instant::now(),
            began: Instant::now(),
            config,
            loaders,
            model,
            optimizer,
            average,
            run,
            state,
        }
    }

    fn train(&mut self, on_event: &mut dyn FnMut(TrainEvent) -> Result<()>) -> Result<()> {
        let (first, last) = (self.state.step, self.config.total_steps());
        // Loader thread t makes the batches of steps t, t + threads, …; each has a channel of its own, so that batches
        // arrive in the order of the steps.
        let threads = self.config.loader_threads as u64;
        let (senders, receivers): (Vec<SyncSender<_>>, Vec<Receiver<_>>) = (0..threads)
            .map(|_| sync_channel::<Result<Examples>>(AHEAD))
            .unzip();
        let loader = Arc::clone(&self.loaders.training);
        std::thread::scope(|scope| {
            let mut threads_made = Vec::new();
            for (thread, sender) in senders.into_iter().enumerate() {
                let loader = &loader;
                let made = std::thread::Builder::new()
                    .name(format!("loader {thread}"))
                    .spawn_scoped(scope, move || {
                        for step in (first..last).filter(|step| step % threads == thread as u64) {
                            // The receiver is gone when the loop has ended early.
                            if sender.send(loader.batch(step)).is_err() {
                                break;
                            }
                        }
                    });
                threads_made.push(made.map_err(Error::io(self.run.root()))?);
            }
            let result = (first..last).try_for_each(|step| {
                self.began = Instant::now();
                let batch = receivers[(step % threads) as usize]
                    .recv()
                    .map_err(|_| Error::Run {
                        path: self.run.root().to_path_buf(),
                        message: "a loader thread has ended early; this is a bug".into(),
                    })??;
                self.step(&batch, first, on_event)
            });
            // Without receivers the threads end; joined here, one that has panicked does not bring the scope down.
            drop(receivers);
            for thread in threads_made {
                let _ = thread.join();
            }
            result
        })
    }

    /// One step, and what is due after it.
    fn step(
        &mut self,
        batch: &Examples,
        first: u64,
        on_event: &mut dyn FnMut(TrainEvent) -> Result<()>,
    ) -> Result<()> {
        let (rates, steps) = (self.config.rates(self.state.step), self.config.total_steps());
        let loss = self.update(batch, rates)?;
        self.state.step += 1;
        let seconds = self.started.elapsed().as_secs_f64();
        self.state.seconds = self.seconds_before + seconds;
        let taken = self.state.step - first;
        let heard = on_event(TrainEvent::Step {
            epoch: (self.state.step - 1) / self.config.steps_per_epoch() + 1,
            step: self.state.step,
            steps,
            loss,
            learning_rate: rates.body,
            mashups_per_second: (taken * self.config.batch_size as u64) as f64 / seconds,
            seconds_left: seconds / taken as f64 * (steps - self.state.step) as f64,
        });
        let epoch_ends = self.state.step.is_multiple_of(self.config.steps_per_epoch());
        if epoch_ends {
            let validated = self.validate()?;
            // Saved before anybody is told: who asks to stop now must not lose the epoch.
            self.save_last()?;
            on_event(validated)?;
        } else if heard.is_err() || self.state.step.is_multiple_of(self.config.save_every_steps) {
            self.save_last()?;
        }
        heard
    }

    /// Forward, backward, clip, AdamW. Returns the mean loss.
    fn update(&mut self, batch: &Examples, rates: Rates) -> Result<f32> {
        self.gradients.clear();
        let trained = self.config.trained(self.state.step);
        let parts = self.config.batch_size / self.config.micro_batch;
        let (input, kept) = (batch.input_values.len() / parts, batch.keep.len() / parts);
        let targets = batch.targets.len() / parts;
        let mut loss = 0.0;
        for part in 0..parts {
            let examples = Batch {
                input_values: &batch.input_values[part * input..][..input],
                keep: (self.config.patchout > 0.0).then(|| &batch.keep[part * kept..][..kept]),
            };
            let wanted = &batch.targets[part * targets..][..targets];
            let wanted = match self.loaders.values() {
                Some(_) => Targets::Values(wanted),
                None => Targets::Probabilities(wanted),
            };
            loss += self.model.ast.forward_backward(
                examples,
                wanted,
                trained,
                &mut self.gradients,
                &mut self.activations,
            )? / parts as f32;
        }
        let norm = global_norm(&self.gradients) / parts as f64;
        if !(loss.is_finite() && norm.is_finite()) {
            let message = format!(
                "the loss is no longer a number after {} steps; last/ holds an earlier state; try a lower learning_rate",
                self.state.step
            );
            return Err(Error::Run {
                path: self.run.root().to_path_buf(),
                message,
            });
        }
        let scale = clip_scale(norm, self.config.clip_norm) / parts as f64;
        self.optimizer
            .step(self.model.ast.weights_mut(), &self.gradients, rates, scale);
        if let Some(average) = &mut self.average {
            average.update(self.model.ast.weights(), self.state.step + 1);
        }
        let mut line = json!({
            "step": self.state.step + 1,
            "loss": loss,
            "learning_rate": rates.body,
            "gradient_norm": norm,
        });
        let a_second = self.config.batch_size as f64 / self.began.elapsed().as_secs_f64();
        let mut curves = vec![
            ("train/loss", Shown::Scalar(loss.into())),
            ("train/learning_rate", Shown::Scalar(rates.body)),
            ("train/gradient_norm", Shown::Scalar(norm)),
            ("train/mashups_per_second", Shown::Scalar(a_second)),
        ];
        if rates.head != rates.body {
            line["head_learning_rate"] = json!(rates.head);
            curves.push(("train/head_learning_rate", Shown::Scalar(rates.head)));
        }
        self.run.log(&line)?;
        self.run.events().write(self.state.step + 1, &curves)?;
        Ok(loss)
    }

    /// Judges the model, or where there is one the average of its weights, on the validation mashups; logs it, and keeps it
    /// if it is the best so far.
    fn validate(&mut self) -> Result<TrainEvent> {
        self.swap_average();
        let validated = self.judge();
        self.swap_average();
        validated
    }

    /// Puts the average in the place of the weights, or the weights back.
    fn swap_average(&mut self) {
        if let Some(average) = &mut self.average {
            std::mem::swap(self.model.ast.weights_mut(), &mut average.weights);
        }
    }

    fn judge(&mut self) -> Result<TrainEvent> {
        let answers = self.answer()?;
        let (epoch, step) = (self.state.step / self.config.steps_per_epoch(), self.state.step);
        let mut line = json!({ "step": step, "epoch": epoch, "seconds": self.state.seconds });
        let (loss, score, evaluation) = match self.loaders.values().cloned() {
            Some(teacher) => {
                let loss = squared_error_of(&teacher, &answers)?;
                let explained = 1.0 - loss / teacher.variance;
                line["validation_explained"] = json!(explained);
                (loss, Score::Explained(explained), None)
            }
            None => {
                let evaluation = self.evaluation(answers, epoch)?;
                let (loss, macro_f1) = self.log_genres(&evaluation, &mut line)?;
                (loss, Score::MacroF1(macro_f1), Some(evaluation))
            }
        };
        line["validation_loss"] = json!(loss);
        self.run.log(&line)?;
        let tag = format!("validation/{}", score.key());
        let curves = [
            ("validation/loss", Shown::Scalar(loss)),
            (&tag[..], Shown::Scalar(score.value())),
        ];
        self.run.events().write(step, &curves)?;
        let best = self.state.best_score.is_none_or(|before| score.value() > before);
        if best {
            self.state.best_score = Some(score.value());
            self.run.save_best(&self.model, evaluation.as_ref())?;
        }
        Ok(TrainEvent::Validated {
            epoch,
            step,
            loss,
            score,
            best,
        })
    }

    /// The validation mashups, and the model's outputs for each.
    fn answer(&mut self) -> Result<Vec<(Remix, Vec<f32>)>> {
        let (validation, mut answers) = (&self.config.validation, Vec::new());
        let together = self.config.micro_batch as u64;
        for first in (0..validation.mashups).step_by(self.config.micro_batch) {
            let made: Vec<(Remix, Vec<f32>)> = (first..validation.mashups.min(first + together))
                .into_par_iter()
                .map(|i| self.loaders.validation.mashup(validation.seed, JUDGING_EPOCH, i))
                .collect::<Result<_>>()?;
            let input_values: Vec<f32> = made.iter().flat_map(|(_, features)| features).copied().collect();
            let batch = Batch {
                input_values: &input_values,
                keep: None,
            };
            let logits = self.model.ast.forward(batch, &mut self.activations)?;
            let each = logits.chunks_exact(logits.len() / made.len());
            answers.extend(
                made.into_iter()
                    .zip(each)
                    .map(|((remix, _), logits)| (remix, logits.to_vec())),
            );
        }
        Ok(answers)
    }

    /// Outputs as answers to the question for the genre.
    fn evaluation(&self, answers: Vec<(Remix, Vec<f32>)>, epoch: u64) -> Result<Evaluation> {
        let judged = |(number, (remix, mut scores)): (usize, (Remix, Vec<f32>))| {
            messymash_kernels::cross_entropy::softmax(&mut scores);
            let class = self.loaders.validation.class(&remix)?;
            Ok(Judged::mashup(number as u64, class, scores, remix))
        };
        Ok(Evaluation {
            title: format!("{} validation mashups after epoch {epoch}", answers.len()),
            model: "best".into(),
            labels: self.model.ast.config().labels(),
            items: answers
                .into_iter()
                .enumerate()
                .map(judged)
                .collect::<Result<_>>()?,
            failures: Vec::new(),
        })
    }

    /// Loss and macro F1 of the answers; F1 by genre goes to `line`, and with the confusion matrix to TensorBoard.
    fn log_genres(&mut self, evaluation: &Evaluation, line: &mut serde_json::Value) -> Result<(f64, f64)> {
        let (labels, items) = (&evaluation.labels, &evaluation.items);
        let loss = metrics::log_loss(items.iter().map(|item| (&item.scores[..], item.truth)));
        let pairs = items.iter().map(|item| (item.truth, item.predicted(), 1.0));
        let confusion = metrics::Confusion::weighted(labels.len(), pairs);
        // Of the genres that are there: one that is not, told once by mistake, would change what the mean is of, and which epoch is best.
        let macro_f1 = confusion.macro_f1_of(&confusion.supported());
        let by_genre: BTreeMap<&String, f64> = labels
            .iter()
            .zip(confusion.classes())
            .map(|(label, class)| (label, class.f1))
            .collect();
        let picture = report::confusion_picture(&confusion)?;
        let tags: Vec<String> = by_genre
            .keys()
            .map(|label| format!("validation_f1/{label}"))
            .collect();
        let mut shown = vec![("validation/confusion", Shown::Picture(&picture))];
        shown.extend(
            tags.iter()
                .zip(by_genre.values())
                .map(|(tag, f1)| (&tag[..], Shown::Scalar(*f1))),
        );
        self.run.events().write(self.state.step, &shown)?;
        line["validation_macro_f1"] = json!(macro_f1);
        line["validation_f1"] = json!(by_genre);
        Ok((loss, macro_f1))
    }

    fn save_last(&self) -> Result<()> {
        let kept = Kept {
            model: &self.model,
            optimizer: &self.optimizer,
            average: self.average.as_ref(),
        };
        self.run.save_last(kept, &self.state)
    }
}

/// Mean squared error of outputs against what the teacher heard.
fn squared_error_of(teacher: &Teacher, answers: &[(Remix, Vec<f32>)]) -> Result<f64> {
    let (mut sum, mut count) = (0.0, 0);
    for (remix, outputs) in answers {
        let distances = outputs
            .iter()
            .zip(teacher.target(remix)?)
            .map(|(o, t)| f64::from(o - t));
        sum += distances.map(|d| d * d).sum::<f64>();
        count += outputs.len();
    }
    Ok(sum / count as f64)
}
