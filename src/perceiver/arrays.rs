//! Graphs of blueprints that are lists of arrays.
//!
//! What the field concatenates is attended to set by set, with the attention's state carried from one to the next; grouped
//! queries are rows of fewer heads; norms of single heads are norms of rows. None of it needs a kernel of its own.

use std::collections::{HashMap, HashSet};

use super::blueprint::{
    ArrayStep, AttentionStep, Blueprint, HeadNorm, KeySet, LinearStep, Make, MlpStep, Norm,
    NormKind, Projection, WaveOrder,
};
use super::request::{Request, Sizes};
use super::rows::Rows;
use crate::error::{Error, Result};
use crate::graph::{
    AttentionSource, Graph, HeadLayout, Heads, Linear, LinearPart, Recipe, Source, Stage, View,
    Window,
};
use crate::kernels::gemm::Activation;
use crate::kernels::layer_norm::LayerNorm;
use crate::kernels::waves;
use crate::tensor::Extent;

/// The graph that takes the inputs to the outputs.
pub(super) fn graph(blueprint: &Blueprint, request: &Request) -> Result<Graph> {
    let mut g = Graph::default();
    let arrays = made(&mut g, blueprint, request)?;
    for output in &blueprint.outputs {
        if output.intermediate && !request.intermediates {
            continue;
        }
        let view = arrays.view(&output.array)?;
        let e = view.extent;
        let repeats = if e.batch == 1 { request.batch } else { 1 };
        // What is given or learned, of another shape than it was made with, or a result already, is copied.
        let made = g.value(view.value);
        let taken = g.outputs.iter().any(|o| o.pieces.contains(&view.value));
        let whole = made.source == Source::Node && made.extent == e && view.first_row == 0;
        let view = match whole && !taken && repeats == 1 {
            true => view,
            false => g.repeat(Stage::Postprocess, &output.name, view, repeats),
        };
        let items = [request.batch, e.batch.div_ceil(request.batch)];
        // Items that are parts of items are an axis.
        let shape = match items[1] {
            0 | 1 => vec![items[0], e.rows, e.cols],
            parts => vec![items[0], parts, e.rows, e.cols],
        };
        g.output(&output.name, vec![view.value], shape);
    }
    Ok(g)
}

/// The usual shape of an array of one item.
pub(super) fn extent(blueprint: &Blueprint, array: &str) -> Result<Extent> {
    let mut g = Graph::default();
    let request = Request::whole(Sizes::default(), true);
    Ok(made(&mut g, blueprint, &request)?.view(array)?.extent)
}

/// All arrays.
fn made<'a>(g: &mut Graph, blueprint: &'a Blueprint, request: &Request) -> Result<Arrays<'a>> {
    let mut arrays = Arrays::default();
    for modality in &blueprint.inputs {
        let rows = Rows::new(g, modality, request.batch)?;
        let window = super::encoder::windows(modality.count, usize::MAX / 2)[0];
        if let Some(mask) = rows.mask {
            arrays.masks.insert(&modality.name, mask);
        }
        if modality.channels() > 0 {
            let view = rows.assemble(g, window, Stage::Preprocess)?;
            arrays.views.insert(&modality.name, view);
        }
        arrays.axes.insert(&modality.name, &modality.axes);
    }
    for step in &blueprint.arrays {
        if arrays.empty(step)? {
            arrays.empty.insert(&step.name);
            continue;
        }
        let view = Maker { g, arrays: &arrays, step, request }.view()?;
        arrays.views.insert(&step.name, view);
    }
    Ok(arrays)
}

#[derive(Default)]
struct Arrays<'a> {
    views: HashMap<&'a str, View>,
    masks: HashMap<&'a str, View>,
    axes: HashMap<&'a str, &'a [usize]>,
    /// Slices that have no rows in this run.
    empty: HashSet<&'a str>,
}

