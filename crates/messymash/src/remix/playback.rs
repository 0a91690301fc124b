//! Playing a stem or a noise clip: cropped or looped, at another tempo.
//!
//! A change of tempo is a resampling by a windowed sinc. Tempos are multiples of 1/256, so the interpolator has 256
//! phases and each is exact: nothing is interpolated between phases.

use std::f64::consts::PI;
use std::sync::LazyLock;

use super::{Noise, Part};
use crate::{Error, Result};

/// Phases between two samples, and the grain of tempos.
const PHASES: usize = 256;

/// Taps of the interpolator.
const TAPS: usize = 32;

/// Cut-off relative to the lower of the two Nyquist frequencies. With 32 taps under a Kaiser window of beta 6, -63 dB
/// are reached 0.06 of the rate further up, just about Nyquist; at 16 kHz the band is flat to 6.4 kHz.
const CUTOFF: f64 = 0.92;

/// See [`CUTOFF`].
const KAISER_BETA: f64 = 6.0;

/// Cross-fade where the end of a looped stem meets its beginning: 10 ms at 16 kHz. Shorter ones click.
const FADE: usize = 160;

/// The Kaiser window of each phase and tap. It is the same for every tempo; the sinc under it is not.
static WINDOW: LazyLock<Vec<[f32; TAPS]>> = LazyLock::new(|| {
    let half = (TAPS / 2) as f64;
    let peak = bessel_i0(KAISER_BETA);
    (0..PHASES)
        .map(|phase| {
            std::array::from_fn(|tap| {
                let x = distance(phase, tap) / half;
                (bessel_i0(KAISER_BETA * (1.0 - x * x).max(0.0).sqrt()) / peak) as f32
            })
        })
        .collect()
});

/// The nearest tempo that can be played, as a number of 256ths.
pub(super) fn tempo_steps(tempo: f64) -> usize {
    (tempo * PHASES as f64).round() as usize
}

/// The nearest tempo that can be played.
pub(super) fn round_tempo(tempo: f64) -> f64 {
    tempo_steps(tempo) as f64 / PHASES as f64
}

/// Samples of a source that `samples` of output take at a tempo.
pub(super) fn needed(samples: usize, tempo: f64) -> usize {
    match tempo_steps(tempo) {
        PHASES => samples,
        steps => samples.saturating_sub(1) * steps / PHASES + 1,
    }
}

/// Samples that a source of `samples` gives at a tempo: the most of which [`needed`] is not more than it has.
pub(super) fn played(samples: usize, tempo: f64) -> usize {
    match tempo_steps(tempo) {
        PHASES => samples,
        steps => (samples * PHASES).div_ceil(steps),
    }
}

/// Length after which a looped stem repeats, samples.
pub(super) fn period(samples: usize) -> usize {
    samples - fade(samples)
}

fn fade(samples: usize) -> usize {
    FADE.min(samples / 4)
}

/// Adds a part to `music`, over its whole length.
pub(super) fn add_part(stem: &[f32], part: &Part, music: &mut [f32]) -> Result<()> {
    let room = if part.looped {
        period(stem.len())
    } else {
        (stem.len() + 1).saturating_sub(needed(music.len(), part.tempo))
    };
    if part.start >= room {
        return Err(Error::Config(format!(
            "the recipe takes the {} of {} from sample {}, but the file is too short for that ({} samples)",
            part.stem.name(),
            part.song,
            part.start,
            stem.len()
        )));
    }
    let gain = part.gain as f32;
    if part.looped {
        let cycle = cycle(stem);
        if tempo_steps(part.tempo) == PHASES {
            for (out, x) in music.iter_mut().zip(cycle.iter().cycle().skip(part.start)) {
                *out += gain * x;
            }
            return Ok(());
        }
        // Begins early enough for the taps to the left of the first sample.
        let lead = TAPS / 2 - 1;
        let first = part.start + lead.div_ceil(cycle.len()) * cycle.len() - lead;
        let count = needed(music.len(), part.tempo) + TAPS;
        let source: Vec<f32> = cycle.iter().copied().cycle().skip(first).take(count).collect();
        add_resampled((&source, 0), tempo_steps(part.tempo), gain, music);
    } else if tempo_steps(part.tempo) == PHASES {
        for (out, x) in music.iter_mut().zip(&stem[part.start..]) {
            *out += gain * x;
        }
    } else {
        let source = padded(stem, part.start, needed(music.len(), part.tempo));
        add_resampled((&source, 0), tempo_steps(part.tempo), gain, music);
    }
    Ok(())
}

