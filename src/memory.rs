//! Amounts of memory as people write them (`512MiB`, `2G`, `1.5 GB`, `65536`), and the limit of what files, inputs and
//! models may make this process allocate.
//!
//! Invariant: what somebody else's numbers decide, a size in a file or a shape, is allocated by [`room`] or [`zeroed`], or after
//! [`allow`]: too much is an [`Error::Limit`], never the end of the process.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

/// The limit; 0 until it is set or asked for. It is the process's, as its memory is: readers, planners and writers of all engines
/// share it.
static LIMIT: AtomicU64 = AtomicU64::new(0);

/// The most that one file, one input or one run may make this process allocate: half of the machine's memory, or of
/// what a control group or `ulimit -v` leaves of it, until [`set_memory_limit`] changes it. A build without the feature `files`
/// cannot ask the machine and sets no limit.
///
/// ```
/// use perceiver::{MemorySize, memory_limit, set_memory_limit};
/// assert!(memory_limit() > MemorySize(0));
/// set_memory_limit(MemorySize(4 << 30));
/// assert_eq!(memory_limit(), MemorySize(4 << 30));
/// ```
#[must_use]
pub fn memory_limit() -> MemorySize {
    match LIMIT.load(Ordering::Relaxed) {
        0 => {
            let half = machine::memory().map_or(u64::MAX, |bytes| (bytes / 2).max(1));
            // Somebody else may have set it meanwhile.
            let set = LIMIT.compare_exchange(0, half, Ordering::Relaxed, Ordering::Relaxed);
            MemorySize(set.map_or_else(|other| other, |_| half))
        }
        bytes => MemorySize(bytes),
    }
}

/// Sets what [`memory_limit`] gives, for the whole process. What is allocated already stays.
pub fn set_memory_limit(limit: MemorySize) {
    LIMIT.store(limit.0.max(1), Ordering::Relaxed);
}

/// Refuses what would take more than the limit.
pub fn allow(what: impl fmt::Display, bytes: u64) -> Result<()> {
    let limit = memory_limit();
    if bytes <= limit.0 {
        return Ok(());
    }
    Err(Error::Limit {
        what: what.to_string(),
        needed: format!("{} of memory", MemorySize(bytes)),
        limit: format!("{limit}, the memory limit"),
        hint: "give something smaller, or raise the memory limit".to_owned(),
    })
}

/// Room for so many elements more, unless all are more than the limit, or than the system has.
pub(crate) fn more<T>(all: &mut Vec<T>, elements: usize) -> Result<()> {
    let bytes = (all.len().saturating_add(elements) as u64).saturating_mul(size_of::<T>() as u64);
    allow("results of all items", bytes)?;
    all.try_reserve(elements).map_err(|_| none_left("results of all items", bytes))
}

/// An empty vector with room for so many elements, unless that is more than the limit, or than the system has.
pub fn room<T>(what: impl fmt::Display, elements: usize) -> Result<Vec<T>> {
    let bytes = (elements as u64).saturating_mul(size_of::<T>() as u64);
    allow(&what, bytes)?;
    reserve(what, elements)
}

/// As [`room`], whatever the limit.
pub(crate) fn reserve<T>(what: impl fmt::Display, elements: usize) -> Result<Vec<T>> {
    let bytes = (elements as u64).saturating_mul(size_of::<T>() as u64);
    let mut room = Vec::new();
    room.try_reserve_exact(elements).map_err(|_| none_left(what, bytes))?;
    Ok(room)
}

/// The error for what the system does not have.
fn none_left(what: impl fmt::Display, bytes: u64) -> Error {
    Error::Limit {
        what: what.to_string(),
        needed: format!("{} of memory", MemorySize(bytes)),
        limit: "what the system has".to_owned(),
        hint: "give something smaller, or use a machine with more memory".to_owned(),
    }
}

/// As [`room`], with what an iterator gives that knows how much that is.
pub(crate) fn collected<T>(
    what: impl fmt::Display,
    items: impl Iterator<Item = T>,
) -> Result<Vec<T>> {
    let mut all = room(what, items.size_hint().0)?;
    all.extend(items);
    Ok(all)
}

/// As [`room`], filled with zeros.
pub(crate) fn zeroed<T: Clone + Default>(
    what: impl fmt::Display,
    elements: usize,
) -> Result<Vec<T>> {
    let mut zeros = room(what, elements)?;
    zeros.resize(elements, T::default());
    Ok(zeros)
}

#[cfg(feature = "files")]
mod machine {
    /// Bytes of memory that this process could have at most.
    pub(super) fn memory() -> Option<u64> {
        let mut system = sysinfo::System::new();
        system.refresh_memory();
        let whole = Some(system.total_memory());
        let of_group = system.cgroup_limits().map(|limits| limits.total_memory);
        let all = [whole, of_group, address_space()].into_iter().flatten();
        all.filter(|&bytes| bytes > 0).min()
    }

    /// What `ulimit -v` leaves.
    #[cfg(unix)]
    fn address_space() -> Option<u64> {
        rustix::process::getrlimit(rustix::process::Resource::As).current
    }

    #[cfg(not(unix))]
    fn address_space() -> Option<u64> {
        None
    }
}

#[cfg(not(feature = "files"))]
mod machine {
    /// Unknown.
    pub(super) fn memory() -> Option<u64> {
        None
    }
}

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
