//! Resampler: mono blocks of any size from one rate to another, without delay.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{
    Async, Fft, FixedAsync, FixedSync, Indexing, Resampler as _, SincInterpolationParameters, WindowFunction,
};

use crate::{Error, Result};

/// The rates that can be converted from and to, in Hz.
const RATES: std::ops::RangeInclusive<u32> = 1_000..=768_000;
/// The shorter side of an FFT block: the filter's transition band is about 14/1024 of the lower Nyquist frequency,
/// and a block of 44.1 kHz sound lasts 80 ms.
const FFT_BLOCK: usize = 1_024;
/// Where the reduced ratio needs a longer block than this on its shorter side, or than eight times this on the
/// other, FFTs get slow and their blocks seconds long: an interpolated sinc is used.
const MAX_FFT_BLOCK: usize = 16_384;
/// Frames (of the lower rate) that the sinc filter spans, and the table's points between two of them.
const SINC_FRAMES: usize = 512;
const SINC_POINTS: usize = 256;

/// A fixed-ratio, band-limited resampler: `n` samples in all become `round(n * to / from)`, the first at time 0.
///
/// Input is processed in blocks of one size, whatever the sizes of the caller's, so that any division of the same
/// samples gives the same result.
pub(super) struct Resampler {
    engine: Box<dyn rubato::Resampler<f32>>,
    from: u32,
    to: u32,
    /// Input that does not fill a block yet.
    pending: Vec<f32>,
    /// One block of output.
    block: Vec<f32>,
    /// Output samples still to drop: the filter's delay.
    skip: usize,
    consumed: u64,
    produced: u64,
}

impl Resampler {
    /// `None` if there is nothing to convert.
    pub(super) fn between(from: u32, to: u32) -> Result<Option<Self>> {
        if !RATES.contains(&to) {
            return Err(Error::Config(format!(
                "{to} Hz is no sample rate to convert to; {} to {} Hz can be used",
                RATES.start(),
                RATES.end()
            )));
        }
        if !RATES.contains(&from) {
            return Err(Error::InvalidAudio(format!(
                "The sound has {from} samples a second; only {} to {} can be converted.",
                RATES.start(),
                RATES.end()
            )));
        }
        if from == to {
            return Ok(None);
        }
        let divisor = gcd(from, to);
        let (step_in, step_out) = ((from / divisor) as usize, (to / divisor) as usize);
        // rubato's filter peaks at half its length, rounded down: only even blocks on both sides delay by a whole
        // number of samples.
        let steps = FFT_BLOCK.div_ceil(step_in.min(step_out)).next_multiple_of(2);
        let (block_in, block_out) = (steps * step_in, steps * step_out);
        if block_in.min(block_out) <= MAX_FFT_BLOCK && block_in.max(block_out) <= 8 * MAX_FFT_BLOCK {
            let window = WindowFunction::BlackmanHarris2;
            let engine = Fft::new_custom(
                from as usize,
                to as usize,
                block_in,
                1,
                1,
                window,
                FixedSync::Both,
            )
            .map_err(|e| failed(from, to, &e))?;
            let skip = engine.output_delay();
            return Ok(Some(Self::new(Box::new(engine), (from, to), skip, 0)));
        }
        // The filter spans the same number of frames of the lower rate whichever side that is; where the input's
        // samples are already that much finer, fewer points between them are needed.
        let finer = (step_in as f64 / step_out as f64).max(1.0);
        let taps = ((SINC_FRAMES as f64 * finer) as usize).next_multiple_of(8);
        let points = (SINC_POINTS as f64 / finer).ceil().max(4.0) as usize;
        let parameters = SincInterpolationParameters::new(taps, WindowFunction::BlackmanHarris2)
            .oversampling_factor(points);
        let ratio = f64::from(to) / f64::from(from);
        let engine = Async::new_sinc(ratio, 1.0, &parameters, MAX_FFT_BLOCK, 1, FixedAsync::Input)
            .map_err(|e| failed(from, to, &e))?;
        let (zeros, skip) = sinc_delay((step_in, step_out), taps, points);
        Ok(Some(Self::new(Box::new(engine), (from, to), skip, zeros)))
    }