/// The samples of a noise, at the clip's own loudness.
pub(super) fn play_noise(clip: &[f32], noise: &Noise) -> Result<Vec<f32>> {
    let available = played(clip.len(), noise.tempo);
    let end = noise
        .start
        .checked_add(noise.length)
        .filter(|&end| end <= available)
        .ok_or_else(|| {
            Error::Config(format!(
                "the recipe takes more of the noise {} than its file holds",
                noise.id
            ))
        })?;
    if tempo_steps(noise.tempo) == PHASES {
        return Ok(clip[noise.start..end].to_vec());
    }
    let steps = tempo_steps(noise.tempo);
    // Only what is heard is computed, however long the clip is.
    let position = noise.start * steps;
    let source = padded(clip, position / PHASES, needed(noise.length, noise.tempo) + 1);
    let mut sound = vec![0.0; noise.length];
    add_resampled((&source, position % PHASES), steps, 1.0, &mut sound);
    Ok(sound)
}

/// `count` samples from `start` with what the taps need on both sides: the sound's own samples, zeros beyond its ends.
fn padded(sound: &[f32], start: usize, count: usize) -> Vec<f32> {
    let lead = TAPS / 2 - 1;
    let zeros = lead.saturating_sub(start);
    let first = start.saturating_sub(lead);
    let last = (start + count + TAPS / 2).min(sound.len());
    let mut source = vec![0.0; zeros];
    source.extend_from_slice(&sound[first..last]);
    source.resize(count + TAPS, 0.0);
    source
}

/// One period of a looped sound: its end is faded into its beginning, at equal power because the two are unrelated.
fn cycle(sound: &[f32]) -> Vec<f32> {
    let (period, fade) = (period(sound.len()), fade(sound.len()));
    let mut cycle = sound[..period].to_vec();
    for (i, (out, tail)) in cycle.iter_mut().zip(&sound[period..]).enumerate() {
        let angle = PI / 2.0 * (i as f64 + 0.5) / fade as f64;
        *out = *out * angle.sin() as f32 + tail * angle.cos() as f32;
    }
    cycle
}

/// Adds `gain` x the source at `steps` / 256 of its speed, from `phase` / 256 of a sample behind `source[TAPS / 2 - 1]` on.
fn add_resampled((source, phase): (&[f32], usize), steps: usize, gain: f32, out: &mut [f32]) {
    let rows = interpolator(steps, gain);
    let mut position = phase;
    for y in out {
        let (base, phase) = (position / PHASES, position % PHASES);
        let Some(x) = source.get(base..base + TAPS) else {
            return;
        };
        let row = &rows[phase];
        // Eight independent sums, in an order that is fixed: fast on every machine, and the same.
        let mut lanes = [0.0f32; 8];
        for (x, w) in x.chunks_exact(8).zip(row.chunks_exact(8)) {
            for lane in 0..8 {
                lanes[lane] += x[lane] * w[lane];
            }
        }
        *y += (lanes[0] + lanes[4]) + (lanes[1] + lanes[5]) + ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7]));
        position += steps;
    }
}

/// The taps of every phase, each row summing to `gain`.
fn interpolator(steps: usize, gain: f32) -> Vec<[f32; TAPS]> {
    let cutoff = CUTOFF * (PHASES as f64 / steps as f64).min(1.0);
    WINDOW
        .iter()
        .enumerate()
        .map(|(phase, window)| {
            let mut row: [f32; TAPS] = std::array::from_fn(|tap| {
                let x = PI * cutoff * distance(phase, tap);
                window[tap] * if x == 0.0 { 1.0 } else { (x.sin() / x) as f32 }
            });
            let scale = gain / row.iter().sum::<f32>();
            row.iter_mut().for_each(|w| *w *= scale);
            row
        })
        .collect()
}

