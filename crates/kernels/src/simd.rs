//! Which instruction set the element-wise loops use, found at run time.
//!
//! The loops are written once, in plain Rust that the compiler vectorises, and compiled once per [`Level`].

use std::sync::OnceLock;

/// An instruction set that the loops are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What every CPU of the target has (SSE2 on x86-64, NEON on AArch64).
    Portable,
    /// AVX2 and FMA: 8 lanes.
    Avx2,
    /// AVX-512 F, BW, DQ, VL: 16 lanes.
    Avx512,
    /// AVX-512 with VNNI, its products of bytes.
    Avx512Vnni,
}

impl Level {
    /// The name that `MESSYMASH_SIMD` takes: `portable`, `avx2`, `avx512` or `avx512vnni`.
    pub fn name(self) -> &'static str {
        match self {
            Level::Portable => "portable",
            Level::Avx2 => "avx2",
            Level::Avx512 => "avx512",
            Level::Avx512Vnni => "avx512vnni",
        }
    }

    /// Every level that this CPU can run, lowest first.
    pub fn available() -> Vec<Level> {
        [Level::Portable, Level::Avx2, Level::Avx512, Level::Avx512Vnni]
            .into_iter()
            .filter(|&l| l <= detected())
            .collect()
    }
}

#[cfg(target_arch = "x86_64")]
fn detected() -> Level {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    match (avx2, avx512) {
        (true, true) if is_x86_feature_detected!("avx512vnni") => Level::Avx512Vnni,
        (true, true) => Level::Avx512,
        (true, false) => Level::Avx2,
        _ => Level::Portable,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detected() -> Level {
    Level::Portable
}

/// The level in use: the best that the CPU has, or the lower one that the environment variable `MESSYMASH_SIMD` names.
///
/// Read once. A name that is unknown, or above what the CPU has, is passed over: the variable is a tool for tests and
/// comparisons, and must not make a program fail.
pub fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| {
        let asked = std::env::var("MESSYMASH_SIMD").unwrap_or_default();
        Level::available()
            .into_iter()
            .find(|l| l.name() == asked)
            .unwrap_or_else(detected)
    })
}

/// Compiles a function once per [`Level`] and makes `name(args)` choose by [`level`], and `name::at(level, args)`
/// available to tests.
macro_rules! multiversion {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        #[inline]
        #[allow(clippy::too_many_arguments, dead_code)]
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            $name::at($crate::simd::level(), $($arg),*)
        }
        #[allow(clippy::too_many_arguments)]
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            /// `FUSED` tells the body that a fused multiplication and addition is one instruction (see `madd`).
            #[inline(always)]
            fn body<const FUSED: bool>($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $ty),*) $(-> $ret)? {
                body::<true>($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            fn avx512($($arg: $ty),*) $(-> $ret)? {
                body::<true>($($arg),*)
            }

            pub(super) fn at(level: $crate::simd::Level, $($arg: $ty),*) $(-> $ret)? {
                match level {
                    // SAFETY: a Level above Portable is only made by `simd::detected`, on a CPU that has its features.
                    #[cfg(target_arch = "x86_64")]
                    $crate::simd::Level::Avx512 | $crate::simd::Level::Avx512Vnni => unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    #[cfg(target_arch = "x86_64")]
                    $crate::simd::Level::Avx2 => unsafe { avx2($($arg),*) },
                    _ => body::<{ $crate::simd::FUSED }>($($arg),*),
                }
            }
        }
    };
}
pub(crate) use multiversion;

/// Whether the target's own instructions have a fused multiplication and addition (without it, it would be a slow call).
pub(crate) const FUSED: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

/// `a * b + c`, rounded once if `FUSED`.
#[inline(always)]
pub(crate) fn madd<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// Lanes of the widest level: sums are kept in this many partial sums at every level, so that they are added in the same
/// order everywhere.
pub(crate) const LANES: usize = 16;

/// Folds `f` over the elements of a row in [`LANES`] parts, which are then folded by halves: the same order everywhere.
///
/// `start` must be neutral to `f`.
#[inline(always)]
pub(crate) fn fold(row: &[f32], start: f32, f: impl Fn(f32, f32) -> f32) -> f32 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut lanes = [start; LANES];
    for chunk in chunks {
        lanes = std::array::from_fn(|i| f(lanes[i], chunk[i]));
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = f(*lane, x);
    }
    by_halves(lanes, f)
}

/// The greatest element, [`f32::NEG_INFINITY`] of none; not-a-numbers are passed over.
#[inline(always)]
pub(crate) fn greatest(row: &[f32]) -> f32 {
    fold(row, f32::NEG_INFINITY, |most, x| if x > most { x } else { most })
}

/// The sum of `f` of the elements that rows of one length have in the same place, in the order of [`fold`].
///
/// # Panics
/// If the rows differ in length.
#[inline(always)]
pub(crate) fn sum_of<const N: usize>(rows: [&[f32]; N], f: impl Fn([f32; N]) -> f32) -> f32 {
    let chunks = rows.map(|row| row.as_chunks::<LANES>());
    let whole = chunks[0].0.len();
    assert!(rows.iter().all(|row| row.len() == rows[0].len()));
    let mut lanes = [0.0f32; LANES];
    for c in 0..whole {
        let chunk = chunks.map(|(chunks, _)| &chunks[c]);
        lanes = std::array::from_fn(|i| lanes[i] + f(chunk.map(|row| row[i])));
    }
    for i in 0..chunks[0].1.len() {
        lanes[i] += f(chunks.map(|(_, rest)| rest[i]));
    }
    by_halves(lanes, |a, b| a + b)
}

#[inline(always)]
pub(crate) fn by_halves(mut lanes: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] = f(lanes[i], lanes[i + half]);
        }
        half /= 2;
    }
    lanes[0]
}
