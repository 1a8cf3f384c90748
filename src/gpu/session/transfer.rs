//! Inputs into, and results out of, mapped memory.

use crate::parallel::*;
use std::borrow::Cow;

use half::slice::HalfFloatSliceExt;

use super::super::store::{unmappable, with_bytes};
use super::GpuExecutor;
use crate::error::Result;
use crate::graph::{ValueId, output, repeat_to};
use crate::kernels::unpad;
use crate::memory::room;
use crate::tensor::{Element, Extent, Tensor};

impl GpuExecutor {
    pub(super) fn write_part(
        &self,
        name: &str,
        id: ValueId,
        extent: Extent,
        data: &[f32],
    ) -> Result<()> {
        let Some((buffer, offset, bytes)) = self.upload.part(id) else {
            return Ok(());
        };
        let element = self.plan.graph().value(id).element;
        let row_bytes = extent.stride() * element.bytes();
        // Some rows at a time, on all threads, so that padding and f16 need no second copy of everything.
        // Mapped ranges begin at multiples of eight bytes.
        let rows = (65_536 / extent.stride()).next_multiple_of(2).max(2);
        data.par_chunks(rows * extent.cols).enumerate().try_for_each(|(i, from)| {
            let n = from.len() / extent.cols;
            let at = offset + (i * rows * row_bytes) as u64;
            let mut to = buffer
                .get_mapped_range_mut(at..(at + (n * row_bytes) as u64).min(offset + bytes))
                .map_err(|e| unmappable(&self.device, name, e))?;
            let write = |bytes: &[u8]| {
                to.copy_from_slice(bytes);
                Ok(())
            };
            with_bytes(name, &padded(extent, from), element, write)
        })
    }

    /// The first array of result `name` as it lies in memory, padding included.
    pub(crate) fn read_padded(&self, name: &str) -> Result<Vec<f32>> {
        let piece = output(&self.plan, name)?.pieces.first();
        let Some((piece, (buffer, offset, bytes))) =
            piece.and_then(|&p| Some((p, self.download.part(p)?)))
        else {
            return Ok(Vec::new());
        };
        let range = buffer
            .get_mapped_range(offset..offset + bytes)
            .map_err(|e| unmappable(&self.device, name, e))?;
        Ok(numbers(self.plan.graph().value(piece).element, &range))
    }

    /// The result `name` of the last run, dense.
    pub(super) fn read_output(&self, name: &str) -> Result<Tensor> {
        let output = output(&self.plan, name)?;
        let mut data = room(name, output.shape.iter().product())?;
        for &piece in &output.pieces {
            let Some((buffer, offset, bytes)) = self.download.part(piece) else {
                continue;
            };
            let range = buffer
                .get_mapped_range(offset..offset + bytes)
                .map_err(|e| unmappable(&self.device, name, e))?;
            let extent = self.plan.graph().extent(piece);
            let element = self.plan.graph().value(piece).element;
            match bytemuck::try_cast_slice::<u8, f32>(&range) {
                Ok(padded) if element == Element::F32 => unpad(extent, padded, &mut data),
                // Mapped memory is aligned on every driver known; a copy is right on all others.
                _ => unpad(extent, &numbers(element, &range), &mut data),
            }
        }
        let elements = output.shape.iter().product();
        Tensor::f32(output.shape.clone(), repeat_to(elements, data))
    }
}

/// Dense rows as arrays have them, filled up with zeros to whole vectors.
pub(super) fn padded(extent: Extent, rows: &[f32]) -> Cow<'_, [f32]> {
    if extent.cols == extent.stride() {
        return Cow::Borrowed(rows);
    }
    let rows = rows.chunks_exact(extent.cols);
    let mut padded = vec![0.0; rows.len() * extent.stride()];
    for (to, from) in padded.chunks_exact_mut(extent.stride()).zip(rows) {
        to[..extent.cols].copy_from_slice(from);
    }
    Cow::Owned(padded)
}

/// Numbers as they lie in memory.
fn numbers(element: Element, bytes: &[u8]) -> Vec<f32> {
    match element {
        Element::F32 => bytemuck::pod_collect_to_vec(bytes),
        Element::U8 => bytes.iter().map(|&b| f32::from(b)).collect(),
        Element::F16 => {
            let f16 = bytemuck::pod_collect_to_vec::<u8, half::f16>(bytes);
            let mut numbers = vec![0.0; f16.len()];
            f16.convert_to_f32_slice(&mut numbers);
            numbers
        }
    }
}