/// From the point that `phase` stands for to the sample of `tap`, in samples.
fn distance(phase: usize, tap: usize) -> f64 {
    tap as f64 - (TAPS / 2 - 1) as f64 - phase as f64 / PHASES as f64
}

/// Modified Bessel function of the first kind and order zero, by its series.
fn bessel_i0(x: f64) -> f64 {
    let (mut sum, mut term, mut n) = (1.0, 1.0, 1.0);
    while term > 1e-12 * sum {
        term *= (x / (2.0 * n)).powi(2);
        sum += term;
        n += 1.0;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Stem;

    fn sine(frequency: f64, samples: usize) -> Vec<f32> {
        (0..samples)
            .map(|i| (2.0 * PI * frequency * i as f64).sin() as f32)
            .collect()
    }

    fn part(start: usize, looped: bool, tempo: f64) -> Part {
        Part {
            stem: Stem::Bass,
            song: "x/y".into(),
            start,
            looped,
            gain: 1.0,
            tempo,
        }
    }

    fn play(stem: &[f32], part: &Part, samples: usize) -> Vec<f32> {
        let mut music = vec![0.0; samples];
        add_part(stem, part, &mut music).unwrap();
        music
    }

    #[test]
    fn tempo_moves_a_sine_and_nothing_else() {
        for tempo in [0.5, 0.85, 1.0 + 1.0 / 256.0, 1.15, 2.0] {
            let tempo = round_tempo(tempo);
            let stem = sine(0.05, 20_000);
            let heard = play(&stem, &part(1_000, false, tempo), 4_000);
            for (i, y) in heard.iter().enumerate() {
                let expected = (2.0 * PI * 0.05 * (1_000.0 + i as f64 * tempo)).sin();
                assert!(
                    (f64::from(*y) - expected).abs() < 2e-3,
                    "tempo {tempo}, sample {i}: {y} for {expected}"
                );
            }
        }
    }

    #[test]
    fn what_a_faster_tempo_moves_beyond_nyquist_is_gone() {
        // 0.48 of the rate, twice as fast, would be heard at 0.04.
        let heard = play(&sine(0.48, 30_000), &part(500, false, 2.0), 10_000);
        let level = 10.0 * (super::super::energy(&heard) / heard.len() as f64).log10();
        assert!(level < -55.0, "{level} dB");
    }

    #[test]
    fn a_looped_stem_has_no_seam() {
        // 997 samples are not a whole number of periods of this sine: without a fade the seam would be a step of 1.4.
        let stem = sine(0.0103, 997);
        for tempo in [1.0, 0.875] {
            let heard = play(&stem, &part(800, true, tempo), 20_000);
            let step = heard.windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max);
            assert!(step < 0.12, "a step of {step} at tempo {tempo}");
            assert!(
                heard
                    .chunks(800)
                    .all(|chunk| super::super::level_db(chunk) > -8.0)
            );
        }
        let heard = play(&stem, &part(200, true, 1.0), 5_000);
        assert_eq!(heard[..637], stem[200..837]);
        let period = period(stem.len());
        assert_eq!(heard[..1_000], heard[period..period + 1_000]);
    }

    #[test]
    fn lengths_at_a_tempo_are_consistent() {
        for tempo in [0.5, 0.8515625, 1.0, 1.1484375, 2.0] {
            for samples in [1, 2, 399, 400, 80_000] {
                let length = played(samples, tempo);
                assert!(needed(length, tempo) <= samples, "{samples} at {tempo}");
                assert!(needed(length + 1, tempo) > samples, "{samples} at {tempo}");
            }
        }
    }

    #[test]
    fn positions_beyond_a_file_are_errors() {
        let stem = sine(0.1, 1_000);
        for wrong in [
            part(1, false, 1.0),
            part(0, false, 1.5),
            part(999, true, 1.0),
            part(usize::MAX, true, 1.0),
        ] {
            assert!(add_part(&stem, &wrong, &mut [0.0; 1_000]).is_err(), "{wrong:?}");
        }
        let noise = Noise {
            id: "n".into(),
            at: 0,
            start: 10,
            length: usize::MAX,
            tempo: 0.5,
            loudness: super::super::Loudness::SnrDb(1.0),
        };
        assert!(play_noise(&stem, &noise).is_err());
    }
}
