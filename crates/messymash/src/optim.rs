//! AdamW over a tree of weights, the learning rate's schedule, and the norm for clipping.

use messymash_kernels::adamw;

use crate::ast::{Part, Weights};

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
    /// Steps at the start in which only the head moves; the body's moments begin after them.
    pub frozen_body_steps: u64,
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
            frozen_body_steps: 0,
            m: zeros.clone(),
            v: zeros,
        }
    }

    /// One step. Every gradient is multiplied by `gradient_scale` first (1, or less where the norm is clipped).
    pub fn step(&mut self, weights: &mut Weights, gradients: &Weights, rates: Rates, gradient_scale: f64) {
        self.step += 1;
        let parts = weights.parts();
        let layers = weights.layers.len();
        let tensors = weights.parameters_mut().into_iter().zip(gradients.parameters());
        let moments = self.m.parameters_mut().into_iter().zip(self.v.parameters_mut());
        for (((w, g), (m, v)), part) in tensors.zip(moments).zip(parts) {
            // A body that was frozen has taken fewer steps.
            let steps = match part {
                Part::Head => self.step,
                _ => self.step.saturating_sub(self.frozen_body_steps),
            };
            if steps == 0 {
                continue;
            }
            let correction = |beta: f64| (1.0 / (1.0 - beta.powf(steps as f64))) as f32;
            let settings = adamw::AdamW {
                learning_rate: rates.of(part, layers) as f32,
                beta1: self.beta1 as f32,
                beta2: self.beta2 as f32,
                eps: self.eps as f32,
                weight_decay: if w.decays() { self.weight_decay as f32 } else { 0.0 },
                correction1: correction(self.beta1),
                correction2: correction(self.beta2),
                gradient_scale: gradient_scale as f32,
            };
            adamw::step(settings, &mut w.data, &g.data, &mut m.data, &mut v.data);
        }
    }
}

/// The learning rates of one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Of the last transformer layer and the norm after it.
    pub body: f64,
    /// Of the classification head.
    pub head: f64,
    /// Rate of each layer over that of the layer above it; the embeddings count as a layer below the first.
    pub layer_decay: f64,
}

impl Rates {
    /// One rate for everything.
    pub fn uniform(rate: f64) -> Self {
        Self {
            body: rate,
            head: rate,
            layer_decay: 1.0,
        }
    }

    /// The rate of a part of a model of `layers` layers.
    pub fn of(&self, part: Part, layers: usize) -> f64 {
        let below = match part {
            Part::Head => return self.head,
            Part::LastNorm => 0,
            Part::Layer(n) => layers - 1 - n,
            Part::Embeddings => layers,
        };
        self.body * self.layer_decay.powi(below as i32)
    }
}

/// A running average of a model's weights (Polyak averaging, "EMA"), which is steadier than the weights themselves.
#[derive(Debug, Clone, PartialEq)]
pub struct Average {
    /// Share of the average that each step keeps, in [0, 1), once it has warmed up.
    pub decay: f64,
    /// The average.
    pub weights: Weights,
}

impl Average {
    /// The average of weights that have not moved yet.
    pub fn new(weights: &Weights, decay: f64) -> Self {
        Self {
            decay,
            weights: weights.clone(),
        }
    }

