//! The loop on a small data set: it learns, it stops and goes on, and it refuses what it cannot train on.
// A failed unwrap is a failed test, in helpers too.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use messymash::checkpoint::Checkpoint;
use messymash::dataset::{MessyMashup, Split};
use messymash::remix::{RemixOptions, Remixer};
use messymash::run::{RunRecord, Score};
use messymash::train::{TeacherKind, TeacherSettings, TrainConfig, TrainEvent, resume, train};
use messymash::{Error, Result};
use safetensors::tensor::{Dtype, TensorView};
use tempfile::TempDir;

/// A folder with the data in `data/` and the recipe in `recipe.toml`.
struct World {
    dir: TempDir,
}

impl World {
    fn new(recipe: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        common::write_data(&dir.path().join("data"));
        fs::write(dir.path().join("recipe.toml"), recipe).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn config(&self) -> TrainConfig {
        TrainConfig::load(&self.path("recipe.toml")).unwrap()
    }

    fn train(&self, run: &str, on_event: &mut dyn FnMut(TrainEvent) -> Result<()>) -> Result<()> {
        train(&self.config(), &[self.path("data")], &self.path(run), on_event)
    }
}

fn listen(_: TrainEvent) -> Result<()> {
    Ok(())
}

/// Interrupts once that many steps have been taken, and goes on asking to stop, as a noted Ctrl-C does.
fn stop_at(wanted: u64) -> impl FnMut(TrainEvent) -> Result<()> {
    move |event| match event {
        TrainEvent::Step { step, .. } | TrainEvent::Validated { step, .. } if step >= wanted => {
            Err(Error::Interrupted)
        }
        _ => Ok(()),
    }
}

/// The log without the times of day that it tells.
fn log(run: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines()
        .map(|line| {
            let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
            line.as_object_mut().unwrap().remove("seconds");
            line
        })
        .collect()
}

fn assert_same_run(a: &Path, b: &Path) {
    for file in [
        "last/model.safetensors",
        "last/optimizer.safetensors",
        "best/model.safetensors",
        "split.json",
        "config.toml",
    ] {
        assert!(
            fs::read(a.join(file)).unwrap() == fs::read(b.join(file)).unwrap(),
            "{file} differs"
        );
    }
    assert_eq!(log(a), log(b));
}

#[test]
fn it_learns_what_a_child_could_tell() {
    let world = World::new(&common::recipe(12));
    let (mut scores, mut losses, mut notes) = (Vec::new(), Vec::new(), String::new());
    world
        .train("run", &mut |event| {
            match event {
                TrainEvent::Validated { score, .. } => scores.push(score.value()),
                TrainEvent::Step { loss, .. } => losses.push(loss),
                TrainEvent::Note(note) => notes.push_str(&note),
                TrainEvent::Surveyed { .. } => {}
            }
            Ok(())
        })
        .unwrap();
    assert_eq!((scores.len(), losses.len()), (12, 96));
    assert!(scores.iter().copied().fold(0.0, f64::max) > 0.95, "{scores:?}");
    assert!(
        losses[90..].iter().sum::<f32>() < 0.7 * losses[..6].iter().sum::<f32>(),
        "{losses:?}"
    );
    assert!(
        notes.contains("8 songs") && notes.contains("parameters"),
        "{notes}"
    );
    let best = Checkpoint::load(&world.path("run/best")).unwrap();
    assert_eq!(best.ast.config().labels(), ["blues", "rock"]);
    // The resolved recipe is the recipe, every default written out.
    assert_eq!(
        TrainConfig::load(&world.path("run/config.toml")).unwrap(),
        world.config()
    );
}

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

#[test]
fn a_resumed_run_is_the_uninterrupted_one_bit_for_bit() {
    let world = World::new(&common::recipe(2));
    world.train("whole", &mut listen).unwrap();
    // In the middle of an epoch, at the end of one (8 steps), and twice.
    for (run, stops) in [("middle", vec![5]), ("edge", vec![8]), ("twice", vec![2, 11])] {
        let path = world.path(run);
        let first = world.train(run, &mut stop_at(stops[0]));
        assert!(matches!(first, Err(Error::Interrupted)), "{first:?}");
        let state = fs::read_to_string(path.join("last/trainer_state.json")).unwrap();
        assert!(
            state.contains(&format!("\"step\": {}", stops[0])),
            "{run}: {state}"
        );
        for stop in &stops[1..] {
            assert!(matches!(
                resume(&path, &mut stop_at(*stop)),
                Err(Error::Interrupted)
            ));
        }
        resume(&path, &mut listen).unwrap();
        assert_same_run(&world.path("whole"), &path);
    }
    // A finished run has nothing left to do.
    resume(&world.path("whole"), &mut listen).unwrap();
    assert_same_run(&world.path("whole"), &world.path("middle"));
}

/// Everything of the recipe that a resumption could upset, in one.
fn rich_recipe(epochs: u64) -> String {
    let settings = "frozen_body_steps = 3\nhead_rate_factor = 10.0\nlayer_decay = 0.7\nema_decay = 0.9\nsave_every_steps";
    let tables = "\n[mixup]\nprobability = 0.5\n\n[shorten]\nprobability = 0.5\nseconds = [0.1, 0.2]\n\n[bandwidth]\nprobability = 0.5\n";
    common::recipe(epochs).replace("save_every_steps", settings) + tables
}

#[test]
fn a_resumed_run_of_every_setting_is_the_uninterrupted_one_too() {
    let world = World::new(&rich_recipe(2));
    world.train("whole", &mut listen).unwrap();
    for (run, stop) in [("frozen", 2), ("thawed", 3), ("later", 11)] {
        let path = world.path(run);
        assert!(matches!(
            world.train(run, &mut stop_at(stop)),
            Err(Error::Interrupted)
        ));
        resume(&path, &mut listen).unwrap();
        assert_same_run(&world.path("whole"), &path);
        let average = |run: &Path| fs::read(run.join("last/average.safetensors")).unwrap();
        assert!(average(&world.path("whole")) == average(&path));
    }
    fs::remove_file(world.path("later/last/average.safetensors")).unwrap();
    let error = resume(&world.path("later"), &mut listen).unwrap_err().to_string();
    assert!(error.contains("average.safetensors"), "{error}");
}

#[test]
fn the_body_stands_still_while_it_is_frozen_and_the_average_is_what_is_kept() {
    let world = World::new(&rich_recipe(1).replace("ema_decay = 0.9", "ema_decay = 0.99"));
    let first = world.config();
    assert!(matches!(
        world.train("run", &mut stop_at(3)),
        Err(Error::Interrupted)
    ));
    let last = Checkpoint::load(&world.path("run/last")).unwrap();
    let mut shape = last.ast.config().clone();
    shape.id2label = last.ast.config().id2label.clone();
    let start = messymash::ast::Ast::random(shape, first.seed).unwrap();
    let parts = start.weights().parts();
    let tensors = start
        .weights()
        .parameters()
        .into_iter()
        .zip(last.ast.weights().parameters());
    for ((before, after), part) in tensors.zip(parts) {
        let moved = before.data != after.data;
        assert_eq!(moved, part == messymash::ast::Part::Head, "{}", before.name);
    }
    let logged = log(&world.path("run"));
    assert_eq!(logged[2]["learning_rate"], 0.0);
    assert!((logged[2]["head_learning_rate"].as_f64().unwrap() - 0.75 * 3e-2).abs() < 1e-9);
    resume(&world.path("run"), &mut listen).unwrap();
    let best = fs::read(world.path("run/best/model.safetensors")).unwrap();
    assert_ne!(best, fs::read(world.path("run/last/model.safetensors")).unwrap());
    let (best, average) = (
        Checkpoint::load(&world.path("run/best")).unwrap(),
        messymash::checkpoint::read_tensors(
            &world.path("run/last/average.safetensors"),
            "",
            last.ast.config(),
        )
        .unwrap(),
    );
    assert_eq!(*best.ast.weights(), average);
}

#[test]
fn mixup_shorten_and_bandwidth_change_the_training_and_off_they_change_nothing() {
    let plain = common::recipe(1);
    let of = |tables: &str| {
        let world = World::new(&format!("{plain}\n{tables}"));
        world.train("run", &mut listen).unwrap();
        fs::read(world.path("run/last/model.safetensors")).unwrap()
    };
    let without = of("");
    let off = of(
        "[mixup]\nprobability = 0.0\nalpha = 5.0\n[shorten]\nprobability = 0.0\n[bandwidth]\nprobability = 0.0",
    );
    assert!(without == off);
    let mixed = of("[mixup]\nprobability = 0.5");
    let cut = of("[bandwidth]\nprobability = 0.5");
    let short = of("[shorten]\nprobability = 0.5\nseconds = [0.1, 0.2]");
    let all = [without, mixed, short, cut];
    assert!((1..4).all(|i| all[..i].iter().all(|other| *other != all[i])));
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let world = World::new(&common::recipe(1));
    for (run, threads) in [("one", 1), ("three", 3)] {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| world.train(run, &mut listen)).unwrap();
    }
    assert_same_run(&world.path("one"), &world.path("three"));
}

