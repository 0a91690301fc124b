//! The backward pass: the same operations as in [`super`], in reverse order.

use messymash_kernels::attention::{self, Attended};
use messymash_kernels::cross_entropy::cross_entropy;
use messymash_kernels::squared_error::squared_error;
use messymash_kernels::{Mat, MatMut, Store, gelu, layer_norm, matmul, rows};

use super::weights::{Layer, LayerNorm, Linear, Weights};
use super::{
    Activations, Ast, Batch, EXTRA_TOKENS, LayerActivations, Scratch, Span, Targets, Trained, outputs_inputs,
    select,
};
use crate::{Error, Result};

impl Ast {
    /// Adds the gradients of the loss of a batch to `gradients`, of all weights or of the head's.
    ///
    /// Returns the loss, as [`Targets`] says; the logits remain in `activations` ([`Activations::logits`]).
    ///
    /// # Errors
    /// [`Error::Config`] if batch or targets do not fit the model.
    pub fn forward_backward(
        &self,
        batch: Batch<'_>,
        targets: Targets<'_>,
        trained: Trained,
        gradients: &mut Weights,
        activations: &mut Activations,
    ) -> Result<f32> {
        let labels = self.config.id2label.len();
        let kept = match trained {
            Trained::All => self.weights.layers.len(),
            Trained::Head => 1,
        };
        let clips = self.run(batch, activations, kept)?.len() / labels;
        let (Targets::Probabilities(wanted) | Targets::Values(wanted)) = targets;
        if wanted.len() != clips * labels {
            return Err(Error::Config(format!(
                "{} targets given for {clips} clips of {labels} classes",
                wanted.len()
            )));
        }
        let mut d_logits = vec![0.0; activations.logits.len()];
        let loss = match targets {
            Targets::Probabilities(wanted) => {
                cross_entropy(&activations.logits, wanted, labels, &mut d_logits)
            }
            Targets::Values(wanted) => squared_error(&activations.logits, wanted, &mut d_logits),
        };
        let d_pooled = self.head_backward(clips, &d_logits, gradients, activations);
        if trained == Trained::All {
            self.body_backward(clips, &d_pooled, gradients, activations);
        }
        Ok(loss)
    }

    /// logits <- linear <- layer norm <- pooled token, whose gradient it gives.
    fn head_backward(&self, clips: usize, d_logits: &[f32], g: &mut Weights, a: &Activations) -> Vec<f32> {
        let d = self.config.hidden_size;
        let mut d_head = vec![0.0; clips * d];
        let dense = &self.weights.classifier.dense;
        linear_backward(
            dense,
            &a.head,
            d_logits,
            &mut g.classifier.dense,
            Some((&mut d_head, Store::Overwrite)),
        );
        let mut d_pooled = vec![0.0; clips * d];
        let norm = self.norm(&self.weights.classifier.layernorm);
        norm_backward(
            norm,
            &a.pooled,
            &d_head,
            &mut d_pooled,
            &mut g.classifier.layernorm,
        );
        d_pooled
    }

    /// Pooled token <- mean of two tokens <- layer norm <- layers <- embeddings.
    fn body_backward(&self, clips: usize, d_pooled: &[f32], g: &mut Weights, a: &mut Activations) {
        let d = self.config.hidden_size;
        let d_two: Vec<f32> = d_pooled
            .chunks_exact(d)
            .flat_map(|row| row.iter().chain(row))
            .map(|x| x / 2.0)
            .collect();
        let mut d_next = std::mem::take(&mut a.scratch.dx);
        d_next.clear();
        d_next.resize(a.last.len(), 0.0);
        norm_backward(
            self.norm(&self.weights.layernorm),
            &a.last,
            &d_two,
            &mut d_next,
            &mut g.layernorm,
        );
        let tokens = a.keep.len() / clips + EXTRA_TOKENS;
        let last = self.weights.layers.len() - 1;
        for (n, layer) in self.weights.layers.iter().enumerate().rev() {
            let span = Span {
                clips,
                tokens,
                outputs: if n == last { EXTRA_TOKENS } else { tokens },
            };
            self.layer_backward(
                (layer, &mut g.layers[n]),
                span,
                &a.layers[n],
                &mut a.scratch,
                &mut d_next,
            );
        }
        self.embed_backward(clips, &d_next, g, a);
        a.scratch.dx = d_next;
    }

