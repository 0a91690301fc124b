//! The library's errors as Python exceptions.

use messymash::Error;
use pyo3::prelude::*;

/// The exception of `messymash.errors` for an error's kind.
pub fn raised(py: Python<'_>, error: &Error) -> PyErr {
    let exception = py
        .import("messymash.errors")
        .and_then(|errors| errors.call_method1("of", (error.code(), error.to_string())));
    match exception {
        Ok(exception) => PyErr::from_value(exception),
        Err(error) => error,
    }
}

/// An unknown word for a setting.
pub fn unknown(name: &str, value: &str, known: &str) -> Error {
    Error::Config(format!("{name} is {value:?}; it must be one of {known}"))
}

/// Text that a struct was written to; the library's records always can be.
pub fn json(value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::Config(format!("cannot be told as JSON: {error}")))
}
