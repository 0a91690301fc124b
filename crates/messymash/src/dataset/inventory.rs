//! What the data holds, by decoding all of it once: the report to read before hours of training.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use rayon::prelude::*;

use super::facts::{Facts, KnownFacts};
use super::problems::{Looked, Problem, ProblemKind, Role, SILENT_DB, problems, unlisted_mashups};
use super::{GENRES, MessyMashup, Stamp, Stem};
use crate::error::first_five;
use crate::{Error, Result};

/// Files a thread decodes between two words about progress.
const FILES_A_THREAD: usize = 8;

/// What a data set holds.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Inventory {
    /// In the order of [`MessyMashup::genres`].
    pub genres: Vec<GenreInventory>,
    /// All noise clips.
    pub noise: NoiseInventory,
    /// Sounds of the test set.
    pub mashups: usize,
    /// What they are like; `None` where only what training needs was looked at.
    pub tests: Option<MashupInventory>,
    /// Every file that is not plainly well, by path.
    pub problems: Vec<Problem>,
}

/// The stems of one genre.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct GenreInventory {
    /// The genre's name.
    pub genre: String,
    /// Song folders.
    pub songs: usize,
    /// Distinct recordings among them: see [`super::recording`].
    pub recordings: usize,
    /// Files of each stem, in the order of [`Stem::ALL`].
    pub stems: [usize; 4],
    /// How many of them are silent.
    pub silent: [usize; 4],
    /// How many of them cannot be decoded.
    pub unreadable: [usize; 4],
    /// Total length of all stems, seconds.
    pub seconds: f64,
    /// Length of the shortest readable stem, seconds; 0 where there is none.
    pub shortest: f64,
    /// Length of the longest readable stem, seconds.
    pub longest: f64,
    /// Number of files of each sample rate, Hz.
    pub rates: BTreeMap<u32, usize>,
}

/// The noise clips.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct NoiseInventory {
    /// Number of clips in each fold.
    pub folds: BTreeMap<u32, usize>,
    /// How many are silent.
    pub silent: usize,
    /// How many cannot be decoded.
    pub unreadable: usize,
    /// Total length, seconds.
    pub seconds: f64,
    /// Number of files of each sample rate, Hz.
    pub rates: BTreeMap<u32, usize>,
}

/// The sounds of the test set.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct MashupInventory {
    /// How many are silent.
    pub silent: usize,
    /// How many are there and cannot be decoded.
    pub unreadable: usize,
    /// Total length, seconds.
    pub seconds: f64,
    /// Length of the shortest readable one, seconds; 0 where there is none.
    pub shortest: f64,
    /// Length of the longest readable one, seconds.
    pub longest: f64,
    /// Number of files of each sample rate, Hz.
    pub rates: BTreeMap<u32, usize>,
}

/// Which files are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// What training hears: stems and noise.
    Training,
    /// The test set too.
    Everything,
}

