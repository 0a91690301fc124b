//! The search: roots -> [`MessyMashup`]. Reads folders, `esc50.csv` and `test.csv`; decodes nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use walkdir::WalkDir;

use super::{DatasetOptions, Mashup, MessyMashup, NoiseClip, Song, Stem, Table, test_set};
use crate::error::first_five;
use crate::{Error, Result};

/// Levels searched below a root: `/kaggle/input/competitions/<name>/messy_mashup/` needs four.
const DEPTH: usize = 5;

/// Extensions of sound files, best first: of two files for one stem the first in this order is taken.
const EXTENSIONS: [&str; 14] = [
    "wav", "flac", "aiff", "aif", "caf", "m4a", "mp4", "ogg", "oga", "mp3", "aac", "mka", "webm", "opus",
];

/// The places of one layout that were found.
#[derive(Debug, Default)]
struct Places {
    stems: Vec<PathBuf>,
    esc50: Vec<PathBuf>,
    mashups: Vec<PathBuf>,
    tests: Vec<PathBuf>,
}

pub(super) fn open(roots: &[PathBuf], options: &DatasetOptions) -> Result<MessyMashup> {
    let mut places = Places::default();
    let mut seen = HashSet::new();
    for root in roots {
        places.search(root, &mut seen)?;
    }
    let mut data = MessyMashup {
        genres: Vec::new(),
        songs: Vec::new(),
        noises: Vec::new(),
        mashups: Vec::new(),
        ignored: Vec::new(),
        missing: Vec::new(),
        faults: Vec::new(),
    };
    read_songs(&places.stems, options, &mut data)?;
    for folder in &places.esc50 {
        read_esc50(folder, options, &mut data)?;
    }
    // ESC-50 and other collections took clips from the same recordings: those stay together.
    let folds: HashMap<String, u32> = data
        .noises
        .iter()
        .map(|noise| (source_of(&stem_name(&noise.path)).to_string(), noise.fold))
        .collect();
    for folder in &options.extra_noise {
        read_noise_folder(folder, &folds, &mut data.noises)?;
    }
    make_unique(&mut data.noises);
    if places.tests.is_empty() {
        for folder in &places.mashups {
            let files = sounds(folder)?;
            data.mashups.extend(files.into_iter().map(|path| Mashup {
                id: stem_name(&path),
                path,
            }));
        }
    }
    for table in &places.tests {
        test_set::read_table(table, &mut data.mashups)?;
    }
    Ok(data)
}

impl Places {
    /// Adds what lies at or below `root`; `seen` holds the real paths known so far, so that overlapping roots and
    /// links do not bring a folder twice.
    fn search(&mut self, root: &Path, seen: &mut HashSet<PathBuf>) -> Result<()> {
        let real = fs::canonicalize(root).map_err(Error::io(root))?;
        if !real.is_dir() {
            return Err(dataset(
                root,
                "is not a folder; give the folder that holds the data set".into(),
            ));
        }
        let mut found = false;
        let mut walk = WalkDir::new(&real)
            .max_depth(DEPTH)
            .follow_links(true)
            .sort_by_file_name()
            .into_iter();
        // An entry that cannot be followed (a loop of links, a folder without permission) cannot hold the layout for
        // this user. Folders of the layout itself are listed elsewhere, where such an error is reported.
        while let Some(entry) = walk.next() {
            let Ok(entry) = entry else { continue };
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().to_lowercase();
            let list = if entry.file_type().is_dir() {
                if entry.depth() > 0 && hidden(path) {
                    walk.skip_current_dir();
                    continue;
                }
                match name.as_str() {
                    "genres_stems" => &mut self.stems,
                    "mashups" => &mut self.mashups,
                    "esc-50-master" | "esc-50" => &mut self.esc50,
                    _ if path.join("meta/esc50.csv").is_file() => &mut self.esc50,
                    _ => continue,
                }
            } else if name == "test.csv" && beside_the_layout(path) {
                &mut self.tests
            } else {
                continue;
            };
            found = true;
            if entry.file_type().is_dir() {
                walk.skip_current_dir();
            }
            if seen.insert(fs::canonicalize(path).map_err(Error::io(path))?) {
                list.push(path.to_path_buf());
            }
        }
        if found {
            return Ok(());
        }
        Err(dataset(root, "holds no data set: neither genres_stems/<genre>/<song>/{drums,vocals,bass,other}.wav nor \
            ESC-50-master/{audio,meta/esc50.csv} nor mashups/ was found in it or five levels below. A folder of songs \
            by genre becomes one by separating it into stems first".into()))
    }
}

