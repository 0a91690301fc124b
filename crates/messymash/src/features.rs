//! `FeatureExtractor`: one window of sound to the model's input, as `transformers.ASTFeatureExtractor` does it.
//!
//! Log mel energies ([`crate::fbank`]), cut or padded to `max_length` frames, then normalised: in this order, so that
//! padding is not zero in the model's input but (0 - mean) / (2 std), 0.467 by default. Published weights expect that.
//! The settings are read from and written to `preprocessor_config.json`. How a long sound is divided into windows, and
//! what is done about short ones before they come here, is [`crate::classifier`]'s affair; mixing down and resampling
//! are [`crate::audio`]'s.

use serde::Deserialize;

use crate::fbank::{Fbank, FbankOptions, LOG_FLOOR};
use crate::{Error, Result};

/// Longest accepted input: 64 times the published one, about eleven minutes. More is a mistake in the file, and would
/// be answered by an allocation of that size.
const MAX_FRAMES: usize = 65_536;
/// Log mel energies lie between -16 and 89, so a mean beyond this or a deviation beyond this or its reciprocal is a
/// mistake; within, the result of normalising is finite.
const NORMAL: f32 = 1e6;

/// Turns a window of sound into the model's input, as `transformers.ASTFeatureExtractor` does.
///
/// Made once and shared: [`Self::extract`] takes `&self` and can be called from any number of threads. The window
/// function, Fourier transform and filters belong to `num_mel_bins` and `sampling_rate` as they were at creation;
/// `extract` refuses to work after either was changed.
///
/// ```
/// let extractor = messymash::features::FeatureExtractor::new(128, 1024)?;
/// let input_values = extractor.extract(&vec![0.0; 16_000])?;
/// assert_eq!(input_values.len(), 1024 * 128);
/// # Ok::<(), messymash::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureExtractor {
    /// Mel filters: the length of a row.
    pub num_mel_bins: usize,
    /// Frames of an input: the number of rows.
    pub max_length: usize,
    /// Subtracted from every log mel energy. -4.2677393 is AudioSet's, by the authors of AST.
    pub mean: f32,
    /// Half of what the difference is divided by; above zero. 4.5689974 is AudioSet's.
    pub std: f32,
    /// Samples per second of the sound that is given to [`Self::extract`].
    pub sampling_rate: u32,
    /// Whether `mean` and `std` are applied.
    pub do_normalize: bool,
    fbank: Fbank,
}

/// `preprocessor_config.json` as transformers writes it, with transformers' defaults for what is absent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PreprocessorConfig {
    num_mel_bins: usize,
    max_length: usize,
    mean: f64,
    std: f64,
    sampling_rate: u32,
    do_normalize: bool,
    feature_extractor_type: String,
    // Written by transformers for every extractor, and without influence on what this one computes.
    #[serde(rename = "feature_size")]
    _feature_size: serde::de::IgnoredAny,
    #[serde(rename = "padding_side")]
    _padding_side: serde::de::IgnoredAny,
    #[serde(rename = "padding_value")]
    _padding_value: serde::de::IgnoredAny,
    #[serde(rename = "return_attention_mask")]
    _return_attention_mask: serde::de::IgnoredAny,
    #[serde(rename = "processor_class")]
    _processor_class: serde::de::IgnoredAny,
}

impl Default for PreprocessorConfig {
    fn default() -> Self {
        Self {
            num_mel_bins: 128,
            max_length: 1024,
            mean: -4.267_739_3,
            std: 4.568_997_4,
            sampling_rate: 16_000,
            do_normalize: true,
            feature_extractor_type: EXTRACTOR_TYPE.to_owned(),
            _feature_size: serde::de::IgnoredAny,
            _padding_side: serde::de::IgnoredAny,
            _padding_value: serde::de::IgnoredAny,
            _return_attention_mask: serde::de::IgnoredAny,
            _processor_class: serde::de::IgnoredAny,
        }
    }
}

/// The class that transformers makes of a `preprocessor_config.json`.
const EXTRACTOR_TYPE: &str = "ASTFeatureExtractor";

impl FeatureExtractor {
    /// An extractor of inputs `[max_length, num_mel_bins]` from sound at 16 kHz, normalised by AudioSet's mean and
    /// standard deviation.
    ///
    /// # Errors
    /// [`Error::Config`] when either number is zero or absurd.
    pub fn new(num_mel_bins: usize, max_length: usize) -> Result<Self> {
        Self::from_config(PreprocessorConfig {
            num_mel_bins,
            max_length,
            ..Default::default()
        })
    }

