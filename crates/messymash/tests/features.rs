//! Features against golden files: what torchaudio and transformers make of the same sounds.
//!
//! `tests/golden/features` is written by `tools/golden_features.py`, which says what is in it.
#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

use std::path::{Path, PathBuf};

use messymash::fbank::{Fbank, FbankOptions};
use messymash::features::FeatureExtractor;
use safetensors::{Dtype, SafeTensors};

/// Every clip of the generator. A clip that is not listed would not be tested, so the wav files are counted.
const CLIPS: [&str; 11] = [
    "tone",
    "chirp",
    "noisy_tone",
    "noisy_chirp",
    "noise",
    "music",
    "silence",
    "short_0_4_s",
    "three_seconds",
    "ten_seconds",
    "twelve_seconds",
];
/// Largest difference to torchaudio's log mel energies.
const BEFORE_NORMALISING: f32 = 1e-3;
/// Largest difference to the model's input as transformers makes it.
const AFTER_NORMALISING: f32 = 2e-4;
/// Clips without any noise, where more must be allowed in the gaps of the spectrum (see [`single_precision`]).
const PURE: [&str; 2] = ["tone", "chirp"];

/// How far two log energies of one frame, `depth` below its loudest, may differ because of single precision alone.
///
/// A transform in single precision is off by about 2^-23 of the loudest amplitude, everywhere. On a pure chirp
/// torchaudio differs by 1.7e-2 from itself in double precision, and by 1.4e-2 from its own frames transformed by
/// another library. Amplitude is exp(energy / 2), so at depth d the logarithm of the energy is off by 2 * 2^-23 e^(d/2).
fn single_precision(depth: f32) -> f32 {
    2.0 * f32::EPSILON * (depth / 2.0).exp()
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/features")
}

/// 16-bit mono as float in [-1, 1).
fn sound(clip: &str) -> Vec<f32> {
    let mut reader = hound::WavReader::open(golden().join(format!("{clip}.wav"))).unwrap();
    assert_eq!((reader.spec().channels, reader.spec().sample_rate), (1, 16_000));
    reader
        .samples::<i16>()
        .map(|sample| f32::from(sample.unwrap()) / 32_768.0)
        .collect()
}

/// `expected.safetensors`, in memory.
struct Expected(Vec<u8>);

impl Expected {
    fn read() -> Self {
        Self(std::fs::read(golden().join("expected.safetensors")).unwrap())
    }

    fn bytes(&self, name: &str, dtype: Dtype) -> Vec<u8> {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = tensors
            .tensor(name)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(tensor.dtype(), dtype, "{name}");
        assert!(!tensor.data().is_empty(), "{name}");
        tensor.data().to_vec()
    }

    fn f32(&self, name: &str) -> Vec<f32> {
        self.bytes(name, Dtype::F32)
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect()
    }

    fn f64(&self, name: &str) -> Vec<f64> {
        self.bytes(name, Dtype::F64)
            .chunks_exact(8)
            .map(|b| f64::from_le_bytes(b.try_into().unwrap()))
            .collect()
    }

    fn indices(&self, name: &str) -> Vec<usize> {
        let bytes = self.bytes(name, Dtype::I64);
        bytes
            .chunks_exact(8)
            .map(|b| i64::from_le_bytes(b.try_into().unwrap()).try_into().unwrap())
            .collect()
    }
}

/// Panics where `expected` and the rows of `actual` at `positions` differ by more than `tolerance`, or in a pure clip by
/// more than that and [`single_precision`]. `unit` is a difference of one in log energy.
struct Comparison<'a> {
    clip: &'a str,
    tolerance: f32,
    unit: f32,
}

impl Comparison<'_> {
    fn check(&self, actual: &[f32], positions: &[usize], expected: &[f32]) {
        let columns = expected.len() / positions.len();
        assert_eq!(expected.len(), positions.len() * columns, "{}", self.clip);
        let mut compared = 0;
        for (&position, expected) in positions.iter().zip(expected.chunks_exact(columns)) {
            let row = &actual[position * columns..][..columns];
            let loudest = expected.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            for (bin, (a, b)) in row.iter().zip(expected).enumerate() {
                let mut allowed = self.tolerance;
                if PURE.contains(&self.clip) {
                    allowed += self.unit * single_precision((loudest - b) / self.unit);
                }
                let difference = (a - b).abs();
                let place = format!("{}, row {position}, bin {bin}: {a}, not {b}", self.clip);
                assert!(
                    difference.is_finite() && difference <= allowed,
                    "{place} (allowed {allowed})"
                );
                compared += 1;
            }
        }
        assert_eq!(compared, expected.len());
    }
}

