//! A run directory: what a training was asked to do, what it said, and where it stands.
//!
//! ```text
//! config.toml        the recipe with every default written out
//! data.json          the data set's roots
//! split.json         the songs and noise folds on each side
//! environment.json   version, machine, threads
//! metrics.jsonl      one JSON object a line: steps and validations
//! events.out.*       the same as curves for TensorBoard, a file a session
//! last/              the model as it stands, the optimiser's moments, trainer_state.json; with ema_decay also the average
//! best/              the model with the highest macro F1 so far (with ema_decay: the average), a plain Hugging Face directory
//! validation.json    what that model answered in the validation (not with a teacher)
//! ```

mod record;

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

pub use record::{RunRecord, StepRecord, ValidationRecord};
use serde::{Deserialize, Serialize};

use crate::ast::Weights;
use crate::checkpoint::{
    Checkpoint, Stored, UNFINISHED, read_tensors, replace_folder, settled, sha256, write_tensors,
};
use crate::dataset::Split;
use crate::evaluate::Evaluation;
use crate::events::{EventWriter, Shown};
use crate::optim::{AdamW, Average};
use crate::train::TrainConfig;
use crate::{Error, Result, atomic};

const CONFIG: &str = "config.toml";
const DATA: &str = "data.json";
/// Which songs and noise trained a model: in its run, and beside a model that left its run.
pub const SPLIT: &str = "split.json";
const ENVIRONMENT: &str = "environment.json";
const METRICS: &str = "metrics.jsonl";
const LOCK: &str = "lock";
const LAST: &str = "last";
const BEST: &str = "best";
const VALIDATION: &str = "validation.json";
const STATE: &str = "trainer_state.json";
const MOMENTS: &str = "optimizer.safetensors";
const AVERAGE: &str = "average.safetensors";

/// Where a run stands, besides weights and moments.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainState {
    /// Optimiser steps taken.
    pub step: u64,
    /// Value of the highest [`Score`] of a validation so far.
    #[serde(alias = "best_macro_f1")]
    pub best_score: Option<f64>,
    /// Seconds spent training, over all sessions of the run.
    pub seconds: f64,
    /// SHA-256 of `config.toml` as it was when this was saved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<String>,
    /// SHA-256 of `split.json` as it was when this was saved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
}

/// How good the answers of a validation were; more is better.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Score {
    /// Macro F1 of the genres, within [0, 1].
    MacroF1(f64),
    /// Of the variance of what a teacher heard, the share that the outputs explain: 1 - mean squared error / variance.
    Explained(f64),
}

impl Score {
    /// The number.
    pub fn value(self) -> f64 {
        match self {
            Score::MacroF1(value) | Score::Explained(value) => value,
        }
    }

    /// What it is, in words.
    pub fn name(self) -> &'static str {
        match self {
            Score::MacroF1(_) => "macro F1",
            Score::Explained(_) => "variance explained",
        }
    }

    /// What it is called in logs, after `validation_`.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Score::MacroF1(_) => "macro_f1",
            Score::Explained(_) => "explained",
        }
    }
}

/// A run directory that this process alone writes to.
#[derive(Debug)]
pub struct Run {
    root: PathBuf,
    metrics: File,
    events: EventWriter,
    /// SHA-256 of `config.toml` and of `split.json`, as they were when the directory was opened.
    digests: [String; 2],
    recipe_changed: bool,
    /// Held as long as the run is open; the system lets go of it when the process ends, however that happens.
    _lock: File,
}

impl Run {
    /// Checks that a run directory can be made there, so that a name that is taken is told before the data is looked through.
    ///
    /// # Errors
    /// [`Error::Run`] if the directory exists and is not empty.
    pub fn check_new(root: &Path) -> Result<()> {
        let occupied = fs::read_dir(root).is_ok_and(|mut entries| entries.next().is_some());
        if !occupied {
            return Ok(());
        }
        Err(Error::Run {
            path: root.to_path_buf(),
            message: "the folder is not empty; choose another, or continue the run in it with --resume"
                .into(),
        })
    }

