//! `layer_norm`: LayerNorm over the channels of each row, with gain and bias.

use super::{Bindings, Cost, DeviceTraits, Geometry, Mode, Variant, vectors, word};

/// The eps of every LayerNorm in Hugging Face's Perceiver (`config.layer_norm_eps` is not used there).
pub const EPS: f32 = 1e-5;

/// Arguments of `layer_norm`: Y = (X − μ)/√(σ² + eps) ⊙ g + b, with the biased variance.
///
/// Inputs: X `[rows, cols]`, g `[1, cols]`, b `[1, cols]`. Output: Y `[rows, cols]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LayerNorm {
    /// Rows, all batch items together.
    pub rows: usize,
    /// Channels.
    pub cols: usize,
}

impl LayerNorm {
    /// No matrix product; two passes over X at least count as one read and one write.
    #[must_use]
    pub fn cost(&self) -> Cost {
        Cost {
            flops: 0,
            bytes: 8 * self.rows as u64 * self.cols as u64,
        }
    }
}

/// x, gain, bias; y.
pub const BINDINGS: Bindings = Bindings {
    reads: 3,
    writes: 1,
};

/// A workgroup per row.
const GROUP: Variant = Variant {
    kernel: "layer_norm",
    name: "group",
    mode: Mode::PLAIN,
    entry: "group",
    constants: &[],
    invocations: 64,
    workgroup_bytes: 256,
    software: false,
};

/// An invocation per row.
const LANE: Variant = Variant {
    kernel: "layer_norm",
    name: "lane",
    mode: Mode::PLAIN,
    entry: "lane",
    constants: &[("LANES", 8)],
    invocations: 8,
    workgroup_bytes: 0,
    software: true,
};

/// All variants.
pub const VARIANTS: &[Variant] = &[GROUP, LANE];

impl LayerNorm {
    /// Variants that fit, best first.
    #[must_use]
    pub fn candidates(&self, device: &DeviceTraits) -> Vec<Variant> {
        if device.software {
            vec![LANE, GROUP]
        } else {
            vec![GROUP, LANE]
        }
    }

    pub(crate) fn geometry(&self, variant: &Variant) -> Geometry {
        let args = *self;
        let rows_each = if variant.entry == "lane" { 8 } else { 1 };
        let words = move |groups_x: u32| {
            vec![
                word(args.rows),
                word(args.cols),
                word(vectors(args.cols)),
                groups_x,
            ]
        };
        (self.rows.div_ceil(rows_each) as u64, Box::new(words))
    }
}
