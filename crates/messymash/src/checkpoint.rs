//! A Hugging Face model directory, in and out: `config.json`, `preprocessor_config.json`, `model.safetensors`.
//!
//! Loading is strict: every tensor of the configuration must be there, in its shape, finite, and no other; the one
//! exception are position embeddings of another input length, which are interpolated. Weights may be stored as f32, f16 or
//! bf16, under the names of transformers 4 or those of transformers 5; or, written by [`quantize`], the matrices of the
//! layers as eight-bit integers with a scale per output. Tensors are read one after the other, never the whole file at once.

mod find;
mod folder;
mod positions;
mod quantize;
mod source;
mod tensors;

use std::fs;
use std::path::Path;

use half::f16;
use messymash_kernels::int8::Quantized;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

pub(crate) use self::find::sha256;
pub use self::find::{fingerprint, resolve};
pub use self::folder::{replace_folder, settled};
pub use self::positions::interpolate_positions;
pub use self::quantize::quantize;
use self::source::{Source, missing, stored_tensor, tensor};
use self::tensors::{SCALE, TensorFile};
use crate::ast::config::Quantization;
use crate::ast::{Ast, AstConfig, Inference, Precision, Values, Weights, initial_values};
use crate::features::FeatureExtractor;
use crate::random::Random;
use crate::verdict::{Rules, VERDICT};
use crate::{Error, Result, atomic};

/// The files of a model directory.
pub const CONFIG: &str = "config.json";
/// How sound becomes the model's input.
pub const PREPROCESSOR: &str = "preprocessor_config.json";
/// The weights.
pub const WEIGHTS: &str = "model.safetensors";
/// The model card.
pub const CARD: &str = "README.md";

/// How the name of a folder begins that is being written.
pub(crate) const UNFINISHED: &str = ".messymash-";

/// A model with what it takes to use it.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// The model.
    pub ast: Ast,
    /// What makes its input.
    pub extractor: FeatureExtractor,
    /// The model card, where there is one.
    pub card: Option<String>,
    /// How its answers are judged, where that was fitted.
    pub verdict: Option<Rules>,
    /// What was not taken as it stood (interpolated positions, a new head), in words for a log.
    pub notes: Vec<String>,
}

/// How numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// As they are.
    F32,
    /// Rounded to 11 significant bits: half the size.
    F16,
    /// The matrices of the layers rounded to eight bits with a scale per output, everything else as it is: a quarter of
    /// the size.
    Int8,
}

/// A model laid out to be used, with what it takes to use it. Unlike a [`Checkpoint`] it cannot be trained or saved, and
/// takes the memory of its weights in their precision only.
#[derive(Debug)]
pub struct Loaded {
    /// The model.
    pub model: Inference,
    /// What makes its input.
    pub extractor: FeatureExtractor,
    /// The model card, where there is one.
    pub card: Option<String>,
    /// How its answers are judged, where that was fitted.
    pub verdict: Option<Rules>,
    /// What a quantised model was made of.
    pub origin: Option<Quantization>,
}

/// A checkpoint's files in memory.
#[derive(Debug, Clone, Copy)]
pub struct CheckpointFiles<'a> {
    /// Text of `config.json`.
    pub config: &'a str,
    /// Text of `preprocessor_config.json`.
    pub preprocessor: &'a str,
    /// Bytes of `model.safetensors`.
    pub weights: &'a [u8],
    /// Text of `verdict.json`, where there is one.
    pub verdict: Option<&'a str>,
}

/// The head that a model is to have.
#[derive(Debug, Clone, Default)]
pub struct NewHead {
    /// Labels of the new classification head.
    pub labels: Vec<String>,
    /// Seed of its first weights.
    pub seed: u64,
}

impl Checkpoint {
    /// Loads a model directory.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if a file is missing or damaged or the weights are not those of the configuration.
    pub fn load(dir: &Path) -> Result<Self> {
        Self::load_with(dir, None)
    }

    /// Loads a model directory for fine-tuning: the body is kept, and the head is new (seeded, for `head.labels`) unless
    /// the directory's labels are these very ones. [`Checkpoint::notes`] says so.
    ///
    /// # Errors
    /// As [`Checkpoint::load`].
    pub fn load_body(dir: &Path, head: &NewHead) -> Result<Self> {
        Self::load_with(dir, Some(head))
    }