    /// Turns `d` from the gradient of the layer's output into that of its input.
    fn layer_backward(
        &self,
        (layer, g): (&Layer, &mut Layer),
        span: Span,
        a: &LayerActivations,
        s: &mut Scratch,
        d: &mut Vec<f32>,
    ) {
        let (h, i) = (self.config.hidden_size, self.config.intermediate_size);
        let (all, computed) = (span.clips * span.tokens, span.clips * span.outputs);
        // MLP. The activation is computed once more: keeping it would cost more memory than it saves time.
        s.d_hidden.resize(computed * i, 0.0);
        s.hidden.resize(computed * i, 0.0);
        matmul(
            MatMut::new(&mut s.d_hidden, computed, i),
            Mat::new(d, computed, h),
            Mat::new(&layer.output.weight.data, h, i),
            Store::Overwrite,
        );
        gelu::backward(&a.intermediate, &mut s.hidden, &mut s.d_hidden);
        linear_backward(&layer.output, &s.hidden, d, &mut g.output, None);
        s.normed.resize(all * h, 0.0);
        s.d_normed.resize(all * h, 0.0);
        let (normed, d_normed) = (&mut s.normed[..computed * h], &mut s.d_normed[..computed * h]);
        let after = self.norm(&layer.layernorm_after);
        layer_norm::forward(after, &a.middle, normed);
        let to = Some((&mut *d_normed, Store::Overwrite));
        linear_backward(&layer.intermediate, normed, &s.d_hidden, &mut g.intermediate, to);
        norm_backward(after, &a.middle, d_normed, d, &mut g.layernorm_after);
        // Attention; `d` is now the gradient of the residual stream between attention and MLP.
        let to = Some((&mut *d_normed, Store::Overwrite));
        linear_backward(
            &layer.attention_output,
            &a.attended,
            d,
            &mut g.attention_output,
            to,
        );
        s.dq.resize(computed * h, 0.0);
        s.dkv.resize(all * 2 * h, 0.0);
        let attended = Attended {
            q: &a.q,
            kv: &a.kv,
            out: &a.attended,
            log_sums: &a.log_sums,
            d_out: d_normed,
        };
        attention::backward(self.attention_shape(span), attended, &mut s.dq, &mut s.dkv);
        let before = self.norm(&layer.layernorm_before);
        layer_norm::forward(before, &a.x, &mut s.normed);
        key_value_backward(layer, &s.normed, &s.dkv, g, &mut s.d_normed);
        let whole = span.outputs == span.tokens;
        let selected = select(span, h, &s.normed, &mut s.selected);
        if whole {
            let to = Some((&mut s.d_normed[..], Store::Add));
            linear_backward(&layer.query, selected, &s.dq, &mut g.query, to);
            std::mem::swap(d, &mut s.d_middle);
        } else {
            let mut d_selected = vec![0.0; computed * h];
            let to = Some((&mut d_selected[..], Store::Overwrite));
            linear_backward(&layer.query, selected, &s.dq, &mut g.query, to);
            scatter_add(span, h, &d_selected, &mut s.d_normed);
            s.d_middle.clear();
            s.d_middle.resize(all * h, 0.0);
            scatter_add(span, h, d, &mut s.d_middle);
        }
        norm_backward(
            before,
            &a.x,
            &s.d_normed,
            &mut s.d_middle,
            &mut g.layernorm_before,
        );
        std::mem::swap(d, &mut s.d_middle);
    }

