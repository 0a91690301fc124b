//! One file replaced by itself with another value in one field.

use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use lofty::config::ParseOptions;
use lofty::file::TaggedFileExt;
use lofty::probe::Probe;
use lofty::tag::ItemKey;
use tempfile::NamedTempFile;

use super::source::Source;
use super::{Field, Opened, guarded, refused};
use crate::dataset::Stamp;
use crate::{Error, Result, atomic};

/// Names of files that are being written; players and other programs pass over what begins with a dot.
const TEMPORARY: (&str, &str) = (".messymash-", ".tagging");

/// Whether a changed file keeps its time of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeepTime {
    /// It does, so that nothing is read in again or backed up for the tag alone.
    Yes,
    /// It does not, so that players and backups see that it has changed.
    #[default]
    No,
}

/// A new file beside the old one, whole, compared and on disk; [`Edit::commit`] puts it in the old one's place. Dropped, it is gone.
#[derive(Debug)]
pub struct Edit {
    path: PathBuf,
    new: NamedTempFile,
    old: Identity,
    stamp: Stamp,
    before: Vec<String>,
}

impl Edit {
    /// Writes the new file, with `values` in `field` (none removes it), and compares it with the old: the field must read as wanted,
    /// by this library's reader and by lofty's, and all else must be the same bytes. Owner, mode and extended attributes are kept.
    ///
    /// The old file is only read.
    ///
    /// # Errors
    /// [`Error::Tag`] if the file is not understood, would lose something, or changed while it was worked on; [`Error::Io`].
    pub fn prepare(path: &Path, field: Field, values: &[String], keep_time: KeepTime) -> Result<Self> {
        if values
            .iter()
            .any(|value| value.is_empty() || value.contains('\0'))
        {
            return Err(refused("a genre must be text without zeros"));
        }
        let old = Identity::of(path)?;
        let mut source = Source::open(path)?;
        let opened = Opened::open(&mut source)?;
        let before = opened.values(field)?;
        let folder = atomic::folder_of(path);
        let mut new = tempfile::Builder::new()
            .prefix(TEMPORARY.0)
            .suffix(TEMPORARY.1)
            .tempfile_in(folder)
            .map_err(Error::io(folder))?;
        // Who finds a file like this that nobody has locked may remove it.
        new.as_file()
            .try_lock()
            .map_err(|error| Error::io(path)(error.into()))?;
        let pieces = opened.with(field, values)?;
        source.put_together(&pieces, new.as_file_mut())?;
        dress(path, &old.metadata, new.path(), new.as_file(), keep_time)?;
        new.as_file().sync_all().map_err(Error::io(path))?;

        let mut written = Source::open(new.path())?;
        let read = Opened::open(&mut written)?;
        let same = read.values(field)? == values
            && read.rest(&mut written, field)? == opened.rest(&mut source, field)?;
        if !same {
            return Err(refused(
                "what was written is not what was there with the new genre; the file was left as it is",
            ));
        }
        if field == Field::Genre {
            guarded(|| second_reader(new.path(), values))?;
        }
        old.check(path)?;
        Ok(Self {
            stamp: Stamp::of(new.path())?,
            path: path.to_path_buf(),
            new,
            old,
            before,
        })
    }

    /// What the field held.
    pub fn before(&self) -> &[String] {
        &self.before
    }

    /// The stamp that the file will have.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Puts the new file in the old one's place, unless that has changed meanwhile. The path always names a whole file, the old or
    /// the new one.
    ///
    /// # Errors
    /// As [`Edit::prepare`]; the old file is then still there.
    pub fn commit(self) -> Result<()> {
        self.old.check(&self.path)?;
        self.new
            .persist(&self.path)
            .map_err(|e| Error::io(&self.path)(e.error))?;
        atomic::sync_folder(atomic::folder_of(&self.path))
    }
}

/// What tells a file from another one at the same path.
#[derive(Debug)]
struct Identity {
    metadata: Metadata,
}

impl Identity {
    fn of(path: &Path) -> Result<Self> {
        let metadata = fs::symlink_metadata(path).map_err(Error::io(path))?;
        Ok(Self { metadata })
    }

    fn check(&self, path: &Path) -> Result<()> {
        let now = Self::of(path)?.metadata;
        let then = &self.metadata;
        let mut same = now.len() == then.len() && now.modified().ok() == then.modified().ok();
        same &= now.file_type() == then.file_type();
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            same &= now.ino() == then.ino() && now.nlink() == then.nlink();
        }
        if same {
            return Ok(());
        }
        Err(refused(
            "the file changed while it was being tagged; give the same command again",
        ))
    }
}

