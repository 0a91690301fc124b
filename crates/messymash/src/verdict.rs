//! What a listener may make of an answer: that it is sure, that it is not, or that the sound is no music at all.
//!
//! A model tells genres of whatever it is given; what it was not asked, it cannot say. The rules for that are fitted to a model
//! by [`calibrate`](crate::calibrate) and lie beside its weights in `verdict.json`, which other programs pass over.

use messymash_kernels::cross_entropy::softmax;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The file of a model directory that holds its [`Rules`].
pub const VERDICT: &str = "verdict.json";

/// What a listener may make of an answer. Serialised as `verdict` (`sure`, `not_sure`, `not_music`) and, for the last, `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", content = "reason", rename_all = "snake_case")]
pub enum Verdict {
    /// The likeliest genre is rather right than wrong.
    Sure,
    /// The likeliest genre is rather wrong than right: name the next ones, too.
    NotSure,
    /// There is no music in the sound.
    NotMusic(NotMusic),
}

/// What a sound without music is instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotMusic {
    /// It never exceeds -60 dB of full scale.
    Silence,
    /// Somebody speaks.
    Speech,
    /// Anything else: engines, animals, streets.
    Noise,
}

impl NotMusic {
    /// As serialised.
    pub fn name(self) -> &'static str {
        match self {
            NotMusic::Silence => "silence",
            NotMusic::Speech => "speech",
            NotMusic::Noise => "noise",
        }
    }
}

/// How an answer of a model is judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// An answer is not sure where the score of its likeliest label is below this, within [0, 1]. With calibrated scores, one half
    /// is where an answer becomes as often wrong as right.
    pub not_sure_below: f32,
    /// What tells music from other sound; where there is none, only silence is no music.
    pub detector: Option<Detector>,
}

impl Rules {
    /// Reads `verdict.json` for a model whose pooled token has `hidden_size` values.
    ///
    /// # Errors
    /// [`Error::Config`] if it is damaged or of another model.
    pub fn from_json(text: &str, hidden_size: usize) -> Result<Self> {
        let wrong = |message: String| Error::Config(format!("{VERDICT}: {message}"));
        let rules: Self = serde_json::from_str(text).map_err(|e| wrong(e.to_string()))?;
        if !(0.0..=1.0).contains(&rules.not_sure_below) {
            return Err(wrong(format!(
                "not_sure_below is {}; it must be from 0 to 1",
                rules.not_sure_below
            )));
        }
        if let Some(detector) = &rules.detector {
            if !(0.0..=1.0).contains(&detector.least_music) {
                return Err(wrong(format!(
                    "least_music is {}; it must be from 0 to 1",
                    detector.least_music
                )));
            }
            let classes = detector.classes();
            if classes.iter().any(|class| class.weight.len() != hidden_size) {
                return Err(wrong(format!(
                    "the model has {hidden_size} columns, the detector has not"
                )));
            }
            let mut values = classes
                .iter()
                .flat_map(|class| class.weight.iter().chain([&class.bias]));
            if !values.all(|value| value.is_finite()) {
                return Err(wrong("the detector holds what is no number".into()));
            }
        }
        Ok(rules)
    }

    /// The text of `verdict.json`.
    pub fn to_json(&self) -> String {
        // Numbers and names only: nothing in it can fail.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }

    /// Judges an answer: the likeliest label's score, and what the detector, where there is one, gives for the sound
    /// ([`Detector::probabilities`]).
    pub fn judge(&self, best_score: f32, kinds: Option<[f32; 3]>) -> Verdict {
        let other = kinds.and_then(|kinds| self.detector.as_ref()?.other(kinds));
        match other {
            Some(other) => Verdict::NotMusic(other),
            None if best_score < self.not_sure_below => Verdict::NotSure,
            None => Verdict::Sure,
        }
    }
}

/// Tells music, speech and noise apart by the token that the genre is told from: a linear map and a softmax.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detector {
    /// A sound is no music where music is less likely than this, within [0, 1].
    pub least_music: f32,
    /// Of music, however noisy.
    pub music: Class,
    /// Of speech.
    pub speech: Class,
    /// Of all other sound.
    pub noise: Class,
}

