//! Short-time Fourier transform and back: Hann windows a quarter apart.

use std::f64::consts::PI;
use std::fmt;
use std::sync::Arc;

use realfft::num_complex::Complex32;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};

/// Plans for one window size. `inverse(forward(x))` is `x` but for rounding.
pub(super) struct Spectrum {
    size: usize,
    window: Vec<f32>,
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
}

impl fmt::Debug for Spectrum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spectrum")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl Spectrum {
    /// `size` is the window's length in samples, a multiple of 8.
    pub(super) fn new(size: usize) -> Self {
        let mut planner = RealFftPlanner::new();
        let window = (0..size)
            .map(|i| (0.5 - 0.5 * (2.0 * PI * i as f64 / size as f64).cos()) as f32)
            .collect();
        Self {
            size,
            window,
            forward: planner.plan_fft_forward(size),
            inverse: planner.plan_fft_inverse(size),
        }
    }

    pub(super) fn hop(&self) -> usize {
        self.size / 4
    }

    pub(super) fn bins(&self) -> usize {
        self.size / 2 + 1
    }

    /// Spectra [frames, bins] of a signal that is mirrored at both ends; frame t is centred on sample t x hop.
    pub(super) fn forward(&self, signal: &[f32]) -> Vec<Complex32> {
        let (hop, bins) = (self.hop(), self.bins());
        let frames = signal.len().div_ceil(hop) + 1;
        let mut spectra = vec![Complex32::default(); frames * bins];
        let mut frame = vec![0.0; self.size];
        let mut scratch = self.forward.make_scratch_vec();
        for (t, spectrum) in spectra.chunks_exact_mut(bins).enumerate() {
            let start = (t * hop) as isize - (self.size / 2) as isize;
            for (i, (out, window)) in frame.iter_mut().zip(&self.window).enumerate() {
                *out = signal[mirrored(start + i as isize, signal.len())] * window;
            }
            // The lengths are the plan's own, so there is nothing to report.
            let _ = self
                .forward
                .process_with_scratch(&mut frame, spectrum, &mut scratch);
        }
        spectra
    }

    /// The signal, `length` samples, of which these are the spectra.
    pub(super) fn inverse(&self, mut spectra: Vec<Complex32>, length: usize) -> Vec<f32> {
        let hop = self.hop();
        let mut sum = vec![0.0f32; length];
        let mut weight = vec![0.0f32; length];
        let mut frame = vec![0.0; self.size];
        let mut scratch = self.inverse.make_scratch_vec();
        for (t, spectrum) in spectra.chunks_exact_mut(self.bins()).enumerate() {
            // A real signal has real first and last bins. Masks are real and keep them so but for rounding.
            spectrum[0].im = 0.0;
            spectrum[self.size / 2].im = 0.0;
            let _ = self
                .inverse
                .process_with_scratch(spectrum, &mut frame, &mut scratch);
            let skipped = (self.size / 2).saturating_sub(t * hop);
            let start = (t * hop).saturating_sub(self.size / 2);
            let places = sum[start.min(length)..]
                .iter_mut()
                .zip(&mut weight[start.min(length)..]);
            for ((out, weight), (x, window)) in places.zip(frame.iter().zip(&self.window).skip(skipped)) {
                *out += x * window;
                *weight += window * window;
            }
        }
        let scale = self.size as f32;
        sum.iter()
            .zip(&weight)
            .map(|(x, weight)| x / (weight.max(1e-6) * scale))
            .collect()
    }
}

/// The index that stands for `index` where a signal of `length` is mirrored at its ends (and again, for short ones).
fn mirrored(index: isize, length: usize) -> usize {
    if (0..length as isize).contains(&index) {
        return index as usize;
    }
    let cycle = (2 * length) as isize - 2;
    if cycle == 0 {
        return 0;
    }
    let inside = index.rem_euclid(cycle) as usize;
    if inside < length {
        inside
    } else {
        cycle as usize - inside
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inverse_gives_the_signal_back() {
        for (size, length) in [(64, 1_000), (64, 1), (64, 17), (2048, 1_500), (2048, 16_000)] {
            let signal: Vec<f32> = (0..length).map(|i| ((i * i) as f32 * 0.013).sin()).collect();
            let spectrum = Spectrum::new(size);
            let back = spectrum.inverse(spectrum.forward(&signal), length);
            let error = signal
                .iter()
                .zip(&back)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max);
            assert!(error < 1e-5, "size {size}, length {length}: {error}");
        }
    }

    #[test]
    fn mirrors() {
        let indices: Vec<usize> = (-4..8).map(|i| mirrored(i, 3)).collect();
        assert_eq!(indices, [0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1]);
        assert_eq!(mirrored(-5, 1), 0);
    }
}
