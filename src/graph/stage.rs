//! The parts of encode, process and decode that nodes belong to.

/// The part of encode–process–decode that a node belongs to.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Raw inputs to the M×C input array.
    Preprocess,
    /// Cross-attention from inputs to latents.
    Encode,
    /// Latent self-attention.
    Process,
    /// Cross-attention from latents to output queries.
    Decode,
    /// Decoder output to the result.
    Postprocess,
}

impl Stage {
    /// All stages in order.
    #[doc(hidden)]
    pub const ALL: [Stage; 5] =
        [Stage::Preprocess, Stage::Encode, Stage::Process, Stage::Decode, Stage::Postprocess];

    /// Lower-case name.
    #[doc(hidden)]
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Preprocess => "preprocess",
            Stage::Encode => "encode",
            Stage::Process => "process",
            Stage::Decode => "decode",
            Stage::Postprocess => "postprocess",
        }
    }
}
