//! `PerceiverForImageClassificationLearned`: colours mapped to 256 channels and a learned position per
//! pixel in, one score per class out.

use super::{Class, Item, classification, pictures};
use crate::error::Result;
use crate::perceiver::PerceiverConfig;
use crate::perceiver::batch::Batch;
use crate::perceiver::blueprint::{Blueprint, Content, Modality, Positions};
use crate::perceiver::request::Sizes;
use crate::tensor::NamedTensors;

/// Channels of the colours, and of the positions.
const HALF: usize = 256;

pub(super) const CLASS: Class = Class {
    name: "PerceiverForImageClassificationLearned",
    item: Item::Picture { learned: true, least: 1 },
    input_channels: |_| 2 * HALF,
    query_channels: classification::query_channels,
    check: |c| {
        let pixels = c.image_size.saturating_mul(c.image_size);
        let rows = pixels.saturating_mul(2 * HALF);
        Ok(vec![("image_size", rows), classification::labels(c)])
    },
    usual_sizes: |c| pictures::sizes([c.image_size; 2]),
    blueprint,
    inputs,
    points: &[],
    unused_tensors: &[],
    query_module: None,
    file_inputs: &["pixel_values", "interp.pixel_values", "raw.image.N"],
};

/// Input `pixel_values` `[batch, height·width, 3]`; output `logits` `[batch, classes]`.
fn blueprint(config: &PerceiverConfig, sizes: &Sizes) -> Blueprint {
    let [height, width] = sizes.image;
    let prefix = pictures::PREFIX;
    let content = Content::Linear {
        input: "pixel_values".to_owned(),
        channels: pictures::COLOURS,
        layer: format!("{prefix}.convnet_1x1"),
        out: HALF,
        unit_window: true,
    };
    let resize = sizes.resize_positions && sizes.image != [config.image_size; 2];
    let mut rows = Modality::bare("pixel", height * width).with_content(content);
    rows.positions = Positions::Learned {
        tensor: format!("{prefix}.position_embeddings.position_embeddings"),
        stored: config.image_size * config.image_size,
        channels: HALF,
        resized: resize.then_some(sizes.image),
        layer: format!("{prefix}.positions_projection"),
        out: HALF,
    };
    classification::blueprint(config, rows)
}

/// As in Hugging Face's class only the number of pixels must be that of the training, and with
/// resized positions not even that.
fn inputs(config: &PerceiverConfig, inputs: &NamedTensors, resize: bool) -> Result<Batch> {
    let side = config.image_size;
    let fits = |[height, width]: [usize; 2]| resize || height * width == side * side;
    let mut batch = pictures::inputs(inputs, fits, &|| match resize {
        true => {
            let most = pictures::LONGEST_SIDE;
            format!("f32 [batch, 3, height, width], sides to {most}")
        }
        false => format!("f32 [batch, 3, {side}, {side}]"),
    })?;
    batch.sizes.resize_positions = resize && batch.sizes.image != [side; 2];
    Ok(batch)
}
