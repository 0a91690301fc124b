//! `calibrate`: from a trained model to one that knows what its answers are worth.
// A failed unwrap is a failed test, in helpers too.
#![allow(clippy::unwrap_used)]

#[path = "../../messymash/tests/common/mod.rs"]
mod common;
mod program;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::RATE;
use messymash::Waveform;
use messymash::checkpoint::Checkpoint;
use program::{lines, messymash, ok, run};
use serde_json::Value;

/// Clicks: what the test calls speech.
fn babble(hertz: f32) -> Vec<f32> {
    let every = (RATE as f32 / hertz) as usize;
    let click = |i: usize| if i.is_multiple_of(every) { 0.9 } else { 0.0 };
    (0..RATE as usize).map(click).collect()
}

fn write(path: &Path, samples: Vec<f32>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    Waveform::new(samples, RATE).write_wav(path).unwrap();
}

#[test]
fn a_calibrated_model_says_what_it_is_worth_and_what_is_no_music() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    common::write_data(&at("data"));
    fs::write(at("recipe.toml"), common::recipe(8)).unwrap();
    ok(messymash()
        .args(["train", "--config"])
        .arg(at("recipe.toml"))
        .arg("--data")
        .arg(at("data"))
        .arg("--out")
        .arg(at("run")));
    for n in 0..6u16 {
        write(&at(&format!("speech/{n}.wav")), babble(70.0 + 6.0 * f32::from(n)));
        write(&at(&format!("others/{n}.wav")), babble(73.0 + 6.0 * f32::from(n)));
    }
    let calibrate = |out: &str| -> Command {
        let mut command = messymash();
        command.arg("calibrate").arg("--model").arg(at("run/best"));
        command
            .arg("--data")
            .arg(at("data"))
            .arg("--speech")
            .arg(at("speech"));
        command.arg("--unheard-speech").arg(at("others"));
        command
            .args(["--mashups", "60", "--least-music", "0.35", "--out"])
            .arg(at(out));
        command
    };
    // What is learnt from, tried on, under another path too.
    let (code, _, stderr) = run(calibrate("leak")
        .arg("--unheard-music")
        .arg(at("others/../speech")));
    assert!(
        code == 2
            && stderr.contains("6 sound files are in a folder of --speech and in one of --unheard-music"),
        "{stderr}"
    );
    // Another split, by which the songs that trained the model would be its judges.
    let swapped = fs::read_to_string(at("run/split.json"))
        .unwrap()
        .replace("\"validation\"", "x")
        .replace("\"train\"", "\"validation\"")
        .replace('x', "\"train\"");
    fs::write(at("swapped.json"), swapped).unwrap();
    let (code, _, stderr) = run(calibrate("leak").arg("--split").arg(at("swapped.json")));
    assert!(code == 2 && stderr.contains("trained this model"), "{stderr}");
    let said = ok(&mut calibrate("calibrated"));
    let temperature: f32 = said
        .strip_prefix("temperature ")
        .and_then(|rest| rest.split(',').next())
        .unwrap()
        .parse()
        .unwrap();
    assert!(
        said.contains("right of sure") && said.contains("speech"),
        "{said}"
    );

    // The temperature is in the head, and nowhere else.
    let (before, after) = (at("run/best"), at("calibrated"));
    let [before, after] = [before, after].map(|folder| Checkpoint::load(&folder).unwrap());
    let [old, new] = [&before, &after].map(|model| &model.ast.weights().classifier.dense.weight.data);
    for (old, new) in old.iter().zip(new) {
        assert!(
            (old - new * temperature).abs() <= 5e-3 * old.abs(),
            "{old} {new} {temperature}"
        );
    }
    assert_eq!(
        before.ast.weights().layernorm.weight.data,
        after.ast.weights().layernorm.weight.data
    );
    assert!(before.verdict.is_none() && after.verdict.is_some());
    assert!(at("calibrated/split.json").is_file());

    // What it says of sound that it never heard.
    write(&at("try/silence.wav"), vec![0.0; RATE as usize]);
    ok(messymash()
        .args(["remix", "--count", "3", "--data"])
        .arg(at("data"))
        .arg("--config")
        .arg(at("recipe.toml"))
        .arg("--out")
        .arg(at("try/mashups")));
    write(&at("try/talk.wav"), babble(85.0));
    let told = |model: &str, format: &str| {
        let mut command = messymash();
        command
            .arg("classify")
            .arg(at("try"))
            .arg("--model")
            .arg(at(model));
        ok(command.args(["--format", format]))
    };
    let answers = lines(&told("calibrated", "jsonl"));
    let of = |name: &str| -> &Value {
        let mut all = answers.iter();
        all.find(|a| a["file"].as_str().unwrap().ends_with(name)).unwrap()
    };
    assert_eq!(
        (&of("silence.wav")["verdict"], &of("silence.wav")["reason"]),
        (&"not_music".into(), &"silence".into())
    );
    assert_eq!(
        (&of("talk.wav")["verdict"], &of("talk.wav")["reason"]),
        (&"not_music".into(), &"speech".into())
    );
    assert_ne!(of("00001.wav")["verdict"], "not_music");
    let text = told("calibrated", "text");
    assert!(
        text.contains("NO MUSIC (speech)") && text.contains("no music was heard"),
        "{text}"
    );
    assert!(told("calibrated", "csv").contains("not_music: silence"));
    // A model that was not fitted knows silence when it hears it, and says nothing else.
    let plain = lines(&told("run/best", "jsonl"));
    for answer in &plain {
        let silent = answer["file"].as_str().unwrap().ends_with("silence.wav");
        assert_eq!(answer.get("verdict").is_some(), silent, "{answer}");
    }

    // Rules are of one model: training another head drops them, quantising keeps them, and what it was trained on.
    ok(messymash().arg("quantize").arg(at("calibrated")).arg(at("small")));
    assert!(at("small/verdict.json").is_file());
    assert_eq!(
        fs::read(at("small/split.json")).unwrap(),
        fs::read(at("calibrated/split.json")).unwrap()
    );
    let (code, _, error) = run(&mut calibrate("calibrated"));
    assert!(code == 2 && error.contains("exists already"), "{error}");
    fs::write(at("calibrated/verdict.json"), "{}").unwrap();
    let (code, _, error) = run(messymash()
        .arg("classify")
        .arg(at("try"))
        .arg("--model")
        .arg(at("calibrated")));
    assert!(code == 2 && error.contains("verdict.json"), "{error}");
}
