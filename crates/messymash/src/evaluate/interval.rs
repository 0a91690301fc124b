//! How sure a figure is: 95 % intervals by the jackknife over songs.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Evaluation;
use crate::Result;
use crate::metrics::Confusion;

/// A figure and its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// The figure.
    pub value: f64,
    /// Lower end, at least 0; of a difference, at least -1.
    pub low: f64,
    /// Upper end, at most 1.
    pub high: f64,
}

impl Interval {
    /// A share that may be off by `reach` to either side.
    pub(super) fn around(value: f64, reach: f64) -> Self {
        Self {
            value,
            low: (value - reach).max(0.0),
            high: (value + reach).min(1.0),
        }
    }
}

/// By song: its genre, and a figure of everything but the sounds that it is part of.
type Without = BTreeMap<String, (usize, f64)>;

/// Deviations within which 95 % of Student's t distribution lies, to 1 % from 8 degrees of freedom on.
fn deviations(freedom: f64) -> f64 {
    1.96 + 2.4 / freedom.max(1.0) + 2.0 / freedom.max(1.0).powi(2)
}

impl Evaluation {
    /// A figure of the confusion with its interval; see [`Evaluation::measure`].
    pub(super) fn interval(
        &self,
        figure: impl Fn(&Confusion) -> f64,
        confusion: &Confusion,
        of_song: &BTreeMap<&str, Vec<usize>>,
    ) -> Interval {
        let value = figure(confusion);
        let without = self.without_each_song(figure, confusion, of_song);
        Interval::around(value, reach(without.into_values(), of_song.len()))
    }

    /// Each song's genre, and the figure of everything but the sounds that it is part of.
    fn without_each_song<'a>(
        &self,
        figure: impl Fn(&Confusion) -> f64,
        confusion: &Confusion,
        of_song: &BTreeMap<&'a str, Vec<usize>>,
    ) -> BTreeMap<&'a str, (usize, f64)> {
        let without = |items: &Vec<usize>| {
            let mut without = confusion.clone();
            for item in items.iter().map(|&number| &self.items[number]) {
                without.counts[item.truth][item.predicted()] -= 1.0;
            }
            // The genre keeps its weight among the others, whatever share of its sounds the song was part of.
            let truth = self.items[items[0]].truth;
            let total = |confusion: &Confusion| confusion.counts[truth].iter().sum::<f64>();
            let (before, after) = (total(confusion), total(&without));
            if after > 0.0 {
                without.counts[truth]
                    .iter_mut()
                    .for_each(|count| *count *= before / after);
            }
            (truth, figure(&without))
        };
        of_song
            .iter()
            .map(|(song, items)| (*song, without(items)))
            .collect()
    }
}

/// How far a 95 % interval reaches to each side, by the jackknife over `songs` songs: from each one's genre and the figure
/// without it.
fn reach(without: impl Iterator<Item = (usize, f64)>, songs: usize) -> f64 {
    let mut strata: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for (genre, figure) in without {
        strata.entry(genre).or_default().push(figure);
    }
    // A genre with one song shows no difference between songs: such genres are one stratum together.
    let single: Vec<f64> = strata
        .values()
        .filter(|figures| figures.len() < 2)
        .flatten()
        .copied()
        .collect();
    let strata = strata
        .values()
        .filter(|figures| figures.len() > 1)
        .chain(std::iter::once(&single));
    let mut freedom = 0.0;
    let variance: f64 = strata
        .filter(|figures| !figures.is_empty())
        .map(|figures| {
            let n = figures.len() as f64;
            freedom += n - 1.0;
            let mean = figures.iter().sum::<f64>() / n;
            (n - 1.0) / n * figures.iter().map(|f| (f - mean).powi(2)).sum::<f64>()
        })
        .sum();
    match deviations(freedom) * variance.sqrt() {
        reach if reach > 1e-9 => reach,
        _ => 3.0 / songs as f64,
    }
}

