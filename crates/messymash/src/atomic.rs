//! Files are replaced whole: a temporary sibling, fsync, rename, fsync of the folder.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::{Error, Result};

/// Replaces the file at `path` by `bytes`, or leaves the old one as it was.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = NewFile::create(path)?;
    file.write_all(bytes).map_err(Error::io(path))?;
    file.finish()
}

/// A file that is written piece by piece and stands at its path only once it is [finished](NewFile::finish); dropped before, it is
/// gone.
#[derive(Debug)]
pub struct NewFile {
    file: BufWriter<NamedTempFile>,
    path: PathBuf,
}

impl NewFile {
    /// Begins a file that is to replace the one at `path`.
    ///
    /// # Errors
    /// [`Error::Io`] if its folder cannot be written to.
    pub fn create(path: &Path) -> Result<Self> {
        let folder = folder_of(path);
        let file = NamedTempFile::new_in(folder).map_err(Error::io(folder))?;
        Ok(Self {
            file: BufWriter::new(file),
            path: path.to_path_buf(),
        })
    }

    /// Puts it in place.
    ///
    /// # Errors
    /// [`Error::Io`]; the old file is then still there.
    pub fn finish(self) -> Result<()> {
        let path = &self.path;
        let file = self
            .file
            .into_inner()
            .map_err(|e| Error::io(path)(e.into_error()))?;
        file.as_file().sync_all().map_err(Error::io(path))?;
        #[cfg(unix)]
        {
            // tempfile makes 0600 files; what we write is for the user's other programs too.
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644)).map_err(Error::io(path))?;
        }
        file.persist(path).map_err(|e| Error::io(path)(e.error))?;
        sync_folder(folder_of(path))
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The folder that a file lies in.
pub fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Makes a rename in `folder` durable.
pub fn sync_folder(folder: &Path) -> Result<()> {
    // Windows cannot open folders as files; its renames are durable without.
    if cfg!(unix) {
        File::open(folder)
            .and_then(|f| f.sync_all())
            .map_err(Error::io(folder))?;
    }
    Ok(())
}
