//! What the interpreter can make.

use super::globals::{Element, Global};
use super::stream::Span;

/// A value: small, copied freely; what is larger lies in a [`Heap`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value {
    None,
    Bool(bool),
    Whole(i64),
    Float,
    Text(Span),
    Bytes(Span),
    /// Bytes that are kept as text, one character each.
    Encoded(Span),
    Global(Global),
    Tuple(Tuple),
    List(usize),
    Dict(usize),
    ArrayType(usize),
    Array(usize),
    Storage(usize),
    Tensor(usize),
    /// What is passed over: an object of a type that weights do not need.
    Other,
    /// A position on the stack.
    Mark,
}

impl Value {
    /// What it is, in words.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Value::None => "None",
            Value::Bool(_) => "a truth value",
            Value::Whole(_) => "a whole number",
            Value::Float => "a number",
            Value::Text(_) => "a text",
            Value::Bytes(_) | Value::Encoded(_) => "bytes",
            Value::Global(_) => "a type",
            Value::Tuple(_) => "a tuple",
            Value::List(_) => "a list",
            Value::Dict(_) => "a mapping",
            Value::ArrayType(_) => "an element type",
            Value::Array(_) => "a numpy array",
            Value::Storage(_) => "a storage",
            Value::Tensor(_) => "a torch tensor",
            Value::Other => "an object",
            Value::Mark => "a mark",
        }
    }

    pub(crate) fn whole(self) -> Option<usize> {
        match self {
            Value::Whole(n) => usize::try_from(n).ok(),
            _ => None,
        }
    }
}

/// Values beside each other in the heap.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Tuple {
    pub(super) start: usize,
    pub(super) len: usize,
}

/// A `numpy.dtype`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ArrayType {
    pub(crate) element: &'static Element,
    pub(crate) big_endian: bool,
}

/// Where the elements of an array are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Content {
    Plain(Span),
    /// As UTF-8, one character a byte.
    Encoded(Span),
}

/// A numpy array.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Array {
    pub(crate) kind: ArrayType,
    pub(crate) shape: Tuple,
    /// The first axis varies fastest.
    pub(crate) fortran: bool,
    pub(crate) content: Content,
}

/// A storage of torch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Storage {
    pub(crate) element: &'static Element,
    /// Its name in the file.
    pub(crate) key: Span,
    /// Elements.
    pub(crate) len: usize,
    /// Where a view of it begins and how long it is (only before torch 0.4).
    pub(crate) view: Option<(usize, usize)>,
}

/// A tensor of torch: a view of a storage.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tensor {
    pub(crate) storage: usize,
    pub(crate) element: &'static Element,
    /// Elements before the first one.
    pub(crate) offset: usize,
    pub(crate) shape: Tuple,
    /// Elements from one to the next, by axis.
    pub(crate) strides: Tuple,
}

/// Everything that values refer to.
#[derive(Debug, Default)]
pub(crate) struct Heap {
    pub(super) tuples: Vec<Value>,
    pub(crate) lists: Vec<Vec<Value>>,
    pub(crate) dicts: Vec<Vec<(Value, Value)>>,
    pub(super) array_types: Vec<ArrayType>,
    /// `None` until its content is known.
    pub(crate) arrays: Vec<Option<Array>>,
    pub(crate) storages: Vec<Storage>,
    pub(crate) tensors: Vec<Tensor>,
}

impl Heap {
    pub(crate) fn tuple(&self, tuple: Tuple) -> &[Value] {
        &self.tuples[tuple.start..tuple.start + tuple.len]
    }

    /// The sizes that a tuple of whole numbers holds.
    pub(crate) fn sizes(&self, tuple: Tuple) -> Option<Vec<usize>> {
        self.tuple(tuple).iter().map(|v| v.whole()).collect()
    }

    pub(super) fn new_tuple(&mut self, values: &[Value]) -> Value {
        let start = self.tuples.len();
        self.tuples.extend_from_slice(values);
        Value::Tuple(Tuple { start, len: values.len() })
    }
}
