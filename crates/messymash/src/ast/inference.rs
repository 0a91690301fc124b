//! The forward pass alone, as fast as this CPU can: weights laid out for the innermost loops when they are loaded, in f32 or
//! in eight bits, and nothing kept that a backward pass would need.
//!
//! A layer is three passes over the rows: norm, queries, keys and values; attention; everything after it. The numbers are
//! those of [`Ast::forward`](super::Ast::forward), up to the order of additions (f32) or the rounding to eight bits.

mod rollout;

use std::borrow::Cow;
use std::collections::HashMap;

use messymash_kernels::attention::{self, AttentionShape};
use messymash_kernels::int8::{MOST, MOST_INPUTS, Quantized};
use messymash_kernels::linear::{self, FeedForward};
use messymash_kernels::{Linear, Mat, layer_norm, patches, rows};
use serde::{Deserialize, Serialize};

use super::weights::{self, Builder, Embeddings, Head, Layer, LayerNorm, Parameter, StoredSource, Values};
use super::{Ast, AstConfig, EXTRA_TOKENS};
use crate::{Error, Result};

pub use self::rollout::Rollout;

/// Rows per thread at least that are computed together: fewer, and threads wait for each other more than they work.
const ROWS_PER_THREAD: usize = 512;

/// The numbers that a model's products are computed in. Everything else (norms, softmax, GELU, the head's products) is f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floating point.
    #[default]
    F32,
    /// Eight-bit weights (a scale per output) and activations (a span per token), and attention in eight bits
    /// ([`attention::forward_int8`]): a quarter of the memory, and faster, most where the CPU has instructions for it.
    Int8,
}

impl Precision {
    /// `f32` or `int8`.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Int8 => "int8",
        }
    }
}

/// A model laid out to be used, not trained.
#[derive(Debug)]
pub struct Inference {
    config: AstConfig,
    precision: Precision,
    embeddings: Embeddings,
    projection: Linear,
    layers: Vec<PackedLayer>,
    layernorm: LayerNorm,
    head_norm: LayerNorm,
    dense: Linear,
    parameters: usize,
}

#[derive(Debug)]
struct PackedLayer {
    norm_before: LayerNorm,
    /// Queries, keys and values of all tokens; in the last layer keys and values only.
    stream_in: Linear,
    /// In the last layer: the queries, of the tokens that are pooled.
    query: Option<Linear>,
    attention_output: Linear,
    norm_after: LayerNorm,
    intermediate: Linear,
    output: Linear,
}

/// Room to compute in; reused from batch to batch, it spares the time to get memory from the system.
#[derive(Debug, Default)]
pub struct Workspace {
    patches: Vec<f32>,
    x: Vec<f32>,
    q: Vec<f32>,
    kv: Vec<f32>,
    attended: Vec<f32>,
    log_sums: Vec<f32>,
}

impl Inference {
    /// Lays out the model of `config`, whose tensors `source` gives; each is let go as soon as it is laid out.
    ///
    /// # Errors
    /// [`Error::Config`] if the configuration describes a model that cannot be, and the first error of `source`.
    pub fn build(config: AstConfig, precision: Precision, source: &mut StoredSource<'_>) -> Result<Self> {
        let config = config.checked()?;
        let mut parameters = 0;
        let mut counted = |name: &str, shape: &[usize]| {
            parameters += shape.iter().product::<usize>();
            source(name, shape)
        };
        let mut from = Builder {
            config: &config,
            source: &mut counted,
        };
        let mut embeddings = from.embeddings()?;
        let projection = packed(&[&embeddings.projection], precision)?;
        (
            embeddings.projection.weight.data,
            embeddings.projection.weight.quantized,
        ) = (Vec::new(), None);
        let last = config.num_hidden_layers - 1;
        let mut layers = Vec::with_capacity(last + 1);
        // While a layer is laid out, the next one is read.
        let mut layer = Some(from.layer(0)?);
        for n in 0..=last {
            let lay_out = |layer: Layer| match n == last {
                true => PackedLayer::last(layer, precision),
                false => PackedLayer::new(layer, precision),
            };
            let given = layer.take();
            let read_next = || (n < last).then(|| from.layer(n + 1)).transpose();
            let (packed, next) = rayon::join(|| given.map(lay_out).transpose(), read_next);
            layers.extend(packed?);
            layer = next?;
        }
        let layernorm = from.last_norm()?;
        let Head {
            layernorm: head_norm,
            dense,
        } = from.head()?;
        let dense = f32_linear(&dense)?;
        Ok(Self {
            precision,
            embeddings,
            projection,
            layers,
            layernorm,
            head_norm,
            dense,
            parameters,
            config,
        })
    }

