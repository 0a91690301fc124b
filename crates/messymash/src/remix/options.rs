//! The settings of recombination: the `[remix]` table of a recipe file.

use crate::{Error, Result};

/// Settings of the recombination. The defaults follow what is known of how the competition's test set was made: four
/// stems of different songs, sum, peak level, then 0 to 3 noises of ESC-50.
///
/// A `[low, high]` pair is a range to draw from uniformly.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RemixOptions {
    /// Length of a mashup, seconds. 10.26 s at 16 kHz fill the 1024 frames of the published model
    /// (400 + 1023 x 160 = 164,080 samples).
    pub seconds: f64,
    /// Hz. Stems and noise are resampled to it once, when decoded.
    pub sample_rate: u32,
    /// How often a "mashup" is a piece of one song instead: all stems of it from the same place.
    pub own_song_probability: f64,
    /// A crop with a lower RMS (dB of full scale) is drawn again, with another song.
    pub min_crop_db: f64,
    /// How often a crop is drawn at most; the loudest is taken where none reaches `min_crop_db`.
    pub crop_attempts: usize,
    /// In how many mashups the stems get gains; in the others all gains are 1.
    pub gain_probability: f64,
    /// Factor on each stem.
    pub gain: [f64; 2],
    /// How often a stem is left out (one is always kept).
    pub stem_dropout: f64,
    /// How often the tempo changes (with the scope `beat`: how often stems are brought to one beat).
    pub tempo_probability: f64,
    /// Speed of playing, within [0.5, 2]. Stems are resampled, so pitch moves too.
    pub tempo: [f64; 2],
    /// Whether `tempo_probability` and `tempo` are drawn once for all stems, or for each, or stems are brought to one beat.
    pub tempo_scope: TempoScope,
    /// Probabilities of 0, 1, 2 and 3 noises.
    pub noise_counts: [f64; 4],
    /// How many noises get their loudness by `snr_db`; the others get it by `amplitude`.
    pub snr_probability: f64,
    /// Music over noise, over the span of the noise, dB.
    pub snr_db: [f64; 2],
    /// Factor on the noise clip where the music's peak is 1. The level of ESC-50's clips varies by 40 dB, so this
    /// gives about 6 to 37 dB.
    pub amplitude: [f64; 2],
    /// How many noises are played at half their rate, an octave low and twice as long: the organisers' own example
    /// mixes 44.1 kHz noise into 22.05 kHz music without resampling.
    pub half_rate_probability: f64,
    /// How many mashups get a level; the others stay as summed (scaled down only where they would exceed 1).
    pub level_probability: f64,
    /// Highest absolute sample value of the mashup, within (0, 1]. The test set has 1; other people's files less.
    pub level: [f64; 2],
}

/// For what a tempo is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TempoScope {
    /// One tempo for all stems of a mashup.
    Mashup,
    /// A tempo for each stem.
    Stem,
    /// None is drawn: stems are played at the tempo of the first of them that has a beat (in the order drums, vocals, bass, other).
    /// A stem without a beat, and one that would have to leave the range `tempo`, is played as it is.
    Beat,
}

impl Default for RemixOptions {
    fn default() -> Self {
        Self {
            seconds: 10.26,
            sample_rate: 16_000,
            own_song_probability: 0.0,
            min_crop_db: -60.0,
            crop_attempts: 8,
            gain_probability: 0.4,
            gain: [0.4, 1.0],
            stem_dropout: 0.0,
            tempo_probability: 0.4,
            tempo: [0.85, 1.15],
            tempo_scope: TempoScope::Mashup,
            noise_counts: [0.2, 0.4, 0.25, 0.15],
            snr_probability: 0.5,
            snr_db: [5.0, 28.0],
            amplitude: [0.1, 0.5],
            half_rate_probability: 0.3,
            level_probability: 1.0,
            level: [0.5, 1.0],
        }
    }
}

impl RemixOptions {
    /// Length of a mashup, samples.
    pub fn samples(&self) -> usize {
        (self.seconds * f64::from(self.sample_rate)).round() as usize
    }

