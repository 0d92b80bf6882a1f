//! Since when a session reads from the log, and who that is.
//!
//! Owns the moment at which it began to, and the names by which it is told of. It must not know what the log makes of it. Invariant: a
//! session that reads from the log has a moment; one that has none keeps nobody from emptying it.
//!
//! A use that reads counts from its begin to its end. A connection on which anything may be done counts from the first statement to when
//! none is under way and no transaction is open. Moments are those of the cheap clock, so they are up to 10 ms early.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Session, State, Use};

/// So much of a text is kept, in bytes.
const TEXT: usize = 400;

/// The moments are nanoseconds, none of them zero. Each stands for itself: they order nothing.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// Zero while nothing is read.
    since: AtomicU64,
    /// Of a reader that kept the log from being emptied, its `since`.
    in_the_way: AtomicU64,
    /// Of a reader that was told of, its `since`.
    told: AtomicU64,
}

/// A use that has been reading the same state of the database for long; from [`DatabaseManager::long_readers`](crate::DatabaseManager::long_readers).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LongReader {
    /// The type of the closure, which names its call site, or how the connection is held.
    pub site: &'static str,
    /// The text of the query of a stream, or of the statement that began it on a connection on which anything may be done; cut off if it is
    /// long. `None` for a closure that reads.
    pub sql: Option<String>,
    /// For how long, to within 10 ms.
    pub reading_for: Duration,
    /// Whether the log could not be emptied because of it.
    pub keeps_log: bool,
}

impl Session {
    pub(super) fn begin_reading(&self, state: &mut State, usage: Use, site: &'static str) {
        state.site = site;
        state.sql.clear();
        let since = if usage == Use::Read && !self.rules.serial { self.now() } else { 0 };
        self.reading.since.store(since, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        self.rules.anchorage.lately().nanos().max(1)
    }

    /// Tells whether the statement that starts may begin to read something.
    #[inline]
    pub(crate) fn may_begin_reading(&self) -> bool {
        self.reading.since.load(Ordering::Relaxed) == 0 && self.usage() == Use::Any && !self.rules.serial
    }

    /// Notes that a statement with this text begins to.
    pub(crate) fn reads(&self, sql: &str) {
        {
            let State { sql: kept, .. } = &mut *self.state.lock();
            kept.clear();
            kept.push_str(&sql[..sql.floor_char_boundary(TEXT)]);
        }
        if self.may_begin_reading() {
            self.reading.since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// Notes that a statement has ended; `over` tells whether nothing is read any more then.
    pub(super) fn may_have_read(&self, over: impl FnOnce() -> bool) {
        if self.reading.since.load(Ordering::Relaxed) != 0 && self.usage() == Use::Any && over() {
            self.reading.since.store(0, Ordering::Relaxed);
        }
    }

    // For everybody else.

    /// Notes that the log could not be emptied, if this reads from it.
    pub(crate) fn was_in_the_way(&self) {
        self.reading.in_the_way.store(self.reading.since.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Tells whether it was, still reads, and was not told of.
    pub(crate) fn is_to_be_told(&self) -> bool {
        let Reading { since, in_the_way, told } = &self.reading;
        let since = since.load(Ordering::Relaxed);
        since != 0 && in_the_way.load(Ordering::Relaxed) == since && told.load(Ordering::Relaxed) != since
    }

    /// What it has been reading for at least this long; `anew`: unless it was told of before, and then it is.
    pub(crate) fn long_reader(&self, least: Duration, anew: bool) -> Option<LongReader> {
        let since = self.reading.since.load(Ordering::Relaxed);
        if since == 0 || (anew && self.reading.told.load(Ordering::Relaxed) == since) {
            return None;
        }
        let reading_for = Duration::from_nanos(self.now().saturating_sub(since));
        if reading_for < least {
            return None;
        }
        let state = self.state.lock();
        // Or the names are another one's.
        if self.reading.since.load(Ordering::Relaxed) != since {
            return None;
        }
        if anew {
            self.reading.told.store(since, Ordering::Relaxed);
        }
        Some(LongReader {
            site: state.site,
            sql: (!state.sql.is_empty()).then(|| state.sql.clone()),
            reading_for,
            keeps_log: self.reading.in_the_way.load(Ordering::Relaxed) == since,
        })
    }
}
