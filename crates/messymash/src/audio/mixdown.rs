//! Mixdown: interleaved frames to mono, and a watch over the health of the samples on the way.

use super::Warning;
use crate::{Error, Result};

/// -60 dBFS: a sound that never exceeds this is called silent.
const SILENCE: f32 = 1e-3;
/// The largest 16-bit sample: from here on a sample counts as clipped.
const FULL_SCALE: f32 = 32_767.0 / 32_768.0;
/// More than one clipped sample in this many gives a warning. A sine at exactly full scale has one in 200 by
/// its shape alone, so "clipped" starts above that.
const CLIPPED_ONE_IN: u64 = 100;
/// More than one sample in this many that is not a number makes the sound unusable.
const NON_FINITE_ONE_IN: u64 = 1_000;
/// Stereo is out of phase when the mean has less than a thousandth (-30 dB) of the channels' energy, which
/// needs a correlation below -0.998; unrelated channels have half.
const CANCELLED: f64 = 1e-3;

/// How stereo becomes mono.
enum Stereo {
    /// Nothing above -60 dBFS was heard yet, in either channel.
    Unheard,
    /// The first second of sound is held back until it is known whether the channels cancel.
    Undecided(Held),
    Mean,
    Left,
}

/// The held-back start of a stereo sound.
#[derive(Default)]
struct Held {
    mean: Vec<f32>,
    left: Vec<f32>,
    mean_energy: f64,
    channel_energy: f64,
}

/// Mixes channels to mono by their mean, replaces what is not a number by 0, clamps to [-1, 1], and counts.
///
/// Stereo whose channels are each other's inverse (a cable or plug-in fault) would become silence. That is decided
/// once, on the first second after a channel first exceeds -60 dBFS: if the mean cancels there, the left channel
/// is used for the whole sound. Deciding once keeps the stream causal, its memory at one second, and the sound
/// free of jumps between two mixes; a sound that cancels only later is not corrected.
pub(super) struct Mixdown {
    hold_frames: usize,
    stereo: Stereo,
    samples: u64,
    clipped: u64,
    non_finite: u64,
    /// Extremes of the mono samples; the level is half their distance, so that a constant offset is silent too.
    min: f32,
    max: f32,
}

impl Mixdown {
    pub(super) fn new(sample_rate: u32) -> Self {
        Self {
            hold_frames: sample_rate as usize,
            stereo: Stereo::Unheard,
            samples: 0,
            clipped: 0,
            non_finite: 0,
            min: f32::INFINITY,
            max: f32::NEG_INFINITY,
        }
    }

    /// Takes whole frames of `channels` samples each and appends the mono samples that are decided to `mono`.
    pub(super) fn push(&mut self, interleaved: &mut [f32], channels: usize, mono: &mut Vec<f32>) {
        let start = mono.len();
        for sample in interleaved.iter_mut() {
            if !sample.is_finite() {
                *sample = 0.0;
                self.non_finite += 1;
            }
            self.clipped += u64::from(sample.abs() >= FULL_SCALE);
        }
        self.samples += interleaved.len() as u64;
        match channels {
            2 => self.push_stereo(interleaved, mono),
            _ => {
                // A stream may change its channels midway; what was held is decided by what there was.
                self.release(mono);
                let scale = 1.0 / channels as f32;
                mono.extend(
                    interleaved
                        .chunks_exact(channels)
                        .map(|frame| frame.iter().sum::<f32>() * scale),
                );
            }
        }
        self.level(&mut mono[start..]);
    }

    /// Appends what was held back; call once, at the end.
    pub(super) fn finish(&mut self, mono: &mut Vec<f32>) {
        let start = mono.len();
        self.release(mono);
        self.level(&mut mono[start..]);
    }

    fn push_stereo(&mut self, interleaved: &[f32], mono: &mut Vec<f32>) {
        let mut frames = interleaved.as_chunks::<2>().0;
        if matches!(self.stereo, Stereo::Unheard) {
            let heard = frames.iter().position(|[l, r]| l.abs().max(r.abs()) > SILENCE);
            let (quiet, rest) = frames.split_at(heard.unwrap_or(frames.len()));
            mono.extend(quiet.iter().map(mean));
            frames = rest;
            if heard.is_some() {
                self.stereo = Stereo::Undecided(Held::default());
            }
        }
        if let Stereo::Undecided(held) = &mut self.stereo {
            let (now, rest) = frames.split_at(frames.len().min(self.hold_frames - held.mean.len()));
            for frame in now {
                let (mean, [left, right]) = (mean(frame), *frame);
                held.mean.push(mean);
                held.left.push(left);
                held.mean_energy += f64::from(mean).powi(2);
                held.channel_energy += 0.5 * (f64::from(left).powi(2) + f64::from(right).powi(2));
            }
            frames = rest;
            if held.mean.len() == self.hold_frames {
                self.release(mono);
            }
        }
        match self.stereo {
            Stereo::Left => mono.extend(frames.iter().map(|frame| frame[0])),
            _ => mono.extend(frames.iter().map(mean)),
        }
    }

    /// Decides about held-back stereo, if there is some, and appends it.
    fn release(&mut self, mono: &mut Vec<f32>) {
        if let Stereo::Undecided(held) = &self.stereo {
            if held.mean_energy < CANCELLED * held.channel_energy {
                mono.extend_from_slice(&held.left);
                self.stereo = Stereo::Left;
            } else {
                mono.extend_from_slice(&held.mean);
                self.stereo = Stereo::Mean;
            }
        }
    }

    fn level(&mut self, mono: &mut [f32]) {
        for sample in mono {
            *sample = sample.clamp(-1.0, 1.0);
            self.min = self.min.min(*sample);
            self.max = self.max.max(*sample);
        }
    }

    /// What the whole sound gives reason to say; an error if too much of it was not numbers.
    pub(super) fn warnings(&self) -> Result<Vec<Warning>> {
        let mut warnings = Vec::new();
        if self.non_finite > 0 {
            let of = format!(
                "{} of {} samples are not numbers (NaN or infinite)",
                self.non_finite, self.samples
            );
            if self.non_finite * NON_FINITE_ONE_IN > self.samples {
                return Err(Error::InvalidAudio(format!(
                    "{of}; the file was probably written by a faulty program. Export it again."
                )));
            }
            warnings.push(Warning::new(
                "non_finite",
                format!("{of}; they were replaced by silence."),
            ));
        }
        if matches!(self.stereo, Stereo::Left) {
            warnings.push(Warning::new(
                "phase_cancelled",
                "The left and right channels are out of phase and cancel each other in mono; only the left channel was used.",
            ));
        }
        if self.samples > 0 && (self.max - self.min) / 2.0 < SILENCE {
            warnings.push(Warning::new(
                "silence",
                "Nothing can be heard: the sound never rises above -60 dBFS.",
            ));
        }
        if self.clipped * CLIPPED_ONE_IN > self.samples {
            let percent = 100.0 * self.clipped as f64 / self.samples as f64;
            warnings.push(Warning::new(
                "clipped",
                format!("The sound is clipped: {percent:.0} % of its samples are at full scale. A quieter recording may be recognised better."),
            ));
        }
        Ok(warnings)
    }
}

fn mean(frame: &[f32; 2]) -> f32 {
    0.5 * (frame[0] + frame[1])
}
