//! The data set's layout, made in temporary folders, and its split.
// A failed unwrap is a failed test, in helpers too.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use messymash::dataset::{DatasetOptions, MessyMashup, NoiseClip, ProblemKind, Song, Split, Stem, recording};
use messymash::{Error, Waveform};
use tempfile::TempDir;

const STEMS: [&str; 4] = ["drums", "vocals", "bass", "other"];

/// An empty file, with its folders: indexing decodes nothing.
fn touch(path: PathBuf) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, b"").unwrap();
}

fn tone(path: PathBuf, seconds: f64, rate: u32, amplitude: f32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let samples = (0..(seconds * f64::from(rate)) as usize)
        .map(|i| amplitude * (i as f32 * 0.1).sin())
        .collect();
    Waveform::new(samples, rate).write_wav(path).unwrap();
}

fn song(root: &Path, genre: &str, name: &str) {
    for stem in STEMS {
        touch(
            root.join("genres_stems")
                .join(genre)
                .join(name)
                .join(format!("{stem}.wav")),
        );
    }
}

fn open(root: &Path) -> messymash::Result<MessyMashup> {
    MessyMashup::open(&[root.to_path_buf()], &DatasetOptions::default())
}

fn ids(data: &MessyMashup) -> Vec<&str> {
    data.songs.iter().map(|song| song.id.as_str()).collect()
}

fn esc50(root: &Path, rows: &[&str]) {
    let folder = root.join("ESC-50-master");
    let mut table = String::from("filename,fold,target,category,esc10,src_file,take\n");
    for row in rows {
        table.push_str(row);
        table.push('\n');
    }
    fs::create_dir_all(folder.join("meta")).unwrap();
    fs::create_dir_all(folder.join("audio")).unwrap();
    fs::write(folder.join("meta/esc50.csv"), table).unwrap();
}

#[test]
fn the_layout_is_found_below_the_root_with_its_oddities() {
    let root = TempDir::new().unwrap();
    let inner = root.path().join("kaggle/input/messy_mashup");
    song(&inner, "Rock", "rock.00001");
    song(&inner, "blues", "blues.00007");
    let odd = inner.join("genres_stems/blues/blues.00003");
    for name in [
        "Drums.FLAC",
        "vocals.mp3",
        "bass.ogg",
        "bass.wav",
        "others.m4a",
        "mix.wav",
        "._bass.wav",
        "notes.txt",
    ] {
        touch(odd.join(name));
    }
    touch(inner.join("genres_stems/.DS_Store"));
    touch(inner.join("genres_stems/blues/._blues.00003"));
    touch(inner.join("genres_stems/.hidden/x/drums.wav"));
    touch(inner.join("mashups/song0001.wav"));
    fs::write(
        inner.join("test.csv"),
        "id,filename\n0002,mashups/song0002.wav\n0001,mashups/song0001.wav\n007,song0001.wav\n",
    )
    .unwrap();
    let data = open(root.path()).unwrap();
    assert_eq!(data.genres, ["blues", "rock"]);
    assert_eq!(
        ids(&data),
        ["blues/blues.00003", "blues/blues.00007", "rock/rock.00001"]
    );
    let names = data.songs[0]
        .stems
        .clone()
        .map(|path| path.unwrap().file_name().unwrap().to_str().unwrap().to_string());
    assert_eq!(names, ["Drums.FLAC", "vocals.mp3", "bass.wav", "others.m4a"]);
    assert_eq!(data.songs[2].genre, 1);
    let ignored: Vec<_> = data
        .ignored
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap())
        .collect();
    assert_eq!(ignored, ["bass.ogg", "mix.wav"]);
    let tests: Vec<&str> = data.mashups.iter().map(|mashup| mashup.id.as_str()).collect();
    assert_eq!(tests, ["0002", "0001", "007"], "ids and order as in the file");
    assert!(data.mashups[1].path.is_file() && data.mashups[2].path.is_file());
    assert!(data.noises.is_empty());
    assert_eq!(data.song("rock/rock.00001"), Some(&data.songs[2]));
    assert_eq!(data.song("rock/rock.00002"), None);
}

