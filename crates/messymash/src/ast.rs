//! The Audio Spectrogram Transformer (AST): the forward pass here, the backward pass in `backward`.
//!
//! The model of Gong, Chung and Glass, "AST: Audio Spectrogram Transformer" (2021), as `transformers` defines it: 16 x 16
//! patches of a log-mel spectrogram, a class and a distillation token, pre-norm transformer layers over all tokens at once,
//! the mean of the two extra tokens, a layer norm and a linear map. This file holds the order of operations; the arithmetic
//! is `messymash_kernels`, the names are in [`weights`], the sizes in [`config`]. It knows no files and no sound.
//!
//! Only the class and the distillation token are read after the last layer, so the last layer computes only these two.

mod backward;
pub mod config;
pub mod inference;
pub mod weights;

use messymash_kernels::attention::{self, AttentionShape};
use messymash_kernels::cross_entropy::smoothed;
use messymash_kernels::{Mat, MatMut, Store, gelu, layer_norm, matmul, patches};

pub use self::config::AstConfig;
pub use self::inference::{Inference, Outputs, Precision, Workspace};
use self::weights::{Layer, LayerNorm, Linear};
pub use self::weights::{Parameter, Part, Values, Weights};
use crate::random::Random;
use crate::{Error, Result};

/// Tokens that are no patches: class and distillation.
const EXTRA_TOKENS: usize = 2;

/// A model: its shape and its weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Ast {
    config: AstConfig,
    /// The weights; their shapes are those of the configuration.
    weights: Weights,
}

/// Inputs that are computed together.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// `[clips, max_length, num_mel_bins]`, normalised log-mel energies.
    pub input_values: &'a [f32],
    /// Patches kept per clip, as many for each: `[clips, kept]` patch numbers, frequency-major. `None` keeps all
    /// ("patchout", Koutini et al. 2021, drops some in training).
    pub keep: Option<&'a [usize]>,
}

/// What the outputs are to be, and so what the loss is.
#[derive(Debug, Clone, Copy)]
pub enum Targets<'a> {
    /// Probabilities of the labels, `[clips, labels]` ([`Ast::targets`], or mixtures of them): the mean cross entropy, nats.
    Probabilities(&'a [f32]),
    /// Numbers that the outputs are to equal, `[clips, labels]`: the mean squared error.
    Values(&'a [f32]),
}

/// What a backward pass gives gradients to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trained {
    /// All weights.
    All,
    /// The classification head ([`weights::Head`]) alone: the pass ends there, and costs next to nothing.
    Head,
}

/// What the forward pass leaves behind for the backward pass, and room to work in. Reused from batch to batch, it spares
/// the time to get memory from the system.
#[derive(Debug, Default)]
pub struct Activations {
    patches: Vec<f32>,
    keep: Vec<usize>,
    layers: Vec<LayerActivations>,
    /// Class and distillation token after the last layer, `[clips * 2, hidden_size]`.
    last: Vec<f32>,
    pooled: Vec<f32>,
    head: Vec<f32>,
    logits: Vec<f32>,
    scratch: Scratch,
}

/// One layer's activations; `rows` is `clips * tokens`, `outputs` the rows that the layer computes.
#[derive(Debug, Default)]
struct LayerActivations {
    /// Input of the layer, `[rows, hidden_size]`.
    x: Vec<f32>,
    /// `[outputs, hidden_size]`.
    q: Vec<f32>,
    /// Keys and values, `[rows, 2 * hidden_size]`.
    kv: Vec<f32>,
    /// `[outputs, hidden_size]`.
    attended: Vec<f32>,
    /// `[clips, heads, outputs per clip]`.
    log_sums: Vec<f32>,
    /// The residual stream between attention and MLP, `[outputs, hidden_size]`.
    middle: Vec<f32>,
    /// The MLP before its activation, `[outputs, intermediate_size]`.
    intermediate: Vec<f32>,
}

/// Room for what need not outlive a layer.
#[derive(Debug, Default)]
struct Scratch {
    normed: Vec<f32>,
    selected: Vec<f32>,
    hidden: Vec<f32>,
    d_hidden: Vec<f32>,
    d_normed: Vec<f32>,
    dq: Vec<f32>,
    dkv: Vec<f32>,
    d_middle: Vec<f32>,
    dx: Vec<f32>,
}

/// Sizes of one layer's work.
#[derive(Debug, Clone, Copy)]
struct Span {
    clips: usize,
    tokens: usize,
    /// Tokens per clip that the layer computes: all, or in the last layer the first two.
    outputs: usize,
}

