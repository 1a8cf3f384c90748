//! Blueprints step by step: modalities, latents, cross-attends and towers, outputs.
//!
//! The builder chooses tensor names and pads rows to a common width; [`PerceiverBuilder::build`] checks
//! the whole. What it cannot say, a [`Blueprint`] can.

use super::sizes::Upsampling;
use super::{
    Activation, AttentionLayer, Blueprint, DecoderBlueprint, Head, LatentArray, Modality,
    OutputLinear, Positions, QuerySource, Stage, Step,
};
use crate::error::{Error, Result};

/// A named output: who asks, and the linear layers that follow.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    name: String,
    asks: Asks,
    layers: Vec<usize>,
    shape: Option<Vec<usize>>,
    upsample: Option<[usize; 2]>,
}

#[derive(Debug, Clone, PartialEq)]
enum Asks {
    Rows(Box<Modality>),
    Input(String),
}

impl Output {
    /// Rows of their own ask: learned ones, positions, or an input `queries.NAME` of the user; NAME is
    /// the modality's.
    #[must_use]
    pub fn new(name: &str, queries: Modality) -> Self {
        Self::of(name, Asks::Rows(Box::new(queries)))
    }

    /// The rows of an input modality ask, one result for each.
    #[must_use]
    pub fn per_row(name: &str, modality: &str) -> Self {
        Self::of(name, Asks::Input(modality.to_owned()))
    }

    fn of(name: &str, asks: Asks) -> Self {
        Output { name: name.to_owned(), asks, layers: Vec::new(), shape: None, upsample: None }
    }

    /// With one more linear layer, to this many channels.
    #[must_use]
    pub fn linear(mut self, channels: usize) -> Self {
        self.layers.push(channels);
        self
    }

    /// Returned as this shape (after the batch) in place of `[rows, channels]`.
    #[must_use]
    pub fn shape(mut self, shape: &[usize]) -> Self {
        self.shape = Some(shape.to_vec());
        self
    }

    /// Each row is a block of this height and width, whose pixels lie in the row line by line: the output
    /// is the picture `[height, width, channels]`. The queries are features of a convolution, whose
    /// picture it is, or lie on a Fourier grid of two axes.
    #[must_use]
    pub fn upsample(mut self, block: [usize; 2]) -> Self {
        self.upsample = Some(block);
        self
    }
}

/// Which layers of [`PerceiverBuilder::repeated`] share their weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sharing {
    /// Every repetition has weights of its own.
    Nothing,
    /// All but the first cross-attend, whose weights are its own (Perceiver, 2021, ImageNet).
    AfterFirst,
    /// All repetitions are the same.
    Everything,
}

/// Builds a [`Blueprint`].
///
/// ```
/// use perceiver::blueprint::{Modality, Output, PerceiverBuilder};
/// // Sound and a few sensors in, one of ten classes and a value per sensor out.
/// let blueprint = PerceiverBuilder::new(16, 32)
///     .input(Modality::given("sound", 400, 8).fourier(&[400], 6))
///     .input(Modality::linear("sensors", 12, 3, 16).trainable_positions(8))
///     .cross("read", 1)
///     .tower("think", 2, 4, 3)
///     .output(Output::new("class", Modality::learned("class", 1, 24)).linear(10).shape(&[10]))
///     .output(Output::new("sensor", Modality::learned("sensor", 12, 24)).linear(1))
///     .build()?;
/// assert_eq!(blueprint.channels, 24);
/// assert_eq!(blueprint.elements(), [412, 13]);
/// # Ok::<(), perceiver::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct PerceiverBuilder {
    latents: [usize; 2],
    channels: Option<usize>,
    inputs: Vec<Modality>,
    steps: Vec<Planned>,
    decoders: Vec<Asked>,
    cross: Widths,
    tower: Widths,
    widening: usize,
    activation: Activation,
}

/// Query-key and value channels, where they are not those of the latents.
type Widths = Option<[usize; 2]>;

#[derive(Debug, Clone)]
enum Planned {
    Cross(String, usize),
    Tower(String, usize, usize, usize),
}

#[derive(Debug, Clone)]
struct Asked {
    heads: usize,
    residual: bool,
    outputs: Vec<Output>,
}

impl PerceiverBuilder {
    /// A model of N `latents` with D `channels` each.
    #[must_use]
    pub fn new(latents: usize, channels: usize) -> Self {
        PerceiverBuilder {
            latents: [latents, channels],
            channels: None,
            inputs: Vec::new(),
            steps: Vec::new(),
            decoders: Vec::new(),
            cross: None,
            tower: None,
            widening: 1,
            activation: Activation::GeluErf,
        }
    }