    /// Takes in the weights after step `step` (from 1). The share that is kept is at most `(1 + step) / (10 + step)`, so that
    /// the untrained weights of the start are soon forgotten.
    pub fn update(&mut self, weights: &Weights, step: u64) {
        let warming = (1.0 + step as f64) / (10.0 + step as f64);
        let decay = self.decay.min(warming) as f32;
        for (average, w) in self
            .weights
            .parameters_mut()
            .into_iter()
            .zip(weights.parameters())
        {
            adamw::average(decay, &mut average.data, &w.data);
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
    /// Steps before the rise, at a rate of 0.
    pub start: u64,
    /// Steps of linear rise from 0.
    pub warmup_steps: u64,
    /// All steps.
    pub total_steps: u64,
}

impl Schedule {
    /// The rate of step `step` (from 0): 0 before `start`, a linear rise, then half a cosine down to `last`.
    pub fn learning_rate(&self, step: u64) -> f64 {
        let Some(step) = step.checked_sub(self.start) else {
            return 0.0;
        };
        if step < self.warmup_steps {
            return self.peak * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let falling = self
            .total_steps
            .saturating_sub(self.start + self.warmup_steps)
            .max(1);
        let progress = ((step - self.warmup_steps) as f64 / falling as f64).min(1.0);
        self.last + (self.peak - self.last) * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ast::{Ast, AstConfig};

    #[test]
    fn the_rate_rises_to_its_peak_and_falls_to_its_end() {
        let s = Schedule {
            peak: 1.0,
            last: 0.1,
            start: 0,
            warmup_steps: 10,
            total_steps: 110,
        };
        assert!((s.learning_rate(0) - 0.1).abs() < 1e-12);
        assert_eq!(s.learning_rate(9), 1.0);
        assert_eq!(s.learning_rate(10), 1.0);
        assert!((s.learning_rate(60) - 0.55).abs() < 1e-12);
        assert!((s.learning_rate(110) - 0.1).abs() < 1e-12);
        assert!((s.learning_rate(1000) - 0.1).abs() < 1e-12);
        // The same curve later, squeezed into what is left.
        let late = Schedule { start: 50, ..s };
        assert_eq!((late.learning_rate(0), late.learning_rate(49)), (0.0, 0.0));
        assert!((late.learning_rate(50) - 0.1).abs() < 1e-12);
        assert_eq!(late.learning_rate(60), 1.0);
        assert!((late.learning_rate(85) - 0.55).abs() < 1e-12);
        assert!((late.learning_rate(110) - 0.1).abs() < 1e-12);
    }

    fn small() -> Ast {
        let config = AstConfig {
            hidden_size: 8,
            num_hidden_layers: 3,
            num_attention_heads: 2,
            intermediate_size: 16,
            patch_size: 4,
            frequency_stride: 4,
            time_stride: 4,
            num_mel_bins: 4,
            max_length: 8,
            ..AstConfig::default()
        };
        Ast::random(config.with_labels(&["a".into(), "b".into()]), 1).unwrap()
    }

    /// How far the tensors of each part have moved at most.
    fn moved(before: &Weights, after: &Weights) -> Vec<(Part, f64)> {
        let pairs = before.parameters().into_iter().zip(after.parameters());
        pairs
            .zip(before.parts())
            .map(|((b, a), part)| {
                let far = b.data.iter().zip(&a.data).map(|(x, y)| f64::from((x - y).abs()));
                (part, far.fold(0.0, f64::max))
            })
            .collect()
    }

    #[test]
    fn each_part_moves_at_its_own_rate() {
        let mut ast = small();
        let before = ast.weights().clone();
        let mut gradients = before.zeros_like();
        for p in gradients.parameters_mut() {
            p.data.fill(2.0);
        }
        let rates = Rates {
            body: 1e-2,
            head: 1e-1,
            layer_decay: 0.5,
        };
        // Adam's first step is the learning rate, whatever the gradient.
        AdamW::new(&before, 0.0).step(ast.weights_mut(), &gradients, rates, 1.0);
        for (part, far) in moved(&before, ast.weights()) {
            let wanted = match part {
                Part::Head => 1e-1,
                Part::LastNorm | Part::Layer(2) => 1e-2,
                Part::Layer(1) => 5e-3,
                Part::Layer(_) => 2.5e-3,
                Part::Embeddings => 1.25e-3,
            };
            assert!((far / wanted - 1.0).abs() < 1e-3, "{part:?} moved by {far}");
        }
    }

    #[test]
    fn parts_are_those_of_the_names() {
        let ast = small();
        for (tensor, part) in ast.weights().parameters().iter().zip(ast.weights().parts()) {
            let stem = match part {
                Part::Embeddings => "audio_spectrogram_transformer.embeddings.".into(),
                Part::Layer(n) => format!("audio_spectrogram_transformer.encoder.layer.{n}."),
                Part::LastNorm => "audio_spectrogram_transformer.layernorm.".into(),
                Part::Head => "classifier.".to_string(),
            };
            assert!(tensor.name.starts_with(&stem), "{} is no {part:?}", tensor.name);
        }
    }

    #[test]
    fn a_frozen_body_takes_its_first_step_later() {
        let mut ast = small();
        let before = ast.weights().clone();
        let mut gradients = before.zeros_like();
        for p in gradients.parameters_mut() {
            p.data.fill(1.0);
        }
        let mut optimizer = AdamW {
            frozen_body_steps: 2,
            ..AdamW::new(&before, 0.1)
        };
        for _ in 0..2 {
            optimizer.step(ast.weights_mut(), &gradients, Rates::uniform(1e-2), 1.0);
            for (part, far) in moved(&before, ast.weights()) {
                assert_eq!(far > 0.0, part == Part::Head, "{part:?}");
            }
        }
        optimizer.step(ast.weights_mut(), &gradients, Rates::uniform(1e-2), 1.0);
        // What an optimiser does at its first step, to the bit.
        let mut fresh = small();
        AdamW::new(&before, 0.1).step(fresh.weights_mut(), &gradients, Rates::uniform(1e-2), 1.0);
        assert_eq!(ast.weights().layers, fresh.weights().layers);
        assert_eq!(ast.weights().embeddings, fresh.weights().embeddings);
    }

    #[test]
    fn an_average_forgets_where_it_began_and_then_keeps_to_its_decay() {
        let mut ast = small();
        let mut average = Average::new(ast.weights(), 0.5);
        let set = |ast: &mut Ast, value: f32| {
            for p in ast.weights_mut().parameters_mut() {
                p.data.fill(value);
            }
        };
        let at = |average: &Average| average.weights.classifier.dense.weight.data[0];
        set(&mut ast, 1.0);
        let start = at(&average);
        average.update(ast.weights(), 1);
        // (1 + 1) / (10 + 1) of the start remains.
        let first = start * 2.0 / 11.0 + 9.0 / 11.0;
        assert!((at(&average) - first).abs() < 1e-6);
        set(&mut ast, 0.0);
        average.update(ast.weights(), 1000);
        assert!(
            (at(&average) - first / 2.0).abs() < 1e-6,
            "half of it after the warm-up"
        );
    }

    #[test]
    fn only_gradients_above_the_limit_are_clipped() {
        assert_eq!(clip_scale(0.5, 1.0), 1.0);
        assert!((clip_scale(4.0, 1.0) - 0.25).abs() < 1e-6);
        assert_eq!(clip_scale(4.0, 0.0), 1.0);
    }
}
