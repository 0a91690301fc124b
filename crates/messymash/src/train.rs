//! Training: a recipe, and the loop, which is a loop.
//!
//! Loader threads make mashups and their features ahead of the model; each step is forward, backward, clip, AdamW. All
//! randomness of example i in epoch e comes from (seed, e, i), so there is nothing random to save, and a resumed run takes
//! the very steps that the uninterrupted one would have taken.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::ast::{Activations, Ast, AstConfig, Batch, Weights};
use crate::checkpoint::{Checkpoint, NewHead, resolve};
use crate::dataset::{DatasetOptions, MessyMashup, Split};
use crate::features::FeatureExtractor;
use crate::metrics;
use crate::optim::{AdamW, Schedule, clip_scale, global_norm};
use crate::random::Random;
use crate::remix::{RemixOptions, Remixer, StemCache};
use crate::run::{Run, TrainState};
use crate::specaugment::SpecAugment;
use crate::{Error, Result};

/// Separates the random numbers of masks and dropped patches from those of the mashup.
const AUGMENT: u64 = 0x4155_474D;

/// Batches that a loader thread may be ahead.
const AHEAD: usize = 2;

/// A recipe: a TOML file. Every key may be left out, an unknown key is an error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// All randomness of the run comes from this.
    pub seed: u64,
    /// Fine-tune from this model directory or cached id; left out, a new model of the shape `[model]` is trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
    /// Passes; every mashup of every pass is a new one.
    pub epochs: u64,
    /// Mashups a pass, rounded down to whole batches.
    pub mashups_per_epoch: u64,
    /// Mashups per optimiser step.
    pub batch_size: usize,
    /// Mashups computed at once; divides `batch_size`. Less takes less memory.
    pub micro_batch: usize,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Last learning rate, as a share of the highest.
    pub final_learning_rate: f64,
    /// Steps over which the learning rate rises from 0.
    pub warmup_steps: u64,
    /// AdamW's weight decay, on matrices only.
    pub weight_decay: f64,
    /// Limit of the gradients' global norm; 0 for none.
    pub clip_norm: f64,
    /// Share of the target that is spread over all genres, within [0, 1).
    pub label_smoothing: f64,
    /// Share of the patches left out of each training mashup, within [0, 1).
    pub patchout: f64,
    /// Threads that make mashups ahead of the model.
    pub loader_threads: usize,
    /// Memory for decoded stems and noise, MiB.
    pub cache_mebibytes: usize,
    /// Steps between saves within an epoch; one is made at the end of each epoch in any case.
    pub save_every_steps: u64,
    /// The new model's shape; may not be given together with `init`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelShape>,
    /// Which songs and noise are kept for validation.
    pub validation: Validation,
    /// What is taken from the data set.
    pub data: DataSettings,
    /// How mashups are made.
    pub remix: RemixOptions,
    /// Masks on the features of training mashups.
    pub specaugment: SpecAugment,
}

/// The shape of a new model; the keys are those of `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)] // documented in AstConfig and FeatureExtractor
pub struct ModelShape {
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    pub patch_size: usize,
    pub frequency_stride: usize,
    pub time_stride: usize,
    pub max_length: usize,
    pub num_mel_bins: usize,
    pub mean: f32,
    pub std: f32,
}

/// What is kept for validation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Validation {
    /// Share of the songs, by genre, within [0, 1). With 0 every song is trained on, and validation mashups are new mashups
    /// of training songs.
    pub fraction: f64,
    /// Noise folds that training never hears.
    pub noise_folds: Vec<u32>,
    /// Mashups, the same ones after every epoch.
    pub mashups: u64,
    /// Seed of the split and of the validation mashups.
    pub seed: u64,
}

/// What is taken from the data set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataSettings {
    /// Accept songs that lack stems (they then take part with those they have).
    pub allow_missing_stems: bool,
    /// Further folders of noise.
    pub extra_noise: Vec<PathBuf>,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            init: None,
            epochs: 10,
            mashups_per_epoch: 10_000,
            batch_size: 32,
            micro_batch: 8,
            learning_rate: 5e-4,
            final_learning_rate: 0.01,
            warmup_steps: 500,
            weight_decay: 0.05,
            clip_norm: 1.0,
            label_smoothing: 0.1,
            patchout: 0.0,
            loader_threads: 1,
            cache_mebibytes: 4096,
            save_every_steps: 500,
            model: None,
            validation: Validation::default(),
            data: DataSettings::default(),
            remix: RemixOptions::default(),
            specaugment: SpecAugment::default(),
        }
    }
}

