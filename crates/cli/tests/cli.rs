//! The program as people run it: what it prints, what it writes, how it ends.
// A failed unwrap is a failed test, in helpers too.
#![allow(clippy::unwrap_used)]

#[path = "../../messymash/tests/common/mod.rs"]
mod common;
mod program;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use common::{RATE, hiss, tone};
use messymash::Waveform;
use messymash::evaluate::Evaluation;
use messymash::remix::read_remixes;
use program::{lines, messymash, ok, run, small_model};
use serde_json::Value;

/// `classify` with the small model.
fn classify(files: &[&Path], arguments: &[&str]) -> Command {
    let mut command = messymash();
    command
        .arg("classify")
        .args(files)
        .arg("--model")
        .arg(small_model())
        .args(arguments);
    command
}

fn write_sound(path: &Path, seconds: f32) {
    let samples = hiss(1, (seconds * RATE as f32) as usize, 0.3);
    Waveform::new(samples, RATE).write_wav(path).unwrap();
}

#[test]
fn the_sample_of_the_repository_is_classified_by_the_bundled_model() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../samples/mashup.flac");
    let text = ok(messymash().arg("classify").arg(&sample).args(["--timeline"]));
    assert!(
        text.contains("mashup.flac") && text.contains(" %") && text.contains("0:00–"),
        "{text}"
    );
    let genre = text.split_whitespace().next().unwrap().to_lowercase();
    assert!(messymash::dataset::GENRES.contains(&genre.as_str()), "{text}");
    // Nothing but the program and the file is needed: no home, no path, another folder.
    let bare = ok(messymash()
        .env_clear()
        .current_dir("/")
        .arg("classify")
        .arg(sample.canonicalize().unwrap()));
    assert!(bare.starts_with(text.split_whitespace().next().unwrap()));
}

#[test]
fn json_is_as_documented() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("song.wav");
    write_sound(&path, 1.0);
    let answers: Value = serde_json::from_str(&ok(&mut classify(
        &[&path],
        &["--format", "json", "--top", "2", "--hop", "0.25"],
    )))
    .unwrap();
    let [answer] = answers.as_array().unwrap().as_slice() else {
        panic!("{answers}")
    };
    let keys: Vec<&String> = answer.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "elapsed_ms",
            "file",
            "model",
            "predictions",
            "seconds",
            "warnings",
            "windows"
        ],
        "serde_json's map is sorted"
    );
    assert_eq!(answer["file"], path.to_str().unwrap());
    assert_eq!(answer["seconds"], 1.0);
    assert_eq!(answer["model"], small_model().to_str().unwrap());
    assert!(answer["elapsed_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(answer["predictions"].as_array().unwrap().len(), 2);
    let (first, second) = (&answer["predictions"][0], &answer["predictions"][1]);
    assert!(first["score"].as_f64() >= second["score"].as_f64() && first["label"].is_string());
    let windows = answer["windows"].as_array().unwrap();
    assert_eq!(windows.len(), 3);
    assert_eq!(
        (
            &windows[1]["start"],
            &windows[1]["predictions"].as_array().unwrap().len()
        ),
        (&0.25.into(), &2)
    );
}

#[test]
fn one_bad_file_does_not_stop_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let music = dir.path().join("music");
    fs::create_dir_all(music.join("b")).unwrap();
    write_sound(&music.join("a.wav"), 0.5);
    write_sound(&music.join("b/c.wav"), 0.5);
    write_sound(&music.join(".hidden.wav"), 0.5);
    fs::write(music.join("b/broken.mp3"), b"%PDF-1.7 not a song").unwrap();
    fs::write(music.join("cover.jpg"), b"\xff\xd8\xff").unwrap();
    let (code, stdout, _) = run(&mut classify(&[&music], &["--format", "jsonl"]));
    assert_eq!(code, 1, "some failed");
    let answers = lines(&stdout);
    let files: Vec<&str> = answers.iter().map(|a| a["file"].as_str().unwrap()).collect();
    assert_eq!(files.len(), 3, "{files:?}");
    assert!(
        files[0].ends_with("a.wav") && files[1].ends_with("b/broken.mp3") && files[2].ends_with("b/c.wav")
    );
    assert_eq!(answers[1].as_object().unwrap().len(), 2);
    assert_eq!(answers[1]["error"]["code"], "unsupported_media");
    assert!(answers[1]["error"]["message"].as_str().unwrap().contains("PDF"));
    // Files keep the order in which they were given; what is not there is told, not passed over.
    let missing = dir.path().join("nowhere.wav");
    let (code, stdout, _) = run(&mut classify(
        &[&music.join("b/c.wav"), &missing, &music.join("a.wav")],
        &["--format", "jsonl"],
    ));
    let answers = lines(&stdout);
    assert_eq!((code, answers.len()), (1, 3));
    assert_eq!(answers[1]["error"]["code"], "io");
    assert!(answers[0]["file"].as_str().unwrap().ends_with("c.wav"));
    let (code, text, _) = run(&mut classify(&[&music], &[]));
    assert!(
        code == 1 && text.contains("broken.mp3: cannot be heard") && text.contains("a.wav (0:01)"),
        "{text}"
    );
}