    fn load_with(dir: &Path, head: Option<&NewHead>) -> Result<Self> {
        let dir = &settled(dir);
        let mut checkpoint = Source::open(dir)
            .and_then(|source| Self::read(source, head))
            .map_err(in_folder(dir))?;
        checkpoint.card = fs::read_to_string(dir.join(CARD)).ok();
        Ok(checkpoint)
    }

    /// Reads a model from memory.
    ///
    /// # Errors
    /// [`Error::Config`] if a file is damaged or the weights are not those of the configuration.
    pub fn from_files(files: CheckpointFiles<'_>) -> Result<Self> {
        Self::read(Source::from_files(files)?, None)
    }

    /// Reads a model from memory for fine-tuning, as [`Checkpoint::load_body`] a directory.
    ///
    /// # Errors
    /// As [`Checkpoint::from_files`].
    pub fn body_from_files(files: CheckpointFiles<'_>, head: &NewHead) -> Result<Self> {
        Self::read(Source::from_files(files)?, Some(head))
    }

    fn read(mut source: Source<'_>, head: Option<&NewHead>) -> Result<Self> {
        let mut notes = Vec::new();
        let head = head.filter(|head| head.labels != source.config.labels());
        if let Some(head) = head {
            notes.push(format!(
                "the body of the checkpoint is kept; its head ({} labels) is replaced by a new, untrained one ({} labels)",
                source.config.id2label.len(),
                head.labels.len()
            ));
            source.config = source.config.with_labels(&head.labels).checked()?;
            source
                .file
                .infos_mut()
                .retain(|name, _| !name.starts_with("classifier."));
        }
        if let Some(quantized) = source.config.quantization_config.take() {
            notes.push(format!(
                "the weights were quantised to eight bits (from {})",
                quantized.origin
            ));
        }
        source.check(head.is_some(), &mut notes)?;
        let Source {
            config,
            extractor,
            verdict,
            mut file,
        } = source;
        let mut random = Random::new(&[head.map_or(0, |h| h.seed)]);
        let weights = Weights::build(&config, &mut |name, shape| {
            if head.is_some() && name.starts_with("classifier.") {
                Ok(initial_values(name, shape, config.initializer_range, &mut random))
            } else {
                tensor(&mut file, &config, name, shape)
            }
        })?;
        Ok(Self {
            ast: Ast::new(config, weights)?,
            extractor,
            card: None,
            // Rules fitted to one head say nothing of another.
            verdict: verdict.filter(|_| head.is_none()),
            notes,
        })
    }

    /// Writes a model directory whole: a failure leaves the old one as it was.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    pub fn save(&self, dir: &Path, stored: Stored) -> Result<()> {
        replace_folder(dir, |folder| self.write_into(folder, stored))
    }

    /// Writes the files of a model into an existing folder.
    ///
    /// # Errors
    /// [`Error::Io`] if they cannot be written.
    pub fn write_into(&self, folder: &Path, stored: Stored) -> Result<()> {
        atomic::write(&folder.join(CONFIG), self.ast.config().to_json().as_bytes())?;
        atomic::write(&folder.join(PREPROCESSOR), self.extractor.to_json().as_bytes())?;
        if let Some(card) = &self.card {
            atomic::write(&folder.join(CARD), card.as_bytes())?;
        }
        if let Some(rules) = &self.verdict {
            atomic::write(&folder.join(VERDICT), rules.to_json().as_bytes())?;
        }
        write_tensors(&folder.join(WEIGHTS), &[("", self.ast.weights())], stored)
    }
}

impl Loaded {
    /// Loads a model directory to use it, in the precision asked for; `None`: int8 if the directory is quantised, else f32.
    ///
    /// # Errors
    /// As [`Checkpoint::load`].
    pub fn load(dir: &Path, precision: Option<Precision>) -> Result<Self> {
        let dir = &settled(dir);
        let mut loaded = Source::open(dir)
            .and_then(|source| Self::read(source, precision))
            .map_err(in_folder(dir))?;
        loaded.card = fs::read_to_string(dir.join(CARD)).ok();
        Ok(loaded)
    }

    /// Reads a model from memory.
    ///
    /// # Errors
    /// As [`Checkpoint::from_files`].
    pub fn from_files(files: CheckpointFiles<'_>, precision: Option<Precision>) -> Result<Self> {
        Self::read(Source::from_files(files)?, precision)
    }

