//! What sound is given as.

use std::path::PathBuf;
use std::sync::Arc;

use messymash::audio::{AudioLimits, AudioStream};
use messymash::{Result, Waveform};
use numpy::PyReadonlyArray1;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// As Python gives it.
#[derive(FromPyObject)]
pub enum Given<'py> {
    /// A file that is in memory.
    Bytes(Bound<'py, PyBytes>),
    /// Mono samples and their rate, Hz.
    Samples((PyReadonlyArray1<'py, f32>, u32)),
    /// A file.
    Path(PathBuf),
}

/// The same, the interpreter's no more.
pub enum Sound {
    Bytes(Arc<[u8]>),
    Samples(Waveform),
    Path(PathBuf),
}

impl From<Given<'_>> for Sound {
    fn from(given: Given<'_>) -> Self {
        match given {
            Given::Bytes(bytes) => Self::Bytes(bytes.as_bytes().into()),
            Given::Samples((samples, rate)) => {
                Self::Samples(Waveform::new(samples.as_array().to_vec(), rate))
            }
            Given::Path(path) => Self::Path(path),
        }
    }
}

impl Sound {
    pub fn open(&self, limits: &AudioLimits) -> Result<AudioStream> {
        match self {
            Self::Bytes(bytes) => AudioStream::from_bytes(Arc::clone(bytes), limits),
            Self::Samples(waveform) => AudioStream::from_waveform(waveform, limits),
            Self::Path(path) => AudioStream::open(path, limits),
        }
    }
}
