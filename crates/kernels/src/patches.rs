//! Patches of a spectrogram as rows of a matrix, so that a strided convolution becomes one matrix product.

use rayon::prelude::*;

/// Where patches lie on a spectrogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PatchGrid {
    /// Frames of the spectrogram.
    pub frames: usize,
    /// Mel bins of the spectrogram.
    pub bins: usize,
    /// Side of a square patch.
    pub patch: usize,
    /// Bins from one patch to the next.
    pub frequency_stride: usize,
    /// Frames from one patch to the next.
    pub time_stride: usize,
}

impl PatchGrid {
    /// Patches along frequency; 0 if a patch is higher than the spectrogram.
    pub fn rows(&self) -> usize {
        if self.bins < self.patch {
            0
        } else {
            (self.bins - self.patch) / self.frequency_stride + 1
        }
    }

    /// Patches along time; 0 if a patch is longer than the spectrogram.
    pub fn cols(&self) -> usize {
        if self.frames < self.patch {
            0
        } else {
            (self.frames - self.patch) / self.time_stride + 1
        }
    }

    /// All patches: number `f * cols + t` lies at frequency step f and time step t.
    pub fn patches(&self) -> usize {
        self.rows() * self.cols()
    }
}

/// Writes the patches numbered `which` of one spectrogram as rows of `patch * patch` elements, frequency-major as the
/// kernel of a convolution over (frequency, time) lies in memory.
///
/// `spectrogram` is `[frames, bins]`.
///
/// # Panics
/// If the lengths do not fit or a patch does not exist.
pub fn gather(grid: PatchGrid, spectrogram: &[f32], which: &[usize], rows: &mut [f32]) {
    let p = grid.patch;
    assert_eq!(spectrogram.len(), grid.frames * grid.bins);
    assert_eq!(rows.len(), which.len() * p * p);
    assert!(
        which.iter().all(|&n| n < grid.patches()),
        "a patch outside the spectrogram"
    );
    rows.par_chunks_mut(p * p).zip(which).for_each(|(row, &number)| {
        let bin = number / grid.cols() * grid.frequency_stride;
        let frame = number % grid.cols() * grid.time_stride;
        for j in 0..p {
            let start = (frame + j) * grid.bins + bin;
            for (i, &value) in spectrogram[start..start + p].iter().enumerate() {
                row[i * p + j] = value;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_lie_where_a_strided_convolution_looks() {
        let grid = PatchGrid {
            frames: 9,
            bins: 7,
            patch: 3,
            frequency_stride: 2,
            time_stride: 4,
        };
        assert_eq!((grid.rows(), grid.cols(), grid.patches()), (3, 2, 6));
        // Element value = 100 * frame + bin.
        let spectrogram: Vec<f32> = (0..63).map(|i| (100 * (i / 7) + i % 7) as f32).collect();
        let mut rows = vec![0.0; 2 * 9];
        gather(grid, &spectrogram, &[3, 4], &mut rows);
        // Patch 3: frequency step 1 (bin 2), time step 1 (frame 4).
        assert_eq!(rows[..9], [402., 502., 602., 403., 503., 603., 404., 504., 604.]);
        // Patch 4: frequency step 2 (bin 4), time step 0.
        assert_eq!(rows[9..], [4., 104., 204., 5., 105., 205., 6., 106., 206.]);
    }

    #[test]
    fn a_spectrogram_smaller_than_a_patch_has_none() {
        let grid = PatchGrid {
            frames: 2,
            bins: 2,
            patch: 3,
            frequency_stride: 1,
            time_stride: 1,
        };
        assert_eq!(grid.patches(), 0);
    }
}
