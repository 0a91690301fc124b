//! The tempo of a stem, for mashups whose stems keep one beat.

use std::f64::consts::SQRT_2;

/// Steps of the onset envelope a second.
const STEPS: u32 = 100;

/// Slowest and fastest tempo that is told, beats per minute.
const RANGE: [f64; 2] = [60.0, 200.0];

/// Autocorrelation of the onsets from which on there is a beat. Onsets of noise stay below 0.1 over ten seconds.
const CLEAR: f64 = 0.15;

/// Beats per minute of mono sound, from 60 to 200; `None` where no beat stands out, or in less than four seconds.
///
/// The lag at which the onsets (rises of the logarithm of the energy, in steps of 10 ms) resemble themselves most, those near
/// 120 a minute preferred; then refined at four times that lag.
pub(super) fn beats_per_minute(samples: &[f32], rate: u32) -> Option<f64> {
    let onsets = onsets(samples, (rate / STEPS) as usize);
    let power: f64 = onsets.iter().map(|x| x * x).sum();
    let per_minute = 60.0 * f64::from(STEPS);
    let (first, last) = ((per_minute / RANGE[1]) as usize, (per_minute / RANGE[0]) as usize);
    if power <= 0.0 || onsets.len() < 4 * last {
        return None;
    }
    let likeness = |lag: usize| {
        let pairs = onsets.iter().zip(&onsets[lag..]);
        let sum: f64 = pairs.map(|(a, b)| a * b).sum();
        sum / power * onsets.len() as f64 / (onsets.len() - lag) as f64
    };
    let preferred = |lag: usize| {
        let octaves = (per_minute / lag as f64 / 120.0).log2();
        likeness(lag) * (-0.5 * octaves * octaves).exp()
    };
    let lag = (first..=last).max_by(|&a, &b| preferred(a).total_cmp(&preferred(b)))?;
    if likeness(lag) < CLEAR {
        return None;
    }
    // What is off by less than half a step here is off by four times that there.
    let far = if 4 * lag + 3 < onsets.len() { 4 } else { 1 };
    let around = far * lag - 2..=far * lag + 2;
    let peak = around.max_by(|&a, &b| likeness(a).total_cmp(&likeness(b)))?;
    let (before, at, after) = (likeness(peak - 1), likeness(peak), likeness(peak + 1));
    let curve = before - 2.0 * at + after;
    let offset = if curve < 0.0 {
        (0.5 * (before - after) / curve).clamp(-0.5, 0.5)
    } else {
        0.0
    };
    Some(per_minute * far as f64 / (peak as f64 + offset))
}

/// The speed at which a beat of `own` falls together with one of `anchor`, or with every second or each half of its beats,
/// whichever is nearest to 1: within a factor of the root of 2.
pub(super) fn matching_speed(anchor: f64, own: f64) -> f64 {
    let mut speed = anchor / own;
    while speed > SQRT_2 {
        speed /= 2.0;
    }
    while speed < 1.0 / SQRT_2 {
        speed *= 2.0;
    }
    speed
}

/// Rises of the logarithm of the energy from step to step, less their mean.
fn onsets(samples: &[f32], step: usize) -> Vec<f64> {
    let energies: Vec<f64> = samples.chunks_exact(step.max(1)).map(super::energy).collect();
    let loudest = energies.iter().copied().fold(0.0, f64::max);
    if loudest <= 0.0 {
        return Vec::new();
    }
    // 40 dB below the loudest is silence: what rises there is no beat.
    let level = |energy: f64| (energy / loudest + 1e-4).ln();
    let rises: Vec<f64> = energies
        .windows(2)
        .map(|pair| (level(pair[1]) - level(pair[0])).max(0.0))
        .collect();
    let mean = rises.iter().sum::<f64>() / rises.len().max(1) as f64;
    rises.iter().map(|rise| rise - mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    const RATE: u32 = 16_000;

    /// A decaying burst on every beat, over a little noise.
    fn beats(per_minute: f64, seconds: f64) -> Vec<f32> {
        let mut random = Random::new(&[1]);
        let every = 60.0 / per_minute * f64::from(RATE);
        (0..(seconds * f64::from(RATE)) as usize)
            .map(|i| {
                let since = i as f64 % every / f64::from(RATE);
                (random.normal() * (0.3 * (-since / 0.03).exp() + 0.002)) as f32
            })
            .collect()
    }

    #[test]
    fn beats_are_counted() {
        for wanted in [72.0, 90.0, 101.3, 120.0, 133.7, 155.0] {
            let told = beats_per_minute(&beats(wanted, 12.0), RATE).unwrap();
            // Every second beat, or one between, is the same tempo to a mashup.
            let speed = matching_speed(told, wanted);
            assert!((speed - 1.0).abs() < 0.01, "{told} for {wanted}");
        }
    }

    #[test]
    fn where_nothing_beats_nothing_is_told() {
        let mut random = Random::new(&[2]);
        let noise: Vec<f32> = (0..160_000).map(|_| random.normal() as f32 * 0.1).collect();
        assert_eq!(beats_per_minute(&noise, RATE), None);
        assert_eq!(beats_per_minute(&vec![0.0; 160_000], RATE), None);
        assert_eq!(
            beats_per_minute(&beats(120.0, 3.0), RATE),
            None,
            "too short to tell"
        );
        assert_eq!(beats_per_minute(&[], RATE), None);
    }

    #[test]
    fn speeds_are_the_nearest_to_one() {
        for (anchor, own, speed) in [
            (120.0, 120.0, 1.0),
            (120.0, 100.0, 1.2),
            (120.0, 60.0, 1.0),
            (63.0, 120.0, 1.05),
            (180.0, 100.0, 0.9),
        ] {
            assert!(
                (matching_speed(anchor, own) - speed).abs() < 1e-9,
                "{anchor} {own}"
            );
        }
    }
}
