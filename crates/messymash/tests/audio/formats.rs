//! Every format gives the sound that is in it.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;

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
