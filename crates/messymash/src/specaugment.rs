//! Masks in frequency and time over log-mel features.
#![allow(missing_docs, unused)]
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpecAugment { pub frequency_masks: usize, pub frequency_width: usize, pub time_masks: usize, pub time_width: usize }
impl Default for SpecAugment { fn default() -> Self { Self { frequency_masks: 2, frequency_width: 24, time_masks: 2, time_width: 96 } } }
impl SpecAugment {
    /// Masks `features` [frames, bins] in place with `value`; widths uniform in 0..=width; all randomness from `seed`.
    pub fn apply(&self, features: &mut [f32], bins: usize, value: f32, seed: u64) { todo!() }
}
