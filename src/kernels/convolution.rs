//! `convolution`: a square convolution over the pixels of pictures, with bias and ReLU.
//!
//! Batch norm at inference is a scale and a shift per channel; both are folded into weight and bias
//! when the checkpoint is read ([`crate::graph::Recipe::ConvolutionWeight`]), so the kernel knows
//! nothing of it.

use super::{Bindings, Cost, ELEMENTWISE, Geometry, Mode, Variant, vectors, word};

/// Arguments of `convolution`.
///
/// Inputs: X `[batch, height·width, inner]` (row-major pixels), W `[side²·inner, cols]` with row
/// `(dy·side + dx)·inner + channel`, b `[1, cols]`. Output `[batch, out_height·out_width, cols]`.
/// Outside the picture X is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Convolution {
    /// Pictures.
    pub batch: usize,
    /// Rows of pixels.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// Channels of a pixel.
    pub inner: usize,
    /// Channels of the result.
    pub cols: usize,
    /// Height and width of the window.
    pub side: usize,
    /// Pixels from one window to the next.
    pub stride: usize,
    /// Pixels of zeros around the picture.
    pub padding: usize,
    /// Whether negative results become zero.
    pub relu: bool,
}

impl Convolution {
    /// Windows along an axis of this many pixels.
    const fn windows(&self, pixels: usize) -> usize {
        let padded = pixels + 2 * self.padding;
        if padded < self.side {
            0
        } else {
            (padded - self.side) / self.stride + 1
        }
    }

    /// Height and width of the result.
    #[must_use]
    pub const fn output(&self) -> [usize; 2] {
        [self.windows(self.height), self.windows(self.width)]
    }

    /// Pixels of one result.
    #[must_use]
    pub const fn output_pixels(&self) -> usize {
        let [h, w] = self.output();
        h * w
    }

    /// Cost with every window counted whole, as is usual.
    #[must_use]
    pub fn cost(&self) -> Cost {
        let weights = self.side * self.side * self.inner * self.cols;
        let pixels = self.batch * self.output_pixels();
        Cost {
            flops: 2 * (pixels * weights) as u64,
            bytes: 4
                * (self.batch * self.height * self.width * self.inner
                    + weights
                    + pixels * self.cols) as u64,
        }
    }
}

/// x, weight, bias; y.
pub const BINDINGS: Bindings = Bindings {
    reads: 3,
    writes: 1,
};

/// One invocation per pixel and vector of four channels of the result. The one layer that needs it
/// costs 0.24 of 370 GFLOP, so nothing cleverer pays.
pub const VARIANTS: &[Variant] = &[Variant {
    kernel: "convolution",
    source: "convolution/plain",
    name: "direct",
    mode: Mode::PLAIN,
    halves: &[],
    entry: "direct",
    constants: &[],
    invocations: ELEMENTWISE,
    workgroup_bytes: 0,
    matrices: None,
    subgroups: false,
    software: false,
}];

impl Convolution {
    pub(crate) fn geometry(&self) -> Geometry {
        let args = *self;
        let total = args.batch * args.output_pixels() * vectors(args.cols);
        let [out_height, out_width] = args.output();
        let words = move |groups_x: u32| {
            vec![
                word(args.height),
                word(args.width),
                word(args.inner),
                word(4 * vectors(args.inner)),
                word(out_height.max(1)),
                word(out_width.max(1)),
                word(args.side),
                word(args.stride),
                word(args.padding),
                word(vectors(args.cols)),
                word(total),
                groups_x * ELEMENTWISE,
                u32::from(args.relu),
                0,
                0,
                0,
            ]
        };
        (total.div_ceil(ELEMENTWISE as usize) as u64, Box::new(words))
    }
}
