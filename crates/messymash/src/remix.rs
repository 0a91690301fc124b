//! Cross-song recombination: stems of several songs of one genre, gains, tempo, noise -> a mashup and its recipe.
//!
//! Three steps, each public: [`Remixer::draw`] makes all random choices and gives a [`Remix`], the recipe;
//! [`Remixer::render`] turns a recipe into sound without drawing anything; [`Remixer::make`] does both at the price of
//! one. The recipe goes through JSON without loss, so a mashup can be remade sample for sample later (with the same
//! data, version and kind of machine). [`write_remixes`] freezes a set of mashups in a folder.
//!
//! It knows stems and noise as mono sound at one rate (see [`StemCache`]). Features and masks come after it.

mod cache;
mod draw;
mod folder;
mod options;
mod playback;
mod tempo;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

pub use cache::StemCache;
pub use folder::{RECIPES_FILE, read_remixes, write_remixes};
pub use options::{RemixOptions, TempoScope};

use crate::dataset::{MessyMashup, Stem, recording};
use crate::{Error, Result, Waveform};

/// The epoch of mashups that judge a model. No training reaches it, so that even with the same songs and the same seed
/// they are other mashups than those it was trained on.
pub const JUDGING_EPOCH: u64 = u64::MAX;

/// RMS under which music or noise counts as silence, in dB of full scale: 20 dB above the dither of a 16-bit file
/// (one step, -90 dB), so that dither is never raised to full scale.
const SILENCE_DB: f64 = -70.0;

/// Longest mashup that a recipe may ask for, seconds: a recipe may come from anywhere.
const MAX_SECONDS: f64 = 3600.0;

/// Memory of the cache that [`Remixer::new`] makes, MiB: about 500 songs of 30 s.
const CACHE_MEBIBYTES: usize = 4096;

/// A recipe: everything that was drawn. From it the mashup is remade sample for sample.
///
/// Positions and lengths are in samples at `sample_rate`.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remix {
    /// The genre of all parts.
    pub genre: String,
    /// The seed, the epoch and the index it was drawn for.
    pub seed: u64,
    /// See `seed`.
    pub epoch: u64,
    /// See `seed`.
    pub index: u64,
    /// Hz.
    pub sample_rate: u32,
    /// Length.
    pub samples: usize,
    /// The music: at most one part per stem.
    pub parts: Vec<Part>,
    /// What is mixed into the music.
    pub noises: Vec<Noise>,
    /// Highest absolute sample value of the mashup, in (0, 1]; `None` leaves the sum as it is (but never above 1).
    pub level: Option<f64>,
    /// Energy of the music over that of all noise together, over the whole mashup, dB; `None` without noise.
    /// A result, not an ingredient: rendering does not use it.
    pub snr_db: Option<f64>,
}

impl Remix {
    /// The recordings its music comes from, each once, sorted: the unit that a split and an interval go by.
    pub fn songs(&self) -> Vec<String> {
        let mut songs: Vec<String> = self
            .parts
            .iter()
            .map(|part| recording(&part.song).to_string())
            .collect();
        songs.sort();
        songs.dedup();
        songs
    }
}

/// One stem of a mashup.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Which stem.
    pub stem: Stem,
    /// Of which song: an id of the data set.
    pub song: String,
    /// First sample taken of the stem.
    pub start: usize,
    /// Whether the stem is repeated end to end (with a cross-fade of 10 ms) because it is shorter than what is needed.
    pub looped: bool,
    /// Factor on the samples.
    pub gain: f64,
    /// Speed of playing, 0.5 to 2; pitch moves with it. Rounded to a multiple of 1/256.
    pub tempo: f64,
}

/// One noise in a mashup.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noise {
    /// Id of the noise clip.
    pub id: String,
    /// Where in the mashup it begins.
    pub at: usize,
    /// First sample taken of the clip as it is played (at half speed a clip has twice its samples).
    pub start: usize,
    /// How long it is heard.
    pub length: usize,
    /// Speed of playing: 1, or 0.5 for a clip played at half its rate.
    pub tempo: f64,
    /// How loud it is.
    pub loudness: Loudness,
}

/// How loud a noise is.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loudness {
    /// Energy of the music over that of this noise, over the span in which the noise is heard, dB.
    SnrDb(f64),
    /// Factor on the clip's samples, where the music's peak is 1.
    Amplitude(f64),
}

