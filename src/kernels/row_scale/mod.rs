//! `row_scale`: the LayerNorm scale 1/σ of rows that are given as factors.
//!
//! Mean and variance of a row follow from those of its parts; those of the tables and of the constant
//! are sums that are made when a model is loaded.

pub(super) mod cases;
pub(super) mod cpu;

use crate::kernels::factored_attention::Factors;
use crate::kernels::vocabulary::*;

/// Arguments of `row_scale`.
///
/// Inputs: content `[batch, rows, content]` unless there is none; sums `[Σ axes + 1, 2]`: for each
/// table row, axis after axis, and at last for the constant, the sum of its elements and of their
/// squares; points `[1, rows, 1]` if `indexed`. Output `[batch, 1, rows]`: 1/√(variance + 10⁻⁵). Row
/// r is at grid position `first_row + r`, or `points[r]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RowScale {
    /// Items.
    pub batch: usize,
    /// Rows of one item.
    pub rows: usize,
    /// Grid position of row 0.
    pub first_row: usize,
    /// What a row is made of.
    pub factors: Factors,
    /// Channels of a table row.
    pub features: usize,
    /// Channels of the constant.
    pub constant: usize,
    /// Whether grid positions are given row by row.
    pub indexed: bool,
    /// How content lies in memory. Everything else is f32.
    pub content: Element,
}

impl RowScale {
    /// Channels of a row.
    pub const fn channels(&self) -> usize {
        self.factors.content + self.factors.dimensions * self.features + self.constant
    }
}

impl Kernel for RowScale {
    const NAME: &'static str = "row_scale";
    const SHADERS: &'static [(&'static str, &'static str)] = &[shader_text!("row_scale/plain")];

    fn signature(&self) -> Signature {
        let f = self.factors;
        let axes = &f.axes[..f.dimensions];
        let rows = |rows, cols| Extent::new(1, rows, cols);
        let content = Extent::new(self.batch, self.rows, f.content);
        let moments = Fill::Moments(self.features.max(self.constant));
        Signature {
            operands: vec![
                Operand::new("content", Role::Rows, content, Fill::Numbers).when(f.content > 0),
                Operand::wide("sums", rows(axes.iter().sum::<usize>() + 1, 2), moments),
                Operand::wide("points", rows(self.rows, 1), Fill::Ids(axes.iter().product()))
                    .when(self.indexed),
            ],
            results: vec![Operand::result("y", Role::Wide, Extent::new(self.batch, 1, self.rows))],
        }
    }

    fn element_mut(&mut self, role: Role) -> Option<&mut Element> {
        (role == Role::Rows).then_some(&mut self.content)
    }

    fn cost(&self) -> Cost {
        Cost::moving(4 * self.batch * self.rows * (self.factors.content + 1))
    }

    fn terms(&self) -> usize {
        self.channels()
    }

    fn defect(&self) -> Option<&'static str> {
        let lies_within = self.indexed || self.factors.holds(self.first_row, self.rows);
        (!lies_within).then_some("rows lie beyond their grid")
    }

    fn describe(&self) -> Vec<String> {
        let axes = &self.factors.axes[..self.factors.dimensions];
        vec![
            format!("{}×{}", self.batch, self.rows),
            format!("content {} axes {axes:?}", self.factors.content),
            format!("features {} constant {}", self.features, self.constant),
            when(self.indexed, "points"),
        ]
    }

    /// One invocation per row.
    fn variants() -> Vec<Variant> {
        let plain = Variant::plain("row_scale", "row_scale/plain", "rows");
        plain.with_f16(&[&[], &["content"]])
    }

    fn iterations(&self, _: &Variant) -> u64 {
        2 * vectors(self.factors.content) as u64
    }

    fn geometry(&self, _: &Variant) -> Geometry {
        let args = *self;
        // Padding of the result is written too.
        let row = args.rows.next_multiple_of(4);
        let total = args.batch * row;
        elementwise(total, move |row_invocations| {
            let [a, b, c] = args.factors.axes.map(|n| word(n.max(1)));
            vec![
                word(args.rows),
                word(row),
                word(args.first_row),
                word(vectors(args.factors.content)),
                word(args.factors.content),
                word(args.factors.dimensions),
                word(args.features),
                word(args.constant),
                a,
                b,
                c,
                word(args.channels()),
                word(total),
                row_invocations,
                u32::from(args.indexed),
            ]
        })
    }
}
