//! From Haiku's modules and arrays to Hugging Face's tensors.
//!
//! Haiku numbers the modules of a class in the order in which they are made (`linear`, `linear_1`, …) and
//! keeps weights as `[in, out]` and `[height, width, in, out]`. Hugging Face's published checkpoints have
//! all axes reversed, those of the 7×7 convolution too, so that its height and width are exchanged; the
//! published configurations run with that, and so a conversion must give the same.

use super::entry::Entry;
use crate::perceiver::Architecture;

/// What becomes of the axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Axes {
    Kept,
    Reversed,
    /// Axes of length one are dropped.
    Squeezed,
}

impl Axes {
    pub(super) fn of(self, entry: Entry) -> Entry {
        match self {
            Axes::Kept => entry,
            Axes::Reversed => entry.transposed(),
            Axes::Squeezed => entry.squeezed(),
        }
    }
}

/// What a Haiku array is called by Hugging Face.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Known {
    Tensor(String, Axes),
    /// Counters and running sums that only training needs.
    Unused,
}

/// Hugging Face's name of `module/name`; `None` for what no published model has.
pub(super) fn translate(architecture: Architecture, path: &str) -> Option<Known> {
    let (module, name) = path.rsplit_once('/')?;
    if module == "embedding_decoder" && name == "bias" {
        return Some(Known::Tensor("embedding_decoder.bias".to_owned(), Axes::Kept));
    }
    if is_average(module) && (name == "counter" || name == "hidden") {
        return Some(Known::Unused);
    }
    let (inner, axes) = encoder(module, name)
        .or_else(|| decoder(architecture, module, name))
        .or_else(|| preprocessor(module, name))
        .or_else(|| postprocessor(module, name))?;
    Some(Known::Tensor(format!("perceiver.{inner}"), axes))
}

type Name = Option<(String, Axes)>;

fn kept(name: impl Into<String>) -> Name {
    Some((name.into(), Axes::Kept))
}

/// A linear layer or convolution.
fn linear(inner: &str, name: &str) -> Name {
    match name {
        "w" => Some((format!("{inner}.weight"), Axes::Reversed)),
        "b" => kept(format!("{inner}.bias")),
        _ => None,
    }
}

fn layer_norm(inner: &str, name: &str) -> Name {
    match name {
        "scale" => kept(format!("{inner}.weight")),
        "offset" => kept(format!("{inner}.bias")),
        _ => None,
    }
}

fn encoder(module: &str, name: &str) -> Name {
    // The multimodal model calls its encoder `encoder`.
    let inner = module
        .strip_prefix("perceiver_encoder/~/")
        .or_else(|| module.strip_prefix("encoder/~/"))?;
    if inner == "trainable_position_encoding" {
        return (name == "pos_embs").then(|| ("embeddings.latents".to_owned(), Axes::Kept));
    }
    let (layer, rest) = inner.split_once('/')?;
    if layer == "cross_attention" {
        return attention("encoder.cross_attention", true, rest, name);
    }
    let number = numbered(layer, "self_attention")?;
    attention(&format!("encoder.self_attends.{number}"), false, rest, name)
}

fn decoder(architecture: Architecture, module: &str, name: &str) -> Name {
    if let Some(modality) = module.strip_prefix("multimodal_decoder/~decoder_query/") {
        let modality = modality_of(modality, "_padding")?;
        return (name == "pos_embs").then(|| (format!("decoder.padding.{modality}"), Axes::Kept));
    }
    // Decoders of a task wrap the basic one, except for texts.
    let wrappers = ["classification", "flow", "multimodal"];
    let wrapped = wrappers
        .into_iter()
        .find_map(|task| module.strip_prefix(task)?.strip_prefix("_decoder/~/basic_decoder/"));
    let (outer, inner) = match wrapped {
        Some(inner) => ("decoder.decoder", inner),
        None => ("decoder", module.strip_prefix("basic_decoder/")?),
    };
    match inner {
        "output" => linear(&format!("{outer}.final_layer"), name),
        "~/trainable_position_encoding" if name == "pos_embs" => {
            let outer = architecture.class().query_module.unwrap_or(outer);
            kept(format!("{outer}.output_position_encodings.position_embeddings"))
        }
        _ => {
            let rest = inner.strip_prefix("cross_attention/")?;
            let outer = format!("{outer}.decoding_cross_attention");
            attention(&outer, true, rest, name)
        }
    }
}

