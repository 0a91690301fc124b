//! The shape of a model: Hugging Face's `config.json` of an `ASTForAudioClassification`.

use std::collections::BTreeMap;

use messymash_kernels::patches::PatchGrid;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The configuration of an Audio Spectrogram Transformer, with the keys and defaults of `transformers.ASTConfig`.
///
/// Keys that this library does not use are passed over when reading, since `config.json` holds many; the dropout rates are
/// kept for `transformers` and not applied here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AstConfig {
    /// Always `["ASTForAudioClassification"]`.
    pub architectures: Vec<String>,
    /// Always `audio-spectrogram-transformer`.
    pub model_type: String,
    /// Columns of the residual stream.
    pub hidden_size: usize,
    /// Transformer layers.
    pub num_hidden_layers: usize,
    /// Attention heads; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Columns between the two linear maps of a layer's MLP.
    pub intermediate_size: usize,
    /// Activation of the MLP: only `gelu` (the exact form) is known.
    pub hidden_act: String,
    /// Not applied; kept for `transformers`.
    pub hidden_dropout_prob: f64,
    /// Not applied; kept for `transformers`.
    pub attention_probs_dropout_prob: f64,
    /// Standard deviation of new weights.
    pub initializer_range: f64,
    /// Added to the variance in every layer norm.
    pub layer_norm_eps: f64,
    /// Side of a square patch, in bins and frames.
    pub patch_size: usize,
    /// Whether queries, keys and values have a bias.
    pub qkv_bias: bool,
    /// Bins from one patch to the next.
    pub frequency_stride: usize,
    /// Frames from one patch to the next.
    pub time_stride: usize,
    /// Frames of the input.
    pub max_length: usize,
    /// Mel bins of the input.
    pub num_mel_bins: usize,
    /// Class index (as text) to label.
    pub id2label: BTreeMap<String, String>,
    /// Label to class index.
    pub label2id: BTreeMap<String, usize>,
    /// `single_label_classification`, `multi_label_classification` or `regression`, where the file says so: which function
    /// makes scores of the logits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem_type: Option<String>,
    /// In a directory whose weights are stored in eight bits: how, and of what they were made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantization_config: Option<Quantization>,
}

/// The `quantization_config` of a directory that `messymash quantize` wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quantization {
    /// Always `messymash`: no other program knows this layout, and `transformers` says so instead of computing nonsense.
    pub quant_method: String,
    /// Always 8.
    #[serde(default)]
    pub bits: u32,
    /// The model that was quantised, as it was named.
    #[serde(default)]
    pub origin: String,
    /// SHA-256 of its `model.safetensors`, hexadecimal.
    #[serde(default)]
    pub origin_sha256: String,
}

impl Quantization {
    pub(crate) fn new(origin: &str, origin_sha256: &str) -> Self {
        Self {
            quant_method: QUANT_METHOD.into(),
            bits: 8,
            origin: origin.into(),
            origin_sha256: origin_sha256.into(),
        }
    }
}

const QUANT_METHOD: &str = "messymash";

impl Default for AstConfig {
    fn default() -> Self {
        Self {
            architectures: vec!["ASTForAudioClassification".into()],
            model_type: "audio-spectrogram-transformer".into(),
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: "gelu".into(),
            hidden_dropout_prob: 0.0,
            attention_probs_dropout_prob: 0.0,
            initializer_range: 0.02,
            layer_norm_eps: 1e-12,
            patch_size: 16,
            qkv_bias: true,
            frequency_stride: 10,
            time_stride: 10,
            max_length: 1024,
            num_mel_bins: 128,
            id2label: BTreeMap::new(),
            label2id: BTreeMap::new(),
            problem_type: None,
            quantization_config: None,
        }
    }
}

