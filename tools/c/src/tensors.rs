//! Tensors across the border: the caller's are copied in, results are lent.

use std::ffi::{CString, c_char};
use std::mem::MaybeUninit;
use std::ptr;

use perceiver::internals::memory::room;
use perceiver::{Data, Error, NamedTensors, Result, Tensor};

use crate::pointer::{array, place, shared, text};
use crate::status::{PerceiverStatus, c_text, free, guarded};

/// Types of a tensor's numbers.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PerceiverType {
    /// 32-bit float.
    F32 = 0,
    /// 64-bit signed integer: tokens, masks, points.
    I64 = 1,
    /// Byte.
    U8 = 2,
    /// 16-bit signed integer: sound.
    I16 = 3,
}

/// A dense tensor, the last axis fastest.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct PerceiverTensor {
    /// Its name, UTF-8. NULL where the call takes one tensor alone.
    pub name: *const c_char,
    /// One of PerceiverType.
    pub dtype: i32,
    /// Axes.
    pub rank: usize,
    /// Elements along each axis.
    pub shape: *const usize,
    /// The elements. Need not be aligned.
    pub data: *const u8,
    /// Bytes of the elements, which have to be those of shape and type.
    pub bytes: usize,
}

/// Named tensors that a call has made.
pub struct PerceiverTensors(Vec<(CString, Tensor)>);

impl PerceiverTensors {
    pub(crate) fn new(tensors: NamedTensors) -> Self {
        PerceiverTensors(tensors.into_iter().map(|(name, t)| (c_text(&name), t)).collect())
    }
}

/// Reads tensors of the caller's.
///
/// # Safety
/// As [`array`], for all pointers in them.
pub(crate) unsafe fn named(tensors: *const PerceiverTensor, count: usize) -> Result<NamedTensors> {
    let mut named = NamedTensors::new();
    // SAFETY: the caller's.
    for tensor in unsafe { array(tensors, count, "inputs") }? {
        // SAFETY: the caller's.
        let (name, read) = unsafe {
            let name = text(tensor.name, "name of an input")?;
            (name, of_caller(name, tensor)?)
        };
        if named.insert(name.to_owned(), read).is_some() {
            return Err(Error::input(name, "comes twice", "each input once"));
        }
    }
    Ok(named)
}

/// A copy of one tensor of the caller's.
///
/// # Safety
/// As [`array`], for all pointers in it but the name.
pub(crate) unsafe fn of_caller(name: &str, tensor: &PerceiverTensor) -> Result<Tensor> {
    // SAFETY: the caller's.
    let shape = unsafe { array(tensor.shape, tensor.rank, name) }?;
    // SAFETY: as above; bytes are aligned anywhere.
    let bytes = unsafe { array(tensor.data, tensor.bytes, name) }?;
    let known = [PerceiverType::F32, PerceiverType::I64, PerceiverType::U8, PerceiverType::I16];
    let dtype = known.into_iter().find(|&known| known as i32 == tensor.dtype);
    let elements = shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n));
    let size = match dtype {
        Some(PerceiverType::F32) => 4,
        Some(PerceiverType::I64) => 8,
        Some(PerceiverType::I16) => 2,
        Some(PerceiverType::U8) => 1,
        None => {
            let what = format!("has dtype {}", tensor.dtype);
            return Err(Error::input(name, what, "one of PerceiverType"));
        }
    };
    if elements.and_then(|n| n.checked_mul(size)) != Some(bytes.len()) {
        let what = format!("has {} bytes for shape {shape:?}", bytes.len());
        return Err(Error::input(name, what, format!("{size} bytes for each element")));
    }
    fn numbers<const N: usize, T>(
        name: &str,
        bytes: &[u8],
        of: fn([u8; N]) -> T,
    ) -> Result<Vec<T>> {
        let mut numbers = room(name, bytes.len() / N)?;
        numbers.extend(bytes.as_chunks::<N>().0.iter().map(|&bytes| of(bytes)));
        Ok(numbers)
    }
    let data = match dtype {
        Some(PerceiverType::I64) => Data::I64(numbers(name, bytes, i64::from_ne_bytes)?),
        Some(PerceiverType::I16) => Data::I16(numbers(name, bytes, i16::from_ne_bytes)?),
        Some(PerceiverType::U8) => Data::U8(numbers(name, bytes, u8::from_ne_bytes)?),
        _ => Data::F32(numbers(name, bytes, f32::from_ne_bytes)?),
    };
    Tensor::new(shape.to_vec(), data)
}

