//! The published classes, one file and one row of the table each: from a configuration to a
//! blueprint, and from named tensors to the rows that it reads.

mod classification;
mod image_convolution;
mod image_fourier;
mod image_learned;
mod masked_lm;
mod multimodal;
pub mod optical_flow;
mod pictures;
mod sequence_classification;
mod stack;
mod text;

use super::batch::Batch;
use super::blueprint::Blueprint;
use super::config::PerceiverConfig;
use super::request::Sizes;
use crate::error::Result;
use crate::tensor::NamedTensors;
pub(crate) use pictures::{LONGEST_SIDE, MOST_PIXELS};

/// What one item of a class is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    /// A text.
    Text,
    /// A picture.
    Picture {
        /// Whether positions are learned for squares of side `image_size`.
        learned: bool,
        /// The smallest side.
        least: usize,
    },
    /// Two frames of a video.
    Frames,
    /// Frames of a video and their sound.
    Clip,
}

/// All that the engine knows of a published class.
pub(crate) struct Class {
    /// Hugging Face's name.
    pub(crate) name: &'static str,
    pub(crate) item: Item,
    /// Channels C of the encoder's input rows.
    pub(crate) input_channels: fn(&PerceiverConfig) -> usize,
    /// Channels E of the decoder's queries.
    pub(crate) query_channels: fn(&PerceiverConfig) -> usize,
    /// Checks what concerns this class alone; returns elements of its largest arrays by the key that
    /// decides them.
    pub(crate) check: fn(&PerceiverConfig) -> Result<Arrays, Misfit>,
    /// What the published examples run a model with.
    pub(crate) usual_sizes: fn(&PerceiverConfig) -> Sizes,
    /// The model as data.
    pub(crate) blueprint: fn(&PerceiverConfig, &Sizes) -> Blueprint,
    /// Checks inputs and makes rows of them; positions are resized if the flag says so.
    pub(crate) inputs: fn(&PerceiverConfig, &NamedTensors, bool) -> Result<Batch>,
    /// Inputs that the decoder alone reads: points of its grids.
    pub(crate) points: &'static [&'static str],
    /// Tensors that published checkpoints have and that change no result.
    pub(crate) unused_tensors: &'static [&'static str],
    /// Hugging Face's module of the decoder's learned query, where it is not the decoder's own.
    #[cfg_attr(not(feature = "torch"), allow(dead_code, reason = "for DeepMind's names alone"))]
    pub(crate) query_module: Option<&'static str>,
    /// Names of inputs that a file of inputs may hold; `N` stands for a number.
    pub(crate) file_inputs: &'static [&'static str],
}

/// Keys of a configuration and the elements of the arrays that they decide.
pub(crate) type Arrays = Vec<(&'static str, usize)>;

/// A key of a configuration, what is wrong with it, and what would be right.
pub(crate) type Misfit = (&'static str, String, String);

macro_rules! classes {
    ($($(#[$doc:meta])* $variant:ident = $class:path,)*) => {
        /// Which of Hugging Face's classes a checkpoint was saved from.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Architecture {
            $($(#[$doc])* $variant,)*
        }

        impl Architecture {
            /// All that this engine runs.
            pub const ALL: [Architecture; [$($class.name),*].len()] =
                [$(Architecture::$variant),*];

            pub(crate) const fn class(self) -> &'static Class {
                match self {
                    $(Architecture::$variant => &$class,)*
                }
            }
        }
    };
}

// A new class is its file and its row here.
classes! {
    /// `PerceiverForMaskedLM`: bytes with gaps in, bytes out.
    MaskedLm = masked_lm::CLASS,
    /// `PerceiverForSequenceClassification`: bytes in, one score per class out.
    SequenceClassification = sequence_classification::CLASS,
    /// `PerceiverForImageClassificationLearned`: pixels and learned positions in, classes out.
    ImageLearned = image_learned::CLASS,
    /// `PerceiverForImageClassificationFourier`: pixels and Fourier positions in, classes out.
    ImageFourier = image_fourier::CLASS,
    /// `PerceiverForImageClassificationConvProcessing`: features of a convolution in, classes out.
    ImageConvolution = image_convolution::CLASS,
    /// `PerceiverForOpticalFlow`: two frames in, a flow vector per pixel out.
    OpticalFlow = optical_flow::CLASS,
    /// `PerceiverForMultimodalAutoencoding`: video and sound in, video, sound and class out.
    Multimodal = multimodal::CLASS,
}

impl PerceiverConfig {
    /// The model as data, for items of these sizes.
    #[must_use]
    pub fn blueprint(&self, sizes: &Sizes) -> Blueprint {
        (self.architecture.class().blueprint)(self, sizes)
    }

    /// Names and shapes of the tensors that the model needs.
    ///
    /// # Errors
    /// [`Error::Graph`](crate::Error::Graph) when the configuration does not hold together.
    pub fn tensors(&self) -> Result<Vec<(String, Vec<usize>)>> {
        let sizes = Sizes { length: 1, points: [1, 1], ..Sizes::usual(self) };
        self.blueprint(&sizes).tensors()
    }
}

impl Architecture {
    /// The name of Hugging Face's class.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.class().name
    }

    /// Whether texts come in.
    pub(crate) const fn is_text(self) -> bool {
        matches!(self.class().item, Item::Text)
    }

    /// Whether single pictures come in.
    #[must_use]
    #[doc(hidden)]
    pub const fn is_image(self) -> bool {
        matches!(self.class().item, Item::Picture { .. })
    }

    /// What one item is.
    #[doc(hidden)]
    pub const fn item(self) -> Item {
        self.class().item
    }

    /// Names of inputs that a file of inputs may hold; `N` stands for a number.
    #[doc(hidden)]
    pub const fn file_inputs(self) -> &'static [&'static str] {
        self.class().file_inputs
    }

    pub(super) fn names() -> String {
        Architecture::ALL.map(Architecture::name).join(", ")
    }
}
