//! Decoded stems and noise clips, kept while memory allows.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Error, Result, Waveform};

/// Sounds as mono f32 at one rate, decoded once and shared by threads. Where the memory is used up, what was not
/// asked for longest goes first.
#[derive(Debug)]
pub struct StemCache {
    sample_rate: u32,
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    sounds: HashMap<PathBuf, (Arc<[f32]>, u64)>,
    /// Paths by the time of their last use.
    uses: BTreeMap<u64, PathBuf>,
    time: u64,
    /// Samples held.
    held: usize,
}

impl StemCache {
    /// A cache that holds at most `mebibytes` of samples (4 bytes each) at `sample_rate` Hz. A stem of 30 s at 16 kHz
    /// takes 1.8 MiB. With 0 nothing is kept.
    pub fn new(mebibytes: usize, sample_rate: u32) -> Self {
        let capacity = mebibytes.saturating_mul(1 << 20) / size_of::<f32>();
        Self {
            sample_rate,
            capacity,
            state: Mutex::default(),
        }
    }

    /// The rate of everything in it, Hz.
    pub fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    /// The sound of a file. No lock is held while it is decoded: other threads go on, and two that want the same new
    /// file at once both decode it.
    ///
    /// # Errors
    /// [`Error::Dataset`] that names the file, where it cannot be decoded or holds less than 25 ms.
    pub fn get(&self, path: &Path) -> Result<Arc<[f32]>> {
        if let Some(sound) = self.lock().touch(path) {
            return Ok(sound);
        }
        let unusable = |why: String| Error::Dataset {
            path: path.to_path_buf(),
            message: why,
        };
        let sound = Waveform::open(path)
            .and_then(|sound| sound.resample(self.sample_rate))
            .map_err(|error| unusable(format!("cannot be used: {error}")))?;
        if sound.seconds() < 0.025 {
            return Err(unusable(format!(
                "lasts {:.4} s, which is no sound to mix; replace it",
                sound.seconds()
            )));
        }
        Ok(self.insert(path, sound.samples))
    }

    /// Puts a sound (mono, at the cache's rate) in place of the file at `path`, as if it had been decoded from there.
    /// Gives back what the cache holds for that path from now on.
    pub fn insert(&self, path: &Path, samples: Vec<f32>) -> Arc<[f32]> {
        let sound: Arc<[f32]> = samples.into();
        let mut state = self.lock();
        if let Some(known) = state.touch(path) {
            return known;
        }
        if sound.len() <= self.capacity {
            while state.held + sound.len() > self.capacity && state.forget_oldest() {}
            state.time += 1;
            let time = state.time;
            state.held += sound.len();
            state.uses.insert(time, path.to_path_buf());
            state
                .sounds
                .insert(path.to_path_buf(), (Arc::clone(&sound), time));
        }
        sound
    }

    /// Memory held, bytes.
    pub fn held_bytes(&self) -> usize {
        self.lock().held * size_of::<f32>()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics between the steps of a change, so a poisoned state is a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The sound of `path`, marked as just used.
    fn touch(&mut self, path: &Path) -> Option<Arc<[f32]>> {
        let (sound, time) = self.sounds.get_mut(path)?;
        self.time += 1;
        let last = std::mem::replace(time, self.time);
        let sound = Arc::clone(sound);
        if let Some(path) = self.uses.remove(&last) {
            self.uses.insert(self.time, path);
        }
        Some(sound)
    }

    /// False where there is nothing left to forget.
    fn forget_oldest(&mut self) -> bool {
        let Some((_, path)) = self.uses.pop_first() else {
            return false;
        };
        if let Some((sound, _)) = self.sounds.remove(&path) {
            self.held -= sound.len();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first_and_memory_is_bounded() {
        let cache = StemCache::new(1, 16_000);
        let third = (1 << 20) / 4 / 3;
        let path = |name: &str| PathBuf::from(format!("/nowhere/{name}.wav"));
        for name in ["a", "b", "c"] {
            cache.insert(&path(name), vec![1.0; third]);
        }
        cache.get(&path("a")).unwrap();
        cache.insert(&path("d"), vec![1.0; third]);
        assert!(cache.get(&path("a")).is_ok());
        assert!(cache.lock().touch(&path("b")).is_none());
        assert!(cache.held_bytes() <= 1 << 20);
        // Larger than the whole cache: given, not kept, and nothing is pushed out for it.
        assert_eq!(cache.insert(&path("e"), vec![0.5; 1 << 19]).len(), 1 << 19);
        assert!(cache.lock().touch(&path("e")).is_none());
        assert!(cache.get(&path("d")).is_ok());
        assert_eq!(cache.held_bytes(), 3 * third * 4);
    }

    #[test]
    fn the_first_insertion_stays() {
        let cache = StemCache::new(1, 16_000);
        cache.insert(Path::new("x"), vec![1.0]);
        assert_eq!(cache.insert(Path::new("x"), vec![2.0])[0], 1.0);
    }
}