/// How much macro F1 is lost from clean songs to mashups of the same songs; within [-1, 1].
///
/// The interval is that of [`Evaluation::measure`], each song left out of both: what songs have in common on both sides (a
/// song that is hard in either form) does not widen it.
///
/// # Errors
/// Those of [`Evaluation::measure`].
pub fn loss_by_mess(clean: &Evaluation, messy: &Evaluation) -> Result<Interval> {
    let side = |evaluation: &Evaluation| -> Result<(f64, Without)> {
        evaluation.check()?;
        let confusion = evaluation.confusion_of(|_| 1.0);
        let present = confusion.present();
        let figure = |part: &Confusion| part.macro_f1_of(&present);
        let without = evaluation.without_each_song(figure, &confusion, &evaluation.items_by_song());
        let owned = without.into_iter().map(|(song, f)| (song.to_string(), f));
        Ok((confusion.macro_f1(), owned.collect()))
    };
    let ((clean, clean_without), (messy, messy_without)) = (side(clean)?, side(messy)?);
    let value = clean - messy;
    let songs: BTreeMap<&String, usize> = clean_without
        .iter()
        .chain(&messy_without)
        .map(|(song, (genre, _))| (song, *genre))
        .collect();
    // Leaving out a song that one side lacks changes nothing there.
    let without = songs.iter().map(|(song, genre)| {
        let of = |side: &Without, all| side.get(*song).map_or(all, |(_, f)| *f);
        (*genre, of(&clean_without, clean) - of(&messy_without, messy))
    });
    let reach = reach(without, songs.len());
    Ok(Interval {
        value,
        low: (value - reach).max(-1.0),
        high: (value + reach).min(1.0),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::Judged;
    use super::super::tests::{evaluation, item};
    use super::*;
    use crate::random::Random;

    #[test]
    fn many_sounds_of_few_songs_leave_a_wide_interval() {
        // As many sounds, right or wrong by song: of 8 songs, or of 96.
        let of_songs = |songs: usize| {
            let items = (0..96).map(|i| {
                let song = i % songs;
                let told = if song % 4 == 3 { (i + 1) % 2 } else { i % 2 };
                item(i, i % 2, told, &format!("song {song}"))
            });
            evaluation(items.collect()).measure().unwrap().accuracy
        };
        // By hand: one genre is all right, the other right for half of its n songs, so accuracy is 0.5 + 0.5 p with p = 0.5,
        // whose variance is p (1 - p) / (n - 1).
        let reach = |n: f64| deviations(2.0 * (n - 1.0)) * 0.5 * (0.25 / (n - 1.0)).sqrt();
        for (songs, n) in [(8, 4.0), (96, 48.0)] {
            let accuracy = of_songs(songs);
            assert_eq!(accuracy.value, 0.75);
            assert!(
                (accuracy.value - accuracy.low - reach(n)).abs() < 1e-9,
                "{accuracy:?}"
            );
        }
    }

    #[test]
    fn all_right_is_not_certainty() {
        let items = (0..60).map(|i| item(i, i % 2, i % 2, &format!("song {}", i % 30)));
        let accuracy = evaluation(items.collect()).measure().unwrap().accuracy;
        assert_eq!((accuracy.value, accuracy.high), (1.0, 1.0));
        assert!((accuracy.low - 0.9).abs() < 1e-9, "{accuracy:?}");
    }

    /// Songs a genre in the simulated evaluations.
    const SONGS: usize = 7;

    /// An evaluation of 200 sounds of two genres, each made of `parts` songs, whose being told right depends on its songs; the
    /// true share is a half.
    fn simulated(random: &mut Random, parts: usize) -> Evaluation {
        let ease: Vec<f64> = (0..2 * SONGS).map(|_| 0.3 * random.normal()).collect();
        let items = (0..200).map(|i| {
            let truth = i % 2;
            let mut songs: Vec<usize> = (0..SONGS).map(|s| truth * SONGS + s).collect();
            random.shuffle(&mut songs);
            songs.truncate(parts);
            let right = songs.iter().map(|&s| ease[s]).sum::<f64>() + random.normal() > 0.0;
            let told = if right { truth } else { 1 - truth };
            Judged {
                songs: songs.iter().map(usize::to_string).collect(),
                ..item(i, truth, told, "")
            }
        });
        evaluation(items.collect())
    }

    /// How often an interval of accuracy holds the truth in 300 simulated evaluations, and how many times as wide it is as
    /// the accuracy's own deviation takes.
    pub(in super::super) fn coverage(
        parts: usize,
        interval: fn(&Evaluation, &Confusion) -> Interval,
    ) -> (f64, f64) {
        let worlds = 300;
        let (mut held, mut reach, mut variance) = (0, 0.0, 0.0);
        for world in 0..worlds {
            let mut random = Random::new(&[world]);
            let evaluation = simulated(&mut random, parts);
            let confusion = evaluation.confusion_of(|_| 1.0);
            let Interval { value, low, high } = interval(&evaluation, &confusion);
            held += usize::from(low <= 0.5 && high >= 0.5);
            reach += (high - low) / 2.0 / worlds as f64;
            variance += (value - 0.5).powi(2) / worlds as f64;
        }
        (held as f64 / worlds as f64, reach / (1.96 * variance.sqrt()))
    }

    pub(in super::super) fn jackknife(evaluation: &Evaluation, confusion: &Confusion) -> Interval {
        evaluation.interval(Confusion::accuracy, confusion, &evaluation.items_by_song())
    }

    /// The intervals of many evaluations of mashups must hold the true share as often as they say, and not be much wider than
    /// it takes.
    #[test]
    fn intervals_of_mashups_cover_the_truth() {
        let (covered, wideness) = coverage(4, jackknife);
        assert!(
            covered >= 0.93,
            "95 % intervals held the truth in {covered} of the cases"
        );
        assert!(
            (1.0..=1.8).contains(&wideness),
            "{wideness} times as wide as it takes"
        );
    }

    #[test]
    fn what_songs_have_in_common_does_not_widen_the_loss_by_mess() {
        // Clean: right for three of four songs a genre. Messy: the same songs, and one more song wrong in each genre.
        let of = |wrong: usize| {
            let items = (0..48).map(|i| {
                let (truth, song) = (i % 2, i / 2 % 12);
                let told = if song < wrong { 1 - truth } else { truth };
                item(i, truth, told, &format!("{truth} {song}"))
            });
            evaluation(items.collect())
        };
        let loss = loss_by_mess(&of(3), &of(4)).unwrap();
        assert!((loss.value - 1.0 / 12.0).abs() < 1e-9, "{loss:?}");
        let alone = of(4).measure().unwrap().macro_f1;
        let (paired, unpaired) = (loss.high - loss.low, alone.high - alone.low);
        assert!(paired < 0.7 * unpaired && paired > 0.0, "{loss:?} {alone:?}");
        // No difference at all is the rule of three.
        let none = loss_by_mess(&of(3), &of(3)).unwrap();
        assert_eq!((none.value, none.high), (0.0, 3.0 / 24.0));
    }
}
