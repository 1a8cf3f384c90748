//! Inputs into, and results out of, mapped memory.

use half::slice::HalfFloatSliceExt;

use super::super::store::{to_halves, unmappable};
use super::GpuExecutor;
use crate::error::Result;
use crate::graph::{ValueId, no_output, repeat_to};
use crate::kernels::unpad;
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
        let mut range = buffer
            .get_mapped_range_mut(offset..offset + bytes)
            .map_err(|e| unmappable(&self.device, name, e))?;
        let element = self.plan.graph().value(id).element;
        if extent.cols == extent.stride() && element == Element::F32 {
            range.copy_from_slice(bytemuck::cast_slice(data));
            return Ok(());
        }
        // Some rows at a time, so that padding and halves need no second copy of everything.
        let rows = (16_384 / extent.stride()).max(1);
        let mut padded = vec![0.0f32; rows * extent.stride()];
        let mut at = 0;
        for chunk in data.chunks(rows * extent.cols) {
            let n = chunk.len() / extent.cols;
            for (to, from) in
                padded.chunks_exact_mut(extent.stride()).zip(chunk.chunks_exact(extent.cols))
            {
                to[..extent.cols].copy_from_slice(from);
            }
            let part = &padded[..n * extent.stride()];
            let halves: Vec<half::f16>;
            let part: &[u8] = match element {
                Element::F32 => bytemuck::cast_slice(part),
                Element::F16 => {
                    halves = to_halves(name, part)?;
                    bytemuck::cast_slice(&halves)
                }
            };
            range.slice(at..at + part.len()).copy_from_slice(part);
            at += part.len();
        }
        Ok(())
    }

    /// The first array of result `name` as it lies in memory, padding included.
    pub(crate) fn read_padded(&self, name: &str) -> Result<Vec<f32>> {
        let output = self.plan.graph().outputs.iter().find(|o| o.name == name);
        let piece = output.and_then(|o| o.pieces.first());
        let piece = piece.ok_or_else(|| no_output(&self.plan, name))?;
        let Some((buffer, offset, bytes)) = self.download.part(*piece) else {
            return Ok(Vec::new());
        };
        let range = buffer
            .get_mapped_range(offset..offset + bytes)
            .map_err(|e| unmappable(&self.device, name, e))?;
        Ok(match self.plan.graph().value(*piece).element {
            Element::F32 => bytemuck::pod_collect_to_vec::<u8, f32>(&range),
            Element::F16 => from_halves(&range),
        })
    }

    /// The result `name` of the last run, dense.
    pub(super) fn read_output(&self, name: &str) -> Result<Tensor> {
        let output = self
            .plan
            .graph()
            .outputs
            .iter()
            .find(|o| o.name == name)
            .ok_or_else(|| no_output(&self.plan, name))?;
        let mut data: Vec<f32> = Vec::new();
        for &piece in &output.pieces {
            let Some((buffer, offset, bytes)) = self.download.part(piece) else {
                continue;
            };
            let range = buffer
                .get_mapped_range(offset..offset + bytes)
                .map_err(|e| unmappable(&self.device, name, e))?;
            let extent = self.plan.graph().extent(piece);
            if self.plan.graph().value(piece).element == Element::F16 {
                unpad(extent, &from_halves(&range), &mut data);
                continue;
            }
            match bytemuck::try_cast_slice::<u8, f32>(&range) {
                Ok(padded) => unpad(extent, padded, &mut data),
                // Mapped memory is aligned on every driver known; a copy is right on all others.
                Err(_) => {
                    unpad(extent, &bytemuck::pod_collect_to_vec::<u8, f32>(&range), &mut data)
                }
            }
        }
        let elements = output.shape.iter().product();
        Tensor::f32(output.shape.clone(), repeat_to(elements, data))
    }
}

/// Halves as numbers.
fn from_halves(bytes: &[u8]) -> Vec<f32> {
    let halves = bytemuck::pod_collect_to_vec::<u8, half::f16>(bytes);
    let mut numbers = vec![0.0; halves.len()];
    halves.convert_to_f32_slice(&mut numbers);
    numbers
}