    /// Lays out a model that is in memory, which is used up on the way.
    ///
    /// # Errors
    /// None for a model that could be made.
    pub fn new(ast: Ast, precision: Precision) -> Result<Self> {
        let Ast { config, mut weights } = ast;
        let mut given: HashMap<String, Vec<f32>> = weights
            .parameters_mut()
            .into_iter()
            .map(|p| (std::mem::take(&mut p.name), std::mem::take(&mut p.data)))
            .collect();
        // A model that could be made has all tensors of its configuration.
        Self::build(config, precision, &mut |name, _| {
            Ok(Values::F32(given.remove(name).unwrap_or_default()))
        })
    }

    /// The model's shape.
    pub fn config(&self) -> &AstConfig {
        &self.config
    }

    /// What its linear maps are computed in.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The number of trained values.
    pub fn num_parameters(&self) -> usize {
        self.parameters
    }

    /// Memory that the weights of the linear maps take, bytes.
    pub fn weight_bytes(&self) -> usize {
        let layers = self.layers.iter().flat_map(|l| {
            [&l.stream_in, &l.attention_output, &l.intermediate, &l.output]
                .into_iter()
                .chain(&l.query)
        });
        layers
            .chain([&self.projection, &self.dense])
            .map(Linear::bytes)
            .sum()
    }

    /// Clips that are best computed together on `threads` threads.
    pub fn preferred_batch(&self, threads: usize) -> usize {
        (ROWS_PER_THREAD * threads).div_ceil(self.config.tokens()).max(1)
    }

    /// Logits `[clips, labels]` of `[clips, max_length, num_mel_bins]` normalised log-mel energies, on the current rayon pool.
    ///
    /// Any number of clips may be given: as many are computed together as is fast, and memory does not grow with more.
    ///
    /// # Errors
    /// [`Error::Config`] if the input is no whole number of clips.
    pub fn forward(&self, input_values: &[f32], room: &mut Workspace) -> Result<Vec<f32>> {
        let input_len = self.config.input_len();
        let clips = input_values.len() / input_len;
        if clips == 0 || !input_values.len().is_multiple_of(input_len) {
            return Err(Error::Config(format!(
                "an input of {} values is no whole number of clips of {} frames and {} bins",
                input_values.len(),
                self.config.max_length,
                self.config.num_mel_bins
            )));
        }
        let together = self.preferred_batch(rayon::current_num_threads());
        let mut logits = Vec::with_capacity(clips * self.config.id2label.len());
        for group in input_values.chunks(together * input_len) {
            self.embed(group, room);
            for layer in &self.layers {
                self.layer(layer, room);
            }
            self.head(&room.x, &mut logits);
        }
        Ok(logits)
    }

    /// Patches and extra tokens with their positions into `room.x`, `[clips * tokens, hidden_size]`.
    fn embed(&self, input_values: &[f32], room: &mut Workspace) {
        let (d, tokens, patch) = (
            self.config.hidden_size,
            self.config.tokens(),
            self.config.patch_size,
        );
        let input_len = self.config.input_len();
        let clips = input_values.len() / input_len;
        let all: Vec<usize> = (0..tokens - EXTRA_TOKENS).collect();
        room.patches.resize(all.len() * patch * patch, 0.0);
        room.x.resize(clips * tokens * d, 0.0);
        let positions = &self.embeddings.position_embeddings.data;
        for (x, spectrogram) in room
            .x
            .chunks_exact_mut(tokens * d)
            .zip(input_values.chunks_exact(input_len))
        {
            let (extra, patch_tokens) = x.split_at_mut(EXTRA_TOKENS * d);
            extra[..d].copy_from_slice(&self.embeddings.cls_token.data);
            extra[d..].copy_from_slice(&self.embeddings.distillation_token.data);
            patches::gather(self.config.grid(), spectrogram, &all, &mut room.patches);
            let rows = Mat::new(&room.patches, all.len(), patch * patch);
            linear::forward(&self.projection, rows, patch_tokens);
            rows::add(x, positions);
        }
    }

