//! The weights of a model, in the tree and under the names of a Hugging Face checkpoint.

use messymash_kernels::int8::Quantized;

use crate::Result;
use crate::ast::AstConfig;

/// One named tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Its key in the checkpoint.
    pub name: String,
    /// Its shape, outermost first.
    pub shape: Vec<usize>,
    /// Its values, row-major.
    pub data: Vec<f32>,
    /// Its values in eight bits, with `data` empty: in a model that was stored so and is on its way to [`Inference`], never in
    /// a tree of [`Weights`].
    ///
    /// [`Inference`]: super::Inference
    pub quantized: Option<Quantized>,
}

/// The values of a tensor, row-major, as they were stored.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Single precision, whatever the file had.
    F32(Vec<f32>),
    /// A matrix in eight bits.
    Int8(Quantized),
}

impl Values {
    /// The numbers that they stand for.
    pub fn into_f32(self) -> Vec<f32> {
        match self {
            Values::F32(values) => values,
            Values::Int8(quantized) => quantized.dequantize(),
        }
    }
}

impl Parameter {
    /// Whether weight decay applies: to the matrices of linear maps and the patch projection, not to biases, layer norms,
    /// tokens or position embeddings.
    pub fn decays(&self) -> bool {
        is_matrix(&self.name, &self.shape)
    }
}

/// Whether a tensor is the matrix of a linear map or of the patch projection.
fn is_matrix(name: &str, shape: &[usize]) -> bool {
    shape.len() >= 2 && name.ends_with(".weight")
}

/// Gives the structs of the tree the two walks that everything else is made of: to read, and to write.
macro_rules! tree {
    ($($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $ty:ty,)* })*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name { $($(#[$field_meta])* pub $field: $ty,)* }

        impl Walk for $name {
            fn walk<'a>(&'a self, to: &mut Vec<&'a Parameter>) {
                $(self.$field.walk(to);)*
            }
            fn walk_mut<'a>(&'a mut self, to: &mut Vec<&'a mut Parameter>) {
                $(self.$field.walk_mut(to);)*
            }
        }
    )*};
}

/// Which part of the model a tensor belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Patch projection, extra tokens, position embeddings.
    Embeddings,
    /// A transformer layer, from 0.
    Layer(usize),
    /// The layer norm after the layers.
    LastNorm,
    /// The classification head.
    Head,
}

trait Walk {
    fn walk<'a>(&'a self, to: &mut Vec<&'a Parameter>);
    fn walk_mut<'a>(&'a mut self, to: &mut Vec<&'a mut Parameter>);
}

impl Walk for Parameter {
    fn walk<'a>(&'a self, to: &mut Vec<&'a Parameter>) {
        to.push(self);
    }
    fn walk_mut<'a>(&'a mut self, to: &mut Vec<&'a mut Parameter>) {
        to.push(self);
    }
}

impl<T: Walk> Walk for Option<T> {
    fn walk<'a>(&'a self, to: &mut Vec<&'a Parameter>) {
        self.iter().for_each(|x| x.walk(to));
    }
    fn walk_mut<'a>(&'a mut self, to: &mut Vec<&'a mut Parameter>) {
        self.iter_mut().for_each(|x| x.walk_mut(to));
    }
}

impl<T: Walk> Walk for Vec<T> {
    fn walk<'a>(&'a self, to: &mut Vec<&'a Parameter>) {
        self.iter().for_each(|x| x.walk(to));
    }
    fn walk_mut<'a>(&'a mut self, to: &mut Vec<&'a mut Parameter>) {
        self.iter_mut().for_each(|x| x.walk_mut(to));
    }
}

