//! The classes of Hugging Face's Perceiver, one file each: from a configuration to a blueprint, and from
//! named tensors to the rows that it reads.

mod classification;
pub mod image_classification;
pub mod masked_lm;
pub mod multimodal;
pub mod optical_flow;
pub mod text_classification;
