//! Scaled dot-product attention over heads, forward and backward, without ever holding the scores of more than one block
//! of queries.
//!
//! Layout, for `clips` independent sequences: queries `[clips * queries, heads * head_dim]`; keys and values together
//! `[clips * keys, 2 * heads * head_dim]`, the keys in the left half of each row. Head h is the h-th group of `head_dim`
//! columns. The backward pass computes the scores once more from the logarithm of each row's sum, which the forward
//! pass keeps.

use std::cell::RefCell;
use std::marker::PhantomData;

use rayon::prelude::*;

use crate::exp::exp;
use crate::matmul::{Mat, MatMut, Store, matmul_here};
use crate::simd::{LANES, multiversion, sum_by};

/// Queries handled at once: with a thousand keys the block of scores (256 KiB) stays in a second-level cache.
const BLOCK: usize = 64;

/// Sizes of an attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionShape {
    /// Independent sequences.
    pub clips: usize,
    /// Heads per sequence.
    pub heads: usize,
    /// Columns per head.
    pub head_dim: usize,
    /// Queries per sequence.
    pub queries: usize,
    /// Keys (and values) per sequence.
    pub keys: usize,
}

impl AttentionShape {
    fn width(&self) -> usize {
        self.heads * self.head_dim
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }

    /// Elements of queries, of keys and values together, and of the log-sums.
    pub fn lengths(&self) -> (usize, usize, usize) {
        let q = self.clips * self.queries * self.width();
        (
            q,
            2 * self.clips * self.keys * self.width(),
            self.clips * self.heads * self.queries,
        )
    }
}

/// The parts of one head of one clip.
struct Head<'a> {
    q: &'a [f32],
    kv: &'a [f32],
    shape: AttentionShape,
    /// First column of the head.
    column: usize,
    /// Row of the clip's first query in the whole.
    first_query: usize,
    /// Row of the clip's first key in the whole.
    first_key: usize,
}

impl<'a> Head<'a> {
    fn new(shape: AttentionShape, q: &'a [f32], kv: &'a [f32], number: usize) -> Self {
        let (clip, head) = (number / shape.heads, number % shape.heads);
        let column = head * shape.head_dim;
        Self {
            q,
            kv,
            shape,
            column,
            first_query: clip * shape.queries,
            first_key: clip * shape.keys,
        }
    }

    /// Rows `start..start + rows` of this head's columns in a matrix laid out as the queries are.
    fn query_rows<'b>(&self, data: &'b [f32], start: usize, rows: usize) -> Mat<'b> {
        let width = self.shape.width();
        Mat::strided(
            &data[(self.first_query + start) * width + self.column..],
            rows,
            self.shape.head_dim,
            width,
        )
    }

    fn keys(&self) -> Mat<'a> {
        self.key_side(self.column)
    }

    fn values(&self) -> Mat<'a> {
        self.key_side(self.shape.width() + self.column)
    }

    fn key_side(&self, column: usize) -> Mat<'a> {
        let width = 2 * self.shape.width();
        Mat::strided(
            &self.kv[self.first_key * width + column..],
            self.shape.keys,
            self.shape.head_dim,
            width,
        )
    }

    /// `scores` = unscaled products of `rows` queries from `start` with all keys.
    fn scores(&self, start: usize, rows: usize, scores: &mut [f32]) {
        let q = self.query_rows(self.q, start, rows);
        matmul_here(
            MatMut::new(scores, rows, self.shape.keys),
            q,
            self.keys().t(),
            Store::Overwrite,
        );
    }
}

/// A matrix that several tasks write to, each to rows and columns of its own.
struct SharedRows<'a> {
    data: *mut f32,
    len: usize,
    width: usize,
    borrowed: PhantomData<&'a mut [f32]>,
}

// SAFETY: `write` is the only access, and its contract forbids that two tasks write to the same elements.
unsafe impl Sync for SharedRows<'_> {}

