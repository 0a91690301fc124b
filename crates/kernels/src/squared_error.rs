//! Mean squared error, for outputs that are to equal numbers instead of naming a class.

/// Mean over all of `outputs` of their squared distance from `targets`, and its gradient.
///
/// Both are of one length, in any order; `gradient` is overwritten. As PyTorch's `MSELoss`.
///
/// # Panics
/// If the lengths do not fit, or are 0.
pub fn squared_error(outputs: &[f32], targets: &[f32], gradient: &mut [f32]) -> f32 {
    assert!(!outputs.is_empty() && outputs.len() == gradient.len() && outputs.len() == targets.len());
    let count = outputs.len() as f32;
    let mut sum = 0.0f64;
    for ((gradient, &output), &target) in gradient.iter_mut().zip(outputs).zip(targets) {
        let distance = output - target;
        sum += f64::from(distance) * f64::from(distance);
        *gradient = 2.0 * distance / count;
    }
    (sum / f64::from(count)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_done_by_hand() {
        let mut gradient = [9.0; 4];
        let loss = squared_error(&[1.0, 2.0, -1.0, 0.5], &[1.0, 0.0, 0.0, 0.0], &mut gradient);
        // (0 + 4 + 1 + 0.25) / 4, and 2 d / 4 each.
        assert_eq!(loss, 1.3125);
        assert_eq!(gradient, [0.0, 1.0, -0.5, 0.25]);
    }
}