impl Default for ModelShape {
    /// Hidden 192, 6 layers, 3 heads, patches that do not overlap: 514 tokens, 2.8 million parameters.
    fn default() -> Self {
        Self {
            hidden_size: 192,
            num_hidden_layers: 6,
            num_attention_heads: 3,
            intermediate_size: 768,
            patch_size: 16,
            frequency_stride: 16,
            time_stride: 16,
            max_length: 1024,
            num_mel_bins: 128,
            // Of AudioSet, as published with the AST.
            mean: -4.267_739_3,
            std: 4.568_997_4,
        }
    }
}

impl Default for Validation {
    fn default() -> Self {
        Self {
            fraction: 0.2,
            noise_folds: vec![5],
            mashups: 500,
            seed: 1,
        }
    }
}

impl TrainConfig {
    /// Reads a recipe.
    ///
    /// # Errors
    /// [`Error::Config`] that names the key if it is unknown, of the wrong type or out of range.
    pub fn load(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(Error::io(path))?;
        let wrong = |message: String| Error::Config(format!("{}: {message}", path.display()));
        let document = toml::Deserializer::parse(&text).map_err(|e| wrong(e.to_string()))?;
        let config: Self = serde_path_to_error::deserialize(document)
            .map_err(|e| wrong(format!("{}: {}", e.path(), e.inner().message())))?;
        config.check().map_err(|e| wrong(e.to_string()))?;
        Ok(config)
    }

    /// The recipe as TOML, every default written out.
    pub fn to_toml(&self) -> String {
        // Numbers, strings, lists and tables always serialise.
        toml::to_string_pretty(self).unwrap_or_default()
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`Error::Config`] that names the setting, its value and what is possible.
    pub fn check(&self) -> Result<()> {
        let fail = |message: String| Err(Error::Config(message));
        let positive = [
            ("epochs", self.epochs),
            ("batch_size", self.batch_size as u64),
            ("micro_batch", self.micro_batch as u64),
            ("loader_threads", self.loader_threads as u64),
            ("save_every_steps", self.save_every_steps),
            ("validation.mashups", self.validation.mashups),
        ];
        for (name, value) in positive {
            if value == 0 {
                return fail(format!("{name} is 0; it must be at least 1"));
            }
        }
        if self.mashups_per_epoch < self.batch_size as u64 {
            return fail(format!(
                "mashups_per_epoch is {}; it must be at least batch_size, {}",
                self.mashups_per_epoch, self.batch_size
            ));
        }
        if !self.batch_size.is_multiple_of(self.micro_batch) {
            return fail(format!(
                "micro_batch {} does not divide batch_size {}",
                self.micro_batch, self.batch_size
            ));
        }
        let shares = [
            ("label_smoothing", self.label_smoothing),
            ("patchout", self.patchout),
            ("validation.fraction", self.validation.fraction),
        ];
        for (name, value) in shares {
            if !(0.0..1.0).contains(&value) {
                return fail(format!("{name} is {value}; it must be at least 0 and below 1"));
            }
        }
        let rates = [
            ("learning_rate", self.learning_rate),
            ("final_learning_rate", self.final_learning_rate),
            ("weight_decay", self.weight_decay),
            ("clip_norm", self.clip_norm),
        ];
        for (name, value) in rates {
            if !(value.is_finite() && value >= 0.0) {
                return fail(format!("{name} is {value}; it must be a number of at least 0"));
            }
        }
        if self.init.is_some() && self.model.is_some() {
            return fail("[model] gives the shape of a new model, but init names a model that has its own; leave one out".into());
        }
        self.remix.check()
    }

    fn schedule(&self) -> Schedule {
        Schedule {
            peak: self.learning_rate,
            last: self.learning_rate * self.final_learning_rate,
            warmup_steps: self.warmup_steps,
            total_steps: self.epochs * self.steps_per_epoch(),
        }
    }

    fn steps_per_epoch(&self) -> u64 {
        self.mashups_per_epoch / self.batch_size as u64
    }

