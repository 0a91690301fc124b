//! Numbers drawn from explicit seeds: the same on every machine and in every version.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What the first of the seeds stands for where several parts draw from one user's seed, so that no two of them share a
/// sequence.
pub(crate) mod purpose {
    pub(crate) const SPLIT: u64 = 1;
    pub(crate) const REMIX: u64 = 2;
    pub(crate) const SPEC_AUGMENT: u64 = 3;
}

/// A generator whose whole state follows from a few integers, so that nothing of it need be saved.
#[derive(Debug, Clone)]
pub struct Random(ChaCha8Rng);

impl Random {
    /// The generator of these integers (up to four; order counts).
    pub fn new(seeds: &[u64]) -> Self {
        let mut key = [0u8; 32];
        for (slot, seed) in key.chunks_exact_mut(8).zip(seeds) {
            slot.copy_from_slice(&seed.to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(key))
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in [0, 1), with 53 bits.
    pub fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in [low, high).
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Uniform in 0..n; 0 for n = 0. The bias of the multiplication is below n / 2^64.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.0.next_u64()) * n as u128) >> 64) as usize
    }

    /// True with the given probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// An index drawn by the given weights (which need not sum to one); 0 if none is positive.
    pub fn weighted(&mut self, weights: &[f64]) -> usize {
        let mut left = self.unit() * weights.iter().sum::<f64>();
        for (index, weight) in weights.iter().enumerate() {
            if left < *weight {
                return index;
            }
            left -= weight;
        }
        weights.iter().rposition(|w| *w > 0.0).unwrap_or(0)
    }

    /// Normal with mean 0 and deviation 1 (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Beta with both parameters `alpha`, above 0: in [0, 1], symmetric about 1/2, at the ends for a small `alpha`.
    pub fn beta(&mut self, alpha: f64) -> f64 {
        // x / (x + y) of two gamma variates, by their logarithms: for a small alpha both are smaller than any number.
        let (x, y) = (self.ln_gamma(alpha), self.ln_gamma(alpha));
        1.0 / (1.0 + (y - x).exp())
    }

    /// The logarithm of a gamma variate (Marsaglia and Tsang 2000).
    fn ln_gamma(&mut self, alpha: f64) -> f64 {
        if alpha < 1.0 {
            let power = (1.0 - self.unit()).ln() / alpha;
            return self.ln_gamma(alpha + 1.0) + power;
        }
        let d = alpha - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            let u = 1.0 - self.unit();
            if v > 0.0 && u.ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return (d * v).ln();
            }
        }
    }

    /// Puts the items in random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_in_another_order_give_other_numbers() {
        let first = |seeds: &[u64]| Random::new(seeds).unit();
        assert_eq!(first(&[1, 2]), first(&[1, 2]));
        assert_ne!(first(&[1, 2]), first(&[2, 1]));
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut random = Random::new(&[7]);
        let n = 100_000;
        let uniform: f64 = (0..n).map(|_| random.uniform(2.0, 4.0)).sum::<f64>() / f64::from(n);
        assert!((uniform - 3.0).abs() < 0.01);
        let normals: Vec<f64> = (0..n).map(|_| random.normal()).collect();
        let mean = normals.iter().sum::<f64>() / f64::from(n);
        let variance = normals.iter().map(|x| x * x).sum::<f64>() / f64::from(n);
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03);
        let mut counts = [0; 3];
        (0..30_000).for_each(|_| counts[random.below(3)] += 1);
        assert!(counts.iter().all(|c| (9_500..10_500).contains(c)));
        let mut drawn = [0; 3];
        (0..20_000).for_each(|_| drawn[random.weighted(&[0.5, 0.0, 0.5])] += 1);
        assert!(drawn[1] == 0 && (9_500..10_500).contains(&drawn[0]), "{drawn:?}");
        assert_eq!(random.below(0), 0);
        // Variance of Beta(a, a): 1 / (4 (2 a + 1)).
        for alpha in [0.3, 1.0, 5.0] {
            let shares: Vec<f64> = (0..20_000).map(|_| random.beta(alpha)).collect();
            let mean = shares.iter().sum::<f64>() / 20_000.0;
            let variance = shares.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 20_000.0;
            let wanted = 0.25 / (2.0 * alpha + 1.0);
            assert!((mean - 0.5).abs() < 0.01, "{alpha}: mean {mean}");
            assert!(
                (variance / wanted - 1.0).abs() < 0.05,
                "{alpha}: variance {variance}"
            );
        }
        assert!((0..1000).all(|_| (0.0..=1.0).contains(&random.beta(1e-6))));
        let mut items: Vec<usize> = (0..50).collect();
        random.shuffle(&mut items);
        assert_ne!(items, (0..50).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());
    }
}
