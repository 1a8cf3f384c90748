//! `assemble`: rows put together of content, Fourier position features and a tail.
//!
//! The features of a position are a concatenation of per-axis features, so the kernel reads one
//! short table per axis. The tables are made on the CPU ([`crate::weights::positions`]): WGSL
//! guarantees `sin` and `cos` to 2⁻¹¹ only.

pub(super) mod cases;
pub(super) mod cpu;

use crate::kernels::vocabulary::*;

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
    pub const fn cols(&self) -> usize {
        self.content + self.dimensions * (1 + 2 * self.bands) + self.tail
    }
}

impl Kernel for Assemble {
    const NAME: &'static str = "assemble";
    const SHADERS: &'static [(&'static str, &'static str)] = &[shader_text!("assemble/plain")];

    fn signature(&self) -> Signature {
        let axes = &self.axes[..self.dimensions];
        let rows = |rows, cols| Extent::new(1, rows, cols);
        let items = |cols| Extent::new(self.batch, self.rows, cols);
        Signature {
            operands: vec![
                Operand::new("content", Role::Rows, items(self.content), Fill::Numbers)
                    .when(self.content > 0),
                Operand::wide("tables", rows(axes.iter().sum(), 1 + 2 * self.bands), Fill::Numbers)
                    .when(self.dimensions > 0),
                Operand::wide("tail", rows(self.tail_rows, self.tail), Fill::Numbers)
                    .when(self.tail > 0),
                Operand::wide("points", rows(self.rows, 1), Fill::Ids(axes.iter().product()))
                    .when(self.indexed),
            ],
            results: vec![Operand::result("y", Role::Result, items(self.cols()))],
        }
    }

    fn element_mut(&mut self, role: Role) -> Option<&mut Element> {
        match role {
            Role::Rows => Some(&mut self.content_rows),
            Role::Result => Some(&mut self.y),
            _ => None,
        }
    }

    fn cost(&self) -> Cost {
        let row = self.content_rows.bytes() * self.content + self.y.bytes() * self.cols();
        Cost::moving(self.batch * self.rows * row)
    }

    fn defect(&self) -> Option<&'static str> {
        let grid = self.axes[..self.dimensions].iter().product::<usize>();
        let within = self.dimensions == 0 || self.indexed || self.first_row + self.rows <= grid;
        (!within).then_some("rows lie beyond their grid")
    }

    fn describe(&self) -> Vec<String> {
        vec![
            format!("{}×{}", self.batch, self.rows),
            format!("content {}", self.content),
            format!("axes {:?}", &self.axes[..self.dimensions]),
            format!("bands {} from {}", self.bands, self.first_row),
            when(self.tail > 0, format!("tail {}×{}", self.tail_rows, self.tail)),
            when(self.indexed, "points"),
        ]
    }

    /// One invocation per vector of four results.
    fn variants() -> Vec<Variant> {
        let plain = Variant::plain("assemble", "assemble/plain", "rows");
        plain.with_f16(&[&[], &["y"], &["content"], &["content", "y"]])
    }

    fn geometry(&self, _: &Variant) -> Geometry {
        let args = *self;
        let total = args.batch * args.rows * vectors(args.cols());
        elementwise(total, move |row_invocations| {
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
                row_invocations,
                word(args.tail),
                word(4 * vectors(args.tail)),
                word(args.tail_rows.max(1)),
                u32::from(args.indexed),
                word(args.dimensions * (1 + 2 * args.bands)),
            ]
        })
    }
}
