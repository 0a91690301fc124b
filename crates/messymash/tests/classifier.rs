//! From sound to answer: which parts of a sound are heard, and how their answers become one.
// A failed unwrap is a failed test, in helpers too.
#![allow(clippy::unwrap_used)]

mod common;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use common::{RATE, hiss, tone};
use messymash::ast::{Activations, Batch};
use messymash::audio::{AudioLimits, AudioStream};
use messymash::checkpoint::Checkpoint;
use messymash::classifier::{ClassifyOptions, Predictions, Tail, Windows};
use messymash::{Classifier, Error, Waveform};

/// Samples that the small model hears at once: 24 frames.
const WINDOW: usize = 400 + 23 * 160;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/model/small/hf")
}

fn small() -> Classifier {
    Classifier::from_pretrained(golden()).unwrap()
}

fn classify(classifier: &Classifier, samples: &[f32], options: &ClassifyOptions) -> Predictions {
    let stream =
        AudioStream::from_waveform(&Waveform::new(samples.to_vec(), RATE), &AudioLimits::default()).unwrap();
    classifier
        .classify_stream(stream, options, &mut |_| Ok(()))
        .unwrap()
}

fn all(hop: f64) -> ClassifyOptions {
    ClassifyOptions {
        windows: Windows::All { hop },
        ..Default::default()
    }
}

fn first() -> ClassifyOptions {
    ClassifyOptions {
        windows: Windows::First,
        ..Default::default()
    }
}

#[test]
fn of_the_first_window_alone_no_more_is_decoded_than_it_needs() {
    let classifier = small();
    let rate = 44_100;
    // Two channels that cancel each other until long after the window.
    let left = hiss(9, 20 * rate, 0.3);
    let frames = left.iter().enumerate();
    let frames: Vec<f32> = frames
        .flat_map(|(n, &l)| [l, if n < 5 * rate { -l } else { l }])
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.wav");
    let spec = hound::WavSpec {
        channels: 2,
        sample_rate: rate as u32,
        bits_per_sample: 32,
        sample_format: hound::SampleFormat::Float,
    };
    let mut writer = hound::WavWriter::create(&path, spec).unwrap();
    frames.iter().for_each(|&x| writer.write_sample(x).unwrap());
    writer.finalize().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let hear = |bytes: &[u8], windows, max_seconds| {
        let limits = AudioLimits {
            max_seconds,
            ..AudioLimits::default()
        };
        let options = ClassifyOptions {
            windows,
            ..all(3600.0)
        };
        let stream = AudioStream::from_bytes(bytes, &limits)?;
        classifier.classify_stream(stream, &options, &mut |_| Ok(()))
    };
    let whole = hear(&bytes, Windows::All { hop: 3600.0 }, None).unwrap();
    let seconds = WINDOW as f64 / f64::from(RATE);
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            // A limit that the sound exceeds, and what is decoded does not; and a file that is cut off where nobody listens.
            for (bytes, limit) in [(&bytes[..], Some(3.0)), (&bytes[..bytes.len() / 2], None)] {
                let first = hear(bytes, Windows::First, limit).unwrap();
                assert_eq!(first.windows, whole.windows[..1]);
                assert_eq!((first.seconds, &first.warnings), (seconds, &whole.warnings));
            }
            let short = hear(&bytes, Windows::First, Some(2.0));
            assert!(matches!(short, Err(Error::TooLong { .. })));
            let all = hear(&bytes, Windows::All { hop: 3600.0 }, Some(3.0));
            assert!(matches!(all, Err(Error::TooLong { .. })));
        });
    }
    // A sound that ends before a window does is as long as it is.
    let frame = 2 * size_of::<f32>();
    let header = bytes.len() - frames.len() * size_of::<f32>();
    let short = hear(&bytes[..header + rate / 10 * frame], Windows::First, None).unwrap();
    assert_eq!(short.seconds, 0.1);
    assert!(
        short
            .warnings
            .iter()
            .any(|warning| warning.code == "truncated_file")
    );
}

/// Scores by class index, straight from the model as it is trained.
fn scores_of(window: &[f32]) -> Vec<f32> {
    let checkpoint = Checkpoint::load(&golden()).unwrap();
    let input_values = checkpoint.extractor.extract(window).unwrap();
    let mut activations = Activations::default();
    let batch = Batch {
        input_values: &input_values,
        keep: None,
    };
    let logits = checkpoint.ast.forward(batch, &mut activations).unwrap();
    let sum: f32 = logits.iter().map(|x| x.exp()).sum();
    logits.iter().map(|x| x.exp() / sum).collect()
}

