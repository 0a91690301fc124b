//! Products with weights of eight bits.
//!
//! Weights are rounded column by column (an output of a linear map) to integers from -64 to 64; activations row by row, when
//! they come, to integers from 0 to 255 that span the row. Products are summed in 32-bit integers, exactly, so that every
//! instruction set gives the same bits. Why not -127 to 127: AVX2 multiplies bytes in pairs into 16 bits, and
//! 2 x 255 x 64 = 32640 is the largest that does not overflow there (ONNX Runtime's `reduce_range` for the same reason).

use std::ops::Range;

use rayon::prelude::*;

use crate::matmul::{COLUMNS, Mat};
use crate::memory::{Buffer, with_scratch};
use crate::simd::{Level, fold, greatest, level, madd, multiversion};
use crate::tile::Store;

/// The largest magnitude of a weight.
pub const MOST: i8 = 64;

/// Elements of a row multiplied in one step: of the left factor they are read as one 32-bit word.
pub(crate) const WORD: usize = 4;

/// Words along k between two looks at the sums: a strip of a panel stays in the first-level cache.
const STEP: usize = 256;

/// The longest row whose sums cannot overflow 32 bits: 2^31 / (255 x 64).
pub const MOST_INPUTS: usize = 131_000;

/// Weights as they are stored: integers and a scale per output.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantized {
    /// `[outputs, inputs]`, row-major, -64 to 64.
    pub values: Vec<i8>,
    /// What an output's integers are multiplied by, `[outputs]`.
    pub scales: Vec<f32>,
}

impl Quantized {
    /// Rounds a matrix `[outputs, inputs]`. An output whose weights are all 0 (or below 1e-36) gets the scale 1.
    ///
    /// # Panics
    /// If `weights` is no whole number of rows.
    pub fn new(weights: &[f32], outputs: usize) -> Self {
        let inputs = weights.len() / outputs.max(1);
        assert_eq!(weights.len(), inputs * outputs);
        let mut values = vec![0; weights.len()];
        let rows = values
            .par_chunks_exact_mut(inputs.max(1))
            .zip(weights.par_chunks_exact(inputs.max(1)));
        let mut scales: Vec<f32> = rows.map(|(values, row)| quantize_weights(row, values)).collect();
        scales.resize(outputs, 1.0);
        Self { values, scales }
    }

    /// The matrix that the integers stand for.
    pub fn dequantize(&self) -> Vec<f32> {
        let inputs = self.values.len() / self.scales.len().max(1);
        let rows = self.values.chunks_exact(inputs.max(1)).zip(&self.scales);
        rows.flat_map(|(row, scale)| row.iter().map(move |&q| f32::from(q) * scale))
            .collect()
    }
}

/// Rows and columns of a tile of sums.
pub(crate) fn tile_size(level: Level) -> (usize, usize) {
    match level {
        Level::Portable => (4, 8),
        Level::Avx2 | Level::Avx512 => (4, 16),
        Level::Avx512Vnni => (13, 32),
    }
}

/// Quantised weights laid out for the innermost loop: for every `nr` outputs a panel `[k / 4][nr][4]`.
#[derive(Debug, Clone)]
pub(crate) struct Int8Panels {
    data: Buffer,
    scales: Vec<f32>,
    /// Sum of an output's integers, times its scale: what a row's least value is multiplied by.
    sums: Vec<f32>,
    /// Inputs, and the words that hold them.
    k: usize,
    words: usize,
    level: Level,
}

impl Int8Panels {
    pub(crate) fn new(weights: &Quantized) -> Self {
        Self::at(level(), weights)
    }

