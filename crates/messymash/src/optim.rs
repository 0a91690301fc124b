//! AdamW over a tree of weights, the learning rate's schedule, and the norm for clipping.

use messymash_kernels::adamw;

use crate::ast::Weights;

/// AdamW (Loshchilov and Hutter 2019) as `torch.optim.AdamW`: decay is apart from the gradient, and applies to the
/// matrices only ([`Parameter::decays`](crate::ast::Parameter::decays)).
#[derive(Debug, Clone, PartialEq)]
pub struct AdamW {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Share of a decaying weight, times the learning rate, that each step takes away.
    pub weight_decay: f64,
    /// Steps taken.
    pub step: u64,
    /// First moments.
    pub m: Weights,
    /// Second moments.
    pub v: Weights,
}

impl AdamW {
    /// An optimiser that has seen nothing, with PyTorch's betas (0.9, 0.999) and eps 1e-8.
    pub fn new(weights: &Weights, weight_decay: f64) -> Self {
        let zeros = weights.zeros_like();
        Self {
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay,
            step: 0,
            m: zeros.clone(),
            v: zeros,
        }
    }

    /// One step. Every gradient is multiplied by `gradient_scale` first (1, or less where the norm is clipped).
    pub fn step(
        &mut self,
        weights: &mut Weights,
        gradients: &Weights,
        learning_rate: f64,
        gradient_scale: f64,
    ) {
        self.step += 1;
        let correction = |beta: f64| (1.0 / (1.0 - beta.powf(self.step as f64))) as f32;
        let settings = adamw::AdamW {
            learning_rate: learning_rate as f32,
            beta1: self.beta1 as f32,
            beta2: self.beta2 as f32,
            eps: self.eps as f32,
            weight_decay: 0.0,
            correction1: correction(self.beta1),
            correction2: correction(self.beta2),
            gradient_scale: gradient_scale as f32,
        };
        let tensors = weights.parameters_mut().into_iter().zip(gradients.parameters());
        let moments = self.m.parameters_mut().into_iter().zip(self.v.parameters_mut());
        for ((w, g), (m, v)) in tensors.zip(moments) {
            let weight_decay = if w.decays() { self.weight_decay as f32 } else { 0.0 };
            let settings = adamw::AdamW {
                weight_decay,
                ..settings
            };
            adamw::step(settings, &mut w.data, &g.data, &mut m.data, &mut v.data);
        }
    }
}

/// The Euclidean norm of all gradients together.
pub fn global_norm(gradients: &Weights) -> f64 {
    gradients
        .parameters()
        .iter()
        .map(|p| adamw::sum_of_squares(&p.data))
        .sum::<f64>()
        .sqrt()
}

/// The factor that brings gradients of norm `norm` down to `limit`; 1 where they are below, or where `limit` is 0.
pub fn clip_scale(norm: f64, limit: f64) -> f64 {
    if limit > 0.0 && norm > limit {
        limit / (norm + 1e-6)
    } else {
        1.0
    }
}

/// When the learning rate rises and falls.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// The highest rate.
    pub peak: f64,
    /// The last rate.
    pub last: f64,
    /// Steps of linear rise from 0.
    pub warmup_steps: u64,
    /// All steps.
    pub total_steps: u64,
}

impl Schedule {
    /// The rate of step `step` (from 0): a linear rise, then half a cosine down to `last`.
    pub fn learning_rate(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.peak * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let falling = self.total_steps.saturating_sub(self.warmup_steps).max(1);
        let progress = ((step - self.warmup_steps) as f64 / falling as f64).min(1.0);
        self.last + (self.peak - self.last) * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_to_its_peak_and_falls_to_its_end() {
        let s = Schedule {
            peak: 1.0,
            last: 0.1,
            warmup_steps: 10,
            total_steps: 110,
        };
        assert!((s.learning_rate(0) - 0.1).abs() < 1e-12);
        assert_eq!(s.learning_rate(9), 1.0);
        assert_eq!(s.learning_rate(10), 1.0);
        assert!((s.learning_rate(60) - 0.55).abs() < 1e-12);
        assert!((s.learning_rate(110) - 0.1).abs() < 1e-12);
        assert!((s.learning_rate(1000) - 0.1).abs() < 1e-12);
    }

    #[test]
    fn only_gradients_above_the_limit_are_clipped() {
        assert_eq!(clip_scale(0.5, 1.0), 1.0);
        assert!((clip_scale(4.0, 1.0) - 0.25).abs() < 1e-6);
        assert_eq!(clip_scale(4.0, 0.0), 1.0);
    }
}
