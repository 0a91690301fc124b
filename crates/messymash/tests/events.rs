//! What TensorBoard is given to read: a reader of its own for the files, and what it finds beside the log.
// A failed unwrap is a failed test, in helpers too.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use messymash::events::{EventWriter, Shown};
use messymash::picture::Picture;
use messymash::train::{TrainConfig, TrainEvent, resume, train};

/// CRC-32C bit by bit, by its definition: reflected polynomial 0x82F63B78.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82F6_3B78 & 0u32.wrapping_sub(crc & 1))
        })
    })
}

fn take<'a>(bytes: &mut &'a [u8], n: usize) -> &'a [u8] {
    let (first, rest) = bytes.split_at(n);
    *bytes = rest;
    first
}

fn u32_of(bytes: &mut &[u8]) -> u32 {
    u32::from_le_bytes(take(bytes, 4).try_into().unwrap())
}

/// The records of a file, each CRC checked.
fn records(path: &Path) -> Vec<Vec<u8>> {
    let file = fs::read(path).unwrap();
    let (mut rest, mut records) = (&file[..], Vec::new());
    let unmasked = |masked: u32| masked.wrapping_sub(0xA282_EAD8).rotate_left(15);
    while !rest.is_empty() {
        let length = take(&mut rest, 8);
        assert_eq!(unmasked(u32_of(&mut rest)), crc(length));
        let data = take(&mut rest, u64::from_le_bytes(length.try_into().unwrap()) as usize);
        assert_eq!(unmasked(u32_of(&mut rest)), crc(data));
        records.push(data.to_vec());
    }
    records
}

/// A value as it stands in a message.
#[derive(Debug, Clone, PartialEq)]
enum Field {
    Integer(u64),
    Double(f64),
    Float(f32),
    Bytes(Vec<u8>),
}

impl Field {
    fn message(&self) -> Vec<(u64, Field)> {
        match self {
            Field::Bytes(bytes) => fields(bytes),
            other => panic!("{other:?} is no message"),
        }
    }

    fn text(&self) -> String {
        match self {
            Field::Bytes(bytes) => String::from_utf8(bytes.clone()).unwrap(),
            other => panic!("{other:?} is no text"),
        }
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = take(bytes, 1)[0];
        value |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return value;
        }
        shift += 7;
    }
}

/// The fields of a Protocol Buffers message.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Field)> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let field = match key & 7 {
            0 => Field::Integer(varint(&mut bytes)),
            1 => Field::Double(f64::from_le_bytes(take(&mut bytes, 8).try_into().unwrap())),
            2 => {
                let length = varint(&mut bytes) as usize;
                Field::Bytes(take(&mut bytes, length).to_vec())
            }
            5 => Field::Float(f32::from_le_bytes(take(&mut bytes, 4).try_into().unwrap())),
            wire => panic!("wire type {wire}"),
        };
        fields.push((key >> 3, field));
    }
    fields
}

fn get(fields: &[(u64, Field)], number: u64) -> Option<&Field> {
    fields.iter().find(|(n, _)| *n == number).map(|(_, field)| field)
}

/// Event files in the order in which TensorBoard reads them.
fn event_files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().contains("tfevents"))
        .collect();
    files.sort();
    files
}

/// What TensorBoard shows of a folder: by tag and step, the last word; and how many words were overruled by a session that
/// went on from an earlier step.
#[derive(Debug, Default)]
struct Board {
    scalars: BTreeMap<String, BTreeMap<u64, f32>>,
    texts: BTreeMap<String, String>,
    pictures: BTreeMap<String, Vec<Vec<u8>>>,
    overruled: usize,
}

fn board(folder: &Path) -> Board {
    let mut board = Board::default();
    for file in event_files(folder) {
        let events = records(&file);
        let first = fields(&events[0]);
        assert_eq!(get(&first, 3).unwrap().text(), "brain.Event:2");
        for event in &events[1..] {
            let event = fields(event);
            let Some(Field::Double(wall_time)) = get(&event, 1) else {
                panic!("no wall time")
            };
            assert!(*wall_time > 1.7e9, "seconds since 1970");
            let Some(Field::Integer(step)) = get(&event, 2) else {
                panic!("no step")
            };
            if let Some(session) = get(&event, 7) {
                assert_eq!(session.message(), [(1, Field::Integer(1))], "START");
                for curve in board.scalars.values_mut() {
                    board.overruled += curve.split_off(step).len();
                }
                continue;
            }
            for (number, value) in get(&event, 5).unwrap().message() {
                assert_eq!(number, 1);
                let value = value.message();
                let tag = get(&value, 1).unwrap().text();
                if let Some(Field::Float(x)) = get(&value, 2) {
                    let before = board.scalars.entry(tag).or_default().insert(*step, *x);
                    assert_eq!(before, None, "a step twice on a curve");
                } else if let Some(image) = get(&value, 4) {
                    let Some(Field::Bytes(png)) = get(&image.message(), 4).cloned() else {
                        panic!("no picture")
                    };
                    board.pictures.entry(tag).or_default().push(png);
                } else {
                    let plugin = get(&get(&value, 9).unwrap().message(), 1).unwrap().message();
                    assert_eq!(get(&plugin, 1).unwrap().text(), "text");
                    let tensor = get(&value, 8).unwrap().message();
                    assert_eq!(get(&tensor, 1), Some(&Field::Integer(7)), "DT_STRING");
                    board.texts.insert(tag, get(&tensor, 8).unwrap().text());
                }
            }
        }
    }
    board
}

