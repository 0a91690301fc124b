//! The other estimate of how sure a figure is: 95 % intervals by the bootstrap over songs.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Evaluation, Interval};
use crate::metrics::Confusion;
use crate::random::Random;

/// Resamples. The ends of an interval deviate by 1.5 % of its width from one seed to another: those of a normal
/// distribution by sqrt(0.025 * 0.975 / 2000) / 0.0584 of its deviation, of which the width is 3.92.
const RESAMPLES: usize = 2000;
/// Draws of a genre's songs, at most, until one of its sounds has all of its songs among them. Where all four-song mashups of
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

/// The sounds of one genre: of each what it was taken for, and its songs by number.
#[derive(Default)]
struct Genre<'a> {
    songs: BTreeMap<&'a str, usize>,
    sounds: Vec<(usize, Vec<usize>)>,
}

impl Genre<'_> {
    /// A row of a confusion of `classes` classes by songs drawn anew, a sound weighing the product of how often each of its
    /// songs was drawn. Its sum is the number of sounds: the genre keeps its weight, as in the jackknife.
    fn resampled(&self, classes: usize, random: &mut Random) -> Vec<f64> {
        let songs = self.songs.len();
        let fewest = self.sounds.iter().map(|(_, made_of)| made_of.len()).min();
        // One fewer is drawn than there are, so that the variance of few songs is right (Rao and Wu 1988). Where no sound can
        // have all of its songs among them, songs show no difference, and the genre stays as it is.
        let tries = if fewest.is_some_and(|fewest| fewest < songs) {
            TRIES
        } else {
            0
        };
        for _ in 0..tries {
            let mut drawn = vec![0.0; songs];
            (1..songs).for_each(|_| drawn[random.below(songs)] += 1.0);
            let row = self.row(classes, |made_of| {
                made_of.iter().map(|&song| drawn[song]).product()
            });
            let total: f64 = row.iter().sum();
            if total > 0.0 {
                let scale = self.sounds.len() as f64 / total;
                return row.into_iter().map(|count| count * scale).collect();
            }
        }
        self.row(classes, |_| 1.0)
    }

    fn row(&self, classes: usize, weight: impl Fn(&[usize]) -> f64) -> Vec<f64> {
        let mut row = vec![0.0; classes];
        for (told, made_of) in &self.sounds {
            row[*told] += weight(made_of);
        }
        row
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
            sounds.push((item.predicted(), item.song_names().map(number).collect()));
        }
        let mut random = Random::new(&[]);
        let (macro_f1, accuracy): (Vec<f64>, Vec<f64>) = (0..RESAMPLES)
            .map(|_| {
                let rows = genres.iter().map(|genre| genre.resampled(classes, &mut random));
                let resampled = Confusion {
                    counts: rows.collect(),
                };
                (resampled.macro_f1(), resampled.accuracy())
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
    fn songs_that_are_all_in_every_sound_show_no_difference() {
        let mut items: Vec<_> = (0..40).map(|i| item(i, i % 2, i / 2 % 2, "")).collect();
        for item in &mut items {
            item.songs = (0..4).map(|song| format!("{} {song}", item.truth)).collect();
        }
        let accuracy = evaluation(items).measure().unwrap().bootstrap.accuracy;
        assert_eq!((accuracy.low, accuracy.value), (0.5 - 3.0 / 8.0, 0.5));
    }
}