/// Draws and renders mashups of the given songs and noises only. Shared by loader threads: `&self` everywhere.
#[derive(Debug)]
pub struct Remixer {
    options: RemixOptions,
    genres: Vec<String>,
    /// Genres that have songs here.
    pools: Vec<Pool>,
    songs: HashMap<String, [Option<PathBuf>; 4]>,
    noise_ids: Vec<String>,
    noises: HashMap<String, PathBuf>,
    cache: Arc<StemCache>,
}

/// The songs of one genre.
#[derive(Debug)]
struct Pool {
    genre: String,
    /// Song ids by recording.
    recordings: Vec<Vec<String>>,
}

/// A mashup before levelling.
#[derive(Debug)]
struct Mixed {
    music: Vec<f32>,
    /// All noise together; empty where there is none.
    noise: Vec<f32>,
}

impl Remixer {
    /// A remixer of these songs (ids) and the noise of these folds, with its own cache of 4096 MiB.
    ///
    /// # Errors
    /// As [`Remixer::with_cache`].
    pub fn new(
        data: &MessyMashup,
        songs: &[String],
        noise_folds: &[u32],
        options: RemixOptions,
    ) -> Result<Self> {
        let cache = Arc::new(StemCache::new(CACHE_MEBIBYTES, options.sample_rate));
        Self::with_cache(data, songs, noise_folds, options, cache)
    }

    /// A remixer that shares decoded stems with others (training and validation noise are often one cache's).
    ///
    /// # Errors
    /// [`Error::Config`] where an option is out of range, the cache has another rate, there is no song, a song is not
    /// in the data, or noise is asked for and none of the data's noise is in the folds.
    pub fn with_cache(
        data: &MessyMashup,
        songs: &[String],
        noise_folds: &[u32],
        options: RemixOptions,
        cache: Arc<StemCache>,
    ) -> Result<Self> {
        options.check()?;
        if cache.sample_rate() != options.sample_rate {
            return Err(Error::Config(format!(
                "the cache holds sound of {} Hz, the remixer wants {} Hz",
                cache.sample_rate(),
                options.sample_rate
            )));
        }
        let mut ids: Vec<&String> = songs.iter().collect();
        ids.sort();
        ids.dedup();
        let mut pools: Vec<Pool> = data
            .genres
            .iter()
            .map(|genre| Pool {
                genre: genre.clone(),
                recordings: Vec::new(),
            })
            .collect();
        let mut files = HashMap::new();
        // Sorted ids bring the songs of one recording one after the other, except that `x#2` may come after `x.y`.
        let mut places: HashMap<&str, usize> = HashMap::new();
        for id in ids {
            let song = data.song(id).ok_or_else(|| {
                Error::Config(format!(
                    "the song {id} is not in the data; give the same data roots, or make a new split"
                ))
            })?;
            let recordings = &mut pools[song.genre].recordings;
            let place = *places.entry(song.recording()).or_insert(recordings.len());
            if place == recordings.len() {
                recordings.push(Vec::new());
            }
            recordings[place].push(song.id.clone());
            files.insert(song.id.clone(), song.stems.clone());
        }
        pools.retain(|pool| !pool.recordings.is_empty());
        if pools.is_empty() {
            return Err(Error::Config("there is no song to make mashups of".into()));
        }
        let noises: HashMap<String, PathBuf> = data
            .noises
            .iter()
            .filter(|noise| noise_folds.contains(&noise.fold))
            .map(|noise| (noise.id.clone(), noise.path.clone()))
            .collect();
        if noises.is_empty() && options.wants_noise() {
            return Err(Error::Config(format!(
                "there is no noise in the folds {noise_folds:?}: add ESC-50 or a folder of noise, or ask for none with \
                 noise_counts = [1.0, 0.0, 0.0, 0.0]"
            )));
        }
        let mut noise_ids: Vec<String> = noises.keys().cloned().collect();
        noise_ids.sort();
        Ok(Self {
            options,
            genres: data.genres.clone(),
            pools,
            songs: files,
            noise_ids,
            noises,
            cache,
        })
    }

    /// All genres of the data, also those without a song here: the order of the classes.
    pub fn genres(&self) -> &[String] {
        &self.genres
    }

    /// The settings.
    pub fn options(&self) -> &RemixOptions {
        &self.options
    }

    /// Makes all choices for mashup `index` of `epoch`. They depend on nothing else: not on threads, nor on what was
    /// drawn before. Genres take turns by index; those without songs here are left out.
    ///
    /// It looks at the stems, to pass over near-silent crops, and so decodes them.
    ///
    /// # Errors
    /// [`Error::Dataset`] where a file cannot be read, or where a genre has only silence.
    pub fn draw(&self, seed: u64, epoch: u64, index: u64) -> Result<Remix> {
        Ok(self.draw_mixed([seed, epoch, index])?.0)
    }