    /// One more modality; attention runs over all of them.
    #[must_use]
    pub fn input(mut self, modality: Modality) -> Self {
        self.inputs.push(modality);
        self
    }

    /// Channels of every input row, at least those of the widest modality, which are the default;
    /// learned padding fills narrower rows.
    #[must_use]
    pub fn channels(mut self, channels: usize) -> Self {
        self.channels = Some(channels);
        self
    }

    /// Query-key and value channels of all cross-attends and decoders, D by default.
    #[must_use]
    pub fn cross_widths(mut self, qk: usize, v: usize) -> Self {
        self.cross = Some([qk, v]);
        self
    }

    /// Query-key and value channels of all towers, D by default.
    #[must_use]
    pub fn tower_widths(mut self, qk: usize, v: usize) -> Self {
        self.tower = Some([qk, v]);
        self
    }

    /// Hidden channels of all MLPs over those of their rows, 1 by default.
    #[must_use]
    pub fn widening(mut self, factor: usize) -> Self {
        self.widening = factor;
        self
    }

    /// Activation of all MLPs, the exact GELU by default.
    #[must_use]
    pub fn activation(mut self, activation: Activation) -> Self {
        self.activation = activation;
        self
    }

    /// A cross-attend from the inputs to the latents. Cross-attends of one name share their weights.
    #[must_use]
    pub fn cross(mut self, name: &str, heads: usize) -> Self {
        self.steps.push(Planned::Cross(name.to_owned(), heads));
        self
    }

    /// Self-attention `layers`, run `times` with the same weights. Towers of one name share theirs.
    #[must_use]
    pub fn tower(mut self, name: &str, layers: usize, heads: usize, times: usize) -> Self {
        self.steps.push(Planned::Tower(name.to_owned(), layers, heads, times));
        self
    }

    /// The first Perceiver (Jaegle et al., 2021): cross-attend and tower, `times` in turns.
    #[must_use]
    pub fn repeated(
        mut self,
        times: usize,
        cross_heads: usize,
        (layers, heads): (usize, usize),
        sharing: Sharing,
    ) -> Self {
        for i in 0..times {
            let [cross, tower] = match sharing {
                Sharing::Nothing => [i, i],
                Sharing::AfterFirst => [i.min(1), 0],
                Sharing::Everything => [0, 0],
            };
            self = self.cross(&format!("cross.{cross}"), cross_heads);
            self = self.tower(&format!("tower.{tower}"), layers, heads, 1);
        }
        self
    }

    /// Outputs that follow have a decoder of their own with this many heads; `residual` adds the queries
    /// to what was read. Without it outputs share one decoder of one head, without residual.
    #[must_use]
    pub fn decoder(mut self, heads: usize, residual: bool) -> Self {
        self.decoders.push(Asked { heads, residual, outputs: Vec::new() });
        self
    }

    /// One more output.
    #[must_use]
    pub fn output(mut self, output: Output) -> Self {
        if self.decoders.is_empty() {
            self = self.decoder(1, false);
        }
        if let Some(decoder) = self.decoders.last_mut() {
            decoder.outputs.push(output);
        }
        self
    }

    /// The blueprint, checked.
    ///
    /// # Errors
    /// [`Error::Config`] with the path of the first key of the blueprint that does not fit.
    pub fn build(&self) -> Result<Blueprint> {
        let mut inputs: Vec<Modality> = self.inputs.iter().map(|m| m.named(false)).collect();
        let widest = inputs.iter().map(checked_channels).max().unwrap_or(0);
        let channels = self.channels.unwrap_or(widest);
        for array in &mut inputs {
            pad(array, channels, "inputs");
        }
        let [rows, d] = self.latents;
        let mut decoders = Vec::with_capacity(self.decoders.len());
        for (i, asked) in self.decoders.iter().enumerate() {
            decoders.push(self.decoded(i, asked, channels)?);
        }
        let blueprint = Blueprint {
            latents: LatentArray { tensor: "latents".to_owned(), rows, channels: d },
            channels,
            inputs,
            steps: self.steps.iter().map(|s| self.step(s, channels)).collect(),
            decoders,
            arrays: Vec::new(),
            outputs: Vec::new(),
        };
        blueprint.validate("builder")?;
        Ok(blueprint)
    }

