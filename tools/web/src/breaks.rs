//! Breaks of work on the CPU, in which the page may draw.

use js_sys::{Date, Function, Promise};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use crate::values::Thrown;

/// Milliseconds that the page is kept from its next frame, as in the making of sessions.
const MOST: f64 = 8.0;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = setTimeout)]
    fn set_timeout(then: &Function);
}

/// When the last break was.
pub(crate) struct Breaks {
    last: f64,
}

impl Default for Breaks {
    fn default() -> Self {
        Breaks { last: Date::now() }
    }
}

impl Breaks {
    /// Takes a break if it is time for one.
    pub(crate) async fn pause(&mut self) -> Result<(), Thrown> {
        if Date::now() - self.last > MOST {
            JsFuture::from(Promise::new(&mut |resolve, _| set_timeout(&resolve))).await?;
            self.last = Date::now();
        }
        Ok(())
    }
}