/// Each curve of the board is the one of metrics.jsonl, which has every step once.
fn assert_same_as_log(run: &Path) -> Board {
    let board = board(run);
    let mut log: BTreeMap<String, BTreeMap<u64, f32>> = BTreeMap::new();
    for line in fs::read_to_string(run.join("metrics.jsonl")).unwrap().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let step = line["step"].as_u64().unwrap();
        let mut put = |tag: String, value: &serde_json::Value| {
            if let Some(value) = value.as_f64() {
                assert_eq!(log.entry(tag).or_default().insert(step, value as f32), None);
            }
        };
        for name in ["loss", "learning_rate", "gradient_norm"] {
            put(format!("train/{name}"), &line[name]);
        }
        for name in ["loss", "macro_f1"] {
            put(format!("validation/{name}"), &line[format!("validation_{name}")]);
        }
        for (genre, f1) in line["validation_f1"].as_object().into_iter().flatten() {
            put(format!("validation_f1/{genre}"), f1);
        }
    }
    let mut shown = board.scalars.clone();
    let speed = shown.remove("train/mashups_per_second").unwrap();
    assert!(speed.values().all(|x| x.is_finite() && *x > 0.0));
    assert!(speed.keys().eq(log["train/loss"].keys()));
    assert_eq!(shown, log);
    board
}

#[test]
fn what_is_written_is_read_back() {
    // The CRC of the reader is the one that RFC 3720 means.
    assert_eq!(crc(&[0; 32]), 0x8A91_36AA);
    let dir = tempfile::tempdir().unwrap();
    let picture = Picture::of_palette(&[[1, 2, 3]], &[0; 6], 3).unwrap();
    let mut writer = EventWriter::new(dir.path(), None);
    assert_eq!(event_files(dir.path()).len(), 0, "nothing before the first event");
    writer
        .write(
            0,
            &[("recipe", Shown::Text("    ä = 1")), ("a/x", Shown::Scalar(0.25))],
        )
        .unwrap();
    writer.write(300, &[("a/x", Shown::Scalar(-1e-7))]).unwrap();
    writer.write(300, &[("p", Shown::Picture(&picture))]).unwrap();
    let shown = board(dir.path());
    assert_eq!(shown.texts["recipe"], "    ä = 1");
    assert_eq!(shown.scalars["a/x"], BTreeMap::from([(0, 0.25), (300, -1e-7f32)]));
    assert_eq!(shown.pictures["p"], std::slice::from_ref(&picture.png));
    // Later sessions come later by name, within the same second too, and even if the clock was set back.
    fs::write(dir.path().join("events.out.tfevents.9000000000.elsewhere"), "").unwrap();
    let mut later = EventWriter::new(dir.path(), Some(300));
    later.write(300, &[("a/x", Shown::Scalar(2.0))]).unwrap();
    fs::remove_file(dir.path().join("events.out.tfevents.9000000000.elsewhere")).unwrap();
    let files = event_files(dir.path());
    assert!(
        files[1]
            .to_str()
            .unwrap()
            .contains("tfevents.9000000000.messymash"),
        "{files:?}"
    );
    let shown = board(dir.path());
    assert_eq!(shown.scalars["a/x"], BTreeMap::from([(0, 0.25), (300, 2.0)]));
    assert_eq!(shown.overruled, 1);
}

#[test]
fn curves_are_those_of_the_log_also_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    common::write_data(&at("data"));
    fs::write(at("recipe.toml"), common::recipe(2)).unwrap();
    let config = TrainConfig::load(&at("recipe.toml")).unwrap();
    // At step 8, last/ is the state after step 6: set aside, as a process killed later would leave it.
    let keep = |event: TrainEvent| {
        if matches!(event, TrainEvent::Step { step: 8, .. }) {
            copy_folder(&at("run/last"), &at("kept"));
        }
        Ok(())
    };
    train(&config, &[at("data")], &at("run"), &mut { keep }).unwrap();
    let whole = assert_same_as_log(&at("run"));
    assert_eq!(whole.overruled, 0);
    assert_eq!(whole.scalars["train/loss"].len(), 16);
    assert_eq!(whole.scalars["validation_f1/rock"].len(), 2);
    assert_eq!(whole.pictures["validation/confusion"].len(), 2);
    assert!(
        whole.texts["recipe"].contains("    epochs = 2") && whole.texts["environment"].contains("threads")
    );

    fs::remove_dir_all(at("run/last")).unwrap();
    fs::rename(at("kept"), at("run/last")).unwrap();
    resume(&at("run"), &mut |_| Ok(())).unwrap();
    let resumed = assert_same_as_log(&at("run"));
    assert_eq!(event_files(&at("run")).len(), 2);
    // Ten steps of four curves, two validations of four.
    assert_eq!(resumed.overruled, 10 * 4 + 2 * 4);
    for tag in ["train/loss", "validation/macro_f1", "validation_f1/blues"] {
        assert_eq!(resumed.scalars[tag], whole.scalars[tag], "{tag}");
    }
    // A finished run that is resumed has nothing to say.
    resume(&at("run"), &mut |_| Ok(())).unwrap();
    assert_eq!(event_files(&at("run")).len(), 2);
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}
