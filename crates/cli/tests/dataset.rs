//! `dataset check` as people run it, and what training takes from it.
// A failed unwrap is a failed test, in helpers too.
#![allow(clippy::unwrap_used)]

#[path = "../../messymash/tests/common/mod.rs"]
mod common;
mod program;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{hiss, replace_unseen, write_competition};
use messymash::Waveform;
use program::{messymash, run};
use serde_json::Value;
use tempfile::TempDir;

fn check(root: &Path, arguments: &[&str]) -> Command {
    let mut command = messymash();
    command.args(["dataset", "check"]).arg(root).args(arguments);
    command
}

/// Faults of the layout are listed with all others, not one at a time.
#[test]
fn nothing_hides_what_else_is_wrong() {
    let root = TempDir::new().unwrap();
    let inner = write_competition(root.path());
    fs::create_dir(inner.join("genres_stems/disco")).unwrap();
    fs::rename(inner.join("genres_stems/rock"), inner.join("genres_stems/rok")).unwrap();
    fs::copy(
        inner.join("genres_stems/rok/song1/bass.wav"),
        inner.join("genres_stems/rok/song9.wav"),
    )
    .unwrap();
    fs::write(inner.join("genres_stems/blues/song1/bass.wav"), "").unwrap();
    let table = inner.join("ESC-50-master/meta/esc50.csv");
    let text = fs::read_to_string(&table).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    let wrong = lines[2].replacen(",2,", ",7,", 1);
    assert_ne!(wrong, lines[2]);
    lines[2] = &wrong;
    // The reader passes over blank lines, people's editors count them.
    lines.insert(1, "");
    lines.push("x.wav");
    fs::write(&table, lines.join("\r\n")).unwrap();
    let (code, text, stderr) = run(&mut check(root.path(), &["--all"]));
    assert_eq!(code, 1, "{text}{stderr}");
    for part in [
        "genres_stems/disco: a genre without a song",
        "esc50.csv: line 4: the fold must be a number from 1 to 5",
        "esc50.csv: is not a readable table: line 8 has 1 fields, where the header has",
        "genres_stems/blues/song1/bass.wav: The file is empty.",
        "genres_stems/rok: none of the competition's ten genres",
        "genres_stems/rok/song9.wav: a song is a folder of stems",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    fs::remove_dir_all(inner.join("ESC-50-master")).unwrap();
    let (_, text, _) = run(&mut check(root.path(), &[]));
    assert!(text.contains("note: no noise: put ESC-50-master"), "{text}");
}

#[test]
fn whole_data_ends_with_0_and_broken_data_with_1() {
    let root = TempDir::new().unwrap();
    let inner = write_competition(root.path());
    let (code, text, stderr) = run(&mut check(root.path(), &[]));
    assert_eq!(code, 0, "{text}{stderr}");
    for part in [
        "blues            4          4",
        "8 songs, 0.5 minutes of stems; 6 test mashups",
        "test mashups: 0.1 minutes, 0.4 - 0.9 seconds each, 0 silent, 0 unreadable, 22050 x 6",
        "silent files: 1\n  messy_mashup/genres_stems/blues/song2/bass.wav: digital silence",
        "note: no song of classical, country, disco, hiphop, jazz, metal, pop, reggae: a model",
        "inventory: ",
        "  and 28 more\n",
        "every file is whole; warnings: 39 (--all lists them)",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(root.path().join("messymash-inventory.json").is_file());

    fs::remove_file(inner.join("genres_stems/rock/song0/vocals.wav")).unwrap();
    fs::write(inner.join("mashups/song0003.wav"), b"").unwrap();
    let (code, text, _) = run(&mut check(root.path(), &[]));
    assert_eq!(code, 1);
    for part in [
        "missing files: 1\n  messy_mashup/genres_stems/rock/song0/vocals.wav: a stem that the song lacks",
        "unreadable files: 1\n  messy_mashup/mashups/song0003.wav: The file is empty.",
        "faults to be mended, what is missing, unreadable or damaged: 2;",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (code, text, _) = run(&mut check(root.path(), &["--json"]));
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &answer["whole"]), (1, &false.into()));
    assert_eq!(answer["inventory"]["problems"][0]["kind"], "missing");
    assert_eq!(answer["inventory"]["genres"][0]["songs"], 4);
    assert_eq!(answer["inventory"]["tests"]["unreadable"], 1);
    assert!(
        answer["inventory_file"]
            .as_str()
            .unwrap()
            .ends_with("messymash-inventory.json")
    );
}

#[test]
fn what_cannot_be_checked_says_why() {
    let root = TempDir::new().unwrap();
    fs::write(root.path().join("diary.json"), "{}").unwrap();
    let (code, _, stderr) = run(&mut check(root.path(), &[]));
    assert!(code == 2 && stderr.contains("holds no data set"), "{stderr}");
    let (code, _, stderr) = run(&mut check(Path::new("/no/such/folder"), &[]));
    assert!(code == 2 && stderr.contains("/no/such/folder"), "{stderr}");
    write_competition(root.path());
    let diary = root.path().join("diary.json");
    let (code, _, stderr) = run(&mut check(root.path(), &["--inventory", diary.to_str().unwrap()]));
    assert!(code == 2 && stderr.contains("no inventory"), "{stderr}");
    assert_eq!(fs::read_to_string(&diary).unwrap(), "{}");
    // A place that cannot be written costs the inventory, not the answer.
    let nowhere = root.path().join("no/folder.json");
    let (code, text, stderr) = run(&mut check(
        root.path(),
        &["--inventory", nowhere.to_str().unwrap()],
    ));
    assert!(
        code == 0 && text.contains("is whole") && stderr.contains("was not written"),
        "{stderr}"
    );
}

/// A file is broken behind the back of the inventory: who decodes it all notices at once, who trusts the inventory only when
/// the sound is needed.
#[test]
fn training_takes_the_inventory_and_checks_again_only_on_request() {
    let root = TempDir::new().unwrap();
    let inner = write_competition(root.path());
    let kept = root.path().join("kept.json");
    let kept = kept.to_str().unwrap();
    fs::write(root.path().join("recipe.toml"), common::recipe(1)).unwrap();
    assert_eq!(run(&mut check(&inner, &["--inventory", kept])).0, 0);
    for song in 0..4 {
        replace_unseen(&inner.join(format!("genres_stems/rock/song{song}/bass.wav")));
    }
    let train = |more: &[&str]| {
        let mut command = messymash();
        command
            .arg("train")
            .arg("--config")
            .arg(root.path().join("recipe.toml"));
        command
            .arg("--data")
            .arg(&inner)
            .arg("--out")
            .arg(root.path().join("run"))
            .args(more);
        let (code, _, stderr) = run(&mut command);
        let _ = fs::remove_dir_all(root.path().join("run"));
        assert_eq!(code, 2, "{stderr}");
        stderr
    };
    let looked = "of the data's files cannot be read";
    assert!(train(&[]).contains(&format!("4 {looked}")));
    let trusting = train(&["--inventory", kept]);
    assert!(
        !trusting.contains(looked) && trusting.contains("cannot be used"),
        "{trusting}"
    );
    fs::copy(kept, inner.join("messymash-inventory.json")).unwrap();
    let trusting = train(&[]);
    assert!(
        !trusting.contains(looked) && trusting.contains("cannot be used"),
        "{trusting}"
    );

    assert_eq!(run(&mut check(&inner, &[])).0, 0);
    let (code, text, _) = run(&mut check(&inner, &["--again"]));
    assert!(code == 1 && text.contains("unreadable files: 4"), "{text}");
    assert!(
        train(&[]).contains(&format!("4 {looked}")),
        "what was found is not trusted any more"
    );
}

/// Ctrl-C keeps what was found.
#[cfg(unix)]
#[test]
fn a_stopped_check_goes_on() {
    let root = TempDir::new().unwrap();
    let inner = write_competition(root.path());
    // A pipe in the place of the first mashup keeps the check waiting until it was asked to stop; so many files follow that
    // it hears of that before the last.
    let pipe = inner.join("mashups/song0002.wav");
    fs::remove_file(&pipe).unwrap();
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut table = fs::read_to_string(inner.join("test.csv")).unwrap();
    for number in 100..600 {
        let name = format!("mashups/song{number:04}.wav");
        fs::copy(inner.join("mashups/song0006.wav"), inner.join(&name)).unwrap();
        table += &format!("{number:04},{name}\n");
    }
    fs::write(inner.join("test.csv"), table).unwrap();
    let mut command = check(root.path(), &["--threads", "1"]);
    let child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Opening its other end succeeds once the check is there.
    let writer = fs::File::options().write(true).open(&pipe).unwrap();
    assert!(
        Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
    drop(writer);
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("the same command goes on"), "{stderr}");
    let kept: Value =
        serde_json::from_slice(&fs::read(root.path().join("messymash-inventory.json")).unwrap()).unwrap();
    let files = kept["files"].as_object().unwrap().len();
    assert!(
        kept["inventory"].is_null() && (37..37 + 505).contains(&files),
        "{files}"
    );
    fs::remove_file(&pipe).unwrap();
    Waveform::new(hiss(6, 9_000, 0.3), 22_050)
        .write_wav(&pipe)
        .unwrap();
    assert_eq!(run(&mut check(root.path(), &[])).0, 0);
}
