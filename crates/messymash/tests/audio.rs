//! Sound files in, mono samples out: every format, every kind of damage, and the resampler against soxr.
//!
//! WAV, AIFF and CAF files are written here byte by byte; the rest is in `golden/audio` (tools/golden_audio.sh),
//! soxr's results in `golden/resample` (tools/golden_resample.py).

use std::f64::consts::PI;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use messymash::audio::{AudioLimits, AudioStream, MAX_BLOCK};
use messymash::{Error, Result, Waveform};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

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

#[test]
fn every_pcm_flavour_of_wav_gives_the_same_sound() {
    let tone = sine(1_000.0, 0.5, RATE, 4_410);
    let flavour = |tag, bits| Format {
        tag,
        channels: 1,
        rate: RATE,
        bits,
    };
    let files: [(&str, Vec<u8>, f64); 6] = [
        (
            "u8",
            wav(
                &flavour(1, 8),
                &tone
                    .iter()
                    .map(|s| (s * 128.0 + 128.0).round() as u8)
                    .collect::<Vec<_>>(),
            ),
            5e-3,
        ),
        ("s16", wav(&flavour(1, 16), &pcm16(&tone)), 2e-5),
        (
            "s24",
            wav(
                &flavour(1, 24),
                &tone
                    .iter()
                    .flat_map(|s| ((s * 8_388_608.0) as i32).to_le_bytes()[..3].to_vec())
                    .collect::<Vec<_>>(),
            ),
            1e-6,
        ),
        (
            "s32",
            wav(
                &flavour(1, 32),
                &tone
                    .iter()
                    .flat_map(|s| ((s * 2_147_483_648.0) as i32).to_le_bytes())
                    .collect::<Vec<_>>(),
            ),
            1e-6,
        ),
        (
            "f32",
            wav(&flavour(3, 32), &floats(tone.iter().map(|&s| s as f32))),
            1e-7,
        ),
        (
            "f64",
            wav(
                &flavour(3, 64),
                &tone.iter().flat_map(|s| s.to_le_bytes()).collect::<Vec<_>>(),
            ),
            1e-7,
        ),
    ];
    for (name, bytes, tolerance) in files {
        let sound = Waveform::from_bytes(bytes).unwrap();
        assert_eq!(
            (sound.sample_rate, sound.samples.len()),
            (RATE, tone.len()),
            "{name}"
        );
        assert!(sound.warnings.is_empty(), "{name}: {:?}", sound.warnings);
        let worst = sound
            .samples
            .iter()
            .zip(&tone)
            .map(|(a, b)| (f64::from(*a) - b).abs())
            .fold(0.0, f64::max);
        assert!(worst <= tolerance, "{name}: {worst}");
    }
}

#[test]
fn companded_wav_follows_g711() {
    // Code words and values of ITU-T G.711, 16-bit scale: A-law 0xD5 is +8, 0xAA +32256; mu-law 0xFF is 0, 0x80 +32124.
    for (tag, codes, values) in [
        (6, [0xd5, 0xaa], [8.0, 32_256.0]),
        (7, [0xff, 0x80], [0.0, 32_124.0]),
    ] {
        let data: Vec<u8> = (0..1_000).map(|i| codes[i % 2]).collect();
        let sound = Waveform::from_bytes(wav(
            &Format {
                tag,
                channels: 1,
                rate: 8_000,
                bits: 8,
            },
            &data,
        ))
        .unwrap();
        assert_eq!((sound.sample_rate, sound.samples.len()), (8_000, 1_000));
        for (sample, value) in sound.samples.iter().zip(values.iter().cycle()) {
            assert!(
                (sample * 32_768.0 - value).abs() < 1.0,
                "tag {tag}: {} is not {value}",
                sample * 32_768.0
            );
        }
    }
}

