//! The innermost loop of a matrix product: one tile of the result, held in registers.
//!
//! A tile is `mr` rows of `nr` columns. Its right factor lies in a panel, `[k][nr]` without gaps; its left factor is read
//! through strides, so that a panel `[k][mr]`, a row-major matrix and the transpose of one will all do.

use crate::simd::{FUSED, Level, madd};

/// Rows and columns of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TileSize {
    pub(crate) mr: usize,
    pub(crate) nr: usize,
}

/// The tile of an instruction set: as many accumulators as leave registers for two vectors of the right factor and one
/// broadcast element of the left.
pub(crate) fn tile_size(level: Level) -> TileSize {
    match level {
        Level::Portable => TileSize { mr: 6, nr: 8 },
        Level::Avx2 => TileSize { mr: 6, nr: 16 },
        Level::Avx512 | Level::Avx512Vnni => TileSize { mr: 13, nr: 32 },
    }
}

/// What becomes of what the destination holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// It is overwritten.
    Overwrite,
    /// The product is added to it.
    Add,
}

/// The left factor of a tile.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Left<'a> {
    /// Element (i, k) is `data[k * stride + i]`: a panel `[k][mr]`, or the transpose of a row-major matrix.
    ByColumns { data: &'a [f32], stride: usize },
    /// Element (i, k) is `data[i * stride + k]`: a row-major matrix.
    ByRows { data: &'a [f32], stride: usize },
}

/// `c` (+)= `a` `b` for one tile, with `b` a panel `[k][nr]` and the rows of `c` starting `stride` apart.
///
/// # Panics
/// If a slice is too short.
#[inline]
pub(crate) fn multiply(level: Level, a: Left<'_>, b: &[f32], c: &mut [f32], stride: usize, store: Store) {
    let TileSize { mr, nr } = tile_size(level);
    let k = b.len() / nr;
    if k == 0 {
        if store == Store::Overwrite {
            c.chunks_mut(stride).take(mr).for_each(|row| row[..nr].fill(0.0));
        }
        return;
    }
    let (data, a_stride, by_rows) = match a {
        Left::ByColumns { data, stride } => (data, stride, false),
        Left::ByRows { data, stride } => (data, stride, true),
    };
    let (outer, inner) = if by_rows { (mr, k) } else { (k, mr) };
    assert!(data.len() >= (outer - 1) * a_stride + inner);
    assert!(b.len() == k * nr && stride >= nr && c.len() >= (mr - 1) * stride + nr);
    let tile = Tile {
        k,
        a: data.as_ptr(),
        a_stride,
        b: b.as_ptr(),
        c: c.as_mut_ptr(),
        stride,
        store,
    };
    // SAFETY: all that is read and written lies in the slices, by the assertions; a level above Portable is only made on a
    // CPU that has its instructions.
    unsafe {
        match (level, by_rows) {
            #[cfg(target_arch = "x86_64")]
            (Level::Avx512 | Level::Avx512Vnni, false) => x86::avx512::<false>(tile),
            #[cfg(target_arch = "x86_64")]
            (Level::Avx512 | Level::Avx512Vnni, true) => x86::avx512::<true>(tile),
            #[cfg(target_arch = "x86_64")]
            (Level::Avx2, false) => x86::avx2::<false>(tile),
            #[cfg(target_arch = "x86_64")]
            (Level::Avx2, true) => x86::avx2::<true>(tile),
            (_, false) => portable::<false>(tile),
            (_, true) => portable::<true>(tile),
        }
    }
}

/// [`multiply`]'s arguments, checked.
struct Tile {
    k: usize,
    a: *const f32,
    a_stride: usize,
    b: *const f32,
    c: *mut f32,
    stride: usize,
    store: Store,
}

/// Six rows of eight columns in plain Rust, which the compiler vectorises.
///
/// # Safety
/// The tile's pointers must be valid as [`multiply`] checks them.
unsafe fn portable<const BY_ROWS: bool>(t: Tile) {
    let mut sums = [[0.0f32; 8]; 6];
    for k in 0..t.k {
        // SAFETY: row k of the panel.
        let b: &[f32; 8] = unsafe { &*t.b.add(8 * k).cast() };
        for (i, sums) in sums.iter_mut().enumerate() {
            // SAFETY: element (i, k) of the left factor.
            let a = unsafe {
                *t.a.add(if BY_ROWS {
                    i * t.a_stride + k
                } else {
                    k * t.a_stride + i
                })
            };
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum = madd::<FUSED>(a, *b, *sum);
            }
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        // SAFETY: row i of the destination.
        let c: &mut [f32; 8] = unsafe { &mut *t.c.add(i * t.stride).cast() };
        for (c, sum) in c.iter_mut().zip(sums) {
            *c = if t.store == Store::Add { *c + sum } else { *sum };
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Store, Tile};

    /// A kernel of `$mr` rows of two vectors.
    macro_rules! kernel {
        ($name:ident, $features:literal, $mr:literal, $lanes:literal, $zero:ident, $load:ident, $set:ident, $fma:ident, $add:ident, $store:ident) => {
            /// # Safety
            /// The CPU must have the features, and the tile's pointers must be valid as `multiply` checks them.
            #[target_feature(enable = $features)]
            pub(super) unsafe fn $name<const BY_ROWS: bool>(t: Tile) {
                let mut sums = [[$zero(); 2]; $mr];
                // A pointer per row, and offsets that the compiler knows where they are known: one chain of additions from
                // row to row would take as long as the arithmetic.
                let rows: [*const f32; $mr] = std::array::from_fn(|i| t.a.wrapping_add(i * t.a_stride));
                let (mut a, mut b) = (t.a, t.b);
                for k in 0..t.k {
                    // SAFETY: a row of the panel, and a column of the left factor.
                    unsafe {
                        let (left, right) = ($load(b), $load(b.add($lanes)));
                        for i in 0..$mr {
                            let x = $set(if BY_ROWS { *rows[i].add(k) } else { *a.add(i) });
                            sums[i][0] = $fma(x, left, sums[i][0]);
                            sums[i][1] = $fma(x, right, sums[i][1]);
                        }
                    }
                    // Wrapping: after the last step they point beyond what they may be read at.
                    a = a.wrapping_add(t.a_stride);
                    b = b.wrapping_add(2 * $lanes);
                }
                for (i, sums) in sums.iter().enumerate() {
                    for (half, sum) in sums.iter().enumerate() {
                        // SAFETY: half a row of the destination's tile.
                        unsafe {
                            let c = t.c.add(i * t.stride + half * $lanes);
                            let value = if t.store == Store::Add {
                                $add($load(c), *sum)
                            } else {
                                *sum
                            };
                            $store(c, value);
                        }
                    }
                }
            }
        };
    }

    kernel!(
        avx2,
        "avx2,fma",
        6,
        8,
        _mm256_setzero_ps,
        _mm256_loadu_ps,
        _mm256_set1_ps,
        _mm256_fmadd_ps,
        _mm256_add_ps,
        _mm256_storeu_ps
    );
    kernel!(
        avx512,
        "avx512f",
        13,
        16,
        _mm512_setzero_ps,
        _mm512_loadu_ps,
        _mm512_set1_ps,
        _mm512_fmadd_ps,
        _mm512_add_ps,
        _mm512_storeu_ps
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::numbers;

    #[test]
    fn every_level_agrees_with_the_definition_through_any_strides() {
        for level in Level::available() {
            let TileSize { mr, nr } = tile_size(level);
            for (k, by_rows, spare) in [
                (0, true, 0),
                (1, true, 3),
                (7, false, 0),
                (64, false, 9),
                (64, true, 5),
            ] {
                let b = numbers(k * nr, 1);
                let a_stride = spare + if by_rows { k } else { mr };
                let data = numbers(a_stride * if by_rows { mr } else { k }, 2);
                let stride = nr + 5;
                let before = numbers((mr - 1) * stride + nr, 3);
                for store in [Store::Overwrite, Store::Add] {
                    let mut c = before.clone();
                    let a = match by_rows {
                        true => Left::ByRows {
                            data: &data,
                            stride: a_stride,
                        },
                        false => Left::ByColumns {
                            data: &data,
                            stride: a_stride,
                        },
                    };
                    multiply(level, a, &b, &mut c, stride, store);
                    for (at, (&got, &was)) in c.iter().zip(&before).enumerate() {
                        let (i, j) = (at / stride, at % stride);
                        let left = |k| {
                            data[if by_rows {
                                i * a_stride + k
                            } else {
                                k * a_stride + i
                            }]
                        };
                        let product: f64 = (0..k)
                            .filter(|_| j < nr)
                            .map(|k| f64::from(left(k)) * f64::from(b[k * nr + j]))
                            .sum();
                        let kept = if store == Store::Add || j >= nr {
                            f64::from(was)
                        } else {
                            0.0
                        };
                        assert!(
                            (f64::from(got) - kept - product).abs() < 1e-5,
                            "{level:?} {k} at {i}, {j}"
                        );
                    }
                }
            }
        }
    }
}
