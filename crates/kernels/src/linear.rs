//! Linear maps whose weights stay: laid out once, applied to blocks of rows, with what follows them done while the block is
//! still in a cache.
//!
//! These are the parts of a transformer layer that treat every row alone. Each function divides the rows into blocks, one
//! task each, and takes a block through all of its steps.

use std::ops::Range;

use rayon::prelude::*;

use crate::gelu;
use crate::int8::{Int8Panels, Quantized};
use crate::layer_norm::{self, LayerNorm};
use crate::matmul::{Blocks, COLUMNS, LeftBlock, Mat, Panels, add_into, columns, most_rows, sum_into};
use crate::memory::{SharedRows, split, with_scratch};
use crate::simd::level;
use crate::tile::tile_size;

/// Elements of a cache line.
const LINE: usize = 16;

/// `y = x weightᵀ + bias`.
#[derive(Debug, Clone)]
pub struct Linear {
    weight: Weight,
    /// One per output.
    bias: Vec<f32>,
}

#[derive(Debug, Clone)]
enum Weight {
    F32(Panels),
    Int8(Int8Panels),
}

impl Linear {
    /// A map with weights `[outputs, inputs]` and a bias per output.
    ///
    /// # Panics
    /// If there is not a bias per output.
    pub fn new(weight: Mat<'_>, bias: Vec<f32>) -> Self {
        let panels = Panels::new(weight.t());
        assert_eq!(panels.shape().1, bias.len(), "a bias per output");
        Self {
            weight: Weight::F32(panels),
            bias,
        }
    }

    /// A map with quantised weights; its inputs are quantised row by row as they come.
    ///
    /// # Panics
    /// If there is not a bias per output, or there are more inputs than 131,000, whose sums could overflow.
    pub fn int8(weight: &Quantized, bias: Vec<f32>) -> Self {
        assert_eq!(weight.scales.len(), bias.len(), "a bias per output");
        Self {
            weight: Weight::Int8(Int8Panels::new(weight)),
            bias,
        }
    }

    /// Inputs and outputs.
    pub fn shape(&self) -> (usize, usize) {
        match &self.weight {
            Weight::F32(panels) => panels.shape(),
            Weight::Int8(panels) => panels.shape(),
        }
    }

    /// Memory that the weights take.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.bias[..])
            + match &self.weight {
                Weight::F32(panels) => panels.bytes(),
                Weight::Int8(panels) => panels.bytes(),
            }
    }

    /// The map of some rows, on the calling thread, without its bias: `finish` is given pieces of rows, [`COLUMNS`] columns
    /// at a time.
    fn block(&self, x: Mat<'_>, mut finish: impl FnMut(usize, Range<usize>, &[f32])) {
        let panels = match &self.weight {
            Weight::Int8(panels) => return panels.block(x, finish),
            Weight::F32(panels) => panels.view(),
        };
        let rows = x.shape().0;
        let n = panels.shape().1;
        let mr = tile_size(panels.level()).mr;
        let room = LeftBlock::room(panels.level(), x, rows);
        with_scratch(room + rows.next_multiple_of(mr) * COLUMNS, |scratch| {
            let (room, out) = scratch.split_at_mut(room);
            let left = LeftBlock::new(panels.level(), x, 0..rows, room);
            for from in (0..n).step_by(COLUMNS) {
                let cols = from..(from + COLUMNS).min(n);
                columns(left, panels, cols.clone(), out);
                for row in 0..rows {
                    finish(row, cols.clone(), &out[row * COLUMNS..][..cols.len()]);
                }
            }
        });
    }
}

/// Does `work` for every block of `m` rows, a task each.
fn for_blocks(m: usize, work: impl Fn(Range<usize>) + Sync) {
    let level = level();
    let blocks = Blocks::new(
        m,
        tile_size(level).mr,
        most_rows(level),
        rayon::current_num_threads(),
    );
    (0..blocks.len())
        .into_par_iter()
        .for_each(|i| work(blocks.rows(i)));
}

/// `y = linear(x)` for rows of `x`, on all threads of the current rayon pool.
///
/// # Panics
/// If the shapes do not fit.
pub fn forward(linear: &Linear, x: Mat<'_>, y: &mut [f32]) {
    let (rows, n) = (x.shape().0, linear.bias.len());
    assert_eq!(y.len(), rows * n, "shapes of a linear map");
    let y = SharedRows::new(y, n);
    for_blocks(rows, |rows| {
        linear.block(x.rows(rows.clone()), |row, cols, values| {
            // SAFETY: a block's rows are its task's alone.
            let dst = unsafe { y.row(rows.start + row, cols.start, cols.len()) };
            sum_into(dst, values, &linear.bias[cols]);
        });
    });
}

