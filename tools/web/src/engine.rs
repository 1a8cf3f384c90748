//! The engine: WebGPU, or the CPU where there is none.

use std::time::Duration;

use js_sys::Uint8Array;
use perceiver::{DeviceChoice, Precision, SubmissionBudget};
use wasm_bindgen::prelude::*;

use crate::model::Model;
use crate::values::{Thrown, count, member, plain, thrown, wrong};

/// Longest that a submission keeps the GPU, which also draws the page.
const BUDGET: Duration = Duration::from_millis(12);

/// The bytes of a `model.safetensors`, which come part by part, so that no part keeps the page's thread for long.
#[wasm_bindgen]
pub struct Weights {
    bytes: Vec<u8>,
}

#[wasm_bindgen]
impl Weights {
    /// Room for so many bytes; there may be more.
    #[wasm_bindgen(constructor)]
    pub fn new(length: usize) -> Result<Weights, Thrown> {
        let mut weights = Weights { bytes: Vec::new() };
        weights.room(length)?;
        Ok(weights)
    }

    /// The next bytes.
    pub fn push(&mut self, part: &Uint8Array) -> Result<(), Thrown> {
        let (length, from) = (part.length() as usize, self.bytes.len());
        self.room(length)?;
        self.bytes.resize(from + length, 0);
        part.copy_to(&mut self.bytes[from..]);
        Ok(())
    }

    fn room(&mut self, length: usize) -> Result<(), Thrown> {
        let refused = |_| wrong("weights", "are larger than the memory here", "a smaller model");
        self.bytes.try_reserve(length).map_err(refused)
    }
}

/// Where models run.
#[wasm_bindgen]
pub struct Engine {
    pub(crate) engine: perceiver::Engine,
}

#[wasm_bindgen]
impl Engine {
    /// Opens "gpu", "cpu", or by "auto" the browser's GPU if it has one. The CPU is single-threaded here.
    pub async fn open(device: &str) -> Result<Engine, Thrown> {
        let opened = match device {
            "auto" => match perceiver::Engine::choose_async(&DeviceChoice::Gpu).await {
                Err(perceiver::Error::NoDevice { .. }) => Ok(perceiver::Engine::cpu()),
                opened => opened,
            },
            "gpu" => perceiver::Engine::choose_async(&DeviceChoice::Gpu).await,
            "cpu" => Ok(perceiver::Engine::cpu()),
            _ => return Err(wrong("device", "is unknown", "\"auto\", \"gpu\" or \"cpu\"")),
        };
        let engine = opened.map_err(|e| thrown(&e))?;
        engine.set_submission_budget(SubmissionBudget::Bounded(BUDGET));
        Ok(Engine { engine })
    }

    /// The adapter's name as far as the browser tells it, or "cpu".
    #[wasm_bindgen(getter)]
    pub fn name(&self) -> String {
        self.engine.device_name().to_owned()
    }

    /// "gpu" or "cpu".
    #[wasm_bindgen(getter)]
    pub fn device(&self) -> String {
        if self.engine.tuning().is_some() { "gpu" } else { "cpu" }.to_owned()
    }

    /// A model from the texts of `config.json` and, for pictures, `preprocessor_config.json`, and from its weights.
    /// `options.precision` is "f32" or "f16", how a GPU stores numbers.
    pub fn load(
        &self,
        config: &str,
        weights: Weights,
        processor: Option<String>,
        options: &JsValue,
    ) -> Result<Model, Thrown> {
        let mut model = self.engine.load_bytes(config, weights.bytes).map_err(|e| thrown(&e))?;
        let precision = match member(options, "precision").as_string().as_deref() {
            None | Some("f32") => Precision::F32,
            Some("f16") => Precision::F16,
            Some(_) => return Err(wrong("precision", "is unknown", "\"f32\" or \"f16\"")),
        };
        model.set_precision(precision).map_err(|e| thrown(&e))?;
        Ok(Model::new(model, processor))
    }

    /// Kernels' variants that were found to be wrong on this device and are not used: `[{ kernel, variant, why }]`.
    #[wasm_bindgen(getter)]
    pub fn denied(&self) -> Result<JsValue, Thrown> {
        let denied = self.engine.device().map(|device| device.tuning().denied);
        plain(&denied.unwrap_or_default())
    }

    /// Rows of the kernel table.
    #[wasm_bindgen(js_name = kernelRows)]
    pub fn kernel_rows(&self) -> usize {
        crate::check::rows()
    }

    /// Checks one row of the kernel table with every variant that this device can run, against the reference on the
    /// CPU; `options.seed` is that of the random operands.
    #[wasm_bindgen(js_name = checkRow)]
    pub async fn check_row(&self, index: usize, options: JsValue) -> Result<JsValue, Thrown> {
        let seed = count(&options, "seed", 1)? as u64;
        plain(&crate::check::row(&self.engine, index, seed).await?)
    }
}
