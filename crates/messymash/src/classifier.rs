//! From sound to genre: windows of a sound through features and model, and their mean.
//!
//! This is the one path that every way in (command line, service, wheel) takes.

mod look;
mod options;
mod predictions;
mod stream;
mod timeline;
mod windows;

use std::path::Path;
use std::sync::mpsc::sync_channel;

pub use self::look::Look;
pub use self::options::{ClassifyOptions, ScoreFunction, Tail, Windows};
pub use self::predictions::{Prediction, Predictions, WindowPredictions};
pub use self::stream::StreamClassifier;
pub use self::timeline::{Segment, timeline};
use self::windows::{BEYOND_FIRST_SECONDS, Window, WindowSource};
use crate::ast::config::Quantization;
use crate::ast::{Inference, Precision, Workspace};
use crate::audio::AudioStream;
use crate::checkpoint::{self, Checkpoint, CheckpointFiles, Loaded, resolve};
use crate::features::FeatureExtractor;
use crate::verdict::{Detector, NotMusic, Verdict};
use crate::{Result, Warning, Waveform};
use serde::Serialize;

/// Below this many seconds a prediction comes with the warning `short_clip`.
const SHORT_SECONDS: f64 = 1.0;

/// The model that comes with the library.
pub(crate) const BUNDLED: CheckpointFiles<'static> = CheckpointFiles {
    config: include_str!("../model/config.json"),
    preprocessor: include_str!("../model/preprocessor_config.json"),
    weights: include_bytes!("../model/model.safetensors"),
    verdict: Some(include_str!("../model/verdict.json")),
};

/// What tells a model from every other: [`checkpoint::fingerprint`] of a directory or id, or, for `None`, of the model that
/// comes with the library.
///
/// # Errors
/// As [`checkpoint::fingerprint`].
pub fn fingerprint(model: Option<&Path>) -> Result<String> {
    match model {
        None => Ok(BUNDLED.fingerprint()),
        Some(model) => checkpoint::fingerprint(model),
    }
}

/// What the model says of one window.
#[derive(Debug)]
pub(crate) struct HeardWindow {
    /// Seconds.
    start: f64,
    /// Seconds.
    end: f64,
    /// By class index.
    pub(crate) logits: Vec<f32>,
    /// The token that the logits are made of.
    pub(crate) pooled: Vec<f32>,
}

/// What the model says of a sound.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) windows: Vec<HeardWindow>,
    seconds: f64,
    warnings: Vec<Warning>,
}

/// Facts about a model, for people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelInfo {
    /// `bundled`, or what [`Classifier::from_pretrained`] was given.
    pub name: String,
    /// Labels by class index.
    pub labels: Vec<String>,
    /// Trained values.
    pub parameters: usize,
    /// What the linear maps are computed in.
    pub precision: Precision,
    /// Memory that their weights take, bytes.
    pub weight_bytes: usize,
    /// Of a quantised directory: what it was made of.
    pub quantized_from: Option<Quantization>,
    /// Columns of the residual stream.
    pub hidden_size: usize,
    /// Transformer layers.
    pub num_hidden_layers: usize,
    /// Attention heads.
    pub num_attention_heads: usize,
    /// Patches of a window, plus two.
    pub tokens: usize,
    /// Multiply-adds per window.
    pub multiply_adds: u64,
    /// Mel bins of the input.
    pub num_mel_bins: usize,
    /// Frames of the input.
    pub max_length: usize,
    /// Hz.
    pub sampling_rate: u32,
    /// Sound that one window hears.
    pub window_seconds: f64,
    /// The model card, where there is one.
    pub card: Option<String>,
}

/// A model ready to hear.
#[derive(Debug)]
pub struct Classifier {
    loaded: Loaded,
    labels: Vec<String>,
    name: String,
}

impl Classifier {
    /// The model that comes with the library.
    ///
    /// # Errors
    /// None in a library that was built whole.
    pub fn bundled() -> Result<Self> {
        Self::bundled_in(Precision::F32)
    }

