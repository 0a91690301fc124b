//! The data set on disk: an index of songs, stems, noise clips and test mashups, and the split of it.
//!
//! The layout is that of the Messy Mashup competition:
//!
//! ```text
//! genres_stems/<genre>/<song>/{drums,vocals,bass,other|others}.{wav,flac,mp3,ogg,...}
//! ESC-50-master/{audio/*, meta/esc50.csv}
//! mashups/*    test.csv (id,filename)
//! ```
//!
//! It is found at or below any root. This module knows names and files; [`MessyMashup::survey`] alone decodes sound,
//! and what is made of the sound is the business of [`crate::remix`].

mod facts;
mod inventory;
mod problems;
mod scan;
mod split;
mod stamp;
mod table;
mod test_set;

use std::path::PathBuf;

pub use facts::{Facts, INVENTORY_FILE, KnownFacts};
pub use inventory::{GenreInventory, Inventory, MashupInventory, NoiseInventory, Scope};
pub use problems::{Problem, ProblemKind};
pub use scan::is_sound;
pub use split::{Heard, Split};
pub use stamp::Stamp;
pub(crate) use table::{Lines, Table};
pub use test_set::TestSet;

use crate::Result;

/// The competition's ten genres, in the order of their class index.
pub const GENRES: [&str; 10] = [
    "blues",
    "classical",
    "country",
    "disco",
    "hiphop",
    "jazz",
    "metal",
    "pop",
    "reggae",
    "rock",
];

/// A part of a song, as the usual four-stem separators name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stem {
    /// Drums and other percussion.
    Drums,
    /// Singing, speech, rap.
    Vocals,
    /// Bass guitar, double bass, synthesised bass.
    Bass,
    /// Everything else. Files may be called `other` (as on disk) or `others` (as in the competition's text).
    Other,
}

impl Stem {
    /// All four, in the order used everywhere.
    pub const ALL: [Stem; 4] = [Stem::Drums, Stem::Vocals, Stem::Bass, Stem::Other];

    /// The name, which is also the file's name without extension.
    pub fn name(self) -> &'static str {
        match self {
            Stem::Drums => "drums",
            Stem::Vocals => "vocals",
            Stem::Bass => "bass",
            Stem::Other => "other",
        }
    }

    /// Position in [`Stem::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

/// One song folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Song {
    /// `<genre>/<folder name>`, unique in the data set. Where several roots hold the same folder, those after the
    /// first have `#2`, `#3` ... appended: other stems (say, of another separator) of the same recording.
    pub id: String,
    /// Index into [`MessyMashup::genres`].
    pub genre: usize,
    /// Files, in the order of [`Stem::ALL`]; `None` only where missing stems are allowed.
    pub stems: [Option<PathBuf>; 4],
}

impl Song {
    /// What the folder was made from: see [`recording`].
    pub fn recording(&self) -> &str {
        recording(&self.id)
    }
}

/// The recording that a song id belongs to. All songs of one recording are kept on one side of a [`Split`], and count
/// as one song where "different songs" are asked for.
///
/// Two rules, applied to the id in this order:
///
/// 1. A final `#2`, `#3` ... is dropped: the same folder in another root is the same recording.
/// 2. A folder name that begins as GTZAN's do (`<letters>.<five digits>`, such as `blues.00005`) and goes on after
///    another dot is cut at that dot: `blues/blues.00005.a` and `blues/blues.00005.z` are excerpts of one recording.
pub fn recording(id: &str) -> &str {
    let id = match id.rsplit_once('#') {
        Some((before, number)) if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => before,
        _ => id,
    };
    let folder = id.rfind('/').map_or(0, |slash| slash + 1);
    let mut pieces = id[folder..].splitn(3, '.');
    match (pieces.next(), pieces.next(), pieces.next()) {
        (Some(name), Some(digits), Some(_))
            if !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_alphabetic())
                && digits.len() == 5
                && digits.bytes().all(|b| b.is_ascii_digit()) =>
        {
            &id[..folder + name.len() + 1 + digits.len()]
        }
        _ => id,
    }
}

/// One sound to be mixed in as noise.
#[derive(Debug, Clone, PartialEq)]
pub struct NoiseClip {
    /// `ESC-50/<file name without extension>`, or `<folder>/<path without extension>` for extra noise; unique.
    pub id: String,
    /// The file.
    pub path: PathBuf,
    /// 1 to 5. Clips cut from one source recording share their fold, so that a split by fold separates sources.
    pub fold: u32,
}

/// One sound of the test set.
#[derive(Debug, Clone, PartialEq)]
pub struct Mashup {
    /// The id exactly as `test.csv` has it (`0001` stays `0001`), or the file's name without extension where there is
    /// no `test.csv`.
    pub id: String,
    /// The file. It is not checked here that it exists: training needs no test set.
    pub path: PathBuf,
}