impl Arrays<'_> {
    fn view(&self, name: &str) -> Result<View> {
        let found = self.views.get(name).copied();
        found.ok_or_else(|| {
            let what = match self.empty.contains(name) {
                true => "has no rows",
                false => "is no array before the one that is made of it",
            };
            Error::graph(name, what)
        })
    }

    /// Whether an array is a slice up to the last few rows, where there are no more than those.
    fn empty(&self, step: &ArrayStep) -> Result<bool> {
        let Make::Slice { of, first, rows } = &step.make else { return Ok(false) };
        let [_, number] = slice(self.view(of)?.extent.rows, *first, *rows);
        Ok(*rows < 0 && number == 0)
    }

    fn axes(&self, input: &str) -> Result<&[usize]> {
        let found = self.axes.get(input).copied().filter(|axes| !axes.is_empty());
        found.ok_or_else(|| Error::graph(input, "is no input that comes with axes"))
    }

    fn mask(&self, name: Option<&String>) -> Result<Option<View>> {
        let Some(name) = name else { return Ok(None) };
        let found = self.masks.get(name.as_str()).copied();
        found.map(Some).ok_or_else(|| Error::graph(name, "is no input with a mask"))
    }
}

/// Makes one array.
struct Maker<'a> {
    g: &'a mut Graph,
    arrays: &'a Arrays<'a>,
    step: &'a ArrayStep,
    request: &'a Request,
}

