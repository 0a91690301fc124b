//! Sound that is pushed is told as the same sound in a file is.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{hiss, tone};
use messymash::audio::{AudioLimits, AudioStream};
use messymash::classifier::{
    ClassifyOptions, Predictions, StreamClassifier, Tail, WindowPredictions, Windows,
};
use messymash::{Classifier, Waveform};

/// Five labels, windows of a quarter of a second.
fn small() -> Classifier {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/model/small/hf");
    Classifier::from_pretrained(model).unwrap()
}

fn options(hop: f64) -> ClassifyOptions {
    ClassifyOptions {
        windows: Windows::All { hop },
        ..ClassifyOptions::default()
    }
}

/// Pushes pieces of these sizes in turn; all windows and what was told at the end.
fn pushed(
    mut stream: StreamClassifier<&Classifier>,
    samples: &[f32],
    sizes: &[usize],
) -> (Vec<WindowPredictions>, Predictions) {
    let (mut windows, mut rest, mut sizes) = (Vec::new(), samples, sizes.iter().cycle());
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
        windows.extend(stream.push(piece).unwrap());
        rest = after;
    }
    let end = stream.finish().unwrap();
    windows.extend(end.windows.clone());
    (windows, end)
}

#[test]
fn any_rate_and_pieces_of_any_size_give_what_the_whole_sound_gives() {
    let classifier = small();
    for rate in [16_000, 8_000, 44_100, 48_000, 11_025, 96_000] {
        let seconds = |s: f64| (s * f64::from(rate)) as usize;
        let mut samples = hiss(u64::from(rate), seconds(0.9), 0.5);
        samples.extend(tone(440.0, seconds(0.73), 0.4));
        samples[7] = f32::NAN;
        samples[900] = 3.0;
        for (hop, tail) in [(0.1, Tail::Shift), (0.24, Tail::Pad), (0.5, Tail::Repeat)] {
            let options = ClassifyOptions { tail, ..options(hop) };
            let whole = classifier
                .classify_with(&Waveform::new(samples.clone(), rate), &options)
                .unwrap();
            for sizes in [&[usize::MAX][..], &[1, 997, 64], &[4096]] {
                let stream = StreamClassifier::new(&classifier, rate, 1, &options).unwrap();
                let (windows, end) = pushed(stream, &samples, sizes);
                assert_eq!(windows, whole.windows, "{rate} Hz, hop {hop}");
                assert_eq!(end.predictions, whole.predictions);
                assert_eq!((end.seconds, &end.warnings), (whole.seconds, &whole.warnings));
            }
        }
    }
}

#[test]
fn stereo_is_mixed_down_as_in_a_file() {
    let classifier = small();
    let left = hiss(1, 100_000, 0.4);
    // Out of phase, so that the mean would be silent, and not.
    for right in [left.iter().map(|s| -s).collect(), hiss(2, 100_000, 0.4)] {
        let frames: Vec<f32> = left
            .iter()
            .zip(&right)
            .flat_map(|(l, r): (&f32, &f32)| [*l, *r])
            .collect();
        let mut wav = std::io::Cursor::new(Vec::new());
        let spec = hound::WavSpec {
            channels: 2,
            sample_rate: 44_100,
            bits_per_sample: 32,
            sample_format: hound::SampleFormat::Float,
        };
        let mut writer = hound::WavWriter::new(&mut wav, spec).unwrap();
        frames
            .iter()
            .for_each(|&sample| writer.write_sample(sample).unwrap());
        writer.finalize().unwrap();
        let file = AudioStream::from_bytes(wav.into_inner(), &AudioLimits::default()).unwrap();
        let whole = classifier
            .classify_stream(file, &options(0.2), &mut |_| Ok(()))
            .unwrap();
        let stream = StreamClassifier::new(&classifier, 44_100, 2, &options(0.2)).unwrap();
        let (windows, end) = pushed(stream, &frames, &[2, 2048]);
        assert_eq!(windows, whole.windows);
        assert_eq!(end.warnings, whole.warnings);
    }
}