#[test]
fn a_root_may_be_a_part_of_the_layout_itself_and_overlap_another() {
    let root = TempDir::new().unwrap();
    song(root.path(), "pop", "a");
    let stems = root.path().join("genres_stems");
    assert_eq!(ids(&open(&stems).unwrap()), ["pop/a"]);
    let both = MessyMashup::open(&[stems, root.path().to_path_buf()], &DatasetOptions::default()).unwrap();
    assert_eq!(ids(&both), ["pop/a"], "the same folder twice is one folder");
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_loops_are_not() {
    let root = TempDir::new().unwrap();
    let elsewhere = TempDir::new().unwrap();
    song(elsewhere.path(), "pop", "a");
    std::os::unix::fs::symlink(elsewhere.path(), root.path().join("data")).unwrap();
    std::os::unix::fs::symlink(root.path(), root.path().join("again")).unwrap();
    assert_eq!(ids(&open(root.path()).unwrap()), ["pop/a"]);
}

#[test]
fn roots_are_merged_and_one_song_in_two_roots_is_one_recording() {
    let (first, second) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    song(first.path(), "pop", "a");
    song(second.path(), "pop", "a");
    song(second.path(), "jazz", "b");
    esc50(second.path(), &["1-10-A-0.wav,1,0,dog,True,10,A"]);
    touch(second.path().join("ESC-50-master/audio/1-10-A-0.flac"));
    let roots = [first.path().to_path_buf(), second.path().to_path_buf()];
    let data = MessyMashup::open(&roots, &DatasetOptions::default()).unwrap();
    assert_eq!(ids(&data), ["jazz/b", "pop/a", "pop/a#2"]);
    assert_eq!(data.songs[1].recording(), data.songs[2].recording());
    let [one, two] = [1, 2].map(|index| data.songs[index].stems[0].clone().unwrap());
    assert!(one.starts_with(first.path().canonicalize().unwrap()));
    assert!(two.starts_with(second.path().canonicalize().unwrap()));
    assert_eq!(data.noises.len(), 1);
}

#[test]
fn missing_stems_are_errors_that_name_songs_unless_allowed() {
    let root = TempDir::new().unwrap();
    song(root.path(), "pop", "whole");
    for number in 0..7 {
        touch(
            root.path()
                .join(format!("genres_stems/pop/half{number}/bass.wav")),
        );
    }
    fs::create_dir_all(root.path().join("genres_stems/pop/empty")).unwrap();
    let message = open(root.path()).unwrap_err().to_string();
    for part in [
        "8 songs lack stems",
        "pop/empty (drums, vocals, bass, other)",
        "pop/half0 (drums, vocals, other)",
        "and 3 more",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let options = DatasetOptions {
        allow_missing_stems: true,
        ..DatasetOptions::default()
    };
    let data = MessyMashup::open(&[root.path().to_path_buf()], &options).unwrap();
    assert_eq!(data.songs.len(), 8, "a folder without any stem is no song");
    assert_eq!(data.songs[0].stems.iter().flatten().count(), 1);
}

#[test]
fn what_is_no_data_set_is_told() {
    let root = TempDir::new().unwrap();
    let refused = |what: &str| {
        let error = open(root.path()).unwrap_err();
        assert!(matches!(error, Error::Dataset { .. }), "{error:?}");
        assert!(error.to_string().contains(what), "{error}");
    };
    refused("holds no data set");
    assert!(matches!(open(&root.path().join("absent")), Err(Error::Io { .. })));
    fs::create_dir_all(root.path().join("genres_stems/pop")).unwrap();
    song(root.path(), "jazz", "a");
    refused("no song in the genre folders pop");
    fs::remove_dir(root.path().join("genres_stems/pop")).unwrap();
    fs::create_dir_all(root.path().join("ESC-50-master/audio")).unwrap();
    refused("lacks meta/esc50.csv");
    esc50(root.path(), &["1-10-A-0.wav,9,0,dog,True,10,A"]);
    refused("line 2: the fold");
    esc50(root.path(), &["1-10-A-0.wav,1,0,dog,True,10,A"]);
    refused("1-10-A-0");
    touch(root.path().join("ESC-50-master/audio/1-10-A-0.wav"));
    fs::write(
        root.path().join("ESC-50-master/meta/esc50.csv"),
        "file,fold\nx,1\n",
    )
    .unwrap();
    refused("lacks the column \"filename\"");
    esc50(root.path(), &["1-10-A-0.wav,1,0,dog,True,10,A"]);
    fs::write(root.path().join("test.csv"), "id;filename\n1;x\n").unwrap();
    refused("lacks the column \"id\"");
}

#[test]
fn noise_alone_is_a_data_set_and_extra_noise_gets_folds_by_source() {
    let root = TempDir::new().unwrap();
    esc50(
        root.path(),
        &[
            "1-10-A-0.wav,1,0,dog,True,10,A",
            "5-20-B-1.wav,5,1,rooster,True,20,B",
        ],
    );
    touch(root.path().join("ESC-50-master/audio/1-10-A-0.ogg"));
    touch(root.path().join("ESC-50-master/audio/5-20-B-1.flac"));
    touch(root.path().join("ESC-50-master/audio/._5-20-B-1.flac"));
    let extra = TempDir::new().unwrap();
    let street = extra.path().join("street");
    for name in [
        "100652-3-0-0.ogg",
        "100652-3-0-7.ogg",
        "deep/rain.wav",
        "readme.txt",
    ] {
        touch(street.join(name));
    }
    let options = DatasetOptions {
        extra_noise: vec![street.clone()],
        ..DatasetOptions::default()
    };
    let data = MessyMashup::open(&[root.path().to_path_buf()], &options).unwrap();
    let clips: Vec<(&str, u32)> = data
        .noises
        .iter()
        .map(|noise| (noise.id.as_str(), noise.fold))
        .collect();
    assert_eq!(clips[..2], [("ESC-50/1-10-A-0", 1), ("ESC-50/5-20-B-1", 5)]);
    assert_eq!(clips[2].0, "street/100652-3-0-0");
    assert_eq!(clips[2].1, clips[3].1, "slices of one recording share a fold");
    assert_eq!(clips[4].0, "street/deep/rain");
    assert!(clips.iter().all(|clip| (1..=5).contains(&clip.1)));
    assert!(data.genres.is_empty() && data.songs.is_empty());
    let empty = DatasetOptions {
        extra_noise: vec![root.path().join("ESC-50-master/meta")],
        ..DatasetOptions::default()
    };
    assert!(
        MessyMashup::open(&[root.path().to_path_buf()], &empty)
            .unwrap_err()
            .to_string()
            .contains("no sound files")
    );
}

#[test]
fn a_recording_that_two_noise_collections_share_stays_in_one_fold() {
    let root = TempDir::new().unwrap();
    esc50(
        root.path(),
        &[
            "1-10-A-0.wav,1,0,dog,True,10,A",
            "5-20-B-1.wav,5,1,rooster,True,20,B",
        ],
    );
    touch(root.path().join("ESC-50-master/audio/1-10-A-0.wav"));
    touch(root.path().join("ESC-50-master/audio/5-20-B-1.wav"));
    let extra = TempDir::new().unwrap();
    for name in ["10-3-0-0.ogg", "10-3-0-1.ogg", "20-8-0-0.ogg", "3-20-A-7.wav"] {
        touch(extra.path().join("street").join(name));
    }
    let options = DatasetOptions {
        extra_noise: vec![extra.path().join("street")],
        ..DatasetOptions::default()
    };
    let data = MessyMashup::open(&[root.path().to_path_buf()], &options).unwrap();
    let folds: Vec<u32> = data
        .noises
        .iter()
        .filter(|n| n.id.starts_with("street"))
        .map(|n| n.fold)
        .collect();
    assert_eq!(folds, [1, 1, 5, 5]);
}

#[test]
fn the_test_table_of_another_data_set_is_passed_over() {
    let root = TempDir::new().unwrap();
    for stem in ["drums", "vocals", "bass", "other"] {
        touch(root.path().join(format!("mm/genres_stems/blues/a/{stem}.wav")));
    }
    fs::create_dir_all(root.path().join("titanic")).unwrap();
    fs::write(
        root.path().join("titanic/test.csv"),
        "PassengerId,Survived\n1,0\n",
    )
    .unwrap();
    let data = MessyMashup::open(&[root.path().to_path_buf()], &Default::default()).unwrap();
    assert_eq!((data.songs.len(), data.mashups.len()), (1, 0));
}

#[test]
fn mashups_without_a_table_are_named_by_their_files() {
    let root = TempDir::new().unwrap();
    touch(root.path().join("mashups/song0002.wav"));
    touch(root.path().join("mashups/song0001.wav"));
    let data = open(root.path()).unwrap();
    assert_eq!(
        data.mashups
            .iter()
            .map(|mashup| mashup.id.as_str())
            .collect::<Vec<_>>(),
        ["song0001", "song0002"]
    );
}

#[test]
fn the_inventory_tells_lengths_rates_silence_and_damage() {
    let root = TempDir::new().unwrap();
    let folder = root.path().join("genres_stems/pop/a");
    tone(folder.join("drums.wav"), 1.0, 16_000, 0.5);
    tone(folder.join("vocals.wav"), 2.0, 22_050, 0.0);
    tone(folder.join("bass.wav"), 0.5, 16_000, 0.5);
    fs::write(folder.join("other.wav"), b"this is not sound").unwrap();
    tone(folder.join("mix.wav"), 0.5, 16_000, 0.5);
    esc50(
        root.path(),
        &["1-10-A-0.wav,1,0,dog,True,10,A", "2-20-A-0.wav,2,0,dog,True,20,A"],
    );
    tone(
        root.path().join("ESC-50-master/audio/1-10-A-0.wav"),
        5.0,
        44_100,
        0.3,
    );
    touch(root.path().join("ESC-50-master/audio/2-20-A-0.wav"));
    let inventory = open(root.path()).unwrap().inventory();
    let pop = &inventory.genres[0];
    assert_eq!((pop.songs, pop.recordings, pop.stems), (1, 1, [1; 4]));
    assert_eq!((pop.silent, pop.unreadable), ([0, 1, 0, 0], [0, 0, 0, 1]));
    assert!((pop.seconds - 3.5).abs() < 1e-9);
    assert!((pop.shortest - 0.5).abs() < 1e-9 && (pop.longest - 2.0).abs() < 1e-9);
    assert_eq!(
        pop.rates.clone().into_iter().collect::<Vec<_>>(),
        [(16_000, 2), (22_050, 1)]
    );
    assert_eq!((inventory.noise.unreadable, inventory.noise.silent), (1, 0));
    assert_eq!(
        inventory.noise.folds.clone().into_iter().collect::<Vec<_>>(),
        [(1, 1), (2, 1)]
    );
    let named = |kind| {
        inventory
            .problems_of(kind)
            .map(|p| p.path.file_name().unwrap().to_str().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(named(ProblemKind::Unreadable), ["2-20-A-0.wav", "other.wav"]);
    assert_eq!(named(ProblemKind::Silent), ["vocals.wav"]);
    assert_eq!(named(ProblemKind::Ignored), ["mix.wav"]);
    let text = inventory.to_string();
    for part in [
        "pop",
        "16000 x 2, 22050 x 1",
        "unreadable files: 2",
        "other.wav",
        "2 noise clips (fold 1: 1, fold 2: 1)",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert!(
        serde_json::to_string(&inventory)
            .unwrap()
            .contains("\"unreadable\"")
    );
}

/// `counts[g]` recordings of genre g, noise in five folds, no files.
fn songs(counts: &[usize]) -> MessyMashup {
    let genres: Vec<String> = (0..counts.len()).map(|genre| format!("genre{genre}")).collect();
    let mut songs = Vec::new();
    for (genre, count) in counts.iter().enumerate() {
        for number in 0..*count {
            let id = format!("genre{genre}/blues.{number:05}.a");
            songs.push(Song {
                id,
                genre,
                stems: Stem::ALL.map(|stem| Some(stem.name().into())),
            });
        }
    }
    let noises = (1..=5)
        .map(|fold| NoiseClip {
            id: format!("n{fold}"),
            path: PathBuf::new(),
            fold,
        })
        .collect();
    MessyMashup {
        genres,
        songs,
        noises,
        mashups: Vec::new(),
        ignored: Vec::new(),
        missing: Vec::new(),
        faults: Vec::new(),
    }
}

fn of_genre<'a>(ids: &'a [String], genre: &str) -> Vec<&'a String> {
    ids.iter()
        .filter(|id| id.starts_with(&format!("{genre}/")))
        .collect()
}

#[test]
fn a_split_is_stratified_disjoint_complete_and_reproducible() {
    let data = songs(&[20, 2, 1, 10]);
    let split = Split::by_song(&data, 0.2, &[5], 3).unwrap();
    let sizes: Vec<usize> = (0..4)
        .map(|g| of_genre(&split.validation, &format!("genre{g}")).len())
        .collect();
    assert_eq!(sizes, [4, 1, 0, 2]);
    let mut all: Vec<String> = split.train.iter().chain(&split.validation).cloned().collect();
    all.sort();
    assert_eq!(all, ids(&data));
    assert_eq!(
        (split.train_folds.as_slice(), split.validation_folds.as_slice()),
        (&[1, 2, 3, 4][..], &[5][..])
    );
    assert_eq!(split, Split::by_song(&data, 0.2, &[5], 3).unwrap());
    assert_ne!(
        split.validation,
        Split::by_song(&data, 0.2, &[5], 4).unwrap().validation
    );
    // Written down: a change of the generator or of the order would silently mix old runs' sides.
    assert_eq!(of_genre(&split.validation, "genre3"), DRAWN);
    // Another genre leaves the sides of the others as they were.
    let more = Split::by_song(&songs(&[20, 2, 1, 10, 6]), 0.2, &[5], 3).unwrap();
    assert_eq!(
        of_genre(&more.validation, "genre0"),
        of_genre(&split.validation, "genre0")
    );
    split.check(&data).unwrap();
}

#[test]
fn what_trained_the_model_before_never_judges_the_next() {
    let data = songs(&[20, 2, 1, 10]);
    let first = Split::by_song(&data, 0.2, &[5], 3).unwrap();
    let after = |data: &MessyMashup, fraction: f64, folds: &[u32]| {
        Split::by_song_after(&first, data, fraction, folds, 9)
    };
    // Another seed would draw other songs.
    assert_ne!(
        Split::by_song(&data, 0.2, &[5], 9).unwrap().validation,
        first.validation
    );
    let second = after(&data, 0.2, &[5]).unwrap();
    assert_eq!(
        (&second.train, &second.validation),
        (&first.train, &first.validation)
    );
    assert!(second.before.is_empty(), "all of it trains again");
    // More than judged before cannot be had; less can.
    assert_eq!(after(&data, 0.9, &[5]).unwrap().validation, first.validation);
    assert_eq!(after(&data, 0.1, &[5]).unwrap().validation.len(), 2 + 1 + 1);
    let all = after(&data, 0.0, &[5]).unwrap();
    assert!(all.validation.is_empty() && all.train.len() == data.songs.len());

    // New songs judge beside the old ones, and other data does not make what was heard unheard.
    let mut other = songs(&[40, 4]);
    other
        .songs
        .retain(|song| !first.train.contains(&song.id) || song.id == first.train[0]);
    let third = after(&other, 0.3, &[5]).unwrap();
    assert!(third.train.contains(&first.train[0]));
    assert!(
        of_genre(&first.validation, "genre0")
            .iter()
            .all(|id| third.validation.contains(id))
    );
    assert_eq!(third.before.songs, first.train[1..]);
    assert_eq!(third.unjudged(&other), [""; 0]);
    third.check(&other).unwrap();
    let heard = third.check_unheard(&first.train[1..3]).unwrap_err().to_string();
    assert!(heard.contains("2 of the 2 songs"), "{heard}");
    assert_eq!(
        third.count_heard(first.train.iter().map(String::as_str)),
        first.train.len()
    );
    let file = tempfile::tempdir().unwrap();
    third.save(&file.path().join("split.json")).unwrap();
    assert_eq!(Split::load(&file.path().join("split.json")).unwrap(), third);

    // Noise likewise.
    let message = after(&data, 0.2, &[4, 5]).unwrap_err().to_string();
    assert!(
        message.contains("names 4") && message.contains("[5]"),
        "{message}"
    );
    let mut quiet = data.clone();
    quiet.noises.retain(|noise| noise.fold > 3);
    let fourth = after(&quiet, 0.2, &[5]).unwrap();
    assert_eq!(fourth.before.folds, [1, 2, 3]);
    assert!(fourth.check_unheard_noise(&[2]).is_err() && fourth.check_unheard_noise(&[5]).is_ok());
}

#[test]
fn genres_that_nobody_judges_are_told() {
    let data = songs(&[20, 2, 1, 10]);
    let split = |fraction| Split::by_song(&data, fraction, &[5], 3).unwrap();
    assert_eq!(split(0.2).unjudged(&data), ["genre2"]);
    assert_eq!(split(0.0).unjudged(&data), [""; 0], "training songs judge");
}

const DRAWN: [&str; 2] = ["genre3/blues.00002.a", "genre3/blues.00009.a"];

#[test]
fn all_songs_of_a_recording_are_on_one_side() {
    let mut data = songs(&[12, 12]);
    let excerpts: Vec<Song> = data
        .songs
        .iter()
        .flat_map(|song| {
            [".b", "#2"].map(|tail| Song {
                id: format!("{}{tail}", song.id),
                ..song.clone()
            })
        })
        .collect();
    data.songs.extend(excerpts);
    data.songs.sort_by(|a, b| a.id.cmp(&b.id));
    for seed in 0..20 {
        let split = Split::by_song(&data, 0.25, &[1], seed).unwrap();
        assert_eq!(
            split.validation.len(),
            2 * 3 * 3,
            "3 of 12 recordings, 3 songs each, 2 genres"
        );
        for id in &split.validation {
            assert!(split.train.iter().all(|other| recording(other) != recording(id)));
        }
    }
}

#[test]
fn fraction_zero_trains_on_everything() {
    let split = Split::by_song(&songs(&[5, 5]), 0.0, &[5], 1).unwrap();
    assert_eq!((split.train.len(), split.validation.len()), (10, 0));
    assert_eq!(split.validation_folds, [5]);
}

#[test]
fn impossible_splits_are_refused() {
    let data = songs(&[5]);
    for fraction in [-0.1, 1.0, f64::NAN] {
        assert!(matches!(
            Split::by_song(&data, fraction, &[5], 1),
            Err(Error::Config(_))
        ));
    }
    for folds in [&[][..], &[9], &[1, 2, 3, 4, 5]] {
        let message = Split::by_song(&data, 0.2, folds, 1).unwrap_err().to_string();
        assert!(message.contains("validation.noise_folds"), "{message}");
    }
    let mut quiet = data.clone();
    quiet.noises.clear();
    assert!(
        Split::by_song(&quiet, 0.2, &[5], 1)
            .unwrap()
            .validation_folds
            .is_empty()
    );
}

#[test]
fn a_split_survives_its_file_and_is_checked_against_the_data() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("split.json");
    let data = songs(&[8]);
    let split = Split::by_song(&data, 0.25, &[5], 2).unwrap();
    split.save(&path).unwrap();
    assert_eq!(Split::load(&path).unwrap(), split);

    let fewer = songs(&[3]);
    let message = split.check(&fewer).unwrap_err().to_string();
    assert!(
        message.contains("5 song(s)") && message.contains("genre0/blues.00003.a"),
        "{message}"
    );

    let mut leaking = split.clone();
    leaking.train.push(split.validation[0].clone());
    assert!(
        leaking
            .check(&data)
            .unwrap_err()
            .to_string()
            .contains(&split.validation[0])
    );
    let mut leaking = split.clone();
    leaking.train_folds.push(5);
    assert!(leaking.check(&data).unwrap_err().to_string().contains("fold 5"));

    fs::write(&path, "{\"seed\": 1}").unwrap();
    assert!(matches!(Split::load(&path), Err(Error::Dataset { .. })));
    assert!(matches!(
        Split::load(&folder.path().join("absent.json")),
        Err(Error::Io { .. })
    ));
}
