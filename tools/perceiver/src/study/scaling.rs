//! One layer of each kind, for sizes that grow.

use perceiver::blueprint::{Blueprint, Modality, Output, PerceiverBuilder};
use perceiver::internals::graph::{Graph, Recipe, Stage, ValueId};
use perceiver::internals::kernels::gemm::Activation;
use perceiver::internals::perceiver::decoder::decode;
use perceiver::internals::perceiver::encoder::{Route, encode};
use perceiver::internals::perceiver::layer::AttentionLayer;
use perceiver::internals::perceiver::rows::Rows;
use perceiver::internals::tensor::Extent;
use perceiver::{Error, Result};

/// What grows, and what is built around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Series {
    /// One cross-attention layer from M inputs to N latents, for growing M.
    Encode,
    /// One latent self-attention layer, for growing N.
    Process,
    /// One cross-attention layer from N latents to O output queries, for growing O.
    Decode,
    /// One self-attention layer over all elements, for growing M: what a transformer would do.
    SelfAttention,
}

impl Series {
    /// All, in the order of a run of a model, the baseline last.
    pub const ALL: [Series; 4] =
        [Series::Encode, Series::Process, Series::Decode, Series::SelfAttention];

    /// A word for tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Series::Encode => "encode",
            Series::Process => "process",
            Series::Decode => "decode",
            Series::SelfAttention => "full self-attention",
        }
    }

    /// The letter of what grows.
    #[must_use]
    pub const fn letter(self) -> &'static str {
        match self {
            Series::Encode | Series::SelfAttention => "M",
            Series::Process => "N",
            Series::Decode => "O",
        }
    }

    /// The power of its size that the cost should grow with.
    #[must_use]
    pub const fn expected(self) -> u32 {
        match self {
            Series::Encode | Series::Decode => 1,
            Series::Process | Series::SelfAttention => 2,
        }
    }
}

/// Sizes that do not grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Widths {
    /// Latents N.
    pub latents: usize,
    /// Channels D of a latent.
    pub latent_channels: usize,
    /// Channels of an input element (C) and of an output query (E).
    pub channels: usize,
    /// Heads H of self-attention; cross-attention has one, as in the image and flow models.
    pub heads: usize,
}

impl Default for Widths {
    fn default() -> Self {
        Widths { latents: 256, latent_channels: 512, channels: 256, heads: 8 }
    }
}

/// Rows of content alone have nothing to fold.
const PLAIN: Route = Route { folded: false, keep_rows: false };

impl Widths {
    /// Checks that heads divide channels and nothing is absurd.
    ///
    /// # Errors
    /// [`Error::Input`] that names the width.
    pub fn check(&self) -> Result<()> {
        const MOST: usize = 1 << 16;
        for (name, n) in [
            ("latents", self.latents),
            ("latent channels", self.latent_channels),
            ("channels", self.channels),
            ("heads", self.heads),
        ] {
            if n == 0 || n > MOST {
                return Err(Error::input(name, format!("is {n}"), format!("1 to {MOST}")));
            }
        }
        for (name, n) in [("latent channels", self.latent_channels), ("channels", self.channels)] {
            if !n.is_multiple_of(self.heads) {
                let what = format!("is {n}, which {} heads do not divide", self.heads);
                return Err(Error::input(name, what, "a multiple of the heads"));
            }
        }
        Ok(())
    }

    /// The layer of a series at one size, with an input `x` and an output `y`, in windows whose widest
    /// array takes at most `window_bytes`.
    ///
    /// # Errors
    /// [`Error::Input`] as [`Widths::check`]; [`Error::Graph`] when the parts do not hold together.
    pub fn graph(&self, series: Series, size: usize, window_bytes: usize) -> Result<Graph> {
        self.check()?;
        let mut g = Graph::default();
        let rows = |columns: usize| window_bytes / (4 * columns);
        let channels = match series {
            Series::Process => self.latent_channels,
            _ => self.channels,
        };
        let x = g.input("x", Extent::new(1, size, channels));
        let outputs: Vec<ValueId> = match series {
            Series::Encode => {
                let latents = self.learned(&mut g);
                let latents = g.view(latents);
                let layer = self.cross(Stage::Encode, self.latent_channels, self.channels);
                let inputs = [Rows::of_array("input", size, self.channels, x)];
                let most = rows(2 * self.channels);
                vec![encode(&mut g, &layer, latents, &inputs, most, PLAIN)?.0]
            }
            Series::Decode => {
                let latents = self.learned(&mut g);
                let layer = self.cross(Stage::Decode, self.channels, self.latent_channels);
                let queries = Rows::of_array("query", size, self.channels, x);
                let most = rows(self.latent_channels);
                let mut hidden = Vec::new();
                decode(&mut g, &layer, latents, &[queries], most, None, PLAIN, &mut |_, d| {
                    hidden.push(d.hidden);
                    Ok(())
                })?;
                hidden
            }
            Series::Process | Series::SelfAttention => {
                let x = g.view(x);
                vec![self.tower(channels).self_attention(&mut g, x)?]
            }
        };
        let rows = outputs.iter().map(|&o| g.extent(o).rows).sum();
        let cols = g.extent(outputs[0]).cols;
        g.output("y", outputs, vec![1, rows, cols]);
        Ok(g)
    }

    /// Learned latents: their queries are made at load, as in the models.
    fn learned(&self, g: &mut Graph) -> ValueId {
        g.parameter(Recipe::Stored {
            name: "latents".to_owned(),
            shape: vec![self.latents, self.latent_channels],
        })
    }

    fn cross(&self, stage: Stage, q_width: usize, kv_width: usize) -> AttentionLayer {
        AttentionLayer {
            prefix: "cross".to_owned(),
            stage,
            label: "cross".to_owned(),
            heads: 1,
            qk: kv_width,
            v: kv_width,
            q_width,
            kv_width,
            widening: 1,
            residual: matches!(stage, Stage::Encode),
            activation: Activation::GeluErf,
        }
    }

    fn tower(&self, width: usize) -> AttentionLayer {
        AttentionLayer {
            prefix: "self".to_owned(),
            stage: Stage::Process,
            label: "self".to_owned(),
            heads: self.heads,
            qk: width,
            v: width,
            q_width: width,
            kv_width: width,
            widening: 1,
            residual: true,
            activation: Activation::GeluErf,
        }
    }
}

/// A model that encodes `size` rows of the same widths and does nothing else, for
/// [`Model::encoder`](perceiver::Model::encoder): its memory should not depend on `size`.
///
/// # Errors
/// As [`Widths::check`], or when `size` is more than a stream takes.
pub fn streamed_encode(widths: &Widths, size: usize) -> Result<Blueprint> {
    widths.check()?;
    PerceiverBuilder::new(widths.latents, widths.latent_channels)
        .input(Modality::given("x", size, widths.channels))
        .cross("encode", 1)
        .output(Output::new("y", Modality::learned("y", 1, widths.channels)).linear(1))
        .build()
}