tree! {
    /// `y = x weightᵀ + bias`.
    Linear {
        /// `[outputs, inputs]` (the patch projection: `[outputs, 1, patch, patch]`).
        weight: Parameter,
        /// `[outputs]`.
        bias: Option<Parameter>,
    }
    /// Scale and shift of a layer norm.
    LayerNorm {
        /// `[hidden_size]`.
        weight: Parameter,
        /// `[hidden_size]`.
        bias: Parameter,
    }
    /// From patches to tokens.
    Embeddings {
        /// `[1, 1, hidden_size]`.
        cls_token: Parameter,
        /// `[1, 1, hidden_size]`.
        distillation_token: Parameter,
        /// `[1, tokens, hidden_size]`: class token, distillation token, then patches frequency-major.
        position_embeddings: Parameter,
        /// The patch projection.
        projection: Linear,
    }
    /// One transformer layer.
    Layer {
        /// `attention.attention.query`.
        query: Linear,
        /// `attention.attention.key`.
        key: Linear,
        /// `attention.attention.value`.
        value: Linear,
        /// `attention.output.dense`.
        attention_output: Linear,
        /// `intermediate.dense`.
        intermediate: Linear,
        /// `output.dense`.
        output: Linear,
        /// Before the attention.
        layernorm_before: LayerNorm,
        /// Before the MLP.
        layernorm_after: LayerNorm,
    }
    /// The classification head.
    Head {
        /// `classifier.layernorm`.
        layernorm: LayerNorm,
        /// `classifier.dense`.
        dense: Linear,
    }
    /// All weights of a model; also what holds their gradients and the optimiser's moments.
    Weights {
        /// `audio_spectrogram_transformer.embeddings`.
        embeddings: Embeddings,
        /// `audio_spectrogram_transformer.encoder.layer`.
        layers: Vec<Layer>,
        /// `audio_spectrogram_transformer.layernorm`.
        layernorm: LayerNorm,
        /// `classifier`.
        classifier: Head,
    }
}

impl LayerNorm {
    /// As the kernels take it.
    pub(super) fn with_eps(&self, eps: f64) -> messymash_kernels::layer_norm::LayerNorm<'_> {
        messymash_kernels::layer_norm::LayerNorm {
            weight: &self.weight.data,
            bias: &self.bias.data,
            eps: eps as f32,
        }
    }
}

/// Gives the values of a tensor, row-major, for its name and shape.
pub type Source<'a> = dyn FnMut(&str, &[usize]) -> Result<Vec<f32>> + Send + 'a;

/// As [`Source`], but as the tensor is stored.
pub type StoredSource<'a> = dyn FnMut(&str, &[usize]) -> Result<Values> + Send + 'a;

/// The key of everything below the head.
pub(crate) const BODY: &str = "audio_spectrogram_transformer.";

impl Weights {
    /// Builds the tree of `config` from `source`, which is asked for the values of each tensor by name and shape.
    ///
    /// # Errors
    /// The first error of `source`.
    pub fn build(config: &AstConfig, source: &mut Source<'_>) -> Result<Self> {
        let mut source = |name: &str, shape: &[usize]| source(name, shape).map(Values::F32);
        let mut from = Builder {
            config,
            source: &mut source,
        };
        Ok(Self {
            embeddings: from.embeddings()?,
            layers: (0..config.num_hidden_layers)
                .map(|n| from.layer(n))
                .collect::<Result<_>>()?,
            layernorm: from.last_norm()?,
            classifier: from.head()?,
        })
    }

    /// Every tensor, always in the same order.
    pub fn parameters(&self) -> Vec<&Parameter> {
        let mut all = Vec::new();
        self.walk(&mut all);
        all
    }

    /// Every tensor, in the order of [`Weights::parameters`].
    pub fn parameters_mut(&mut self) -> Vec<&mut Parameter> {
        let mut all = Vec::new();
        self.walk_mut(&mut all);
        all
    }

    /// The part that each tensor belongs to, in the order of [`Weights::parameters`].
    pub fn parts(&self) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut add = |of: &dyn Walk, part| {
            let mut all = Vec::new();
            of.walk(&mut all);
            parts.extend(all.iter().map(|_| part));
        };
        add(&self.embeddings, Part::Embeddings);
        for (n, layer) in self.layers.iter().enumerate() {
            add(layer, Part::Layer(n));
        }
        add(&self.layernorm, Part::LastNorm);
        add(&self.classifier, Part::Head);
        parts
    }

    /// The same tree with every value 0: for gradients and moments.
    pub fn zeros_like(&self) -> Self {
        let mut zeros = self.clone();
        zeros.clear();
        zeros
    }

    /// Sets every value to 0.
    pub fn clear(&mut self) {
        for parameter in self.parameters_mut() {
            parameter.data.fill(0.0);
        }
    }
}