/// `[q | kv] = linear(norm(x))` for rows of `x`: the first `q_width` outputs into rows of `q`, the others into rows of `kv`.
/// An empty `q` leaves out nothing but the writing.
///
/// # Panics
/// If the shapes do not fit.
pub fn queries_keys_values(norm: LayerNorm<'_>, linear: &Linear, x: &[f32], q: &mut [f32], kv: &mut [f32]) {
    let (d, n) = linear.shape();
    let rows = x.len() / d;
    let q_width = q.len() / rows.max(1);
    let kv_width = n - q_width;
    assert!(
        x.len() == rows * d && q.len() == rows * q_width && kv.len() == rows * kv_width,
        "shapes of queries and keys"
    );
    let (q, kv) = (SharedRows::new(q, q_width), SharedRows::new(kv, kv_width));
    for_blocks(rows, |rows| {
        with_scratch(rows.len() * d, |normed| {
            layer_norm::forward_rows(norm, &x[rows.start * d..rows.end * d], normed);
            linear.block(Mat::new(normed, rows.len(), d), |row, cols, values| {
                // A piece of a row may belong to both.
                let of_q = cols.len().min(q_width.saturating_sub(cols.start));
                let (row, bias) = (rows.start + row, &linear.bias[cols.clone()]);
                // SAFETY: a block's rows are its task's alone.
                let (to_q, to_kv) = unsafe {
                    (
                        q.row(row, cols.start.min(q_width), of_q),
                        kv.row(row, cols.start.max(q_width) - q_width, cols.len() - of_q),
                    )
                };
                sum_into(to_q, &values[..of_q], &bias[..of_q]);
                sum_into(to_kv, &values[of_q..], &bias[of_q..]);
            });
        });
    });
}

/// What follows the attention in a transformer layer.
#[derive(Debug, Clone, Copy)]
pub struct FeedForward<'a> {
    /// From the heads back to the residual stream.
    pub attention_output: &'a Linear,
    /// Before the MLP.
    pub norm: LayerNorm<'a>,
    /// To the hidden units.
    pub intermediate: &'a Linear,
    /// And back.
    pub output: &'a Linear,
}

