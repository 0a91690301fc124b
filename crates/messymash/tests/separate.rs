//! Separation of synthetic songs whose parts are known, and of folders.
// A failed unwrap is a failed test, in helpers too.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use messymash::dataset::{DatasetOptions, MessyMashup};
use messymash::separate::{SeparateEvent, separate, separate_folder};
use messymash::{Error, Waveform};
use tempfile::TempDir;

/// Clicks of noise (drums), a chord that stands (other), a low tone (bass) and a gliding tone (vocals).
fn parts(rate: u32, seconds: f64) -> [Vec<f32>; 4] {
    let samples = (seconds * f64::from(rate)) as usize;
    let time = |i: usize| i as f64 / f64::from(rate);
    let sine = |phase: f64| (std::f64::consts::TAU * phase).sin();
    let mut state = 1u64;
    let drums = (0..samples)
        .map(|i| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let noise = (state >> 40) as f64 / (1u64 << 23) as f64 - 1.0;
            (0.8 * noise * (-(time(i) % 0.4) * 120.0).exp()) as f32
        })
        .collect();
    // A vibrato of a semitone and a half, five times a second.
    let vocals = (0..samples)
        .map(|i| (0.2 * sine(900.0 * time(i) + 2.0 * sine(5.0 * time(i)) * 4.0)) as f32)
        .collect();
    let bass = (0..samples)
        .map(|i| (0.3 * sine(60.0 * time(i))) as f32)
        .collect();
    let other = (0..samples)
        .map(|i| (0.15 * (sine(330.0 * time(i)) + sine(415.0 * time(i)) + sine(1_500.0 * time(i)))) as f32)
        .collect();
    [drums, vocals, bass, other]
}

fn mix(parts: &[Vec<f32>; 4]) -> Vec<f32> {
    (0..parts[0].len())
        .map(|i| parts.iter().map(|part| part[i]).sum())
        .collect()
}

/// Scale-invariant signal-to-distortion ratio of an estimate, dB.
fn si_sdr(estimate: &[f32], truth: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| {
        a.iter()
            .zip(b)
            .map(|(x, y)| f64::from(*x) * f64::from(*y))
            .sum::<f64>()
    };
    let scale = dot(estimate, truth) / dot(truth, truth);
    let error: f64 = estimate
        .iter()
        .zip(truth)
        .map(|(e, t)| (f64::from(*e) - scale * f64::from(*t)).powi(2))
        .sum();
    10.0 * (scale * scale * dot(truth, truth) / error).log10()
}

#[test]
fn each_kind_of_sound_goes_to_its_part_at_any_rate() {
    for rate in [16_000, 44_100] {
        let truth = parts(rate, 6.0);
        let song = mix(&truth);
        let found = separate(&Waveform::new(song.clone(), rate)).unwrap();
        for ((name, truth), found) in ["drums", "vocals", "bass", "other"]
            .iter()
            .zip(&truth)
            .zip(&found)
        {
            assert_eq!(found.sample_rate, rate);
            let gain = si_sdr(&found.samples, truth) - si_sdr(&song, truth);
            assert!(
                gain > 6.0,
                "{name} at {rate} Hz: {gain:.1} dB better than the mix"
            );
        }
    }
}

#[test]
fn parts_sum_to_the_song() {
    for (rate, seconds) in [(16_000, 3.0), (8_000, 0.03), (22_050, 1.3), (96_000, 0.5)] {
        let song = mix(&parts(rate, seconds));
        let found = separate(&Waveform::new(song.clone(), rate)).unwrap();
        assert!(found.iter().all(|part| part.samples.len() == song.len()));
        for (i, x) in song.iter().enumerate() {
            let sum: f32 = found.iter().map(|part| part.samples[i]).sum();
            assert!((sum - x).abs() < 1e-6, "sample {i} at {rate} Hz: {sum} for {x}");
        }
    }
}

#[test]
fn long_songs_have_no_seams() {
    // Two blocks and a bit. The beginning must not know that there is more: blocks see all that they depend on.
    let rate = 2_000;
    let song = mix(&parts(rate, 130.0));
    let whole = separate(&Waveform::new(song.clone(), rate)).unwrap();
    let middle = 50 * rate as usize..70 * rate as usize;
    // A whole number of hops (64 and 256 samples at this rate), so that both see the same frames.
    let shift = 320 * 256;
    let window = separate(&Waveform::new(song[shift..80 * rate as usize].to_vec(), rate)).unwrap();
    for (whole, window) in whole.iter().zip(&window) {
        let error = middle
            .clone()
            .map(|i| (whole.samples[i] - window.samples[i - shift]).abs())
            .fold(0.0, f32::max);
        assert!(error < 1e-5, "{error}");
    }
}

#[test]
fn silence_stays_silent_and_impossible_songs_are_errors() {
    let silent = separate(&Waveform::new(vec![0.0; 8_000], 16_000)).unwrap();
    assert!(silent.iter().all(|part| part.samples.iter().all(|x| *x == 0.0)));
    assert!(matches!(
        separate(&Waveform::new(Vec::new(), 16_000)),
        Err(Error::TooShort { .. })
    ));
    assert!(matches!(
        separate(&Waveform::new(vec![0.1; 100], 16_000)),
        Err(Error::TooShort { .. })
    ));
    assert!(matches!(
        separate(&Waveform::new(vec![0.1; 100], 0)),
        Err(Error::TooShort { .. })
    ));
    let mut broken = vec![0.1; 8_000];
    broken[5] = f32::NAN;
    assert!(matches!(
        separate(&Waveform::new(broken, 16_000)),
        Err(Error::InvalidAudio(_))
    ));
}

