//! Whole rows: sums of two, sums over columns.

use rayon::prelude::*;

use crate::simd::multiversion;

/// Rows per task. Fixed, so that sums over rows are taken in the same order whatever the number of threads.
pub(crate) const ROWS: usize = 128;

multiversion! {
    fn add_chunk(x: &mut [f32], y: &[f32]) {
        for (x, &y) in x.iter_mut().zip(y) {
            *x += y;
        }
    }
}

/// `dst += x`, element by element.
///
/// # Panics
/// If the lengths differ.
pub fn add(dst: &mut [f32], x: &[f32]) {
    assert_eq!(dst.len(), x.len());
    dst.par_chunks_mut(1 << 14)
        .zip(x.par_chunks(1 << 14))
        .for_each(|(d, x)| add_chunk(d, x));
}

/// Adds the sum of all rows of `x` (rows of `sums.len()`) to `sums`: the gradient of a bias.
pub fn add_column_sums(x: &[f32], sums: &mut [f32]) {
    let cols = sums.len();
    let partial: Vec<Vec<f32>> = x
        .par_chunks(ROWS * cols)
        .map(|chunk| {
            let mut sum = vec![0.0; cols];
            for row in chunk.chunks_exact(cols) {
                add_chunk(&mut sum, row);
            }
            sum
        })
        .collect();
    for sum in &partial {
        add_chunk(sums, sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::numbers;

    #[test]
    fn rows_are_added_and_summed() {
        let x = numbers(7 * 300, 2);
        let mut y = vec![1.0; x.len()];
        add(&mut y, &x);
        assert!(y.iter().zip(&x).all(|(y, x)| *y == 1.0 + x));
        let mut sums = vec![1.0; 7];
        add_column_sums(&x, &mut sums);
        let expected: f64 = 1.0 + (0..300).map(|r| f64::from(x[r * 7 + 3])).sum::<f64>();
        assert!((f64::from(sums[3]) - expected).abs() < 1e-4);
    }
}