#[test]
fn csv_opens_in_a_spreadsheet_and_runs_nothing_there() {
    let dir = tempfile::tempdir().unwrap();
    let evil = dir.path().join("=HYPERLINK(1), \"x\".wav");
    write_sound(&evil, 0.5);
    fs::write(dir.path().join("z.wav"), "").unwrap();
    // Named from within, the file's name is the whole cell.
    let evil_name = evil.file_name().unwrap().to_owned();
    let mut command = messymash();
    command
        .current_dir(dir.path())
        .arg("classify")
        .arg("--model")
        .arg(small_model().canonicalize().unwrap());
    command
        .args(["--format", "csv", "--"])
        .arg(&evil_name)
        .arg("z.wav");
    let (code, stdout, _) = run(&mut command);
    assert_eq!(code, 1);
    let mut reader = csv::Reader::from_reader(stdout.as_bytes());
    assert_eq!(
        reader.headers().unwrap().len(),
        4 + 5 + 2,
        "file, genre, score, seconds, five labels, verdict, error"
    );
    let rows: Vec<csv::StringRecord> = reader.records().map(|row| row.unwrap()).collect();
    assert_eq!(&rows[0][0], format!("'{}", evil_name.to_str().unwrap()));
    let sum: f64 = (4..9).map(|i| rows[0][i].parse::<f64>().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-4);
    assert!(rows[1][10].contains("empty"), "{:?}", rows[1]);
}

#[test]
fn sound_comes_through_a_pipe_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("song.wav");
    write_sound(&path, 0.5);
    let mut child = classify(&[Path::new("-")], &["--format", "jsonl"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(&fs::read(&path).unwrap())
        .unwrap();
    let piped = lines(&String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap());
    let named = lines(&ok(&mut classify(&[&path], &["--format", "jsonl"])));
    assert_eq!(piped[0]["file"], "-");
    assert_eq!(piped[0]["predictions"], named[0]["predictions"]);
}

#[test]
fn what_cannot_start_says_why_and_ends_with_2() {
    let dir = tempfile::tempdir().unwrap();
    let song = dir.path().join("song.wav");
    write_sound(&song, 0.5);
    let song = song.to_str().unwrap();
    for (arguments, says) in [
        (vec!["classify"], "required"),
        (vec!["classify", song, "--format", "xml"], "invalid value"),
        (vec!["classify", song, "--top", "0"], "invalid value"),
        (vec!["classify", song, "--hop", "0"], "hop is 0"),
        (vec!["classify", song, "--hop", "-3"], "hop is -3"),
        (
            vec!["evaluate", "--seed", "-3"],
            "invalid value '-3' for '--seed <S>'",
        ),
        (
            vec!["classify", song, "--model", "/no/such/model"],
            "no such model directory",
        ),
        (
            vec!["classify", song, "--model", "afloven/messymashupclassifier"],
            "hf download afloven/messymashupclassifier",
        ),
        (
            vec!["classify", dir.path().to_str().unwrap(), "--model", song],
            "no such model",
        ),
        (
            vec!["train", "--data", "/no/such/data", "--out", "/tmp/never"],
            "/no/such/data",
        ),
        (vec!["train", "--resume", "/no/such/run"], "no run directory"),
        (vec!["evaluate", "--out", "/tmp/never"], "no data given"),
        (
            vec!["info", "--model", "/no/such/model"],
            "no such model directory",
        ),
    ] {
        let (code, stdout, stderr) = run(messymash()
            .env("HF_HOME", dir.path())
            .env("HOME", dir.path())
            .args(&arguments));
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}: {stderr}");
        assert!(stderr.contains(says), "{arguments:?}: {stderr}");
    }
    fs::create_dir(dir.path().join("empty")).unwrap();
    let (code, _, stderr) = run(&mut classify(&[&dir.path().join("empty")], &[]));
    assert!(code == 2 && stderr.contains("no sound files"), "{stderr}");
}

