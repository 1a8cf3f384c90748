//! `max_pool`: the largest value of each channel in square windows of pixels, without padding.

mod cases;
mod cpu;

use crate::kernels::{
    Cost, DeviceTraits, ELEMENTWISE, Fill, Geometry, Kernel, Mode, Operand, Real, Role, Row,
    Signature, Variant, shader_text, vectors, word,
};
use crate::tensor::{Element, Extent};

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
    const fn windows(&self, pixels: usize) -> usize {
        if pixels < self.side { 0 } else { (pixels - self.side) / self.stride + 1 }
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

/// One invocation per vector of four results.
const VARIANTS: &[Variant] = &[Variant {
    kernel: "max_pool",
    source: "max_pool/plain",
    name: "windows",
    mode: Mode::PLAIN,
    halves: &[],
    entry: "windows",
    constants: &[],
    invocations: ELEMENTWISE,
    workgroup_bytes: 0,
    matrices: None,
    subgroups: false,
    software: false,
}];

impl Kernel for MaxPool {
    const NAME: &'static str = "max_pool";
    const SHADERS: &'static [(&'static str, &'static str)] = &[shader_text!("max_pool/plain")];

    fn signature(&self) -> Signature {
        let pictures = |pixels| Extent::new(self.batch, pixels, self.cols);
        Signature {
            operands: vec![Operand::new(
                "x",
                Role::Wide,
                pictures(self.height * self.width),
                Fill::Numbers,
            )],
            results: vec![Operand::result("y", Role::Wide, pictures(self.output_pixels()))],
        }
    }

    fn element_mut(&mut self, _: Role) -> Option<&mut Element> {
        None
    }

    /// No matrix product.
    fn cost(&self) -> Cost {
        let pixels = self.height * self.width + self.output_pixels();
        Cost { flops: 0, bytes: 4 * (self.batch * pixels * self.cols) as u64 }
    }

    fn terms(&self) -> usize {
        1
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

    fn variants() -> Vec<Variant> {
        VARIANTS.to_vec()
    }

    fn candidates(&self, _: &DeviceTraits) -> Vec<Variant> {
        VARIANTS.to_vec()
    }

    fn iterations(&self, _: &Variant) -> u64 {
        (self.side * self.side) as u64
    }

    fn geometry(&self, _: &Variant) -> Geometry {
        let args = *self;
        let total = args.batch * args.output_pixels() * vectors(args.cols);
        let [out_height, out_width] = args.output();
        let words = move |groups_x: u32| {
            vec![
                word(args.height),
                word(args.width),
                word(out_height.max(1)),
                word(out_width.max(1)),
                word(args.side),
                word(args.stride),
                word(vectors(args.cols)),
                word(total),
                groups_x * ELEMENTWISE,
                0,
                0,
                0,
            ]
        };
        (total.div_ceil(ELEMENTWISE as usize) as u64, Box::new(words))
    }

    fn reference<T: Real>(&self, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        cpu::reference(self, inputs[0], outputs[0]);
    }

    fn fast(&self, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
        cpu::fast(self, inputs[0], outputs[0]);
    }

    fn cases() -> Vec<Row> {
        cases::rows()
    }
}