/// Asks a source for one part of the tree after the other, in the order of the tree.
pub(super) struct Builder<'a, 'b> {
    pub(super) config: &'a AstConfig,
    pub(super) source: &'a mut StoredSource<'b>,
}

impl Builder<'_, '_> {
    pub(super) fn embeddings(&mut self) -> Result<Embeddings> {
        let (d, p) = (self.config.hidden_size, self.config.patch_size);
        let tokens = self.config.tokens();
        let mut embedding =
            |name: &str, tokens: usize| self.parameter(format!("{BODY}embeddings.{name}"), &[1, tokens, d]);
        Ok(Embeddings {
            cls_token: embedding("cls_token", 1)?,
            distillation_token: embedding("distillation_token", 1)?,
            position_embeddings: embedding("position_embeddings", tokens)?,
            projection: self.linear(
                format!("{BODY}embeddings.patch_embeddings.projection"),
                &[d, 1, p, p],
            )?,
        })
    }

    pub(super) fn layer(&mut self, n: usize) -> Result<Layer> {
        let (d, i) = (self.config.hidden_size, self.config.intermediate_size);
        let at = format!("{BODY}encoder.layer.{n}");
        let mut qkv = |name: &str| {
            let name = format!("{at}.attention.attention.{name}");
            if self.config.qkv_bias {
                self.linear(name, &[d, d])
            } else {
                self.linear_without_bias(name, &[d, d])
            }
        };
        Ok(Layer {
            query: qkv("query")?,
            key: qkv("key")?,
            value: qkv("value")?,
            attention_output: self.linear(format!("{at}.attention.output.dense"), &[d, d])?,
            intermediate: self.linear(format!("{at}.intermediate.dense"), &[i, d])?,
            output: self.linear(format!("{at}.output.dense"), &[d, i])?,
            layernorm_before: self.layer_norm(format!("{at}.layernorm_before"), d)?,
            layernorm_after: self.layer_norm(format!("{at}.layernorm_after"), d)?,
        })
    }

    pub(super) fn last_norm(&mut self) -> Result<LayerNorm> {
        self.layer_norm(format!("{BODY}layernorm"), self.config.hidden_size)
    }

    pub(super) fn head(&mut self) -> Result<Head> {
        let d = self.config.hidden_size;
        Ok(Head {
            layernorm: self.layer_norm("classifier.layernorm".into(), d)?,
            dense: self.linear("classifier.dense".into(), &[self.config.id2label.len(), d])?,
        })
    }

    fn parameter(&mut self, name: String, shape: &[usize]) -> Result<Parameter> {
        let (data, quantized) = match (self.source)(&name, shape)? {
            // Only the matrices of linear maps stay in eight bits.
            Values::Int8(quantized) if is_matrix(&name, shape) => (Vec::new(), Some(quantized)),
            values => (values.into_f32(), None),
        };
        Ok(Parameter {
            name,
            shape: shape.to_vec(),
            data,
            quantized,
        })
    }

    fn linear(&mut self, name: String, shape: &[usize]) -> Result<Linear> {
        let bias = Some(self.parameter(format!("{name}.bias"), &shape[..1])?);
        Ok(Linear {
            bias,
            ..self.linear_without_bias(name, shape)?
        })
    }

    fn linear_without_bias(&mut self, name: String, shape: &[usize]) -> Result<Linear> {
        Ok(Linear {
            weight: self.parameter(format!("{name}.weight"), shape)?,
            bias: None,
        })
    }

    fn layer_norm(&mut self, name: String, width: usize) -> Result<LayerNorm> {
        let weight = self.parameter(format!("{name}.weight"), &[width])?;
        Ok(LayerNorm {
            weight,
            bias: self.parameter(format!("{name}.bias"), &[width])?,
        })
    }
}