/// The `test.csv` files at or below `root`.
pub(super) fn test_tables(root: &Path) -> Result<Vec<PathBuf>> {
    let mut places = Places::default();
    places.search(root, &mut HashSet::new())?;
    if places.tests.is_empty() {
        return Err(dataset(
            root,
            "has no test.csv beside mashups/ or genres_stems/; without it the ids to answer are not known"
                .into(),
        ));
    }
    Ok(places.tests)
}

/// Other data sets have a `test.csv` too; this one's stands beside its songs or its mashups.
fn beside_the_layout(table: &Path) -> bool {
    ["genres_stems", "mashups"]
        .into_iter()
        .any(|folder| table.with_file_name(folder).is_dir())
}

fn read_songs(folders: &[PathBuf], options: &DatasetOptions, data: &mut MessyMashup) -> Result<()> {
    let mut found: Vec<(String, String, [Option<PathBuf>; 4])> = Vec::new();
    // By name; the first folder of it.
    let mut genres: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut missing = Vec::new();
    for folder in folders {
        data.ignored.extend(sounds(folder)?);
        for genre_folder in folders_in(folder)? {
            let genre = file_name(&genre_folder).to_lowercase();
            genres
                .entry(genre.clone())
                .or_insert_with(|| genre_folder.clone());
            data.ignored.extend(sounds(&genre_folder)?);
            for song_folder in folders_in(&genre_folder)? {
                let id = format!("{genre}/{}", file_name(&song_folder));
                let stems = read_stems(&song_folder, &mut data.ignored)?;
                let lacking: Vec<&str> = Stem::ALL
                    .into_iter()
                    .filter(|s| stems[s.index()].is_none())
                    .map(Stem::name)
                    .collect();
                let should_be = |stem: &&str| song_folder.join(format!("{stem}.wav"));
                data.missing.extend(lacking.iter().map(should_be));
                if !lacking.is_empty() {
                    missing.push(format!("{id} ({})", lacking.join(", ")));
                }
                if lacking.len() < Stem::ALL.len() {
                    found.push((genre.clone(), id, stems));
                }
            }
        }
    }
    if !(missing.is_empty() || options.allow_missing_stems) {
        return Err(dataset(
            &folders[0],
            format!(
                "{} {} stems: {}. Put the files there, or allow missing stems",
                missing.len(),
                if missing.len() == 1 {
                    "song lacks"
                } else {
                    "songs lack"
                },
                first_five(&missing)
            ),
        ));
    }
    let filled: BTreeSet<&String> = found.iter().map(|(genre, _, _)| genre).collect();
    let empty: Vec<(&String, &PathBuf)> = genres
        .iter()
        .filter(|(genre, _)| !filled.contains(genre))
        .collect();
    if !(empty.is_empty() || options.list_faults) {
        let names: Vec<String> = empty.iter().map(|(genre, _)| genre.to_string()).collect();
        return Err(dataset(
            &folders[0],
            format!(
                "no song in the genre folders {}. Fill them, or remove them",
                first_five(&names)
            ),
        ));
    }
    let fault = |(_, folder): &(&String, &PathBuf)| {
        (
            folder.to_path_buf(),
            "a genre without a song: fill it, or remove it".into(),
        )
    };
    data.faults.extend(empty.iter().map(fault));
    data.genres = filled.into_iter().cloned().collect();
    let mut versions: BTreeMap<String, usize> = BTreeMap::new();
    for (genre, id, stems) in found {
        let version = versions.entry(id.clone()).or_default();
        *version += 1;
        let id = if *version == 1 {
            id
        } else {
            format!("{id}#{version}")
        };
        let genre = data.genres.binary_search(&genre).unwrap_or_default();
        data.songs.push(Song { id, genre, stems });
    }
    data.songs.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(())
}

/// The files of one song folder, in the order of [`Stem::ALL`]; other sound files go to `ignored`.
fn read_stems(folder: &Path, ignored: &mut Vec<PathBuf>) -> Result<[Option<PathBuf>; 4]> {
    let mut stems: [Option<PathBuf>; 4] = Default::default();
    for path in sounds(folder)? {
        let stem = match stem_name(&path).to_lowercase().as_str() {
            "drums" => Stem::Drums,
            "vocals" => Stem::Vocals,
            "bass" => Stem::Bass,
            "other" | "others" => Stem::Other,
            _ => {
                ignored.push(path);
                continue;
            }
        };
        let place = &mut stems[stem.index()];
        match place {
            Some(known) if rank(known) <= rank(&path) => ignored.push(path),
            _ => ignored.extend(place.replace(path)),
        }
    }
    Ok(stems)
}