impl Maker<'_> {
    fn view(&mut self) -> Result<View> {
        match &self.step.make {
            Make::Learned { tensor, shape } => {
                let recipe = Recipe::Stored { name: tensor.clone(), shape: shape.clone() };
                let id = self.g.parameter(recipe);
                Ok(self.g.view(id))
            }
            Make::Resized { tensor, shape: [positions, channels], of } => {
                let rows = self.arrays.view(of)?.extent.rows;
                let side = rows.isqrt();
                if side * side != rows || positions.isqrt().pow(2) != *positions {
                    return self
                        .bad(format!("{rows} rows, or {positions} positions, are no square"));
                }
                let id = self.g.parameter(Recipe::ResizedPositions {
                    name: tensor.clone(),
                    positions: *positions,
                    channels: *channels,
                    size: [side; 2],
                });
                Ok(self.g.view(id))
            }
            Make::Spread { tensor, shape, by, axis } => {
                let axes = self.arrays.axes(by)?.to_vec();
                let rows: usize = shape[..shape.len().saturating_sub(1)].iter().product();
                if axes.get(*axis).is_none_or(|&n| n > rows) {
                    return self
                        .bad(format!("{rows} rows are too few for axis {axis} of {axes:?}"));
                }
                let (name, shape, axis) = (tensor.clone(), shape.clone(), *axis);
                let id = self.g.parameter(Recipe::Spread { name, shape, axes, axis });
                Ok(self.g.view(id))
            }
            Make::Split { of, by } | Make::Unite { of, by } => {
                let view = self.arrays.view(of)?;
                let parts = self.arrays.axes(by)?.first().copied().unwrap_or(1).max(1);
                let Extent { batch, rows, cols } = view.extent;
                let extent = match &self.step.make {
                    Make::Split { .. } => Extent::new(batch * parts, rows / parts, cols),
                    _ => Extent::new(batch / parts, rows * parts, cols),
                };
                self.g.reshaped(view, extent)
            }
            Make::Sum([a, b]) => {
                let [a, b] = [self.arrays.view(a)?, self.arrays.view(b)?];
                self.sum(a, b)
            }
            Make::Product { of: [a, b], activation } => {
                let of = [self.arrays.view(a)?, self.arrays.view(b)?];
                self.combined("product", of, *activation, true)
            }
            Make::Norm { of, norm } => {
                let view = self.arrays.view(of)?;
                Ok(self.norm("norm", view, norm))
            }
            Make::Linear(step) => self.linear(step),
            Make::Mlp(step) => self.mlp(step),
            Make::Attention(step) => self.attention(step),
            Make::Mean { of, mask } => self.mean(of, mask.as_ref()),
            Make::Slice { of, first, rows } => {
                let view = self.arrays.view(of)?;
                let rows = slice(view.extent.rows, *first, *rows);
                self.g.slice(self.step.stage, &self.step.name, view, rows)
            }
            Make::Filled { value, channels } => {
                let (bits, rows, columns) = (value.to_bits(), 1, *channels);
                let id = self.g.parameter(Recipe::Filled { bits, rows, columns });
                Ok(self.g.view(id))
            }
            Make::Count(of) => {
                let rows = self.arrays.view(of)?.extent.rows;
                let id = self.g.parameter(Recipe::Count { rows });
                Ok(self.g.view(id))
            }
            Make::Waves { of, tensor, frequencies, half_turns, order } => {
                let (view, half_turns) = (self.arrays.view(of)?, *half_turns);
                let axes = view.extent.cols;
                let table = match tensor {
                    Some(_) if axes != 1 => {
                        return self.bad(format!("{} has several axes", view.extent));
                    }
                    Some((name, count)) => {
                        Recipe::WavesOf { name: name.clone(), count: *count, half_turns }
                    }
                    None => Recipe::Waves(wave_columns(axes, frequencies, half_turns, *order)),
                };
                let label = self.label("waves");
                let id = self.g.waves(self.step.stage, &label, view, table);
                Ok(self.g.view(id))
            }
        }
    }

    fn label(&self, leaf: &str) -> String {
        format!("{} {leaf}", self.step.name)
    }

    fn bad<T>(&self, what: impl Into<String>) -> Result<T> {
        Err(Error::graph(&self.step.name, what))
    }

    fn sum(&mut self, a: View, b: View) -> Result<View> {
        self.combined("sum", [a, b], Activation::None, false)
    }

    /// Two arrays as wide as each other, element by element.
    fn combined(
        &mut self,
        leaf: &str,
        of: [View; 2],
        activation: Activation,
        product: bool,
    ) -> Result<View> {
        let [a, b] = of.map(|view| view.extent);
        if a.cols != b.cols {
            return self.bad(format!("{a} and {b} do not fit"));
        }
        let label = self.label(leaf);
        let of = of.map(|view| (view, 0));
        let id = self.g.combine(self.step.stage, &label, of, a.cols, activation, product)?;
        Ok(self.g.view(id))
    }

    fn norm(&mut self, leaf: &str, x: View, norm: &Norm) -> View {
        let layout = HeadLayout::plain(x.extent.cols);
        self.norm_of(leaf, x, x.extent.all_rows(), layout, norm)
    }

    /// A norm of rows that are heads.
    fn norm_of(
        &mut self,
        leaf: &str,
        x: View,
        rows: usize,
        layout: HeadLayout,
        norm: &Norm,
    ) -> View {
        let columns = layout.columns();
        let cols = layout.channels();
        let unit = if norm.kind == NormKind::Unit { 1.0 / (cols as f32).sqrt() } else { 1.0 };
        let recipe = |name: &Option<String>, default: f32| match name {
            Some(name) if layout.heads == 1 => {
                Recipe::Stored { name: name.clone(), shape: vec![cols] }
            }
            Some(name) => Recipe::Vector { name: name.clone(), layout },
            None => Recipe::Filled { bits: default.to_bits(), rows: 1, columns },
        };
        let weights = [recipe(&norm.weight, unit), recipe(&norm.bias, 0.0)];
        let op = LayerNorm {
            heads: layout.heads,
            centred: norm.kind == NormKind::Layer,
            eps: norm.eps,
            ..LayerNorm::new(rows, cols)
        };
        let label = self.label(leaf);
        let id = self.g.normalise(self.step.stage, &label, x, op, weights);
        self.g.view(id)
    }

    fn normed(&mut self, leaf: &str, x: View, norm: Option<&Norm>) -> View {
        norm.map_or(x, |norm| self.norm(leaf, x, norm))
    }

    fn product(&mut self, leaf: &str, x: View, linear: Linear) -> Result<View> {
        let label = self.label(leaf);
        let id = self.g.linear(self.step.stage, &label, x, linear)?;
        Ok(self.g.view(id))
    }

    fn linear(&mut self, step: &LinearStep) -> Result<View> {
        let x = self.arrays.view(&step.of)?;
        let mut x = self.normed("norm", x, step.norm.as_ref());
        let residual = step.residual.as_ref().map(|r| self.arrays.view(r)).transpose()?;
        if let Some(residual) = residual {
            x = self.shared(x, residual.extent.batch);
        }
        let heads = step.heads.max(1);
        if !step.out.is_multiple_of(heads) || (heads > 1 && residual.is_some()) {
            return self.bad(format!("{} channels are no {heads} heads", step.out));
        }
        let layout = HeadLayout::heads(heads, step.out / heads);
        let linear = Linear::new(vec![part(&step.layer, layout)], HeadLayout::plain(x.extent.cols));
        let linear = Linear { activation: step.activation, residual, ..linear };
        let y = self.product("linear", x, linear)?;
        let e = y.extent;
        self.g.reshaped(y, Extent::new(e.batch, e.rows * heads, layout.width))
    }

    /// Rows that are heads of projected queries, as many for one row.
    fn heads_of(&mut self, rows: View, layout: HeadLayout) -> Result<View> {
        let e = rows.extent;
        if layout.groups > 1 || e.cols != layout.width || !e.rows.is_multiple_of(layout.heads) {
            let what = format!("{e} are no {} heads of {} channels", layout.heads, layout.width);
            return self.bad(what);
        }
        let extent = Extent::new(e.batch, e.rows / layout.heads, layout.columns());
        self.g.reshaped(rows, extent)
    }

    /// What all of so many items share, once for each of them; what is of one item of several already, as it is.
    fn shared(&mut self, x: View, items: usize) -> View {
        if x.extent.batch > 1 || items <= 1 {
            return x;
        }
        let label = self.label("repeat");
        self.g.repeat(self.step.stage, &label, x, items)
    }

    fn mlp(&mut self, step: &MlpStep) -> Result<View> {
        let rows = self.arrays.view(&step.of)?;
        let x = self.normed("mlp norm", rows, step.norm.as_ref());
        let width = x.extent.cols;
        let hidden = match &step.gate {
            None => {
                let widen = Linear {
                    activation: step.activation,
                    ..plain(&step.widen, width, step.hidden)
                };
                self.product("mlp in", x, widen)?
            }
            Some(gate) => {
                let layout = HeadLayout::plain(step.hidden);
                let parts = vec![part(gate, layout), part(&step.widen, layout)];
                let both = Linear::new(parts, HeadLayout::plain(width));
                let columns = both.columns();
                let both = self.product("mlp in", x, both)?;
                let of = [(both, columns[0]), (both, columns[1])];
                let (stage, label) = (self.step.stage, self.label("mlp gate"));
                let id = self.g.combine(stage, &label, of, step.hidden, step.activation, true)?;
                self.g.view(id)
            }
        };
        let out = if step.out == 0 { rows.extent.cols } else { step.out };
        let narrow = plain(&step.narrow, step.hidden, out);
        let residual = step.residual.then_some(rows);
        self.finish("mlp out", hidden, narrow, step.post_norm.as_ref(), residual)
    }

    /// A last product, a norm of its result, and the residual.
    fn finish(
        &mut self,
        leaf: &str,
        x: View,
        mut linear: Linear,
        norm: Option<&Norm>,
        residual: Option<View>,
    ) -> Result<View> {
        let Some(norm) = norm else {
            let x = residual.map_or(x, |residual| self.shared(x, residual.extent.batch));
            linear.residual = residual;
            return self.product(leaf, x, linear);
        };
        let y = self.product(leaf, x, linear)?;
        let y = self.norm("post norm", y, norm);
        match residual {
            Some(residual) => self.sum(y, residual),
            None => Ok(y),
        }
    }

    fn mean(&mut self, of: &str, mask: Option<&String>) -> Result<View> {
        let x = self.arrays.view(of)?;
        let mask = self.arrays.mask(mask)?;
        // Zeros as queries give every row the same weight, whatever its first channels are as a key.
        let zeros = self.g.parameter(Recipe::Filled { bits: 0, rows: 1, columns: 4 });
        let d_qk = x.extent.cols.min(4);
        let sources = [self.g.view(zeros), x, x];
        let q = sources.map(|view| AttentionSource { view, column: 0 });
        let heads = Heads { count: 1, d_qk, d_v: x.extent.cols, scale: 1.0 };
        let label = self.label("mean");
        let id = self.g.attention(self.step.stage, &label, heads, q, (mask, false), None, true)?[0];
        Ok(self.g.view(id))
    }

    fn attention(&mut self, step: &AttentionStep) -> Result<View> {
        let some = |set: &&KeySet| !self.arrays.empty.contains(set.rows.as_str());
        let keys: Vec<&KeySet> = step.keys.iter().filter(some).collect();
        let Some(layouts) = Layouts::of(step).filter(|_| !keys.is_empty()) else {
            return self.bad("has no keys, no heads, or heads that do not share key heads evenly");
        };
        let rows = self.arrays.view(&step.queries)?;
        let queries = self.normed("query norm", rows, step.query_norm.as_ref());
        let mut sets = Vec::with_capacity(keys.len());
        for set in keys {
            // What attends to itself has one norm.
            if set.rows == step.queries && set.norm == step.query_norm {
                sets.push(Keys::Made(self.key_set(step, set, queries, &layouts)?));
                continue;
            }
            let rows = self.arrays.view(&set.rows)?;
            let windows = self.windows(set, rows, queries, &layouts);
            if windows.len() > 1 {
                sets.extend(windows.into_iter().map(|window| Keys::Window(set, window)));
                continue;
            }
            let rows = self.normed("key norm", rows, set.norm.as_ref());
            sets.push(Keys::Made(self.key_set(step, set, rows, &layouts)?));
        }
        let q = match &step.q {
            None => self.heads_of(queries, layouts.q)?,
            Some(q) => {
                let q = part(q, layouts.q);
                let q = Linear::new(vec![q], HeadLayout::plain(queries.extent.cols));
                self.product("query", queries, q)?
            }
        };
        let q = self.head_norm("query head norm", q, layouts.q, step.q_norm.as_ref())?;
        let turned = step.rotary.as_ref().map(|rotary| &rotary.queries);
        let q = self.turned(step, q, layouts.q, turned, false)?;
        // Keys that do not depend on an input have one item, which all queries share.
        let items = |set: &Keys<'_>| match set {
            Keys::Made(set) => set.keys.view.extent.batch,
            Keys::Window(..) => 1,
        };
        let batch = sets.iter().map(items).max().unwrap_or(1);
        let items = q.extent.batch;
        let of_item = if batch == 1 { items * q.extent.rows } else { q.extent.rows };
        let (count, groups) = (layouts.k.heads, layouts.q.groups);
        let mut asking = q;
        if batch == 1 || groups > 1 {
            let columns = if groups > 1 { layouts.q.columns() / groups } else { q.extent.cols };
            let items = if batch == 1 { 1 } else { items };
            let extent = Extent::new(items, groups * of_item, columns);
            asking = self.g.reshaped(q, extent)?;
        }
        let heads = Heads::new(count, step.qk, step.v);
        let heads = Heads { scale: step.scale.unwrap_or(heads.scale), ..heads };
        let mut carry = None;
        let mut state = Vec::new();
        let end = sets.len();
        for (i, set) in sets.into_iter().enumerate() {
            let set = match set {
                Keys::Made(set) => set,
                Keys::Window(set, rows) => {
                    let rows = self.normed("key norm", rows, set.norm.as_ref());
                    self.key_set(step, set, rows, &layouts)?
                }
            };
            let mut source = [set.keys, set.values];
            source[0].view = self.shared(set.keys.view, batch);
            source[1].view = match set.values.view == set.keys.view {
                true => source[0].view,
                false => self.shared(set.values.view, batch),
            };
            let asking = AttentionSource { view: asking, column: 0 };
            let label = self.label("attention");
            let last = i + 1 == end;
            let sources = [asking, source[0], source[1]];
            let sees = (set.mask, set.causal);
            state = self.g.attention(self.step.stage, &label, heads, sources, sees, carry, last)?;
            carry = state.get(1).map(|&statistics| (state[0], statistics));
        }
        let result = self.g.view(state[0]);
        let extent = Extent::new(batch.max(items), q.extent.rows, layouts.v.columns());
        let mut result = self.g.reshaped(result, extent)?;
        if let Some(rotary) = step.rotary.as_ref().filter(|rotary| rotary.values) {
            result = self.turned(step, result, layouts.v, Some(&rotary.queries), true)?;
        }
        let residual = step.residual.as_ref().map(|r| self.arrays.view(r)).transpose()?;
        let norm = step.post_norm.as_ref();
        if let Some((output, out)) = &step.output {
            let linear = Linear::new(vec![part(output, HeadLayout::plain(*out))], layouts.v);
            return self.finish("output", result, linear, norm, residual);
        }
        let result = match layouts.v.columns() == layouts.v.channels() && groups == 1 {
            true => result,
            // Heads lie padded, or not in their order.
            false => {
                let label = self.label("heads");
                let id = self.g.side_by_side(self.step.stage, &label, result, layouts.v)?;
                self.g.view(id)
            }
        };
        let result = self.normed("post norm", result, norm);
        residual.map_or(Ok(result), |residual| self.sum(result, residual))
    }

    /// The rows of a set, all at once or in windows, so that keys and values of many never exist at once. What the attention
    /// carries from one window to the next is as large as its queries: those have to be few beside the keys.
    fn windows(&self, set: &KeySet, rows: View, queries: View, of: &Layouts) -> Vec<View> {
        let e = rows.extent;
        let columns = (of.k.columns() + of.kv.columns()).max(e.cols);
        let plain = set.values.is_none() && set.mask.is_none() && set.angles.is_none();
        let whole = e.batch > 1 || rows.first_row > 0 || 4 * queries.extent.all_rows() > e.rows;
        if whole || !plain || set.causal {
            return vec![rows];
        }
        let windows = super::encoder::windows(e.rows, self.request.window_rows(columns));
        let window = |w: &Window| View {
            first_row: w.first,
            extent: Extent::new(1, w.rows, e.cols),
            ..rows
        };
        windows.iter().map(window).collect()
    }

    /// Keys and values of rows after their norm.
    fn key_set(
        &mut self,
        step: &AttentionStep,
        set: &KeySet,
        rows: View,
        of: &Layouts,
    ) -> Result<Set> {
        let [k, v] = [part(&step.k, of.k), part(&step.value, of.kv)];
        let mask = self.arrays.mask(set.mask.as_ref())?;
        let mask = mask.map(|mask| self.shared(mask, rows.extent.batch));
        let causal = set.causal;
        if set.values.is_none() && step.k_norm.is_none() && step.rotary.is_none() {
            let both = Linear::new(vec![k, v], HeadLayout::plain(rows.extent.cols));
            let columns = both.columns();
            let view = self.product("key value", rows, both)?;
            let [keys, values] = [0, 1].map(|i| AttentionSource { view, column: columns[i] });
            return Ok(Set { keys, values, mask, causal });
        }
        let whole = |view| AttentionSource { view, column: 0 };
        let keys = Linear::new(vec![k], HeadLayout::plain(rows.extent.cols));
        let keys = self.product("key", rows, keys)?;
        let keys = self.head_norm("key head norm", keys, of.k, step.k_norm.as_ref())?;
        let keys = self.turned(step, keys, of.k, set.angles.as_ref(), false)?;
        let rows = match &set.values {
            None => rows,
            Some(name) => self.arrays.view(name)?,
        };
        let values = Linear::new(vec![v], HeadLayout::plain(rows.extent.cols));
        let mut values = self.product("value", rows, values)?;
        if step.rotary.as_ref().is_some_and(|rotary| rotary.values) {
            values = self.turned(step, values, of.kv, set.angles.as_ref(), false)?;
        }
        let keys = whole(self.shared(keys, values.extent.batch));
        let values = whole(self.shared(values, keys.view.extent.batch));
        Ok(Set { keys, values, mask, causal })
    }

    /// Rows of heads, turned by these angles, or back.
    fn turned(
        &mut self,
        step: &AttentionStep,
        x: View,
        layout: HeadLayout,
        angles: Option<&String>,
        back: bool,
    ) -> Result<View> {
        let Some(rotary) = &step.rotary else { return Ok(x) };
        let Some(angles) = angles else {
            return self.bad("is rotary, but a set of keys has no angles");
        };
        let angles = self.arrays.view(angles)?;
        let label = self.label("rotary");
        let x = self.shared(x, angles.extent.batch);
        let heads = (layout.heads, layout.width);
        let stage = self.step.stage;
        let id = self.g.rotate(stage, &label, [x, angles], heads, rotary.neighbours, back)?;
        let y = self.g.view(id);
        self.g.reshaped(y, x.extent)
    }

    fn head_norm(
        &mut self,
        leaf: &str,
        x: View,
        layout: HeadLayout,
        norm: Option<&HeadNorm>,
    ) -> Result<View> {
        let Some(HeadNorm { norm, per_head }) = norm else {
            return Ok(x);
        };
        let e = x.extent;
        if !per_head {
            let y = self.norm_of(leaf, x, e.all_rows(), layout, norm);
            return self.g.reshaped(y, e);
        }
        let rows = Extent::new(1, e.all_rows() * layout.heads, layout.width);
        let heads = self.g.reshaped(x, rows)?;
        let y = self.norm(leaf, heads, norm);
        self.g.reshaped(y, e)
    }
}