impl<'a> SharedRows<'a> {
    fn new(data: &'a mut [f32], width: usize) -> Self {
        Self {
            data: data.as_mut_ptr(),
            len: data.len(),
            width,
            borrowed: PhantomData,
        }
    }

    /// Copies rows of `head_dim` elements to `column` of the rows from `first_row` on.
    ///
    /// # Safety
    /// No other task may write to the same elements while the borrow lasts.
    unsafe fn write(&self, first_row: usize, column: usize, head_dim: usize, rows: &[f32]) {
        for (i, row) in rows.chunks_exact(head_dim).enumerate() {
            let at = (first_row + i) * self.width + column;
            assert!(column + head_dim <= self.width && at + head_dim <= self.len);
            // SAFETY: in bounds by the assertion, unshared by this function's contract; `row` is not part of `data`,
            // which is mutably borrowed.
            unsafe { std::ptr::copy_nonoverlapping(row.as_ptr(), self.data.add(at), head_dim) };
        }
    }
}

/// Hands out `N` scratch buffers of the thread, so that no task allocates.
fn with_scratch<const N: usize, R>(lengths: [usize; N], work: impl FnOnce([&mut [f32]; N]) -> R) -> R {
    thread_local! {
        static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    }
    // Taken, not borrowed: work that came back here on the same thread would get a buffer of its own.
    let mut buffer = SCRATCH.with(RefCell::take);
    let total = lengths.iter().sum();
    if buffer.len() < total {
        buffer.resize(total, 0.0);
    }
    let mut rest = &mut buffer[..];
    let parts = lengths.map(|len| {
        let (part, tail) = std::mem::take(&mut rest).split_at_mut(len);
        rest = tail;
        part
    });
    let result = work(parts);
    SCRATCH.with(|scratch| scratch.replace(buffer));
    result
}

multiversion! {
    /// Turns rows of scores into exp(scale (s - max)) and gives each row's sum and log-sum.
    fn softmax_rows(scores: &mut [f32], keys: usize, scale: f32, inverse_sums: &mut [f32], log_sums: &mut [f32]) {
        for ((row, inverse), log_sum) in scores.chunks_exact_mut(keys).zip(inverse_sums).zip(log_sums) {
            let max = row_max(row);
            for x in row.iter_mut() {
                *x = exp(scale * (*x - max));
            }
            let sum = sum_by(keys, |i| row[i]);
            *inverse = 1.0 / sum;
            *log_sum = scale * max + sum.ln();
        }
    }
}

#[inline(always)]
fn row_max(row: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = row.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = if x > *lane { x } else { *lane };
        }
    }
    lanes
        .iter()
        .chain(rest)
        .fold(f32::NEG_INFINITY, |m, &x| if x > m { x } else { m })
}

multiversion! {
    fn scale_rows(rows: &mut [f32], width: usize, by: &[f32]) {
        for (row, &by) in rows.chunks_exact_mut(width).zip(by) {
            for x in row {
                *x *= by;
            }
        }
    }
}

multiversion! {
    /// Turns scores into probabilities, and the gradient of the probabilities into that of the unscaled scores.
    fn score_gradient(scores: &mut [f32], gradient: &mut [f32], keys: usize, scale: f32, log_sums: &[f32], deltas: &[f32]) {
        let rows = scores.chunks_exact_mut(keys).zip(gradient.chunks_exact_mut(keys));
        for ((p, g), (&log_sum, &delta)) in rows.zip(log_sums.iter().zip(deltas)) {
            for (p, g) in p.iter_mut().zip(g) {
                *p = exp(scale * *p - log_sum);
                *g = *p * (*g - delta) * scale;
            }
        }
    }
}

fn check(shape: AttentionShape, q: usize, kv: usize, log_sums: usize) {
    assert_eq!((q, kv, log_sums), shape.lengths(), "lengths of an attention");
    assert!(shape.keys > 0 && shape.head_dim > 0);
}

