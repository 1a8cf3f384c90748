//! Random graphs: any op of the builder on what there is already.

use std::sync::Arc;

use perceiver::blueprint::{Activation, FourierPositions, Spacing, Stage};
use perceiver::internals::gpu::Device;
use perceiver::internals::graph::{
    AttentionSource, Graph, HeadLayout, Heads, Linear, LinearPart, Parts, Recipe, ValueId, View,
};
use perceiver::internals::kernels::convolution::Convolution;
use perceiver::internals::kernels::layer_norm::LayerNorm;
use perceiver::internals::kernels::max_pool::MaxPool;
use perceiver::internals::random::Random;
use perceiver::internals::tensor::Extent;
use perceiver::internals::weights::RandomTensors;
use perceiver::{Error, Result};

use super::Tally;
use super::passes::Problem;

const STAGE: Stage = Stage::Process;
/// Few sizes, so that shaders are compiled once; some on either side of what tiles and vectors have.
const ROWS: [usize; 9] = [1, 3, 4, 16, 20, 64, 65, 130, 230];
const COLS: [usize; 7] = [1, 3, 4, 8, 12, 16, 33];

pub(crate) fn case(seed: u64, device: Option<&Device>) -> std::result::Result<Tally, String> {
    let mut random = Random::new(seed);
    let problem = Maker::new(&mut random).problem().map_err(|e| e.to_string())?;
    problem.check(&mut random, device)
}

/// What was wrong once, by all ways.
pub(crate) fn found_before(
    seed: u64,
    device: Option<&Device>,
) -> std::result::Result<Tally, String> {
    let mut random = Random::new(seed);
    let problem = match random.below(2) {
        0 => Maker::new(&mut random).some_columns(),
        _ => Maker::new(&mut random).causal_keys_of_several_arrays(),
    };
    problem.map_err(|e| e.to_string())?.check(&mut random, device)
}

/// A graph that grows.
struct Maker<'r> {
    random: &'r mut Random,
    graph: Graph,
    /// What ops may read.
    pool: Vec<View>,
    inputs: Vec<(String, Vec<f32>)>,
    names: usize,
    /// One item, and ops alone that can be divided.
    divisible: bool,
}

