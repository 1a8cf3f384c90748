//! A model: runs on arrays, encode and decode, the pipelines.

use std::path::PathBuf;

use perceiver::blueprint::{Blueprint, InputKind};
use perceiver::internals::model::planned;
use perceiver::internals::perceiver::official::Item;
use perceiver::internals::perceiver::{Request, build};
use perceiver::{
    Architecture, Control, Description, NamedTensors, Precision, RunOptions, Sizes, Tensor,
};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::arrays::{Kind, dictionary, items, tensors};
use crate::engine::{Engine, usual};
use crate::errors::Result;
use crate::running::{self, Progress};
use crate::stream::{Decoding, Encoder, Latents};
use crate::tasks;

/// A configuration and weights on an engine. Threads may share it: their runs go side by side.
#[pyclass(frozen, module = "perceiver")]
pub(crate) struct Model {
    pub(crate) model: perceiver::Model,
    /// Where `preprocessor_config.json` may be.
    pub(crate) folder: Option<PathBuf>,
    /// The text of `preprocessor_config.json`.
    pub(crate) processor: Option<String>,
}

/// An input or an output: its name, its shape with None for what a run decides, its type.
#[pyclass(frozen, get_all, module = "perceiver")]
#[derive(Clone)]
pub(crate) struct TensorInfo {
    name: String,
    shape: Vec<Option<usize>>,
    dtype: &'static str,
    optional: bool,
}

#[pymethods]
impl TensorInfo {
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.shape)
    }

    fn __repr__(&self) -> String {
        let sizes = self.shape.iter().map(|n| n.map_or("None".to_owned(), |n| n.to_string()));
        let sizes = sizes.collect::<Vec<_>>().join(", ");
        let optional = if self.optional { ", optional" } else { "" };
        format!("<{}: {} [{sizes}]{optional}>", self.name, self.dtype)
    }
}

impl TensorInfo {
    fn new(name: &str, shape: &[Option<usize>], dtype: &'static str, optional: bool) -> Self {
        TensorInfo { name: name.to_owned(), shape: shape.to_vec(), dtype, optional }
    }
}

type Object<'a, 'py> = Option<&'a Bound<'py, PyAny>>;
type Keywords<'a, 'py> = &'a Bound<'py, PyDict>;

#[pymethods]
impl Model {
    /// Loads a model: a folder as Hugging Face saves it, a file of weights, a name on the hub
    /// (`ORGANISATION/NAME[@REVISION]`, fetched into Hugging Face's cache), or the bytes of a file of weights with
    /// their `config`.
    ///
    /// `engine` is the best device of this machine unless it is given. `part` names the Perceiver inside another
    /// model where there are several. `processor` is a `preprocessor_config.json` in place of the folder's.
    /// `progress` hears bytes of a download.
    ///
    /// Raises CheckpointError, ConfigError, FileError, HubError, InputError.
    #[staticmethod]
    #[pyo3(signature = (model, *, engine = None, config = None, processor = None, part = None, progress = None))]
    fn load(
        py: Python<'_>,
        model: &Bound<'_, PyAny>,
        engine: Option<Py<Engine>>,
        config: Object<'_, '_>,
        processor: Object<'_, '_>,
        part: Option<String>,
        progress: Object<'_, '_>,
    ) -> Result<Model> {
        let engine = engine.map_or_else(|| usual(py), Ok)?;
        engine.get().load(py, model, config, processor, part, progress)
    }

    /// A model from what its `config.json` says (a blueprint's too) and weights by name, which are copied.
    #[staticmethod]
    #[pyo3(signature = (config, arrays, *, engine = None, processor = None))]
    fn from_arrays(
        py: Python<'_>,
        config: &Bound<'_, PyAny>,
        arrays: &Bound<'_, PyAny>,
        engine: Option<Py<Engine>>,
        processor: Object<'_, '_>,
    ) -> Result<Model> {
        let engine = engine.map_or_else(|| usual(py), Ok)?;
        engine.get().load_arrays(py, config, arrays, processor)
    }

