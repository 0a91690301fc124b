//! Kaldi's log-mel filterbank: sound in, one row of log mel energies per 10 ms out.
//!
//! The arithmetic is that of `torchaudio.compliance.kaldi.fbank(htk_compat=True, use_energy=False,
//! window_type='hanning', dither=0.0)`, in the same order and, up to the Fourier transform, in the same precision, so
//! that checkpoints trained on its features see the same numbers: per frame the mean is removed, pre-emphasis and a
//! symmetric Hann window are applied, the frame is padded with zeros to a power of two, and triangular filters
//! (equally wide on the mel scale) sum its power spectrum, whose logarithm is bounded below by [`LOG_FLOOR`].
//!
//! Frames are whole ("snip edges"): what does not fill a last frame is not heard. Dither, other windows, energies,
//! vocal-tract warping and cepstra are not here; padding and normalising are [`crate::features`]'.

use std::f32::consts::LN_2;
use std::fmt;
use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

use crate::{Error, Result};

/// The least energy a filter reports, before the logarithm: `torch.finfo(torch.float).eps`, as in torchaudio.
const ENERGY_FLOOR: f32 = f32::EPSILON;

/// The least value in any output, ln(1.19e-7): silence, and every filter that no Fourier bin falls into.
///
/// With 128 filters at 16 kHz that is always so for filter 3, which lies between two bins of the 512-point transform.
/// Kaldi refuses such a bank; torchaudio, and therefore every published AST, does not.
pub const LOG_FLOOR: f32 = -15.942_385;

/// Rates above this are not sampled sound; the limit bounds the size of the tables.
const MAX_SAMPLING_RATE: u32 = 768_000;
/// As many as a frame of 25 ms at 48 kHz has Fourier bins; the limit bounds the size of the tables and the output.
const MAX_MEL_BINS: usize = 1024;
/// Frames beyond one second are no short-time spectrum; the limit bounds the size of the transform.
const MAX_FRAME_MS: f64 = 1000.0;

/// What an [`Fbank`] computes.
///
/// ```
/// let options = messymash::fbank::FbankOptions { sampling_rate: 8000, num_mel_bins: 40, ..Default::default() };
/// let fbank = messymash::fbank::Fbank::new(options)?;
/// assert_eq!(fbank.num_frames(8000), 98);
/// # Ok::<(), messymash::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FbankOptions {
    /// Samples per second of the sound. Default 16000.
    pub sampling_rate: u32,
    /// Filters, equally wide on the mel scale: the length of a row. Default 128.
    pub num_mel_bins: usize,
    /// Length of a frame in milliseconds. Default 25 (400 samples at 16 kHz).
    pub frame_length_ms: f64,
    /// Distance between the starts of two frames in milliseconds. Default 10 (160 samples at 16 kHz).
    pub frame_shift_ms: f64,
    /// Share of the previous sample that is subtracted from each sample, in [0, 1]. Default 0.97.
    pub preemphasis: f32,
    /// Lower edge of the lowest filter in hertz. Default 20.
    pub low_frequency: f64,
    /// Upper edge of the highest filter in hertz; zero or less counts down from half the sampling rate. Default 0.
    pub high_frequency: f64,
}

impl Default for FbankOptions {
    /// The published AST configuration: torchaudio's defaults, with 128 filters in place of 23.
    fn default() -> Self {
        Self {
            sampling_rate: 16_000,
            num_mel_bins: 128,
            frame_length_ms: 25.0,
            frame_shift_ms: 10.0,
            preemphasis: 0.97,
            low_frequency: 20.0,
            high_frequency: 0.0,
        }
    }
}

impl FbankOptions {
    /// Milliseconds as whole samples, rounded down, by torchaudio's order of operations.
    fn samples(&self, milliseconds: f64) -> usize {
        (f64::from(self.sampling_rate) * milliseconds * 0.001) as usize
    }

