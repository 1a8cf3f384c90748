//! `PerceiverForImageClassificationFourier`: bare colours and Fourier features in, one score per class
//! out.

use super::{Class, Item, classification, pictures};
use crate::perceiver::blueprint::Modality;

/// Side of the pictures that the frequencies are made for.
const RESOLUTION: usize = 224;

/// Input `pixel_values` `[batch, height·width, 3]`; output `logits` `[batch, classes]`.
pub(super) const CLASS: Class = Class {
    name: "PerceiverForImageClassificationFourier",
    item: Item::Picture { learned: false, least: 1 },
    input_channels: |_| pictures::COLOURS + pictures::FEATURES,
    query_channels: classification::query_channels,
    check: |c| Ok(vec![classification::labels(c)]),
    usual_sizes: |_| pictures::sizes([RESOLUTION; 2]),
    blueprint: |config, sizes| {
        let [height, width] = sizes.image;
        let rows =
            Modality::bare("pixel", height * width).with_input("pixel_values", pictures::COLOURS);
        classification::blueprint(config, pictures::fourier(rows, sizes.image, RESOLUTION))
    },
    inputs: |_, inputs, _| {
        let most = pictures::LONGEST_SIDE;
        pictures::inputs(inputs, |_| true, &|| {
            format!("f32 [batch, 3, height, width], sides to {most}")
        })
    },
    points: &[],
    unused_tensors: &[],
    query_module: None,
    file_inputs: &["pixel_values", "raw.image.N"],
};
