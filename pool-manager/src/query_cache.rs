//! Results of queries, kept for as long as nothing was committed.
//!
//! Owns what makes a cached result the right one (its key, the types behind it) and still true (its stamp). It must not know how
//! a query is run. Invariant: a result is returned only if the database's stamp at that moment equals the stamp taken before the
//! result's query began, so nothing was committed in between by anybody.

use std::any::{Any, TypeId};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pool_cache::{EntryOptions, Load, LoadError, TtlCache, TtlCacheBuilder};
use pool_config::PoolConfig;

use crate::anchor::{Anchorage, Stamp};
use crate::connection::{Connection, Volatile};
use crate::error::{Error, Result};
use crate::in_force::InForce;
use crate::jitter;
use crate::weight::Scales;

/// What identifies a cached result: the caller's key, and which closure produced which type. Two queries that use the same key by
/// mistake can't get each other's rows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    text: Box<str>,
    value: TypeId,
    closure: TypeId,
    /// Which function a function pointer points to: pointers to all functions of a signature are of one type.
    pointer: Option<usize>,
}

/// A function pointer that can be used as a query.
type Pointer<T> = fn(&Connection) -> Result<T>;

impl Key {
    /// `None` for a boxed closure: all that can be in the box are of one type, so it can't be told which query it is.
    pub(crate) fn of<T: 'static, F: 'static>(text: &str, query: &F) -> Option<Self> {
        let closure = TypeId::of::<F>();
        if is_boxed::<T>(closure) {
            return None;
        }
        let pointer = (query as &dyn Any).downcast_ref::<Pointer<T>>().map(|pointer| *pointer as usize);
        Some(Self { text: text.into(), value: TypeId::of::<T>(), closure, pointer })
    }
}

fn is_boxed<T: 'static>(closure: TypeId) -> bool {
    [
        TypeId::of::<Box<dyn FnOnce(&Connection) -> Result<T> + Send>>(),
        TypeId::of::<Box<dyn FnMut(&Connection) -> Result<T> + Send>>(),
        TypeId::of::<Box<dyn Fn(&Connection) -> Result<T> + Send>>(),
        TypeId::of::<Box<dyn FnOnce(&Connection) -> Result<T> + Send + Sync>>(),
        TypeId::of::<Box<dyn FnMut(&Connection) -> Result<T> + Send + Sync>>(),
        TypeId::of::<Box<dyn Fn(&Connection) -> Result<T> + Send + Sync>>(),
        TypeId::of::<Box<dyn FnOnce(&Connection) -> Result<T>>>(),
        TypeId::of::<Box<dyn FnMut(&Connection) -> Result<T>>>(),
        TypeId::of::<Box<dyn Fn(&Connection) -> Result<T>>>(),
    ]
    .contains(&closure)
}

#[derive(Debug)]
struct Cached {
    stamp: Option<Stamp>,
    value: Arc<dyn Any + Send + Sync>,
    /// Estimated bytes of the value.
    weight: u64,
}

/// The query cache of one database.
#[derive(Debug)]
pub(crate) struct QueryCache {
    results: TtlCache<Key, Cached>,
    anchorage: Arc<Anchorage>,
    in_force: Arc<InForce>,
    scales: Scales,
    uncacheable: AtomicU64,
}

/// The parts of a cache by these settings; the same for every pool with them.
fn settings(config: &PoolConfig) -> TtlCacheBuilder<Key, Cached> {
    let mut settings = TtlCache::builder().max_entries(config.max_cache_size()).max_weight(max_weight(config)).weigher(
        |key: &Key, cached: &Cached| {
            let around = key.text.len() + size_of::<Key>() + size_of::<Cached>();
            cached.weight.saturating_add(around as u64)
        },
    );
    if config.cache_shards() > 0 {
        settings = settings.shards(config.cache_shards());
    }
    settings
}

fn max_weight(config: &PoolConfig) -> u64 {
    config.max_cache_weight().unwrap_or(u64::MAX)
}

impl QueryCache {
    pub(crate) fn new(in_force: Arc<InForce>, clock: pool_cache::Clock, anchorage: Arc<Anchorage>) -> Self {
        let results = settings(&in_force.config()).clock(clock).build();
        let results = results.unwrap_or_else(|error| panic!("BUG: bounds and a clock were refused: {error}"));
        Self { results, anchorage, in_force, scales: Scales::default(), uncacheable: AtomicU64::new(0) }
    }

