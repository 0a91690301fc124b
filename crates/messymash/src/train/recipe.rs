//! The recipe of a training, and what follows from it alone: schedule, first model.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::augment::{Bandwidth, Mixup, Shorten};
use super::teacher::{Teacher, TeacherKind, TeacherSettings};
use crate::ast::{Ast, AstConfig, Trained, Weights};
use crate::checkpoint::{Checkpoint, NewHead, resolve};
use crate::classifier::BUNDLED;
use crate::dataset::Split;
use crate::features::FeatureExtractor;
use crate::optim::{AdamW, Average, Rates, Schedule};
use crate::remix::RemixOptions;
use crate::run::{split_of, split_of_bundled};
use crate::specaugment::SpecAugment;
use crate::{Error, Result};

/// No count in a recipe may exceed this: more is a slip of the finger, and products of two must not overflow.
const MOST: u64 = 1 << 31;

/// Threads that a recipe may ask for.
const MOST_THREADS: u64 = 256;

/// A recipe: a TOML file. Every key may be left out, an unknown key is an error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// All randomness of the run comes from this.
    pub seed: u64,
    /// Fine-tune from this model directory or cached id, or from `bundled`, the model that comes with the library; left out, a
    /// new model of the shape `[model]` is trained.
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
    /// The head's learning rate over `learning_rate`. A new head on a trained body wants 10 to 50.
    pub head_rate_factor: f64,
    /// Each layer's learning rate over that of the layer above it, within (0, 1]; the embeddings count as a layer below the
    /// first. The last layer has `learning_rate`.
    pub layer_decay: f64,
    /// Steps at the start in which only the head is trained. The body's warm-up comes after them.
    pub frozen_body_steps: u64,
    /// AdamW's weight decay, on matrices only.
    pub weight_decay: f64,
    /// Limit of the gradients' global norm; 0 for none.
    pub clip_norm: f64,
    /// Share that each step keeps of a running average of the weights, within [0, 1); it rises to that by (1 + step) / (10 +
    /// step). The average is what is validated and kept as best/. 0 for none.
    pub ema_decay: f64,
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
    /// Learn to say what another model heard in songs, instead of the genre of their folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teacher: Option<TeacherSettings>,
    /// Which songs and noise are kept for validation.
    pub validation: Validation,
    /// What is taken from the data set.
    pub data: DataSettings,
    /// How mashups are made.
    pub remix: RemixOptions,
    /// Masks on the features of training mashups.
    pub specaugment: SpecAugment,
    /// Mixing of two training mashups, and of what they are.
    pub mixup: Mixup,
    /// Training mashups that end before the window does.
    pub shorten: Shorten,
    /// Training mashups without their highest frequencies.
    pub bandwidth: Bandwidth,
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
    /// An inventory of the data that lies elsewhere than at the top of its folder (where that cannot be written).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inventory: Option<PathBuf>,
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
            head_rate_factor: 1.0,
            layer_decay: 1.0,
            frozen_body_steps: 0,
            weight_decay: 0.05,
            clip_norm: 1.0,
            ema_decay: 0.0,
            label_smoothing: 0.1,
            patchout: 0.0,
            loader_threads: 1,
            cache_mebibytes: 4096,
            save_every_steps: 500,
            model: None,
            teacher: None,
            validation: Validation::default(),
            data: DataSettings::default(),
            remix: RemixOptions::default(),
            specaugment: SpecAugment::default(),
            mixup: Mixup::default(),
            shorten: Shorten::default(),
            bandwidth: Bandwidth::default(),
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
    ///
    /// # Errors
    /// [`Error::Config`] if it cannot be written down: a path that is not Unicode, a seed of 2^63 or more.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string_pretty(self)
            .map_err(|e| Error::Config(format!("the recipe cannot be written as TOML: {e}")))
    }

    /// The same recipe with paths that mean the same from every folder, since a run may be resumed from another one.
    pub(super) fn with_absolute_paths(&self) -> Result<Self> {
        let mut config = self.clone();
        for path in config
            .data
            .extra_noise
            .iter_mut()
            .chain(&mut config.data.inventory)
            .chain(config.teacher.as_mut().map(|teacher| &mut teacher.targets))
        {
            *path = std::path::absolute(&*path).map_err(Error::io(&*path))?;
        }
        if let Some(init) = config
            .init
            .as_mut()
            .filter(|init| Path::new(init.as_str()).is_dir())
        {
            let path = std::path::absolute(&*init).map_err(Error::io(&*init))?;
            // Made of a string and the current folder; the latter alone can be no Unicode.
            *init = path
                .into_os_string()
                .into_string()
                .map_err(|path| Error::Config(format!("init is {path:?}, which is not Unicode")))?;
        }
        Ok(config)
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
            if value > MOST {
                return fail(format!("{name} is {value}; it must be at most {MOST}"));
            }
        }
        if self.mashups_per_epoch < self.batch_size as u64 {
            return fail(format!(
                "mashups_per_epoch is {}; it must be at least batch_size, {}",
                self.mashups_per_epoch, self.batch_size
            ));
        }
        let bounded = [
            ("mashups_per_epoch", self.mashups_per_epoch, MOST),
            ("warmup_steps", self.warmup_steps, MOST),
            ("frozen_body_steps", self.frozen_body_steps, MOST),
            ("loader_threads", self.loader_threads as u64, MOST_THREADS),
        ];
        for (name, value, most) in bounded {
            if value > most {
                return fail(format!("{name} is {value}; it must be at most {most}"));
            }
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
            ("ema_decay", self.ema_decay),
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
            ("head_rate_factor", self.head_rate_factor),
            ("weight_decay", self.weight_decay),
            ("clip_norm", self.clip_norm),
        ];
        for (name, value) in rates {
            if !(value.is_finite() && value >= 0.0) {
                return fail(format!("{name} is {value}; it must be a number of at least 0"));
            }
        }
        if !(self.layer_decay > 0.0 && self.layer_decay <= 1.0) {
            return fail(format!(
                "layer_decay is {}; it must be above 0 and at most 1",
                self.layer_decay
            ));
        }
        if self.init.is_some() && self.model.is_some() {
            return fail("[model] gives the shape of a new model, but init names a model that has its own; leave one out".into());
        }
        let values = self
            .teacher
            .as_ref()
            .is_some_and(|t| t.kind == TeacherKind::Values);
        if values && self.remix.own_song_probability < 1.0 {
            return fail("a [teacher] tells what is in one song: set remix.own_song_probability to 1".into());
        }
        self.mixup.check(self.batch_size)?;
        self.shorten.check()?;
        self.bandwidth.check()?;
        self.remix.check()
    }

    pub(crate) fn total_steps(&self) -> u64 {
        self.epochs * self.steps_per_epoch()
    }

    /// The learning rates of step `step`, from 0.
    pub(super) fn rates(&self, step: u64) -> Rates {
        let schedule = |peak: f64, start: u64| Schedule {
            peak,
            last: peak * self.final_learning_rate,
            start,
            warmup_steps: self.warmup_steps,
            total_steps: self.total_steps(),
        };
        let head = self.learning_rate * self.head_rate_factor;
        Rates {
            body: schedule(self.learning_rate, self.frozen_body_steps).learning_rate(step),
            head: schedule(head, 0).learning_rate(step),
            layer_decay: self.layer_decay,
        }
    }

    /// What step `step` trains, from 0.
    pub(super) fn trained(&self, step: u64) -> Trained {
        if step < self.frozen_body_steps {
            Trained::Head
        } else {
            Trained::All
        }
    }

    /// An optimiser that has seen nothing.
    pub(super) fn optimizer(&self, weights: &Weights) -> AdamW {
        AdamW {
            frozen_body_steps: self.frozen_body_steps,
            ..AdamW::new(weights, self.weight_decay)
        }
    }

    /// The average of weights that have not moved yet, if there is to be one.
    pub(super) fn average(&self, weights: &Weights) -> Option<Average> {
        (self.ema_decay > 0.0).then(|| Average::new(weights, self.ema_decay))
    }

    pub(super) fn steps_per_epoch(&self) -> u64 {
        self.mashups_per_epoch / self.batch_size as u64
    }

    /// What the teacher heard, where there is one.
    pub(super) fn load_teacher(&self) -> Result<Option<Teacher>> {
        self.teacher.as_ref().map(Teacher::load).transpose()
    }

    /// The split that the model was trained with which `init` names, if anything tells.
    pub(super) fn split_before(&self) -> Result<Option<Split>> {
        match &self.init {
            None => Ok(None),
            Some(init) if is_bundled(init) => split_of_bundled().map(Some),
            Some(init) => split_of(&resolve(Path::new(init))?),
        }
    }

    /// The model before its first step.
    pub(super) fn first_model(&self, labels: &[String]) -> Result<Checkpoint> {
        if let Some(init) = &self.init {
            let head = NewHead {
                labels: labels.to_vec(),
                seed: self.seed,
            };
            let mut model = if is_bundled(init) {
                Checkpoint::body_from_files(BUNDLED, &head)?
            } else {
                Checkpoint::load_body(&resolve(Path::new(init))?, &head)?
            };
            // Its card tells of another model's training and figures; its rules were fitted to other weights.
            (model.card, model.verdict) = (None, None);
            return Ok(model);
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
        let ast = Ast::random(config, self.seed).map_err(|error| match error {
            Error::Config(message) => Error::Config(message.replacen("config.json: ", "[model]: ", 1)),
            other => other,
        })?;
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
            verdict: None,
            notes,
        })
    }
}

/// Whether `init` names the model that comes with the library. A folder of that name goes before it.
fn is_bundled(init: &str) -> bool {
    init == "bundled" && !Path::new(init).is_dir()
}
