//! The configuration of a model, under Hugging Face's names; `file` reads it.
//!
//! Invariant: a [`PerceiverConfig`] that [`PerceiverConfig::validate`] accepts describes a model
//! whose every tensor has a sensible size, so that graph building cannot overflow.

mod file;

use super::official::{Architecture, Misfit};
use crate::error::{Error, Result};
use crate::kernels::gemm::Activation;

/// Which side of a cross-attention gives the width of queries and keys where `qk_channels` does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AttentionShape {
    /// The keys' and values' side.
    KeysValues,
    /// The queries' side.
    Queries,
}

/// What the scores of a classifier mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProblemType {
    /// Scores are quantities.
    Regression,
    /// Exactly one class holds.
    SingleLabel,
    /// Each class holds or not, whatever the others do.
    MultiLabel,
}

/// Sizes of a model, under Hugging Face's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PerceiverConfig {
    /// Class of the model.
    pub architecture: Architecture,
    /// Latents N.
    pub num_latents: usize,
    /// Latent channels D.
    pub d_latents: usize,
    /// Channels C of embedded text; not used by other models.
    pub d_model: usize,
    /// Times that the tower is run, with the same weights.
    pub num_blocks: usize,
    /// Layers of the tower.
    pub num_self_attends_per_block: usize,
    /// Heads of the tower.
    pub num_self_attention_heads: usize,
    /// Heads of the encoder.
    pub num_cross_attention_heads: usize,
    /// Query and key channels, all heads together.
    pub qk_channels: Option<usize>,
    /// Value channels, all heads together.
    pub v_channels: Option<usize>,
    /// What takes the place of missing `qk_channels` in cross-attention.
    pub cross_attention_shape_for_attention: AttentionShape,
    /// MLP width of the tower over D.
    pub self_attention_widening_factor: usize,
    /// MLP width of the encoder over D.
    pub cross_attention_widening_factor: usize,
    /// Activation of all MLPs.
    pub hidden_act: Activation,
    /// Whether the encoder adds the raw latents to its attention's result.
    pub use_query_residual: bool,
    /// Tokens of a text model.
    pub vocab_size: usize,
    /// Longest text, and number of output positions.
    pub max_position_embeddings: usize,
    /// Height and width of the frames of a flow model.
    pub train_size: [usize; 2],
    /// Names of the classes by number; their count is the number of classes.
    pub labels: Vec<String>,
    /// What the scores of a classifier mean, where the checkpoint says it.
    pub problem_type: Option<ProblemType>,
    /// Side of the pictures of a model with learned positions; side of the patch grid of a
    /// multimodal model.
    pub image_size: usize,
    /// Video frames of a multimodal model.
    pub num_frames: usize,
    /// Audio samples per video frame.
    pub audio_samples_per_frame: usize,
    /// Audio samples of one input row.
    pub samples_per_patch: usize,
    /// One, frames, height and width of the video that a multimodal model decodes.
    pub output_shape: [usize; 4],
    /// Channels after a multimodal model's decoder.
    pub output_num_channels: usize,
    /// Channels of a multimodal model's learned query for the class.
    pub label_trainable_num_channels: usize,
}

/// Largest size of any kind. Products of three still fit a `u64`, and no honest model comes near.
pub(super) const LARGEST: usize = 1 << 20;
/// Most elements of one tensor: 8 GiB in f32.
pub(super) const MOST_ELEMENTS: usize = 1 << 31;

impl PerceiverConfig {
    /// Hugging Face's defaults, which are the sizes of the language model.
    #[must_use]
    pub fn new(architecture: Architecture) -> Self {
        PerceiverConfig {
            architecture,
            num_latents: 256,
            d_latents: 1280,
            d_model: 768,
            num_blocks: 1,
            num_self_attends_per_block: 26,
            num_self_attention_heads: 8,
            num_cross_attention_heads: 8,
            qk_channels: None,
            v_channels: None,
            cross_attention_shape_for_attention: AttentionShape::KeysValues,
            self_attention_widening_factor: 1,
            cross_attention_widening_factor: 1,
            hidden_act: Activation::GeluErf,
            use_query_residual: true,
            vocab_size: 262,
            max_position_embeddings: 2048,
            train_size: [368, 496],
            labels: default_labels(2),
            problem_type: None,
            image_size: 56,
            num_frames: 16,
            audio_samples_per_frame: 1920,
            samples_per_patch: 16,
            output_shape: [1, 16, 224, 224],
            output_num_channels: 512,
            label_trainable_num_channels: 1024,
        }
    }

