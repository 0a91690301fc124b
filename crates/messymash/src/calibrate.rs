//! Fitting what an answer is worth: scores that mean what they say, and rules for "not sure" and "no music".
//!
//! Temperature scaling (Guo et al. 2017): logits are divided by one number, so that a score of 0.7 is right seven times out of ten. It goes into
//! the weights of the head, so that every program which reads the model gives the same scores. Which label is likeliest in a window never changes; in
//! a sound of several windows, whose scores are averaged, it may.

use std::collections::BTreeMap;

use messymash_kernels::cross_entropy::softmax;
use rayon::prelude::*;

use crate::audio::AudioStream;
use crate::checkpoint::Checkpoint;
use crate::classifier::ClassifyOptions;
use crate::metrics::{calibration, calibration_error, log_loss};
use crate::verdict::{Detector, NotMusic, Rules};
use crate::{Classifier, Result, Waveform, dataset};

/// Half: where a calibrated answer becomes as often wrong as right.
const NOT_SURE_BELOW: f32 = 0.5;

/// What the model says of a sound, kept to fit by.
#[derive(Debug, Clone)]
pub struct HeardSound {
    /// Logits of each window, by class index.
    logits: Vec<Vec<f32>>,
    /// Pooled token of each window.
    pooled: Vec<Vec<f32>>,
}

/// Hears a sound whole.
///
/// # Errors
/// Those of [`Classifier::classify_stream`].
pub fn hear(classifier: &Classifier, stream: AudioStream, options: &ClassifyOptions) -> Result<HeardSound> {
    let heard = classifier.listen(stream, options, &mut |_| Ok(()))?;
    let (logits, pooled) = heard.windows.into_iter().map(|w| (w.logits, w.pooled)).unzip();
    Ok(HeardSound { logits, pooled })
}

/// As [`hear`], of a sound in memory.
///
/// # Errors
/// As [`hear`].
pub fn hear_waveform(
    classifier: &Classifier,
    sound: &Waveform,
    options: &ClassifyOptions,
) -> Result<HeardSound> {
    hear(
        classifier,
        AudioStream::from_waveform(sound, &options.limits)?,
        options,
    )
}

impl HeardSound {
    /// Mean of the windows' scores, as a classifier gives them, the logits divided by `temperature`.
    fn scores(&self, temperature: f64) -> Vec<f32> {
        let mut sums = vec![0.0; self.logits.first().map_or(0, Vec::len)];
        for logits in &self.logits {
            let mut scores: Vec<f32> = logits
                .iter()
                .map(|&x| (f64::from(x) / temperature) as f32)
                .collect();
            softmax(&mut scores);
            sums.iter_mut().zip(scores).for_each(|(sum, score)| *sum += score);
        }
        let count = self.logits.len().max(1) as f32;
        sums.into_iter().map(|sum| sum / count).collect()
    }
}

/// A sound whose genre is known.
#[derive(Debug, Clone)]
pub struct Labelled {
    /// What the model says.
    pub heard: HeardSound,
    /// Class index.
    pub truth: usize,
    /// Songs in it, by id.
    pub songs: Vec<String>,
}

/// Figures of scores on sounds that did not fit their temperature.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Worth {
    /// Mean cross entropy, nats.
    pub loss: f64,
    /// Expected calibration error, 15 bins.
    pub calibration_error: f64,
    /// Share of the answers of 0.5 and more, which are called sure.
    pub sure: f64,
    /// Of those, the share that is right.
    pub right_of_sure: f64,
    /// Of the others, the share that is right.
    pub right_of_not_sure: f64,
}

/// What a temperature does.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitted {
    /// What logits are to be divided by.
    pub temperature: f64,
    /// As the model was.
    pub before: Worth,
    /// With a temperature fitted to the other half of the songs.
    pub after: Worth,
}

/// Fits the temperature to labelled sounds that the model was not trained on.
///
/// The figures are cross-fitted: songs are divided in two halves, and each is judged with the temperature of the other. Of a
/// mashup, the first song decides the half; its others may be in the other half, too, so the division is not strict.
pub fn fit_temperature(sounds: &[Labelled]) -> Fitted {
    let half = |sound: &Labelled| -> usize {
        let recording = sound.songs.first().map_or("", |song| dataset::recording(song));
        recording.bytes().map(usize::from).sum::<usize>() % 2
    };
    let halves = [0, 1].map(|side| -> Vec<&Labelled> { sounds.iter().filter(|s| half(s) == side).collect() });
    let all: Vec<&Labelled> = sounds.iter().collect();
    let judged = |temperatures: [f64; 2]| {
        let scores: Vec<(Vec<f32>, usize)> = halves
            .iter()
            .zip(temperatures)
            .flat_map(|(half, temperature)| half.iter().map(move |s| (s.heard.scores(temperature), s.truth)))
            .collect();
        worth(&scores)
    };
    let [first, second] = [&halves[0], &halves[1]].map(|half| best_temperature(half));
    Fitted {
        temperature: best_temperature(&all),
        before: judged([1.0, 1.0]),
        after: judged([second, first]),
    }
}

