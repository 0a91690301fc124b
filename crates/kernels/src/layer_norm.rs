//! Layer normalisation over rows, forward and backward.

use rayon::prelude::*;

use crate::rows::ROWS;
use crate::simd::{multiversion, sum_of};

/// The weights of one layer norm and what keeps its division safe.
#[derive(Debug, Clone, Copy)]
pub struct LayerNorm<'a> {
    /// Scale, one per column.
    pub weight: &'a [f32],
    /// Shift, one per column.
    pub bias: &'a [f32],
    /// Added to the variance.
    pub eps: f32,
}

multiversion! {
    pub(crate) fn forward_rows(norm: LayerNorm<'_>, x: &[f32], y: &mut [f32]) {
        let n = norm.weight.len();
        for (x, y) in x.chunks_exact(n).zip(y.chunks_exact_mut(n)) {
            let (mean, rstd) = moments(x, norm.eps);
            for (((y, &x), &w), &b) in y.iter_mut().zip(x).zip(norm.weight).zip(norm.bias) {
                *y = (x - mean) * rstd * w + b;
            }
        }
    }
}

multiversion! {
    fn backward_rows(norm: LayerNorm<'_>, x: &[f32], dy: &[f32], dx: &mut [f32], dw: &mut [f32], db: &mut [f32]) {
        let n = norm.weight.len();
        let w = norm.weight;
        for ((x, dy), dx) in x.chunks_exact(n).zip(dy.chunks_exact(n)).zip(dx.chunks_exact_mut(n)) {
            let (mean, rstd) = moments(x, norm.eps);
            let g = sum_of([dy, w], |[dy, w]| dy * w) / n as f32;
            let gx = sum_of([dy, w, x], |[dy, w, x]| dy * w * ((x - mean) * rstd)) / n as f32;
            let columns = dx.iter_mut().zip(dw.iter_mut()).zip(db.iter_mut());
            for ((((dx, dw), db), (&x, &dy)), &w) in columns.zip(x.iter().zip(dy)).zip(w) {
                let xhat = (x - mean) * rstd;
                *dw += dy * xhat;
                *db += dy;
                *dx += rstd * (dy * w - g - xhat * gx);
            }
        }
    }
}

/// Mean and 1 / standard deviation of a row.
#[inline(always)]
fn moments(x: &[f32], eps: f32) -> (f32, f32) {
    let n = x.len() as f32;
    let mean = sum_of([x], |[x]| x) / n;
    let variance = sum_of([x], |[x]| (x - mean) * (x - mean)) / n;
    (mean, 1.0 / (variance + eps).sqrt())
}

/// `y = (x - mean) / sqrt(variance + eps) * weight + bias`, row by row (rows of `weight.len()`).
///
/// # Panics
/// If the lengths do not fit.
pub fn forward(norm: LayerNorm<'_>, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    assert_eq!(norm.weight.len(), norm.bias.len());
    let chunk = ROWS * norm.weight.len();
    y.par_chunks_mut(chunk)
        .zip(x.par_chunks(chunk))
        .for_each(|(y, x)| forward_rows(norm, x, y));
}

/// Adds the gradients of a layer norm: to `dx` that of its input, to `dw` and `db` those of its weights.
///
/// `x` is the input of the forward pass, `dy` the gradient of its output.
///
/// # Panics
/// If the lengths do not fit.
pub fn backward(norm: LayerNorm<'_>, x: &[f32], dy: &[f32], dx: &mut [f32], dw: &mut [f32], db: &mut [f32]) {
    assert!(x.len() == dy.len() && x.len() == dx.len());
    let n = norm.weight.len();
    assert!(n == norm.bias.len() && n == dw.len() && n == db.len());
    let chunk = ROWS * n;
    let partial: Vec<(Vec<f32>, Vec<f32>)> = dx
        .par_chunks_mut(chunk)
        .zip(x.par_chunks(chunk).zip(dy.par_chunks(chunk)))
        .map(|(dx, (x, dy))| {
            let (mut dw, mut db) = (vec![0.0; n], vec![0.0; n]);
            backward_rows(norm, x, dy, dx, &mut dw, &mut db);
            (dw, db)
        })
        .collect();
    for (w, b) in &partial {
        for i in 0..n {
            dw[i] += w[i];
            db[i] += b[i];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Level;
    use crate::testing::{assert_close, numbers};

    #[test]
    fn rows_have_the_mean_and_deviation_asked_for() {
        let n = 50;
        let x: Vec<f32> = numbers(3 * n, 1).iter().map(|v| 5.0 + 3.0 * v).collect();
        let norm = LayerNorm {
            weight: &vec![2.0; n],
            bias: &vec![0.5; n],
            eps: 1e-12,
        };
        let mut y = vec![0.0; x.len()];
        forward(norm, &x, &mut y);
        for row in y.chunks(n) {
            let mean = row.iter().sum::<f32>() / n as f32;
            let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / n as f32;
            assert!((mean - 0.5).abs() < 1e-5 && (variance - 4.0).abs() < 1e-4);
        }
    }

    #[test]
    fn gradients_agree_with_finite_differences_and_levels_with_each_other() {
        let (rows, n) = (5, 23);
        let x = numbers(rows * n, 1);
        let dy = numbers(rows * n, 2);
        let weight = numbers(n, 3);
        let bias = numbers(n, 4);
        let norm = LayerNorm {
            weight: &weight,
            bias: &bias,
            eps: 1e-5,
        };
        let loss = |x: &[f32]| -> f64 {
            let mut y = vec![0.0; x.len()];
            forward(norm, x, &mut y);
            y.iter()
                .zip(&dy)
                .map(|(&a, &b)| f64::from(a) * f64::from(b))
                .sum()
        };
        let (mut dx, mut dw, mut db) = (vec![0.0; x.len()], vec![0.0; n], vec![0.0; n]);
        backward(norm, &x, &dy, &mut dx, &mut dw, &mut db);
        let numeric: Vec<f32> = (0..x.len())
            .map(|i| {
                let (mut up, mut down) = (x.clone(), x.clone());
                up[i] += 1e-2;
                down[i] -= 1e-2;
                ((loss(&up) - loss(&down)) / 2e-2) as f32
            })
            .collect();
        assert_close(&dx, &numeric, 5e-3);
        for level in Level::available() {
            let (mut dx2, mut dw2, mut db2) = (vec![0.0; x.len()], vec![0.0; n], vec![0.0; n]);
            backward_rows::at(level, norm, &x, &dy, &mut dx2, &mut dw2, &mut db2);
            assert_close(&dx, &dx2, 1e-5);
            assert_close(&dw, &dw2, 1e-5);
            assert_close(&db, &db2, 1e-5);
        }
    }
}
