//! Whether a file is still the one that was looked at before.

use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

use crate::{Error, Result};

/// Size and time of change of a file: while both stay, what was found out about its content is taken to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Stamp {
    /// Bytes.
    pub size: u64,
    /// Nanoseconds from 1970 to the last change; 0 where the system does not know it.
    pub modified: u64,
}

impl Stamp {
    /// The stamp of a file, links followed.
    ///
    /// # Errors
    /// [`Error::Io`] where there is no such file or it may not be looked at.
    pub fn of(path: &Path) -> Result<Self> {
        let metadata = fs::metadata(path).map_err(Error::io(path))?;
        let since = |time: std::time::SystemTime| time.duration_since(UNIX_EPOCH).ok();
        let modified = metadata.modified().ok().and_then(since);
        Ok(Self {
            size: metadata.len(),
            modified: modified.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)),
        })
    }
}