#[test]
fn a_quantised_model_is_used_like_any_and_says_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (out, song) = (folder.path().join("int8"), folder.path().join("song.wav"));
    write_sound(&song, 3.0);
    ok(messymash().arg("quantize").arg(small_model()).arg(&out));
    let scores = |arguments: &[&str], model: &Path| -> Vec<Value> {
        let mut command = messymash();
        command
            .arg("classify")
            .arg(&song)
            .arg("--model")
            .arg(model)
            .args(["--format", "jsonl"])
            .args(arguments);
        lines(&ok(&mut command))[0]["predictions"]
            .as_array()
            .unwrap()
            .clone()
    };
    let (stored, at_load) = (
        scores(&[], &out),
        scores(&["--precision", "int8"], &small_model()),
    );
    assert_eq!(stored, at_load);
    assert_ne!(stored, scores(&[], &small_model()), "eight bits leave no trace");
    // How many windows are computed at once is nobody's business but the clock's.
    assert_eq!(stored[0]["label"], scores(&["--batch", "1"], &out)[0]["label"]);
    let info = ok(messymash().arg("info").arg("--model").arg(&out));
    assert!(
        info.contains("int8") && info.contains(&small_model().display().to_string()),
        "{info}"
    );

    let (code, _, stderr) = run(messymash().arg("quantize").arg(small_model()).arg(&out));
    assert!(code == 2 && stderr.contains("exists already"), "{stderr}");
}

#[test]
fn a_model_id_is_found_in_the_hub_cache() {
    let cache = tempfile::tempdir().unwrap();
    let model = cache.path().join("models--someone--small");
    let snapshot = model.join("snapshots/0123abc");
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir_all(model.join("refs")).unwrap();
    fs::write(model.join("refs/main"), "0123abc").unwrap();
    for file in fs::read_dir(small_model()).unwrap() {
        let file = file.unwrap().path();
        fs::copy(&file, snapshot.join(file.file_name().unwrap())).unwrap();
    }
    let text = ok(messymash()
        .env("HF_HUB_CACHE", cache.path())
        .args(["info", "--model", "someone/small"]));
    assert!(
        text.contains("someone/small") && text.contains("2 layers of 32"),
        "{text}"
    );
    let json: Value = serde_json::from_str(&ok(messymash().env("HF_HUB_CACHE", cache.path()).args([
        "info",
        "--model",
        "someone/small",
        "--format",
        "json",
    ])))
    .unwrap();
    assert_eq!(
        (&json["hidden_size"], &json["max_length"]),
        (&32.into(), &24.into())
    );
}

#[test]
fn a_reader_who_has_seen_enough_ends_it_quietly() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..40 {
        write_sound(&dir.path().join(format!("{n}.wav")), 0.3);
    }
    let mut child = classify(&[dir.path()], &["--format", "jsonl"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && !stderr.contains("panicked"),
        "{:?} {stderr}",
        output.status
    );
}

