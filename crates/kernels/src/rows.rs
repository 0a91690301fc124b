//! Whole rows: bias, residual sums, sums over columns.

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

/// Writes `row` to the start of every row of `dst`, whose rows start `stride` apart.
///
/// # Panics
/// If `row` is longer than `stride`.
pub fn fill(dst: &mut [f32], row: &[f32], stride: usize) {
    assert!(row.len() <= stride);
    dst.par_chunks_mut(ROWS * stride).for_each(|chunk| {
        for r in chunk.chunks_mut(stride) {
            // The last row of a block of columns ends before its stride does.
            if let Some(r) = r.get_mut(..row.len()) {
                r.copy_from_slice(row);
            }
        }
    });
}

/// `dst = x + row` for every row; the start of a residual sum to which a product is then added.
///
/// # Panics
/// If the lengths of `dst` and `x` differ.
pub fn copy_add(dst: &mut [f32], x: &[f32], row: Option<&[f32]>) {
    assert_eq!(dst.len(), x.len());
    match row {
        None => dst.copy_from_slice(x),
        Some(row) => {
            let chunk = ROWS * row.len();
            dst.par_chunks_mut(chunk)
                .zip(x.par_chunks(chunk))
                .for_each(|(dst, x)| {
                    dst.copy_from_slice(x);
                    for r in dst.chunks_exact_mut(row.len()) {
                        add_chunk(r, row);
                    }
                });
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
    fn rows_are_filled_added_and_summed() {
        let row = numbers(7, 1);
        let x = numbers(7 * 300, 2);
        let mut y = vec![0.0; x.len()];
        fill(&mut y, &row, 7);
        add(&mut y, &x);
        let mut z = vec![9.0; x.len()];
        copy_add(&mut z, &x, Some(&row));
        assert_eq!(y, z);
        assert_eq!(z[8], x[8] + row[1]);
        let mut sums = vec![1.0; 7];
        add_column_sums(&x, &mut sums);
        let expected: f64 = 1.0 + (0..300).map(|r| f64::from(x[r * 7 + 3])).sum::<f64>();
        assert!((f64::from(sums[3]) - expected).abs() < 1e-4);
    }
}
