//! The byte tokenizer and the filling of masks.

use perceiver::internals::tasks::fill_with;
use perceiver::internals::tasks::text::{
    CLS, FIRST_BYTE, MASK, PAD, SEP, Specials, VOCABULARY, batch, byte_name, decode, encode,
};
use perceiver::tasks::{FillOptions, Filled, Filling};
use perceiver::{NamedTensors, Result, Tensor};
use proptest::prelude::*;

use super::{message, recorded};

fn encode_padded(texts: &[impl AsRef<[u8]>], positions: usize) -> Result<NamedTensors> {
    let rows: Vec<Vec<i64>> = texts.iter().map(encode).collect();
    batch(&rows, positions)
}

/// Texts and their ids from `transformers.PerceiverTokenizer` 5.x.
const ENCODED: [(&str, &[i64]); 16] = [
    ("", &[4, 5]),
    ("a[MASK]b", &[4, 103, 3, 104, 5]),
    ("a [MASK] b", &[4, 103, 38, 3, 38, 104, 5]),
    ("  [MASK]  [MASK] x ", &[4, 38, 38, 3, 38, 38, 3, 38, 126, 38, 5]),
    ("[MASK][MASK]", &[4, 3, 3, 5]),
    ("[mask] [MASK", &[4, 97, 115, 103, 121, 113, 99, 38, 97, 83, 71, 89, 81, 5]),
    ("[CLS]x[SEP]", &[4, 4, 126, 5, 5]),
    ("[PAD] [BOS]\n[EOS]", &[4, 0, 38, 1, 16, 2, 5]),
    ("é[MASK]漢😀", &[4, 201, 175, 3, 236, 194, 168, 246, 165, 158, 134, 5]),
    (" lead trail ", &[4, 38, 114, 107, 103, 106, 38, 122, 120, 103, 111, 114, 38, 5]),
    ("[[MASK]]", &[4, 97, 3, 99, 5]),
    ("[MASK]\t[MASK]\r\n", &[4, 3, 15, 3, 19, 16, 5]),
    ("\u{a0}[MASK]\u{3000}", &[4, 200, 166, 3, 233, 134, 134, 5]),
    ("[MASKED][MA[MASK]SK]", &[4, 97, 83, 71, 89, 81, 75, 74, 99, 97, 83, 71, 3, 89, 81, 99, 5]),
    ("\0\u{7f}", &[4, 6, 133, 5]),
    ("Cafe\u{301} [MASK]", &[4, 73, 103, 108, 107, 210, 135, 38, 3, 5]),
];

/// Ids and what `PerceiverTokenizer.decode` makes of them, with special tokens and without.
const DECODED: [(&[i64], &str, &str); 6] = [
    (&[4, 103, 3, 104, 5], "[CLS]a[MASK]b[SEP]", "ab"),
    (&[4, 201, 5], "[CLS]\u{fffd}[SEP]", "\u{fffd}"),
    (&[201, 3, 175], "\u{fffd}[MASK]\u{fffd}", "é"),
    (&[232, 136, 103], "\u{fffd}a", "\u{fffd}a"),
    (
        &[246, 165, 158, 261, 243, 166, 134, 198, 134],
        "\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}",
        "\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}",
    ),
    (&[4, 38, 115, 38, 5, 0, 0], "[CLS] m [SEP][PAD][PAD]", " m "),
];

#[test]
fn ids_are_those_of_hugging_face() {
    for (text, ids) in ENCODED {
        assert_eq!(encode(text), ids, "{text:?}");
    }
}

#[test]
fn texts_of_ids_are_those_of_hugging_face() {
    for (ids, kept, skipped) in DECODED {
        assert_eq!(decode(ids, Specials::Keep).unwrap(), kept, "{ids:?}");
        assert_eq!(decode(ids, Specials::Skip).unwrap(), skipped, "{ids:?}");
    }
    assert_eq!(
        message(decode(&[6, 262], Specials::Keep)),
        "input `ids`: token 1 is 262; expected ids from 0 to 261"
    );
    assert_eq!(
        message(decode(&[i64::MIN], Specials::Skip)),
        format!("input `ids`: token 0 is {}; expected ids from 0 to 261", i64::MIN)
    );
}

#[test]
fn bytes_have_names() {
    let names: Vec<String> = [b'a', b' ', b'\n', 0x7f, 0xc3].map(byte_name).into();
    assert_eq!(names, ["a", " ", "\\x0a", "\\x7f", "\\xc3"]);
}