    /// The class, under its name in `config.json`.
    #[getter]
    fn name(&self) -> &'static str {
        self.model.description().name()
    }

    /// Name of the device that it runs on.
    #[getter]
    fn device(&self) -> &str {
        self.model.device_name()
    }

    /// How numbers are stored: "f32" or "f16".
    #[getter]
    fn precision(&self) -> String {
        self.model.precision().to_string()
    }

    /// Labels of the classes; empty where there are none.
    #[getter]
    fn labels(&self) -> Vec<String> {
        self.model.config().map(|config| config.labels.clone()).unwrap_or_default()
    }

    /// Bytes that the sessions that are kept have allocated, weights included.
    #[getter]
    fn allocated_bytes(&self) -> u64 {
        self.model.allocated_bytes()
    }

    /// What `run` takes.
    #[getter]
    fn inputs(&self) -> Vec<TensorInfo> {
        inputs(self.model.description())
    }

    /// What `run` gives.
    #[getter]
    fn outputs(&self) -> Result<Vec<TensorInfo>> {
        outputs(self.model.description())
    }

    /// Runs the model on arrays by name; `inputs` and `outputs` list names, shapes and types.
    ///
    /// Texts: `input_ids` `[batch, length]`, `attention_mask` of the same shape. Pictures: `pixel_values` `[batch, 3,
    /// height, width]`. Flow: `patches` `[batch, 2, 27, height, width]`, or `frames` uint8 `[batch, 2, height, width,
    /// 3]`. Clips: `image` `[batch, frames, 3, height, width]`, `audio` `[batch, samples, 1]`, `points.image` and
    /// `points.audio` `[points]`, all unless they are given. Hugging Face's names are known too: `inputs`,
    /// `subsampled_output_points`. An input that is None is left
    /// out.
    ///
    /// Arrays are whatever numpy, the buffer protocol or DLPack can read in the machine's memory. Dense float32 is
    /// read where it lies, at the beginning of the run, and must not be written to by another thread meanwhile; other
    /// types and layouts are converted. Results own their memory.
    ///
    /// `intermediates` adds the arrays on the way. `resize_positions` is Hugging Face's `interpolate_pos_encoding`.
    ///
    /// Raises InputError, DTypeError, NotFiniteError, LimitError, DeviceError.
    #[pyo3(signature = (
        arrays = None, /, *, intermediates = false, resize_positions = false, progress = None, **more
    ))]
    fn run<'py>(
        &self,
        py: Python<'py>,
        arrays: Object<'_, 'py>,
        intermediates: bool,
        resize_positions: bool,
        progress: Object<'_, 'py>,
        more: Option<Keywords<'_, 'py>>,
    ) -> Result<Bound<'py, PyDict>> {
        let inputs = self.tensors(arrays, more)?;
        let options = RunOptions { intermediates, resize_positions };
        let run = move |model: &perceiver::Model, progress: Progress<'_>| {
            model.run_with(&inputs, options, progress)
        };
        Ok(dictionary(py, self.work(py, progress, run)?)?)
    }

    /// Compiles, allocates and reads what a run of such arrays needs. Only their shapes matter.
    #[pyo3(signature = (
        arrays = None, /, *, intermediates = false, resize_positions = false, progress = None, **more
    ))]
    fn warmup<'py>(
        &self,
        py: Python<'py>,
        arrays: Object<'_, 'py>,
        intermediates: bool,
        resize_positions: bool,
        progress: Object<'_, 'py>,
        more: Option<Keywords<'_, 'py>>,
    ) -> Result<()> {
        let inputs = self.tensors(arrays, more)?;
        let options = RunOptions { intermediates, resize_positions };
        self.work(py, progress, move |model, progress| model.warmup(&inputs, options, progress))
    }

    /// Encode and process alone: the latents of every item. Takes what `run` takes; points are not needed.
    #[pyo3(signature = (arrays = None, /, *, resize_positions = false, progress = None, **more))]
    fn encode<'py>(
        &self,
        py: Python<'py>,
        arrays: Object<'_, 'py>,
        resize_positions: bool,
        progress: Object<'_, 'py>,
        more: Option<Keywords<'_, 'py>>,
    ) -> Result<Latents> {
        let inputs = self.tensors(arrays, more)?;
        let options = RunOptions { resize_positions, ..RunOptions::default() };
        let encode = move |model: &perceiver::Model, progress: Progress<'_>| {
            model.encode(&inputs, options, progress)
        };
        let (sizes, latents) = self.work(py, progress, encode)?;
        Ok(Latents { sizes, items: latents })
    }

    /// The inputs of one item as rows `[rows, channels]` by modality: what an encoder takes, and the content of
    /// queries that are made of inputs.
    #[pyo3(signature = (arrays = None, /, *, resize_positions = false, **more))]
    fn input_rows<'py>(
        &self,
        py: Python<'py>,
        arrays: Object<'_, 'py>,
        resize_positions: bool,
        more: Option<Keywords<'_, 'py>>,
    ) -> Result<Bound<'py, PyDict>> {
        let inputs = self.tensors(arrays, more)?;
        let options = RunOptions { resize_positions, ..RunOptions::default() };
        let rows =
            self.work(py, None, move |model, _| Ok(model.input_rows(&inputs, options)?.1))?;
        Ok(dictionary(py, rows)?)
    }

    /// An encoder of rows that come in chunks, for a text of `length` tokens or an `image` of (height, width); by
    /// default what the model is usually run with.
    ///
    /// Raises InputError for models that read their inputs more than once.
    #[pyo3(signature = (*, length = None, image = None, resize_positions = false))]
    fn encoder(
        &self,
        py: Python<'_>,
        length: Option<usize>,
        image: Option<[usize; 2]>,
        resize_positions: bool,
    ) -> Result<Encoder> {
        let usual = self.model.description().usual_sizes();
        let sizes = Sizes {
            length: length.unwrap_or(usual.length),
            image: image.unwrap_or(usual.image),
            resize_positions,
            ..usual
        };
        Encoder::new(py, &self.model, sizes)
    }

    /// Decodes queries of an output from the latents of one item, as an iterator of (slice of the queries, rows).
    ///
    /// `queries` are numbers, places on the output's grid `[queries, axes]`, a range or slice; all unless given.
    /// `content` `[queries, channels]` are rows that the queries bring along. `chunk` is how many rows come at a
    /// time.
    #[pyo3(signature = (latents, output = None, *, queries = None, content = None, chunk = None))]
    fn decode(
        &self,
        py: Python<'_>,
        latents: &Latents,
        output: Option<String>,
        queries: Object<'_, '_>,
        content: Object<'_, '_>,
        chunk: Option<usize>,
    ) -> Result<Decoding> {
        Decoding::new(py, &self.model, latents, output, queries, content, chunk)
    }

    /// The part of a model of arrays that is made of one of them, which becomes an input. Weights are shared.
    fn starting_at(&self, array: &str) -> Result<Model> {
        Ok(Model::new(self.model.starting_at(array)?, None, None))
    }

    /// The part of a model of arrays that one of them is made of, which becomes the output. Weights are shared.
    fn ending_at(&self, array: &str) -> Result<Model> {
        Ok(Model::new(self.model.ending_at(array)?, None, None))
    }

    /// Texts with their masked bytes filled: `[MASK]` is one byte, `[MASK:7]` seven. `top` candidates are listed for
    /// each. `most_certain_first` fills one byte a run, which the next run sees.
    ///
    /// Returns, for each text, a dictionary: `text`, and `spans` of masks beside each other, each with `start` (its first
    /// token, where [CLS] is number 0), `text` and `bytes`: of every byte `position`, `byte`, `probability` among all 256
    /// and `top`, the candidates. Of one text alone, that dictionary; of a list, a list. Raises InputError.
    #[pyo3(signature = (texts, *, top = 5, most_certain_first = false, progress = None))]
    fn fill_mask<'py>(
        &self,
        py: Python<'py>,
        texts: &Bound<'py, PyAny>,
        top: usize,
        most_certain_first: bool,
        progress: Object<'_, 'py>,
    ) -> Result<Bound<'py, PyAny>> {
        tasks::fill_mask(self, py, texts, top, most_certain_first, progress)
    }

    /// The `top` classes of a text or a picture, best first, as a list of `Class`; of several, a list of such lists.
    ///
    /// Pictures are PIL's, or uint8 `[height, width, 3]`; several may be one array `[pictures, height, width, 3]`.
    ///
    /// A class is a dictionary: `index`, `label`, `logit`, `probability` (None where the model gives a quantity).
    /// `resize_positions` takes pictures of any size into a model with learned positions. Raises InputError.
    #[pyo3(signature = (what, *, top = 5, resize_positions = false, progress = None))]
    fn classify<'py>(
        &self,
        py: Python<'py>,
        what: &Bound<'py, PyAny>,
        top: usize,
        resize_positions: bool,
        progress: Object<'_, 'py>,
    ) -> Result<Bound<'py, PyAny>> {
        tasks::classify(self, py, what, top, resize_positions, progress)
    }

    /// Optical flow from one picture to the next, of any size: float32 `[height, width, 2]`, pixels to the right and
    /// down.
    ///
    /// Pictures larger than the model's are run in tiles that share `overlap` pixels, or in `one_pass`.
    #[pyo3(signature = (first, second, *, overlap = None, tiles_per_batch = 1, one_pass = false, progress = None))]
    #[expect(clippy::too_many_arguments, reason = "keywords of Python")]
    fn flow<'py>(
        &self,
        py: Python<'py>,
        first: &Bound<'py, PyAny>,
        second: &Bound<'py, PyAny>,
        overlap: Option<usize>,
        tiles_per_batch: usize,
        one_pass: bool,
        progress: Object<'_, 'py>,
    ) -> Result<Bound<'py, PyAny>> {
        let options = perceiver::tasks::FlowOptions { overlap, tiles_per_batch, one_pass };
        tasks::flow(self, py, [first, second], options, progress)
    }

    /// A clip through the latents and back, with its classes. As many frames as the model takes, and samples of one
    /// channel at 48 000 a second: floats with 1 as full scale, or int16; None is silence.
    ///
    /// Returns a dictionary: `frames` uint8 `[frames, height, width, 3]`, `audio` float32 `[samples]`, `classes` as those of
    /// `classify`, `video_psnr` and `audio_snr` in decibels (None where nothing differs, or of silence). Raises InputError.
    #[pyo3(signature = (frames, audio = None, *, top = 5, progress = None))]
    fn autoencode<'py>(
        &self,
        py: Python<'py>,
        frames: &Bound<'py, PyAny>,
        audio: Object<'_, 'py>,
        top: usize,
        progress: Object<'_, 'py>,
    ) -> Result<Bound<'py, PyDict>> {
        tasks::autoencode(self, py, frames, audio, top, progress)
    }

    /// The numbers of a decoder of shapes on a grid over a cube: float32 `[cells + 1] * 3`, by z, y and x, above 0
    /// inside. With `block` above 1, points of blocks of so many cells that the surface does not pass are not read.
    #[pyo3(signature = (latents, *, cells = 64, bounds = (-1.0, 1.0), block = 1, progress = None))]
    fn shape<'py>(
        &self,
        py: Python<'py>,
        latents: &Latents,
        cells: usize,
        bounds: (f32, f32),
        block: usize,
        progress: Object<'_, 'py>,
    ) -> Result<Bound<'py, PyAny>> {
        let grid = perceiver::tasks::Grid { cells, bounds: bounds.into(), block };
        tasks::shape(self, py, latents, grid, progress)
    }

    fn __repr__(&self) -> String {
        let precision = match self.model.precision() {
            Precision::F32 => String::new(),
            other => format!(", {other}"),
        };
        format!("<Model {} on {}{precision}>", self.name(), self.device())
    }
}

