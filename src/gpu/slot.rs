//! Where an engine and its models look for their device, which is another one once it was lost and opened again.

use std::sync::{Arc, Mutex};

use super::device::{Device, lock};
use crate::error::Result;

/// The device that an engine has now. Clones share it.
#[derive(Clone)]
pub(crate) struct Slot {
    name: Arc<str>,
    now: Arc<Mutex<Device>>,
}

impl Slot {
    pub(crate) fn new(device: Device) -> Self {
        Slot { name: device.name().into(), now: Arc::new(Mutex::new(device)) }
    }

    /// The device.
    pub(crate) fn device(&self) -> Device {
        lock(&self.now).clone()
    }

    /// The adapter's name, which stays.
    pub(crate) fn device_name(&self) -> &str {
        &self.name
    }

    /// Opens the device again if it is lost.
    ///
    /// # Errors
    /// As [`Device::opened_again`].
    pub(crate) async fn reopen(&self) -> Result<()> {
        let before = self.device();
        if !before.is_lost() {
            return Ok(());
        }
        let again = before.opened_again().await?;
        let mut now = lock(&self.now);
        // Whoever else called this may have been faster.
        if now.is(&before) {
            *now = again;
        }
        Ok(())
    }
}
