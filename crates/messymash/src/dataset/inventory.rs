//! What the data holds, by decoding all of it once: the report to read before hours of training.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::{MessyMashup, Stem, first_five};
use crate::audio::{AudioLimits, AudioStream};
use crate::{Error, Result};

/// RMS level under which a file counts as silent, in dB of full scale. Digital silence has none, dither of one 16-bit
/// step -90; quiet classical music has about -50.
const SILENT_DB: f64 = -60.0;

/// Shorter sounds cannot be mixed: one frame of the features.
const LEAST_SECONDS: f64 = 0.025;

/// What a data set holds.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Inventory {
    /// In the order of [`MessyMashup::genres`].
    pub genres: Vec<GenreInventory>,
    /// All noise clips.
    pub noise: NoiseInventory,
    /// Sounds of the test set (counted, not decoded).
    pub mashups: usize,
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
    /// It cannot be decoded; training would stop at it.
    Unreadable,
    /// It can be used, with a warning (truncated, not-a-number samples).
    Damaged,
    /// It holds silence only. Separators give such stems for songs without drums or voice, so it is no error.
    Silent,
    /// A sound file in a song's folder which is not one of the four stems, so it is not used.
    Ignored,
}

/// What decoding one file told.
struct Decoded {
    seconds: f64,
    rate: u32,
    /// RMS, dB of full scale.
    level: f64,
    /// Texts of the decoder's warnings.
    warnings: Vec<String>,
}

impl Inventory {
    pub(super) fn of(data: &MessyMashup) -> Self {
        let stems: Vec<(usize, Stem, &PathBuf)> = data
            .songs
            .iter()
            .flat_map(|song| {
                Stem::ALL
                    .into_iter()
                    .filter_map(|s| song.stems[s.index()].as_ref().map(|path| (song.genre, s, path)))
            })
            .collect();
        let decoded_stems: Vec<_> = stems.par_iter().map(|(_, _, path)| decode(path)).collect();
        let decoded_noise: Vec<_> = data.noises.par_iter().map(|noise| decode(&noise.path)).collect();

        let mut problems: Vec<Problem> = data
            .ignored
            .iter()
            .map(|path| Problem {
                path: path.clone(),
                kind: ProblemKind::Ignored,
                message: "not a stem's name, or another file of that stem is used".into(),
            })
            .collect();
        let mut genres: Vec<GenreInventory> = data
            .genres
            .iter()
            .enumerate()
            .map(|(index, genre)| {
                let songs: Vec<_> = data.songs.iter().filter(|song| song.genre == index).collect();
                let recordings: BTreeSet<&str> = songs.iter().map(|song| song.recording()).collect();
                let (songs, recordings) = (songs.len(), recordings.len());
                GenreInventory {
                    genre: genre.clone(),
                    songs,
                    recordings,
                    ..GenreInventory::default()
                }
            })
            .collect();
        for ((genre, stem, path), decoded) in stems.into_iter().zip(decoded_stems) {
            let entry = &mut genres[genre];
            entry.stems[stem.index()] += 1;
            match report(path, decoded, &mut problems) {
                Some(sound) => {
                    entry.silent[stem.index()] += usize::from(sound.level < SILENT_DB);
                    entry.shortest = if entry.longest == 0.0 {
                        sound.seconds
                    } else {
                        entry.shortest.min(sound.seconds)
                    };
                    entry.longest = entry.longest.max(sound.seconds);
                    entry.seconds += sound.seconds;
                    *entry.rates.entry(sound.rate).or_default() += 1;
                }
                None => entry.unreadable[stem.index()] += 1,
            }
        }
        let mut noise = NoiseInventory::default();
        for (clip, decoded) in data.noises.iter().zip(decoded_noise) {
            *noise.folds.entry(clip.fold).or_default() += 1;
            match report(&clip.path, decoded, &mut problems) {
                Some(sound) => {
                    noise.silent += usize::from(sound.level < SILENT_DB);
                    noise.seconds += sound.seconds;
                    *noise.rates.entry(sound.rate).or_default() += 1;
                }
                None => noise.unreadable += 1,
            }
        }
        problems.sort_by(|a, b| (a.kind, &a.path).cmp(&(b.kind, &b.path)));
        Self {
            genres,
            noise,
            mashups: data.mashups.len(),
            problems,
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

    /// The problems of one kind.
    pub fn problems_of(&self, kind: ProblemKind) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(move |problem| problem.kind == kind)
    }
}

/// Decodes a file in blocks, so that memory does not grow with its length.
fn decode(path: &Path) -> std::result::Result<Decoded, String> {
    let mut stream = AudioStream::open(path, &AudioLimits::default()).map_err(|error| error.to_string())?;
    let rate = stream.sample_rate();
    let (mut block, mut count, mut energy) = (Vec::new(), 0usize, 0.0f64);
    loop {
        block.clear();
        let more = stream.next_block(&mut block).map_err(|error| error.to_string())?;
        count += block.len();
        energy += block.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
        if !more {
            break;
        }
    }
    if (count as f64) < LEAST_SECONDS * f64::from(rate) {
        return Err(format!(
            "it lasts {:.4} s, which is no sound to mix.",
            count as f64 / f64::from(rate)
        ));
    }
    Ok(Decoded {
        seconds: count as f64 / f64::from(rate),
        rate,
        level: 10.0 * (energy / count as f64).log10(),
        // Silence is told by the level, for which this module has its own threshold; loud noise is meant to be loud, and
        // stems may be short.
        warnings: stream
            .warnings()
            .iter()
            .filter(|w| !["silence", "clipped", "short_clip"].contains(&w.code.as_str()))
            .map(|w| w.message.clone())
            .collect(),
    })
}

/// Notes what is wrong with a file; gives back what could be decoded.
fn report(
    path: &Path,
    decoded: std::result::Result<Decoded, String>,
    problems: &mut Vec<Problem>,
) -> Option<Decoded> {
    let mut note = |kind, message| {
        problems.push(Problem {
            path: path.to_path_buf(),
            kind,
            message,
        })
    };
    match decoded {
        Ok(sound) => {
            if sound.level < SILENT_DB {
                note(
                    ProblemKind::Silent,
                    format!("RMS {:.0} dBFS", sound.level.max(-200.0)),
                );
            }
            if !sound.warnings.is_empty() {
                note(ProblemKind::Damaged, sound.warnings.join("; "));
            }
            Some(sound)
        }
        Err(message) => {
            note(ProblemKind::Unreadable, message);
            None
        }
    }
}

impl fmt::Display for Inventory {
    /// A table for people: a line per genre, a line for the noise, then the problems, at most ten of each kind.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
        let seconds: f64 = self.genres.iter().map(|genre| genre.seconds).sum();
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
        for (kind, title) in [
            (ProblemKind::Unreadable, "unreadable files"),
            (ProblemKind::Damaged, "damaged files (used as far as they go)"),
            (ProblemKind::Silent, "silent files"),
            (ProblemKind::Ignored, "files that are not used"),
        ] {
            let all: Vec<&Problem> = self.problems_of(kind).collect();
            if all.is_empty() {
                continue;
            }
            writeln!(f, "{} {title}:", all.len())?;
            for problem in all.iter().take(10) {
                writeln!(f, "  {}: {}", problem.path.display(), problem.message)?;
            }
            if all.len() > 10 {
                writeln!(f, "  and {} more", all.len() - 10)?;
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