/// Gives the new file what the old one has beside its bytes.
fn dress(path: &Path, old: &Metadata, new: &Path, file: &File, keep_time: KeepTime) -> Result<()> {
    let failed = |what: &str| {
        let what = format!("the new file cannot be given the {what} of the old one");
        move |error: io::Error| refused(format!("{what}: {error}"))
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, fchown};
        let made = file.metadata().map_err(Error::io(path))?;
        if (made.uid(), made.gid()) != (old.uid(), old.gid()) {
            fchown(file, Some(old.uid()), Some(old.gid())).map_err(failed("owner"))?;
        }
    }
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    attributes(path, new).map_err(failed("extended attributes"))?;
    #[cfg(not(any(target_os = "linux", target_os = "macos")))]
    let _ = new;
    file.set_permissions(old.permissions())
        .map_err(failed("permissions"))?;
    if keep_time == KeepTime::Yes {
        let time = old.modified().map_err(Error::io(path))?;
        file.set_modified(time).map_err(failed("time of change"))?;
    }
    Ok(())
}

/// Copies extended attributes: access lists, labels and notes.
#[cfg(any(target_os = "linux", target_os = "macos"))]
fn attributes(old: &Path, new: &Path) -> io::Result<()> {
    use rustix::fs::{getxattr, listxattr, setxattr};
    use rustix::io::Errno;
    let read = |path: &Path, name: &[u8]| -> rustix::io::Result<Vec<u8>> {
        let mut value = vec![0; 1 << 16]; // the most that Linux lets one have
        let len = getxattr(path, name, &mut value[..])?;
        value.truncate(len);
        Ok(value)
    };
    let mut names = vec![0; 1 << 16];
    let len = match listxattr(old, &mut names[..]) {
        Ok(len) => len,
        // A file system without them.
        Err(Errno::NOTSUP) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for name in names[..len]
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
    {
        let value = read(old, name)?;
        if read(new, name).ok().as_ref() != Some(&value) {
            setxattr(new, name, &value, rustix::fs::XattrFlags::empty())?;
        }
    }
    Ok(())
}

/// Another reader than the one that wrote must find the genre too.
fn second_reader(path: &Path, wanted: &[String]) -> Result<()> {
    // ID3v2 has numbers and codes for genres, which it reads as names.
    let coded = |value: &String| {
        value.starts_with('(') || value.parse::<u8>().is_ok() || value == "RX" || value == "CR"
    };
    if wanted.iter().any(coded) {
        return Ok(());
    }
    let failed = |error: &dyn std::fmt::Display| refused(format!("what was written cannot be read: {error}"));
    let file = File::open(path).map_err(Error::io(path))?;
    let options = ParseOptions::new().read_properties(false).read_cover_art(false);
    let read = Probe::new(io::BufReader::new(file))
        .options(options)
        .guess_file_type()
        .map_err(|error| failed(&error))?
        .read()
        .map_err(|error| failed(&error))?;
    let found = read
        .primary_tag()
        .map(|tag| tag.get_strings(ItemKey::Genre).collect::<Vec<_>>().join("/"));
    let plain = |text: &str| text.to_lowercase();
    if plain(&found.unwrap_or_default()) == plain(&wanted.join("/")) {
        return Ok(());
    }
    Err(refused(
        "two readers disagree about what was written; the file was left as it is",
    ))
}

/// Why a file is not to be replaced, where that follows from what it is and not from its content: a link, one of several names, not
/// to be written, on another volume than `root`.
///
/// # Errors
/// [`Error::Io`] if it cannot be looked at.
pub fn hands_off(path: &Path, root: &Path) -> Result<Option<&'static str>> {
    let metadata = fs::symlink_metadata(path).map_err(Error::io(path))?;
    if metadata.is_symlink() {
        return Ok(Some("it is a link; what it points to is tagged where it lies"));
    }
    if !metadata.is_file() {
        return Ok(Some("it is no regular file"));
    }
    if metadata.permissions().readonly() {
        return Ok(Some("it is read-only"));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        if metadata.nlink() > 1 {
            return Ok(Some(
                "it has several names (hard links), which would no longer be the same file",
            ));
        }
        if metadata.dev() != fs::metadata(root).map_err(Error::io(root))?.dev() {
            return Ok(Some("it lies on another volume; name its folder itself"));
        }
    }
    #[cfg(not(unix))]
    let _ = root;
    Ok(None)
}

/// Removes a file that an [`Edit`] left when its process was killed. Others, and those in use, are left.
///
/// # Errors
/// [`Error::Io`] if such a file cannot be removed.
pub fn sweep(path: &Path) -> Result<()> {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    if !name.starts_with(TEMPORARY.0.as_bytes()) || !name.ends_with(TEMPORARY.1.as_bytes()) {
        return Ok(());
    }
    match File::open(path) {
        Ok(file) if file.try_lock().is_ok() => fs::remove_file(path).map_err(Error::io(path)),
        Ok(_) => Ok(()),
        Err(error) => Err(Error::io(path)(error)),
    }
}
