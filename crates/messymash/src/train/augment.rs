//! Settings of what is done to a training mashup after it is made, besides masks: mixup, an early end, and a narrower band.

use serde::{Deserialize, Serialize};

use crate::random::Random;
use crate::{Error, Result};

/// Two mashups in one, and a target that says how much of each (Zhang et al. 2018): of their sounds, as AST's authors do it.
///
/// The other mashup is one of the same batch, so that nothing is made twice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mixup {
    /// How often a mashup gets another one mixed in; 0 for never. A batch must then hold two.
    pub probability: f64,
    /// The share of each is drawn from Beta(alpha, alpha): small values leave mostly one of the two.
    pub alpha: f64,
}

/// Mashups that end before the window does, so that the rest of the input is padding as for a short sound: a model that has only
/// heard full windows is lost where it is given a short one alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shorten {
    /// How often a mashup is shortened; 0 for never.
    pub probability: f64,
    /// What is left of it, from its beginning, drawn uniformly, s; all of it where that is less.
    pub seconds: [f64; 2],
}

/// Mashups as from a source that holds nothing above some frequency, such as a low sampling rate, a lossy codec or a dull
/// loudspeaker: a model must not lean on what is there only in its training data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bandwidth {
    /// How often a mashup is cut; 0 for never.
    pub probability: f64,
    /// The frequency, drawn uniformly, Hz.
    pub hertz: [f64; 2],
}

impl Default for Mixup {
    fn default() -> Self {
        Self {
            probability: 0.0,
            alpha: 0.3,
        }
    }
}

impl Default for Shorten {
    /// From the shortest excerpts that people have labelled to nearly a whole window of AST.
    fn default() -> Self {
        Self {
            probability: 0.0,
            seconds: [2.0, 10.0],
        }
    }
}

impl Default for Bandwidth {
    /// From what an old recording leaves up to all that a model of 16 kHz hears.
    fn default() -> Self {
        Self {
            probability: 0.0,
            hertz: [5000.0, 8000.0],
        }
    }
}

impl Mixup {
    /// For example `n` of a batch of `batch_size`: the number of the other one, and the share of the first. `None` where it is
    /// left alone.
    pub(super) fn draw(&self, random: &mut Random, n: usize, batch_size: usize) -> Option<(usize, f32)> {
        if !random.chance(self.probability) || batch_size < 2 {
            return None;
        }
        let other = (n + 1 + random.below(batch_size - 1)) % batch_size;
        Some((other, random.beta(self.alpha) as f32))
    }

    pub(super) fn check(&self, batch_size: usize) -> Result<()> {
        probability("mixup.probability", self.probability)?;
        if !(1e-3..=1e3).contains(&self.alpha) {
            return Err(Error::Config(format!(
                "mixup.alpha is {}; it must be from 0.001 to 1000",
                self.alpha
            )));
        }
        if self.probability > 0.0 && batch_size < 2 {
            return Err(Error::Config(
                "mixup mixes two mashups of a batch, but batch_size is 1; make it 2 or more (micro_batch may stay)".into(),
            ));
        }
        Ok(())
    }
}

impl Shorten {
    /// How many of a mashup's samples are kept.
    pub(super) fn draw(&self, random: &mut Random, samples: usize, sample_rate: u32) -> usize {
        if !random.chance(self.probability) {
            return samples;
        }
        let seconds = random.uniform(self.seconds[0], self.seconds[1]);
        samples.min((seconds * f64::from(sample_rate)).round() as usize)
    }

    pub(super) fn check(&self) -> Result<()> {
        probability("shorten.probability", self.probability)?;
        let [low, high] = self.seconds;
        // A tenth of a second is four windows of the Fourier transform; an hour is more than any model hears at once.
        if low >= 0.1 && low <= high && high <= 3600.0 {
            return Ok(());
        }
        Err(Error::Config(format!(
            "shorten.seconds is [{low}, {high}]; the lower value comes first, both from 0.1 to 3600"
        )))
    }
}

impl Bandwidth {
    /// The frequency above which a mashup is cut, Hz; `None` where it is left alone.
    pub(super) fn draw(&self, random: &mut Random) -> Option<f64> {
        random
            .chance(self.probability)
            .then(|| random.uniform(self.hertz[0], self.hertz[1]))
    }

    pub(super) fn check(&self) -> Result<()> {
        probability("bandwidth.probability", self.probability)?;
        let [low, high] = self.hertz;
        if low >= 100.0 && low <= high && high <= 96_000.0 {
            return Ok(());
        }
        Err(Error::Config(format!(
            "bandwidth.hertz is [{low}, {high}]; the lower value comes first, both from 100 to 96000"
        )))
    }
}

fn probability(name: &str, value: f64) -> Result<()> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    Err(Error::Config(format!(
        "{name} is {value}; it must be from 0 to 1"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_one_is_another_and_as_often_as_asked() {
        let mixup = Mixup {
            probability: 0.25,
            alpha: 1.0,
        };
        let draws: Vec<_> = (0..4000)
            .map(|i| mixup.draw(&mut Random::new(&[i]), 3, 8))
            .collect();
        let drawn: Vec<(usize, f32)> = draws.into_iter().flatten().collect();
        assert!((850..1150).contains(&drawn.len()), "{}", drawn.len());
        for other in 0..8 {
            let count = drawn.iter().filter(|(o, _)| *o == other).count();
            assert_eq!(count > 90, other != 3, "{other}: {count}");
        }
        assert!(drawn.iter().all(|(_, share)| (0.0..=1.0).contains(share)));
        assert_eq!(Mixup::default().draw(&mut Random::new(&[1]), 0, 8), None);
        assert_eq!(Bandwidth::default().draw(&mut Random::new(&[1])), None);
        assert_eq!(Shorten::default().draw(&mut Random::new(&[1]), 9, 16_000), 9);
    }
}
