//! `PerceiverForImageClassificationConvProcessing`: the features of a 7×7 convolution at a quarter of
//! the picture's size and Fourier features in, one score per class out.

use super::{Class, Item, classification, pictures};
use crate::perceiver::PerceiverConfig;
use crate::perceiver::blueprint::{Blueprint, Content, Modality, feature_grid};
use crate::perceiver::request::Sizes;

/// Side of the feature maps that the frequencies are made for.
const RESOLUTION: usize = 56;
/// Channels of the convolution.
const FEATURES: usize = 64;

pub(super) const CLASS: Class = Class {
    name: "PerceiverForImageClassificationConvProcessing",
    item: Item::Picture { learned: false, least: 5 },
    input_channels: |_| FEATURES + pictures::FEATURES,
    query_channels: classification::query_channels,
    check: |c| Ok(vec![classification::labels(c)]),
    usual_sizes: |_| pictures::sizes([224; 2]),
    blueprint,
    inputs: |_, inputs, _| {
        let most = pictures::LONGEST_SIDE;
        let has_features = |size| feature_grid(size) != [0, 0];
        pictures::inputs(inputs, has_features, &|| {
            format!("f32 [batch, 3, height, width], sides from 5 to {most}")
        })
    },
    points: &[],
    unused_tensors: &["perceiver.input_preprocessor.convnet.batchnorm.num_batches_tracked"],
    query_module: None,
    file_inputs: &["pixel_values", "raw.image.N"],
};

/// Input `pixel_values` `[batch, height·width, 3]`; output `logits` `[batch, classes]`.
fn blueprint(config: &PerceiverConfig, sizes: &Sizes) -> Blueprint {
    let grid = feature_grid(sizes.image);
    let content = Content::Convolution {
        input: "pixel_values".to_owned(),
        image: sizes.image,
        channels: pictures::COLOURS,
        layer: format!("{}.convnet", pictures::PREFIX),
        out: FEATURES,
    };
    let rows = Modality::bare("feature", grid.iter().product()).with_content(content);
    classification::blueprint(config, pictures::fourier(rows, grid, RESOLUTION))
}
