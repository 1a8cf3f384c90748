//! Encoding inputs that come in pieces, their states, and decoding any queries, piece by piece.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use perceiver::stream::{self, Queries};
use perceiver::{Control, Error, Sizes, Tensor};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyRange, PyRangeMethods, PySlice, PyTuple};
use safetensors::{Dtype, SafeTensors};

use crate::arrays::{Kind, array_of, floats, numbers, tensor, whole};
use crate::errors::{Result, wrong, wrong_type};
use crate::running::{self, Progress};

type Object<'a, 'py> = Option<&'a Bound<'py, PyAny>>;

/// Bytes of the rows of a chunk that is decoded, unless a caller says how many rows.
const CHUNK_BYTES: usize = 16 << 20;

/// Tensors of stored latents, as `perceiver latents` names them: the latents; text length, height and width of the
/// picture and whether positions are resized; rows of a blueprint's arrays that vary.
const LATENTS: &str = "last_latents";
const SIZES: &str = "sizes";
const ROWS: &str = "sizes.rows";

/// What a model knows about items after encode and process. They pickle; `numpy.asarray` reads them.
#[pyclass(frozen, module = "perceiver")]
pub(crate) struct Latents {
    pub(crate) sizes: Sizes,
    pub(crate) items: Vec<stream::Latents>,
}

#[pymethods]
impl Latents {
    /// Items, latents of an item, channels of a latent.
    #[getter]
    fn shape(&self) -> (usize, usize, usize) {
        let [rows, channels] = self.items.first().map_or([0, 0], stream::Latents::shape);
        (self.items.len(), rows, channels)
    }

    /// The numbers, float32 `[items, latents, channels]`.
    fn numpy<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let (items, rows, channels) = self.shape();
        floats(py, vec![items, rows, channels], self.flat())
    }

    #[pyo3(signature = (dtype = None, copy = None))]
    fn __array__<'py>(
        &self,
        py: Python<'py>,
        dtype: Object<'_, 'py>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if copy == Some(false) {
            let text = "latents of several items are copied to become one array";
            return Err(pyo3::exceptions::PyValueError::new_err(text));
        }
        let array = self.numpy(py)?;
        match dtype {
            Some(dtype) => array.call_method1("astype", (dtype,)),
            None => Ok(array),
        }
    }

    fn __len__(&self) -> usize {
        self.items.len()
    }

    /// The latents of one item.
    fn __getitem__(&self, item: isize) -> PyResult<Latents> {
        let at = if item < 0 { item + self.items.len() as isize } else { item };
        let found = usize::try_from(at).ok().and_then(|at| self.items.get(at));
        let found = found.ok_or_else(|| {
            pyo3::exceptions::PyIndexError::new_err(format!(
                "no item {item} of {}",
                self.items.len()
            ))
        })?;
        Ok(Latents { sizes: self.sizes, items: vec![found.clone()] })
    }

    /// A safetensors file, which `perceiver latents decode` takes too where it is of one item.
    fn to_bytes<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyBytes>> {
        let Sizes { length, image: [height, width], resize_positions, rows, .. } = self.sizes;
        let sizes = [length, height, width, usize::from(resize_positions)];
        let (items, n, channels) = self.shape();
        let mut tensors = vec![
            (
                LATENTS,
                Stored::new(
                    Dtype::F32,
                    &[items, n, channels],
                    self.flat().iter().map(|x| x.to_le_bytes()),
                ),
            ),
            (SIZES, Stored::new(Dtype::I64, &[4], sizes.iter().map(|&n| (n as i64).to_le_bytes()))),
        ];
        if !rows.is_usual() {
            let numbers = rows.0.as_flattened().iter().map(|&n| i64::from(n).to_le_bytes());
            tensors.push((ROWS, Stored::new(Dtype::I64, &[rows.0.len(), 3], numbers)));
        }
        let bytes = safetensors::serialize(tensors, None);
        let bytes =
            bytes.map_err(|e| wrong("latents", e.to_string(), "latents that fit one file"))?;
        Ok(PyBytes::new(py, &bytes))
    }

    /// Latents of what `to_bytes` gave. Raises InputError.
    #[staticmethod]
    fn from_bytes(bytes: &[u8]) -> Result<Latents> {
        let expected = "what `Latents.to_bytes` gave";
        let bad = |what: String| wrong("latents", what, expected);
        let tensors =
            SafeTensors::deserialize(bytes).map_err(|e| bad(format!("are damaged: {e}")))?;
        let get = |name: &str, dtype: Dtype| {
            let found = tensors.tensor(name).ok().filter(|t| t.dtype() == dtype);
            found.ok_or_else(|| bad(format!("have no {name}")))
        };
        let latents = get(LATENTS, Dtype::F32)?;
        let &[_, rows, channels] = latents.shape() else {
            return Err(bad(format!("have shape {:?}", latents.shape())));
        };
        let numbers: Vec<f32> = elements(latents.data(), f32::from_le_bytes);
        let each = numbers.chunks_exact((rows * channels).max(1));
        let items = each.map(|item| stream::Latents::new(rows, channels, item.to_vec()));
        let mut sizes = Sizes::default();
        let stored: Vec<i64> = elements(get(SIZES, Dtype::I64)?.data(), i64::from_le_bytes);
        let whole = |n: i64| usize::try_from(n).map_err(|_| bad(format!("have a size of {n}")));
        let &[length, height, width, resize] = stored.as_slice() else {
            return Err(bad(format!("have {} sizes", stored.len())));
        };
        (sizes.length, sizes.image) = (whole(length)?, [whole(height)?, whole(width)?]);
        sizes.resize_positions = resize != 0;
        if tensors.tensor(ROWS).is_ok() {
            let stored: Vec<i64> = elements(get(ROWS, Dtype::I64)?.data(), i64::from_le_bytes);
            for (to, &n) in sizes.rows.0.as_flattened_mut().iter_mut().zip(&stored) {
                *to = u32::try_from(n).map_err(|_| bad(format!("have {n} rows")))?;
            }
        }
        Ok(Latents { sizes, items: items.collect::<perceiver::Result<_>>()? })
    }

    fn __reduce__<'py>(
        slf: &Bound<'py, Self>,
    ) -> Result<(Bound<'py, PyAny>, (Bound<'py, PyBytes>,))> {
        Ok((slf.get_type().getattr("from_bytes")?, (slf.get().to_bytes(slf.py())?,)))
    }

    fn __eq__(&self, other: &Latents) -> bool {
        self.items == other.items
    }

    fn __repr__(&self) -> String {
        let (items, rows, channels) = self.shape();
        format!("<Latents [{items}, {rows}, {channels}]>")
    }
}