    /// One layer, from `room.x` to `room.x`: of all tokens, or in the last layer of those that are pooled.
    fn layer(&self, layer: &PackedLayer, room: &mut Workspace) {
        let (d, tokens, heads) = (
            self.config.hidden_size,
            self.config.tokens(),
            self.config.num_attention_heads,
        );
        let clips = room.x.len() / (tokens * d);
        let norm = self.norm(&layer.norm_before);
        let queries = if layer.query.is_some() {
            EXTRA_TOKENS
        } else {
            tokens
        };
        let shape = AttentionShape {
            clips,
            heads,
            head_dim: d / heads,
            queries,
            keys: tokens,
        };
        let (q_len, kv_len, sums_len) = shape.lengths();
        room.q.resize(q_len, 0.0);
        room.kv.resize(kv_len, 0.0);
        room.attended.resize(q_len, 0.0);
        room.log_sums.resize(sums_len, 0.0);
        match &layer.query {
            None => linear::queries_keys_values(norm, &layer.stream_in, &room.x, &mut room.q, &mut room.kv),
            Some(query) => {
                linear::queries_keys_values(norm, &layer.stream_in, &room.x, &mut [], &mut room.kv);
                let pooled = room
                    .x
                    .chunks_exact(tokens * d)
                    .flat_map(|clip| &clip[..EXTRA_TOKENS * d]);
                room.x = pooled.copied().collect();
                linear::queries_keys_values(norm, query, &room.x, &mut [], &mut room.q);
            }
        }
        match self.precision {
            Precision::Int8 if tokens.max(shape.head_dim) <= MOST_INPUTS => {
                attention::forward_int8(shape, &room.q, &room.kv, &mut room.attended);
            }
            _ => attention::forward(shape, &room.q, &room.kv, &mut room.attended, &mut room.log_sums),
        }
        let after = FeedForward {
            attention_output: &layer.attention_output,
            norm: self.norm(&layer.norm_after),
            intermediate: &layer.intermediate,
            output: &layer.output,
        };
        linear::feed_forward(after, &room.attended, &mut room.x);
    }

    /// Logits of the pooled tokens `x`, `[clips * 2, hidden_size]`, appended to `logits`.
    fn head(&self, x: &[f32], logits: &mut Vec<f32>) {
        let (d, labels) = (self.config.hidden_size, self.config.id2label.len());
        let mut normed = vec![0.0; x.len()];
        layer_norm::forward(self.norm(&self.layernorm), x, &mut normed);
        let two = normed.chunks_exact(EXTRA_TOKENS * d);
        let pooled: Vec<f32> = two
            .flat_map(|two| (0..d).map(|c| (two[c] + two[d + c]) / 2.0))
            .collect();
        let mut head = vec![0.0; pooled.len()];
        layer_norm::forward(self.norm(&self.head_norm), &pooled, &mut head);
        let (at, clips) = (logits.len(), head.len() / d);
        logits.resize(at + clips * labels, 0.0);
        linear::forward(&self.dense, Mat::new(&head, clips, d), &mut logits[at..]);
    }

    fn norm<'a>(&self, norm: &'a LayerNorm) -> layer_norm::LayerNorm<'a> {
        norm.with_eps(self.config.layer_norm_eps)
    }
}

impl PackedLayer {
    fn new(layer: Layer, precision: Precision) -> Result<Self> {
        let together = [&layer.query, &layer.key, &layer.value];
        let stream_in = packed(&together, precision)?;
        Self::with(layer, stream_in, None, precision)
    }

