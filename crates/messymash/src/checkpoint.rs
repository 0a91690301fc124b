//! A Hugging Face model directory, in and out: `config.json`, `preprocessor_config.json`, `model.safetensors`.
//!
//! Loading is strict: every tensor of the configuration must be there, in its shape, finite, and no other; the one
//! exception are position embeddings of another input length, which are interpolated. Weights may be stored as f32, f16 or
//! bf16, under the names of transformers 4 or those of transformers 5.

use std::fs;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::ast::weights::BODY;
use crate::ast::{Ast, AstConfig, Parameter, Weights, initial_values};
use crate::features::FeatureExtractor;
use crate::random::Random;
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
    /// What was not taken as it stood (interpolated positions, a new head), in words for a log.
    pub notes: Vec<String>,
}

/// How numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// As they are.
    F32,
    /// Rounded to 11 significant bits: half the size.
    F16,
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
        let text = |name: &str| {
            let path = dir.join(name);
            fs::read_to_string(&path).map_err(|e| missing(&path, &e))
        };
        let path = dir.join(WEIGHTS);
        let weights = fs::read(&path).map_err(|e| missing(&path, &e))?;
        let files = CheckpointFiles {
            config: &text(CONFIG)?,
            preprocessor: &text(PREPROCESSOR)?,
            weights: &weights,
        };
        let mut checkpoint = Self::parse(files, head).map_err(|e| match e {
            Error::Config(message) => Error::Checkpoint {
                path: dir.clone(),
                message,
            },
            other => other,
        })?;
        checkpoint.card = fs::read_to_string(dir.join(CARD)).ok();
        Ok(checkpoint)
    }

    /// Reads a model from memory.
    ///
    /// # Errors
    /// [`Error::Config`] if a file is damaged or the weights are not those of the configuration.
    pub fn from_files(files: CheckpointFiles<'_>) -> Result<Self> {
        Self::parse(files, None)
    }

    fn parse(files: CheckpointFiles<'_>, head: Option<&NewHead>) -> Result<Self> {
        let mut config = AstConfig::from_json(files.config)?;
        let extractor = FeatureExtractor::from_json(files.preprocessor)?;
        if (extractor.max_length, extractor.num_mel_bins) != (config.max_length, config.num_mel_bins) {
            return Err(Error::Config(format!(
                "{PREPROCESSOR} makes {} frames of {} mel bins, but {CONFIG} wants {} of {}",
                extractor.max_length, extractor.num_mel_bins, config.max_length, config.num_mel_bins
            )));
        }
        let mut notes = Vec::new();
        let head = head.filter(|head| head.labels != config.labels());
        if let Some(head) = head {
            notes.push(format!(
                "the body of the checkpoint is kept; its head ({} labels) is replaced by a new, untrained one ({} labels)",
                config.id2label.len(),
                head.labels.len()
            ));
            config = config.with_labels(&head.labels).checked()?;
        }
        let weights = read_weights(&config, files.weights, head, &mut notes)?;
        Ok(Self {
            ast: Ast::new(config, weights)?,
            extractor,
            card: None,
            notes,
        })
    }

    /// Writes a model directory whole: a failure leaves the old one as it was.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    pub fn save(&self, dir: &Path, precision: Precision) -> Result<()> {
        replace_folder(dir, |folder| self.write_into(folder, precision))
    }

    /// Writes the files of a model into an existing folder.
    ///
    /// # Errors
    /// [`Error::Io`] if they cannot be written.
    pub fn write_into(&self, folder: &Path, precision: Precision) -> Result<()> {
        atomic::write(&folder.join(CONFIG), self.ast.config().to_json().as_bytes())?;
        atomic::write(&folder.join(PREPROCESSOR), self.extractor.to_json().as_bytes())?;
        if let Some(card) = &self.card {
            atomic::write(&folder.join(CARD), card.as_bytes())?;
        }
        write_tensors(&folder.join(WEIGHTS), &[("", self.ast.weights())], precision)
    }
}