#[test]
fn songs_become_stems_mashups_a_model_and_a_report() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    // Songs without stems -> stems.
    for song in 0..4u64 {
        for (genre, samples) in [
            ("blues", tone(200.0 + 90.0 * song as f32, 2 * RATE as usize, 0.3)),
            ("rock", hiss(song, 2 * RATE as usize, 0.3)),
        ] {
            fs::create_dir_all(at("songs").join(genre)).unwrap();
            Waveform::new(samples, RATE)
                .write_wav(at("songs").join(genre).join(format!("s{song}.wav")))
                .unwrap();
        }
    }
    fs::write(at("songs/rock/broken.wav"), "no sound").unwrap();
    fs::create_dir(at("songs/rock/live")).unwrap();
    fs::copy(at("songs/rock/s0.wav"), at("songs/rock/live/s9.wav")).unwrap();
    let mut separate = messymash();
    separate.arg("separate").args([at("songs"), at("stems")]);
    let (code, stdout, stderr) = run(&mut separate);
    assert!(
        code == 1 && stdout.contains("8 songs separated") && stderr.contains("broken.wav"),
        "{stdout}{stderr}"
    );
    assert!(
        stderr.contains("passed over") && stderr.contains("s9.wav"),
        "{stderr}"
    );
    fs::remove_dir_all(at("songs/rock/live")).unwrap();
    fs::remove_file(at("songs/rock/broken.wav")).unwrap();
    assert!(ok(&mut separate).contains("0 songs separated, 8 were there already"));

    // Mashups to listen to, of those stems and the noise of another folder.
    common::write_data(&at("data"));
    fs::remove_dir_all(at("data/genres_stems")).unwrap();
    fs::write(at("recipe.toml"), common::recipe(3)).unwrap();
    ok(messymash()
        .arg("remix")
        .arg("--data")
        .arg(at("stems"))
        .arg("--data")
        .arg(at("data"))
        .arg("--out")
        .arg(at("mashups"))
        .args(["--count", "6", "--config"])
        .arg(at("recipe.toml")));
    let mashups = read_remixes(&at("mashups")).unwrap();
    assert_eq!(mashups.len(), 6);
    for (path, remix) in &mashups {
        let sound = Waveform::open(path).unwrap();
        assert_eq!(sound.samples.len(), remix.samples);
        assert!(
            sound.samples.iter().any(|x| x.abs() > 0.2),
            "a mashup can be heard"
        );
    }

    // A model, a report, an answer.
    ok(messymash()
        .arg("train")
        .arg("--config")
        .arg(at("recipe.toml"))
        .arg("--data")
        .arg(at("stems"))
        .arg("--data")
        .arg(at("data"))
        .arg("--out")
        .arg(at("run")));
    let page = fs::read_to_string(at("run/report.html")).unwrap();
    for told in [
        "Validation F1 by genre",
        "It has ended.",
        "mashups_per_epoch = 64",
        "ECE",
        "3 epochs",
    ] {
        assert!(page.contains(told), "{told}");
    }
    let evaluate = |more: &[&str], out: &str| {
        let mut command = messymash();
        command
            .arg("evaluate")
            .arg("--model")
            .arg(at("run/best"))
            .arg("--split")
            .arg(at("run/split.json"));
        command.arg("--out").arg(at(out)).args(more);
        command
    };
    let (stems, data, recipe) = (at("stems"), at("data"), at("recipe.toml"));
    let of_mashups = [
        "--data",
        stems.to_str().unwrap(),
        "--data",
        data.to_str().unwrap(),
        "--config",
        recipe.to_str().unwrap(),
        "--mashups",
        "20",
    ];
    let text = ok(&mut evaluate(&of_mashups, "report"));
    assert!(
        text.contains("macro F1") && text.contains("unheard songs"),
        "{text}"
    );
    for file in ["report.html", "report.md", "confusion.svg"] {
        assert!(
            fs::read_to_string(at("report").join(file))
                .unwrap()
                .contains("blues"),
            "{file}"
        );
    }
    let evaluation =
        Evaluation::from_json(&fs::read_to_string(at("report/evaluation.json")).unwrap()).unwrap();
    assert_eq!(evaluation.items.len(), 20);
    assert!(evaluation.items.iter().all(|item| item.remix.is_some()));
    let measures = evaluation.measure().unwrap();
    assert!(measures.accuracy.value > 0.8);
    let loss = format!("\nlog loss  {:.4} nats\n", measures.log_loss);
    assert!(text.contains(&loss), "{text}");
    let text = ok(&mut evaluate(
        &["--songs", at("songs").to_str().unwrap()],
        "clean",
    ));
    assert!(text.contains("2 whole songs never heard in training"), "{text}");
    // Songs that the split does not know are told; where it knows none, so is why.
    fs::copy(at("songs/rock/s0.wav"), at("songs/rock/new.wav")).unwrap();
    let of_songs = ["--songs", at("songs").to_str().unwrap()].map(str::to_string);
    let of_songs = of_songs.each_ref().map(|part| &part[..]);
    let (code, text, stderr) = run(&mut evaluate(&of_songs, "clean"));
    assert!(code == 0 && text.contains("2 whole songs never heard"), "{text}");
    assert!(
        stderr.contains("1 songs in") && stderr.contains("rock/new"),
        "{stderr}"
    );
    fs::create_dir_all(at("others/rock")).unwrap();
    fs::rename(at("songs/rock/new.wav"), at("others/rock/new.wav")).unwrap();
    let (code, _, stderr) = run(&mut evaluate(
        &["--songs", at("others").to_str().unwrap()],
        "clean",
    ));
    assert!(
        code == 2 && stderr.contains("holds 1 songs, and none of those to judge by"),
        "{stderr}"
    );
    // Without a split nothing is held back, and that is said.
    let all = |what: &[&str]| {
        let mut command = messymash();
        command.current_dir(dir.path()).args(["evaluate", "--model"]);
        ok(command.arg(at("run/best")).args(what))
    };
    let text = all(&of_songs);
    assert!(
        text.contains("8 whole songs (6 of them trained the model"),
        "{text}"
    );
    assert!(at("evaluation/songs/report.html").is_file());
    let text = all(&of_mashups);
    assert!(
        text.contains("of all 8 songs (6 of them trained the model"),
        "{text}"
    );
    assert!(at("evaluation/mashups/report.html").is_file());
    // By protocol: the split is found in the run, the same songs are judged clean as well.
    let protocol = |name: &str, more: &[&str]| {
        let mut command = messymash();
        command
            .args(["evaluate", "--protocol", name, "--model"])
            .arg(at("run/best"))
            .args(of_mashups)
            .arg("--out")
            .arg(at(name))
            .args(more);
        command
    };
    for (name, material) in [
        ("unseen-songs", "unheard songs, unheard noise"),
        ("new-mashups", "training songs, unheard noise"),
    ] {
        let text = ok(&mut protocol(name, &[]));
        for wanted in [
            &format!("{name}: 20 mashups, seed 1000 of {material}")[..],
            "rock ",
            "music over noise",
            "noises ",
            "the same songs unmixed and without noise",
            "clean minus messy, macro F1",
            "], bootstrap [",
            "95 % intervals over songs",
        ] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
        let read = |file: PathBuf| Evaluation::from_json(&fs::read_to_string(file).unwrap()).unwrap();
        let messy = read(at(name).join("evaluation.json"));
        let clean = read(at(name).join("clean/evaluation.json"));
        let songs = |e: &Evaluation| -> std::collections::BTreeSet<String> {
            e.items.iter().flat_map(|item| item.songs.clone()).collect()
        };
        assert_eq!(songs(&messy), songs(&clean));
        assert!(clean.items.iter().all(|item| item.snr_db.is_none()));
    }
    // A split that would let the model be judged by what trained it.
    let leaky = fs::read_to_string(at("run/split.json")).unwrap();
    let leaky = leaky
        .replace("validation\"", "x\"")
        .replace("train\"", "validation\"");
    fs::write(at("leaky.json"), leaky.replace("x\"", "train\"")).unwrap();
    let leaky = at("leaky.json");
    let (code, _, stderr) = run(&mut protocol(
        "unseen-songs",
        &["--split", leaky.to_str().unwrap()],
    ));
    assert!(
        code == 2 && stderr.contains("trained this model") && stderr.contains("split.json"),
        "{stderr}"
    );
    let mut by_side = messymash();
    by_side
        .arg("evaluate")
        .arg("--model")
        .arg(at("run/best"))
        .args(of_mashups);
    let (code, _, stderr) = run(by_side.arg("--split").arg(&leaky).arg("--out").arg(at("leak")));
    assert!(code == 2 && stderr.contains("trained this model"), "{stderr}");
    // A model of which nothing tells what it was trained on.
    fs::create_dir(at("elsewhere")).unwrap();
    for file in ["config.json", "preprocessor_config.json", "model.safetensors"] {
        fs::copy(at("run/best").join(file), at("elsewhere").join(file)).unwrap();
    }
    let (code, _, stderr) = run(messymash()
        .args(["evaluate", "--protocol", "new-mashups", "--model"])
        .arg(at("elsewhere"))
        .args(of_mashups));
    assert!(code == 2 && stderr.contains("--split"), "{stderr}");
    let answer = ok(messymash()
        .arg("classify")
        .arg(at("songs/rock/s0.wav"))
        .arg("--model")
        .arg(at("run/best")));
    assert!(answer.starts_with("ROCK"), "{answer}");
}