#[test]
fn aiff_and_caf_are_read() {
    let tone = sine(1_000.0, 0.5, RATE, 4_410);
    let data: Vec<u8> = tone
        .iter()
        .flat_map(|s| ((s * 32_768.0).round() as i16).to_be_bytes())
        .collect();
    let mut aiff = Vec::new();
    aiff.extend(b"FORM");
    aiff.extend((46 + data.len() as u32).to_be_bytes());
    aiff.extend(b"AIFFCOMM");
    aiff.extend(18u32.to_be_bytes());
    aiff.extend(1u16.to_be_bytes());
    aiff.extend(4_410u32.to_be_bytes());
    aiff.extend(16u16.to_be_bytes());
    // 44,100 as an 80-bit float.
    aiff.extend([0x40, 0x0e, 0xac, 0x44, 0, 0, 0, 0, 0, 0]);
    aiff.extend(b"SSND");
    aiff.extend((8 + data.len() as u32).to_be_bytes());
    aiff.extend([0; 8]);
    aiff.extend(&data);
    let mut caf = Vec::new();
    caf.extend(b"caff\x00\x01\x00\x00desc");
    caf.extend(32u64.to_be_bytes());
    caf.extend(f64::from(RATE).to_be_bytes());
    caf.extend(b"lpcm");
    for word in [0u32, 2, 1, 1, 16] {
        caf.extend(word.to_be_bytes());
    }
    caf.extend(b"data");
    caf.extend((4 + data.len() as u64).to_be_bytes());
    caf.extend([0; 4]);
    caf.extend(&data);
    for (name, bytes) in [("aiff", aiff), ("caf", caf)] {
        let sound = Waveform::from_bytes(bytes).unwrap();
        assert_eq!((sound.sample_rate, sound.samples.len()), (RATE, 4_410), "{name}");
        assert!(
            (amplitude_of(1_000.0, &sound.samples, RATE) - 0.5).abs() < 1e-3,
            "{name}"
        );
        assert!(sound.warnings.is_empty(), "{name}: {:?}", sound.warnings);
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

#[test]
fn coded_formats_give_the_tone() {
    for (name, rate, extra, level) in FIXTURES {
        let sound = Waveform::from_bytes(golden(&format!("audio/{name}"))).unwrap();
        let expected = rate as usize / 2;
        assert_eq!(sound.sample_rate, rate, "{name}");
        assert!(
            (expected..=expected + extra).contains(&sound.samples.len()),
            "{name}: {} samples, not {expected}",
            sound.samples.len()
        );
        let middle = &sound.samples[expected / 4..expected / 4 + rate as usize / 10];
        let (tone, all) = (amplitude_of(1_000.0, middle, rate), 2f64.sqrt() * rms(middle));
        assert!(
            (tone - level).abs() < 0.01 && (all - level).abs() < 0.01,
            "{name}: tone {tone}, all {all}"
        );
        assert!(sound.warnings.is_empty(), "{name}: {:?}", sound.warnings);
    }
}

#[test]
fn content_decides_and_not_the_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("song.wav");
    std::fs::write(&path, golden("audio/tone.mp3")).unwrap();
    assert_eq!(
        Waveform::open(&path).unwrap(),
        Waveform::from_bytes(golden("audio/tone.mp3")).unwrap()
    );
}

#[test]
fn what_is_not_sound_is_named() {
    unsupported(
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        "This is a PNG image, not audio.",
    );
    unsupported(b"<!DOCTYPE html><html></html>", "web page");
    unsupported(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", "PDF");
    unsupported(b"PK\x03\x04\x14\0\0\0", "ZIP");
    unsupported("Just a note.\nÜber alles".as_bytes(), "text file");
    unsupported(b"MThd\0\0\0\x06\0\x01", "MIDI");
    unsupported(b"#EXTM3U\nsong.mp3\n", "playlist");
    unsupported(b"FILE \"a.bin\" BINARY\n  TRACK 01 AUDIO\n", "cue sheet");
    unsupported(b"RF64\xff\xff\xff\xffWAVEds64", "RF64");
    unsupported(b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0", "Wave64");
    unsupported(b".snd\0\0\0\x18", "AU");
    unsupported(b"\0\x05\x16\x07\0\x02\0\0", "macOS");
    unsupported(
        &golden("audio/tone-opus.ogg"),
        "This is Opus sound; convert it to FLAC or WAV first.",
    );
    let mut noise = vec![0; 1 << 20];
    unsupported(&noise, "No sound was found");
    ChaCha8Rng::seed_from_u64(1).fill_bytes(&mut noise);
    assert!(matches!(
        Waveform::from_bytes(noise),
        Err(Error::UnsupportedMedia(_) | Error::InvalidAudio(_))
    ));
}

#[test]
fn damaged_headers_are_explained() {
    let tone = pcm16(&sine(1_000.0, 0.5, RATE, 4_410));
    invalid(Vec::new(), "The file is empty.");
    invalid(
        wav(&MONO_16, &tone)[..30].to_vec(),
        "ends inside its header (30 bytes)",
    );
    invalid(
        wav(&MONO_16, &tone)[..12].to_vec(),
        "ends inside its header (12 bytes)",
    );
    invalid(wav_claiming(&MONO_16, &tone, 0, 0), "interrupted");
    invalid(
        wav_claiming(&MONO_16, &tone, 36 + tone.len() as u32, 0),
        "interrupted",
    );
    for rate in [0, 1, 999, 768_001, u32::MAX] {
        invalid(
            wav(&Format { rate, ..MONO_16 }, &tone),
            &format!("claims {rate} samples a second"),
        );
    }
    for channels in [0, 33, u16::MAX] {
        let error = Waveform::from_bytes(wav(&Format { channels, ..MONO_16 }, &tone)).unwrap_err();
        assert!(
            matches!(error, Error::InvalidAudio(_) | Error::UnsupportedMedia(_)),
            "{channels}: {error:?}"
        );
    }
}

#[test]
fn folders_and_missing_files_are_io_errors() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(Waveform::open(folder.path()).unwrap_err().code(), "io");
    let missing = folder.path().join("missing.wav");
    let error = Waveform::open(&missing).unwrap_err();
    assert_eq!(error.code(), "io");
    assert!(error.to_string().contains("missing.wav"));
}

#[test]
fn a_truncated_file_gives_what_there_is() {
    let tone = pcm16(&sine(1_000.0, 0.5, RATE, 22_050));
    let whole = wav(&MONO_16, &tone);
    let sound = Waveform::from_bytes(whole[..44 + 2_646].to_vec()).unwrap();
    assert_eq!(sound.samples.len(), 1_323);
    assert_eq!(codes(&sound), ["truncated_file"]);
    assert_eq!(
        sound.warnings[0].message,
        "The file ends early: 0.03 of 0.50 s could be read."
    );
    for name in ["tone.mp3", "tone.flac"] {
        let bytes = golden(&format!("audio/{name}"));
        let sound = Waveform::from_bytes(&bytes[..bytes.len() * 3 / 4]).unwrap();
        assert!(
            codes(&sound).contains(&"truncated_file"),
            "{name}: {:?}",
            sound.warnings
        );
        assert!(
            (0.05..0.45).contains(&sound.seconds()),
            "{name}: {}",
            sound.seconds()
        );
    }
}

#[test]
fn piped_wav_gives_no_warning() {
    let tone = pcm16(&sine(1_000.0, 0.5, RATE, 4_410));
    // ffmpeg's and sox's placeholders for a length that they cannot know.
    for (riff, data) in [(u32::MAX, u32::MAX), (0x7fff_f024, 0x7fff_f000)] {
        let bytes = wav_claiming(&MONO_16, &tone, riff, data);
        let stream = AudioStream::from_bytes(bytes, &AudioLimits::default()).unwrap();
        assert_eq!(stream.expected_seconds(), None);
        let sound = stream.into_waveform().unwrap();
        assert_eq!(
            (sound.samples.len(), sound.warnings.len()),
            (4_410, 0),
            "{:?}",
            sound.warnings
        );
    }
}

#[test]
fn few_bad_numbers_become_silence_and_many_are_refused() {
    let float = Format {
        tag: 3,
        channels: 1,
        rate: RATE,
        bits: 32,
    };
    let with_bad = |every: usize| {
        let tone = sine(1_000.0, 0.5, RATE, 10_000).into_iter().enumerate();
        let bad = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        wav(
            &float,
            &floats(tone.map(|(i, s)| {
                if i % every == 7 {
                    bad[i / every % 3]
                } else {
                    s as f32
                }
            })),
        )
    };
    let sound = Waveform::from_bytes(with_bad(1_000)).unwrap();
    assert_eq!(codes(&sound), ["non_finite"]);
    assert!(sound.samples.iter().all(|s| s.is_finite()));
    assert_eq!(sound.samples[7], 0.0);
    invalid(with_bad(900), "not numbers");
}

#[test]
fn mono_is_the_mean_of_the_channels() {
    let (left, right) = (sine(500.0, 0.5, RATE, 60_000), sine(2_000.0, 0.25, RATE, 60_000));
    let sound = Waveform::from_bytes(stereo(&left, &right)).unwrap();
    assert_eq!(sound.samples.len(), 60_000);
    for (i, sample) in sound.samples.iter().enumerate() {
        assert!((f64::from(*sample) - 0.5 * (left[i] + right[i])).abs() < 1e-6);
    }
    let frames = floats((0..1_000).flat_map(|i| [0.1, 0.2, 0.3, i as f32 / 1e4]));
    let sound = Waveform::from_bytes(wav(
        &Format {
            tag: 3,
            channels: 4,
            rate: RATE,
            bits: 32,
        },
        &frames,
    ))
    .unwrap();
    assert!((sound.samples[500] - (0.6 + 0.05) / 4.0).abs() < 1e-6);
}

#[test]
fn cancelling_stereo_uses_the_left_channel() {
    // Longer than the second that decides, after a silent start, with 0.5 % of the energy's root in phase.
    let mut left = vec![0.0; 10_000];
    left.extend(sine(500.0, 0.5, RATE, 100_000));
    let right: Vec<f64> = left.iter().map(|s| -0.99 * s).collect();
    let sound = Waveform::from_bytes(stereo(&left, &right)).unwrap();
    assert_eq!(codes(&sound), ["phase_cancelled"]);
    assert_eq!(sound.samples.len(), 110_000);
    assert!(
        sound
            .samples
            .iter()
            .zip(&left)
            .all(|(a, b)| (f64::from(*a) - b).abs() < 1e-6)
    );
    // Shorter than that second, too.
    let short = Waveform::from_bytes(stereo(&left[..12_000], &right[..12_000])).unwrap();
    assert_eq!(
        (short.samples.len(), codes(&short)),
        (12_000, vec!["phase_cancelled"])
    );
    // Channels with nothing in common are no fault.
    let other = sine(777.0, 0.5, RATE, 110_000);
    assert!(
        Waveform::from_bytes(stereo(&left, &other))
            .unwrap()
            .warnings
            .is_empty()
    );
}

#[test]
fn silence_offset_and_clipping_are_told() {
    let file = |samples: Vec<f64>| Waveform::from_bytes(wav(&MONO_16, &pcm16(&samples))).unwrap();
    assert_eq!(codes(&file(vec![0.0; 44_100])), ["silence"]);
    assert_eq!(codes(&file(vec![0.5; 44_100])), ["silence"]);
    assert_eq!(codes(&file(sine(500.0, 0.0005, RATE, 44_100))), ["silence"]);
    assert!(file(sine(500.0, 0.005, RATE, 44_100)).warnings.is_empty());
    assert!(
        file(sine(440.0, 1.0, RATE, 44_100)).warnings.is_empty(),
        "full scale alone is no clipping"
    );
    let square = sine(440.0, 1.0, RATE, 44_100)
        .iter()
        .map(|s| s.signum())
        .collect();
    assert_eq!(codes(&file(square)), ["clipped"]);
    let hot = floats(sine(440.0, 3.0, RATE, 44_100).into_iter().map(|s| s as f32));
    let hot = Waveform::from_bytes(wav(
        &Format {
            tag: 3,
            channels: 1,
            rate: RATE,
            bits: 32,
        },
        &hot,
    ))
    .unwrap();
    assert_eq!(codes(&hot), ["clipped"]);
    assert!(hot.samples.iter().all(|s| s.abs() <= 1.0));
}

#[test]
fn the_limit_of_seconds_counts_what_is_decoded() {
    let bytes = wav(&MONO_16, &vec![0; 2 * 44_100]);
    let limits = |seconds| AudioLimits {
        max_seconds: Some(seconds),
        ..AudioLimits::default()
    };
    let decode = |seconds| AudioStream::from_bytes(bytes.clone(), &limits(seconds))?.into_waveform();
    assert_eq!(decode(1.0).unwrap().samples.len(), 44_100);
    assert!(matches!(decode(0.9), Err(Error::TooLong { limit_seconds }) if limit_seconds == 0.9));
    let waveform = Waveform::new(vec![0.0; 44_100], RATE);
    let from_memory = AudioStream::from_waveform(&waveform, &limits(0.5))
        .unwrap()
        .into_waveform();
    assert!(matches!(from_memory, Err(Error::TooLong { .. })));
}

/// A stream's longest block and number of samples.
fn drain(mut stream: AudioStream) -> Result<(usize, usize)> {
    let (mut longest, mut total) = (0, 0);
    let mut block = Vec::new();
    while stream.next_block(&mut block)? {
        longest = longest.max(block.len());
        total += block.len();
        block.clear();
    }
    Ok((longest, total))
}

#[test]
fn a_long_file_comes_in_bounded_blocks() {
    // 20 minutes of 8-bit stereo at 8 kHz; a header that claims more than there is must cost nothing either.
    let seconds = 1_200;
    let format = Format {
        tag: 1,
        channels: 2,
        rate: 8_000,
        bits: 8,
    };
    let bytes = wav(&format, &vec![130; seconds * 8_000 * 2]);
    let (longest, total) = drain(AudioStream::from_bytes(bytes, &AudioLimits::default()).unwrap()).unwrap();
    assert_eq!(total, seconds * 8_000);
    assert!(longest <= MAX_BLOCK, "{longest}");
    let bytes = wav(&format, &vec![130; seconds * 8_000 * 2]);
    let stream = AudioStream::from_bytes(bytes, &AudioLimits::default())
        .unwrap()
        .resampled(16_000)
        .unwrap();
    assert_eq!(
        (stream.sample_rate(), stream.expected_seconds()),
        (16_000, Some(1_200.0))
    );
    let (longest, total) = drain(stream).unwrap();
    assert_eq!(total, seconds * 16_000);
    assert!(longest <= MAX_BLOCK, "{longest}");
}

#[test]
fn decoding_ahead_gives_the_same_and_may_be_left_off() {
    let long: Vec<f64> = sine(440.0, 0.4, RATE, 30 * RATE as usize);
    let bytes: Arc<[u8]> = stereo(&long, &long).into();
    let open = || AudioStream::from_bytes(bytes.clone(), &AudioLimits::default()).unwrap();
    let resampled = |stream: AudioStream| stream.resampled(16_000).unwrap();
    let plain = resampled(open()).into_waveform().unwrap();
    assert_eq!(resampled(open()).ahead().into_waveform().unwrap(), plain);
    assert_eq!(open().ahead().expected_seconds(), open().expected_seconds());
    // The decoder's thread waits with full hands when its listener goes.
    let mut stream = open().ahead();
    let mut first = Vec::new();
    assert!(stream.next_block(&mut first).unwrap());
    assert!(!first.is_empty() && first.len() < long.len());
}

#[test]
fn streaming_and_whole_resampling_agree() {
    let sound = Waveform::from_bytes(golden("audio/tone.mp3")).unwrap();
    for rate in [16_000, 48_000, 44_099] {
        let whole = sound.resample(rate).unwrap();
        let stream = AudioStream::from_bytes(golden("audio/tone.mp3"), &AudioLimits::default()).unwrap();
        let streamed = stream.resampled(rate).unwrap().into_waveform().unwrap();
        assert_eq!(streamed, whole, "{rate}");
    }
}

#[test]
fn resampling_keeps_length_time_and_level_at_any_rate() {
    for (from, to) in [
        (44_100, 16_000),
        (48_000, 16_000),
        (22_050, 16_000),
        (8_000, 16_000),
        (11_025, 16_000),
        (96_000, 16_000),
        (44_056, 16_000),
        (1_000, 16_000),
        (768_000, 16_000),
        // Ratios that do not reduce go another way.
        (44_099, 16_000),
        (16_000, 44_099),
        (16_000, 15_999),
    ] {
        let samples = (f64::from(from) * 0.8) as usize;
        // A faded sine at 0.3 of the lower rate, which is known at any time.
        let frequency = 0.3 * f64::from(from.min(to));
        let seconds = samples as f64 / f64::from(from);
        let at = |t: f64| 0.5 * (PI * t / seconds).sin().powi(2) * (2.0 * PI * frequency * t + 0.3).sin();
        let sound = Waveform::new(
            (0..samples)
                .map(|i| at(i as f64 / f64::from(from)) as f32)
                .collect(),
            from,
        );
        let result = sound.resample(to).unwrap();
        assert_eq!(
            result.samples.len(),
            (samples as f64 * f64::from(to) / f64::from(from)).round() as usize
        );
        let (mut signal, mut noise) = (0.0, 0.0);
        for (i, &sample) in result.samples.iter().enumerate() {
            let ideal = at(i as f64 / f64::from(to));
            signal += ideal * ideal;
            noise += (ideal - f64::from(sample)).powi(2);
        }
        let snr = 10.0 * f64::log10(signal / noise);
        assert!(snr > 80.0, "{from} to {to} Hz: {snr:.1} dB");
    }
}

#[test]
fn resampling_removes_what_the_new_rate_cannot_hold() {
    for (from, above) in [(44_100, 12_000.0), (48_000, 8_200.0), (44_099, 9_000.0)] {
        let tone = sine(above, 0.5, from, from as usize);
        let sound = Waveform::new(tone.iter().map(|&s| s as f32).collect(), from)
            .resample(16_000)
            .unwrap();
        // Where the tone starts and stops at once it has every frequency.
        let level = rms(&sound.samples[2_000..14_000]);
        assert!(
            20.0 * level.log10() < -80.0,
            "{above} Hz at {from} Hz leaves {:.1} dBFS",
            20.0 * level.log10()
        );
    }
}

/// The sweep of tools/golden_resample.py.
fn sweep(rate: u32, top: f64) -> Waveform {
    let at = |t: f64| {
        let phase = 2.0 * PI * (50.0 * t + (top - 50.0) * t * t / 2.0);
        let edge = (t.min(1.0 - t) / 0.05).clamp(0.0, 1.0);
        0.5 * (0.5 - 0.5 * (PI * edge).cos()) * phase.sin()
    };
    Waveform::new(
        (0..rate)
            .map(|i| at(f64::from(i) / f64::from(rate)) as f32)
            .collect(),
        rate,
    )
}

#[test]
fn resampling_agrees_with_soxr_hq() {
    for (from, to) in [
        (44_100, 16_000),
        (48_000, 16_000),
        (22_050, 16_000),
        (8_000, 16_000),
    ] {
        let bytes = golden(&format!("resample/{from}-{to}.f32"));
        let soxr: Vec<f32> = bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect();
        let ours = sweep(from, 0.40 * f64::from(from.min(to)))
            .resample(to)
            .unwrap()
            .samples;
        assert_eq!(ours.len(), soxr.len());
        // No edges are left out: the sweep is faded, so all of it is in band.
        let noise: f64 = ours
            .iter()
            .zip(&soxr)
            .map(|(a, b)| f64::from(a - b).powi(2))
            .sum();
        let signal: f64 = soxr.iter().map(|b| f64::from(*b).powi(2)).sum();
        let snr = 10.0 * f64::log10(signal / noise);
        assert!(snr > 80.0, "{from} to {to} Hz: {snr:.1} dB");
    }
}

#[test]
fn rates_that_make_no_sense_are_refused() {
    let sound = Waveform::new(vec![0.0; 100], 16_000);
    assert!(matches!(sound.resample(0), Err(Error::Config(_))));
    assert!(matches!(sound.resample(u32::MAX), Err(Error::Config(_))));
    assert!(matches!(
        Waveform::new(vec![0.0; 100], 0).resample(16_000),
        Err(Error::InvalidAudio(_))
    ));
    assert!(
        Waveform::new(Vec::new(), 8_000)
            .resample(16_000)
            .unwrap()
            .samples
            .is_empty()
    );
}

#[test]
fn a_stream_over_memory_passes_warnings_on_once() {
    let mut quiet = Waveform::from_bytes(wav(&MONO_16, &[0; 2_000])).unwrap();
    assert_eq!(codes(&quiet), ["silence"]);
    quiet
        .warnings
        .push(messymash::Warning::new("truncated_file", "The file ends early."));
    let again = AudioStream::from_waveform(&quiet, &AudioLimits::default())
        .unwrap()
        .into_waveform()
        .unwrap();
    assert_eq!(again, quiet);
}

#[test]
fn written_wav_reads_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.wav");
    let samples = vec![0.0, 0.25, -0.5, 1.0, -1.0, 1.5, -1.5, f32::NAN];
    Waveform::new(samples, 16_000).write_wav(&path).unwrap();
    let sound = Waveform::open(&path).unwrap();
    let top = 32_767.0 / 32_768.0;
    assert_eq!(
        (sound.sample_rate, sound.samples),
        (16_000, vec![0.0, 0.25, -0.5, top, -1.0, top, -1.0, 0.0])
    );
    assert_eq!(
        Waveform::new(vec![0.0], 16_000)
            .write_wav(folder.path().join("no/out.wav"))
            .unwrap_err()
            .code(),
        "io"
    );
}

/// Whatever the bytes: sound of bounded length, or an error of the kinds that a caller knows.
fn survives(bytes: Vec<u8>, what: &str) {
    let limits = AudioLimits {
        max_seconds: Some(30.0),
        ..AudioLimits::default()
    };
    let open = || AudioStream::from_bytes(bytes.clone(), &limits);
    let result = open().and_then(AudioStream::into_waveform);
    let ahead = open().and_then(|stream| stream.ahead().into_waveform());
    // Debug, since errors have no equality; samples of both have the same bits.
    assert!(
        format!("{result:?}") == format!("{ahead:?}"),
        "{what}: decoding ahead gives something else"
    );
    match result {
        Ok(sound) => {
            assert!(sound.seconds() <= 30.0, "{what}: {} s", sound.seconds());
            assert!(
                sound.samples.iter().all(|s| s.abs() <= 1.0),
                "{what}: not in [-1, 1]"
            );
        }
        Err(Error::UnsupportedMedia(_) | Error::InvalidAudio(_) | Error::TooLong { .. }) => {}
        Err(other) => panic!("{what}: {other:?}"),
    }
}

/// Every fixture and two files made here.
fn corpus() -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = FIXTURES
        .iter()
        .map(|(name, ..)| (name.to_string(), golden(&format!("audio/{name}"))))
        .collect();
    files.push(("opus".into(), golden("audio/tone-opus.ogg")));
    files.push((
        "wav".into(),
        wav(&MONO_16, &pcm16(&sine(1_000.0, 0.5, RATE, 2_000))),
    ));
    files.push((
        "float".into(),
        stereo(&sine(1_000.0, 0.5, RATE, 500), &sine(900.0, 0.5, RATE, 500)),
    ));
    files
}

#[test]
fn files_cut_anywhere_never_panic() {
    for (name, bytes) in corpus() {
        let header = (0..bytes.len().min(128)).chain((128..bytes.len()).step_by(bytes.len() / 48));
        for end in header {
            survives(bytes[..end].to_vec(), &format!("{name} cut at {end}"));
        }
    }
}

#[test]
fn files_with_wrong_bytes_never_panic() {
    let mut rng = ChaCha8Rng::seed_from_u64(20_26);
    for (name, bytes) in corpus() {
        for round in 0..150 {
            let mut bytes = bytes.clone();
            // Half of the rounds aim at the header, where a byte matters most.
            let reach = if round % 2 == 0 {
                bytes.len().min(256)
            } else {
                bytes.len()
            };
            for _ in 0..1 + rng.next_u32() % 8 {
                let at = rng.next_u32() as usize % reach;
                bytes[at] = rng.next_u32() as u8;
            }
            survives(bytes, &format!("{name}, round {round}"));
        }
    }
}
