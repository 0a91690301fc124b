//! Scaled dot-product attention over heads, forward and backward, without ever holding the scores of more than one block
//! of queries.
//!
//! Layout, for `clips` independent sequences: queries `[clips * queries, heads * head_dim]`; keys and values together
//! `[clips * keys, 2 * heads * head_dim]`, the keys in the left half of each row. Head h is the h-th group of `head_dim`
//! columns. The backward pass computes the scores once more from the logarithm of each row's sum, which the forward
//! pass keeps.

use rayon::prelude::*;

use crate::exp::{exp, exp2_of_negative};
use crate::matmul::{LeftBlock, Mat, PanelsView, STEP};
use crate::memory::{SharedRows, split, with_scratch};
use crate::simd::{LANES, Level, level, madd, multiversion, sum_by};
use crate::tile::{Left, Store, TileSize, multiply, tile_size};

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

/// `out` (a row per key, `size.width` apart) (+)= the transpose of a block of scores times its rows of queries.
fn transposed_times(
    level: Level,
    size: BlockSize,
    scores: &[f32],
    rows: PanelsView<'_>,
    out: &mut [f32],
    store: Store,
) {
    let TileSize { mr, nr } = size.tile;
    let (k, n) = rows.shape();
    for (i, out) in out.chunks_exact_mut(mr * size.width).enumerate() {
        for panel in 0..n.div_ceil(nr) {
            let left = Left::ByColumns {
                data: &scores[i * mr..],
                stride: size.stride,
            };
            multiply(
                level,
                left,
                rows.strip(panel, 0..k),
                &mut out[panel * nr..],
                size.width,
                store,
            );
        }
    }
}