/// A run that was stopped has a page too; its mistakes are shown as long as its data is there.
#[test]
fn a_run_is_looked_at_whatever_is_left_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    common::write_data(&at("data"));
    // It cannot learn, so it makes mistakes.
    let recipe = common::recipe(1).replace("learning_rate = 3e-3", "learning_rate = 0.0");
    fs::write(at("recipe.toml"), recipe).unwrap();
    let mut train = messymash();
    train.arg("train").arg("--config").arg(at("recipe.toml"));
    train.arg("--data").arg(at("data")).arg("--out").arg(at("run"));
    ok(&mut train);
    let report = |out: &str| {
        let told = ok(messymash().arg("report").arg(at("run")).arg("--out").arg(at(out)));
        assert_eq!(told.trim_end(), at(out).to_str().unwrap());
        fs::read_to_string(at(out)).unwrap()
    };
    let page = report("a.html");
    assert_eq!(page, fs::read_to_string(at("run/report.html")).unwrap());
    let pictures = page.matches("<img src=\"data:image/png;base64,").count();
    assert!((1..=12).contains(&pictures), "{pictures}");
    assert!(page.contains("<li>drums of blues/song") || page.contains("<li>drums of rock/song"));
    // The data is gone, and a line of the log is half written.
    fs::rename(at("data"), at("elsewhere")).unwrap();
    let log = fs::read_to_string(at("run/metrics.jsonl")).unwrap();
    fs::write(at("run/metrics.jsonl"), &log[..log.len() / 2]).unwrap();
    let page = report("b.html");
    assert!(!page.contains("<img") && page.contains("Not all can be shown: "));
    assert!(page.contains("It has not ended yet") && page.contains("<li>drums of "));
    // Nothing was validated yet.
    fs::remove_file(at("run/validation.json")).unwrap();
    fs::write(at("run/metrics.jsonl"), "").unwrap();
    let page = report("c.html");
    assert!(page.contains("No step was taken yet.") && page.contains("no validation yet"));
    let (code, _, stderr) = run(messymash().arg("report").arg(at("elsewhere")));
    assert!(code == 2 && stderr.contains("no run directory"), "{stderr}");
}