fn by_label(classifier: &Classifier, predictions: &[messymash::Prediction]) -> Vec<f32> {
    let score = |label: &String| predictions.iter().find(|p| p.label == *label).unwrap().score;
    classifier.labels().iter().map(score).collect()
}

fn assert_close(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() < 1e-5, "{a} and {b}");
    }
}

/// Sound that is another in every window.
fn piece(samples: usize) -> Vec<f32> {
    let low = tone(300.0, samples, 0.4);
    let noise = hiss(5, samples, 0.4);
    (0..samples)
        .map(|i| {
            if (i / WINDOW).is_multiple_of(2) {
                low[i]
            } else {
                noise[i]
            }
        })
        .collect()
}

#[test]
fn the_first_window_is_what_transformers_hears() {
    let classifier = small();
    let sound = piece(5 * WINDOW);
    for length in [5 * WINDOW, WINDOW, WINDOW - 1000, 400] {
        let heard = classify(&classifier, &sound[..length], &first());
        let expected = scores_of(&sound[..length]);
        assert_close(&by_label(&classifier, &heard.predictions), &expected);
        assert_eq!(heard.windows.len(), 1);
        // The rest is not even decoded.
        assert_eq!(heard.seconds, length.min(WINDOW) as f64 / f64::from(RATE));
    }
}

#[test]
fn the_answer_is_the_mean_over_all_windows_and_their_order_is_kept() {
    let classifier = small();
    let sound = piece(3 * WINDOW);
    let hop = WINDOW as f64 / f64::from(RATE);
    let heard = classify(&classifier, &sound, &all(hop));
    assert_eq!(heard.windows.len(), 3);
    let mut mean = vec![0.0; classifier.labels().len()];
    for (number, window) in heard.windows.iter().enumerate() {
        let expected = scores_of(&sound[number * WINDOW..][..WINDOW]);
        assert_close(&by_label(&classifier, &window.predictions), &expected);
        assert!(
            (window.start - number as f64 * hop).abs() < 1e-9
                && (window.end - window.start - hop).abs() < 1e-9
        );
        mean.iter_mut().zip(&expected).for_each(|(m, e)| *m += e / 3.0);
    }
    assert_close(&by_label(&classifier, &heard.predictions), &mean);
    assert!((heard.predictions.iter().map(|p| p.score).sum::<f32>() - 1.0).abs() < 1e-5);
    assert!(heard.predictions.is_sorted_by(|a, b| a.score >= b.score));
    assert_eq!(heard.top(2), &heard.predictions[..2]);
    assert_eq!(heard.top(99).len(), classifier.labels().len());
}

#[test]
fn a_tail_is_heard_in_a_window_that_ends_with_the_sound() {
    let classifier = small();
    let sound = piece(4 * WINDOW + 8500); // half a second, 8000 samples, is the least that is worth a window
    let hop = 3.0 * WINDOW as f64 / f64::from(RATE);
    let heard = classify(&classifier, &sound, &all(hop));
    assert_eq!(heard.windows.len(), 3);
    let last = heard.windows.last().unwrap();
    assert!((last.end - heard.seconds).abs() < 1e-9);
    let expected = scores_of(&sound[sound.len() - WINDOW..]);
    assert_close(&by_label(&classifier, &last.predictions), &expected);
    // Next to nothing is no window of its own.
    let hop = WINDOW as f64 / f64::from(RATE);
    assert_eq!(
        classify(&classifier, &sound[..WINDOW + 2000], &all(hop))
            .windows
            .len(),
        1
    );
}

#[test]
fn short_sound_is_repeated_to_fill_a_window() {
    let classifier = small();
    let sound = hiss(9, 1500, 0.5);
    let heard = classify(&classifier, &sound, &all(0.2));
    let tiled: Vec<f32> = sound.iter().copied().cycle().take(WINDOW).collect();
    assert_close(&by_label(&classifier, &heard.predictions), &scores_of(&tiled));
    assert_eq!(
        heard.warnings.iter().map(|w| w.code.as_str()).collect::<Vec<_>>(),
        ["short_clip"]
    );
    assert!(
        (heard.windows[0].end - 1500.0 / f64::from(RATE)).abs() < 1e-9,
        "only what there is is claimed"
    );
}

