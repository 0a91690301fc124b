//! What a run has written so far, to be looked at, while it goes on or after it.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{BEST, CONFIG, DATA, ENVIRONMENT, METRICS, SPLIT, Score, VALIDATION, read_json};
use crate::checkpoint::{PREPROCESSOR, settled};
use crate::dataset::Split;
use crate::evaluate::Evaluation;
use crate::features::FeatureExtractor;
use crate::train::TrainConfig;
use crate::{Error, Result};

/// A run as it stands in its directory. Reading it takes no lock and changes nothing.
#[derive(Debug, Clone)]
pub struct RunRecord {
    /// The directory.
    pub root: PathBuf,
    /// The recipe.
    pub config: TrainConfig,
    /// The data set's roots.
    pub data: Vec<PathBuf>,
    /// Songs and noise on each side.
    pub split: Split,
    /// Version, machine, threads.
    pub environment: BTreeMap<String, serde_json::Value>,
    /// Steps, in order.
    pub steps: Vec<StepRecord>,
    /// Validations, in order.
    pub validations: Vec<ValidationRecord>,
    /// What the best model answered in its validation; `None` before the first one, and with a teacher.
    pub best: Option<Evaluation>,
}

/// A step of the log.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct StepRecord {
    /// From 1.
    pub step: u64,
    /// Mean loss of the batch: cross entropy, nats, or with a teacher the squared error.
    pub loss: f64,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Global norm of the gradients before clipping.
    pub gradient_norm: f64,
}

/// A validation of the log.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(from = "Logged")]
pub struct ValidationRecord {
    /// Steps taken.
    pub step: u64,
    /// From 1.
    pub epoch: u64,
    /// Mean loss of the validation mashups: cross entropy, nats, or with a teacher the squared error.
    pub loss: f64,
    /// How good the answers were.
    pub score: Score,
    /// F1 by genre; empty with a teacher.
    pub f1: BTreeMap<String, f64>,
    /// Seconds spent training, over all sessions of the run.
    pub seconds: f64,
}

/// A validation as it stands in the log.
#[derive(Deserialize)]
struct Logged {
    step: u64,
    epoch: u64,
    validation_loss: f64,
    #[serde(flatten)]
    score: LoggedScore,
    #[serde(default)]
    validation_f1: BTreeMap<String, f64>,
    seconds: f64,
}

#[derive(Deserialize)]
enum LoggedScore {
    #[serde(rename = "validation_macro_f1")]
    MacroF1(f64),
    #[serde(rename = "validation_explained")]
    Explained(f64),
}

impl From<Logged> for ValidationRecord {
    fn from(logged: Logged) -> Self {
        Self {
            step: logged.step,
            epoch: logged.epoch,
            loss: logged.validation_loss,
            score: match logged.score {
                LoggedScore::MacroF1(value) => Score::MacroF1(value),
                LoggedScore::Explained(value) => Score::Explained(value),
            },
            f1: logged.validation_f1,
            seconds: logged.seconds,
        }
    }
}

impl RunRecord {
    /// Reads a run directory.
    ///
    /// Lines of the log that are neither steps nor validations (one that is being written, say) are passed over.
    ///
    /// # Errors
    /// [`Error::Run`] if it is no run directory or a file in it is damaged; [`Error::Io`], [`Error::Config`] if one cannot be
    /// read.
    pub fn read(root: &Path) -> Result<Self> {
        super::check_is_run(root)?;
        let path = root.join(METRICS);
        let log = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            log => log.map_err(Error::io(&path))?,
        };
        let (mut steps, mut validations) = (Vec::new(), Vec::new());
        for line in log.split(|byte| *byte == b'\n') {
            if let Ok(validation) = serde_json::from_slice::<ValidationRecord>(line) {
                validations.push(validation);
            } else if let Ok(step) = serde_json::from_slice::<StepRecord>(line) {
                steps.push(step);
            }
        }
        let path = root.join(VALIDATION);
        let best = match fs::read_to_string(&path) {
            Ok(text) => Some(Evaluation::from_json(&text).map_err(|error| Error::Run {
                path,
                message: error.to_string(),
            })?),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(Error::io(path)(error)),
        };
        Ok(Self {
            root: root.to_path_buf(),
            config: TrainConfig::load(&root.join(CONFIG))?,
            data: read_json(&root.join(DATA))?,
            split: Split::load(&root.join(SPLIT))?,
            environment: read_json(&root.join(ENVIRONMENT))?,
            steps,
            validations,
            best,
        })
    }

    /// The run's name: that of its directory.
    pub fn name(&self) -> String {
        let path = std::path::absolute(&self.root).unwrap_or_else(|_| self.root.clone());
        let name = path.file_name().unwrap_or(path.as_os_str());
        name.to_string_lossy().into_owned()
    }

    /// The feature extractor of the best model.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Config`] if it cannot be read.
    pub fn extractor(&self) -> Result<FeatureExtractor> {
        let path = settled(&self.root.join(BEST)).join(PREPROCESSOR);
        FeatureExtractor::from_json(&fs::read_to_string(&path).map_err(Error::io(&path))?)
    }

    /// Steps that the recipe asks for.
    pub fn total_steps(&self) -> u64 {
        self.config.total_steps()
    }
}
