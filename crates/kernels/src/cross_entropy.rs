//! Softmax and its cross entropy with label smoothing.

/// Turns logits into probabilities that sum to 1, in place.
///
/// The maximum is subtracted first, so no finite input overflows.
pub fn softmax(logits: &mut [f32]) {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for x in logits.iter_mut() {
        *x = (*x - max).exp();
        sum += *x;
    }
    for x in logits.iter_mut() {
        *x /= sum;
    }
}

/// Mean cross entropy of `logits` (`[targets.len(), classes]`) and its gradient.
///
/// As PyTorch's `CrossEntropyLoss(label_smoothing)`: the target is `1 - smoothing` on the true class plus
/// `smoothing / classes` on each. `gradient` is overwritten. Returns the mean loss in nats.
///
/// # Panics
/// If the lengths do not fit or a target is no class.
pub fn cross_entropy(logits: &[f32], targets: &[usize], smoothing: f32, gradient: &mut [f32]) -> f32 {
    assert_eq!(logits.len(), gradient.len());
    assert!(!targets.is_empty() && logits.len().is_multiple_of(targets.len()));
    let classes = logits.len() / targets.len();
    assert!(targets.iter().all(|&t| t < classes), "a target that is no class");
    let examples = targets.len() as f32;
    let mut loss = 0.0f64;
    for ((logits, gradient), &target) in logits
        .chunks_exact(classes)
        .zip(gradient.chunks_exact_mut(classes))
        .zip(targets)
    {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let log_sum = logits.iter().map(|x| (x - max).exp()).sum::<f32>().ln() + max;
        for (class, (gradient, &logit)) in gradient.iter_mut().zip(logits).enumerate() {
            let hard = if class == target { 1.0 - smoothing } else { 0.0 };
            let wanted = hard + smoothing / classes as f32;
            let log_p = logit - log_sum;
            loss -= f64::from(wanted * log_p);
            *gradient = (log_p.exp() - wanted) / examples;
        }
    }
    (loss / f64::from(examples)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_survives_large_logits_of_either_sign() {
        let mut x = [-1000.0, 5.0, 1000.0];
        softmax(&mut x);
        assert_eq!(x, [0.0, 0.0, 1.0]);
        let mut y = [1.0, 1.0];
        softmax(&mut y);
        assert_eq!(y, [0.5, 0.5]);
    }

    #[test]
    fn loss_and_gradient_of_a_case_done_by_hand() {
        // Two equal logits: p = 1/2 each, loss = ln 2 whatever the smoothing.
        let mut gradient = [0.0; 4];
        let loss = cross_entropy(&[0.0; 4], &[0, 1], 0.2, &mut gradient);
        assert!((loss - std::f32::consts::LN_2).abs() < 1e-6);
        // (0.5 - 0.9) / 2 examples on the true class.
        for (g, want) in gradient.iter().zip([-0.2, 0.2, 0.2, -0.2]) {
            assert!((g - want).abs() < 1e-6);
        }
    }
}
