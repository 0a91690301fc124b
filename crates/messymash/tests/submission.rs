//! The test set and what answers it, on files made here.
// A failed unwrap is a failed test, in helpers too.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::write_competition;
use messymash::Error;
use messymash::dataset::{DatasetOptions, MessyMashup, TestSet};
use messymash::submission::{Answer, COLUMNS, Expected, FaultKind, check, counts, may_write, write};
use tempfile::TempDir;

const IDS: [&str; 6] = ["0002", "0001", "0003", "0004", "0005", "0006"];

fn ids(tests: &TestSet) -> Vec<&str> {
    tests.mashups.iter().map(|mashup| mashup.id.as_str()).collect()
}

fn answers(genre: &str) -> Vec<Answer> {
    let answer = |id: &str| Answer {
        id: id.into(),
        genre: genre.into(),
    };
    IDS.map(answer).to_vec()
}

/// A test.csv alone, with this text.
fn table(text: &str) -> (TempDir, messymash::Result<TestSet>) {
    let root = TempDir::new().unwrap();
    fs::write(root.path().join("test.csv"), text).unwrap();
    let tests = TestSet::open(root.path());
    (root, tests)
}

#[test]
fn the_competition_is_found_where_it_was_mounted() {
    let root = TempDir::new().unwrap();
    let inner = write_competition(root.path());
    for place in [root.path(), &inner] {
        let tests = TestSet::open(place).unwrap();
        assert_eq!(ids(&tests), IDS, "as text, in the order of the table");
        assert!(tests.mashups.iter().all(|mashup| mashup.path.is_file()));
        assert_eq!(tests.name(&tests.mashups[0]), Path::new("mashups/song0002.wav"));
    }
    // The whole data set sees the same, and none of the litter.
    let data = MessyMashup::open(&[root.path().to_path_buf()], &DatasetOptions::default()).unwrap();
    assert_eq!((data.songs.len(), data.mashups.len()), (8, 6));
    assert!(data.ignored.is_empty(), "{:?}", data.ignored);
    let others = data.song("rock/song1").unwrap().stems[3].as_ref().unwrap();
    assert_eq!(others.file_name().unwrap(), "others.wav");
}

#[test]
fn the_state_of_stems_and_noise_is_of_no_account_to_the_test_set() {
    let root = TempDir::new().unwrap();
    let inner = write_competition(root.path());
    fs::remove_file(inner.join("genres_stems/blues/song0/drums.wav")).unwrap();
    fs::remove_dir_all(inner.join("ESC-50-master/meta")).unwrap();
    assert!(MessyMashup::open(&[root.path().to_path_buf()], &DatasetOptions::default()).is_err());
    assert_eq!(ids(&TestSet::open(root.path()).unwrap()), IDS);
}

#[test]
fn a_table_is_read_however_it_was_saved() {
    for text in [
        "id,filename\n0002,mashups/b.wav\n0001,mashups/a.wav\n",
        "\u{feff}id,filename\r\n0002,mashups/b.wav\r\n0001,mashups/a.wav\r\n",
        "\u{feff}\"id\",\"filename\"\r\n\"0002\",\"mashups/b.wav\"\r\n\"0001\",\"mashups/a.wav\"",
        "filename,length,ID\nmashups/b.wav,3,0002\n mashups\\a.wav ,4,0001\n\n",
    ] {
        let (root, tests) = table(text);
        let tests = tests.unwrap();
        assert_eq!(ids(&tests), ["0002", "0001"], "{text:?}");
        assert_eq!(
            tests.mashups[1].path,
            root.path().join("mashups/a.wav"),
            "{text:?}"
        );
    }
    let (_root, tests) = table("id,filename\n\"a,\"\"1\"\"\",x.wav\n");
    assert_eq!(ids(&tests.unwrap()), ["a,\"1\""]);
}