fn lent(name: &CString, tensor: &Tensor) -> Result<PerceiverTensor> {
    let (dtype, data, bytes) = match tensor.data() {
        Data::F32(data) => (PerceiverType::F32, data.as_ptr().cast(), size_of_val(&data[..])),
        Data::I64(data) => (PerceiverType::I64, data.as_ptr().cast(), size_of_val(&data[..])),
        Data::I16(data) => (PerceiverType::I16, data.as_ptr().cast(), size_of_val(&data[..])),
        Data::U8(data) => (PerceiverType::U8, data.as_ptr(), data.len()),
        _ => {
            let name = name.to_string_lossy();
            return Err(Error::input(name, "has numbers that C has no type for", "another output"));
        }
    };
    let shape = tensor.shape();
    let (rank, shape) = (shape.len(), shape.as_ptr());
    Ok(PerceiverTensor { name: name.as_ptr(), dtype: dtype as i32, rank, shape, data, bytes })
}

/// How many tensors there are; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_tensors_count(tensors: *const PerceiverTensors) -> usize {
    // SAFETY: the caller's.
    unsafe { shared(tensors, "tensors") }.map_or(0, |tensors| tensors.0.len())
}

/// Lends a tensor by its number, counted from 0 in the order of names; valid until the tensors are freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_tensors_get(
    tensors: *const PerceiverTensors,
    index: usize,
    tensor: *mut PerceiverTensor,
) -> PerceiverStatus {
    let find = |all: &[(CString, Tensor)]| {
        let expected = || format!("a number below {}", all.len());
        let found = all.get(index).map(|(name, tensor)| lent(name, tensor));
        found.unwrap_or_else(|| Err(Error::input("index", format!("is {index}"), expected())))
    };
    // SAFETY: the caller's.
    unsafe { lend(tensors, tensor, find) }
}

/// Lends a tensor by its name; valid until the tensors are freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_tensors_find(
    tensors: *const PerceiverTensors,
    name: *const c_char,
    tensor: *mut PerceiverTensor,
) -> PerceiverStatus {
    let find = |all: &[(CString, Tensor)]| {
        // SAFETY: the caller's.
        let wanted = unsafe { text(name, "name") }?;
        let found = all.iter().find(|(name, _)| name.to_bytes() == wanted.as_bytes());
        let names = || all.iter().map(|(name, _)| name.to_string_lossy()).collect::<Vec<_>>();
        let (name, tensor) = found.ok_or_else(|| {
            Error::input(wanted, "is not among the tensors", format!("one of {:?}", names()))
        })?;
        lent(name, tensor)
    };
    // SAFETY: the caller's.
    unsafe { lend(tensors, tensor, find) }
}

/// # Safety
/// As [`shared`] and [`place`].
unsafe fn lend(
    tensors: *const PerceiverTensors,
    tensor: *mut PerceiverTensor,
    find: impl FnOnce(&[(CString, Tensor)]) -> Result<PerceiverTensor>,
) -> PerceiverStatus {
    guarded(|| {
        // SAFETY: the caller's.
        let place: &mut MaybeUninit<_> = unsafe { place(tensor, "the place for the tensor") }?;
        let (none, dtype) = (ptr::null(), PerceiverType::F32 as i32);
        let nothing = PerceiverTensor {
            name: none,
            dtype,
            rank: 0,
            shape: ptr::null(),
            data: ptr::null(),
            bytes: 0,
        };
        place.write(nothing);
        // SAFETY: the caller's.
        place.write(find(&unsafe { shared(tensors, "tensors") }?.0)?);
        Ok(())
    })
}

/// Frees tensors and what they lent. NULL does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_tensors_free(tensors: *mut PerceiverTensors) {
    // SAFETY: the caller's.
    unsafe { free(tensors) }
}