/// First row and number of rows of a [`Make::Slice`] of so many rows.
fn slice(of: usize, first: i32, rows: i32) -> [usize; 2] {
    let far = |n: i32| n.unsigned_abs() as usize;
    let first = if first < 0 { of.saturating_sub(far(first)) } else { far(first) };
    let rest = of.saturating_sub(first);
    let rows = if rows > 0 { far(rows) } else { rest.saturating_sub(far(rows)) };
    [first, rows]
}

/// The table of `waves`, column by column, as bits.
fn wave_columns(
    axes: usize,
    frequencies: &[f32],
    half_turns: bool,
    order: WaveOrder,
) -> Vec<[u32; 5]> {
    let unit = if half_turns { 1.0 } else { std::f64::consts::FRAC_1_PI };
    let of = |kind: f32| {
        let axes = (0..axes).map(|axis| axis as f32);
        axes.flat_map(move |axis| {
            frequencies.iter().map(move |&f| {
                let [first, second, third] = waves::split(f64::from(f) * unit);
                [axis, first, second, third, kind]
            })
        })
    };
    let both = of(waves::SINE).chain(of(waves::COSINE));
    let coordinates = (0..axes).map(|axis| [axis as f32, 1.0, 0.0, 0.0, waves::COORDINATE]);
    let bits = |column: [f32; 5]| column.map(f32::to_bits);
    match order {
        WaveOrder::CoordinatesFirst => coordinates.chain(both).map(bits).collect(),
        WaveOrder::CoordinatesLast => both.chain(coordinates).map(bits).collect(),
        WaveOrder::WavesAlone => both.map(bits).collect(),
    }
}