multiversion! {
    /// Turns rows of scores into exp(scale (s - max)) and gives each row's sum and log-sum.
    fn softmax_rows(scores: &mut [f32], keys: usize, stride: usize, scale: f32, inverse_sums: &mut [f32], log_sums: &mut [f32]) {
        for ((row, inverse), log_sum) in scores.chunks_exact_mut(stride).zip(inverse_sums).zip(log_sums) {
            let row = &mut row[..keys];
            let max = row_max(row);
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
            let sum: f32 = sums.iter().sum();
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
    fn scaled(dst: &mut [f32], row: &[f32], by: f32) {
        dst.iter_mut().zip(row).for_each(|(d, x)| *d = by * x);
    }
}

multiversion! {
    /// Turns scores into probabilities, and the gradient of the probabilities into that of the unscaled scores.
    fn score_gradient(scores: &mut [f32], gradient: &mut [f32], stride: usize, scale: f32, log_sums: &[f32], deltas: &[f32]) {
        let rows = scores.chunks_exact_mut(stride).zip(gradient.chunks_exact_mut(stride));
        for ((p, g), (&log_sum, &delta)) in rows.zip(log_sums.iter().zip(deltas)) {
            for (p, g) in p.iter_mut().zip(g) {
                *p = exp::<FUSED>(madd::<FUSED>(scale, *p, -log_sum));
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
        size.tile.mr * shape.head_dim,
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
    backward_at(level(), shape, attended, dq, dkv);
}

fn backward_at(level: Level, shape: AttentionShape, attended: Attended<'_>, dq: &mut [f32], dkv: &mut [f32]) {
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
    log_sums
        .par_chunks(shape.queries)
        .enumerate()
        .for_each(|(number, log_sums)| {
            let head = Head::new(shape, q, kv, number);
            // SAFETY: the rows and columns of this head of this clip are this task's alone.
            let dq_row = |row, x: &[f32]| {
                unsafe { dq.row(head.first_query + row, head.column, shape.head_dim) }.copy_from_slice(x)
            };
            // SAFETY: as above, for the columns of keys and of values.
            let dkv_row = |row, side, x: &[f32]| {
                unsafe { dkv.row(head.first_key + row, side * width + head.column, shape.head_dim) }
                    .copy_from_slice(x)
            };
            backward_head(level, head, (out, d_out, log_sums), dq_row, dkv_row);
        });
}

/// The gradients of one head, handed to `dq_row` (query, row) and `dkv_row` (key, 0 for keys or 1 for values, row).
fn backward_head(
    level: Level,
    head: Head<'_>,
    (out, d_out, log_sums): (&[f32], &[f32], &[f32]),
    dq_row: impl Fn(usize, &[f32]),
    dkv_row: impl Fn(usize, usize, &[f32]),
) {
    let shape = head.shape;
    let (size, hd) = (BlockSize::new(level, shape), shape.head_dim);
    let across = PanelsView::len(level, hd, shape.keys);
    let key_rows = shape.keys.next_multiple_of(size.tile.mr) * size.width;
    let panels = [across, across, PanelsView::len(level, shape.keys, hd)];
    let room = size.tile.mr * hd;
    let right = PanelsView::len(level, size.queries, hd);
    let lengths = [
        size.scores(),
        size.scores(),
        room,
        right,
        right,
        size.queries * size.width,
        size.queries,
    ];
    let total = panels.iter().chain(&lengths).sum::<usize>() + 2 * key_rows;
    with_scratch(total, |scratch| {
        let [panel_room, d_key_side, block_room] =
            split(scratch, [panels.iter().sum(), 2 * key_rows, lengths.iter().sum()]);
        let [keys_t, values_t, keys] = split(panel_room, panels);
        let keys_t = PanelsView::lay_out_here(level, head.keys().t(), keys_t);
        let values_t = PanelsView::lay_out_here(level, head.values().t(), values_t);
        let keys = PanelsView::lay_out_here(level, head.keys(), keys);
        let (dk, dv) = d_key_side.split_at_mut(key_rows);
        let [scores, gradient, room, q_right, d_right, part, deltas] = split(block_room, lengths);
        for (block, log_sums) in log_sums.chunks(size.queries).enumerate() {
            let (start, rows) = (block * size.queries, log_sums.len());
            let (q, d) = (
                head.query_rows(head.q, start, rows),
                head.query_rows(d_out, start, rows),
            );
            times_transposed(
                level,
                size,
                LeftBlock::new(level, q, 0..rows, room),
                keys_t,
                scores,
            );
            times_transposed(
                level,
                size,
                LeftBlock::new(level, d, 0..rows, room),
                values_t,
                gradient,
            );
            for (r, delta) in deltas[..rows].iter_mut().enumerate() {
                let at = (head.first_query + start + r) * shape.width() + head.column;
                let (o, d) = (&out[at..at + hd], &d_out[at..at + hd]);
                *delta = sum_by(hd, |i| o[i] * d[i]);
            }
            score_gradient(
                scores,
                gradient,
                size.stride,
                shape.scale(),
                log_sums,
                &deltas[..rows],
            );
            let right = PanelsView::len(level, rows, hd);
            let q_right = PanelsView::lay_out_here(level, q, &mut q_right[..right]);
            let d_right = PanelsView::lay_out_here(level, d, &mut d_right[..right]);
            let store = if block == 0 { Store::Overwrite } else { Store::Add };
            transposed_times(level, size, scores, d_right, dv, store);
            transposed_times(level, size, gradient, q_right, dk, store);
            times(level, size, gradient, keys, rows, part);
            for (r, x) in part.chunks_exact(size.width).take(rows).enumerate() {
                dq_row(start + r, &x[..hd]);
            }
        }
        for (side, d) in [dk, dv].into_iter().enumerate() {
            for (row, x) in d.chunks_exact(size.width).take(shape.keys).enumerate() {
                dkv_row(row, side, &x[..hd]);
            }
        }
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
            softmax_rows::at(level, &mut s, keys, keys, 0.25, &mut inverse, &mut log);
            for (row, &by) in s.chunks_exact_mut(keys).zip(&inverse) {
                let copy = row.to_vec();
                scaled::at(level, row, &copy, by);
            }
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
