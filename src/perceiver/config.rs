//! Configuration (stand-in).
#![allow(missing_docs)]
use crate::kernels::gemm::Activation;
#[derive(Debug, Clone, PartialEq)]
pub struct PerceiverConfig { pub num_latents: usize, pub d_latents: usize, pub d_model: usize, pub num_blocks: usize, pub num_self_attends_per_block: usize, pub num_self_attention_heads: usize, pub num_cross_attention_heads: usize, pub self_attention_widening_factor: usize, pub cross_attention_widening_factor: usize, pub use_query_residual: bool, pub vocab_size: usize, pub max_position_embeddings: usize, pub train_size: [usize;2] }
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture { MaskedLm, OpticalFlow }
impl PerceiverConfig {
    pub fn activation(&self) -> Activation { Activation::GeluErf }
    pub fn cross_attention_widths(&self, c: usize) -> (usize, usize) { (c, c) }
    pub fn self_attention_widths(&self) -> (usize, usize) { (self.d_latents, self.d_latents) }
    pub fn decoder_widths(&self, _q: usize) -> (usize, usize) { (self.d_latents, self.d_latents) }
}