/// An attention layer with its dense block; self-attention has one layer norm less.
fn attention(outer: &str, cross: bool, module: &str, name: &str) -> Name {
    let norm = match (module, cross) {
        ("layer_norm", _) => Some("attention.self.layernorm1"),
        ("layer_norm_1", true) => Some("attention.self.layernorm2"),
        ("layer_norm_2", true) | ("layer_norm_1", false) => Some("layernorm"),
        _ => None,
    };
    if let Some(norm) = norm {
        return layer_norm(&format!("{outer}.{norm}"), name);
    }
    let dense = match module {
        "attention/linear" => "attention.self.query",
        "attention/linear_1" => "attention.self.key",
        "attention/linear_2" => "attention.self.value",
        "attention/linear_3" => "attention.output.dense",
        "mlp/linear" => "mlp.dense1",
        "mlp/linear_1" => "mlp.dense2",
        _ => return None,
    };
    linear(&format!("{outer}.{dense}"), name)
}

fn preprocessor(module: &str, name: &str) -> Name {
    const OUTER: &str = "input_preprocessor";
    match (module, name) {
        ("embed", "embeddings") => return kept(format!("{OUTER}.embeddings.weight")),
        ("trainable_position_encoding", "pos_embs") => {
            return kept(format!("{OUTER}.position_embeddings.weight"));
        }
        _ => {}
    }
    if let Some(modality) = module.strip_prefix("multimodal_preprocessor/") {
        if name != "pos_embs" {
            return None;
        }
        let leaves = [("_mask_token", "mask"), ("_padding", "padding")];
        let known = |(suffix, leaf)| Some((leaf, modality_of(modality, suffix)?));
        let (leaf, modality) = leaves.into_iter().find_map(known)?;
        return kept(format!("{OUTER}.{leaf}.{modality}"));
    }
    let convnet = format!("{OUTER}.convnet");
    match module.strip_prefix("image_preprocessor/")? {
        "~/conv2_d" => linear(&format!("{OUTER}.convnet_1x1"), name),
        "patches_linear" => linear(&format!("{OUTER}.conv_after_patches"), name),
        "~_build_network_inputs/trainable_position_encoding" if name == "pos_embs" => {
            kept(format!("{OUTER}.position_embeddings.position_embeddings"))
        }
        "~_build_network_inputs/position_encoding_projector/linear" => {
            linear(&format!("{OUTER}.positions_projection"), name)
        }
        "~/conv2_d_downsample/~/conv" => linear(&format!("{convnet}.conv"), name),
        batch_norm => {
            let inner = batch_norm.strip_prefix("~/conv2_d_downsample/~/batchnorm")?;
            let last = match (inner, name) {
                ("", "scale") => "weight",
                ("", "offset") => "bias",
                ("/~/mean_ema", "average") => "running_mean",
                ("/~/var_ema", "average") => "running_var",
                _ => return None,
            };
            Some((format!("{convnet}.batchnorm.{last}"), Axes::Squeezed))
        }
    }
}

fn postprocessor(module: &str, name: &str) -> Name {
    let modality = match module {
        "projection_postprocessor/linear" => "image",
        "classification_postprocessor/linear" => "label",
        "audio_postprocessor/linear" => "audio",
        _ => return None,
    };
    linear(&format!("output_postprocessor.modalities.{modality}.classifier"), name)
}

/// Number of a module among those of its class: `linear` is 0, `linear_1` is 1.
fn numbered(module: &str, class: &str) -> Option<usize> {
    match module.strip_prefix(class)? {
        "" => Some(0),
        rest => rest.strip_prefix('_')?.parse().ok(),
    }
}

fn modality_of<'a>(module: &'a str, suffix: &str) -> Option<&'a str> {
    module.strip_suffix(suffix).filter(|m| ["audio", "image", "label"].contains(m))
}

fn is_average(module: &str) -> bool {
    module.ends_with("/mean_ema") || module.ends_with("/var_ema")
}

#[cfg(test)]
#[path = "../../tests/unit/checkpoint_haiku_names.rs"]
mod tests;
