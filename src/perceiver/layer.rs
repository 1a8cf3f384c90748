//! The one attention layer that encoder, processor and decoder are made of.
//!
//! Its rules are Hugging Face's `PerceiverLayer`: LayerNorm, projections, attention, output
//! projection, optional query residual, then LayerNorm and a two-layer MLP with a residual of its
//! own. Widths that do not fit are [`crate::Error::Graph`].

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::graph::{
    AttentionSource, Graph, HeadLayout, Heads, Linear, LinearPart, Stage, ValueId, View,
};
use crate::kernels::gemm::Activation;

/// Sizes and tensor names of one attention layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttentionLayer {
    /// Tensor names begin with this, without the dot.
    pub prefix: String,
    /// Stage that its nodes belong to.
    pub stage: Stage,
    /// Short name for labels.
    pub label: String,
    /// Heads.
    pub heads: usize,
    /// Query and key channels, all heads together.
    pub qk: usize,
    /// Value channels, all heads together.
    pub v: usize,
    /// Channels of the queries' rows, and of the result.
    pub q_width: usize,
    /// Channels of the keys' and values' rows.
    pub kv_width: usize,
    /// Hidden width of the MLP over `q_width`.
    pub widening: usize,
    /// Whether the raw queries are added to the attention's result.
    pub residual: bool,
    /// Activation of the MLP.
    pub activation: Activation,
}

/// Keys and values of some rows: one array, two first columns.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeysValues {
    rows: View,
    k_column: usize,
    v_column: usize,
}

impl AttentionLayer {
    fn name(&self, leaf: &str) -> String {
        format!("{}.{leaf}", self.prefix)
    }

    fn node(&self, leaf: &str) -> String {
        format!("{} {leaf}", self.label)
    }

    fn heads_of(&self, channels: usize) -> HeadLayout {
        HeadLayout::heads(self.heads, channels / self.heads.max(1))
    }

    fn part(&self, leaf: &str, out: HeadLayout) -> LinearPart {
        LinearPart {
            weight: self.name(&format!("{leaf}.weight")),
            bias: Some(self.name(&format!("{leaf}.bias"))),
            out,
            ..LinearPart::plain("", 0)
        }
    }

    fn plain(&self, leaf: &str, input: HeadLayout, out: usize) -> Linear {
        Linear::new(vec![self.part(leaf, HeadLayout::plain(out))], input)
    }

    /// Channels of one head: of queries and keys, of values.
    fn widths(&self) -> (usize, usize) {
        (self.heads_of(self.qk).width, self.heads_of(self.v).width)
    }

    fn norm(&self, g: &mut Graph, label: &str, x: View, leaf: &str) -> View {
        let norm = g.layer_norm(self.stage, &self.node(label), x, &self.name(leaf));
        g.view(norm)
    }

    /// Queries ("query"), keys ("key") and values ("value") of normalised rows with `width` channels, by
    /// one product, and the first column of each.
    fn project<const N: usize>(
        &self,
        g: &mut Graph,
        leaves: [&str; N],
        x: View,
        width: usize,
    ) -> Result<(View, [usize; N])> {
        let parts = leaves.map(|leaf| {
            let channels = if leaf == "value" { self.v } else { self.qk };
            self.part(&format!("attention.self.{leaf}"), self.heads_of(channels))
        });
        let linear = Linear::new(parts.into(), HeadLayout::plain(width));
        let columns = linear.columns();
        let made = g.linear(self.stage, &self.node(&leaves.join(" ")), x, linear)?;
        Ok((g.view(made), std::array::from_fn(|i| columns[i])))
    }

    /// Projected queries of rows `x`.
    pub(super) fn queries(&self, g: &mut Graph, x: View) -> Result<AttentionSource> {
        let xn = self.norm(g, "query norm", x, "attention.self.layernorm1");
        let (view, [column]) = self.project(g, ["query"], xn, self.q_width)?;
        Ok(AttentionSource { view, column })
    }

    /// Normalised rows `y` of the keys' and values' side.
    pub(super) fn input_norm(&self, g: &mut Graph, y: View) -> View {
        self.norm(g, "input norm", y, "attention.self.layernorm2")
    }

    /// Keys (`leaf` "key") or values ("value") of normalised rows, alone.
    pub(super) fn key_or_value(&self, g: &mut Graph, yn: View, leaf: &str) -> Result<View> {
        Ok(self.project(g, [leaf], yn, self.kv_width)?.0)
    }

    /// Projected keys and values of rows `y` (cross-attention), by one product.
    pub(super) fn keys_values(&self, g: &mut Graph, y: View) -> Result<KeysValues> {
        let yn = self.input_norm(g, y);
        let (rows, [k_column, v_column]) = self.project(g, ["key", "value"], yn, self.kv_width)?;
        Ok(KeysValues { rows, k_column, v_column })
    }

    /// Attention of `q` over `kv`; see [`Graph::attention`].
    pub(super) fn attend(
        &self,
        g: &mut Graph,
        q: AttentionSource,
        kv: KeysValues,
        mask: Option<View>,
        carry: Option<(ValueId, ValueId)>,
        finish: bool,
    ) -> Result<Vec<ValueId>> {
        let source = |column| AttentionSource { view: kv.rows, column };
        let (d_qk, d_v) = self.widths();
        g.attention(
            self.stage,
            &self.node("attention"),
            Heads::new(self.heads, d_qk, d_v),
            [q, source(kv.k_column), source(kv.v_column)],
            (mask, false),
            carry,
            finish,
        )
    }

    /// Output projection, query residual and MLP. `x` are the raw queries.
    pub(super) fn finish(&self, g: &mut Graph, context: ValueId, x: View) -> Result<ValueId> {
        let a = self.output(g, context, self.residual.then_some(x))?;
        self.feed_forward(g, a)
    }

    /// Output projection.
    pub(super) fn output(
        &self,
        g: &mut Graph,
        context: ValueId,
        residual: Option<View>,
    ) -> Result<ValueId> {
        let mut out = self.plain("attention.output.dense", self.heads_of(self.v), self.q_width);
        out.residual = residual;
        g.linear(self.stage, &self.node("output"), g.view(context), out)
    }

    /// LayerNorm and MLP of rows, added to them.
    pub(super) fn feed_forward(&self, g: &mut Graph, a: ValueId) -> Result<ValueId> {
        let a = g.view(a);
        let an = self.norm(g, "mlp norm", a, "layernorm");
        let hidden = self.widening * self.q_width;
        let mut widen = self.plain("mlp.dense1", HeadLayout::plain(self.q_width), hidden);
        widen.activation = self.activation;
        let h = g.linear(self.stage, &self.node("mlp in"), an, widen)?;
        let mut narrow = self.plain("mlp.dense2", HeadLayout::plain(hidden), self.q_width);
        narrow.residual = Some(a);
        g.linear(self.stage, &self.node("mlp out"), g.view(h), narrow)
    }

    /// The whole layer as self-attention over rows `x`: queries, keys and values by one product.
    #[doc(hidden)]
    pub fn self_attention(&self, g: &mut Graph, x: View) -> Result<ValueId> {
        let xn = self.norm(g, "norm", x, "attention.self.layernorm1");
        let all = ["query", "key", "value"];
        let (view, [column, k_column, v_column]) = self.project(g, all, xn, self.q_width)?;
        let q = AttentionSource { view, column };
        let kv = KeysValues { rows: view, k_column, v_column };
        let context = self.attend(g, q, kv, None, None, true)?[0];
        self.finish(g, context, x)
    }
}