    fn layer(
        &self,
        prefix: String,
        stage: Stage,
        heads: usize,
        [q, kv]: [usize; 2],
    ) -> AttentionLayer {
        let d = self.latents[1];
        let [qk, v] = match stage {
            Stage::Process => self.tower.unwrap_or([d, d]),
            _ => self.cross.unwrap_or([d, d]),
        };
        AttentionLayer {
            label: prefix.clone(),
            prefix,
            stage,
            heads,
            qk,
            v,
            q_width: q,
            kv_width: kv,
            widening: self.widening,
            residual: true,
            activation: self.activation,
        }
    }

    fn step(&self, step: &Planned, channels: usize) -> Step {
        let d = self.latents[1];
        match step {
            Planned::Cross(name, heads) => {
                Step::Cross(self.layer(name.clone(), Stage::Encode, *heads, [d, channels]))
            }
            Planned::Tower(name, layers, heads, times) => Step::Tower {
                // One more than is possible is refused later; a number from outside is not allocated.
                layers: (0..(*layers).min(1025))
                    .map(|i| self.layer(format!("{name}.{i}"), Stage::Process, *heads, [d, d]))
                    .collect(),
                times: *times,
            },
        }
    }

    fn decoded(&self, number: usize, asked: &Asked, channels: usize) -> Result<DecoderBlueprint> {
        let mut arrays = Vec::with_capacity(asked.outputs.len());
        for output in &asked.outputs {
            arrays.push(match &output.asks {
                Asks::Rows(modality) => QuerySource::Array(Box::new(modality.named(true))),
                Asks::Input(name) => {
                    let index = self.inputs.iter().position(|m| m.name == *name);
                    QuerySource::Input(index.ok_or_else(|| {
                        let key = format!("output {}", output.name);
                        let what = format!("asks with the rows of `{name}`, which is no input");
                        Error::config("builder", key, what, "add the modality as an input first")
                    })?)
                }
            });
        }
        let width = |q: &QuerySource| match q {
            QuerySource::Array(array) => checked_channels(array),
            QuerySource::Input(_) => channels,
        };
        let q_width = arrays.iter().map(width).max().unwrap_or(0);
        let mut heads = Vec::with_capacity(arrays.len());
        let mut rows = 0usize;
        for (mut queries, output) in arrays.into_iter().zip(&asked.outputs) {
            let block = output.upsample;
            let picture = |array: &Modality| Some(Upsampling::of(array, block?)?.image);
            let (count, picture) = match &mut queries {
                QuerySource::Array(array) => {
                    pad(array, q_width, "outputs");
                    (array.count, picture(array))
                }
                QuerySource::Input(index) => {
                    let array = &self.inputs[*index];
                    (array.count, picture(array))
                }
            };
            let mut input = q_width;
            let mut layers = Vec::with_capacity(output.layers.len());
            for (i, &out) in output.layers.iter().enumerate() {
                let name = format!("outputs.{}.linear.{i}", output.name);
                let label = format!("{} {i}", output.name);
                let layer = OutputLinear::plain(&label, Stage::Postprocess, &name, input, out);
                layers.push(layer);
                input = out;
            }
            let usual = match (picture, block) {
                (Some([height, width]), Some([a, b])) => {
                    vec![height, width, input / a.saturating_mul(b).max(1)]
                }
                _ => vec![count, input],
            };
            let shape = output.shape.clone().unwrap_or(usual);
            heads.push(Head { upsample: block, ..Head::new(&output.name, queries, layers, shape) });
            rows = rows.saturating_add(count);
        }
        let prefix = format!("decoders.{number}");
        let widths = [q_width, self.latents[1]];
        let mut layer = self.layer(prefix, Stage::Decode, asked.heads, widths);
        layer.residual = asked.residual;
        Ok(DecoderBlueprint { layer, heads, shape: vec![rows, q_width] })
    }
}

/// Columns of rows that nobody has checked yet.
fn checked_channels(array: &Modality) -> usize {
    let positions = match &array.positions {
        Positions::Fourier(f) => {
            f.bands.saturating_mul(2).saturating_add(1).saturating_mul(f.axes.len())
        }
        other => other.channels(),
    };
    array.content.channels().saturating_add(positions)
}

/// Fills rows with a learned vector up to a width.
fn pad(array: &mut Modality, width: usize, kind: &str) {
    let missing = width.saturating_sub(checked_channels(array));
    if missing > 0 {
        let name = format!("{kind}.{}.padding", array.name);
        array.constant.push((name, missing));
    }
}