impl Latents {
    fn flat(&self) -> Vec<f32> {
        self.items.iter().flat_map(stream::Latents::as_slice).copied().collect()
    }

    /// The one item.
    pub(crate) fn one(&self) -> Result<&stream::Latents> {
        match self.items.as_slice() {
            [only] => Ok(only),
            items => {
                let what = format!("are of {} items", items.len());
                Err(wrong("latents", what, "those of one: latents[i]"))
            }
        }
    }
}

/// A tensor of a file.
struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Stored {
    fn new<const N: usize>(
        dtype: Dtype,
        shape: &[usize],
        elements: impl Iterator<Item = [u8; N]>,
    ) -> Self {
        Stored { dtype, shape: shape.to_vec(), bytes: elements.flatten().collect() }
    }
}

impl safetensors::View for Stored {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

fn elements<T, const N: usize>(bytes: &[u8], of: fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|&element| of(element)).collect()
}

/// What an encoder knows of the rows so far. Its size depends on the model alone; it pickles.
///
/// States of disjoint rows merge in any order and grouping into that of all rows, but for rounding.
#[pyclass(frozen, module = "perceiver")]
pub(crate) struct EncoderState {
    state: stream::EncoderState,
}

#[pymethods]
impl EncoderState {
    /// The state after the rows of both. Raises InputError for a state of another model, weights or sizes.
    fn merge(&self, other: &Bound<'_, PyAny>) -> Result<EncoderState> {
        let other = state("other", other)?;
        Ok(EncoderState { state: self.state.merge(&other.get().state)? })
    }

