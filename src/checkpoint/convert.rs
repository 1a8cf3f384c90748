//! Converting a checkpoint of any format that is read to safetensors.
//!
//! Invariants: what the configuration does not ask for is refused, as when the model is loaded; the
//! result is whole or not there; one tensor at a time is in memory.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::parallel::*;
use half::{bf16, f16};
use safetensors::tensor::{Dtype, View};
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::entry::Entry;
use super::{Checkpoint, WeightFormat, serialize};
use crate::checkpoint::COMPANIONS;
use crate::error::{Error, Result};
use crate::memory::zeroed;
use crate::open;
use crate::output::whole_folder;
use crate::tensor::{DType, Data};
use crate::weights::TensorSource;

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
/// Companions larger than this are none.
const LARGEST_COMPANION: u64 = 64 << 20;

/// An element type that weights can be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FloatType {
    /// 32-bit float.
    F32,
    /// 16-bit IEEE float, up to 65504.
    F16,
    /// 16-bit brain float: the range of `F32` with 8 bits of precision.
    BF16,
}

impl FloatType {
    /// Type in a safetensors file, bytes, name in a `config.json`, the largest value it holds.
    fn facts(self) -> (Dtype, usize, &'static str, f32) {
        match self {
            FloatType::F32 => (Dtype::F32, 4, "float32", f32::MAX),
            FloatType::F16 => (Dtype::F16, 2, "float16", f16::MAX.to_f32()),
            FloatType::BF16 => (Dtype::BF16, 2, "bfloat16", bf16::MAX.to_f32()),
        }
    }
}

/// How [`convert`] writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConvertOptions {
    /// The element type of weights; without one each keeps its own (64-bit floats become `F32`).
    pub dtype: Option<FloatType>,
    /// Whether files that are there are replaced.
    pub overwrite: bool,
}

/// What [`convert`] wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Converted {
    /// How the weights were kept.
    pub from: WeightFormat,
    /// Bytes of the weight files that were read.
    pub read_bytes: u64,
    /// Bytes of the file that was written.
    pub written_bytes: u64,
    /// Tensors in it.
    pub tensors: usize,
    /// Elements in it.
    pub elements: u64,
    /// All files that were written.
    #[serde(serialize_with = "as_text")]
    pub files: Vec<PathBuf>,
}

/// Paths as text, where one that is not UTF-8 has its odd bytes replaced: a document would else be refused whole.
fn as_text<S: Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(|path| path.display().to_string()))
}

