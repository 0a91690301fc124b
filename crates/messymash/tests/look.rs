//! Windows to look at: cut as they are heard, and attention rollout as its definition says.
// A failed unwrap is a failed test, in helpers too.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use messymash::ast::{AstConfig, Parameter};
use messymash::audio::{AudioLimits, AudioStream};
use messymash::checkpoint::Checkpoint;
use messymash::{Classifier, Error, Waveform};

fn golden() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/model/small/hf")
}

fn stream(sound: &Waveform) -> AudioStream {
    AudioStream::from_waveform(sound, &AudioLimits::default()).unwrap()
}

fn noise(samples: usize) -> Waveform {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state as f32 / u32::MAX as f32 - 0.5
    };
    Waveform::new((0..samples).map(|_| next()).collect(), 16_000)
}

/// `[rows, columns]` in double precision.
struct Matrix(Vec<Vec<f64>>);

impl Matrix {
    fn of(parameter: &Parameter) -> Self {
        let columns = parameter.shape[1..].iter().product();
        Self(
            parameter
                .data
                .chunks(columns)
                .map(|row| row.iter().map(|&x| f64::from(x)).collect())
                .collect(),
        )
    }

    fn times(&self, other: &Matrix) -> Matrix {
        let columns = other.0[0].len();
        let row = |a: &Vec<f64>| {
            (0..columns)
                .map(|c| a.iter().zip(&other.0).map(|(x, b)| x * b[c]).sum())
                .collect()
        };
        Matrix(self.0.iter().map(row).collect())
    }

    /// `self weightᵀ + bias`.
    fn linear(&self, linear: &messymash::ast::weights::Linear) -> Matrix {
        let weight = Matrix::of(&linear.weight);
        let mut out = self.times(&Matrix(
            (0..weight.0[0].len())
                .map(|c| weight.0.iter().map(|row| row[c]).collect())
                .collect(),
        ));
        if let Some(bias) = &linear.bias {
            out.0.iter_mut().for_each(|row| {
                row.iter_mut()
                    .zip(&bias.data)
                    .for_each(|(x, b)| *x += f64::from(*b))
            });
        }
        out
    }

    fn norm(&self, norm: &messymash::ast::weights::LayerNorm, eps: f64) -> Matrix {
        let row = |x: &Vec<f64>| {
            let n = x.len() as f64;
            let mean = x.iter().sum::<f64>() / n;
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
            let parameters = norm.weight.data.iter().zip(&norm.bias.data);
            x.iter()
                .zip(parameters)
                .map(|(x, (w, b))| (x - mean) / (variance + eps).sqrt() * f64::from(*w) + f64::from(*b))
                .collect()
        };
        Matrix(self.0.iter().map(row).collect())
    }

    fn plus(&self, other: &Matrix) -> Matrix {
        Matrix(
            self.0
                .iter()
                .zip(&other.0)
                .map(|(a, b)| a.iter().zip(b).map(|(x, y)| x + y).collect())
                .collect(),
        )
    }
}

/// The error function, by its series: enough digits for small arguments, and those of this model are.
fn erf(x: f64) -> f64 {
    let (mut sum, mut term) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    if x.abs() > 5.0 {
        x.signum()
    } else {
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }
}

/// Rollout by its definition: all layers in full, all matrices kept, multiplied at the end.
fn by_definition(config: &AstConfig, weights: &messymash::ast::Weights, input: &[f32]) -> Vec<f64> {
    let (bins, patch, d) = (config.num_mel_bins, config.patch_size, config.hidden_size);
    let e = &weights.embeddings;
    let (rows, columns) = (
        (bins - patch) / config.frequency_stride + 1,
        (config.max_length - patch) / config.time_stride + 1,
    );
    let mut patches = Vec::new();
    for row in 0..rows {
        for column in 0..columns {
            let mut values = Vec::new();
            for bin in 0..patch {
                for frame in 0..patch {
                    let (frame, bin) = (
                        column * config.time_stride + frame,
                        row * config.frequency_stride + bin,
                    );
                    values.push(f64::from(input[frame * bins + bin]));
                }
            }
            patches.push(values);
        }
    }
    let mut x = Matrix(vec![
        e.cls_token.data.iter().map(|&x| f64::from(x)).collect(),
        e.distillation_token.data.iter().map(|&x| f64::from(x)).collect(),
    ]);
    x.0.extend(Matrix(patches).linear(&e.projection).0);
    let positions = Matrix(
        e.position_embeddings
            .data
            .chunks(d)
            .map(|row| row.iter().map(|&x| f64::from(x)).collect())
            .collect(),
    );
    x = x.plus(&positions);
    let (tokens, heads, width) = (
        x.0.len(),
        config.num_attention_heads,
        d / config.num_attention_heads,
    );
    let mut flow = Matrix(
        (0..tokens)
            .map(|i| (0..tokens).map(|j| f64::from(u8::from(i == j))).collect())
            .collect(),
    );
    for layer in &weights.layers {
        let normed = x.norm(&layer.layernorm_before, config.layer_norm_eps);
        let [q, k, v] = [&layer.query, &layer.key, &layer.value].map(|linear| normed.linear(linear));
        let mut mean = vec![vec![0.0; tokens]; tokens];
        let mut attended = vec![vec![0.0; d]; tokens];
        for head in 0..heads {
            let of_head = head * width..(head + 1) * width;
            for i in 0..tokens {
                let product =
                    |j: usize| -> f64 { of_head.clone().map(|c| q.0[i][c] * k.0[j][c]).sum::<f64>() };
                let scores: Vec<f64> = (0..tokens)
                    .map(|j| (product(j) / (width as f64).sqrt()).exp())
                    .collect();
                let sum: f64 = scores.iter().sum();
                for (j, score) in scores.iter().enumerate() {
                    mean[i][j] += score / sum / heads as f64;
                    of_head
                        .clone()
                        .for_each(|c| attended[i][c] += score / sum * v.0[j][c]);
                }
            }
        }
        // Plus identity, rows normalised.
        for (i, row) in mean.iter_mut().enumerate() {
            row[i] += 1.0;
            let sum: f64 = row.iter().sum();
            row.iter_mut().for_each(|x| *x /= sum);
        }
        flow = Matrix(mean).times(&flow);
        x = x.plus(&Matrix(attended).linear(&layer.attention_output));
        let mut hidden = x
            .norm(&layer.layernorm_after, config.layer_norm_eps)
            .linear(&layer.intermediate);
        let gelu = |x: &mut f64| *x *= 0.5 * (1.0 + erf(*x / 2f64.sqrt()));
        hidden.0.iter_mut().flatten().for_each(gelu);
        x = x.plus(&hidden.linear(&layer.output));
    }
    let values: Vec<f64> = (2..tokens).map(|at| flow.0[0][at] + flow.0[1][at]).collect();
    let largest = values.iter().copied().fold(0.0, f64::max);
    values.iter().map(|x| x / largest).collect()
}

