//! A music library as its owner tags it.
// A failed unwrap is a failed test, in helpers too.
#![allow(clippy::unwrap_used)]

#[path = "../../messymash/tests/common/mod.rs"]
mod common;
mod program;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{hiss, tone};
use messymash::Waveform;
use messymash::tag::{Edit, Field, KeepTime, Tags};
use program::{lines, messymash, ok, run, small_model};
use tempfile::TempDir;

/// A library of small files of all kinds in two folders.
struct Library {
    root: TempDir,
}

impl Library {
    fn new() -> Self {
        let root = TempDir::new().unwrap();
        let music = root.path().join("music");
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../messymash/tests/golden/audio");
        for album in ["a", "b"] {
            fs::create_dir_all(music.join(album)).unwrap();
            for name in ["tone.mp3", "tone.flac", "tone.ogg", "tone-aac.m4a"] {
                fs::copy(golden.join(name), music.join(album).join(name)).unwrap();
            }
        }
        for n in 0..4u16 {
            let samples = if n % 2 == 0 {
                hiss(n.into(), 8000, 0.3)
            } else {
                tone(300.0 * f32::from(n), 8000, 0.3)
            };
            let path = music.join(format!("b/{n}.wav"));
            Waveform::new(samples, common::RATE).write_wav(path).unwrap();
        }
        Self { root }
    }

    fn music(&self) -> PathBuf {
        self.root.path().join("music")
    }

    fn at(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// `tag`, of every file that can be heard.
    fn tag(&self, arguments: &[&str]) -> Command {
        let mut command = messymash();
        command
            .arg("tag")
            .arg(self.music())
            .arg("--model")
            .arg(small_model());
        command
            .args(["--min-score", "0", "--threads", "2"])
            .args(arguments);
        command
    }

    /// All files of music, sorted, with their bytes.
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = Vec::new();
        for album in ["a", "b"] {
            for entry in fs::read_dir(self.music().join(album)).unwrap() {
                let path = entry.unwrap().path();
                files.push((path.clone(), fs::read(path).unwrap()));
            }
        }
        files.sort();
        files
    }
}

#[test]
fn told_written_told_again_and_taken_back() {
    let library = Library::new();
    let before = library.files();
    let told = ok(&mut library.tag(&[]));
    assert!(
        told.contains("12 files: 12 would tag") && told.contains("--write"),
        "{told}"
    );
    assert_eq!(library.files(), before, "a dry run");

    let written = ok(&mut library.tag(&["--write"]));
    assert!(written.contains("12 files: 12 tagged\n"), "{written}");
    for (path, bytes) in &before {
        let tags = Tags::read(path).unwrap();
        assert_eq!((tags.private.len(), tags.genre.len()), (1, 0));
        assert_ne!(fs::read(path).unwrap(), *bytes);
    }
    let after = library.files();
    // Nothing is heard again: the model of another kind would be needed for that.
    let again = ok(&mut library.tag(&["--write"]));
    assert!(again.contains("12 files: 12 tagged already"), "{again}");
    assert_eq!(library.files(), after);
    let heard = fs::read_to_string(library.music().join(".messymash/scores.jsonl")).unwrap();
    assert_eq!(
        heard.lines().count(),
        1 + 12 + 12,
        "once heard, once with its new stamp"
    );

    // Other rules write anew what the program itself has written.
    let other = ok(&mut library.tag(&[
        "--write",
        "--count",
        "2",
        "--further-score",
        "0",
        "--separator",
        "; ",
    ]));
    assert!(other.contains("12 files: 12 tagged\n"), "{other}");
    let (path, _) = &before[0];
    assert!(Tags::read(path).unwrap().private[0].contains("; "));

    // What somebody changed since is left.
    Edit::prepare(path, Field::Private, &["mine".into()], KeepTime::No)
        .unwrap()
        .commit()
        .unwrap();
    let told = ok(&mut library.tag(&["--undo"]));
    assert!(
        told.contains("11 would restore") && told.contains("1 left"),
        "{told}"
    );
    let undone = ok(&mut library.tag(&["--undo", "--write"]));
    assert!(
        undone.contains("11 restored") && undone.contains("changed since, to mine"),
        "{undone}"
    );
    for (path, bytes) in &before[1..] {
        assert!(Tags::read(path).unwrap().private.is_empty());
        if path.extension().unwrap() == "wav" {
            assert_eq!(fs::read(path).unwrap(), *bytes, "to the byte");
        }
    }
    assert_eq!(Tags::read(path).unwrap().private, ["mine"]);
    assert!(ok(&mut library.tag(&["--undo", "--write"])).contains("1 changes: 1 left"));
}

