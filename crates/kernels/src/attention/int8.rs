//! Attention whose two products are products of bytes (see [`crate::int8`] for what bytes may hold, and why).
//!
//! Queries are rounded row by row, to integers from -127 to 127 which are stored with 128 added; keys row by row and values
//! column by column, from -64 to 64. Weights of the softmax lie in [0, 255], 255 for the largest of a row, and are divided
//! by the sum of what they were rounded to. They are rounded with a threshold that varies from key to key (a dither): were it
//! always one half, a thousand keys of a weight below 1/510 would be lost together.

use rayon::prelude::*;

use super::{AttentionShape, Head};
use crate::exp::exp2_of_negative;
use crate::int8::{Tile, WORD, largest, multiply, quantize_weights, tile_size};
use crate::memory::{SharedRows, split, with_scratch};
use crate::simd::{LANES, Level, by_halves, greatest, level, madd, multiversion};
use crate::tile::Store;

/// Queries of a block at most. Their scores (126 KB for the 1214 tokens of AST-base) stay in a second-level cache, and keys
/// and values are read from there seldom enough.
const QUERIES: usize = 26;

/// What is added to a rounded query, so that it is not negative.
const MIDDLE: f32 = 128.0;

/// The largest weight of a softmax.
const WEIGHT: f32 = 255.0;

/// Adding 1.5 * 2^23 rounds to an integer that the low bits of the sum hold, of negative numbers too.
const ROUND: f32 = 12_582_912.0;

/// Sizes of the laid-out factors of a head.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    level: Level,
    /// Rows and columns of a tile.
    mr: usize,
    nr: usize,
    /// Queries of a block, whole tiles.
    queries: usize,
    /// Keys, whole vectors and tiles: from one row of scores to the next.
    keys: usize,
    /// Columns of a head, whole tiles.
    width: usize,
    /// Words of four columns, and of four keys.
    column_words: usize,
    key_words: usize,
}

impl Sizes {
    fn new(level: Level, shape: AttentionShape) -> Self {
        let (mr, nr) = tile_size(level);
        Self {
            level,
            mr,
            nr,
            queries: QUERIES / mr * mr,
            keys: shape.keys.next_multiple_of(nr.max(LANES)),
            width: shape.head_dim.next_multiple_of(nr),
            column_words: shape.head_dim.div_ceil(WORD),
            key_words: shape.keys.div_ceil(WORD),
        }
    }
}

/// Keys and values of a head, laid out as panels `[words][nr][4]`.
#[derive(Clone, Copy)]
struct LaidOut<'a> {
    /// A panel for every `nr` keys, words of columns.
    keys: &'a [i8],
    /// A panel for every `nr` columns, words of keys.
    values: &'a [i8],
    /// What turns a sum of products into a score, but for the scale of the query: of each key.
    scales: &'a [f32],
    offsets: &'a [f32],
    /// Rounding threshold of each key, minus one half.
    dither: &'a [f32],
    /// Of each column of values.
    value_scales: &'a [f32],
}

/// `out` = softmax(q kᵀ / √head_dim) v as [`forward`](super::forward), in eight bits.
///
/// # Panics
/// If the lengths do not fit, or there are more keys, or columns of a head, than
/// [`MOST_INPUTS`](crate::int8::MOST_INPUTS).
pub fn forward_int8(shape: AttentionShape, q: &[f32], kv: &[f32], out: &mut [f32]) {
    forward_int8_at(level(), shape, q, kv, out);
}

pub(super) fn forward_int8_at(level: Level, shape: AttentionShape, q: &[f32], kv: &[f32], out: &mut [f32]) {
    super::check(shape, q.len(), kv.len(), shape.lengths().2);
    assert_eq!(q.len(), out.len());
    assert!(shape.keys.max(shape.head_dim) <= crate::int8::MOST_INPUTS);
    let sizes = Sizes::new(level, shape);
    let out = SharedRows::new(out, shape.width());
    (0..shape.clips * shape.heads).into_par_iter().for_each(|number| {
        let head = Head::new(shape, q, kv, number);
        with_laid_out(sizes, head, |laid_out| {
            (0..shape.queries.div_ceil(sizes.queries))
                .into_par_iter()
                .for_each(|block| {
                    let start = block * sizes.queries;
                    let rows = sizes.queries.min(shape.queries - start);
                    forward_block(sizes, head, laid_out, start..start + rows, |row, sums, by| {
                        let row = head.first_query + start + row;
                        // SAFETY: this block of this head is this task's alone.
                        let dst = unsafe { out.row(row, head.column, shape.head_dim) };
                        scaled_sums(dst, sums, laid_out.value_scales, by);
                    });
                });
        });
    });
}

