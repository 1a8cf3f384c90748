//! The byte tokenizer: a text is its UTF-8 bytes, each of them a token, between `[CLS]` and `[SEP]`.
//!
//! Invariants: ids and masks are those of Hugging Face's `PerceiverTokenizer`; there is no
//! vocabulary file, so any bytes have ids; nothing is ever cut off silently.

use crate::error::{Error, Result};
use crate::perceiver::PerceiverConfig;
use crate::tensor::{NamedTensors, Tensor};

/// Fills the rest of a batch row.
pub const PAD: i64 = 0;
/// Reserved, not used by the models.
pub const BOS: i64 = 1;
/// Reserved, not used by the models.
pub const EOS: i64 = 2;
/// Stands for one hidden byte.
pub const MASK: i64 = 3;
/// First token of every text.
pub const CLS: i64 = 4;
/// Last token of every text.
pub const SEP: i64 = 5;
/// The id of byte 0; byte `b` is `FIRST_BYTE + b`.
pub const FIRST_BYTE: i64 = 6;
/// Six special tokens and 256 bytes.
pub const VOCABULARY: usize = 262;

/// The special tokens' spelling inside a text, by id.
pub const SPECIAL: [&str; 6] = ["[PAD]", "[BOS]", "[EOS]", "[MASK]", "[CLS]", "[SEP]"];

/// What [`decode`] does with special tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Specials {
    /// Writes them by name, `[MASK]`.
    Keep,
    /// Leaves them out (Hugging Face's `skip_special_tokens=True`).
    Skip,
}

/// The special token that `bytes` begins with, if any.
fn special_at(bytes: &[u8]) -> Option<(i64, usize)> {
    let special = (0..).zip(SPECIAL).find(|(_, name)| bytes.starts_with(name.as_bytes()));
    special.map(|(id, name)| (id, name.len()))
}

/// Ids of a text, `[CLS]` and `[SEP]` included.
///
/// The six special tokens are recognised where they are spelled exactly, as Hugging Face does;
/// white space around them stays as it is. Bytes that are not UTF-8 are taken as they are.
pub fn encode(text: impl AsRef<[u8]>) -> Vec<i64> {
    let mut rest = text.as_ref();
    let mut ids = Vec::with_capacity(rest.len() + 2);
    ids.push(CLS);
    while let Some(&byte) = rest.first() {
        let (id, length) = special_at(rest).unwrap_or((FIRST_BYTE + i64::from(byte), 1));
        ids.push(id);
        rest = rest.get(length..).unwrap_or_default();
    }
    ids.push(SEP);
    ids
}

/// The inputs of a model for several texts, given as ids: `input_ids` and `attention_mask`, both
/// `[texts, positions]`, padded on the right (Hugging Face's `padding="max_length"`).
///
/// # Errors
/// [`Error::Input`] when a text with its two special tokens has more than `positions` tokens, or
/// when there is no text.
pub fn batch(rows: &[Vec<i64>], positions: usize) -> Result<NamedTensors> {
    check_lengths(rows, positions)?;
    let mut ids = Vec::with_capacity(rows.len().saturating_mul(positions));
    let mut mask = Vec::with_capacity(ids.capacity());
    for row in rows {
        let padding = positions - row.len();
        ids.extend_from_slice(row);
        ids.extend(std::iter::repeat_n(PAD, padding));
        mask.extend(std::iter::repeat_n(1, row.len()));
        mask.extend(std::iter::repeat_n(0, padding));
    }
    let shape = vec![rows.len(), positions];
    Ok(NamedTensors::from([
        ("input_ids".to_owned(), Tensor::i64(shape.clone(), ids)?),
        ("attention_mask".to_owned(), Tensor::i64(shape, mask)?),
    ]))
}

/// An error unless there are texts and all fit into `positions`.
pub(super) fn check_lengths(rows: &[Vec<i64>], positions: usize) -> Result<()> {
    if rows.is_empty() {
        return Err(Error::input("texts", "there are none", "at least one text"));
    }
    match rows.iter().position(|row| row.len() > positions) {
        None => Ok(()),
        Some(index) => Err(Error::input(
            format!("texts[{index}]"),
            format!(
                "{} tokens (one for each byte and each special token, with [CLS] and [SEP])",
                rows[index].len()
            ),
            format!(
                "at most {positions}, that is {} bytes of text: shorten or split it",
                positions.saturating_sub(2)
            ),
        )),
    }
}

/// An error unless a model's vocabulary is that of the byte tokenizer.
pub(super) fn expect_vocabulary(config: &PerceiverConfig, task: &str) -> Result<()> {
    if config.vocab_size == VOCABULARY {
        return Ok(());
    }
    let hint = format!("{task} needs the byte tokenizer's {VOCABULARY} tokens");
    Err(Error::config("configuration", "vocab_size", format!("is {}", config.vocab_size), hint))
}

/// The text of some ids. Bytes that are not valid UTF-8 become U+FFFD, as in Hugging Face.
///
/// # Errors
/// [`Error::Input`] when an id is not one of the [`VOCABULARY`] ids.
pub fn decode(ids: &[i64], specials: Specials) -> Result<String> {
    let mut bytes = Vec::with_capacity(ids.len());
    for (index, &id) in ids.iter().enumerate() {
        if let Some(byte) = byte_of(id) {
            bytes.push(byte);
        } else if let Some(name) = usize::try_from(id).ok().and_then(|i| SPECIAL.get(i)) {
            if specials == Specials::Keep {
                bytes.extend_from_slice(name.as_bytes());
            }
        } else {
            let what = format!("token {index} is {id}");
            return Err(Error::input("ids", what, format!("ids from 0 to {}", VOCABULARY - 1)));
        }
    }
    Ok(lossy(&bytes))
}

/// The byte that an id stands for; `None` for special tokens and for what is no id.
pub fn byte_of(id: i64) -> Option<u8> {
    id.checked_sub(FIRST_BYTE).and_then(|byte| u8::try_from(byte).ok())
}

/// How a byte is shown alone: printable ASCII as it is, anything else as `\xNN`.
pub fn byte_name(byte: u8) -> String {
    if byte.is_ascii_graphic() || byte == b' ' {
        char::from(byte).to_string()
    } else {
        format!("\\x{byte:02x}")
    }
}

/// UTF-8 with U+FFFD for what is not.
pub(super) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
