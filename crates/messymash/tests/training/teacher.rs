//! Learning from another model.

use super::*;

/// A recipe whose teacher says one number for each genre and another for each song.
fn taught(world: &World, epochs: u64) -> TrainConfig {
    let data = MessyMashup::open(&[world.path("data")], &Default::default()).unwrap();
    let songs: Vec<&str> = data.songs.iter().map(|song| &song.id[..]).collect();
    let values: Vec<u8> = data
        .songs
        .iter()
        .flat_map(|song| [if song.genre == 0 { 1.0 } else { -1.0f32 }, 0.5])
        .flat_map(f32::to_le_bytes)
        .collect();
    write_table(
        &world.path("teacher.safetensors"),
        &songs,
        &values,
        [songs.len(), 2],
    );
    let mut config = world.config();
    config.epochs = epochs;
    config.remix.own_song_probability = 1.0;
    config.teacher = Some(TeacherSettings {
        targets: world.path("teacher.safetensors"),
        kind: TeacherKind::Values,
    });
    config
}

fn write_table(path: &Path, songs: &[&str], values: &[u8], shape: [usize; 2]) {
    let view = TensorView::new(Dtype::F32, shape.to_vec(), values).unwrap();
    let metadata = HashMap::from([
        ("songs".to_string(), serde_json::to_string(songs).unwrap()),
        ("columns".to_string(), r#"["loud", "quiet"]"#.to_string()),
    ]);
    safetensors::serialize_to_file([("targets", view)], Some(metadata), path).unwrap();
}

#[test]
fn it_learns_what_a_teacher_heard_and_then_genres_from_there() {
    let world = World::new(&common::recipe(2));
    let config = taught(&world, 8);
    let (data, run) = ([world.path("data")], world.path("taught"));
    let mut scores = Vec::new();
    train(&config, &data, &run, &mut |event| {
        if let TrainEvent::Validated { score, .. } = event {
            assert!(matches!(score, Score::Explained(_)));
            scores.push(score.value());
        }
        Ok(())
    })
    .unwrap();
    // What is not explained after eight epochs is little; a model that ignores the sound explains nothing.
    assert!(scores.iter().copied().fold(0.0, f64::max) > 0.7, "{scores:?}");
    let best = Checkpoint::load(&run.join("best")).unwrap();
    assert_eq!(best.ast.config().labels(), ["loud", "quiet"]);
    let record = RunRecord::read(&run).unwrap();
    assert!(record.best.is_none() && record.validations.len() == 8);
    assert!(
        messymash::report::run_html(&record)
            .unwrap()
            .contains("variance explained")
    );

    // Stopped and gone on with, it is the same run.
    let stopped = world.path("stopped");
    assert!(train(&config, &data, &stopped, &mut stop_at(11)).is_err());
    resume(&stopped, &mut listen).unwrap();
    assert_same_run(&run, &stopped);

    // What it has learnt is the start of a training that tells genres.
    let mut genres = world.config();
    (genres.init, genres.model) = (Some(run.join("best").to_str().unwrap().into()), None);
    let mut notes = String::new();
    train(&genres, &data, &world.path("genres"), &mut |event| {
        if let TrainEvent::Note(note) = event {
            notes += &note;
        }
        Ok(())
    })
    .unwrap();
    assert!(
        notes.contains("head (2 labels) is replaced") || notes.contains("its head"),
        "{notes}"
    );
}

#[test]
fn songs_without_a_genre_are_learnt_by_what_a_teacher_takes_them_for() {
    let world = World::new(&common::recipe(10));
    // The folder of half of the songs says nothing of their genre; the teacher does, the wrong way round.
    fs::create_dir_all(world.path("data/genres_stems/any")).unwrap();
    let mut songs = Vec::new();
    let mut values = Vec::new();
    for (genre, says) in [("blues", [0.0f32, 1.0]), ("rock", [1.0, 0.0])] {
        for song in ["song0", "song1", "song2", "song3"] {
            let name = format!("{genre}-{song}");
            fs::rename(
                world.path(&format!("data/genres_stems/{genre}/{song}")),
                world.path(&format!("data/genres_stems/any/{name}")),
            )
            .unwrap();
            songs.push(format!("any/{name}"));
            values.extend(says.into_iter().flat_map(f32::to_le_bytes));
        }
        fs::remove_dir(world.path(&format!("data/genres_stems/{genre}"))).unwrap();
    }
    let songs: Vec<&str> = songs.iter().map(|song| &song[..]).collect();
    let table = world.path("teacher.safetensors");
    write_table(&table, &songs, &values, [8, 2]);
    let mut config = world.config();
    config.remix.own_song_probability = 1.0;
    config.teacher = Some(TeacherSettings {
        targets: table.clone(),
        kind: TeacherKind::Probabilities,
    });
    let mut best = 0.0;
    train(&config, &[world.path("data")], &world.path("run"), &mut |event| {
        if let TrainEvent::Validated { score, .. } = event {
            assert!(matches!(score, Score::MacroF1(_)));
            best = score.value().max(best);
        }
        Ok(())
    })
    .unwrap();
    assert!(best > 0.95, "{best}");
    // Hiss is what the teacher calls the first label.
    let model = messymash::Classifier::from_pretrained(world.path("run/best")).unwrap();
    let hiss = messymash::Waveform::new(common::hiss(77, 16_000, 0.3), 16_000);
    assert_eq!(model.classify(&hiss).unwrap().top(1)[0].label, "loud");

    // A song that is in no row has the genre of its folder, which the model must know.
    write_table(&table, &songs[..1], &values[..8], [1, 2]);
    let error = train(&config, &[world.path("data")], &world.path("other"), &mut listen).unwrap_err();
    assert!(error.to_string().contains("no row for the song 'any/"), "{error}");
    let odd = [0.5f32.to_le_bytes(), 0.1f32.to_le_bytes()].concat();
    write_table(&table, &songs[..1], &odd, [1, 2]);
    let error = train(&config, &[world.path("data")], &world.path("third"), &mut listen).unwrap_err();
    assert!(error.to_string().contains("sum is not 1"), "{error}");
}

#[test]
fn a_teacher_that_cannot_teach_is_refused_before_the_first_step() {
    let world = World::new(&common::recipe(1));
    let config = taught(&world, 1);
    let said = |config: &TrainConfig| {
        let run = world.path("refused");
        let error = train(config, &[world.path("data")], &run, &mut listen).unwrap_err();
        error.to_string()
    };
    let mut mixed = config.clone();
    mixed.remix.own_song_probability = 0.5;
    assert!(said(&mixed).contains("own_song_probability"));
    let table = world.path("teacher.safetensors");
    let one = 1.0f32.to_le_bytes();
    for (songs, values, shape, wanted) in [
        (
            vec!["blues/a"],
            one.repeat(4),
            [2, 2],
            "1 songs and 2 columns are named",
        ),
        (
            vec!["x"],
            [one, f32::NAN.to_le_bytes()].concat(),
            [1, 2],
            "what is no number",
        ),
        (vec!["x"], one.repeat(2), [1, 2], "has no row for the song"),
    ] {
        write_table(&table, &songs, &values, shape);
        let message = said(&config);
        assert!(message.contains(wanted), "{message}");
        fs::remove_dir_all(world.path("refused")).ok();
    }
    fs::write(&table, "no table").unwrap();
    assert!(said(&config).contains("teacher.targets"));
    fs::remove_file(&table).unwrap();
    assert!(matches!(
        train(
            &config,
            &[world.path("data")],
            &world.path("refused"),
            &mut listen
        ),
        Err(Error::Io { .. })
    ));
}