    /// Reads the text of a `preprocessor_config.json`; an absent key has the value that transformers gives it.
    ///
    /// # Errors
    /// [`Error::Config`] when the text is no JSON, names another class than `ASTFeatureExtractor`, has a key that
    /// transformers does not write for it, or a value of a wrong type or out of range (a `std` of zero, sizes that no
    /// model has). The message names the key; which file it stands in, the caller knows.
    pub fn from_json(json: &str) -> Result<Self> {
        // By way of a map: a struct alone could also be read from a JSON list.
        let keys: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(json).map_err(|error| Error::Config(error.to_string()))?;
        let config: PreprocessorConfig = serde_path_to_error::deserialize(serde_json::Value::Object(keys))
            .map_err(|error| Error::Config(error.to_string()))?;
        Self::from_config(config)
    }

    fn from_config(config: PreprocessorConfig) -> Result<Self> {
        if config.feature_extractor_type != EXTRACTOR_TYPE {
            return Err(Error::Config(format!(
                "feature_extractor_type is {:?}; only {EXTRACTOR_TYPE:?} makes the input of an Audio Spectrogram \
                 Transformer",
                config.feature_extractor_type
            )));
        }
        let fbank = Fbank::new(FbankOptions {
            sampling_rate: config.sampling_rate,
            num_mel_bins: config.num_mel_bins,
            ..Default::default()
        })?;
        let extractor = Self {
            num_mel_bins: config.num_mel_bins,
            max_length: config.max_length,
            mean: config.mean as f32,
            std: config.std as f32,
            sampling_rate: config.sampling_rate,
            do_normalize: config.do_normalize,
            fbank,
        };
        extractor.validate()?;
        Ok(extractor)
    }

    /// The fields are public, so they are looked at before every use as well as at creation.
    fn validate(&self) -> Result<()> {
        if !(1..=MAX_FRAMES).contains(&self.max_length) {
            return Err(Error::Config(format!(
                "max_length is {} frames; it must lie between 1 and {MAX_FRAMES}",
                self.max_length
            )));
        }
        if !(-NORMAL..=NORMAL).contains(&self.mean) {
            return Err(Error::Config(format!(
                "mean is {}; it must lie between -1e6 and 1e6",
                self.mean
            )));
        }
        if !(1.0 / NORMAL..=NORMAL).contains(&self.std) {
            return Err(Error::Config(format!(
                "std is {}; it must lie between 1e-6 and 1e6",
                self.std
            )));
        }
        let made = self.fbank.options();
        if (made.num_mel_bins, made.sampling_rate) != (self.num_mel_bins, self.sampling_rate) {
            return Err(Error::Config(format!(
                "the extractor was made for {} mel bins at {} Hz, and then changed to {} at {}; make a new one",
                made.num_mel_bins, made.sampling_rate, self.num_mel_bins, self.sampling_rate
            )));
        }
        Ok(())
    }

    /// The text of a `preprocessor_config.json` that transformers reads back: the one its `save_pretrained` writes,
    /// byte for byte.
    pub fn to_json(&self) -> String {
        // Debug, because it prints the shortest digits that give the same number, and "4.0" where Display prints "4".
        format!(
            "{{\n  \"do_normalize\": {},\n  \"feature_extractor_type\": \"{EXTRACTOR_TYPE}\",\n  \"feature_size\": 1,\n  \
             \"max_length\": {},\n  \"mean\": {:?},\n  \"num_mel_bins\": {},\n  \"padding_side\": \"right\",\n  \
             \"padding_value\": 0.0,\n  \"return_attention_mask\": false,\n  \"sampling_rate\": {},\n  \
             \"std\": {:?}\n}}\n",
            self.do_normalize, self.max_length, self.mean, self.num_mel_bins, self.sampling_rate, self.std
        )
    }

    /// Samples that fill one window exactly: 400 + (max_length - 1) * 160 at 16 kHz, which is 10.255 s for the
    /// published 1024 frames. Anything behind them is not heard.
    pub fn window_samples(&self) -> usize {
        let shifts = self.max_length.saturating_sub(1);
        self.fbank
            .frame_length()
            .saturating_add(shifts.saturating_mul(self.fbank.frame_shift()))
    }

