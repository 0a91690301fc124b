//! One window of a sound to look at: as the model sees it, and what it looks at.

use super::{Classifier, LEAST_SAMPLES};
use crate::ast::inference::Rollout;
use crate::audio::AudioStream;
use crate::report::Spectrogram;
use crate::{Error, Result};

/// Samples of one window.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// Where it begins, seconds.
    pub start: f64,
    /// Where it ends, seconds; not beyond the sound's end.
    pub end: f64,
    samples: Vec<f32>,
}

impl Classifier {
    /// The window that begins at `start` seconds, filled as [`Classifier::classify`] fills it: one that reaches beyond the
    /// sound's end begins earlier, and a sound shorter than a window is repeated. Memory does not grow with `start`.
    ///
    /// # Errors
    /// Those of decoding, [`Error::TooShort`] below 25 ms of sound, [`Error::Config`] for a start that is no place in the sound.
    pub fn look(&self, stream: AudioStream, start: f64) -> Result<Look> {
        let (window, rate) = (self.extractor().window_samples(), self.extractor().sampling_rate);
        if !(0.0..=1e9).contains(&start) {
            return Err(Error::Config(format!(
                "the start is {start} s; it must be 0 or more"
            )));
        }
        let from = (start * f64::from(rate)).round() as usize;
        let mut stream = stream.resampled(rate)?;
        let (mut samples, mut first) = (Vec::new(), 0);
        while first + samples.len() < from + window && stream.next_block(&mut samples)? {
            // What lies more than a window before what was read is needed by no window that could follow.
            let needed_from = from.min((first + samples.len()).saturating_sub(window));
            if needed_from > first + window {
                samples.drain(..needed_from - first);
                first = needed_from;
            }
        }
        let total = first + samples.len();
        let seconds = |samples: usize| samples as f64 / f64::from(rate);
        if from > 0 && from >= total {
            let total = seconds(total);
            return Err(Error::Config(format!(
                "the start is {start} s, and the sound ends at {total:.2} s"
            )));
        }
        let end = total.min(from + window);
        let from = from.min(end.saturating_sub(window));
        let mut samples = samples[from - first..end - first].to_vec();
        if (LEAST_SAMPLES..window).contains(&samples.len()) {
            samples = samples.iter().copied().cycle().take(window).collect();
        }
        Ok(Look {
            start: seconds(from),
            end: seconds(end),
            samples,
        })
    }

    /// The window's log-mel energies as a picture `height` pixels high (of 1 to 4096).
    ///
    /// # Errors
    /// [`Error::TooShort`] below 25 ms of sound, [`Error::Config`] for another height.
    pub fn spectrogram(&self, look: &Look, height: usize) -> Result<Spectrogram> {
        Spectrogram::with_height(&look.samples, self.extractor(), height)
    }

    /// What of the window decided: attention rollout of the tokens that the answer is made of.
    ///
    /// # Errors
    /// [`Error::TooShort`] below 25 ms of sound.
    pub fn attention(&self, look: &Look) -> Result<Rollout> {
        self.model().rollout(&self.extractor().extract(&look.samples)?)
    }
}
