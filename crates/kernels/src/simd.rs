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

/// The sum of `f(i)` over `0..len` in [`LANES`] partial sums.
#[inline(always)]
pub(crate) fn sum_by(len: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let whole = len - len % LANES;
    let mut start = 0;
    while start < whole {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += f(start + lane);
        }
        start += LANES;
    }
    let mut total: f32 = lanes.iter().sum();
    for i in whole..len {
        total += f(i);
    }
    total
}
