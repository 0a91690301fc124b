//! Ctrl-C and SIGTERM: the first asks the work to stop in good order, the second ends the process.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

static ASKED: AtomicBool = AtomicBool::new(false);

/// From now on an interrupt is noted instead of ending the process at once.
pub fn listen() -> Result<()> {
    ctrlc::set_handler(|| {
        if ASKED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    })
    .context("cannot listen for Ctrl-C")
}

/// [`messymash::Error::Interrupted`] once an interrupt was noted.
pub fn check() -> messymash::Result<()> {
    if ASKED.load(Ordering::SeqCst) {
        Err(messymash::Error::Interrupted)
    } else {
        Ok(())
    }
}