/// `out` = softmax(q kᵀ / √head_dim) v, laid out as `q`; `log_sums` `[clips, heads, queries]` is what [`backward`] needs.
///
/// # Panics
/// If the lengths do not fit.
pub fn forward(shape: AttentionShape, q: &[f32], kv: &[f32], out: &mut [f32], log_sums: &mut [f32]) {
    check(shape, q.len(), kv.len(), log_sums.len());
    assert_eq!(q.len(), out.len());
    let out = SharedRows::new(out, shape.width());
    // Blocks never reach over the end of a head, since they are chunks of a head's own log-sums.
    log_sums
        .par_chunks_mut(shape.queries)
        .enumerate()
        .for_each(|(number, log_sums)| {
            let head = Head::new(shape, q, kv, number);
            log_sums
                .par_chunks_mut(BLOCK)
                .enumerate()
                .for_each(|(block, log_sums)| {
                    let (start, rows) = (block * BLOCK, log_sums.len());
                    let lengths = [rows * shape.keys, rows * shape.head_dim, rows];
                    with_scratch(lengths, |[scores, part, inverse_sums]| {
                        head.scores(start, rows, scores);
                        softmax_rows(scores, shape.keys, shape.scale(), inverse_sums, log_sums);
                        let probabilities = Mat::new(scores, rows, shape.keys);
                        let dst = MatMut::new(part, rows, shape.head_dim);
                        matmul_here(dst, probabilities, head.values(), Store::Overwrite);
                        scale_rows(part, shape.head_dim, inverse_sums);
                        // SAFETY: this block of this head is this task's alone.
                        unsafe { out.write(head.first_query + start, head.column, shape.head_dim, part) };
                    });
                });
        });
}

/// What the forward pass was given and gave, and the gradient of its output.
#[derive(Debug, Clone, Copy)]
pub struct Attended<'a> {
    /// Queries.
    pub q: &'a [f32],
    /// Keys and values.
    pub kv: &'a [f32],
    /// Output of [`forward`].
    pub out: &'a [f32],
    /// Log-sums of [`forward`].
    pub log_sums: &'a [f32],
    /// Gradient of the output.
    pub d_out: &'a [f32],
}

