//! Recipes that are kept, sent, and written by hand.

use super::*;

#[test]
fn a_recipe_remakes_the_sound_sample_for_sample_after_json() {
    for scope in [TempoScope::Mashup, TempoScope::Stem] {
        let options = RemixOptions {
            tempo_scope: scope,
            tempo_probability: 0.7,
            ..RemixOptions::default()
        };
        let remixer = remixer(options);
        for index in 0..20 {
            let (remix, sound) = remixer.make(5, 2, index).unwrap();
            let text = serde_json::to_string(&remix).unwrap();
            let again: Remix = serde_json::from_str(&text).unwrap();
            assert_eq!(again, remix);
            assert_eq!(remixer.render(&again).unwrap(), sound);
            assert_eq!(remixer.draw(5, 2, index).unwrap(), remix);
        }
    }
}

#[test]
fn a_recipe_of_stems_that_have_gone_silent_is_an_error() {
    let remix = remixer(bare()).draw(1, 0, 0).unwrap();
    let silent = remixer_of(|_, _| vec![0.0; 15 * RATE as usize], bare());
    assert!(silent.render(&remix).unwrap_err().to_string().contains("silence"));
}

#[test]
fn contradictory_recipes_are_errors_and_never_panics() {
    let remixer = remixer(RemixOptions {
        noise_counts: [0.0, 1.0, 0.0, 0.0],
        ..RemixOptions::default()
    });
    let good = remixer.draw(1, 0, 0).unwrap();
    let wrong: [fn(&mut Remix); 14] = [
        |r| r.sample_rate = 8_000,
        |r| r.samples = 0,
        |r| r.samples = usize::MAX,
        |r| r.samples = 60 * 16_000,
        |r| r.parts.clear(),
        |r| r.parts[0].song = "blues/nobody".into(),
        |r| r.parts[0].start = usize::MAX,
        |r| r.parts[0].tempo = 0.0,
        |r| r.parts[0].gain = f64::INFINITY,
        |r| r.level = Some(0.0),
        |r| r.noises[0].id = "nothing".into(),
        |r| r.noises[0].at = usize::MAX,
        |r| r.noises[0].start = usize::MAX,
        |r| r.noises[0].loudness = Loudness::SnrDb(f64::NAN),
    ];
    for (number, change) in wrong.iter().enumerate() {
        let mut remix = good.clone();
        change(&mut remix);
        assert!(
            matches!(remixer.render(&remix), Err(Error::Config(_))),
            "case {number}"
        );
    }
}

#[test]
fn a_hand_written_recipe_is_played_as_written() {
    let remixer = remixer(bare());
    let remix = Remix {
        genre: "rock".into(),
        seed: 0,
        epoch: 0,
        index: 0,
        sample_rate: RATE,
        samples: 1_000,
        parts: vec![Part {
            stem: Stem::Bass,
            song: "rock/song1".into(),
            start: 50,
            looped: false,
            gain: -0.5,
            tempo: 1.0,
        }],
        noises: Vec::new(),
        level: None,
        snr_db: None,
    };
    let expected: Vec<f32> = plain("rock/song1", Stem::Bass)[50..1_050]
        .iter()
        .map(|x| x * -0.5)
        .collect();
    assert_eq!(remixer.render(&remix).unwrap(), Waveform::new(expected, RATE));
}

#[test]
fn frozen_sets_are_written_and_read_again() {
    let folder = tempfile::TempDir::new().unwrap();
    let set = folder.path().join("set");
    let remixer = remixer(RemixOptions {
        seconds: 1.0,
        ..RemixOptions::default()
    });
    let mut written = Vec::new();
    write_remixes(&remixer, 7, 3, &set, &mut |count| {
        written.push(count);
        Ok(())
    })
    .unwrap();
    assert_eq!(written, [1, 2, 3]);
    let read = read_remixes(&set).unwrap();
    assert_eq!(read.len(), 3);
    for (index, (path, remix)) in read.iter().enumerate() {
        assert_eq!(*path, set.join(format!("{index:05}.wav")));
        let (drawn, sound) = remixer.make(7, 0, index as u64).unwrap();
        assert_eq!(*remix, drawn);
        let file = Waveform::open(path).unwrap();
        assert_eq!((file.samples.len(), file.sample_rate), (16_000, RATE));
        let error = file
            .samples
            .iter()
            .zip(&sound.samples)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(error < 1.0 / 32_000.0, "{error}");
    }
    let again = write_remixes(&remixer, 7, 3, &set, &mut |_| Ok(()));
    assert!(matches!(again, Err(Error::Config(message)) if message.contains("another folder")));

    std::fs::remove_file(set.join("00001.wav")).unwrap();
    let message = read_remixes(&set).unwrap_err().to_string();
    assert!(
        message.contains("line 2") && message.contains("00001.wav"),
        "{message}"
    );
    std::fs::write(set.join("recipes.jsonl"), "{\"file\": \"../x.wav\"}\n").unwrap();
    assert!(matches!(read_remixes(&set), Err(Error::Dataset { .. })));

    let stopped = folder.path().join("stopped");
    let result = write_remixes(&remixer, 7, 3, &stopped, &mut |_| Err(Error::Interrupted));
    assert!(matches!(result, Err(Error::Interrupted)));
    assert!(read_remixes(&stopped).is_err(), "an unfinished set is not a set");
    write_remixes(&remixer, 7, 2, &stopped, &mut |_| Ok(())).unwrap();
    assert_eq!(read_remixes(&stopped).unwrap().len(), 2);
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    let folder = tempfile::TempDir::new().unwrap();
    let cache = StemCache::new(1, RATE);
    let path = folder.path().join("bass.wav");
    assert!(cache.get(&path).unwrap_err().to_string().contains("bass.wav"));
    std::fs::write(&path, b"not sound").unwrap();
    assert!(matches!(cache.get(&path), Err(Error::Dataset { path: named, .. }) if named == path));
    Waveform::new(vec![0.5; 100], RATE).write_wav(&path).unwrap();
    assert!(matches!(cache.get(&path), Err(Error::Dataset { path: named, .. }) if named == path));
    Waveform::new(vec![0.5; 44_100], 44_100).write_wav(&path).unwrap();
    assert_eq!(cache.get(&path).unwrap().len(), RATE as usize);
}