#[test]
fn nothing_of_a_validation_song_or_its_noise_reaches_training() {
    let world = World::new(&common::recipe(1));
    world.train("run", &mut listen).unwrap();
    let split = Split::load(&world.path("run/split.json")).unwrap();
    assert_eq!((split.train.len(), split.validation.len()), (6, 2));
    assert_eq!(
        (split.validation_folds.clone(), split.train_folds.len()),
        (vec![5], 4)
    );
    let data = MessyMashup::open(&[world.path("data")], &Default::default()).unwrap();
    let options = RemixOptions {
        seconds: 0.26,
        ..RemixOptions::default()
    };
    let remixer = Remixer::new(&data, &split.train, &split.train_folds, options).unwrap();
    for index in 0..200 {
        let remix = remixer.draw(3, 0, index).unwrap();
        assert!(
            remix.songs().iter().all(|song| split.train.contains(song)),
            "{remix:?}"
        );
        assert!(
            remix.noises.iter().all(|noise| !noise.id.contains("/5-")),
            "{remix:?}"
        );
    }
}

#[test]
fn fine_tuning_keeps_the_body_and_says_that_the_head_is_new() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/model/small/hf");
    let shape = common::recipe(1);
    let (head, rest) = shape.split_once("[model]").unwrap();
    let (_, rest) = rest.split_once("[validation]").unwrap();
    // With a learning rate of zero the body must come out as it went in.
    let head = head.replace("learning_rate = 3e-3", "learning_rate = 0.0");
    let world = World::new(&format!(
        "init = {:?}\n{head}[validation]{rest}",
        golden.to_str().unwrap()
    ));
    let mut notes = String::new();
    world
        .train("run", &mut |event| {
            if let TrainEvent::Note(note) = event {
                notes.push_str(&note);
            }
            Ok(())
        })
        .unwrap();
    assert!(
        notes.contains("(5 labels) is replaced by a new, untrained one (2 labels)"),
        "{notes}"
    );
    let (before, after) = (
        Checkpoint::load(&golden).unwrap(),
        Checkpoint::load(&world.path("run/last")).unwrap(),
    );
    for (a, b) in before
        .ast
        .weights()
        .parameters()
        .iter()
        .zip(after.ast.weights().parameters())
    {
        if a.name.starts_with("classifier.dense") {
            assert_ne!(a.shape, b.shape);
        } else if !a.name.starts_with("classifier.") {
            assert_eq!(*a, b);
        }
    }
    assert_eq!(after.ast.config().labels(), ["blues", "rock"]);
}