impl Model {
    pub(crate) fn new(
        model: perceiver::Model,
        folder: Option<PathBuf>,
        processor: Option<String>,
    ) -> Self {
        Model { model, folder, processor }
    }

    /// Does work with this model under a control of its own.
    pub(crate) fn work<T: Send + 'static>(
        &self,
        py: Python<'_>,
        progress: Object<'_, '_>,
        work: impl FnOnce(&perceiver::Model, Progress<'_>) -> perceiver::Result<T> + Send + 'static,
    ) -> Result<T> {
        let control = Control::new();
        let model = self.model.controlled(&control);
        running::run(py, &control, progress, move |progress| work(&model, progress))
    }

    /// The inputs of a run. What Hugging Face's classes call otherwise is known by those names too: `inputs`, a mapping of
    /// modalities where there are several, and `subsampled_output_points`.
    fn tensors(
        &self,
        arrays: Object<'_, '_>,
        more: Option<Keywords<'_, '_>>,
    ) -> Result<NamedTensors> {
        let mut given = match arrays {
            Some(arrays) => items("arrays", arrays)?,
            None => Vec::new(),
        };
        if let Some(more) = more {
            given.extend(items("arrays", more.as_any())?);
        }
        let description = self.model.description();
        let architecture = description.architecture();
        let mut named = Vec::with_capacity(given.len());
        for (name, value) in given {
            match (name.as_str(), architecture.map(Architecture::item)) {
                ("inputs", Some(Item::Clip)) => named.extend(items("inputs", &value)?),
                ("inputs", Some(item)) => named.push((principal(item).to_owned(), value)),
                ("subsampled_output_points", Some(Item::Clip)) if !value.is_none() => {
                    let points = items("subsampled_output_points", &value)?;
                    named.extend(points.into_iter().map(|(n, v)| (format!("points.{n}"), v)));
                }
                _ => named.push((name, value)),
            }
        }
        let whole: Vec<String> = inputs(description)
            .into_iter()
            .filter(|input| input.dtype == "int64")
            .map(|input| input.name)
            .collect();
        let kind = |name: &str| match name {
            "frames" if architecture == Some(Architecture::OpticalFlow) => Kind::Bytes,
            name if whole.iter().any(|w| w == name) => Kind::Whole,
            _ => Kind::Floats,
        };
        let mut tensors = tensors(&named, kind)?;
        if let (Some(Item::Clip), Ok(config)) =
            (architecture.map(Architecture::item), self.model.config())
        {
            // As Hugging Face does, all points where none are asked for.
            let all = [
                ("points.image", config.output_shape.iter().product()),
                ("points.audio", config.audio_patches()),
            ];
            for (name, count) in all {
                if !tensors.contains_key(name) {
                    let every = Tensor::i64(vec![count], (0..count as i64).collect())?;
                    tensors.insert(name.to_owned(), every);
                }
            }
        }
        Ok(tensors)
    }
}