/// Writes trees of tensors to one safetensors file, the names of each tree after a prefix.
///
/// # Errors
/// [`Error::Io`] if the file cannot be written.
pub fn write_tensors(path: &Path, trees: &[(&str, &Weights)], precision: Precision) -> Result<()> {
    let mut stored = Vec::new();
    for (prefix, tree) in trees {
        for parameter in tree.parameters() {
            let (dtype, bytes): (_, Vec<u8>) = match precision {
                Precision::F32 => (
                    Dtype::F32,
                    parameter.data.iter().flat_map(|x| x.to_le_bytes()).collect(),
                ),
                Precision::F16 => {
                    let halves = parameter.data.iter().map(|&x| f16::from_f32(x));
                    (Dtype::F16, halves.flat_map(f16::to_le_bytes).collect())
                }
            };
            stored.push((
                format!("{prefix}{}", parameter.name),
                dtype,
                &parameter.shape,
                bytes,
            ));
        }
    }
    let failed = |e: safetensors::SafeTensorError| Error::Io {
        path: path.to_path_buf(),
        source: std::io::Error::other(e.to_string()),
    };
    let views = stored
        .iter()
        .map(|(name, dtype, shape, bytes)| {
            Ok((
                name,
                TensorView::new(*dtype, shape.to_vec(), bytes).map_err(failed)?,
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
    let bytes = fs::read(path).map_err(|e| missing(path, &e))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| damaged(format!("the file is damaged: {e}")))?;
    Weights::build(config, &mut |name, shape| {
        let stored = file
            .tensor(&format!("{prefix}{name}"))
            .map_err(|e| damaged(e.to_string()))?;
        if stored.shape() != shape {
            return Err(damaged(format!(
                "{name} has shape {:?}, not {shape:?}",
                stored.shape()
            )));
        }
        values(&stored).ok_or_else(|| damaged(format!("{name} is stored as {:?}", stored.dtype())))
    })
}

/// Replaces the folder `dir` by one that `fill` fills: written beside it, synced, renamed.
///
/// A folder cannot be replaced in one step everywhere; for a moment the old one is called `<dir>.old`, where loading
/// also looks.
///
/// # Errors
/// [`Error::Io`], or what `fill` says; the old folder then is as it was.
pub fn replace_folder(dir: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let parent = dir
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(Error::io(parent))?;
    let old = beside(dir);
    if dir.exists() && old.exists() {
        fs::remove_dir_all(&old).map_err(Error::io(&old))?;
    }
    let new = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .tempdir_in(parent)
        .map_err(Error::io(parent))?;
    fill(new.path())?;
    #[cfg(unix)]
    {
        // tempfile makes 0700 folders; a checkpoint is for the user's other programs too.
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(new.path(), fs::Permissions::from_mode(0o755)).map_err(Error::io(new.path()))?;
    }
    atomic::sync_folder(new.path())?;
    if dir.exists() {
        fs::rename(dir, &old).map_err(Error::io(dir))?;
    }
    fs::rename(new.keep(), dir).map_err(Error::io(dir))?;
    atomic::sync_folder(parent)?;
    if old.exists() {
        fs::remove_dir_all(&old).map_err(Error::io(&old))?;
    }
    Ok(())
}

/// Where a folder is to be found: under its name, or, after a crash in the middle of [`replace_folder`], under the name of
/// the old one.
pub fn settled(dir: &Path) -> PathBuf {
    let old = beside(dir);
    if !dir.exists() && old.exists() {
        old
    } else {
        dir.to_path_buf()
    }
}

fn beside(dir: &Path) -> PathBuf {
    let mut name = dir.file_name().unwrap_or_default().to_os_string();
    name.push(".old");
    dir.with_file_name(name)
}

fn missing(path: &Path, error: &std::io::Error) -> Error {
    let message = match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
            format!("the file is missing; a model directory holds {CONFIG}, {PREPROCESSOR} and {WEIGHTS}")
        }
        _ => error.to_string(),
    };
    Error::Checkpoint {
        path: path.to_path_buf(),
        message,
    }
}

/// Names of transformers 5 modules and of the checkpoint format they stand for, below `layers.N.`.
const RENAMED: [(&str, &str); 6] = [
    ("attention.q_proj.", "attention.attention.query."),
    ("attention.k_proj.", "attention.attention.key."),
    ("attention.v_proj.", "attention.attention.value."),
    ("attention.o_proj.", "attention.output.dense."),
    ("mlp.fc1.", "intermediate.dense."),
    ("mlp.fc2.", "output.dense."),
];

/// The checkpoint format's name of a tensor that may be named as in transformers 5.
fn canonical_name(name: &str) -> String {
    let layers = format!("{BODY}layers.");
    let Some((number, rest)) = name.strip_prefix(&layers).and_then(|rest| rest.split_once('.')) else {
        return name.to_string();
    };
    let rest = RENAMED
        .iter()
        .find_map(|(new, old)| rest.strip_prefix(new).map(|tail| format!("{old}{tail}")))
        .unwrap_or_else(|| rest.to_string());
    format!("{BODY}encoder.layer.{number}.{rest}")
}

fn read_weights(
    config: &AstConfig,
    bytes: &[u8],
    head: Option<&NewHead>,
    notes: &mut Vec<String>,
) -> Result<Weights> {
    let file = SafeTensors::deserialize(bytes)
        .map_err(|e| Error::Config(format!("{WEIGHTS} is damaged or no safetensors file: {e}")))?;
    let mut stored: std::collections::BTreeMap<String, TensorView<'_>> = file
        .tensors()
        .into_iter()
        .map(|(name, view)| (canonical_name(&name), view))
        .collect();
    if head.is_some() {
        stored.retain(|name, _| !name.starts_with("classifier."));
    }
    let mut missing = Vec::new();
    let mut misshapen = Vec::new();
    let mut unusable = Vec::new();
    let mut random = Random::new(&[head.map_or(0, |h| h.seed)]);
    let weights = Weights::build(config, &mut |name, shape| {
        if head.is_some() && name.starts_with("classifier.") {
            return Ok(initial_values(name, shape, config.initializer_range, &mut random));
        }
        let Some(view) = stored.remove(name) else {
            missing.push(name.to_string());
            return Ok(Vec::new());
        };
        let Some(data) = values(&view) else {
            unusable.push(format!(
                "{name} ({:?}; only F32, F16 and BF16 are known)",
                view.dtype()
            ));
            return Ok(Vec::new());
        };
        if data.iter().any(|x| !x.is_finite()) {
            unusable.push(format!("{name} (holds values that are not finite)"));
        }
        if view.shape() == shape {
            return Ok(data);
        }
        let parameter = Parameter {
            name: name.to_string(),
            shape: view.shape().to_vec(),
            data,
        };
        match interpolate_positions(&parameter, config) {
            Some(data) => {
                let (from, to) = (parameter.shape[1], shape[1]);
                notes.push(format!(
                    "position embeddings interpolated from {from} to {to} tokens"
                ));
                Ok(data)
            }
            None => {
                misshapen.push(format!("{name} ({:?}, not {shape:?})", parameter.shape));
                Ok(Vec::new())
            }
        }
    })?;
    let extra: Vec<String> = stored.into_keys().collect();
    let faults = [
        ("missing", missing),
        ("unknown", extra),
        ("of the wrong shape", misshapen),
        ("unusable", unusable),
    ];
    let faults: Vec<String> = faults
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| first_five(what, &names))
        .collect();
    if faults.is_empty() {
        Ok(weights)
    } else {
        Err(Error::Config(format!(
            "{WEIGHTS} does not hold the model of {CONFIG}: {}",
            faults.join("; ")
        )))
    }
}

