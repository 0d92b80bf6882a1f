//! The ledgers of all databases in memory.
//!
//! Any connection of the process can attach such a database by its name, and SQLite tells nobody which one it has attached: so a commit to one
//! is entered in the ledgers of all. Owns finding them. It must not know who commits. Invariant: the ledger of a database in memory is found
//! for as long as anybody uses it.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::fork::PerProcess;
use crate::ledger::Ledger;

static LEDGERS: PerProcess<Mutex<Vec<Weak<Ledger>>>> = PerProcess::new();

/// Makes a ledger known.
pub(crate) fn add(ledger: &Arc<Ledger>) {
    let mut ledgers = LEDGERS.get().lock();
    ledgers.retain(|known| known.strong_count() > 0);
    ledgers.push(Arc::downgrade(ledger));
}

/// Lists all that are in use.
pub(crate) fn all() -> Vec<Arc<Ledger>> {
    LEDGERS.get().lock().iter().filter_map(Weak::upgrade).collect()
}
