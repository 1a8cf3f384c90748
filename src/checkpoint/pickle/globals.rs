//! The names that a pickle of weights may mention: everything else is refused by name.
//!
//! Invariant: a name stands for a case of [`Global`] and for nothing else. No code is looked up,
//! imported or called.

use crate::tensor::DType;

/// An element type of torch or numpy.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) name: &'static str,
    /// Bytes.
    pub(crate) size: usize,
    /// The type here, if there is one.
    pub(crate) dtype: Option<DType>,
}

macro_rules! elements {
    ($($constant:ident = $name:literal, $size:literal, $dtype:expr;)*) => {
        $(pub(crate) const $constant: &Element = &Element { name: $name, size: $size, dtype: $dtype };)*
    };
}

elements! {
    FLOAT64 = "float64", 8, Some(DType::F64);
    FLOAT32 = "float32", 4, Some(DType::F32);
    FLOAT16 = "float16", 2, Some(DType::F16);
    BFLOAT16 = "bfloat16", 2, Some(DType::BF16);
    INT64 = "int64", 8, Some(DType::I64);
    INT32 = "int32", 4, Some(DType::I32);
    INT16 = "int16", 2, Some(DType::I16);
    INT8 = "int8", 1, None;
    UINT8 = "uint8", 1, Some(DType::U8);
    BOOL = "bool", 1, Some(DType::U8);
    BYTES = "bytes", 1, Some(DType::U8);
    UINT16 = "uint16", 2, None;
    UINT32 = "uint32", 4, None;
    UINT64 = "uint64", 8, None;
    COMPLEX64 = "complex64", 8, None;
    COMPLEX128 = "complex128", 16, None;
}

/// What an allowed name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Global {
    /// `dict` and `collections.OrderedDict`.
    Dict,
    DefaultDict,
    /// A type that a `defaultdict` makes its missing values with; never called.
    Factory,
    /// `bytes`, which protocol 2 calls for an empty array.
    Bytes,
    /// `_codecs.encode`: bytes that protocol 2 keeps as text.
    Encode,
    /// Haiku's mappings that cannot change.
    Mapping,
    Storage(&'static Element),
    ElementType(&'static Element),
    RebuildTensor,
    RebuildTensorV2,
    RebuildTensorV3,
    RebuildParameter,
    RebuildParameterWithState,
    Size,
    NdArray,
    ArrayType,
    Reconstruct,
    FromBuffer,
    Scalar,
}

/// What a name stands for, if weights need it.
pub(super) fn allowed(module: &str, name: &str) -> Option<Global> {
    Some(match (module, name) {
        ("collections", "OrderedDict") | ("builtins" | "__builtin__", "dict") => Global::Dict,
        ("collections", "defaultdict") => Global::DefaultDict,
        ("builtins" | "__builtin__", "bytes") => Global::Bytes,
        ("builtins" | "__builtin__", "list" | "int" | "float") => Global::Factory,
        ("_codecs", "encode") => Global::Encode,
        ("haiku._src.data_structures", "FlatMapping" | "FlatMap" | "frozendict") => Global::Mapping,
        ("torch._utils", "_rebuild_tensor") => Global::RebuildTensor,
        ("torch._utils", "_rebuild_tensor_v2") => Global::RebuildTensorV2,
        ("torch._utils", "_rebuild_tensor_v3") => Global::RebuildTensorV3,
        ("torch._utils", "_rebuild_parameter") => Global::RebuildParameter,
        ("torch._utils", "_rebuild_parameter_with_state") => Global::RebuildParameterWithState,
        ("torch", "Size") => Global::Size,
        ("torch" | "torch.storage", "UntypedStorage") => Global::Storage(BYTES),
        ("torch", name) => return torch(name),
        ("numpy", "ndarray") => Global::NdArray,
        ("numpy", "dtype") => Global::ArrayType,
        ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => Global::Reconstruct,
        ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => Global::Scalar,
        ("numpy.core.numeric" | "numpy._core.numeric", "_frombuffer") => Global::FromBuffer,
        _ => return None,
    })
}

/// Storages and element types of torch.
fn torch(name: &str) -> Option<Global> {
    let storage = match name {
        "DoubleStorage" => FLOAT64,
        "FloatStorage" => FLOAT32,
        "HalfStorage" => FLOAT16,
        "BFloat16Storage" => BFLOAT16,
        "LongStorage" => INT64,
        "IntStorage" => INT32,
        "ShortStorage" => INT16,
        "CharStorage" => INT8,
        "ByteStorage" => UINT8,
        "BoolStorage" => BOOL,
        "ComplexFloatStorage" => COMPLEX64,
        "ComplexDoubleStorage" => COMPLEX128,
        _ => return element(name).map(Global::ElementType),
    };
    Some(Global::Storage(storage))
}

fn element(name: &str) -> Option<&'static Element> {
    let all = [
        FLOAT64, FLOAT32, FLOAT16, BFLOAT16, INT64, INT32, INT16, INT8, UINT8, BOOL, UINT16,
        UINT32, UINT64, COMPLEX64, COMPLEX128,
    ];
    all.into_iter().find(|e| e.name == name)
}

/// The element type that numpy's short name stands for.
pub(super) fn of_numpy(code: &str) -> Option<&'static Element> {
    Some(match code {
        "f8" => FLOAT64,
        "f4" => FLOAT32,
        "f2" => FLOAT16,
        "i8" => INT64,
        "i4" => INT32,
        "i2" => INT16,
        "i1" => INT8,
        "u1" => UINT8,
        "b1" => BOOL,
        "u2" => UINT16,
        "u4" => UINT32,
        "u8" => UINT64,
        "c8" => COMPLEX64,
        "c16" => COMPLEX128,
        _ => return None,
    })
}