#[test]
fn a_table_that_cannot_be_answered_says_why() {
    for (text, says) in [
        ("", "lacks the column \"id\""),
        (
            "id;filename\n1;a.wav\n",
            "lacks the column \"id\"; it has id;filename",
        ),
        ("id,filename\n", "has no rows"),
        (
            "id,filename\n1,a.wav\n1,b.wav\n",
            "rows 1 and 2 have the same id 1",
        ),
        ("id,filename\n,a.wav\n", "row 1 has no id"),
        ("id,filename\n1,\n", "row 1 has no filename"),
        ("id,filename\n1,a.wav,rock\n", "is not a readable table"),
    ] {
        let error = table(text).1.unwrap_err();
        assert!(matches!(error, Error::Dataset { .. }), "{error:?}");
        assert!(error.to_string().contains(says), "{text:?}: {error}");
    }
    let root = TempDir::new().unwrap();
    fs::create_dir_all(root.path().join("mashups")).unwrap();
    let refused = |says: &str| {
        let error = TestSet::open(root.path()).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    };
    refused("has no test.csv");
    for copy in ["one", "two"] {
        write_competition(&root.path().join(copy));
    }
    refused("more than one test.csv");
}

#[test]
fn what_is_written_is_what_is_expected() {
    let root = TempDir::new().unwrap();
    let inner = write_competition(root.path());
    let path = root.path().join("submission.csv");
    write(&path, &answers("jazz")).unwrap();
    assert_eq!(
        fs::read(&path).unwrap(),
        fs::read(inner.join("sample_submission.csv")).unwrap()
    );
    let expected = Expected::of_test_set(&TestSet::open(root.path()).unwrap());
    let same = Expected::of_sample(&inner.join("sample_submission.csv")).unwrap();
    for expected in [expected, same] {
        let checked = check(&path, &expected).unwrap();
        assert_eq!((checked.rows, checked.faults.len()), (6, 0));
        assert_eq!(checked.counts.into_iter().collect::<Vec<_>>(), [("jazz", 6)]);
    }
    assert_eq!(
        counts(&answers("jazz")).into_iter().collect::<Vec<_>>(),
        [("jazz", 6)]
    );
}

/// Line, kind and text of every fault of a submission with this text.
fn faults(text: &[u8]) -> Vec<(Option<u64>, FaultKind, String)> {
    let root = TempDir::new().unwrap();
    let rows: String = IDS.iter().map(|id| format!("{id},song{id}.wav\n")).collect();
    fs::write(root.path().join("test.csv"), format!("id,filename\n{rows}")).unwrap();
    let expected = Expected::of_test_set(&TestSet::open(root.path()).unwrap());
    let path = root.path().join("submission.csv");
    fs::write(&path, text).unwrap();
    let faults = check(&path, &expected).unwrap().faults;
    faults.into_iter().map(|f| (f.line, f.kind, f.message)).collect()
}

/// The right answer, with one line put in place of another.
fn instead(line: &str, other: &str) -> String {
    let right = "id,genre\n0002,jazz\n0001,rock\n0003,pop\n0004,metal\n0005,disco\n0006,blues\n";
    assert!(right.contains(line));
    right.replace(line, other)
}