    /// The options as they are, or why no filterbank can be made of them.
    fn validate(&self) -> Result<()> {
        let refuse = |message: String| Err(Error::Config(message));
        if !(1..=MAX_SAMPLING_RATE).contains(&self.sampling_rate) {
            return refuse(format!(
                "sampling_rate is {} Hz; it must lie between 1 and {MAX_SAMPLING_RATE}",
                self.sampling_rate
            ));
        }
        if !(1..=MAX_MEL_BINS).contains(&self.num_mel_bins) {
            return refuse(format!(
                "num_mel_bins is {}; it must lie between 1 and {MAX_MEL_BINS}",
                self.num_mel_bins
            ));
        }
        for (name, milliseconds, least) in [
            ("frame_length_ms", self.frame_length_ms, 2),
            ("frame_shift_ms", self.frame_shift_ms, 1),
        ] {
            if !(0.0..=MAX_FRAME_MS).contains(&milliseconds) || self.samples(milliseconds) < least {
                return refuse(format!(
                    "{name} is {milliseconds} at {} Hz; it must hold at least {least} sample(s) and at most \
                     {MAX_FRAME_MS} ms",
                    self.sampling_rate
                ));
            }
        }
        if !(0.0..=1.0).contains(&self.preemphasis) {
            return refuse(format!(
                "preemphasis is {}; it must lie between 0 and 1",
                self.preemphasis
            ));
        }
        let nyquist = 0.5 * f64::from(self.sampling_rate);
        let (low, high) = self.band();
        if !(low >= 0.0 && low < high && high <= nyquist) {
            return refuse(format!(
                "the filters would reach from {low} to {high} Hz; low_frequency must be below high_frequency, and both \
                 between 0 and {nyquist} Hz (half the sampling_rate)"
            ));
        }
        Ok(())
    }

    /// Lower and upper edge of the filterbank in hertz.
    fn band(&self) -> (f64, f64) {
        let nyquist = 0.5 * f64::from(self.sampling_rate);
        let high = self.high_frequency;
        (
            self.low_frequency,
            if high <= 0.0 { high + nyquist } else { high },
        )
    }
}

/// A filterbank with its window, transform and filters made once; cheap to clone, and shared freely between threads.
#[derive(Clone)]
pub struct Fbank {
    options: FbankOptions,
    shift: usize,
    window: Arc<[f32]>,
    fft: Arc<dyn RealToComplex<f32>>,
    filters: Arc<[Filter]>,
    weights: Arc<[f32]>,
}

/// One triangle, without the zeros around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Filter {
    /// The first Fourier bin with a weight above zero.
    first_bin: usize,
    /// Where this filter's weights end in [`Fbank::weights`]; they begin where those of the filter before it end.
    end: usize,
}

impl fmt::Debug for Fbank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fbank")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl PartialEq for Fbank {
    /// Everything else follows from the options.
    fn eq(&self, other: &Self) -> bool {
        self.options == other.options
    }
}

impl Fbank {
    /// Makes the tables.
    ///
    /// # Errors
    /// [`Error::Config`] names the option that is out of range.
    pub fn new(options: FbankOptions) -> Result<Self> {
        options.validate()?;
        let window = hann(options.samples(options.frame_length_ms));
        let fft = RealFftPlanner::new().plan_fft_forward(window.len().next_power_of_two());
        let (filters, weights) = mel_filters(&options, fft.len());
        Ok(Self {
            options,
            shift: options.samples(options.frame_shift_ms),
            window: window.into(),
            fft,
            filters: filters.into(),
            weights: weights.into(),
        })
    }

    /// What this filterbank was made of.
    pub fn options(&self) -> &FbankOptions {
        &self.options
    }

    /// Samples in one frame: 400 by default.
    pub fn frame_length(&self) -> usize {
        self.window.len()
    }

    /// Samples from the start of one frame to that of the next: 160 by default.
    pub fn frame_shift(&self) -> usize {
        self.shift
    }

    /// How many whole frames lie in `samples` samples; 0 when there are fewer than [`Self::frame_length`].
    pub fn num_frames(&self, samples: usize) -> usize {
        match samples.checked_sub(self.frame_length()) {
            Some(rest) => 1 + rest / self.shift,
            None => 0,
        }
    }