    /// The model that comes with the library, computed in `precision`.
    ///
    /// # Errors
    /// None in a library that was built whole.
    pub fn bundled_in(precision: Precision) -> Result<Self> {
        let mut loaded = Loaded::from_files(BUNDLED, Some(precision))?;
        loaded.card = Some(include_str!("../model/README.md").to_string());
        Ok(Self::of(loaded, "bundled"))
    }

    /// A model directory, or an id such as `owner/name` in the local Hugging Face cache, computed as it is stored: in
    /// eight bits if it is quantised, else in f32.
    ///
    /// # Errors
    /// [`Error::Checkpoint`](crate::Error::Checkpoint) if there is none, or it is damaged.
    pub fn from_pretrained(model: impl AsRef<Path>) -> Result<Self> {
        Self::load(model.as_ref(), None)
    }

    /// [`Classifier::from_pretrained`], computed in `precision` however it is stored.
    ///
    /// # Errors
    /// As [`Classifier::from_pretrained`].
    pub fn from_pretrained_in(model: impl AsRef<Path>, precision: Precision) -> Result<Self> {
        Self::load(model.as_ref(), Some(precision))
    }

    fn load(model: &Path, precision: Option<Precision>) -> Result<Self> {
        Ok(Self::of(
            Loaded::load(&resolve(model)?, precision)?,
            &model.display().to_string(),
        ))
    }

    /// A classifier of a model that is in memory already, to be called `name`.
    ///
    /// # Errors
    /// None for a model that could be made.
    pub fn new(checkpoint: Checkpoint, precision: Precision, name: &str) -> Result<Self> {
        Ok(Self::of(Loaded::new(checkpoint, precision)?, name))
    }

    fn of(loaded: Loaded, name: &str) -> Self {
        let labels = loaded.model.config().labels();
        Self {
            loaded,
            labels,
            name: name.to_string(),
        }
    }

    /// Labels by class index.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// `bundled`, or what [`Classifier::from_pretrained`] was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The model.
    pub fn model(&self) -> &Inference {
        &self.loaded.model
    }

    /// What makes the model's input.
    pub fn extractor(&self) -> &FeatureExtractor {
        &self.loaded.extractor
    }

    /// Facts about the model.
    pub fn info(&self) -> ModelInfo {
        let (config, extractor) = (self.model().config(), self.extractor());
        ModelInfo {
            name: self.name.clone(),
            labels: self.labels.clone(),
            parameters: self.model().num_parameters(),
            precision: self.model().precision(),
            weight_bytes: self.model().weight_bytes(),
            quantized_from: self.loaded.origin.clone(),
            hidden_size: config.hidden_size,
            num_hidden_layers: config.num_hidden_layers,
            num_attention_heads: config.num_attention_heads,
            tokens: config.tokens(),
            multiply_adds: config.multiply_adds(),
            num_mel_bins: config.num_mel_bins,
            max_length: config.max_length,
            sampling_rate: extractor.sampling_rate,
            window_seconds: extractor.window_seconds(),
            card: self.loaded.card.clone(),
        }
    }

    /// Classifies a sound in memory, with the default options.
    ///
    /// # Errors
    /// [`Error::TooShort`](crate::Error::TooShort) below 25 ms; [`Error::InvalidAudio`](crate::Error::InvalidAudio) if the sample rate is out of range.
    pub fn classify(&self, waveform: &Waveform) -> Result<Predictions> {
        self.classify_with(waveform, &ClassifyOptions::default())
    }

    /// Classifies a sound in memory.
    ///
    /// # Errors
    /// As [`Classifier::classify`]; [`Error::Config`](crate::Error::Config) for a hop out of range.
    pub fn classify_with(&self, waveform: &Waveform, options: &ClassifyOptions) -> Result<Predictions> {
        let stream = AudioStream::from_waveform(waveform, &options.limits)?;
        self.classify_stream(stream, options, &mut |_| Ok(()))
    }

