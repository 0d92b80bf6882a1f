//! What a connection reports while it is used: statements that took time, and how large a commit left the log.
//!
//! Owns to whom that is told. It must not know who uses the connection. Invariant: a statement that took no time costs nothing here.

use std::time::Duration;

use crate::log::Due;
use crate::session::Rules;

impl Rules {
    /// Notes that a statement took time. SQLite measures in milliseconds, so most take none and are not told.
    #[cold]
    pub(crate) fn took_time(&self, sql: &str, nanoseconds: u64) {
        let (took, database) = (Duration::from_nanos(nanoseconds), &*self.name);
        self.statements.spent(sql, took);
        if self.in_force.is_slow(nanoseconds) {
            tracing::warn!(target: "pool_manager", database, sql, ?took, "slow statement");
        }
        // Outside WAL mode there is no log to keep.
        if !self.serial && self.in_force.is_long(nanoseconds) {
            tracing::warn!(target: "pool_manager", database, sql, ?took, "long read: the log could not be emptied meanwhile");
        }
    }

    /// Notes that a commit left a log with so many pages, of the `main` database or of an attached one; returns what to do about it.
    pub(crate) fn log_has(&self, pages: u32, main: bool) -> Due {
        let page_size = if main { self.page_size } else { 0 };
        let due = self.log.committed(pages, page_size, &self.in_force, &self.database);
        if due == Due::Passive
            && let Some(database) = self.database.upgrade()
        {
            database.name_long_readers(false);
            // What idle connections keep is outdated by the commit, and would be in the way.
            database.give_up_snapshots();
        }
        due
    }
}