#[test]
fn what_cannot_be_trained_on_is_told_before_the_first_step() {
    let world = World::new(&common::recipe(1));
    let never = &mut |event| match event {
        TrainEvent::Step { .. } => panic!("a step was taken"),
        _ => Ok(()),
    };
    // A folder in use.
    fs::create_dir_all(world.path("full")).unwrap();
    fs::write(world.path("full/thesis.txt"), "years of work").unwrap();
    let error = world.train("full", never).unwrap_err().to_string();
    assert!(error.contains("not empty"), "{error}");
    // A stem that is no sound.
    let stem = world.path("data/genres_stems/rock/song1/bass.wav");
    let sound = fs::read(&stem).unwrap();
    fs::write(&stem, "not a sound").unwrap();
    let error = world.train("run", never).unwrap_err().to_string();
    assert!(
        error.contains("song1/bass.wav") && error.contains("cannot be read"),
        "{error}"
    );
    // A stem that is not there.
    fs::remove_file(&stem).unwrap();
    let error = world.train("run", never).unwrap_err().to_string();
    assert!(error.contains("rock/song1 (bass)"), "{error}");
    assert!(!world.path("run").exists(), "nothing is left behind");
    fs::write(&stem, sound).unwrap();
    world.train("run", &mut listen).unwrap();
    // A run whose data has changed under it.
    fs::remove_dir_all(world.path("data/genres_stems/blues/song0")).unwrap();
    let error = resume(&world.path("run"), never).unwrap_err().to_string();
    assert!(error.contains("blues/song0"), "{error}");
    let error = resume(&world.path("data"), never).unwrap_err().to_string();
    assert!(error.contains("no run directory"), "{error}");
}

