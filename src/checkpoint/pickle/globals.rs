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
    /// Numpy's short name.
    numpy: Option<&'static str>,
    /// Torch's storage of it.
    storage: Option<&'static str>,
}

impl Element {
    const fn new(
        name: &'static str,
        size: usize,
        dtype: Option<DType>,
        numpy: Option<&'static str>,
        storage: Option<&'static str>,
    ) -> Self {
        Element { name, size, dtype, numpy, storage }
    }
}

static ELEMENTS: [Element; 15] = [
    Element::new("float64", 8, Some(DType::F64), Some("f8"), Some("DoubleStorage")),
    Element::new("float32", 4, Some(DType::F32), Some("f4"), Some("FloatStorage")),
    Element::new("float16", 2, Some(DType::F16), Some("f2"), Some("HalfStorage")),
    Element::new("bfloat16", 2, Some(DType::BF16), None, Some("BFloat16Storage")),
    Element::new("int64", 8, Some(DType::I64), Some("i8"), Some("LongStorage")),
    Element::new("int32", 4, Some(DType::I32), Some("i4"), Some("IntStorage")),
    Element::new("int16", 2, Some(DType::I16), Some("i2"), Some("ShortStorage")),
    Element::new("int8", 1, None, Some("i1"), Some("CharStorage")),
    Element::new("uint8", 1, Some(DType::U8), Some("u1"), Some("ByteStorage")),
    Element::new("bool", 1, Some(DType::U8), Some("b1"), Some("BoolStorage")),
    Element::new("uint16", 2, None, Some("u2"), None),
    Element::new("uint32", 4, None, Some("u4"), None),
    Element::new("uint64", 8, None, Some("u8"), None),
    Element::new("complex64", 8, None, Some("c8"), Some("ComplexFloatStorage")),
    Element::new("complex128", 16, None, Some("c16"), Some("ComplexDoubleStorage")),
];

/// What an untyped storage holds.
static BYTES: Element = Element::new("bytes", 1, Some(DType::U8), None, None);

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
        ("torch" | "torch.storage", "UntypedStorage") => Global::Storage(&BYTES),
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
    let storage = ELEMENTS.iter().find(|e| e.storage == Some(name)).map(Global::Storage);
    storage.or_else(|| ELEMENTS.iter().find(|e| e.name == name).map(Global::ElementType))
}

/// The element type that numpy's short name stands for.
pub(super) fn of_numpy(code: &str) -> Option<&'static Element> {
    ELEMENTS.iter().find(|e| e.numpy == Some(code))
}