/// Lays out the keys and values of a head.
fn with_laid_out(sizes: Sizes, head: Head<'_>, work: impl FnOnce(LaidOut<'_>)) {
    let shape = head.shape;
    let key_bytes = sizes.keys * sizes.column_words * WORD;
    let value_bytes = sizes.width * sizes.key_words * WORD;
    let row_bytes = sizes.column_words * WORD;
    let numbers = [sizes.keys, sizes.keys, sizes.keys, shape.head_dim, shape.head_dim];
    with_scratch::<i8, _>(key_bytes + value_bytes + row_bytes, |bytes| {
        let [keys, values, row] = split(bytes, [key_bytes, value_bytes, row_bytes]);
        with_scratch::<f32, _>(numbers.iter().sum(), |scratch| {
            let [scales, offsets, dither, value_scales, inverse] = split(scratch, numbers);
            // What is missing to whole tiles has the score of minus infinity.
            scales.fill(0.0);
            offsets.fill(f32::NEG_INFINITY);
            row.fill(0);
            for number in 0..shape.keys {
                let scale = quantize_weights(head.keys().row(number), &mut row[..shape.head_dim]);
                let sum: i32 = row.iter().map(|&q| i32::from(q)).sum();
                (scales[number], offsets[number]) = (scale, -MIDDLE * scale * sum as f32);
                let panel = &mut keys[number / sizes.nr * sizes.nr * row_bytes..];
                let places = panel.as_chunks_mut::<WORD>().0.iter_mut();
                let places = places.skip(number % sizes.nr).step_by(sizes.nr);
                places
                    .zip(row.as_chunks::<WORD>().0)
                    .for_each(|(place, word)| *place = *word);
            }
            // Multiples of the golden ratio fill the interval as evenly as can be, wherever one begins.
            for (number, threshold) in dither.iter_mut().enumerate() {
                *threshold = ((number as f64 * 0.618_033_988_749_894_9).fract() - 0.5) as f32;
            }
            lay_out_values(sizes, head, values, value_scales, inverse);
            work(LaidOut {
                keys,
                values,
                scales,
                offsets,
                dither,
                value_scales,
            });
        });
    });
}

fn lay_out_values(sizes: Sizes, head: Head<'_>, out: &mut [i8], scales: &mut [f32], inverse: &mut [f32]) {
    let (values, keys) = (head.values(), head.shape.keys);
    scales.fill(0.0);
    for key in 0..keys {
        keep_largest(scales, values.row(key));
    }
    for (scale, inverse) in scales.iter_mut().zip(inverse.iter_mut()) {
        *scale = crate::int8::weight_scale(*scale);
        *inverse = 1.0 / *scale;
    }
    let zeros: &[f32] = &[];
    let panel_bytes = sizes.key_words * sizes.nr * WORD;
    for word in 0..sizes.key_words {
        let rows: [&[f32]; WORD] = std::array::from_fn(|i| {
            let key = word * WORD + i;
            if key < keys { values.row(key) } else { zeros }
        });
        for (panel, first) in (0..head.shape.head_dim).step_by(sizes.nr).enumerate() {
            let columns = first..(first + sizes.nr).min(head.shape.head_dim);
            let line = &mut out[panel * panel_bytes + word * sizes.nr * WORD..][..sizes.nr * WORD];
            let (line, missing) = line.as_chunks_mut::<WORD>().0.split_at_mut(columns.len());
            missing.fill([0; WORD]);
            let inverse = &inverse[columns.clone()];
            if rows[WORD - 1].is_empty() {
                for (i, row) in rows.iter().enumerate() {
                    for (column, place) in line.iter_mut().enumerate() {
                        place[i] = row
                            .get(first + column)
                            .map_or(0, |x| (x * inverse[column]).round_ties_even() as i8);
                    }
                }
            } else {
                interleave_rounded(rows.map(|row| &row[columns.clone()]), inverse, line);
            }
        }
    }
}

multiversion! {
    fn keep_largest(most: &mut [f32], row: &[f32]) {
        for (most, x) in most.iter_mut().zip(row) {
            *most = if x.abs() > *most { x.abs() } else { *most };
        }
    }
}

