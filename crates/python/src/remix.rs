//! Mashups.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use messymash::dataset::{DatasetOptions, MessyMashup, Split};
use messymash::remix::{Remix, RemixOptions, Remixer, StemCache, write_remixes};
use messymash::{Error, Result};
use numpy::PyArray1;
use pyo3::prelude::*;

use crate::errors::{json, raised};
use crate::work::{PerProcess, Pool};

/// Where songs and noise are.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Data {
    roots: Vec<PathBuf>,
    noise: Vec<PathBuf>,
    allow_missing_stems: bool,
}

impl Data {
    pub fn open(self) -> Result<MessyMashup> {
        if self.roots.is_empty() {
            return Err(Error::Config("no data given; name a folder".into()));
        }
        let options = DatasetOptions {
            allow_missing_stems: self.allow_missing_stems,
            extra_noise: self.noise,
            ..DatasetOptions::default()
        };
        MessyMashup::open(&self.roots, &options)
    }
}

/// The settings of recombination from JSON; absent ones have their defaults.
pub fn options(json: &str) -> Result<RemixOptions> {
    serde_json::from_str(json).map_err(|error| Error::Config(format!("remix: {error}")))
}

/// A split of the data, JSON.
#[pyfunction]
pub fn split(py: Python<'_>, data: Data, fraction: f64, folds: Vec<u32>, seed: u64) -> PyResult<String> {
    let split = py.detach(|| {
        let data = data.open()?;
        json(&Split::by_song(&data, fraction, &folds, seed)?)
    });
    split.map_err(|error| raised(py, &error))
}

/// Makes mashups of some songs and noises. The remixer with its cache is each process's own.
#[pyclass(frozen, module = "messymash._native")]
pub struct Mixer {
    data: MessyMashup,
    songs: Vec<String>,
    folds: Vec<u32>,
    options: RemixOptions,
    cache_mebibytes: usize,
    remixer: PerProcess<Remixer>,
    pool: Pool,
}

/// What a mixer mixes.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Material {
    data: Data,
    /// `None`: all.
    songs: Option<Vec<String>>,
    noise_folds: Option<Vec<u32>>,
    options: String,
    cache_mebibytes: usize,
    num_threads: Option<usize>,
}

impl Mixer {
    fn of(material: Material) -> Result<Self> {
        let data = material.data.open()?;
        let everything = Split::everything(&data);
        Ok(Self {
            songs: material.songs.unwrap_or(everything.train),
            folds: material.noise_folds.unwrap_or(everything.train_folds),
            options: options(&material.options)?,
            cache_mebibytes: material.cache_mebibytes,
            remixer: PerProcess::new(),
            pool: Pool::new(material.num_threads)?,
            data,
        })
    }

    fn remixer(&self, py: Python<'_>) -> PyResult<Arc<Remixer>> {
        let made = self.remixer.get(py, || {
            let cache = Arc::new(StemCache::new(self.cache_mebibytes, self.options.sample_rate));
            Remixer::with_cache(&self.data, &self.songs, &self.folds, self.options.clone(), cache)
        });
        made.map_err(|error| raised(py, &error))
    }
}

#[pymethods]
impl Mixer {
    #[new]
    fn new(py: Python<'_>, material: Material) -> PyResult<Self> {
        let mixer = py
            .detach(|| Self::of(material))
            .map_err(|error| raised(py, &error))?;
        // What cannot be mixed is told now, not by the first mashup.
        mixer.remixer(py)?;
        Ok(mixer)
    }

    /// All genres of the data: the order of the classes.
    #[getter]
    fn genres(&self) -> Vec<String> {
        self.data.genres.clone()
    }

    /// Hz.
    #[getter]
    fn sampling_rate(&self) -> u32 {
        self.options.sample_rate
    }

    /// The recipe, JSON, and the sound of a mashup.
    fn make<'py>(
        &self,
        py: Python<'py>,
        seed: u64,
        epoch: u64,
        index: u64,
    ) -> PyResult<(String, Bound<'py, PyArray1<f32>>)> {
        let remixer = self.remixer(py)?;
        let made = self.pool.install(py, || {
            let (remix, sound) = remixer.make(seed, epoch, index)?;
            Ok((json(&remix)?, sound.samples))
        })?;
        let (recipe, samples) = made.map_err(|error| raised(py, &error))?;
        Ok((recipe, PyArray1::from_vec(py, samples)))
    }

    /// The sound of a recipe.
    fn render<'py>(&self, py: Python<'py>, recipe: &str) -> PyResult<Bound<'py, PyArray1<f32>>> {
        let remixer = self.remixer(py)?;
        let rendered = self.pool.install(py, || {
            let remix: Remix = serde_json::from_str(recipe)
                .map_err(|error| Error::Config(format!("this is no recipe: {error}")))?;
            remixer.render(&remix)
        })?;
        let sound = rendered.map_err(|error| raised(py, &error))?;
        Ok(PyArray1::from_vec(py, sound.samples))
    }

    /// Mashups 0 to `count` - 1 of `seed`, epoch 0, as files.
    #[pyo3(signature = (seed, count, folder, progress=None))]
    fn write(
        &self,
        py: Python<'_>,
        seed: u64,
        count: usize,
        folder: PathBuf,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let remixer = self.remixer(py)?;
        self.pool.watch(py, progress, |progress| {
            let tell = &mut |done: usize| progress.set(done as u64, count as u64);
            write_remixes(&remixer, seed, count, Path::new(&folder), tell)
        })
    }
}
