//! The other estimate of how sure a figure is: 95 % intervals by the bootstrap over songs.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Evaluation, Interval};
use crate::metrics::Confusion;
use crate::random::Random;

/// Resamples. The ends of an interval deviate by 1.5 % of its width from one seed to another: those of a normal
/// distribution by sqrt(0.025 * 0.975 / 2000) / 0.0584 of its deviation, of which the width is 3.92.
const RESAMPLES: usize = 2000;
/// Draws of a genre's songs, at most, until some of its sounds have all of their songs among them. Where all four-song mashups of
/// five songs are judged, 0.19 of the draws do, so that all tries fail once in 10^9 times.
const TRIES: usize = 100;

/// 95 % intervals of a bootstrap over songs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bootstrap {
    /// Of the mean F1 of the genres.
    pub macro_f1: Interval,
    /// Of the share told right.
    pub accuracy: Interval,
}

/// The songs of one genre by number, and its sounds by how many songs they are made of: what each was taken for, and its songs.
#[derive(Default)]
struct Genre<'a> {
    songs: BTreeMap<&'a str, usize>,
    sounds: BTreeMap<usize, Vec<(usize, Vec<usize>)>>,
}

impl Genre<'_> {
    /// A row of a confusion of `classes` classes by songs drawn anew, a sound weighing the product of how often each of its
    /// songs was drawn. The genre keeps its weight, as in the jackknife, and so do its sounds of one song, of two and so on:
    /// else those of few songs, likelier to be drawn whole, would weigh more than among all sounds.
    fn resampled(&self, classes: usize, random: &mut Random) -> Vec<f64> {
        // One fewer is drawn than there are, so that the variance of few songs is right (Rao and Wu 1988).
        let draws = self.songs.len().saturating_sub(1);
        let mut drawn = vec![0.0; self.songs.len()];
        for _ in 0..TRIES {
            drawn.fill(0.0);
            (0..draws).for_each(|_| drawn[random.below(draws + 1)] += 1.0);
            if let Some(row) = self.row(classes, |made_of| {
                // A sound of all songs is never drawn, and tells nothing of how they differ.
                if made_of.len() > draws {
                    1.0
                } else {
                    made_of.iter().map(|&song| drawn[song]).product()
                }
            }) {
                return row;
            }
        }
        self.row(classes, |_| 1.0).unwrap_or_default()
    }

    /// The sounds by these weights, those of as many songs having their number as sum; `None` if some of these weigh nothing.
    fn row(&self, classes: usize, weight: impl Fn(&[usize]) -> f64) -> Option<Vec<f64>> {
        let mut row = vec![0.0; classes];
        for sounds in self.sounds.values() {
            let weights: Vec<f64> = sounds.iter().map(|(_, made_of)| weight(made_of)).collect();
            let sum: f64 = weights.iter().sum();
            if sum == 0.0 {
                return None;
            }
            for ((told, _), weight) in sounds.iter().zip(weights) {
                row[*told] += weight * sounds.len() as f64 / sum;
            }
        }
        Some(row)
    }
}

