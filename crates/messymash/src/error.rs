//! The library's one error, an enum by what the caller can do about it.

use std::io;
use std::path::{Path, PathBuf};

/// What every fallible function of this library returns.
pub type Result<T> = std::result::Result<T, Error>;

/// Why something could not be done, by what the caller can do about it.
///
/// [`Error::code`] is stable and meant for programs, the text is meant for people.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The bytes are not sound in a format that can be decoded; the text says what they are, where that is known.
    #[error("{0}")]
    UnsupportedMedia(String),
    /// The format is known, but the sound in it cannot be used (damaged header, no samples, absurd rate).
    #[error("{0}")]
    InvalidAudio(String),
    /// There is less sound than one analysis frame (25 ms).
    #[error("the sound lasts {seconds:.4} s; at least 0.025 s (one analysis frame) are needed")]
    TooShort {
        /// What there is, in seconds.
        seconds: f64,
    },
    /// There is more sound than the caller allows.
    #[error("the sound is longer than the limit of {limit_seconds} s")]
    TooLong {
        /// The caller's limit, in seconds.
        limit_seconds: f64,
    },
    /// A model directory is missing, damaged, or not what its configuration says.
    #[error("{}: {message}", path.display())]
    Checkpoint {
        /// The model directory or the file in it.
        path: PathBuf,
        /// What is wrong and what to do.
        message: String,
    },
    /// A setting is unknown, out of range, or contradicts another.
    #[error("{0}")]
    Config(String),
    /// The data set lacks something that the work needs.
    #[error("{}: {message}", path.display())]
    Dataset {
        /// The data set's folder or the file in it.
        path: PathBuf,
        /// What is wrong and what to do.
        message: String,
    },
    /// A run directory cannot be made, continued or read.
    #[error("{}: {message}", path.display())]
    Run {
        /// The run directory or the file in it.
        path: PathBuf,
        /// What is wrong and what to do.
        message: String,
    },
    /// The tags of a file cannot be read or written so that nothing else is lost; the file is as it was.
    #[error("{0}")]
    Tag(String),
    /// The caller asked to stop before the work was done.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// A stable name of the kind of error, for programs: `io`, `unsupported_media`, `invalid_audio`, `too_short`,
    /// `too_long`, `checkpoint`, `config`, `dataset`, `run`, `tag`, `interrupted`.
    pub fn code(&self) -> &'static str {
        match self {
            Error::Io { .. } => "io",
            Error::UnsupportedMedia(_) => "unsupported_media",
            Error::InvalidAudio(_) => "invalid_audio",
            Error::TooShort { .. } => "too_short",
            Error::TooLong { .. } => "too_long",
            Error::Checkpoint { .. } => "checkpoint",
            Error::Config(_) => "config",
            Error::Dataset { .. } => "dataset",
            Error::Run { .. } => "run",
            Error::Tag(_) => "tag",
            Error::Interrupted => "interrupted",
        }
    }

    /// For `map_err`: an [`Error::Io`] that names `path`.
    pub fn io(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Error {
        let path = path.as_ref().to_path_buf();
        move |source| Error::Io { path, source }
    }
}

/// "a, b, c, d, e and 7 more": the first five of many names, for messages.
pub(crate) fn first_five(names: &[String]) -> String {
    let shown = names.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > 5 {
        format!("{shown} and {} more", names.len() - 5)
    } else {
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::first_five;

    #[test]
    fn five_names_are_enough() {
        let names: Vec<String> = (0..7).map(|i| format!("s{i}")).collect();
        assert_eq!(first_five(&names), "s0, s1, s2, s3, s4 and 2 more");
        assert_eq!(first_five(&names[..2]), "s0, s1");
    }
}