impl<'r> Maker<'r> {
    fn new(random: &'r mut Random) -> Self {
        let (graph, pool, inputs) = (Graph::default(), Vec::new(), Vec::new());
        let divisible = random.below(2) == 0;
        Maker { random, graph, pool, inputs, names: 0, divisible }
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.random.below(of.len())]
    }

    fn chance(&mut self, one_in: usize) -> bool {
        self.random.below(one_in) == 0
    }

    fn name(&mut self, kind: &str) -> String {
        self.names += 1;
        format!("{kind}{}", self.names)
    }

    /// An input with such values.
    fn input(
        &mut self,
        kind: &str,
        extent: Extent,
        value: impl Fn(&mut Random) -> f32,
    ) -> (ValueId, View) {
        let name = self.name(kind);
        let id = self.graph.input(&name, extent);
        let values = (0..extent.len()).map(|_| value(self.random)).collect();
        self.inputs.push((name, values));
        (id, self.graph.view(id))
    }

    fn parameter(&mut self, shape: &[usize]) -> View {
        let name = self.name("tensor");
        let id = self.graph.parameter(Recipe::Stored { name, shape: shape.to_vec() });
        self.graph.view(id)
    }

    fn problem(mut self) -> Result<Problem> {
        for _ in 0..1 + self.random.below(3) {
            let batch = if self.divisible { 1 } else { self.one(&[1, 2, 3]) };
            let extent = Extent::new(batch, self.one(&ROWS), self.one(&COLS));
            let (id, view) = self.input("x", extent, Random::signed);
            if self.chance(6) {
                self.graph.kept.push(id);
            }
            self.pool.push(view);
        }
        if self.chance(3) {
            let shape = [self.one(&ROWS), self.one(&COLS)];
            let view = self.parameter(&shape);
            self.pool.push(view);
        }
        let wanted = 2 + self.random.below(9);
        while self.graph.nodes.len() < wanted {
            let of = self.one(&self.pool.clone());
            match self.op(of) {
                Ok(Some(view)) => self.pool.push(view),
                Ok(None) => {}
                // Operands that do not fit are refused.
                Err(Error::Graph { .. }) => {}
                Err(e) => return Err(e),
            }
        }
        self.done()
    }

    /// Fewer columns than operands have, so that the result is padded where those are not.
    fn some_columns(mut self) -> Result<Problem> {
        let (_, one) = self.input("x", Extent::new(1, 36, 3), Random::signed);
        let (_, other) = self.input("x", Extent::new(1, 12, 65), Random::signed);
        let sum = [(one, 0), (other, 0)];
        let sum = self.graph.combine(STAGE, "sum", sum, 3, Activation::GeluTanh, false)?;
        let view = self.graph.view(sum);
        self.graph.layer_norm(STAGE, "norm", view, "norm");
        self.done()
    }

    /// Causal attention over more keys than one array may hold.
    fn causal_keys_of_several_arrays(mut self) -> Result<Problem> {
        let (queries, keys) = (1 + self.random.below(230), 1 + self.random.below(230));
        let (_, q) = self.input("x", Extent::new(1, queries, 8), Random::signed);
        let (_, k) = self.input("x", Extent::new(1, keys, 8), Random::signed);
        let source = |view| AttentionSource { view, column: 0 };
        let sources = [source(q), source(k), source(k)];
        // One array is keys and values: other widths would find numbers in the padding between heads.
        let (heads, sees) = (Heads::new(2, 4, 4), (None, true));
        self.graph.attention(STAGE, "attention", heads, sources, sees, None, true)?;
        self.done()
    }

    fn done(mut self) -> Result<Problem> {
        self.outputs();
        let tensors = self.graph.parameters().flat_map(|(_, recipe)| recipe.tensors());
        let weights = Arc::new(RandomTensors::new(tensors.collect::<Vec<_>>(), self.random.bits()));
        Ok(Problem { graph: self.graph, inputs: self.inputs, weights })
    }

    /// The last result and some others; some are of several pieces.
    fn outputs(&mut self) {
        let made: Vec<ValueId> = self.graph.nodes.iter().map(|n| n.outputs[0]).collect();
        let last = made.len() - 1;
        for (i, &id) in made.iter().enumerate() {
            let e = self.graph.extent(id);
            if (i != last && !self.chance(4)) || self.graph.nodes[i].outputs.len() > 1 {
                continue;
            }
            let (name, shape) = (format!("y{i}"), vec![e.batch, e.rows, e.cols]);
            self.graph.output(&name, vec![id], shape);
        }
    }

    fn activation(&mut self) -> Activation {
        use Activation::{GeluErf, GeluTanh, None, Relu, Silu, Tanh};
        self.one(&[None, None, GeluErf, GeluTanh, Relu, Silu, Tanh])
    }

    /// A result of one op, or of a few that belong together.
    fn op(&mut self, x: View) -> Result<Option<View>> {
        let e = x.extent;
        if e.padded_len() > 40_000 {
            return Ok(None);
        }
        let ops = if self.divisible { 9 } else { 15 };
        let id = match self.random.below(ops) {
            0 | 1 => self.linear(x)?,
            2 => {
                let name = self.name("norm");
                self.graph.layer_norm(STAGE, "norm", x, &name)
            }
            3 => {
                let op = LayerNorm { centred: false, ..LayerNorm::new(e.all_rows(), e.cols) };
                let name = self.name("norm");
                let gain = Recipe::Stored { name: format!("{name}.weight"), shape: vec![e.cols] };
                let bias = Recipe::Stored { name: format!("{name}.bias"), shape: vec![e.cols] };
                self.graph.normalise(STAGE, "rms norm", x, op, [gain, bias])
            }
            4 => {
                let other = self.one(&self.pool.clone());
                let cols = e.cols.min(other.extent.cols);
                let (product, activation) = (self.chance(3), self.activation());
                let operands = [(x, 0), (other, 0)];
                self.graph.combine(STAGE, "combine", operands, cols, activation, product)?
            }
            5 => self.attention(x)?,
            6 => self.embedded()?,
            7 => self.assembled(x)?,
            8 => {
                let first = self.random.below(e.rows);
                let rows = 1 + self.random.below(e.rows - first);
                return self.graph.slice(STAGE, "slice", x, [first, rows]).map(Some);
            }
            9 => self.rotated(x)?,
            10 => {
                let times = 2 + self.random.below(2);
                return Ok(Some(self.graph.repeat(STAGE, "repeat", x, times)));
            }
            11 => {
                let extents = [
                    Extent::new(1, e.all_rows(), e.cols),
                    Extent::new(e.all_rows(), 1, e.cols),
                    Extent::new(e.batch, e.rows, e.cols.next_multiple_of(4)),
                ];
                let extent = self.one(&extents);
                let padding = extent.cols != e.cols;
                let seen = self.graph.reshaped(x, extent)?;
                return Ok((!padding).then_some(seen));
            }
            12 => self.graph.transpose(STAGE, "transpose", x),
            _ => self.pictures(x)?,
        };
        Ok(Some(self.graph.view(id)))
    }

    fn part(&mut self, out: HeadLayout) -> LinearPart {
        let name = self.name("linear");
        let mut part = LinearPart::plain(&name, out.channels());
        part.out = out;
        if self.chance(3) {
            part.bias = None;
        }
        part
    }

    fn linear(&mut self, x: View) -> Result<ValueId> {
        let parts = 1 + self.random.below(2);
        let layouts: Vec<HeadLayout> =
            (0..parts).map(|_| HeadLayout::plain(self.one(&COLS))).collect();
        let parts = layouts.into_iter().map(|layout| self.part(layout)).collect();
        let mut linear = Linear::new(parts, HeadLayout::plain(x.extent.cols));
        linear.activation = self.activation();
        linear.divisor = self.one(&[1, 1, 1, 2]);
        if self.chance(2) {
            let other = self.one(&self.pool.clone());
            linear.residual = Some(other);
        }
        // In windows of rows, side by side in one output.
        let e = x.extent;
        if e.batch == 1 && e.rows > 64 && x.first_row == 0 && self.chance(3) {
            let first = self.graph.rows(x.value, 0, 64)?;
            let (rest, residual) = (self.graph.rows(x.value, 64, e.rows - 64)?, linear.residual);
            linear.residual = residual.filter(|r| r.extent.all_rows() == 1);
            let one = self.graph.linear(STAGE, "window", first, linear.clone())?;
            let other = self.graph.linear(STAGE, "window", rest, linear)?;
            let cols = self.graph.extent(one).cols;
            let name = self.name("pieces");
            self.graph.output(&name, vec![one, other], vec![1, e.rows, cols]);
            return Ok(one);
        }
        self.graph.linear(STAGE, "linear", x, linear)
    }

    fn rotated(&mut self, x: View) -> Result<ValueId> {
        let e = x.extent;
        let heads = if e.cols.is_multiple_of(8) && self.chance(2) { e.cols / 8 } else { 1 };
        let width = e.cols / heads;
        if width < 2 {
            return Err(Error::Graph { node: String::new(), what: "no pair".to_owned() });
        }
        let pairs = 1 + self.random.below(width / 2);
        let batch = if self.chance(2) { 1 } else { e.batch };
        let extent = Extent::new(batch, e.rows, 2 * pairs);
        let (_, angles) = self.input("x", extent, Random::signed);
        let (neighbours, back) = (self.chance(2), self.chance(2));
        self.graph.rotate(STAGE, "rotary", [x, angles], (heads, width), neighbours, back)
    }

    /// Queries of one array over keys and values of another, in windows of rows where it has one item.
    fn attention(&mut self, x: View) -> Result<ValueId> {
        let over = self.one(&self.pool.clone());
        let (heads, d_qk, d_v) =
            (1 + self.random.below(3), self.one(&[1, 3, 4, 8, 17]), self.one(&[2, 4, 5, 16]));
        let project = |maker: &mut Self, of: View, layouts: &[HeadLayout]| {
            let parts: Vec<LinearPart> = layouts.iter().map(|l| maker.part(*l)).collect();
            let linear = Linear::new(parts, HeadLayout::plain(of.extent.cols));
            let columns = linear.columns();
            let id = maker.graph.linear(STAGE, "projection", of, linear)?;
            Ok::<_, Error>((id, columns))
        };
        if x.extent.batch != over.extent.batch && x.extent.batch != 1 {
            return Err(Error::Graph { node: String::new(), what: "other items".to_owned() });
        }
        let (q, q_columns) = project(self, x, &[HeadLayout::heads(heads, d_qk)])?;
        let layouts = [HeadLayout::heads(heads, d_qk), HeadLayout::heads(heads, d_v)];
        let (kv, columns) = project(self, over, &layouts)?;
        let source = |view, column| AttentionSource { view, column };
        let queries = source(self.graph.view(q), q_columns[0]);
        let heads = Heads::new(heads, d_qk, d_v);
        let e = self.graph.extent(kv);
        if e.batch == 1 && e.rows > 64 && self.chance(2) {
            let mut carry = None;
            let mut first = 0;
            loop {
                let rows = (e.rows - first).min(64);
                let keys = self.graph.rows(kv, first, rows)?;
                first += rows;
                let finish = first == e.rows;
                let sources = [queries, source(keys, columns[0]), source(keys, columns[1])];
                let none = (None, false);
                let made =
                    self.graph.attention(STAGE, "window", heads, sources, none, carry, finish)?;
                if finish {
                    return Ok(made[0]);
                }
                carry = Some((made[0], made[1]));
            }
        }
        let keys = self.graph.view(kv);
        let mask = self.chance(3).then(|| {
            let values = |r: &mut Random| f32::from(u8::from(r.below(5) > 0));
            self.input("mask", Extent::new(e.batch, 1, e.rows), values).1
        });
        let causal = x.extent.rows <= e.rows && self.chance(4);
        let sources = [queries, source(keys, columns[0]), source(keys, columns[1])];
        let made =
            self.graph.attention(STAGE, "attention", heads, sources, (mask, causal), None, true)?;
        Ok(made[0])
    }

    fn embedded(&mut self) -> Result<ValueId> {
        let batch = if self.divisible { 1 } else { self.one(&[1, 2]) };
        let (length, cols) = (self.one(&ROWS), self.one(&COLS));
        let ids = |r: &mut Random| r.below(11) as f32;
        let (_, ids) = self.input("ids", Extent::new(batch, 1, length), ids);
        let table = self.parameter(&[11, cols]);
        let positions = self.parameter(&[length, cols]);
        Ok(self.graph.embed(STAGE, "embed", ids, table, positions))
    }

    fn assembled(&mut self, x: View) -> Result<ValueId> {
        let e = x.extent;
        let axes = if e.rows.is_multiple_of(4) { vec![4, e.rows / 4] } else { vec![e.rows] };
        let positions = FourierPositions {
            max_resolution: axes.clone(),
            axes,
            bands: 1 + self.random.below(3),
            spacing: self.one(&[Spacing::Ends, Spacing::Cells]),
        };
        let tail = self.chance(2).then(|| {
            let rows = if self.chance(2) { 1 } else { e.rows };
            let cols = self.one(&COLS);
            self.parameter(&[rows, cols])
        });
        let (content, positions) = match self.random.below(3) {
            0 => (Some(x), None),
            1 => (None, Some(&positions)),
            _ => (Some(x), Some(&positions)),
        };
        if positions.is_none() && tail.is_none() {
            return Err(Error::Graph { node: String::new(), what: "nothing".to_owned() });
        }
        let parts = Parts { rows: e.rows, content, positions, tail, ..Parts::default() };
        self.graph.assemble(STAGE, "assemble", parts)
    }

    fn pictures(&mut self, x: View) -> Result<ValueId> {
        let Extent { batch, rows, cols } = x.extent;
        let height = if rows.is_multiple_of(4) { 4 } else { 1 };
        let (width, stride) = (rows / height, 1 + self.random.below(2));
        if self.chance(2) {
            let args = MaxPool {
                batch,
                height,
                width,
                cols,
                side: 1 + 2 * usize::from(height > 1),
                stride,
            };
            return self.graph.max_pool(STAGE, "pool", x, args);
        }
        let side = self.one(&[1, 3]);
        let (outer, relu) = (self.one(&COLS), self.chance(2));
        let padding = side / 2;
        let args = Convolution {
            batch,
            height,
            width,
            inner: cols,
            cols: outer,
            side,
            stride,
            padding,
            relu,
        };
        let (weight, norm) = (self.name("convolution"), self.name("batchnorm"));
        self.graph.convolution(STAGE, "convolution", x, args, (&weight, &norm))
    }
}
