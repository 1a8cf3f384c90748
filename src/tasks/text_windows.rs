//! Windows of texts that are longer than a model's positions.
//!
//! A window is a part of a text that a model takes at once; it fills some of the text's masks and
//! sees what lies around them. Invariants: every mask belongs to exactly one window; neighbouring
//! masks belong to the same one; a window is as long as the model and the text allow (a few bytes
//! less where its end would cut a character).

use std::ops::Range;

use super::text;
use crate::error::{Error, Result};

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Window {
    /// Which text.
    pub text: usize,
    /// Which tokens of it, `[CLS]` and `[SEP]` never among them.
    pub tokens: Range<usize>,
    /// The tokens whose masks are filled here.
    pub fills: Range<usize>,
}

impl Window {
    /// The window as a text of its own, with its special tokens.
    pub(super) fn row(&self, ids: &[i64]) -> Vec<i64> {
        let part = ids.get(self.tokens.clone()).unwrap_or_default();
        let mut row = Vec::with_capacity(part.len() + 2);
        row.push(text::CLS);
        row.extend_from_slice(part);
        row.push(text::SEP);
        row
    }

    /// The masks that are filled here and still hidden: places in the text.
    pub(super) fn masks<'i>(&self, ids: &'i [i64]) -> impl Iterator<Item = usize> + use<'i> {
        self.fills.clone().filter(|&at| ids.get(at) == Some(&text::MASK))
    }

    /// Where a token of the text stands in [`Window::row`].
    pub(super) fn place(&self, token: usize) -> usize {
        token - self.tokens.start + 1
    }
}

/// The windows of a text, in order; `ids` are all its tokens with `[CLS]` and `[SEP]`. A text that
/// fits into `positions` is one window.
///
/// # Errors
/// [`Error::Input`] when more masks stand beside each other than a model sees at once.
pub(super) fn windows(index: usize, ids: &[i64], positions: usize) -> Result<Vec<Window>> {
    let inner = 1..ids.len().saturating_sub(1).max(1);
    if ids.len() <= positions {
        return Ok(vec![Window { text: index, tokens: inner.clone(), fills: inner }]);
    }
    let room = positions.saturating_sub(2);
    // Half of a window's room is for what lies around its masks.
    let most = room - room / 4 * 2;
    let mut groups: Vec<Range<usize>> = Vec::new();
    for span in spans(ids) {
        if span.len() > room {
            let what = format!("{} masks beside each other, from token {}", span.len(), span.start);
            let expected = format!("at most {room}, since the model has {positions} positions");
            return Err(Error::input(format!("texts[{index}]"), what, expected));
        }
        match groups.last_mut() {
            Some(group) if span.end - group.start <= most => group.end = span.end,
            _ => groups.push(span),
        }
    }
    Ok(groups
        .into_iter()
        .map(|fills| Window { text: index, tokens: around(ids, &fills, &inner, room), fills })
        .collect())
}

/// Runs of masks.
fn spans(ids: &[i64]) -> Vec<Range<usize>> {
    let mut spans: Vec<Range<usize>> = Vec::new();
    for (at, _) in ids.iter().enumerate().filter(|(_, id)| **id == text::MASK) {
        match spans.last_mut() {
            Some(span) if span.end == at => span.end += 1,
            _ => spans.push(at..at + 1),
        }
    }
    spans
}

/// `room` tokens with `fills` in the middle, or nearer to an end of the text.
fn around(ids: &[i64], fills: &Range<usize>, inner: &Range<usize>, room: usize) -> Range<usize> {
    let before = (room - fills.len()) / 2;
    let start =
        fills.start.saturating_sub(before).min(inner.end.saturating_sub(room)).max(inner.start);
    let end = (start + room).min(inner.end);
    // A character's first byte has the others behind it; there are at most three.
    let continues = |at: usize| {
        ids.get(at).and_then(|&id| text::byte_of(id)).is_some_and(|byte| byte & 0xc0 == 0x80)
    };
    let whole_from = (start..fills.start).take(4).find(|&at| !continues(at));
    let whole_to = (fills.end..=end).rev().take(4).find(|&at| !continues(at));
    let start = if start == inner.start { start } else { whole_from.unwrap_or(start) };
    start..whole_to.unwrap_or(end)
}

#[cfg(test)]
#[path = "../../tests/unit/tasks_text_windows.rs"]
mod tests;
