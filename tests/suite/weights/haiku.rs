//! Writes a model as DeepMind's files have it: Haiku's modules, weights transposed, all in one pickle.

use std::collections::BTreeMap;

use perceiver::{Architecture, NamedTensors, Tensor};

use super::writer::Pickle;

/// What becomes of a tensor on its way to Haiku.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Kept,
    Reversed,
    /// `[1, 1, 1, n]`
    Widened,
}

/// The pickle of a model. With `state` it is that of a model with batch statistics.
pub(crate) fn pickle(architecture: Architecture, tensors: &NamedTensors) -> Vec<u8> {
    let mut params: BTreeMap<String, Vec<(String, Tensor)>> = BTreeMap::new();
    let mut state = params.clone();
    for (name, tensor) in tensors {
        let Some((module, array, form)) = module(architecture, name) else {
            continue;
        };
        let to = if array == "average" { &mut state } else { &mut params };
        let tensor = formed(tensor, form);
        to.entry(module).or_default().push((array, tensor));
    }
    if state.is_empty() {
        return modules(Pickle::new(), &params).done();
    }
    for arrays in state.values_mut() {
        let counter = Tensor::f32(vec![], vec![7.0]).expect("a tensor");
        arrays.push(("counter".to_owned(), counter.clone()));
        arrays.push(("hidden".to_owned(), counter));
    }
    let pickle = Pickle::new().bytes(b"}(").text("params");
    let pickle = modules(pickle, &params).text("state");
    modules(pickle, &state).op(b'u').done()
}

/// `FlatMapping({module: FlatMapping({name: array})})`
fn modules(pickle: Pickle, modules: &BTreeMap<String, Vec<(String, Tensor)>>) -> Pickle {
    let mapping = |p: Pickle| p.global("haiku._src.data_structures", "FlatMapping");
    let mut pickle = mapping(pickle).bytes(b"}(");
    for (module, arrays) in modules {
        pickle = mapping(pickle.text(module)).bytes(b"}(");
        for (name, tensor) in arrays {
            pickle = array(pickle.text(name), tensor);
        }
        pickle = pickle.op(b'u').bytes(b"\x85R");
    }
    pickle.op(b'u').bytes(b"\x85R")
}

/// A numpy array of 32-bit floats.
fn array(pickle: Pickle, tensor: &Tensor) -> Pickle {
    let shape: Vec<i64> = tensor.shape().iter().map(|&n| n as i64).collect();
    let values = tensor.as_f32().expect("f32");
    let data: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    pickle
        .global("numpy.core.multiarray", "_reconstruct")
        .global("numpy", "ndarray")
        .sizes(&[0])
        .bytes(b"C\x01b\x87R(")
        .whole(1)
        .sizes(&shape)
        .global("numpy", "dtype")
        .text("f4")
        .bytes(b"\x89\x88\x87R(")
        .whole(3)
        .text("<")
        .bytes(b"NNN")
        .whole(-1)
        .whole(-1)
        .whole(0)
        .bytes(b"tb\x89B")
        .bytes(&(data.len() as u32).to_le_bytes())
        .bytes(&data)
        .bytes(b"tb")
}

fn formed(tensor: &Tensor, form: Form) -> Tensor {
    let shape = tensor.shape();
    let values = tensor.as_f32().expect("f32");
    match form {
        Form::Kept => tensor.clone(),
        Form::Widened => {
            Tensor::f32(vec![1, 1, 1, values.len()], values.to_vec()).expect("a tensor")
        }
        Form::Reversed => {
            let reversed: Vec<usize> = shape.iter().rev().copied().collect();
            let mut new = vec![0.0; values.len()];
            for (i, &value) in values.iter().enumerate() {
                // Digits of the index, last axis first, are those of the new index, first axis first.
                let (mut rest, mut at) = (i, 0);
                for &n in &reversed {
                    at = at * n + rest % n;
                    rest /= n;
                }
                new[at] = value;
            }
            Tensor::f32(reversed, new).expect("a tensor")
        }
    }
}

