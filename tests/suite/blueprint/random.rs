//! Random blueprints: modalities, positions, widths, heads, sharing and kinds of queries.

use perceiver::blueprint::{Modality, Output, PerceiverBuilder, Sharing};
use proptest::prelude::*;

/// A blueprint in the builder's terms, and how it is run.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    latents: usize,
    /// Channels of a latent are heads times this.
    head: usize,
    heads: usize,
    cross_heads: usize,
    inputs: Vec<Rows>,
    padding: usize,
    repeats: usize,
    layers: usize,
    sharing: u8,
    /// Heads and residual of each decoder, and its outputs.
    decoders: Vec<(bool, bool, Outputs)>,
    pub(crate) batch: usize,
    pub(crate) seed: u64,
    pub(crate) window_bytes: usize,
}

/// Queries, channels, and whether a second linear layer follows.
type Outputs = Vec<(Rows, usize, bool)>;

/// A modality.
#[derive(Debug, Clone)]
struct Rows {
    content: u8,
    axes: Vec<usize>,
    channels: usize,
    positions: u8,
    bands: usize,
    points: bool,
    mask: bool,
}

impl Rows {
    fn count(&self) -> usize {
        self.axes.iter().product()
    }

    /// As a modality; an input has content that is given where none else has.
    fn modality(&self, name: &str, asks: bool) -> Modality {
        let (rows, channels) = (self.count(), self.channels);
        let kinds = if asks { 5 } else { 6 };
        let mut modality = match self.content % kinds {
            0 | 5 => Modality::given(name, rows, channels),
            1 => Modality::linear(name, rows, 1 + channels / 2, channels),
            2 => Modality::learned(name, rows, channels),
            3 => Modality::tokens(name, rows, 11, channels),
            _ if self.positions.is_multiple_of(4) => Modality::learned(name, rows, channels),
            _ => Modality::bare(name, rows),
        };
        modality = match self.positions % 4 {
            0 => modality,
            1 => modality.trainable_positions(self.channels),
            _ => modality.fourier(&self.axes, self.bands),
        };
        if self.points && self.positions % 4 >= 2 {
            modality = modality.points();
        }
        if self.mask && !asks {
            modality = modality.mask();
        }
        modality
    }
}

impl Case {
    pub(crate) fn builder(&self) -> PerceiverBuilder {
        let d = self.head * self.heads;
        let cross = 4 * self.cross_heads;
        let mut builder =
            PerceiverBuilder::new(self.latents, d).cross_widths(cross, cross + self.cross_heads);
        builder = builder.input(Modality::given("first", 3 + self.padding, 4));
        for (i, rows) in self.inputs.iter().enumerate() {
            builder = builder.input(rows.modality(&format!("input{i}"), false));
        }
        let sharing = [Sharing::Nothing, Sharing::AfterFirst, Sharing::Everything];
        let sharing = sharing[usize::from(self.sharing) % 3];
        builder =
            builder.repeated(self.repeats, self.cross_heads, (self.layers, self.heads), sharing);
        for (i, (several, residual, outputs)) in self.decoders.iter().enumerate() {
            let heads = if *several { self.cross_heads } else { 1 };
            builder = builder.decoder(heads, *residual);
            for (j, (rows, channels, second)) in outputs.iter().enumerate() {
                let name = format!("output{i}.{j}");
                let mut output = Output::new(&name, rows.modality(&name, true)).linear(*channels);
                if *second {
                    output = output.linear(channels + 1);
                }
                builder = builder.output(output);
            }
        }
        // The rows of an input ask as well.
        builder
            .decoder(1, self.padding.is_multiple_of(2))
            .output(Output::per_row("each", "first").linear(2))
    }
}

fn rows(most: usize) -> impl Strategy<Value = Rows> {
    let axes = prop_oneof![
        (1..most).prop_map(|n| vec![n]),
        (1..14usize, 1..14usize).prop_map(|(a, b)| vec![a, b]),
        (1..5usize, 1..6usize, 1..6usize).prop_map(|(a, b, c)| vec![a, b, c]),
    ];
    (any::<u8>(), axes, 2..14usize, any::<u8>(), 1..6usize, any::<bool>(), any::<bool>()).prop_map(
        |(content, axes, channels, positions, bands, points, mask)| Rows {
            content,
            axes,
            channels,
            positions,
            bands,
            points,
            mask,
        },
    )
}

pub(crate) fn case() -> impl Strategy<Value = Case> {
    let outputs = prop::collection::vec((rows(150), 1..7usize, any::<bool>()), 1..4);
    let decoders = prop::collection::vec((any::<bool>(), any::<bool>(), outputs), 0..3);
    (
        (1..12usize, 1..9usize, 1..4usize, 1..4usize),
        prop::collection::vec(rows(200), 0..4),
        (0..9usize, 1..4usize, 1..3usize, any::<u8>()),
        decoders,
        (1..4usize, any::<u32>(), prop_oneof![Just(1usize), Just(8 << 20)]),
    )
        .prop_map(|((latents, head, heads, cross_heads), inputs, shape, decoders, how)| Case {
            latents,
            head: head + 1,
            heads,
            cross_heads,
            inputs,
            padding: shape.0,
            repeats: shape.1,
            layers: shape.2,
            sharing: shape.3,
            decoders,
            batch: how.0,
            seed: u64::from(how.1),
            window_bytes: how.2,
        })
}
