//! What the model is given to see of a sound: log mel energies, as a picture with time to the right and pitch upwards.

use std::path::Path;

use crate::audio::{AudioLimits, AudioStream};
use crate::fbank::{Fbank, FbankOptions};
use crate::features::FeatureExtractor;
use crate::picture::{Colour, Picture, palette};
use crate::{Error, Result};

/// Widest picture, pixels; frames share a column beyond it.
const MOST_COLUMNS: usize = 512;

/// Highest picture, pixels.
const MOST_ROWS: usize = 4096;

/// Most that is shown of a file, seconds.
const MOST_SECONDS: f64 = 60.0;

/// From silence to the loudest, dark to light: the colours of matplotlib's magma, evenly bright steps.
const COLOURS: [Colour; 6] = [
    [0, 0, 4],
    [59, 15, 112],
    [140, 41, 129],
    [222, 73, 104],
    [254, 159, 109],
    [252, 253, 191],
];

/// Steps between them: more make larger files that look the same.
const STEPS: usize = 48;

/// Shares of the energies below the darkest and above the lightest colour: one bin of a published model is always empty.
const DARKEST: f64 = 0.05;
const LIGHTEST: f64 = 0.998;

/// A sound to look at.
#[derive(Debug, Clone, PartialEq)]
pub struct Spectrogram {
    /// One row a mel bin, the lowest at the bottom.
    pub picture: Picture,
    /// How long the sound is, seconds.
    pub seconds: f64,
}

impl Spectrogram {
    /// Of mono samples at the extractor's rate, by its mel bins.
    ///
    /// # Errors
    /// [`Error::TooShort`] under one frame (25 ms), [`Error::Config`] if the extractor was changed to what cannot be.
    pub fn new(samples: &[f32], extractor: &FeatureExtractor) -> Result<Self> {
        Self::with_height(samples, extractor, extractor.num_mel_bins)
    }

    /// [`Spectrogram::new`], `height` pixels high: rows are repeated or left out.
    ///
    /// # Errors
    /// As [`Spectrogram::new`]; [`Error::Config`] for a height of 0 or above 4096.
    pub fn with_height(samples: &[f32], extractor: &FeatureExtractor, height: usize) -> Result<Self> {
        if !(1..=MOST_ROWS).contains(&height) {
            let what = format!("a height of {height} pixels; it must be from 1 to {MOST_ROWS}");
            return Err(Error::Config(what));
        }
        let (bins, rate) = (extractor.num_mel_bins, extractor.sampling_rate);
        let fbank = Fbank::new(FbankOptions {
            sampling_rate: rate,
            num_mel_bins: bins,
            ..FbankOptions::default()
        })?;
        let seconds = samples.len() as f64 / f64::from(rate);
        let frames = fbank.num_frames(samples.len());
        if frames == 0 {
            return Err(Error::TooShort { seconds });
        }
        let width = frames.min(MOST_COLUMNS);
        let mut energies = vec![0.0; bins * width];
        for column in 0..width {
            let [first, end] = [column, column + 1].map(|c| c * frames / width);
            let start = first * fbank.frame_shift();
            let length = (end - first - 1) * fbank.frame_shift() + fbank.frame_length();
            let rows = fbank.log_mel(&samples[start..start + length])?;
            for row in rows.chunks_exact(bins) {
                for (bin, energy) in row.iter().enumerate() {
                    energies[(bins - 1 - bin) * width + column] += energy / (end - first) as f32;
                }
            }
        }
        let mut sorted = energies.clone();
        sorted.sort_by(f32::total_cmp);
        let [low, high] =
            [DARKEST, LIGHTEST].map(|share| sorted[(share * (sorted.len() - 1) as f64) as usize]);
        let scale = (STEPS - 1) as f32 / (high - low).max(f32::MIN_POSITIVE);
        // A cast clamps below; the palette ends above.
        let shade = |energy: &f32| (((energy - low) * scale) as u8).min(STEPS as u8 - 1);
        let rows = (0..height).map(|row| &energies[row * bins / height * width..][..width]);
        let pixels: Vec<u8> = rows.flatten().map(shade).collect();
        Ok(Self {
            picture: Picture::of_palette(&palette(&COLOURS, STEPS), &pixels, width)?,
            seconds,
        })
    }

    /// Of a sound file, or of its first minute.
    ///
    /// # Errors
    /// Those of [`AudioStream::open`] and [`Spectrogram::new`].
    pub fn of_file(path: &Path, extractor: &FeatureExtractor) -> Result<Self> {
        let rate = extractor.sampling_rate;
        let mut sound = AudioStream::open(path, &AudioLimits::default())?.resampled(rate)?;
        let (mut samples, most) = (Vec::new(), (MOST_SECONDS * f64::from(rate)) as usize);
        while samples.len() < most && sound.next_block(&mut samples)? {}
        samples.truncate(most);
        Self::new(&samples, extractor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_is_a_light_line_where_its_pitch_is_and_when_it_sounds() {
        let extractor = FeatureExtractor::new(64, 128).unwrap();
        // Two seconds: silence with a little hiss, then 1 kHz.
        let samples: Vec<f32> = (0..32_000u32)
            .map(|i| {
                let hiss = 1e-3 * ((i * 7919 % 1000) as f32 / 500.0 - 1.0);
                let tone = (std::f32::consts::TAU * 1000.0 * i as f32 / 16_000.0).sin();
                if i < 16_000 { hiss } else { hiss + 0.5 * tone }
            })
            .collect();
        let spectrogram = Spectrogram::new(&samples, &extractor).unwrap();
        assert_eq!((spectrogram.picture.height, spectrogram.seconds), (64, 2.0));
        let mut reader = png::Decoder::new(std::io::Cursor::new(&spectrogram.picture.png))
            .read_info()
            .unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        let width = spectrogram.picture.width as usize;
        let brightness = |row: usize, columns: std::ops::Range<usize>| {
            let n = columns.len() as f64;
            pixels[row * width..][columns]
                .iter()
                .map(|p| f64::from(*p))
                .sum::<f64>()
                / n
        };
        let late = 6 * width / 10..9 * width / 10;
        let lightest = (0..64)
            .max_by(|a, b| brightness(*a, late.clone()).total_cmp(&brightness(*b, late.clone())))
            .unwrap();
        // Mel of 1 kHz is 1000 (by Kaldi's formula), of 20 Hz 32, of 8 kHz 2840: a third of the way up, bin 22 of 64.
        assert!((39..=43).contains(&lightest), "row {lightest}");
        assert!(brightness(lightest, late) > 2.0 * brightness(lightest, 0..4 * width / 10) + 5.0);
    }

    #[test]
    fn silence_has_a_picture_and_nothing_has_none() {
        let extractor = FeatureExtractor::new(16, 24).unwrap();
        assert!(
            Spectrogram::new(&[0.0; 100_000], &extractor)
                .unwrap()
                .picture
                .width
                <= 512
        );
        assert!(matches!(
            Spectrogram::new(&[0.0; 10], &extractor),
            Err(Error::TooShort { .. })
        ));
    }
}
