//! `rotary`: pairs of channels of every head, turned by an angle of their row (rotary position embedding).

pub(super) mod cases;
pub(super) mod cpu;

use crate::kernels::vocabulary::*;

/// Arguments of `rotary`.
///
/// Inputs: X `[rows, heads·pad(width)]`; angles `[angle_rows, 2·pairs]`: sines, then cosines; row r of X takes row r modulo
/// `angle_rows`. Output as X: of each head pair i is `(a·cos − b·sin, b·cos + a·sin)`, with the sign of the sine turned if
/// `back`; channels that are in no pair stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rotary {
    /// Rows of X.
    pub rows: usize,
    /// Heads.
    pub heads: usize,
    /// Channels of a head.
    pub width: usize,
    /// Pairs of a head.
    pub pairs: usize,
    /// Whether channels 2i and 2i + 1 are pair i; else i and i + pairs.
    pub neighbours: bool,
    /// Whether it turns back.
    pub back: bool,
    /// Rows of the angles.
    pub angle_rows: usize,
    /// How X lies in memory.
    pub x: Element,
    /// How Y does.
    pub y: Element,
}

impl Rotary {
    /// Columns of a head.
    pub(super) const fn stride(&self) -> usize {
        if self.heads == 1 { self.width } else { self.width.next_multiple_of(4) }
    }

    /// The other channel of a pair, which pair it is, and whether the channel is the first of it; `None` for one that stays.
    pub(super) fn pair(&self, channel: usize) -> Option<(usize, usize, bool)> {
        if channel >= 2 * self.pairs {
            return None;
        }
        Some(match self.neighbours {
            true => (channel ^ 1, channel / 2, channel.is_multiple_of(2)),
            false if channel < self.pairs => (channel + self.pairs, channel, true),
            false => (channel - self.pairs, channel - self.pairs, false),
        })
    }
}

const F16: [&[&str]; 4] = [&[], &["y"], &["x"], &["x", "y"]];

impl Kernel for Rotary {
    const NAME: &'static str = "rotary";
    const SHADERS: &'static [(&'static str, &'static str)] = &[shader_text!("rotary/plain")];

    fn signature(&self) -> Signature {
        let rows = Extent::new(1, self.rows, self.heads * self.stride());
        let fill = Fill::Heads(self.width.max(1), 0);
        let angles = Extent::new(1, self.angle_rows, 2 * self.pairs);
        Signature {
            operands: vec![
                Operand::new("x", Role::Rows, rows, fill),
                Operand::wide("angles", angles, Fill::Weights),
            ],
            results: vec![Operand::result("y", Role::Result, rows)],
        }
    }

    fn element_mut(&mut self, role: Role) -> Option<&mut Element> {
        match role {
            Role::Rows => Some(&mut self.x),
            Role::Result => Some(&mut self.y),
            _ => None,
        }
    }

    fn cost(&self) -> Cost {
        let elements = self.rows * self.heads * self.width;
        Cost::moving((self.x.bytes() + self.y.bytes()) * elements)
    }

    fn defect(&self) -> Option<&'static str> {
        if 2 * self.pairs > self.width {
            return Some("a head has fewer channels than its pairs");
        }
        (self.rows > 0 && self.angle_rows == 0).then_some("there are no angles")
    }

    fn describe(&self) -> Vec<String> {
        vec![
            format!("{} heads {}×{} pairs {}", self.rows, self.heads, self.width, self.pairs),
            when(self.neighbours, "neighbours"),
            when(self.back, "back"),
            when(self.angle_rows < self.rows, "repeated"),
        ]
    }

    /// One invocation per vector of four results.
    fn variants() -> Vec<Variant> {
        Variant::plain("rotary", "rotary/plain", "vectors").with_f16(&F16)
    }

    fn geometry(&self, _: &Variant) -> Geometry {
        let args = *self;
        let row = args.heads * args.stride();
        let total = args.rows * vectors(row);
        elementwise(total, move |row_invocations| {
            vec![
                word(vectors(row).max(1)),
                word(args.stride().next_multiple_of(4).max(1)),
                word(args.pairs),
                u32::from(args.neighbours),
                u32::from(args.back),
                word(args.angle_rows.max(1)),
                word((2 * args.pairs).next_multiple_of(4)),
                word(total),
                row_invocations,
            ]
        })
    }
}
