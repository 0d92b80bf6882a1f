//! The counts a cache shows.
//!
//! Owns the names and meanings of the counters; must not know who counts. Invariant: each event is counted once, in the
//! call that caused it, so at rest `insertions` is what is still there plus what left for each reason.

/// Counts since the cache was created, and its present size.
///
/// While calls are running the numbers may be an event apart; at rest they add up:
/// `insertions = entries + evictions + expirations + replacements + invalidations`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Calls that found a value.
    pub hits: u64,
    /// Calls that found none, an expired one, or one their predicate refused.
    pub misses: u64,
    /// Values stored.
    pub insertions: u64,
    /// Values not stored because they could never fit or would have expired at once.
    pub rejections: u64,
    /// Entries that left to make room.
    pub evictions: u64,
    /// Entries that left because their time was over.
    pub expirations: u64,
    /// Entries that left because another value was inserted under their key.
    pub replacements: u64,
    /// Entries that left because of an invalidation.
    pub invalidations: u64,
    /// Loaders that were started.
    pub loads: u64,
    /// Of these, the ones that failed, panicked or were cancelled.
    pub load_failures: u64,
    /// Times a caller waited for a load of another.
    pub load_waits: u64,
    /// Loaded values that were not stored because an invalidation or an insertion came in between.
    pub loads_outdated: u64,
    /// Entries now in the cache, expired ones that were not purged yet included.
    pub entries: u64,
    /// Their weight.
    pub weight: u64,
}

impl Stats {
    /// Gives hits as a share of hits and misses, between 0 and 1; 0 if nothing was asked.
    pub fn hit_ratio(&self) -> f64 {
        let asked = self.hits + self.misses;
        if asked == 0 { 0.0 } else { self.hits as f64 / asked as f64 }
    }
}