#[test]
fn padded_batches_are_the_recorded_ones() {
    for (case, first, last) in [("mlm-v0-s0", 7, 16), ("mlm-v7-s5", 2, 3)] {
        let inputs = recorded(case, "inputs.safetensors");
        let texts: Vec<&[u8]> =
            (0..).map_while(|i| inputs.get(&format!("raw.text.{i}"))?.as_u8()).collect();
        let positions = inputs["input_ids"].shape()[1];
        let mut found = encode_padded(&texts, positions).unwrap();
        // The recorded case masks some tokens of its first text.
        let ids = found.remove("input_ids").unwrap();
        let mut ids = ids.as_i64().unwrap().to_vec();
        ids[first..last].fill(MASK);
        assert_eq!(Some(&ids[..]), inputs["input_ids"].as_i64(), "{case}");
        assert_eq!(found["attention_mask"], inputs["attention_mask"], "{case}");
    }
}

#[test]
fn texts_that_do_not_fit_are_named() {
    assert!(encode_padded(&["abcd"], 6).is_ok());
    assert_eq!(
        message(encode_padded(&["ab", "abcde"], 6)),
        "input `texts[1]`: 7 tokens (one for each byte and each special token, with [CLS] and \
         [SEP]); expected at most 6, that is 4 bytes of text: shorten or split it"
    );
    assert_eq!(
        message(encode_padded(&[""; 0], 6)),
        "input `texts`: there are none; expected at least one text"
    );
}