#[test]
fn every_golden_clip_is_tested() {
    let mut found: Vec<String> = std::fs::read_dir(golden())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".wav").map(str::to_owned))
        .collect();
    let mut listed = CLIPS.map(str::to_owned);
    found.sort();
    listed.sort();
    assert_eq!(found, listed);
}

#[test]
fn log_mel_energies_are_those_of_torchaudio() {
    let expected = Expected::read();
    let fbank = Fbank::new(FbankOptions::default()).unwrap();
    for clip in CLIPS {
        let samples = sound(clip);
        let rows = fbank.log_mel(&samples).unwrap();
        let frames = fbank.num_frames(samples.len());
        assert_eq!(
            [frames].as_slice(),
            expected.indices(&format!("{clip}.num_frames")),
            "{clip}"
        );
        assert_eq!(rows.len(), frames * 128, "{clip}");

        let positions = expected.indices(&format!("{clip}.fbank_frames"));
        let comparison = Comparison {
            clip,
            tolerance: BEFORE_NORMALISING,
            unit: 1.0,
        };
        comparison.check(&rows, &positions, &expected.f32(&format!("{clip}.fbank")));

        for (bin, mean) in expected
            .f64(&format!("{clip}.fbank_mean"))
            .into_iter()
            .enumerate()
        {
            let sum: f64 = rows.iter().skip(bin).step_by(128).copied().map(f64::from).sum();
            let difference = (sum / frames as f64 - mean).abs();
            assert!(
                difference <= f64::from(BEFORE_NORMALISING),
                "{clip}, mean of bin {bin}: {difference}"
            );
        }
    }
}

#[test]
fn other_rates_and_sizes_are_those_of_torchaudio() {
    let expected = Expected::read();
    let clip = "noisy_chirp";
    let samples = sound(clip);
    for (sampling_rate, num_mel_bins) in [(8_000, 40), (44_100, 64), (22_050, 128)] {
        let fbank = Fbank::new(FbankOptions {
            sampling_rate,
            num_mel_bins,
            ..Default::default()
        })
        .unwrap();
        let rows = fbank.log_mel(&samples).unwrap();
        let positions: Vec<usize> = (0..fbank.num_frames(samples.len())).step_by(4).collect();
        let stored = expected.f32(&format!("{clip}.fbank_{sampling_rate}_{num_mel_bins}"));
        assert_eq!(stored.len(), positions.len() * num_mel_bins);
        Comparison {
            clip,
            tolerance: BEFORE_NORMALISING,
            unit: 1.0,
        }
        .check(&rows, &positions, &stored);
    }
}

#[test]
fn input_values_are_those_of_transformers() {
    let expected = Expected::read();
    let json = std::fs::read_to_string(golden().join("preprocessor_config.json")).unwrap();
    let extractor = FeatureExtractor::from_json(&json).unwrap();
    for clip in CLIPS {
        let rows = extractor.extract(&sound(clip)).unwrap();
        assert_eq!(rows.len(), 1024 * 128, "{clip}");
        let positions = expected.indices(&format!("{clip}.input_rows"));
        assert!(positions.contains(&1023));
        let comparison = Comparison {
            clip,
            tolerance: AFTER_NORMALISING,
            unit: 1.0 / (2.0 * extractor.std),
        };
        comparison.check(&rows, &positions, &expected.f32(&format!("{clip}.input_values")));
    }
}

#[test]
fn preprocessor_config_is_written_as_transformers_writes_it() {
    let json = std::fs::read_to_string(golden().join("preprocessor_config.json")).unwrap();
    let extractor = FeatureExtractor::from_json(&json).unwrap();
    assert_eq!(extractor, FeatureExtractor::new(128, 1024).unwrap());
    assert_eq!(extractor.to_json(), json);
}