fn first_five(what: &str, names: &[String]) -> String {
    let shown = names
        .iter()
        .take(5)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    let more = if names.len() > 5 { ", …" } else { "" };
    format!("{} tensors {what}: {shown}{more}", names.len())
}

/// The values of a stored tensor as f32; `None` for other types than F32, F16, BF16.
fn values(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let bytes = view.data();
    let pairs = || bytes.chunks_exact(2).map(|b| [b[0], b[1]]);
    match view.dtype() {
        Dtype::F32 => Some(
            bytes
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect(),
        ),
        Dtype::F16 => Some(pairs().map(|b| f16::from_le_bytes(b).to_f32()).collect()),
        Dtype::BF16 => Some(pairs().map(|b| bf16::from_le_bytes(b).to_f32()).collect()),
        _ => None,
    }
}

/// Position embeddings for the input length of `config` from those of another: the grid of patches is interpolated along
/// time, bilinearly as `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)` and the code of the AST paper
/// do; the class and distillation tokens keep theirs. `None` if `stored` is nothing of the kind.
pub fn interpolate_positions(stored: &Parameter, config: &AstConfig) -> Option<Vec<f32>> {
    let d = config.hidden_size;
    let (rows, to) = (config.grid().rows(), config.grid().cols());
    let [1, tokens, width] = stored.shape[..] else {
        return None;
    };
    let patches = tokens.checked_sub(2)?;
    if !stored.name.ends_with("position_embeddings")
        || width != d
        || patches == 0
        || !patches.is_multiple_of(rows)
    {
        return None;
    }
    let from = patches / rows;
    let mut data = stored.data[..2 * d].to_vec();
    for row in 0..rows {
        let at = |column: usize| &stored.data[(2 + row * from + column) * d..][..d];
        for column in 0..to {
            // Centres of the new columns on the axis of the old ones, not beyond its first.
            let place = ((column as f64 + 0.5) * from as f64 / to as f64 - 0.5).max(0.0);
            let left = (place as usize).min(from - 1);
            let right = (left + 1).min(from - 1);
            let share = (place - left as f64) as f32;
            data.extend(
                at(left)
                    .iter()
                    .zip(at(right))
                    .map(|(l, r)| l * (1.0 - share) + r * share),
            );
        }
    }
    Some(data)
}