    fn read(mut source: Source<'_>, precision: Option<Precision>) -> Result<Self> {
        source.check(false, &mut Vec::new())?;
        let Source {
            mut config,
            extractor,
            verdict,
            mut file,
        } = source;
        let origin = config.quantization_config.take();
        let precision = precision.unwrap_or(match origin {
            Some(_) => Precision::Int8,
            None => Precision::F32,
        });
        let shapes = config.clone();
        let model = Inference::build(config, precision, &mut |name, shape| {
            stored_tensor(&mut file, &shapes, name, shape)
        })?;
        Ok(Self {
            model,
            extractor,
            card: None,
            verdict,
            origin,
        })
    }

    /// A model that is in memory, laid out to be used.
    ///
    /// # Errors
    /// None for a model that could be made.
    pub fn new(checkpoint: Checkpoint, precision: Precision) -> Result<Self> {
        let Checkpoint {
            ast,
            extractor,
            card,
            verdict,
            ..
        } = checkpoint;
        Ok(Self {
            model: Inference::new(ast, precision)?,
            extractor,
            card,
            verdict,
            origin: None,
        })
    }
}

/// Writes trees of tensors to one safetensors file, the names of each tree after a prefix.
///
/// # Errors
/// [`Error::Io`] if the file cannot be written.
pub fn write_tensors(path: &Path, trees: &[(&str, &Weights)], stored: Stored) -> Result<()> {
    let mut tensors = Vec::new();
    for (prefix, tree) in trees {
        for parameter in tree.parameters() {
            let name = format!("{prefix}{}", parameter.name);
            let floats = |values: &[f32]| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
            match stored {
                Stored::Int8 if parameter.decays() && parameter.name.contains(".encoder.layer.") => {
                    let quantized = Quantized::new(&parameter.data, parameter.shape[0]);
                    let bytes = quantized.values.iter().map(|q| q.cast_unsigned()).collect();
                    tensors.push((
                        format!("{name}{SCALE}"),
                        Dtype::F32,
                        vec![parameter.shape[0]],
                        floats(&quantized.scales),
                    ));
                    tensors.push((name, Dtype::I8, parameter.shape.clone(), bytes));
                }
                Stored::F32 | Stored::Int8 => {
                    tensors.push((name, Dtype::F32, parameter.shape.clone(), floats(&parameter.data)));
                }
                Stored::F16 => {
                    let halves = parameter
                        .data
                        .iter()
                        .flat_map(|&x| f16::from_f32(x).to_le_bytes());
                    tensors.push((name, Dtype::F16, parameter.shape.clone(), halves.collect()));
                }
            }
        }
    }
    let failed = |e: safetensors::SafeTensorError| Error::Io {
        path: path.to_path_buf(),
        source: std::io::Error::other(e.to_string()),
    };
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| {
            Ok((
                name,
                TensorView::new(*dtype, shape.clone(), bytes).map_err(failed)?,
            ))
        })
        .collect::<Result<Vec<_>>>()?;
    // transformers refuses files that do not say which framework's layout they have.
    let metadata = [("format".to_string(), "pt".to_string())].into();
    atomic::write(
        path,
        &safetensors::serialize(views, Some(metadata)).map_err(failed)?,
    )
}

/// Fills a tree of `config` from a file of [`write_tensors`].
///
/// # Errors
/// [`Error::Checkpoint`] if the file is missing or damaged or lacks a tensor.
pub fn read_tensors(path: &Path, prefix: &str, config: &AstConfig) -> Result<Weights> {
    let damaged = |message: String| Error::Checkpoint {
        path: path.to_path_buf(),
        message,
    };
    let mut file = TensorFile::open(path)
        .map_err(|e| missing(path, &e))?
        .map_err(|e| damaged(format!("the file is damaged: {e}")))?;
    Weights::build(config, &mut |name, shape| {
        let name = format!("{prefix}{name}");
        if let Some(info) = file.info(&name).filter(|info| info.shape != shape) {
            return Err(damaged(format!(
                "{name} has shape {:?}, not {shape:?}",
                info.shape
            )));
        }
        let values = file.read(&name).map(Values::into_f32);
        values.map_err(|e| damaged(format!("{name}: {e}")))
    })
}

/// What is wrong with a model, as an error of its folder.
fn in_folder(dir: &Path) -> impl Fn(Error) -> Error {
    move |error| match error {
        Error::Config(message) => Error::Checkpoint {
            path: dir.to_path_buf(),
            message,
        },
        other => other,
    }
}
