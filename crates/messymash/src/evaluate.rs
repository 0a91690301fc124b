//! Evaluation: a classifier's answers on labelled sounds, as one record that every report is made from.

mod judge;
mod protocol;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use judge::{evaluate_mashups, evaluate_songs, evaluate_whole};
pub use protocol::Protocol;

use crate::metrics::{
    CalibrationBin, ClassFigures, Confusion, argmax, calibration, calibration_error, log_loss,
};
use crate::remix::Remix;
use crate::{Error, Result};

/// Deviations within which 95 % of Student's t distribution lies, to 1 % from 8 degrees of freedom on.
fn deviations(freedom: f64) -> f64 {
    1.96 + 2.4 / freedom.max(1.0) + 2.0 / freedom.max(1.0).powi(2)
}

/// A figure of merit.
type Figure = fn(&Confusion) -> f64;

/// Whether a sound belongs to a band.
type Within<'a> = &'a dyn Fn(&Judged) -> bool;

/// By song: its genre, and a figure of everything but the sounds that it is part of.
type Without = BTreeMap<String, (usize, f64)>;

/// One judged sound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// What it is called: a file, or the number of a mashup.
    pub name: String,
    /// Its true class.
    pub truth: usize,
    /// One score a label, summing to 1.
    pub scores: Vec<f32>,
    /// The songs it was made from: sounds that share one are no independent evidence.
    pub songs: Vec<String>,
    /// Energy of the music over that of the noise, dB; `None` without noise.
    pub snr_db: Option<f64>,
    /// Noises in it; `None` where nobody knows.
    #[serde(default)]
    pub noises: Option<usize>,
    /// How it was made, if it is a mashup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remix: Option<Remix>,
    /// Where it lies, if it is a file; signs that are no Unicode are replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

impl Judged {
    /// Mashup `index` of a judging, which was made by `remix`.
    pub(crate) fn mashup(index: u64, truth: usize, scores: Vec<f32>, remix: Remix) -> Self {
        Self {
            name: format!("mashup {index}"),
            truth,
            scores,
            songs: remix.songs(),
            snr_db: remix.snr_db,
            noises: Some(remix.noises.len()),
            remix: Some(remix),
            file: None,
        }
    }

    /// The likeliest class.
    pub fn predicted(&self) -> usize {
        argmax(&self.scores)
    }

    /// The songs it was made from; its own name, where none is known.
    fn song_names(&self) -> impl Iterator<Item = &str> {
        let own = self.songs.is_empty().then_some(self.name.as_str());
        self.songs.iter().map(String::as_str).chain(own)
    }
}

/// A classifier's answers on labelled sounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// What was judged, in a line.
    pub title: String,
    /// The model's name.
    pub model: String,
    /// Labels by class index.
    pub labels: Vec<String>,
    /// The judged sounds.
    pub items: Vec<Judged>,
    /// Files that could not be heard, and why.
    pub failures: Vec<String>,
}

/// A figure and its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// The figure.
    pub value: f64,
    /// Lower end, at least 0.
    pub low: f64,
    /// Upper end, at most 1.
    pub high: f64,
}

/// Figures of some of the sounds: a band of signal-to-noise ratio, or a number of noises.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Band {
    /// Which, in words.
    pub name: String,
    /// Sounds in it.
    pub count: usize,
    /// Share told right.
    pub accuracy: f64,
    /// 95 % interval of the accuracy, as in [`Evaluation::measure`].
    pub interval: Interval,
    /// Macro F1 within the band.
    pub macro_f1: f64,
}

/// Everything that is computed from an [`Evaluation`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measures {
    /// Mean F1 of the genres.
    pub macro_f1: Interval,
    /// Share told right.
    pub accuracy: Interval,
    /// Mean negative log score of the true genre, nats.
    pub log_loss: f64,
    /// Expected calibration error, 15 bins.
    pub calibration_error: f64,
    /// Accuracy by confidence.
    pub calibration: Vec<CalibrationBin>,
    /// Figures by genre, in the order of the labels.
    pub genres: Vec<ClassFigures>,
    /// Counts of told genres by true genre.
    pub confusion: Confusion,
    /// Figures by signal-to-noise ratio; empty bands are left out.
    pub by_snr: Vec<Band>,
    /// Figures by number of noises, of sounds of which it is known; empty bands are left out.
    pub by_noises: Vec<Band>,
    /// Distinct songs among the sounds.
    pub songs: usize,
}

