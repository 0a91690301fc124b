//! The model's input.

use messymash::Result;
use messymash::audio::AudioLimits;
use messymash::features::FeatureExtractor;
use numpy::{PyArray1, PyArray3, PyArrayMethods};
use pyo3::prelude::*;

use crate::errors::raised;
use crate::sound::{Given, Sound};
use crate::work::Pool;

/// `ASTFeatureExtractor`: windows of sound to features.
#[pyclass(frozen, module = "messymash._native")]
pub struct Extractor {
    extractor: FeatureExtractor,
    pool: Pool,
}

impl Extractor {
    pub fn of(extractor: FeatureExtractor, threads: usize) -> Result<Self> {
        Ok(Self {
            extractor,
            pool: Pool::new(Some(threads))?,
        })
    }

    /// The first window of a sound, or all of a shorter one.
    fn window(&self, sound: &Sound) -> Result<Vec<f32>> {
        let stream = sound.open(&AudioLimits::default())?;
        let mut stream = stream.resampled(self.extractor.sampling_rate)?;
        let mut samples = Vec::new();
        while samples.len() < self.extractor.window_samples() && stream.next_block(&mut samples)? {}
        Ok(samples)
    }
}

#[pymethods]
impl Extractor {
    /// From the text of a `preprocessor_config.json`.
    #[new]
    #[pyo3(signature = (config, num_threads=None))]
    fn new(py: Python<'_>, config: &str, num_threads: Option<usize>) -> PyResult<Self> {
        let made = FeatureExtractor::from_json(config).and_then(|extractor| {
            Ok(Self {
                extractor,
                pool: Pool::new(num_threads)?,
            })
        });
        made.map_err(|error| raised(py, &error))
    }

    /// `[sounds, max_length, num_mel_bins]`.
    fn extract<'py>(&self, py: Python<'py>, sounds: Vec<Given<'py>>) -> PyResult<Bound<'py, PyArray3<f32>>> {
        let sounds: Vec<Sound> = sounds.into_iter().map(Sound::from).collect();
        let shape = [
            sounds.len(),
            self.extractor.max_length,
            self.extractor.num_mel_bins,
        ];
        let rows = self.pool.map(py, sounds.len(), false, |number, _| {
            self.extractor.extract(&self.window(&sounds[number])?)
        })?;
        let mut all = Vec::with_capacity(shape.iter().product());
        // What was begun before the first failure comes before it, so that nothing is missing where there is none.
        for rows in rows.into_iter().flatten() {
            all.append(&mut rows.map_err(|error| raised(py, &error))?);
        }
        PyArray1::from_vec(py, all).reshape(shape)
    }
}