/// Overwrites `dq` and `dkv` (laid out as `q` and `kv`) with the gradients of queries, keys and values.
///
/// # Panics
/// If the lengths do not fit.
pub fn backward(shape: AttentionShape, attended: Attended<'_>, dq: &mut [f32], dkv: &mut [f32]) {
    let Attended {
        q,
        kv,
        out,
        log_sums,
        d_out,
    } = attended;
    check(shape, q.len(), kv.len(), log_sums.len());
    assert!(q.len() == out.len() && q.len() == d_out.len() && q.len() == dq.len() && kv.len() == dkv.len());
    let width = shape.width();
    let dq = SharedRows::new(dq, width);
    let dkv = SharedRows::new(dkv, 2 * width);
    let (hd, keys, scale) = (shape.head_dim, shape.keys, shape.scale());
    log_sums
        .par_chunks(shape.queries)
        .enumerate()
        .for_each(|(number, log_sums)| {
            let head = Head::new(shape, q, kv, number);
            let block = BLOCK.min(shape.queries);
            let lengths = [
                block * keys,
                block * keys,
                block * hd,
                block,
                keys * hd,
                keys * hd,
            ];
            with_scratch(lengths, |[scores, gradient, part, deltas, dk, dv]| {
                for (i, log_sums) in log_sums.chunks(BLOCK).enumerate() {
                    let (start, rows) = (i * BLOCK, log_sums.len());
                    let (scores, gradient) = (&mut scores[..rows * keys], &mut gradient[..rows * keys]);
                    let (part, deltas) = (&mut part[..rows * hd], &mut deltas[..rows]);
                    let d_rows = head.query_rows(d_out, start, rows);
                    head.scores(start, rows, scores);
                    matmul_here(
                        MatMut::new(gradient, rows, keys),
                        d_rows,
                        head.values().t(),
                        Store::Overwrite,
                    );
                    for (r, delta) in deltas.iter_mut().enumerate() {
                        let at = (head.first_query + start + r) * width + head.column;
                        let (o, d) = (&out[at..at + hd], &d_out[at..at + hd]);
                        *delta = sum_by(hd, |i| o[i] * d[i]);
                    }
                    score_gradient(scores, gradient, keys, scale, log_sums, deltas);
                    let store = if i == 0 { Store::Overwrite } else { Store::Add };
                    matmul_here(
                        MatMut::new(dv, keys, hd),
                        Mat::new(scores, rows, keys).t(),
                        d_rows,
                        store,
                    );
                    let gradient = Mat::new(gradient, rows, keys);
                    let q_rows = head.query_rows(q, start, rows);
                    matmul_here(MatMut::new(dk, keys, hd), gradient.t(), q_rows, store);
                    matmul_here(
                        MatMut::new(part, rows, hd),
                        gradient,
                        head.keys(),
                        Store::Overwrite,
                    );
                    // SAFETY: the rows and columns of this head of this clip are this task's alone.
                    unsafe { dq.write(head.first_query + start, head.column, hd, part) };
                }
                // SAFETY: as above, for the columns of keys and of values.
                unsafe {
                    dkv.write(head.first_key, head.column, hd, dk);
                    dkv.write(head.first_key, width + head.column, hd, dv);
                }
            });
        });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Level;
    use crate::testing::{assert_close, numbers};

    const SHAPE: AttentionShape = AttentionShape {
        clips: 2,
        heads: 3,
        head_dim: 5,
        queries: 70,
        keys: 83,
    };

    /// The definition, in f64.
    fn naive(shape: AttentionShape, q: &[f32], kv: &[f32]) -> Vec<f32> {
        let w = shape.width();
        let mut out = vec![0.0; q.len()];
        for clip in 0..shape.clips {
            for head in 0..shape.heads {
                for i in 0..shape.queries {
                    let row = (clip * shape.queries + i) * w + head * shape.head_dim;
                    let key = |j: usize| (clip * shape.keys + j) * 2 * w + head * shape.head_dim;
                    let p: Vec<f64> = (0..shape.keys)
                        .map(|j| {
                            let dot: f64 = (0..shape.head_dim)
                                .map(|d| f64::from(q[row + d]) * f64::from(kv[key(j) + d]))
                                .sum();
                            (dot / (shape.head_dim as f64).sqrt()).exp()
                        })
                        .collect();
                    let sum: f64 = p.iter().sum();
                    for d in 0..shape.head_dim {
                        let v: f64 = (0..shape.keys)
                            .map(|j| p[j] * f64::from(kv[key(j) + w + d]))
                            .sum();
                        out[row + d] = (v / sum) as f32;
                    }
                }
            }
        }
        out
    }

    fn inputs() -> (Vec<f32>, Vec<f32>) {
        let (q, kv, _) = SHAPE.lengths();
        (numbers(q, 1).iter().map(|x| 3.0 * x).collect(), numbers(kv, 2))
    }

    #[test]
    fn forward_agrees_with_the_definition() {
        let (q, kv) = inputs();
        let (mut out, mut log_sums) = (vec![0.0; q.len()], vec![0.0; SHAPE.lengths().2]);
        forward(SHAPE, &q, &kv, &mut out, &mut log_sums);
        assert_close(&out, &naive(SHAPE, &q, &kv), 2e-6);
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let shape = AttentionShape {
            clips: 2,
            heads: 2,
            head_dim: 3,
            queries: 2,
            keys: 66,
        };
        let (nq, nkv, nl) = shape.lengths();
        let (q, kv, d_out) = (numbers(nq, 1), numbers(nkv, 2), numbers(nq, 3));
        let (mut out, mut log_sums) = (vec![0.0; nq], vec![0.0; nl]);
        forward(shape, &q, &kv, &mut out, &mut log_sums);
        let (mut dq, mut dkv) = (vec![0.0; nq], vec![0.0; nkv]);
        let attended = Attended {
            q: &q,
            kv: &kv,
            out: &out,
            log_sums: &log_sums,
            d_out: &d_out,
        };
        backward(shape, attended, &mut dq, &mut dkv);
        let loss = |q: &[f32], kv: &[f32]| -> f64 {
            naive(shape, q, kv)
                .iter()
                .zip(&d_out)
                .map(|(&a, &b)| f64::from(a) * f64::from(b))
                .sum()
        };
        let numeric = |base: &[f32], f: &dyn Fn(&[f32]) -> f64| -> Vec<f32> {
            (0..base.len())
                .map(|i| {
                    let (mut up, mut down) = (base.to_vec(), base.to_vec());
                    up[i] += 0.02;
                    down[i] -= 0.02;
                    ((f(&up) - f(&down)) / 0.04) as f32
                })
                .collect()
        };
        assert_close(&dq, &numeric(&q, &|q| loss(q, &kv)), 1e-3);
        assert_close(&dkv, &numeric(&kv, &|kv| loss(&q, kv)), 1e-3);
    }

    #[test]
    fn more_than_one_block_of_queries_gives_the_same_gradient_as_one_at_a_time() {
        let (q, kv) = inputs();
        let d_out = numbers(q.len(), 3);
        let (mut out, mut log_sums) = (vec![0.0; q.len()], vec![0.0; SHAPE.lengths().2]);
        forward(SHAPE, &q, &kv, &mut out, &mut log_sums);
        let (mut dq, mut dkv) = (vec![0.0; q.len()], vec![0.0; kv.len()]);
        let attended = Attended {
            q: &q,
            kv: &kv,
            out: &out,
            log_sums: &log_sums,
            d_out: &d_out,
        };
        backward(SHAPE, attended, &mut dq, &mut dkv);
        // The gradient of keys and values is a sum over queries: give each half of the queries a gradient in turn.
        let mut total = vec![0.0; kv.len()];
        for half in 0..2 {
            let width = SHAPE.width();
            let masked: Vec<f32> = (0..d_out.len())
                .map(|i| {
                    if (i / width % SHAPE.queries < 35) == (half == 0) {
                        d_out[i]
                    } else {
                        0.0
                    }
                })
                .collect();
            let mut part = vec![0.0; kv.len()];
            let attended = Attended {
                d_out: &masked,
                ..attended
            };
            backward(SHAPE, attended, &mut vec![0.0; q.len()], &mut part);
            total.iter_mut().zip(&part).for_each(|(t, p)| *t += p);
        }
        assert_close(&dkv, &total, 1e-5);
    }

    #[test]
    fn every_level_gives_the_same_softmax_and_huge_scores_stay_finite() {
        let keys = 101;
        let base: Vec<f32> = numbers(keys * 4, 7).iter().map(|x| 1e4 * x).collect();
        let run = |level| {
            let (mut s, mut inverse, mut log) = (base.clone(), vec![0.0; 4], vec![0.0; 4]);
            softmax_rows::at(level, &mut s, keys, 0.25, &mut inverse, &mut log);
            scale_rows::at(level, &mut s, keys, &inverse);
            let mut gradient = numbers(s.len(), 8);
            let mut scores = base.clone();
            score_gradient::at(level, &mut scores, &mut gradient, keys, 0.25, &log, &[0.1; 4]);
            (s, scores, gradient)
        };
        let (p, again, gradient) = run(Level::Portable);
        assert!(p.iter().chain(&gradient).all(|x| x.is_finite()));
        assert!(
            p.chunks(keys)
                .all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-5)
        );
        assert_close(&again, &p, 2e-3); // e^(s - log_sum) at |s| = 2500 loses digits to the subtraction
        for level in Level::available() {
            let (p2, again2, gradient2) = run(level);
            assert_close(&p2, &p, 1e-6);
            assert_close(&again2, &again, 1e-6);
            assert_close(&gradient2, &gradient, 1e-6);
        }
    }
}
