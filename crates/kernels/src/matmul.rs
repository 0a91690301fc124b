//! Matrix products over strided views, by the `gemm` crate.

/// A read-only view of a matrix inside a slice.
#[derive(Debug, Clone, Copy)]
pub struct Mat<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Mat<'a> {
    /// The first `rows * cols` elements of `data`, row-major.
    ///
    /// # Panics
    /// If `data` is too short.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// `rows` rows of `cols` elements, whose starts lie `row_stride` apart.
    ///
    /// # Panics
    /// If `data` is too short.
    pub fn strided(data: &'a [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        check(data.len(), rows, cols, row_stride);
        Self {
            data,
            rows,
            cols,
            row_stride,
            col_stride: 1,
        }
    }

    /// The transpose, without moving anything.
    pub fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }
}

/// A writable view of a matrix inside a slice.
#[derive(Debug)]
pub struct MatMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
}

impl<'a> MatMut<'a> {
    /// The first `rows * cols` elements of `data`, row-major.
    ///
    /// # Panics
    /// If `data` is too short.
    pub fn new(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// `rows` rows of `cols` elements, whose starts lie `row_stride` apart.
    ///
    /// # Panics
    /// If `data` is too short, or rows would overlap.
    pub fn strided(data: &'a mut [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        check(data.len(), rows, cols, row_stride);
        assert!(
            rows <= 1 || row_stride >= cols,
            "rows of a writable matrix must not overlap"
        );
        Self {
            data,
            rows,
            cols,
            row_stride,
        }
    }
}

fn check(len: usize, rows: usize, cols: usize, row_stride: usize) {
    // Checked: a sum that wrapped round would let a product write beyond the slice.
    let needed = match rows.checked_sub(1) {
        Some(before) if cols > 0 => before.checked_mul(row_stride).and_then(|n| n.checked_add(cols)),
        _ => Some(0),
    };
    let Some(needed) = needed else {
        panic!("a {rows} x {cols} matrix with row stride {row_stride} is larger than memory");
    };
    assert!(
        len >= needed,
        "a {rows} x {cols} matrix with row stride {row_stride} needs {needed} elements, not {len}"
    );
}

/// What becomes of what the destination holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// It is overwritten.
    Overwrite,
    /// The product is added to it.
    Add,
}

/// `dst = a b`, or `dst += a b`, on all threads of the current rayon pool.
///
/// # Panics
/// If the shapes do not fit.
pub fn matmul(dst: MatMut<'_>, a: Mat<'_>, b: Mat<'_>, store: Store) {
    let threads = rayon::current_num_threads();
    let parallelism = if threads > 1 {
        gemm::Parallelism::Rayon(threads)
    } else {
        gemm::Parallelism::None
    };
    product(dst, a, b, store, parallelism);
}

/// [`matmul`] on the calling thread alone, for use inside a task.
pub(crate) fn matmul_here(dst: MatMut<'_>, a: Mat<'_>, b: Mat<'_>, store: Store) {
    product(dst, a, b, store, gemm::Parallelism::None);
}

fn product(dst: MatMut<'_>, a: Mat<'_>, b: Mat<'_>, store: Store, parallelism: gemm::Parallelism) {
    assert_eq!(
        (dst.rows, dst.cols, a.cols),
        (a.rows, b.cols, b.rows),
        "shapes of a matrix product"
    );
    if dst.rows == 0 || dst.cols == 0 {
        return;
    }
    // SAFETY: the views were checked to lie inside their slices when they were made; `dst` is borrowed mutably, so it
    // overlaps neither `a` nor `b`, and its rows do not overlap each other.
    unsafe {
        gemm::gemm(
            dst.rows,
            dst.cols,
            a.cols,
            dst.data.as_mut_ptr(),
            1,
            dst.row_stride as isize,
            store == Store::Add,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::numbers;

    fn naive(a: Mat<'_>, b: Mat<'_>) -> Vec<f32> {
        let at = |m: Mat<'_>, r: usize, c: usize| f64::from(m.data[r * m.row_stride + c * m.col_stride]);
        (0..a.rows * b.cols)
            .map(|i| {
                (0..a.cols)
                    .map(|k| at(a, i / b.cols, k) * at(b, k, i % b.cols))
                    .sum::<f64>() as f32
            })
            .collect()
    }

    #[test]
    fn agrees_with_the_definition_in_every_layout() {
        let (m, k, n) = (37, 53, 29);
        let a = numbers(m * k, 1);
        let b = numbers(k * n, 2);
        let bt: Vec<f32> = (0..n * k).map(|i| b[(i % k) * n + i / k]).collect();
        let expected = naive(Mat::new(&a, m, k), Mat::new(&b, k, n));
        for (b, name) in [
            (Mat::new(&b, k, n), "plain"),
            (Mat::new(&bt, n, k).t(), "transposed"),
        ] {
            // The destination is a block of columns inside a wider matrix: what lies beside it must stay.
            let stride = n + 5;
            let mut dst = vec![1.0; m * stride];
            matmul(
                MatMut::strided(&mut dst, m, n, stride),
                Mat::new(&a, m, k),
                b,
                Store::Overwrite,
            );
            matmul_here(
                MatMut::strided(&mut dst, m, n, stride),
                Mat::new(&a, m, k),
                b,
                Store::Add,
            );
            for r in 0..m {
                for c in 0..stride {
                    let want = if c < n { 2.0 * expected[r * n + c] } else { 1.0 };
                    assert!((dst[r * stride + c] - want).abs() < 1e-4, "{name} at {r}, {c}");
                }
            }
        }
    }

    #[test]
    fn the_number_of_threads_does_not_change_a_bit() {
        let (m, k, n) = (301, 777, 130);
        let a = numbers(m * k, 3);
        let b = numbers(k * n, 4);
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let mut dst = vec![0.0; m * n];
            pool.install(|| {
                matmul(
                    MatMut::new(&mut dst, m, n),
                    Mat::new(&a, m, k),
                    Mat::new(&b, k, n),
                    Store::Overwrite,
                )
            });
            dst
        };
        assert_eq!(on(1), on(2));
        assert_eq!(on(1), on(3));
    }

    #[test]
    #[should_panic(expected = "needs 12 elements")]
    fn a_short_slice_is_refused() {
        Mat::new(&[0.0; 11], 3, 4);
    }
}
