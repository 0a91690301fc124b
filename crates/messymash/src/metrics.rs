//! Figures of merit from scores and true classes. They know no sound and no songs.

use serde::Serialize;

/// Bins of the calibration curve.
const CALIBRATION_BINS: usize = 15;

/// The index of the largest value; the first of several equal ones, 0 for none.
pub fn argmax(scores: &[f32]) -> usize {
    let better = |best: usize, (i, score): (usize, &f32)| if *score > scores[best] { i } else { best };
    scores.iter().enumerate().fold(0, better)
}

/// How often (or with what weight) each class was told for each true class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Confusion {
    /// `counts[truth][predicted]`.
    pub counts: Vec<Vec<f64>>,
}

/// How well one class is told.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ClassFigures {
    /// Share of what was told to be this class that is; 0 if it was never told.
    pub precision: f64,
    /// Share of this class that was told; 0 if there is none of it.
    pub recall: f64,
    /// 2 TP / (2 TP + FP + FN); 0 if the class is neither true nor told anywhere.
    pub f1: f64,
    /// How much there is of this class.
    pub support: f64,
}

impl Confusion {
    /// Counts pairs of classes below `classes`; others are passed over.
    pub fn new(classes: usize, truth: &[usize], predicted: &[usize]) -> Self {
        Self::weighted(classes, truth.iter().zip(predicted).map(|(&t, &p)| (t, p, 1.0)))
    }

    /// Sums the weights of (truth, predicted, weight).
    pub fn weighted(classes: usize, pairs: impl Iterator<Item = (usize, usize, f64)>) -> Self {
        let mut counts = vec![vec![0.0; classes]; classes];
        for (truth, predicted, weight) in pairs {
            if truth < classes && predicted < classes {
                counts[truth][predicted] += weight;
            }
        }
        Self { counts }
    }

    /// Figures by class.
    pub fn classes(&self) -> Vec<ClassFigures> {
        let ratio = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        (0..self.counts.len())
            .map(|class| {
                let hit = self.counts[class][class];
                let support: f64 = self.counts[class].iter().sum();
                let told: f64 = self.counts.iter().map(|row| row[class]).sum();
                ClassFigures {
                    precision: ratio(hit, told),
                    recall: ratio(hit, support),
                    f1: ratio(2.0 * hit, support + told),
                    support,
                }
            })
            .collect()
    }

    /// Mean F1 of the classes that are true or told anywhere, as scikit-learn's
    /// `f1_score(average="macro", zero_division=0)`; 0 if there is none.
    pub fn macro_f1(&self) -> f64 {
        self.macro_f1_of(&self.present())
    }

    /// Of each class, whether it is true or told anywhere.
    pub fn present(&self) -> Vec<bool> {
        let told = |class: usize| self.counts.iter().map(|row| row[class]).sum::<f64>();
        let figures = self.classes().into_iter().enumerate();
        figures
            .map(|(class, figures)| figures.support > 0.0 || told(class) > 0.0)
            .collect()
    }

    /// Of each class, whether there is any of it.
    pub fn supported(&self) -> Vec<bool> {
        self.classes().iter().map(|class| class.support > 0.0).collect()
    }

    /// Mean F1 of these classes, be they there or not; 0 of none. With [`Confusion::present`] of a whole, figures of its parts
    /// are means of the same classes.
    pub fn macro_f1_of(&self, classes: &[bool]) -> f64 {
        let figures = self.classes();
        let chosen = || figures.iter().zip(classes).filter(|(_, chosen)| **chosen);
        let sum: f64 = chosen().map(|(figures, _)| figures.f1).sum();
        sum / chosen().count().max(1) as f64
    }

    /// Share that was told right; 0 if there is nothing.
    pub fn accuracy(&self) -> f64 {
        let all: f64 = self.counts.iter().flatten().sum();
        let right: f64 = (0..self.counts.len())
            .map(|class| self.counts[class][class])
            .sum();
        if all > 0.0 { right / all } else { 0.0 }
    }
}

/// Mean negative logarithm of the true classes' scores, nats. Scores of 0 count as the smallest normal f32.
pub fn log_loss<'a>(judged: impl Iterator<Item = (&'a [f32], usize)>) -> f64 {
    let (mut sum, mut n) = (0.0, 0.0);
    for (scores, truth) in judged {
        sum -= f64::from(scores[truth].max(f32::MIN_POSITIVE)).ln();
        n += 1.0;
    }
    if n > 0.0 { sum / n } else { 0.0 }
}

/// How often answers of one confidence are right.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CalibrationBin {
    /// Mean score of the likeliest class.
    pub confidence: f64,
    /// Share that is right.
    pub accuracy: f64,
    /// Answers in the bin.
    pub count: usize,
}