/// `train` with the recipe and the data of a folder, into its sub-folder `run`.
#[cfg(unix)]
fn train(folder: &Path, run: &str) -> Command {
    let mut command = messymash();
    command
        .arg("train")
        .arg("--config")
        .arg(folder.join("recipe.toml"));
    command
        .arg("--data")
        .arg(folder.join("data"))
        .arg("--out")
        .arg(folder.join(run));
    command
}

/// Training is killed without warning and goes on as if nothing had happened.
#[cfg(unix)]
#[test]
fn a_killed_training_resumes_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    common::write_data(&at("data"));
    fs::write(at("recipe.toml"), common::recipe(6)).unwrap();
    let start = |run: &str| {
        let mut command = train(dir.path(), run);
        command.stderr(Stdio::null());
        command
    };
    ok(&mut start("whole"));
    let mut child = start("killed").spawn().unwrap();
    // After some steps beyond the first save (which is made every third step), wherever it then is.
    let log = at("killed/metrics.jsonl");
    while fs::read_to_string(&log).unwrap_or_default().lines().count() < 13 {
        assert!(
            child.try_wait().unwrap().is_none(),
            "it ended before it could be killed"
        );
        std::thread::yield_now();
    }
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
    assert_ne!(
        fs::read(&log).unwrap(),
        fs::read(at("whole/metrics.jsonl")).unwrap()
    );
    ok(messymash().arg("train").arg("--resume").arg(at("killed")));
    for file in [
        "last/model.safetensors",
        "last/optimizer.safetensors",
        "best/model.safetensors",
    ] {
        let [killed, whole] = ["killed", "whole"].map(|run| fs::read(at(run).join(file)).unwrap());
        assert!(killed == whole, "{file} differs");
    }
    let steps = |run: &str| lines(&fs::read_to_string(at(run).join("metrics.jsonl")).unwrap()).len();
    assert_eq!(steps("killed"), steps("whole"), "the log has every step once");
}

/// Ctrl-C saves, says how to go on, and what it says works.
#[cfg(unix)]
#[test]
fn an_interrupted_training_says_how_to_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    common::write_data(&at("data"));
    fs::write(at("recipe.toml"), common::recipe(400)).unwrap();
    let child = train(dir.path(), "run").stderr(Stdio::piped()).spawn().unwrap();
    while fs::read_to_string(at("run/metrics.jsonl"))
        .unwrap_or_default()
        .lines()
        .count()
        < 5
    {
        std::thread::yield_now();
    }
    let killed = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    let run = at("run");
    assert!(
        stderr.contains(&format!("messymash train --resume {}", run.display())),
        "{stderr}"
    );
    let state: Value =
        serde_json::from_str(&fs::read_to_string(run.join("last/trainer_state.json")).unwrap()).unwrap();
    let logged = lines(&fs::read_to_string(run.join("metrics.jsonl")).unwrap());
    assert_eq!(
        state["step"],
        logged.last().unwrap()["step"],
        "what was done is saved"
    );
}
