//! Whatever is wrong with a file: a word about it, or the sound there is.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;

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
