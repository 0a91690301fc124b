//! The choices of a mashup. All randomness of recombination is here.

use std::collections::HashSet;

use super::{
    Loudness, Mixed, Noise, Part, Pool, Remix, Remixer, SILENCE_DB, TempoScope, level_db, playback, tempo,
};
use crate::dataset::{Stem, recording};
use crate::random::{Random, purpose};
use crate::{Error, Result};

/// How often all parts are drawn anew where their sum is silent. Crops that are not silent are sought first, so this
/// only happens where most stems of a genre are.
const MASHUP_ATTEMPTS: usize = 8;

/// What the parts drawn so far have settled for the next.
struct Settled {
    /// Recordings that are in the mashup.
    used: HashSet<String>,
    beat: Beat,
}

/// The beat that a part has to keep.
#[derive(Clone, Copy)]
enum Beat {
    /// Its own: nothing is brought to one beat.
    Any,
    /// That of the first part that has one, which has not come yet.
    First,
    /// This many beats per minute.
    Of(f64),
}

impl Remixer {
    /// The recipe of (seed, epoch, index) and its mix, which had to be made to see that it is not silent.
    pub(super) fn draw_mixed(&self, key: [u64; 3]) -> Result<(Remix, Mixed)> {
        let [seed, epoch, index] = key;
        let mut random = Random::new(&[purpose::REMIX, key[0], key[1], key[2]]);
        let pool = &self.pools[(index % self.pools.len() as u64) as usize];
        let mut remix = Remix {
            genre: pool.genre.clone(),
            seed,
            epoch,
            index,
            sample_rate: self.options.sample_rate,
            samples: self.options.samples(),
            parts: Vec::new(),
            noises: Vec::new(),
            level: None,
            snr_db: None,
        };
        for _ in 0..MASHUP_ATTEMPTS {
            remix.parts = self.draw_parts(&mut random, pool, remix.samples)?;
            if remix.parts.is_empty() {
                continue;
            }
            let music = self.music(&remix)?;
            if level_db(&music) < SILENCE_DB {
                continue;
            }
            let mut mixed = Mixed {
                music,
                noise: Vec::new(),
            };
            for _ in 0..random.weighted(&self.options.noise_counts) {
                if let Some(noise) = self.draw_noise(&mut random, &mixed.music)? {
                    self.add_noise(&noise, &mut mixed)?;
                    remix.noises.push(noise);
                }
            }
            if random.chance(self.options.level_probability) {
                remix.level = Some(random.uniform(self.options.level[0], self.options.level[1]));
            }
            remix.snr_db = mixed.snr_db();
            return Ok((remix, mixed));
        }
        let song = &pool.recordings[0][0];
        let path = self
            .songs
            .get(song)
            .and_then(|files| files.iter().flatten().next())
            .cloned()
            .unwrap_or_default();
        Err(Error::Dataset {
            path,
            message: format!(
                "{MASHUP_ATTEMPTS} mashups of the genre {} in a row were silent (below {SILENCE_DB} dBFS); look at its \
                 stems in the inventory, this song is the first",
                pool.genre
            ),
        })
    }

    fn draw_parts(&self, random: &mut Random, pool: &Pool, samples: usize) -> Result<Vec<Part>> {
        let options = &self.options;
        let with_gains = random.chance(options.gain_probability);
        let mut beat = Beat::Any;
        let common_tempo = if options.tempo_scope == TempoScope::Beat {
            if random.chance(options.tempo_probability) {
                beat = Beat::First;
            }
            1.0
        } else {
            self.draw_tempo(random)
        };
        let mut kept = [true; 4].map(|_| !random.chance(options.stem_dropout));
        if kept == [false; 4] {
            kept[random.below(4)] = true;
        }
        let stems = Stem::ALL.into_iter().filter(|stem| kept[stem.index()]);
        let mut plan = Vec::with_capacity(4);
        for stem in stems {
            let gain = if with_gains {
                random.uniform(options.gain[0], options.gain[1])
            } else {
                1.0
            };
            let tempo = match options.tempo_scope {
                TempoScope::Mashup | TempoScope::Beat => common_tempo,
                TempoScope::Stem => self.draw_tempo(random),
            };
            plan.push(Part {
                stem,
                song: String::new(),
                start: 0,
                looped: false,
                gain,
                tempo,
            });
        }
        if random.chance(options.own_song_probability) {
            return self.draw_own_song(random, pool, samples, plan);
        }
        let mut settled = Settled {
            used: HashSet::new(),
            beat,
        };
        let mut parts = Vec::with_capacity(4);
        for part in plan {
            if let Some(part) = self.draw_crop(random, pool, samples, part, &settled)? {
                settled.used.insert(recording(&part.song).to_string());
                if let Beat::First = settled.beat
                    && let Some(beats) = self.beats(&self.stem(&part.song, part.stem)?)
                {
                    settled.beat = Beat::Of(beats);
                }
                parts.push(part);
            }
        }
        Ok(parts)
    }

    fn beats(&self, stem: &[f32]) -> Option<f64> {
        tempo::beats_per_minute(stem, self.options.sample_rate)
    }

    /// The tempo at which a stem keeps the beat of those before it; the planned one where there is none to keep.
    fn tempo_of(&self, stem: &[f32], part: &Part, beat: Beat) -> f64 {
        let Beat::Of(anchor) = beat else {
            return part.tempo;
        };
        let [low, high] = self.options.tempo;
        self.beats(stem)
            .map(|own| tempo::matching_speed(anchor, own))
            .filter(|speed| (low..=high).contains(speed))
            .map_or(part.tempo, playback::round_tempo)
    }

