//! Matrix products over strided views.
//!
//! The scheme is that of BLIS (Van Zee and van de Geijn 2015): the right factor is laid out in panels as wide as a register
//! tile ([`Panels`]: once for weights that stay, else on the way), each task takes a block of rows, packs it likewise, and
//! walks both in steps of 256 along k, so that a strip of a panel stays in the first-level cache while the packed rows
//! pass over it from the second. Finished rows are handed out while they are still there, for bias, residual or activation.

use std::ops::Range;

use rayon::prelude::*;

use crate::interleave::{Lines, interleave};
use crate::memory::{Buffer, SharedRows, with_scratch};
use crate::simd::{Level, level, multiversion};
use crate::tile::{Left, multiply, tile_size};

pub use crate::tile::Store;

/// Steps along k between two looks at the destination: a strip of 256 x 16 elements fills half of a first-level cache of
/// 32 KiB. Fixed, so that sums are taken in the same order whatever the number of threads.
pub(crate) const STEP: usize = 256;

/// Columns finished at once, a multiple of every tile's: a block of results fits a second-level cache with its left factor.
pub(crate) const COLUMNS: usize = 384;

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

impl<'a> Mat<'a> {
    /// Rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    /// Row number `row` of a matrix that is no transpose.
    pub(crate) fn row(&self, row: usize) -> &'a [f32] {
        debug_assert_eq!(self.col_stride, 1);
        &self.data[row * self.row_stride..][..self.cols]
    }

    /// Some rows of a matrix that is no transpose.
    pub(crate) fn rows(&self, rows: Range<usize>) -> Self {
        Self::strided(
            &self.data[rows.start * self.row_stride..],
            rows.len(),
            self.cols,
            self.row_stride,
        )
    }

    /// Lays out elements `k` of lines `lines` (rows, or columns of a transpose) side by side: element k of line i becomes
    /// `out[k * width + i]`. Lines that are missing to `width` become zeros.
    fn interleave(&self, level: Level, lines: Range<usize>, k: Range<usize>, width: usize, out: &mut [f32]) {
        let lines = Lines {
            data: &self.data[lines.start * self.row_stride + k.start * self.col_stride..],
            count: lines.len(),
            len: k.len(),
            line_stride: self.row_stride,
            stride: self.col_stride,
        };
        interleave(level, lines, width, out);
    }
}

/// A right factor laid out for the innermost loop, in the order in which it is read: for every 256 rows, for every
/// `nr` columns (filled up with zeros), a panel `[k][nr]`.
#[derive(Debug, Clone)]
pub struct Panels {
    data: Buffer,
    k: usize,
    n: usize,
    level: Level,
}

impl Panels {
    /// Lays out `b`, in the way of the instruction set in use.
    pub fn new(b: Mat<'_>) -> Self {
        Self::at(level(), b)
    }

    pub(crate) fn at(level: Level, b: Mat<'_>) -> Self {
        let mut data = Buffer::new::<f32>(PanelsView::len(level, b.rows, b.cols));
        PanelsView::lay_out(level, b, data.get_mut());
        Self {
            data,
            k: b.rows,
            n: b.cols,
            level,
        }
    }

    /// Rows and columns of the matrix.
    pub fn shape(&self) -> (usize, usize) {
        (self.k, self.n)
    }

    /// Memory it takes.
    pub fn bytes(&self) -> usize {
        self.data.bytes()
    }

    pub(crate) fn view(&self) -> PanelsView<'_> {
        PanelsView {
            data: &self.data.get::<f32>()[..PanelsView::len(self.level, self.k, self.n)],
            k: self.k,
            n: self.n,
            level: self.level,
        }
    }
}

/// [`Panels`] in memory that somebody else owns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PanelsView<'a> {
    data: &'a [f32],
    k: usize,
    n: usize,
    level: Level,
}

impl<'a> PanelsView<'a> {
    /// Elements that a matrix of `k` rows and `n` columns takes.
    pub(crate) fn len(level: Level, k: usize, n: usize) -> usize {
        k * n.next_multiple_of(tile_size(level).nr)
    }

    /// Lays out `b` in `data`, of [`PanelsView::len`] elements, on all threads of the pool.
    fn lay_out(level: Level, b: Mat<'_>, data: &'a mut [f32]) -> Self {
        for (k, step) in steps(level, b, data) {
            step.par_chunks_exact_mut(k.len() * tile_size(level).nr)
                .enumerate()
                .for_each(|(number, panel)| lay_out_panel(level, b, number, k.clone(), panel));
        }
        Self {
            data,
            k: b.rows,
            n: b.cols,
            level,
        }
    }

