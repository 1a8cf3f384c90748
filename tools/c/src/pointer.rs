//! From raw pointers to references: the one place that checks what can be checked of them.
//!
//! Each function trusts the caller that a pointer other than NULL is valid, for as many elements as are said, while the call
//! lasts. NULL, pointers that are not aligned and sizes that no array can have are errors.

use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;
use std::slice;

use perceiver::internals::memory::room;
use perceiver::{Error, Result};

fn null(name: &str) -> Error {
    Error::input(name, "is NULL", "a valid pointer")
}

/// # Safety
/// As the module says.
pub(crate) unsafe fn shared<'a, T>(pointer: *const T, name: &str) -> Result<&'a T> {
    check(pointer, 1, name)?;
    // SAFETY: the caller's; checked for NULL and alignment.
    Ok(unsafe { &*pointer })
}

/// Where one value is written, which may hold anything before.
///
/// # Safety
/// As the module says, for writing.
pub(crate) unsafe fn place<'a, T>(pointer: *mut T, name: &str) -> Result<&'a mut MaybeUninit<T>> {
    check(pointer, 1, name)?;
    // SAFETY: the caller's; `MaybeUninit` takes what was never written.
    Ok(unsafe { &mut *pointer.cast() })
}

/// An array; NULL where it has no element.
///
/// # Safety
/// As the module says.
pub(crate) unsafe fn array<'a, T>(pointer: *const T, length: usize, name: &str) -> Result<&'a [T]> {
    if length == 0 {
        return Ok(&[]);
    }
    check(pointer, length, name)?;
    // SAFETY: the caller's; checked for NULL, alignment and size.
    Ok(unsafe { slice::from_raw_parts(pointer, length) })
}

/// A copy of an array, as [`array`], within the limit of memory.
///
/// # Safety
/// As the module says.
pub(crate) unsafe fn copied<T: Copy>(
    pointer: *const T,
    length: usize,
    name: &str,
) -> Result<Vec<T>> {
    // SAFETY: the caller's.
    let array = unsafe { array(pointer, length, name) }?;
    let mut copy = room(name, array.len())?;
    copy.extend_from_slice(array);
    Ok(copy)
}

/// An array to be written, as [`array`].
///
/// # Safety
/// As the module says, for writing; the array is initialised.
pub(crate) unsafe fn array_mut<'a, T>(
    pointer: *mut T,
    length: usize,
    name: &str,
) -> Result<&'a mut [MaybeUninit<T>]> {
    if length == 0 {
        return Ok(&mut []);
    }
    check(pointer, length, name)?;
    // SAFETY: the caller's; checked for NULL, alignment and size.
    Ok(unsafe { slice::from_raw_parts_mut(pointer.cast(), length) })
}

/// A text that ends at a NUL.
///
/// # Safety
/// As the module says, up to the NUL.
pub(crate) unsafe fn text<'a>(pointer: *const c_char, name: &str) -> Result<&'a str> {
    check(pointer, 1, name)?;
    // SAFETY: the caller's.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map_err(|_| Error::input(name, "is not UTF-8", "a text in UTF-8"))
}

fn check<T>(pointer: *const T, length: usize, name: &str) -> Result<()> {
    if pointer.is_null() {
        return Err(null(name));
    }
    if !pointer.is_aligned() {
        return Err(Error::input(name, "is not aligned", "an address that its type may have"));
    }
    match length.checked_mul(size_of::<T>()) {
        Some(bytes) if bytes <= isize::MAX as usize => Ok(()),
        _ => Err(Error::input(name, format!("has {length} elements"), "what memory can hold")),
    }
}
