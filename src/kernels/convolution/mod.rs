//! `convolution`: a square convolution over the pixels of pictures, with bias and ReLU.
//!
//! Batch norm at inference is a scale and a shift per channel; both are folded into weight and bias
//! when the checkpoint is read ([`crate::graph::Recipe::ConvolutionWeight`]), so the kernel knows
//! nothing of it.

mod cases;
mod cpu;

use crate::kernels::{
    Cost, DeviceTraits, ELEMENTWISE, Fill, Geometry, Kernel, Mode, Operand, Real, Role, Row,
    Signature, Variant, shader_text, vectors, word,
};
use crate::tensor::{Element, Extent};

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
        if padded < self.side { 0 } else { (padded - self.side) / self.stride + 1 }
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
}

/// One invocation per pixel and vector of four channels of the result. The one layer that needs it
/// costs 0.24 of 370 GFLOP, so nothing cleverer pays.
const VARIANTS: &[Variant] = &[Variant {
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

impl Kernel for Convolution {
    const NAME: &'static str = "convolution";
    const SHADERS: &'static [(&'static str, &'static str)] = &[shader_text!("convolution/plain")];

    fn signature(&self) -> Signature {
        let rows = |rows, cols| Extent::new(1, rows, cols);
        let window = (self.side * self.side * self.inner).next_multiple_of(4);
        let pictures = |pixels, cols| Extent::new(self.batch, pixels, cols);
        Signature {
            operands: vec![
                Operand::new(
                    "x",
                    Role::Wide,
                    pictures(self.height * self.width, self.inner),
                    Fill::Numbers,
                ),
                Operand::new("weight", Role::Wide, rows(window, self.cols), Fill::Weights),
                Operand::new("bias", Role::Wide, rows(1, self.cols), Fill::Weights),
            ],
            results: vec![Operand::result(
                "y",
                Role::Wide,
                pictures(self.output_pixels(), self.cols),
            )],
        }
    }

    fn element_mut(&mut self, _: Role) -> Option<&mut Element> {
        None
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
            if self.relu { "relu" } else { "" }.to_owned(),
        ]
    }

    fn variants() -> Vec<Variant> {
        VARIANTS.to_vec()
    }

    fn candidates(&self, _: &DeviceTraits) -> Vec<Variant> {
        VARIANTS.to_vec()
    }

    fn iterations(&self, _: &Variant) -> u64 {
        (self.side * self.side * self.inner) as u64
    }

    fn geometry(&self, _: &Variant) -> Geometry {
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

    fn reference<T: Real>(&self, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        cpu::reference(self, inputs[0], inputs[1], inputs[2], outputs[0]);
    }

    fn fast(&self, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
        cpu::fast(self, inputs[0], inputs[1], inputs[2], outputs[0]);
    }

    fn cases() -> Vec<Row> {
        cases::rows()
    }
}
