//! `convolution`: a square convolution over the pixels of pictures, with bias and ReLU.
//!
//! Batch norm at inference is a scale and a shift per channel; both are folded into weight and bias
//! when the checkpoint is read ([`crate::graph::Recipe::ConvolutionWeight`]), so the kernel knows
//! nothing of it.

pub(super) mod cases;
pub(super) mod cpu;
#[cfg(feature = "cpu")]
mod fast;

use crate::kernels::vocabulary::*;

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
    /// Height and width of the result.
    pub const fn output(&self) -> [usize; 2] {
        let padded = [self.height + 2 * self.padding, self.width + 2 * self.padding];
        windows(padded, self.side, self.stride)
    }

    /// Pixels of one result.
    pub const fn output_pixels(&self) -> usize {
        let [h, w] = self.output();
        h * w
    }
}

/// Windows of this side down and across so many pixels, each `stride` pixels from the one before.
pub(super) const fn windows(pixels: [usize; 2], side: usize, stride: usize) -> [usize; 2] {
    let [height, width] = pixels;
    [
        if height < side { 0 } else { (height - side) / stride + 1 },
        if width < side { 0 } else { (width - side) / stride + 1 },
    ]
}

impl Kernel for Convolution {
    const NAME: &'static str = "convolution";
    const SHADERS: &'static [(&'static str, &'static str)] = &[shader_text!("convolution/plain")];

    fn signature(&self) -> Signature {
        let rows = |rows, cols| Extent::new(1, rows, cols);
        let window = (self.side * self.side * self.inner).next_multiple_of(4);
        let pictures = |pixels, cols| Extent::new(self.batch, pixels, cols);
        Signature {
            operands: vec![
                Operand::wide("x", pictures(self.height * self.width, self.inner), Fill::Numbers),
                Operand::wide("weight", rows(window, self.cols), Fill::Weights),
                Operand::wide("bias", rows(1, self.cols), Fill::Weights),
            ],
            results: vec![Operand::result(
                "y",
                Role::Wide,
                pictures(self.output_pixels(), self.cols),
            )],
        }
    }

    /// Cost with every window counted whole, as is usual.
    fn cost(&self) -> Cost {
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

    fn terms(&self) -> usize {
        self.side * self.side * self.inner + 1
    }

    fn defect(&self) -> Option<&'static str> {
        (self.side == 0 || self.stride == 0).then_some("windows have no size or no stride")
    }

    fn describe(&self) -> Vec<String> {
        vec![
            format!("{}×{}×{}×{}", self.batch, self.height, self.width, self.inner),
            format!("to {}", self.cols),
            format!("side {} stride {} padding {}", self.side, self.stride, self.padding),
            when(self.relu, "relu"),
        ]
    }

    /// One invocation per pixel and vector of four channels of the result. The one layer that needs it
    /// costs 0.24 of 370 GFLOP, so nothing cleverer pays.
    fn variants() -> Vec<Variant> {
        vec![Variant::plain("convolution", "convolution/plain", "direct")]
    }

    fn iterations(&self, _: &Variant) -> u64 {
        (self.side * self.side * self.inner) as u64
    }

    fn geometry(&self, _: &Variant) -> Geometry {
        let args = *self;
        let total = args.batch * args.output_pixels() * vectors(args.cols);
        let [out_height, out_width] = args.output();
        elementwise(total, move |row_invocations| {
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
                row_invocations,
                u32::from(args.relu),
            ]
        })
    }
}
