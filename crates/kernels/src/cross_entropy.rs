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

/// Targets for true classes, `[classes.len(), labels]`, as PyTorch's `CrossEntropyLoss(label_smoothing)` has them: `1 - smoothing`
/// on the true class plus `smoothing / labels` on each.
///
/// # Panics
/// If a class is not below `labels`.
pub fn smoothed(classes: &[usize], labels: usize, smoothing: f32) -> Vec<f32> {
    assert!(classes.iter().all(|&c| c < labels), "a class that is none");
    let mut targets = vec![smoothing / labels as f32; classes.len() * labels];
    for (target, &class) in targets.chunks_exact_mut(labels.max(1)).zip(classes) {
        target[class] += 1.0 - smoothing;
    }
    targets
}

/// Mean cross entropy of `logits` against `targets`, and its gradient.
///
/// Each is `[examples, classes]`; the targets of an example are probabilities, of one class ([`smoothed`]) or of several (a
/// mixture of examples). `gradient` is overwritten. Returns the mean loss in nats.
///
/// # Panics
/// If the lengths do not fit.
pub fn cross_entropy(logits: &[f32], targets: &[f32], classes: usize, gradient: &mut [f32]) -> f32 {
    assert!(logits.len() == gradient.len() && logits.len() == targets.len());
    assert!(classes > 0 && !targets.is_empty() && logits.len().is_multiple_of(classes));
    let examples = (logits.len() / classes) as f32;
    let mut loss = 0.0f64;
    for ((logits, gradient), targets) in logits
        .chunks_exact(classes)
        .zip(gradient.chunks_exact_mut(classes))
        .zip(targets.chunks_exact(classes))
    {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let log_sum = logits.iter().map(|x| (x - max).exp()).sum::<f32>().ln() + max;
        for ((gradient, &logit), &wanted) in gradient.iter_mut().zip(logits).zip(targets) {
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
        let targets = smoothed(&[0, 1], 2, 0.2);
        let loss = cross_entropy(&[0.0; 4], &targets, 2, &mut gradient);
        assert!((loss - std::f32::consts::LN_2).abs() < 1e-6);
        // (0.5 - 0.9) / 2 examples on the true class.
        for (g, want) in gradient.iter().zip([-0.2, 0.2, 0.2, -0.2]) {
            assert!((g - want).abs() < 1e-6);
        }
    }

    #[test]
    fn a_mixed_target_pulls_to_its_mixture() {
        // The gradient vanishes where the probabilities are the target's: logits ln 0.7 and ln 0.3.
        let (logits, targets) = ([0.7f32.ln(), 0.3f32.ln()], [0.7, 0.3]);
        let mut gradient = [1.0; 2];
        let loss = cross_entropy(&logits, &targets, 2, &mut gradient);
        assert!(gradient.iter().all(|g| g.abs() < 1e-6), "{gradient:?}");
        let entropy = -(0.7 * 0.7f32.ln() + 0.3 * 0.3f32.ln());
        assert!((loss - entropy).abs() < 1e-6);
    }
}