    /// Whether any mashup is to have noise.
    pub fn wants_noise(&self) -> bool {
        self.noise_counts[1..]
            .iter()
            .any(|probability| *probability > 0.0)
    }

    /// Checks every range.
    ///
    /// # Errors
    /// [`Error::Config`] that names the setting, its value and what is possible.
    pub fn check(&self) -> Result<()> {
        let within = |name: &str, value: f64, low: f64, high: f64| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            Err(Error::Config(format!(
                "remix.{name} is {value}; it must be from {low} to {high}"
            )))
        };
        let range = |name: &str, [low, high]: [f64; 2], lowest: f64, highest: f64| {
            within(name, low, lowest, highest)?;
            within(name, high, lowest, highest)?;
            if low <= high {
                return Ok(());
            }
            Err(Error::Config(format!(
                "remix.{name} is [{low}, {high}]; the lower value comes first"
            )))
        };
        within("seconds", self.seconds, 0.1, 600.0)?;
        within("sample_rate", f64::from(self.sample_rate), 8_000.0, 192_000.0)?;
        within("min_crop_db", self.min_crop_db, -200.0, 0.0)?;
        within("crop_attempts", self.crop_attempts as f64, 1.0, 1000.0)?;
        for (name, probability) in [
            ("own_song_probability", self.own_song_probability),
            ("gain_probability", self.gain_probability),
            ("stem_dropout", self.stem_dropout),
            ("tempo_probability", self.tempo_probability),
            ("snr_probability", self.snr_probability),
            ("half_rate_probability", self.half_rate_probability),
            ("level_probability", self.level_probability),
        ] {
            within(name, probability, 0.0, 1.0)?;
        }
        for probability in self.noise_counts {
            within("noise_counts", probability, 0.0, 1.0)?;
        }
        let sum: f64 = self.noise_counts.iter().sum();
        if (sum - 1.0).abs() > 1e-6 {
            return Err(Error::Config(format!(
                "remix.noise_counts is {:?}, which sums to {sum}; the probabilities of 0, 1, 2 and 3 noises sum to 1",
                self.noise_counts
            )));
        }
        range("gain", self.gain, 1e-3, 1e3)?;
        range("tempo", self.tempo, 0.5, 2.0)?;
        range("snr_db", self.snr_db, -60.0, 120.0)?;
        range("amplitude", self.amplitude, 0.0, 100.0)?;
        range("level", self.level, 1e-3, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_fill_the_published_window() {
        let options = RemixOptions::default();
        options.check().unwrap();
        assert!(options.samples() >= 400 + 1023 * 160);
    }

    #[test]
    fn settings_out_of_range_are_named() {
        type Change = fn(&mut RemixOptions);
        let wrong: [(&str, Change); 6] = [
            ("seconds", |o| o.seconds = f64::NAN),
            ("tempo", |o| o.tempo = [0.2, 1.0]),
            ("gain", |o| o.gain = [1.0, 0.5]),
            ("noise_counts", |o| o.noise_counts = [0.5, 0.0, 0.0, 0.0]),
            ("level", |o| o.level = [0.5, 2.0]),
            ("crop_attempts", |o| o.crop_attempts = 0),
        ];
        for (name, change) in wrong {
            let mut options = RemixOptions::default();
            change(&mut options);
            let message = options.check().unwrap_err().to_string();
            assert!(message.contains(&format!("remix.{name}")), "{message}");
        }
    }

    #[test]
    fn unknown_keys_are_refused_and_absent_ones_default() {
        let options: RemixOptions = toml::from_str("tempo_scope = 'stem'\nseconds = 5.0").unwrap();
        assert_eq!(
            options,
            RemixOptions {
                tempo_scope: TempoScope::Stem,
                seconds: 5.0,
                ..Default::default()
            }
        );
        assert!(toml::from_str::<RemixOptions>("second = 5.0").is_err());
    }
}
