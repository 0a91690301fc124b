//! Files to look at, and why.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::facts::Facts;
use super::scan;
use super::{GENRES, MessyMashup, Song, Stem};

/// RMS level under which a file counts as silent, in dB of full scale. Digital silence has none, dither of one 16-bit
/// step -90; quiet classical music has about -50.
pub(super) const SILENT_DB: f64 = -60.0;

/// The level that stands for no level at all: every sample is zero.
const NOTHING_DB: f64 = -200.0;

/// A stem shorter than one window of the published models is heard repeated.
const SHORT_STEM_SECONDS: f64 = 10.24;
/// A mashup shorter than this tells little; the competition's shortest has six seconds.
const SHORT_MASHUP_SECONDS: f64 = 1.0;
/// The stems of a song begin and end together, to this part of the longest one's length.
const WHOLE_STEM: f64 = 0.9;

/// A file to look at.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Problem {
    /// The file.
    pub path: PathBuf,
    /// What kind of problem.
    pub kind: ProblemKind,
    /// The reason, for people.
    pub message: String,
}

/// What is the matter with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// It is not there, though a song, a noise table or `test.csv` needs it.
    Missing,
    /// It cannot be decoded; training would stop at it.
    Unreadable,
    /// It is cut off or broken inside. It can be used as far as it goes.
    Damaged,
    /// Its sound is also in another file: counted twice, or filed under the wrong genre.
    Duplicate,
    /// It is much shorter than it should be.
    TooShort,
    /// Many of its samples are at full scale.
    Clipped,
    /// Its channels cancel each other; one of them is used.
    OutOfPhase,
    /// Its name says something else than its place.
    Misnamed,
    /// It holds silence only. Separators give such stems for songs without drums or voice, so it is no error.
    Silent,
    /// A sound file that nothing uses: in a song's folder and not one of the four stems, or a mashup that `test.csv` lacks.
    Ignored,
}

impl ProblemKind {
    /// All kinds, those to be mended first.
    pub const ALL: [ProblemKind; 10] = [
        ProblemKind::Missing,
        ProblemKind::Unreadable,
        ProblemKind::Damaged,
        ProblemKind::Duplicate,
        ProblemKind::TooShort,
        ProblemKind::Clipped,
        ProblemKind::OutOfPhase,
        ProblemKind::Misnamed,
        ProblemKind::Silent,
        ProblemKind::Ignored,
    ];

    /// Whether the data is not whole as long as there is such a file; the rest is good to know.
    pub fn must_be_mended(self) -> bool {
        self <= ProblemKind::Damaged
    }

    /// The heading of a list of such files.
    pub fn title(self) -> &'static str {
        match self {
            ProblemKind::Missing => "missing files",
            ProblemKind::Unreadable => "unreadable files",
            ProblemKind::Damaged => "damaged files (used as far as they go)",
            ProblemKind::Duplicate => "files whose sound is in another file too",
            ProblemKind::TooShort => "short files",
            ProblemKind::Clipped => "clipped files",
            ProblemKind::OutOfPhase => "files out of phase",
            ProblemKind::Misnamed => "misnamed folders",
            ProblemKind::Silent => "silent files",
            ProblemKind::Ignored => "files that are not used",
        }
    }
}

/// What a file is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Role<'a> {
    Stem(&'a Song, Stem),
    /// Noise of this fold.
    Noise(u32),
    Mashup,
}

/// A file with what decoding it told.
pub(super) struct Looked<'a> {
    pub role: Role<'a>,
    pub path: &'a Path,
    pub facts: std::result::Result<Facts, String>,
}

