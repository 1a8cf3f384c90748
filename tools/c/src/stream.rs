//! Encode in pieces, decode of any queries.

use std::ffi::{CString, c_char};
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use perceiver::stream::{Decoder, Encoder, EncoderState, Queries};
use perceiver::{Error, Model, Result, Sizes};

use crate::latents::PerceiverLatents;
use crate::model::PerceiverModel;
use crate::pointer::{array, array_mut, copied, place, shared, text};
use crate::status::{PerceiverStatus, c_text, free, guarded, made};
use crate::tensors::{PerceiverTensor, of_caller};

/// Sizes of an input that the caller decides; those that do not concern the model, and zeros, are those of the published models'
/// training (224 × 224 pixels for ImageNet's), as is NULL in their place.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct PerceiverSizes {
    /// Tokens of a text.
    pub length: usize,
    /// Rows of a picture's or frame's pixels.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// Other than 0: positions are resized to the picture.
    pub resize_positions: u32,
}

/// # Safety
/// As [`shared`].
pub(crate) unsafe fn sizes_of(
    sizes: *const PerceiverSizes,
    model: Option<&Model>,
) -> Result<Sizes> {
    let mut of = model.map(|model| model.description().usual_sizes()).unwrap_or_default();
    if !sizes.is_null() {
        // SAFETY: the caller's.
        let own = unsafe { shared(sizes, "sizes") }?;
        let [height, width] = &mut of.image;
        for (size, own) in [(&mut of.length, own.length), (height, own.height), (width, own.width)]
        {
            *size = if own == 0 { *size } else { own };
        }
        of.resize_positions = own.resize_positions != 0;
    }
    Ok(of)
}

/// Encodes rows that come in any order, in pieces.
pub struct PerceiverEncoder {
    encoder: Mutex<Encoder>,
    sizes: Sizes,
}

/// What an encoder knows of the rows so far; states of disjoint rows merge exactly.
pub struct PerceiverState(EncoderState);

/// Bytes that a call has made.
pub struct PerceiverBytes(pub(crate) Vec<u8>);

/// Decodes chosen queries from latents.
pub struct PerceiverDecoder {
    decoder: Mutex<Decoder>,
    outputs: Vec<(CString, [usize; 3])>,
}

/// An output that a decoder can be asked.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct PerceiverOutput {
    /// Its name; valid until the decoder is freed.
    pub name: *const c_char,
    /// Queries that there are.
    pub queries: usize,
    /// Channels that a query must bring along; 0: none.
    pub channels: usize,
    /// Numbers of a decoded row.
    pub columns: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes an encoder for inputs of these sizes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_encoder_new(
    model: *const PerceiverModel,
    sizes: *const PerceiverSizes,
    encoder: *mut *mut PerceiverEncoder,
) -> PerceiverStatus {
    // SAFETY: the caller's.
    unsafe {
        made(encoder, || {
            let model = shared(model, "model")?.model();
            let sizes = sizes_of(sizes, Some(&model))?;
            Ok(PerceiverEncoder { encoder: Mutex::new(model.encoder(&sizes)?), sizes })
        })
    }
}

/// Reads rows `first` and following of a modality, f32 [rows, channels]. Each row should come once. After an error none of them
/// count as read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_encoder_push(
    encoder: *const PerceiverEncoder,
    modality: *const c_char,
    first: usize,
    rows: *const PerceiverTensor,
) -> PerceiverStatus {
    guarded(|| {
        // SAFETY: the caller's.
        let (encoder, modality, rows) = unsafe {
            let modality = text(modality, "modality")?;
            (shared(encoder, "encoder")?, modality, of_caller(modality, shared(rows, "rows")?)?)
        };
        lock(&encoder.encoder).push(modality, first, &rows)
    })
}

/// As perceiver_encoder_push, for rows in any order: row i is the one at `cells[i]`, which on a grid is the number of a cell, the last
/// axis fastest. Many rows at a time cost less than few.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_encoder_push_at(
    encoder: *const PerceiverEncoder,
    modality: *const c_char,
    cells: *const usize,
    count: usize,
    rows: *const PerceiverTensor,
) -> PerceiverStatus {
    guarded(|| {
        // SAFETY: the caller's.
        let (encoder, modality, cells, rows) = unsafe {
            let (modality, cells) = (text(modality, "modality")?, array(cells, count, "cells")?);
            let rows = of_caller(modality, shared(rows, "rows")?)?;
            (shared(encoder, "encoder")?, modality, cells, rows)
        };
        lock(&encoder.encoder).push_at(modality, cells, &rows)
    })
}

/// Makes a copy of what the encoder knows so far.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_encoder_state(
    encoder: *const PerceiverEncoder,
    state: *mut *mut PerceiverState,
) -> PerceiverStatus {
    // SAFETY: the caller's.
    unsafe {
        made(state, || {
            Ok(PerceiverState(lock(&shared(encoder, "encoder")?.encoder).state().clone()))
        })
    }
}

/// Adds the rows that another encoder of the same model has read, on this machine or another.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_encoder_merge(
    encoder: *const PerceiverEncoder,
    state: *const PerceiverState,
) -> PerceiverStatus {
    guarded(|| {
        // SAFETY: the caller's.
        let (encoder, state) = unsafe { (shared(encoder, "encoder")?, shared(state, "state")?) };
        lock(&encoder.encoder).merge(&state.0)
    })
}

/// Makes the latents of the rows so far; more may come afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_encoder_finish(
    encoder: *const PerceiverEncoder,
    latents: *mut *mut PerceiverLatents,
) -> PerceiverStatus {
    // SAFETY: the caller's.
    unsafe {
        made(latents, || {
            let encoder = shared(encoder, "encoder")?;
            let items = vec![lock(&encoder.encoder).finish()?];
            Ok(PerceiverLatents { sizes: encoder.sizes, items })
        })
    }
}