    pub(crate) fn at(level: Level, weights: &Quantized) -> Self {
        let (n, nr) = (weights.scales.len(), tile_size(level).1);
        let k = weights.values.len() / n.max(1);
        assert!(k <= MOST_INPUTS && k * n == weights.values.len());
        let words = k.div_ceil(WORD);
        let panel = words * nr * WORD;
        let mut data = Buffer::new::<i8>(n.div_ceil(nr) * panel);
        let room = &mut data.get_mut::<i8>()[..n.div_ceil(nr) * panel];
        let outputs = weights.values.par_chunks((nr * k).max(1));
        room.par_chunks_exact_mut(panel.max(1))
            .zip(outputs)
            .for_each(|(panel, outputs)| {
                for (j, row) in outputs.chunks_exact(k).enumerate() {
                    let (whole, rest) = row.as_chunks::<WORD>();
                    let places = panel.as_chunks_mut::<WORD>().0.iter_mut().skip(j).step_by(nr);
                    let words = whole.iter().copied().chain((!rest.is_empty()).then(|| {
                        let mut word = [0; WORD];
                        word[..rest.len()].copy_from_slice(rest);
                        word
                    }));
                    places.zip(words).for_each(|(place, word)| *place = word);
                }
            });
        let sum = |row: &[i8]| row.iter().map(|&q| i32::from(q)).sum::<i32>() as f32;
        let rows = weights.values.chunks_exact(k.max(1)).zip(&weights.scales);
        let sums = rows.map(|(row, scale)| sum(row) * scale).collect();
        Self {
            data,
            scales: weights.scales.clone(),
            sums,
            k,
            words,
            level,
        }
    }

    pub(crate) fn shape(&self) -> (usize, usize) {
        (self.k, self.scales.len())
    }

    pub(crate) fn bytes(&self) -> usize {
        self.data.bytes()
    }

    fn strip(&self, number: usize, words: Range<usize>) -> &[i8] {
        let line = tile_size(self.level).1 * WORD;
        &self.data.get::<i8>()[number * self.words * line..][words.start * line..words.end * line]
    }

    /// The product of some rows with all outputs, on the calling thread: `finish` is given row after row, [`COLUMNS`]
    /// columns at a time.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub(crate) fn block(&self, x: Mat<'_>, mut finish: impl FnMut(usize, Range<usize>, &[f32])) {
        let (mr, nr) = tile_size(self.level);
        let (rows, k) = x.shape();
        assert_eq!(k, self.k, "shapes of a matrix product");
        let n = self.scales.len();
        let padded = rows.next_multiple_of(mr);
        let width = self.words * WORD;
        with_scratch::<u8, _>(padded * width, |quantized| {
            let mut spans = Vec::with_capacity(rows);
            for (row, quantized) in quantized.chunks_exact_mut(width.max(1)).enumerate().take(rows) {
                let (quantized, missing) = quantized.split_at_mut(k);
                spans.push(quantize_row(x.row(row), quantized));
                missing.fill(0);
            }
            with_scratch::<i32, _>(padded * COLUMNS, |sums| {
                with_scratch::<f32, _>(COLUMNS, |out| {
                    for from in (0..n).step_by(COLUMNS) {
                        let cols = from..(from + COLUMNS).min(n);
                        self.columns(quantized, width, cols.clone(), sums);
                        for (row, (sums, &span)) in sums.chunks_exact(COLUMNS).zip(&spans).enumerate() {
                            let out = &mut out[..cols.len()];
                            dequantize_row(
                                sums,
                                span,
                                &self.scales[cols.clone()],
                                &self.sums[cols.clone()],
                                out,
                            );
                            finish(row, cols.clone(), out);
                        }
                    }
                });
            });
        });
        debug_assert_eq!(COLUMNS % nr, 0);
    }

    /// `sums` (rows [`COLUMNS`] apart) = quantised rows (`width` apart) times columns `cols`.
    fn columns(&self, rows: &[u8], width: usize, cols: Range<usize>, sums: &mut [i32]) {
        let (mr, nr) = tile_size(self.level);
        if self.words == 0 {
            sums.fill(0);
            return;
        }
        for from in (0..self.words).step_by(STEP) {
            let to = (from + STEP).min(self.words);
            let store = if from == 0 { Store::Overwrite } else { Store::Add };
            for panel in cols.start / nr..cols.end.div_ceil(nr) {
                let strip = self.strip(panel, from..to);
                let column = panel * nr - cols.start;
                for (i, rows) in rows.chunks_exact(mr * width).enumerate() {
                    let tile = Tile {
                        left: &rows[from * WORD..],
                        left_stride: width,
                        right: strip,
                        sums: &mut sums[i * mr * COLUMNS + column..],
                        stride: COLUMNS,
                        store,
                    };
                    multiply(self.level, tile);
                }
            }
        }
    }
}