/// Writes a checkpoint folder of any format as `config.json` and `model.safetensors`, with the files of
/// tokenizer and image processor if it has them. `progress` is told bytes done and in all.
///
/// ```no_run
/// use perceiver::checkpoint::{ConvertOptions, FloatType, convert};
/// let options = ConvertOptions { dtype: Some(FloatType::F16), ..ConvertOptions::default() };
/// let written = convert("old-model", "new-model", &options, &mut |_, _| {})?;
/// println!("{} tensors", written.tensors);
/// # Ok::<(), perceiver::Error>(())
/// ```
///
/// # Errors
/// Those of [`Checkpoint::open`] and [`Checkpoint::check`]; [`Error::Checkpoint`] for files that are there
/// already and for values that the element type cannot hold; [`Error::Io`]. Nothing is left behind.
pub fn convert(
    source: impl AsRef<Path>,
    target: impl AsRef<Path>,
    options: &ConvertOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Converted> {
    let (source, target) = (source.as_ref(), target.as_ref());
    let checkpoint = Checkpoint::open(source)?;
    let description = checkpoint.description();
    checkpoint.check(&description.tensors()?, description.unused_tensors())?;
    let small = companions(source, target, options.dtype)?;
    refuse_existing(target, &small, options.overwrite)?;

    let views = checkpoint.tensors();
    let views: Vec<(&str, Planned)> =
        views.map(|(name, entry)| (name, Planned::new(entry, options.dtype))).collect();
    let work = Work {
        checkpoint: &checkpoint,
        failure: RefCell::new(None),
        done: Cell::new(0),
        total: views.iter().map(|(_, p)| p.bytes() as u64).sum(),
        progress: RefCell::new(progress),
    };
    whole_folder(target, |staging| {
        for (name, content) in &small {
            let path = staging.join(name);
            fs::write(&path, content).map_err(|e| Error::io("write", target.join(name), e))?;
        }
        let tensors =
            views.iter().map(|(name, planned)| (*name, Lazy { work: &work, name, planned }));
        // Other readers want to know that names and layouts are those of torch.
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        let written = fs::File::create(staging.join(WEIGHTS))
            .and_then(|mut file| serialize(&mut file, tensors, Some(metadata)));
        // What went wrong in between says more than what the writer made of it.
        if let Some(failure) = work.failure.take() {
            return Err(failure);
        }
        written.map_err(|e| Error::io("write", target.join(WEIGHTS), e))
    })?;
    let weights = target.join(WEIGHTS);
    let written = fs::metadata(&weights).map_err(|e| Error::io("read", &weights, e))?;
    let mut files: Vec<PathBuf> = small.iter().map(|(name, _)| target.join(name)).collect();
    files.push(weights);
    Ok(Converted {
        from: checkpoint.format(),
        read_bytes: checkpoint.bytes(),
        written_bytes: written.len(),
        tensors: views.len(),
        elements: views.iter().map(|(_, p)| p.elements as u64).sum(),
        files,
    })
}

/// Names and contents of the small files to write. Those that lie where they would be written stay.
fn companions(
    source: &Path,
    target: &Path,
    dtype: Option<FloatType>,
) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let real = |path: &Path| fs::canonicalize(path).ok();
    let in_place = real(source).is_some_and(|s| real(target) == Some(s));
    let mut files = Vec::new();
    for name in std::iter::once(CONFIG).chain(COMPANIONS) {
        let path = source.join(name);
        if name != CONFIG && !path.is_file() {
            continue;
        }
        let long = || {
            let what = format!("has more than the {LARGEST_COMPANION} bytes that are copied");
            let hint = "take it out of the folder if the model does not need it";
            Error::checkpoint(&path, what, hint)
        };
        let content = open::bytes(&path, LARGEST_COMPANION)?.ok_or_else(long)?;
        let new = match dtype {
            Some(dtype) if name == CONFIG => stated(&content, dtype),
            _ => None,
        };
        if in_place && new.is_none() {
            continue;
        }
        files.push((name, new.unwrap_or(content)));
    }
    Ok(files)
}

/// A configuration that states another element type, if it states one.
fn stated(config: &[u8], dtype: FloatType) -> Option<Vec<u8>> {
    let mut config: Value = serde_json::from_slice(config).ok()?;
    let (_, _, name, _) = dtype.facts();
    let mut changed = false;
    for key in ["dtype", "torch_dtype"] {
        if let Some(stated) = config.get_mut(key)
            && stated.as_str() != Some(name)
        {
            *stated = name.into();
            changed = true;
        }
    }
    let mut text = serde_json::to_vec_pretty(&config).ok()?;
    text.push(b'\n');
    changed.then_some(text)
}

fn refuse_existing(target: &Path, small: &[(&str, Vec<u8>)], overwrite: bool) -> Result<()> {
    if target.exists() && !target.is_dir() {
        let hint = "give the folder that the converted model should have";
        return Err(Error::checkpoint(target, "is a file", hint));
    }
    if overwrite {
        return Ok(());
    }
    let names = small.iter().map(|(name, _)| *name);
    match names.chain([WEIGHTS]).find(|n| target.join(n).exists()) {
        None => Ok(()),
        Some(name) => {
            let hint = "give another folder, or ask to overwrite";
            Err(Error::checkpoint(target.join(name), "is there already", hint))
        }
    }
}

/// What becomes of a tensor.
struct Planned {
    shape: Vec<usize>,
    elements: usize,
    stored: DType,
    /// `None` for integers, which keep the type that they are read in.
    float: Option<FloatType>,
}