impl Evaluation {
    /// Computes all figures.
    ///
    /// The interval allows for shared songs: mashups of seven songs are far fewer pieces of evidence than there are
    /// mashups. It is that of the jackknife over songs, by genre, with Student's t: each song in turn is left out with all
    /// sounds it is part of, and the figure is computed anew (the genre keeping its weight); with n songs of a genre the
    /// variance is (n - 1) / n times the sum of the squared deviations from the genre's mean, added over genres (Arvesen
    /// 1969 for sounds made of several songs). Chance that belongs to the single mashup is counted once for each of its
    /// songs, so where songs do not differ the interval of mashups is up to twice as wide as need be; with seven songs a
    /// genre that do, it is 1.4 times as wide and holds the truth in 98 % of simulated evaluations (a test repeats that).
    /// A bootstrap over songs (Rao and Wu's, for few of them) does as well for single songs; of mashups of four it holds the truth
    /// in 20 % if a mashup weighs the mean of how often its songs were drawn, and is 1.7 times as wide as need be if it weighs the
    /// product (another test repeats these).
    /// A sound without songs is its own. Where all answers are right (or wrong) that says nothing; the interval then is
    /// the rule of three, 3 / songs.
    ///
    /// # Errors
    /// [`Error::Config`] if there is nothing to judge by, or an item does not fit the labels.
    pub fn measure(&self) -> Result<Measures> {
        let classes = self.labels.len();
        if self.items.is_empty() {
            return Err(Error::Config("there is no sound to judge the model by".into()));
        }
        if let Some(item) = self
            .items
            .iter()
            .find(|item| item.truth >= classes || item.scores.len() != classes)
        {
            return Err(Error::Config(format!(
                "{} does not fit the {classes} labels",
                item.name
            )));
        }
        let confusion = self.confusion_of(|_| 1.0);
        let judged = || self.items.iter().map(|item| (&item.scores[..], item.truth));
        let bins = calibration(judged());
        let of_song = self.items_by_song();
        let interval = |figure: fn(&Confusion) -> f64| self.interval(figure, &confusion, &of_song);
        Ok(Measures {
            macro_f1: interval(Confusion::macro_f1),
            accuracy: interval(Confusion::accuracy),
            log_loss: log_loss(judged()),
            calibration_error: calibration_error(&bins),
            calibration: bins,
            genres: confusion.classes(),
            by_snr: self.by_snr(),
            by_noises: self.by_noises(),
            confusion,
            songs: of_song.len(),
        })
    }

    /// The wrong answers that were told with most confidence, `most` at the most.
    pub fn worst_mistakes(&self, most: usize) -> Vec<&Judged> {
        let mut wrong: Vec<&Judged> = self
            .items
            .iter()
            .filter(|item| item.predicted() != item.truth)
            .collect();
        wrong.sort_by(|a, b| b.scores[b.predicted()].total_cmp(&a.scores[a.predicted()]));
        wrong.truncate(most);
        wrong
    }

