//! How a cache is set up.
//!
//! Owns the settings, their defaults and their checks; must not know how they are kept. Invariant: a built cache has
//! valid settings.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use crate::cache::{TtlCache, Weigher};
use crate::clock::{Clock, nanos};
use crate::error::SettingError;
use crate::removal::{Listener, RemovalReason};
use crate::wheel::NEVER;

/// How many entries a cache keeps if neither `max_entries` nor `max_weight` is set.
pub(crate) const DEFAULT_MAX_ENTRIES: usize = 10_000;

/// Settings of a cache to be; made by [`TtlCache::builder`].
#[must_use = "a builder does nothing until it is built"]
pub struct TtlCacheBuilder<K, V> {
    pub(crate) max_entries: Option<usize>,
    pub(crate) max_weight: Option<u64>,
    pub(crate) shards: Option<usize>,
    pub(crate) default_ttl: u64,
    pub(crate) ttl_jitter: f64,
    pub(crate) weigher: Option<Box<Weigher<K, V>>>,
    pub(crate) listener: Listener<K, V>,
    pub(crate) clock: Clock,
}

impl<K: Hash + Eq, V> TtlCacheBuilder<K, V> {
    pub(crate) fn new() -> Self {
        TtlCacheBuilder {
            max_entries: None,
            max_weight: None,
            shards: None,
            default_ttl: NEVER,
            ttl_jitter: 0.0,
            weigher: None,
            listener: Listener(None),
            clock: Clock::system(),
        }
    }

    /// Bounds the number of entries. Zero keeps nothing. Default: 10,000, or no bound if `max_weight` is set.
    pub fn max_entries(mut self, max_entries: usize) -> Self {
        self.max_entries = Some(max_entries);
        self
    }

    /// Bounds the sum of the entries' weights, in the unit of the weigher (or of [`EntryOptions::weight`]).
    /// An entry heavier than this is never kept. Default: no bound.
    ///
    /// [`EntryOptions::weight`]: crate::EntryOptions::weight
    pub fn max_weight(mut self, max_weight: u64) -> Self {
        self.max_weight = Some(max_weight);
        self
    }

    /// Sets how many parts the cache is split into, each with a lock of its own; rounded up to a power of two. The bounds are
    /// those of the whole cache with any number. Default: by size and by what the machine can run at once.
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = Some(shards);
        self
    }

    /// Sets how an entry is weighed: once, when it is inserted, outside all locks. Default: everything weighs 1.
    ///
    /// ```
    /// use pool_cache::TtlCache;
    ///
    /// let cache = TtlCache::builder().max_weight(100).weigher(|_, text: &String| text.len() as u64).build()?;
    /// cache.insert(1, "x".repeat(60));
    /// cache.insert(2, "y".repeat(60));
    /// assert_eq!((cache.len(), cache.weight()), (1, 60));
    /// # Ok::<(), pool_cache::SettingError>(())
    /// ```
    pub fn weigher(mut self, weigher: impl Fn(&K, &V) -> u64 + Send + Sync + 'static) -> Self {
        self.weigher = Some(Box::new(weigher));
        self
    }

    /// Sets how long entries may be returned that say nothing themselves. Zero keeps nothing. Default: for ever.
    /// From 10 seconds on it may end a few milliseconds early, see [`EntryOptions::ttl`](crate::EntryOptions::ttl).
    pub fn default_ttl(mut self, ttl: Duration) -> Self {
        self.default_ttl = nanos(ttl);
        self
    }

    /// Shortens each time to live by a random share of up to this much, so that what was stored together does not expire
    /// together. 0 is none, 0.1 is up to a tenth, 1 is the most. Default: 0.
    pub fn ttl_jitter(mut self, share: f64) -> Self {
        self.ttl_jitter = share;
        self
    }

    /// Sets the clock. Default: the system's.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets who is told about entries that leave, and why.
    ///
    /// It runs on the thread whose call removed the entry, outside all locks, and may use the cache. If it panics, the
    /// panic reaches that call after everything else it had to do is done.
    ///
    /// ```
    /// use pool_cache::{RemovalReason, TtlCache};
    /// use std::sync::mpsc;
    ///
    /// let (tell, told) = mpsc::channel();
    /// let cache = TtlCache::builder()
    ///     .max_entries(1)
    ///     .listener(move |key: &u32, _value, reason| tell.send((*key, reason)).unwrap())
    ///     .build()?;
    /// cache.insert(1, "one");
    /// cache.insert(2, "two");
    /// assert_eq!(told.recv(), Ok((1, RemovalReason::Evicted)));
    /// # Ok::<(), pool_cache::SettingError>(())
    /// ```
    pub fn listener(mut self, listener: impl Fn(&K, &Arc<V>, RemovalReason) + Send + Sync + 'static) -> Self {
        self.listener = Listener(Some(Box::new(listener)));
        self
    }

    /// Creates the cache.
    ///
    /// # Errors
    ///
    /// [`SettingError::InvalidJitter`] if `ttl_jitter` is not a number from 0 to 1.
    pub fn build(self) -> Result<TtlCache<K, V>, SettingError> {
        valid_jitter(self.ttl_jitter)?;
        Ok(TtlCache::from_settings(self))
    }
}

pub(crate) fn valid_jitter(jitter: f64) -> Result<f64, SettingError> {
    if (0.0..=1.0).contains(&jitter) { Ok(jitter) } else { Err(SettingError::InvalidJitter { jitter }) }
}

impl<K, V> fmt::Debug for TtlCacheBuilder<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TtlCacheBuilder")
            .field("max_entries", &self.max_entries)
            .field("max_weight", &self.max_weight)
            .field("shards", &self.shards)
            .field("default_ttl", &(self.default_ttl != NEVER).then(|| Duration::from_nanos(self.default_ttl)))
            .field("ttl_jitter", &self.ttl_jitter)
            .field("weigher", &self.weigher.is_some())
            .field("listener", &self.listener)
            .field("clock", &self.clock)
            .finish()
    }
}
