//! Amounts of memory as people write them: `512MiB`, `2G`, `1.5 GB`, `65536`.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// Bytes. As text: a number and a unit; `K`, `M`, `G`, `T` and `KiB` … are powers of 1024, `KB` … of
/// 1000, none is bytes.
///
/// ```
/// use perceiver::MemorySize;
/// let size: MemorySize = "512MiB".parse()?;
/// assert_eq!(size, MemorySize(512 << 20));
/// assert_eq!("1.5 GB".parse::<MemorySize>()?.0, 1_500_000_000);
/// assert_eq!(size.to_string(), "512.0MiB");
/// # Ok::<(), perceiver::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemorySize(pub u64);

impl FromStr for MemorySize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            let what = format!("is `{text}`");
            Error::input("memory", what, "a size above zero such as 512MiB, 2G or 65536")
        };
        let text = text.trim();
        let digits = |c: char| c.is_ascii_digit() || c == '.';
        let end = text.find(|c| !digits(c)).unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "t" | "tib" => 1 << 40,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "tb" => 1_000_000_000_000,
            _ => return Err(wrong()),
        };
        let bytes = match number.parse::<u64>() {
            Ok(whole) => whole.checked_mul(factor),
            Err(_) => {
                let bytes = number.parse::<f64>().map_err(|_| wrong())? * factor as f64;
                (bytes < 2f64.powi(63)).then_some(bytes as u64)
            }
        };
        match bytes {
            Some(bytes) if bytes > 0 => Ok(MemorySize(bytes)),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for MemorySize {
    /// Rounded up, so that what is printed as needed is enough.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        match units.into_iter().find(|(_, size)| self.0 >= *size) {
            Some((unit, size)) => {
                let tenths = (u128::from(self.0) * 10).div_ceil(u128::from(size));
                write!(f, "{}.{}{unit}", tenths / 10, tenths % 10)
            }
            None => write!(f, "{}B", self.0),
        }
    }
}
