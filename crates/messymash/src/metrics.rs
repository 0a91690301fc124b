//! Figures of merit from classes told and classes true.

/// The index of the largest value; the first of several equal ones, 0 for none.
pub fn argmax(scores: &[f32]) -> usize {
    let better = |best: usize, (i, score): (usize, &f32)| if *score > scores[best] { i } else { best };
    scores.iter().enumerate().fold(0, better)
}

/// How often each class was told for each true class.
#[derive(Debug, Clone, PartialEq)]
pub struct Confusion {
    /// `counts[truth][predicted]`.
    pub counts: Vec<Vec<f64>>,
}

impl Confusion {
    /// Counts pairs of classes below `classes`; others are passed over.
    pub fn new(classes: usize, truth: &[usize], predicted: &[usize]) -> Self {
        let mut counts = vec![vec![0.0; classes]; classes];
        for (&t, &p) in truth.iter().zip(predicted) {
            if t < classes && p < classes {
                counts[t][p] += 1.0;
            }
        }
        Self { counts }
    }

    /// Mean over classes of 2 TP / (2 TP + FP + FN). Classes that are neither true nor told anywhere are left out, as
    /// scikit-learn's `f1_score(average="macro", zero_division=0)` does; 0 if there is none.
    pub fn macro_f1(&self) -> f64 {
        let classes = self.counts.len();
        let scores: Vec<f64> = (0..classes)
            .filter_map(|c| {
                let truth: f64 = self.counts[c].iter().sum();
                let told: f64 = self.counts.iter().map(|row| row[c]).sum();
                (truth + told > 0.0).then(|| 2.0 * self.counts[c][c] / (truth + told))
            })
            .collect();
        if scores.is_empty() { 0.0 } else { scores.iter().sum::<f64>() / scores.len() as f64 }
    }
}
