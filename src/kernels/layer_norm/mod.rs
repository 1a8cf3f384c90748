//! `layer_norm`: LayerNorm or RMSNorm over the channels of each row, with gain and bias.

pub(super) mod cases;
pub(super) mod cpu;

use crate::kernels::{
    Cost, DeviceTraits, Fill, Geometry, Kernel, Operand, Role, Signature, Variant, shader_text,
    vectors, when, word,
};
use crate::tensor::{Element, Extent};

/// The eps of every LayerNorm in Hugging Face's Perceiver (`config.layer_norm_eps` is not used there).
pub const EPS: f32 = 1e-5;

/// Arguments of `layer_norm`: Y = (X − μ)/√(σ² + eps) ⊙ g + b, with the biased variance; not `centred`,
/// Y = X/√(mean of X² + eps) ⊙ g + b.
///
/// Inputs: X `[rows, cols]`, g `[1, cols]`, b `[1, cols]`. Output: Y `[rows, cols]`. With several heads all rows are
/// heads of `cols / heads` channels, each padded with zeros to a multiple of four, which are normalised together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerNorm {
    /// Rows, all batch items together.
    pub rows: usize,
    /// Channels, padding not counted.
    pub cols: usize,
    /// Heads that a row is divided into.
    pub heads: usize,
    /// Whether the mean is taken off.
    pub centred: bool,
    /// Added to the variance.
    pub eps: f32,
    /// How X lies in memory.
    pub x: Element,
    /// How Y does. g and b are f32.
    pub y: Element,
}

impl LayerNorm {
    /// LayerNorm of f32 rows.
    pub const fn new(rows: usize, cols: usize) -> Self {
        let [x, y] = [Element::F32; 2];
        LayerNorm { rows, cols, heads: 1, centred: true, eps: EPS, x, y }
    }

    /// Channels of a head, and its columns.
    pub(super) const fn head(&self) -> [usize; 2] {
        let width = self.cols / self.heads;
        [width, width.next_multiple_of(4)]
    }

    /// Columns of a row, padding between heads included.
    pub(super) const fn columns(&self) -> usize {
        match self.heads {
            1 => self.cols,
            heads => heads * self.head()[1],
        }
    }

    /// Whether it is the LayerNorm that products can do on the way.
    pub(crate) fn is_plain(&self) -> bool {
        self.heads == 1 && self.centred && self.eps == EPS
    }
}

/// A workgroup per row.
const GROUP: Variant =
    Variant::plain("layer_norm", "layer_norm/plain", "group").sized("group", &[], 64, 256);

/// An invocation per row.
const LANE: Variant = Variant::plain("layer_norm", "layer_norm/direct", "lane").direct(
    "lane",
    &[("LANES", 8)],
    false,
);

/// A subgroup per row, whatever its size; eight rows per workgroup.
const SUBGROUP: Variant = Variant {
    subgroups: true,
    ..Variant::plain("layer_norm", "layer_norm/subgroup", "subgroup").sized("subgroup", &[], 256, 0)
};

/// Arrays of f16.
const F16: [&[&str]; 4] = [&[], &["y"], &["x"], &["x", "y"]];

impl Kernel for LayerNorm {
    const NAME: &'static str = "layer_norm";
    const SHADERS: &'static [(&'static str, &'static str)] = &[
        shader_text!("layer_norm/common"),
        shader_text!("layer_norm/direct"),
        shader_text!("layer_norm/plain"),
        shader_text!("layer_norm/subgroup"),
    ];

    fn signature(&self) -> Signature {
        let rows = |rows| Extent::new(1, rows, self.columns());
        let (numbers, weights) = match self.heads {
            1 => (Fill::Numbers, Fill::Weights),
            _ => (Fill::Heads(self.head()[0], 0), Fill::WeightHeads(self.head()[0], 0)),
        };
        Signature {
            operands: vec![
                Operand::new("x", Role::Rows, rows(self.rows), numbers),
                Operand::wide("gain", rows(1), weights),
                Operand::wide("bias", rows(1), weights),
            ],
            results: vec![Operand::result("y", Role::Result, rows(self.rows))],
        }
    }

    fn element_mut(&mut self, role: Role) -> Option<&mut Element> {
        match role {
            Role::Rows => Some(&mut self.x),
            Role::Result => Some(&mut self.y),
            _ => None,
        }
    }

    /// No matrix product; two passes over X at least count as one read and one write.
    fn cost(&self) -> Cost {
        Cost {
            flops: 0,
            bytes: (self.x.bytes() + self.y.bytes()) as u64 * self.rows as u64 * self.cols as u64,
        }
    }

    fn terms(&self) -> usize {
        self.cols
    }

    fn describe(&self) -> Vec<String> {
        vec![
            format!("{}×{}", self.rows, self.cols),
            when(self.heads > 1, format!("heads {}", self.heads)),
            when(!self.centred, "rms"),
            when(self.eps != EPS, format!("eps {:e}", self.eps)),
        ]
    }

    fn defect(&self) -> Option<&'static str> {
        let divides = self.heads > 0 && self.cols.is_multiple_of(self.heads);
        (!divides).then_some("the channels are no whole heads")
    }

    fn variants() -> Vec<Variant> {
        F16.map(|f16| [SUBGROUP, GROUP, LANE].map(|v| v.storing_f16(f16))).concat()
    }

    /// Variants that fit, best first.
    fn candidates(&self, device: &DeviceTraits) -> Vec<Variant> {
        let list = if device.software { [LANE, GROUP, SUBGROUP] } else { [SUBGROUP, GROUP, LANE] };
        let f16 = self.f16_set(&F16);
        list.into_iter().filter_map(|v| Some(v.storing_f16(f16?))).collect()
    }

    fn iterations(&self, _: &Variant) -> u64 {
        3 * vectors(self.columns()) as u64
    }

    fn geometry(&self, variant: &Variant) -> Geometry {
        let args = *self;
        let rows_each = if variant.entry == "group" { 1 } else { 8 };
        let words = move |groups_x: u32| {
            let [width, stride] = args.head();
            let columns = args.columns();
            vec![
                word(args.rows),
                word(args.cols),
                word(vectors(columns)),
                groups_x,
                word(width),
                word(stride.max(1)),
                u32::from(args.centred),
                args.eps.to_bits(),
            ]
        };
        (self.rows.div_ceil(rows_each) as u64, Box::new(words))
    }

    fn small(mut self) -> Self {
        self.rows = self.rows.min(37);
        self
    }
}