    /// The model before its first step.
    fn first_model(&self, labels: &[String]) -> Result<Checkpoint> {
        if let Some(init) = &self.init {
            let head = NewHead {
                labels: labels.to_vec(),
                seed: self.seed,
            };
            return Checkpoint::load_body(&resolve(Path::new(init))?, &head);
        }
        let shape = self.model.clone().unwrap_or_default();
        let config = AstConfig {
            hidden_size: shape.hidden_size,
            num_hidden_layers: shape.num_hidden_layers,
            num_attention_heads: shape.num_attention_heads,
            intermediate_size: shape.intermediate_size,
            patch_size: shape.patch_size,
            frequency_stride: shape.frequency_stride,
            time_stride: shape.time_stride,
            max_length: shape.max_length,
            num_mel_bins: shape.num_mel_bins,
            ..AstConfig::default()
        }
        .with_labels(labels);
        let ast = Ast::random(config, self.seed)?;
        let mut extractor = FeatureExtractor::new(shape.num_mel_bins, shape.max_length)?;
        (extractor.mean, extractor.std) = (shape.mean, shape.std);
        let notes = vec![format!(
            "a new model of {} parameters, seed {}",
            ast.num_parameters(),
            self.seed
        )];
        Ok(Checkpoint {
            ast,
            extractor,
            card: None,
            notes,
        })
    }
}

/// What the loop tells whoever shows progress.
#[derive(Debug, Clone, PartialEq)]
pub enum TrainEvent {
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
        /// Mean cross entropy of the batch, nats.
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
        /// Mean cross entropy of the validation mashups, nats.
        loss: f64,
        /// Macro F1 of the validation mashups.
        macro_f1: f64,
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
    let dataset = open_data(config, data)?;
    let validation = &config.validation;
    let split = Split::by_song(
        &dataset,
        validation.fraction,
        &validation.noise_folds,
        validation.seed,
    )?;
    let model = config.first_model(&dataset.genres)?;
    let inventory = dataset.inventory();
    on_event(TrainEvent::Note(inventory.to_string()))?;
    inventory.check()?;
    for note in &model.notes {
        on_event(TrainEvent::Note(note.clone()))?;
    }
    let run = Run::create(run, config, data, &split)?;
    let optimizer = AdamW::new(model.ast.weights(), config.weight_decay);
    Trainer::new(
        (run, TrainState::default()),
        config,
        (model, optimizer),
        &dataset,
        &split,
    )?
    .train(on_event)
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
    let (model, optimizer) = match run.load_last()? {
        None => {
            let model = config.first_model(&dataset.genres)?;
            let optimizer = AdamW::new(model.ast.weights(), config.weight_decay);
            (model, optimizer)
        }
        Some((model, moments)) => {
            let fresh = AdamW::new(model.ast.weights(), config.weight_decay);
            (
                model,
                AdamW {
                    step: state.step,
                    m: moments.m,
                    v: moments.v,
                    ..fresh
                },
            )
        }
    };
    on_event(TrainEvent::Note(format!("resumed after {} steps", state.step)))?;
    Trainer::new((run, state), &config, (model, optimizer), &dataset, &split)?.train(on_event)
}

fn open_data(config: &TrainConfig, data: &[PathBuf]) -> Result<MessyMashup> {
    let options = DatasetOptions {
        allow_missing_stems: config.data.allow_missing_stems,
        extra_noise: config.data.extra_noise.clone(),
    };
    MessyMashup::open(data, &options)
}

/// What a loader thread makes: one batch.
#[derive(Debug)]
struct Examples {
    input_values: Vec<f32>,
    targets: Vec<usize>,
    keep: Vec<usize>,
}

/// What makes examples; shared by the loader threads.
#[derive(Debug)]
struct Loader<'a> {
    config: &'a TrainConfig,
    remixer: Remixer,
    extractor: FeatureExtractor,
    labels: Vec<String>,
    patches: usize,
}