    fn last(layer: Layer, precision: Precision) -> Result<Self> {
        let stream_in = packed(&[&layer.key, &layer.value], precision)?;
        let query = packed(&[&layer.query], precision)?;
        Self::with(layer, stream_in, Some(query), precision)
    }

    fn with(layer: Layer, stream_in: Linear, query: Option<Linear>, precision: Precision) -> Result<Self> {
        Ok(Self {
            stream_in,
            query,
            attention_output: packed(&[&layer.attention_output], precision)?,
            intermediate: packed(&[&layer.intermediate], precision)?,
            output: packed(&[&layer.output], precision)?,
            norm_before: layer.layernorm_before,
            norm_after: layer.layernorm_after,
        })
    }
}

fn f32_linear(linear: &weights::Linear) -> Result<Linear> {
    packed(&[linear], Precision::F32)
}

/// Maps of one input as one map, their outputs one after the other.
fn packed(linears: &[&weights::Linear], precision: Precision) -> Result<Linear> {
    let mut bias = Vec::new();
    let mut inputs = 0;
    for linear in linears {
        let outputs = linear.weight.shape[0];
        inputs = linear.weight.shape[1..].iter().product();
        let stored = linear.weight.quantized.as_ref();
        if stored.map_or(linear.weight.data.len(), |q| q.values.len()) != outputs * inputs {
            return Err(Error::Config(format!(
                "{} has not the size of its shape",
                linear.weight.name
            )));
        }
        match &linear.bias {
            Some(b) => bias.extend_from_slice(&b.data),
            None => bias.resize(bias.len() + outputs, 0.0),
        }
    }
    Ok(match precision {
        Precision::F32 => {
            let weights = joined(linears.iter().map(|linear| single(&linear.weight)));
            Linear::new(Mat::new(&weights, bias.len(), inputs), bias)
        }
        Precision::Int8 => {
            let parts: Vec<Quantized> = linears.iter().map(|linear| eight_bits(&linear.weight)).collect();
            let quantized = Quantized {
                values: joined(parts.iter().map(|part| Cow::Borrowed(&part.values[..]))).into_owned(),
                scales: joined(parts.iter().map(|part| Cow::Borrowed(&part.scales[..]))).into_owned(),
            };
            Linear::int8(&quantized, bias)
        }
    })
}

/// One after the other; what is alone is not copied.
fn joined<'a, T: Clone>(mut parts: impl ExactSizeIterator<Item = Cow<'a, [T]>>) -> Cow<'a, [T]> {
    match parts.len() {
        1 => parts.next().unwrap_or_default(),
        _ => Cow::Owned(parts.flat_map(Cow::into_owned).collect()),
    }
}

/// A matrix in single precision.
fn single(weight: &Parameter) -> Cow<'_, [f32]> {
    match &weight.quantized {
        Some(quantized) => Cow::Owned(quantized.dequantize()),
        None => Cow::Borrowed(&weight.data),
    }
}

/// A matrix in eight bits, as they were stored if the kernels can take them.
fn eight_bits(weight: &Parameter) -> Quantized {
    match &weight.quantized {
        Some(quantized)
            if quantized
                .values
                .iter()
                .fold(0, |most, q| most.max(q.unsigned_abs()))
                <= MOST as u8 =>
        {
            quantized.clone()
        }
        _ => Quantized::new(&single(weight), weight.shape[0]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_taken_as_they_are_stored_unless_the_kernels_cannot_take_them() {
        let stored = |values: Vec<i8>| Parameter {
            name: "a.weight".into(),
            shape: vec![1, 2],
            data: Vec::new(),
            quantized: Some(Quantized {
                values,
                scales: vec![0.5],
            }),
        };
        let small = stored(vec![64, -3]);
        assert_eq!(Some(eight_bits(&small)), small.quantized);
        let large = eight_bits(&stored(vec![-128, 127]));
        assert!(large.values.iter().all(|q| q.abs() <= MOST));
        assert_eq!(large.dequantize()[0], -64.0);
        assert!((large.dequantize()[1] - 63.5).abs() <= large.scales[0] / 2.0);
    }
}