#[test]
fn a_rest_is_filled_as_asked() {
    let classifier = small();
    // The next window begins behind the first one's end, where 3000 samples are left.
    let (hop, rest) = (14_000, 3_000);
    let sound = piece(hop + rest);
    let filled = |sound: &[f32], tail| match tail {
        Tail::Pad => sound.to_vec(),
        Tail::Shift | Tail::Repeat => sound.iter().copied().cycle().take(WINDOW).collect(),
    };
    for (tail, start) in [
        (Tail::Shift, hop + rest - WINDOW),
        (Tail::Repeat, hop),
        (Tail::Pad, hop),
    ] {
        let options = ClassifyOptions {
            tail,
            ..all(hop as f64 / f64::from(RATE))
        };
        let heard = classify(&classifier, &sound, &options);
        assert_eq!(heard.windows.len(), 2);
        let last = &heard.windows[1];
        assert_eq!((last.start * f64::from(RATE)).round() as usize, start);
        let expected = scores_of(&filled(&sound[start..], tail));
        assert_close(&by_label(&classifier, &last.predictions), &expected);
        // A sound that ends before the next window: only a window that ends with the sound can hear its rest.
        let heard = classify(&classifier, &sound[..hop - 1], &options);
        assert_eq!(heard.windows.len(), if tail == Tail::Shift { 2 } else { 1 });
        // A sound shorter than a window.
        let heard = classify(&classifier, &sound[..rest], &options);
        let expected = scores_of(&filled(&sound[..rest], tail));
        assert_close(&by_label(&classifier, &heard.predictions), &expected);
    }
}

#[test]
fn neither_batch_nor_rate_nor_the_way_in_changes_the_answer() {
    let classifier = small();
    let sound = piece(7 * WINDOW + 3000);
    let one = classify(
        &classifier,
        &sound,
        &ClassifyOptions {
            batch: NonZeroUsize::new(1),
            ..all(0.2)
        },
    );
    let many = classify(
        &classifier,
        &sound,
        &ClassifyOptions {
            batch: NonZeroUsize::new(64),
            ..all(0.2)
        },
    );
    assert_eq!(one.windows.len(), many.windows.len());
    assert_close(
        &by_label(&classifier, &one.predictions),
        &by_label(&classifier, &many.predictions),
    );
    // A sound at another rate is brought to the model's: the same scores as of the resampled sound.
    let fast = Waveform::new(piece(3 * WINDOW), 44_100);
    let direct = classifier.classify(&fast).unwrap();
    let resampled = classifier.classify(&fast.resample(RATE).unwrap()).unwrap();
    assert_close(
        &by_label(&classifier, &direct.predictions),
        &by_label(&classifier, &resampled.predictions),
    );
}

#[test]
fn what_cannot_be_heard_is_an_error_and_what_stops_the_caller_stops_the_work() {
    let classifier = small();
    let short = classifier.classify(&Waveform::new(vec![0.1; 399], RATE));
    assert!(matches!(short, Err(Error::TooShort { .. })), "{short:?}");
    assert!(matches!(
        classifier.classify(&Waveform::new(Vec::new(), RATE)),
        Err(Error::TooShort { .. })
    ));
    assert!(matches!(
        classifier.classify(&Waveform::new(vec![0.1; 9000], 0)),
        Err(Error::InvalidAudio(_))
    ));
    for hop in [0.0, -1.0, f64::NAN, 1e9] {
        assert!(all(hop).check().is_err(), "{hop}");
    }
    let sound = Waveform::new(piece(50 * WINDOW), RATE);
    let mut told = 0;
    let stream = AudioStream::from_waveform(&sound, &AudioLimits::default()).unwrap();
    let stopped = classifier.classify_stream(stream, &all(0.2), &mut |_| {
        told += 1;
        Err(Error::Interrupted)
    });
    assert!(matches!(stopped, Err(Error::Interrupted)) && told == 1);
}

#[test]
fn silence_gets_an_answer_and_a_warning() {
    let heard = small()
        .classify(&Waveform::new(vec![0.0; 3 * WINDOW], RATE))
        .unwrap();
    assert!(
        heard.warnings.iter().any(|w| w.code == "silence"),
        "{:?}",
        heard.warnings
    );
    assert!(heard.predictions.iter().all(|p| p.score.is_finite()));
}

#[test]
fn the_bundled_model_is_whole_and_says_what_it_is() {
    let classifier = Classifier::bundled().unwrap();
    assert_eq!(classifier.labels(), messymash::dataset::GENRES);
    let info = classifier.info();
    assert_eq!(
        (info.max_length, info.num_mel_bins, info.sampling_rate),
        (1024, 128, 16_000)
    );
    let card = info.card.unwrap();
    for word in ["macro F1", "interval", "Not meant for"] {
        assert!(card.contains(word), "the model card says nothing of {word}");
    }
    let size = std::fs::metadata(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/default/model.safetensors"),
    );
    assert!(size.unwrap().len() < 15_000_000);
}
