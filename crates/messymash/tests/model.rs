//! The model against PyTorch: logits, loss, every gradient, ten AdamW steps, and every way a checkpoint may be stored.
//! Golden files and what they hold: `golden/model/README.md`.
// A failed unwrap is a failed test, in helpers too.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use messymash::ast::{Activations, Ast, AstConfig, Batch, Part, Targets, Trained};
use messymash::checkpoint::{Checkpoint, NewHead, Stored, interpolate_positions};
use messymash::optim::{AdamW, Rates, clip_scale, global_norm};
use safetensors::SafeTensors;

const NAMES: [&str; 2] = ["small", "strided"];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/model")
        .join(name)
}

/// What PyTorch computed.
struct Expected(Vec<u8>);

impl Expected {
    fn load(name: &str) -> Self {
        Self(fs::read(golden(name).join("expected.safetensors")).unwrap())
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = file.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        tensor
            .data()
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect()
    }

    fn labels(&self) -> Vec<usize> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let bytes = file.tensor("labels").unwrap().data().to_vec();
        bytes
            .chunks_exact(8)
            .map(|b| i64::from_le_bytes(b.try_into().unwrap()) as usize)
            .collect()
    }
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
}

fn norm(x: &[f32]) -> f64 {
    x.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt()
}

/// Relative difference in the Euclidean norm.
fn relative_difference(a: &[f32], b: &[f32]) -> f64 {
    let difference: Vec<f32> = a.iter().zip(b).map(|(x, y)| x - y).collect();
    norm(&difference) / norm(b).max(1e-12)
}

fn logits(ast: &Ast, input_values: &[f32]) -> Vec<f32> {
    ast.forward(
        Batch {
            input_values,
            keep: None,
        },
        &mut Activations::default(),
    )
    .unwrap()
    .to_vec()
}

#[test]
fn logits_are_those_of_transformers() {
    for name in NAMES {
        let expected = Expected::load(name);
        let checkpoint = Checkpoint::load(&golden(name).join("hf")).unwrap();
        let got = logits(&checkpoint.ast, &expected.floats("input_values"));
        let difference = largest_difference(&got, &expected.floats("logits"));
        assert!(difference < 1e-4, "{name}: logits differ by {difference}");
    }
}

#[test]
fn a_batch_gives_what_its_clips_give_alone() {
    let expected = Expected::load("small");
    let ast = Checkpoint::load(&golden("small").join("hf")).unwrap().ast;
    let input = expected.floats("input_values");
    let together = logits(&ast, &input);
    let alone: Vec<f32> = input
        .chunks(input.len() / 3)
        .flat_map(|clip| logits(&ast, clip))
        .collect();
    assert!(largest_difference(&together, &alone) < 1e-5);
}

#[test]
fn weights_in_16_bits_and_under_new_names_are_read() {
    let expected = Expected::load("small");
    let input = expected.floats("input_values");
    for (folder, wanted) in [
        ("hf-bf16", "logits.bf16"),
        ("hf-f16", "logits.f16"),
        ("hf-v5-names", "logits"),
    ] {
        let checkpoint = Checkpoint::load(&golden("small").join(folder)).unwrap();
        let difference = largest_difference(&logits(&checkpoint.ast, &input), &expected.floats(wanted));
        assert!(difference < 1e-4, "{folder}: logits differ by {difference}");
    }
}

#[test]
fn loss_and_every_gradient_are_those_of_pytorch() {
    for name in NAMES {
        let expected = Expected::load(name);
        let ast = Checkpoint::load(&golden(name).join("hf")).unwrap().ast;
        let mut gradients = ast.weights().zeros_like();
        let input = expected.floats("input_values");
        let batch = Batch {
            input_values: &input,
            keep: None,
        };
        let loss = ast
            .forward_backward(
                batch,
                Targets::Probabilities(&ast.targets(&expected.labels(), 0.1).unwrap()),
                Trained::All,
                &mut gradients,
                &mut Activations::default(),
            )
            .unwrap();
        assert!(
            (loss - expected.floats("loss")[0]).abs() < 1e-5,
            "{name}: loss {loss}"
        );
        for parameter in gradients.parameters() {
            let wanted = expected.floats(&format!("gradient.{}", parameter.name));
            let relative = relative_difference(&parameter.data, &wanted);
            // The gradient of a key's bias is 0 by theory: what remains is rounding.
            let zero = parameter.name.ends_with("attention.key.bias") && norm(&parameter.data) < 1e-6;
            assert!(
                relative < 1e-3 || zero,
                "{name}: gradient of {} differs by {relative}",
                parameter.name
            );
        }
    }
}

