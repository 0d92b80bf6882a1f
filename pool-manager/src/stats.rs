//! Figures: what a pool has done and is doing, under the names of the description and more.
//!
//! Owns names and units. It must not know how anything is counted.

use std::path::PathBuf;

use serde::{Serialize, Serializer};

use crate::volatile::Uncacheable;

/// What a pool has done and is doing: a snapshot. Counts run from the opening of the pool.
///
/// Serializes with its field names; through [`camel_case`](Self::camel_case) with those of the description
/// (`totalConnections`, ...).
///
/// ```
/// # let db = pool_manager::DatabaseManager::open(":memory:")?;
/// let stats = db.pool_stats().expect("pooling is on");
/// let json = serde_json::to_value(stats.camel_case()).expect("plain figures");
/// assert_eq!(json["activeConnections"], 0);
/// # Ok::<(), pool_manager::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PoolStats {
    /// Connections now, leased or idle or being opened.
    pub total_connections: usize,
    /// Connections in use now.
    pub active_connections: usize,
    /// Connections ready for use now.
    pub idle_connections: usize,
    /// Callers waiting for a connection now.
    pub waiting_clients: usize,
    /// Connections opened so far.
    pub total_created: u64,
    /// Connections closed so far.
    pub total_destroyed: u64,
    /// Times a connection was handed out.
    pub total_acquired: u64,
    /// Times a connection was given back.
    pub total_released: u64,
    /// Failures: opening, validating, and callers that waited in vain.
    pub total_errors: u64,
    /// Mean time from asking for a connection to getting it, in milliseconds; 0 before the first.
    pub average_acquire_time: f64,
    /// Share of cached calls answered from the query cache, 0 to 1; 0 before the first.
    pub cache_hit_rate: f64,
    /// Cached calls answered from the query cache.
    pub cache_hits: u64,
    /// Cached calls that had to run their query.
    pub cache_misses: u64,
    /// Results in the query cache now.
    pub cache_entries: usize,
    /// Cached calls whose result could not be kept, because it depends on more than the content of the database (the time, chance, a
    /// temporary table); the `tracing` event at debug level says on what.
    pub cache_uncacheable: u64,
    /// The same by the reason.
    pub cache_uncacheable_by: Uncacheable,
    /// Cached calls for which there was a result that was no longer true, or not known to be: each would have been a stale answer, or
    /// came while a commit was under way.
    pub cache_stale_prevented: u64,
    /// Bytes that the results in the query cache take, as far as known; see
    /// [`weigh_results`](crate::DatabaseManagerBuilder::weigh_results).
    pub cache_bytes: u64,
    /// Statements taken from a connection's cache.
    pub statement_hits: u64,
    /// Statements that had to be prepared.
    pub statement_misses: u64,
    /// Callers that waited for a connection in vain.
    pub total_timeouts: u64,
    /// Mean time that calls which announce that they write (`write`, transactions, `create`) waited for their turn, in milliseconds; 0
    /// before the first. Not part of `average_acquire_time`.
    pub average_write_wait: f64,
    /// Callers waiting for their turn to write now.
    pub waiting_writers: usize,
    /// The configured maximum of connections.
    pub max_connections: usize,
}

impl PoolStats {
    /// Share of prepared statements that were reused, 0 to 1; 0 before the first.
    #[must_use]
    pub fn statement_hit_rate(&self) -> f64 {
        rate(self.statement_hits, self.statement_misses)
    }

    /// Serializes under the names of the description.
    #[must_use]
    pub fn camel_case(&self) -> CamelCase<'_> {
        CamelCase(self)
    }

    /// Adds the figures of another pool. The mean is weighted by how often each handed out a connection.
    pub(crate) fn add(&mut self, other: &Self) {
        let acquired = self.total_acquired + other.total_acquired;
        if acquired > 0 {
            self.average_acquire_time = (self.average_acquire_time * self.total_acquired as f64
                + other.average_acquire_time * other.total_acquired as f64)
                / acquired as f64;
        }
        // Of several lanes the longest mean is the one to look at.
        self.average_write_wait = self.average_write_wait.max(other.average_write_wait);
        self.total_connections += other.total_connections;
        self.active_connections += other.active_connections;
        self.idle_connections += other.idle_connections;
        self.waiting_clients += other.waiting_clients;
        self.total_created += other.total_created;
        self.total_destroyed += other.total_destroyed;
        self.total_acquired = acquired;
        self.total_released += other.total_released;
        self.total_errors += other.total_errors;
        self.cache_hits += other.cache_hits;
        self.cache_misses += other.cache_misses;
        self.cache_hit_rate = rate(self.cache_hits, self.cache_misses);
        self.cache_entries += other.cache_entries;
        self.cache_uncacheable += other.cache_uncacheable;
        self.cache_uncacheable_by.add(&other.cache_uncacheable_by);
        self.cache_stale_prevented += other.cache_stale_prevented;
        self.cache_bytes += other.cache_bytes;
        self.statement_hits += other.statement_hits;
        self.statement_misses += other.statement_misses;
        self.total_timeouts += other.total_timeouts;
        self.waiting_writers += other.waiting_writers;
        self.max_connections += other.max_connections;
    }
}

pub(crate) fn rate(hits: u64, misses: u64) -> f64 {
    let all = hits + misses;
    if all == 0 { 0.0 } else { hits as f64 / all as f64 }
}

/// A [`PoolStats`] that serializes under the description's names; see [`PoolStats::camel_case`].
#[derive(Debug, Clone, Copy)]
pub struct CamelCase<'a>(&'a PoolStats);

impl Serialize for CamelCase<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let figures = serde_json::to_value(self.0).map_err(serde::ser::Error::custom)?;
        let figures = figures.as_object().into_iter().flatten();
        serializer.collect_map(figures.map(|(name, figure)| (to_camel_case(name), figure)))
    }
}

fn to_camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut camel, word| {
        let mut letters = word.chars();
        camel.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
        camel
    })
}

/// The figures of all pools of this process; see
/// [`DatabaseManager::global_pool_stats`](crate::DatabaseManager::global_pool_stats).
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct GlobalPoolStats {
    /// The figures of all pools, added up.
    pub total: PoolStats,
    /// The figures pool by pool, with the canonical path of the database (`:memory:` for one in memory).
    pub pools: Vec<(PathBuf, PoolStats)>,
}
