//! Writing tensors: complete or not at all.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;

use safetensors::tensor::{Dtype, Metadata, TensorInfo, View};

use super::file::IN_MEMORY;
use crate::error::{Error, Result};
use crate::output::write_whole;
use crate::tensor::{Data, NamedTensors, Tensor};

impl View for &Tensor {
    fn dtype(&self) -> Dtype {
        match Tensor::data(self) {
            Data::F32(_) | Data::Lent(_) => Dtype::F32,
            Data::I64(_) => Dtype::I64,
            Data::U8(_) => Dtype::U8,
            Data::I16(_) => Dtype::I16,
        }
    }

    fn shape(&self) -> &[usize] {
        Tensor::shape(self)
    }

    fn data(&self) -> Cow<'_, [u8]> {
        // The format is little-endian.
        fn bytes<'a, T: bytemuck::NoUninit, const N: usize>(
            v: &'a [T],
            convert: impl Fn(&T) -> [u8; N],
        ) -> Cow<'a, [u8]> {
            if cfg!(target_endian = "little") {
                return Cow::Borrowed(bytemuck::cast_slice(v));
            }
            Cow::Owned(v.iter().flat_map(convert).collect())
        }
        match Tensor::data(self) {
            Data::F32(v) => bytes(v, |x| x.to_le_bytes()),
            Data::Lent(v) => bytes(v.as_slice(), |x| x.to_le_bytes()),
            Data::I64(v) => bytes(v, |x| x.to_le_bytes()),
            Data::I16(v) => bytes(v, |x| x.to_le_bytes()),
            Data::U8(v) => Cow::Borrowed(v),
        }
    }

    fn data_len(&self) -> usize {
        View::data(self).len()
    }
}

/// Writes tensors as a safetensors file. It appears under its name when it is complete; a file of
/// that name is replaced.
///
/// # Errors
/// [`Error::Io`], with nothing left behind.
pub fn write_tensors(path: impl AsRef<Path>, tensors: &NamedTensors) -> Result<()> {
    let path = path.as_ref();
    write_whole(path, |out| {
        serialize(out, tensors.iter(), None).map_err(|e| Error::io("write", path, e))
    })
}

/// Tensors as the bytes of a safetensors file.
pub(crate) fn tensors_to_bytes(tensors: &NamedTensors) -> Result<Vec<u8>> {
    let refused =
        |e| Error::checkpoint(IN_MEMORY, format!("cannot be made: {e}"), "give fewer tensors");
    safetensors::serialize(tensors, None).map_err(refused)
}

/// Writes tensors as a safetensors file, those of the widest elements first, one after the other: the format's own writer
/// takes a megabyte beside them that it does not ask for.
pub(crate) fn serialize<S: AsRef<str> + Ord + Display, V: View>(
    out: &mut dyn Write,
    tensors: impl IntoIterator<Item = (S, V)>,
    metadata: Option<HashMap<String, String>>,
) -> io::Result<()> {
    let mut tensors: Vec<(S, V)> = tensors.into_iter().collect();
    tensors.sort_by(|(a, x), (b, y)| y.dtype().cmp(&x.dtype()).then(a.cmp(b)));
    let mut end = 0;
    let entries = tensors.iter().map(|(name, tensor)| {
        let start = end;
        end += tensor.data_len();
        let (dtype, shape) = (tensor.dtype(), tensor.shape().to_vec());
        (name.to_string(), TensorInfo { dtype, shape, data_offsets: (start, end) })
    });
    let header = Metadata::new(metadata, entries.collect()).map_err(io::Error::other)?;
    let mut header = serde_json::to_vec(&header)?;
    // Elements begin at a multiple of eight.
    header.resize(header.len().next_multiple_of(8), b' ');
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    tensors.iter().try_for_each(|(_, tensor)| out.write_all(&tensor.data()))
}