/// The temperature of the least loss, by golden section over its logarithm; 1 where there is nothing to fit to.
fn best_temperature(sounds: &[&Labelled]) -> f64 {
    if sounds.is_empty() {
        return 1.0;
    }
    let loss = |log: f64| {
        let scores: Vec<(Vec<f32>, usize)> = sounds
            .par_iter()
            .map(|s| (s.heard.scores(log.exp()), s.truth))
            .collect();
        log_loss(scores.iter().map(|(scores, truth)| (&scores[..], *truth)))
    };
    let (mut low, mut high) = (-2.0, 2.0);
    let section = (5.0f64.sqrt() - 1.0) / 2.0;
    // Each round leaves 0.618 of the range: 30 leave two millionths.
    for _ in 0..30 {
        let (left, right) = (high - section * (high - low), low + section * (high - low));
        if loss(left) < loss(right) {
            high = right;
        } else {
            low = left;
        }
    }
    f64::midpoint(low, high).exp()
}

fn worth(scores: &[(Vec<f32>, usize)]) -> Worth {
    let each = || scores.iter().map(|(scores, truth)| (&scores[..], *truth));
    let (mut sure, mut right) = (0.0, [0.0, 0.0]);
    for (scores, truth) in each() {
        let best = crate::metrics::argmax(scores);
        let is_sure = scores[best] >= NOT_SURE_BELOW;
        sure += f64::from(u8::from(is_sure));
        right[usize::from(!is_sure)] += f64::from(u8::from(best == truth));
    }
    let count = scores.len() as f64;
    Worth {
        loss: log_loss(each()),
        calibration_error: calibration_error(&calibration(each())),
        sure: sure / count,
        right_of_sure: right[0] / sure.max(1.0),
        right_of_not_sure: right[1] / (count - sure).max(1.0),
    }
}

/// Divides the logits of a model by `temperature`, in the weights of its head.
pub fn apply_temperature(model: &mut Checkpoint, temperature: f64) {
    let head = &mut model.ast.weights_mut().classifier.dense;
    for value in head
        .weight
        .data
        .iter_mut()
        .chain(head.bias.iter_mut().flat_map(|bias| &mut bias.data))
    {
        *value = (f64::from(*value) / temperature) as f32;
    }
}

/// Sounds by what they are.
#[derive(Debug, Clone, Default)]
pub struct Kinds {
    /// Music, noisy or not.
    pub music: Vec<HeardSound>,
    /// Speech.
    pub speech: Vec<HeardSound>,
    /// All other sound.
    pub noise: Vec<HeardSound>,
}

impl Kinds {
    fn each(&self) -> [(&'static str, &[HeardSound]); 3] {
        [
            ("music", &self.music),
            ("speech", &self.speech),
            ("noise", &self.noise),
        ]
    }
}

/// The rules of a model from sounds of each kind; a sound is to be called no music where music is less likely than `least_music`.
///
/// # Errors
/// As [`Detector::fit`].
pub fn fit_rules(kinds: &Kinds, least_music: f32) -> Result<Rules> {
    let tokens = kinds
        .each()
        .map(|(_, sounds)| sounds.iter().flat_map(|s| s.pooled.clone()).collect::<Vec<_>>());
    let [music, speech, noise] = &tokens;
    Ok(Rules {
        not_sure_below: NOT_SURE_BELOW,
        detector: Some(Detector::fit([music, speech, noise], least_music)?),
    })
}

/// What rules say of sounds of each kind: kind -> what it is called -> how many.
pub fn try_rules(rules: &Rules, kinds: &Kinds) -> BTreeMap<&'static str, BTreeMap<&'static str, usize>> {
    let told = |sound: &HeardSound| {
        let detector = rules.detector.as_ref()?;
        let kinds = detector.probabilities(sound.pooled.iter().map(Vec::as_slice));
        Some(detector.other(kinds).map_or("music", NotMusic::name))
    };
    let count = |sounds: &[HeardSound]| {
        let mut counts = BTreeMap::new();
        for name in sounds.iter().filter_map(told) {
            *counts.entry(name).or_default() += 1;
        }
        counts
    };
    kinds
        .each()
        .into_iter()
        .map(|(kind, sounds)| (kind, count(sounds)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn a_model_three_times_too_sure_is_told_so() {
        // The truth is drawn by a softmax of logits; the model says three times those logits.
        let sounds: Vec<Labelled> = (0..600u64)
            .map(|i| {
                let mut random = Random::new(&[7, i]);
                let logits: Vec<f32> = (0..4).map(|_| 1.5 * random.normal() as f32).collect();
                let mut p = logits.clone();
                softmax(&mut p);
                let mut left = random.uniform(0.0, 1.0) as f32;
                let truth = p.iter().position(|p| {
                    left -= p;
                    left < 0.0
                });
                Labelled {
                    heard: HeardSound {
                        logits: vec![logits.iter().map(|x| 3.0 * x).collect()],
                        pooled: vec![Vec::new()],
                    },
                    truth: truth.unwrap_or(3),
                    songs: vec![format!("a/{i}")],
                }
            })
            .collect();
        let fitted = fit_temperature(&sounds);
        assert!((2.5..3.6).contains(&fitted.temperature), "{fitted:?}");
        assert!(
            fitted.before.calibration_error > 0.1 && fitted.after.calibration_error < 0.09,
            "{fitted:?}"
        );
        assert!(fitted.after.loss < fitted.before.loss && fitted.after.sure < fitted.before.sure);
        // One half is where it becomes as often wrong as right.
        assert!(
            fitted.after.right_of_sure > 0.6 && fitted.after.right_of_not_sure < 0.5,
            "{fitted:?}"
        );
        assert_eq!(fit_temperature(&[]).temperature, 1.0);
    }
}