impl Loader<'_> {
    /// Features and class of a mashup, without masks.
    fn mashup(&self, seed: u64, epoch: u64, index: u64) -> Result<(Vec<f32>, usize)> {
        let (remix, waveform) = self.remixer.make(seed, epoch, index)?;
        let class = self.labels.iter().position(|label| *label == remix.genre);
        let class =
            class.ok_or_else(|| Error::Config(format!("the model has no label '{}'", remix.genre)))?;
        Ok((self.extractor.extract(&waveform.samples)?, class))
    }

    /// The batch of one step, with masks and dropped patches.
    fn batch(&self, step: u64) -> Result<Examples> {
        let per_epoch = self.config.steps_per_epoch();
        let (epoch, first) = (step / per_epoch, step % per_epoch * self.config.batch_size as u64);
        let kept = ((self.patches as f64 * (1.0 - self.config.patchout)).round() as usize).max(1);
        let mut batch = Examples {
            input_values: Vec::new(),
            targets: Vec::new(),
            keep: Vec::new(),
        };
        for index in first..first + self.config.batch_size as u64 {
            let (mut features, class) = self.mashup(self.config.seed, epoch, index)?;
            let mut random = Random::new(&[self.config.seed, epoch, index, AUGMENT]);
            let mask_seed = random.next_u64();
            // 0 is the mean of normalised features.
            self.config
                .specaugment
                .apply(&mut features, self.extractor.num_mel_bins, 0.0, mask_seed);
            batch.input_values.append(&mut features);
            batch.targets.push(class);
            let mut numbers: Vec<usize> = (0..self.patches).collect();
            if kept < self.patches {
                random.shuffle(&mut numbers);
                numbers.truncate(kept);
                numbers.sort_unstable();
            }
            batch.keep.append(&mut numbers);
        }
        Ok(batch)
    }
}

/// A training under way.
struct Trainer<'a> {
    config: &'a TrainConfig,
    /// Shared with the loader threads.
    training: Arc<Loader<'a>>,
    validation: Loader<'a>,
    model: Checkpoint,
    optimizer: AdamW,
    gradients: Weights,
    activations: Activations,
    run: Run,
    state: TrainState,
    started: Instant,
    seconds_before: f64,
}