impl Ast {
    /// Puts a model together.
    ///
    /// # Errors
    /// [`Error::Config`] if the weights are not those of the configuration.
    pub fn new(config: AstConfig, weights: Weights) -> Result<Self> {
        let config = config.checked()?;
        let zeros = Weights::build(&config, &mut |_, _| Ok(Vec::new()))?;
        let (wanted, given) = (zeros.parameters(), weights.parameters());
        let fits = wanted.len() == given.len()
            && wanted.iter().zip(&given).all(|(w, g)| {
                w.name == g.name && w.shape == g.shape && g.data.len() == g.shape.iter().product::<usize>()
            });
        if !fits {
            return Err(Error::Config(
                "the weights are not those of the configuration".into(),
            ));
        }
        Ok(Self { config, weights })
    }

    /// A new model with seeded random weights: matrices, tokens and position embeddings normal with the configuration's
    /// `initializer_range`, cut off at two deviations; biases 0; layer norms 1.
    ///
    /// # Errors
    /// [`Error::Config`] if the configuration describes a model that cannot be.
    pub fn random(config: AstConfig, seed: u64) -> Result<Self> {
        let config = config.checked()?;
        let deviation = config.initializer_range;
        let mut tensors = 0;
        let weights = Weights::build(&config, &mut |name, shape| {
            tensors += 1;
            Ok(initial_values(
                name,
                shape,
                deviation,
                &mut Random::new(&[seed, tensors]),
            ))
        })?;
        Ok(Self { config, weights })
    }

    /// The model's shape.
    pub fn config(&self) -> &AstConfig {
        &self.config
    }

    /// The model's weights.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The model's weights, for an optimiser. Only values may be changed, not shapes.
    pub fn weights_mut(&mut self) -> &mut Weights {
        &mut self.weights
    }

    /// Makes the configuration say that the weights are stored in eight bits.
    pub(crate) fn set_quantization(&mut self, quantization: config::Quantization) {
        self.config.quantization_config = Some(quantization);
    }

    /// The number of trained values.
    pub fn num_parameters(&self) -> usize {
        self.weights.parameters().iter().map(|p| p.data.len()).sum()
    }

    /// Logits `[clips, labels]` of a batch.
    ///
    /// # Errors
    /// [`Error::Config`] if the batch does not fit the model.
    pub fn forward<'a>(&self, batch: Batch<'_>, activations: &'a mut Activations) -> Result<&'a [f32]> {
        self.run(batch, activations, 1)
    }

    /// Targets `[clips, labels]` for true classes: `1 - label_smoothing` on the class plus `label_smoothing / labels` on each.
    ///
    /// # Errors
    /// [`Error::Config`] if there is no such class.
    pub fn targets(&self, classes: &[usize], label_smoothing: f32) -> Result<Vec<f32>> {
        let labels = self.config.id2label.len();
        if let Some(class) = classes.iter().find(|&&class| class >= labels) {
            return Err(Error::Config(format!(
                "class {class} of a model with {labels} classes"
            )));
        }
        Ok(smoothed(classes, labels, label_smoothing))
    }

    /// The forward pass; `kept` layers of activations are held on to (1, or as many as there are layers).
    fn run<'a>(&self, batch: Batch<'_>, a: &'a mut Activations, kept: usize) -> Result<&'a [f32]> {
        let span = self.embed(batch, a, kept)?;
        let last = self.weights.layers.len() - 1;
        for (n, layer) in self.weights.layers.iter().enumerate() {
            let span = Span {
                outputs: if n == last { EXTRA_TOKENS } else { span.tokens },
                ..span
            };
            let at = n.min(kept - 1);
            let mut next = if n == last {
                std::mem::take(&mut a.last)
            } else if at + 1 < kept {
                std::mem::take(&mut a.layers[at + 1].x)
            } else {
                std::mem::take(&mut a.last)
            };
            self.layer_forward(layer, span, &mut a.layers[at], &mut a.scratch, &mut next);
            if n == last {
                a.last = next;
            } else if at + 1 < kept {
                a.layers[at + 1].x = next;
            } else {
                // The old input becomes the room for the next output.
                a.last = std::mem::replace(&mut a.layers[at].x, next);
            }
        }
        self.head_forward(span.clips, a);
        Ok(&a.logits)
    }