    /// Makes a new run directory.
    ///
    /// # Errors
    /// [`Error::Run`] if the directory exists and is not empty; [`Error::Io`] if it cannot be written.
    pub fn create(root: &Path, config: &TrainConfig, data: &[PathBuf], split: &Split) -> Result<Self> {
        Self::check_new(root)?;
        fs::create_dir_all(root).map_err(Error::io(root))?;
        let lock = lock(root)?;
        let roots = data
            .iter()
            .map(|path| std::path::absolute(path).map_err(Error::io(path)))
            .collect::<Result<Vec<_>>>()?;
        let recipe = config.to_toml()?;
        atomic::write(&root.join(CONFIG), recipe.as_bytes())?;
        write_json(&root.join(DATA), &roots)?;
        split.save(&root.join(SPLIT))?;
        let environment = serde_json::json!({
            "messymash": env!("CARGO_PKG_VERSION"),
            "system": std::env::consts::OS,
            "architecture": std::env::consts::ARCH,
            "instructions": messymash_kernels::simd::level().name(),
            "threads": rayon::current_num_threads(),
        });
        write_json(&root.join(ENVIRONMENT), &environment)?;
        let metrics = open_metrics(root)?;
        let mut events = EventWriter::new(root, None);
        let code = |text: &str| {
            text.lines()
                .map(|line| format!("    {line}\n"))
                .collect::<String>()
        };
        let (recipe, environment) = (code(&recipe), code(&format!("{environment:#}")));
        let texts = [
            ("recipe", Shown::Text(&recipe)),
            ("environment", Shown::Text(&environment)),
        ];
        events.write(0, &texts)?;
        Ok(Self {
            digests: digests(root)?,
            recipe_changed: false,
            root: root.to_path_buf(),
            metrics,
            events,
            _lock: lock,
        })
    }

    /// Opens the directory of an earlier run to go on from its `last/`, which has taken `step` steps; what the log says of
    /// later steps is taken out, since they will be taken again.
    ///
    /// # Errors
    /// [`Error::Run`] if it is no run directory, another process trains in it, or its `split.json` is not that of `last/`.
    pub fn open(root: &Path) -> Result<(Self, TrainState)> {
        check_is_run(root)?;
        let lock = lock(root)?;
        remove_unfinished(root)?;
        let last = settled(&root.join(LAST));
        let state: TrainState = if last.is_dir() {
            read_json(&last.join(STATE))?
        } else if settled(&root.join(BEST)).is_dir() {
            // Training anew would soon put a worse model in the place of the best one.
            let message =
                "last/ is gone, so the training cannot go on; put it back, or train in another folder".into();
            return Err(Error::Run {
                path: root.to_path_buf(),
                message,
            });
        } else {
            TrainState::default()
        };
        let digests = digests(root)?;
        let differs =
            |saved: &Option<String>, digest: &String| saved.as_ref().is_some_and(|saved| saved != digest);
        if differs(&state.split, &digests[1]) {
            let message = "was changed since the run was saved: songs that trained the model might judge it. Put the old one back, \
                           or train in another folder";
            return Err(Error::Run {
                path: root.join(SPLIT),
                message: message.into(),
            });
        }
        let recipe_changed = differs(&state.recipe, &digests[0]);
        let path = root.join(METRICS);
        let log = fs::read_to_string(&path).unwrap_or_default();
        let kept: String = log.lines().filter(|line| step_of(line) <= Some(state.step)).fold(
            String::new(),
            |mut kept, line| {
                kept.push_str(line);
                kept.push('\n');
                kept
            },
        );
        if kept != log {
            atomic::write(&path, kept.as_bytes())?;
        }
        let metrics = open_metrics(root)?;
        Ok((
            Self {
                root: root.to_path_buf(),
                metrics,
                events: EventWriter::new(root, Some(state.step + 1)),
                digests,
                recipe_changed,
                _lock: lock,
            },
            state,
        ))
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether `config.toml` is not what it was when `last/` was saved.
    pub fn recipe_changed(&self) -> bool {
        self.recipe_changed
    }

    /// The recipe, with every default written out.
    ///
    /// # Errors
    /// [`Error::Config`] or [`Error::Io`] if it cannot be read.
    pub fn config(&self) -> Result<TrainConfig> {
        TrainConfig::load(&self.root.join(CONFIG))
    }

    /// The data set's roots.
    ///
    /// # Errors
    /// [`Error::Run`] or [`Error::Io`] if they cannot be read.
    pub fn data(&self) -> Result<Vec<PathBuf>> {
        read_json(&self.root.join(DATA))
    }

    /// Which songs and noise folds are on which side.
    ///
    /// # Errors
    /// Those of [`Split::load`].
    pub fn split(&self) -> Result<Split> {
        Split::load(&self.root.join(SPLIT))
    }

    /// Appends a line to the log.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    pub fn log(&mut self, line: &serde_json::Value) -> Result<()> {
        let path = self.root.join(METRICS);
        writeln!(self.metrics, "{line}").map_err(Error::io(path))
    }