/// The one input that a class needs.
fn principal(item: Item) -> &'static str {
    match item {
        Item::Text => "input_ids",
        Item::Picture { .. } => "pixel_values",
        Item::Frames => "patches",
        Item::Clip => "image",
    }
}

fn inputs(description: &Description) -> Vec<TensorInfo> {
    match description {
        Description::Config(config) => {
            let side = (config.image_size > 0).then_some(config.image_size);
            match config.architecture.item() {
                Item::Text => vec![
                    TensorInfo::new("input_ids", &[None, None], "int64", false),
                    TensorInfo::new("attention_mask", &[None, None], "int64", true),
                ],
                Item::Picture { learned, .. } => {
                    let side = side.filter(|_| learned);
                    let shape = [None, Some(3), side, side];
                    vec![TensorInfo::new("pixel_values", &shape, "float32", false)]
                }
                Item::Frames => {
                    let [height, width] = config.train_size.map(Some);
                    let shape = [None, Some(2), Some(27), height, width];
                    vec![TensorInfo::new("patches", &shape, "float32", false)]
                }
                Item::Clip => {
                    let [_, frames, height, width] = config.output_shape.map(Some);
                    let samples = Some(config.num_frames * config.audio_samples_per_frame);
                    let classes = Some(config.labels.len());
                    vec![
                        TensorInfo::new(
                            "image",
                            &[None, frames, Some(3), height, width],
                            "float32",
                            false,
                        ),
                        TensorInfo::new("audio", &[None, samples, Some(1)], "float32", false),
                        TensorInfo::new("label", &[None, classes], "float32", true),
                        TensorInfo::new("points.image", &[None], "int64", true),
                        TensorInfo::new("points.audio", &[None], "int64", true),
                    ]
                }
            }
        }
        Description::Blueprint(blueprint) => blueprint_inputs(blueprint),
        // A description of another kind has inputs that nothing is known of.
        _ => Vec::new(),
    }
}