#[test]
fn the_head_alone_has_the_gradients_it_has_in_the_whole_and_accumulation_is_a_mean() {
    let expected = Expected::load(NAMES[0]);
    let ast = Checkpoint::load(&golden(NAMES[0]).join("hf")).unwrap().ast;
    let (input, clips) = (expected.floats("input_values"), expected.labels().len());
    let targets = ast.targets(&expected.labels(), 0.1).unwrap();
    let mut a = Activations::default();
    let mut gradients = |parts: usize, trained: Trained| {
        let mut g = ast.weights().zeros_like();
        let mut loss = 0.0;
        for part in 0..parts {
            let of = |len: usize| part * len / parts..(part + 1) * len / parts;
            let batch = Batch {
                input_values: &input[of(input.len())],
                keep: None,
            };
            let targets = Targets::Probabilities(&targets[of(targets.len())]);
            loss += ast
                .forward_backward(batch, targets, trained, &mut g, &mut a)
                .unwrap()
                / parts as f32;
        }
        (g, loss)
    };
    let (whole, loss) = gradients(1, Trained::All);
    let (head, head_loss) = gradients(1, Trained::Head);
    assert_eq!(loss, head_loss);
    for ((all, head), part) in whole
        .parameters()
        .iter()
        .zip(head.parameters())
        .zip(whole.parts())
    {
        if part == Part::Head {
            assert_eq!(*all, head);
        } else {
            assert_eq!(norm(&head.data), 0.0, "{}", head.name);
        }
    }
    // Clip by clip, the sum is that of means over as many parts.
    assert!(clips > 1);
    let (sum, mean_loss) = gradients(clips, Trained::All);
    assert!((mean_loss - loss).abs() < 1e-5);
    for (sum, all) in sum.parameters().iter().zip(whole.parameters()) {
        let mean: Vec<f32> = sum.data.iter().map(|x| x / clips as f32).collect();
        let zero = all.name.ends_with("attention.key.bias");
        assert!(
            zero || relative_difference(&mean, &all.data) < 1e-4,
            "{}",
            all.name
        );
    }
}

#[test]
fn ten_steps_of_adamw_are_those_of_pytorch() {
    for name in NAMES {
        let expected = Expected::load(name);
        let mut ast = Checkpoint::load(&golden(name).join("hf")).unwrap().ast;
        let mut gradients = ast.weights().zeros_like();
        let mut optimizer = AdamW::new(ast.weights(), 0.01);
        let mut activations = Activations::default();
        let input = expected.floats("input_values");
        let targets = ast.targets(&expected.labels(), 0.1).unwrap();
        let wanted_norms = expected.floats("step.gradient_norms");
        for (step, wanted) in expected.floats("step.losses").into_iter().enumerate() {
            gradients.clear();
            let batch = Batch {
                input_values: &input,
                keep: None,
            };
            let loss = ast
                .forward_backward(
                    batch,
                    Targets::Probabilities(&targets),
                    Trained::All,
                    &mut gradients,
                    &mut activations,
                )
                .unwrap();
            assert!(
                (loss - wanted).abs() / wanted < 1e-3,
                "{name}: loss {loss}, not {wanted}, at step {step}"
            );
            let norm = global_norm(&gradients);
            assert!(
                (norm / f64::from(wanted_norms[step]) - 1.0).abs() < 1e-3,
                "{name}: norm {norm} at step {step}"
            );
            optimizer.step(
                ast.weights_mut(),
                &gradients,
                Rates::uniform(1e-3),
                clip_scale(norm, 1.0),
            );
        }
        for parameter in ast.weights().parameters() {
            if parameter.name.ends_with("attention.key.bias") {
                continue; // moved by the sign of rounding errors alone
            }
            let wanted = expected.floats(&format!("final.{}", parameter.name));
            let relative = relative_difference(&parameter.data, &wanted);
            assert!(
                relative < 1e-3,
                "{name}: {} differs by {relative} after ten steps",
                parameter.name
            );
        }
    }
}

