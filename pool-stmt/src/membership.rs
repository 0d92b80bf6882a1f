//! The part of one connection in the registry of its database.
//!
//! Owns the counters of a connection. Must not know statements or facts.
//! Invariant: what was counted stays in the sum of the registry after the connection is gone.

use crate::registry::StatementRegistry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What can happen to a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StatementEvent {
    /// It was prepared.
    Prepare,
    /// It was found prepared.
    Hit,
    /// It was not found prepared.
    Miss,
    /// It was dropped for want of room.
    Evict,
    /// It was dropped on return.
    Discard,
    /// It was dropped because the schema changed.
    Outdate,
    /// The database prepared it again by itself.
    Reprepare,
    /// It ran.
    Run,
    /// It did a step of its program.
    Step,
    /// It stepped over a row in a full scan of a table.
    FullscanStep,
    /// It sorted.
    Sort,
    /// It put a row into an index made for one run.
    AutoIndexRow,
}

/// How many kinds of events there are.
pub(crate) const EVENTS: usize = StatementEvent::AutoIndexRow as usize + 1;

/// Makes a connection known to the registry of its database as long as it exists, and counts what happens on it.
///
/// ```
/// use pool_stmt::{StatementEvent, StatementRegistry};
/// use std::sync::Arc;
///
/// let registry = Arc::new(StatementRegistry::default());
/// let membership = StatementRegistry::connect(&registry);
/// membership.count(StatementEvent::Hit, 1);
/// assert_eq!((registry.stats().connections, registry.stats().hits), (1, 1));
/// drop(membership);
/// assert_eq!((registry.stats().connections, registry.stats().hits), (0, 1));
/// ```
#[derive(Debug)]
pub struct Membership {
    registry: Arc<StatementRegistry>,
    counters: Arc<Counters>,
}

/// The counters of one connection: written by whoever uses the connection, read by anybody.
#[derive(Debug, Default)]
pub(crate) struct Counters([AtomicU64; EVENTS]);

impl Counters {
    pub(crate) fn value(&self, event: StatementEvent) -> u64 {
        self.0[event as usize].load(Ordering::Relaxed)
    }

    /// Counts; to be called by the one thread that uses the connection.
    #[inline]
    pub(crate) fn count(&self, event: StatementEvent, times: u64) {
        // One writer at a time: a load and a store lose nothing and cost less than an atomic addition. `stats` reads.
        let counter = &self.0[event as usize];
        counter.store(counter.load(Ordering::Relaxed) + times, Ordering::Relaxed);
    }
}

impl Membership {
    pub(crate) fn new(registry: Arc<StatementRegistry>, counters: Arc<Counters>) -> Self {
        Self { registry, counters }
    }

    /// Counts an event that happened some times. To be called by the one thread that uses the connection.
    #[inline]
    pub fn count(&self, event: StatementEvent, times: u64) {
        self.counters.count(event, times);
    }

    #[cfg(feature = "rusqlite")]
    pub(crate) fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Returns the registry.
    #[must_use]
    pub fn registry(&self) -> &Arc<StatementRegistry> {
        &self.registry
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.registry.disconnect(&self.counters);
    }
}