/// Everything to say about the files of a data set, by kind and path.
pub(super) fn problems(data: &MessyMashup, looked: &[Looked<'_>]) -> Vec<Problem> {
    let mut found = Found(Vec::new());
    for path in &data.missing {
        let name = path.file_stem().unwrap_or_default();
        let message = match Stem::ALL.iter().any(|stem| name == stem.name()) {
            true => "a stem that the song lacks",
            false => "a noise clip that esc50.csv names",
        };
        found.add(path, ProblemKind::Missing, message);
    }
    for (path, message) in &data.faults {
        found.add(path, ProblemKind::Missing, message);
    }
    for path in &data.ignored {
        let of_genres = |folder: Option<&Path>| {
            folder
                .and_then(Path::file_name)
                .is_some_and(|name| name.eq_ignore_ascii_case("genres_stems"))
        };
        let folder = path.parent();
        let message = if of_genres(folder) || of_genres(folder.and_then(Path::parent)) {
            "a song is a folder of stems; `messymash separate` makes one of a sound file"
        } else {
            "not a stem's name, or another file of that stem is used"
        };
        found.add(path, ProblemKind::Ignored, message);
    }
    for file in looked {
        found.of_file(file);
    }
    found.uneven_stems(looked);
    found.duplicates(data, looked);
    found.names(data);
    let mut problems = found.0;
    problems.sort_by(|a, b| (a.kind, &a.path).cmp(&(b.kind, &b.path)));
    problems
}

/// Sound files beside the mashups that the test table does not name.
pub(super) fn unlisted_mashups(data: &MessyMashup) -> Vec<Problem> {
    let mut folders: BTreeMap<&Path, Vec<&Path>> = BTreeMap::new();
    for path in data.mashups.iter().map(|mashup| mashup.path.as_path()) {
        folders
            .entry(path.parent().unwrap_or(path))
            .or_default()
            .push(path);
    }
    let mut found = Found(Vec::new());
    for (folder, listed) in folders {
        let listed: HashSet<&Path> = listed.into_iter().collect();
        // A folder that is not there has files that are missing, which is told already.
        for path in scan::sounds(folder).unwrap_or_default() {
            if !listed.contains(path.as_path()) {
                found.add(&path, ProblemKind::Ignored, "test.csv does not name it");
            }
        }
    }
    found.0
}

struct Found(Vec<Problem>);

impl Found {
    fn add(&mut self, path: &Path, kind: ProblemKind, message: impl Into<String>) {
        let (path, message) = (path.to_path_buf(), message.into());
        self.0.push(Problem { path, kind, message });
    }

    fn of_file(&mut self, file: &Looked<'_>) {
        let facts = match &file.facts {
            Ok(facts) => facts,
            Err(message) => return self.add(file.path, ProblemKind::Unreadable, message),
        };
        if facts.level < SILENT_DB {
            let message = match facts.level <= NOTHING_DB {
                true => "digital silence".into(),
                false => format!("RMS {:.1} dBFS", facts.level),
            };
            self.add(file.path, ProblemKind::Silent, message);
        }
        let least = match file.role {
            Role::Stem(..) => SHORT_STEM_SECONDS,
            Role::Mashup => SHORT_MASHUP_SECONDS,
            Role::Noise(_) => 0.0,
        };
        if facts.seconds < least {
            let message = format!("it lasts {:.2} s, less than {least} s", facts.seconds);
            self.add(file.path, ProblemKind::TooShort, message);
        }
        for warning in &facts.warnings {
            let kind = match warning.code.as_str() {
                // Told by level and length, for which this room has its own limits.
                "silence" | "short_clip" => continue,
                "clipped" => ProblemKind::Clipped,
                "phase_cancelled" => ProblemKind::OutOfPhase,
                _ => ProblemKind::Damaged,
            };
            self.add(file.path, kind, &warning.message);
        }
    }

    /// A stem that ends long before its sisters was cut off, though its header may not say so.
    fn uneven_stems(&mut self, looked: &[Looked<'_>]) {
        let stems = || {
            looked.iter().filter_map(|file| match (file.role, &file.facts) {
                (Role::Stem(song, _), Ok(facts)) => Some((song, file.path, facts.seconds)),
                _ => None,
            })
        };
        let mut longest: HashMap<&str, f64> = HashMap::new();
        for (song, _, seconds) in stems() {
            let known = longest.entry(&song.id).or_default();
            *known = known.max(seconds);
        }
        for (song, path, seconds) in stems() {
            let longest = longest[song.id.as_str()];
            // Short enough to be told already.
            if seconds < WHOLE_STEM * longest && seconds >= SHORT_STEM_SECONDS {
                let message = format!("it lasts {seconds:.2} s, another stem of the song {longest:.2} s");
                self.add(path, ProblemKind::TooShort, message);
            }
        }
    }

    fn duplicates(&mut self, data: &MessyMashup, looked: &[Looked<'_>]) {
        let mut by_path: Vec<&Looked<'_>> = looked.iter().collect();
        by_path.sort_by_key(|file| file.path);
        let mut first: HashMap<&str, &Looked<'_>> = HashMap::new();
        for file in by_path {
            // All silence of one length is the same sound.
            let Some(facts) = file.facts.as_ref().ok().filter(|facts| facts.level >= SILENT_DB) else {
                continue;
            };
            match first.get(facts.digest.as_str()) {
                None => drop(first.insert(&facts.digest, file)),
                // test.csv may name a file twice.
                Some(other) if other.path == file.path => {}
                Some(other) => {
                    let relation = relation(data, other.role, file.role);
                    let message = format!("the same sound as {} ({relation})", other.path.display());
                    self.add(file.path, ProblemKind::Duplicate, message);
                }
            }
        }
    }

    fn names(&mut self, data: &MessyMashup) {
        let mut told = HashSet::new();
        let ten = data.genres.iter().any(|genre| GENRES.contains(&genre.as_str()));
        for song in &data.songs {
            let Some(folder) = song.stems.iter().flatten().next().and_then(|path| path.parent()) else {
                continue;
            };
            let genre = data.genres[song.genre].as_str();
            let name = folder
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .to_lowercase();
            let named = GENRES
                .into_iter()
                .find(|known| name.strip_prefix(known).is_some_and(|rest| rest.starts_with('.')));
            if let Some(named) = named.filter(|named| *named != genre && GENRES.contains(&genre)) {
                self.add(
                    folder,
                    ProblemKind::Misnamed,
                    format!("named like a song of {named}, and in the folder {genre}"),
                );
            }
            let Some(genre_folder) = folder.parent().filter(|_| !GENRES.contains(&genre)) else {
                continue;
            };
            if !told.insert(genre_folder.to_path_buf()) {
                continue;
            }
            let letters: String = genre.chars().filter(|c| c.is_alphanumeric()).collect();
            let message = match GENRES.into_iter().find(|known| *known == letters) {
                Some(meant) => format!("the competition's genre is called {meant}"),
                // Data of other genres altogether is nobody's mistake.
                None if !ten => continue,
                None => "none of the competition's ten genres: it would be a class of its own".into(),
            };
            self.add(genre_folder, ProblemKind::Misnamed, message);
        }
    }
}

/// How the second of two files with the same sound is related to the first.
fn relation(data: &MessyMashup, first: Role<'_>, second: Role<'_>) -> String {
    match (first, second) {
        (Role::Stem(a, _), Role::Stem(b, _)) if a.id == b.id => "another stem of the song".into(),
        (Role::Stem(a, _), Role::Stem(b, _)) if a.genre != b.genre => {
            format!(
                "of another genre: {} and {}",
                data.genres[a.genre], data.genres[b.genre]
            )
        }
        (Role::Stem(a, _), Role::Stem(b, _)) if a.recording() == b.recording() => "the same recording".into(),
        (Role::Stem(..), Role::Stem(..)) => {
            "of another song, which may be on the other side of a split".into()
        }
        (Role::Noise(a), Role::Noise(b)) if a != b => format!("noise of another fold: {a} and {b}"),
        (Role::Noise(_), Role::Noise(_)) => "noise".into(),
        (Role::Mashup, Role::Mashup) => "another mashup".into(),
        (Role::Stem(..), _) => "a stem".into(),
        (Role::Noise(_), _) => "noise".into(),
        (Role::Mashup, _) => "a mashup".into(),
    }
}