fn write_song(path: &Path, gain: f32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let samples = mix(&parts(16_000, 1.0)).iter().map(|x| x * gain).collect();
    Waveform::new(samples, 16_000).write_wav(path).unwrap();
}

#[test]
fn a_folder_becomes_a_data_set_and_bad_files_do_not_stop_it() {
    let folder = TempDir::new().unwrap();
    let (input, output) = (folder.path().join("songs"), folder.path().join("out"));
    write_song(&input.join("Blues/blues.00005.a.wav"), 0.5);
    write_song(&input.join("Blues/blues.00005.z.wav"), 1.0);
    write_song(&input.join("rock/loud.wav"), 1.0);
    fs::write(input.join("rock/loud.webm"), b"another of that name").unwrap();
    fs::write(input.join("rock/broken.flac"), b"not sound").unwrap();
    fs::write(input.join("rock/._loud.wav"), b"AppleDouble").unwrap();
    fs::write(input.join("songs.csv"), b"file,genre").unwrap();
    let mut seen = Vec::new();
    let mut progress = |event: SeparateEvent<'_>| {
        let (path, done, total, what) = match event {
            SeparateEvent::Separated { path, done, total } => (path, done, total, "separated"),
            SeparateEvent::Skipped { path, done, total } => (path, done, total, "skipped"),
            SeparateEvent::Failed {
                path, done, total, ..
            } => (path, done, total, "failed"),
        };
        assert_eq!(total, 5);
        seen.push((
            path.file_name().unwrap().to_str().unwrap().to_string(),
            done,
            what,
        ));
        Ok(())
    };
    let summary = separate_folder(&input, &output, &mut progress).unwrap();
    assert_eq!((summary.separated, summary.skipped), (3, 0));
    let failed: Vec<&str> = summary
        .failed
        .iter()
        .map(|(path, _)| path.file_name().unwrap().to_str().unwrap())
        .collect();
    assert_eq!(failed.len(), 2);
    assert!(failed.contains(&"broken.flac"));
    assert_eq!(
        seen.iter().map(|(_, done, _)| *done).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5]
    );

    let data = MessyMashup::open(std::slice::from_ref(&output), &DatasetOptions::default()).unwrap();
    let ids: Vec<&str> = data.songs.iter().map(|song| song.id.as_str()).collect();
    assert_eq!(ids, ["blues/blues.00005.a", "blues/blues.00005.z", "rock/loud"]);
    assert_eq!(data.songs[0].recording(), data.songs[1].recording());
    let song = Waveform::open(input.join("Blues/blues.00005.a.wav")).unwrap();
    let stems = data.songs[0]
        .stems
        .clone()
        .map(|path| Waveform::open(path.unwrap()).unwrap().samples);
    let error = mix(&stems)
        .iter()
        .zip(&song.samples)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!(
        error < 4.0 / 32_768.0,
        "four roundings to 16 bits at most: {error}"
    );

    // A second call separates only what is missing, and leaves nothing half done.
    let lost = output.join("genres_stems/blues/blues.00005.z");
    fs::remove_dir_all(&lost).unwrap();
    // What has no genre is told, though not what this very work has written.
    let deep = input.join("rock/live/x.wav");
    write_song(&deep, 0.5);
    let inside = input.join("stems");
    fs::create_dir(&inside).unwrap();
    fs::rename(&output, inside.join("out")).unwrap();
    let output = inside.join("out");
    let again = separate_folder(&input, &output, &mut |_| Ok(())).unwrap();
    assert_eq!((again.separated, again.skipped, again.failed.len()), (1, 2, 2));
    assert_eq!(again.passed_over, [deep]);
    let lost = output.join("genres_stems/blues/blues.00005.z");
    let onto_itself = separate_folder(&input, &input.join("rock/.."), &mut |_| Ok(())).unwrap_err();
    assert!(
        onto_itself.to_string().contains("name another folder"),
        "{onto_itself}"
    );
    assert!(lost.join("other.wav").is_file());
    let names: Vec<String> = fs::read_dir(output.join("genres_stems/rock"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(names, ["loud"]);
}

#[test]
fn nothing_to_do_and_interruptions_are_errors() {
    let folder = TempDir::new().unwrap();
    let (input, output) = (folder.path().join("songs"), folder.path().join("out"));
    assert!(matches!(
        separate_folder(&input, &output, &mut |_| Ok(())),
        Err(Error::Io { .. })
    ));
    fs::create_dir_all(input.join("rock")).unwrap();
    let empty = separate_folder(&input, &output, &mut |_| Ok(())).unwrap_err();
    assert!(empty.to_string().contains("holds no songs"));
    write_song(&input.join("rock/a.wav"), 0.5);
    let stopped = separate_folder(&input, &output, &mut |_| Err(Error::Interrupted));
    assert!(matches!(stopped, Err(Error::Interrupted)));
}