    /// Sizes that are plain numbers, by key.
    fn sizes_mut(&mut self) -> [(&'static str, &mut usize); 17] {
        macro_rules! by_key {
            ($($field:ident)*; $key:literal: $other:ident) => {
                [$((stringify!($field), &mut self.$field),)* ($key, &mut self.$other)]
            };
        }
        by_key!(
            num_latents d_latents d_model num_blocks num_self_attends_per_block
            num_self_attention_heads num_cross_attention_heads self_attention_widening_factor
            cross_attention_widening_factor vocab_size max_position_embeddings image_size num_frames
            audio_samples_per_frame samples_per_patch output_num_channels;
            "_label_trainable_num_channels": label_trainable_num_channels
        )
    }

    /// Checks that the sizes fit each other and are within reason.
    ///
    /// # Errors
    /// [`Error::Config`] for the first key that does not.
    pub fn validate(&self, origin: &str) -> Result<()> {
        self.check().map_err(|(key, what, hint)| Error::config(origin, key, what, hint))
    }

    fn check(&self) -> Result<(), Misfit> {
        let need = |holds: bool, key, what: String, hint: &str| match holds {
            true => Ok(()),
            false => Err((key, what, hint.to_owned())),
        };
        let mut copy = self.clone();
        let plain = copy.sizes_mut().map(|(key, size)| (key, *size));
        let others = [
            ("qk_channels", self.qk_channels.unwrap_or(1)),
            ("v_channels", self.v_channels.unwrap_or(1)),
            ("train_size", self.train_size[0]),
            ("train_size", self.train_size[1]),
            ("id2label", self.labels.len()),
        ];
        let shape = self.output_shape.map(|n| ("output_shape", n));
        let hint = format!("1 to {LARGEST} is possible");
        for (key, size) in plain.into_iter().chain(others).chain(shape) {
            need((1..=LARGEST).contains(&size), key, format!("is {size}"), &hint)?;
        }
        let (blocks, layers) = (self.num_blocks, self.num_self_attends_per_block);
        let layers = blocks.saturating_mul(layers);
        let what = format!("times num_self_attends_per_block is {layers} layers");
        need(layers <= 16_384, "num_blocks", what, "at most 16384 are possible")?;
        let (d, heads, cross) =
            (self.d_latents, self.num_self_attention_heads, self.num_cross_attention_heads);
        for (key, heads) in
            [("num_self_attention_heads", heads), ("num_cross_attention_heads", cross)]
        {
            let what = format!("is {heads} for {d} latent channels");
            need(d.is_multiple_of(heads), key, what, "it must divide d_latents")?;
        }
        let (qk, v) = self.self_attention_widths();
        let what = format!("is {qk} for {heads} self-attention heads");
        let hint = "it must be a multiple of the heads";
        need(qk.is_multiple_of(heads), "qk_channels", what, hint)?;
        let what = format!("makes self-attention {v} wide");
        need(v == d, "v_channels", what, "it must equal d_latents, which is added to it")?;
        let channels = self.input_channels();
        let (qk, v) = self.cross_attention_widths(channels);
        for (key, width) in [("qk_channels", qk), ("v_channels", v)] {
            let what = format!("is {width} in the encoder, with {cross} heads");
            let hint = "it must be a multiple of num_cross_attention_heads";
            need(width.is_multiple_of(cross), key, what, hint)?;
        }
        let factor = self.self_attention_widening_factor.max(self.cross_attention_widening_factor);
        let mut arrays = vec![
            ("num_latents", self.num_latents * d),
            ("d_latents", (d * factor).saturating_mul(d)),
            ("qk_channels", (qk + v) * d.max(channels)),
        ];
        arrays.extend((self.architecture.class().check)(self)?);
        let hint = format!("at most {MOST_ELEMENTS} are possible");
        for (key, elements) in arrays {
            let what = format!("makes an array of {elements} elements");
            need(elements <= MOST_ELEMENTS, key, what, &hint)?;
        }
        Ok(())
    }

    /// Channels C of the encoder's input rows.
    pub(crate) fn input_channels(&self) -> usize {
        (self.architecture.class().input_channels)(self)
    }

    /// Channels E of the decoder's queries.
    pub(crate) fn query_channels(&self) -> usize {
        (self.architecture.class().query_channels)(self)
    }

    /// Audio patches of a multimodal model's clip.
    #[doc(hidden)]
    pub fn audio_patches(&self) -> usize {
        self.num_frames * self.audio_samples_per_frame / self.samples_per_patch.max(1)
    }

    /// Query-key and value channels of the encoder's cross-attention over inputs of this width.
    pub(super) fn cross_attention_widths(&self, input_channels: usize) -> (usize, usize) {
        let qk = self.qk_channels.unwrap_or(match self.cross_attention_shape_for_attention {
            AttentionShape::KeysValues => input_channels,
            AttentionShape::Queries => self.d_latents,
        });
        (qk, self.v_channels.unwrap_or(qk))
    }

    /// Query-key and value channels of the tower.
    pub(super) fn self_attention_widths(&self) -> (usize, usize) {
        let qk = self.qk_channels.unwrap_or(self.d_latents);
        (qk, self.v_channels.unwrap_or(qk))
    }

    /// Query-key and value channels of a decoder whose class does not fix them, for queries of this
    /// width.
    pub(super) fn decoder_widths(&self, query_channels: usize) -> (usize, usize) {
        let qk = match self.cross_attention_shape_for_attention {
            AttentionShape::KeysValues => self.d_latents,
            AttentionShape::Queries => query_channels,
        };
        (qk, qk)
    }
}

/// The names that Hugging Face gives to classes without names.
pub(super) fn default_labels(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("LABEL_{i}")).collect()
}
