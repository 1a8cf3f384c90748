//! The official checkpoints, so that a user need not search for their names.

use perceiver::{Architecture, PerceiverConfig};

use crate::published::published;

/// A published checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KnownModel {
    /// Name on the hub.
    pub(crate) name: &'static str,
    /// Name in tables.
    pub(crate) short: &'static str,
    /// Class, as in its `config.json`.
    pub(crate) architecture: &'static str,
    /// What it does.
    pub(crate) task: &'static str,
    /// Learned numbers.
    pub(crate) parameters: u64,
    /// Bytes of its weights in float32.
    pub(crate) bytes: u64,
}

/// The six that the authors' results are published with.
pub(crate) const KNOWN: [KnownModel; 6] = [
    KnownModel {
        name: "deepmind/language-perceiver",
        short: "language",
        architecture: "PerceiverForMaskedLM",
        task: "masked language model over bytes",
        parameters: 201_108_230,
        bytes: 804_432_920,
    },
    KnownModel {
        name: "deepmind/vision-perceiver-learned",
        short: "image-learned",
        architecture: "PerceiverForImageClassificationLearned",
        task: "image classification, learned positions",
        parameters: 62_255_848,
        bytes: 249_023_392,
    },
    KnownModel {
        name: "deepmind/vision-perceiver-fourier",
        short: "image-fourier",
        architecture: "PerceiverForImageClassificationFourier",
        task: "image classification, Fourier positions",
        parameters: 48_440_627,
        bytes: 193_762_508,
    },
    KnownModel {
        name: "deepmind/vision-perceiver-conv",
        short: "image-convolution",
        architecture: "PerceiverForImageClassificationConvProcessing",
        task: "image classification, convolutional front",
        parameters: 48_646_522,
        bytes: 194_586_608,
    },
    KnownModel {
        name: "deepmind/optical-flow-perceiver",
        short: "flow",
        architecture: "PerceiverForOpticalFlow",
        task: "optical flow between two frames",
        parameters: 41_057_134,
        bytes: 164_228_536,
    },
    KnownModel {
        name: "deepmind/multimodal-perceiver",
        short: "multimodal",
        architecture: "PerceiverForMultimodalAutoencoding",
        task: "video, audio and label autoencoding",
        parameters: 19_858_855,
        bytes: 79_435_420,
    },
];

impl KnownModel {
    /// The configuration that it was published with, without the names of its classes.
    pub(crate) fn config(&self) -> PerceiverConfig {
        let class = Architecture::ALL.into_iter().find(|a| a.name() == self.architecture);
        published(class.unwrap_or(Architecture::MaskedLm))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Running means count as parameters here or there, and a few tensors have no effect.
    #[test]
    fn configurations_have_the_parameters_of_the_published_models() {
        for known in KNOWN {
            let tensors = known.config().tensors().expect("a whole model");
            let found: usize = tensors.iter().map(|(_, s)| s.iter().product::<usize>()).sum();
            assert!(known.parameters.abs_diff(found as u64) < 2000, "{}: {found}", known.name);
        }
    }
}
