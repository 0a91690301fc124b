//! Pushed: sound that is given piece by piece, mixed down and resampled as [`AudioStream`](super::AudioStream) does it.

use super::mixdown::Mixdown;
use super::resampler::Resampler;
use super::{AudioLimits, MAX_BLOCK, Warning};
use crate::{Error, Result};

pub(crate) struct Pushed {
    mixdown: Mixdown,
    resampler: Option<Resampler>,
    limits: AudioLimits,
    sample_rate: u32,
    channels: usize,
    frames: u64,
    /// What was pushed and is not mixed down yet, from `taken` on.
    interleaved: Vec<f32>,
    taken: usize,
    mono: Vec<f32>,
}

impl Pushed {
    /// From `sample_rate` to `to` Hz.
    pub(crate) fn new(sample_rate: u32, channels: u16, to: u32, limits: &AudioLimits) -> Result<Self> {
        limits.check_sample_rate(sample_rate)?;
        limits.check_channels(channels.into())?;
        Ok(Self {
            mixdown: Mixdown::new(sample_rate),
            resampler: Resampler::between(sample_rate, to)?,
            limits: limits.clone(),
            sample_rate,
            channels: channels.into(),
            frames: 0,
            interleaved: Vec::new(),
            taken: 0,
            mono: Vec::new(),
        })
    }

    /// Takes samples, to be had again by [`Pushed::next_block`].
    pub(crate) fn begin(&mut self, samples: &[f32]) -> Result<()> {
        if !samples.len().is_multiple_of(self.channels) {
            return Err(Error::Config(format!(
                "{} samples make no whole frames of {} channels",
                samples.len(),
                self.channels
            )));
        }
        self.frames += (samples.len() / self.channels) as u64;
        self.limits.check_frames(self.frames, self.sample_rate)?;
        self.interleaved.clear();
        self.interleaved.extend_from_slice(samples);
        self.taken = 0;
        Ok(())
    }

    /// Appends what a piece of what was pushed has become (nothing, perhaps); false when all of it was taken.
    pub(crate) fn next_block(&mut self, out: &mut Vec<f32>) -> Result<bool> {
        let most = MAX_BLOCK / self.channels * self.channels;
        let end = self.interleaved.len().min(self.taken + most);
        if self.taken == end {
            return Ok(false);
        }
        self.mono.clear();
        let piece = &mut self.interleaved[self.taken..end];
        self.mixdown.push(piece, self.channels, &mut self.mono);
        self.taken = end;
        self.resample(out)?;
        Ok(true)
    }

    /// Appends what is left when no more will come.
    pub(crate) fn end(&mut self, out: &mut Vec<f32>) -> Result<()> {
        self.mono.clear();
        self.mixdown.finish(&mut self.mono);
        self.resample(out)?;
        match &mut self.resampler {
            Some(resampler) => resampler.finish(out),
            None => Ok(()),
        }
    }

    /// Seconds that were pushed.
    pub(crate) fn seconds(&self) -> f64 {
        self.frames as f64 / f64::from(self.sample_rate)
    }

    /// What was odd about it, once it is over.
    pub(crate) fn warnings(&self) -> Result<Vec<Warning>> {
        self.mixdown.warnings()
    }

    fn resample(&mut self, out: &mut Vec<f32>) -> Result<()> {
        match &mut self.resampler {
            Some(resampler) => resampler.push(&self.mono, out),
            None => {
                out.extend_from_slice(&self.mono);
                Ok(())
            }
        }
    }
}
