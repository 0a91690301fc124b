//! Which songs and noise judge, and what is never let go from one side to the other.

use super::*;

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
