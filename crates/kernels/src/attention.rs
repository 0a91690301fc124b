//! Scaled dot-product attention over heads, forward and backward, without ever holding the scores of more than one block
//! of queries.
//!
//! Layout, for `clips` independent sequences: queries `[clips * queries, heads * head_dim]`; keys and values together
//! `[clips * keys, 2 * heads * head_dim]`, the keys in the left half of each row. Head h is the h-th group of `head_dim`
//! columns. The backward pass computes the scores once more from the logarithm of each row's sum, which the forward
//! pass keeps.

mod backward;
mod int8;

use rayon::prelude::*;

use crate::exp::exp2_of_negative;
use crate::matmul::{LeftBlock, Mat, PanelsView, STEP};
use crate::memory::{SharedRows, split, with_scratch};
use crate::simd::{LANES, Level, by_halves, greatest, level, multiversion};
use crate::tile::{Left, Store, TileSize, multiply, tile_size};

pub use backward::{Attended, backward};
pub use int8::forward_int8;

/// Scores held at once: half of a second-level cache of 512 KiB.
const SCORES: usize = 1 << 16;

/// Queries of a block at most, no more than a step of a product: more would not make the reuse of keys and values better.
const MOST_QUERIES: usize = 192;

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

/// Sizes of a block of queries.
#[derive(Debug, Clone, Copy)]
struct BlockSize {
    tile: TileSize,
    /// Queries of a block.
    queries: usize,
    /// From one row of scores to the next; whole tiles, read by rows or by columns.
    stride: usize,
    /// Columns of a head, whole tiles.
    width: usize,
}

impl BlockSize {
    fn new(level: Level, shape: AttentionShape) -> Self {
        let tile = tile_size(level);
        let stride = shape
            .keys
            .next_multiple_of(tile.nr)
            .max(shape.keys.next_multiple_of(tile.mr));
        let most = (SCORES / stride).min(MOST_QUERIES).min(shape.queries);
        Self {
            tile,
            queries: (most / tile.mr).max(1) * tile.mr,
            stride,
            width: shape.head_dim.next_multiple_of(tile.nr),
        }
    }

    fn scores(&self) -> usize {
        self.queries * self.stride
    }
}

/// The parts of one head of one clip.
#[derive(Clone, Copy)]
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
}

/// `out` (rows `size.stride` apart) = rows of queries times the transpose of all keys (or values): a product over
/// `head_dim`.
fn times_transposed(
    level: Level,
    size: BlockSize,
    rows: LeftBlock<'_>,
    keys: PanelsView<'_>,
    out: &mut [f32],
) {
    let TileSize { mr, nr } = size.tile;
    let (k, n) = keys.shape();
    for from in (0..k).step_by(STEP) {
        let to = (from + STEP).min(k);
        let store = if from == 0 { Store::Overwrite } else { Store::Add };
        for panel in 0..n.div_ceil(nr) {
            let strip = keys.strip(panel, from..to);
            for i in 0..rows.tiles() {
                let out = &mut out[i * mr * size.stride + panel * nr..];
                multiply(level, rows.tile(i, from..to), strip, out, size.stride, store);
            }
        }
    }
}

/// `out` (rows `size.width` apart) = the first `rows` rows of `scores` times all values (or keys): a product over keys.
fn times(
    level: Level,
    size: BlockSize,
    scores: &[f32],
    values: PanelsView<'_>,
    rows: usize,
    out: &mut [f32],
) {
    let TileSize { mr, nr } = size.tile;
    let (k, n) = values.shape();
    for from in (0..k).step_by(STEP) {
        let to = (from + STEP).min(k);
        let store = if from == 0 { Store::Overwrite } else { Store::Add };
        for panel in 0..n.div_ceil(nr) {
            let strip = values.strip(panel, from..to);
            for i in 0..rows.div_ceil(mr) {
                let left = Left::ByRows {
                    data: &scores[i * mr * size.stride + from..],
                    stride: size.stride,
                };
                let out = &mut out[i * mr * size.width + panel * nr..];
                multiply(level, left, strip, out, size.width, store);
            }
        }
    }
}

multiversion! {
    /// Turns rows of scores into exp(scale (s - max)) and gives each row's sum and log-sum.
    fn softmax_rows(scores: &mut [f32], keys: usize, stride: usize, scale: f32, inverse_sums: &mut [f32], log_sums: &mut [f32]) {
        for ((row, inverse), log_sum) in scores.chunks_exact_mut(stride).zip(inverse_sums).zip(log_sums) {
            let row = &mut row[..keys];
            let max = greatest(row);
            // The difference first: of huge scores the product would lose the digits that matter.
            let scale2 = scale * std::f32::consts::LOG2_E;
            let mut sums = [0.0f32; LANES];
            let (chunks, rest) = row.as_chunks_mut::<LANES>();
            for chunk in chunks {
                for (x, sum) in chunk.iter_mut().zip(&mut sums) {
                    *x = exp2_of_negative::<FUSED>(scale2 * (*x - max));
                    *sum += *x;
                }
            }
            for (x, sum) in rest.iter_mut().zip(&mut sums) {
                *x = exp2_of_negative::<FUSED>(scale2 * (*x - max));
                *sum += *x;
            }
            let sum = by_halves(sums, |a, b| a + b);
            *inverse = 1.0 / sum;
            *log_sum = scale * max + sum.ln();
        }
    }
}

