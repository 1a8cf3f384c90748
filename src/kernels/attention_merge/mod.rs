//! `attention_merge`: exact merge of attention states of disjoint key sets, in a fixed order.

pub(super) mod cases;
pub(super) mod cpu;

use crate::kernels::state;
use crate::kernels::vocabulary::*;

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
    pub const fn v_stride(&self) -> usize {
        self.d_v.next_multiple_of(4)
    }
}

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
                Operand::wide("acc", rows(self.parts, columns), Fill::Heads(self.d_v, 0)),
                Operand::wide("stats", rows(self.parts, 2 * self.heads), Fill::Statistics),
            ],
            results: state(self.finish.then_some(Role::Result), rows(1, result), 1, state_of),
        }
    }

    fn element_mut(&mut self, role: Role) -> Option<&mut Element> {
        (role == Role::Result).then_some(&mut self.result)
    }

    fn cost(&self) -> Cost {
        Cost::moving(4 * self.batch * self.queries * self.heads * self.d_v * (self.parts + 1))
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

    /// One invocation per vector of four results.
    fn variants() -> Vec<Variant> {
        let plain = Variant::plain("attention_merge", "attention_merge/plain", "rows");
        plain.with_f16(&[&[], &["y"]])
    }

    fn iterations(&self, _: &Variant) -> u64 {
        2 * self.parts as u64
    }

    fn geometry(&self, _: &Variant) -> Geometry {
        let args = *self;
        let row = args.heads * args.v_stride() / 4;
        let total = args.batch * args.queries * row;
        elementwise(total, move |row_invocations| {
            vec![
                word(args.parts),
                word(args.batch * args.queries),
                word(row),
                word(args.v_stride() / 4),
                word(4 * vectors(2 * args.heads)),
                u32::from(args.finish),
                word(total),
                row_invocations,
            ]
        })
    }
}
