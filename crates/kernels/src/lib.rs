//! The arithmetic of a transformer on a CPU, forward and backward.
//!
//! One file per operation: [`mod@matmul`], [`layer_norm`], [`gelu`], [`attention`], [`patches`], [`cross_entropy`],
//! [`adamw`]. Everything given and returned is `f32`, row-major, in slices that the caller owns; [`int8`] products round on
//! the way. Nothing here knows of audio, models or files. Work is spread over the current rayon pool, and every result is the same bits whatever the number of threads:
//! sums are always taken over the same chunks in the same order.
//!
//! Element-wise loops are compiled for several instruction sets, the innermost loops of products are written for each, and
//! what the CPU has is chosen at run time ([`simd`]). This is the only crate of the project with `unsafe` code.

pub mod adamw;
pub mod attention;
pub mod cross_entropy;
mod exp;
pub mod gelu;
pub mod int8;
mod interleave;
pub mod layer_norm;
pub mod linear;
pub mod matmul;
mod memory;
pub mod patches;
pub mod rows;
pub mod simd;
pub mod squared_error;
mod tile;

pub use linear::Linear;
pub use matmul::{Mat, MatMut, Panels, Store, matmul};

/// What the tests of this crate share.
#[cfg(test)]
mod testing {
    /// `n` numbers in [-1, 1) from a small generator (the multiplier of Knuth's MMIX).
    pub(crate) fn numbers(n: usize, seed: u64) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        (0..n)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
            })
            .collect()
    }

    /// Fails unless all elements agree within `tolerance`, relative to the largest of `b`.
    pub(crate) fn assert_close(a: &[f32], b: &[f32], tolerance: f32) {
        assert_eq!(a.len(), b.len());
        let scale = b.iter().fold(0.0f32, |m, x| m.max(x.abs())).max(1e-12);
        for (i, (x, y)) in a.iter().zip(b).enumerate() {
            assert!(
                (x - y).abs() <= tolerance * scale,
                "element {i}: {x} and {y} (scale {scale})"
            );
        }
    }
}
