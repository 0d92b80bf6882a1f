//! How a session waits for locks of other processes, and what it says about a statement that failed.
//!
//! Owns the patience of the busy handler, and telling a refusal of ours from an error of SQLite. It must not know when a statement is
//! refused. Invariant: an error is named by the refusal of its own use, never of another.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rusqlite::ffi;

use super::{ALLOWED, Refusal, STATEMENT_ENDED, Session};
use crate::error::{Error, Result, extended_code, primary_code};
use crate::lane::NoTurn;
use crate::nesting;

impl Session {
    /// Tells the busy handler whether waiting on makes sense.
    pub(crate) fn may_wait(&self) -> bool {
        !self.impatient.load(Ordering::Relaxed)
            && matches!(self.refused.load(Ordering::Relaxed), ALLOWED | STATEMENT_ENDED)
    }

    /// Tells whether the lock that is waited for is one of the closure that waits: in a database where reading excludes writing, a closure on
    /// this thread writes by another connection. Nobody else can have it then.
    pub(crate) fn waits_for_its_caller(&self) -> bool {
        let lane = &self.rules.lane;
        let waits = self.rules.serial && nesting::writes_here(lane) && self.state.lock().permit.is_none();
        if waits {
            nesting::note_refusal(lane);
        }
        waits
    }

    pub(crate) fn busy_timeout(&self) -> Duration {
        self.rules.in_force.busy_timeout()
    }

    /// Tells how long the wait for a lock has lasted; `anew` begins one.
    pub(crate) fn waits_since(&self, anew: bool) -> Duration {
        let mut state = self.state.lock();
        let now = Instant::now();
        let since = if anew { now } else { state.busy_since.unwrap_or(now) };
        state.busy_since = Some(since);
        now - since
    }

    /// Notes for how long a wait for a lock has lasted in vain.
    pub(crate) fn gave_up_waiting(&self, waited: Duration) {
        self.busy_waited.store(u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    // Naming failures.

    /// Notes whether the statement that wants to write sets the journal mode.
    pub(crate) fn set_changes_journal(&self, changes: bool) {
        self.changes_journal.store(changes, Ordering::Relaxed);
    }

    /// Names what a failed use failed of: SQLite only knows "interrupted" and "busy".
    pub(crate) fn explain<T>(&self, outcome: Result<T>) -> Result<T> {
        outcome.map_err(|error| match error {
            Error::Sqlite(source) => self.explain_sqlite(source),
            other => other,
        })
    }

    pub(crate) fn explain_sqlite(&self, source: rusqlite::Error) -> Error {
        if self.is_inherited() {
            return self.forked();
        }
        let stopped = matches!(primary_code(&source), Some(ffi::SQLITE_INTERRUPT | ffi::SQLITE_BUSY))
            || extended_code(&source) == Some(ffi::SQLITE_CONSTRAINT_COMMITHOOK);
        if primary_code(&source) == Some(ffi::SQLITE_AUTH) && self.shared.load(Ordering::Relaxed) {
            return self.refusal_error(Refusal::EndsShared, source);
        }
        let refusal = if stopped { self.state.lock().refusal } else { None };
        match refusal {
            None => {
                let waited = Duration::from_nanos(self.busy_waited.swap(0, Ordering::Relaxed));
                // Where SQLite prepares a statement by a schema that may be old and can't look at the new one, it says that there is no such
                // table, and not that it met a lock: `schemaIsValid` in sqlite3.c.
                let unseen = self.rules.serial && !waited.is_zero() && primary_code(&source) == Some(ffi::SQLITE_ERROR);
                let code = primary_code(&source);
                let may_be_nested = match code {
                    Some(ffi::SQLITE_INTERRUPT | ffi::SQLITE_BUSY) => waited.is_zero(),
                    // As above.
                    Some(ffi::SQLITE_ERROR) => self.rules.serial && source.to_string().starts_with("no such table"),
                    _ => false,
                };
                if unseen {
                    self.locked(waited, source)
                } else if may_be_nested && nesting::take_refusal(&self.rules.lane) {
                    // Another connection's statement, run by this closure: it is held by hand.
                    self.refusal_error(Refusal::Nested, source)
                } else if code == Some(ffi::SQLITE_BUSY) && self.changes_journal.load(Ordering::Relaxed) {
                    Error::JournalModeInUse { source }
                } else {
                    Error::Sqlite(source).named(waited, self.busy_timeout())
                }
            }
            Some(refusal) => self.refusal_error(refusal, source),
        }
    }

    /// Names a lock that was met where a reader keeps writers out, and the other way round.
    fn locked(&self, waited: Duration, source: rusqlite::Error) -> Error {
        // Nobody but this process has a database in memory.
        match self.publisher.anchor().and_then(|anchor| anchor.identity()) {
            None => Error::WriteLaneTimeout { waited },
            Some(_) => Error::Busy { waited, busy_timeout: self.busy_timeout(), source },
        }
    }

    pub(super) fn refusal_error(&self, refusal: Refusal, source: rusqlite::Error) -> Error {
        match refusal {
            Refusal::Writes => {
                Error::ReadOnly { place: "a read closure only reads; use write or execute_with_pool", source }
            }
            Refusal::Frozen => Error::ReadOnly { place: "the database file was made read-only", source },
            Refusal::Lane(NoTurn::TimedOut(waited)) => Error::WriteLaneTimeout { waited },
            Refusal::Lane(NoTurn::Closed | NoTurn::Stopped) => Error::Closed { database: self.name().to_owned() },
            Refusal::Nested => Error::WouldDeadlock { what: "the write lane" },
            Refusal::TransactionEnded => Error::TransactionEnded,
            Refusal::EndsShared => Error::SharedTransaction { source },
            Refusal::Cancelled => Error::Interrupted { cause: "the caller went away", source },
            Refusal::Closing => Error::Interrupted { cause: "the pool was closed and its deadline has passed", source },
        }
    }
}
