//! The time that pools and caches go by: the system's, or one that a test moves.
//!
//! Owns keeping the clocks of pool-core and pool-cache, which do not know each other, at the same time.

use std::time::Duration;

/// The time of a manager; the default is the system's monotonic clock.
#[derive(Debug, Clone, Default)]
pub struct Clock(Option<ManualClock>);

impl Clock {
    pub(crate) fn pool(&self) -> pool_core::Clock {
        self.0.as_ref().map_or_else(pool_core::Clock::system, |manual| manual.pool.clock())
    }

    /// That of caches; `None` for the system's.
    pub(crate) fn cache(&self) -> Option<pool_cache::Clock> {
        self.0.as_ref().map(|manual| manual.cache.clock())
    }
}

/// A clock that stands still until it is moved, for tests of what happens with time.
///
/// ```
/// use std::time::Duration;
/// use pool_manager::{DatabaseManager, ManualClock};
///
/// let time = ManualClock::new();
/// let db = DatabaseManager::builder().path(":memory:").clock(time.clock()).build()?;
/// let count = |db: &DatabaseManager| {
///     db.blocking().execute_cached("one", Some(Duration::from_secs(60)), |conn| {
///         Ok(conn.query_row("SELECT 1", [], |row| row.get::<_, i64>(0))?)
///     })
/// };
/// count(&db)?;
/// time.advance(Duration::from_secs(61));
/// count(&db)?; // has expired: runs again
/// assert_eq!(db.pool_stats().expect("pooling is on").cache_misses, 2);
/// # Ok::<(), pool_manager::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ManualClock {
    pool: pool_core::ManualClock,
    cache: pool_cache::ManualClock,
}

impl ManualClock {
    /// Makes a clock that stands still.
    #[must_use]
    pub fn new() -> Self {
        Self { pool: pool_core::ManualClock::new(), cache: pool_cache::ManualClock::new() }
    }

    /// The clock to give to [`DatabaseManagerBuilder::clock`](crate::DatabaseManagerBuilder::clock).
    #[must_use]
    pub fn clock(&self) -> Clock {
        Clock(Some(self.clone()))
    }

    /// Moves the time on. Time-outs that are due then have fired when this returns.
    pub fn advance(&self, by: Duration) {
        self.cache.advance(by);
        self.pool.advance(by);
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}