impl Planned {
    fn new(entry: &Entry, wanted: Option<FloatType>) -> Self {
        let own = match entry.dtype {
            DType::F32 | DType::F64 => Some(FloatType::F32),
            DType::F16 => Some(FloatType::F16),
            DType::BF16 => Some(FloatType::BF16),
            _ => None,
        };
        Planned {
            shape: entry.shape.clone(),
            elements: entry.shape.iter().product(),
            stored: entry.dtype,
            float: own.map(|own| wanted.unwrap_or(own)),
        }
    }

    fn written(&self) -> (Dtype, usize) {
        match (self.float, self.stored) {
            (Some(float), _) => {
                let (dtype, bytes, ..) = float.facts();
                (dtype, bytes)
            }
            (None, DType::U8) => (Dtype::U8, 1),
            (None, DType::I16) => (Dtype::I16, 2),
            (None, _) => (Dtype::I64, 8),
        }
    }

    fn bytes(&self) -> usize {
        self.elements * self.written().1
    }
}

/// What all tensors of a conversion share.
struct Work<'a> {
    checkpoint: &'a Checkpoint,
    /// The first thing that went wrong: a view cannot say so itself.
    failure: RefCell<Option<Error>>,
    done: Cell<u64>,
    total: u64,
    progress: RefCell<&'a mut dyn FnMut(u64, u64)>,
}

/// A tensor that is read when it is written.
struct Lazy<'a> {
    work: &'a Work<'a>,
    name: &'a str,
    planned: &'a Planned,
}

impl Lazy<'_> {
    fn content(&self) -> Result<Vec<u8>> {
        let Some(float) = self.planned.float else {
            return Ok(match self.work.checkpoint.read(self.name)?.data() {
                Data::U8(v) => v.clone(),
                Data::I16(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
                Data::I64(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
                Data::F32(_) | Data::Lent(_) => Vec::new(),
            });
        };
        let values = self.work.checkpoint.read_f32(self.name)?;
        // A 64-bit float that is too large has become infinite.
        let was_wide = self.planned.stored == DType::F64;
        let (_, _, wanted, largest) = float.facts();
        let too_large = |x: &&f32| x.abs() > largest && (x.is_finite() || was_wide);
        if let Some(x) = values.par_iter().find_any(too_large) {
            let (path, name) = (self.work.checkpoint.path(), self.name);
            let limit = format!("{wanted} holds values up to {largest}");
            let hint = "convert to bf16 or f32, which have a larger range";
            let what = format!("tensor `{name}` has the value {x}, {limit}");
            return Err(Error::checkpoint(path, what, hint));
        }
        match float {
            FloatType::F32 => bytes(&values, f32::to_le_bytes),
            FloatType::F16 => bytes(&values, |x| f16::from_f32(x).to_le_bytes()),
            FloatType::BF16 => bytes(&values, |x| bf16::from_f32(x).to_le_bytes()),
        }
    }
}

fn bytes<const N: usize>(
    values: &[f32],
    convert: impl Fn(f32) -> [u8; N] + Sync,
) -> Result<Vec<u8>> {
    let mut all = zeroed("a tensor", values.len() * N)?;
    all.par_chunks_exact_mut(N)
        .zip(values)
        .with_min_len(1 << 16)
        .for_each(|(to, &x)| to.copy_from_slice(&convert(x)));
    Ok(all)
}

impl View for Lazy<'_> {
    fn dtype(&self) -> Dtype {
        self.planned.written().0
    }

    fn shape(&self) -> &[usize] {
        &self.planned.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let work = self.work;
        if work.failure.borrow().is_some() {
            return Cow::Owned(Vec::new());
        }
        match self.content() {
            Ok(content) => {
                let done = work.done.get() + content.len() as u64;
                work.done.set(done);
                (work.progress.borrow_mut())(done, work.total);
                Cow::Owned(content)
            }
            Err(error) => {
                work.failure.replace(Some(error));
                Cow::Owned(Vec::new())
            }
        }
    }

    fn data_len(&self) -> usize {
        self.planned.bytes()
    }
}
