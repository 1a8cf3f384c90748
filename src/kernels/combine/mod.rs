//! `combine`: two arrays element by element: a sum, or the product of a gated MLP; and rows repeated.

pub(super) mod cases;
pub(super) mod cpu;

use crate::kernels::gemm::Activation;
use crate::kernels::vocabulary::*;

/// Some rows and columns of an array; the rows are taken again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Columns {
    /// Rows; row r of the result takes row r modulo this, counted from `first`.
    pub rows: usize,
    /// Row of the array that is the first.
    pub first: usize,
    /// Elements from one row to the next.
    pub row: usize,
    /// First column, a multiple of four.
    pub column: usize,
}

/// Arguments of `combine`.
///
/// Inputs: A and B with their [`Columns`]. Output: Y `[rows, cols]`, f(A)·B if `product`, f(A) + B otherwise, or f(A) where
/// there is no B; f is the activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Combine {
    /// Rows of Y.
    pub rows: usize,
    /// Columns of Y.
    pub cols: usize,
    /// Where A lies.
    pub a: Columns,
    /// Where B does.
    pub b: Option<Columns>,
    /// Of A.
    pub activation: Activation,
    /// Whether A and B are multiplied.
    pub product: bool,
    /// How A and B lie in memory: f32 where they are added, as the residual stream is.
    pub x: Element,
    /// How Y does.
    pub y: Element,
}

impl Combine {
    /// Roles of operands and of the result.
    fn roles(&self) -> [Role; 2] {
        if self.product { [Role::Rows, Role::Result] } else { [Role::Wide; 2] }
    }
}

const F16: [&[&str]; 4] = [&[], &["y"], &["a", "b"], &["a", "b", "y"]];

impl Kernel for Combine {
    const NAME: &'static str = "combine";
    const SHADERS: &'static [(&'static str, &'static str)] = &[shader_text!("combine/plain")];

    fn signature(&self) -> Signature {
        let operand = |name, of: Columns| {
            let fill = Fill::Heads(self.cols.max(1), of.column);
            Operand::new(name, self.roles()[0], Extent::new(1, of.first + of.rows, of.row), fill)
        };
        let none = Columns { rows: 0, first: 0, row: 0, column: 0 };
        Signature {
            operands: vec![
                operand("a", self.a),
                operand("b", self.b.unwrap_or(none)).when(self.b.is_some()),
            ],
            results: vec![Operand::result(
                "y",
                self.roles()[1],
                Extent::new(1, self.rows, self.cols),
            )],
        }
    }

    fn element_mut(&mut self, role: Role) -> Option<&mut Element> {
        match role {
            Role::Rows if self.product => Some(&mut self.x),
            Role::Result if self.product => Some(&mut self.y),
            _ => None,
        }
    }

    fn cost(&self) -> Cost {
        let arrays = 1 + usize::from(self.b.is_some());
        Cost::moving((arrays * self.x.bytes() + self.y.bytes()) * self.rows * self.cols)
    }

    fn defect(&self) -> Option<&'static str> {
        let of = [Some(self.a), self.b];
        let wrong = of.into_iter().flatten().any(|of| {
            let end = of.column + self.cols.next_multiple_of(4);
            let aligned = of.column.is_multiple_of(4) && of.row.is_multiple_of(4);
            self.rows > 0 && (of.rows == 0 || end > of.row || !aligned)
        });
        wrong.then_some("an array is too narrow or not aligned")
    }

    fn describe(&self) -> Vec<String> {
        let sign = match self.b {
            None => "",
            Some(_) if self.product => "product",
            Some(_) => "sum",
        };
        let repeats = |of: Columns| self.rows > of.rows;
        vec![
            format!("{}×{}", self.rows, self.cols),
            sign.to_owned(),
            self.activation.name().to_owned(),
            when(repeats(self.a) || self.b.is_some_and(repeats), "repeated"),
        ]
    }

    /// One invocation per vector of four results.
    fn variants() -> Vec<Variant> {
        Variant::plain("combine", "combine/plain", "vectors").with_f16(&F16)
    }

    fn geometry(&self, _: &Variant) -> Geometry {
        let args = *self;
        let total = args.rows * vectors(args.cols);
        elementwise(total, move |row_invocations| {
            let b = args.b.unwrap_or(Columns { rows: 1, first: 0, row: 0, column: 0 });
            vec![
                word(vectors(args.cols).max(1)),
                word(total),
                row_invocations,
                args.activation.word(),
                word(args.a.rows.max(1)),
                word(args.a.row / 4),
                word((args.a.first * args.a.row + args.a.column) / 4),
                u32::from(args.b.is_some()) + u32::from(args.b.is_some() && args.product),
                word(b.rows),
                word(b.row / 4),
                word((b.first * b.row + b.column) / 4),
                word(args.cols),
            ]
        })
    }
}