/// The largest magnitude in a row.
#[inline(always)]
pub(crate) fn largest(row: &[f32]) -> f32 {
    fold(row, 0.0, |most, x| if x.abs() > most { x.abs() } else { most })
}

/// The scale of weights of which the largest magnitude is `most`: 1 if they are all zeros, or so small that their scale has
/// no finite inverse.
#[inline(always)]
pub(crate) fn weight_scale(most: f32) -> f32 {
    let scale = most / f32::from(MOST);
    if scale >= f32::MIN_POSITIVE { scale } else { 1.0 }
}

multiversion! {
    /// Rounds the weights of one output and gives their scale.
    pub(crate) fn quantize_weights(row: &[f32], out: &mut [i8]) -> f32 {
        let scale = weight_scale(largest(row));
        let inverse = 1.0 / scale;
        // Adding 1.5 * 2^23 rounds to an integer that the low bits of the sum hold.
        const ROUND: f32 = 12_582_912.0;
        for (out, &x) in out.iter_mut().zip(row) {
            *out = (x * inverse + ROUND).to_bits() as i8;
        }
        scale
    }
}

/// A row of activations x is about `scale * u + least`.
#[derive(Debug, Clone, Copy)]
struct Span {
    scale: f32,
    least: f32,
}

multiversion! {
    fn quantize_row(x: &[f32], out: &mut [u8]) -> Span {
        let least = fold(x, f32::INFINITY, |least, x| if x < least { x } else { least });
        let most = greatest(x);
        // Twice a half: the width of a row of huge numbers could be infinite.
        let scale = 2.0 * ((0.5 * most - 0.5 * least) / 255.0);
        let span = Span { scale: if scale > 0.0 { scale } else { 1.0 }, least };
        // Adding 2^23 rounds to an integer that the low bits of the sum hold.
        const ROUND: f32 = 8_388_608.0;
        let inverse = 1.0 / span.scale;
        for (out, &x) in out.iter_mut().zip(x) {
            let u = (x - least) * inverse;
            let u = if u < 255.0 { u } else { 255.0 };
            *out = (u + ROUND).to_bits() as u8;
        }
        span
    }
}

multiversion! {
    fn dequantize_row(sums: &[i32], span: Span, scales: &[f32], column_sums: &[f32], out: &mut [f32]) {
        for (((out, &sum), &scale), &column) in out.iter_mut().zip(sums).zip(scales).zip(column_sums) {
            *out = madd::<FUSED>(span.least, column, (sum as f32) * (span.scale * scale));
        }
    }
}

/// A tile of a product: its sums (+)= its rows of the left factor times a panel of the right one.
pub(crate) struct Tile<'a> {
    /// Rows of bytes, `left_stride` apart.
    pub(crate) left: &'a [u8],
    pub(crate) left_stride: usize,
    /// A panel `[words][nr][4]`.
    pub(crate) right: &'a [i8],
    /// Rows of sums, `stride` apart.
    pub(crate) sums: &'a mut [i32],
    pub(crate) stride: usize,
    pub(crate) store: Store,
}

/// Computes a tile.
///
/// # Panics
/// If a slice is too short.
#[inline]
pub(crate) fn multiply(level: Level, tile: Tile<'_>) {
    let (mr, nr) = tile_size(level);
    let words = tile.right.len() / (nr * WORD);
    assert!(words > 0 && tile.left.len() >= (mr - 1) * tile.left_stride + words * WORD);
    assert!(tile.right.len() == words * nr * WORD);
    assert!(tile.stride >= nr && tile.sums.len() >= (mr - 1) * tile.stride + nr);
    let tile = Checked {
        words,
        left: tile.left.as_ptr(),
        left_stride: tile.left_stride,
        right: tile.right.as_ptr(),
        sums: tile.sums.as_mut_ptr(),
        stride: tile.stride,
        store: tile.store,
    };
    match level {
        // SAFETY: all that is read and written lies in the slices, by the assertions; a level above Portable is only made on
        // a CPU that has its instructions.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Vnni => unsafe { x86::vnni(tile) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 | Level::Avx512 => unsafe { x86::avx2(tile) },
        // SAFETY: as above.
        _ => unsafe { portable(tile) },
    }
}