impl Inventory {
    /// Looks at every file of the data that is in `scope`, on all cores; see [`MessyMashup::survey`].
    pub(super) fn of(
        data: &MessyMashup,
        scope: Scope,
        known: &mut KnownFacts,
        progress: &mut dyn FnMut(usize, usize) -> Result<()>,
    ) -> Result<Self> {
        let mut files: Vec<(Role<'_>, &Path)> = Vec::new();
        for song in &data.songs {
            let stems = Stem::ALL.into_iter().zip(&song.stems);
            files.extend(stems.filter_map(|(stem, path)| Some((Role::Stem(song, stem), path.as_deref()?))));
        }
        files.extend(
            data.noises
                .iter()
                .map(|noise| (Role::Noise(noise.fold), noise.path.as_path())),
        );
        let mut missing = Vec::new();
        if scope == Scope::Everything {
            for path in data.mashups.iter().map(|mashup| mashup.path.as_path()) {
                match path.exists() {
                    true => files.push((Role::Mashup, path)),
                    false => missing.push(path),
                }
            }
        }
        let looked = look(files, known, progress)?;
        if scope == Scope::Everything {
            known.keep_only(
                looked
                    .iter()
                    .filter(|file| file.facts.is_ok())
                    .map(|file| file.path),
            );
        }
        let mut problems = problems(data, &looked);
        if scope == Scope::Everything {
            problems.extend(missing.iter().map(|path| Problem {
                path: path.to_path_buf(),
                kind: ProblemKind::Missing,
                message: "test.csv names it".into(),
            }));
            problems.extend(unlisted_mashups(data));
            problems.sort_by(|a, b| (a.kind, &a.path).cmp(&(b.kind, &b.path)));
        }
        let mut inventory = Self::empty(data);
        inventory.problems = problems;
        inventory.tests = (scope == Scope::Everything).then(MashupInventory::default);
        for file in &looked {
            inventory.count(file);
        }
        Ok(inventory)
    }

    pub(super) fn empty(data: &MessyMashup) -> Self {
        let genre = |(index, genre): (usize, &String)| {
            let songs = || data.songs.iter().filter(move |song| song.genre == index);
            GenreInventory {
                genre: genre.clone(),
                songs: songs().count(),
                recordings: songs()
                    .map(|song| song.recording())
                    .collect::<BTreeSet<_>>()
                    .len(),
                ..GenreInventory::default()
            }
        };
        Self {
            genres: data.genres.iter().enumerate().map(genre).collect(),
            noise: NoiseInventory::default(),
            mashups: data.mashups.len(),
            tests: None,
            problems: Vec::new(),
        }
    }

    fn count(&mut self, file: &Looked<'_>) {
        let facts = file.facts.as_ref().ok();
        let silent = usize::from(facts.is_some_and(|facts| facts.level < SILENT_DB));
        let unreadable = usize::from(facts.is_none());
        let (seconds, rates) = match file.role {
            Role::Stem(song, stem) => {
                let genre = &mut self.genres[song.genre];
                genre.stems[stem.index()] += 1;
                genre.silent[stem.index()] += silent;
                genre.unreadable[stem.index()] += unreadable;
                span(facts, &mut genre.shortest, &mut genre.longest);
                (&mut genre.seconds, &mut genre.rates)
            }
            Role::Noise(fold) => {
                let noise = &mut self.noise;
                *noise.folds.entry(fold).or_default() += 1;
                noise.silent += silent;
                noise.unreadable += unreadable;
                (&mut noise.seconds, &mut noise.rates)
            }
            Role::Mashup => {
                let tests = self.tests.get_or_insert_default();
                tests.silent += silent;
                tests.unreadable += unreadable;
                span(facts, &mut tests.shortest, &mut tests.longest);
                (&mut tests.seconds, &mut tests.rates)
            }
        };
        if let Some(facts) = facts {
            *seconds += facts.seconds;
            *rates.entry(facts.rate).or_default() += 1;
        }
    }

    /// Checks that every file can be read: better to know now than hours into a training.
    ///
    /// # Errors
    /// [`Error::Dataset`] that names the first five files that cannot be, and why the first cannot.
    pub fn check(&self) -> Result<()> {
        let unreadable: Vec<&Problem> = self.problems_of(ProblemKind::Unreadable).collect();
        let Some(first) = unreadable.first() else {
            return Ok(());
        };
        let names: Vec<String> = unreadable.iter().map(|p| p.path.display().to_string()).collect();
        Err(Error::Dataset {
            path: first.path.clone(),
            message: format!(
                "{} of the data's files cannot be read: {}. The first: {} Replace them, or remove their songs",
                names.len(),
                first_five(&names),
                first.message
            ),
        })
    }

    /// Whether nothing is missing, unreadable or damaged.
    pub fn is_whole(&self) -> bool {
        !self.problems.iter().any(|problem| problem.kind.must_be_mended())
    }

    /// The problems of one kind.
    pub fn problems_of(&self, kind: ProblemKind) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(move |problem| problem.kind == kind)
    }
}

/// Facts of every file, in order; those not known yet are found by decoding and become known.
fn look<'a>(
    files: Vec<(Role<'a>, &'a Path)>,
    known: &mut KnownFacts,
    progress: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Vec<Looked<'a>>> {
    let mut looked = Vec::with_capacity(files.len());
    for some in files.chunks(FILES_A_THREAD * rayon::current_num_threads()) {
        let facts: Vec<_> = some
            .par_iter()
            .map(|&(_, path)| {
                let stamp = Stamp::of(path).ok();
                match stamp.and_then(|stamp| known.get(path, stamp)) {
                    Some(facts) => (None, Ok(facts.clone())),
                    None => (stamp, Facts::of(path)),
                }
            })
            .collect();
        for (&(role, path), (new, facts)) in some.iter().zip(facts) {
            if let (Some(stamp), Ok(facts)) = (new, &facts) {
                known.insert(path, stamp, facts.clone());
            }
            looked.push(Looked { role, path, facts });
        }
        progress(looked.len(), files.len())?;
    }
    Ok(looked)
}

/// Widens the span from the shortest to the longest length.
fn span(facts: Option<&Facts>, shortest: &mut f64, longest: &mut f64) {
    if let Some(Facts { seconds, .. }) = facts {
        *shortest = if *longest == 0.0 {
            *seconds
        } else {
            shortest.min(*seconds)
        };
        *longest = longest.max(*seconds);
    }
}

impl fmt::Display for Inventory {
    /// A table for people: a line per genre, a line for the noise, then the problems, at most ten of each kind.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_counts(f)?;
        self.write_problems(f, &|_| 10, Path::new(""))
    }
}