/// A row of the linear map.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// One for each value of the pooled token, after its norm.
    pub weight: Vec<f32>,
    /// Added to the sum.
    pub bias: f32,
}

/// Steps of the fit; it has settled to three digits long before.
const FIT_STEPS: usize = 2000;

/// Keeps the weights small: there are more of them than kinds of noise in any data.
const FIT_DECAY: f64 = 1e-3;

impl Detector {
    fn classes(&self) -> [&Class; 3] {
        [&self.music, &self.speech, &self.noise]
    }

    /// Probabilities of music, speech and noise, as the mean over windows.
    pub fn probabilities<'a>(&self, windows: impl Iterator<Item = &'a [f32]>) -> [f32; 3] {
        let (mut sums, mut count) = ([0.0; 3], 0.0f32);
        for window in windows {
            let mut scores = self.classes().map(|class| {
                let products = class.weight.iter().zip(window).map(|(w, x)| w * x);
                class.bias + products.sum::<f32>()
            });
            softmax(&mut scores);
            sums.iter_mut().zip(scores).for_each(|(sum, score)| *sum += score);
            count += 1.0;
        }
        sums.map(|sum| sum / count.max(1.0))
    }

    /// What a sound of these probabilities (music, speech, noise) is, where it is no music.
    pub fn other(&self, [music, speech, noise]: [f32; 3]) -> Option<NotMusic> {
        match () {
            () if music >= self.least_music => None,
            () if speech > noise => Some(NotMusic::Speech),
            () => Some(NotMusic::Noise),
        }
    }

    /// Fits a detector to pooled tokens of each kind (music, speech, noise), every kind of the same weight: multinomial logistic
    /// regression on standardised values by gradient descent with momentum, from zero, so the same data give the same detector.
    ///
    /// # Errors
    /// [`Error::Config`] if a kind is empty or the tokens are not of one length.
    pub fn fit(kinds: [&[Vec<f32>]; 3], least_music: f32) -> Result<Self> {
        let width = kinds[0].first().map_or(0, Vec::len);
        if kinds
            .iter()
            .any(|rows| rows.is_empty() || rows.iter().any(|row| row.len() != width))
        {
            return Err(Error::Config(
                "music, speech and noise are all needed to tell music from the rest".into(),
            ));
        }
        let all = || kinds.iter().copied().flatten();
        let count = all().count() as f64;
        let moment = |column: usize, of: &dyn Fn(f64) -> f64| {
            all().map(|row| of(f64::from(row[column]))).sum::<f64>() / count
        };
        let means: Vec<f64> = (0..width).map(|column| moment(column, &|x| x)).collect();
        let scales: Vec<f64> = (0..width)
            .map(|column| 1.0 / moment(column, &|x| (x - means[column]).powi(2)).sqrt().max(1e-6))
            .collect();
        // A column of ones at the end is the bias.
        let standard = |row: &Vec<f32>| -> Vec<f64> {
            let values = row.iter().zip(means.iter().zip(&scales));
            let values = values.map(|(&x, (mean, scale))| (f64::from(x) - mean) * scale);
            values.chain([1.0]).collect()
        };
        let rows: Vec<(usize, Vec<f64>)> = kinds
            .iter()
            .enumerate()
            .flat_map(|(kind, rows)| rows.iter().map(move |row| (kind, row)))
            .map(|(kind, row)| (kind, standard(row)))
            .collect();
        let mut weights = vec![vec![0.0; width + 1]; 3];
        let mut speeds = weights.clone();
        let rate = 1.0 / (width as f64).max(10.0);
        for _ in 0..FIT_STEPS {
            let mut gradient = vec![vec![0.0; width + 1]; 3];
            for (kind, row) in &rows {
                let mut p = [0, 1, 2].map(|class| dot(&weights[class], row));
                let most = p.iter().copied().fold(f64::MIN, f64::max);
                p = p.map(|x| (x - most).exp());
                let sum: f64 = p.iter().sum();
                for (class, gradient) in gradient.iter_mut().enumerate() {
                    let error = p[class] / sum - f64::from(u8::from(class == *kind));
                    let error = error / (3 * kinds[*kind].len()) as f64;
                    gradient.iter_mut().zip(row).for_each(|(g, x)| *g += error * x);
                }
            }
            for ((weights, speeds), gradient) in weights.iter_mut().zip(&mut speeds).zip(&gradient) {
                for ((w, v), g) in weights.iter_mut().zip(speeds).zip(gradient) {
                    *v = 0.9 * *v - rate * (g + FIT_DECAY * *w);
                    *w += *v;
                }
            }
        }
        let class = |weights: &Vec<f64>| {
            let weight: Vec<f64> = weights.iter().zip(&scales).map(|(w, scale)| w * scale).collect();
            Class {
                bias: (weights[width] - dot(&weight, &means)) as f32,
                weight: weight.into_iter().map(|w| w as f32).collect(),
            }
        };
        Ok(Self {
            least_music,
            music: class(&weights[0]),
            speech: class(&weights[1]),
            noise: class(&weights[2]),
        })
    }
}

