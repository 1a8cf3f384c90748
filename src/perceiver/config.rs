//! The configuration of a model, under Hugging Face's names; `config_file` reads it.
//!
//! Invariant: a [`PerceiverConfig`] that [`PerceiverConfig::validate`] accepts describes a model
//! whose every tensor has a sensible size, so that graph building cannot overflow.

use crate::error::{Error, Result};
use crate::kernels::gemm::Activation;

/// Which of Hugging Face's classes a checkpoint was saved from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Architecture {
    /// `PerceiverForMaskedLM`: bytes with gaps in, bytes out.
    MaskedLm,
    /// `PerceiverForSequenceClassification`: bytes in, one score per class out.
    SequenceClassification,
    /// `PerceiverForImageClassificationLearned`: pixels and learned positions in, classes out.
    ImageLearned,
    /// `PerceiverForImageClassificationFourier`: pixels and Fourier positions in, classes out.
    ImageFourier,
    /// `PerceiverForImageClassificationConvProcessing`: features of a convolution in, classes out.
    ImageConvolution,
    /// `PerceiverForOpticalFlow`: two frames in, a flow vector per pixel out.
    OpticalFlow,
    /// `PerceiverForMultimodalAutoencoding`: video and sound in, video, sound and class out.
    Multimodal,
}

impl Architecture {
    /// All that this engine runs.
    pub const ALL: [Architecture; 7] = [
        Architecture::MaskedLm,
        Architecture::SequenceClassification,
        Architecture::ImageLearned,
        Architecture::ImageFourier,
        Architecture::ImageConvolution,
        Architecture::OpticalFlow,
        Architecture::Multimodal,
    ];

    /// The name of Hugging Face's class.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Architecture::MaskedLm => "PerceiverForMaskedLM",
            Architecture::SequenceClassification => "PerceiverForSequenceClassification",
            Architecture::ImageLearned => "PerceiverForImageClassificationLearned",
            Architecture::ImageFourier => "PerceiverForImageClassificationFourier",
            Architecture::ImageConvolution => "PerceiverForImageClassificationConvProcessing",
            Architecture::OpticalFlow => "PerceiverForOpticalFlow",
            Architecture::Multimodal => "PerceiverForMultimodalAutoencoding",
        }
    }

    /// Whether texts come in.
    #[must_use]
    pub const fn is_text(self) -> bool {
        matches!(
            self,
            Architecture::MaskedLm | Architecture::SequenceClassification
        )
    }

    /// Whether single pictures come in.
    #[must_use]
    pub const fn is_image(self) -> bool {
        matches!(
            self,
            Architecture::ImageLearned
                | Architecture::ImageFourier
                | Architecture::ImageConvolution
        )
    }

    pub(super) fn names() -> String {
        Architecture::ALL.map(Architecture::name).join(", ")
    }
}

/// Which side of a cross-attention gives the width of queries and keys where `qk_channels` does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttentionShape {
    /// The keys' and values' side.
    KeysValues,
    /// The queries' side.
    Queries,
}

/// What the scores of a classifier mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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