#[test]
fn a_start_that_fails_leaves_nothing_behind() {
    let world = World::new(&common::recipe(1));
    let esc = world.path("data/ESC-50-master");
    fs::rename(&esc, world.path("noise")).unwrap();
    let error = world.train("run", &mut listen).unwrap_err().to_string();
    assert!(error.contains("noise"), "{error}");
    assert!(!world.path("run").exists());
    fs::rename(world.path("noise"), &esc).unwrap();
    fs::remove_dir_all(world.path("data/genres_stems")).unwrap();
    let error = world.train("run", &mut listen).unwrap_err().to_string();
    assert!(error.contains("genres_stems"), "{error}");
    assert!(!world.path("run").exists());
}

#[test]
fn a_run_without_its_last_state_is_not_begun_anew() {
    let world = World::new(&common::recipe(1));
    world.train("run", &mut listen).unwrap();
    fs::rename(world.path("run/last"), world.path("elsewhere")).unwrap();
    let (log, best) = (
        fs::read(world.path("run/metrics.jsonl")).unwrap(),
        fs::read(world.path("run/best/model.safetensors")).unwrap(),
    );
    let error = resume(&world.path("run"), &mut listen).unwrap_err().to_string();
    assert!(error.contains("last/ is gone"), "{error}");
    assert_eq!(fs::read(world.path("run/metrics.jsonl")).unwrap(), log);
    assert_eq!(fs::read(world.path("run/best/model.safetensors")).unwrap(), best);
    // What a killed process was writing is swept away.
    fs::rename(world.path("elsewhere"), world.path("run/last")).unwrap();
    fs::create_dir(world.path("run/.messymash-x1")).unwrap();
    resume(&world.path("run"), &mut listen).unwrap();
    assert!(!world.path("run/.messymash-x1").exists());
}

#[test]
fn a_run_is_resumed_from_another_folder() {
    // Paths in the recipe are relative to where the training was started.
    let world = World::new(&common::recipe(1));
    let here = std::env::current_dir().unwrap();
    let relative = pathdiff(&world.path("noise"), &here);
    fs::create_dir(world.path("noise")).unwrap();
    messymash::Waveform::new(common::hiss(1, 16_000, 0.1), common::RATE)
        .write_wav(world.path("noise/rain.wav"))
        .unwrap();
    let mut config = world.config();
    config.data.extra_noise = vec![relative];
    train(&config, &[world.path("data")], &world.path("run"), &mut listen).unwrap();
    let saved = TrainConfig::load(&world.path("run/config.toml")).unwrap();
    assert!(
        saved.data.extra_noise[0].is_absolute(),
        "{:?}",
        saved.data.extra_noise
    );
}

/// `to` as seen from `from`, both absolute.
fn pathdiff(to: &Path, from: &Path) -> PathBuf {
    let up = from.components().skip(1).map(|_| "..");
    up.collect::<PathBuf>().join(to.strip_prefix("/").unwrap())
}

#[test]
fn two_trainings_do_not_share_a_folder() {
    let world = World::new(&common::recipe(1));
    let path = world.path("run");
    let mut refused = None;
    world
        .train("run", &mut |event| {
            if matches!(event, TrainEvent::Step { step: 1, .. }) {
                refused = resume(&path, &mut listen).err().map(|e| e.to_string());
            }
            Ok(())
        })
        .unwrap();
    assert!(refused.unwrap().contains("another process is training"));
}

