//! What decoding a file once tells, kept on disk: hours of sound need not be decoded again to know the same.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Inventory, Stamp};
use crate::audio::{AudioLimits, AudioStream};
use crate::{Error, Result, Warning, atomic};

/// The inventory that a data folder has at its top.
pub const INVENTORY_FILE: &str = "messymash-inventory.json";

/// By what an inventory is known, and which of its forms can be read; others are made anew.
const FORMAT: &str = "messymash inventory";
const VERSION: u32 = 1;

/// Shorter sounds cannot be mixed: one frame of the features.
const LEAST_SECONDS: f64 = 0.025;

/// What decoding a whole file told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Length, seconds.
    pub seconds: f64,
    /// Sample rate, Hz.
    pub rate: u32,
    /// RMS, dB of full scale; -200 for digital silence.
    pub level: f64,
    /// SHA-256 over rate and mono samples, hexadecimal: equal for equal sound, whatever the file's format or tags.
    pub digest: String,
    /// What the decoder found odd.
    pub warnings: Vec<Warning>,
}

impl Facts {
    /// Decodes a file in blocks, so that memory does not grow with its length. An error is the reason, for people.
    pub(super) fn of(path: &Path) -> std::result::Result<Self, String> {
        let told = |error: Error| match error {
            Error::Io { source, .. } => format!("{source}."),
            other => other.to_string(),
        };
        let mut stream = AudioStream::open(path, &AudioLimits::default()).map_err(told)?;
        let rate = stream.sample_rate();
        let mut digest = Sha256::new_with_prefix(rate.to_le_bytes());
        let (mut block, mut count, mut energy) = (Vec::new(), 0usize, 0.0f64);
        loop {
            block.clear();
            let more = stream.next_block(&mut block).map_err(told)?;
            count += block.len();
            energy += block.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
            digest.update(bytemuck::cast_slice(&block));
            if !more {
                break;
            }
        }
        let seconds = count as f64 / f64::from(rate);
        if seconds < LEAST_SECONDS {
            return Err(format!("it lasts {seconds:.4} s, which is no sound to mix."));
        }
        Ok(Self {
            seconds,
            rate,
            level: (10.0 * (energy / count as f64).log10()).max(-200.0),
            digest: digest
                .finalize()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            warnings: stream.warnings().to_vec(),
        })
    }
}

/// Facts of files as they were when last looked at.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KnownFacts {
    files: HashMap<PathBuf, (Stamp, Facts)>,
}

/// The file.
#[derive(Serialize, Deserialize)]
struct Stored<I> {
    format: String,
    version: u32,
    /// The data's folder; files below it are named from there.
    root: PathBuf,
    /// What [`Inventory`] says, for who reads the file; `None` where the work was stopped.
    inventory: I,
    files: BTreeMap<PathBuf, StoredFacts>,
}

#[derive(Serialize, Deserialize)]
struct StoredFacts {
    #[serde(flatten)]
    stamp: Stamp,
    #[serde(flatten)]
    facts: Facts,
}

impl KnownFacts {
    /// What the inventories at the top of these folders know; nothing, where there is none that can be read.
    pub fn of_roots(roots: &[PathBuf]) -> Self {
        let mut known = Self::default();
        for root in roots {
            if let (Ok(Some(facts)), Ok(root)) = (read(&root.join(INVENTORY_FILE)), fs::canonicalize(root)) {
                // Where the data was when the inventory was written is of no account: it lies in the data.
                known.add(facts, &root);
            }
        }
        known
    }

    /// Adds what an inventory elsewhere knows. One that another version wrote, or that is not there, knows nothing.
    ///
    /// # Errors
    /// [`Error::Config`] if the file is no inventory; [`Error::Io`] if it cannot be read.
    pub fn read(&mut self, path: &Path) -> Result<()> {
        if let Some(stored) = read(path)? {
            let root = stored.root.clone();
            self.add(stored, &root);
        }
        Ok(())
    }

    fn add(&mut self, stored: Stored<serde::de::IgnoredAny>, root: &Path) {
        let files = stored.files.into_iter();
        self.files
            .extend(files.map(|(path, known)| (root.join(path), (known.stamp, known.facts))));
    }

    /// Writes everything known as the inventory of the data in `root`, the file replaced whole. Files whose names are not
    /// Unicode are left out.
    ///
    /// # Errors
    /// [`Error::Config`] if there is another file at `path`; [`Error::Io`] if it cannot be written.
    pub fn save(&self, path: &Path, root: &Path, inventory: Option<&Inventory>) -> Result<()> {
        read(path)?;
        let root = fs::canonicalize(root).map_err(Error::io(root))?;
        let files = self.files.iter().filter(|(path, _)| path.to_str().is_some());
        let stored = Stored {
            format: FORMAT.into(),
            version: VERSION,
            inventory,
            files: files
                .map(|(path, (stamp, facts))| {
                    let path = path.strip_prefix(&root).unwrap_or(path).to_path_buf();
                    let (stamp, facts) = (*stamp, facts.clone());
                    (path, StoredFacts { stamp, facts })
                })
                .collect(),
            root: root.clone(),
        };
        let mut text = serde_json::to_vec_pretty(&stored).map_err(|e| Error::io(path)(e.into()))?;
        text.push(b'\n');
        atomic::write(path, &text)
    }

    /// How many files are known.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    pub(super) fn get(&self, path: &Path, stamp: Stamp) -> Option<&Facts> {
        let (then, facts) = self.files.get(path)?;
        (*then == stamp).then_some(facts)
    }

    /// Forgets files that are no part of the data any more.
    pub(super) fn keep_only<'a>(&mut self, paths: impl Iterator<Item = &'a Path>) {
        let paths: HashSet<&Path> = paths.collect();
        self.files.retain(|path, _| paths.contains(path.as_path()));
    }

    pub(super) fn insert(&mut self, path: &Path, stamp: Stamp, facts: Facts) {
        self.files.insert(path.to_path_buf(), (stamp, facts));
    }
}

/// An inventory; `None` where there is none, or one of another version.
fn read(path: &Path) -> Result<Option<Stored<serde::de::IgnoredAny>>> {
    #[derive(Deserialize)]
    struct Head {
        format: String,
        version: u32,
    }
    let text = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        text => text.map_err(Error::io(path))?,
    };
    match serde_json::from_slice::<Head>(&text) {
        Ok(head) if head.format == FORMAT && head.version == VERSION => {
            Ok(serde_json::from_slice(&text).ok())
        }
        Ok(head) if head.format == FORMAT => Ok(None),
        _ => Err(Error::Config(format!(
            "{} is no inventory of messymash; name another file, or remove it",
            path.display()
        ))),
    }
}