    /// The first filter that lies wholly at or above a frequency; [`FbankOptions::num_mel_bins`] if there is none.
    pub fn first_filter_above(&self, hertz: f64) -> usize {
        let (low, high) = self.options.band();
        let width = (mel(high) - mel(low)) / (self.options.num_mel_bins as f64 + 1.0);
        // Filter n begins n widths above the band's lower edge.
        let first = ((mel(hertz.max(0.0)) - mel(low)) / width).ceil().max(0.0);
        (first as usize).min(self.options.num_mel_bins)
    }

    /// Log mel energies, `[num_frames, num_mel_bins]` row-major, never below [`LOG_FLOOR`].
    ///
    /// `samples` are mono and nominally in [-1, 1]: at the scale of 16-bit integers every value would be 20.8 higher.
    /// The result is finite whatever they are; a frame that holds NaN or infinity carries no information.
    ///
    /// # Errors
    /// [`Error::TooShort`] when the samples do not fill one frame.
    pub fn log_mel(&self, samples: &[f32]) -> Result<Vec<f32>> {
        let frames = self.num_frames(samples.len());
        let mut rows = vec![0.0; frames * self.options.num_mel_bins];
        self.fill(samples, &mut rows)?;
        Ok(rows)
    }

    /// Writes the first frames of `samples` over the rows of `rows`, as many as either holds, and returns how many.
    ///
    /// # Errors
    /// [`Error::TooShort`] when the samples do not fill one frame.
    pub(crate) fn fill(&self, samples: &[f32], rows: &mut [f32]) -> Result<usize> {
        let length = self.frame_length();
        if samples.len() < length {
            let seconds = samples.len() as f64 / f64::from(self.options.sampling_rate);
            return Err(Error::TooShort { seconds });
        }
        let mut scratch = Scratch {
            frame: self.fft.make_input_vec(),
            spectrum: self.fft.make_output_vec(),
            fft: self.fft.make_scratch_vec(),
            power: vec![0.0; self.fft.len() / 2],
        };
        let mut written = 0;
        let frames = samples.windows(length).step_by(self.shift);
        for (frame, row) in frames.zip(rows.chunks_exact_mut(self.options.num_mel_bins)) {
            self.log_mel_frame(frame, row, &mut scratch);
            written += 1;
        }
        Ok(written)
    }

    /// One frame of [`Self::frame_length`] samples to one row of `num_mel_bins` values.
    fn log_mel_frame(&self, samples: &[f32], row: &mut [f32], scratch: &mut Scratch) {
        let Scratch {
            frame,
            spectrum,
            fft,
            power,
        } = scratch;
        let (windowed, padding) = frame.split_at_mut(samples.len());
        let mean = sum(samples) / samples.len() as f32;
        let preemphasis = self.options.preemphasis;
        // The sample before the first is taken to equal the first.
        windowed[0] = ((samples[0] - mean) - preemphasis * (samples[0] - mean)) * self.window[0];
        let neighbours = samples.iter().zip(&samples[1..]);
        for (out, ((before, now), weight)) in windowed[1..].iter_mut().zip(neighbours.zip(&self.window[1..]))
        {
            *out = ((now - mean) - preemphasis * (before - mean)) * weight;
        }
        // The transform uses its input as working space, so the padding is no longer zero after a frame.
        padding.fill(0.0);
        if self.fft.process_with_scratch(frame, spectrum, fft).is_err() {
            // Only wrong buffer lengths are an error here, and all of them come from the transform itself.
            spectrum.fill(Complex::default());
        }
        for (energy, bin) in power.iter_mut().zip(spectrum.iter()) {
            *energy = bin.re * bin.re + bin.im * bin.im;
        }
        let mut begin = 0;
        for (value, filter) in row.iter_mut().zip(self.filters.iter()) {
            let weights = &self.weights[begin..filter.end];
            let bins = &power[filter.first_bin..filter.first_bin + weights.len()];
            *value = weights
                .iter()
                .zip(bins)
                .map(|(weight, energy)| weight * energy)
                .sum();
            begin = filter.end;
        }
        for value in row {
            #[expect(
                clippy::manual_clamp,
                reason = "clamp would let NaN pass; in this order it becomes the floor"
            )]
            let energy = value.max(ENERGY_FLOOR).min(f32::MAX);
            *value = ln(energy);
        }
    }
}

