//! What a mashup sounds like, by measuring it.

use super::*;

/// The music of a mashup alone.
fn without_noise(remixer: &Remixer, remix: &Remix) -> Waveform {
    let noises = Vec::new();
    remixer
        .render(&Remix {
            noises,
            ..remix.clone()
        })
        .unwrap()
}

#[test]
fn every_mashup_is_audible_bounded_and_as_long_as_asked() {
    let remixer = remixer(RemixOptions::default());
    for index in 0..60 {
        let (remix, sound) = remixer.make(11, 0, index).unwrap();
        assert_eq!(sound.samples.len(), 164_160);
        assert_eq!(sound.sample_rate, RATE);
        assert!(sound.samples.iter().all(|x| x.is_finite()));
        assert!(power(&sound.samples) > 1e-4, "mashup {index}");
        let level = remix.level.unwrap();
        assert!((0.5..=1.0).contains(&level));
        assert!(
            (f64::from(peak(&sound.samples)) - level).abs() < 1e-6,
            "mashup {index}"
        );
        assert_eq!(remix.genre, GENRES[index as usize % 2]);
    }
}

#[test]
fn with_nothing_optional_it_is_the_sum_of_its_stems() {
    let (data, cache) = world(plain);
    let remixer = Remixer::with_cache(&data, &all_songs(&data), &[1], bare(), Arc::clone(&cache)).unwrap();
    for index in 0..10 {
        let (remix, sound) = remixer.make(3, 1, index).unwrap();
        let mut sum = vec![0.0f32; sound.samples.len()];
        for part in &remix.parts {
            assert_eq!((part.gain, part.tempo, part.looped), (1.0, 1.0, false));
            let path = PathBuf::from(format!("/memory/{}/{}.wav", part.song, part.stem.name()));
            for (out, x) in sum.iter_mut().zip(&cache.get(&path).unwrap()[part.start..]) {
                *out += x;
            }
        }
        assert_eq!(remix.snr_db, None);
        assert_eq!(sound.samples, sum);
    }
}

#[test]
fn a_whole_song_is_the_sum_of_its_own_stems_at_full_level() {
    let (data, cache) = world(plain);
    let songs = all_songs(&data);
    let remixer =
        Remixer::with_cache(&data, &songs, &[1], RemixOptions::default(), Arc::clone(&cache)).unwrap();
    let (remix, sound) = remixer.whole(&songs[1]).unwrap();
    assert_eq!((remix.songs(), remix.noises.len()), (vec![songs[1].clone()], 0));
    assert_eq!(sound.samples.len(), 15 * RATE as usize);
    let mut sum = vec![0.0f32; sound.samples.len()];
    for stem in Stem::ALL {
        let path = PathBuf::from(format!("/memory/{}/{}.wav", songs[1], stem.name()));
        for (out, x) in sum.iter_mut().zip(&cache.get(&path).unwrap()[..]) {
            *out += x;
        }
    }
    let scale = 1.0 / peak(&sum);
    for (x, wanted) in sound.samples.iter().zip(&sum) {
        assert!((x - wanted * scale).abs() < 1e-6);
    }
    let error = remixer.whole("rock/nobody").unwrap_err().to_string();
    assert!(error.contains("rock/nobody"), "{error}");
}

#[test]
fn the_snr_is_as_asked_over_the_noises_span() {
    let options = RemixOptions {
        noise_counts: [0.0, 1.0, 0.0, 0.0],
        snr_probability: 1.0,
        level_probability: 0.0,
        ..RemixOptions::default()
    };
    let remixer = remixer_of(
        |id, stem| plain(id, stem).iter().map(|x| x * 0.3).collect(),
        options,
    );
    for index in 0..20 {
        let (remix, sound) = remixer.make(4, 0, index).unwrap();
        let clean = without_noise(&remixer, &remix);
        let noise = &remix.noises[0];
        let Loudness::SnrDb(asked) = noise.loudness else {
            panic!("by SNR only")
        };
        assert!(
            peak(&sound.samples) < 1.0,
            "scaled down, which this test does not expect"
        );
        let span = noise.at..noise.at + noise.length;
        let added: Vec<f32> = sound
            .samples
            .iter()
            .zip(&clean.samples)
            .map(|(a, b)| a - b)
            .collect();
        let measured = 10.0 * (power(&clean.samples[span.clone()]) / power(&added[span.clone()])).log10();
        assert!((measured - asked).abs() < 0.1, "{measured} dB for {asked} dB");
        assert!(
            added[..span.start]
                .iter()
                .chain(&added[span.end..])
                .all(|x| *x == 0.0)
        );
        let overall = 10.0 * (power(&clean.samples) / power(&added)).log10();
        assert!((overall - remix.snr_db.unwrap()).abs() < 0.1);
        assert!((5.0..=28.0).contains(&asked));
    }
}