    /// The record as JSON.
    ///
    /// # Errors
    /// [`Error::Config`] if a number in it is not finite.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string(self)
            .map_err(|e| Error::Config(format!("the evaluation cannot be written: {e}")))
    }

    /// Reads what [`Evaluation::to_json`] wrote.
    ///
    /// # Errors
    /// [`Error::Config`] if it is no evaluation.
    pub fn from_json(json: &str) -> Result<Self> {
        serde_json::from_str(json).map_err(|e| Error::Config(format!("this is no evaluation: {e}")))
    }

    fn confusion_of(&self, weight: impl Fn(usize) -> f64) -> Confusion {
        let pairs = self
            .items
            .iter()
            .enumerate()
            .map(|(i, item)| (item.truth, item.predicted(), weight(i)));
        Confusion::weighted(self.labels.len(), pairs)
    }

    /// The items of each song, by number.
    fn items_by_song(&self) -> BTreeMap<&str, Vec<usize>> {
        let mut of_song: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (number, item) in self.items.iter().enumerate() {
            for song in item.song_names() {
                of_song.entry(song).or_default().push(number);
            }
        }
        of_song
    }

    /// A figure of the confusion with its interval; see [`Evaluation::measure`].
    fn interval(
        &self,
        figure: Figure,
        confusion: &Confusion,
        of_song: &BTreeMap<&str, Vec<usize>>,
    ) -> Interval {
        let value = figure(confusion);
        let without = self.without_each_song(figure, confusion, of_song);
        let reach = reach(without.into_values(), of_song.len());
        Interval {
            value,
            low: (value - reach).max(0.0),
            high: (value + reach).min(1.0),
        }
    }

    /// Each song's genre, and the figure of everything but the sounds that it is part of.
    fn without_each_song<'a>(
        &self,
        figure: Figure,
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

    fn by_snr(&self) -> Vec<Band> {
        let within =
            |low: f64, high: f64| move |item: &Judged| item.snr_db.is_some_and(|db| db > low && db <= high);
        self.bands([
            ("no noise", &|item: &Judged| item.snr_db.is_none()),
            ("above 20 dB", &within(20.0, f64::INFINITY)),
            ("10 to 20 dB", &within(10.0, 20.0)),
            ("5 to 10 dB", &within(5.0, 10.0)),
            ("5 dB and less", &within(f64::NEG_INFINITY, 5.0)),
        ])
    }

    fn by_noises(&self) -> Vec<Band> {
        let number = |noises: usize| move |item: &Judged| item.noises == Some(noises);
        self.bands([
            ("none", &number(0)),
            ("one", &number(1)),
            ("two", &number(2)),
            ("three", &number(3)),
        ])
    }

    /// Figures of what is within each band; empty bands are left out.
    fn bands<const N: usize>(&self, bands: [(&str, Within<'_>); N]) -> Vec<Band> {
        let all = self.items_by_song();
        let measured = bands.into_iter().map(|(name, within)| {
            let confusion = self.confusion_of(|i| f64::from(u8::from(within(&self.items[i]))));
            let mut of_song = all.clone();
            of_song
                .values_mut()
                .for_each(|items| items.retain(|&number| within(&self.items[number])));
            of_song.retain(|_, items| !items.is_empty());
            Band {
                name: name.into(),
                count: self.items.iter().filter(|item| within(item)).count(),
                accuracy: confusion.accuracy(),
                interval: self.interval(Confusion::accuracy, &confusion, &of_song),
                macro_f1: confusion.macro_f1(),
            }
        });
        measured.filter(|band| band.count > 0).collect()
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
    let figure: Figure = Confusion::macro_f1;
    let side = |evaluation: &Evaluation| -> Result<(f64, Without)> {
        let confusion = evaluation.measure()?.confusion;
        let without = evaluation.without_each_song(figure, &confusion, &evaluation.items_by_song());
        let owned = without.into_iter().map(|(song, f)| (song.to_string(), f));
        Ok((figure(&confusion), owned.collect()))
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
mod tests {
    use super::*;
    use crate::random::Random;

    fn item(name: usize, truth: usize, predicted: usize, song: &str) -> Judged {
        let mut scores = vec![0.1; 2];
        scores[predicted] = 0.9;
        Judged {
            name: name.to_string(),
            truth,
            scores,
            songs: vec![song.into()],
            snr_db: None,
            noises: None,
            remix: None,
            file: None,
        }
    }

    fn evaluation(items: Vec<Judged>) -> Evaluation {
        let labels = vec!["a".into(), "b".into()];
        Evaluation {
            title: "t".into(),
            model: "m".into(),
            labels,
            items,
            failures: Vec::new(),
        }
    }

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
    fn coverage(
        parts: usize,
        mut interval: impl FnMut(&Evaluation, &mut Random) -> (f64, f64),
    ) -> (f64, f64) {
        let worlds = 300;
        let (mut held, mut reach, mut variance) = (0, 0.0, 0.0);
        for world in 0..worlds {
            let mut random = Random::new(&[world]);
            let evaluation = simulated(&mut random, parts);
            let (low, high) = interval(&evaluation, &mut random);
            held += usize::from(low <= 0.5 && high >= 0.5);
            reach += (high - low) / 2.0 / worlds as f64;
            let value = evaluation.confusion_of(|_| 1.0).accuracy();
            variance += (value - 0.5).powi(2) / worlds as f64;
        }
        (held as f64 / worlds as f64, reach / (1.96 * variance.sqrt()))
    }

    fn jackknife(evaluation: &Evaluation, _: &mut Random) -> (f64, f64) {
        let accuracy = evaluation.measure().unwrap().accuracy;
        (accuracy.low, accuracy.high)
    }

    /// The percentile bootstrap over songs, by genre, a sound weighing what `weight` makes of how often each of its songs was
    /// drawn. One song fewer is drawn than there are, so that the variance of few songs is right (Rao and Wu 1988).
    fn bootstrap(evaluation: &Evaluation, random: &mut Random, weight: fn(&[f64]) -> f64) -> (f64, f64) {
        let songs = evaluation.items.iter().map(|item| &item.songs);
        let songs: Vec<Vec<usize>> = songs
            .map(|s| s.iter().map(|s| s.parse().unwrap()).collect())
            .collect();
        let mut resampled = || loop {
            let mut drawn = [0.0; 2 * SONGS];
            for genre in [0, SONGS].repeat(SONGS - 1) {
                drawn[genre + random.below(SONGS)] += 1.0;
            }
            let mut confusion = evaluation.confusion_of(|i| {
                let drawn: Vec<f64> = songs[i].iter().map(|&song| drawn[song]).collect();
                weight(&drawn)
            });
            // Both genres keep their weight, as in the jackknife; a genre none of whose sounds was drawn says nothing.
            let totals: Vec<f64> = confusion.counts.iter().map(|genre| genre.iter().sum()).collect();
            if totals.iter().all(|&total| total > 0.0) {
                for (genre, total) in confusion.counts.iter_mut().zip(totals) {
                    genre.iter_mut().for_each(|count| *count /= total);
                }
                return confusion.accuracy();
            }
        };
        let mut accuracies: Vec<f64> = (0..200).map(|_| resampled()).collect();
        accuracies.sort_by(f64::total_cmp);
        (accuracies[4], accuracies[195])
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

    /// Why the intervals are not those of a bootstrap over songs: it does as well for single songs, but of mashups it is either
    /// far too narrow or wider than the jackknife.
    #[test]
    fn a_bootstrap_of_mashups_is_too_narrow_or_wider() {
        let mean = |drawn: &[f64]| drawn.iter().sum::<f64>() / drawn.len() as f64;
        let product = |drawn: &[f64]| drawn.iter().product::<f64>();
        let single = coverage(1, |e, random| bootstrap(e, random, mean));
        let by_mean = coverage(4, |e, random| bootstrap(e, random, mean));
        let by_product = coverage(4, |e, random| bootstrap(e, random, product));
        let (one, four) = (coverage(1, jackknife), coverage(4, jackknife));
        println!(
            "holds the truth, times as wide as it takes: single songs {single:.2?}, jackknife {one:.2?};"
        );
        println!("mashups by mean {by_mean:.2?}, by product {by_product:.2?}, jackknife {four:.2?}");
        assert!(
            single.0 > 0.9 && one.0 >= 0.93,
            "single songs: {single:?}, jackknife {one:?}"
        );
        assert!(
            by_mean.0 < 0.5,
            "a mashup weighs the mean of its songs: {by_mean:?}"
        );
        assert!(
            by_product.0 >= 0.93 && by_product.1 > four.1 + 0.1,
            "a mashup weighs the product: {by_product:?}, jackknife {four:?}"
        );
    }

    #[test]
    fn the_worst_mistake_is_the_most_confident_one() {
        let mut items = vec![item(0, 0, 0, "x"), item(1, 0, 1, "y"), item(2, 1, 0, "z")];
        items[2].scores = vec![0.95, 0.05];
        let evaluation = evaluation(items);
        let names: Vec<&str> = evaluation
            .worst_mistakes(5)
            .iter()
            .map(|item| &item.name[..])
            .collect();
        assert_eq!(names, ["2", "1"]);
        assert_eq!(evaluation.worst_mistakes(1).len(), 1);
    }

    #[test]
    fn bands_hold_what_is_in_them() {
        let mut items: Vec<Judged> = (0..4).map(|i| item(i, 0, 0, "x")).collect();
        items[0].snr_db = Some(25.0);
        items[1].snr_db = Some(7.0);
        items[2].snr_db = Some(-3.0);
        items[2].scores = vec![0.2, 0.8];
        let bands = evaluation(items).measure().unwrap().by_snr;
        let shown: Vec<(&str, usize, f64)> =
            bands.iter().map(|b| (&b.name[..], b.count, b.accuracy)).collect();
        assert_eq!(
            shown,
            [
                ("no noise", 1, 1.0),
                ("above 20 dB", 1, 1.0),
                ("5 to 10 dB", 1, 1.0),
                ("5 dB and less", 1, 0.0)
            ]
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

    #[test]
    fn an_evaluation_of_before_there_was_a_number_of_noises_is_read() {
        let some = evaluation(vec![item(0, 0, 1, "x")]);
        let text = some.to_json().unwrap();
        let old = text.replace(",\"noises\":null", "");
        assert_ne!(old, text);
        assert_eq!(Evaluation::from_json(&old).unwrap(), some);
    }

    #[test]
    fn nothing_to_judge_by_is_an_error_and_json_is_read_back() {
        assert!(evaluation(Vec::new()).measure().is_err());
        let some = evaluation(vec![item(0, 0, 1, "x")]);
        assert_eq!(Evaluation::from_json(&some.to_json().unwrap()).unwrap(), some);
        let mut misfit = some;
        misfit.items[0].truth = 7;
        assert!(misfit.measure().is_err());
    }
}