fn blueprint_inputs(blueprint: &Blueprint) -> Vec<TensorInfo> {
    let info = |input: &perceiver::blueprint::InputShape| {
        let fixed = |n: usize| (!input.varies).then_some(n);
        let (shape, dtype) = match input.kind {
            InputKind::Rows { rows, channels } => {
                (vec![None, fixed(rows), Some(channels)], "float32")
            }
            InputKind::Picture { channels, size: [height, width] } => {
                (vec![None, Some(channels), fixed(height), fixed(width)], "float32")
            }
            InputKind::Tokens { length: n, .. } | InputKind::Mask { rows: n } => {
                (vec![None, fixed(n)], "int64")
            }
            InputKind::Points { rows, .. } => (vec![fixed(rows)], "int64"),
            InputKind::Grid { shared: true, .. } => (vec![Some(2)], "int64"),
            InputKind::Grid { .. } => (vec![None, Some(2)], "int64"),
            InputKind::FirstRows { .. } => (vec![Some(1)], "int64"),
            _ => (Vec::new(), "float32"),
        };
        TensorInfo::new(&input.name, &shape, dtype, input.optional)
    };
    blueprint.input_shapes().iter().map(info).collect()
}

/// Outputs of two runs of different sizes: what differs, a run decides.
fn outputs(description: &Description) -> Result<Vec<TensorInfo>> {
    let of = |batch: usize, points: usize| -> perceiver::Result<Vec<_>> {
        let sizes = Sizes { points: [points; 2], ..description.usual_sizes() };
        let request = Request {
            batch,
            sizes,
            window_bytes: usize::MAX / 8,
            intermediates: false,
            folded: false,
        };
        let plan =
            planned(build::graph(&description.blueprint(&sizes), &request)?, None, Precision::F32)?;
        let outputs = plan.graph().outputs.iter().map(|o| (o.name.clone(), o.shape.clone()));
        Ok(outputs.collect())
    };
    let (first, second) = (of(1, 1)?, of(2, 2)?);
    let infos = first.iter().zip(&second).map(|((name, a), (_, b))| {
        let shape: Vec<_> = a.iter().zip(b).map(|(a, b)| (a == b).then_some(*a)).collect();
        TensorInfo::new(name, &shape, "float32", false)
    });
    Ok(infos.collect())
}