fn read_esc50(folder: &Path, options: &DatasetOptions, data: &mut MessyMashup) -> Result<()> {
    let table = folder.join("meta/esc50.csv");
    if !table.is_file() {
        return Err(dataset(
            folder,
            "lacks meta/esc50.csv, which tells the fold of each clip; put it back, or give the folder as extra noise"
                .into(),
        ));
    }
    let audio = folder.join("audio");
    // The table says .wav; a copy may hold the clips as .flac. The name without extension decides.
    let files: BTreeMap<String, PathBuf> = sounds(&audio)?
        .into_iter()
        .map(|path| (stem_name(&path), path))
        .collect();
    let text = Table::read(&table)?;
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(text.bytes());
    let mut lines = text.lines();
    let headers = reader.headers().map_err(csv_error(&table))?.clone();
    let [name_column, fold_column] = columns(&table, &headers, ["filename", "fold"])?;
    let mut missing = Vec::new();
    for row in reader.records() {
        let row = match row.map_err(|error| lines.error(&table, &error)) {
            Ok(row) => row,
            Err(Error::Dataset { path, message }) if options.list_faults => {
                data.faults.push((path, message));
                continue;
            }
            Err(error) => return Err(error),
        };
        let line = lines.of(row.position());
        let name = stem_name(Path::new(row.get(name_column).unwrap_or_default()));
        let fold = row
            .get(fold_column)
            .and_then(|f| f.parse().ok())
            .filter(|f| (1..=5).contains(f));
        let Some(fold) = fold else {
            let message = format!("line {line}: the fold must be a number from 1 to 5");
            if options.list_faults {
                data.faults.push((table.clone(), message));
                continue;
            }
            return Err(dataset(&table, message));
        };
        match files.get(&name) {
            Some(path) => data.noises.push(NoiseClip {
                id: format!("ESC-50/{name}"),
                path: path.clone(),
                fold,
            }),
            None => missing.push(name),
        }
    }
    if missing.is_empty() || options.allow_missing_stems {
        let should_be = |name: String| audio.join(name + ".wav");
        data.missing.extend(missing.into_iter().map(should_be));
        return Ok(());
    }
    Err(dataset(
        &table,
        format!(
            "{} of the clips it names are not in {}: {}. Put the files there, remove the lines, or allow missing stems",
            missing.len(),
            audio.display(),
            first_five(&missing)
        ),
    ))
}

/// `folds` has the fold of each source recording that is known already.
fn read_noise_folder(folder: &Path, folds: &HashMap<String, u32>, noises: &mut Vec<NoiseClip>) -> Result<()> {
    let before = noises.len();
    let label = fs::canonicalize(folder).map_err(Error::io(folder))?;
    let label = file_name(&label);
    for entry in WalkDir::new(folder).follow_links(true).sort_by_file_name() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) if error.loop_ancestor().is_some() => continue,
            Err(error) => {
                let path = error.path().unwrap_or(folder).to_path_buf();
                return Err(Error::Io {
                    path,
                    source: error.into(),
                });
            }
        };
        let path = entry.path();
        if entry.file_type().is_file() && is_sound(path) {
            let inside = path.strip_prefix(folder).unwrap_or(path).with_extension("");
            // Ids are the same on every system, so the separator is too.
            let inside: Vec<_> = inside
                .components()
                .map(|c| c.as_os_str().to_string_lossy())
                .collect();
            let name = stem_name(path);
            let source = source_of(&name);
            let fold = folds.get(source).copied().unwrap_or_else(|| fold_of(source));
            noises.push(NoiseClip {
                id: format!("{label}/{}", inside.join("/")),
                path: path.to_path_buf(),
                fold,
            });
        }
    }
    if noises.len() == before {
        return Err(dataset(
            folder,
            "holds no sound files; give a folder of noise".into(),
        ));
    }
    Ok(())
}

/// The part of a noise clip's name that tells the recording it was cut from: see [`DatasetOptions::extra_noise`].
fn source_of(name: &str) -> &str {
    let fields: Vec<&str> = name.split('-').collect();
    let number = |field: &str| !field.is_empty() && field.bytes().all(|b| b.is_ascii_digit());
    match fields.as_slice() {
        [source, class, occurrence, slice]
            if [source, class, occurrence, slice].into_iter().all(|f| number(f)) =>
        {
            source
        }
        [fold, source, take, target]
            if [fold, source, target].into_iter().all(|f| number(f))
                && take.bytes().all(|b| b.is_ascii_uppercase()) =>
        {
            source
        }
        _ => name,
    }
}

