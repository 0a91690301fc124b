//! What looking at every file of a data set finds, and what it need not look at twice.
// A failed unwrap is a failed test, in helpers too.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{RATE, hiss, replace_unseen, write_competition};
use messymash::dataset::{
    DatasetOptions, INVENTORY_FILE, Inventory, KnownFacts, MessyMashup, ProblemKind, Scope,
};
use messymash::{Error, Waveform};
use tempfile::TempDir;

/// A competition in a temporary folder.
fn world() -> (TempDir, PathBuf) {
    let root = TempDir::new().unwrap();
    let inner = write_competition(root.path()).canonicalize().unwrap();
    (root, inner)
}

fn open(root: &Path) -> MessyMashup {
    let options = DatasetOptions {
        allow_missing_stems: true,
        ..DatasetOptions::default()
    };
    MessyMashup::open(&[root.to_path_buf()], &options).unwrap()
}

fn survey(root: &Path, known: &mut KnownFacts) -> Inventory {
    open(root)
        .survey(Scope::Everything, known, &mut |_, _| Ok(()))
        .unwrap()
}

/// The files of one kind, relative to `root`, each with its reason.
fn named(inventory: &Inventory, kind: ProblemKind, root: &Path) -> Vec<(String, String)> {
    let problems = inventory.problems_of(kind);
    let short = |path: &Path| path.strip_prefix(root).unwrap_or(path).display().to_string();
    problems
        .map(|p| {
            (
                short(&p.path),
                p.message.replace(&format!("{}/", root.display()), ""),
            )
        })
        .collect()
}

fn write(path: PathBuf, samples: Vec<f32>) {
    Waveform::new(samples, RATE).write_wav(path).unwrap();
}

