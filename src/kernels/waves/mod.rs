//! `waves`: sines and cosines of coordinates (Fourier features of positions that are no grid).
//!
//! WGSL promises 2⁻¹¹ of a sine between −π and π and nothing beyond, so that the shader reduces its angles and has a
//! polynomial of its own. Frequencies come in three parts, of which the first two have twelve bits, as have the two parts that
//! the shader divides a coordinate into: their products are exact, with or without a fused multiply-add.

pub(super) mod cases;
pub(super) mod cpu;

use crate::kernels::vocabulary::*;

/// What a column is, in the last row of the table: the coordinate.
pub(crate) const COORDINATE: f32 = 0.0;
/// Its sine.
pub(crate) const SINE: f32 = 1.0;
/// Its cosine.
pub(crate) const COSINE: f32 = 2.0;

/// A frequency in half turns as three numbers, the first two of twelve bits.
pub(crate) fn split(frequency: f64) -> [f32; 3] {
    let first = f32::from_bits((frequency as f32).to_bits() & 0xffff_f000);
    let rest = frequency - f64::from(first);
    let second = f32::from_bits((rest as f32).to_bits() & 0xffff_f000);
    [first, second, (rest - f64::from(second)) as f32]
}

/// Arguments of `waves`.
///
/// Inputs: coordinates `[rows, axes]`; table `[5, cols]`: for each column its axis, the three parts of its frequency in half
/// turns (`split`), and what it is. Output `[rows, cols]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Waves {
    /// Rows.
    pub rows: usize,
    /// Coordinates of a row.
    pub axes: usize,
    /// Columns of the result.
    pub cols: usize,
}

impl Kernel for Waves {
    const NAME: &'static str = "waves";
    const SHADERS: &'static [(&'static str, &'static str)] = &[shader_text!("waves/plain")];

    fn signature(&self) -> Signature {
        let rows = |rows, cols| Extent::new(1, rows, cols);
        Signature {
            operands: vec![
                Operand::wide("x", rows(self.rows, self.axes), Fill::Numbers),
                Operand::wide("table", rows(5, self.cols), Fill::Waves(self.axes)),
            ],
            results: vec![Operand::result("y", Role::Wide, rows(self.rows, self.cols))],
        }
    }

    fn cost(&self) -> Cost {
        Cost::moving(4 * self.rows * (self.axes + self.cols))
    }

    fn terms(&self) -> usize {
        16
    }

    fn defect(&self) -> Option<&'static str> {
        (self.axes == 0).then_some("rows have no coordinates")
    }

    fn describe(&self) -> Vec<String> {
        vec![format!("{}×{} of {} axes", self.rows, self.cols, self.axes)]
    }

    /// One invocation per element.
    fn variants() -> Vec<Variant> {
        vec![Variant::plain("waves", "waves/plain", "elements")]
    }

    fn geometry(&self, _: &Variant) -> Geometry {
        let args = *self;
        // Padding of the result is written too.
        let row = args.cols.next_multiple_of(4);
        let total = args.rows * row;
        elementwise(total, move |row_invocations| {
            vec![
                word(args.cols),
                word(row.max(1)),
                word(args.axes),
                word(args.axes.next_multiple_of(4)),
                word(total),
                row_invocations,
            ]
        })
    }
}
