//! Ctrl-C: what is measured is ended, what was made is removed, nothing is written.
//!
//! Must not know what is measured. Invariant: a second signal ends the program at once.

use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

/// Set by a signal, read by whoever waits; nothing else hangs on it, so it orders nothing.
static ASKED: LazyLock<Arc<AtomicBool>> = LazyLock::new(|| Arc::new(AtomicBool::new(false)));

/// What is said when the program was asked to end.
pub const WHY: &str = "interrupted; nothing was written";

/// Listens for signals that ask the program to end.
pub fn listen() -> Result<(), String> {
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal sets the flag, the second finds it set.
        let registered = flag::register_conditional_shutdown(signal, 130, Arc::clone(&ASKED))
            .and_then(|_| flag::register(signal, Arc::clone(&ASKED)));
        registered.map_err(|error| format!("signals: {error}"))?;
    }
    Ok(())
}

/// Tells whether the program was asked to end.
#[must_use]
pub fn asked() -> bool {
    ASKED.load(Relaxed)
}