    /// Patches and extra tokens with their positions, into the first layer's input.
    fn embed(&self, batch: Batch<'_>, a: &mut Activations, kept_layers: usize) -> Result<Span> {
        let (d, input_len) = (self.config.hidden_size, self.config.input_len());
        let (all, clips) = (self.config.grid().patches(), batch.input_values.len() / input_len);
        if clips == 0 || !batch.input_values.len().is_multiple_of(input_len) {
            return Err(Error::Config(format!(
                "an input of {} values is no whole number of clips of {} frames and {} bins",
                batch.input_values.len(),
                self.config.max_length,
                self.config.num_mel_bins
            )));
        }
        a.keep.clear();
        match batch.keep {
            None => (0..clips).for_each(|_| a.keep.extend(0..all)),
            Some(keep) => a.keep.extend(keep),
        }
        let kept = a.keep.len() / clips;
        if kept == 0 || !a.keep.len().is_multiple_of(clips) || a.keep.iter().any(|&n| n >= all) {
            return Err(Error::Config(format!(
                "{} patches kept in {clips} clips of {all}",
                a.keep.len()
            )));
        }
        let tokens = kept + EXTRA_TOKENS;
        a.layers.resize_with(kept_layers, LayerActivations::default);
        a.patches.resize(
            a.keep.len() * self.config.patch_size * self.config.patch_size,
            0.0,
        );
        let x = &mut a.layers[0].x;
        x.resize(clips * tokens * d, 0.0);
        let e = &self.weights.embeddings;
        let positions = &e.position_embeddings.data;
        let patch_len = self.config.patch_size * self.config.patch_size;
        let parts = x
            .chunks_exact_mut(tokens * d)
            .zip(a.patches.chunks_exact_mut(kept * patch_len))
            .zip(
                a.keep
                    .chunks_exact(kept)
                    .zip(batch.input_values.chunks_exact(input_len)),
            );
        for ((x, patch_rows), (keep, spectrogram)) in parts {
            patches::gather(self.config.grid(), spectrogram, keep, patch_rows);
            let (extra, patch_tokens) = x.split_at_mut(EXTRA_TOKENS * d);
            for (row, (token, at)) in extra
                .chunks_exact_mut(d)
                .zip([&e.cls_token, &e.distillation_token].into_iter().zip([0, d]))
            {
                row.copy_from_slice(&positions[at..at + d]);
                row.iter_mut().zip(&token.data).for_each(|(x, t)| *x += t);
            }
            for (row, &number) in patch_tokens.chunks_exact_mut(d).zip(keep) {
                let at = (number + EXTRA_TOKENS) * d;
                row.copy_from_slice(&positions[at..at + d]);
                if let Some(bias) = &e.projection.bias {
                    row.iter_mut().zip(&bias.data).for_each(|(x, b)| *x += b);
                }
            }
            let weight = Mat::new(&e.projection.weight.data, d, patch_len).t();
            matmul(
                MatMut::new(patch_tokens, kept, d),
                Mat::new(patch_rows, kept, patch_len),
                weight,
                Store::Add,
            );
        }
        Ok(Span {
            clips,
            tokens,
            outputs: tokens,
        })
    }

    fn attention_shape(&self, span: Span) -> AttentionShape {
        let heads = self.config.num_attention_heads;
        let head_dim = self.config.hidden_size / heads;
        AttentionShape {
            clips: span.clips,
            heads,
            head_dim,
            queries: span.outputs,
            keys: span.tokens,
        }
    }

