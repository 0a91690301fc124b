//! The data set's layout, made in temporary folders, and its split.
// A failed unwrap is a failed test, in helpers too.
#![allow(clippy::unwrap_used)]

mod split;

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
