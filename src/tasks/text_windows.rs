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
            return Err(Error::input(
                format!("texts[{index}]"),
                format!("{} masks beside each other, from token {}", span.len(), span.start),
                format!("at most {room}, since the model has {positions} positions"),
            ));
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn windows_lie_around_their_masks() {
        let text = format!("{}[MASK]{}[MASK][MASK]{}", "a".repeat(40), "b".repeat(60), "c");
        let ids = text::encode(&text);
        let found = windows(0, &ids, 22).unwrap();
        let ranges: Vec<_> = found.iter().map(|w| (w.tokens.clone(), w.fills.clone())).collect();
        // Token 0 is [CLS]. The second window ends with the text.
        assert_eq!(ranges, [(32..52, 41..42), (85..105, 102..104)]);
        assert_eq!(found[0].row(&ids).len(), 22);
        assert_eq!(found[1].place(102), 18);
        assert_eq!(windows(0, &ids, ids.len()).unwrap().len(), 1);
    }

    #[test]
    fn windows_do_not_cut_characters() {
        let text = format!("{}[MASK]{}", "é".repeat(30), "€".repeat(30));
        let ids = text::encode(&text);
        for positions in 12..30 {
            let found = windows(0, &ids, positions).unwrap().remove(0);
            let bytes: Vec<u8> =
                found.tokens.clone().filter_map(|at| text::byte_of(ids[at])).collect();
            assert!(String::from_utf8(bytes).is_ok(), "{positions}");
            assert!(found.tokens.len() + 2 + 4 >= positions, "{positions}");
        }
    }

    proptest! {
        #[test]
        fn every_mask_is_filled_once(
            text in "(\\[MASK\\]|[a-cé€]{0,9}){0,20}",
            positions in 0..40usize,
        ) {
            let ids = text::encode(&text);
            let Ok(found) = windows(3, &ids, positions) else {
                prop_assert!(spans(&ids).iter().any(|s| s.len() + 2 > positions));
                return Ok(());
            };
            let filled: Vec<usize> = found.iter().flat_map(|w| w.masks(&ids)).collect();
            let all: Vec<usize> = spans(&ids).into_iter().flatten().collect();
            prop_assert_eq!(filled, all);
            for window in found {
                prop_assert!(window.row(&ids).len() <= positions);
                prop_assert!(window.tokens.start <= window.fills.start);
                prop_assert!(window.fills.end <= window.tokens.end);
                prop_assert!(window.tokens.start >= 1 && window.tokens.end < ids.len());
            }
        }
    }
}