    /// The sound of a recipe: mono, `remix.samples` long at `remix.sample_rate`. Nothing is random here.
    ///
    /// # Errors
    /// [`Error::Config`] where the recipe contradicts itself, the data or this remixer's songs and noises;
    /// [`Error::Dataset`] where a file cannot be read, or where the music is silent (the files have changed).
    pub fn render(&self, remix: &Remix) -> Result<Waveform> {
        let music = self.music(remix)?;
        if level_db(&music) < SILENCE_DB {
            return Err(Error::Config(format!(
                "the recipe of mashup {} gives silence; were its stems replaced since it was drawn?",
                remix.index
            )));
        }
        let mut mixed = Mixed {
            music,
            noise: Vec::new(),
        };
        for noise in &remix.noises {
            self.add_noise(noise, &mut mixed)?;
        }
        Ok(finish(mixed, remix))
    }

    /// [`Remixer::draw`] and [`Remixer::render`] in one: exactly their results, mixed once.
    ///
    /// # Errors
    /// As [`Remixer::draw`].
    pub fn make(&self, seed: u64, epoch: u64, index: u64) -> Result<(Remix, Waveform)> {
        let (remix, mixed) = self.draw_mixed([seed, epoch, index])?;
        let sound = finish(mixed, &remix);
        Ok((remix, sound))
    }

    /// A song as it is: the sum of its stems over the length of the shortest (an hour at most), its peak at 1.
    ///
    /// # Errors
    /// [`Error::Config`] where the song is not among those given, or silent; [`Error::Dataset`] where a file cannot be read.
    pub fn whole(&self, song: &str) -> Result<(Remix, Waveform)> {
        let genre = self.pools.iter().find(|pool| {
            let mut ids = pool.recordings.iter().flatten();
            ids.any(|id| id == song)
        });
        let (Some(files), Some(pool)) = (self.songs.get(song), genre) else {
            return Err(Error::Config(format!("the song {song} is not among those given")));
        };
        let stems = Stem::ALL.into_iter().filter(|stem| files[stem.index()].is_some());
        let parts: Vec<Part> = stems
            .map(|stem| Part {
                stem,
                song: song.to_string(),
                start: 0,
                looped: false,
                gain: 1.0,
                tempo: 1.0,
            })
            .collect();
        let mut samples = (MAX_SECONDS * f64::from(self.options.sample_rate)) as usize;
        for part in &parts {
            samples = samples.min(self.stem(song, part.stem)?.len());
        }
        let remix = Remix {
            genre: pool.genre.clone(),
            seed: 0,
            epoch: JUDGING_EPOCH,
            index: 0,
            sample_rate: self.options.sample_rate,
            samples,
            parts,
            noises: Vec::new(),
            level: Some(1.0),
            snr_db: None,
        };
        let sound = self.render(&remix)?;
        Ok((remix, sound))
    }

    /// The sum of the parts.
    fn music(&self, remix: &Remix) -> Result<Vec<f32>> {
        check_recipe(remix, self.options.sample_rate)?;
        let mut music = vec![0.0; remix.samples];
        for part in &remix.parts {
            let stem = self.stem(&part.song, part.stem)?;
            playback::add_part(&stem, part, &mut music)?;
        }
        Ok(music)
    }

    fn stem(&self, song: &str, stem: Stem) -> Result<Arc<[f32]>> {
        let files = self
            .songs
            .get(song)
            .ok_or_else(|| Error::Config(format!("the recipe's song {song} is not among the songs given")))?;
        match &files[stem.index()] {
            Some(path) => self.cache.get(path),
            None => Err(Error::Config(format!(
                "the recipe's song {song} has no {} stem",
                stem.name()
            ))),
        }
    }

    fn noise(&self, id: &str) -> Result<Arc<[f32]>> {
        let path = self.noises.get(id).ok_or_else(|| {
            Error::Config(format!("the recipe's noise {id} is not in the noise folds given"))
        })?;
        self.cache.get(path)
    }