    /// Takes the settings in force over: the bounds at once, times for results that are stored from now on.
    pub(crate) fn reconfigure(&self) {
        let config = self.in_force.config();
        self.results.set_max_entries(config.max_cache_size());
        self.results.set_max_weight(max_weight(&config));
        if !config.enable_query_cache() {
            self.clear();
        }
    }

    /// Tells whether results are to be kept at all.
    pub(crate) fn is_enabled(&self) -> bool {
        self.in_force.caches()
    }

    /// What results weigh.
    pub(crate) fn scales(&self) -> &Scales {
        &self.scales
    }

    /// Returns the stored result if it is still true, or runs `query` once for all who ask, and keeps what it returns.
    pub(crate) async fn get_or_run<T, Q>(&self, key: &Key, ttl: Option<Duration>, query: Q) -> Result<Arc<T>>
    where
        T: Send + Sync + 'static,
        Q: Future<Output = Result<(T, Option<Volatile>)>>,
    {
        let load = async {
            let stamp = self.stamp();
            Ok(self.load(key, stamp, query.await?))
        };
        let found = self.results.get_or_load_if(key, self.options(ttl), |cached| self.holds(cached), load).await;
        unpack(found)
    }

    /// The same on the calling thread.
    pub(crate) fn get_or_run_blocking<T: Send + Sync + 'static>(
        &self,
        key: &Key,
        ttl: Option<Duration>,
        query: impl FnOnce() -> Result<(T, Option<Volatile>)>,
    ) -> Result<Arc<T>> {
        let load = || {
            let stamp = self.stamp();
            Ok(self.load(key, stamp, query()?))
        };
        let options = self.options(ttl);
        unpack(self.results.get_or_load_if_blocking(key, options, |cached| self.holds(cached), load))
    }

    /// Results whose moment can't be told, or that depend on more than the database, go to their caller alone.
    fn load<T: Send + Sync + 'static>(
        &self,
        key: &Key,
        stamp: Option<Stamp>,
        (value, volatile): (T, Option<Volatile>),
    ) -> Load<Cached> {
        let cached = Cached { stamp, weight: self.scales.weigh(&value), value: Arc::new(value) };
        if let Some(reason) = volatile {
            self.not_kept(&key.text, &reason);
            return Load::Pass(cached);
        }
        if stamp.is_some() { Load::Store(cached) } else { Load::Pass(cached) }
    }

    /// Counts a result that could not be kept.
    pub(crate) fn not_kept(&self, key: &str, reason: &dyn fmt::Display) {
        self.uncacheable.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(target: "pool_manager", key, %reason, "a query's result is not kept");
    }

    /// How many results could not be kept.
    pub(crate) fn uncacheable(&self) -> u64 {
        self.uncacheable.load(Ordering::Relaxed)
    }

    fn options(&self, ttl: Option<Duration>) -> EntryOptions {
        let (default, share) = self.in_force.cache_times();
        EntryOptions::new().ttl(jitter::shorten(ttl.unwrap_or(default), share))
    }

    fn stamp(&self) -> Option<Stamp> {
        self.anchorage.stamp()
    }

    fn holds(&self, cached: &Cached) -> bool {
        cached.stamp.is_some() && cached.stamp == self.stamp()
    }

    pub(crate) fn stats(&self) -> pool_cache::Stats {
        self.results.stats()
    }

    /// Frees results whose time is over.
    pub(crate) fn purge_expired(&self) {
        self.results.purge_expired();
    }

    /// Drops all results.
    pub(crate) fn clear(&self) {
        self.results.invalidate_all();
    }
}

fn unpack<T: Send + Sync + 'static>(found: Result<Arc<Cached>, LoadError<Error>>) -> Result<Arc<T>> {
    match found {
        Ok(cached) => match Arc::clone(&cached.value).downcast::<T>() {
            Ok(value) => Ok(value),
            Err(_) => panic!("BUG: a cached result has another type than its key says"),
        },
        // Who ran the query alone gets its error as it is; those who waited for it share it.
        Err(LoadError::Failed { source }) => Err(Arc::try_unwrap(source).unwrap_or_else(Error::Shared)),
        Err(failed) => Err(Error::application(failed.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_shards_splits_the_cache_and_zero_leaves_that_to_the_cache() {
        for (shards, parts) in [(0, "None"), (4, "Some(4)")] {
            let config = PoolConfig::builder().cache_shards(shards).build().expect("it is allowed");
            let settings = format!("{:?}", settings(&config));
            assert!(settings.contains(&format!("shards: {parts}")), "{settings}");
        }
    }
}