/// How [`MessyMashup::open`] looks at the roots.
#[derive(Debug, Clone, Default)]
pub struct DatasetOptions {
    /// Take songs that lack stems and an ESC-50 that lacks clips its table names. Otherwise they are errors: a stem
    /// that is silently absent becomes silence in the training data.
    pub allow_missing_stems: bool,
    /// Pass over genre folders without a song and lines of `esc50.csv` without a fold, and list them in [`MessyMashup::faults`].
    /// Otherwise they are errors.
    pub list_faults: bool,
    /// More folders of noise: every sound file below them. The fold is `1 + SHA-256(source) mod 5`, where the source
    /// is the part of the file's name that tells the source recording: the first number of UrbanSound8K's
    /// `100652-3-0-0`, the second field of ESC-50's `1-100032-A-0`, the whole name otherwise. A source that the data's
    /// ESC-50 knows keeps the fold it has there.
    pub extra_noise: Vec<PathBuf>,
}

/// The index of a data set: names and files, nothing decoded.
#[derive(Debug, Clone)]
pub struct MessyMashup {
    /// Names of the genre folders in lower case, sorted.
    pub genres: Vec<String>,
    /// Sorted by id.
    pub songs: Vec<Song>,
    /// Sorted by id.
    pub noises: Vec<NoiseClip>,
    /// The test set, in the order of `test.csv`; empty where there is none.
    pub mashups: Vec<Mashup>,
    /// Sound files in song folders whose names are not those of stems, and those that lie where song folders should be: very likely
    /// a mistake, so the inventory tells.
    pub ignored: Vec<PathBuf>,
    /// Stems and noise clips that should be there and are not; empty unless missing stems are allowed.
    pub missing: Vec<PathBuf>,
    /// What else keeps a part of the layout from being used, and where: genre folders without a song, lines of `esc50.csv` that say
    /// no fold. Empty unless they are asked for ([`DatasetOptions::list_faults`]).
    pub faults: Vec<(PathBuf, String)>,
}

impl MessyMashup {
    /// Indexes everything at or below the roots, which are merged: songs of one genre from each, noise from each.
    ///
    /// Roots are searched five levels deep, links are followed. Hidden files (`.DS_Store`, AppleDouble `._x.wav`) are
    /// passed over. The order of the roots decides which of two equal song folders is called `#2`.
    ///
    /// # Errors
    /// [`crate::Error::Dataset`] where a root holds nothing of the layout, a genre has no song, `esc50.csv` or
    /// `test.csv` cannot be understood, or stems or noise files are missing and
    /// [`DatasetOptions::allow_missing_stems`] is not set (the first five are named);
    /// [`crate::Error::Io`] where a folder cannot be read.
    pub fn open(roots: &[PathBuf], options: &DatasetOptions) -> Result<Self> {
        scan::open(roots, options)
    }

    /// Looks at every stem and noise clip: [`MessyMashup::survey`] of what training needs, with nothing known before.
    ///
    /// Never fails: what cannot be read is in [`Inventory::problems`].
    pub fn inventory(&self) -> Inventory {
        let survey = self.survey(Scope::Training, &mut KnownFacts::default(), &mut |_, _| Ok(()));
        survey.unwrap_or_else(|_| Inventory::empty(self))
    }

    /// Decodes every file in `scope` once, on all cores: lengths, rates, and everything odd (see [`ProblemKind`]). What is
    /// known of a file that has not changed since is not decoded again; what is found becomes known, also where the work
    /// is stopped. With [`Scope::Everything`], what is no part of the data any more is forgotten.
    ///
    /// `progress` is told how many files are done, and of how many; what error it returns ends the work.
    ///
    /// # Errors
    /// What `progress` says. What cannot be read is in [`Inventory::problems`].
    pub fn survey(
        &self,
        scope: Scope,
        known: &mut KnownFacts,
        progress: &mut dyn FnMut(usize, usize) -> Result<()>,
    ) -> Result<Inventory> {
        Inventory::of(self, scope, known, progress)
    }

    /// The song with this id.
    pub fn song(&self, id: &str) -> Option<&Song> {
        self.songs
            .binary_search_by(|song| song.id.as_str().cmp(id))
            .ok()
            .map(|index| &self.songs[index])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recordings_join_excerpts_and_versions_and_nothing_else() {
        for (id, expected) in [
            ("blues/blues.00005", "blues/blues.00005"),
            ("blues/blues.00005.a", "blues/blues.00005"),
            ("blues/blues.00005.z#2", "blues/blues.00005"),
            ("blues/blues.00005#12", "blues/blues.00005"),
            ("rock/Mr. Brown vol. 2", "rock/Mr. Brown vol. 2"),
            ("rock/abc.123.x", "rock/abc.123.x"),
            ("rock/abc.1234567.x", "rock/abc.1234567.x"),
            ("rock/C#", "rock/C#"),
            ("rock/Nr#x2", "rock/Nr#x2"),
            ("rock/.12345.x", "rock/.12345.x"),
        ] {
            assert_eq!(recording(id), expected, "{id}");
        }
    }
}
