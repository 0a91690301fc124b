//! AdamW, one tensor at a time.

use rayon::prelude::*;

use crate::simd::multiversion;

/// Values that a thread takes at once.
const CHUNK: usize = 1 << 14;

/// The figures of one step of one tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// Learning rate of this step.
    pub learning_rate: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// Share of the weights, times the learning rate, that is taken away.
    pub weight_decay: f32,
    /// `1 / (1 - beta1^t)`.
    pub correction1: f32,
    /// `1 / (1 - beta2^t)`.
    pub correction2: f32,
    /// Every gradient is multiplied by this first (clipping).
    pub gradient_scale: f32,
}

multiversion! {
    fn step_chunk(s: AdamW, w: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
        let keep = 1.0 - s.learning_rate * s.weight_decay;
        for (((w, &g), m), v) in w.iter_mut().zip(g).zip(m).zip(v) {
            let g = g * s.gradient_scale;
            *m = s.beta1 * *m + (1.0 - s.beta1) * g;
            *v = s.beta2 * *v + (1.0 - s.beta2) * g * g;
            let update = (*m * s.correction1) / ((*v * s.correction2).sqrt() + s.eps);
            *w = *w * keep - s.learning_rate * update;
        }
    }
}

/// One step: moments `m` and `v` and weights `w` are updated from the gradient `g`.
///
/// # Panics
/// If the lengths differ.
pub fn step(settings: AdamW, w: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
    assert!(w.len() == g.len() && w.len() == m.len() && w.len() == v.len());
    w.par_chunks_mut(CHUNK)
        .zip(g.par_chunks(CHUNK))
        .zip(m.par_chunks_mut(CHUNK))
        .zip(v.par_chunks_mut(CHUNK))
        .for_each(|(((w, g), m), v)| step_chunk(settings, w, g, m, v));
}

multiversion! {
    fn average_chunk(decay: f32, average: &mut [f32], w: &[f32]) {
        for (a, &w) in average.iter_mut().zip(w) {
            *a += (1.0 - decay) * (w - *a);
        }
    }
}

/// Moves a running average of weights by the share `1 - decay` towards the weights `w`.
///
/// # Panics
/// If the lengths differ.
pub fn average(decay: f32, average: &mut [f32], w: &[f32]) {
    assert_eq!(average.len(), w.len());
    average
        .par_chunks_mut(CHUNK)
        .zip(w.par_chunks(CHUNK))
        .for_each(|(average, w)| average_chunk(decay, average, w));
}

/// The sum of squares of `x`, in f64, the same bits whatever the number of threads.
pub fn sum_of_squares(x: &[f32]) -> f64 {
    let partial: Vec<f64> = x
        .par_chunks(1 << 12)
        .map(|chunk| f64::from(crate::simd::sum_of([chunk], |[x]| x * x)))
        .collect();
    partial.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Level;
    use crate::testing::{assert_close, numbers};

    #[test]
    fn the_first_step_moves_by_the_learning_rate_and_the_decay() {
        let s = AdamW {
            learning_rate: 0.1,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.5,
            correction1: 10.0,
            correction2: 1000.0,
            gradient_scale: 1.0,
        };
        let (mut w, mut m, mut v) = ([2.0], [0.0], [0.0]);
        step(s, &mut w, &[-3.0], &mut m, &mut v);
        // Adam's first step is lr * sign(g); decay takes lr * 0.5 * 2.
        assert!((w[0] - (2.0 - 0.1 + 0.1)).abs() < 1e-5, "{}", w[0]);
        let n = 1000;
        let g = numbers(n, 1);
        let run = |level| {
            let (mut w, mut m, mut v) = (numbers(n, 2), vec![0.1; n], vec![0.2; n]);
            step_chunk::at(level, s, &mut w, &g, &mut m, &mut v);
            w
        };
        for level in Level::available() {
            assert_close(&run(Level::Portable), &run(level), 1e-6);
        }
    }

    #[test]
    fn an_average_moves_by_its_share() {
        let mut a = [1.0, 0.0];
        average(0.75, &mut a, &[3.0, -4.0]);
        assert_eq!(a, [1.5, -1.0]);
        average(0.0, &mut a, &[7.0, 8.0]);
        assert_eq!(a, [7.0, 8.0]);
        let n = 1000;
        let run = |level| {
            let mut a = numbers(n, 3);
            average_chunk::at(level, 0.9, &mut a, &numbers(n, 4));
            a
        };
        for level in Level::available() {
            assert_close(&run(Level::Portable), &run(level), 1e-6);
        }
    }

    #[test]
    fn sum_of_squares_is_that() {
        assert_eq!(sum_of_squares(&[3.0, 4.0]), 25.0);
        let x = numbers(100_000, 5);
        let exact: f64 = x.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
        assert!((sum_of_squares(&x) - exact).abs() / exact < 1e-6);
    }
}
