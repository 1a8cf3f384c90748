//! `finite`: whether the numbers of an array are finite.
//!
//! A few flags, so that what a device keeps to itself can be judged by a read of some bytes.

pub(super) mod cases;
pub(super) mod cpu;

use crate::kernels::vocabulary::*;

/// Vectors of four that one flag is about.
const EACH: usize = 64;

/// Arguments of `finite`.
///
/// Input X `[batch, rows, cols]`, output `[1, 1, groups]`: 1 where a vector of four of X whose number is this modulo
/// `groups` has infinities or what is no number, else 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Finite {
    /// X.
    pub extent: Extent,
}

impl Finite {
    /// Flags.
    pub const fn groups(&self) -> usize {
        (self.extent.padded_len() / 4).div_ceil(EACH)
    }
}

impl Kernel for Finite {
    const NAME: &'static str = "finite";
    const SHADERS: &'static [(&'static str, &'static str)] = &[shader_text!("finite/plain")];

    fn signature(&self) -> Signature {
        let y = Extent::new(1, 1, self.groups());
        Signature {
            operands: vec![Operand::wide("x", self.extent, Fill::Odd)],
            results: vec![Operand::result("y", Role::Wide, y)],
        }
    }

    fn cost(&self) -> Cost {
        Cost::moving(4 * (self.extent.len() + self.groups()))
    }

    fn describe(&self) -> Vec<String> {
        vec![self.extent.to_string()]
    }

    /// One invocation per flag.
    fn variants() -> Vec<Variant> {
        vec![Variant::plain("finite", "finite/plain", "groups")]
    }

    fn iterations(&self, _: &Variant) -> u64 {
        EACH as u64
    }

    fn geometry(&self, _: &Variant) -> Geometry {
        let args = *self;
        // Padding of the result is written too.
        let total = args.groups().next_multiple_of(4);
        elementwise(total, move |row_invocations| {
            let x = word(args.extent.padded_len() / 4);
            vec![x, word(args.groups()), word(total), row_invocations]
        })
    }
}