impl Inventory {
    /// All of it as text: as [`Inventory`] displays itself, without `root` before the paths, with all that must be mended and of the
    /// rest at most `warnings` of each kind.
    pub fn text(&self, root: &Path, warnings: usize) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write_counts(&mut text).and_then(|()| {
            let most = |kind: ProblemKind| {
                if kind.must_be_mended() {
                    usize::MAX
                } else {
                    warnings
                }
            };
            self.write_problems(&mut text, &most, root)
        });
        text
    }

    /// What the data as a whole lacks for a training of the competition's task, though each of its files may be well.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let has = |genre: &str| self.genres.iter().any(|known| known.genre == genre);
        let lacking: Vec<&str> = GENRES.into_iter().filter(|genre| !has(genre)).collect();
        if !lacking.is_empty() && lacking.len() < GENRES.len() {
            notes.push(format!(
                "no song of {}: a model trained on this data does not know these genres",
                lacking.join(", ")
            ));
        }
        let single: Vec<&str> = self
            .genres
            .iter()
            .filter(|genre| genre.recordings == 1)
            .map(|genre| &genre.genre[..])
            .collect();
        if !single.is_empty() {
            notes.push(format!(
                "only one recording of {}: none can be kept from training to judge by",
                single.join(", ")
            ));
        }
        if !self.genres.is_empty() && self.noise.folds.len() < 2 {
            let what = match self.noise.folds.len() {
                0 => "no noise",
                _ => "noise of one fold only, so that none can be kept from training",
            };
            notes.push(format!("{what}: put ESC-50-master beside the songs, or name folders of noise with --noise, here and to train"));
        }
        notes
    }

    fn write_counts(&self, f: &mut impl fmt::Write) -> fmt::Result {
        writeln!(
            f,
            "{:<12} {:>5} {:>10}  {:>5} {:>6} {:>5} {:>5}  {:>6} {:>10}  {:>15}  rates (Hz)",
            "genre",
            "songs",
            "recordings",
            "drums",
            "vocals",
            "bass",
            "other",
            "silent",
            "unreadable",
            "seconds each"
        )?;
        for genre in &self.genres {
            writeln!(
                f,
                "{:<12} {:>5} {:>10}  {:>5} {:>6} {:>5} {:>5}  {:>6} {:>10}  {:>6.1} - {:>6.1}  {}",
                genre.genre,
                genre.songs,
                genre.recordings,
                genre.stems[0],
                genre.stems[1],
                genre.stems[2],
                genre.stems[3],
                genre.silent.iter().sum::<usize>(),
                genre.unreadable.iter().sum::<usize>(),
                genre.shortest,
                genre.longest,
                rates(&genre.rates)
            )?;
        }
        let seconds: f64 = self.genres.iter().fold(0.0, |sum, genre| sum + genre.seconds);
        let songs: usize = self.genres.iter().map(|genre| genre.songs).sum();
        writeln!(
            f,
            "{songs} songs, {:.1} minutes of stems; {} test mashups",
            seconds / 60.0,
            self.mashups
        )?;
        let folds: Vec<String> = self
            .noise
            .folds
            .iter()
            .map(|(fold, count)| format!("fold {fold}: {count}"))
            .collect();
        writeln!(
            f,
            "{} noise clips ({}), {:.1} minutes, {} silent, {} unreadable, {}",
            self.noise.folds.values().sum::<usize>(),
            if folds.is_empty() {
                "none".into()
            } else {
                folds.join(", ")
            },
            self.noise.seconds / 60.0,
            self.noise.silent,
            self.noise.unreadable,
            rates(&self.noise.rates)
        )?;
        let Some(tests) = self.tests.as_ref().filter(|tests| !tests.rates.is_empty()) else {
            return Ok(());
        };
        writeln!(
            f,
            "test mashups: {:.1} minutes, {:.1} - {:.1} seconds each, {} silent, {} unreadable, {}",
            tests.seconds / 60.0,
            tests.shortest,
            tests.longest,
            tests.silent,
            tests.unreadable,
            rates(&tests.rates)
        )
    }

    /// At most `most` problems of each kind, paths without `root` before them.
    fn write_problems(
        &self,
        f: &mut impl fmt::Write,
        most: &dyn Fn(ProblemKind) -> usize,
        root: &Path,
    ) -> fmt::Result {
        let root_text = root.join("").display().to_string();
        for kind in ProblemKind::ALL {
            let all: Vec<&Problem> = self.problems_of(kind).collect();
            if all.is_empty() {
                continue;
            }
            let most = most(kind);
            writeln!(f, "{}: {}", kind.title(), all.len())?;
            for Problem { path, message, .. } in all.iter().take(most) {
                let path = path.strip_prefix(root).unwrap_or(path);
                let message = match root_text.as_str() {
                    "" => message.clone(),
                    root => message.replace(root, ""),
                };
                writeln!(f, "  {}: {message}", path.display())?;
            }
            if all.len() > most {
                writeln!(f, "  and {} more", all.len() - most)?;
            }
        }
        Ok(())
    }
}

/// "44100 x 396, 48000 x 4"
fn rates(rates: &BTreeMap<u32, usize>) -> String {
    if rates.is_empty() {
        return "none".into();
    }
    rates
        .iter()
        .map(|(rate, count)| format!("{rate} x {count}"))
        .collect::<Vec<_>>()
        .join(", ")
}
