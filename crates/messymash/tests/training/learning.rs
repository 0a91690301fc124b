//! What a training learns, and what it must not hear.

use super::*;

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
fn what_trained_the_model_that_a_run_begins_from_does_not_judge_it() {
    let world = World::new(&common::recipe(1));
    world.train("first", &mut listen).unwrap();
    let shape = common::recipe(1);
    let (head, rest) = shape.split_once("[model]").unwrap();
    let (_, rest) = rest.split_once("[validation]").unwrap();
    let begin = |init: &Path, rest: &str| {
        let recipe = format!("init = {:?}\n{head}[validation]{rest}", init.to_str().unwrap());
        fs::write(world.path("recipe.toml"), recipe).unwrap();
    };
    let mut notes = String::new();
    let mut note = |event| {
        if let TrainEvent::Note(note) = event {
            notes += &note;
        }
        Ok(())
    };
    // With this seed other songs would judge.
    let seeded = rest.replacen("mashups = 32", "mashups = 32\nseed = 3", 1);
    assert_ne!(rest, seeded);
    let first = Split::load(&world.path("first/split.json")).unwrap();
    let data = MessyMashup::open(&[world.path("data")], &Default::default()).unwrap();
    assert_ne!(
        Split::by_song(&data, 0.25, &[5], 3).unwrap().validation,
        first.validation
    );
    begin(&world.path("first/best"), &seeded);
    world.train("second", &mut note).unwrap();
    let second = Split::load(&world.path("second/split.json")).unwrap();
    assert_eq!(second.validation, first.validation);
    assert!(
        notes.contains("trained on 6 of the 8 songs; they do not judge"),
        "{notes}"
    );

    // All heard: nobody is left to judge, unless training songs shall.
    begin(&world.path("second/best"), rest);
    let link = world.path("link");
    #[cfg(unix)]
    std::os::unix::fs::symlink(world.path("second/best"), &link).unwrap();
    #[cfg(unix)]
    begin(&link, rest);
    let data = world.path("data/genres_stems");
    for song in &first.validation {
        fs::remove_dir_all(data.join(song)).unwrap();
    }
    let error = world.train("third", &mut listen).unwrap_err().to_string();
    assert!(error.contains("every song of the data trained"), "{error}");
    let mut config = world.config();
    (config.validation.fraction, config.epochs) = (0.0, 1);
    let mut notes = String::new();
    let mut note = |event| {
        if let TrainEvent::Note(note) = event {
            notes += &note;
        }
        Ok(())
    };
    train(&config, &[world.path("data")], &world.path("all"), &mut note).unwrap();
    assert!(
        notes.contains("6 of the 6 songs, and training songs judge"),
        "{notes}"
    );

    // The model that comes with the library has heard noise of fold 5.
    begin(Path::new("bundled"), rest);
    let error = world.train("third", &mut listen).unwrap_err().to_string();
    assert!(
        error.contains("noise_folds names 5") && error.contains("[4]"),
        "{error}"
    );
    let head_only = rest.replacen("noise_folds = [5]", "noise_folds = [4]", 1);
    assert_ne!(rest, head_only);
    begin(Path::new("bundled"), &head_only);
    let mut config = world.config();
    (config.mashups_per_epoch, config.batch_size, config.micro_batch) = (2, 2, 2);
    (config.validation.mashups, config.learning_rate) = (2, 0.0);
    train(&config, &[world.path("data")], &world.path("third"), &mut listen).unwrap();
    let third = Checkpoint::load(&world.path("third/last")).unwrap();
    assert_eq!(third.ast.config().labels(), ["blues", "rock"]);
    let bundled = Path::new(env!("CARGO_MANIFEST_DIR")).join("model");
    let bundled = Checkpoint::load(&bundled).unwrap();
    assert_eq!(
        third.ast.weights().layernorm.weight,
        bundled.ast.weights().layernorm.weight
    );
    let before = Split::load(&world.path("third/split.json")).unwrap().before;
    assert!(
        before.songs.iter().any(|song| song.starts_with("jazz/")),
        "{before:?}"
    );
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
