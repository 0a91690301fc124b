//! A folder of labelled songs -> the data set's layout.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rayon::prelude::*;
use walkdir::WalkDir;

use super::separate;
use crate::dataset::{Stem, is_sound};
use crate::{Error, Result, Waveform, atomic};

/// What [`separate_folder`] tells whoever shows progress. `done` and `total` count songs.
#[derive(Debug)]
pub enum SeparateEvent<'a> {
    /// A song's stems are in place.
    Separated {
        /// The song's file.
        path: &'a Path,
        /// Songs looked at so far, this one included.
        done: usize,
        /// All songs.
        total: usize,
    },
    /// A song's stems were there already.
    Skipped {
        /// The song's file.
        path: &'a Path,
        /// Songs looked at so far, this one included.
        done: usize,
        /// All songs.
        total: usize,
    },
    /// A song could not be separated; the others go on.
    Failed {
        /// The song's file.
        path: &'a Path,
        /// Why.
        error: &'a Error,
        /// Songs looked at so far, this one included.
        done: usize,
        /// All songs.
        total: usize,
    },
}

/// What became of a folder.
#[derive(Debug, Default)]
pub struct SeparateSummary {
    /// Songs separated now.
    pub separated: usize,
    /// Songs whose stems were there.
    pub skipped: usize,
    /// Songs that could not be separated, sorted by path.
    pub failed: Vec<(PathBuf, Error)>,
    /// Sound files of the folder that are not `<genre>/<file>`, so that nobody knows their genre, sorted by path.
    pub passed_over: Vec<PathBuf>,
}