#[test]
fn genres_that_are_there_stay_unless_told_otherwise_and_come_back() {
    let library = Library::new();
    let song = library.music().join("a/tone.mp3");
    let genres = ["Rock".to_string(), "(17)".to_string()];
    Edit::prepare(&song, Field::Genre, &genres, KeepTime::No)
        .unwrap()
        .commit()
        .unwrap();
    let told = ok(&mut library.tag(&["--field", "genre", "--write"]));
    assert!(
        told.contains("11 tagged, 1 skipped") && told.contains("--overwrite"),
        "{told}"
    );
    assert_eq!(Tags::read(&song).unwrap().genre, genres);
    ok(&mut library.tag(&[
        "--field",
        "genre",
        "--write",
        "--overwrite",
        "--name",
        "blues=Blues!",
        "--fallback",
        "?",
    ]));
    assert_eq!(Tags::read(&song).unwrap().genre.len(), 1);
    ok(&mut library.tag(&["--undo", "--write"]));
    assert_eq!(Tags::read(&song).unwrap().genre, genres);
}

#[test]
fn thresholds_fallbacks_and_wrong_settings() {
    let library = Library::new();
    let strict = ["--min-score", "1", "--write"];
    let mut command = messymash();
    command
        .arg("tag")
        .arg(library.music())
        .arg("--model")
        .arg(small_model())
        .args(strict);
    let told = ok(&mut command);
    assert!(
        told.contains("12 files: 12 unsure") && told.contains("not sure enough"),
        "{told}"
    );
    let told = ok(command.args(["--fallback", "Unknown"]));
    assert!(
        told.contains("12 tagged") && told.contains("12  Unknown"),
        "{told}"
    );
    for wrong in [
        ["--fallback", ""],
        ["--fallback", "a\u{1b}[31m"],
        ["--name", "polka=Polka"],
        ["--further-score", "7"],
        ["--report", "report.xml"],
    ] {
        let (code, _, stderr) = run(&mut library.tag(&wrong));
        assert_eq!(code, 2, "{wrong:?} {stderr}");
    }
    let (code, _, stderr) = run(messymash().arg("tag").arg(library.at("nowhere")));
    assert!(code == 2 && stderr.contains("no folder"), "{stderr}");
}

#[test]
fn what_is_no_music_is_skipped_heard_or_remembered() {
    let library = Library::new();
    let silent = library.music().join("a/silent.wav");
    Waveform::new(vec![0.0; 16_000], common::RATE)
        .write_wav(&silent)
        .unwrap();
    let bytes = fs::read(&silent).unwrap();
    let journal = library.music().join(".messymash/scores.jsonl");
    let mut heard = 0;
    for _ in 0..2 {
        let told = ok(&mut library.tag(&["--write", "--fallback", "Unknown"]));
        assert!(
            told.contains("1 skipped") && told.contains("silent.wav: it is no music: silence"),
            "{told}"
        );
        assert_eq!(fs::read(&silent).unwrap(), bytes);
        heard += 1;
        let notes = fs::read_to_string(&journal).unwrap();
        assert_eq!(
            notes.matches("silent.wav").count(),
            1,
            "not heard again in run {heard}"
        );
    }
}

#[test]
fn undo_goes_back_to_what_somebody_wrote_between_and_a_fallback_replaces_nobodys_word() {
    let library = Library::new();
    let song = library.music().join("a/tone.mp3");
    let set = |value: &str| {
        let edit = Edit::prepare(&song, Field::Genre, &[value.to_string()], KeepTime::No);
        edit.unwrap().commit().unwrap();
    };
    let genre = || Tags::read(&song).unwrap().genre;
    set("Rock");
    let arguments = ["--field", "genre", "--write", "--overwrite"];
    ok(&mut library.tag(&arguments));
    assert_ne!(genre(), ["Rock"]);
    set("My Genre");
    ok(&mut library.tag(&arguments));
    assert_ne!(genre(), ["My Genre"]);
    ok(&mut library.tag(&["--undo", "--write"]));
    assert_eq!(genre(), ["My Genre"]);

    let mut command = messymash();
    command
        .arg("tag")
        .arg(library.music())
        .arg("--model")
        .arg(small_model())
        .args(["--min-score", "1", "--fallback", "Unknown"])
        .args(arguments);
    let told = ok(&mut command);
    assert!(
        told.contains("11 tagged, 1 unsure") && told.contains("not replaced by the fallback"),
        "{told}"
    );
    assert_eq!(genre(), ["My Genre"]);
}

