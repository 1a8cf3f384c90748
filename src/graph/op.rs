//! Ops as data: which kernel, with which arguments.

use crate::kernels::Cost;
use crate::kernels::assemble::Assemble;
use crate::kernels::attention::Attention;
use crate::kernels::attention_merge::AttentionMerge;
use crate::kernels::convolution::Convolution;
use crate::kernels::embed::Embed;
use crate::kernels::factored_attention::FactoredAttention;
use crate::kernels::gemm::Gemm;
use crate::kernels::gemm_merge::GemmMerge;
use crate::kernels::join::Join;
use crate::kernels::layer_norm::LayerNorm;
use crate::kernels::max_pool::MaxPool;
use crate::kernels::row_scale::RowScale;
use crate::kernels::transpose::Transpose;

/// One operation of a graph. The argument structs are shared by shader hosts and CPU twins.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Op {
    /// Linear layer with epilogue.
    Gemm(Gemm),
    /// Sum of a divided product's parts, with its epilogue.
    GemmMerge(GemmMerge),
    /// LayerNorm of rows.
    LayerNorm(LayerNorm),
    /// Softmax attention.
    Attention(Attention),
    /// Merge of attention states.
    AttentionMerge(AttentionMerge),
    /// Token embedding.
    Embed(Embed),
    /// Content, Fourier features and a tail.
    Assemble(Assemble),
    /// Convolution of pictures.
    Convolution(Convolution),
    /// Largest values in windows of pictures.
    MaxPool(MaxPool),
    /// Attention over input rows given as factors.
    FactoredAttention(FactoredAttention),
    /// LayerNorm scale of rows given as factors.
    RowScale(RowScale),
    /// Rows become columns.
    Transpose(Transpose),
    /// Two arrays side by side.
    Join(Join),
}

impl Op {
    /// The kernel's name: that of its four files.
    #[must_use]
    pub const fn kernel(&self) -> &'static str {
        match self {
            Op::Gemm(_) => "gemm",
            Op::GemmMerge(_) => "gemm_merge",
            Op::LayerNorm(_) => "layer_norm",
            Op::Attention(_) => "attention",
            Op::AttentionMerge(_) => "attention_merge",
            Op::Embed(_) => "embed",
            Op::Assemble(_) => "assemble",
            Op::Convolution(_) => "convolution",
            Op::MaxPool(_) => "max_pool",
            Op::FactoredAttention(_) => "factored_attention",
            Op::RowScale(_) => "row_scale",
            Op::Transpose(_) => "transpose",
            Op::Join(_) => "join",
        }
    }

    /// What one execution costs.
    #[must_use]
    pub fn cost(&self) -> Cost {
        match self {
            Op::Gemm(a) => a.cost(),
            Op::GemmMerge(a) => a.cost(),
            Op::LayerNorm(a) => a.cost(),
            Op::Attention(a) => a.cost(),
            Op::AttentionMerge(a) => a.cost(),
            Op::Embed(a) => a.cost(),
            Op::Assemble(a) => a.cost(),
            Op::Convolution(a) => a.cost(),
            Op::MaxPool(a) => a.cost(),
            Op::FactoredAttention(a) => a.cost(),
            Op::RowScale(a) => a.cost(),
            Op::Transpose(a) => a.cost(),
            Op::Join(a) => a.cost(),
        }
    }
}

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
    pub const ALL: [Stage; 5] = [
        Stage::Preprocess,
        Stage::Encode,
        Stage::Process,
        Stage::Decode,
        Stage::Postprocess,
    ];

    /// Lower-case name.
    #[must_use]
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