    /// [`PanelsView::lay_out`] on the calling thread.
    pub(crate) fn lay_out_here(level: Level, b: Mat<'_>, data: &'a mut [f32]) -> Self {
        for (k, step) in steps(level, b, data) {
            for (number, panel) in step.chunks_exact_mut(k.len() * tile_size(level).nr).enumerate() {
                lay_out_panel(level, b, number, k.clone(), panel);
            }
        }
        Self {
            data,
            k: b.rows,
            n: b.cols,
            level,
        }
    }

    /// Rows and columns of the matrix.
    pub(crate) fn shape(&self) -> (usize, usize) {
        (self.k, self.n)
    }

    pub(crate) fn level(&self) -> Level {
        self.level
    }

    /// Rows `k` of panel `number`: one whole step of [`STEP`] rows, or the last, shorter one.
    pub(crate) fn strip(&self, number: usize, k: Range<usize>) -> &'a [f32] {
        debug_assert!(k.start.is_multiple_of(STEP) && (k.len() == STEP || k.end == self.k));
        let nr = tile_size(self.level).nr;
        let panel = k.len() * nr;
        &self.data[k.start * self.n.next_multiple_of(nr) + number * panel..][..panel]
    }
}

/// The steps along k of a right factor `b`: which rows, and the part of `data` that their panels go to.
fn steps<'a>(
    level: Level,
    b: Mat<'_>,
    data: &'a mut [f32],
) -> impl Iterator<Item = (Range<usize>, &'a mut [f32])> {
    let width = b.cols.next_multiple_of(tile_size(level).nr);
    let starts = (0..b.rows).step_by(STEP);
    let ranges = starts.map(move |from| from..(from + STEP).min(b.rows));
    ranges.zip(data.chunks_mut((STEP * width).max(1)))
}

/// Rows `k` of panel `number` of `b`.
fn lay_out_panel(level: Level, b: Mat<'_>, number: usize, k: Range<usize>, panel: &mut [f32]) {
    let nr = tile_size(level).nr;
    let columns = number * nr..((number + 1) * nr).min(b.cols);
    b.t().interleave(level, columns, k, nr, panel);
}

/// How the rows of a product are divided into blocks, a task each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Blocks {
    /// Panels of `mr` rows.
    panels: usize,
    blocks: usize,
    mr: usize,
    m: usize,
}

impl Blocks {
    /// Blocks of at most `most` rows, as even as tiles allow, and a multiple of `threads` of them.
    pub(crate) fn new(m: usize, mr: usize, most: usize, threads: usize) -> Self {
        let panels = m.div_ceil(mr);
        let blocks = panels
            .div_ceil((most / mr).max(1))
            .next_multiple_of(threads)
            .min(panels);
        Self {
            panels,
            blocks,
            mr,
            m,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.blocks
    }

    /// Rows of block `i`.
    pub(crate) fn rows(&self, i: usize) -> Range<usize> {
        let start = |i: usize| (i * self.panels / self.blocks * self.mr).min(self.m);
        start(i)..start(i + 1)
    }

    /// Rows of the largest block, whole tiles.
    fn most(&self) -> usize {
        self.panels.div_ceil(self.blocks) * self.mr
    }
}

/// A finished block of a product.
pub(crate) struct Block<'a> {
    pub(crate) rows: Range<usize>,
    pub(crate) cols: Range<usize>,
    data: &'a [f32],
}

impl Block<'_> {
    /// Row number `row` of the product, as far as the block has it.
    pub(crate) fn row(&self, row: usize) -> &[f32] {
        &self.data[(row - self.rows.start) * COLUMNS..][..self.cols.len()]
    }
}

/// Rows handled by a task: with k = 768 the packed rows take half of a second-level cache (512 KiB with AVX2, 2 MiB on
/// the machines that have AVX-512).
pub(crate) fn most_rows(level: Level) -> usize {
    match level {
        Level::Portable | Level::Avx2 => 96,
        Level::Avx512 | Level::Avx512Vnni => 192,
    }
}

/// Lines of the first-level caches of today's CPUs that may share their place, and the bytes between two that must.
const WAYS: usize = 8;
const SAME_PLACE: usize = 4096;

/// A block of a left factor, in tiles of `mr` rows: what lies as the innermost loop can read it stays where it is.
#[derive(Clone, Copy)]
pub(crate) struct LeftBlock<'a> {
    /// Tiles before the last, row-major (or all).
    rows: &'a [f32],
    stride: usize,
    whole_tiles: usize,
    /// The other tiles, as panels `[k][mr]`.
    panels: &'a [f32],
    k: usize,
    mr: usize,
}

