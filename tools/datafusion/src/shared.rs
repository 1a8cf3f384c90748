//! What all functions of one model share: the model, what its rows and outputs look like, and encoders that accumulators lend.

use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::{DataFusionError, Result, plan_datafusion_err};
use perceiver::blueprint::{Blueprint, Content, Modality, Positions};
use perceiver::stream::{Encoder, EncoderState, Latents};
use perceiver::{Model, Sizes};

/// Most rows and most bytes that a group holds back until they are read together: beyond some thousands of rows, larger chunks
/// cost no less for each.
const MOST_HELD: (usize, usize) = (1 << 14, 4 << 20);

/// Chunks of an encoder are of this many rows, four times as many, and so on.
const SMALLEST_CHUNK: usize = 64;

/// See the module.
pub(crate) struct Shared {
    pub(crate) model: Model,
    pub(crate) sizes: Sizes,
    /// Of model and sizes.
    pub(crate) fingerprint: u64,
    pub(crate) blueprint: Blueprint,
    /// What can be encoded in pieces, or why nothing can.
    pub(crate) encode: std::result::Result<Encode, String>,
    /// Outputs that can be decoded from latents, or why none can.
    pub(crate) outputs: std::result::Result<Vec<Output>, String>,
}

/// Rows that can be pushed.
pub(crate) struct Encode {
    pub(crate) rows: Vec<Kind>,
    /// The state before any row.
    pub(crate) empty: EncoderState,
    /// Encoders that no thread has at the moment: as many exist as have been in use at once.
    idle: Mutex<Vec<Encoder>>,
}

/// Rows of one modality.
pub(crate) struct Kind {
    pub(crate) name: String,
    /// Values of a row.
    pub(crate) channels: usize,
    /// Cells that rows may lie in; `None` for a set, whose rows have no place.
    pub(crate) cells: Option<usize>,
    /// Rows that are read together.
    pub(crate) chunk: usize,
}

/// An output that queries are decoded to.
pub(crate) struct Output {
    pub(crate) name: String,
    /// Queries that there are.
    pub(crate) queries: usize,
    /// Values that a query brings along.
    pub(crate) channels: usize,
    /// Values of a decoded row.
    pub(crate) columns: usize,
}

impl Encode {
    fn idle(&self) -> MutexGuard<'_, Vec<Encoder>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    pub(crate) fn new(model: &Model, sizes: &Sizes) -> perceiver::Result<Self> {
        let blueprint = model.description().blueprint(sizes);
        let encode = encode(model, sizes, &blueprint).map_err(|e| e.to_string());
        let outputs = outputs(model, sizes, &blueprint).map_err(|e| e.to_string());
        let mut fingerprint = model.fingerprint()?;
        // FNV-1a. Sizes decide which cell a number is, and with it what a state means.
        for byte in format!("{sizes:?}").bytes() {
            fingerprint = (fingerprint ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        let (model, sizes) = (model.clone(), *sizes);
        Ok(Shared { model, sizes, fingerprint, blueprint, encode, outputs })
    }

    /// What can be encoded; otherwise a planning error.
    pub(crate) fn encode(&self, function: &str) -> Result<&Encode> {
        self.encode.as_ref().map_err(|why| plan_datafusion_err!("{function}: {why}"))
    }

    /// What can be decoded; otherwise a planning error.
    pub(crate) fn outputs(&self, function: &str) -> Result<&[Output]> {
        let outputs = self.outputs.as_ref();
        outputs.map(Vec::as_slice).map_err(|why| plan_datafusion_err!("{function}: {why}"))
    }

    /// Latents as a column: lists of N lists of D numbers.
    pub(crate) fn latents_type(&self) -> DataType {
        let latents = &self.blueprint.latents;
        rows_type(rows_type(DataType::Float32, latents.channels), latents.rows)
    }
}

/// A list of so many elements.
pub(crate) fn rows_type(element: DataType, count: usize) -> DataType {
    let count = i32::try_from(count).unwrap_or(i32::MAX);
    DataType::FixedSizeList(Field::new_list_field(element, false).into(), count)
}

fn encode(model: &Model, sizes: &Sizes, blueprint: &Blueprint) -> perceiver::Result<Encode> {
    let encoder = model.encoder(sizes)?;
    let pushed = |m: &&Modality| {
        (m.content != Content::None || m.positions != Positions::None)
            && !matches!(m.content, Content::Learned { .. })
    };
    let rows = blueprint.inputs.iter().filter(pushed).map(|modality| {
        let channels = match &modality.content {
            Content::Given { channels, .. } | Content::Linear { channels, .. } => *channels,
            _ => 0,
        };
        let cells = match &modality.positions {
            Positions::Fourier(grid) => Some(grid.axes.iter().product()),
            _ => None,
        };
        let most = encoder.chunk_rows(&modality.name).unwrap_or(SMALLEST_CHUNK);
        let most = most.min(MOST_HELD.0).min(MOST_HELD.1 / (4 * channels).max(1));
        let mut chunk = SMALLEST_CHUNK;
        while 4 * chunk <= most {
            chunk *= 4;
        }
        Kind { name: modality.name.clone(), channels, cells, chunk }
    });
    let (rows, empty) = (rows.collect(), encoder.state().clone());
    Ok(Encode { rows, empty, idle: Mutex::new(vec![encoder]) })
}

fn outputs(model: &Model, sizes: &Sizes, blueprint: &Blueprint) -> perceiver::Result<Vec<Output>> {
    let [rows, channels] = [blueprint.latents.rows, blueprint.latents.channels];
    let latents = Latents::new(rows, channels, vec![0.0; rows * channels])?;
    let decoder = model.decoder(sizes, &latents)?;
    let outputs = decoder.outputs().into_iter().map(|(name, queries, channels, columns)| Output {
        name: name.to_owned(),
        queries,
        channels,
        columns,
    });
    Ok(outputs.collect())
}

/// Reads rows with an encoder that it lends once it needs one, and gives back in the end.
pub(crate) struct Reader<'a> {
    pub(crate) shared: &'a Shared,
    encoder: Option<Encoder>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(shared: &'a Shared) -> Self {
        Reader { shared, encoder: None }
    }

    pub(crate) fn encode(&self) -> Result<&'a Encode> {
        self.shared.encode("encoder")
    }

    /// Does something with an encoder that has read what this state says, and says what it has read then.
    pub(crate) fn with<T>(
        &mut self,
        state: Option<EncoderState>,
        work: impl FnOnce(&mut Encoder) -> perceiver::Result<T>,
    ) -> Result<(T, EncoderState)> {
        let encode = self.encode()?;
        let lent = self.encoder.take().or_else(|| encode.idle().pop());
        let mut encoder = match lent {
            Some(encoder) => encoder,
            None => self.shared.model.encoder(&self.shared.sizes).map_err(external)?,
        };
        let state = state.unwrap_or_else(|| encode.empty.clone());
        let done = encoder.replace(state).and_then(|before| {
            let done = work(&mut encoder);
            let state = encoder.replace(before)?;
            Ok((done?, state))
        });
        self.encoder = Some(encoder);
        done.map_err(external)
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        if let (Ok(encode), Some(encoder)) = (&self.shared.encode, self.encoder.take()) {
            encode.idle().push(encoder);
        }
    }
}

/// An error of the library as one of the engine, which keeps it whole.
pub(crate) fn external(error: perceiver::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// A list of names for messages.
pub(crate) fn listed<T: Display>(names: impl Iterator<Item = T>) -> String {
    names.map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ")
}