multiversion! {
    /// Rounds four rows, times `inverse`, and writes the bytes of a column side by side.
    fn interleave_rounded(rows: [&[f32]; WORD], inverse: &[f32], out: &mut [[i8; WORD]]) {
        let [a, b, c, d] = rows;
        let columns = a.iter().zip(b).zip(c.iter().zip(d)).zip(inverse);
        for (place, (((a, b), (c, d)), inverse)) in out.iter_mut().zip(columns) {
            let byte = |x: &f32| (x * inverse + ROUND).to_bits() & 0xFF;
            let word = byte(a) | byte(b) << 8 | byte(c) << 16 | byte(d) << 24;
            *place = word.to_le_bytes().map(|byte| byte as i8);
        }
    }
}

multiversion! {
    /// Rounds a query into `out`; it is about the returned scale times (`out` - [`MIDDLE`]).
    fn quantize_query(query: &[f32], out: &mut [u8]) -> f32 {
        let scale = largest(query) / 127.0;
        let scale = if scale >= f32::MIN_POSITIVE { scale } else { 1.0 };
        let inverse = 1.0 / scale;
        for (out, &x) in out.iter_mut().zip(query) {
            *out = (x * inverse + (ROUND + MIDDLE)).to_bits() as u8;
        }
        scale
    }
}

multiversion! {
    /// Turns sums of products into scores times log2(e), and those into weights; gives the sum of the weights.
    fn softmax_row(sums: &mut [i32], keys: LaidOut<'_>, by: f32, weights: &mut [u8]) -> f32 {
        let scores = sums.as_chunks_mut::<LANES>().0;
        let (scales, offsets) = (keys.scales.as_chunks::<LANES>().0, keys.offsets.as_chunks::<LANES>().0);
        let mut most = [f32::NEG_INFINITY; LANES];
        for ((scores, scales), offsets) in scores.iter_mut().zip(scales).zip(offsets) {
            for i in 0..LANES {
                let score = madd::<FUSED>(scores[i] as f32, scales[i], offsets[i]);
                most[i] = if score > most[i] { score } else { most[i] };
                scores[i] = score.to_bits() as i32;
            }
        }
        let most = greatest(&most);
        let mut total = [0.0f32; LANES];
        let dither = keys.dither.as_chunks::<LANES>().0;
        let weights = weights.as_chunks_mut::<LANES>().0;
        for ((scores, weights), dither) in scores.iter().zip(weights).zip(dither) {
            for i in 0..LANES {
                let weight = exp2_of_negative::<FUSED>(by * (f32::from_bits(scores[i] as u32) - most));
                let rounded = madd::<FUSED>(weight, WEIGHT, dither[i]) + ROUND;
                total[i] += rounded - ROUND;
                weights[i] = rounded.to_bits() as u8;
            }
        }
        by_halves(total, |a, b| a + b)
    }
}

multiversion! {
    fn scaled_sums(dst: &mut [f32], sums: &[i32], scales: &[f32], by: f32) {
        for ((dst, &sum), scale) in dst.iter_mut().zip(sums).zip(scales) {
            *dst = sum as f32 * (by * scale);
        }
    }
}