#[test]
fn rollout_is_what_its_definition_says() {
    let checkpoint = Checkpoint::load(&golden()).unwrap();
    let classifier = Classifier::from_pretrained(golden()).unwrap();
    let look = classifier.look(stream(&noise(16_000)), 0.3).unwrap();
    let window = classifier.extractor().window_samples();
    let input = classifier
        .extractor()
        .extract(&noise(16_000).samples[4800..4800 + window])
        .unwrap();
    let rollout = classifier.attention(&look).unwrap();
    let wanted = by_definition(checkpoint.ast.config(), checkpoint.ast.weights(), &input);
    assert_eq!(rollout.values.len(), rollout.rows * rollout.columns);
    assert_eq!(rollout.values.len(), wanted.len());
    assert!(rollout.values.contains(&1.0));
    for (got, wanted) in rollout.values.iter().zip(&wanted) {
        assert!((f64::from(*got) - wanted).abs() < 1e-4, "{got} for {wanted}");
    }
    assert!(matches!(
        classifier.model().rollout(&input[1..]),
        Err(Error::Config(_))
    ));
}

#[test]
fn windows_are_cut_as_they_are_heard() {
    let classifier = Classifier::from_pretrained(golden()).unwrap();
    // 40 windows and a rest, in a rate that must be converted.
    let sound = noise(16_000 * 11);
    let heard = classifier
        .classify_with(
            &sound,
            &messymash::classifier::ClassifyOptions {
                windows: messymash::classifier::Windows::All { hop: 0.25 },
                ..Default::default()
            },
        )
        .unwrap();
    for window in heard.windows.iter().step_by(7).chain(heard.windows.last()) {
        let look = classifier.look(stream(&sound), window.start).unwrap();
        assert_eq!((look.start, look.end), (window.start, window.end));
    }
    let past = classifier.look(stream(&sound), 10.99).unwrap();
    assert_eq!(past.end, 11.0);
    for start in [11.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(
            matches!(classifier.look(stream(&sound), start), Err(Error::Config(_))),
            "{start}"
        );
    }
    let short = classifier.look(stream(&noise(2_000)), 0.0).unwrap();
    assert_eq!((short.start, short.end), (0.0, 0.125));
    let picture = classifier.spectrogram(&short, 64).unwrap().picture;
    assert_eq!(picture.height, 64);
    assert!(classifier.spectrogram(&short, 0).is_err());
    let nothing = classifier.look(stream(&noise(10)), 0.0).unwrap();
    assert!(matches!(
        classifier.spectrogram(&nothing, 64),
        Err(Error::TooShort { .. })
    ));
    assert!(matches!(
        classifier.attention(&nothing),
        Err(Error::TooShort { .. })
    ));
}

#[test]
fn a_watched_stream_ends_when_its_watch_says_so() {
    let classifier = Classifier::from_pretrained(golden()).unwrap();
    let options = messymash::classifier::ClassifyOptions {
        windows: messymash::classifier::Windows::All { hop: 3600.0 },
        ..Default::default()
    };
    let mut pieces = 0;
    let watched = stream(&noise(16_000 * 60)).watched(move || {
        pieces += 1;
        if pieces > 3 {
            Err(Error::Interrupted)
        } else {
            Ok(())
        }
    });
    // What lies between the first window and the last is heard by none, but it is decoded.
    let result = classifier.classify_stream(watched, &options, &mut |_| Ok(()));
    assert!(matches!(result, Err(Error::Interrupted)));
}
