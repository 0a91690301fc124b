//! A model that hears.

use std::path::PathBuf;

use messymash::ast::Precision;
use messymash::audio::AudioLimits;
use messymash::checkpoint::resolve;
use messymash::classifier::{ClassifyOptions, ScoreFunction, Tail, Windows, fingerprint};
use messymash::{Classifier, Error, Result};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;

use crate::errors::{json, raised, unknown};
use crate::features::Extractor;
use crate::sound::{Given, Sound};
use crate::work::Pool;

/// How sounds are heard.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Hearing {
    windows: String,
    hop: f64,
    tail: String,
    function_to_apply: Option<String>,
    max_seconds: Option<f64>,
}

impl Hearing {
    /// As the library takes it, checked.
    pub fn options(&self) -> Result<ClassifyOptions> {
        let options = ClassifyOptions {
            windows: match &self.windows[..] {
                "all" => Windows::All { hop: self.hop },
                "first" => Windows::First,
                other => return Err(unknown("windows", other, "all, first")),
            },
            tail: match &self.tail[..] {
                "shift" => Tail::Shift,
                "repeat" => Tail::Repeat,
                "pad" => Tail::Pad,
                other => return Err(unknown("tail", other, "shift, repeat, pad")),
            },
            function: match self.function_to_apply.as_deref() {
                None => None,
                Some("softmax") => Some(ScoreFunction::Softmax),
                Some("sigmoid") => Some(ScoreFunction::Sigmoid),
                Some("none") => Some(ScoreFunction::None),
                Some(other) => return Err(unknown("function_to_apply", other, "softmax, sigmoid, none")),
            },
            limits: AudioLimits {
                max_seconds: self.max_seconds,
                ..AudioLimits::default()
            },
            batch: None,
        };
        options.check()?;
        Ok(options)
    }
}

/// A classifier and the threads that it works on.
#[pyclass(frozen, module = "messymash._native")]
pub struct Model {
    pub classifier: Classifier,
    /// Where it was loaded from, wherever the process goes then; `None`: the one that comes with the library.
    pub path: Option<PathBuf>,
    pub pool: Pool,
}

#[pymethods]
impl Model {
    #[new]
    #[pyo3(signature = (model=None, precision=None, num_threads=None))]
    fn new(
        py: Python<'_>,
        model: Option<PathBuf>,
        precision: Option<&str>,
        num_threads: Option<usize>,
    ) -> PyResult<Self> {
        let load = || {
            let precision = match precision {
                None => None,
                Some("f32") => Some(Precision::F32),
                Some("int8") => Some(Precision::Int8),
                Some(other) => return Err(unknown("precision", other, "f32, int8")),
            };
            let classifier = match (&model, precision) {
                (None, precision) => Classifier::bundled_in(precision.unwrap_or_default()),
                (Some(model), None) => Classifier::from_pretrained(model),
                (Some(model), Some(precision)) => Classifier::from_pretrained_in(model, precision),
            }?;
            let path = model
                .as_deref()
                .map(|model| {
                    let folder = resolve(model)?;
                    std::path::absolute(&folder).map_err(Error::io(&folder))
                })
                .transpose()?;
            Ok((classifier, path, Pool::new(num_threads)?))
        };
        let (classifier, path, pool) = py.detach(load).map_err(|error: Error| raised(py, &error))?;
        Ok(Self {
            classifier,
            path,
            pool,
        })
    }

    #[getter]
    fn labels(&self) -> Vec<String> {
        self.classifier.labels().to_vec()
    }

    #[getter]
    fn num_threads(&self) -> usize {
        self.pool.threads()
    }

    /// Facts about the model, JSON.
    fn info(&self, py: Python<'_>) -> PyResult<String> {
        json(&self.classifier.info()).map_err(|error| raised(py, &error))
    }

    /// What tells the model from every other.
    fn fingerprint(&self, py: Python<'_>) -> PyResult<String> {
        let fingerprint = py.detach(|| fingerprint(self.path.as_deref()));
        fingerprint.map_err(|error| raised(py, &error))
    }

    /// What makes the model's input.
    fn extractor(&self, py: Python<'_>) -> PyResult<Extractor> {
        Extractor::of(self.classifier.extractor().clone(), self.pool.threads())
            .map_err(|error| raised(py, &error))
    }

    /// What each sound is, as the JSON of the library's `Predictions`; an exception in place of it where a sound could
    /// not be heard. Without `keep_going` the first such exception is raised.
    fn classify<'py>(
        &self,
        py: Python<'py>,
        sounds: Vec<Given<'py>>,
        hearing: Hearing,
        keep_going: bool,
    ) -> PyResult<Vec<Py<PyAny>>> {
        let options = hearing.options().map_err(|error| raised(py, &error))?;
        let sounds: Vec<Sound> = sounds.into_iter().map(Sound::from).collect();
        let heard = self.pool.map(py, sounds.len(), keep_going, |number, going| {
            let stream = sounds[number].open(&options.limits)?;
            let predictions = self
                .classifier
                .classify_stream(stream, &options, &mut |_| going())?;
            json(&predictions)
        })?;
        if !keep_going {
            // Those who were told to stop because of a failure are not the failure.
            let mut failures = heard.iter().flatten().filter_map(|heard| heard.as_ref().err());
            if let Some(failure) = failures.find(|error| !matches!(error, Error::Interrupted)) {
                return Err(raised(py, failure));
            }
        }
        let answers = heard.into_iter().flatten().map(|heard| match heard {
            Ok(answer) => answer.into_py_any(py),
            Err(error) => raised(py, &error).into_value(py).into_py_any(py),
        });
        answers.collect()
    }
}