/// Writes interleaved samples in 24 bits.
fn write_wide(path: PathBuf, channels: u16, samples: impl Iterator<Item = f32>) {
    let spec = hound::WavSpec {
        channels,
        sample_rate: RATE,
        bits_per_sample: 24,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(path, spec).unwrap();
    for sample in samples {
        writer.write_sample((sample * 8_388_608.0) as i32).unwrap();
    }
    writer.finalize().unwrap();
}

#[test]
fn the_competition_as_it_is_has_warnings_only() {
    let (root, inner) = world();
    let inventory = survey(root.path(), &mut KnownFacts::default());
    assert!(inventory.is_whole(), "{inventory}");
    let silent = named(&inventory, ProblemKind::Silent, &inner);
    assert_eq!(
        silent,
        [(
            "genres_stems/blues/song2/bass.wav".into(),
            "digital silence".into()
        )]
    );
    assert_eq!(
        inventory.problems_of(ProblemKind::TooShort).count(),
        32 + 6,
        "all are made short"
    );
    assert_eq!(inventory.problems.len(), 1 + 38, "{inventory}");
    let tests = inventory.tests.as_ref().unwrap();
    assert_eq!((inventory.mashups, tests.unreadable, tests.silent), (6, 0, 0));
    assert_eq!(tests.rates.clone().into_iter().collect::<Vec<_>>(), [(22_050, 6)]);
    assert!((tests.shortest - 0.4).abs() < 1e-3 && (tests.longest - 0.9).abs() < 1e-3);
    // Training looks at stems and noise only.
    let training = open(root.path()).inventory();
    assert_eq!((training.tests.is_none(), training.mashups), (true, 6));
    assert_eq!(training.problems_of(ProblemKind::TooShort).count(), 32);
}

#[test]
fn everything_that_is_wrong_is_told_with_its_reason() {
    let (root, inner) = world();
    let stems = inner.join("genres_stems");
    let at = |name: &str| stems.join(name);
    let second = RATE as usize;
    fs::remove_file(at("rock/song0/drums.wav")).unwrap();
    fs::remove_file(inner.join("ESC-50-master/audio/2-1002-A-0.wav")).unwrap();
    fs::remove_file(inner.join("mashups/song0004.wav")).unwrap();
    fs::write(at("rock/song2/others.wav"), b"no sound").unwrap();
    fs::rename(at("rock/song2/others.wav"), at("rock/song2/other.wav")).unwrap();
    let whole = fs::read(at("blues/song0/vocals.wav")).unwrap();
    fs::write(at("blues/song0/vocals.wav"), &whole[..whole.len() / 2]).unwrap();
    // The same sound: in another genre, in another song and another format, in another fold, in the test set.
    fs::copy(at("blues/song1/drums.wav"), at("rock/song1/drums.wav")).unwrap();
    let bass = Waveform::open(at("blues/song0/bass.wav")).unwrap().samples;
    write_wide(at("blues/song3/bass.wav"), 1, bass.into_iter());
    let noise = inner.join("ESC-50-master/audio");
    fs::copy(noise.join("1-1001-A-0.wav"), noise.join("3-1003-A-0.wav")).unwrap();
    fs::copy(
        inner.join("mashups/song0001.wav"),
        inner.join("mashups/song0006.wav"),
    )
    .unwrap();
    let loud = hiss(1, 12 * second, 1.0);
    write(
        at("rock/song3/bass.wav"),
        loud.iter().map(|x| x.signum()).collect(),
    );
    write(at("rock/song3/other.wav"), hiss(2, 14 * second, 0.3));
    let opposite = hiss(3, 14 * second, 0.3).into_iter().flat_map(|x| [x, -x]);
    write_wide(at("rock/song3/vocals.wav"), 2, opposite);
    write(at("rock/song3/mix.wav"), hiss(4, second, 0.3));
    write(inner.join("mashups/song0099.wav"), hiss(5, second, 0.3));
    fs::rename(at("blues/song3"), at("blues/jazz.00007")).unwrap();
    fs::create_dir_all(at("Hip-Hop")).unwrap();
    for song in ["hiphop.00001", "hiphop.00002"] {
        fs::create_dir_all(at("Hip-Hop").join(song)).unwrap();
        for (n, stem) in ["drums", "vocals", "bass", "other"].into_iter().enumerate() {
            let seed = 500 + n as u64 + 10 * song.len() as u64 + u64::from(song.ends_with('2')) * 7;
            write(
                at("Hip-Hop").join(song).join(format!("{stem}.wav")),
                hiss(seed, 11 * second, 0.3),
            );
        }
    }
    let inventory = survey(root.path(), &mut KnownFacts::default());
    assert!(!inventory.is_whole());
    let told = |kind, expected: &[(&str, &str)]| {
        let found = named(&inventory, kind, &inner);
        assert_eq!(found.len(), expected.len(), "{kind:?}: {found:#?}");
        for ((path, reason), (wanted, says)) in found.iter().zip(expected) {
            assert!(
                path == wanted && reason.contains(says),
                "{kind:?}: {path}: {reason}"
            );
        }
    };
    told(
        ProblemKind::Missing,
        &[
            ("ESC-50-master/audio/2-1002-A-0.wav", "esc50.csv names"),
            ("genres_stems/rock/song0/drums.wav", "the song lacks"),
            ("mashups/song0004.wav", "test.csv names"),
        ],
    );
    told(
        ProblemKind::Unreadable,
        &[("genres_stems/rock/song2/other.wav", "text file")],
    );
    told(
        ProblemKind::Damaged,
        &[("genres_stems/blues/song0/vocals.wav", "ends early")],
    );
    told(
        ProblemKind::Duplicate,
        &[
            (
                "ESC-50-master/audio/3-1003-A-0.wav",
                "1-1001-A-0.wav (noise of another fold: 1 and 3)",
            ),
            (
                "genres_stems/blues/song0/bass.wav",
                "genres_stems/blues/jazz.00007/bass.wav (of another song",
            ),
            (
                "genres_stems/rock/song1/drums.wav",
                "blues/song1/drums.wav (of another genre: blues and rock)",
            ),
            ("mashups/song0006.wav", "mashups/song0001.wav (another mashup)"),
        ],
    );
    told(
        ProblemKind::Clipped,
        &[("genres_stems/rock/song3/bass.wav", "100 %")],
    );
    told(
        ProblemKind::OutOfPhase,
        &[("genres_stems/rock/song3/vocals.wav", "left channel")],
    );
    told(
        ProblemKind::Misnamed,
        &[
            ("genres_stems/Hip-Hop", "called hiphop"),
            (
                "genres_stems/blues/jazz.00007",
                "like a song of jazz, and in the folder blues",
            ),
        ],
    );
    told(
        ProblemKind::Ignored,
        &[
            ("genres_stems/rock/song3/mix.wav", "not a stem's name"),
            ("mashups/song0099.wav", "test.csv does not name it"),
        ],
    );
    let short = named(&inventory, ProblemKind::TooShort, &inner);
    let reason = |name: &str| &short.iter().find(|(path, _)| path.ends_with(name)).unwrap().1;
    assert!(reason("rock/song3/bass.wav").contains("12.00 s, another stem of the song 14.00 s"));
    assert!(reason("rock/song3/drums.wav").contains("0.50 s, less than 10.24 s"));
    assert!(!short.iter().any(|(path, _)| path.contains("Hip-Hop")));
    let text = inventory.text(&inner, usize::MAX);
    assert!(
        text.contains("missing files: 3\n  ESC-50-master/audio/2-1002-A-0.wav: "),
        "{text}"
    );
    assert!(
        !text.contains(inner.to_str().unwrap()),
        "paths are told from the root on: {text}"
    );
}

#[test]
fn what_is_known_is_not_decoded_again() {
    let (root, inner) = world();
    let mut known = KnownFacts::default();
    let first = survey(root.path(), &mut known);
    assert_eq!(known.len(), 32 + 5 + 6);
    let file = root.path().join(INVENTORY_FILE);
    known.save(&file, root.path(), Some(&first)).unwrap();
    let loaded = || KnownFacts::of_roots(&[root.path().to_path_buf()]);
    assert_eq!(loaded(), known);

    let stem = inner.join("genres_stems/rock/song2/bass.wav");
    replace_unseen(&stem);
    assert_eq!(
        survey(root.path(), &mut loaded()),
        first,
        "an unchanged stamp is an unchanged file"
    );
    let anew = survey(root.path(), &mut KnownFacts::default());
    assert_eq!(anew.problems_of(ProblemKind::Unreadable).count(), 1);
    fs::write(&stem, b"of another size").unwrap();
    let mut known = loaded();
    let changed = survey(root.path(), &mut known);
    assert_eq!(
        named(&changed, ProblemKind::Unreadable, &inner)[0].0,
        "genres_stems/rock/song2/bass.wav"
    );
    fs::remove_dir_all(inner.join("genres_stems/rock/song3")).unwrap();
    survey(root.path(), &mut known);
    assert_eq!(
        known.len(),
        43 - 4 - 1,
        "what is gone, and what cannot be read, is not known"
    );
}

#[test]
fn an_inventory_moves_with_its_data_or_lies_elsewhere() {
    let (root, _) = world();
    let mut known = KnownFacts::default();
    let inventory = survey(root.path(), &mut known);
    let elsewhere = TempDir::new().unwrap();
    let file = elsewhere.path().join("kept.json");
    known.save(&file, root.path(), Some(&inventory)).unwrap();
    let mut read = KnownFacts::default();
    read.read(&file).unwrap();
    assert_eq!(read, known);

    known
        .save(&root.path().join(INVENTORY_FILE), root.path(), None)
        .unwrap();
    let moved = elsewhere.path().join("moved");
    fs::rename(root.path(), &moved).unwrap();
    replace_unseen(&moved.join("messy_mashup/genres_stems/rock/song2/bass.wav"));
    let mut known = KnownFacts::of_roots(std::slice::from_ref(&moved));
    assert_eq!(
        survey(&moved, &mut known)
            .problems_of(ProblemKind::Unreadable)
            .count(),
        0
    );
}

#[test]
fn other_files_are_no_inventory_and_stay() {
    let root = TempDir::new().unwrap();
    let path = root.path().join("file.json");
    let known = KnownFacts::default();
    for text in ["my diary", "{\"format\":\"something\",\"version\":1}", ""] {
        fs::write(&path, text).unwrap();
        let error = KnownFacts::default().read(&path).unwrap_err();
        assert!(matches!(error, Error::Config(_)), "{error:?}");
        assert!(known.save(&path, root.path(), None).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    // Those of another version, or damaged inside, are made anew.
    for text in [
        "{\"format\":\"messymash inventory\",\"version\":0,\"files\":[]}",
        "{\"format\":\"messymash inventory\",\"version\":1,\"files\":{\"a.wav\":{\"size\":-1}}}",
    ] {
        fs::write(&path, text).unwrap();
        let mut read = KnownFacts::default();
        read.read(&path).unwrap();
        assert!(read.is_empty());
        known.save(&path, root.path(), None).unwrap();
    }
    KnownFacts::default()
        .read(&root.path().join("absent.json"))
        .unwrap();
}

#[test]
fn stopped_work_keeps_what_it_found() {
    let (root, _) = world();
    let mut known = KnownFacts::default();
    let data = open(root.path());
    let mut told = Vec::new();
    let two_threads = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let stopped = two_threads.install(|| {
        data.survey(Scope::Everything, &mut known, &mut |done, total| {
            told.push((done, total));
            Err(Error::Interrupted)
        })
    });
    assert!(matches!(stopped, Err(Error::Interrupted)));
    assert_eq!(told, [(16, 43)]);
    assert_eq!(known.len(), 16);
}
