//! Models: loading, settings, runs on named tensors.

use std::ffi::c_char;
use std::sync::RwLock;

use perceiver::{Model, Precision};

use crate::engine::{PerceiverEngine, memory};
use crate::latents::PerceiverLatents;
use crate::pointer::{copied, shared, text};
use crate::run::{PerceiverRun, Run};
use crate::status::{PerceiverStatus, free, guarded, made};
use crate::tensors::{PerceiverTensor, PerceiverTensors, named};

/// A configuration and weights on an engine.
pub struct PerceiverModel(RwLock<Model>);

impl PerceiverModel {
    fn new(model: Model) -> Self {
        PerceiverModel(RwLock::new(model))
    }

    /// The model as it is set now; a clone costs nothing.
    pub(crate) fn model(&self) -> Model {
        self.0.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    fn set<T>(&self, change: impl FnOnce(&mut Model) -> T) -> T {
        change(&mut self.0.write().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }
}

/// Loads a checkpoint folder as Hugging Face saves it, or a blueprint's. Weights are read when they are first needed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_model_load(
    engine: *const PerceiverEngine,
    folder: *const c_char,
    model: *mut *mut PerceiverModel,
) -> PerceiverStatus {
    // SAFETY: the caller's.
    unsafe {
        made(model, || {
            let engine = shared(engine, "engine")?;
            engine.engine.load(text(folder, "folder")?).map(PerceiverModel::new)
        })
    }
}

/// Loads the Perceiver inside another model: of its folder or file of weights. `part` is the first part of its tensors' names, or
/// NULL where there is one alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_model_load_part(
    engine: *const PerceiverEngine,
    path: *const c_char,
    part: *const c_char,
    model: *mut *mut PerceiverModel,
) -> PerceiverStatus {
    // SAFETY: the caller's.
    unsafe {
        made(model, || {
            let part = if part.is_null() { None } else { Some(text(part, "part")?) };
            let engine = shared(engine, "engine")?;
            engine.engine.load_part(text(path, "path")?, part).map(PerceiverModel::new)
        })
    }
}

/// Loads a checkpoint that is in memory: the text of its config.json, and its safetensors file, which is copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_model_load_bytes(
    engine: *const PerceiverEngine,
    config: *const c_char,
    weights: *const u8,
    bytes: usize,
    model: *mut *mut PerceiverModel,
) -> PerceiverStatus {
    // SAFETY: the caller's.
    unsafe {
        made(model, || {
            let (engine, config) = (shared(engine, "engine")?, text(config, "config")?);
            let weights = copied(weights, bytes, "weights")?;
            engine.engine.load_bytes(config, weights).map(PerceiverModel::new)
        })
    }
}

/// Bounds what a session of the model allocates; 0: nothing does. Work is cut until it fits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_model_set_memory_budget(
    model: *const PerceiverModel,
    bytes: u64,
) -> PerceiverStatus {
    guarded(|| {
        let budget = if bytes == 0 { None } else { Some(memory(bytes)?) };
        // SAFETY: the caller's.
        unsafe { shared(model, "model") }?.set(|model| model.set_memory_budget(budget));
        Ok(())
    })
}

/// Has numbers stored as f16 (other than 0), on a GPU, or as f32 (0).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_model_set_f16(
    model: *const PerceiverModel,
    f16: i32,
) -> PerceiverStatus {
    guarded(|| {
        let precision = if f16 == 0 { Precision::F32 } else { Precision::F16 };
        // SAFETY: the caller's.
        unsafe { shared(model, "model") }?.set(|model| model.set_precision(precision))
    })
}

/// Lets outputs have infinities and what is no number (other than 0), which are an error otherwise (0).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_model_allow_non_finite(
    model: *const PerceiverModel,
    allowed: i32,
) -> PerceiverStatus {
    guarded(|| {
        // SAFETY: the caller's.
        let model = unsafe { shared(model, "model") }?;
        model.set(|model| model.set_non_finite_allowed(allowed != 0));
        Ok(())
    })
}

/// Runs the model on named tensors and makes those of its outputs. Texts: `input_ids` and optionally `attention_mask` (I64, [batch,
/// length]). Pictures: `pixel_values` (F32, [batch, 3, height, width]). Optical flow: `patches` (F32, [batch, 2, 27, height,
/// width]). Multimodal: `image` (F32, [batch, frames, 3, height, width]), `audio` (F32, [batch, samples, 1]), `points.image` and
/// `points.audio` (I64, what to decode), optionally `label`. Outputs are `logits`, or `logits.image`, `logits.audio` and
/// `logits.label`. A blueprint names its inputs and outputs itself: `perceiver show` lists them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_model_run(
    model: *const PerceiverModel,
    inputs: *const PerceiverTensor,
    count: usize,
    run: *const PerceiverRun,
    outputs: *mut *mut PerceiverTensors,
) -> PerceiverStatus {
    // SAFETY: the caller's.
    unsafe {
        made(outputs, || {
            let (model, run) = (shared(model, "model")?.model(), Run::new(run)?);
            let inputs = named(inputs, count)?;
            let outputs = run.of(&model).run_with(&inputs, run.options, &mut run.progress())?;
            Ok(PerceiverTensors::new(outputs))
        })
    }
}

/// Encode and process alone: makes the last latents of every item.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_model_encode(
    model: *const PerceiverModel,
    inputs: *const PerceiverTensor,
    count: usize,
    run: *const PerceiverRun,
    latents: *mut *mut PerceiverLatents,
) -> PerceiverStatus {
    // SAFETY: the caller's.
    unsafe {
        made(latents, || {
            let (model, run) = (shared(model, "model")?.model(), Run::new(run)?);
            let inputs = named(inputs, count)?;
            let of = run.of(&model);
            let (sizes, items) = of.encode(&inputs, run.options, &mut run.progress())?;
            Ok(PerceiverLatents { sizes, items })
        })
    }
}

/// Frees a model; encoders and decoders that were made of it live on. NULL does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_model_free(model: *mut PerceiverModel) {
    // SAFETY: the caller's.
    unsafe { free(model) }
}
