//! Mashups from stems that are put into the cache: no file is decoded here.
// A failed unwrap is a failed test, in helpers too.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod draws;
mod recipes;
mod sound;

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
        faults: Vec::new(),
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