/// Working space of one call, reused from frame to frame.
struct Scratch {
    /// The windowed frame, padded with zeros to the transform's length.
    frame: Vec<f32>,
    /// Its transform, from 0 Hz up to half the sampling rate.
    spectrum: Vec<Complex<f32>>,
    fft: Vec<Complex<f32>>,
    /// Squared magnitudes; the bin at half the sampling rate is left out, no filter has a weight there.
    power: Vec<f32>,
}

/// The symmetric Hann window, `torch.hann_window(length, periodic=False)`, rounded where torch rounds: near the ends,
/// where the window is small, single precision shows in the energies of a pure tone far from its frequency.
fn hann(length: usize) -> Vec<f32> {
    let step = (std::f64::consts::TAU / (length as f64 - 1.0)) as f32;
    (0..length)
        .map(|i| 0.5 - 0.5 * f64::from(i as f32 * step).cos() as f32)
        .collect()
}

/// Hertz to mel in double precision, for the edges of the bank.
fn mel(frequency: f64) -> f64 {
    1127.0 * (1.0 + frequency / 700.0).ln()
}

/// The triangles over the bins of a transform of `fft_length` points: (where each lies, all weights in one row).
///
/// Slopes are computed in single precision as in torchaudio: filters narrower than a bin have one small weight, and
/// there the rounding is visible in the logarithm.
fn mel_filters(options: &FbankOptions, fft_length: usize) -> (Vec<Filter>, Vec<f32>) {
    let (low, high) = options.band();
    let lowest = mel(low);
    let width = (mel(high) - lowest) / (options.num_mel_bins as f64 + 1.0);
    let edge = |index: f32| lowest as f32 + index * width as f32;
    let bin_width = (f64::from(options.sampling_rate) / fft_length as f64) as f32;
    let bin_mels: Vec<f32> = (0..fft_length / 2)
        .map(|bin| 1127.0 * f64::from(1.0 + bin_width * bin as f32 / 700.0).ln() as f32)
        .collect();

    let mut filters = Vec::with_capacity(options.num_mel_bins);
    let mut weights = Vec::new();
    for index in 0..options.num_mel_bins {
        let index = index as f32;
        let (left, centre, right) = (edge(index), edge(index + 1.0), edge(index + 2.0));
        let slope = |mel: f32| ((mel - left) / (centre - left)).min((right - mel) / (right - centre));
        let first_bin = bin_mels.partition_point(|&mel| mel <= left);
        weights.extend(
            bin_mels[first_bin..]
                .iter()
                .map(|&mel| slope(mel))
                .take_while(|&weight| weight > 0.0),
        );
        filters.push(Filter {
            first_bin,
            end: weights.len(),
        });
    }
    (filters, weights)
}

/// The sum in sixteen interleaved parts: as exact as a pairwise sum at the length of a frame, and open to vectorising.
fn sum(samples: &[f32]) -> f32 {
    let mut parts = [0.0f32; 16];
    let blocks = samples.chunks_exact(parts.len());
    let rest: f32 = blocks.remainder().iter().sum();
    for block in blocks {
        for (part, sample) in parts.iter_mut().zip(block) {
            *part += sample;
        }
    }
    parts.iter().sum::<f32>() + rest
}