    /// A safetensors file.
    fn to_bytes<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &self.state.to_bytes()?))
    }

    /// A state of what `to_bytes` gave. Raises InputError or CheckpointError.
    #[staticmethod]
    fn from_bytes(bytes: &[u8]) -> Result<EncoderState> {
        Ok(EncoderState { state: stream::EncoderState::from_bytes(bytes)? })
    }

    /// Bytes of the state's numbers.
    #[getter]
    fn nbytes(&self) -> usize {
        self.state.bytes()
    }

    fn __reduce__<'py>(
        slf: &Bound<'py, Self>,
    ) -> Result<(Bound<'py, PyAny>, (Bound<'py, PyBytes>,))> {
        Ok((slf.get_type().getattr("from_bytes")?, (slf.get().to_bytes(slf.py())?,)))
    }

    fn __eq__(&self, other: &EncoderState) -> bool {
        self.state == other.state
    }

    fn __repr__(&self) -> String {
        format!("<EncoderState of {} bytes>", self.nbytes())
    }
}

/// A state, or an error that names what it is for.
fn state<'a, 'py>(
    name: &str,
    value: &'a Bound<'py, PyAny>,
) -> Result<&'a Bound<'py, EncoderState>> {
    value.cast::<EncoderState>().map_err(|_| {
        let what = format!("is of type {}", crate::arrays::type_name(value));
        wrong_type(name, what, "an EncoderState; `EncoderState.from_bytes` reads stored ones")
    })
}

/// Reads input rows in chunks of any size and order, in memory that does not grow; made by `Model.encoder`.
#[pyclass(frozen, module = "perceiver")]
pub(crate) struct Encoder {
    shared: Arc<Shared>,
}

/// An encoder that threads share.
struct Shared {
    /// Not under a control.
    model: perceiver::Model,
    sizes: Sizes,
    encoder: Mutex<stream::Encoder>,
    control: Mutex<Control>,
}

#[pymethods]
impl Encoder {
    /// What rows are pushed to: rows in all, and channels of a row.
    #[getter]
    fn modalities<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let modalities = PyDict::new(py);
        for (name, rows, channels) in self.free(py).modalities() {
            modalities.set_item(name, (rows, channels))?;
        }
        Ok(modalities)
    }

    /// Rows that go through at once; pushing multiples of it wastes nothing.
    fn chunk_rows(&self, py: Python<'_>, modality: &str) -> Option<usize> {
        self.free(py).chunk_rows(modality)
    }

    /// Reads rows `first ..` of a modality, `[rows, channels]`. Each row should come once. After an error or Ctrl-C
    /// none of these rows count as read. Raises InputError.
    fn push(
        &self,
        py: Python<'_>,
        modality: String,
        first: usize,
        rows: &Bound<'_, PyAny>,
    ) -> Result<()> {
        let rows = tensor(&modality, rows, Kind::Floats)?;
        self.work(py, move |encoder, _| encoder.push(&modality, first, &rows))
    }

    /// As push, for rows in any order: row i is the one at `cells[i]`, which on a grid is the number of a cell, the last axis
    /// fastest. Many rows at a time cost less than few. Raises InputError.
    fn push_at(
        &self,
        py: Python<'_>,
        modality: String,
        cells: &Bound<'_, PyAny>,
        rows: &Bound<'_, PyAny>,
    ) -> Result<()> {
        let cells = tensor("cells", cells, Kind::Whole)?;
        if cells.shape().len() != 1 {
            return Err(wrong("cells", format!("have shape {:?}", cells.shape()), "[rows]"));
        }
        let cells = cells.as_i64().unwrap_or_default().iter().map(|&cell| {
            usize::try_from(cell)
                .map_err(|_| wrong("cells", format!("have {cell}"), "numbers from 0"))
        });
        let cells = cells.collect::<Result<Vec<_>>>()?;
        let rows = tensor(&modality, rows, Kind::Floats)?;
        self.work(py, move |encoder, _| encoder.push_at(&modality, &cells, &rows))
    }

    /// Adds the rows that another encoder of the same model has read. Raises InputError.
    fn merge(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> Result<()> {
        let other = state("other", other)?.get().state.clone();
        self.work(py, move |encoder, _| encoder.merge(&other))
    }

    /// The state after the rows so far.
    #[getter]
    fn state(&self, py: Python<'_>) -> EncoderState {
        EncoderState { state: self.free(py).state().clone() }
    }

    /// The latents of the rows so far; more may come. Raises InputError where there are none.
    fn finish(&self, py: Python<'_>) -> Result<Latents> {
        let latents = self.work(py, |encoder, _| encoder.finish())?;
        Ok(Latents { sizes: self.shared.sizes, items: vec![latents] })
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let modalities = self.free(py);
        let modalities = modalities.modalities();
        let listed =
            modalities.iter().map(|(name, rows, channels)| format!("{name} [{rows}, {channels}]"));
        format!("<Encoder of {}>", listed.collect::<Vec<_>>().join(", "))
    }
}