/// Separates every sound file `input/<genre>/<file>` into
/// `output/genres_stems/<genre>/<file name without extension>/{drums,vocals,bass,other}.wav`: 16-bit, mono, at the
/// file's own rate, on all cores. Where a part would exceed full scale, all four are scaled down alike.
///
/// A song's folder appears only when it is whole, and songs whose folder is there are skipped: stopped work is taken up
/// by the same call. GTZAN excerpts such as `blues.00005.a` and `blues.00005.z` become two song folders of one
/// [recording](crate::dataset::recording()), which a split keeps together.
///
/// `progress` gets each song as it is finished, in no fixed order; its error (say, [`Error::Interrupted`]) stops the
/// work after the songs in hand.
///
/// # Errors
/// [`Error::Dataset`] where there is no song at all, or `output` is `input`; [`Error::Io`] where a folder cannot be read or made; that of
/// `progress`. A file that cannot be separated is no error of the whole: see [`SeparateSummary::failed`].
pub fn separate_folder(
    input: &Path,
    output: &Path,
    progress: &mut (dyn FnMut(SeparateEvent<'_>) -> Result<()> + Send),
) -> Result<SeparateSummary> {
    let songs = labelled_songs(input)?;
    let total = songs.len();
    if total == 0 {
        return Err(Error::Dataset {
            path: input.to_path_buf(),
            message: "holds no songs: sound files are expected as <genre>/<file>, such as blues/song.mp3"
                .into(),
        });
    }
    let stems = output.join("genres_stems");
    if fs::canonicalize(output).is_ok_and(|out| fs::canonicalize(input).is_ok_and(|songs| out == songs)) {
        return Err(Error::Dataset {
            path: output.to_path_buf(),
            message: "holds the songs themselves; name another folder for the stems".into(),
        });
    }
    fs::create_dir_all(&stems).map_err(Error::io(&stems))?;
    let passed_over = passed_over(input, output);
    let names = first_of_each_name(&songs);
    let state = Mutex::new((progress, SeparateSummary::default(), 0usize));
    songs.par_iter().try_for_each(|song| {
        let result = if names.contains(song.path.as_path()) {
            separate_song(song, &stems)
        } else {
            Err(Error::Dataset {
                path: song.path.clone(),
                message: "another file of this genre has the same name without extension; rename one".into(),
            })
        };
        let mut state = state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (progress, summary, done) = &mut *state;
        *done += 1;
        let (done, path) = (*done, song.path.as_path());
        match result {
            Ok(true) => {
                summary.separated += 1;
                progress(SeparateEvent::Separated { path, done, total })
            }
            Ok(false) => {
                summary.skipped += 1;
                progress(SeparateEvent::Skipped { path, done, total })
            }
            Err(error) => {
                let told = progress(SeparateEvent::Failed {
                    path,
                    error: &error,
                    done,
                    total,
                });
                summary.failed.push((song.path.clone(), error));
                told
            }
        }
    })?;
    let (_, mut summary, _) = state
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    summary.failed.sort_by(|a, b| a.0.cmp(&b.0));
    summary.passed_over = passed_over;
    Ok(summary)
}

/// Sound files below `input`, but not below `output`, that are not `<genre>/<file>`; what is hidden or cannot be read is left out.
fn passed_over(input: &Path, output: &Path) -> Vec<PathBuf> {
    let stems = fs::canonicalize(output).unwrap_or_default();
    let walk = WalkDir::new(input)
        .follow_links(true)
        .sort_by_file_name()
        .into_iter();
    let files = walk.filter_entry(|entry| {
        let hidden = entry.depth() > 0 && entry.file_name().as_encoded_bytes().starts_with(b".");
        let written =
            || entry.file_type().is_dir() && fs::canonicalize(entry.path()).is_ok_and(|path| path == stems);
        !(hidden || written())
    });
    files
        .filter_map(|entry| entry.ok())
        .filter(|entry| entry.depth() != 2 && entry.file_type().is_file() && is_sound(entry.path()))
        .map(walkdir::DirEntry::into_path)
        .collect()
}

/// A song with its label, found as `<genre>/<file>`.
#[derive(Debug)]
pub(crate) struct LabelledSong {
    /// Its file.
    pub(crate) path: PathBuf,
    /// The folder's name in lower case, as the data set reads it.
    pub(crate) genre: String,
    /// The file's name without extension.
    pub(crate) name: String,
}

impl LabelledSong {
    /// The id that the song has in a data set once it is separated.
    pub(crate) fn id(&self) -> String {
        format!("{}/{}", self.genre, self.name)
    }
}

/// All `<genre>/<file>`, sorted.
pub(crate) fn labelled_songs(input: &Path) -> Result<Vec<LabelledSong>> {
    let mut songs = Vec::new();
    for folder in listed(input)?.into_iter().filter(|path| path.is_dir()) {
        let genre = folder
            .file_name()
            .map(|name| name.to_string_lossy().to_lowercase())
            .unwrap_or_default();
        if genre.starts_with('.') {
            continue;
        }
        for path in listed(&folder)?
            .into_iter()
            .filter(|path| is_sound(path) && path.is_file())
        {
            let name = path
                .file_stem()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
            songs.push(LabelledSong {
                path,
                genre: genre.clone(),
                name,
            });
        }
    }
    Ok(songs)
}

fn listed(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = fs::read_dir(folder)
        .and_then(|entries| {
            entries
                .map(|entry| entry.map(|e| e.path()))
                .collect::<std::io::Result<Vec<_>>>()
        })
        .map_err(Error::io(folder))?;
    paths.sort();
    Ok(paths)
}

/// Paths of the songs that come first under their genre and name: `a.mp3` and `a.wav` would be one song folder.
fn first_of_each_name(songs: &[LabelledSong]) -> HashSet<&Path> {
    let mut first: BTreeMap<(&str, &str), &Path> = BTreeMap::new();
    for song in songs {
        first.entry((&song.genre, &song.name)).or_insert(&song.path);
    }
    first.into_values().collect()
}

/// True if the song was separated now, false if its folder was there.
fn separate_song(song: &LabelledSong, stems: &Path) -> Result<bool> {
    let genre = stems.join(&song.genre);
    let place = genre.join(&song.name);
    if place.exists() {
        return Ok(false);
    }
    let mut parts = separate(&Waveform::open(&song.path)?)?;
    let peak = parts
        .iter()
        .flat_map(|part| &part.samples)
        .fold(0.0f32, |peak, x| peak.max(x.abs()));
    if peak > 1.0 {
        parts
            .iter_mut()
            .flat_map(|part| &mut part.samples)
            .for_each(|x| *x /= peak);
    }
    fs::create_dir_all(&genre).map_err(Error::io(&genre))?;
    // Hidden, so that the data set passes over what an interruption leaves; removed by itself on failure.
    let unfinished = tempfile::Builder::new()
        .prefix(".separating-")
        .tempdir_in(&genre)
        .map_err(Error::io(&genre))?;
    for (stem, part) in Stem::ALL.into_iter().zip(&parts) {
        part.write_wav(unfinished.path().join(format!("{}.wav", stem.name())))?;
    }
    #[cfg(unix)]
    {
        // Temporary folders are 0700; what we write is for the user's other programs too.
        use std::os::unix::fs::PermissionsExt;
        let readable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(unfinished.path(), readable).map_err(Error::io(unfinished.path()))?;
    }
    fs::rename(unfinished.path(), &place).map_err(Error::io(&place))?;
    // Renamed away: there is nothing left to remove.
    let _ = unfinished.keep();
    atomic::sync_folder(&genre)?;
    Ok(true)
}
