//! A playlist for each genre, as extended M3U in UTF-8 (`.m3u8`), with paths relative to where the playlists lie.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Component, Path, PathBuf};

use super::refused;
use crate::atomic::NewFile;
use crate::{Error, Result};

/// The first two lines, by which a playlist of ours is known.
const HEAD: &str = "#EXTM3U\n# written by messymash tag\n";

/// Playlists that are being written; [`Playlists::finish`] puts them in place.
#[derive(Debug)]
pub struct Playlists {
    folder: PathBuf,
    /// By the name of the file.
    lists: BTreeMap<String, NewFile>,
    left_out: usize,
}

impl Playlists {
    /// Playlists in a folder, which is made if there is none.
    ///
    /// # Errors
    /// [`Error::Io`] if that cannot be.
    pub fn new(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        Ok(Self {
            folder: fs::canonicalize(folder).map_err(Error::io(folder))?,
            lists: BTreeMap::new(),
            left_out: 0,
        })
    }

    /// Adds a file to the playlist of a genre. Names that M3U cannot hold (line breaks, no Unicode) are counted and left out.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Tag`] if a file of that name is there that is no playlist of ours.
    pub fn add(&mut self, genre: &str, file: &Path) -> Result<()> {
        let file = std::path::absolute(file).map_err(Error::io(file))?;
        let relative = relative(&self.folder, &file);
        let Some(line) = relative.to_str().filter(|name| !name.contains(['\n', '\r'])) else {
            self.left_out += 1;
            return Ok(());
        };
        let name = file_name(genre);
        let list = match self.lists.entry(name) {
            std::collections::btree_map::Entry::Occupied(list) => list.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => {
                let path = self.folder.join(place.key());
                check(&path)?;
                let mut list = NewFile::create(&path)?;
                list.write_all(HEAD.as_bytes()).map_err(Error::io(&path))?;
                place.insert(list)
            }
        };
        // What begins with # would be a comment.
        let here = if line.starts_with('#') { "./" } else { "" };
        writeln!(list, "{here}{line}").map_err(Error::io(&self.folder))
    }

    /// Puts all playlists in place; gives back how many, and how many files no playlist can name.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(self) -> Result<(usize, usize)> {
        let count = self.lists.len();
        for list in self.lists.into_values() {
            list.finish()?;
        }
        Ok((count, self.left_out))
    }
}

/// Only our own playlists are replaced.
fn check(path: &Path) -> Result<()> {
    match fs::read(path) {
        Ok(bytes) if bytes.starts_with(HEAD.as_bytes()) => Ok(()),
        Ok(_) => Err(refused(format!(
            "{} is in the way: it is no playlist written by this program. Choose another folder, or move it",
            path.display()
        ))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io(path)(error)),
    }
}

/// `Hip-Hop/Rap` -> `Hip-Hop_Rap.m3u8`
fn file_name(genre: &str) -> String {
    let safe = |c: char| {
        if c.is_control() || r#"/\:*?"<>|"#.contains(c) {
            '_'
        } else {
            c
        }
    };
    let name: String = genre.chars().map(safe).take(80).collect();
    format!("{}.m3u8", name.trim_start_matches('.'))
}

/// The way from a folder to a file, both absolute.
fn relative(folder: &Path, file: &Path) -> PathBuf {
    let file = match (file.parent().map(fs::canonicalize), file.file_name()) {
        (Some(Ok(parent)), Some(name)) => parent.join(name),
        _ => file.to_path_buf(),
    };
    let common = folder
        .components()
        .zip(file.components())
        .take_while(|(a, b)| a == b)
        .count();
    if common == 0 {
        return file; // on another drive
    }
    let up = folder.components().skip(common).map(|_| Component::ParentDir);
    up.chain(file.components().skip(common)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_playlist_for_each_genre_names_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let music = dir.path().join("music");
        fs::create_dir_all(music.join("a")).unwrap();
        let mut lists = Playlists::new(&dir.path().join("lists")).unwrap();
        lists.add("jazz", &music.join("a/1.mp3")).unwrap();
        lists.add("AC/DC", &music.join("#2.mp3")).unwrap();
        lists.add("jazz", &music.join("broken\nname.mp3")).unwrap();
        lists.add("jazz", &music.join("3.mp3")).unwrap();
        assert_eq!(lists.finish().unwrap(), (2, 1));
        let read = |name: &str| fs::read_to_string(dir.path().join("lists").join(name)).unwrap();
        assert_eq!(
            read("jazz.m3u8"),
            format!("{HEAD}../music/a/1.mp3\n../music/3.mp3\n")
        );
        assert_eq!(read("AC_DC.m3u8"), format!("{HEAD}../music/#2.mp3\n"));
        fs::write(dir.path().join("lists/rock.m3u8"), "mine").unwrap();
        let mut lists = Playlists::new(&dir.path().join("lists")).unwrap();
        lists.add("jazz", &music.join("3.mp3")).unwrap();
        assert!(lists.add("rock", &music.join("3.mp3")).is_err());
        assert_eq!(read("rock.m3u8"), "mine");
    }
}