impl AstConfig {
    /// Reads the text of a `config.json` and checks it.
    ///
    /// # Errors
    /// [`Error::Config`] if it is not JSON, not an AST, or describes a model that cannot be.
    pub fn from_json(json: &str) -> Result<Self> {
        let config: Self = serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(json))
            .map_err(|e| Error::Config(format!("config.json: {}: {}", e.path(), e.inner())))?;
        config.check()?;
        Ok(config)
    }

    /// The text of a `config.json` that `transformers` reads.
    pub fn to_json(&self) -> String {
        // A struct of numbers, strings and string-keyed maps always serialises.
        let mut json = serde_json::to_string_pretty(self).unwrap_or_default();
        json.push('\n');
        json
    }

    /// The same model with other labels.
    pub fn with_labels(mut self, labels: &[String]) -> Self {
        self.id2label = labels
            .iter()
            .enumerate()
            .map(|(i, l)| (i.to_string(), l.clone()))
            .collect();
        self.label2id = labels.iter().enumerate().map(|(i, l)| (l.clone(), i)).collect();
        self
    }

    /// The labels by class index.
    pub fn labels(&self) -> Vec<String> {
        (0..self.id2label.len())
            .filter_map(|i| self.id2label.get(&i.to_string()).cloned())
            .collect()
    }

    /// Where the patches lie on the input.
    pub fn grid(&self) -> PatchGrid {
        PatchGrid {
            frames: self.max_length,
            bins: self.num_mel_bins,
            patch: self.patch_size,
            frequency_stride: self.frequency_stride,
            time_stride: self.time_stride,
        }
    }

    /// Tokens of a whole input: one per patch, and the class and distillation tokens.
    pub fn tokens(&self) -> usize {
        self.grid().patches() + 2
    }

    /// Numbers in one input, `max_length * num_mel_bins`.
    pub fn input_len(&self) -> usize {
        self.max_length * self.num_mel_bins
    }

    /// Multiply-adds of one forward pass, by the products alone (tokens that the last layer need not compute left out).
    pub fn multiply_adds(&self) -> u64 {
        let [t, d, i, l] = [
            self.tokens(),
            self.hidden_size,
            self.intermediate_size,
            self.num_hidden_layers,
        ]
        .map(|n| n as u64);
        let layer =
            |queries: u64| 2 * queries * d * d + 2 * t * d * d + 2 * queries * t * d + 2 * queries * d * i;
        let patches = (t - 2) * d * (self.patch_size * self.patch_size) as u64;
        patches + (l - 1) * layer(t) + layer(2)
    }

    fn check(&self) -> Result<()> {
        let fail = |message: String| Err(Error::Config(format!("config.json: {message}")));
        if self.model_type != "audio-spectrogram-transformer" {
            return fail(format!(
                "model_type is '{}'; only 'audio-spectrogram-transformer' models can be used",
                self.model_type
            ));
        }
        if self.hidden_act != "gelu" {
            return fail(format!(
                "hidden_act is '{}'; only 'gelu' is known",
                self.hidden_act
            ));
        }
        if let Some(quantization) = self
            .quantization_config
            .as_ref()
            .filter(|q| q.quant_method != QUANT_METHOD)
        {
            return fail(format!(
                "the weights are quantised by the method '{}'; only those of `messymash quantize` and unquantised ones can be used",
                quantization.quant_method
            ));
        }
        // Bounds far above any published AST, and low enough that no product of two overflows or exhausts memory.
        let bounds = [
            ("hidden_size", self.hidden_size, 1 << 13),
            ("num_hidden_layers", self.num_hidden_layers, 1 << 8),
            ("num_attention_heads", self.num_attention_heads, 1 << 8),
            ("intermediate_size", self.intermediate_size, 1 << 15),
            ("patch_size", self.patch_size, 1 << 8),
            ("frequency_stride", self.frequency_stride, 1 << 8),
            ("time_stride", self.time_stride, 1 << 8),
            ("max_length", self.max_length, 1 << 15),
            ("num_mel_bins", self.num_mel_bins, 1 << 10),
        ];
        for (key, value, most) in bounds {
            if value == 0 || value > most {
                return fail(format!("{key} is {value}; it must lie between 1 and {most}"));
            }
        }
        if !(self.layer_norm_eps > 0.0 && self.layer_norm_eps < 1.0) {
            return fail(format!(
                "layer_norm_eps is {}; it must lie between 0 and 1",
                self.layer_norm_eps
            ));
        }
        if !(self.initializer_range > 0.0 && self.initializer_range < 10.0) {
            return fail(format!(
                "initializer_range is {}; it must lie between 0 and 10",
                self.initializer_range
            ));
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            return fail(format!(
                "hidden_size {} is not a multiple of num_attention_heads {}",
                self.hidden_size, self.num_attention_heads
            ));
        }
        if self.grid().patches() == 0 {
            return fail(format!(
                "an input of {} frames and {} bins holds no patch of {}",
                self.max_length, self.num_mel_bins, self.patch_size
            ));
        }
        if self.tokens() > 1 << 15 {
            return fail(format!(
                "the input has {} tokens; at most {} can be used",
                self.tokens(),
                1 << 15
            ));
        }
        if self.id2label.is_empty() || self.labels().len() != self.id2label.len() {
            return fail("id2label must give a label to each of the classes 0, 1, 2, …".into());
        }
        Ok(())
    }

    /// Checks a configuration that was put together rather than read.
    ///
    /// # Errors
    /// [`Error::Config`] if it describes a model that cannot be.
    pub fn checked(self) -> Result<Self> {
        self.check()?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny() -> AstConfig {
        AstConfig::default().with_labels(&["a".into(), "b".into()])
    }

    #[test]
    fn the_published_configuration_has_1214_tokens_and_121_gmac() {
        let config = tiny().checked().unwrap();
        assert_eq!(config.tokens(), 1214);
        // 242 GFLOP per clip when the last layer computes only what the two pooled tokens need.
        assert_eq!(config.multiply_adds() * 2 / 1_000_000_000, 242);
    }

    #[test]
    fn json_is_read_back_as_written_and_foreign_keys_are_passed_over() {
        let config = tiny();
        assert_eq!(AstConfig::from_json(&config.to_json()).unwrap(), config);
        let with_more = config
            .to_json()
            .replacen('{', "{\"transformers_version\": \"5.2.0\",", 1);
        assert_eq!(AstConfig::from_json(&with_more).unwrap(), config);
    }

    #[test]
    fn impossible_models_are_refused_with_the_key_named() {
        type Change = fn(&mut AstConfig);
        let cases: [(Change, &str); 8] = [
            (|c| c.num_attention_heads = 7, "num_attention_heads"),
            (|c| c.hidden_size = 0, "hidden_size"),
            (|c| c.max_length = 1 << 30, "max_length"),
            (|c| c.max_length = 3, "no patch"),
            (|c| c.hidden_act = "relu".into(), "hidden_act"),
            (|c| c.model_type = "wav2vec2".into(), "model_type"),
            (|c| c.layer_norm_eps = f64::NAN, "layer_norm_eps"),
            (|c| drop(c.id2label.remove("0")), "id2label"),
        ];
        for (change, named) in cases {
            let mut config = tiny();
            change(&mut config);
            let message = config.checked().unwrap_err().to_string();
            assert!(message.contains(named), "{message}");
        }
        let message = AstConfig::from_json("{\"hidden_size\": \"wide\"}")
            .unwrap_err()
            .to_string();
        assert!(message.contains("hidden_size"), "{message}");
        assert!(AstConfig::from_json("[").is_err());
    }
}
