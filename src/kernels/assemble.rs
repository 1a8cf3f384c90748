//! `assemble`: rows put together of content, Fourier position features and a tail.
//!
//! The features of a position are a concatenation of per-axis features, so the kernel reads one
//! short table per axis. The tables are made on the CPU ([`crate::perceiver::positions`]): WGSL
//! guarantees `sin` and `cos` to 2⁻¹¹ only.

use super::{Bindings, Cost, ELEMENTWISE, Geometry, Mode, Variant, vectors, word};
use crate::tensor::Element;

/// Arguments of `assemble`.
///
/// Inputs: content `[batch, rows, content]` unless `content == 0`; tables `[Σ axes, 1 + 2·bands]`
/// with rows `[position, sines, cosines]`, axis after axis, unless `dimensions == 0`; tail
/// `[1, tail_rows, tail]`, shared by all items, unless `tail == 0`; points `[1, rows, 1]` (whole
/// numbers, held as floats, shared by all items) if `indexed`. Output `[batch, rows, cols()]`:
/// content, positions of all axes, sines of all axes, cosines of all axes, tail. Row r is at grid
/// position `first_row + r`, or `points[r]`, the last axis fastest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Assemble {
    /// Items.
    pub batch: usize,
    /// Rows of one item.
    pub rows: usize,
    /// Grid position of row 0.
    pub first_row: usize,
    /// Content channels.
    pub content: usize,
    /// Number of axes, 0 to 3.
    pub dimensions: usize,
    /// Lengths of the axes; unused ones are 1.
    pub axes: [usize; 3],
    /// Frequency bands per axis.
    pub bands: usize,
    /// Tail channels.
    pub tail: usize,
    /// Rows of the tail: 1 for the same in every row, or as many as there are rows.
    pub tail_rows: usize,
    /// Whether grid positions are given row by row.
    pub indexed: bool,
    /// How content lies in memory.
    pub content_rows: Element,
    /// How Y does. Tables, tail and points are f32.
    pub y: Element,
}

impl Assemble {
    /// Output channels.
    #[must_use]
    pub const fn cols(&self) -> usize {
        self.content + self.dimensions * (1 + 2 * self.bands) + self.tail
    }

    /// No matrix product.
    #[must_use]
    pub fn cost(&self) -> Cost {
        Cost {
            flops: 0,
            bytes: (self.batch
                * self.rows
                * (self.content_rows.bytes() * self.content + self.y.bytes() * self.cols()))
                as u64,
        }
    }
}

/// content, tables, tail, points; y.
pub const BINDINGS: Bindings = Bindings {
    reads: 4,
    writes: 1,
};

/// One invocation per vector of four results.
const ROWS: Variant = Variant {
    kernel: "assemble",
    source: "assemble/plain",
    name: "rows",
    mode: Mode::PLAIN,
    halves: &[],
    entry: "rows",
    constants: &[],
    invocations: ELEMENTWISE,
    workgroup_bytes: 0,
    matrices: None,
    subgroups: false,
    software: false,
};

/// All variants, by the types of content and Y in binary.
pub const VARIANTS: &[Variant] = &[
    ROWS,
    ROWS.halving(&["y"]),
    ROWS.halving(&["content"]),
    ROWS.halving(&["content", "y"]),
];

impl Assemble {
    /// The variant that reads and stores what is wanted.
    #[must_use]
    pub fn candidates(&self) -> Vec<Variant> {
        let half = |e: Element| usize::from(e == Element::F16);
        vec![VARIANTS[2 * half(self.content_rows) + half(self.y)]]
    }

    pub(crate) fn geometry(&self) -> Geometry {
        let args = *self;
        let total = args.batch * args.rows * vectors(args.cols());
        let words = move |groups_x: u32| {
            let [a, b, c] = args.axes.map(word);
            vec![
                word(args.rows),
                word(args.first_row),
                word(args.content),
                word(4 * vectors(args.content)),
                word(args.dimensions),
                // Never zero: the shader divides by it, also where the quotient is not used.
                word(args.bands.max(1)),
                word(4 * vectors(1 + 2 * args.bands)),
                word(vectors(args.cols())),
                a,
                b,
                c,
                1,
                0,
                a,
                a + b,
                0,
                word(total),
                groups_x * ELEMENTWISE,
                word(args.tail),
                word(4 * vectors(args.tail)),
                word(args.tail_rows.max(1)),
                u32::from(args.indexed),
                word(args.dimensions * (1 + 2 * args.bands)),
                0,
            ]
        };
        (total.div_ceil(ELEMENTWISE as usize) as u64, Box::new(words))
    }
}
