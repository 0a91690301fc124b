//! The model as it is used: the same logits as the model as it is trained, in f32 and in eight bits, however it is stored.
// A failed unwrap is a failed test, in helpers too.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use messymash::ast::{Inference, Precision, Workspace};
use messymash::checkpoint::{Checkpoint, Loaded, Stored, quantize};
use messymash::{Classifier, Error};
use safetensors::SafeTensors;

const NAMES: [&str; 2] = ["small", "strided"];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/model")
        .join(name)
}

/// What PyTorch was given or computed.
fn expected(name: &str, tensor: &str) -> Vec<f32> {
    let bytes = fs::read(golden(name).join("expected.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let data = file.tensor(tensor).unwrap().data().to_vec();
    data.chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

fn logits(model: &Inference, input_values: &[f32]) -> Vec<f32> {
    model.forward(input_values, &mut Workspace::default()).unwrap()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
}

fn range(x: &[f32]) -> f32 {
    x.iter().copied().fold(f32::MIN, f32::max) - x.iter().copied().fold(f32::MAX, f32::min)
}

#[test]
fn logits_are_those_of_transformers_in_f32_and_near_them_in_eight_bits() {
    for name in NAMES {
        let (input, wanted) = (expected(name, "input_values"), expected(name, "logits"));
        let load = |precision| {
            Loaded::load(&golden(name).join("hf"), Some(precision))
                .unwrap()
                .model
        };
        let exact = load(Precision::F32);
        let difference = largest_difference(&logits(&exact, &input), &wanted);
        assert!(difference < 1e-4, "{name}: logits differ by {difference}");
        let rounded = load(Precision::Int8);
        let difference = largest_difference(&logits(&rounded, &input), &wanted);
        // These models have random weights and hidden sizes of 32 and 48: little averages out.
        assert!(
            difference > 0.0 && difference < 0.1 * range(&wanted),
            "{name}: int8 differs by {difference}"
        );
        assert!(rounded.weight_bytes() < exact.weight_bytes());
        assert_eq!(rounded.num_parameters(), exact.num_parameters());
    }
}

#[test]
fn a_model_from_memory_and_one_from_disk_are_the_same() {
    let (dir, input) = (golden("small").join("hf"), expected("small", "input_values"));
    for precision in [Precision::F32, Precision::Int8] {
        let from_disk = Loaded::load(&dir, Some(precision)).unwrap().model;
        let from_memory = Inference::new(Checkpoint::load(&dir).unwrap().ast, precision).unwrap();
        assert_eq!(logits(&from_disk, &input), logits(&from_memory, &input));
        assert_eq!(from_memory.precision(), precision);
    }
}

#[test]
fn threads_and_company_do_not_change_a_bit() {
    let input = expected("small", "input_values").repeat(20);
    for precision in [Precision::F32, Precision::Int8] {
        let model = Loaded::load(&golden("small").join("hf"), Some(precision))
            .unwrap()
            .model;
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| logits(&model, &input))
        };
        let together = on(1);
        assert_eq!(together, on(3));
        let clip = model.config().input_len();
        let alone: Vec<f32> = input.chunks(clip).flat_map(|clip| logits(&model, clip)).collect();
        assert!(largest_difference(&together, &alone) < 1e-5);
    }
}

#[test]
fn a_wrong_input_is_refused() {
    let model = Loaded::load(&golden("small").join("hf"), None).unwrap().model;
    for len in [0, 1, model.config().input_len() + 1] {
        let error = model
            .forward(&vec![0.0; len], &mut Workspace::default())
            .unwrap_err();
        assert!(error.to_string().contains(&format!("{len} values")), "{error}");
    }
}

#[test]
fn a_quantised_directory_computes_what_quantising_at_load_does_and_states_its_origin() {
    let root = tempfile::tempdir().unwrap();
    let (dir, out) = (golden("strided").join("hf"), root.path().join("int8"));
    quantize(&dir, &out).unwrap();
    let input = expected("strided", "input_values");
    let stored = Loaded::load(&out, None).unwrap();
    assert_eq!(stored.model.precision(), Precision::Int8);
    let at_load = Loaded::load(&dir, Some(Precision::Int8)).unwrap();
    assert_eq!(logits(&stored.model, &input), logits(&at_load.model, &input));

    let origin = stored.origin.unwrap();
    assert_eq!(origin.origin, dir.display().to_string());
    assert_eq!(origin.origin_sha256.len(), 64);
    assert!(stored.card.unwrap().contains(&origin.origin_sha256));
    let size = |dir: &Path| fs::metadata(dir.join("model.safetensors")).unwrap().len();
    assert!(size(&out) < size(&dir) / 2);

    // As a model to train it is the rounded one, and says so; it is not rounded twice.
    let checkpoint = Checkpoint::load(&out).unwrap();
    assert!(
        checkpoint.notes[0].contains("quantised"),
        "{:?}",
        checkpoint.notes
    );
    let again = Inference::new(checkpoint.ast.clone(), Precision::Int8).unwrap();
    assert_eq!(logits(&again, &input), logits(&stored.model, &input));
    let resaved = root.path().join("f32");
    checkpoint.save(&resaved, Stored::F32).unwrap();
    assert_eq!(
        Classifier::from_pretrained(&resaved).unwrap().model().precision(),
        Precision::F32
    );
    let message = quantize(&out, &root.path().join("twice"))
        .unwrap_err()
        .to_string();
    assert!(message.contains("quantised already"), "{message}");
    let message = quantize(&resaved, &resaved).unwrap_err().to_string();
    assert!(message.contains("another directory"), "{message}");
}

#[test]
fn damaged_and_foreign_quantised_models_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("int8");
    quantize(&golden("small").join("hf"), &out).unwrap();
    let weights = fs::read(out.join("model.safetensors")).unwrap();
    let message = |dir: &Path| match Loaded::load(dir, None).unwrap_err() {
        Error::Checkpoint { message, .. } => message,
        other => panic!("{other}"),
    };

    // A scale that is not there.
    let file = SafeTensors::deserialize(&weights).unwrap();
    let lost = file
        .names()
        .into_iter()
        .find(|n| n.ends_with("query.weight_scale"))
        .unwrap()
        .to_string();
    let views = file.tensors().into_iter().filter(|(name, _)| *name != lost);
    fs::write(
        out.join("model.safetensors"),
        safetensors::serialize(views, None).unwrap(),
    )
    .unwrap();
    assert!(
        message(&out).contains("query.weight (I8 without"),
        "{}",
        message(&out)
    );

    // An end that is missing, a beginning that is something else.
    fs::write(out.join("model.safetensors"), &weights[..weights.len() - 1]).unwrap();
    assert!(message(&out).contains("end is missing"), "{}", message(&out));
    fs::write(
        out.join("model.safetensors"),
        b"version https://git-lfs.github.com/spec/v1",
    )
    .unwrap();
    assert!(message(&out).contains("no safetensors file"), "{}", message(&out));
    fs::write(out.join("model.safetensors"), b"x").unwrap();
    assert!(message(&out).contains("too short"), "{}", message(&out));

    // Another program's quantisation.
    let config = fs::read_to_string(out.join("config.json")).unwrap();
    fs::write(
        out.join("config.json"),
        config.replace("\"quant_method\": \"messymash\"", "\"quant_method\": \"gptq\""),
    )
    .unwrap();
    assert!(message(&out).contains("'gptq'"), "{}", message(&out));
}