/// The fold of a recording that ESC-50's table does not know.
fn fold_of(source: &str) -> u32 {
    let digest = Sha256::digest(source.as_bytes());
    1 + digest
        .iter()
        .fold(0, |rest, byte| (rest * 256 + u32::from(*byte)) % 5)
}

/// Sorts by id; equal ids (the same data set in two roots) get `#2`, `#3` ... and stay in their folds.
fn make_unique(noises: &mut [NoiseClip]) {
    noises.sort_by(|a, b| a.id.cmp(&b.id));
    let mut versions: BTreeMap<String, usize> = BTreeMap::new();
    for noise in noises.iter_mut() {
        let version = versions.entry(noise.id.clone()).or_default();
        *version += 1;
        if *version > 1 {
            noise.id = format!("{}#{version}", noise.id);
        }
    }
    noises.sort_by(|a, b| a.id.cmp(&b.id));
}

/// Positions of the named columns (case, blanks and a byte order mark do not matter).
pub(super) fn columns<const N: usize>(
    table: &Path,
    headers: &csv::StringRecord,
    names: [&str; N],
) -> Result<[usize; N]> {
    let mut positions = [0; N];
    for (position, name) in positions.iter_mut().zip(names) {
        *position = headers
            .iter()
            .position(|header| {
                header
                    .trim_start_matches('\u{feff}')
                    .trim()
                    .eq_ignore_ascii_case(name)
            })
            .ok_or_else(|| {
                let present = headers.iter().collect::<Vec<_>>().join(", ");
                dataset(table, format!("lacks the column {name:?}; it has {present}"))
            })?;
    }
    Ok(positions)
}

/// Sub-folders, sorted by name, hidden ones left out.
fn folders_in(folder: &Path) -> Result<Vec<PathBuf>> {
    entries(folder, |path| path.is_dir())
}

/// Sound files directly in `folder`, sorted by name, hidden ones left out.
pub(super) fn sounds(folder: &Path) -> Result<Vec<PathBuf>> {
    entries(folder, |path| is_sound(path) && path.is_file())
}

fn entries(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        if !hidden(&path) && wanted(&path) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Whether the name is that of a sound file, and not of a hidden one (AppleDouble's `._x.wav` is not sound).
pub fn is_sound(path: &Path) -> bool {
    !hidden(path) && rank(path) < EXTENSIONS.len()
}

/// Position of the extension in [`EXTENSIONS`].
fn rank(path: &Path) -> usize {
    let extension = path
        .extension()
        .map(|e| e.to_string_lossy().to_lowercase())
        .unwrap_or_default();
    EXTENSIONS
        .iter()
        .position(|e| *e == extension)
        .unwrap_or(EXTENSIONS.len())
}

fn hidden(path: &Path) -> bool {
    file_name(path).starts_with('.')
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

fn stem_name(path: &Path) -> String {
    path.file_stem()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

pub(super) fn dataset(path: &Path, message: String) -> Error {
    Error::Dataset {
        path: path.to_path_buf(),
        message,
    }
}

pub(super) fn csv_error(table: &Path) -> impl Fn(csv::Error) -> Error {
    move |error| dataset(table, format!("is not a readable table: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_of_one_source_are_one() {
        let fold = |name: &'static str| fold_of(source_of(name));
        assert_eq!(fold("100652-3-0-0"), fold("100652-3-0-7"));
        assert_eq!(fold("1-100032-A-0"), fold("4-100032-B-12"));
        // Written down so that a change of the hash, which would mix old splits, does not pass unseen.
        assert_eq!(
            ["100652-3-0-0", "rain", "wind", "street-01", "x"].map(fold),
            FOLDS
        );
        let mut counts = [0; 5];
        for number in 0..5_000 {
            counts[fold_of(&format!("clip{number}")) as usize - 1] += 1;
        }
        assert!(counts.iter().all(|c| (900..1100).contains(c)), "{counts:?}");
    }

    const FOLDS: [u32; 5] = [5, 1, 1, 4, 1];

    #[test]
    fn better_formats_come_first() {
        assert!(rank(Path::new("a.WAV")) < rank(Path::new("a.flac")));
        assert!(rank(Path::new("a.flac")) < rank(Path::new("a.mp3")));
        assert!(is_sound(Path::new("x/bass.Flac")));
        assert!(!is_sound(Path::new("x/._bass.wav")));
        assert!(!is_sound(Path::new("x/bass.txt")));
    }
}