    /// The same in seconds.
    pub fn window_seconds(&self) -> f64 {
        self.window_samples() as f64 / f64::from(self.sampling_rate)
    }

    /// The model's input, `[max_length, num_mel_bins]` row-major. Samples are mono at `sampling_rate`, nominally in
    /// [-1, 1]. Longer sound is cut, shorter is padded with zeros, before normalising.
    ///
    /// # Errors
    /// [`Error::TooShort`] under one frame (25 ms), [`Error::InvalidAudio`] when a sample that would be heard is not
    /// finite, [`Error::Config`] when a field was changed to what cannot be.
    pub fn extract(&self, samples: &[f32]) -> Result<Vec<f32>> {
        self.validate()?;
        let heard = &samples[..samples.len().min(self.window_samples())];
        if let Some(position) = first_not_finite(heard) {
            return Err(Error::InvalidAudio(format!(
                "sample {position} is {}; replace samples that are not finite numbers before extracting features",
                heard[position]
            )));
        }
        let mut rows = vec![0.0; self.max_length * self.num_mel_bins];
        self.fbank.fill(heard, &mut rows)?;
        if self.do_normalize {
            let divisor = 2.0 * self.std;
            for value in &mut rows {
                *value = (*value - self.mean) / divisor;
            }
        }
        Ok(rows)
    }
}

impl FeatureExtractor {
    /// Makes the input of a sound of `samples` samples what it would be if its source had held nothing above `hertz`, as a
    /// low sampling rate or a lossy codec leaves it: every filter that lies wholly above becomes silent in all frames that are
    /// heard. Padding stays as it is.
    ///
    /// A filtered sound differs from that by what the frame's window smears into the next two or three filters.
    pub fn low_pass(&self, rows: &mut [f32], samples: usize, hertz: f64) {
        let first = self.fbank.first_filter_above(hertz);
        let silence = if self.do_normalize {
            (LOG_FLOOR - self.mean) / (2.0 * self.std)
        } else {
            LOG_FLOOR
        };
        let frames = self.fbank.num_frames(samples);
        for row in rows.chunks_exact_mut(self.num_mel_bins).take(frames) {
            row[first..].fill(silence);
        }
    }
}