#[test]
fn a_window_is_told_as_soon_as_its_last_sample_is_there() {
    let classifier = Arc::new(small());
    let window = classifier.extractor().window_samples();
    let mut stream = StreamClassifier::new(Arc::clone(&classifier), 16_000, 1, &options(0.1)).unwrap();
    assert!(stream.push(&vec![0.1; window - 1]).unwrap().is_empty());
    assert!(stream.mean().is_empty());
    assert_eq!(stream.push(&[0.1]).unwrap().len(), 1);
    assert_eq!(stream.mean().len(), classifier.labels().len());
    assert!(stream.push(&[0.1; 1599]).unwrap().is_empty());
    assert_eq!(stream.push(&[0.1]).unwrap().len(), 1);
    // At another rate, what the resampler holds back comes on top.
    for (rate, most) in [
        (44_100, 0.15),
        (48_000, 0.15),
        (96_000, 0.15),
        (22_050, 0.15),
        (8_000, 0.25),
    ] {
        let mut stream = StreamClassifier::new(&*classifier, rate, 1, &options(0.1)).unwrap();
        let mut count = 0;
        for _ in 0..300 {
            for told in stream.push(&vec![0.1; rate as usize / 100]).unwrap() {
                let late = stream.seconds() - told.end;
                assert!((0.0..most).contains(&late), "{late} s at {rate} Hz");
                count += 1;
            }
        }
        assert!(count > 20);
    }
}

#[test]
fn one_model_serves_many_threads() {
    fn shared<T: Send + Sync>(_: &T) {}
    fn sent<T: Send>(_: &T) {}
    let classifier = Arc::new(small());
    shared(&classifier);
    let stream = StreamClassifier::new(Arc::clone(&classifier), 44_100, 2, &options(0.2)).unwrap();
    sent(&stream);
    let samples = hiss(5, 20_000, 0.3);
    let told = |mut stream: StreamClassifier<Arc<Classifier>>| {
        let mut windows = stream.push(&samples).unwrap();
        windows.extend(stream.finish().unwrap().windows);
        windows
    };
    let here = told(StreamClassifier::new(Arc::clone(&classifier), 16_000, 1, &options(0.2)).unwrap());
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let stream =
                    StreamClassifier::new(Arc::clone(&classifier), 16_000, 1, &options(0.2)).unwrap();
                scope.spawn(|| told(stream))
            })
            .collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), here);
        }
    });
}

#[test]
fn first_window_only_and_limits() {
    let classifier = small();
    let samples = hiss(3, 40_000, 0.3);
    let first = ClassifyOptions {
        windows: Windows::First,
        ..ClassifyOptions::default()
    };
    let whole = classifier
        .classify_with(&Waveform::new(samples.clone(), 16_000), &first)
        .unwrap();
    let stream = StreamClassifier::new(&classifier, 16_000, 1, &first).unwrap();
    let (windows, end) = pushed(stream, &samples, &[1000]);
    assert_eq!((&windows, end.predictions), (&whole.windows, whole.predictions));
    assert_eq!(end.seconds, whole.seconds);

    assert!(StreamClassifier::new(&classifier, 0, 1, &first).is_err());
    assert!(StreamClassifier::new(&classifier, 16_000, 0, &first).is_err());
    assert!(StreamClassifier::new(&classifier, 16_000, 1, &options(0.0)).is_err());
    let mut stream = StreamClassifier::new(&classifier, 16_000, 2, &first).unwrap();
    assert_eq!(stream.push(&[0.0; 3]).unwrap_err().code(), "config");
    let nothing = StreamClassifier::new(&classifier, 16_000, 1, &first).unwrap();
    assert_eq!(nothing.finish().unwrap_err().code(), "too_short");
    let limited = ClassifyOptions {
        limits: AudioLimits {
            max_seconds: Some(1.0),
            ..AudioLimits::default()
        },
        ..options(0.1)
    };
    let mut stream = StreamClassifier::new(&classifier, 16_000, 1, &limited).unwrap();
    stream.push(&samples[..16_000]).unwrap();
    assert_eq!(stream.push(&samples[..1]).unwrap_err().code(), "too_long");
}
