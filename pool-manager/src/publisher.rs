//! How one connection enters its commits in the ledger.
//!
//! Owns the time between SQLite's commit hook and the end of the statement that commits, and what the transaction wrote. It must not know
//! what the ledger makes of it. Invariant: each commit that was noted is published exactly once, at the end of the connection's
//! use at the latest; one that is not noted is found by its header, like that of another process.
//!
//! What a transaction wrote is what the statements may write that were prepared or handed out since the connection came into use. That is
//! more than those that ran, never less: no statement outlives a use.

use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use pool_stmt::rusqlite::Overheard;
use rusqlite::ffi;

use crate::anchor::Anchor;
use crate::faults::{self, Mutation, Point};
use crate::ledger::Writes;
use crate::wal_index::Header;

/// What connects one connection to the ledger of its file.
#[derive(Debug)]
pub(crate) struct Publisher {
    /// Of the file that the connection is on.
    anchor: Weak<Anchor>,
    overheard: OnceLock<Overheard>,
    /// The connection, for whoever is called back by it.
    connection: AtomicPtr<ffi::sqlite3>,
    /// Whether `noted` has a commit.
    pending: AtomicBool,
    noted: Mutex<Option<(Arc<Anchor>, Header)>>,
    /// Whether a commit comes next whose end nobody will tell.
    unreported: AtomicBool,
}

impl Publisher {
    pub(crate) fn new(anchor: Weak<Anchor>) -> Self {
        Self {
            anchor,
            overheard: OnceLock::new(),
            connection: AtomicPtr::default(),
            pending: AtomicBool::new(false),
            noted: Mutex::default(),
            unreported: AtomicBool::new(false),
        }
    }

    /// Says by which connection it is called back, and what is heard on that. Only the first call counts.
    pub(crate) fn set_up(&self, connection: *mut ffi::sqlite3, overheard: Overheard) {
        self.connection.store(connection, Ordering::Relaxed);
        let _ = self.overheard.set(overheard);
    }

    /// The connection; null before it is set up.
    pub(crate) fn connection(&self) -> *mut ffi::sqlite3 {
        self.connection.load(Ordering::Relaxed)
    }

    /// The file that the connection is on, unless it was closed.
    pub(crate) fn anchor(&self) -> Option<Arc<Anchor>> {
        self.anchor.upgrade()
    }

    /// Notes a commit that is about to happen. To be called with SQLite's lock to write `main` in hand.
    pub(crate) fn commit_begins(&self) {
        // One that was not reported is still to be published.
        self.settle();
        if self.unreported.swap(false, Ordering::Relaxed) {
            return;
        }
        let Some(anchor) = self.anchor() else { return };
        let Some(ledger) = anchor.ledger() else { return };
        faults::pause(Point::Committing);
        if faults::mutated(Mutation::PublishesEarly) {
            ledger.publish_early(&self.writes());
        }
        let header = ledger.commit_begins();
        *self.noted.lock() = Some((anchor, header));
        self.pending.store(true, Ordering::Relaxed);
    }

    /// Says that a statement is being reset that may commit then, after its end was told.
    pub(crate) fn ends_unreported(&self) {
        self.unreported.store(true, Ordering::Relaxed);
    }

    /// Publishes the commit that was noted, if it happened. To be called when a statement has ended, and when the use has.
    #[inline]
    pub(crate) fn settle(&self) {
        if self.pending.load(Ordering::Relaxed) {
            self.publish();
        }
    }

    fn publish(&self) {
        self.pending.store(false, Ordering::Relaxed);
        let Some((anchor, before)) = self.noted.lock().take() else { return };
        if let Some(ledger) = anchor.ledger() {
            ledger.committed(&before, self.writes());
        }
    }

    fn writes(&self) -> Writes {
        let Some(overheard) = self.overheard.get() else { return Writes::Any };
        let mut names: Vec<String> = Vec::new();
        let mut any = false;
        overheard.look(|accesses| {
            any |= accesses.unheard || accesses.changes_schema || accesses.attaches;
            for table in &accesses.tables_written {
                match &*table.database {
                    "main" => {
                        if !names.iter().any(|name| name.eq_ignore_ascii_case(&table.name)) {
                            names.push(table.name.to_ascii_lowercase());
                        }
                    }
                    "temp" => {}
                    // The same file may be attached under another name.
                    _ => any = true,
                }
            }
        });
        if faults::mutated(Mutation::ForgetsCascades) {
            names.retain(|name| !name.starts_with("cascade_"));
        }
        if faults::mutated(Mutation::ForgetsTables) {
            names.clear();
        }
        if any { Writes::Any } else { Writes::Tables(names) }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.settle();
    }
}