#[test]
fn dropping_patches_is_the_same_as_never_having_had_them() {
    // A model whose input is one patch row high and has 4 patches in time, against the same model with the first 2 only.
    let config = AstConfig {
        hidden_size: 16,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        intermediate_size: 32,
        patch_size: 4,
        frequency_stride: 4,
        time_stride: 4,
        num_mel_bins: 4,
        max_length: 16,
        ..AstConfig::default()
    }
    .with_labels(&["a".into(), "b".into()]);
    let long = Ast::random(config.clone(), 1).unwrap();
    let mut short = Ast::random(
        AstConfig {
            max_length: 8,
            ..config
        },
        1,
    )
    .unwrap();
    for (to, from) in short
        .weights_mut()
        .parameters_mut()
        .into_iter()
        .zip(long.weights().parameters())
    {
        let len = to.data.len();
        to.data.copy_from_slice(&from.data[..len]);
    }
    let input: Vec<f32> = (0..64).map(|i| (i as f32 * 0.7).sin()).collect();
    let mut activations = Activations::default();
    let keep = Batch {
        input_values: &input,
        keep: Some(&[0, 1]),
    };
    let kept = long.forward(keep, &mut activations).unwrap().to_vec();
    assert!(largest_difference(&kept, &logits(&short, &input[..32])) < 1e-6);
    // Gradients: of the positions of patches that were dropped there is none.
    let mut gradients = long.weights().zeros_like();
    long.forward_backward(
        keep,
        Targets::Probabilities(&[0.0, 1.0]),
        Trained::All,
        &mut gradients,
        &mut activations,
    )
    .unwrap();
    let positions = &gradients.embeddings.position_embeddings.data;
    assert!(norm(&positions[..4 * 16]) > 0.0);
    assert_eq!(norm(&positions[4 * 16..]), 0.0);
}

#[test]
fn positions_of_another_length_are_interpolated_as_the_paper_does() {
    let expected = Expected::load("small");
    let checkpoint = Checkpoint::load(&golden("small").join("hf")).unwrap();
    let stored = &checkpoint.ast.weights().embeddings.position_embeddings;
    for max_length in [40, 16] {
        let config = AstConfig {
            max_length,
            ..checkpoint.ast.config().clone()
        };
        let got = interpolate_positions(stored, &config).unwrap();
        let wanted = expected.floats(&format!("position_embeddings.{max_length}"));
        assert!(
            largest_difference(&got, &wanted) < 1e-5,
            "max_length {max_length}"
        );
    }
}