/// `x += attention_output(attended)`, then `x += output(gelu(intermediate(norm(x))))`, row by row.
///
/// # Panics
/// If the shapes do not fit.
pub fn feed_forward(layer: FeedForward<'_>, attended: &[f32], x: &mut [f32]) {
    let (inputs, d) = layer.attention_output.shape();
    let hidden = layer.intermediate.shape().1;
    let rows = x.len() / d;
    assert!(
        x.len() == rows * d && attended.len() == rows * inputs,
        "shapes of a feed-forward layer"
    );
    let stream = SharedRows::new(x, d);
    let attended = Mat::new(attended, rows, inputs);
    for_blocks(rows, |rows| {
        // SAFETY: a block's rows are its task's alone, and a row's slice ends before the next is made.
        let x =
            |row: usize, cols: Range<usize>| unsafe { stream.row(rows.start + row, cols.start, cols.len()) };
        layer
            .attention_output
            .block(attended.rows(rows.clone()), |row, cols, values| {
                add_into(x(row, cols.clone()), values, &layer.attention_output.bias[cols]);
            });
        // Rows of hidden units lie a cache line further apart than they are long: see `LeftBlock`.
        let stride = hidden + LINE;
        let lengths = [rows.len() * d, rows.len() * stride];
        with_scratch(lengths.iter().sum(), |scratch| {
            let [normed, units] = split(scratch, lengths);
            for (row, normed) in normed.chunks_exact_mut(d).enumerate() {
                layer_norm::forward_rows(layer.norm, x(row, 0..d), normed);
            }
            layer
                .intermediate
                .block(Mat::new(normed, rows.len(), d), |row, cols, values| {
                    let units = &mut units[row * stride..][cols.clone()];
                    gelu::forward_biased(values, &layer.intermediate.bias[cols], units);
                });
            layer.output.block(
                Mat::strided(units, rows.len(), hidden, stride),
                |row, cols, values| {
                    add_into(x(row, cols.clone()), values, &layer.output.bias[cols]);
                },
            );
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, numbers};

    /// `x weightᵀ + bias` in f64.
    fn naive(x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f32> {
        let (n, k) = (bias.len(), weight.len() / bias.len());
        let rows = x.chunks(k);
        let dot = |a: &[f32], b: &[f32]| {
            a.iter()
                .zip(b)
                .map(|(a, b)| f64::from(*a) * f64::from(*b))
                .sum::<f64>()
        };
        rows.flat_map(|x| {
            (0..n)
                .map(|j| (dot(x, &weight[j * k..][..k]) + f64::from(bias[j])) as f32)
                .collect::<Vec<_>>()
        })
        .collect()
    }

    fn norm_of<'a>(weight: &'a [f32], bias: &'a [f32]) -> LayerNorm<'a> {
        LayerNorm {
            weight,
            bias,
            eps: 1e-5,
        }
    }

    #[test]
    fn queries_keys_and_values_go_where_they_belong() {
        // Outputs beyond one group of columns, rows beyond one block, so that pieces straddle all borders.
        let (rows, d, outputs, q_width) = (131, 20, COLUMNS + 90, COLUMNS - 7);
        let (x, weight, bias) = (numbers(rows * d, 1), numbers(outputs * d, 2), numbers(outputs, 3));
        let (scale, shift) = (numbers(d, 4), numbers(d, 5));
        let norm = norm_of(&scale, &shift);
        let mut normed = vec![0.0; x.len()];
        layer_norm::forward(norm, &x, &mut normed);
        let expected = naive(&normed, &weight, &bias);
        let linear = Linear::new(Mat::new(&weight, outputs, d), bias);
        let (mut q, mut kv) = (vec![0.0; rows * q_width], vec![0.0; rows * (outputs - q_width)]);
        queries_keys_values(norm, &linear, &x, &mut q, &mut kv);
        let part = |cols: Range<usize>| -> Vec<f32> {
            expected
                .chunks(outputs)
                .flat_map(|row| row[cols.clone()].to_vec())
                .collect()
        };
        assert_close(&q, &part(0..q_width), 1e-5);
        assert_close(&kv, &part(q_width..outputs), 1e-5);
        let mut all = vec![0.0; rows * outputs];
        queries_keys_values(norm, &linear, &x, &mut [], &mut all);
        assert_close(&all, &expected, 1e-5);
        forward(&linear, Mat::new(&normed, rows, d), &mut all);
        assert_close(&all, &expected, 1e-5);
    }

    #[test]
    fn a_feed_forward_layer_is_the_chain_of_its_parts() {
        let (rows, d, hidden) = (101, 30, 75);
        let (x, attended) = (numbers(rows * d, 1), numbers(rows * d, 2));
        let (wa, wi, wo) = (numbers(d * d, 3), numbers(hidden * d, 4), numbers(d * hidden, 5));
        let (ba, bi, bo) = (numbers(d, 6), numbers(hidden, 7), numbers(d, 8));
        let (scale, shift) = (numbers(d, 9), numbers(d, 10));
        let add = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a + b).collect::<Vec<f32>>();
        let middle = add(&x, &naive(&attended, &wa, &ba));
        let mut normed = vec![0.0; x.len()];
        layer_norm::forward(norm_of(&scale, &shift), &middle, &mut normed);
        let mut units = vec![0.0; rows * hidden];
        gelu::forward(&naive(&normed, &wi, &bi), &mut units);
        let expected = add(&middle, &naive(&units, &wo, &bo));
        let quantized = |w: &[f32], outputs| Quantized::new(w, outputs);
        let exact = [(&wa, d, &ba), (&wi, hidden, &bi), (&wo, d, &bo)]
            .map(|(w, n, b)| Linear::new(Mat::new(w, n, w.len() / n), b.clone()));
        let rounded = [(&wa, d, &ba), (&wi, hidden, &bi), (&wo, d, &bo)]
            .map(|(w, n, b)| Linear::int8(&quantized(w, n), b.clone()));
        // Eight bits leave about a hundredth of what each product sums up.
        for (linears, tolerance) in [(&exact, 1e-5), (&rounded, 3e-2)] {
            let [attention_output, intermediate, output] = linears;
            let layer = FeedForward {
                attention_output,
                norm: norm_of(&scale, &shift),
                intermediate,
                output,
            };
            let mut out = x.clone();
            feed_forward(layer, &attended, &mut out);
            assert_close(&out, &expected, tolerance);
        }
        assert!(rounded[1].bytes() < exact[1].bytes());
    }
}