    /// Where the curves go that are looked at with TensorBoard.
    pub fn events(&mut self) -> &mut EventWriter {
        &mut self.events
    }

    /// Writes where the run stands, whole.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written; what was there before then remains.
    pub fn save_last(&self, kept: Kept<'_>, state: &TrainState) -> Result<()> {
        replace_folder(&self.root.join(LAST), |folder| {
            kept.model.write_into(folder, Stored::F32)?;
            let moments = [("m.", &kept.optimizer.m), ("v.", &kept.optimizer.v)];
            write_tensors(&folder.join(MOMENTS), &moments, Stored::F32)?;
            if let Some(average) = kept.average {
                write_tensors(&folder.join(AVERAGE), &[("", &average.weights)], Stored::F32)?;
            }
            let [recipe, split] = self.digests.clone().map(Some);
            let state = TrainState {
                recipe,
                split,
                ..state.clone()
            };
            write_json(&folder.join(STATE), &state)
        })
    }

    /// Reads what [`Run::save_last`] wrote in a run of `config`; `None` if nothing was saved yet.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if it is damaged, or lacks the average that the recipe asks for.
    pub fn load_last(&self, config: &TrainConfig) -> Result<Option<(Checkpoint, Loaded)>> {
        let last = settled(&self.root.join(LAST));
        if !last.is_dir() {
            return Ok(None);
        }
        let checkpoint = Checkpoint::load(&last)?;
        let shape = checkpoint.ast.config();
        let average = (config.ema_decay > 0.0).then(|| {
            Ok(Average {
                decay: config.ema_decay,
                weights: read_tensors(&last.join(AVERAGE), "", shape)?,
            })
        });
        let moments = last.join(MOMENTS);
        let loaded = Loaded {
            m: read_tensors(&moments, "m.", shape)?,
            v: read_tensors(&moments, "v.", shape)?,
            average: average.transpose()?,
        };
        Ok(Some((checkpoint, loaded)))
    }

    /// Writes the best model so far, whole, and then what it answered where it tells genres.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written; what was there before then remains.
    pub fn save_best(&self, model: &Checkpoint, answers: Option<&Evaluation>) -> Result<()> {
        model.save(&self.root.join(BEST), Stored::F32)?;
        match answers {
            Some(answers) => atomic::write(&self.root.join(VALIDATION), answers.to_json()?.as_bytes()),
            None => Ok(()),
        }
    }
}

/// What a training needs to go on, to be stored.
#[derive(Debug, Clone, Copy)]
pub struct Kept<'a> {
    /// The weights as they stand, never their average.
    pub model: &'a Checkpoint,
    /// Its moments are stored.
    pub optimizer: &'a AdamW,
    /// The average of the weights, where the recipe asks for one.
    pub average: Option<&'a Average>,
}

