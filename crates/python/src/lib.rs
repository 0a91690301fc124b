//! The native half of the Python package `messymash`: sounds, options and errors across the border, threads of each
//! process. What people call is in `python/messymash`, which alone uses this.
//!
//! Structs cross the border as JSON text: whatever the library's records hold, Python sees, and no list of fields is kept
//! here. Sound and features cross as NumPy arrays.
#![deny(unsafe_code)]

mod errors;
mod evaluate;
mod features;
mod model;
mod remix;
mod sound;
mod work;

use pyo3::prelude::*;

/// Everything that `_native.pyi` declares.
#[pymodule]
mod _native {
    #[pymodule_export]
    use crate::evaluate::evaluate;
    #[pymodule_export]
    use crate::features::Extractor;
    #[pymodule_export]
    use crate::model::Model;
    #[pymodule_export]
    use crate::remix::{Mixer, split};
    #[pymodule_export]
    use crate::work::num_threads;
}
