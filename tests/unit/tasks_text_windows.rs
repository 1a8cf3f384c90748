//! Unit tests of `src/tasks/text_windows.rs`.

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
        let bytes: Vec<u8> = found.tokens.clone().filter_map(|at| text::byte_of(ids[at])).collect();
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
