//! The backward pass of attention: the scores are computed once more, block by block, from the logarithm of each row's sum.

use rayon::prelude::*;

use super::{AttentionShape, BlockSize, Head, check, times, times_transposed};
use crate::exp::exp;
use crate::matmul::{LeftBlock, PanelsView};
use crate::memory::{SharedRows, split, with_scratch};
use crate::simd::{Level, level, madd, multiversion, sum_of};
use crate::tile::{Left, Store, TileSize, multiply};

/// What the forward pass was given and gave, and the gradient of its output.
#[derive(Debug, Clone, Copy)]
pub struct Attended<'a> {
    /// Queries.
    pub q: &'a [f32],
    /// Keys and values.
    pub kv: &'a [f32],
    /// Output of [`forward`](super::forward).
    pub out: &'a [f32],
    /// Log-sums of [`forward`](super::forward).
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
    let room = LeftBlock::room(level, head.query_rows(head.q, 0, 0), size.queries);
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
                *delta = sum_of([o, d], |[o, d]| o * d);
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

/// For the test of the softmax, whose gradient this is: with a scale of a quarter and deltas of a tenth.
#[cfg(test)]
pub(super) fn score_gradient_at(
    level: Level,
    scores: &mut [f32],
    gradient: &mut [f32],
    keys: usize,
    log_sums: &[f32],
) {
    score_gradient::at(level, scores, gradient, keys, 0.25, log_sums, &[0.1; 4]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::forward;
    use crate::attention::tests::{SHAPE, inputs, naive};
    use crate::testing::{assert_close, numbers};

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
}
