//! Harmonic-percussive separation with bands: a song -> drums, vocals, bass, other, which sum to the song exactly.
//!
//! Many people have songs and no stems. This makes stems of a kind without a trained model, after Fitzgerald ("Harmonic/
//! percussive separation using median filtering", 2010): in a spectrogram, what sounds on is a horizontal line and
//! what strikes is a vertical one, and a median along one direction wipes out the other.
//!
//! 1. A window of 128 ms: what is percussive is *drums*; the rest is tonal.
//! 2. A window of 512 ms on the tonal rest: below about 150 Hz it is *bass*; above, what moves in pitch is *vocals* (and
//!    other leads), and what stays is *other*.
//!
//! The parts leak into each other: a trained four-stem separator is far better and should be used where there is one.
//! For recombination these parts serve all the same, because any set of them sums to plausible music.
//! [`separate_folder`] turns a folder of labelled songs into the layout that [`crate::dataset`] reads.

mod folder;
mod median;
mod spectrum;

pub(crate) use folder::labelled_songs;
pub use folder::{SeparateEvent, SeparateSummary, separate_folder};

use crate::{Error, Result, Waveform};
use spectrum::Spectrum;

/// Window of the first pass, seconds: 2048 samples at 16 kHz.
const DRUMS_WINDOW: f64 = 0.128;

/// Extent of its medians: along time (seconds) for what sounds on, along frequency (Hz) for what strikes.
const DRUMS_MEDIANS: (f64, f64) = (0.3, 300.0);

/// Window of the second pass, seconds: 8192 samples at 16 kHz. It must tell a steady tone from vibrato.
const VOCALS_WINDOW: f64 = 0.512;

/// Extent of its medians, as above.
const VOCALS_MEDIANS: (f64, f64) = (0.8, 40.0);

/// Where bass ends, Hz (half amplitude), and how steeply.
const BASS_EDGE: (f32, i32) = (150.0, 8);

/// Songs are separated in blocks of about this length, so that memory does not grow with theirs. Each block is seen
/// with as much of its neighbours as the windows and medians reach, so there are no seams.
const BLOCK_SECONDS: f64 = 60.0;

/// Separates a song of any sample rate. The parts are in the order of [`crate::dataset::Stem::ALL`] (drums, vocals,
/// bass, other), as long as the song, and sum to it: `other` is what the first three leave.
///
/// # Errors
/// [`Error::TooShort`] for less than 25 ms; [`Error::InvalidAudio`] where samples are not numbers.
pub fn separate(song: &Waveform) -> Result<[Waveform; 4]> {
    let seconds = song.seconds();
    if song.sample_rate == 0 || seconds < 0.025 {
        return Err(Error::TooShort {
            seconds: if seconds.is_finite() { seconds } else { 0.0 },
        });
    }
    if !song.samples.iter().all(|x| x.is_finite()) {
        return Err(Error::InvalidAudio(
            "the song has samples that are not numbers; decode it again".into(),
        ));
    }
    let mixture = &song.samples;
    let rate = f64::from(song.sample_rate);
    let first = Pass::new(DRUMS_WINDOW, DRUMS_MEDIANS, rate);
    let [tonal, _] = first.split(mixture, |_, sustained| [sustained, 0.0]);
    let drums: Vec<f32> = mixture.iter().zip(&tonal).map(|(x, t)| x - t).collect();

    let second = Pass::new(VOCALS_WINDOW, VOCALS_MEDIANS, rate);
    let [vocals, bass] = second.split(&tonal, |frequency, sustained| {
        let low = 1.0 / (1.0 + (frequency / BASS_EDGE.0).powi(BASS_EDGE.1));
        [(1.0 - low) * (1.0 - sustained), low]
    });
    let other = mixture
        .iter()
        .zip(&drums)
        .zip(&vocals)
        .zip(&bass)
        .map(|(((x, d), v), b)| x - d - v - b)
        .collect();
    Ok([drums, vocals, bass, other].map(|samples| Waveform::new(samples, song.sample_rate)))
}

/// One spectrogram with its two medians.
#[derive(Debug)]
struct Pass {
    spectrum: Spectrum,
    /// Width of one bin, Hz.
    bin: f64,
    /// Frames in the median along time, odd.
    frames: usize,
    /// Bins in the median along frequency, odd.
    bins: usize,
    /// Samples in a block, a multiple of the hop.
    block: usize,
}

impl Pass {
    fn new(window: f64, (time, frequency): (f64, f64), rate: f64) -> Self {
        // A multiple of 8, so that a quarter of it is a whole and even hop.
        let size = ((window * rate / 8.0).round() as usize).max(4) * 8;
        let spectrum = Spectrum::new(size);
        let hop = spectrum.hop();
        let bin = rate / size as f64;
        let odd = |extent: f64| (extent as usize | 1).max(3);
        Self {
            bin,
            frames: odd(time * rate / hop as f64),
            bins: odd(frequency / bin),
            block: ((BLOCK_SECONDS * rate) as usize).div_ceil(hop) * hop,
            spectrum,
        }
    }

    /// Two signals as long as `signal`, each the spectrogram of `signal` under a mask. `masks` gives the two factors of
    /// a bin from its frequency (Hz) and from how sustained it is (0 strikes, 1 sounds on).
    fn split(&self, signal: &[f32], masks: impl Fn(f32, f32) -> [f32; 2]) -> [Vec<f32>; 2] {
        let hop = self.spectrum.hop();
        // What a sample depends on: the windows over it, the median's neighbours, and their windows.
        let reach = (self.frames / 2 + 8) * hop;
        let mut out = [Vec::with_capacity(signal.len()), Vec::with_capacity(signal.len())];
        let mut start = 0;
        while start < signal.len() {
            let end = (start + self.block).min(signal.len());
            let (first, last) = (start.saturating_sub(reach), (end + reach).min(signal.len()));
            let parts = self.split_block(&signal[first..last], &masks);
            for (out, part) in out.iter_mut().zip(parts) {
                out.extend_from_slice(&part[start - first..end - first]);
            }
            start = end;
        }
        out
    }

    fn split_block(&self, block: &[f32], masks: &impl Fn(f32, f32) -> [f32; 2]) -> [Vec<f32>; 2] {
        let bins = self.spectrum.bins();
        let mut spectra = self.spectrum.forward(block);
        let magnitudes: Vec<f32> = spectra.iter().map(|z| z.norm()).collect();
        let strikes = median::along_rows(&magnitudes, bins, self.bins);
        let sustains = median::along_columns(&magnitudes, bins, self.frames);
        let mut second = spectra.clone();
        for (index, (z, w)) in spectra.iter_mut().zip(&mut second).enumerate() {
            let (h, p) = (sustains[index] * sustains[index], strikes[index] * strikes[index]);
            // Silence belongs to neither; the floor only keeps 0 / 0 away.
            let sustained = h / (h + p).max(1e-20);
            let [a, b] = masks((index % bins) as f32 * self.bin as f32, sustained);
            *z *= a;
            *w *= b;
        }
        [
            self.spectrum.inverse(spectra, block.len()),
            self.spectrum.inverse(second, block.len()),
        ]
    }
}
