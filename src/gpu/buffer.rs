//! Memory of a device that goes with the last that holds it.

use std::ops::Deref;
use std::sync::Arc;

use super::device::BROWSER;

/// A buffer that the engine has made. Clones share it.
///
/// A browser would keep it until its garbage collector comes by, which knows nothing of its size: there it is destroyed with
/// the last clone, once what was submitted is done with it.
#[derive(Clone)]
pub(super) struct Buffer(Arc<Held>);

struct Held(wgpu::Buffer);

impl Buffer {
    pub(super) fn new(buffer: wgpu::Buffer) -> Self {
        Buffer(Arc::new(Held(buffer)))
    }

    /// Whether others hold it too.
    pub(super) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

impl Deref for Buffer {
    type Target = wgpu::Buffer;

    fn deref(&self) -> &wgpu::Buffer {
        &self.0.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if BROWSER {
            self.0.destroy();
        }
    }
}