proptest! {
    #[test]
    fn any_text_without_special_tokens_comes_back(text in "\\PC*") {
        prop_assume!(!text.contains('['));
        let ids = encode(&text);
        prop_assert_eq!(ids.len(), text.len() + 2);
        prop_assert_eq!(decode(&ids, Specials::Skip).unwrap(), text);
    }

    #[test]
    fn any_bytes_have_ids(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let ids = encode(&bytes);
        prop_assert_eq!((ids[0], ids[ids.len() - 1]), (CLS, SEP));
        prop_assert_eq!(decode(&ids, Specials::Skip).unwrap(), String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_text_fills_or_is_refused(text in "(\\[MASK\\]|\\[MASK:[0-9]{0,22}\\]?|\\[|é|a){0,12}") {
        if let Ok(filled) = fill(&[&text], 24, &FillOptions::default()) {
            prop_assert!(!filled[0].text.contains("[MASK]"));
        }
    }
}

/// Fills with a network that answers `POEM`, byte by byte, and is the surer the further back a byte
/// is. A special token is always more likely, which must not matter.
fn fill(texts: &[&str], positions: usize, options: &FillOptions) -> Result<Vec<Filled>> {
    fill_with(texts, positions, options, &mut |_, _| (), &mut |inputs, _| {
        Ok(answer(inputs, positions))
    })
}

const POEM: &[u8] = b"?Perceiver IO fills bytes, in any order.";

fn answer(inputs: &NamedTensors, positions: usize) -> NamedTensors {
    let texts = inputs["input_ids"].shape()[0];
    let mut logits = vec![0.0; texts * positions * VOCABULARY];
    for (row, logits) in logits.chunks_exact_mut(VOCABULARY).enumerate() {
        let position = row % positions;
        logits[usize::try_from(PAD).unwrap()] = 1e6;
        if let Some(&byte) = POEM.get(position) {
            logits[usize::from(byte) + usize::try_from(FIRST_BYTE).unwrap()] =
                1.0 + position as f32;
        }
    }
    let logits = Tensor::f32(vec![texts, positions, VOCABULARY], logits).unwrap();
    NamedTensors::from([("logits".to_owned(), logits)])
}

#[test]
fn masks_are_filled() {
    let texts = ["Per[MASK][MASK]iver [MASK:2] x", "[MASK]", "é[MASK:3]"];
    let filled = fill(&texts, 32, &FillOptions::default()).unwrap();
    let found: Vec<&str> = filled.iter().map(|f| f.text.as_str()).collect();
    assert_eq!(found, ["Perceiver IO x", "P", "érce"]);
    let [first, second] = &filled[0].spans[..] else { panic!("two spans: {:?}", filled[0].spans) };
    assert_eq!((first.start, first.text.as_str()), (4, "ce"));
    assert_eq!((second.start, second.text.as_str()), (11, "IO"));
    let byte = &second.bytes[1];
    assert_eq!((byte.position, byte.byte, byte.top.len()), (12, b'O', 5));
    // One logit of 13 and 255 of zero; the special token's does not count.
    let best = 13f64.exp();
    assert!((byte.probability - best / (best + 255.0)).abs() < 1e-15);
    assert_eq!(byte.top[0].probability, byte.probability);
    // Equal probabilities: the lower byte first.
    let names: Vec<&str> = byte.top.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["O", "\\x00", "\\x01", "\\x02", "\\x03"]);
}

#[test]
fn filled_bytes_that_are_no_text_are_shown() {
    let filled = fill_with(
        &["a[MASK:2]b"],
        8,
        &FillOptions { top: 1, ..FillOptions::default() },
        &mut |_, _| (),
        &mut |_, _| {
            let mut logits = vec![0.0; 8 * VOCABULARY];
            for row in logits.chunks_exact_mut(VOCABULARY) {
                row[6 + 0xff] = 1.0;
            }
            let logits = Tensor::f32(vec![1, 8, VOCABULARY], logits)?;
            Ok(NamedTensors::from([("logits".to_owned(), logits)]))
        },
    )
    .unwrap();
    assert_eq!(filled[0].text, "a\u{fffd}\u{fffd}b");
    assert_eq!(filled[0].spans[0].text, "\u{fffd}\u{fffd}");
    assert_eq!(filled[0].spans[0].bytes[0].top[0].name, "\\xff");
    let json = serde_json::to_value(&filled).unwrap();
    assert_eq!(json[0]["spans"][0]["start"], 2);
    assert_eq!(json[0]["spans"][0]["bytes"][1]["top"][0]["byte"], 255);
}

#[test]
fn most_certain_bytes_are_filled_first_and_seen_by_the_next_run() {
    let options = FillOptions { top: 1, filling: Filling::MostCertainFirst };
    let mut heard = Vec::new();
    let mut seen = Vec::new();
    let texts = ["[MASK:3]", "Perc[MASK]"];
    let filled = fill_with(
        &texts,
        8,
        &options,
        &mut |done, total| heard.push((done, total)),
        &mut |inputs, progress| {
            progress(10, 10);
            let ids = inputs["input_ids"].as_i64().unwrap();
            seen.push(ids.iter().map(|&id| id == MASK).collect::<Vec<_>>());
            Ok(answer(inputs, 8))
        },
    )
    .unwrap();
    assert_eq!((filled[0].text.as_str(), filled[1].text.as_str()), ("Per", "Perce"));
    assert_eq!(heard, [(10, 30), (20, 30), (30, 30)]);
    let masked: Vec<Vec<usize>> =
        seen.iter().map(|row| (0..16).filter(|&i| row[i]).collect()).collect();
    // The stand-in is surest of the last byte. The second text has its one mask at token 5.
    assert_eq!(masked, [vec![1, 2, 3, 13], vec![1, 2], vec![1]]);
}

/// A network that is sure of the byte before a run of masks plus the place in the run.
fn successor(inputs: &NamedTensors, positions: usize) -> NamedTensors {
    let ids = inputs["input_ids"].as_i64().unwrap();
    let mut logits = vec![0.0; ids.len() * VOCABULARY];
    for (row, logits) in
        ids.chunks_exact(positions).zip(logits.chunks_exact_mut(positions * VOCABULARY))
    {
        for (at, logits) in logits.chunks_exact_mut(VOCABULARY).enumerate() {
            let run = row[..=at].iter().rev().take_while(|&&id| id == MASK);
            let length = run.count();
            if length > 0 {
                let before = row[at - length].max(FIRST_BYTE);
                logits[usize::try_from(before).unwrap() + length] = 9.0;
            }
        }
    }
    let shape = vec![ids.len() / positions, positions, VOCABULARY];
    NamedTensors::from([("logits".to_owned(), Tensor::f32(shape, logits).unwrap())])
}

#[test]
fn long_texts_are_filled_in_windows() {
    let between = "x".repeat(50);
    let text = format!("{between}a[MASK:3]{between}k[MASK][MASK]{between}[MASK]y");
    let wanted = format!("{between}abcd{between}klm{between}yy");
    for filling in [Filling::AtOnce, Filling::MostCertainFirst] {
        let options = FillOptions { top: 1, filling };
        let mut heard = Vec::new();
        let mut batches = Vec::new();
        let filled = fill_with(
            &["p[MASK]", &text],
            24,
            &options,
            &mut |done, total| heard.push((done, total)),
            &mut |inputs, progress| {
                let shape = inputs["input_ids"].shape();
                batches.push(shape[0]);
                assert_eq!(shape[1], 24);
                progress(10 * shape[0] as u64, 10 * shape[0] as u64);
                Ok(successor(inputs, 24))
            },
        )
        .unwrap();
        assert_eq!(filled[0].text, "pq");
        assert_eq!(filled[1].text, wanted);
        let spans: Vec<(usize, &str)> =
            filled[1].spans.iter().map(|s| (s.start, s.text.as_str())).collect();
        assert_eq!(spans, [(52, "bcd"), (106, "lm"), (158, "y")]);
        // The short text and three windows, as often as the largest run of masks is long.
        let rounds = if filling == Filling::AtOnce { 1 } else { 3 };
        assert_eq!(batches, vec![4; rounds]);
        let all = 40 * rounds as u64;
        let steps: Vec<_> = (1..=rounds as u64).map(|r| (40 * r, all)).collect();
        assert_eq!(heard, steps);
    }
}

#[test]
fn many_windows_run_in_turns() {
    let text = format!("a[MASK]{}", "-".repeat(40)).repeat(35);
    let mut heard = Vec::new();
    let filled = fill_with(
        &[&text],
        20,
        &FillOptions::default(),
        &mut |done, total| heard.push((done, total)),
        &mut |inputs, progress| {
            let windows = inputs["input_ids"].shape()[0] as u64;
            progress(windows, windows);
            Ok(successor(inputs, 20))
        },
    )
    .unwrap();
    assert_eq!(filled[0].text, text.replace("[MASK]", "b"));
    assert_eq!(filled[0].spans.len(), 35);
    assert_eq!(heard, [(16, 35), (32, 35), (35, 35)]);
    // Masks at the very ends of a window without room for anything else.
    let filled = fill(&["[MASK:8]a"], 10, &FillOptions::default()).unwrap();
    assert_eq!(filled[0].text, "Perceivea");
}

#[test]
fn texts_that_cannot_be_filled_are_named() {
    let refused = |texts: &[&str]| message(fill(texts, 10, &FillOptions::default()));
    assert_eq!(
        refused(&["[MASK]", "no mask [MASK:x]"]),
        "input `texts[1]`: there is nothing to fill; expected a [MASK] for each hidden byte, or \
         [MASK:7] for seven of them"
    );
    for number in ["0", "9", "99999999999999999999999"] {
        assert_eq!(
            refused(&[&format!("[MASK:{number}]")]),
            format!(
                "input `texts[0]`: [MASK:{number}]; expected numbers of hidden bytes from 1, at \
                 most 8 beside each other and 1048576 in all"
            )
        );
    }
    let many = "[MASK:8]a".repeat((1 << 17) + 1);
    assert!(refused(&[&many]).contains("1048576 in all"));
    assert_eq!(
        refused(&["abc[MASK:6][MASK:5]"]),
        "input `texts[0]`: 11 masks beside each other, from token 4; expected at most 8, since the \
         model has 10 positions"
    );
    assert_eq!(fill(&[], 10, &FillOptions::default()).unwrap(), []);
}

#[test]
fn answers_that_make_no_sense_are_refused() {
    let refused = |outputs: fn() -> NamedTensors| {
        let options = FillOptions::default();
        message(fill_with(&["[MASK]"], 4, &options, &mut |_, _| (), &mut |_, _| Ok(outputs())))
    };
    assert_eq!(
        refused(NamedTensors::new),
        "input `logits`: the model gave none; expected 32-bit floats of shape [1, 4, 262]"
    );
    assert_eq!(
        refused(|| constant(vec![1, 3, 262], 0.0)),
        "input `logits`: the model gave shape [1, 3, 262]; expected 32-bit floats of shape \
         [1, 4, 262]"
    );
    assert_eq!(
        refused(|| constant(vec![1, 4, 262], f32::NAN)),
        "input `logits`: NaN at position 1; expected finite numbers; are the weights damaged?"
    );
}

fn constant(shape: Vec<usize>, value: f32) -> NamedTensors {
    let length = shape.iter().product();
    let logits = Tensor::f32(shape, vec![value; length]).unwrap();
    NamedTensors::from([("logits".to_owned(), logits)])
}

#[test]
fn special_tokens_are_spelled_or_left_out() {
    assert_eq!(encode("a[MASK]b"), [4, 103, 3, 104, 5]);
    assert_eq!(decode(&[4, 103, 3, 104, 5], Specials::Keep).unwrap(), "[CLS]a[MASK]b[SEP]");
    assert_eq!(decode(&[4, 103, 3, 104, 5], Specials::Skip).unwrap(), "ab");
}
