//! From channels to mono, and sound in blocks.

use super::*;

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
