//! `layer_norm`: LayerNorm over the channels of each row, with gain and bias.

pub(super) mod cases;
pub(super) mod cpu;

use crate::kernels::{
    Cost, DeviceTraits, Fill, Geometry, Kernel, Operand, Role, Signature, Variant, shader_text,
    vectors, word,
};
use crate::tensor::{Element, Extent};

/// The eps of every LayerNorm in Hugging Face's Perceiver (`config.layer_norm_eps` is not used there).
pub const EPS: f32 = 1e-5;

/// Arguments of `layer_norm`: Y = (X − μ)/√(σ² + eps) ⊙ g + b, with the biased variance.
///
/// Inputs: X `[rows, cols]`, g `[1, cols]`, b `[1, cols]`. Output: Y `[rows, cols]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LayerNorm {
    /// Rows, all batch items together.
    pub rows: usize,
    /// Channels.
    pub cols: usize,
    /// How X lies in memory.
    pub x: Element,
    /// How Y does. g and b are f32.
    pub y: Element,
}

impl LayerNorm {
    /// LayerNorm of f32 rows.
    pub const fn new(rows: usize, cols: usize) -> Self {
        LayerNorm { rows, cols, x: Element::F32, y: Element::F32 }
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
        let rows = |rows| Extent::new(1, rows, self.cols);
        Signature {
            operands: vec![
                Operand::new("x", Role::Rows, rows(self.rows), Fill::Numbers),
                Operand::wide("gain", rows(1), Fill::Weights),
                Operand::wide("bias", rows(1), Fill::Weights),
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
        vec![format!("{}×{}", self.rows, self.cols)]
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
        3 * vectors(self.cols) as u64
    }

    fn geometry(&self, variant: &Variant) -> Geometry {
        let args = *self;
        let rows_each = if variant.entry == "group" { 1 } else { 8 };
        let words = move |groups_x: u32| {
            vec![word(args.rows), word(args.cols), word(vectors(args.cols)), groups_x]
        };
        (self.rows.div_ceil(rows_each) as u64, Box::new(words))
    }

    fn small(mut self) -> Self {
        self.rows = self.rows.min(37);
        self
    }
}