impl<'a> LeftBlock<'a> {
    /// Whether the rows of `x` are read where they lie. Those of a transpose cannot be; and where all rows of a tile would
    /// fall into the same place of a first-level cache that has not room for so many, packing is faster (a product of 1214 x
    /// 3072 by 3072 x 768 with AVX-512: 89 GFLOP/s in place, 103 packed).
    fn in_place(level: Level, x: Mat<'_>) -> bool {
        let crowded =
            tile_size(level).mr > WAYS && (x.row_stride * size_of::<f32>()).is_multiple_of(SAME_PLACE);
        x.col_stride == 1 && !crowded
    }

    /// Elements that [`LeftBlock::new`] needs as `room` for so many rows.
    pub(crate) fn room(level: Level, x: Mat<'_>, rows: usize) -> usize {
        let mr = tile_size(level).mr;
        x.cols
            * if Self::in_place(level, x) {
                mr
            } else {
                rows.next_multiple_of(mr)
            }
    }

    /// Rows `rows` of `x`; `room` takes what has to be packed: less than a tile of rows that are read in place, all others.
    pub(crate) fn new(level: Level, x: Mat<'a>, rows: Range<usize>, room: &'a mut [f32]) -> Self {
        let mr = tile_size(level).mr;
        let k = x.cols;
        let mut block = Self {
            rows: &[],
            stride: k,
            whole_tiles: 0,
            panels: &[],
            k,
            mr,
        };
        let mut packed = rows.clone();
        if Self::in_place(level, x) {
            block.whole_tiles = rows.len() / mr;
            (block.rows, block.stride) = (&x.data[rows.start * x.row_stride..], x.row_stride);
            packed.start += block.whole_tiles * mr;
        }
        let room = &mut room[..packed.len().next_multiple_of(mr) * k];
        pack_rows(level, x, packed, room);
        block.panels = room;
        block
    }

    pub(crate) fn tiles(&self) -> usize {
        self.whole_tiles + self.panels.len() / (self.k * self.mr).max(1)
    }

    /// Columns `k` of tile `i`.
    pub(crate) fn tile(&self, i: usize, k: Range<usize>) -> Left<'a> {
        match i.checked_sub(self.whole_tiles) {
            None => Left::ByRows {
                data: &self.rows[i * self.mr * self.stride + k.start..],
                stride: self.stride,
            },
            Some(i) => {
                let panel = &self.panels[i * self.mr * self.k..];
                Left::ByColumns {
                    data: &panel[k.start * self.mr..k.end * self.mr],
                    stride: self.mr,
                }
            }
        }
    }
}