#[cfg(unix)]
#[test]
fn odd_files_are_named_with_a_reason_and_only_the_failed_are_tried_again() {
    use std::os::unix::ffi::OsStrExt;
    let library = Library::new();
    let music = library.music();
    let odd = music.join(std::ffi::OsStr::from_bytes(b"a/=\xFF\x1b[31m\nfailed.wav"));
    let wav = fs::read(music.join("b/0.wav")).unwrap();
    fs::write(&odd, &wav).unwrap();
    fs::write(music.join("a/broken.mp3"), b"no music at all").unwrap();
    fs::write(music.join("a/cover.jpg"), b"no music either").unwrap();
    fs::hard_link(music.join("b/1.wav"), music.join("b/1-again.wav")).unwrap();
    std::os::unix::fs::symlink("0.wav", music.join("b/0-link.wav")).unwrap();
    std::os::unix::fs::symlink(&music, music.join("loop")).unwrap();
    let report = library.at("report.jsonl");
    let (code, stdout, stderr) = run(&mut library.tag(&["--write", "--report", report.to_str().unwrap()]));
    assert_eq!(code, 1, "{stdout}{stderr}");
    assert!(
        stdout.contains("16 files: 12 tagged, 3 skipped, 1 failed"),
        "{stdout}"
    );
    assert!(
        !stdout.contains('\u{1b}') && !stdout.contains("\nfailed.wav"),
        "{stdout}"
    );
    assert_eq!(Tags::read(&odd).unwrap().private.len(), 1);
    let rows = lines(&fs::read_to_string(&report).unwrap());
    assert_eq!(rows.len(), 16);
    let reason = |name: &str| {
        let row = rows.iter().find(|row| row["file"] == name).unwrap();
        row["reason"].as_str().unwrap().to_string()
    };
    assert!(reason("b/0-link.wav").contains("it is a link"));
    assert!(reason("b/1.wav").contains("several names"));
    assert!(
        reason("a/broken.mp3").contains("none of them"),
        "{}",
        reason("a/broken.mp3")
    );

    fs::write(music.join("a/broken.mp3"), &wav).unwrap();
    let told = ok(&mut library.tag(&["--write", "--only-failed"]));
    assert!(told.contains("1 files: 1 tagged\n"), "{told}");
    let told = ok(&mut library.tag(&["--write", "--only-failed"]));
    assert!(told.starts_with("0 files"), "{told}");
    ok(&mut library.tag(&["--undo", "--write"]));
    assert_eq!(fs::read(&odd).unwrap(), wav, "found again under its own name");
}

