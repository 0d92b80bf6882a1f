//! Owns the snapshot of a pool's numbers.
//!
//! Must not know how they are collected. Invariant: at rest they add up, see [`Stats`].

use std::time::Duration;

use crate::manager::CloseReason;

/// The numbers of a pool at one moment.
///
/// Collecting them reads the counters of every slot and takes the lock of the waiters for a moment; the short way of acquire
/// and release never waits for it. While the pool works the numbers are each right at a slightly different moment;
/// at rest they add up exactly:
///
/// - `total == leased + idle`, and `total + opening <= max_connections`
/// - `acquired == released + leased`
/// - `created == total + closed.total() + detached`
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// The limit in force.
    pub max_connections: usize,
    /// The minimum in force.
    pub min_connections: usize,
    /// Open connections, leased or idle.
    pub total: usize,
    /// Connections in somebody's hands.
    pub leased: usize,
    /// Open connections that nobody holds.
    pub idle: usize,
    /// Connections that are being opened.
    pub opening: usize,
    /// Callers who wait.
    pub waiting: usize,
    /// Connections opened since the pool was built.
    pub created: u64,
    /// Connections closed since the pool was built, by reason.
    pub closed: CloseCounts,
    /// Connections that were taken out of the pool for good.
    pub detached: u64,
    /// Leases given out.
    pub acquired: u64,
    /// Leases returned, in whatever way.
    pub released: u64,
    /// Failures and panics of `open`, `validate`, `reset` and hooks.
    pub errors: u64,
    /// Acquires that gave up waiting.
    pub timed_out: u64,
    /// Acquires that were refused because too many waited already.
    pub refused: u64,
    /// Acquires that had to wait and were served.
    pub waited: u64,
    /// Time that all served acquires took, waiting and opening, added up. An acquire that finds an idle connection
    /// does not read the clock and counts as zero.
    pub acquire_time_total: Duration,
    /// The longest such acquire.
    pub acquire_time_max: Duration,
    /// The longest queue seen.
    pub most_waiting: usize,
}

/// Connections closed since the pool was built, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CloseCounts([u64; CloseReason::ALL.len()]);

impl CloseCounts {
    /// Returns how many were closed for this reason.
    #[must_use]
    pub fn of(&self, reason: CloseReason) -> u64 {
        self.0[reason as usize]
    }

    /// Returns how many were closed for any reason.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(crate) fn count(&mut self, reason: CloseReason) {
        self.0[reason as usize] += 1;
    }
}