/// The optimiser's moments and the average as stored.
#[derive(Debug)]
pub struct Loaded {
    /// First moments.
    pub m: Weights,
    /// Second moments.
    pub v: Weights,
    /// The average, where the recipe asks for one.
    pub average: Option<Average>,
}

/// The split that the bundled model was trained with.
///
/// # Errors
/// None in a library that was built whole.
pub fn split_of_bundled() -> Result<Split> {
    let text = include_str!("../model/split.json");
    serde_json::from_str(text).map_err(|e| Error::Config(format!("the bundled split.json: {e}")))
}

/// The split that the model in a directory was trained with: its own `split.json`, or that of the run whose `best/` or `last/`
/// it is; `None` where nobody tells.
///
/// # Errors
/// Those of [`Split::load`].
pub fn split_of(model: &Path) -> Result<Option<Split>> {
    let absolute = std::path::absolute(model).map_err(Error::io(model))?;
    // A link to a run's best/ has no run around it, what it leads to has.
    let real = fs::canonicalize(model).unwrap_or_else(|_| absolute.clone());
    [&absolute, &real]
        .into_iter()
        .flat_map(|model| {
            let of_run = model.parent().filter(|run| run.join(CONFIG).is_file());
            [Some(&**model), of_run]
        })
        .flatten()
        .map(|folder| folder.join(SPLIT))
        .find(|path| path.is_file())
        .map(|path| Split::load(&path))
        .transpose()
}

/// SHA-256 of `config.toml` and of `split.json`.
fn digests(root: &Path) -> Result<[String; 2]> {
    let digest = |name: &str| {
        let path = root.join(name);
        sha256(&path).map_err(Error::io(&path))
    };
    Ok([digest(CONFIG)?, digest(SPLIT)?])
}

fn check_is_run(root: &Path) -> Result<()> {
    if root.join(CONFIG).is_file() {
        return Ok(());
    }
    Err(Error::Run {
        path: root.to_path_buf(),
        message: format!("this is no run directory (it has no {CONFIG})"),
    })
}

fn lock(root: &Path) -> Result<File> {
    let path = root.join(LOCK);
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .map_err(Error::io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(Error::Run {
            path: root.to_path_buf(),
            message: "another process is training in this folder".into(),
        }),
        Err(fs::TryLockError::Error(error)) => Err(Error::Io { path, source: error }),
    }
}

/// Removes what a killed process was writing: nobody else writes here while the lock is held.
fn remove_unfinished(root: &Path) -> Result<()> {
    for entry in fs::read_dir(root).map_err(Error::io(root))? {
        let path = entry.map_err(Error::io(root))?.path();
        let unfinished = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(UNFINISHED));
        if unfinished && path.is_dir() {
            fs::remove_dir_all(&path).map_err(Error::io(&path))?;
        }
    }
    Ok(())
}

fn open_metrics(root: &Path) -> Result<File> {
    let path = root.join(METRICS);
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .map_err(Error::io(&path))
}

fn step_of(line: &str) -> Option<u64> {
    // A line cut off by a crash has no step, and goes too: `None < Some(_)` would keep it.
    let step = serde_json::from_str::<serde_json::Value>(line)
        .ok()
        .and_then(|v| v.get("step")?.as_u64());
    Some(step.unwrap_or(u64::MAX))
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let failed = |e: serde_json::Error| Error::Io {
        path: path.to_path_buf(),
        source: e.into(),
    };
    let mut text = serde_json::to_string_pretty(value).map_err(failed)?;
    text.push('\n');
    atomic::write(path, text.as_bytes())
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).map_err(Error::io(path))?;
    serde_json::from_str(&text).map_err(|e| Error::Run {
        path: path.to_path_buf(),
        message: format!("the file is damaged: {e}"),
    })
}