/// Keys and values of some rows.
struct Set {
    keys: AttentionSource,
    values: AttentionSource,
    mask: Option<View>,
    causal: bool,
}

/// A set of keys, or some rows of one whose keys are made when their turn comes.
enum Keys<'a> {
    Made(Set),
    Window(&'a KeySet, View),
}

/// Heads of queries, of keys, of values, and of the result.
struct Layouts {
    q: HeadLayout,
    k: HeadLayout,
    kv: HeadLayout,
    v: HeadLayout,
}

impl Layouts {
    fn of(step: &AttentionStep) -> Option<Self> {
        let key_heads = if step.key_heads == 0 { step.heads } else { step.key_heads };
        if step.heads == 0 || step.qk == 0 || !step.heads.is_multiple_of(key_heads) {
            return None;
        }
        let groups = step.heads / key_heads;
        let grouped = |width| HeadLayout { groups, ..HeadLayout::heads(step.heads, width) };
        let keys = |width| HeadLayout::heads(key_heads, width);
        Some(Layouts {
            q: grouped(step.qk),
            k: keys(step.qk),
            kv: keys(step.v),
            v: grouped(step.v),
        })
    }
}

fn part(of: &Projection, out: HeadLayout) -> LinearPart {
    LinearPart {
        weight: of.weight.clone(),
        bias: of.bias.clone(),
        out,
        transposed: of.transposed,
        vector: of.vector,
        fused: of.fused,
        ..LinearPart::plain("", 0)
    }
}

fn plain(of: &Projection, input: usize, out: usize) -> Linear {
    Linear::new(vec![part(of, HeadLayout::plain(out))], HeadLayout::plain(input))
}