    /// Classifies a sound as it is decoded; memory does not grow with its length, but for a kilobyte or few a window.
    ///
    /// `progress` is told the seconds heard so far; what error it returns ends the work.
    ///
    /// # Errors
    /// Those of decoding, [`Error::TooShort`](crate::Error::TooShort) below 25 ms, [`Error::Config`](crate::Error::Config) for a hop below 0.1 s, and what `progress` says.
    pub fn classify_stream(
        &self,
        stream: AudioStream,
        options: &ClassifyOptions,
        progress: &mut dyn FnMut(f64) -> Result<()>,
    ) -> Result<Predictions> {
        Ok(self.predictions(self.listen(stream, options, progress)?, self.function(options)))
    }

    /// What the model says of each window, as [`Classifier::classify_stream`] hears them.
    pub(crate) fn listen(
        &self,
        stream: AudioStream,
        options: &ClassifyOptions,
        progress: &mut dyn FnMut(f64) -> Result<()>,
    ) -> Result<Heard> {
        let rate = self.extractor().sampling_rate;
        let threads = rayon::current_num_threads();
        let stream = match options.windows {
            Windows::First => stream.first(self.extractor().window_seconds() + BEYOND_FIRST_SECONDS),
            Windows::All { .. } => stream,
        };
        let stream = stream.resampled(rate)?;
        let stream = if threads > 1 { stream.ahead() } else { stream };
        let mut source = WindowSource::new(stream, self.extractor().window_samples(), options)?;
        let together = match options.batch {
            Some(batch) => batch.get(),
            None => self.model().preferred_batch(threads),
        };
        let mut windows = Vec::new();
        let mut room = Workspace::default();
        let mut hear = |batch: Batch| {
            self.hear(&batch, &mut room, &mut windows)?;
            progress(batch.heard as f64 / f64::from(rate))
        };
        if threads == 1 {
            while let Some(batch) = self.read(&mut source, together)? {
                hear(batch)?;
            }
        } else {
            // The next windows are decoded and made features of while the model hears these.
            std::thread::scope(|scope| {
                let (sender, batches) = sync_channel(1);
                let (classifier, source) = (self, &mut source);
                let reader = scope.spawn(move || {
                    while let Some(batch) = classifier.read(source, together)? {
                        // Nobody listens any more: what went wrong is told by who listened.
                        if sender.send(batch).is_err() {
                            break;
                        }
                    }
                    Ok(())
                });
                let heard = batches.into_iter().try_for_each(&mut hear);
                let read = reader
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                heard.and(read)
            })?;
        }
        let seconds = source.stream.seconds();
        let mut warnings = source.stream.warnings().to_vec();
        warnings.extend(short_clip(seconds));
        Ok(Heard {
            windows,
            seconds: self.heard_of(seconds, options.windows),
            warnings,
        })
    }

    /// Scores from logits, their mean, and what to make of it.
    fn predictions(&self, heard: Heard, function: ScoreFunction) -> Predictions {
        let scored = heard.windows.iter().map(|window| self.scored(window, function));
        let windows: Vec<WindowPredictions> = scored.collect();
        let predictions = self.mean(&windows);
        let kinds = self
            .detector()
            .map(|detector| detector.probabilities(heard.windows.iter().map(|window| &window.pooled[..])));
        Predictions {
            seconds: heard.seconds,
            verdict: self.verdict((&predictions, function), kinds, &heard.warnings),
            predictions,
            windows,
            warnings: heard.warnings,
        }
    }

    /// The scores of a window.
    fn scored(&self, window: &HeardWindow, function: ScoreFunction) -> WindowPredictions {
        let mut scores = window.logits.clone();
        function.apply(&mut scores);
        WindowPredictions {
            start: window.start,
            end: window.end,
            predictions: self.ranked(scores),
        }
    }

    /// How much is heard of so many seconds.
    fn heard_of(&self, seconds: f64, windows: Windows) -> f64 {
        match windows {
            Windows::All { .. } => seconds,
            Windows::First => seconds.min(self.extractor().window_seconds()),
        }
    }

    /// What tells music from the rest, where that was fitted.
    fn detector(&self) -> Option<&Detector> {
        self.loaded.verdict.as_ref()?.detector.as_ref()
    }