#[test]
fn an_amplitude_is_relative_to_the_musics_peak() {
    let options = RemixOptions {
        noise_counts: [0.0, 1.0, 0.0, 0.0],
        snr_probability: 0.0,
        half_rate_probability: 0.0,
        level_probability: 0.0,
        ..bare()
    };
    let (data, cache) = world(|id, stem| plain(id, stem).iter().map(|x| x * 0.3).collect());
    let remixer = Remixer::with_cache(&data, &all_songs(&data), &[3], options, Arc::clone(&cache)).unwrap();
    let (remix, sound) = remixer.make(4, 0, 0).unwrap();
    let clean = without_noise(&remixer, &remix);
    let noise = &remix.noises[0];
    let Loudness::Amplitude(amplitude) = noise.loudness else {
        panic!("by amplitude only")
    };
    let clip = cache
        .get(Path::new(&format!("/memory/{}.wav", noise.id)))
        .unwrap();
    let gain = amplitude as f32 * peak(&clean.samples);
    for i in 0..noise.length {
        let expected = clean.samples[noise.at + i] + gain * clip[noise.start + i];
        assert!((sound.samples[noise.at + i] - expected).abs() < 1e-6);
    }
}

#[test]
fn each_option_has_its_effect_and_only_that() {
    let draws = |options: RemixOptions| -> Vec<Remix> {
        let remixer = remixer(options);
        (0..40).map(|index| remixer.draw(6, 0, index).unwrap()).collect()
    };
    let gains = |remix: &Remix| remix.parts.iter().map(|part| part.gain).collect::<Vec<_>>();
    let tempos = |remix: &Remix| remix.parts.iter().map(|part| part.tempo).collect::<Vec<_>>();

    for remix in draws(bare()) {
        assert_eq!((gains(&remix), tempos(&remix)), (vec![1.0; 4], vec![1.0; 4]));
        assert_eq!((remix.noises.len(), remix.level), (0, None));
    }
    for remix in draws(RemixOptions {
        gain_probability: 1.0,
        gain: [0.5, 0.7],
        ..bare()
    }) {
        assert!(gains(&remix).iter().all(|gain| (0.5..=0.7).contains(gain)));
        assert_ne!(gains(&remix)[0], gains(&remix)[1]);
        assert_eq!(tempos(&remix), [1.0; 4]);
    }
    for remix in draws(RemixOptions {
        tempo_probability: 1.0,
        tempo: [1.1, 1.2],
        ..bare()
    }) {
        assert!((1.095..=1.205).contains(&tempos(&remix)[0]));
        assert!(tempos(&remix).iter().all(|tempo| *tempo == tempos(&remix)[0]));
    }
    let by_stem = RemixOptions {
        tempo_probability: 0.5,
        tempo_scope: TempoScope::Stem,
        ..bare()
    };
    assert!(
        draws(by_stem)
            .iter()
            .any(|remix| tempos(remix).iter().any(|tempo| *tempo != tempos(remix)[0]))
    );
    for remix in draws(RemixOptions {
        own_song_probability: 1.0,
        ..bare()
    }) {
        assert_eq!(remix.songs().len(), 1);
        assert!(remix.parts.iter().all(|part| part.start == remix.parts[0].start));
    }
    let dropped = draws(RemixOptions {
        stem_dropout: 0.5,
        ..bare()
    });
    let counts: HashSet<usize> = dropped.iter().map(|remix| remix.parts.len()).collect();
    assert!(counts.len() >= 3 && !counts.contains(&0), "{counts:?}");
    assert!(
        draws(RemixOptions {
            stem_dropout: 1.0,
            ..bare()
        })
        .iter()
        .all(|remix| remix.parts.len() == 1)
    );

    let noisy = draws(RemixOptions {
        noise_counts: [0.25; 4],
        half_rate_probability: 0.5,
        ..bare()
    });
    let counts: HashSet<usize> = noisy.iter().map(|remix| remix.noises.len()).collect();
    assert_eq!(counts, HashSet::from([0, 1, 2, 3]));
    let noises: Vec<&Noise> = noisy.iter().flat_map(|remix| &remix.noises).collect();
    assert!(noises.iter().any(|noise| noise.tempo == 0.5) && noises.iter().any(|noise| noise.tempo == 1.0));
    assert!(
        noises
            .iter()
            .any(|noise| matches!(noise.loudness, Loudness::SnrDb(_)))
    );
    assert!(
        noises
            .iter()
            .any(|noise| matches!(noise.loudness, Loudness::Amplitude(_)))
    );
    assert!(noises.iter().any(|noise| noise.start > 0) && noises.iter().any(|noise| noise.at > 0));
    assert!(noises.iter().all(|noise| noise.length >= 5 * RATE as usize / 2));
    let levels = draws(RemixOptions {
        level_probability: 1.0,
        level: [0.25, 0.26],
        ..bare()
    });
    assert!(
        levels
            .iter()
            .all(|remix| (0.25..=0.26).contains(&remix.level.unwrap()))
    );
}

