//! `attention_merge`: exact merge of attention states of disjoint key sets, in a fixed order.

mod cases;
mod cpu;

use crate::kernels::{
    Cost, DeviceTraits, ELEMENTWISE, Fill, Geometry, Kernel, Mode, Operand, Real, Role, Row,
    Signature, Variant, shader_text, state, vectors, word,
};
use crate::tensor::{Element, Extent};

/// Arguments of `attention_merge`.
///
/// Inputs: accumulators `[parts·batch, queries, heads·pad(d_v)]` and statistics
/// `[parts·batch, queries, 2·heads]`, part-major. Outputs: the result
/// `[batch, queries, heads·pad(d_v)]` if `finish`, else the merged accumulators and statistics.
/// Parts are added in rising order, so that the same plan gives the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AttentionMerge {
    /// States to merge.
    pub parts: usize,
    /// Items.
    pub batch: usize,
    /// Heads.
    pub heads: usize,
    /// Query rows of one item.
    pub queries: usize,
    /// Value channels of one head.
    pub d_v: usize,
    /// Normalise and store the result rather than the state.
    pub finish: bool,
    /// How the result lies in memory. States are f32.
    pub result: Element,
}

impl AttentionMerge {
    /// Columns of one head.
    #[must_use]
    pub const fn v_stride(&self) -> usize {
        self.d_v.next_multiple_of(4)
    }
}

/// One invocation per vector of four results.
const ROWS: Variant = Variant {
    kernel: "attention_merge",
    source: "attention_merge/plain",
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

/// All variants: the result as f32 or as halves.
const VARIANTS: &[Variant] = &[ROWS, ROWS.halving(&["y"])];

impl Kernel for AttentionMerge {
    const NAME: &'static str = "attention_merge";
    const SHADERS: &'static [(&'static str, &'static str)] =
        &[shader_text!("attention_merge/plain")];

    fn signature(&self) -> Signature {
        let columns = self.heads * self.v_stride();
        let rows = |items, columns| Extent::new(items * self.batch, self.queries, columns);
        // With one head the padding of the row is that of the head.
        let result = if self.heads == 1 { self.d_v } else { columns };
        let state_of = [rows(1, columns), rows(1, 2 * self.heads)];
        Signature {
            operands: vec![
                Operand::new("acc", Role::Wide, rows(self.parts, columns), Fill::Heads(self.d_v)),
                Operand::new(
                    "stats",
                    Role::Wide,
                    rows(self.parts, 2 * self.heads),
                    Fill::Statistics,
                ),
            ],
            results: state(self.finish.then_some(Role::Result), rows(1, result), 1, state_of),
        }
    }

    fn element_mut(&mut self, role: Role) -> Option<&mut Element> {
        match role {
            Role::Result => Some(&mut self.result),
            _ => None,
        }
    }

    /// No matrix product.
    fn cost(&self) -> Cost {
        let row = (self.heads * self.d_v) as u64;
        Cost {
            flops: 0,
            bytes: 4 * (self.batch * self.queries) as u64 * row * (self.parts as u64 + 1),
        }
    }

    fn terms(&self) -> usize {
        self.parts + 1
    }

    fn describe(&self) -> Vec<String> {
        vec![
            format!("{} parts", self.parts),
            format!("{}×{}", self.batch, self.queries),
            format!("heads {}×{}", self.heads, self.d_v),
            if self.finish { "result" } else { "state" }.to_owned(),
        ]
    }

    fn variants() -> Vec<Variant> {
        VARIANTS.to_vec()
    }

    /// The variant that stores what is wanted.
    fn candidates(&self, _: &DeviceTraits) -> Vec<Variant> {
        let halves = self.finish && self.result == Element::F16;
        vec![VARIANTS[usize::from(halves)]]
    }

    fn iterations(&self, _: &Variant) -> u64 {
        2 * self.parts as u64
    }

    fn geometry(&self, _: &Variant) -> Geometry {
        let args = *self;
        let row = args.heads * args.v_stride() / 4;
        let total = args.batch * args.queries * row;
        let words = move |groups_x: u32| {
            vec![
                word(args.parts),
                word(args.batch * args.queries),
                word(row),
                word(args.v_stride() / 4),
                word(4 * vectors(2 * args.heads)),
                u32::from(args.finish),
                word(total),
                groups_x * ELEMENTWISE,
            ]
        };
        (total.div_ceil(ELEMENTWISE as usize) as u64, Box::new(words))
    }

    fn reference<T: Real>(&self, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        cpu::reference(self, inputs[0], inputs[1], outputs);
    }

    fn fast(&self, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
        cpu::fast(self, inputs[0], inputs[1], outputs);
    }

    fn cases() -> Vec<Row> {
        cases::rows()
    }
}
