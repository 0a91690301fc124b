//! The competition end to end, as people do it: a data set of its layout in, a submission out.
// A failed unwrap is a failed test, in helpers too.
#![allow(clippy::unwrap_used)]

#[path = "../../messymash/tests/common/mod.rs"]
mod common;
mod program;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{hiss, write_competition};
use messymash::Waveform;
use program::{lines, messymash, ok, run, small_model};
use tempfile::TempDir;

const IDS: [&str; 6] = ["0002", "0001", "0003", "0004", "0005", "0006"];

/// A competition in a temporary folder, and what is made beside it.
struct World {
    root: TempDir,
    inner: PathBuf,
}

impl World {
    fn new() -> Self {
        let root = TempDir::new().unwrap();
        let inner = write_competition(root.path());
        Self { root, inner }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// `predict --out submission.csv` with the small model.
    fn predict(&self, arguments: &[&str]) -> Command {
        let mut command = self.predict_by(&[small_model().to_str().unwrap()]);
        command.args(arguments);
        command
    }

    fn predict_by(&self, models: &[&str]) -> Command {
        let mut command = messymash();
        command.arg("predict").arg("--data").arg(self.root.path());
        command.arg("--out").arg(self.at("submission.csv"));
        for model in models {
            command.arg("--model").arg(model);
        }
        command
    }

    /// Ids and genres of the submission, in order.
    fn submission(&self) -> Vec<(String, String)> {
        let mut table = csv::Reader::from_path(self.at("submission.csv")).unwrap();
        assert_eq!(table.headers().unwrap(), ["id", "genre"].as_slice());
        table
            .records()
            .map(|row| row.unwrap())
            .map(|row| (row[0].into(), row[1].into()))
            .collect()
    }

    /// How many files the journal says were heard.
    fn heard(&self) -> usize {
        let journal = fs::read_to_string(self.at("submission.csv.journal")).unwrap_or_default();
        journal.lines().count().saturating_sub(1)
    }

    /// A copy of the small model with a changed configuration.
    fn model(&self, name: &str, change: impl Fn(&str) -> String) -> String {
        let folder = self.at(name);
        fs::create_dir_all(&folder).unwrap();
        for file in fs::read_dir(small_model()).unwrap() {
            let file = file.unwrap().path();
            fs::copy(&file, folder.join(file.file_name().unwrap())).unwrap();
        }
        let config = fs::read_to_string(folder.join("config.json")).unwrap();
        fs::write(folder.join("config.json"), change(&config)).unwrap();
        folder.display().to_string()
    }
}

/// The scores that a table has for each id, by label.
fn scores(path: &Path) -> HashMap<String, HashMap<String, f64>> {
    let mut table = csv::Reader::from_path(path).unwrap();
    let header = table.headers().unwrap().clone();
    assert_eq!(
        header.iter().take(4).collect::<Vec<_>>(),
        ["id", "filename", "genre", "score"]
    );
    let row = |row: csv::StringRecord| {
        let labels = header.iter().zip(&row).skip(4);
        (
            row[0].to_string(),
            labels
                .map(|(label, score)| (label.to_string(), score.parse().unwrap()))
                .collect(),
        )
    };
    table.records().map(|record| row(record.unwrap())).collect()
}

/// Two labels change places, so that columns mean other genres.
fn swap_labels(config: &str) -> String {
    let mut config: serde_json::Value = serde_json::from_str(config).unwrap();
    for (id, label) in [("0", "hiphop"), ("4", "blues")] {
        config["id2label"][id] = label.into();
        config["label2id"][label] = id.parse::<u64>().unwrap().into();
    }
    config.to_string()
}

fn other_label(config: &str) -> String {
    config.replace("hiphop", "rock")
}

#[test]
fn a_test_set_becomes_a_submission_that_passes_its_check() {
    let world = World::new();
    let scores_path = world.at("scores.csv");
    let text = ok(&mut world.predict(&["--scores", scores_path.to_str().unwrap()]));
    assert!(
        text.contains("6 answers in")
            && text.contains("kaggle competitions submit -c jan-2026-dl-gen-ai-project -f"),
        "{text}"
    );
    let submission = world.submission();
    assert_eq!(
        submission.iter().map(|row| row.0.as_str()).collect::<Vec<_>>(),
        IDS
    );

    // The same answers as classify gives file by file.
    let mut classify = messymash();
    classify
        .arg("classify")
        .arg(world.inner.join("mashups"))
        .arg("--model")
        .arg(small_model());
    let answers = lines(&ok(classify.args(["--format", "jsonl", "--top", "5"])));
    let table = scores(&scores_path);
    for answer in answers {
        let name = Path::new(answer["file"].as_str().unwrap())
            .file_stem()
            .unwrap()
            .to_str()
            .unwrap()
            .to_string();
        let id = name.strip_prefix("song").unwrap();
        let genre = answer["predictions"][0]["label"].as_str().unwrap();
        assert!(
            submission.contains(&(id.into(), genre.into())),
            "{id} {genre} {submission:?}"
        );
        for prediction in answer["predictions"].as_array().unwrap() {
            let score = table[id][prediction["label"].as_str().unwrap()];
            assert!((score - prediction["score"].as_f64().unwrap()).abs() < 1e-6);
        }
    }
    let sample = world.inner.join("sample_submission.csv");
    for against in [
        ["--data", world.root.path().to_str().unwrap()],
        ["--sample", sample.to_str().unwrap()],
    ] {
        let text = ok(messymash()
            .args(["submission", "check"])
            .arg(world.at("submission.csv"))
            .args(against));
        assert!(text.contains("is right: 6 rows"), "{text}");
    }
}

#[test]
fn faults_of_a_submission_are_told_with_their_lines() {
    let world = World::new();
    let file = world.at("mine.csv");
    fs::write(
        &file,
        "id,genre\n2,rock\n0001,Rock\n0004,polka\n0003,pop\n0005,pop\n",
    )
    .unwrap();
    let mut command = messymash();
    command
        .args(["submission", "check"])
        .arg(&file)
        .arg("--data")
        .arg(world.root.path());
    let (code, text, _) = run(&mut command);
    assert_eq!(code, 1);
    for part in [
        "line 2: the id \"2\" is written \"0002\"",
        "line 3: the genre",
        "line 4: ",
        "line 5: the id \"0003\" stands behind",
        "missing: no row has the id \"0006\"",
        "5 at fault (1 id, 1 order, 2 genre, 1 missing); 5 rows, test.csv has 6",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    for arguments in [
        vec!["mine.csv"],
        vec!["absent.csv", "--data", "."],
        vec!["mine.csv", "--data", "absent"],
    ] {
        let (code, _, stderr) = run(messymash()
            .args(["submission", "check"])
            .args(&arguments)
            .current_dir(world.root.path()));
        assert_eq!(code, 2, "{arguments:?}: {stderr}");
    }
}

#[test]
fn models_are_averaged_by_label_and_weight() {
    let world = World::new();
    let small = small_model();
    let small = small.to_str().unwrap();
    let swapped = world.model("swapped", swap_labels);
    let table = |name: &str, models: &[&str]| {
        let path = world.at(name);
        ok(world.predict_by(models).arg("--scores").arg(&path));
        scores(&path)
    };
    let [one, two] = [table("one.csv", &[small]), table("two.csv", &[&swapped])];
    assert_eq!(world.heard(), 12);
    assert!((one["0001"]["blues"] - two["0001"]["hiphop"]).abs() < 1e-6);
    let both = table("both.csv", &[small, &format!("{swapped}=3")]);
    assert_eq!(world.heard(), 12, "what was heard is not heard again");
    for id in IDS {
        for label in ["blues", "classical", "country", "disco", "hiphop"] {
            let mean = 0.25 * one[id][label] + 0.75 * two[id][label];
            assert!((both[id][label] - mean).abs() < 2e-6, "{id} {label}");
        }
    }
}

#[test]
fn models_that_do_not_fit_are_refused_before_anything_is_heard() {
    let world = World::new();
    let small = small_model();
    let small = small.to_str().unwrap();
    let other = world.model("other", other_label);
    let unknown = world.model("unknown", |config| config.replace("hiphop", "LABEL_4"));
    for (models, says) in [
        (
            vec![small, other.as_str()],
            "only the former knows hiphop, only the latter rock",
        ),
        (vec![unknown.as_str()], "no genre of the competition: LABEL_4"),
        (vec![small, "no/such/model=2"], "no such model directory"),
        (vec![&format!("{small}=0")], "must be a number above 0"),
    ] {
        let (code, _, stderr) = run(&mut world.predict_by(&models));
        assert!(code == 2 && stderr.contains(says), "{stderr}");
    }
    let (code, _, stderr) = run(&mut world.predict_by(&[small, &other]));
    assert!(
        code == 2 && stderr.contains(small) && stderr.contains(&other),
        "{stderr}"
    );
    assert!(!world.at("submission.csv").exists() && !world.at("submission.csv.journal").exists());
}

#[test]
fn files_that_cannot_be_heard_are_all_named_and_answered_only_on_request() {
    let world = World::new();
    let mashups = world.inner.join("mashups");
    fs::write(mashups.join("song0003.wav"), b"no sound").unwrap();
    fs::rename(mashups.join("song0005.wav"), world.at("kept.wav")).unwrap();
    let (code, _, stderr) = run(&mut world.predict(&[]));
    assert_eq!(code, 1, "{stderr}");
    for part in [
        "id 0003, ",
        "song0003.wav",
        "id 0005, ",
        "song0005.wav",
        "no submission was written: 2 of 6",
        "--missing GENRE",
    ] {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
    assert!(!world.at("submission.csv").exists());
    assert_eq!(world.heard(), 4);

    let table = world.at("scores.csv");
    let text = ok(&mut world.predict(&["--missing", "jazz", "--scores", table.to_str().unwrap()]));
    assert!(
        text.contains("2 of them are jazz because their files cannot be heard"),
        "{text}"
    );
    let jazz: Vec<_> = world
        .submission()
        .into_iter()
        .filter(|row| row.1 == "jazz")
        .map(|row| row.0)
        .collect();
    assert_eq!(jazz, ["0003", "0005"]);
    assert!(
        fs::read_to_string(&table)
            .unwrap()
            .contains("\n0003,mashups/song0003.wav,jazz,,,,,,\n")
    );
    let (code, _, stderr) = run(&mut world.predict(&["--missing", "polka"]));
    assert!(code == 2 && stderr.contains("possible values: blues"), "{stderr}");

    // Mended, only they are heard; a file that changed is heard again.
    fs::rename(world.at("kept.wav"), mashups.join("song0005.wav")).unwrap();
    Waveform::new(hiss(9, 9_000, 0.2), 22_050)
        .write_wav(mashups.join("song0003.wav"))
        .unwrap();
    ok(&mut world.predict(&[]));
    assert_eq!(world.heard(), 6);
    Waveform::new(hiss(8, 8_000, 0.2), 22_050)
        .write_wav(mashups.join("song0003.wav"))
        .unwrap();
    ok(&mut world.predict(&[]));
    assert_eq!(world.heard(), 7);
    assert_eq!(world.submission().len(), 6);
}

#[test]
fn nothing_of_the_competition_is_written_over() {
    let world = World::new();
    let before = fs::read(world.inner.join("test.csv")).unwrap();
    for out in [
        "messy_mashup/test.csv",
        "messy_mashup/sample_submission.csv",
        "messy_mashup/mashups/song0001.wav",
    ] {
        let mut command = messymash();
        command
            .arg("predict")
            .arg("--data")
            .arg(&world.inner)
            .arg("--out")
            .arg(world.at(out));
        let (code, _, stderr) = run(command.arg("--model").arg(small_model()));
        assert!(
            code == 2 && stderr.contains("choose another name") | stderr.contains("Choose another name"),
            "{stderr}"
        );
    }
    assert_eq!(fs::read(world.inner.join("test.csv")).unwrap(), before);
    let (code, _, stderr) =
        run(&mut world.predict(&["--scores", world.at("submission.csv").to_str().unwrap()]));
    assert!(code == 2 && stderr.contains("must be different"), "{stderr}");
}

/// Interrupted or killed, the same command goes on and gives what it would have given.
#[cfg(unix)]
#[test]
fn stopped_work_goes_on() {
    let world = World::new();
    let mut table = String::from("id,filename\n");
    for number in 1..=120u64 {
        let name = format!("mashups/song{number:04}.wav");
        Waveform::new(hiss(number, 5 * 22_050, 0.2), 22_050)
            .write_wav(world.inner.join(&name))
            .unwrap();
        table += &format!("{number:04},{name}\n");
    }
    fs::write(world.inner.join("test.csv"), table).unwrap();
    let stop = |signal: &str, least: usize| {
        let mut command = world.predict(&["--threads", "1"]);
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        while world.heard() < least {
            std::thread::yield_now();
        }
        let sent = Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success(), "it ended before it could be stopped");
        child.wait_with_output().unwrap()
    };
    let output = stop("-INT", 3);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("the same command goes on"), "{stderr}");
    let first = world.heard();
    stop("-KILL", first + 3);
    let second = world.heard();
    assert!(
        first < second && second < 120 && !world.at("submission.csv").exists(),
        "{first} {second}"
    );
    ok(&mut world.predict(&[]));
    assert_eq!(world.heard(), 120, "nothing was heard twice");
    let resumed = world.submission();
    fs::remove_file(world.at("submission.csv.journal")).unwrap();
    ok(&mut world.predict(&[]));
    assert_eq!(resumed, world.submission());
}