/// Looks at blocks as a whole first: nearly every sound is finite throughout, and this way it costs next to nothing.
fn first_not_finite(samples: &[f32]) -> Option<usize> {
    const BLOCK: usize = 1024;
    let block = samples.chunks(BLOCK).position(|block| {
        !block
            .iter()
            .fold(true, |finite, sample| finite & sample.is_finite())
    })?;
    let start = block * BLOCK;
    samples[start..]
        .iter()
        .position(|sample| !sample.is_finite())
        .map(|offset| start + offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published() -> FeatureExtractor {
        FeatureExtractor::new(128, 1024).unwrap()
    }

    #[test]
    fn a_window_is_filled_exactly() {
        let extractor = published();
        assert_eq!(extractor.window_samples(), 164_080);
        let small = FeatureExtractor::new(16, 24).unwrap();
        let samples: Vec<f32> = (0..small.window_samples() + 1600)
            .map(|i| (i as f32 * 0.3).sin())
            .collect();
        let padding = (0.0 - small.mean) / (2.0 * small.std);
        let exact = small.extract(&samples[..small.window_samples()]).unwrap();
        assert!(
            exact[23 * 16..].iter().all(|&value| value != padding),
            "the last frame is heard"
        );
        assert_eq!(small.extract(&samples).unwrap(), exact, "longer sound is cut");
        let short = small.extract(&samples[..small.window_samples() - 1]).unwrap();
        assert_eq!(short[..23 * 16], exact[..23 * 16]);
        assert!(
            short[23 * 16..].iter().all(|&value| value == padding),
            "one sample fewer, one frame fewer"
        );
    }

    #[test]
    fn padding_comes_before_normalising() {
        let rows = published().extract(&[0.0; 400]).unwrap();
        let (heard, padded) = rows.split_at(128);
        assert!(
            heard.iter().all(|value| (value - -1.2776).abs() < 1e-3),
            "silence: {}",
            heard[0]
        );
        assert!(
            padded.iter().all(|value| (value - 0.4670).abs() < 1e-3),
            "padding: {}",
            padded[0]
        );

        let raw = FeatureExtractor {
            do_normalize: false,
            ..published()
        }
        .extract(&[0.0; 400])
        .unwrap();
        assert!(raw[..128].iter().all(|&value| value == LOG_FLOOR));
        assert!(raw[128..].iter().all(|&value| value == 0.0));
    }

    #[test]
    fn a_low_pass_is_what_a_filtered_sound_looks_like() {
        // Partials of random phase from 100 Hz up to `highest`, by which a sound is filtered exactly.
        let sound = |highest: f64| -> Vec<f32> {
            let mut random = crate::random::Random::new(&[5]);
            let partials: Vec<(f64, f64)> = (0..150)
                .map(|n| {
                    (
                        100.0 + 52.0 * f64::from(n),
                        random.uniform(0.0, std::f64::consts::TAU),
                    )
                })
                .collect();
            let at = |i: usize, (hertz, phase): &(f64, f64)| {
                (std::f64::consts::TAU * hertz * i as f64 / 16_000.0 + phase).sin()
            };
            let heard: Vec<&(f64, f64)> = partials.iter().filter(|(hertz, _)| *hertz <= highest).collect();
            (0..6000)
                .map(|i| (0.01 * heard.iter().map(|partial| at(i, partial)).sum::<f64>()) as f32)
                .collect()
        };
        let extractor = FeatureExtractor::new(128, 40).unwrap();
        for hertz in [5000.0, 6200.0, 7500.0] {
            let filtered = extractor.extract(&sound(hertz)).unwrap();
            let mut cut = extractor.extract(&sound(8000.0)).unwrap();
            extractor.low_pass(&mut cut, 6000, hertz);
            let first = extractor.fbank.first_filter_above(hertz);
            assert!((90..128).contains(&first), "{first}");
            let heard = 36; // frames of 6000 samples
            for (n, (a, b)) in filtered.iter().zip(&cut).enumerate() {
                let (frame, bin) = (n / 128, n % 128);
                // The sound has nothing in the lowest filters: there is only what the window smears, of which less is left.
                if bin < 8 {
                    continue;
                }
                // Normalised: 0.1 is 0.9 nats, 4 dB. The range from silence to the loudest is about 2.5.
                let near = bin + 3 < first || bin > first + 3;
                let allowed = if frame >= heard {
                    0.0
                } else if near {
                    0.1
                } else {
                    2.0
                };
                assert!(
                    (a - b).abs() <= allowed,
                    "{hertz} Hz, frame {frame}, bin {bin}: {a} {b}, first {first}"
                );
            }
        }
        // Above everything: nothing changes. Without normalising: the floor itself.
        let raw = FeatureExtractor {
            do_normalize: false,
            ..extractor
        };
        let whole = raw.extract(&sound(8000.0)).unwrap();
        let mut cut = whole.clone();
        raw.low_pass(&mut cut, 6000, 8000.0);
        assert_eq!(cut, whole);
        raw.low_pass(&mut cut, 6000, 0.0);
        assert!(cut[..36 * 128].iter().all(|&x| x == LOG_FLOOR) && cut[36 * 128..] == whole[36 * 128..]);
    }

    #[test]
    fn sound_that_cannot_be_used_is_refused() {
        let extractor = published();
        assert!(matches!(
            extractor.extract(&[0.0; 399]),
            Err(Error::TooShort { .. })
        ));
        for bad in [f32::NAN, f32::INFINITY] {
            let mut samples = vec![0.0; 170_000];
            samples[164_080] = bad;
            extractor
                .extract(&samples)
                .expect("what is cut off does not matter");
            samples[3000] = bad;
            let error = extractor.extract(&samples).unwrap_err();
            assert!(
                matches!(&error, Error::InvalidAudio(text) if text.contains("sample 3000 ")),
                "{error}"
            );
        }
    }

    #[test]
    fn changed_fields_take_effect_or_are_refused() {
        let mut extractor = published();
        extractor.mean = 1.0;
        extractor.std = 0.25;
        extractor.max_length = 2;
        let rows = extractor.extract(&[0.0; 400]).unwrap();
        assert_eq!(rows.len(), 256);
        assert_eq!((rows[0], rows[128]), ((LOG_FLOOR - 1.0) / 0.5, -2.0));

        for change in [
            |e: &mut FeatureExtractor| e.num_mel_bins = 64,
            |e: &mut FeatureExtractor| e.sampling_rate = 8000,
            |e: &mut FeatureExtractor| e.std = 0.0,
            |e: &mut FeatureExtractor| e.mean = f32::NAN,
            |e: &mut FeatureExtractor| e.max_length = usize::MAX,
        ] {
            let mut extractor = published();
            change(&mut extractor);
            assert!(
                matches!(extractor.extract(&[0.0; 400]), Err(Error::Config(_))),
                "{extractor:?}"
            );
        }
    }

    #[test]
    fn threads_share_one_extractor() {
        let extractor = FeatureExtractor::new(64, 50).unwrap();
        let sound = |seed: usize| -> Vec<f32> {
            (0..8000)
                .map(|i| ((i * (seed + 1)) as f32 * 0.01).sin())
                .collect()
        };
        let alone: Vec<Vec<f32>> = (0..4)
            .map(|seed| extractor.extract(&sound(seed)).unwrap())
            .collect();
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|seed| {
                    scope.spawn({
                        let e = &extractor;
                        move || e.extract(&sound(seed))
                    })
                })
                .collect();
            for (worker, expected) in workers.into_iter().zip(&alone) {
                assert_eq!(&worker.join().unwrap().unwrap(), expected);
            }
        });
    }

    #[test]
    fn json_round_trip() {
        let mut extractor = FeatureExtractor::from_json(
            r#"{"num_mel_bins": 40, "max_length": 100, "mean": -1.5, "std": 2, "sampling_rate": 8000,
                "do_normalize": false, "processor_class": null, "feature_size": 1}"#,
        )
        .unwrap();
        assert_eq!(
            (
                extractor.num_mel_bins,
                extractor.max_length,
                extractor.sampling_rate
            ),
            (40, 100, 8000)
        );
        assert_eq!(
            (extractor.mean, extractor.std, extractor.do_normalize),
            (-1.5, 2.0, false)
        );
        assert_eq!(extractor.window_samples(), 200 + 99 * 80);
        assert_eq!(
            FeatureExtractor::from_json(&extractor.to_json()).unwrap(),
            extractor
        );
        extractor.std = 1.0e-5;
        assert_eq!(
            FeatureExtractor::from_json(&extractor.to_json()).unwrap(),
            extractor
        );
        assert_eq!(FeatureExtractor::from_json("{}").unwrap(), published());
    }

    #[test]
    fn a_wrong_preprocessor_config_is_refused_by_name() {
        for (named, json) in [
            ("EOF", ""),
            ("EOF", "{"),
            ("trailing", "{} {}"),
            ("invalid type", "[]"),
            ("num_mel_bins", r#"{"num_mel_bins": "128"}"#),
            ("num_mel_bins", r#"{"num_mel_bins": 128.5}"#),
            ("num_mel_bins", r#"{"num_mel_bins": -1}"#),
            ("num_mel_bins", r#"{"num_mel_bins": 0}"#),
            ("num_mel_bins", r#"{"num_mel_bins": 1000000000}"#),
            ("max_length", r#"{"max_length": 0}"#),
            ("max_length", r#"{"max_length": 18446744073709551615}"#),
            ("max_length", r#"{"max_length": null}"#),
            ("sampling_rate", r#"{"sampling_rate": 0}"#),
            ("sampling_rate", r#"{"sampling_rate": 4000000000}"#),
            ("do_normalize", r#"{"do_normalize": 1}"#),
            ("mean", r#"{"mean": 1e300}"#),
            ("mean", r#"{"mean": "x"}"#),
            ("std", r#"{"std": 0}"#),
            ("std", r#"{"std": -1.0}"#),
            ("std", r#"{"std": 1e-7}"#),
            ("std", r#"{"std": 1e-300}"#),
            ("std", r#"{"std": 1e300}"#),
            ("expected value", r#"{"std": NaN}"#),
            (
                "WhisperFeatureExtractor",
                r#"{"feature_extractor_type": "WhisperFeatureExtractor"}"#,
            ),
            ("num_mel_bin", r#"{"num_mel_bin": 128}"#),
        ] {
            let error = FeatureExtractor::from_json(json).unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, Error::Config(_)), "{json}: {text}");
            assert!(text.contains(named), "{json}: {text}");
        }
    }
}