/// Channels C of the flow model's input rows, fixed in Hugging Face's class: 64 of content, two
/// positions, sines and cosines of 64 bands on both axes.
pub const FLOW_CHANNELS: usize = 322;
/// Channels of a learned-position model's input rows: 256 of content, 256 of position.
pub(crate) const LEARNED_CHANNELS: usize = 512;
/// Channels of a Fourier model's input rows: colours and the features of 64 bands on two axes.
pub(crate) const FOURIER_CHANNELS: usize = 3 + 258;
/// Channels of a convolution model's input rows.
pub(crate) const CONVOLUTION_CHANNELS: usize = 64 + 258;
/// Fourier features of a multimodal model's audio: 192 bands on one axis.
pub(crate) const AUDIO_FEATURES: usize = 1 + 2 * 192;
/// Fourier features of a multimodal model's video: 32 bands on three axes.
pub(crate) const VIDEO_FEATURES: usize = 3 * (1 + 2 * 32);
/// Channels of a block of 1×4×4 pixels.
pub(crate) const VIDEO_PATCH: usize = 48;
/// Columns of learned padding that even the widest modality's input rows have.
const LEAST_INPUT_PADDING: usize = 4;
/// The same for output queries.
const LEAST_QUERY_PADDING: usize = 2;
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

    /// Checks that the sizes fit each other and are within reason.
    ///
    /// # Errors
    /// [`Error::Config`] for the first key that does not.
    pub fn validate(&self, origin: &str) -> Result<()> {
        let bad = |key: &str, what: String, hint: &str| {
            Err(Error::Config {
                origin: origin.to_owned(),
                key: key.to_owned(),
                what,
                hint: hint.to_owned(),
            })
        };
        let sizes = [
            ("num_latents", self.num_latents),
            ("d_latents", self.d_latents),
            ("d_model", self.d_model),
            ("num_blocks", self.num_blocks),
            (
                "num_self_attends_per_block",
                self.num_self_attends_per_block,
            ),
            ("num_self_attention_heads", self.num_self_attention_heads),
            ("num_cross_attention_heads", self.num_cross_attention_heads),
            ("qk_channels", self.qk_channels.unwrap_or(1)),
            ("v_channels", self.v_channels.unwrap_or(1)),
            (
                "self_attention_widening_factor",
                self.self_attention_widening_factor,
            ),
            (
                "cross_attention_widening_factor",
                self.cross_attention_widening_factor,
            ),
            ("vocab_size", self.vocab_size),
            ("max_position_embeddings", self.max_position_embeddings),
            ("train_size", self.train_size[0]),
            ("train_size", self.train_size[1]),
            ("id2label", self.labels.len()),
            ("image_size", self.image_size),
            ("num_frames", self.num_frames),
            ("audio_samples_per_frame", self.audio_samples_per_frame),
            ("samples_per_patch", self.samples_per_patch),
            ("output_shape", self.output_shape[0]),
            ("output_shape", self.output_shape[1]),
            ("output_shape", self.output_shape[2]),
            ("output_shape", self.output_shape[3]),
            ("output_num_channels", self.output_num_channels),
            (
                "_label_trainable_num_channels",
                self.label_trainable_num_channels,
            ),
        ];
        for (key, size) in sizes {
            if size == 0 || size > LARGEST {
                return bad(
                    key,
                    format!("is {size}"),
                    &format!("1 to {LARGEST} is possible"),
                );
            }
        }
        let layers = self
            .num_blocks
            .saturating_mul(self.num_self_attends_per_block);
        if layers > 16_384 {
            return bad(
                "num_blocks",
                format!("times num_self_attends_per_block is {layers} layers"),
                "at most 16384 are possible",
            );
        }
        let (d, heads) = (self.d_latents, self.num_self_attention_heads);
        if !d.is_multiple_of(heads) {
            return bad(
                "num_self_attention_heads",
                format!("is {heads} for {d} latent channels"),
                "it must divide d_latents",
            );
        }
        let cross = self.num_cross_attention_heads;
        if !d.is_multiple_of(cross) {
            return bad(
                "num_cross_attention_heads",
                format!("is {cross} for {d} latent channels"),
                "it must divide d_latents",
            );
        }
        let (qk, v) = self.self_attention_widths();
        if !qk.is_multiple_of(heads) {
            return bad(
                "qk_channels",
                format!("is {qk} for {heads} self-attention heads"),
                "it must be a multiple of the heads",
            );
        }
        if v != d {
            return bad(
                "v_channels",
                format!("makes self-attention {v} wide"),
                "it must equal d_latents, which is added to it",
            );
        }
        let channels = self.input_channels();
        let (qk, v) = self.cross_attention_widths(channels);
        for (key, width) in [("qk_channels", qk), ("v_channels", v)] {
            if !width.is_multiple_of(cross) {
                return bad(
                    key,
                    format!("is {width} in the encoder, with {cross} heads"),
                    "it must be a multiple of num_cross_attention_heads",
                );
            }
        }
        let pixels = self.train_size[0] * self.train_size[1];
        let widest = self.d_latents
            * self
                .self_attention_widening_factor
                .max(self.cross_attention_widening_factor);
        let mut arrays = vec![
            ("num_latents", self.num_latents * d),
            ("d_latents", widest.saturating_mul(d)),
            ("qk_channels", (qk + v) * d.max(channels)),
        ];
        if self.architecture.is_text() && self.vocab_size < 7 {
            return bad(
                "vocab_size",
                format!("is {}", self.vocab_size),
                "six special tokens and bytes need more",
            );
        }
        match self.architecture {
            Architecture::MaskedLm => {
                if !self.d_model.is_multiple_of(8) {
                    return bad(
                        "d_model",
                        format!("is {}", self.d_model),
                        "it must be a multiple of the 8 heads of the decoder",
                    );
                }
                arrays.push(("vocab_size", self.vocab_size * self.d_model));
                arrays.push((
                    "max_position_embeddings",
                    self.max_position_embeddings * self.d_model.max(self.vocab_size),
                ));
            }
            Architecture::SequenceClassification => {
                arrays.push(("vocab_size", self.vocab_size * self.d_model));
                let positions = self.max_position_embeddings * self.d_model;
                arrays.push(("max_position_embeddings", positions));
                arrays.push(("id2label", self.labels.len() * d));
            }
            Architecture::ImageLearned => {
                let pixels = self.image_size.saturating_mul(self.image_size);
                arrays.push(("image_size", pixels.saturating_mul(channels)));
                arrays.push(("id2label", self.labels.len() * d));
            }
            Architecture::ImageFourier | Architecture::ImageConvolution => {
                arrays.push(("id2label", self.labels.len() * d));
            }
            Architecture::OpticalFlow => {
                arrays.push(("train_size", pixels.saturating_mul(channels)));
            }
            Architecture::Multimodal => {
                let samples = self.num_frames * self.audio_samples_per_frame;
                if !samples.is_multiple_of(self.samples_per_patch) {
                    return bad(
                        "samples_per_patch",
                        format!("is {} for {samples} samples", self.samples_per_patch),
                        "it must divide num_frames times audio_samples_per_frame",
                    );
                }
                let side = 4 * self.image_size;
                let wanted = [1, self.num_frames, side, side];
                if self.output_shape != wanted {
                    return bad(
                        "output_shape",
                        format!("is {:?}", self.output_shape),
                        &format!("num_frames and image_size (in patches of 4) make it {wanted:?}"),
                    );
                }
                let frames = self.num_frames.saturating_mul(self.image_size);
                let video = frames.saturating_mul(self.image_size);
                arrays.push(("image_size", video.saturating_mul(channels)));
                let patches = samples / self.samples_per_patch;
                arrays.push(("audio_samples_per_frame", patches.saturating_mul(channels)));
                let query = self.query_channels();
                let decoded = query.saturating_mul(self.output_num_channels);
                arrays.push(("output_num_channels", decoded));
                let label = self.labels.len().saturating_mul(self.output_num_channels);
                arrays.push(("id2label", label));
            }
        }
        for (key, elements) in arrays {
            if elements > MOST_ELEMENTS {
                return bad(
                    key,
                    format!("makes an array of {elements} elements"),
                    &format!("at most {MOST_ELEMENTS} are possible"),
                );
            }
        }
        Ok(())
    }

    /// Channels C of the encoder's input rows.
    #[must_use]
    pub fn input_channels(&self) -> usize {
        match self.architecture {
            Architecture::MaskedLm | Architecture::SequenceClassification => self.d_model,
            Architecture::ImageLearned => LEARNED_CHANNELS,
            Architecture::ImageFourier => FOURIER_CHANNELS,
            Architecture::ImageConvolution => CONVOLUTION_CHANNELS,
            Architecture::OpticalFlow => FLOW_CHANNELS,
            Architecture::Multimodal => {
                (self.samples_per_patch + AUDIO_FEATURES)
                    .max(VIDEO_PATCH + VIDEO_FEATURES)
                    .max(self.labels.len())
                    + LEAST_INPUT_PADDING
            }
        }
    }

    /// Channels E of the decoder's queries.
    #[must_use]
    pub fn query_channels(&self) -> usize {
        match self.architecture {
            Architecture::MaskedLm => self.d_model,
            Architecture::OpticalFlow => FLOW_CHANNELS,
            Architecture::Multimodal => {
                AUDIO_FEATURES
                    .max(VIDEO_FEATURES)
                    .max(self.label_trainable_num_channels)
                    + LEAST_QUERY_PADDING
            }
            _ => self.d_latents,
        }
    }

    /// Audio patches of a multimodal model's clip.
    #[must_use]
    pub fn audio_patches(&self) -> usize {
        self.num_frames * self.audio_samples_per_frame / self.samples_per_patch.max(1)
    }

    /// Activation of all MLPs.
    #[must_use]
    pub fn activation(&self) -> Activation {
        self.hidden_act
    }

    /// Query-key and value channels of the encoder's cross-attention over inputs of this width.
    #[must_use]
    pub fn cross_attention_widths(&self, input_channels: usize) -> (usize, usize) {
        let qk = self
            .qk_channels
            .unwrap_or(match self.cross_attention_shape_for_attention {
                AttentionShape::KeysValues => input_channels,
                AttentionShape::Queries => self.d_latents,
            });
        (qk, self.v_channels.unwrap_or(qk))
    }

    /// Query-key and value channels of the tower.
    #[must_use]
    pub fn self_attention_widths(&self) -> (usize, usize) {
        let qk = self.qk_channels.unwrap_or(self.d_latents);
        (qk, self.v_channels.unwrap_or(qk))
    }

    /// Query-key and value channels of a decoder whose class does not fix them, for queries of this
    /// width.
    #[must_use]
    pub fn decoder_widths(&self, query_channels: usize) -> (usize, usize) {
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
