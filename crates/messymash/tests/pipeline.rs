//! What `transformers.pipeline("audio-classification")` answered is what we answer, with each function of the logits.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

use std::collections::HashMap;
use std::path::Path;

use messymash::classifier::{ClassifyOptions, ScoreFunction, Windows};
use messymash::{Classifier, Waveform};

/// Allowed of a probability, and of a logit (whose range is ten times as wide).
const WITHIN: f32 = 1e-4;

#[derive(serde::Deserialize)]
struct Golden {
    model: String,
    sound: String,
    function_to_apply: Option<String>,
    answer: Vec<(String, f32)>,
}

#[test]
fn the_pipeline_is_answered_alike() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let text = std::fs::read_to_string(golden.join("pipeline.json")).unwrap();
    let expected: Vec<Golden> = serde_json::from_str(&text).unwrap();
    assert_eq!(expected.len(), 84);
    let models: HashMap<&str, Classifier> = HashMap::from([
        (
            "small",
            Classifier::from_pretrained(golden.join("model/small/hf")).unwrap(),
        ),
        (
            "strided",
            Classifier::from_pretrained(golden.join("model/strided/hf")).unwrap(),
        ),
        ("default", Classifier::bundled().unwrap()),
    ]);
    for case in expected {
        let sound = Waveform::open(golden.join(format!("features/{}.wav", case.sound))).unwrap();
        let function = case.function_to_apply.as_deref().map(|name| match name {
            "softmax" => ScoreFunction::Softmax,
            "sigmoid" => ScoreFunction::Sigmoid,
            _ => ScoreFunction::None,
        });
        let options = ClassifyOptions {
            windows: Windows::First,
            function,
            ..ClassifyOptions::default()
        };
        let answer = models[&case.model[..]]
            .classify_with(&sound, &options)
            .unwrap()
            .predictions;
        assert_eq!(answer.len(), case.answer.len());
        for (n, (ours, (label, score))) in answer.iter().zip(&case.answer).enumerate() {
            let name = format!(
                "{} {} {:?} place {n}",
                case.model, case.sound, case.function_to_apply
            );
            let scale = if function == Some(ScoreFunction::None) {
                10.0
            } else {
                1.0
            };
            assert!(
                (ours.score - score).abs() < scale * WITHIN,
                "{name}: {} and {score}",
                ours.score
            );
            // Labels whose scores are as good as equal may change places.
            let tied = case
                .answer
                .iter()
                .filter(|(_, other)| (other - score).abs() < 2.0 * scale * WITHIN);
            assert!(
                ours.label == *label || tied.count() > 1,
                "{name}: {} and {label}",
                ours.label
            );
        }
    }
}

#[test]
fn the_configuration_chooses_the_function() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/model/small/hf");
    let sound = Waveform::new((0..8000).map(|i| (i as f32 * 0.1).sin()).collect(), 16_000);
    let dir = tempfile::tempdir().unwrap();
    for name in ["preprocessor_config.json", "model.safetensors"] {
        std::fs::copy(golden.join(name), dir.path().join(name)).unwrap();
    }
    let config = std::fs::read_to_string(golden.join("config.json")).unwrap();
    for (problem, function) in [
        ("single_label_classification", ScoreFunction::Softmax),
        ("multi_label_classification", ScoreFunction::Sigmoid),
        ("regression", ScoreFunction::None),
    ] {
        let config = config.replacen('{', &format!("{{\"problem_type\": \"{problem}\","), 1);
        std::fs::write(dir.path().join("config.json"), config).unwrap();
        let classifier = Classifier::from_pretrained(dir.path()).unwrap();
        let asked = ClassifyOptions {
            function: Some(function),
            ..ClassifyOptions::default()
        };
        let answer = classifier.classify(&sound).unwrap();
        assert_eq!(
            answer,
            classifier.classify_with(&sound, &asked).unwrap(),
            "{problem}"
        );
        let sum: f32 = answer.predictions.iter().map(|p| p.score).sum();
        assert_eq!(
            (sum - 1.0).abs() < 1e-4,
            function == ScoreFunction::Softmax,
            "{problem}: {sum}"
        );
    }
}