    fn draw_tempo(&self, random: &mut Random) -> f64 {
        if random.chance(self.options.tempo_probability) {
            playback::round_tempo(random.uniform(self.options.tempo[0], self.options.tempo[1]))
        } else {
            1.0
        }
    }

    /// A song and a crop for a part: of recordings not used yet while there are any, at the tempo of the beat if there is one. `None` where no song of the
    /// genre has this stem.
    fn draw_crop(
        &self,
        random: &mut Random,
        pool: &Pool,
        samples: usize,
        part: Part,
        settled: &Settled,
    ) -> Result<Option<Part>> {
        let has_stem = |id: &&String| {
            self.songs
                .get(*id)
                .is_some_and(|files| files[part.stem.index()].is_some())
        };
        let all: Vec<Vec<&String>> = pool
            .recordings
            .iter()
            .map(|songs| songs.iter().filter(has_stem).collect::<Vec<_>>())
            .filter(|songs| !songs.is_empty())
            .collect();
        let fresh: Vec<&Vec<&String>> = all
            .iter()
            .filter(|songs| !settled.used.contains(recording(songs[0])))
            .collect();
        let choice: Vec<&Vec<&String>> = if fresh.is_empty() {
            all.iter().collect()
        } else {
            fresh
        };
        if choice.is_empty() {
            return Ok(None);
        }
        let mut best: Option<(f64, Part)> = None;
        for _ in 0..self.options.crop_attempts {
            let songs = choice[random.below(choice.len())];
            let song = songs[random.below(songs.len())];
            let stem = self.stem(song, part.stem)?;
            let tempo = self.tempo_of(&stem, &part, settled.beat);
            let needed = playback::needed(samples, tempo);
            let looped = stem.len() < needed;
            let start = random.below(if looped {
                playback::period(stem.len())
            } else {
                stem.len() - needed + 1
            });
            let level = level_db(if looped {
                &stem
            } else {
                &stem[start..start + needed]
            });
            if best.as_ref().is_none_or(|(loudest, _)| level > *loudest) {
                best = Some((
                    level,
                    Part {
                        song: song.clone(),
                        start,
                        looped,
                        tempo,
                        ..part.clone()
                    },
                ));
            }
            if level >= self.options.min_crop_db {
                break;
            }
        }
        Ok(best.map(|(_, part)| part))
    }

    /// All parts of `plan` from one place of one song. Stems that the song lacks are left out.
    fn draw_own_song(
        &self,
        random: &mut Random,
        pool: &Pool,
        samples: usize,
        plan: Vec<Part>,
    ) -> Result<Vec<Part>> {
        let songs = &pool.recordings[random.below(pool.recordings.len())];
        let song = &songs[random.below(songs.len())];
        let mut parts = Vec::with_capacity(4);
        let mut room = usize::MAX;
        for part in plan {
            if self
                .songs
                .get(song)
                .is_some_and(|files| files[part.stem.index()].is_some())
            {
                let length = self.stem(song, part.stem)?.len();
                let needed = playback::needed(samples, part.tempo);
                let looped = length < needed;
                room = room.min(if looped {
                    playback::period(length)
                } else {
                    length - needed + 1
                });
                parts.push(Part {
                    song: song.clone(),
                    looped,
                    ..part
                });
            }
        }
        let start = random.below(room);
        parts.iter_mut().for_each(|part| part.start = start);
        Ok(parts)
    }

    /// A noise and its place, of which at least half a clip (or half the mashup) is heard. `None` where neither clip
    /// nor music can be heard at any place tried, or where there is no noise.
    fn draw_noise(&self, random: &mut Random, music: &[f32]) -> Result<Option<Noise>> {
        let options = &self.options;
        if self.noise_ids.is_empty() {
            return Ok(None);
        }
        for _ in 0..options.crop_attempts {
            let id = &self.noise_ids[random.below(self.noise_ids.len())];
            let tempo = if random.chance(options.half_rate_probability) {
                0.5
            } else {
                1.0
            };
            let clip = self.noise(id)?;
            let length = playback::played(clip.len(), tempo);
            // The clip may begin before the mashup or end after it, as it would in a piece cut from a longer mashup.
            let least = (length.min(music.len()) / 2).max(1);
            // Where the clip ends, counted from the mashup's beginning.
            let end = least + random.below(music.len() + length - 2 * least + 1);
            let (at, start) = (end.saturating_sub(length), length.saturating_sub(end));
            let heard = (length - start).min(music.len() - at);
            let loudness = if random.chance(options.snr_probability) {
                Loudness::SnrDb(random.uniform(options.snr_db[0], options.snr_db[1]))
            } else {
                Loudness::Amplitude(random.uniform(options.amplitude[0], options.amplitude[1]))
            };
            let noise = Noise {
                id: id.clone(),
                at,
                start,
                length: heard,
                tempo,
                loudness,
            };
            let sound = playback::play_noise(&clip, &noise)?;
            if level_db(&sound) >= SILENCE_DB && level_db(&music[at..at + heard]) >= SILENCE_DB {
                return Ok(Some(noise));
            }
        }
        Ok(None)
    }
}