multiversion! {
    fn scaled(dst: &mut [f32], row: &[f32], by: f32) {
        dst.iter_mut().zip(row).for_each(|(d, x)| *d = by * x);
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
    forward_at(level(), shape, q, kv, out, log_sums);
}

#[allow(clippy::too_many_arguments)]
fn forward_at(
    level: Level,
    shape: AttentionShape,
    q: &[f32],
    kv: &[f32],
    out: &mut [f32],
    log_sums: &mut [f32],
) {
    check(shape, q.len(), kv.len(), log_sums.len());
    assert_eq!(q.len(), out.len());
    let size = BlockSize::new(level, shape);
    let out = SharedRows::new(out, shape.width());
    // Blocks never reach over the end of a head, since they are chunks of a head's own log-sums.
    log_sums
        .par_chunks_mut(shape.queries)
        .enumerate()
        .for_each(|(number, log_sums)| {
            let head = Head::new(shape, q, kv, number);
            let lengths = [
                PanelsView::len(level, shape.head_dim, shape.keys),
                PanelsView::len(level, shape.keys, shape.head_dim),
            ];
            with_scratch(lengths.iter().sum(), |scratch| {
                let [keys, values] = split(scratch, lengths);
                let keys = PanelsView::lay_out_here(level, head.keys().t(), keys);
                let values = PanelsView::lay_out_here(level, head.values(), values);
                log_sums
                    .par_chunks_mut(size.queries)
                    .enumerate()
                    .for_each(|(block, log_sums)| {
                        let rows = head.first_query + block * size.queries;
                        forward_block(
                            level,
                            size,
                            (head, keys, values),
                            block * size.queries,
                            log_sums,
                            |row, x, by| {
                                // SAFETY: this block of this head is this task's alone.
                                let dst = unsafe { out.row(rows + row, head.column, shape.head_dim) };
                                scaled(dst, x, by);
                            },
                        );
                    });
            });
        });
}

/// One block of queries, from `start` on; `write` is given each row's number in the block, its sum of values and what to
/// scale it by.
#[allow(clippy::too_many_arguments)]
fn forward_block(
    level: Level,
    size: BlockSize,
    (head, keys, values): (Head<'_>, PanelsView<'_>, PanelsView<'_>),
    start: usize,
    log_sums: &mut [f32],
    write: impl Fn(usize, &[f32], f32),
) {
    let (shape, rows) = (head.shape, log_sums.len());
    let lengths = [
        size.scores(),
        LeftBlock::room(level, head.query_rows(head.q, start, rows), rows),
        size.queries * size.width,
        size.queries,
    ];
    with_scratch(lengths.iter().sum(), |scratch| {
        let [scores, room, part, inverse_sums] = split(scratch, lengths);
        let queries = head.query_rows(head.q, start, rows);
        times_transposed(
            level,
            size,
            LeftBlock::new(level, queries, 0..rows, room),
            keys,
            scores,
        );
        softmax_rows(
            scores,
            shape.keys,
            size.stride,
            shape.scale(),
            &mut inverse_sums[..rows],
            log_sums,
        );
        times(level, size, scores, values, rows, part);
        for (row, (x, &by)) in part
            .chunks_exact(size.width)
            .zip(&inverse_sums[..rows])
            .enumerate()
        {
            write(row, &x[..shape.head_dim], by);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Level;
    use crate::testing::{assert_close, numbers};

    pub(super) const SHAPE: AttentionShape = AttentionShape {
        clips: 2,
        heads: 3,
        head_dim: 5,
        queries: 70,
        keys: 83,
    };

    /// The definition, in f64.
    pub(super) fn naive(shape: AttentionShape, q: &[f32], kv: &[f32]) -> Vec<f32> {
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

    pub(super) fn inputs() -> (Vec<f32>, Vec<f32>) {
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
    fn every_level_gives_the_same_softmax_and_huge_scores_stay_finite() {
        let keys = 101;
        let base: Vec<f32> = numbers(keys * 4, 7).iter().map(|x| 1e4 * x).collect();
        let run = |level| {
            let (mut s, mut inverse, mut log) = (base.clone(), vec![0.0; 4], vec![0.0; 4]);
            softmax_rows::at(level, &mut s, keys, keys, 0.25, &mut inverse, &mut log);
            for (row, &by) in s.chunks_exact_mut(keys).zip(&inverse) {
                let copy = row.to_vec();
                scaled::at(level, row, &copy, by);
            }
            let mut gradient = numbers(s.len(), 8);
            let mut scores = base.clone();
            backward::score_gradient_at(level, &mut scores, &mut gradient, keys, &log);
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
