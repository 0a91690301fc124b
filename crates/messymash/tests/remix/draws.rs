//! What is drawn: songs, crops, noises, and from where.

use super::*;

#[test]
fn draws_depend_on_seed_epoch_and_index_and_on_nothing_drawn_before() {
    let first = remixer(RemixOptions::default());
    let second = remixer(RemixOptions::default());
    second.draw(1, 0, 7).unwrap();
    assert_eq!(first.draw(1, 0, 4).unwrap(), second.draw(1, 0, 4).unwrap());
    let differing: HashSet<String> = [(1, 0, 4), (2, 0, 4), (1, 1, 4), (1, 0, 6)]
        .into_iter()
        .map(|(seed, epoch, index)| {
            serde_json::to_string(&first.draw(seed, epoch, index).unwrap().parts).unwrap()
        })
        .collect();
    assert_eq!(differing.len(), 4);
    let parallel: Vec<Remix> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|index| {
                scope.spawn({
                    let first = &first;
                    move || first.draw(9, 0, index).unwrap()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (index, remix) in parallel.iter().enumerate() {
        assert_eq!(*remix, first.draw(9, 0, index as u64).unwrap());
    }
}

#[test]
fn songs_of_a_mashup_differ_and_are_of_its_genre() {
    let remixer = remixer(RemixOptions::default());
    let mut donors = HashSet::new();
    for index in 0..100 {
        let remix = remixer.draw(1, 0, index).unwrap();
        assert_eq!(remix.songs().len(), 4);
        assert_eq!(
            remix.parts.iter().map(|part| part.stem).collect::<Vec<_>>(),
            Stem::ALL
        );
        assert!(remix.parts.iter().all(|part| part.song.starts_with(&remix.genre)));
        donors.extend(remix.songs());
    }
    assert_eq!(donors.len(), 12, "every song is used");
}

#[test]
fn excerpts_of_one_recording_count_as_one_song() {
    let (mut data, cache) = world(plain);
    for (number, song) in data.songs.iter_mut().filter(|song| song.genre == 0).enumerate() {
        song.id = format!("blues/blues.0000{}.{}", number / 3, ["a", "b", "z"][number % 3]);
    }
    let blues: Vec<String> = all_songs(&data)
        .into_iter()
        .filter(|id| id.starts_with("blues"))
        .collect();
    let remixer = Remixer::with_cache(&data, &blues, &[1], RemixOptions::default(), cache).unwrap();
    for index in 0..30 {
        // Two recordings: both are used before one is used again.
        assert_eq!(
            remixer.draw(1, 0, index).unwrap().songs(),
            ["blues/blues.00000", "blues/blues.00001"]
        );
    }
}

#[test]
fn nothing_outside_the_given_songs_and_folds_is_used() {
    let (data, cache) = world(plain);
    let split = Split::by_song(&data, 0.34, &[2, 5], 8).unwrap();
    let options = RemixOptions {
        noise_counts: [0.0, 0.0, 0.0, 1.0],
        ..RemixOptions::default()
    };
    for (songs, folds) in [
        (&split.train, &split.train_folds),
        (&split.validation, &split.validation_folds),
    ] {
        let remixer = Remixer::with_cache(&data, songs, folds, options.clone(), Arc::clone(&cache)).unwrap();
        for index in 0..60 {
            let remix = remixer.draw(2, 0, index).unwrap();
            assert!(remix.parts.iter().all(|part| songs.contains(&part.song)));
            assert_eq!(remix.noises.len(), 3);
            for noise in &remix.noises {
                let fold = data.noises.iter().find(|clip| clip.id == noise.id).unwrap().fold;
                assert!(folds.contains(&fold));
            }
        }
        let mut foreign = remixer.draw(2, 0, 0).unwrap();
        let others = if std::ptr::eq(songs, &split.train) {
            &split.validation
        } else {
            &split.train
        };
        foreign.parts[0].song = others[0].clone();
        assert!(
            matches!(remixer.render(&foreign), Err(Error::Config(message)) if message.contains(&others[0]))
        );
    }
}

#[test]
fn near_silent_crops_are_passed_over() {
    // The first 10 s of every stem, and all of songs 0 and 1, are near silent.
    let quiet = |id: &str, stem: Stem| -> Vec<f32> {
        let mut sound = plain(id, stem);
        let end = if id.ends_with(['0', '1']) {
            sound.len()
        } else {
            10 * RATE as usize
        };
        sound[..end].iter_mut().for_each(|x| *x *= 1e-4);
        sound
    };
    let options = RemixOptions {
        seconds: 2.0,
        crop_attempts: 50,
        ..bare()
    };
    let (data, cache) = world(quiet);
    let remixer = Remixer::with_cache(&data, &all_songs(&data), &[1], options, Arc::clone(&cache)).unwrap();
    for index in 0..40 {
        for part in remixer.draw(1, 0, index).unwrap().parts {
            let stem = cache
                .get(Path::new(&format!(
                    "/memory/{}/{}.wav",
                    part.song,
                    part.stem.name()
                )))
                .unwrap();
            assert!(
                power(&stem[part.start..part.start + 2 * RATE as usize]) >= 1e-6,
                "mashup {index}"
            );
        }
    }
}

#[test]
fn silent_stems_are_used_only_where_there_is_nothing_else_and_silence_is_an_error() {
    let only_bass = |id: &str, stem: Stem| {
        if stem == Stem::Bass {
            plain(id, stem)
        } else {
            vec![0.0; 15 * RATE as usize]
        }
    };
    let sound = remixer_of(only_bass, RemixOptions::default())
        .make(1, 0, 0)
        .unwrap()
        .1;
    assert!(power(&sound.samples) > 1e-4);

    let nothing = remixer_of(|_, _| vec![1e-5; 15 * RATE as usize], RemixOptions::default());
    let message = nothing.draw(1, 0, 1).unwrap_err().to_string();
    assert!(
        message.contains("rock") && message.contains("silent"),
        "{message}"
    );
}

#[test]
fn missing_stems_are_left_out() {
    let (mut data, cache) = world(plain);
    data.songs
        .iter_mut()
        .for_each(|song| song.stems[Stem::Vocals.index()] = None);
    data.songs[0].stems[Stem::Drums.index()] = None;
    let remixer = Remixer::with_cache(&data, &all_songs(&data), &[1], bare(), cache).unwrap();
    for index in 0..20 {
        let (remix, sound) = remixer.make(1, 0, index).unwrap();
        assert_eq!(
            remix.parts.iter().map(|part| part.stem).collect::<Vec<_>>(),
            [Stem::Drums, Stem::Bass, Stem::Other]
        );
        assert!(
            remix
                .parts
                .iter()
                .all(|part| part.stem != Stem::Drums || part.song != data.songs[0].id)
        );
        assert!(power(&sound.samples) > 1e-4);
    }
}

#[test]
fn what_cannot_work_is_refused_before_the_first_mashup() {
    let (data, cache) = world(plain);
    let all = all_songs(&data);
    let with = |songs: &[String], folds: &[u32], options: RemixOptions| {
        Remixer::with_cache(&data, songs, folds, options, Arc::clone(&cache))
            .unwrap_err()
            .to_string()
    };
    assert!(with(&[], &[1], RemixOptions::default()).contains("no song"));
    assert!(with(&["rock/nobody".into()], &[1], RemixOptions::default()).contains("rock/nobody"));
    assert!(with(&all, &[7], RemixOptions::default()).contains("noise_counts"));
    assert!(
        with(
            &all,
            &[1],
            RemixOptions {
                seconds: 0.0,
                ..RemixOptions::default()
            }
        )
        .contains("remix.seconds")
    );
    assert!(
        with(
            &all,
            &[1],
            RemixOptions {
                sample_rate: 22_050,
                ..RemixOptions::default()
            }
        )
        .contains("22050")
    );
    assert!(Remixer::with_cache(&data, &all, &[7], bare(), Arc::clone(&cache)).is_ok());
}

#[test]
fn genres_without_songs_here_are_left_out_but_keep_their_class() {
    let (data, cache) = world(plain);
    let rock: Vec<String> = all_songs(&data)
        .into_iter()
        .filter(|id| id.starts_with("rock"))
        .collect();
    let remixer = Remixer::with_cache(&data, &rock, &[1], RemixOptions::default(), cache).unwrap();
    assert_eq!(remixer.genres(), ["blues", "rock"]);
    assert!((0..4).all(|index| remixer.draw(1, 0, index).unwrap().genre == "rock"));
}