/// The directory that `model` names: a path, or an id such as `owner/name` in the local Hugging Face cache.
///
/// # Errors
/// [`Error::Checkpoint`] that says how to get the model, if there is no such directory.
pub fn resolve(model: &Path) -> Result<PathBuf> {
    if settled(model).is_dir() {
        return Ok(model.to_path_buf());
    }
    let nothing = |message: String| Error::Checkpoint {
        path: model.to_path_buf(),
        message,
    };
    let id = model
        .to_str()
        .and_then(|text| text.split_once('/'))
        .filter(|(owner, name)| {
            let plain = |part: &str| {
                !part.is_empty()
                    && !part.starts_with('.')
                    && part
                        .chars()
                        .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            };
            plain(owner) && plain(name)
        });
    let Some((owner, name)) = id else {
        return Err(nothing("there is no such model directory".into()));
    };
    let cache = hub_cache()
        .ok_or_else(|| nothing("there is no home directory to look for a model cache in".into()))?;
    let folder = cache.join(format!("models--{owner}--{name}"));
    let revision = fs::read_to_string(folder.join("refs/main")).unwrap_or_default();
    let snapshot = folder.join("snapshots").join(revision.trim());
    if !revision.trim().is_empty() && !revision.contains(['/', '\\']) && snapshot.join(CONFIG).is_file() {
        return Ok(snapshot);
    }
    Err(nothing(format!(
        "neither a model directory nor a model in the Hugging Face cache ({}); get it with `hf download {owner}/{name}`, \
         or copy its {CONFIG}, {PREPROCESSOR} and {WEIGHTS} into a folder and name that",
        cache.display()
    )))
}

/// Where `huggingface_hub` keeps models, by the environment variables that it looks at.
fn hub_cache() -> Option<PathBuf> {
    let variable = |name: &str| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    variable("HF_HUB_CACHE")
        .or_else(|| variable("HF_HOME").map(|home| home.join("hub")))
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("huggingface/hub")))
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache/huggingface/hub")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_transformers_5_are_understood() {
        let layer = |rest: &str| canonical_name(&format!("{BODY}layers.3.{rest}"));
        assert_eq!(
            layer("attention.q_proj.weight"),
            format!("{BODY}encoder.layer.3.attention.attention.query.weight")
        );
        assert_eq!(
            layer("attention.o_proj.bias"),
            format!("{BODY}encoder.layer.3.attention.output.dense.bias")
        );
        assert_eq!(
            layer("mlp.fc2.weight"),
            format!("{BODY}encoder.layer.3.output.dense.weight")
        );
        assert_eq!(
            layer("layernorm_after.weight"),
            format!("{BODY}encoder.layer.3.layernorm_after.weight")
        );
        assert_eq!(canonical_name("classifier.dense.bias"), "classifier.dense.bias");
    }

    #[test]
    fn a_folder_is_replaced_whole_or_not_at_all() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("last");
        let write =
            |text: &'static str| move |folder: &Path| atomic::write(&folder.join("a"), text.as_bytes());
        replace_folder(&dir, write("one")).unwrap();
        replace_folder(&dir, write("two")).unwrap();
        assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "two");
        let failed = replace_folder(&dir, |folder| {
            write("three")(folder)?;
            Err(Error::Interrupted)
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "two");
        assert_eq!(
            fs::read_dir(root.path()).unwrap().count(),
            1,
            "nothing is left lying about"
        );
        // A crash between the two renames leaves only the old folder, which is then found and later replaced.
        fs::rename(&dir, root.path().join("last.old")).unwrap();
        assert_eq!(settled(&dir), root.path().join("last.old"));
        replace_folder(&dir, write("four")).unwrap();
        assert_eq!(fs::read_to_string(settled(&dir).join("a")).unwrap(), "four");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_unknown_model_is_told_how_to_get_it() {
        let message = resolve(Path::new("nobody/no-such-model"))
            .unwrap_err()
            .to_string();
        assert!(message.contains("hf download nobody/no-such-model"), "{message}");
        let message = resolve(Path::new("/no/such/folder")).unwrap_err().to_string();
        assert!(message.contains("no such model directory"), "{message}");
    }
}
