//! Model directories in eight bits: what `messymash quantize` writes.

use std::fs;
use std::path::Path;

use super::{CONFIG, Checkpoint, Stored, WEIGHTS, resolve, settled, sha256};
use crate::ast::AstConfig;
use crate::ast::config::Quantization;
use crate::{Error, Result};

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

/// A model card with a note before its text, behind its YAML head.
fn with_note(card: &str, note: &str) -> String {
    let head = card
        .strip_prefix("---\n")
        .and_then(|rest| rest.find("\n---\n"))
        .map_or(0, |end| end + 9);
    let (head, text) = card.split_at(head);
    format!("{head}{note}\n{text}")
}
