//! The exponential, in a form that the compiler vectorises.

use crate::simd::madd;

/// e^x for x <= 88; 0 below -87.3 (where f32 would be subnormal). Relative error below 3e-7.
///
/// x = n ln 2 + r with |r| <= ln 2 / 2; e^r by the polynomial of Cephes' `expf`; 2^n by the exponent bits.
#[inline(always)]
pub(crate) fn exp<const FUSED: bool>(x: f32) -> f32 {
    // Adding and subtracting 1.5 * 2^23 rounds to the nearest integer without a call to `round`.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HI: f32 = 0.693_359_4;
    const LN2_LO: f32 = -2.121_944_4e-4;
    let clamped = if x < -87.3 { -87.3 } else { x };
    let clamped = if clamped > 88.0 { 88.0 } else { clamped };
    let shifted = madd::<FUSED>(clamped, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = madd::<FUSED>(n, -LN2_LO, madd::<FUSED>(n, -LN2_HI, clamped));
    let p = 1.987_569_1e-4;
    let p = madd::<FUSED>(p, r, 1.398_199_9e-3);
    let p = madd::<FUSED>(p, r, 8.333_452e-3);
    let p = madd::<FUSED>(p, r, 4.166_579_5e-2);
    let p = madd::<FUSED>(p, r, 1.666_666_5e-1);
    let p = madd::<FUSED>(p, r, 0.5);
    let p = madd::<FUSED>(p, r * r, r) + 1.0;
    // The low bits of the shifted number are n, an integer in [-126, 127]: the sum is a valid exponent field.
    let scale = f32::from_bits((shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127)) << 23);
    if x < -87.3 { 0.0 } else { p * scale }
}

/// 2^x for x <= 0 (a rounding error more is no harm); 2^-126 below -126. Relative error below 3e-7.
///
/// x = n + f with |f| <= 1/2; 2^f by a polynomial fitted for the least relative error; n is added to its exponent.
/// A third of the work of [`exp`], for the one place where most of the exponentials are: a softmax knows its largest.
#[inline(always)]
pub(crate) fn exp2_of_negative<const FUSED: bool>(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    let x = if x > -126.0 { x } else { -126.0 };
    let shifted = x + ROUND;
    let f = x - (shifted - ROUND);
    let p = 1.327_646_7e-3;
    let p = madd::<FUSED>(p, f, 9.675_541e-3);
    let p = madd::<FUSED>(p, f, 5.550_713_5e-2);
    let p = madd::<FUSED>(p, f, 2.402_212e-1);
    let p = madd::<FUSED>(p, f, 6.931_469_4e-1);
    let p = madd::<FUSED>(p, f, 1.000_000_1);
    f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23))
}

#[cfg(test)]
mod tests {
    use super::{exp, exp2_of_negative};

    #[test]
    fn powers_of_two_agree_with_the_standard_library() {
        for exp2 in [exp2_of_negative::<false>, exp2_of_negative::<true>] {
            for i in 0..200_000 {
                let x = -125.5 + i as f32 * (125.5 / 200_000.0);
                let expected = f64::from(x).exp2();
                let error = (f64::from(exp2(x)) - expected).abs() / expected;
                assert!(error < 3e-7, "2^{x}: relative error {error}");
            }
            for tiny in [-126.0, -1e5, f32::NEG_INFINITY] {
                assert!((0.0..1e-37).contains(&exp2(tiny)));
            }
            assert!((exp2(1e-5) - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    fn agrees_with_the_standard_library() {
        for exp in [exp::<false>, exp::<true>] {
            for i in 0..200_000 {
                let x = -87.2 + i as f32 * (175.0 / 200_000.0);
                let expected = f64::from(x).exp();
                let error = (f64::from(exp(x)) - expected).abs() / expected;
                assert!(error < 3e-7, "exp({x}): relative error {error}");
            }
            assert_eq!(exp(-100.0), 0.0);
            assert_eq!(exp(f32::NEG_INFINITY), 0.0);
            assert_eq!(exp(0.0), 1.0);
        }
    }
}
