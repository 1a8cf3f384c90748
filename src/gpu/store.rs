//! Parameters on the device: uploaded once per model, shared by all its sessions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::device::Device;
use crate::error::Result;
use crate::graph::Recipe;
use crate::perceiver::parameters::{TensorSource, evaluate};

/// The parameters of a model on a device.
pub struct Parameters {
    device: Device,
    source: Arc<dyn TensorSource>,
    known: Mutex<HashMap<Recipe, Arc<wgpu::Buffer>>>,
}

impl Parameters {
    /// Parameters from this source, none uploaded yet.
    #[must_use]
    pub fn new(device: Device, source: Arc<dyn TensorSource>) -> Self {
        Parameters {
            device,
            source,
            known: Mutex::new(HashMap::new()),
        }
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Bytes uploaded so far.
    #[must_use]
    pub fn allocated_bytes(&self) -> u64 {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().map(|buffer| buffer.size()).sum()
    }

    /// The array of a recipe, evaluated on the CPU and written straight into mapped memory.
    pub(super) fn get(&self, label: &str, recipe: &Recipe) -> Result<Arc<wgpu::Buffer>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(buffer) = known.get(recipe) {
            return Ok(buffer.clone());
        }
        let array = evaluate::<f32>(recipe, &*self.source)?;
        let bytes: &[u8] = bytemuck::cast_slice(&array);
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
        let buffer = self.device.buffer(label, bytes.len() as u64, usage, true)?;
        if !bytes.is_empty() {
            write_mapped(&self.device, label, &buffer, bytes)?;
        }
        buffer.unmap();
        let buffer = Arc::new(buffer);
        known.insert(recipe.clone(), buffer.clone());
        Ok(buffer)
    }

    /// Drops arrays that no session holds; they are uploaded again when they are asked for.
    pub(crate) fn release(&self) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, buffer| Arc::strong_count(buffer) > 1);
    }
}

/// Copies bytes into a buffer that is mapped for writing.
pub(super) fn write_mapped(
    device: &Device,
    label: &str,
    buffer: &wgpu::Buffer,
    bytes: &[u8],
) -> Result<()> {
    let mut range = buffer
        .get_mapped_range_mut(..bytes.len() as u64)
        .map_err(|e| crate::Error::Device {
            device: device.name().to_owned(),
            what: format!("cannot map `{label}`: {e}"),
            hint: "build a new Engine, or use the CPU executor".to_owned(),
        })?;
    range.copy_from_slice(bytes);
    Ok(())
}
