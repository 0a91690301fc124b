//! A model directory or its files, read as far as it takes to know whether the model is in them.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use safetensors::Dtype;

use super::positions::{interpolate_positions, stored_columns};
use super::tensors::{SCALE, TensorFile};
use super::{CONFIG, CheckpointFiles, PREPROCESSOR, WEIGHTS};
use crate::ast::weights::BODY;
use crate::ast::{AstConfig, Parameter, Values, Weights};
use crate::error::first_five;
use crate::features::FeatureExtractor;
use crate::verdict::{Rules, VERDICT};
use crate::{Error, Result};

pub(super) fn missing(path: &Path, error: &std::io::Error) -> Error {
    let message = match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
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
pub(super) struct Source<'a> {
    pub(super) config: AstConfig,
    pub(super) extractor: FeatureExtractor,
    pub(super) verdict: Option<Rules>,
    /// Under the names of transformers 4.
    pub(super) file: TensorFile<'a>,
}

impl<'a> Source<'a> {
    pub(super) fn open(dir: &Path) -> Result<Self> {
        let text = |name: &str| {
            let path = dir.join(name);
            fs::read_to_string(&path).map_err(|e| missing(&path, &e))
        };
        let path = dir.join(WEIGHTS);
        let file = TensorFile::open(&path).map_err(|e| missing(&path, &e))?;
        let verdict = match fs::read_to_string(dir.join(VERDICT)) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            text => Some(text.map_err(Error::io(dir.join(VERDICT)))?),
        };
        let (config, preprocessor) = (text(CONFIG)?, text(PREPROCESSOR)?);
        Self::new([&config, &preprocessor], verdict.as_deref(), file)
    }

    pub(super) fn from_files(files: CheckpointFiles<'a>) -> Result<Self> {
        Self::new(
            [files.config, files.preprocessor],
            files.verdict,
            TensorFile::from_bytes(files.weights),
        )
    }

    fn new(
        [config, preprocessor]: [&str; 2],
        verdict: Option<&str>,
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
        let verdict = verdict
            .map(|text| Rules::from_json(text, config.hidden_size))
            .transpose()?;
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
            verdict,
            file,
        })
    }

    /// Refuses weights that are not those of the configuration, with all that is wrong with them in one message.
    pub(super) fn check(&mut self, head_is_new: bool, notes: &mut Vec<String>) -> Result<()> {
        let config = &self.config;
        let mut unknown: BTreeSet<String> = self.file.infos_mut().keys().cloned().collect();
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
            .map(|(what, names)| told(what, &names))
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

/// As [`stored_tensor`], in single precision.
pub(super) fn tensor(
    file: &mut TensorFile<'_>,
    config: &AstConfig,
    name: &str,
    shape: &[usize],
) -> Result<Vec<f32>> {
    stored_tensor(file, config, name, shape).map(Values::into_f32)
}

/// One tensor of a file that [`Source::check`] found to be in order; what only its values tell is checked here.
pub(super) fn stored_tensor(
    file: &mut TensorFile<'_>,
    config: &AstConfig,
    name: &str,
    shape: &[usize],
) -> Result<Values> {
    let unusable = |why: &str| not_the_model(&told("unusable", &[format!("{name} ({why})")]));
    let stored_shape = file.info(name).map(|info| info.shape.clone()).unwrap_or_default();
    let values = file.read(name).map_err(|e| unusable(&e))?;
    let floats = match &values {
        Values::F32(values) => values,
        Values::Int8(quantized) => &quantized.scales,
    };
    // By pieces without an early exit, which the compiler vectorises.
    if !floats
        .chunks(4096)
        .all(|piece| piece.iter().fold(true, |all, x| all & x.is_finite()))
    {
        return Err(unusable("holds values that are not finite"));
    }
    if stored_shape == shape {
        return Ok(values);
    }
    let parameter = Parameter {
        name: name.to_string(),
        shape: stored_shape,
        data: values.into_f32(),
        quantized: None,
    };
    let interpolated = interpolate_positions(&parameter, config);
    interpolated
        .map(Values::F32)
        .ok_or_else(|| unusable("has the wrong shape"))
}

fn told(what: &str, names: &[String]) -> String {
    let plural = if names.len() == 1 { "" } else { "s" };
    format!("{} tensor{plural} {what}: {}", names.len(), first_five(names))
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
}
