//! Where models are found, and what tells one from another.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{CONFIG, CheckpointFiles, PREPROCESSOR, WEIGHTS, settled};
use crate::verdict::VERDICT;
use crate::{Error, Result};

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

/// What tells the model of a directory (or id) from every other: a SHA-256 over configuration, preprocessor, weights and, where there are any,
/// the rules of its verdicts, hexadecimal.
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
    let path = dir.join(VERDICT);
    if path.is_file() {
        digests += &sha256(&path).map_err(Error::io(&path))?;
    }
    Ok(hex(&Sha256::digest(digests)))
}

impl CheckpointFiles<'_> {
    /// As [`fingerprint`], of files in memory.
    pub fn fingerprint(&self) -> String {
        let files = [self.config.as_bytes(), self.preprocessor.as_bytes(), self.weights];
        let files = files.into_iter().chain(self.verdict.map(str::as_bytes));
        let digests: String = files.map(|file| hex(&Sha256::digest(file))).collect();
        hex(&Sha256::digest(digests))
    }
}

/// The SHA-256 of a file, hexadecimal.
pub(crate) fn sha256(path: &Path) -> std::io::Result<String> {
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
