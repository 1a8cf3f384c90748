//! `max_pool`: the largest value of each channel in square windows of pixels, without padding.

use super::{Bindings, Cost, ELEMENTWISE, Geometry, Mode, Variant, vectors, word};

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
        if pixels < self.side {
            0
        } else {
            (pixels - self.side) / self.stride + 1
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

    /// No matrix product.
    #[must_use]
    pub fn cost(&self) -> Cost {
        let pixels = self.height * self.width + self.output_pixels();
        Cost {
            flops: 0,
            bytes: 4 * (self.batch * pixels * self.cols) as u64,
        }
    }
}

/// x; y.
pub const BINDINGS: Bindings = Bindings {
    reads: 1,
    writes: 1,
};

/// One invocation per vector of four results.
pub const VARIANTS: &[Variant] = &[Variant {
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

impl MaxPool {
    pub(crate) fn geometry(&self) -> Geometry {
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
}