#[test]
fn reports_and_playlists_tell_the_same() {
    let library = Library::new();
    fs::copy(
        library.music().join("b/0.wav"),
        library.music().join("b/=cmd.wav"),
    )
    .unwrap();
    let [csv, jsonl, parquet] = ["csv", "jsonl", "parquet"].map(|kind| library.at(&format!("report.{kind}")));
    let lists = library.at("lists");
    let mut command = library.tag(&[]);
    for report in [&csv, &jsonl, &parquet] {
        command.arg("--report").arg(report);
    }
    ok(command.arg("--playlists").arg(&lists));
    let rows = lines(&fs::read_to_string(&jsonl).unwrap());
    let mut table = csv::Reader::from_path(&csv).unwrap();
    assert_eq!(
        table.headers().unwrap().iter().take(6).collect::<Vec<_>>(),
        ["file", "outcome", "reason", "genre", "score", "before"]
    );
    let records: Vec<_> = table.records().map(Result::unwrap).collect();
    assert_eq!((rows.len(), records.len()), (13, 13));
    let mut listed = 0;
    for entry in fs::read_dir(&lists).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            assert!(lists.join(line).is_file(), "{line}");
            listed += 1;
        }
    }
    assert_eq!(listed, 13);
    for (row, record) in rows.iter().zip(&records) {
        assert_eq!(row["outcome"], "would_tag");
        assert_eq!(record[3], row["genres"][0]);
        assert_eq!(record[0].trim_start_matches('\''), row["file"]);
        let (mine, other): (f64, f64) = (record[4].parse().unwrap(), row["score"].as_f64().unwrap());
        assert!((mine - other).abs() < 1e-6);
    }
    assert!(records.iter().any(|record| record[0].starts_with("b/=")));

    let read = parquet_rows(&parquet);
    assert_eq!(read.len(), 13);
    for (row, read) in rows.iter().zip(&read) {
        assert_eq!((&row["file"], &row["genres"][0]), (&read["file"], &read["genre"]));
        assert_eq!(read["reason"], serde_json::Value::Null);
        let (mine, other) = (read["score"].as_f64().unwrap(), row["score"].as_f64().unwrap());
        assert!((mine - other).abs() < 1e-6);
    }
    // Only reports are replaced by reports.
    fs::write(&jsonl, "my diary").unwrap();
    let (code, _, stderr) = run(library.tag(&[]).arg("--report").arg(&jsonl));
    assert!(code == 2 && stderr.contains("no report"), "{stderr}");
}

fn parquet_rows(path: &Path) -> Vec<serde_json::Value> {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;
    let reader = SerializedFileReader::new(fs::File::open(path).unwrap()).unwrap();
    let row = |row: parquet::record::Row| {
        let columns = row.into_columns().into_iter().map(|(name, field)| {
            let value = match field {
                Field::Null => serde_json::Value::Null,
                Field::Str(text) => text.into(),
                Field::Float(number) => number.into(),
                other => panic!("{other:?}"),
            };
            (name, value)
        });
        columns.collect::<serde_json::Map<_, _>>().into()
    };
    reader
        .get_row_iter(None)
        .unwrap()
        .map(|read| row(read.unwrap()))
        .collect()
}

#[test]
fn killed_at_any_moment_every_file_is_old_or_new() {
    let library = Library::new();
    let old = library.files();
    ok(&mut library.tag(&[])); // heard once for all
    let journal = library.music().join(".messymash");
    let kept = library.at("journal");
    copy_folder(&journal, &kept);
    ok(&mut library.tag(&["--write", "--field", "genre"]));
    let new = library.files();
    assert!(old.iter().zip(&new).all(|((_, old), (_, new))| old != new));
    let mut seen = Vec::new();
    for round in 0..20 {
        for (path, bytes) in &old {
            fs::write(path, bytes).unwrap();
        }
        fs::remove_dir_all(&journal).unwrap();
        copy_folder(&kept, &journal);
        let mut child = library
            .tag(&["--write", "--field", "genre"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // A moment later each time, counted in work and not in time: so many names in the folders, so many files changed.
        let target = round * 7 / 10;
        loop {
            let done = child.try_wait().unwrap().is_some();
            let changes = fs::read_to_string(journal.join("tags.jsonl")).unwrap_or_default();
            if done || changes.matches("\"did\":\"write\"").count() >= target {
                break;
            }
        }
        for _ in 0..(round % 5) * 3000 {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let mut changed = 0;
        let now = library.files();
        for (path, bytes) in &now {
            if path
                .file_name()
                .unwrap()
                .as_encoded_bytes()
                .starts_with(b".messymash-")
            {
                continue;
            }
            let place = old.iter().position(|(known, _)| known == path).unwrap();
            let is_new = *bytes == new[place].1;
            assert!(is_new || *bytes == old[place].1, "{path:?} is neither");
            changed += usize::from(is_new);
        }
        assert!(now.len() >= old.len(), "every file is there");
        seen.push(changed);
        if round % 4 == 3 {
            // The next run ends what was begun, and the one after takes it back.
            ok(&mut library.tag(&["--write", "--field", "genre"]));
            assert_eq!(library.files(), new);
            ok(&mut library.tag(&["--write", "--undo"]));
            let none = library
                .files()
                .iter()
                .all(|(path, _)| Tags::read(path).unwrap().genre.is_empty());
            assert!(none, "all is taken back");
        }
    }
    assert!(
        seen.iter().any(|&n| n > 0 && n < old.len()),
        "killed in the middle: {seen:?}"
    );
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}
