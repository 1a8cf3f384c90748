//! The stack machine: one instruction after the other, none of which runs code.

use std::collections::HashMap;

use super::calls;
use super::globals::{Global, allowed};
use super::stream::{Span, Stream};
use super::value::{Heap, Storage, Value};
use super::{LONGEST_NAME, MOST_INSTRUCTIONS, Refusal, name};
use crate::checkpoint::entry::shown;

/// What was read, or why it is not.
type Read<T> = Result<T, Refusal>;

/// Reads one pickle; returns what it describes and the first byte after it. `among` passes over what weights do not need.
pub(super) fn run(bytes: &[u8], from: usize, among: bool) -> Read<(Value, Heap, usize)> {
    let mut machine = Machine {
        bytes,
        among,
        stream: Stream { bytes, at: from },
        stack: Vec::new(),
        memo: HashMap::new(),
        heap: Heap::default(),
    };
    for _ in 0..MOST_INSTRUCTIONS {
        let at = machine.stream.at;
        let code = machine.stream.u8()?;
        if code == b'.' {
            let root = machine.pop()?;
            return Ok((root, machine.heap, machine.stream.at));
        }
        machine.step(code, at)?;
    }
    Err(Refusal::Forbidden(format!(
        "its pickle has more than {MOST_INSTRUCTIONS} instructions, which no weights need"
    )))
}

struct Machine<'a> {
    bytes: &'a [u8],
    /// Whether types that are not known make objects that are passed over.
    among: bool,
    stream: Stream<'a>,
    stack: Vec<Value>,
    memo: HashMap<u32, Value>,
    heap: Heap,
}

