//! Random numbers for data: a generator keyed by what it is for, and the few distributions that are needed.
//!
//! Everything is drawn from ChaCha8 with an explicit key, so a draw is the same on every machine and in every order
//! of threads. Nothing here touches a system generator.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng};

/// What the numbers are for. It is part of the key, so that two users of one seed never share a sequence.
#[derive(Debug, Clone, Copy)]
#[repr(u64)]
pub(crate) enum Purpose {
    Split = 1,
    Remix = 2,
    SpecAugment = 3,
}

/// A stream of random numbers.
#[derive(Debug)]
pub(crate) struct Random(ChaCha8Rng);

impl Random {
    /// The stream of `purpose` for the three numbers of `key` (for a mashup: seed, epoch, index).
    pub(crate) fn new(purpose: Purpose, key: [u64; 3]) -> Self {
        let mut seed = [0; 32];
        for (bytes, word) in seed
            .chunks_exact_mut(8)
            .zip([purpose as u64, key[0], key[1], key[2]])
        {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(seed))
    }

    /// Uniform in [0, 1), in steps of 2^-53.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in [low, high].
    pub(crate) fn between(&mut self, range: [f64; 2]) -> f64 {
        range[0] + (range[1] - range[0]) * self.unit()
    }

    /// Uniform in 0..count; 0 if `count` is 0.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        // The high word of a 64 x 64 bit product; its bias (count / 2^64) is far below anything measurable.
        ((u128::from(self.0.next_u64()) * count as u128) >> 64) as usize
    }

    /// True with the given probability.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// An index drawn by the given weights (which need not sum to one); 0 if none is positive.
    pub(crate) fn weighted(&mut self, weights: &[f64]) -> usize {
        let mut left = self.unit() * weights.iter().sum::<f64>();
        for (index, weight) in weights.iter().enumerate() {
            if left < *weight {
                return index;
            }
            left -= weight;
        }
        weights.iter().rposition(|w| *w > 0.0).unwrap_or(0)
    }

    /// Puts `items` in random order (Fisher-Yates).
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_reproducible_and_keyed() {
        let draw = |purpose, key| {
            let mut random = Random::new(purpose, key);
            [random.unit(), random.unit()]
        };
        assert_eq!(draw(Purpose::Remix, [1, 2, 3]), draw(Purpose::Remix, [1, 2, 3]));
        assert_ne!(draw(Purpose::Remix, [1, 2, 3]), draw(Purpose::Remix, [1, 3, 2]));
        assert_ne!(draw(Purpose::Remix, [1, 2, 3]), draw(Purpose::Split, [1, 2, 3]));
    }

    #[test]
    fn distributions_have_their_ranges_and_means() {
        let mut random = Random::new(Purpose::Remix, [7, 0, 0]);
        let values: Vec<f64> = (0..20_000).map(|_| random.between([-1.0, 3.0])).collect();
        assert!(values.iter().all(|v| (-1.0..=3.0).contains(v)));
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        assert!((mean - 1.0).abs() < 0.05, "mean {mean}");
        let mut counts = [0usize; 3];
        for _ in 0..20_000 {
            counts[random.weighted(&[0.5, 0.0, 0.5])] += 1;
        }
        assert_eq!(counts[1], 0);
        assert!(counts[0].abs_diff(counts[2]) < 1_000, "{counts:?}");
        assert_eq!(random.below(0), 0);
        assert!((0..1000).all(|_| random.below(3) < 3));
    }

    #[test]
    fn shuffling_keeps_every_item() {
        let mut items: Vec<usize> = (0..100).collect();
        Random::new(Purpose::Split, [1, 1, 1]).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