    /// Adds a noise, at the loudness it asks for, to the noise of `mixed`.
    fn add_noise(&self, noise: &Noise, mixed: &mut Mixed) -> Result<()> {
        let clip = self.noise(&noise.id)?;
        let sound = playback::play_noise(&clip, noise)?;
        let end = noise
            .at
            .checked_add(noise.length)
            .filter(|&end| end <= mixed.music.len())
            .ok_or_else(|| {
                Error::Config(format!(
                    "the recipe's noise {} goes beyond the mashup's end",
                    noise.id
                ))
            })?;
        let gain = match noise.loudness {
            Loudness::Amplitude(amplitude) => amplitude * f64::from(peak(&mixed.music)),
            Loudness::SnrDb(db) => {
                let (music, sound) = (energy(&mixed.music[noise.at..end]), energy(&sound));
                // Drawn recipes have sound in both; a clip that is silent here adds nothing at any loudness.
                if sound > 0.0 {
                    (music / sound).sqrt() * 10f64.powf(-db / 20.0)
                } else {
                    0.0
                }
            }
        } as f32;
        mixed.noise.resize(mixed.music.len(), 0.0);
        for (out, x) in mixed.noise[noise.at..end].iter_mut().zip(&sound) {
            *out += gain * x;
        }
        Ok(())
    }
}

impl Mixed {
    /// Energy of the music over that of the noise, dB; `None` without noise.
    fn snr_db(&self) -> Option<f64> {
        let noise = energy(&self.noise);
        (noise > 0.0).then(|| 10.0 * (energy(&self.music) / noise).log10())
    }
}

/// Music plus noise at the recipe's level.
fn finish(mixed: Mixed, remix: &Remix) -> Waveform {
    let mut samples = mixed.music;
    for (out, x) in samples.iter_mut().zip(&mixed.noise) {
        *out += x;
    }
    let peak = f64::from(peak(&samples));
    let target = remix.level.unwrap_or(peak.min(1.0));
    if peak > 0.0 && peak != target {
        let scale = (target / peak) as f32;
        for x in &mut samples {
            // Rounding can put the peak one step above 1.
            *x = (*x * scale).clamp(-1.0, 1.0);
        }
    }
    Waveform::new(samples, remix.sample_rate)
}

/// What can be said against a recipe without looking at its files.
fn check_recipe(remix: &Remix, sample_rate: u32) -> Result<()> {
    let wrong = |what: String| {
        Err(Error::Config(format!(
            "the recipe of mashup {} {what}",
            remix.index
        )))
    };
    if remix.sample_rate != sample_rate {
        return wrong(format!(
            "is for {} Hz, the remixer has {sample_rate} Hz",
            remix.sample_rate
        ));
    }
    if remix.samples == 0 || remix.samples as f64 > MAX_SECONDS * f64::from(sample_rate) {
        return wrong(format!(
            "asks for {} samples; 1 to {MAX_SECONDS} s are possible",
            remix.samples
        ));
    }
    if remix.parts.is_empty() {
        return wrong("has no parts".into());
    }
    if remix.level.is_some_and(|level| !(level > 0.0 && level <= 1.0)) {
        return wrong("has a level outside (0, 1]".into());
    }
    for part in &remix.parts {
        if !part.gain.is_finite() || !(0.5..=2.0).contains(&part.tempo) {
            return wrong(format!(
                "has a part ({}) with a gain or tempo that cannot be played",
                part.song
            ));
        }
    }
    for noise in &remix.noises {
        let (Loudness::SnrDb(loudness) | Loudness::Amplitude(loudness)) = noise.loudness;
        if !loudness.is_finite() || !(0.5..=2.0).contains(&noise.tempo) || noise.length > remix.samples {
            return wrong(format!(
                "has a noise ({}) with a loudness, tempo or length that cannot be played",
                noise.id
            ));
        }
    }
    Ok(())
}

/// Sum of squares.
fn energy(samples: &[f32]) -> f64 {
    // Blocks in f32 lanes, their sums in f64: fast, and exact enough for any length.
    samples
        .chunks(256)
        .map(|block| {
            let mut lanes = [0.0f32; 8];
            let mut chunks = block.chunks_exact(8);
            for chunk in &mut chunks {
                for (lane, x) in lanes.iter_mut().zip(chunk) {
                    *lane += x * x;
                }
            }
            let rest: f32 = chunks.remainder().iter().map(|x| x * x).sum();
            lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>() + f64::from(rest)
        })
        .sum()
}

/// RMS in dB of full scale; minus infinity for silence or nothing.
fn level_db(samples: &[f32]) -> f64 {
    10.0 * (energy(samples) / samples.len().max(1) as f64).log10()
}

/// Highest absolute value.
fn peak(samples: &[f32]) -> f32 {
    samples.iter().fold(0.0, |peak, x| peak.max(x.abs()))
}