    fn norm<'a>(&self, norm: &'a LayerNorm) -> layer_norm::LayerNorm<'a> {
        norm.with_eps(self.config.layer_norm_eps)
    }

    /// `next` = the layer's output, `[outputs, hidden_size]`, from `a.x`.
    fn layer_forward(
        &self,
        layer: &Layer,
        span: Span,
        a: &mut LayerActivations,
        s: &mut Scratch,
        next: &mut Vec<f32>,
    ) {
        let (d, i) = (self.config.hidden_size, self.config.intermediate_size);
        let (all, computed) = (span.clips * span.tokens, span.clips * span.outputs);
        let shape = self.attention_shape(span);
        s.normed.resize(all * d, 0.0);
        layer_norm::forward(self.norm(&layer.layernorm_before), &a.x, &mut s.normed);
        a.kv.resize(all * 2 * d, 0.0);
        linear_into(&layer.key, &s.normed, &mut a.kv, 2 * d);
        linear_into(&layer.value, &s.normed, &mut a.kv[d..], 2 * d);
        a.q.resize(computed * d, 0.0);
        linear_into(
            &layer.query,
            select(span, d, &s.normed, &mut s.selected),
            &mut a.q,
            d,
        );
        a.attended.resize(computed * d, 0.0);
        a.log_sums.resize(shape.lengths().2, 0.0);
        attention::forward(shape, &a.q, &a.kv, &mut a.attended, &mut a.log_sums);
        a.middle.resize(computed * d, 0.0);
        add_linear(
            &layer.attention_output,
            &a.attended,
            select(span, d, &a.x, &mut s.selected),
            &mut a.middle,
        );
        let normed = &mut s.normed[..computed * d];
        layer_norm::forward(self.norm(&layer.layernorm_after), &a.middle, normed);
        a.intermediate.resize(computed * i, 0.0);
        linear_into(&layer.intermediate, normed, &mut a.intermediate, i);
        s.hidden.resize(computed * i, 0.0);
        gelu::forward(&a.intermediate, &mut s.hidden);
        next.resize(computed * d, 0.0);
        add_linear(&layer.output, &s.hidden, &a.middle, next);
    }

    fn head_forward(&self, clips: usize, a: &mut Activations) {
        let (d, labels) = (self.config.hidden_size, self.config.id2label.len());
        let mut normed = vec![0.0; clips * EXTRA_TOKENS * d];
        layer_norm::forward(self.norm(&self.weights.layernorm), &a.last, &mut normed);
        a.pooled.resize(clips * d, 0.0);
        for (pooled, two) in a
            .pooled
            .chunks_exact_mut(d)
            .zip(normed.chunks_exact(EXTRA_TOKENS * d))
        {
            pooled
                .iter_mut()
                .enumerate()
                .for_each(|(c, x)| *x = (two[c] + two[d + c]) / 2.0);
        }
        a.head.resize(clips * d, 0.0);
        layer_norm::forward(
            self.norm(&self.weights.classifier.layernorm),
            &a.pooled,
            &mut a.head,
        );
        a.logits.resize(clips * labels, 0.0);
        linear_into(&self.weights.classifier.dense, &a.head, &mut a.logits, labels);
    }
}

impl Activations {
    /// Logits of the last batch, `[clips, labels]`.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }
}

/// First values of a tensor, by its name (see [`Ast::random`]).
pub(crate) fn initial_values(name: &str, shape: &[usize], deviation: f64, random: &mut Random) -> Vec<f32> {
    let len = shape.iter().product();
    if name.ends_with(".bias") {
        vec![0.0; len]
    } else if name.contains("layernorm") {
        vec![1.0; len]
    } else {
        let mut draw = || loop {
            let x = random.normal();
            if x.abs() <= 2.0 {
                return (deviation * x) as f32;
            }
        };
        (0..len).map(|_| draw()).collect()
    }
}

fn outputs_inputs(linear: &Linear) -> (usize, usize) {
    let outputs = linear.weight.shape[0];
    (outputs, linear.weight.data.len() / outputs)
}

/// `y = x weightᵀ + bias`, the rows of `y` starting `stride` apart.
fn linear_into(linear: &Linear, x: &[f32], y: &mut [f32], stride: usize) {
    let (outputs, inputs) = outputs_inputs(linear);
    let n = x.len() / inputs;
    let (y, x) = (MatMut::strided(y, n, outputs, stride), Mat::new(x, n, inputs));
    apply(linear, x, y, Store::Overwrite);
}

/// `y = residual + x weightᵀ + bias`.
fn add_linear(linear: &Linear, x: &[f32], residual: &[f32], y: &mut [f32]) {
    let (outputs, inputs) = outputs_inputs(linear);
    let n = x.len() / inputs;
    y.copy_from_slice(residual);
    apply(
        linear,
        Mat::new(x, n, inputs),
        MatMut::new(y, n, outputs),
        Store::Add,
    );
}

fn apply(linear: &Linear, x: Mat<'_>, y: MatMut<'_>, store: Store) {
    let (outputs, inputs) = outputs_inputs(linear);
    let weight = Mat::new(&linear.weight.data, outputs, inputs);
    match &linear.bias {
        Some(bias) => matmul::linear(y, x, weight, &bias.data, store),
        None => matmul(y, x, weight.t(), store),
    }
}

/// The rows of `x` (`[clips * tokens, width]`) that a layer computes: `x` itself, or the first rows of each clip.
fn select<'a>(span: Span, width: usize, x: &'a [f32], room: &'a mut Vec<f32>) -> &'a [f32] {
    if span.outputs == span.tokens {
        return x;
    }
    room.clear();
    for clip in x.chunks_exact(span.tokens * width) {
        room.extend_from_slice(&clip[..span.outputs * width]);
    }
    room
}
