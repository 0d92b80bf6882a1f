//! The settings that hold right now, for everybody who goes by them while the pool is open.
//!
//! Owns the configuration in force, and copies of what is needed of it in every statement or cached call. It must not know how a
//! pool takes new settings over. Invariant: readers never wait, and the configuration read is always one that was checked as a whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use pool_cache::Clock;
use pool_config::{ExternalWriters, Key, PoolConfig, WorkPlacement};

use crate::anchor::Lookout;

/// The settings in force.
#[derive(Debug)]
pub(crate) struct InForce {
    config: ArcSwap<PoolConfig>,
    /// How often what every connection is made with has changed.
    edition: AtomicU64,
    // Copies. Each means something alone, so they need not change together.
    /// `slow_statement` in nanoseconds; `u64::MAX` where that is not watched.
    slow: AtomicU64,
    /// `long_read` in nanoseconds; `u64::MAX` for never.
    long: AtomicU64,
    /// `wal_autocheckpoint` in pages.
    checkpoint_every: AtomicU64,
    /// `wal_size_limit` in bytes; `u64::MAX` for none.
    log_limit: AtomicU64,
    logs: AtomicBool,
    caches: AtomicBool,
    shares_snapshots: AtomicBool,
    /// `cache_ttl` in nanoseconds.
    cache_ttl: AtomicU64,
    /// `external_poll_interval` in nanoseconds where `external_writers` is `poll`, zero for `strict`, `u64::MAX` for `none`.
    look_every: AtomicU64,
}

/// What a connection is made with: it is not changed on one that is open, so that one is replaced.
const MADE_WITH: [Key; 8] = [
    Key::EnableStatementPooling,
    Key::StatementCacheSize,
    Key::StableQueryPlans,
    Key::Synchronous,
    Key::PageCacheSize,
    Key::MmapSize,
    Key::WalSizeLimit,
    Key::SnapshotIdle,
];

impl InForce {
    pub(crate) fn new(config: PoolConfig) -> Self {
        let this = Self {
            edition: AtomicU64::new(0),
            slow: AtomicU64::new(u64::MAX),
            long: AtomicU64::new(u64::MAX),
            checkpoint_every: AtomicU64::new(0),
            log_limit: AtomicU64::new(u64::MAX),
            logs: AtomicBool::new(false),
            caches: AtomicBool::new(false),
            shares_snapshots: AtomicBool::new(false),
            cache_ttl: AtomicU64::new(0),
            look_every: AtomicU64::new(0),
            config: ArcSwap::from_pointee(config),
        };
        this.copy();
        this
    }

    /// Returns the settings in force.
    pub(crate) fn config(&self) -> Arc<PoolConfig> {
        self.config.load_full()
    }

    /// Puts other settings in force. To be called by one at a time.
    pub(crate) fn set(&self, new: PoolConfig) {
        let old = self.config.swap(Arc::new(new));
        self.copy();
        let new = self.config();
        if MADE_WITH.into_iter().any(|key| old.value(key) != new.value(key)) {
            // After the settings, so that who sees the new edition makes connections with them: pairs with `edition`.
            self.edition.fetch_add(1, Ordering::Release);
        }
    }

    fn copy(&self) {
        let config = self.config.load();
        let slow = if config.enable_logging() { nanos(config.slow_statement()) } else { u64::MAX };
        self.slow.store(slow, Ordering::Relaxed);
        self.long.store(config.long_read().map_or(u64::MAX, nanos), Ordering::Relaxed);
        self.checkpoint_every.store(config.wal_autocheckpoint() as u64, Ordering::Relaxed);
        self.log_limit.store(config.wal_size_limit().unwrap_or(u64::MAX), Ordering::Relaxed);
        self.logs.store(config.enable_logging(), Ordering::Relaxed);
        self.caches.store(config.enable_query_cache(), Ordering::Relaxed);
        self.shares_snapshots.store(config.shared_snapshots(), Ordering::Relaxed);
        self.cache_ttl.store(nanos(config.cache_ttl()), Ordering::Relaxed);
        let look_every = match config.external_writers() {
            ExternalWriters::Strict => 0,
            ExternalWriters::Poll => nanos(config.external_poll_interval()),
            ExternalWriters::None => u64::MAX,
        };
        self.look_every.store(look_every, Ordering::Relaxed);
    }

    /// Names what connections are made with now. To be read before the settings that a connection is made with.
    #[inline]
    pub(crate) fn edition(&self) -> u64 {
        self.edition.load(Ordering::Acquire)
    }

    /// Tells whether a statement that ran for so long, in nanoseconds, is to be reported as slow.
    #[inline]
    pub(crate) fn is_slow(&self, nanoseconds: u64) -> bool {
        nanoseconds >= self.slow.load(Ordering::Relaxed)
    }

    /// Tells whether a statement that read for so long, in nanoseconds, is to be reported for it.
    #[inline]
    pub(crate) fn is_long(&self, nanoseconds: u64) -> bool {
        nanoseconds >= self.long.load(Ordering::Relaxed)
    }

    /// From how many pages on the log is moved into the database file, zero for never, and from how many bytes on it is emptied.
    #[inline]
    pub(crate) fn log_limits(&self) -> (u64, u64) {
        (self.checkpoint_every.load(Ordering::Relaxed), self.log_limit.load(Ordering::Relaxed))
    }

    /// Whether what happens in the pool is told as events.
    #[inline]
    pub(crate) fn logs(&self) -> bool {
        self.logs.load(Ordering::Relaxed)
    }

    /// Whether results of queries are kept.
    #[inline]
    pub(crate) fn caches(&self) -> bool {
        self.caches.load(Ordering::Relaxed)
    }

    /// Whether readers keep their snapshots for the next.
    #[inline]
    pub(crate) fn shares_snapshots(&self) -> bool {
        self.shares_snapshots.load(Ordering::Relaxed)
    }

    /// How long results are kept at most.
    #[inline]
    pub(crate) fn cache_ttl(&self) -> Duration {
        Duration::from_nanos(self.cache_ttl.load(Ordering::Relaxed))
    }

    /// When cached results are compared with what other processes have committed.
    #[inline]
    pub(crate) fn lookout<'a>(&self, clock: &'a Clock) -> Lookout<'a> {
        match self.look_every.load(Ordering::Relaxed) {
            0 => Lookout::Always,
            u64::MAX => Lookout::Never,
            nanos => Lookout::Every(Duration::from_nanos(nanos), clock),
        }
    }

    pub(crate) fn acquire_timeout(&self) -> Duration {
        self.config.load().acquire_timeout()
    }

    /// For how long writers are kept waiting while the log is emptied: never so long that they give up.
    pub(crate) fn emptying_time(&self) -> Duration {
        let config = self.config.load();
        config.checkpoint_timeout().min(config.acquire_timeout() / 2)
    }

    pub(crate) fn busy_timeout(&self) -> Duration {
        self.config.load().busy_timeout()
    }

    pub(crate) fn work_placement(&self) -> WorkPlacement {
        self.config.load().work_placement()
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