#[test]
fn every_fault_is_named_with_its_row() {
    use FaultKind::*;
    for (text, expected) in [
        (instead("0003,pop", "0003,pop"), vec![]),
        (instead("\n", "\r\n"), vec![]),
        (instead("0003,pop\n", "\"0003\",\"pop\"\n\n"), vec![]),
        (
            instead("0003,pop", "0003,Pop").replace('\n', "\r\n"),
            vec![(Some(4), Genre, "must be written pop")],
        ),
        (
            instead("0003,pop", "\n\n0003,Pop").replace('\n', "\r\n"),
            vec![(Some(6), Genre, "must be written pop")],
        ),
        (
            instead("0003,pop", "0003,Pop"),
            vec![(Some(4), Genre, "must be written pop")],
        ),
        (
            instead("0003,pop", "0003,hip-hop"),
            vec![(Some(4), Genre, "must be written hiphop")],
        ),
        (
            instead("0003,pop", "0003,polka"),
            vec![(Some(4), Genre, "\"polka\" is none of blues, classical")],
        ),
        (
            instead("0003,pop", "0003,"),
            vec![(Some(4), Genre, "the genre is empty")],
        ),
        (
            instead("0003,pop", "3,pop"),
            vec![(Some(4), Id, "\"3\" is written \"0003\" in test.csv")],
        ),
        (
            instead("0003,pop", "3.0,pop"),
            vec![(Some(4), Id, "\"3.0\" is written \"0003\"")],
        ),
        (
            instead("0003,pop", "0009,pop"),
            vec![
                (Some(4), Id, "\"0009\" is not in test.csv"),
                (None, Missing, "\"0003\" (row 3 of test.csv)"),
            ],
        ),
        (
            instead("0003,pop", "0001,pop"),
            vec![
                (Some(4), Id, "given before, in line 3"),
                (None, Missing, "\"0003\""),
            ],
        ),
        (
            instead("0003,pop", ",pop"),
            vec![(Some(4), Id, "the id is empty"), (None, Missing, "\"0003\"")],
        ),
        (
            instead("0006,blues\n", ""),
            vec![(None, Missing, "no row has the id \"0006\" (row 6")],
        ),
        (
            instead("0003,pop\n0004,metal\n", "0004,metal\n0003,pop\n"),
            vec![(Some(5), Order, "\"0003\" stands behind \"0004\"")],
        ),
        (
            instead("0003,pop", "0003,pop,0.5"),
            vec![(Some(4), Row, "3 fields")],
        ),
        (instead("0003,pop", "0003"), vec![(Some(4), Row, "1 fields")]),
        (
            instead("id,genre", "genre,id"),
            vec![(Some(1), Columns, "must be id,genre")],
        ),
        (
            instead("id,genre\n", ""),
            vec![(Some(1), Columns, "\"0002,jazz\"")],
        ),
        (String::new(), vec![(Some(1), Columns, "must be id,genre")]),
    ] {
        let found = faults(text.as_bytes());
        assert_eq!(found.len(), expected.len(), "{text}: {found:?}");
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!((found.0, found.1), (expected.0, expected.1), "{text}: {found:?}");
            assert!(found.2.contains(expected.2), "{text}: {found:?}");
        }
    }
    let after_crlf = faults(b"id,genre\r\n0002,jazz\r\n0001,r\xf6ck\r\n0003,pop\r\n");
    assert_eq!(
        (after_crlf[0].0, after_crlf[0].1),
        (Some(3), Row),
        "{after_crlf:?}"
    );
    let latin = [
        b"id,genre\n0002,jazz\n0001,r\xf6ck\n".as_slice(),
        b"0003,pop\n0004,pop\n0005,pop\n0006,pop\n",
    ]
    .concat();
    let found = faults(&latin);
    assert_eq!(
        (found[0].0, found[0].1, found[1].1),
        (Some(3), Row, Missing),
        "{found:?}"
    );
}

#[test]
fn a_sample_that_is_none_is_refused() {
    let root = TempDir::new().unwrap();
    let path = root.path().join("sample_submission.csv");
    for (text, says) in [
        ("id,filename\n1,a.wav\n", "its columns are id,filename"),
        ("id,genre\n", "has no rows"),
        ("id,genre\n1,pop\n1,pop\n", "lines 2 and 3 have the same id 1"),
        ("id,genre\n,pop\n", "line 2 has no id"),
    ] {
        fs::write(&path, text).unwrap();
        let error = Expected::of_sample(&path).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    assert!(matches!(
        Expected::of_sample(&root.path().join("absent")),
        Err(Error::Io { .. })
    ));
}

#[test]
fn nothing_but_an_earlier_table_is_written_over() {
    let root = TempDir::new().unwrap();
    let at = |name: &str| -> PathBuf { root.path().join(name) };
    write_competition(root.path());
    may_write(&at("new.csv"), &COLUMNS).unwrap();
    write(&at("old.csv"), &answers("pop")).unwrap();
    may_write(&at("old.csv"), &COLUMNS).unwrap();
    for name in [
        "messy_mashup/test.csv",
        "messy_mashup/mashups/song0001.wav",
        "messy_mashup",
    ] {
        assert!(
            matches!(may_write(&at(name), &COLUMNS), Err(Error::Config(_))),
            "{name}"
        );
    }
    assert!(matches!(
        may_write(&at("no/folder.csv"), &COLUMNS),
        Err(Error::Io { .. })
    ));
}
