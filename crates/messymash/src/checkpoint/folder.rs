//! Folders that are replaced whole.

use std::fs;
use std::path::{Path, PathBuf};

use super::UNFINISHED;
use crate::{Error, Result, atomic};

/// Replaces the folder `dir` by one that `fill` fills: written beside it, synced, renamed.
///
/// A folder cannot be replaced in one step everywhere; for a moment the old one is called `<dir>.old`, where loading
/// also looks.
///
/// # Errors
/// [`Error::Io`], or what `fill` says; the old folder then is as it was.
pub fn replace_folder(dir: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let parent = dir
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(Error::io(parent))?;
    let old = beside(dir);
    if dir.exists() && old.exists() {
        fs::remove_dir_all(&old).map_err(Error::io(&old))?;
    }
    let new = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .tempdir_in(parent)
        .map_err(Error::io(parent))?;
    fill(new.path())?;
    #[cfg(unix)]
    {
        // tempfile makes 0700 folders; a checkpoint is for the user's other programs too.
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(new.path(), fs::Permissions::from_mode(0o755)).map_err(Error::io(new.path()))?;
    }
    atomic::sync_folder(new.path())?;
    if dir.exists() {
        fs::rename(dir, &old).map_err(Error::io(dir))?;
    }
    fs::rename(new.keep(), dir).map_err(Error::io(dir))?;
    atomic::sync_folder(parent)?;
    if old.exists() {
        fs::remove_dir_all(&old).map_err(Error::io(&old))?;
    }
    Ok(())
}

/// Where a folder is to be found: under its name, or, after a crash in the middle of [`replace_folder`], under the name of
/// the old one.
pub fn settled(dir: &Path) -> PathBuf {
    let old = beside(dir);
    if !dir.exists() && old.exists() {
        old
    } else {
        dir.to_path_buf()
    }
}

fn beside(dir: &Path) -> PathBuf {
    let mut name = dir.file_name().unwrap_or_default().to_os_string();
    name.push(".old");
    dir.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_replaced_whole_or_not_at_all() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("last");
        let write =
            |text: &'static str| move |folder: &Path| atomic::write(&folder.join("a"), text.as_bytes());
        replace_folder(&dir, write("one")).unwrap();
        replace_folder(&dir, write("two")).unwrap();
        assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "two");
        let failed = replace_folder(&dir, |folder| {
            write("three")(folder)?;
            Err(Error::Interrupted)
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "two");
        assert_eq!(
            fs::read_dir(root.path()).unwrap().count(),
            1,
            "nothing is left lying about"
        );
        // A crash between the two renames leaves only the old folder, which is then found and later replaced.
        fs::rename(&dir, root.path().join("last.old")).unwrap();
        assert_eq!(settled(&dir), root.path().join("last.old"));
        replace_folder(&dir, write("four")).unwrap();
        assert_eq!(fs::read_to_string(settled(&dir).join("a")).unwrap(), "four");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }
}