impl<'a> Trainer<'a> {
    fn new(
        (run, state): (Run, TrainState),
        config: &'a TrainConfig,
        (model, optimizer): (Checkpoint, AdamW),
        data: &MessyMashup,
        split: &Split,
    ) -> Result<Self> {
        let cache = Arc::new(StemCache::new(config.cache_mebibytes, config.remix.sample_rate));
        if model.extractor.sampling_rate != config.remix.sample_rate {
            return Err(Error::Config(format!(
                "remix.sample_rate is {}, but the model hears {} Hz",
                config.remix.sample_rate, model.extractor.sampling_rate
            )));
        }
        let loader = |songs: &[String], folds: &[u32]| -> Result<Loader<'a>> {
            Ok(Loader {
                config,
                remixer: Remixer::with_cache(data, songs, folds, config.remix.clone(), Arc::clone(&cache))?,
                extractor: model.extractor.clone(),
                labels: model.ast.config().labels(),
                patches: model.ast.config().grid().patches(),
            })
        };
        let judged = if split.validation.is_empty() {
            &split.train
        } else {
            &split.validation
        };
        Ok(Self {
            training: Arc::new(loader(&split.train, &split.train_folds)?),
            validation: loader(judged, &split.validation_folds)?,
            gradients: model.ast.weights().zeros_like(),
            activations: Activations::default(),
            seconds_before: state.seconds,
            started: Instant::now(),
            config,
            model,
            optimizer,
            run,
            state,
        })
    }

    fn train(&mut self, on_event: &mut dyn FnMut(TrainEvent) -> Result<()>) -> Result<()> {
        let (first, last) = (self.state.step, self.config.schedule().total_steps);
        // Loader thread t makes the batches of steps t, t + threads, …; each has a channel of its own, so that batches
        // arrive in the order of the steps.
        let threads = self.config.loader_threads as u64;
        let (senders, receivers): (Vec<SyncSender<_>>, Vec<Receiver<_>>) = (0..threads)
            .map(|_| sync_channel::<Result<Examples>>(AHEAD))
            .unzip();
        let loader = Arc::clone(&self.training);
        std::thread::scope(|scope| {
            for (thread, sender) in senders.into_iter().enumerate() {
                let loader = &loader;
                scope.spawn(move || {
                    for step in (first..last).filter(|step| step % threads == thread as u64) {
                        // The receiver is gone when the loop has ended early.
                        if sender.send(loader.batch(step)).is_err() {
                            break;
                        }
                    }
                });
            }
            for step in first..last {
                let batch = receivers[(step % threads) as usize]
                    .recv()
                    .map_err(|_| Error::Run {
                        path: self.run.root().to_path_buf(),
                        message: "a loader thread has died; this is a bug".into(),
                    })??;
                self.step(&batch, first, on_event)?;
            }
            drop(receivers);
            Ok(())
        })
    }

    /// One step, and what is due after it.
    fn step(
        &mut self,
        batch: &Examples,
        first: u64,
        on_event: &mut dyn FnMut(TrainEvent) -> Result<()>,
    ) -> Result<()> {
        let schedule = self.config.schedule();
        let learning_rate = schedule.learning_rate(self.state.step);
        let loss = self.update(batch, learning_rate)?;
        self.state.step += 1;
        let seconds = self.started.elapsed().as_secs_f64();
        self.state.seconds = self.seconds_before + seconds;
        let taken = self.state.step - first;
        let heard = on_event(TrainEvent::Step {
            epoch: (self.state.step - 1) / self.config.steps_per_epoch() + 1,
            step: self.state.step,
            steps: schedule.total_steps,
            loss,
            learning_rate,
            mashups_per_second: (taken * self.config.batch_size as u64) as f64 / seconds,
            seconds_left: seconds / taken as f64 * (schedule.total_steps - self.state.step) as f64,
        });
        let epoch_ends = self.state.step.is_multiple_of(self.config.steps_per_epoch());
        if heard.is_err() && !epoch_ends {
            self.save_last()?;
        }
        if epoch_ends {
            let validated = self.validate()?;
            on_event(validated)?;
            self.save_last()?;
        } else if self.state.step.is_multiple_of(self.config.save_every_steps) {
            self.save_last()?;
        }
        heard
    }

    /// Forward, backward, clip, AdamW. Returns the mean loss.
    fn update(&mut self, batch: &Examples, learning_rate: f64) -> Result<f32> {
        self.gradients.clear();
        let micro = self.config.micro_batch;
        let parts = self.config.batch_size / micro;
        let (input, kept) = (batch.input_values.len() / parts, batch.keep.len() / parts);
        let mut loss = 0.0;
        for part in 0..parts {
            let examples = Batch {
                input_values: &batch.input_values[part * input..][..input],
                keep: (self.config.patchout > 0.0).then(|| &batch.keep[part * kept..][..kept]),
            };
            loss += self.model.ast.forward_backward(
                examples,
                &batch.targets[part * micro..][..micro],
                self.config.label_smoothing as f32,
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
        self.optimizer.step(
            self.model.ast.weights_mut(),
            &self.gradients,
            learning_rate,
            scale,
        );
        self.run.log(&json!({
            "step": self.state.step + 1,
            "loss": loss,
            "learning_rate": learning_rate,
            "gradient_norm": norm,
        }))?;
        Ok(loss)
    }

    /// Judges the model on the validation mashups, logs it, and keeps it if it is the best so far.
    fn validate(&mut self) -> Result<TrainEvent> {
        let (mut loss, mut truth, mut predicted) = (0.0, Vec::new(), Vec::new());
        let labels = self.model.ast.config().id2label.len();
        let indices: Vec<u64> = (0..self.config.validation.mashups).collect();
        for indices in indices.chunks(self.config.micro_batch) {
            let seed = self.config.validation.seed;
            let made: Vec<(Vec<f32>, usize)> = indices
                .par_iter()
                .map(|&i| self.validation.mashup(seed, 0, i))
                .collect::<Result<_>>()?;
            let input_values: Vec<f32> = made.iter().flat_map(|(features, _)| features).copied().collect();
            let batch = Batch {
                input_values: &input_values,
                keep: None,
            };
            let logits = self.model.ast.forward(batch, &mut self.activations)?;
            for (logits, (_, class)) in logits.chunks_exact(labels).zip(&made) {
                let mut scores = logits.to_vec();
                messymash_kernels::cross_entropy::softmax(&mut scores);
                loss -= f64::from(scores[*class].max(f32::MIN_POSITIVE).ln());
                truth.push(*class);
                predicted.push(metrics::argmax(&scores));
            }
        }
        let loss = loss / truth.len() as f64;
        let macro_f1 = metrics::Confusion::new(labels, &truth, &predicted).macro_f1();
        let best = self.state.best_macro_f1.is_none_or(|before| macro_f1 > before);
        let (epoch, step) = (self.state.step / self.config.steps_per_epoch(), self.state.step);
        self.run.log(&json!({
            "step": step,
            "epoch": epoch,
            "validation_loss": loss,
            "validation_macro_f1": macro_f1,
            "seconds": self.state.seconds,
        }))?;
        if best {
            self.state.best_macro_f1 = Some(macro_f1);
            self.run.save_best(&self.model)?;
        }
        Ok(TrainEvent::Validated {
            epoch,
            step,
            loss,
            macro_f1,
            best,
        })
    }

    fn save_last(&self) -> Result<()> {
        self.run.save_last(&self.model, &self.optimizer, &self.state)
    }
}
