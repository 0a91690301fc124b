//! Recipes: those of the repository, and those with a mistake.

use super::*;

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