/// Frees an encoder. NULL does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_encoder_free(encoder: *mut PerceiverEncoder) {
    // SAFETY: the caller's.
    unsafe { free(encoder) }
}

/// Makes the bytes of a state, for a file or another machine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_state_to_bytes(
    state: *const PerceiverState,
    bytes: *mut *mut PerceiverBytes,
) -> PerceiverStatus {
    // SAFETY: the caller's.
    unsafe { made(bytes, || shared(state, "state")?.0.to_bytes().map(PerceiverBytes)) }
}

/// Reads a state of what perceiver_state_to_bytes gave. Whose it is shows when it is merged.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_state_from_bytes(
    bytes: *const u8,
    count: usize,
    state: *mut *mut PerceiverState,
) -> PerceiverStatus {
    // SAFETY: the caller's.
    unsafe {
        made(state, || EncoderState::from_bytes(array(bytes, count, "state")?).map(PerceiverState))
    }
}

/// Makes the state of the rows of both.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_state_merge(
    one: *const PerceiverState,
    other: *const PerceiverState,
    merged: *mut *mut PerceiverState,
) -> PerceiverStatus {
    // SAFETY: the caller's.
    unsafe {
        made(merged, || {
            shared(one, "state")?.0.merge(&shared(other, "other state")?.0).map(PerceiverState)
        })
    }
}

/// Frees a state. NULL does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_state_free(state: *mut PerceiverState) {
    // SAFETY: the caller's.
    unsafe { free(state) }
}

/// The bytes, until they are freed; NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_bytes_data(bytes: *const PerceiverBytes) -> *const u8 {
    // SAFETY: the caller's.
    unsafe { shared(bytes, "bytes") }.map_or(ptr::null(), |bytes| bytes.0.as_ptr())
}

/// How many bytes there are; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_bytes_count(bytes: *const PerceiverBytes) -> usize {
    // SAFETY: the caller's.
    unsafe { shared(bytes, "bytes") }.map_or(0, |bytes| bytes.0.len())
}

/// Frees bytes. NULL does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_bytes_free(bytes: *mut PerceiverBytes) {
    // SAFETY: the caller's.
    unsafe { free(bytes) }
}

/// Makes a decoder of an item's latents.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_decoder_new(
    model: *const PerceiverModel,
    latents: *const PerceiverLatents,
    item: usize,
    decoder: *mut *mut PerceiverDecoder,
) -> PerceiverStatus {
    // SAFETY: the caller's.
    unsafe {
        made(decoder, || {
            let (model, latents) = (shared(model, "model")?.model(), shared(latents, "latents")?);
            let decoder = model.decoder(&latents.sizes, latents.item(item)?)?;
            let of =
                |(name, queries, channels, columns)| (c_text(name), [queries, channels, columns]);
            let outputs = decoder.outputs().into_iter().map(of).collect();
            Ok(PerceiverDecoder { decoder: Mutex::new(decoder), outputs })
        })
    }
}

/// Tells an output by its number, counted from 0; PERCEIVER_STATUS_INPUT beyond the last.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_decoder_output(
    decoder: *const PerceiverDecoder,
    index: usize,
    output: *mut PerceiverOutput,
) -> PerceiverStatus {
    guarded(|| {
        // SAFETY: the caller's.
        let (decoder, output) = unsafe { (shared(decoder, "decoder")?, place(output, "output")?) };
        let expected = || format!("a number below {}", decoder.outputs.len());
        let Some((name, [queries, channels, columns])) = decoder.outputs.get(index) else {
            return Err(Error::input("output", format!("is {index}"), expected()));
        };
        let (name, queries, channels, columns) = (name.as_ptr(), *queries, *channels, *columns);
        output.write(PerceiverOutput { name, queries, channels, columns });
        Ok(())
    })
}

/// Decodes queries of an output, given by their numbers, in this order, into `rows`: `count` × columns numbers. `content` are the
/// rows that queries bring along, f32 [count, channels]; NULL where they bring none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_decoder_decode(
    decoder: *const PerceiverDecoder,
    output: *const c_char,
    queries: *const usize,
    count: usize,
    content: *const PerceiverTensor,
    rows: *mut f32,
    capacity: usize,
) -> PerceiverStatus {
    guarded(|| {
        // SAFETY: the caller's.
        let (decoder, output, queries, content, rows) = unsafe {
            let output = text(output, "output")?;
            let content = match content.is_null() {
                true => None,
                false => Some(of_caller(output, shared(content, "content")?)?),
            };
            let queries = copied(queries, count, "queries")?;
            let rows = array_mut(rows, capacity, "rows")?;
            (shared(decoder, "decoder")?, output, queries, content, rows)
        };
        let columns = decoder.outputs.iter().find(|(name, _)| name.as_bytes() == output.as_bytes());
        let wanted = columns.map_or(0, |(_, [.., columns])| count.saturating_mul(*columns));
        if rows.len() < wanted {
            let what = format!("has room for {} numbers", rows.len());
            return Err(Error::input("rows", what, format!("{wanted}")));
        }
        let queries = Queries::Points(queries);
        let decoded = lock(&decoder.decoder).decode(output, &queries, content.as_ref())?;
        let numbers = decoded.as_f32().unwrap_or(&[]);
        rows.iter_mut().zip(numbers).for_each(|(to, &number)| _ = to.write(number));
        Ok(())
    })
}

/// Frees a decoder. NULL does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_decoder_free(decoder: *mut PerceiverDecoder) {
    // SAFETY: the caller's.
    unsafe { free(decoder) }
}
