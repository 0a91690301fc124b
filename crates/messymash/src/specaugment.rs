//! Masks in frequency and time over log-mel features (Park et al. 2019, without time warping).

use serde::{Deserialize, Serialize};

use crate::random::{Random, purpose};

/// How many masks, and how wide at most. The defaults are half of what AudioSet recipes use (48 bins, 192 frames): a
/// mashup with noise is augmented already.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpecAugment {
    /// Masks over bands of mel bins, through all frames.
    pub frequency_masks: usize,
    /// Widest such mask, bins.
    pub frequency_width: usize,
    /// Masks over spans of frames, through all bins.
    pub time_masks: usize,
    /// Widest such mask, frames.
    pub time_width: usize,
}

impl Default for SpecAugment {
    fn default() -> Self {
        Self {
            frequency_masks: 2,
            frequency_width: 24,
            time_masks: 2,
            time_width: 96,
        }
    }
}

impl SpecAugment {
    /// Masks `features` [frames, bins], row-major, in place with `value` (the features' mean: 0 once normalised).
    ///
    /// The width of each mask is uniform in 0..=width (at most half of what there is, so that something is always
    /// left to hear), its place uniform. All randomness is from `seed`. Masks may overlap. Features that are not a
    /// whole number of frames, or that have no bins, are left alone.
    pub fn apply(&self, features: &mut [f32], bins: usize, value: f32, seed: u64) {
        if bins == 0 || features.is_empty() || !features.len().is_multiple_of(bins) {
            return;
        }
        let frames = features.len() / bins;
        let mut random = Random::new(&[purpose::SPEC_AUGMENT, seed]);
        for _ in 0..self.frequency_masks {
            let (start, end) = mask(&mut random, self.frequency_width, bins);
            for frame in features.chunks_exact_mut(bins) {
                frame[start..end].fill(value);
            }
        }
        for _ in 0..self.time_masks {
            let (start, end) = mask(&mut random, self.time_width, frames);
            features[start * bins..end * bins].fill(value);
        }
    }
}

/// A span of at most `width` (and half of `length`) somewhere in `0..length`.
fn mask(random: &mut Random, width: usize, length: usize) -> (usize, usize) {
    let width = random.below(width.min(length / 2) + 1);
    let start = random.below(length - width + 1);
    (start, start + width)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BINS: usize = 128;
    const FRAMES: usize = 1024;

    fn masked(options: &SpecAugment, seed: u64) -> Vec<f32> {
        let mut features = vec![1.0; FRAMES * BINS];
        options.apply(&mut features, BINS, 0.0, seed);
        features
    }

    /// Bins that are masked in every frame, and frames that are masked in every bin.
    fn counts(features: &[f32]) -> (usize, usize) {
        let bins = (0..BINS)
            .filter(|&bin| features.iter().skip(bin).step_by(BINS).all(|x| *x == 0.0))
            .count();
        let frames = features
            .chunks(BINS)
            .filter(|frame| frame.iter().all(|x| *x == 0.0))
            .count();
        (bins, frames)
    }

    #[test]
    fn masks_have_the_widths_asked_for_and_cover_nothing_else() {
        let options = SpecAugment::default();
        let (mut widest_band, mut widest_span) = (0, 0);
        for seed in 0..200 {
            let features = masked(&options, seed);
            let (bins, frames) = counts(&features);
            assert!(bins <= 48 && frames <= 192, "{bins} bins, {frames} frames");
            let zeros = features.iter().filter(|x| **x == 0.0).count();
            assert_eq!(zeros, bins * FRAMES + frames * BINS - bins * frames);
            widest_band = widest_band.max(bins);
            widest_span = widest_span.max(frames);
        }
        assert!(
            widest_band > 36 && widest_span > 140,
            "{widest_band} bins, {widest_span} frames"
        );
    }

    #[test]
    fn each_direction_alone() {
        let only_time = SpecAugment {
            frequency_masks: 0,
            ..Default::default()
        };
        let only_frequency = SpecAugment {
            time_masks: 0,
            ..Default::default()
        };
        let (mut bins, mut frames) = (0, 0);
        for seed in 0..20 {
            let (none, some) = counts(&masked(&only_time, seed));
            assert_eq!(none, 0);
            frames += some;
            let (some, none) = counts(&masked(&only_frequency, seed));
            assert_eq!(none, 0);
            bins += some;
        }
        assert!(bins > 0 && frames > 0);
    }

    #[test]
    fn the_seed_decides() {
        let options = SpecAugment::default();
        assert_eq!(masked(&options, 5), masked(&options, 5));
        assert_ne!(masked(&options, 5), masked(&options, 6));
    }

    #[test]
    fn nothing_is_masked_away_completely() {
        let wide = SpecAugment {
            frequency_masks: 1,
            frequency_width: 10_000,
            time_masks: 1,
            time_width: 10_000,
        };
        for seed in 0..100 {
            let zeros = masked(&wide, seed).iter().filter(|x| **x == 0.0).count();
            assert!(zeros <= FRAMES * BINS * 3 / 4);
        }
    }

    #[test]
    fn odd_shapes_are_left_alone() {
        let options = SpecAugment::default();
        let mut features = vec![1.0; 130];
        options.apply(&mut features, 128, 0.0, 1);
        options.apply(&mut features, 0, 0.0, 1);
        options.apply(&mut [], 128, 0.0, 1);
        assert_eq!(features, vec![1.0; 130]);
        options.apply(&mut features, 130, 0.0, 1);
        assert!(features.contains(&1.0));
    }
}
