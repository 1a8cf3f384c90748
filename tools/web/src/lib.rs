//! The engine as a module of JavaScript: what `js/host.js` calls, in a worker or on the page's own thread.
//!
//! Nothing here blocks: whatever waits for the GPU is a promise. Errors are JavaScript errors with the text of
//! [`perceiver::Error`]; numbers cross as typed arrays, everything else as plain objects.

mod breaks;
mod check;
mod engine;
mod model;
mod values;

use wasm_bindgen::prelude::*;

/// Has panics, which are defects, be told in the console rather than as "unreachable".
#[wasm_bindgen(start)]
pub fn start() {
    console_error_panic_hook::set_once();
}