#[test]
fn a_recipe_with_a_mistake_names_it() {
    let world = World::new("");
    let path = world.path("recipe.toml");
    for (recipe, named) in [
        ("epoch = 3", "epoch"),
        ("epochs = \"3\"", "epochs"),
        ("epochs = 0", "epochs is 0"),
        ("[remix]\ngain = [1.0, 0.5]", "remix.gain"),
        ("[remix]\ngian = [0.5, 1.0]", "remix.gian"),
        ("micro_batch = 7", "micro_batch 7 does not divide batch_size 32"),
        ("label_smoothing = 1.0", "label_smoothing"),
        ("learning_rate = -1.0", "learning_rate"),
        ("learning_rate = nan", "learning_rate"),
        ("layer_decay = 0.0", "layer_decay"),
        ("layer_decay = 1.1", "layer_decay"),
        ("head_rate_factor = -1.0", "head_rate_factor"),
        ("ema_decay = 1.0", "ema_decay"),
        ("[mixup]\nprobability = 1.5", "mixup.probability"),
        ("[mixup]\nalpha = 0.0", "mixup.alpha"),
        (
            "batch_size = 1\nmicro_batch = 1\n[mixup]\nprobability = 0.1",
            "batch_size is 1",
        ),
        ("[shorten]\nprobability = 2.0", "shorten.probability"),
        ("[shorten]\nseconds = [0.0, 5.0]", "shorten.seconds"),
        ("[bandwidth]\nprobability = nan", "bandwidth.probability"),
        ("[bandwidth]\nhertz = [8000.0, 5000.0]", "bandwidth.hertz"),
        ("frozen_body_steps = 99999999999", "frozen_body_steps"),
        ("init = \"x\"\n[model]\nhidden_size = 8", "init"),
        ("loader_threads = 1000000", "loader_threads"),
        ("epochs = 99999999999", "epochs"),
        ("seed = [", "TOML"),
    ] {
        fs::write(&path, recipe).unwrap();
        let error = TrainConfig::load(&path).unwrap_err().to_string();
        assert!(
            error.contains(named) && error.contains("recipe.toml"),
            "{recipe}: {error}"
        );
    }
    fs::write(&path, "").unwrap();
    assert_eq!(TrainConfig::load(&path).unwrap(), TrainConfig::default());
}

/// The folder of the repository's recipes.
fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs")
}

#[test]
fn every_recipe_of_the_repository_is_valid() {
    let recipes: Vec<PathBuf> = [configs(), configs().join("ablation")]
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.is_dir())
        .collect();
    assert!(recipes.len() >= 7, "{recipes:?}");
    for recipe in recipes {
        TrainConfig::load(&recipe).unwrap();
    }
}

#[test]
fn recipes_of_the_ablation_differ_in_what_their_names_say() {
    let [own, cross, noise, full] = ["1-own-song", "2-cross-song", "3-noise", "4-full"]
        .map(|name| TrainConfig::load(&configs().join(format!("ablation/{name}.toml"))).unwrap());
    assert_eq!(own.remix.own_song_probability, 1.0);
    assert!(!own.remix.wants_noise());
    let mut same = own.clone();
    same.remix.own_song_probability = 0.0;
    assert_eq!(same, cross);
    same.remix.noise_counts = RemixOptions::default().noise_counts;
    assert_eq!(same, noise);
    // All of the last step, and nothing else.
    same.remix = RemixOptions {
        gain_probability: full.remix.gain_probability,
        gain: full.remix.gain,
        tempo_probability: full.remix.tempo_probability,
        tempo: full.remix.tempo,
        ..same.remix
    };
    same.specaugment = full.specaugment.clone();
    (same.mixup, same.bandwidth) = (full.mixup.clone(), full.bandwidth.clone());
    assert_eq!(same, full);
    for probability in [
        full.remix.gain_probability,
        full.remix.tempo_probability,
        full.mixup.probability,
        full.bandwidth.probability,
    ] {
        assert!(probability > 0.0);
    }
    assert_eq!(
        (noise.specaugment.frequency_masks, noise.specaugment.time_masks),
        (0, 0)
    );
    assert!(full.specaugment.frequency_masks > 0 && full.specaugment.time_masks > 0);
    // Twelve runs of some six minutes on two cores.
    assert!(own.epochs * own.mashups_per_epoch <= 21_000);
}
