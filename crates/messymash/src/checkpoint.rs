//! A Hugging Face model directory, in and out: `config.json`, `preprocessor_config.json`, `model.safetensors`.
//!
//! Loading is strict: every tensor of the configuration must be there, in its shape, finite, and no other; the one
//! exception are position embeddings of another input length, which are interpolated. Weights may be stored as f32, f16 or
//! bf16, under the names of transformers 4 or those of transformers 5; or, written by [`quantize`], the matrices of the
//! layers as eight-bit integers with a scale per output. Tensors are read one after the other, never the whole file at once.

mod tensors;

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use half::f16;
use messymash_kernels::int8::Quantized;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use sha2::{Digest, Sha256};

use self::tensors::{SCALE, TensorFile};
use crate::ast::config::Quantization;
use crate::ast::weights::BODY;
use crate::ast::{Ast, AstConfig, Inference, Parameter, Precision, Weights, initial_values};
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
}

impl CheckpointFiles<'_> {
    /// As [`fingerprint`], of files in memory.
    pub fn fingerprint(&self) -> String {
        let files = [self.config.as_bytes(), self.preprocessor.as_bytes(), self.weights];
        hex(&Sha256::digest(
            files.map(|file| hex(&Sha256::digest(file))).concat(),
        ))
    }
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
            mut file,
        } = source;
        let origin = config.quantization_config.take();
        let precision = precision.unwrap_or(match origin {
            Some(_) => Precision::Int8,
            None => Precision::F32,
        });
        let shapes = config.clone();
        let model = Inference::build(config, precision, &mut |name, shape| {
            tensor(&mut file, &shapes, name, shape)
        })?;
        Ok(Self {
            model,
            extractor,
            card: None,
            origin,
        })
    }

    /// A model that is in memory, laid out to be used.
    ///
    /// # Errors
    /// None for a model that could be made.
    pub fn new(checkpoint: Checkpoint, precision: Precision) -> Result<Self> {
        let Checkpoint {
            ast, extractor, card, ..
        } = checkpoint;
        Ok(Self {
            model: Inference::new(ast, precision)?,
            extractor,
            card,
            origin: None,
        })
    }
}

/// Writes the model of `dir` to `out` with the matrices of its layers in eight bits. The configuration and the card of the
/// new directory say what it was made of.
///
/// # Errors
/// As [`Checkpoint::load`]; [`Error::Config`] if the model is quantised already or would replace itself; [`Error::Io`] if
/// it cannot be written.
pub fn quantize(dir: &Path, out: &Path) -> Result<()> {
    let source = settled(&resolve(dir)?);
    let mut checkpoint = Checkpoint::load(&source)?;
    let config = AstConfig::from_json(&fs::read_to_string(source.join(CONFIG)).map_err(Error::io(&source))?)?;
    if config.quantization_config.is_some() {
        return Err(Error::Config(format!("{} is quantised already", dir.display())));
    }
    let same = |a: &Path, b: &Path| matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b);
    if same(&source, out) {
        return Err(Error::Config(
            "the quantised model must go to another directory".into(),
        ));
    }
    let path = source.join(WEIGHTS);
    let digest = sha256(&path).map_err(Error::io(&path))?;
    let quantization = Quantization::new(&dir.display().to_string(), &digest);
    let note = format!(
        "> Weights quantised to eight bits by `messymash quantize` (version {}) from `{}`, whose `{WEIGHTS}` has the SHA-256 \
         `{digest}`. Only messymash reads this directory; for other programs take the original.\n",
        env!("CARGO_PKG_VERSION"),
        quantization.origin
    );
    checkpoint.card = Some(with_note(checkpoint.card.as_deref().unwrap_or_default(), &note));
    checkpoint.ast.set_quantization(quantization);
    checkpoint.save(out, Stored::Int8)
}

/// The SHA-256 of a file, hexadecimal.
fn sha256(path: &Path) -> std::io::Result<String> {
    let mut digest = Sha256::new();
    let mut file = File::open(path)?;
    let mut piece = vec![0; 1 << 20];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hex(&digest.finalize())),
            n => digest.update(&piece[..n]),
        }
    }
}