/// A copy of a golden model directory, for a test to damage.
fn copy_of(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(golden(name)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    dir
}

fn edit(dir: &Path, file: &str, from: &str, to: &str) {
    let text = fs::read_to_string(dir.join(file)).unwrap();
    assert!(text.contains(from), "{from} is not in {file}");
    fs::write(dir.join(file), text.replace(from, to)).unwrap();
}

#[test]
fn a_longer_input_is_loaded_with_a_note_and_not_at_random() {
    let dir = copy_of("small/hf");
    edit(
        dir.path(),
        "config.json",
        "\"max_length\": 24",
        "\"max_length\": 40",
    );
    edit(
        dir.path(),
        "preprocessor_config.json",
        "\"max_length\": 24",
        "\"max_length\": 40",
    );
    let checkpoint = Checkpoint::load(dir.path()).unwrap();
    assert!(
        checkpoint.notes[0].contains("interpolated from 57 to 97"),
        "{:?}",
        checkpoint.notes
    );
    let got = &checkpoint.ast.weights().embeddings.position_embeddings.data;
    assert!(largest_difference(got, &Expected::load("small").floats("position_embeddings.40")) < 1e-5);
}

#[test]
fn what_is_saved_is_loaded_again_and_f16_is_half_as_large() {
    let expected = Expected::load("strided");
    let checkpoint = Checkpoint::load(&golden("strided/hf")).unwrap();
    let root = tempfile::tempdir().unwrap();
    let size = |precision, name: &str| {
        let dir = root.path().join(name);
        checkpoint.save(&dir, precision).unwrap();
        let again = Checkpoint::load(&dir).unwrap();
        let got = logits(&again.ast, &expected.floats("input_values"));
        (
            fs::metadata(dir.join("model.safetensors")).unwrap().len(),
            got,
            again,
        )
    };
    let (whole, got, again) = size(Stored::F32, "f32");
    assert_eq!(again.ast, checkpoint.ast);
    assert!(largest_difference(&got, &expected.floats("logits")) < 1e-4);
    let (half, got, _) = size(Stored::F16, "f16");
    assert!(half < whole * 6 / 10);
    assert!(largest_difference(&got, &expected.floats("logits")) < 0.05);
}

#[test]
fn a_new_head_keeps_the_body() {
    let head = NewHead {
        labels: vec!["x".into(), "y".into(), "z".into()],
        seed: 3,
    };
    let old = Checkpoint::load(&golden("small/hf")).unwrap();
    let new = Checkpoint::load_body(&golden("small/hf"), &head).unwrap();
    assert_eq!(new.ast.config().labels(), head.labels);
    assert!(
        new.notes[0].contains("(5 labels)") && new.notes[0].contains("(3 labels)"),
        "{:?}",
        new.notes
    );
    for (old, new) in old
        .ast
        .weights()
        .parameters()
        .iter()
        .zip(new.ast.weights().parameters())
    {
        assert_eq!(old.name, new.name);
        assert_eq!(old == &new, !old.name.starts_with("classifier."), "{}", old.name);
    }
    let same = NewHead {
        labels: old.ast.config().labels(),
        seed: 3,
    };
    let kept = Checkpoint::load_body(&golden("small/hf"), &same).unwrap();
    assert!(kept.ast == old.ast && kept.notes.is_empty());
}

#[test]
fn damaged_directories_are_refused_with_what_is_wrong() {
    type Damage = fn(&Path);
    let cases: [(Damage, &str); 9] = [
        (
            |dir| fs::remove_file(dir.join("config.json")).unwrap(),
            "config.json",
        ),
        (
            |dir| fs::remove_file(dir.join("model.safetensors")).unwrap(),
            "model.safetensors",
        ),
        (
            |dir| fs::write(dir.join("model.safetensors"), b"").unwrap(),
            "damaged",
        ),
        (
            |dir| fs::write(dir.join("model.safetensors"), [0xff; 64]).unwrap(),
            "damaged",
        ),
        (
            |dir| {
                edit(
                    dir,
                    "config.json",
                    "\"num_hidden_layers\": 2",
                    "\"num_hidden_layers\": 3",
                )
            },
            "16 tensors missing",
        ),
        (
            |dir| {
                edit(
                    dir,
                    "config.json",
                    "\"num_hidden_layers\": 2",
                    "\"num_hidden_layers\": 1",
                )
            },
            "16 tensors unknown",
        ),
        (
            |dir| {
                edit(
                    dir,
                    "config.json",
                    "\"intermediate_size\": 64",
                    "\"intermediate_size\": 65",
                )
            },
            "wrong shape",
        ),
        (
            |dir| {
                edit(
                    dir,
                    "preprocessor_config.json",
                    "\"max_length\": 24",
                    "\"max_length\": 25",
                )
            },
            "frames",
        ),
        (
            |dir| {
                let path = dir.join("model.safetensors");
                let mut bytes = fs::read(&path).unwrap();
                let end = bytes.len();
                bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
                fs::write(path, bytes).unwrap();
            },
            "not finite",
        ),
    ];
    for (damage, told) in cases {
        let dir = copy_of("small/hf");
        damage(dir.path());
        let message = Checkpoint::load(dir.path()).unwrap_err().to_string();
        assert!(message.contains(told), "wanted '{told}' in: {message}");
    }
}

#[test]
fn every_truncation_of_the_weights_is_an_error() {
    let dir = copy_of("small/hf");
    let path = dir.path().join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    for length in (0..bytes.len()).step_by(997) {
        fs::write(&path, &bytes[..length]).unwrap();
        assert!(
            Checkpoint::load(dir.path()).is_err(),
            "{length} of {} bytes",
            bytes.len()
        );
    }
}

#[test]
fn inputs_that_do_not_fit_are_errors() {
    let ast = Checkpoint::load(&golden("small/hf")).unwrap().ast;
    let input = vec![0.0; ast.config().input_len()];
    let mut a = Activations::default();
    assert!(
        ast.forward(
            Batch {
                input_values: &input[1..],
                keep: None
            },
            &mut a
        )
        .is_err()
    );
    assert!(
        ast.forward(
            Batch {
                input_values: &[],
                keep: None
            },
            &mut a
        )
        .is_err()
    );
    assert!(
        ast.forward(
            Batch {
                input_values: &input,
                keep: Some(&[55])
            },
            &mut a
        )
        .is_err()
    );
    assert!(
        ast.forward(
            Batch {
                input_values: &input,
                keep: Some(&[])
            },
            &mut a
        )
        .is_err()
    );
    let mut gradients = ast.weights().zeros_like();
    let batch = Batch {
        input_values: &input,
        keep: None,
    };
    assert!(ast.targets(&[5], 0.1).is_err());
    let two = ast.targets(&[0, 1], 0.1).unwrap();
    assert!(
        ast.forward_backward(
            batch,
            Targets::Probabilities(&two),
            Trained::All,
            &mut gradients,
            &mut a
        )
        .is_err()
    );
}