impl Machine<'_> {
    fn step(&mut self, code: u8, at: usize) -> Read<()> {
        match code {
            // Protocol and frame: nothing depends on them.
            0x80 => {
                let protocol = self.stream.u8()?;
                if protocol > 5 {
                    let what = format!("its pickle has protocol {protocol}; 2 to 5 are known");
                    return Err(Refusal::Damaged(what));
                }
            }
            0x95 => _ = self.stream.u64()?,
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            b'K' => self.whole(|s| s.u8().map(i64::from))?,
            b'M' => self.whole(|s| s.u16().map(i64::from))?,
            b'J' => self.whole(|s| s.i32().map(i64::from))?,
            0x8a => self.whole(|s| s.u8().and_then(|count| s.long(u64::from(count))))?,
            0x8b => self.whole(|s| s.u32().and_then(|count| s.long(u64::from(count))))?,
            b'G' => {
                self.stream.f64_big_endian()?;
                self.push(Value::Float);
            }
            // Texts, and the texts of Python 2.
            0x8c | b'U' => self.span(|s| s.u8().map(u64::from), Value::Text)?,
            b'X' | b'T' => self.span(|s| s.u32().map(u64::from), Value::Text)?,
            0x8d => self.span(|s| s.u64(), Value::Text)?,
            b'C' => self.span(|s| s.u8().map(u64::from), Value::Bytes)?,
            b'B' => self.span(|s| s.u32().map(u64::from), Value::Bytes)?,
            0x8e | 0x96 => self.span(|s| s.u64(), Value::Bytes)?,
            b'c' => {
                let module = self.stream.line(LONGEST_NAME)?;
                let name = self.stream.line(LONGEST_NAME)?;
                self.global(Value::Text(module), Value::Text(name))?;
            }
            0x93 => {
                let name = self.pop()?;
                let module = self.pop()?;
                self.global(module, name)?;
            }
            b'(' => self.push(Value::Mark),
            b'0' => _ = self.pop()?,
            b'1' => {
                let start = self.mark()?;
                self.stack.truncate(start);
            }
            b'2' => {
                let top = *self.stack.last().ok_or_else(empty)?;
                self.push(top);
            }
            b')' => self.tuple(0)?,
            0x85..=0x87 => self.tuple(usize::from(code - 0x84))?,
            b't' => {
                let start = self.mark()?;
                let tuple = self.heap.new_tuple(&self.stack[start + 1..]);
                self.stack.truncate(start);
                self.push(tuple);
            }
            b']' => self.list(Vec::new()),
            b'l' => {
                let items = self.after_mark()?;
                self.list(items);
            }
            b'a' => {
                let item = self.pop()?;
                self.append(&[item])?;
            }
            b'e' => {
                let items = self.after_mark()?;
                self.append(&items)?;
            }
            b'}' => self.stack.push(calls::new_dict(&mut self.heap)),
            b'd' => {
                let items = self.after_mark()?;
                self.stack.push(calls::new_dict(&mut self.heap));
                self.insert(&items)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.insert(&[key, value])?;
            }
            b'u' => {
                let items = self.after_mark()?;
                self.insert(&items)?;
            }
            0x94 => {
                let next = self.memo.len() as u32;
                self.remember(|_| Ok(next))?;
            }
            b'q' => self.remember(|s| s.u8().map(u32::from))?,
            b'r' => self.remember(|s| s.u32())?,
            b'h' => self.recall(|s| s.u8().map(u32::from))?,
            b'j' => self.recall(|s| s.u32())?,
            b'Q' => {
                let id = self.pop()?;
                let storage = self.storage(id)?;
                self.heap.storages.push(storage);
                self.push(Value::Storage(self.heap.storages.len() - 1));
            }
            // Reduce and new object: the same for the types that are allowed.
            b'R' | 0x81 => {
                let arguments = self.pop()?;
                let called = self.pop()?;
                let made = calls::call(self.bytes, &mut self.heap, called, arguments);
                let made = if self.among { made.unwrap_or(Value::Other) } else { made? };
                self.push(made);
            }
            b'b' => {
                let state = self.pop()?;
                let target = *self.stack.last().ok_or_else(empty)?;
                let built = calls::build(self.bytes, &mut self.heap, target, state);
                if !self.among {
                    built?;
                }
            }
            // Sets, and objects made with names for their arguments.
            0x8f if self.among => self.push(Value::Other),
            0x90 if self.among => _ = self.after_mark()?,
            0x91 if self.among => {
                self.after_mark()?;
                self.push(Value::Other);
            }
            0x92 if self.among => {
                for _ in 0..3 {
                    self.pop()?;
                }
                self.push(Value::Other);
            }
            other => {
                return Err(Refusal::Forbidden(format!(
                    "its pickle has the instruction {} at byte {at}, which no weights of protocol 2 to 5 \
                     need",
                    instruction(other)
                )));
            }
        }
        Ok(())
    }

    fn push(&mut self, value: Value) {
        self.stack.push(value);
    }

    fn pop(&mut self) -> Read<Value> {
        match self.stack.pop() {
            None | Some(Value::Mark) => Err(empty()),
            Some(value) => Ok(value),
        }
    }

    fn list(&mut self, items: Vec<Value>) {
        self.heap.lists.push(items);
        self.push(Value::List(self.heap.lists.len() - 1));
    }

    fn whole(&mut self, n: impl FnOnce(&mut Stream<'_>) -> Read<i64>) -> Read<()> {
        let n = n(&mut self.stream)?;
        self.push(Value::Whole(n));
        Ok(())
    }

    /// A value that is so many of the bytes that follow.
    fn span(
        &mut self,
        length: impl FnOnce(&mut Stream<'_>) -> Read<u64>,
        value: impl FnOnce(Span) -> Value,
    ) -> Read<()> {
        let length = length(&mut self.stream)?;
        let span = self.stream.take(length)?;
        self.push(value(span));
        Ok(())
    }

    fn global(&mut self, module: Value, global: Value) -> Read<()> {
        let (Some(module), Some(global)) = (name(self.bytes, module), name(self.bytes, global))
        else {
            let what = "its pickle asks for a type without a proper name".to_owned();
            return Err(Refusal::Forbidden(what));
        };
        match allowed(module, global) {
            Some(known) => {
                self.push(Value::Global(known));
                Ok(())
            }
            None if self.among => {
                self.push(Value::Other);
                Ok(())
            }
            None => Err(Refusal::Forbidden(format!(
                "its pickle asks for `{}.{}`, which is not allowed",
                shown(module),
                shown(global)
            ))),
        }
    }

    /// Position of the last mark.
    fn mark(&self) -> Read<usize> {
        let is_mark = |v: &Value| matches!(v, Value::Mark);
        self.stack.iter().rposition(is_mark).ok_or_else(empty)
    }

    /// Takes what is above the last mark, and the mark.
    fn after_mark(&mut self) -> Read<Vec<Value>> {
        let start = self.mark()?;
        let items = self.stack.split_off(start + 1);
        self.stack.pop();
        Ok(items)
    }

    fn tuple(&mut self, count: usize) -> Read<()> {
        let start = self.stack.len().checked_sub(count).ok_or_else(empty)?;
        if self.stack[start..].contains(&Value::Mark) {
            return Err(empty());
        }
        let tuple = self.heap.new_tuple(&self.stack[start..]);
        self.stack.truncate(start);
        self.push(tuple);
        Ok(())
    }

    fn append(&mut self, items: &[Value]) -> Read<()> {
        let Some(&Value::List(list)) = self.stack.last() else {
            if self.among && !self.stack.is_empty() {
                return Ok(());
            }
            return Err(Refusal::Damaged("its pickle appends to what is no list".to_owned()));
        };
        self.heap.lists[list].extend_from_slice(items);
        Ok(())
    }

    fn insert(&mut self, items: &[Value]) -> Read<()> {
        let wrong = |what: &str| Err(Refusal::Damaged(format!("its pickle {what}")));
        let Some(&Value::Dict(dict)) = self.stack.last() else {
            if self.among && !self.stack.is_empty() {
                return Ok(());
            }
            return wrong("sets an item of what is no mapping");
        };
        let (pairs, rest) = items.as_chunks::<2>();
        if !rest.is_empty() {
            return wrong("has a key without a value");
        }
        self.heap.dicts[dict].extend(pairs.iter().map(|&[key, value]| (key, value)));
        Ok(())
    }

    fn remember(&mut self, index: impl FnOnce(&mut Stream<'_>) -> Read<u32>) -> Read<()> {
        let index = index(&mut self.stream)?;
        let top = *self.stack.last().ok_or_else(empty)?;
        // A map: an index costs nothing however large it is.
        self.memo.insert(index, top);
        Ok(())
    }

    fn recall(&mut self, index: impl FnOnce(&mut Stream<'_>) -> Read<u32>) -> Read<()> {
        let index = index(&mut self.stream)?;
        let Some(&value) = self.memo.get(&index) else {
            let what = format!("its pickle recalls value {index}, which it never had");
            return Err(Refusal::Damaged(what));
        };
        self.push(value);
        Ok(())
    }

    /// What `("storage", type, key, device, elements[, view])` means.
    fn storage(&self, id: Value) -> Read<Storage> {
        let wrong = || {
            Refusal::Forbidden(
                "its pickle refers to something outside that is no storage of a tensor".to_owned(),
            )
        };
        let Value::Tuple(id) = id else {
            return Err(wrong());
        };
        let parts = self.heap.tuple(id);
        let (&[kind, element, key, _, len], rest) =
            parts.split_first_chunk::<5>().map_or((&[Value::None; 5], parts), |split| split);
        if name(self.bytes, kind) != Some("storage") {
            return Err(wrong());
        }
        let (Value::Global(Global::Storage(element)), Value::Text(key), Some(len)) =
            (element, key, len.whole())
        else {
            return Err(wrong());
        };
        let view = match rest {
            [] | [Value::None] => None,
            // Key, first element and length of the view.
            &[Value::Tuple(view)] => match self.heap.tuple(view) {
                [_, start, len] => Some(start.whole().zip(len.whole()).ok_or_else(wrong)?),
                _ => return Err(wrong()),
            },
            _ => return Err(wrong()),
        };
        Ok(Storage { element, key, len, view })
    }
}

fn empty() -> Refusal {
    Refusal::Damaged("its pickle takes more values than it has".to_owned())
}

/// An instruction as messages name it.
fn instruction(code: u8) -> String {
    let name = match code {
        b'i' => "INST",
        b'o' => "OBJ",
        b'P' => "PERSID",
        b'I' => "INT",
        b'L' => "LONG",
        b'F' => "FLOAT",
        b'S' => "STRING",
        b'V' => "UNICODE",
        b'g' => "GET",
        b'p' => "PUT",
        0x82..=0x84 => "EXT",
        0x8f => "EMPTY_SET",
        0x90 => "ADDITEMS",
        0x91 => "FROZENSET",
        0x92 => "NEWOBJ_EX",
        0x97 => "NEXT_BUFFER",
        0x98 => "READONLY_BUFFER",
        _ => return format!("{code:#04x}"),
    };
    format!("{name} ({code:#04x})")
}