/// Answers by confidence, in 15 bins of equal width over [0, 1]; empty bins are left out.
pub fn calibration<'a>(judged: impl Iterator<Item = (&'a [f32], usize)>) -> Vec<CalibrationBin> {
    let mut bins = [(0.0, 0.0, 0usize); CALIBRATION_BINS];
    for (scores, truth) in judged {
        let told = argmax(scores);
        let confidence = f64::from(scores[told]).clamp(0.0, 1.0);
        let bin = ((confidence * CALIBRATION_BINS as f64) as usize).min(CALIBRATION_BINS - 1);
        bins[bin].0 += confidence;
        bins[bin].1 += f64::from(u8::from(told == truth));
        bins[bin].2 += 1;
    }
    let filled = bins.into_iter().filter(|bin| bin.2 > 0);
    filled
        .map(|(confidence, right, count)| CalibrationBin {
            confidence: confidence / count as f64,
            accuracy: right / count as f64,
            count,
        })
        .collect()
}

/// Expected calibration error (Guo et al. 2017): the mean distance of confidence and accuracy, weighted by the bins' counts.
pub fn calibration_error(bins: &[CalibrationBin]) -> f64 {
    let all: usize = bins.iter().map(|bin| bin.count).sum();
    let sum: f64 = bins
        .iter()
        .map(|bin| bin.count as f64 * (bin.confidence - bin.accuracy).abs())
        .sum();
    if all > 0 { sum / all as f64 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A class that is not there, told once, is one more to be bad at by scikit-learn's mean, and of no account where only those
    /// count that are there.
    #[test]
    fn a_class_that_is_not_there_may_be_left_out() {
        let told = |answers: [usize; 4]| Confusion::new(3, &[0, 0, 1, 1], &answers);
        let (some, more) = (told([0, 0, 1, 0]), told([0, 0, 1, 2]));
        assert_eq!(some.supported(), [true, true, false]);
        assert_eq!(more.supported(), some.supported());
        assert!(more.macro_f1() < some.macro_f1());
        assert!(more.macro_f1_of(&more.supported()) > some.macro_f1_of(&some.supported()));
    }

    #[test]
    fn figures_of_a_case_done_by_hand() {
        // Class 0: 2 of 3 found, told 3 times. Class 1: 1 of 2 found, told twice. Class 2: neither true nor told.
        let confusion = Confusion::new(3, &[0, 0, 0, 1, 1], &[0, 0, 1, 1, 0]);
        let figures = confusion.classes();
        assert!((figures[0].precision - 2.0 / 3.0).abs() < 1e-12);
        assert!((figures[0].recall - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(
            (
                figures[1].precision,
                figures[1].recall,
                figures[1].f1,
                figures[1].support
            ),
            (0.5, 0.5, 0.5, 2.0)
        );
        assert_eq!(figures[2].f1, 0.0);
        assert!((confusion.macro_f1() - (2.0 / 3.0 + 0.5) / 2.0).abs() < 1e-12);
        assert!((confusion.accuracy() - 0.6).abs() < 1e-12);
    }

    #[test]
    fn a_class_that_is_told_but_never_true_counts_as_zero() {
        let confusion = Confusion::new(2, &[0, 0], &[0, 1]);
        assert!((confusion.macro_f1() - (2.0 / 3.0) / 2.0).abs() < 1e-12);
        assert_eq!(Confusion::new(2, &[], &[]).macro_f1(), 0.0);
        // And counts on where the sounds told so are left out.
        let part = Confusion::new(2, &[0], &[0]);
        assert_eq!(
            (part.macro_f1(), part.macro_f1_of(&confusion.present())),
            (1.0, 0.5)
        );
    }

    #[test]
    fn calibration_of_two_bins_done_by_hand() {
        let scores = [[0.9f32, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]];
        let judged = || scores.iter().map(|s| &s[..]).zip([0, 1, 1, 1]);
        let bins = calibration(judged());
        assert_eq!(
            bins.iter().map(|b| (b.accuracy, b.count)).collect::<Vec<_>>(),
            [(1.0, 2), (0.5, 2)]
        );
        assert!((calibration_error(&bins) - 0.4).abs() < 1e-6); // 0.5 * |0.6 - 1| + 0.5 * |0.9 - 0.5|
        let loss = -(0.9f64.ln() + 0.1f64.ln() + 2.0 * 0.6f64.ln()) / 4.0;
        assert!((log_loss(judged()) - loss).abs() < 1e-6);
        assert_eq!(argmax(&[0.2, 0.5, 0.5]), 1);
    }
}
