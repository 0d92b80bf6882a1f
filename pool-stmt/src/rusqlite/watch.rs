//! Whether the connection still knows the schema under which a statement was prepared.
//!
//! Owns the epoch of the schema. Must not know statements.
//! Invariant: if the schema that the connection knows differs from the one of an earlier epoch, the epoch differs. (It may also
//! differ without need: that costs one preparation for each statement in use.)
//!
//! SQLite prepares an outdated statement again by itself, but only when it is run: until then the statement tells the old
//! columns, and it still names what is gone. A newly prepared one does not, so a pooled one must not either. There are two ways
//! for the schema to change under a connection:
//!
//! - *by itself*: somebody prepared a statement that can do it, which the authorizer tells. From then on the epoch changes each
//!   time until no such statement is left that could run and no transaction is open that could be rolled back.
//! - *by another connection*: this one learns of it when it runs a statement, which SQLite then prepares again, so
//!   the authorizer is called while we are not preparing; or that preparation fails, which leaves an error. Or it learns of it
//!   while it prepares one for us. The user's own preparations and errors look the same, so the next question is whether the
//!   connection has reloaded its schema ([`Lodging::probe`]).

use super::classify;
use super::lodging::{Lodging, Resident};
use super::recorder::Recorder;
use rusqlite::ffi;
use std::cell::Cell;

/// Watches the schema that one connection knows.
#[derive(Debug, Default)]
pub(super) struct SchemaWatch {
    epoch: Cell<u64>,
    /// Somebody may be changing the schema.
    changing: Cell<bool>,
    /// A statement was prepared by us, or failed as one fails that has lost its table.
    doubtful: Cell<bool>,
}

/// Tells whether an error may come from SQLite's preparing a statement again in vain.
#[inline]
pub(super) fn is_doubtful(code: i32) -> bool {
    matches!(code & 0xff, ffi::SQLITE_ERROR | ffi::SQLITE_SCHEMA)
}

impl SchemaWatch {
    /// The number of the schema known now.
    #[inline]
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.get()
    }

    /// Begins a new epoch.
    pub(super) fn outdate(&self) {
        self.epoch.set(self.epoch.get() + 1);
    }

    /// Makes sure that the next call of [`settle`](Self::settle) looks closer.
    pub(super) fn doubt(&self) {
        self.doubtful.set(true);
    }

    /// Brings the epoch up to date. To be called before an idle statement is lent.
    #[inline]
    pub(super) fn settle<C: Resident>(&self, recorder: &Recorder, lodging: &Lodging<C>) {
        if self.is_changing(recorder) {
            recorder.prepared_elsewhere();
            self.settle_change(lodging);
            return;
        }
        let doubtful = recorder.prepared_elsewhere() | self.doubtful.replace(false) | is_doubtful(lodging.last_code());
        if doubtful {
            self.settle_doubt(recorder, lodging);
        }
    }

    /// Tells whether a change of the schema by this connection has not been seen to be over.
    #[inline]
    pub(super) fn is_changing(&self, recorder: &Recorder) -> bool {
        if recorder.schema_touched() {
            self.changing.set(true);
        }
        self.changing.get()
    }

    #[cold]
    fn settle_change<C: Resident>(&self, lodging: &Lodging<C>) {
        self.outdate();
        // Or one that rusqlite keeps would be a change to come for ever.
        lodging.connection().flush_prepared_statement_cache();
        if lodging.connection().is_autocommit() && !lodging.any_statement(classify::may_change_schema) {
            self.changing.set(false);
        }
    }

    /// Begins a new epoch if the connection has reloaded its schema.
    #[cold]
    pub(super) fn settle_doubt<C: Resident>(&self, recorder: &Recorder, lodging: &Lodging<C>) {
        // A probe that fails tells nothing, so the worse is assumed.
        let reloaded = recorder.mute(|| lodging.probe()).unwrap_or(true);
        if reloaded {
            self.outdate();
        }
    }
}
