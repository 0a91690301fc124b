//! Attention rollout: which patches of a window the pooled tokens look at, by way of all layers.
//!
//! After Abnar and Zuidema, "Quantifying Attention Flow in Transformers" (2020): of each layer the mean of its heads'
//! attention, half of it replaced by the identity for the residual stream, rows summing to one, multiplied from the last
//! layer down to the first.

use messymash_kernels::cross_entropy::softmax;
use messymash_kernels::{Mat, MatMut, Store, matmul};
use rayon::prelude::*;
use serde::Serialize;

use super::{EXTRA_TOKENS, Inference, Workspace};
use crate::{Error, Result};

/// How much each patch of a window is looked at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rollout {
    /// Patches along the frequencies.
    pub rows: usize,
    /// Patches along the time.
    pub columns: usize,
    /// `[rows, columns]`, the lowest frequencies first; in [0, 1], the largest is 1.
    pub values: Vec<f32>,
}

impl Inference {
    /// Attention rollout of one window `[max_length, num_mel_bins]`, from the mean of the class and the distillation token to
    /// the patches. What goes to these two tokens themselves is left out.
    ///
    /// # Errors
    /// [`Error::Config`] if the input is not one window.
    pub fn rollout(&self, input_values: &[f32]) -> Result<Rollout> {
        let (config, wanted) = (&self.config, self.config.input_len());
        if input_values.len() != wanted {
            let given = input_values.len();
            return Err(Error::Config(format!(
                "{given} values are not one window of {wanted}"
            )));
        }
        let tokens = config.tokens();
        let mut room = Workspace::default();
        self.embed(input_values, &mut room);
        // How much of each token of the input is in each token after the layers so far.
        let mut flow = vec![0.0; tokens * tokens];
        flow.iter_mut().step_by(tokens + 1).for_each(|x| *x = 1.0);
        for layer in &self.layers {
            self.layer(layer, &mut room);
            let attention = self.attention(&room);
            let computed = attention.len() / tokens;
            let mut next = vec![0.0; attention.len()];
            matmul(
                MatMut::new(&mut next, computed, tokens),
                Mat::new(&attention, computed, tokens),
                Mat::new(&flow, tokens, tokens),
                Store::Overwrite,
            );
            flow = next;
        }
        let grid = config.grid();
        let pooled = |patch: usize| {
            let at = patch + EXTRA_TOKENS;
            (0..EXTRA_TOKENS).map(|token| flow[token * tokens + at]).sum()
        };
        let mut values: Vec<f32> = (0..grid.patches()).map(pooled).collect();
        let largest = values.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
        values.iter_mut().for_each(|x| *x /= largest);
        Ok(Rollout {
            rows: grid.rows(),
            columns: grid.cols(),
            values,
        })
    }

    /// Of the layer that was computed last in `room`: the mean of the heads' attention, half identity; `[queries, tokens]`.
    fn attention(&self, room: &Workspace) -> Vec<f32> {
        let (d, heads, tokens) = (
            self.config.hidden_size,
            self.config.num_attention_heads,
            self.config.tokens(),
        );
        let width = d / heads;
        let scale = (width as f32).sqrt().recip();
        let mut mean = vec![0.0; room.q.len() / d * tokens];
        mean.par_chunks_exact_mut(tokens)
            .enumerate()
            .for_each(|(token, mean)| {
                let mut weights = vec![0.0; tokens];
                for head in 0..heads {
                    let of_head = head * width..(head + 1) * width;
                    let query = &room.q[token * d..][of_head.clone()];
                    for (weight, kv) in weights.iter_mut().zip(room.kv.chunks_exact(2 * d)) {
                        let products = query.iter().zip(&kv[of_head.clone()]).map(|(q, k)| q * k);
                        *weight = scale * products.sum::<f32>();
                    }
                    softmax(&mut weights);
                    let share = 0.5 / heads as f32;
                    mean.iter_mut()
                        .zip(&weights)
                        .for_each(|(mean, weight)| *mean += share * weight);
                }
                // Pooled tokens are the first ones, so that also in the last layer the n-th query is the n-th token's.
                mean[token] += 0.5;
            });
        mean
    }
}
