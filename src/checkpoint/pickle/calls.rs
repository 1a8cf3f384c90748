//! What the allowed names do when a pickle calls them: describe an array or make a container.

use super::globals::{Element, Global, of_numpy};
use super::stream::Span;
use super::value::{Array, ArrayType, Content, Heap, Tensor, Tuple, Value};
use super::{Refusal, name};
use crate::checkpoint::entry::shown;

/// A new, empty mapping.
pub(super) fn new_dict(heap: &mut Heap) -> Value {
    heap.dicts.push(Vec::new());
    Value::Dict(heap.dicts.len() - 1)
}

/// What `called(*arguments)` makes.
pub(super) fn call(
    bytes: &[u8],
    heap: &mut Heap,
    called: Value,
    arguments: Value,
) -> Result<Value, Refusal> {
    let (Value::Global(global), Value::Tuple(arguments)) = (called, arguments) else {
        let what = format!("its pickle calls {} with {}", called.describe(), arguments.describe());
        return Err(Refusal::Damaged(what));
    };
    let refused = || {
        Refusal::Damaged(format!(
            "its pickle calls {global:?} with {} arguments that make no sense",
            arguments.len
        ))
    };
    // At most eight are looked at.
    let mut given = [Value::None; 8];
    let count = arguments.len.min(given.len());
    given[..count].copy_from_slice(&heap.tuple(arguments)[..count]);
    match (global, &given[..count]) {
        (Global::Dict, []) | (Global::DefaultDict, [] | [Value::Global(_) | Value::None]) => {
            Ok(new_dict(heap))
        }
        (Global::Dict | Global::Mapping, &[Value::Dict(dict)]) => Ok(Value::Dict(dict)),
        (Global::Mapping, []) => Ok(new_dict(heap)),
        (Global::Bytes, []) => Ok(Value::Bytes(Span { start: 0, end: 0 })),
        (Global::Encode, &[Value::Text(text), coding]) => match name(bytes, coding) {
            Some("latin1" | "latin-1") => Ok(Value::Encoded(text)),
            _ => Err(refused()),
        },
        (Global::Size, &[Value::Tuple(sizes)]) => Ok(Value::Tuple(sizes)),
        // Storage, offset, shape and strides come first.
        (Global::RebuildTensor, &[a, b, c, d]) | (Global::RebuildTensorV2, &[a, b, c, d, ..]) => {
            tensor(heap, [a, b, c, d], None).ok_or_else(refused)
        }
        (
            Global::RebuildTensorV3,
            &[a, b, c, d, _, _, Value::Global(Global::ElementType(e)), ..],
        ) => tensor(heap, [a, b, c, d], Some(e)).ok_or_else(refused),
        (
            Global::RebuildParameter | Global::RebuildParameterWithState,
            &[Value::Tensor(tensor), ..],
        ) => Ok(Value::Tensor(tensor)),
        (Global::Reconstruct, &[Value::Global(Global::NdArray), ..]) => {
            heap.arrays.push(None);
            Ok(Value::Array(heap.arrays.len() - 1))
        }
        (Global::ArrayType, &[code, ..]) => {
            let code = name(bytes, code).ok_or_else(refused)?;
            let bare = code.trim_start_matches(['<', '>', '=', '|']);
            let element = of_numpy(bare).ok_or_else(|| {
                Refusal::Forbidden(format!(
                    "its pickle has an array of numpy type `{}`, which no weights have",
                    shown(code)
                ))
            })?;
            heap.array_types.push(ArrayType { element, big_endian: code.starts_with('>') });
            Ok(Value::ArrayType(heap.array_types.len() - 1))
        }
        (Global::Scalar, &[Value::ArrayType(kind), data]) => {
            let content = content(data).ok_or_else(refused)?;
            let Value::Tuple(shape) = heap.new_tuple(&[]) else {
                return Err(refused());
            };
            Ok(array(heap, kind, shape, false, content))
        }
        (Global::FromBuffer, &[data, Value::ArrayType(kind), Value::Tuple(shape), order]) => {
            let content = content(data).ok_or_else(refused)?;
            let fortran = match name(bytes, order) {
                Some("C") => false,
                Some("F") => true,
                _ => return Err(refused()),
            };
            Ok(array(heap, kind, shape, fortran, content))
        }
        _ => Err(refused()),
    }
}

/// What `target.__setstate__(state)` does.
pub(super) fn build(
    bytes: &[u8],
    heap: &mut Heap,
    target: Value,
    state: Value,
) -> Result<(), Refusal> {
    let refused = || {
        Refusal::Damaged(format!(
            "its pickle gives {} a state of {} that makes no sense",
            target.describe(),
            state.describe()
        ))
    };
    match (target, state) {
        // `_metadata` of state dicts: versions of modules.
        (Value::Dict(_) | Value::Tensor(_), _) => Ok(()),
        (Value::Array(array), Value::Tuple(state)) => {
            let &[_, Value::Tuple(shape), Value::ArrayType(kind), Value::Bool(fortran), data] =
                heap.tuple(state)
            else {
                return Err(refused());
            };
            let kind = heap.array_types[kind];
            let content = content(data).ok_or_else(refused)?;
            heap.arrays[array] = Some(Array { kind, shape, fortran, content });
            Ok(())
        }
        (Value::ArrayType(kind), Value::Tuple(state)) => {
            // Version, byte order, then what only compound types have.
            let &[_, order, sub, names, fields, ..] = heap.tuple(state) else {
                return Err(refused());
            };
            if [sub, names, fields] != [Value::None; 3] {
                return Err(Refusal::Forbidden(
                    "its pickle has an array of a compound type, which no weights have".to_owned(),
                ));
            }
            let order = name(bytes, order).ok_or_else(refused)?;
            heap.array_types[kind].big_endian = match order {
                // `|` is for elements of one byte.
                "<" | "|" => false,
                ">" => true,
                _ => return Err(refused()),
            };
            Ok(())
        }
        _ => Err(refused()),
    }
}

fn content(data: Value) -> Option<Content> {
    match data {
        Value::Bytes(span) => Some(Content::Plain(span)),
        Value::Encoded(span) => Some(Content::Encoded(span)),
        // Bytes of Python 2.
        Value::Text(span) => Some(Content::Plain(span)),
        _ => None,
    }
}

fn array(heap: &mut Heap, kind: usize, shape: Tuple, fortran: bool, content: Content) -> Value {
    let kind = heap.array_types[kind];
    heap.arrays.push(Some(Array { kind, shape, fortran, content }));
    Value::Array(heap.arrays.len() - 1)
}

fn tensor(
    heap: &mut Heap,
    [storage, offset, shape, strides]: [Value; 4],
    element: Option<&'static Element>,
) -> Option<Value> {
    let (Value::Storage(storage), Some(offset)) = (storage, offset.whole()) else {
        return None;
    };
    let (Value::Tuple(shape), Value::Tuple(strides)) = (shape, strides) else {
        return None;
    };
    let element = element.unwrap_or(heap.storages[storage].element);
    heap.tensors.push(Tensor { storage, element, offset, shape, strides });
    Some(Value::Tensor(heap.tensors.len() - 1))
}