/// Module, array and form of a tensor of Hugging Face; `None` for what Haiku lacks.
fn module(architecture: Architecture, name: &str) -> Option<(String, String, Form)> {
    use Architecture::{MaskedLm, Multimodal, OpticalFlow};
    if name.ends_with("num_batches_tracked") {
        return None;
    }
    let some = |module: &str, array: &str| {
        let form = if array == "w" { Form::Reversed } else { Form::Kept };
        Some((module.to_owned(), array.to_owned(), form))
    };
    if name == "embedding_decoder.bias" {
        return some("embedding_decoder", "bias");
    }
    let name = name.strip_prefix("perceiver.").expect(name);
    let encoder = if architecture == Multimodal { "encoder" } else { "perceiver_encoder" };
    let decoder = match architecture {
        MaskedLm => "basic_decoder",
        OpticalFlow => "flow_decoder/~/basic_decoder",
        Multimodal => "multimodal_decoder/~/basic_decoder",
        _ => "classification_decoder/~/basic_decoder",
    };
    let (outer, last) = name.rsplit_once('.').expect(name);
    let array = if last == "weight" { "w" } else { "b" };
    let positions = "trainable_position_encoding";
    if name == "embeddings.latents" {
        return some(&format!("{encoder}/~/{positions}"), "pos_embs");
    }
    if last == "position_embeddings" && outer.starts_with("decoder.") {
        let decoder = if architecture == Multimodal {
            "classification_decoder/~/basic_decoder"
        } else {
            decoder
        };
        return some(&format!("{decoder}/~/{positions}"), "pos_embs");
    }
    let layers = [
        ("encoder.cross_attention.", format!("{encoder}/~/cross_attention")),
        ("decoder.decoding_cross_attention.", format!("{decoder}/cross_attention")),
        ("decoder.decoder.decoding_cross_attention.", format!("{decoder}/cross_attention")),
    ];
    for (prefix, module) in layers {
        if let Some(rest) = outer.strip_prefix(prefix) {
            return layer(&module, true, rest, last);
        }
    }
    if let Some(rest) = outer.strip_prefix("encoder.self_attends.") {
        let (number, rest) = rest.split_once('.').expect(name);
        let module = match number {
            "0" => format!("{encoder}/~/self_attention"),
            n => format!("{encoder}/~/self_attention_{n}"),
        };
        return layer(&module, false, rest, last);
    }
    let norm = "image_preprocessor/~/conv2_d_downsample/~/batchnorm";
    let network = "image_preprocessor/~_build_network_inputs";
    let widened = |module: String, array: &str| Some((module, array.to_owned(), Form::Widened));
    match (outer, last) {
        ("decoder.decoder.final_layer", _) => some(&format!("{decoder}/output"), array),
        ("decoder.padding", m) => {
            some(&format!("multimodal_decoder/~decoder_query/{m}_padding"), "pos_embs")
        }
        ("input_preprocessor.embeddings", _) => some("embed", "embeddings"),
        ("input_preprocessor.position_embeddings", "weight") => some(positions, "pos_embs"),
        ("input_preprocessor.position_embeddings", _) => {
            some(&format!("{network}/{positions}"), "pos_embs")
        }
        ("input_preprocessor.positions_projection", _) => {
            some(&format!("{network}/position_encoding_projector/linear"), array)
        }
        ("input_preprocessor.convnet_1x1", _) => some("image_preprocessor/~/conv2_d", array),
        ("input_preprocessor.conv_after_patches", _) => {
            some("image_preprocessor/patches_linear", array)
        }
        ("input_preprocessor.mask", m) => {
            some(&format!("multimodal_preprocessor/{m}_mask_token"), "pos_embs")
        }
        ("input_preprocessor.padding", m) => {
            some(&format!("multimodal_preprocessor/{m}_padding"), "pos_embs")
        }
        ("input_preprocessor.convnet.conv", _) => {
            some("image_preprocessor/~/conv2_d_downsample/~/conv", "w")
        }
        ("input_preprocessor.convnet.batchnorm", "weight") => widened(norm.to_owned(), "scale"),
        ("input_preprocessor.convnet.batchnorm", "bias") => widened(norm.to_owned(), "offset"),
        ("input_preprocessor.convnet.batchnorm", "running_mean") => {
            widened(format!("{norm}/~/mean_ema"), "average")
        }
        ("input_preprocessor.convnet.batchnorm", _) => {
            widened(format!("{norm}/~/var_ema"), "average")
        }
        ("output_postprocessor.modalities.audio.classifier", _) => {
            some("audio_postprocessor/linear", array)
        }
        ("output_postprocessor.modalities.image.classifier", _) => {
            some("projection_postprocessor/linear", array)
        }
        ("output_postprocessor.modalities.label.classifier", _) => {
            some("classification_postprocessor/linear", array)
        }
        _ => panic!("{name} has no place in Haiku"),
    }
}

fn layer(module: &str, cross: bool, rest: &str, last: &str) -> Option<(String, String, Form)> {
    let norm = match (rest, cross) {
        ("attention.self.layernorm1", _) => Some("layer_norm"),
        ("attention.self.layernorm2", _) | ("layernorm", false) => Some("layer_norm_1"),
        ("layernorm", true) => Some("layer_norm_2"),
        _ => None,
    };
    if let Some(norm) = norm {
        let array = if last == "weight" { "scale" } else { "offset" };
        return Some((format!("{module}/{norm}"), array.to_owned(), Form::Kept));
    }
    let dense = match rest {
        "attention.self.query" => "attention/linear",
        "attention.self.key" => "attention/linear_1",
        "attention.self.value" => "attention/linear_2",
        "attention.output.dense" => "attention/linear_3",
        "mlp.dense1" => "mlp/linear",
        "mlp.dense2" => "mlp/linear_1",
        other => panic!("{other}"),
    };
    let (array, form) = match last {
        "weight" => ("w", Form::Reversed),
        _ => ("b", Form::Kept),
    };
    Some((format!("{module}/{dense}"), array.to_owned(), form))
}