/// The natural logarithm of a positive, normal, finite number, within 2 ulp or 1e-7 of the exact value.
///
/// The standard library's is a call per number; this one has neither calls nor branches, so that a row of energies is
/// computed several values at a time. With x = m * 2^k and m in [sqrt(1/2), sqrt(2)), ln x = k ln 2 + 2 artanh(s),
/// s = (m - 1) / (m + 1); as |s| < 0.172, artanh's series is exact to 2e-9 after the term in s^9.
fn ln(x: f32) -> f32 {
    const SQRT_HALF: u32 = 0x3f35_04f3;
    const MANTISSA: u32 = 0x007f_ffff;
    let offset = x.to_bits().wrapping_sub(SQRT_HALF);
    let exponent = (offset.cast_signed() >> 23) as f32;
    let m = f32::from_bits((offset & MANTISSA) + SQRT_HALF);
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let series = z * (1.0 / 3.0 + z * (1.0 / 5.0 + z * (1.0 / 7.0 + z * (1.0 / 9.0))));
    exponent * LN_2 + 2.0 * (s + s * series)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(frequency: f64, rate: u32, length: usize) -> Vec<f32> {
        let step = std::f64::consts::TAU * frequency / f64::from(rate);
        (0..length)
            .map(|i| (0.5 * (step * i as f64).sin()) as f32)
            .collect()
    }

    #[test]
    fn counts_whole_frames_only() {
        let fbank = Fbank::new(FbankOptions::default()).unwrap();
        assert_eq!((fbank.frame_length(), fbank.frame_shift()), (400, 160));
        for (samples, frames) in [
            (0, 0),
            (399, 0),
            (400, 1),
            (559, 1),
            (560, 2),
            (16_000, 98),
            (160_000, 998),
        ] {
            assert_eq!(fbank.num_frames(samples), frames, "{samples} samples");
        }
        for samples in [400, 559, 560, 16_000] {
            let rows = fbank.log_mel(&vec![0.1; samples]).unwrap();
            assert_eq!(rows.len(), 128 * fbank.num_frames(samples));
        }
    }

    #[test]
    fn less_than_a_frame_is_too_short() {
        let fbank = Fbank::new(FbankOptions::default()).unwrap();
        for samples in [0, 1, 399] {
            let error = fbank.log_mel(&vec![0.0; samples]).unwrap_err();
            assert!(
                matches!(error, Error::TooShort { seconds } if seconds == samples as f64 / 16_000.0),
                "{error}"
            );
        }
    }

    #[test]
    fn silence_and_constant_sound_lie_on_the_floor() {
        let fbank = Fbank::new(FbankOptions::default()).unwrap();
        for level in [0.0, 0.25] {
            let rows = fbank.log_mel(&[level; 800]).unwrap();
            assert!(rows.iter().all(|&value| value == LOG_FLOOR), "level {level}");
        }
        assert!((LOG_FLOOR - ENERGY_FLOOR.ln()).abs() < 1e-6);
    }

    #[test]
    fn filter_three_of_the_published_bank_is_empty_and_no_other() {
        let fbank = Fbank::new(FbankOptions::default()).unwrap();
        let ends: Vec<usize> = std::iter::once(0)
            .chain(fbank.filters.iter().map(|filter| filter.end))
            .collect();
        let empty: Vec<usize> = (0..128).filter(|&bin| ends[bin] == ends[bin + 1]).collect();
        assert_eq!(empty, [3]);
    }

    #[test]
    fn filters_partition_the_inner_spectrum() {
        // Between the first and the last centre every Fourier bin is shared out completely among two triangles.
        let fbank = Fbank::new(FbankOptions {
            num_mel_bins: 40,
            ..Default::default()
        })
        .unwrap();
        let mut total = vec![0.0f32; 256];
        let mut begin = 0;
        for filter in fbank.filters.iter() {
            for (bin, weight) in fbank.weights[begin..filter.end].iter().enumerate() {
                assert!(*weight > 0.0 && *weight <= 1.0);
                total[filter.first_bin + bin] += weight;
            }
            begin = filter.end;
        }
        let width = (mel(8000.0) - mel(20.0)) / 41.0;
        let inner = |bin: usize| {
            let position = (mel(bin as f64 * 31.25) - mel(20.0)) / width;
            (1.0..=40.0).contains(&position)
        };
        let inner: Vec<usize> = (0..256).filter(|&bin| inner(bin)).collect();
        assert!(inner.len() > 200);
        for bin in inner {
            assert!((total[bin] - 1.0).abs() < 1e-4, "bin {bin}: {}", total[bin]);
        }
    }

    #[test]
    fn a_tone_is_loudest_in_its_own_filter_at_any_rate_and_size() {
        for (sampling_rate, num_mel_bins) in [
            (8_000, 40),
            (16_000, 128),
            (22_050, 64),
            (44_100, 80),
            (48_000, 23),
        ] {
            let options = FbankOptions {
                sampling_rate,
                num_mel_bins,
                ..Default::default()
            };
            let fbank = Fbank::new(options).unwrap();
            let rows = fbank
                .log_mel(&tone(1000.0, sampling_rate, sampling_rate as usize))
                .unwrap();
            let width = (mel(f64::from(sampling_rate) / 2.0) - mel(20.0)) / (num_mel_bins as f64 + 1.0);
            let expected = ((mel(1000.0) - mel(20.0)) / width - 1.0).round() as usize;
            for row in rows.chunks_exact(num_mel_bins) {
                let loudest = (0..num_mel_bins)
                    .max_by(|&a, &b| row[a].total_cmp(&row[b]))
                    .unwrap();
                assert!(
                    loudest.abs_diff(expected) <= 1,
                    "{sampling_rate} Hz: {loudest}, not {expected}"
                );
            }
        }
    }

    #[test]
    fn the_result_is_finite_whatever_the_samples_are() {
        let fbank = Fbank::new(FbankOptions::default()).unwrap();
        for bad in [
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::MAX,
            1e30,
            f32::MIN_POSITIVE / 4.0,
        ] {
            let mut samples = tone(440.0, 16_000, 800);
            samples[100] = bad;
            let rows = fbank.log_mel(&samples).unwrap();
            assert!(
                rows.iter().all(|value| value.is_finite() && *value >= LOG_FLOOR),
                "{bad}"
            );
        }
    }

    #[test]
    fn the_logarithm_is_that_of_the_standard_library() {
        // Every 4099th float (a prime, so that all mantissas take turns) from the floor to the largest.
        for bits in (ENERGY_FLOOR.to_bits()..=f32::MAX.to_bits()).step_by(4099) {
            let x = f32::from_bits(bits);
            let exact = f64::from(x).ln();
            let error = (f64::from(ln(x)) - exact).abs();
            assert!(error <= 1e-7 + 1.5e-7 * exact.abs(), "ln {x} is off by {error}");
        }
    }

    #[test]
    fn options_without_a_filterbank_are_refused_by_name() {
        let default = FbankOptions::default();
        let cases = [
            (
                "sampling_rate",
                FbankOptions {
                    sampling_rate: 0,
                    ..default
                },
            ),
            (
                "sampling_rate",
                FbankOptions {
                    sampling_rate: u32::MAX,
                    ..default
                },
            ),
            (
                "num_mel_bins",
                FbankOptions {
                    num_mel_bins: 0,
                    ..default
                },
            ),
            (
                "num_mel_bins",
                FbankOptions {
                    num_mel_bins: usize::MAX,
                    ..default
                },
            ),
            (
                "frame_length_ms",
                FbankOptions {
                    frame_length_ms: 0.0,
                    ..default
                },
            ),
            (
                "frame_length_ms",
                FbankOptions {
                    frame_length_ms: f64::NAN,
                    ..default
                },
            ),
            (
                "frame_length_ms",
                FbankOptions {
                    sampling_rate: 50,
                    ..default
                },
            ),
            (
                "frame_shift_ms",
                FbankOptions {
                    frame_shift_ms: 0.01,
                    ..default
                },
            ),
            (
                "frame_shift_ms",
                FbankOptions {
                    frame_shift_ms: f64::INFINITY,
                    ..default
                },
            ),
            (
                "preemphasis",
                FbankOptions {
                    preemphasis: f32::NAN,
                    ..default
                },
            ),
            (
                "low_frequency",
                FbankOptions {
                    low_frequency: -1.0,
                    ..default
                },
            ),
            (
                "low_frequency",
                FbankOptions {
                    low_frequency: 9000.0,
                    ..default
                },
            ),
            (
                "high_frequency",
                FbankOptions {
                    high_frequency: 8001.0,
                    ..default
                },
            ),
            (
                "high_frequency",
                FbankOptions {
                    high_frequency: -8000.0,
                    ..default
                },
            ),
            (
                "high_frequency",
                FbankOptions {
                    high_frequency: f64::NAN,
                    ..default
                },
            ),
        ];
        for (name, options) in cases {
            let error = Fbank::new(options).unwrap_err();
            assert!(
                matches!(&error, Error::Config(text) if text.contains(name)),
                "{options:?}: {error}"
            );
        }
    }
}
