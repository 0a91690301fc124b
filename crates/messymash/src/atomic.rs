//! Files are replaced whole: a temporary sibling, fsync, rename, fsync of the folder.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::{Error, Result};

/// Replaces the file at `path` by `bytes`, or leaves the old one as it was.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(Error::io(folder))?;
    file.write_all(bytes).map_err(Error::io(path))?;
    file.as_file().sync_all().map_err(Error::io(path))?;
    #[cfg(unix)]
    {
        // tempfile makes 0600 files; what we write is for the user's other programs too.
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644)).map_err(Error::io(path))?;
    }
    file.persist(path).map_err(|e| Error::Io {
        path: path.to_path_buf(),
        source: e.error,
    })?;
    sync_folder(folder)
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