/// One block of queries; `write` is given each row's number in the block, its sums of values and what to scale them by.
fn forward_block(
    sizes: Sizes,
    head: Head<'_>,
    laid_out: LaidOut<'_>,
    queries: std::ops::Range<usize>,
    write: impl Fn(usize, &[i32], f32),
) {
    let Sizes { mr, nr, .. } = sizes;
    let shape = head.shape;
    let rows = queries.len().next_multiple_of(mr);
    let row_bytes = sizes.column_words * WORD;
    let bytes = [rows * row_bytes, rows * sizes.keys];
    let products = |left: &[u8], left_stride, right: &[i8], words, sums: &mut [i32], stride| {
        for (number, panel) in right.chunks_exact(words * nr * WORD).enumerate() {
            for tile in 0..rows / mr {
                let tile = Tile {
                    left: &left[tile * mr * left_stride..],
                    left_stride,
                    right: panel,
                    sums: &mut sums[tile * mr * stride + number * nr..],
                    stride,
                    store: Store::Overwrite,
                };
                multiply(sizes.level, tile);
            }
        }
    };
    with_scratch::<u8, _>(bytes.iter().sum(), |scratch| {
        let [rounded, weights] = split(scratch, bytes);
        with_scratch::<i32, _>(rows * (sizes.keys + sizes.width), |sums| {
            let (sums, attended) = sums.split_at_mut(rows * sizes.keys);
            let mut scales = [0.0; QUERIES];
            let given = head.query_rows(head.q, queries.start, queries.len());
            for (row, scale) in scales.iter_mut().enumerate().take(queries.len()) {
                let (bytes, missing) = rounded[row * row_bytes..][..row_bytes].split_at_mut(shape.head_dim);
                *scale = quantize_query(given.row(row), bytes);
                missing.fill(0);
            }
            products(
                rounded,
                row_bytes,
                laid_out.keys,
                sizes.column_words,
                sums,
                sizes.keys,
            );
            // From here on a scale is what a row of sums of values is multiplied by.
            let rows_of_sums = sums.chunks_exact_mut(sizes.keys);
            let rows = rows_of_sums.zip(weights.chunks_exact_mut(sizes.keys));
            for (scale, (sums, weights)) in scales.iter_mut().take(queries.len()).zip(rows) {
                let by = *scale * shape.scale() * std::f32::consts::LOG2_E;
                *scale = 1.0 / softmax_row(sums, laid_out, by, weights);
            }
            products(
                weights,
                sizes.keys,
                laid_out.values,
                sizes.key_words,
                attended,
                sizes.width,
            );
            let attended = attended.chunks_exact(sizes.width).take(queries.len());
            for (row, (sums, &by)) in attended.zip(&scales).enumerate() {
                write(row, sums, by);
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::tests::{SHAPE, inputs, naive};
    use crate::testing::{assert_close, numbers};

    /// The root of the mean square of the difference of `a` and `b`, relative to that of `b`.
    fn difference(a: &[f32], b: &[f32]) -> f64 {
        let energy = |x: &mut dyn Iterator<Item = f32>| x.map(|x| f64::from(x).powi(2)).sum::<f64>();
        (energy(&mut a.iter().zip(b).map(|(a, b)| a - b)) / energy(&mut b.iter().copied())).sqrt()
    }

    #[test]
    fn every_level_agrees_with_the_definition_and_with_each_other() {
        let (q, kv) = inputs();
        let sharp: Vec<f32> = q.iter().map(|x| 10.0 * x).collect();
        for (q, within) in [(q, 0.02), (sharp, 0.05)] {
            let wanted = naive(SHAPE, &q, &kv);
            let mut first: Option<Vec<f32>> = None;
            for level in Level::available() {
                let mut out = vec![0.0; q.len()];
                forward_int8_at(level, SHAPE, &q, &kv, &mut out);
                let difference = difference(&out, &wanted);
                assert!(difference < within, "{level:?}: {difference}");
                // The portable path rounds scores once more, and a weight that lies between two may fall to either side.
                assert_close(&out, first.get_or_insert(out.clone()), 0.01);
            }
        }
    }

    #[test]
    fn many_small_weights_beside_a_large_one_are_not_lost() {
        // One key of score 8 among 2000 of 0: their weights are 1 / 2981 each, a twelfth of the smallest step, and two fifths
        // of the sum.
        let shape = AttentionShape {
            clips: 1,
            heads: 1,
            head_dim: 16,
            queries: 3,
            keys: 2001,
        };
        let (nq, nkv, _) = shape.lengths();
        let mut q = vec![0.0; nq];
        q.chunks_mut(16).for_each(|q| q[0] = 8.0);
        let mut kv = vec![0.0; nkv];
        kv[777 * 32] = 4.0;
        for (key, row) in kv.chunks_mut(32).enumerate() {
            row[16..].fill(if key == 777 { -1.0 } else { 1.0 });
        }
        let wanted = naive(shape, &q, &kv);
        for level in Level::available() {
            let mut out = vec![0.0; nq];
            forward_int8_at(level, shape, &q, &kv, &mut out);
            assert_close(&out, &wanted, 0.02);
        }
    }

    #[test]
    fn any_sizes_and_extreme_numbers_give_finite_results() {
        for (head_dim, queries, keys) in [(1, 1, 1), (3, 2, 5), (64, 27, 33), (70, 5, 130)] {
            let shape = AttentionShape {
                clips: 1,
                heads: 2,
                head_dim,
                queries,
                keys,
            };
            let (nq, nkv, _) = shape.lengths();
            for size in [0.0, 1.0, 1e15] {
                let q: Vec<f32> = numbers(nq, 4).iter().map(|x| size * x).collect();
                let kv: Vec<f32> = numbers(nkv, 5).iter().map(|x| size * x).collect();
                for level in Level::available() {
                    let mut out = vec![f32::NAN; nq];
                    forward_int8_at(level, shape, &q, &kv, &mut out);
                    let most = largest(&kv) * 1.01;
                    assert!(out.iter().all(|x| x.abs() <= most), "{level:?} {shape:?} {size}");
                }
            }
        }
    }
}