/// A [`Tile`] whose slices are long enough.
struct Checked {
    words: usize,
    left: *const u8,
    left_stride: usize,
    right: *const i8,
    sums: *mut i32,
    stride: usize,
    store: Store,
}

/// Four rows of eight columns in plain Rust.
///
/// # Safety
/// The tile's pointers must be valid as [`multiply`] checks them.
unsafe fn portable(t: Checked) {
    let mut sums = [[0i32; 8]; 4];
    for word in 0..t.words {
        // SAFETY: a line of the panel.
        let b: &[[i8; WORD]; 8] = unsafe { &*t.right.add(word * 8 * WORD).cast() };
        for (i, sums) in sums.iter_mut().enumerate() {
            // SAFETY: a word of row i.
            let a: [u8; WORD] = unsafe {
                t.left
                    .add(i * t.left_stride + word * WORD)
                    .cast::<[u8; WORD]>()
                    .read()
            };
            for (sum, b) in sums.iter_mut().zip(b) {
                for (a, b) in a.iter().zip(b) {
                    *sum += i32::from(*a) * i32::from(*b);
                }
            }
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        for (j, sum) in sums.iter().enumerate() {
            // SAFETY: an element of the destination's tile.
            let c = unsafe { &mut *t.sums.add(i * t.stride + j) };
            *c = if t.store == Store::Add { *c + sum } else { *sum };
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Checked, Store, WORD};

    /// Four rows of two vectors: products of bytes in pairs (16 bits), pairs of these (32 bits), then the sum.
    ///
    /// # Safety
    /// The CPU must have AVX2, and the tile's pointers must be valid as `multiply` checks them.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn avx2(t: Checked) {
        let mut sums = [[_mm256_setzero_si256(); 2]; 4];
        let ones = _mm256_set1_epi16(1);
        let rows: [*const u8; 4] = std::array::from_fn(|i| t.left.wrapping_add(i * t.left_stride));
        let mut b = t.right;
        for word in 0..t.words {
            // SAFETY: a line of the panel, and a word of each row.
            unsafe {
                let left = _mm256_loadu_si256(b.cast());
                let right = _mm256_loadu_si256(b.add(32).cast());
                for i in 0..4 {
                    let a = _mm256_set1_epi32(rows[i].add(word * WORD).cast::<i32>().read_unaligned());
                    let l = _mm256_madd_epi16(_mm256_maddubs_epi16(a, left), ones);
                    let r = _mm256_madd_epi16(_mm256_maddubs_epi16(a, right), ones);
                    sums[i][0] = _mm256_add_epi32(sums[i][0], l);
                    sums[i][1] = _mm256_add_epi32(sums[i][1], r);
                }
            }
            b = b.wrapping_add(64);
        }
        for (i, sums) in sums.iter().enumerate() {
            for (half, sum) in sums.iter().enumerate() {
                // SAFETY: half a row of the destination's tile.
                unsafe {
                    let c = t.sums.add(i * t.stride + half * 8).cast::<__m256i>();
                    let value = if t.store == Store::Add {
                        _mm256_add_epi32(_mm256_loadu_si256(c), *sum)
                    } else {
                        *sum
                    };
                    _mm256_storeu_si256(c, value);
                }
            }
        }
    }

    /// Thirteen rows of two vectors.
    ///
    /// # Safety
    /// The CPU must have AVX-512 VNNI, and the tile's pointers must be valid as `multiply` checks them.
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) unsafe fn vnni(t: Checked) {
        let mut sums = [[_mm512_setzero_si512(); 2]; 13];
        let rows: [*const u8; 13] = std::array::from_fn(|i| t.left.wrapping_add(i * t.left_stride));
        let mut b = t.right;
        for word in 0..t.words {
            // SAFETY: a line of the panel, and a word of each row.
            unsafe {
                let left = _mm512_loadu_si512(b.cast());
                let right = _mm512_loadu_si512(b.add(64).cast());
                for i in 0..13 {
                    let a = _mm512_set1_epi32(rows[i].add(word * WORD).cast::<i32>().read_unaligned());
                    sums[i][0] = _mm512_dpbusd_epi32(sums[i][0], a, left);
                    sums[i][1] = _mm512_dpbusd_epi32(sums[i][1], a, right);
                }
            }
            b = b.wrapping_add(128);
        }
        for (i, sums) in sums.iter().enumerate() {
            for (half, sum) in sums.iter().enumerate() {
                // SAFETY: half a row of the destination's tile.
                unsafe {
                    let c = t.sums.add(i * t.stride + half * 16).cast::<__m512i>();
                    let value = if t.store == Store::Add {
                        _mm512_add_epi32(_mm512_loadu_si512(c), *sum)
                    } else {
                        *sum
                    };
                    _mm512_storeu_si512(c, value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::numbers;

    #[test]
    fn weights_come_back_within_half_a_step_and_extremes_exactly() {
        let mut weights = numbers(3 * 50, 1);
        weights[100..].fill(1e-40);
        let quantized = Quantized::new(&weights, 3);
        assert_eq!(quantized.scales[2], 1.0);
        for (row, (was, is)) in weights
            .chunks(50)
            .zip(quantized.dequantize().chunks(50))
            .enumerate()
        {
            let scale = quantized.scales[row];
            assert!(was.iter().zip(is).all(|(a, b)| (a - b).abs() <= 0.5001 * scale));
        }
        assert!(quantized.values[..100].iter().any(|q| q.abs() == MOST));
        assert!(quantized.values.iter().all(|q| q.abs() <= MOST));
    }

    #[test]
    fn a_product_is_that_of_the_rounded_factors_with_the_same_bits_at_every_level() {
        for (rows, k, n) in [(1, 1, 1), (7, 37, 45), (30, 1100, 400)] {
            let x: Vec<f32> = numbers(rows * k, 2).iter().map(|x| 3.0 * x + 0.7).collect();
            let weights = Quantized::new(&numbers(n * k, 3), n);
            let exact = weights.dequantize();
            let mut first: Option<Vec<f32>> = None;
            for level in Level::available() {
                let panels = Int8Panels::at(level, &weights);
                let mut out = vec![0.0; rows * n];
                panels.block(Mat::new(&x, rows, k), |row, cols, values| {
                    out[row * n..][cols].copy_from_slice(values)
                });
                for row in 0..rows {
                    let mut u = vec![0; k];
                    let span = quantize_row::at(level, &x[row * k..][..k], &mut u);
                    for col in 0..n {
                        let want: f64 = (0..k)
                            .map(|i| {
                                let x = f64::from(span.scale) * f64::from(u[i]) + f64::from(span.least);
                                x * f64::from(exact[col * k + i])
                            })
                            .sum();
                        let error = (f64::from(out[row * n + col]) - want).abs();
                        assert!(
                            error < 1e-5 * (k as f64).max(10.0),
                            "{level:?} {row} {col}: {error}"
                        );
                    }
                }
                match &first {
                    // The portable path rounds between multiplication and addition.
                    Some(first) => crate::testing::assert_close(&out, first, 1e-6),
                    None => first = Some(out),
                }
            }
        }
    }

    #[test]
    fn the_largest_products_do_not_overflow() {
        // All activations 255 but one 0, all weights 64 or -64.
        let k = 4096;
        let mut x = vec![1.0; k];
        x[k - 1] = 0.0;
        for sign in [1.0, -1.0] {
            let weights = Quantized::new(&vec![sign; k], 1);
            for level in Level::available() {
                let mut got = 0.0;
                let panels = Int8Panels::at(level, &weights);
                panels.block(Mat::new(&x, 1, k), |_, _, values| got = values[0]);
                assert!((got - sign * (k - 1) as f32).abs() < 0.01, "{level:?}: {got}");
            }
        }
    }

    #[test]
    fn rows_that_do_not_vary_and_huge_rows_stay_finite() {
        let mut out = [0; 3];
        for row in [[5.0; 3], [0.0; 3], [3e38, -3e38, 0.0]] {
            for level in Level::available() {
                let span = quantize_row::at(level, &row, &mut out);
                assert!(span.scale.is_finite() && span.scale > 0.0);
                for (x, u) in row.iter().zip(out) {
                    let back = f64::from(span.scale) * f64::from(u) + f64::from(span.least);
                    assert!(
                        (back - f64::from(*x)).abs() <= 0.51 * f64::from(span.scale),
                        "{x} is {back}"
                    );
                }
            }
        }
    }
}