    fn embed_backward(&self, clips: usize, d: &[f32], g: &mut Weights, a: &Activations) {
        let (h, patch_len) = (
            self.config.hidden_size,
            self.config.patch_size * self.config.patch_size,
        );
        let kept = a.keep.len() / clips;
        let g = &mut g.embeddings;
        let parts = d.chunks_exact((kept + EXTRA_TOKENS) * h).zip(
            a.patches
                .chunks_exact(kept * patch_len)
                .zip(a.keep.chunks_exact(kept)),
        );
        for (d, (patch_rows, keep)) in parts {
            let (extra, d_tokens) = d.split_at(EXTRA_TOKENS * h);
            rows::add(&mut g.cls_token.data, &extra[..h]);
            rows::add(&mut g.distillation_token.data, &extra[h..]);
            rows::add(&mut g.position_embeddings.data[..EXTRA_TOKENS * h], extra);
            for (row, &number) in d_tokens.chunks_exact(h).zip(keep) {
                let at = (number + EXTRA_TOKENS) * h;
                g.position_embeddings.data[at..at + h]
                    .iter_mut()
                    .zip(row)
                    .for_each(|(g, d)| *g += d);
            }
            if let Some(bias) = &mut g.projection.bias {
                rows::add_column_sums(d_tokens, &mut bias.data);
            }
            matmul(
                MatMut::new(&mut g.projection.weight.data, h, patch_len),
                Mat::new(d_tokens, kept, h).t(),
                Mat::new(patch_rows, kept, patch_len),
                Store::Add,
            );
        }
    }
}

/// Adds the gradients of a linear map to `g`, and stores that of its input in `dx`.
fn linear_backward(linear: &Linear, x: &[f32], dy: &[f32], g: &mut Linear, dx: Option<(&mut [f32], Store)>) {
    let (outputs, inputs) = outputs_inputs(linear);
    let n = x.len() / inputs;
    if let Some(bias) = &mut g.bias {
        rows::add_column_sums(dy, &mut bias.data);
    }
    let dy = Mat::new(dy, n, outputs);
    matmul(
        MatMut::new(&mut g.weight.data, outputs, inputs),
        dy.t(),
        Mat::new(x, n, inputs),
        Store::Add,
    );
    if let Some((dx, store)) = dx {
        let weight = Mat::new(&linear.weight.data, outputs, inputs);
        matmul(MatMut::new(dx, n, inputs), dy, weight, store);
    }
}

/// [`linear_backward`] for keys and values, whose gradients lie side by side in `dkv`; `dx` is overwritten.
fn key_value_backward(layer: &Layer, x: &[f32], dkv: &[f32], g: &mut Layer, dx: &mut [f32]) {
    let d = layer.key.weight.shape[0];
    let n = x.len() / d;
    let mut sums = vec![0.0; 2 * d];
    rows::add_column_sums(dkv, &mut sums);
    let sides = [
        (&layer.key, &mut g.key, Store::Overwrite),
        (&layer.value, &mut g.value, Store::Add),
    ];
    for (side, (linear, g, store)) in sides.into_iter().enumerate() {
        if let Some(bias) = &mut g.bias {
            rows::add(&mut bias.data, &sums[side * d..][..d]);
        }
        let dy = Mat::strided(&dkv[side * d..], n, d, 2 * d);
        matmul(
            MatMut::new(&mut g.weight.data, d, d),
            dy.t(),
            Mat::new(x, n, d),
            Store::Add,
        );
        matmul(
            MatMut::new(dx, n, d),
            dy,
            Mat::new(&linear.weight.data, d, d),
            store,
        );
    }
}

fn norm_backward(norm: layer_norm::LayerNorm<'_>, x: &[f32], dy: &[f32], dx: &mut [f32], g: &mut LayerNorm) {
    layer_norm::backward(norm, x, dy, dx, &mut g.weight.data, &mut g.bias.data);
}

/// Adds rows chosen by [`select`] back to where they came from.
fn scatter_add(span: Span, width: usize, chosen: &[f32], x: &mut [f32]) {
    let clips = x
        .chunks_exact_mut(span.tokens * width)
        .zip(chosen.chunks_exact(span.outputs * width));
    for (clip, chosen) in clips {
        clip.iter_mut().zip(chosen).for_each(|(x, c)| *x += c);
    }
}
