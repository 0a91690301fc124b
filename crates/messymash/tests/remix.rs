//! Mashups from stems that are put into the cache: no file is decoded here.
// A failed unwrap is a failed test, in helpers too.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{RATE, hiss};
use messymash::dataset::{MessyMashup, NoiseClip, Song, Split, Stem};
use messymash::remix::{
    Loudness, Noise, Part, Remix, RemixOptions, Remixer, StemCache, TempoScope, read_remixes, write_remixes,
};
use messymash::{Error, Waveform};

const GENRES: [&str; 2] = ["blues", "rock"];

/// Two genres of six songs with four stems of 15 s, and ten noises of 5 s in five folds. `stem` gives the sound of a stem.
fn world(stem: impl Fn(&str, Stem) -> Vec<f32>) -> (MessyMashup, Arc<StemCache>) {
    let cache = Arc::new(StemCache::new(256, RATE));
    let mut data = MessyMashup {
        genres: GENRES.map(str::to_string).to_vec(),
        songs: Vec::new(),
        noises: Vec::new(),
        mashups: Vec::new(),
        ignored: Vec::new(),
        missing: Vec::new(),
    };
    for (genre, name) in GENRES.iter().enumerate() {
        for number in 0..6 {
            let id = format!("{name}/song{number}");
            let stems = Stem::ALL.map(|kind| {
                let path = PathBuf::from(format!("/memory/{id}/{}.wav", kind.name()));
                cache.insert(&path, stem(&id, kind));
                Some(path)
            });
            data.songs.push(Song { id, genre, stems });
        }
    }
    for number in 0..10u32 {
        let path = PathBuf::from(format!("/memory/noise{number}.wav"));
        cache.insert(&path, hiss(900 + u64::from(number), 5 * RATE as usize, 0.3));
        data.noises.push(NoiseClip {
            id: format!("noise{number}"),
            path,
            fold: 1 + number % 5,
        });
    }
    (data, cache)
}

/// Hiss that differs between songs and stems.
fn plain(id: &str, stem: Stem) -> Vec<f32> {
    let seed = id.bytes().fold(stem.index() as u64 + 1, |seed, byte| {
        seed.wrapping_mul(257).wrapping_add(byte.into())
    });
    hiss(seed, 15 * RATE as usize, 0.2)
}

fn all_songs(data: &MessyMashup) -> Vec<String> {
    data.songs.iter().map(|song| song.id.clone()).collect()
}

fn remixer(options: RemixOptions) -> Remixer {
    remixer_of(plain, options)
}

fn remixer_of(stem: impl Fn(&str, Stem) -> Vec<f32>, options: RemixOptions) -> Remixer {
    let (data, cache) = world(stem);
    Remixer::with_cache(&data, &all_songs(&data), &[1, 2, 3, 4, 5], options, cache).unwrap()
}

/// Nothing optional: the sum of four stems.
fn bare() -> RemixOptions {
    RemixOptions {
        gain_probability: 0.0,
        tempo_probability: 0.0,
        noise_counts: [1.0, 0.0, 0.0, 0.0],
        level_probability: 0.0,
        ..RemixOptions::default()
    }
}

fn power(samples: &[f32]) -> f64 {
    samples.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / samples.len() as f64
}

fn peak(samples: &[f32]) -> f32 {
    samples.iter().fold(0.0, |peak, x| peak.max(x.abs()))
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
        let clean = remixer
            .render(&Remix {
                noises: Vec::new(),
                ..remix.clone()
            })
            .unwrap();
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
    let clean = remixer
        .render(&Remix {
            noises: Vec::new(),
            ..remix.clone()
        })
        .unwrap();
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
fn a_recipe_of_stems_that_have_gone_silent_is_an_error() {
    let remix = remixer(bare()).draw(1, 0, 0).unwrap();
    let silent = remixer_of(|_, _| vec![0.0; 15 * RATE as usize], bare());
    assert!(silent.render(&remix).unwrap_err().to_string().contains("silence"));
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