/// The product of `left` with `b`, on all threads of the pool; `finish` is given every block of the result once.
fn product(left: Mat<'_>, b: PanelsView<'_>, finish: impl Fn(Block<'_>) + Sync) {
    let (m, k) = left.shape();
    assert_eq!(k, b.k, "shapes of a matrix product");
    if m == 0 || b.n == 0 {
        return;
    }
    let threads = rayon::current_num_threads();
    let blocks = Blocks::new(m, tile_size(b.level).mr, most_rows(b.level), threads);
    // Few rows: the columns are divided too, and each task packs the rows for itself.
    let groups = b.n.div_ceil(COLUMNS);
    let divisions = threads.div_ceil(blocks.len()).min(groups);
    (0..blocks.len() * divisions).into_par_iter().for_each(|task| {
        let (block, division) = (task / divisions, task % divisions);
        let rows = blocks.rows(block);
        let groups = division * groups / divisions..(division + 1) * groups / divisions;
        with_scratch(blocks.most() * (k + COLUMNS), |scratch| {
            let (room, out) = scratch.split_at_mut(blocks.most() * k);
            let left = LeftBlock::new(b.level, left, rows.clone(), room);
            for group in groups {
                let cols = group * COLUMNS..((group + 1) * COLUMNS).min(b.n);
                columns(left, b, cols.clone(), out);
                finish(Block {
                    rows: rows.clone(),
                    cols,
                    data: out,
                });
            }
        });
    });
}

/// `out` (rows [`COLUMNS`] apart) = a block of the left factor times columns `cols` of `b`.
pub(crate) fn columns(left: LeftBlock<'_>, b: PanelsView<'_>, cols: Range<usize>, out: &mut [f32]) {
    let tile = tile_size(b.level);
    if b.k == 0 {
        out.fill(0.0);
        return;
    }
    for from in (0..b.k).step_by(STEP) {
        let to = (from + STEP).min(b.k);
        let store = if from == 0 { Store::Overwrite } else { Store::Add };
        for panel in cols.start / tile.nr..cols.end.div_ceil(tile.nr) {
            let strip = b.strip(panel, from..to);
            let column = panel * tile.nr - cols.start;
            for i in 0..left.tiles() {
                let out = &mut out[i * tile.mr * COLUMNS + column..];
                multiply(b.level, left.tile(i, from..to), strip, out, COLUMNS, store);
            }
        }
    }
}

/// Rows `rows` of `a` as panels `[k][mr]`.
fn pack_rows(level: Level, a: Mat<'_>, rows: Range<usize>, packed: &mut [f32]) {
    let mr = tile_size(level).mr;
    let panels = packed.chunks_exact_mut((a.cols * mr).max(1)).enumerate();
    panels.for_each(|(p, panel)| {
        let from = rows.start + p * mr;
        a.interleave(level, from..(from + mr).min(rows.end), 0..a.cols, mr, panel);
    });
}

multiversion! {
    fn store_row(dst: &mut [f32], row: &[f32], store: Store) {
        match store {
            Store::Overwrite => dst.copy_from_slice(row),
            Store::Add => dst.iter_mut().zip(row).for_each(|(d, x)| *d += x),
        }
    }
}

multiversion! {
    /// `dst = row + bias`.
    pub(crate) fn sum_into(dst: &mut [f32], row: &[f32], bias: &[f32]) {
        for ((dst, &x), &bias) in dst.iter_mut().zip(row).zip(bias) {
            *dst = x + bias;
        }
    }
}

multiversion! {
    /// `dst += row + bias`.
    pub(crate) fn add_into(dst: &mut [f32], row: &[f32], bias: &[f32]) {
        for ((dst, &x), &bias) in dst.iter_mut().zip(row).zip(bias) {
            *dst += x + bias;
        }
    }
}

/// `dst = a b`, or `dst += a b`, on all threads of the current rayon pool.
///
/// # Panics
/// If the shapes do not fit.
pub fn matmul(dst: MatMut<'_>, a: Mat<'_>, b: Mat<'_>, store: Store) {
    laid_out(level(), dst, a, b, |dst, row, _| store_row(dst, row, store));
}

/// `dst = x weightᵀ + bias`, or `dst += x weightᵀ + bias`, with a weight `[outputs, inputs]` that is laid out on the way: for
/// weights that change from one use to the next. Those that stay are [`Linear`](crate::Linear)'s.
///
/// # Panics
/// If the shapes do not fit.
pub fn linear(dst: MatMut<'_>, x: Mat<'_>, weight: Mat<'_>, bias: &[f32], store: Store) {
    assert_eq!(bias.len(), weight.rows, "a bias per output");
    laid_out(level(), dst, x, weight.t(), |dst, row, cols| match store {
        Store::Overwrite => sum_into(dst, row, &bias[cols]),
        Store::Add => add_into(dst, row, &bias[cols]),
    });
}

/// The product of `a` and `b`; `finish` brings a piece of a row to where it belongs in `dst`.
fn laid_out(
    level: Level,
    dst: MatMut<'_>,
    a: Mat<'_>,
    b: Mat<'_>,
    finish: impl Fn(&mut [f32], &[f32], Range<usize>) + Sync,
) {
    assert_eq!(
        (dst.rows, dst.cols, a.cols),
        (a.rows, b.cols, b.rows),
        "shapes of a matrix product"
    );
    with_scratch(PanelsView::len(level, b.rows, b.cols), |panels| {
        let b = PanelsView::lay_out(level, b, panels);
        let out = SharedRows::new(dst.data, dst.row_stride.max(dst.cols));
        product(a, b, |block| {
            for row in block.rows.clone() {
                // SAFETY: every block is finished by one task, once.
                let dst = unsafe { out.row(row, block.cols.start, block.cols.len()) };
                finish(dst, block.row(row), block.cols.clone());
            }
        });
    });
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
            matmul(
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
    fn every_level_agrees_and_a_linear_map_adds_its_bias() {
        let (m, k, n) = (50, 300, 70);
        let (x, weight, bias) = (numbers(m * k, 5), numbers(n * k, 6), numbers(n, 7));
        let expected = naive(Mat::new(&x, m, k), Mat::new(&weight, n, k).t());
        for level in Level::available() {
            let mut dst = vec![1.0; m * n];
            let (a, b) = (Mat::new(&x, m, k), Mat::new(&weight, n, k).t());
            laid_out(level, MatMut::new(&mut dst, m, n), a, b, |dst, row, _| {
                store_row(dst, row, Store::Add)
            });
            let wanted: Vec<f32> = expected.iter().map(|x| x + 1.0).collect();
            crate::testing::assert_close(&dst, &wanted, 2e-6);
        }
        let mut dst = vec![1.0; m * n];
        for store in [Store::Overwrite, Store::Add] {
            linear(
                MatMut::new(&mut dst, m, n),
                Mat::new(&x, m, k),
                Mat::new(&weight, n, k),
                &bias,
                store,
            );
        }
        let wanted: Vec<f32> = (0..m * n).map(|i| 2.0 * (expected[i] + bias[i % n])).collect();
        crate::testing::assert_close(&dst, &wanted, 2e-6);
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