impl Evaluation {
    /// Intervals of the percentile bootstrap over songs; see [`Evaluation::measure`], which has checked the items.
    pub(super) fn bootstrap(&self, confusion: &Confusion) -> Bootstrap {
        let classes = self.labels.len();
        let mut genres: Vec<Genre<'_>> = (0..classes).map(|_| Genre::default()).collect();
        for item in &self.items {
            let Genre { songs, sounds } = &mut genres[item.truth];
            let number = |song| {
                let next = songs.len();
                *songs.entry(song).or_insert(next)
            };
            let made_of: Vec<usize> = item.song_names().map(number).collect();
            sounds
                .entry(made_of.len())
                .or_default()
                .push((item.predicted(), made_of));
        }
        let present = confusion.present();
        let mut random = Random::new(&[]);
        let (macro_f1, accuracy): (Vec<f64>, Vec<f64>) = (0..RESAMPLES)
            .map(|_| {
                let rows = genres.iter().map(|genre| genre.resampled(classes, &mut random));
                let resampled = Confusion {
                    counts: rows.collect(),
                };
                (resampled.macro_f1_of(&present), resampled.accuracy())
            })
            .unzip();
        let songs: usize = genres.iter().map(|genre| genre.songs.len()).sum();
        let interval = |value: f64, mut figures: Vec<f64>| {
            figures.sort_by(f64::total_cmp);
            let (low, high) = (figures[RESAMPLES / 40 - 1], figures[RESAMPLES - RESAMPLES / 40]);
            if high - low > 1e-9 {
                Interval { value, low, high }
            } else {
                Interval::around(value, 3.0 / songs as f64)
            }
        };
        Bootstrap {
            macro_f1: interval(confusion.macro_f1(), macro_f1),
            accuracy: interval(confusion.accuracy(), accuracy),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Measures;
    use super::super::interval::tests::{coverage, jackknife};
    use super::super::tests::{evaluation, item};
    use super::*;

    /// Prints what docs/experiments.md says of both kinds of interval.
    #[test]
    fn intervals_cover_the_truth_and_those_of_mashups_are_wider_than_the_jackknifes() {
        let bootstrap = |e: &Evaluation, confusion: &Confusion| e.bootstrap(confusion).accuracy;
        let [single, mashups] = [1, 4].map(|parts| (coverage(parts, bootstrap), coverage(parts, jackknife)));
        println!("(holds the truth, times as wide as it takes) of a bootstrap, of the jackknife:");
        println!("single songs {single:.2?}, mashups of four {mashups:.2?}");
        assert!(single.0.0 > 0.9, "single songs: {single:?}");
        assert!(mashups.0.0 >= 0.93, "mashups: {mashups:?}");
        assert!(mashups.0.1 > mashups.1.1 + 0.1, "mashups: {mashups:?}");
    }

    #[test]
    fn equal_sounds_give_equal_intervals_and_the_figure_is_within() {
        let items = || (0..60).map(|i| item(i, i % 2, usize::from(i % 7 < 3), &format!("song {}", i % 30)));
        let measures = evaluation(items().collect()).measure().unwrap();
        let Bootstrap { macro_f1, accuracy } = measures.bootstrap;
        assert_eq!(
            evaluation(items().collect()).measure().unwrap().bootstrap,
            measures.bootstrap
        );
        for (sampled, left_out) in [(macro_f1, measures.macro_f1), (accuracy, measures.accuracy)] {
            assert_eq!(sampled.value, left_out.value);
            assert!(
                sampled.low < sampled.value && sampled.value < sampled.high,
                "{sampled:?}"
            );
        }
    }

    #[test]
    fn sounds_of_one_song_and_of_four_keep_their_shares() {
        // Of 200 sounds of eight songs a genre three in ten are of one song, and right; the others are of four, and right in half
        // of the cases.
        let mut random = Random::new(&[1]);
        let items = (0..400).map(|i| {
            let parts = if i % 20 < 6 { 1 } else { 4 };
            let right = parts == 1 || random.chance(0.5);
            let mut item = item(i, i % 2, if right { i % 2 } else { 1 - i % 2 }, "");
            let mut songs: Vec<usize> = (0..8).collect();
            random.shuffle(&mut songs);
            item.songs = songs[..parts]
                .iter()
                .map(|song| format!("{} {song}", i % 2))
                .collect();
            item
        });
        let Interval { value, low, high } = evaluation(items.collect()).measure().unwrap().bootstrap.accuracy;
        assert!(
            (low + high - 2.0 * value).abs() < 0.1 * (high - low),
            "{low} to {high}: {value}"
        );
        assert!(value > 0.6 && high < 0.9, "{low} to {high}: {value}");
    }

    #[test]
    fn a_genre_that_is_told_once_and_never_true_counts_in_every_resample() {
        let mut items: Vec<_> = (0..40).map(|i| item(i, 0, 0, &format!("song {i}"))).collect();
        items[7] = item(7, 0, 1, "song 7");
        let Measures {
            bootstrap, macro_f1, ..
        } = evaluation(items).measure().unwrap();
        for interval in [bootstrap.macro_f1, macro_f1] {
            assert!(interval.high < 0.51, "{interval:?}");
        }
    }

    #[test]
    fn songs_that_are_all_in_every_sound_show_no_difference() {
        let mut items: Vec<_> = (0..40).map(|i| item(i, i % 2, i / 2 % 2, "")).collect();
        for item in &mut items {
            item.songs = (0..4).map(|song| format!("{} {song}", item.truth)).collect();
        }
        let accuracy = evaluation(items).measure().unwrap().bootstrap.accuracy;
        assert_eq!((accuracy.low, accuracy.value), (0.5 - 3.0 / 8.0, 0.5));
    }
}
