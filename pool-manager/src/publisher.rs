//! How one connection enters its commits in the ledger.
//!
//! Owns the time between SQLite's commit hook and the end of the statement that commits, and what the transaction wrote. It must not know
//! what the ledger makes of it. Invariant: each commit on a connection in use is noted before anybody can see it, and published exactly once: when
//! the statement has ended, or, if SQLite commits after it has told the end, when the connection is used next, at the end of its use at
//! the latest. So is what a connection commits to a file that it has attached.
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
use crate::hooks;
use crate::ledger::{Ledger, Noted, Writes};
use crate::remains::Witness;
use crate::row_watch::RowWatch;

/// What connects one connection to the ledger of its file.
#[derive(Debug)]
pub(crate) struct Publisher {
    /// Of the file that the connection is on.
    anchor: Weak<Anchor>,
    /// The same file's, which the connection may outlive the anchor with.
    ledger: Arc<Ledger>,
    overheard: OnceLock<Overheard>,
    /// Which rows are written.
    pub(crate) rows: RowWatch,
    witness: OnceLock<Witness>,
    /// The connection, for whoever is called back by it.
    connection: AtomicPtr<ffi::sqlite3>,
    /// Whether `noted` has a commit.
    pending: AtomicBool,
    noted: Mutex<Vec<Commit>>,
    /// Whether a commit comes next whose end nobody will tell.
    unreported: AtomicBool,
}

/// A commit that is to be published.
#[derive(Debug)]
struct Commit {
    ledger: Arc<Ledger>,
    noted: Noted,
    /// Whether it is not known which tables it writes.
    any: bool,
}

impl Publisher {
    pub(crate) fn new(anchor: &Arc<Anchor>) -> Self {
        Self {
            anchor: Arc::downgrade(anchor),
            ledger: Arc::clone(anchor.commits()),
            overheard: OnceLock::new(),
            rows: RowWatch::default(),
            witness: OnceLock::new(),
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

    /// Says who tells whether settings were changed. Only the first call counts; before it no row is believed.
    pub(crate) fn set_witness(&self, witness: Witness) {
        let _ = self.witness.set(witness);
    }

    /// Begins a use that may write, outside a transaction.
    pub(crate) fn begin(&self) {
        self.rows.begin(self.ledger.wants_rows());
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
        // And one that can't be has not happened: this is the next try.
        self.rolled_back();
        faults::pause(Point::Committing);
        if faults::mutated(Mutation::PublishesEarly) {
            self.ledger.publish_early(&self.writes());
        }
        self.note(Arc::clone(&self.ledger), self.unreported.swap(false, Ordering::Relaxed), false);
    }

    /// Notes that the connection is about to commit to a file that it has attached, after what it is on.
    pub(crate) fn commit_begins_elsewhere(&self, ledger: Arc<Ledger>) {
        self.note(ledger, true, true);
    }

    /// Notes that a statement begins that commits without the hook being called.
    pub(crate) fn unhooked_commit_begins(&self) {
        self.settle();
        self.note(Arc::clone(&self.ledger), false, true);
    }

    fn note(&self, ledger: Arc<Ledger>, unreported: bool, any: bool) {
        let noted = ledger.commit_begins(unreported);
        self.noted.lock().push(Commit { ledger, noted, any });
        self.pending.store(true, Ordering::Relaxed);
    }

    /// Says that the transaction was rolled back that was about to be committed.
    pub(crate) fn rolled_back(&self) {
        if self.pending.swap(false, Ordering::Relaxed) {
            for Commit { ledger, noted, .. } in self.noted.lock().drain(..) {
                ledger.rolled_back(&noted);
            }
        }
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
            if !hooks::is_writing(self) {
                // No transaction is left whose rows these could be.
                self.begin();
            }
        }
    }

    fn publish(&self) {
        // Where no bytes tell: a commit that met a lock has not happened, and may be tried again.
        if !self.ledger.has_bytes() && hooks::is_writing(self) {
            return;
        }
        let mut commits = self.noted.lock();
        self.pending.store(false, Ordering::Relaxed);
        for Commit { ledger, noted, any } in commits.drain(..) {
            if any {
                ledger.committed(&noted, Writes::Any, None);
                continue;
            }
            let writes = self.writes();
            match self.witness.get() {
                Some(witness) => self.rows.look(witness, |rows| ledger.committed(&noted, writes, rows)),
                None => ledger.committed(&noted, writes, None),
            }
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
    /// Its connection is closed, so the files may be, too.
    fn drop(&mut self) {
        for Commit { ledger, noted, .. } in self.noted.lock().drain(..) {
            ledger.abandoned(&noted);
        }
    }
}
