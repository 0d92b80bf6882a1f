//! Ctrl-C: a flag that everything which runs for long looks at. The second one ends the program the hard way.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

/// Whether the user wants to stop. Clones share the flag.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Lets SIGINT and SIGTERM raise the flag from now on.
    pub(crate) fn on_signals() -> io::Result<Self> {
        let stop = Self::default();
        for signal in [SIGINT, SIGTERM] {
            // Ends the program if the flag is up already, so it has to come before the one that raises it.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop.0))?;
            flag::register(signal, Arc::clone(&stop.0))?;
        }
        Ok(stop)
    }

    /// Raises the flag.
    pub(crate) fn request(&self) {
        // Relaxed: nothing else is published with it.
        self.0.store(true, Ordering::Relaxed);
    }

    /// Tells whether it is raised.
    pub(crate) fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
