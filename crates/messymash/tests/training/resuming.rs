//! Runs that stop, go on, and move.

use super::*;

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
fn what_was_changed_in_a_run_is_noticed() {
    let world = World::new(&common::recipe(2));
    let stopped = world.train("run", &mut stop_at(3));
    assert!(matches!(stopped, Err(Error::Interrupted)));
    let split = world.path("run/split.json");
    let was = fs::read_to_string(&split).unwrap();
    let swapped = was
        .replace("\"validation\"", "x")
        .replace("\"train\"", "\"validation\"")
        .replace('x', "\"train\"");
    fs::write(&split, swapped).unwrap();
    let error = resume(&world.path("run"), &mut listen).unwrap_err().to_string();
    assert!(
        error.contains("split.json") && error.contains("was changed"),
        "{error}"
    );
    fs::write(&split, was).unwrap();
    let mut notes = Vec::new();
    let mut heard = |event| {
        if let TrainEvent::Note(note) = event {
            notes.push(note);
        }
        Ok(())
    };
    let recipe = world.path("run/config.toml");
    let was = fs::read_to_string(&recipe).unwrap();
    fs::write(&recipe, was.replacen("epochs = 2", "epochs = 3", 1)).unwrap();
    resume(&world.path("run"), &mut heard).unwrap();
    assert!(notes[0].starts_with("config.toml was changed"), "{notes:?}");
    assert!(Path::new(&world.path("run/best")).is_dir());
    // Once noticed and saved, it is how the run is.
    notes.clear();
    let mut heard = |event| {
        if let TrainEvent::Note(note) = event {
            notes.push(note);
        }
        Ok(())
    };
    resume(&world.path("run"), &mut heard).unwrap();
    assert!(notes[0].starts_with("resumed after"), "{notes:?}");
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