/// What tells the model of a directory (or id) from every other: a SHA-256 over configuration, preprocessor and weights,
/// hexadecimal.
///
/// # Errors
/// [`Error::Checkpoint`] if there is no such directory; [`Error::Io`] if its files cannot be read.
pub fn fingerprint(model: &Path) -> Result<String> {
    let dir = settled(&resolve(model)?);
    let mut digests = String::new();
    for name in [CONFIG, PREPROCESSOR, WEIGHTS] {
        let path = dir.join(name);
        digests += &sha256(&path).map_err(Error::io(&path))?;
    }
    Ok(hex(&Sha256::digest(digests)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A model card with a note before its text, behind its YAML head.
fn with_note(card: &str, note: &str) -> String {
    let head = card
        .strip_prefix("---\n")
        .and_then(|rest| rest.find("\n---\n"))
        .map_or(0, |end| end + 9);
    let (head, text) = card.split_at(head);
    format!("{head}{note}\n{text}")
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
        file.read(&name).map_err(|e| damaged(format!("{name}: {e}")))
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

/// The parts of a checkpoint, read as far as it takes to know what is in it.
struct Source<'a> {
    config: AstConfig,
    extractor: FeatureExtractor,
    /// Under the names of transformers 4.
    file: TensorFile<'a>,
}

impl<'a> Source<'a> {
    fn open(dir: &Path) -> Result<Self> {
        let text = |name: &str| {
            let path = dir.join(name);
            fs::read_to_string(&path).map_err(|e| missing(&path, &e))
        };
        let path = dir.join(WEIGHTS);
        let file = TensorFile::open(&path).map_err(|e| missing(&path, &e))?;
        Self::new(&text(CONFIG)?, &text(PREPROCESSOR)?, file)
    }

    fn from_files(files: CheckpointFiles<'a>) -> Result<Self> {
        Self::new(
            files.config,
            files.preprocessor,
            TensorFile::from_bytes(files.weights),
        )
    }

    fn new(
        config: &str,
        preprocessor: &str,
        file: std::result::Result<TensorFile<'a>, String>,
    ) -> Result<Self> {
        let config = AstConfig::from_json(config)?;
        let extractor = FeatureExtractor::from_json(preprocessor)?;
        if (extractor.max_length, extractor.num_mel_bins) != (config.max_length, config.num_mel_bins) {
            return Err(Error::Config(format!(
                "{PREPROCESSOR} makes {} frames of {} mel bins, but {CONFIG} wants {} of {}",
                extractor.max_length, extractor.num_mel_bins, config.max_length, config.num_mel_bins
            )));
        }
        let mut file =
            file.map_err(|e| Error::Config(format!("{WEIGHTS} is damaged or no safetensors file: {e}")))?;
        let infos = file.infos_mut();
        *infos = std::mem::take(infos)
            .into_iter()
            .map(|(name, info)| (canonical_name(&name), info))
            .collect();
        Ok(Self {
            config,
            extractor,
            file,
        })
    }

    /// Refuses weights that are not those of the configuration, with all that is wrong with them in one message.
    fn check(&mut self, head_is_new: bool, notes: &mut Vec<String>) -> Result<()> {
        let config = &self.config;
        let mut unknown: std::collections::BTreeSet<String> = self.file.infos_mut().keys().cloned().collect();
        let (mut missing, mut misshapen, mut unusable) = (Vec::new(), Vec::new(), Vec::new());
        Weights::build(config, &mut |name, shape| {
            if head_is_new && name.starts_with("classifier.") {
                return Ok(Vec::new());
            }
            unknown.remove(name);
            let Some(info) = self.file.info(name) else {
                missing.push(name.to_string());
                return Ok(Vec::new());
            };
            match info.dtype {
                Dtype::F32 | Dtype::F16 | Dtype::BF16 => {}
                Dtype::I8 if unknown.remove(&format!("{name}{SCALE}")) => {}
                Dtype::I8 => unusable.push(format!("{name} (I8 without {name}{SCALE})")),
                other => unusable.push(format!(
                    "{name} ({other:?}; only F32, F16, BF16 and I8 are known)"
                )),
            }
            if info.shape != shape {
                match stored_columns(name, &info.shape, config) {
                    Some(_) => notes.push(format!(
                        "position embeddings interpolated from {} to {} tokens",
                        info.shape[1], shape[1]
                    )),
                    None => misshapen.push(format!("{name} ({:?}, not {shape:?})", info.shape)),
                }
            }
            Ok(Vec::new())
        })?;
        let faults = [
            ("missing", missing),
            ("unknown", unknown.into_iter().collect()),
            ("of the wrong shape", misshapen),
            ("unusable", unusable),
        ];
        let faults: Vec<String> = faults
            .into_iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(what, names)| first_five(what, &names))
            .collect();
        if faults.is_empty() {
            Ok(())
        } else {
            Err(not_the_model(&faults.join("; ")))
        }
    }
}

fn not_the_model(fault: &str) -> Error {
    Error::Config(format!("{WEIGHTS} does not hold the model of {CONFIG}: {fault}"))
}

/// One tensor of a file that [`Source::check`] found to be in order; what only its values tell is checked here.
fn tensor(file: &mut TensorFile<'_>, config: &AstConfig, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
    let unusable = |why: &str| not_the_model(&format!("1 tensors unusable: {name} ({why})"));
    let stored_shape = file.info(name).map(|info| info.shape.clone()).unwrap_or_default();
    let data = file.read(name).map_err(|e| unusable(&e))?;
    // By pieces without an early exit, which the compiler vectorises.
    if !data
        .chunks(4096)
        .all(|piece| piece.iter().fold(true, |all, x| all & x.is_finite()))
    {
        return Err(unusable("holds values that are not finite"));
    }
    if stored_shape == shape {
        return Ok(data);
    }
    let parameter = Parameter {
        name: name.to_string(),
        shape: stored_shape,
        data,
    };
    interpolate_positions(&parameter, config).ok_or_else(|| unusable("has the wrong shape"))
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

/// Columns of the grid of patches that stored position embeddings were made for, if that is what they are.
fn stored_columns(name: &str, shape: &[usize], config: &AstConfig) -> Option<usize> {
    let [1, tokens, width] = shape[..] else {
        return None;
    };
    let (patches, rows) = (tokens.checked_sub(2)?, config.grid().rows());
    let fits = name.ends_with("position_embeddings")
        && width == config.hidden_size
        && patches > 0
        && patches.is_multiple_of(rows);
    fits.then(|| patches / rows)
}

/// Position embeddings for the input length of `config` from those of another: the grid of patches is interpolated along
/// time, bilinearly as `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)` and the code of the AST paper
/// do; the class and distillation tokens keep theirs. `None` if `stored` is nothing of the kind.
pub fn interpolate_positions(stored: &Parameter, config: &AstConfig) -> Option<Vec<f32>> {
    let d = config.hidden_size;
    let (rows, to) = (config.grid().rows(), config.grid().cols());
    let from = stored_columns(&stored.name, &stored.shape, config)?;
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
