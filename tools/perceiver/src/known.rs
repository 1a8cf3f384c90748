//! The official checkpoints, so that a user need not search for their names.

/// A published checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KnownModel {
    /// Name on the hub.
    pub(crate) name: &'static str,
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
        architecture: "PerceiverForMaskedLM",
        task: "masked language model over bytes",
        parameters: 201_108_230,
        bytes: 804_432_920,
    },
    KnownModel {
        name: "deepmind/vision-perceiver-learned",
        architecture: "PerceiverForImageClassificationLearned",
        task: "image classification, learned positions",
        parameters: 62_255_848,
        bytes: 249_023_392,
    },
    KnownModel {
        name: "deepmind/vision-perceiver-fourier",
        architecture: "PerceiverForImageClassificationFourier",
        task: "image classification, Fourier positions",
        parameters: 48_440_627,
        bytes: 193_762_508,
    },
    KnownModel {
        name: "deepmind/vision-perceiver-conv",
        architecture: "PerceiverForImageClassificationConvProcessing",
        task: "image classification, convolutional front",
        parameters: 48_646_522,
        bytes: 194_586_608,
    },
    KnownModel {
        name: "deepmind/optical-flow-perceiver",
        architecture: "PerceiverForOpticalFlow",
        task: "optical flow between two frames",
        parameters: 41_057_134,
        bytes: 164_228_536,
    },
    KnownModel {
        name: "deepmind/multimodal-perceiver",
        architecture: "PerceiverForMultimodalAutoencoding",
        task: "video, audio and label autoencoding",
        parameters: 19_858_855,
        bytes: 79_435_420,
    },
];