impl Encoder {
    pub(crate) fn new(py: Python<'_>, model: &perceiver::Model, sizes: Sizes) -> Result<Self> {
        let control = Control::new();
        let (model, under) = (model.clone(), model.controlled(&control));
        let make = move |_: Progress<'_>| under.encoder(&sizes);
        let encoder = Mutex::new(running::run(py, &control, None, make)?);
        let shared = Shared { model, sizes, encoder, control: Mutex::new(control) };
        Ok(Encoder { shared: Arc::new(shared) })
    }

    /// The encoder, once no other thread works with it.
    fn free(&self, py: Python<'_>) -> MutexGuard<'_, stream::Encoder> {
        use pyo3::sync::MutexExt;
        self.shared.encoder.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }

    fn work<T: Send + 'static>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut stream::Encoder, Progress<'_>) -> perceiver::Result<T> + Send + 'static,
    ) -> Result<T> {
        let shared = Arc::clone(&self.shared);
        let control = lock(&shared.control).clone();
        running::run(py, &control, None, move |progress| {
            let mut encoder = lock(&shared.encoder);
            let result = work(&mut encoder, progress);
            if matches!(result, Err(Error::Cancelled)) {
                // A control stays cancelled. The rows so far go on under another.
                let control = Control::new();
                let mut next = shared.model.controlled(&control).encoder(&shared.sizes)?;
                next.merge(encoder.state())?;
                (*encoder, *lock(&shared.control)) = (next, control);
            }
            result
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Chunks of decoded rows, made by `Model.decode`: (slice of the queries, float32 `[queries, columns]`).
#[pyclass(module = "perceiver")]
pub(crate) struct Decoding {
    decoder: Arc<Mutex<stream::Decoder>>,
    control: Control,
    output: String,
    queries: Arc<Queries>,
    content: Option<Arc<Tensor>>,
    count: usize,
    chunk: usize,
    columns: usize,
    done: usize,
}

#[pymethods]
impl Decoding {
    /// Queries in all, columns of a row.
    #[getter]
    fn shape(&self) -> (usize, usize) {
        (self.count, self.columns)
    }

    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&mut self, py: Python<'py>) -> Result<Option<Bound<'py, PyTuple>>> {
        let first = self.done;
        let range = first..self.count.min(first.saturating_add(self.chunk));
        if range.is_empty() {
            return Ok(None);
        }
        // After an error there is nothing to go on with.
        self.done = self.count;
        let (decoder, output) = (Arc::clone(&self.decoder), self.output.clone());
        let (queries, content, asked) =
            (Arc::clone(&self.queries), self.content.clone(), range.clone());
        let rows = running::run(py, &self.control, None, move |_| {
            let content = content.map(|content| part(&content, asked.clone())).transpose()?;
            lock(&decoder).decode(&output, &among(&queries, asked), content.as_ref())
        })?;
        self.done = range.end;
        let slice = py.get_type::<PySlice>().call1((range.start, range.end))?;
        Ok(Some((slice, array_of(py, rows)?).into_pyobject(py)?))
    }

    fn __repr__(&self) -> String {
        format!("<Decoding {} of {} queries of {}>", self.done, self.count, self.output)
    }
}

impl Decoding {
    pub(crate) fn new(
        py: Python<'_>,
        model: &perceiver::Model,
        latents: &Latents,
        output: Option<String>,
        queries: Object<'_, '_>,
        content: Object<'_, '_>,
        chunk: Option<usize>,
    ) -> Result<Self> {
        let control = Control::new();
        let (model, sizes, item) =
            (model.controlled(&control), latents.sizes, latents.one()?.clone());
        let decoder = running::run(py, &control, None, move |_| model.decoder(&sizes, &item))?;
        let outputs: Vec<(String, usize, usize)> = decoder
            .outputs()
            .into_iter()
            .map(|(name, count, _, columns)| (name.to_owned(), count, columns))
            .collect();
        let names: Vec<&str> = outputs.iter().map(|o| o.0.as_str()).collect();
        let output = match (output, names.as_slice()) {
            (Some(output), _) => output,
            (None, [only]) => (*only).to_owned(),
            _ => return Err(wrong("output", "is missing", format!("one of {names:?}"))),
        };
        let found = outputs.iter().find(|o| o.0 == output);
        let Some(&(_, all, columns)) = found else {
            return Err(wrong("output", format!("is {output:?}"), format!("one of {names:?}")));
        };
        let content = content.map(|rows| tensor("content", rows, Kind::Floats)).transpose()?;
        let (queries, count) = match queries {
            None => {
                let count =
                    content.as_ref().and_then(|t| t.shape().first().copied()).unwrap_or(all);
                (Queries::Range(0..count), count)
            }
            Some(queries) => asked(queries, all, &decoder.grid(&output))?,
        };
        let fitting = CHUNK_BYTES / (4 * columns.max(1));
        Ok(Decoding {
            decoder: Arc::new(Mutex::new(decoder)),
            control,
            output,
            queries: Arc::new(queries),
            content: content.map(Arc::new),
            count,
            chunk: chunk.unwrap_or(fitting).max(1),
            columns,
            done: 0,
        })
    }
}

/// Some of the rows that queries bring along.
fn part(content: &Tensor, rows: Range<usize>) -> perceiver::Result<Tensor> {
    let (&[_, channels], Some(data)) = (content.shape(), content.as_f32()) else {
        let what = format!("has shape {:?}", content.shape());
        return Err(Error::input("content", what, "float32 [queries, channels]"));
    };
    let data = data.get(rows.start * channels..rows.end * channels).ok_or_else(|| {
        let what = format!("has shape {:?}", content.shape());
        Error::input("content", what, "a row for every query")
    })?;
    Tensor::f32(vec![rows.len(), channels], data.to_vec())
}

fn among(queries: &Queries, range: Range<usize>) -> Queries {
    match queries {
        Queries::Range(all) => Queries::Range(all.start + range.start..all.start + range.end),
        Queries::Points(points) => Queries::Points(points[range].to_vec()),
        other => other.clone(),
    }
}

/// Queries from a range, a slice, numbers, or coordinates on the output's grid; and how many there are.
fn asked(queries: &Bound<'_, PyAny>, all: usize, grid: &[usize]) -> Result<(Queries, usize)> {
    let queries = match queries.cast::<PySlice>() {
        Ok(slice) => {
            let indices = slice.call_method1("indices", (all,))?;
            let indices = indices.cast_into::<PyTuple>().map_err(PyErr::from)?;
            queries.py().get_type::<PyRange>().call1(indices)?
        }
        Err(_) => queries.clone(),
    };
    if let Ok(range) = queries.cast::<PyRange>()
        && let (Ok(start), Ok(stop), Ok(1)) = (range.start(), range.stop(), range.step())
        && let (Ok(start), Ok(stop)) = (usize::try_from(start), usize::try_from(stop))
    {
        let range = start..stop.max(start);
        let count = range.len();
        return Ok((Queries::Range(range), count));
    }
    let array = numbers("queries", &queries)?;
    let shape = numpy::PyUntypedArrayMethods::shape(&array).to_vec();
    let places = whole("queries", &array)?.into_iter().map(|n| {
        usize::try_from(n).map_err(|_| wrong("queries", format!("ask for {n}"), "numbers from 0"))
    });
    let places = places.collect::<Result<Vec<_>>>()?;
    match *shape {
        [count] => Ok((Queries::Points(places), count)),
        [count, axes] if axes == grid.len() && axes > 0 => {
            let points: Vec<Vec<usize>> =
                places.chunks_exact(axes).map(<[usize]>::to_vec).collect();
            Ok((Queries::on_grid(grid, &points)?, count))
        }
        _ => {
            let expected = match grid.len() {
                0 => "numbers [queries]".to_owned(),
                axes => {
                    format!("numbers [queries], or places [queries, {axes}] on the grid {grid:?}")
                }
            };
            Err(wrong("queries", format!("have shape {shape:?}"), expected))
        }
    }
}
