//! Unit tests of `src/checkpoint/haiku_names.rs`.

use super::*;

#[track_caller]
fn check(architecture: Architecture, path: &str, name: &str, axes: Axes) {
    let found = translate(architecture, path);
    assert_eq!(found, Some(Known::Tensor(name.to_owned(), axes)), "{path}");
}

#[test]
fn names_of_each_family() {
    use Architecture::{ImageConvolution, ImageLearned, MaskedLm, Multimodal, OpticalFlow};
    check(
        MaskedLm,
        "perceiver_encoder/~/self_attention_12/attention/linear_3/w",
        "perceiver.encoder.self_attends.12.attention.output.dense.weight",
        Axes::Reversed,
    );
    check(
        MaskedLm,
        "perceiver_encoder/~/self_attention/layer_norm_1/offset",
        "perceiver.encoder.self_attends.0.layernorm.bias",
        Axes::Kept,
    );
    check(
        MaskedLm,
        "basic_decoder/cross_attention/layer_norm_1/scale",
        "perceiver.decoder.decoding_cross_attention.attention.self.layernorm2.weight",
        Axes::Kept,
    );
    check(
        ImageLearned,
        "image_preprocessor/~_build_network_inputs/position_encoding_projector/linear/w",
        "perceiver.input_preprocessor.positions_projection.weight",
        Axes::Reversed,
    );
    check(
        ImageConvolution,
        "image_preprocessor/~/conv2_d_downsample/~/batchnorm/~/var_ema/average",
        "perceiver.input_preprocessor.convnet.batchnorm.running_var",
        Axes::Squeezed,
    );
    check(
        OpticalFlow,
        "flow_decoder/~/basic_decoder/output/b",
        "perceiver.decoder.decoder.final_layer.bias",
        Axes::Kept,
    );
    check(
        Multimodal,
        "encoder/~/trainable_position_encoding/pos_embs",
        "perceiver.embeddings.latents",
        Axes::Kept,
    );
    let label = "classification_decoder/~/basic_decoder/~/trainable_position_encoding/pos_embs";
    check(
        Multimodal,
        label,
        "perceiver.decoder.modalities.label.decoder.output_position_encodings.position_embeddings",
        Axes::Kept,
    );
    check(
        ImageLearned,
        label,
        "perceiver.decoder.decoder.output_position_encodings.position_embeddings",
        Axes::Kept,
    );
    assert_eq!(
        translate(
            ImageConvolution,
            "image_preprocessor/~/conv2_d_downsample/~/batchnorm/~/mean_ema/counter"
        ),
        Some(Known::Unused)
    );
    for unknown in ["", "w", "linear/w", "perceiver_encoder/~/self_attention_x/mlp/linear/w"] {
        assert_eq!(translate(MaskedLm, unknown), None, "{unknown}");
    }
}
