//! Position embeddings for another input length than they were made for.

use crate::ast::{AstConfig, Parameter};

/// Columns of the grid of patches that stored position embeddings were made for, if that is what they are.
pub(super) fn stored_columns(name: &str, shape: &[usize], config: &AstConfig) -> Option<usize> {
    let [1, tokens, width] = shape[..] else {
        return None;
    };
    let (patches, rows) = (tokens.checked_sub(2)?, config.grid().rows());
    let fits = name.ends_with("position_embeddings")
        && width == config.hidden_size
        && patches > 0
        && patches.is_multiple_of(rows);
    fits.then(|| patches / rows)
}

/// Position embeddings for the input length of `config` from those of another: the grid of patches is interpolated along
/// time, bilinearly as `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)` and the code of the AST paper
/// do; the class and distillation tokens keep theirs. `None` if `stored` is nothing of the kind.
pub fn interpolate_positions(stored: &Parameter, config: &AstConfig) -> Option<Vec<f32>> {
    let d = config.hidden_size;
    let (rows, to) = (config.grid().rows(), config.grid().cols());
    let from = stored_columns(&stored.name, &stored.shape, config)?;
    let mut data = stored.data[..2 * d].to_vec();
    for row in 0..rows {
        let at = |column: usize| &stored.data[(2 + row * from + column) * d..][..d];
        for column in 0..to {
            // Centres of the new columns on the axis of the old ones, not beyond its first.
            let place = ((column as f64 + 0.5) * from as f64 / to as f64 - 0.5).max(0.0);
            let left = (place as usize).min(from - 1);
            let right = (left + 1).min(from - 1);
            let share = (place - left as f64) as f32;
            data.extend(
                at(left)
                    .iter()
                    .zip(at(right))
                    .map(|(l, r)| l * (1.0 - share) + r * share),
            );
        }
    }
    Some(data)
}
