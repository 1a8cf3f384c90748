//! How numbers of a planned array lie in memory.

use std::fmt;

/// The type of an array's elements in the memory of a device. All arithmetic is f32 whatever the type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Element {
    /// 32-bit float.
    #[default]
    F32,
    /// 16-bit IEEE float, two in a word: rows are whole words, as they are padded to four elements.
    F16,
    /// A whole number from 0 to 255, four in a word: what textures of bytes hold.
    U8,
}

impl Element {
    /// Bytes of one element.
    pub const fn bytes(self) -> usize {
        match self {
            Element::F32 => 4,
            Element::F16 => 2,
            Element::U8 => 1,
        }
    }

    /// Whether it is the narrower type of floats.
    pub const fn is_f16(self) -> bool {
        matches!(self, Element::F16)
    }

    /// Words of 32 bits that so many elements take, a multiple of four.
    pub const fn words(self, elements: usize) -> usize {
        elements * self.bytes() / 4
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Element::F32 => "f32",
            Element::F16 => "f16",
            Element::U8 => "u8",
        })
    }
}
