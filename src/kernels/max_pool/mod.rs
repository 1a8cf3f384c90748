//! `max_pool`: the largest value of each channel in square windows of pixels, without padding.

pub(super) mod cases;
pub(super) mod cpu;

use crate::kernels::convolution::windows;
use crate::kernels::vocabulary::*;

/// Arguments of `max_pool`.
///
/// Input X `[batch, height·width, cols]` (row-major pixels), output
/// `[batch, out_height·out_width, cols]`. Windows that would pass the border are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MaxPool {
    /// Pictures.
    pub batch: usize,
    /// Rows of pixels.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// Channels of a pixel.
    pub cols: usize,
    /// Height and width of the window.
    pub side: usize,
    /// Pixels from one window to the next.
    pub stride: usize,
}

impl MaxPool {
    /// Height and width of the result.
    pub const fn output(&self) -> [usize; 2] {
        windows([self.height, self.width], self.side, self.stride)
    }

    /// Pixels of one result.
    pub const fn output_pixels(&self) -> usize {
        let [h, w] = self.output();
        h * w
    }
}

impl Kernel for MaxPool {
    const NAME: &'static str = "max_pool";
    const SHADERS: &'static [(&'static str, &'static str)] = &[shader_text!("max_pool/plain")];

    fn signature(&self) -> Signature {
        let pictures = |pixels| Extent::new(self.batch, pixels, self.cols);
        Signature {
            operands: vec![Operand::wide("x", pictures(self.height * self.width), Fill::Numbers)],
            results: vec![Operand::result("y", Role::Wide, pictures(self.output_pixels()))],
        }
    }

    fn cost(&self) -> Cost {
        let pixels = self.height * self.width + self.output_pixels();
        Cost::moving(4 * self.batch * pixels * self.cols)
    }

    fn defect(&self) -> Option<&'static str> {
        (self.side == 0 || self.stride == 0).then_some("windows have no size or no stride")
    }

    fn describe(&self) -> Vec<String> {
        vec![
            format!("{}×{}×{}×{}", self.batch, self.height, self.width, self.cols),
            format!("side {} stride {}", self.side, self.stride),
        ]
    }

    /// One invocation per vector of four results.
    fn variants() -> Vec<Variant> {
        vec![Variant::plain("max_pool", "max_pool/plain", "windows")]
    }

    fn iterations(&self, _: &Variant) -> u64 {
        (self.side * self.side) as u64
    }

    fn geometry(&self, _: &Variant) -> Geometry {
        let args = *self;
        let total = args.batch * args.output_pixels() * vectors(args.cols);
        let [out_height, out_width] = args.output();
        elementwise(total, move |row_invocations| {
            vec![
                word(args.height),
                word(args.width),
                word(out_height.max(1)),
                word(out_width.max(1)),
                word(args.side),
                word(args.stride),
                word(vectors(args.cols)),
                word(total),
                row_invocations,
            ]
        })
    }
}
