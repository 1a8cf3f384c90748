//! Pipelines: texts and frames in, texts and flow out.

use std::ffi::c_char;

use perceiver::media::Frame;
use perceiver::tasks::{FillMask, FillOptions, FlowOptions, OpticalFlow};
use perceiver::{Error, Result};

use crate::model::PerceiverModel;
use crate::pointer::{array_mut, copied, shared, text};
use crate::run::{PerceiverRun, Run};
use crate::status::{PerceiverStatus, guarded, made};
use crate::stream::PerceiverBytes;

/// Fills the `[MASK]`s of a text, one for each byte, and makes the whole text, UTF-8 without a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_fill_mask(
    model: *const PerceiverModel,
    masked: *const c_char,
    run: *const PerceiverRun,
    filled: *mut *mut PerceiverBytes,
) -> PerceiverStatus {
    // SAFETY: the caller's.
    unsafe {
        made(filled, || {
            let (model, run) = (shared(model, "model")?.model(), Run::new(run)?);
            let texts = [text(masked, "text")?];
            let pipeline = FillMask::new(&run.of(&model))?;
            let filled = pipeline.fill(&texts, &FillOptions::default(), &mut run.progress())?;
            let text = filled.into_iter().next().map(|filled| filled.text);
            Ok(PerceiverBytes(text.unwrap_or_default().into_bytes()))
        })
    }
}

/// The optical flow from one frame to the next, both 8-bit RGB, `width` × `height` × 3 bytes from the top: where each pixel goes, to
/// the right and down, in pixels. `vectors` has room for `width` × `height` × 2 numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_flow(
    model: *const PerceiverModel,
    first: *const u8,
    second: *const u8,
    width: usize,
    height: usize,
    run: *const PerceiverRun,
    vectors: *mut f32,
    capacity: usize,
) -> PerceiverStatus {
    guarded(|| {
        let pixels = width.saturating_mul(height);
        if capacity / 2 < pixels {
            let what = format!("has room for {capacity} numbers");
            return Err(Error::input("vectors", what, format!("{width} × {height} × 2")));
        }
        let frame = |bytes, name| -> Result<Frame> {
            // SAFETY: the caller's.
            let bytes = unsafe { copied(bytes, pixels.saturating_mul(3), name) }?;
            Frame::new(width, height, bytes)
        };
        let (first, second) = (frame(first, "first frame")?, frame(second, "second frame")?);
        // SAFETY: the caller's.
        let (model, run, vectors) = unsafe {
            let vectors = array_mut(vectors, capacity, "vectors")?;
            (shared(model, "model")?.model(), Run::new(run)?, vectors)
        };
        let pipeline = OpticalFlow::new(&run.of(&model))?;
        let options = FlowOptions::default();
        let field = pipeline.flow(&first, &second, &options, &mut run.progress())?;
        let numbers = field.vectors().as_flattened();
        vectors.iter_mut().zip(numbers).for_each(|(to, &number)| _ = to.write(number));
        Ok(())
    })
}
