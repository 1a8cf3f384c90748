//! Parameters on the device: uploaded once per model, shared by all its sessions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use half::slice::HalfFloatSliceExt;

use super::buffer::Buffer;
use super::device::{Device, REBUILD, lock};
use super::slot::Slot;
use crate::error::{Cause, Error, Result};
use crate::graph::{Pauses, Recipe};
use crate::memory::{collected, zeroed};
use crate::tensor::Element;
use crate::weights::{TensorSource, evaluate, window};

/// The parameters of a model on a device.
pub struct Parameters {
    slot: Slot,
    source: Arc<dyn TensorSource>,
    known: Mutex<Known>,
    /// The array that windows were last cut from: they come one after the other.
    cut: Mutex<Option<(Recipe, Vec<f32>)>>,
}

/// What has been uploaded to a device.
struct Known {
    device: Device,
    arrays: HashMap<(Recipe, Element), Buffer>,
}

impl Parameters {
    /// Parameters from this source, none uploaded yet.
    pub fn new(device: Device, source: Arc<dyn TensorSource>) -> Self {
        Self::at(Slot::new(device), source)
    }

    /// Parameters on the device that an engine has.
    pub(crate) fn at(slot: Slot, source: Arc<dyn TensorSource>) -> Self {
        let known = Known { device: slot.device(), arrays: HashMap::new() };
        Parameters { slot, source, known: Mutex::new(known), cut: Mutex::new(None) }
    }

    /// The device; what was uploaded to one before it is forgotten.
    pub fn device(&self) -> Device {
        let device = self.slot.device();
        let mut known = lock(&self.known);
        if !known.device.is(&device) {
            *known = Known { device: device.clone(), arrays: HashMap::new() };
        }
        device
    }

    /// The adapter's name.
    pub(crate) fn device_name(&self) -> &str {
        self.slot.device_name()
    }

    /// Where the weights come from.
    pub(crate) fn source(&self) -> &dyn TensorSource {
        &*self.source
    }

    /// Bytes uploaded so far.
    pub fn allocated_bytes(&self) -> u64 {
        lock(&self.known).arrays.values().map(|buffer| buffer.size()).sum()
    }

    /// The array of a recipe, evaluated on the CPU and written straight into mapped memory.
    pub(super) async fn get(
        &self,
        device: &Device,
        label: &str,
        recipe: &Recipe,
        element: Element,
        pauses: &mut dyn Pauses,
    ) -> Result<Buffer> {
        let key = (recipe.clone(), element);
        {
            let known = lock(&self.known);
            if let Some(buffer) = known.arrays.get(&key).filter(|_| known.device.is(device)) {
                return Ok(buffer.clone());
            }
        }
        // Not under the lock: the source may be an app's, which may call anything.
        let array = self.evaluated(recipe, pauses).await?;
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
        let buffer = with_bytes(label, &array, element, |bytes| {
            let buffer = device.buffer(label, bytes.len() as u64, usage, true)?;
            if !bytes.is_empty() {
                write_mapped(device, label, &buffer, bytes)?;
            }
            device.unmap(label, &buffer)?;
            Ok(buffer)
        })?;
        let mut known = lock(&self.known);
        Ok(match known.device.is(device) {
            true => known.arrays.entry(key).or_insert(buffer).clone(),
            // Another has been opened meanwhile.
            false => buffer,
        })
    }

    async fn evaluated(&self, recipe: &Recipe, pauses: &mut dyn Pauses) -> Result<Vec<f32>> {
        let cut = lock(&self.cut).take();
        let Recipe::Window { of, rows, columns } = recipe else {
            drop(cut);
            return evaluate(recipe, &*self.source, pauses).await;
        };
        let whole = match cut {
            Some((known, whole)) if known == **of => whole,
            _ => evaluate(of, &*self.source, pauses).await?,
        };
        let array = window(&whole, of.extent(), rows, columns)?;
        *lock(&self.cut) = Some(((**of).clone(), whole));
        Ok(array)
    }

    /// Forgets the array that windows were last cut from.
    pub(super) fn forget_cut(&self) {
        *lock(&self.cut) = None;
    }

    /// Drops arrays that no session holds; they are uploaded again when they are asked for.
    pub(crate) fn release(&self) {
        lock(&self.known).arrays.retain(|_, buffer| buffer.is_shared());
    }
}

/// Calls `write` with numbers as they lie in memory.
///
/// # Errors
/// [`Error::Input`] for numbers beyond the range of f16: precision is never lost without a word.
pub(super) fn with_bytes<R>(
    name: &str,
    numbers: &[f32],
    element: Element,
    write: impl FnOnce(&[u8]) -> Result<R>,
) -> Result<R> {
    match element {
        Element::F32 => return write(bytemuck::cast_slice(numbers)),
        Element::U8 => {
            let bytes = collected(name, numbers.iter().map(|&x| x.round() as u8))?;
            return write(&bytes);
        }
        Element::F16 => {}
    }
    let most = half::f16::MAX.to_f32();
    let beyond = |x: &f32| x.is_finite() && x.abs() > most;
    if let Some(x) = numbers.iter().find(|x| beyond(x)) {
        let what = format!("has {x}, which f16 cannot hold");
        return Err(Error::input(name, what, format!("numbers within ±{most}, or precision f32")));
    }
    let mut f16 = zeroed::<half::f16>(name, numbers.len())?;
    f16.convert_from_f32_slice(numbers);
    write(bytemuck::cast_slice(&f16))
}

/// The error for memory that cannot be mapped.
pub(super) fn unmappable(device: &Device, label: &str, cause: impl Into<Cause>) -> Error {
    let what = format!("cannot map `{label}`");
    device.judged(Error::device(device.name(), what, cause, REBUILD))
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
        .map_err(|e| unmappable(device, label, e))?;
    range.copy_from_slice(bytes);
    Ok(())
}
