//! Which operands and results of an op may be stored as halves, and how they are.

use super::Op;
use crate::kernels::attention::Attention;
use crate::tensor::Element;

/// What an operand or result is to its op, as far as its storage goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Always f32: states, statistics, masks, positions, biases, residuals.
    Wide,
    /// Rows that are multiplied, normalised or copied.
    Rows,
    /// The weight of a product.
    Weight,
    /// Keys of an attention: f32 at least where queries and values are.
    Keys,
    /// The result.
    Result,
}

impl Role {
    /// All that may be stored as halves.
    pub const NARROW: [Role; 4] = [Role::Rows, Role::Weight, Role::Keys, Role::Result];
}

impl Op {
    /// Roles of the operands, in their order.
    #[must_use]
    pub fn operand_roles(&self) -> Vec<Role> {
        use Role::{Keys, Rows, Weight, Wide};
        let content_first = |there: bool, rest: usize| {
            let mut roles = vec![Wide; rest];
            if there {
                roles.insert(0, Rows);
            }
            roles
        };
        match self {
            Op::Gemm(a) => {
                let rest = usize::from(a.bias) + usize::from(a.residual_rows > 0);
                [vec![Rows, Weight], vec![Wide; rest]].concat()
            }
            Op::GemmMerge(a) => {
                vec![Wide; 1 + usize::from(a.bias) + usize::from(a.residual_rows > 0)]
            }
            Op::LayerNorm(_) => vec![Rows, Wide, Wide],
            Op::Attention(Attention {
                factors: Some(f),
                d_qk,
                ..
            }) => {
                let mut roles = vec![Rows, Wide, Wide];
                if *d_qk > 0 {
                    roles.splice(0..0, [Rows, Keys]);
                }
                if f.indexed {
                    roles.push(Wide);
                }
                roles
            }
            Op::Attention(a) => {
                let rest = usize::from(a.masked) + 2 * usize::from(a.carry);
                [vec![Rows, Keys, Rows], vec![Wide; rest]].concat()
            }
            Op::Assemble(a) => {
                let rest = [a.dimensions > 0, a.tail > 0, a.indexed];
                content_first(a.content > 0, rest.iter().filter(|&&r| r).count())
            }
            Op::FactoredAttention(a) => {
                let rest = 2 + usize::from(a.masked) + 2 * usize::from(a.carry);
                content_first(a.factors.content > 0, rest)
            }
            Op::RowScale(a) => content_first(a.factors.content > 0, 1 + usize::from(a.indexed)),
            Op::AttentionMerge(_) => vec![Wide; 2],
            Op::Join(a) => vec![Wide; 2 + usize::from(a.residual)],
            Op::Embed(_) | Op::Convolution(_) => vec![Wide; 3],
            Op::MaxPool(_) | Op::Transpose(_) => vec![Wide],
        }
    }

    /// Roles of the results, in their order.
    #[must_use]
    pub fn result_roles(&self) -> Vec<Role> {
        match self {
            Op::Gemm(a) if a.splits > 1 => vec![Role::Wide],
            Op::Gemm(_) | Op::GemmMerge(_) | Op::LayerNorm(_) | Op::Assemble(_) => {
                vec![Role::Result]
            }
            Op::Attention(a) if a.stores_result() => vec![Role::Result],
            Op::AttentionMerge(a) if a.finish => vec![Role::Result],
            _ => vec![Role::Wide; 2],
        }
    }

    /// How what has this role is stored.
    #[must_use]
    pub fn element(&self, role: Role) -> Element {
        let mut copy = *self;
        copy.element_mut(role).map_or(Element::F32, |e| *e)
    }

    /// Says how what has this role is stored; nothing happens where the op knows no such role.
    pub fn set_element(&mut self, role: Role, element: Element) {
        if let Some(e) = self.element_mut(role) {
            *e = element;
        }
    }

    fn element_mut(&mut self, role: Role) -> Option<&mut Element> {
        Some(match (self, role) {
            (Op::Gemm(a), Role::Rows) => &mut a.x,
            (Op::Gemm(a), Role::Weight) => &mut a.weight,
            (Op::Gemm(a), Role::Result) => &mut a.y,
            (Op::GemmMerge(a), Role::Result) => &mut a.y,
            (Op::LayerNorm(a), Role::Rows) => &mut a.x,
            (Op::LayerNorm(a), Role::Result) => &mut a.y,
            (Op::Attention(a), Role::Rows) => &mut a.rows,
            (Op::Attention(a), Role::Keys) => &mut a.key_rows,
            (Op::Attention(a), Role::Result) => &mut a.result,
            (Op::AttentionMerge(a), Role::Result) => &mut a.result,
            (Op::Assemble(a), Role::Rows) => &mut a.content_rows,
            (Op::Assemble(a), Role::Result) => &mut a.y,
            (Op::FactoredAttention(a), Role::Rows) => &mut a.content,
            (Op::RowScale(a), Role::Rows) => &mut a.content,
            _ => return None,
        })
    }
}