    /// What makes scores of the logits.
    fn function(&self, options: &ClassifyOptions) -> ScoreFunction {
        let problem_type = self.model().config().problem_type.as_deref();
        options
            .function
            .unwrap_or_else(|| ScoreFunction::of(problem_type))
    }

    /// What to make of an answer: all labels by falling score and what made the scores, the probabilities of music, speech and noise, and
    /// what is to be said of the sound. Whether it is sure, only scores that are probabilities of one label tell.
    fn verdict(
        &self,
        (predictions, function): (&[Prediction], ScoreFunction),
        kinds: Option<[f32; 3]>,
        warnings: &[Warning],
    ) -> Option<Verdict> {
        if warnings.iter().any(|warning| warning.code == "silence") {
            return Some(Verdict::NotMusic(NotMusic::Silence));
        }
        match (function, predictions.first()) {
            (ScoreFunction::Softmax, Some(best)) => {
                Some(self.loaded.verdict.as_ref()?.judge(best.score, kinds))
            }
            _ => self.detector()?.other(kinds?).map(Verdict::NotMusic),
        }
    }

    /// The next windows and their features; `None` at the end.
    fn read(&self, source: &mut WindowSource, most: usize) -> Result<Option<Batch>> {
        let windows = source.next_batch(most)?;
        let batch = self.batch(&windows, source.heard())?;
        Ok((!batch.places.is_empty()).then_some(batch))
    }

    /// Windows and their features, the sound having been read as far as `heard`.
    fn batch(&self, windows: &[Window], heard: usize) -> Result<Batch> {
        let mut input_values = Vec::new();
        for window in windows {
            input_values.extend(self.extractor().extract(&window.samples)?);
        }
        Ok(Batch {
            places: windows.iter().map(|window| (window.start, window.end)).collect(),
            input_values,
            heard,
        })
    }

    /// What the model says of some windows, appended to `windows`.
    fn hear(&self, batch: &Batch, room: &mut Workspace, windows: &mut Vec<HeardWindow>) -> Result<()> {
        let outputs = self.model().outputs(&batch.input_values, room)?;
        let logits = outputs.logits.chunks_exact(self.labels.len());
        let tokens = outputs.pooled.chunks_exact(self.model().config().hidden_size);
        let rate = self.extractor().sampling_rate;
        let seconds = |samples: usize| samples as f64 / f64::from(rate);
        for ((&(start, end), logits), pooled) in batch.places.iter().zip(logits).zip(tokens) {
            windows.push(HeardWindow {
                start: seconds(start),
                end: seconds(end),
                logits: logits.to_vec(),
                pooled: pooled.to_vec(),
            });
        }
        Ok(())
    }

    fn mean(&self, windows: &[WindowPredictions]) -> Vec<Prediction> {
        let scores = self.labels.iter().map(|label| {
            let of_label = windows
                .iter()
                .flat_map(|w| &w.predictions)
                .filter(|p| p.label == *label);
            (of_label.map(|p| f64::from(p.score)).sum::<f64>() / windows.len() as f64) as f32
        });
        self.ranked(scores.collect())
    }

    /// Labels with their scores, by falling score; equal scores in the order of the labels.
    fn ranked(&self, scores: Vec<f32>) -> Vec<Prediction> {
        let mut ranked: Vec<Prediction> = self
            .labels
            .iter()
            .cloned()
            .zip(scores)
            .map(|(label, score)| Prediction { label, score })
            .collect();
        ranked.sort_by(|a, b| b.score.total_cmp(&a.score));
        ranked
    }
}

/// What is to be said of a sound of so many seconds.
fn short_clip(seconds: f64) -> Option<Warning> {
    let message = format!("the sound lasts only {seconds:.2} s; ten seconds or more tell a genre better");
    (seconds < SHORT_SECONDS).then(|| Warning::new("short_clip", message))
}

/// Windows that are heard together.
struct Batch {
    /// First sample of each, and the place after the last that is of the sound.
    places: Vec<(usize, usize)>,
    /// `[windows, max_length, num_mel_bins]`.
    input_values: Vec<f32>,
    /// How far the sound has been read, in samples.
    heard: usize,
}
