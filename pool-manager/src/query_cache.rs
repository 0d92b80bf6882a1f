//! Results of queries, kept for as long as nothing was committed.
//!
//! Owns what makes a cached result the right one (its key, the types behind it) and still true (its stamp). It must not know how
//! a query is run. Invariant: a result is returned only if the database's stamp at that moment equals the stamp taken before the
//! result's query began, so nothing was committed in between by anybody.

use std::any::{Any, TypeId};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pool_cache::{EntryOptions, Load, LoadError, TtlCache};

use crate::anchor::{Anchorage, Stamp};
use crate::connection::Volatile;
use crate::error::{Error, Result};

/// What identifies a cached result: the caller's key, and which closure produced which type. Two queries that use the same key by
/// mistake can't get each other's rows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    text: Box<str>,
    value: TypeId,
    closure: TypeId,
}

#[derive(Debug)]
struct Cached {
    stamp: Option<Stamp>,
    value: Arc<dyn Any + Send + Sync>,
}

/// The query cache of one database.
#[derive(Debug)]
pub(crate) struct QueryCache {
    results: TtlCache<Key, Cached>,
    anchorage: Arc<Anchorage>,
    default_ttl: Duration,
    uncacheable: AtomicU64,
}

impl QueryCache {
    pub(crate) fn new(
        max_entries: usize,
        clock: pool_cache::Clock,
        anchorage: Arc<Anchorage>,
        default_ttl: Duration,
    ) -> Self {
        let results = TtlCache::builder().max_entries(max_entries).clock(clock).build();
        let results = results.unwrap_or_else(|error| panic!("BUG: a bound and a clock were refused: {error}"));
        Self { results, anchorage, default_ttl, uncacheable: AtomicU64::new(0) }
    }

    /// Returns the stored result if it is still true, or runs `query` once for all who ask, and keeps what it returns.
    pub(crate) async fn get_or_run<T, F, Q>(&self, key: &str, ttl: Option<Duration>, query: Q) -> Result<Arc<T>>
    where
        T: Send + Sync + 'static,
        F: 'static,
        Q: Future<Output = Result<(T, Option<Volatile>)>>,
    {
        let load = async {
            let stamp = self.stamp();
            Ok(self.load(key, stamp, query.await?))
        };
        let found = self
            .results
            .get_or_load_if(&key_of::<T, F>(key), self.options(ttl), |cached| self.holds(cached), load)
            .await;
        unpack(found)
    }

    /// The same on the calling thread.
    pub(crate) fn get_or_run_blocking<T, F>(
        &self,
        key: &str,
        ttl: Option<Duration>,
        query: impl FnOnce() -> Result<(T, Option<Volatile>)>,
    ) -> Result<Arc<T>>
    where
        T: Send + Sync + 'static,
        F: 'static,
    {
        let load = || {
            let stamp = self.stamp();
            Ok(self.load(key, stamp, query()?))
        };
        let options = self.options(ttl);
        unpack(self.results.get_or_load_if_blocking(&key_of::<T, F>(key), options, |cached| self.holds(cached), load))
    }

    /// Results whose moment can't be told, or that depend on more than the database, go to their caller alone.
    fn load<T: Send + Sync + 'static>(
        &self,
        key: &str,
        stamp: Option<Stamp>,
        (value, volatile): (T, Option<Volatile>),
    ) -> Load<Cached> {
        let cached = Cached { stamp, value: Arc::new(value) };
        if let Some(reason) = volatile {
            self.uncacheable.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(target: "pool_manager", key, %reason, "a query's result is not kept");
            return Load::Pass(cached);
        }
        if stamp.is_some() { Load::Store(cached) } else { Load::Pass(cached) }
    }

    /// How many results could not be kept.
    pub(crate) fn uncacheable(&self) -> u64 {
        self.uncacheable.load(Ordering::Relaxed)
    }

    fn options(&self, ttl: Option<Duration>) -> EntryOptions {
        EntryOptions::new().ttl(ttl.unwrap_or(self.default_ttl))
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

fn key_of<T: 'static, F: 'static>(text: &str) -> Key {
    Key { text: text.into(), value: TypeId::of::<T>(), closure: TypeId::of::<F>() }
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
