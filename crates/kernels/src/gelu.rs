//! GELU in its exact form x Φ(x), as PyTorch's `gelu(approximate='none')`, with its derivative.

use rayon::prelude::*;

use crate::exp::exp2_of_negative;
use crate::simd::{madd, multiversion};

/// Elements per task: large enough to hide the cost of a task, small enough to stay in a first-level cache.
const CHUNK: usize = 4096;

/// (Φ(x), φ(x)): the standard normal's distribution and density.
///
/// Φ(-|x|) = erfc(|x| / √2) / 2 by Abramowitz and Stegun 7.1.26, whose absolute error is below 1.5e-7, half of which
/// remains here; it shares its exponential with φ.
#[inline(always)]
fn normal<const FUSED: bool>(x: f32) -> (f32, f32) {
    const FRAC_1_SQRT_2PI: f32 = 0.398_942_3;
    let bell = exp2_of_negative::<FUSED>(-0.5 * std::f32::consts::LOG2_E * x * x);
    let t = 1.0 / madd::<FUSED>(0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2, x.abs(), 1.0);
    let p = 1.061_405_4;
    let p = madd::<FUSED>(p, t, -1.453_152_1);
    let p = madd::<FUSED>(p, t, 1.421_413_8);
    let p = madd::<FUSED>(p, t, -0.284_496_74);
    let p = madd::<FUSED>(p, t, 0.254_829_6);
    let tail = 0.5 * p * t * bell;
    (if x < 0.0 { tail } else { 1.0 - tail }, FRAC_1_SQRT_2PI * bell)
}

multiversion! {
    fn forward_chunk(x: &[f32], y: &mut [f32]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = x * normal::<FUSED>(x).0;
        }
    }
}

multiversion! {
    /// `y = gelu(x + bias)`, element by element.
    pub(crate) fn forward_biased(x: &[f32], bias: &[f32], y: &mut [f32]) {
        for ((y, &x), &bias) in y.iter_mut().zip(x).zip(bias) {
            let x = x + bias;
            *y = x * normal::<FUSED>(x).0;
        }
    }
}

multiversion! {
    fn backward_chunk(x: &[f32], y: &mut [f32], gradient: &mut [f32]) {
        for ((y, g), &x) in y.iter_mut().zip(gradient).zip(x) {
            let (cdf, pdf) = normal::<FUSED>(x);
            *y = x * cdf;
            *g *= cdf + x * pdf;
        }
    }
}

/// `y = gelu(x)`, element by element.
///
/// # Panics
/// If the lengths differ.
pub fn forward(x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    y.par_chunks_mut(CHUNK)
        .zip(x.par_chunks(CHUNK))
        .for_each(|(y, x)| forward_chunk(x, y));
}

/// Turns the gradient of `gelu(x)` into that of `x`, in place, and computes `y = gelu(x)` once more on the way
/// (cheaper than having kept it since the forward pass).
///
/// # Panics
/// If the lengths differ.
pub fn backward(x: &[f32], y: &mut [f32], gradient: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    assert_eq!(x.len(), gradient.len());
    y.par_chunks_mut(CHUNK)
        .zip(gradient.par_chunks_mut(CHUNK))
        .zip(x.par_chunks(CHUNK))
        .for_each(|((y, g), x)| backward_chunk(x, y, g));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Level;

    /// erfc by its continued fraction and series, in f64.
    fn cdf(x: f64) -> f64 {
        // Φ(x) = 1/2 + φ(x) (x + x³/3 + x⁵/(3·5) + …), which converges everywhere.
        let mut term = x;
        let mut sum = x;
        let mut n = 1.0;
        while term.abs() > 1e-18 && n < 400.0 {
            n += 2.0;
            term *= x * x / n;
            sum += term;
        }
        0.5 + sum * (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
    }

    #[test]
    fn value_and_derivative_agree_with_f64_at_every_level() {
        let x: Vec<f32> = (-600..=600).map(|i| i as f32 * 0.01).collect();
        for level in Level::available() {
            let mut y = vec![0.0; x.len()];
            forward_chunk::at(level, &x, &mut y);
            let mut again = vec![0.0; x.len()];
            let mut g = vec![1.0; x.len()];
            backward_chunk::at(level, &x, &mut again, &mut g);
            assert_eq!(y, again);
            for i in 0..x.len() {
                let z = f64::from(x[i]);
                let pdf = (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt();
                assert!((f64::from(y[i]) - z * cdf(z)).abs() < 6e-7, "{level:?} gelu({z})");
                assert!(
                    (f64::from(g[i]) - (cdf(z) + z * pdf)).abs() < 6e-7,
                    "{level:?} gelu'({z})"
                );
            }
        }
    }
}