/// Sum of products, as far as both go.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// Points around a corner of a cube.
    fn around(corner: [f32; 3], count: u64) -> Vec<Vec<f32>> {
        (0..count)
            .map(|i| {
                let mut random = Random::new(&[i, corner[0].to_bits().into(), corner[1].to_bits().into()]);
                corner.map(|x| 100.0 + x + 0.5 * random.normal() as f32).to_vec()
            })
            .collect()
    }

    #[test]
    fn a_fitted_detector_tells_kinds_apart_however_unequal_their_numbers() {
        let (music, speech, noise) = ([0.0; 3], [4.0, 0.0, 0.0], [0.0, 4.0, 0.0]);
        let kinds = [around(music, 300), around(speech, 20), around(noise, 60)];
        let detector = Detector::fit([&kinds[0], &kinds[1], &kinds[2]], 0.5).unwrap();
        let rules = Rules {
            not_sure_below: 0.5,
            detector: Some(detector),
        };
        let verdict = |corner, score| {
            let windows = around(corner, 3);
            let detector = rules.detector.as_ref().unwrap();
            rules.judge(
                score,
                Some(detector.probabilities(windows.iter().map(Vec::as_slice))),
            )
        };
        assert_eq!(verdict(music, 0.8), Verdict::Sure);
        assert_eq!(verdict(music, 0.4), Verdict::NotSure);
        assert_eq!(verdict(speech, 0.9), Verdict::NotMusic(NotMusic::Speech));
        assert_eq!(verdict(noise, 0.2), Verdict::NotMusic(NotMusic::Noise));
        // In and out again, it is the same.
        assert_eq!(Rules::from_json(&rules.to_json(), 3).unwrap(), rules);
        assert!(Detector::fit([&kinds[0], &[], &kinds[2]], 0.5).is_err());
    }

    #[test]
    fn rules_of_another_model_or_damaged_ones_are_refused() {
        let class = Class {
            weight: vec![1.0, 2.0],
            bias: 0.0,
        };
        let rules = Rules {
            not_sure_below: 0.5,
            detector: Some(Detector {
                least_music: 0.1,
                music: class.clone(),
                speech: class.clone(),
                noise: class,
            }),
        };
        let text = rules.to_json();
        assert!(
            Rules::from_json(&text, 3)
                .unwrap_err()
                .to_string()
                .contains("3 columns")
        );
        assert!(Rules::from_json(&text.replace("0.5", "1.5"), 2).is_err());
        assert!(Rules::from_json("{}", 2).is_err());
        assert!(Rules::from_json(&text.replace("bias", "bios"), 2).is_err());
    }

    #[test]
    fn a_verdict_is_two_words_of_an_answer() {
        let json = |verdict| serde_json::to_string(&verdict).unwrap();
        assert_eq!(json(Verdict::NotSure), r#"{"verdict":"not_sure"}"#);
        assert_eq!(
            json(Verdict::NotMusic(NotMusic::Speech)),
            r#"{"verdict":"not_music","reason":"speech"}"#
        );
    }
}
