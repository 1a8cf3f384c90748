//! Latents: what a model knows about its inputs after encode and process.

use perceiver::stream::Latents;
use perceiver::{Error, Result, Sizes};

use crate::pointer::{copied, place, shared};
use crate::status::{PerceiverStatus, free, guarded, made};
use crate::stream::{PerceiverSizes, sizes_of};

/// The last latents of one or several items, and the sizes that they were made with.
pub struct PerceiverLatents {
    pub(crate) sizes: Sizes,
    pub(crate) items: Vec<Latents>,
}

impl PerceiverLatents {
    pub(crate) fn item(&self, item: usize) -> Result<&Latents> {
        let expected = || format!("an item below {}", self.items.len());
        let found = self.items.get(item);
        found.ok_or_else(|| Error::input("latents", format!("have no item {item}"), expected()))
    }
}

/// Makes latents of one item from `rows` × `channels` numbers of the caller's, which are copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_latents_new(
    numbers: *const f32,
    rows: usize,
    channels: usize,
    sizes: *const PerceiverSizes,
    latents: *mut *mut PerceiverLatents,
) -> PerceiverStatus {
    // SAFETY: the caller's.
    unsafe {
        made(latents, || {
            let count = rows.saturating_mul(channels);
            let numbers = copied(numbers, count, "latents")?;
            let items = vec![Latents::new(rows, channels, numbers)?];
            Ok(PerceiverLatents { sizes: sizes_of(sizes, None)?, items })
        })
    }
}

/// How many items there are; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_latents_items(latents: *const PerceiverLatents) -> usize {
    // SAFETY: the caller's.
    unsafe { shared(latents, "latents") }.map_or(0, |latents| latents.items.len())
}

/// Lends the numbers of an item, `rows` × `channels`, until the latents are freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_latents_get(
    latents: *const PerceiverLatents,
    item: usize,
    numbers: *mut *const f32,
    rows: *mut usize,
    channels: *mut usize,
) -> PerceiverStatus {
    guarded(|| {
        // SAFETY: the caller's.
        let (latents, numbers, rows, channels) = unsafe {
            let latents = shared(latents, "latents")?;
            (
                latents,
                place(numbers, "numbers")?,
                place(rows, "rows")?,
                place(channels, "channels")?,
            )
        };
        let item = latents.item(item)?;
        let [n, d] = item.shape();
        rows.write(n);
        channels.write(d);
        numbers.write(item.as_slice().as_ptr());
        Ok(())
    })
}

/// Frees latents. NULL does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_latents_free(latents: *mut PerceiverLatents) {
    // SAFETY: the caller's.
    unsafe { free(latents) }
}
