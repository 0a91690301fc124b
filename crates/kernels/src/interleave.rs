//! Lines of a matrix laid out side by side, as the innermost loops read them: element k of line i becomes `out[k][i]`.

use crate::simd::Level;

/// Lines of a matrix: rows, or columns.
#[derive(Clone, Copy)]
pub(crate) struct Lines<'a> {
    /// Begins with the first element of the first line.
    pub(crate) data: &'a [f32],
    pub(crate) count: usize,
    /// Elements of a line.
    pub(crate) len: usize,
    /// From one line to the next, and from one element of a line to the next; one of them is 1.
    pub(crate) line_stride: usize,
    pub(crate) stride: usize,
}

/// Lines that are transposed together: as many as a vector of AVX2 has lanes.
const TOGETHER: usize = 8;

/// Writes lines side by side to `out`, `width` to a row; what is missing to `width` becomes zeros.
///
/// # Panics
/// If the slices are too short, or no tile has this width.
pub(crate) fn interleave(level: Level, lines: Lines<'_>, width: usize, out: &mut [f32]) {
    match width {
        6 => by_width::<6>(level, lines, out),
        8 => by_width::<8>(level, lines, out),
        13 => by_width::<13>(level, lines, out),
        16 => by_width::<16>(level, lines, out),
        32 => by_width::<32>(level, lines, out),
        _ => unreachable!("no tile is {width} wide"),
    }
}

fn by_width<const W: usize>(level: Level, lines: Lines<'_>, out: &mut [f32]) {
    let out = &mut out.as_chunks_mut::<W>().0[..lines.len];
    if lines.line_stride == 1 && lines.stride != 1 {
        // A row of the result is a piece of a row of the matrix.
        for (k, out) in out.iter_mut().enumerate() {
            let row = &lines.data[k * lines.stride..];
            match row.first_chunk::<W>() {
                Some(whole) if lines.count == W => *out = *whole,
                _ => {
                    out.fill(0.0);
                    out[..lines.count].copy_from_slice(&row[..lines.count]);
                }
            }
        }
        return;
    }
    for first in (0..W).step_by(TOGETHER) {
        // The last group of a width that is no multiple overlaps the one before: squares are faster than what is left alone.
        let first = first.min(W.saturating_sub(TOGETHER));
        let given = lines.count.saturating_sub(first).min(TOGETHER).min(W - first);
        let group: [&[f32]; TOGETHER] = std::array::from_fn(|i| match i < given {
            true => &lines.data[(first + i) * lines.line_stride..][..lines.len],
            false => &[],
        });
        let squares = if given == TOGETHER {
            squares(level, group, first, out)
        } else {
            0
        };
        rest(&group[..given], (first, TOGETHER.min(W - first)), squares, out);
    }
}

/// Elements from `from` on of `group` to columns `first..first + columns` of `out`; columns without a line become zeros.
fn rest<const W: usize>(
    group: &[&[f32]],
    (first, columns): (usize, usize),
    from: usize,
    out: &mut [[f32; W]],
) {
    for (k, out) in out.iter_mut().enumerate().skip(from) {
        let (given, missing) = out[first..first + columns].split_at_mut(group.len());
        given
            .iter_mut()
            .zip(group)
            .for_each(|(place, line)| *place = line[k]);
        missing.fill(0.0);
    }
}

/// Eight lines into columns `first..first + 8` of `out`, in squares of 8 x 8, as far as these go: to the element returned.
fn squares<const W: usize>(
    level: Level,
    lines: [&[f32]; TOGETHER],
    first: usize,
    out: &mut [[f32; W]],
) -> usize {
    let whole = out.len() / TOGETHER * TOGETHER;
    assert!(first + TOGETHER <= W && lines.iter().all(|line| line.len() >= whole));
    #[cfg(target_arch = "x86_64")]
    if level >= Level::Avx2 {
        for from in (0..whole).step_by(TOGETHER) {
            // SAFETY: the lines have so many elements and the rows so many columns, by the assertion; the level is only made
            // on a CPU that has AVX2.
            unsafe {
                x86::square(
                    lines.map(|line| line.as_ptr().add(from)),
                    out[from][first..].as_mut_ptr(),
                    W,
                )
            };
        }
        return whole;
    }
    let _ = level;
    0
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::TOGETHER;

    /// Transposes 8 x 8 elements; the rows of `out` start `stride` apart.
    ///
    /// # Safety
    /// The CPU must have AVX2; eight elements must be readable at each line, and writable at each of eight rows of `out`.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn square(lines: [*const f32; TOGETHER], out: *mut f32, stride: usize) {
        // SAFETY: by this function's contract.
        let [a, b, c, d, e, f, g, h] = lines.map(|line| unsafe { _mm256_loadu_ps(line) });
        // Pairs, then fours, then halves of the vectors change places.
        let pairs = [(a, b), (c, d), (e, f), (g, h)]
            .map(|(x, y)| (_mm256_unpacklo_ps(x, y), _mm256_unpackhi_ps(x, y)));
        let fours = |(l0, h0): (__m256, __m256), (l1, h1): (__m256, __m256)| {
            [
                _mm256_shuffle_ps::<0b01_00_01_00>(l0, l1),
                _mm256_shuffle_ps::<0b11_10_11_10>(l0, l1),
                _mm256_shuffle_ps::<0b01_00_01_00>(h0, h1),
                _mm256_shuffle_ps::<0b11_10_11_10>(h0, h1),
            ]
        };
        let (upper, lower) = (fours(pairs[0], pairs[1]), fours(pairs[2], pairs[3]));
        for i in 0..4 {
            // SAFETY: by this function's contract.
            unsafe {
                _mm256_storeu_ps(
                    out.add(i * stride),
                    _mm256_permute2f128_ps::<0x20>(upper[i], lower[i]),
                );
                _mm256_storeu_ps(
                    out.add((i + 4) * stride),
                    _mm256_permute2f128_ps::<0x31>(upper[i], lower[i]),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::numbers;

    #[test]
    fn every_width_count_and_direction_is_laid_out_alike_at_every_level() {
        for width in [6, 8, 13, 16, 32] {
            for count in [1, width / 2, width] {
                for len in [1, 7, 8, 29] {
                    for (line_stride, stride) in [(len + 3, 1), (1, count + 2)] {
                        let data = numbers((count - 1) * line_stride + (len - 1) * stride + 1, 1);
                        let lines = Lines {
                            data: &data,
                            count,
                            len,
                            line_stride,
                            stride,
                        };
                        for level in Level::available() {
                            let mut out = vec![9.0; width * len];
                            interleave(level, lines, width, &mut out);
                            for (at, got) in out.iter().enumerate() {
                                let (k, i) = (at / width, at % width);
                                let wanted = if i < count {
                                    data[i * line_stride + k * stride]
                                } else {
                                    0.0
                                };
                                assert_eq!(*got, wanted, "{level:?}: {width}, {count}, {len} at {k}, {i}");
                            }
                        }
                    }
                }
            }
        }
    }
}