    fn new(
        engine: Box<dyn rubato::Resampler<f32>>,
        (from, to): (u32, u32),
        skip: usize,
        zeros: usize,
    ) -> Self {
        let block = vec![0.0; engine.output_frames_max()];
        Self {
            engine,
            from,
            to,
            pending: vec![0.0; zeros],
            block,
            skip,
            consumed: 0,
            produced: 0,
        }
    }

    /// How many samples `samples` of input become.
    pub(super) fn output_len(&self, samples: u64) -> u64 {
        let (from, to) = (u128::from(self.from), u128::from(self.to));
        ((u128::from(samples) * to + from / 2) / from) as u64
    }

    /// Takes samples and appends those that are finished to `out`.
    pub(super) fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) -> Result<()> {
        self.consumed += samples.len() as u64;
        self.pending.extend_from_slice(samples);
        let mut done = 0;
        while self.pending.len() - done >= self.engine.input_frames_next() {
            done += self.process(done, out)?;
        }
        self.pending.drain(..done);
        Ok(())
    }

    /// Appends the rest; call once, at the end.
    pub(super) fn finish(&mut self, out: &mut Vec<f32>) -> Result<()> {
        let total = self.output_len(self.consumed);
        while self.produced < total {
            // The sound is followed by silence until its last sample has left the filter.
            let missing = self.engine.input_frames_next().saturating_sub(self.pending.len());
            self.pending.resize(self.pending.len() + missing, 0.0);
            let done = self.process(0, out)?;
            self.pending.drain(..done);
        }
        // Whole blocks come out: cut what lies behind the end.
        out.truncate(out.len() - (self.produced - total) as usize);
        self.produced = total;
        Ok(())
    }

    /// Processes one block of `pending` from `start`; returns how many samples were used.
    fn process(&mut self, start: usize, out: &mut Vec<f32>) -> Result<usize> {
        let (from, to) = (self.from, self.to);
        let frames = self.engine.input_frames_next();
        let input =
            InterleavedSlice::new(&self.pending[start..], 1, frames).map_err(|e| failed(from, to, &e))?;
        let capacity = self.block.len();
        let mut output =
            InterleavedSlice::new_mut(&mut self.block, 1, capacity).map_err(|e| failed(from, to, &e))?;
        let (used, made) = self
            .engine
            .process_into_buffer(&input, &mut output, Some(&Indexing::new()))
            .map_err(|e| failed(from, to, &e))?;
        let dropped = self.skip.min(made);
        self.skip -= dropped;
        out.extend_from_slice(&self.block[dropped..made]);
        self.produced += (made - dropped) as u64;
        Ok(used)
    }
}

/// Zeros to put before the input of rubato's sinc resampler, and output samples to drop, so that what remains
/// begins at the input's time 0.
///
/// Its output `k` lies at the input's time `(k + 1) * step_in / step_out - taps / 2 + 1 / points`: the filter is
/// centred, but its table is read one point late. With up to one period of the ratio in front, some output
/// falls on input sample 0 within half a `1 / step_out` of an input sample.
fn sinc_delay((step_in, step_out): (usize, usize), taps: usize, points: usize) -> (usize, usize) {
    let position = |zeros: usize| {
        let delay = (taps / 2 + zeros) as f64 - 1.0 / points as f64;
        delay * step_out as f64 / step_in as f64
    };
    let distance = |zeros: &usize| (position(*zeros) - position(*zeros).round()).abs();
    let zeros = (0..step_in)
        .min_by(|a, b| distance(a).total_cmp(&distance(b)))
        .unwrap_or(0);
    (zeros, (position(zeros).round() as usize).saturating_sub(1))
}

fn failed(from: u32, to: u32, error: &dyn std::fmt::Display) -> Error {
    Error::InvalidAudio(format!(
        "The sound cannot be converted from {from} to {to} Hz: {error}"
    ))
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
