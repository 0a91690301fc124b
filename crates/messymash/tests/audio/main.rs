//! Sound files in, mono samples out: every format, every kind of damage, and the resampler against soxr.
//!
//! WAV, AIFF and CAF files are written here byte by byte; the rest is in `golden/audio` (tools/golden_audio.sh),
//! soxr's results in `golden/resample` (tools/golden_resample.py).

use std::f64::consts::PI;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use messymash::audio::{AudioLimits, AudioStream, MAX_BLOCK};
use messymash::{Error, Result, Waveform};

mod damage;
mod formats;
mod resampling;
mod waveform;

const RATE: u32 = 44_100;

fn golden(name: &str) -> Vec<u8> {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}; run the generators in tools/", path.display()))
}

/// Amplitudes of a sine.
fn sine(frequency: f64, amplitude: f64, rate: u32, samples: usize) -> Vec<f64> {
    (0..samples)
        .map(|i| amplitude * (2.0 * PI * frequency * i as f64 / f64::from(rate)).sin())
        .collect()
}

/// Amplitude of `frequency` in `samples`, by correlation.
fn amplitude_of(frequency: f64, samples: &[f32], rate: u32) -> f64 {
    let (mut re, mut im) = (0.0, 0.0);
    for (i, &s) in samples.iter().enumerate() {
        let phase = 2.0 * PI * frequency * i as f64 / f64::from(rate);
        re += f64::from(s) * phase.cos();
        im += f64::from(s) * phase.sin();
    }
    2.0 * f64::hypot(re, im) / samples.len() as f64
}

fn rms(samples: &[f32]) -> f64 {
    (samples.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / samples.len() as f64).sqrt()
}

struct Format {
    tag: u16,
    channels: u16,
    rate: u32,
    bits: u16,
}

const MONO_16: Format = Format {
    tag: 1,
    channels: 1,
    rate: RATE,
    bits: 16,
};

/// A WAV file whose data chunk claims `claimed` bytes.
fn wav_claiming(format: &Format, data: &[u8], riff: u32, claimed: u32) -> Vec<u8> {
    let frame = u32::from(format.channels) * u32::from(format.bits.div_ceil(8));
    let mut bytes = Vec::new();
    bytes.extend(b"RIFF");
    bytes.extend(riff.to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    // Companded formats have an extension, of size 0.
    let companded = matches!(format.tag, 6 | 7);
    bytes.extend(if companded { 18u32 } else { 16 }.to_le_bytes());
    bytes.extend(format.tag.to_le_bytes());
    bytes.extend(format.channels.to_le_bytes());
    bytes.extend(format.rate.to_le_bytes());
    bytes.extend(format.rate.wrapping_mul(frame).to_le_bytes());
    bytes.extend((frame as u16).to_le_bytes());
    bytes.extend(format.bits.to_le_bytes());
    bytes.extend(if companded { &[0u8; 2][..] } else { &[] });
    bytes.extend(b"data");
    bytes.extend(claimed.to_le_bytes());
    bytes.extend(data);
    bytes
}

fn wav(format: &Format, data: &[u8]) -> Vec<u8> {
    wav_claiming(
        format,
        data,
        if matches!(format.tag, 6 | 7) { 38 } else { 36 } + data.len() as u32,
        data.len() as u32,
    )
}

fn pcm16(samples: &[f64]) -> Vec<u8> {
    samples
        .iter()
        .flat_map(|s| ((s * 32_768.0).round() as i16).to_le_bytes())
        .collect()
}

fn floats(samples: impl IntoIterator<Item = f32>) -> Vec<u8> {
    samples.into_iter().flat_map(f32::to_le_bytes).collect()
}

/// Stereo 32-bit float from two channels.
fn stereo(left: &[f64], right: &[f64]) -> Vec<u8> {
    let data = floats(left.iter().zip(right).flat_map(|(&l, &r)| [l as f32, r as f32]));
    wav(
        &Format {
            tag: 3,
            channels: 2,
            rate: RATE,
            bits: 32,
        },
        &data,
    )
}

fn codes(waveform: &Waveform) -> Vec<&str> {
    waveform.warnings.iter().map(|w| w.code.as_str()).collect()
}

#[track_caller]
fn invalid(bytes: Vec<u8>, part: &str) {
    match Waveform::from_bytes(bytes) {
        Err(Error::InvalidAudio(message)) if message.contains(part) => {}
        other => panic!("expected InvalidAudio with {part:?}, got {other:?}"),
    }
}

#[track_caller]
fn unsupported(bytes: &[u8], part: &str) {
    match Waveform::from_bytes(bytes) {
        Err(Error::UnsupportedMedia(message)) if message.contains(part) => {}
        other => panic!("expected UnsupportedMedia with {part:?}, got {other:?}"),
    }
}

/// Name, rate, how many samples a coder may add at the ends, and the level: LAME scales by 0.95 before it codes.
const FIXTURES: [(&str, u32, usize, f64); 8] = [
    ("tone.mp3", 44_100, 0, 0.35625),
    ("tone.flac", 22_050, 0, 0.375),
    ("tone.ogg", 44_100, 0, 0.375),
    // AAC in MP4: the decoder keeps the coder's priming and padding, at most three frames of 1,024.
    ("tone-aac.m4a", 44_100, 3_072, 0.375),
    ("tone-alac.m4a", 22_050, 0, 0.375),
    // ADPCM comes in whole blocks.
    ("tone-adpcm-ms.wav", 22_050, 2_048, 0.375),
    ("tone-adpcm-ima.wav", 22_050, 2_048, 0.375),
    ("video-first.mp4", 44_100, 3_072, 0.375),
];