#[test]
fn stems_are_brought_to_one_beat() {
    // Bursts on every beat; each song has a tempo of its own, within reach of the others. Vocals have no beat.
    let per_minute = |id: &str| 100.0 + 4.0 * f64::from(id.as_bytes()[id.len() - 1] - b'0');
    let pulsing = |id: &str, stem: Stem| -> Vec<f32> {
        let mut sound = plain(id, stem);
        if stem != Stem::Vocals {
            let every = 60.0 / per_minute(id);
            for (i, x) in sound.iter_mut().enumerate() {
                let since = i as f64 / f64::from(RATE) % every;
                *x *= (-since / 0.03).exp() as f32 + 0.001;
            }
        }
        sound
    };
    let remixer = remixer_of(
        pulsing,
        RemixOptions {
            tempo_probability: 1.0,
            tempo: [0.8, 1.25],
            tempo_scope: TempoScope::Beat,
            seconds: 5.0,
            ..bare()
        },
    );
    let mut changed = 0;
    for index in 0..40 {
        let (remix, sound) = remixer.make(4, 0, index).unwrap();
        assert_eq!(remixer.render(&remix).unwrap(), sound);
        let anchor = per_minute(&remix.parts[0].song);
        assert_eq!((remix.parts[0].stem, remix.parts[0].tempo), (Stem::Drums, 1.0));
        for part in &remix.parts {
            if part.stem == Stem::Vocals {
                assert_eq!(part.tempo, 1.0);
            } else {
                let heard = per_minute(&part.song) * part.tempo;
                assert!((heard / anchor - 1.0).abs() < 0.012, "{heard} against {anchor}");
                changed += usize::from(part.tempo != 1.0);
            }
        }
    }
    assert!(changed > 40, "{changed}");
}

#[test]
fn short_stems_are_looped() {
    let short = |id: &str, stem: Stem| plain(id, stem)[..2 * RATE as usize].to_vec();
    let remixer = remixer_of(short, RemixOptions::default());
    for index in 0..10 {
        let (remix, sound) = remixer.make(1, 0, index).unwrap();
        assert!(remix.parts.iter().all(|part| part.looped));
        assert!(
            sound.samples.chunks(8_000).all(|chunk| power(chunk) > 1e-4),
            "mashup {index} has a hole"
        );
    }
}
