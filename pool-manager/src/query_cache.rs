//! Results of queries, kept for as long as nothing they read has changed.
//!
//! Owns the results, the moments from which they are and the counts. It must not know how a query is run, nor how it is told that
//! something changed (`anchor`, `ledger`). Invariant: a result is returned only if what it read is unchanged since a moment before its query
//! began, as of a moment after its caller asked.

use std::any::Any;
use std::cmp::Reverse;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pool_cache::{Clock, EntryOptions, Lately, Load, LoadError, TtlCache, TtlCacheBuilder};
use pool_config::PoolConfig;

use crate::anchor::Stamp;
use crate::anchorage::Anchorage;
use crate::error::{Error, Result};
use crate::faults::{self, Mutation, Point};
use crate::hopeless::{Hopeless, Place};
use crate::in_force::InForce;
use crate::key_look::Undecided;
use crate::ledger::Reads;
use crate::query_key::{Key, Name, Names};
use crate::reads::Seen;
use crate::volatile::{Reasons, Uncacheable, Volatile};
use crate::warm::HotQuery;
use crate::weight::Scales;

#[derive(Debug)]
struct Cached {
    /// From when it is and what it read; `None` for one that is not kept.
    basis: Option<(Stamp, Reads)>,
    value: Arc<dyn Any + Send + Sync>,
    /// Estimated bytes of the value.
    weight: u64,
    /// How often it was served, as far as callers did not do that at the same time: so it costs a load and a store.
    hits: AtomicU64,
}

impl Cached {
    /// Shares the value with a caller.
    #[inline]
    fn serve(&self) -> Arc<dyn Any + Send + Sync> {
        self.note_hit();
        Arc::clone(&self.value)
    }

    #[inline]
    fn note_hit(&self) {
        self.hits.store(self.hits.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

/// The query cache of one database.
#[derive(Debug)]
pub(crate) struct QueryCache {
    results: TtlCache<Key, Cached>,
    clock: Clock,
    /// Whether that is not the clock of the anchorage.
    has_own_clock: bool,
    anchorage: Arc<Anchorage>,
    in_force: Arc<InForce>,
    scales: Scales,
    reasons: Reasons,
    hopeless: Hopeless,
    /// Calls that ran their query past the cache because its last results could not be kept, and those of them that failed.
    passed_by: AtomicU64,
    failed_past: AtomicU64,
    stale_prevented: AtomicU64,
}

/// How one call uses the cache.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Manner {
    pub(crate) ttl: Option<Duration>,
    /// Keep the result although it depends on more than the database.
    pub(crate) volatile_ok: bool,
    /// Run the query in any case, and keep its result.
    pub(crate) refresh: bool,
}

/// The parts of a cache by these settings; the same for every pool with them.
fn settings(config: &PoolConfig) -> TtlCacheBuilder<Key, Cached> {
    let mut settings = TtlCache::builder().max_entries(config.max_cache_size()).max_weight(max_weight(config)).weigher(
        |key: &Key, cached: &Cached| {
            let around = key.bytes() + size_of::<Key>() + size_of::<Cached>();
            cached.weight.saturating_add(around as u64)
        },
    );
    settings = settings.ttl_jitter(config.cache_ttl_jitter());
    if config.cache_shards() > 0 {
        settings = settings.shards(config.cache_shards());
    }
    settings
}

fn max_weight(config: &PoolConfig) -> u64 {
    config.max_cache_weight().unwrap_or(u64::MAX)
}

impl QueryCache {
    /// `clock`: one that a test moves; without one it goes by that of the anchorage.
    pub(crate) fn new(in_force: Arc<InForce>, clock: Option<Clock>, anchorage: Arc<Anchorage>) -> Self {
        let has_own_clock = clock.is_some();
        let clock = clock.unwrap_or_else(|| anchorage.clock());
        let results = settings(&in_force.config()).clock(clock.clone()).build();
        let results = results.unwrap_or_else(|error| panic!("BUG: bounds and a clock were refused: {error}"));
        Self {
            results,
            clock,
            has_own_clock,
            anchorage,
            in_force,
            scales: Scales::default(),
            reasons: Reasons::default(),
            hopeless: Hopeless::default(),
            passed_by: AtomicU64::new(0),
            failed_past: AtomicU64::new(0),
            stale_prevented: AtomicU64::new(0),
        }
    }

    /// Takes the settings in force over: the bounds at once, times for results that are stored from now on.
    pub(crate) fn reconfigure(&self) {
        let config = self.in_force.config();
        self.results.set_max_entries(config.max_cache_size());
        self.results.set_max_weight(max_weight(&config));
        let jitter = self.results.set_ttl_jitter(config.cache_ttl_jitter());
        jitter.unwrap_or_else(|error| panic!("BUG: a checked share was refused: {error}"));
        if !config.enable_query_cache() {
            self.clear();
        }
    }

    /// Tells whether results are to be kept at all.
    #[inline]
    pub(crate) fn is_enabled(&self) -> bool {
        self.in_force.caches()
    }

    /// What results weigh.
    pub(crate) fn scales(&self) -> &Scales {
        &self.scales
    }

    /// Returns the stored result if it can be seen at a glance that it is still true. `None` is to be followed by
    /// [`get_or_run`](Self::get_or_run), which looks closer and counts. `lately`: the time, by the anchorage.
    #[inline]
    pub(crate) fn hit<T: Send + Sync + 'static>(
        &self,
        name: Name<'_>,
        manner: Manner,
        lately: Lately,
    ) -> Option<Arc<T>> {
        if manner.refresh {
            return None;
        }
        let value = self.results.glance_since(
            if self.has_own_clock { self.clock.lately() } else { lately },
            &name,
            |key| name.is_of(key),
            |cached| {
                let (stamp, reads) = cached.basis.as_ref()?;
                let holds = self.anchorage.plainly_holds(stamp, reads, self.in_force.lookout(&self.clock));
                holds.then(|| cached.serve())
            },
        )?;
        Some(typed(value))
    }

    /// Finds out what has to be looked at, by who reads from the database, before it can be told whether the stored result is still true, if
    /// that would tell.
    pub(crate) fn undecided(&self, name: Name<'_>, manner: Manner) -> Option<Undecided> {
        if manner.refresh || !self.anchorage.may_be_undecided() {
            return None;
        }
        let key: &(dyn Names + '_) = &name;
        let cached = self.results.peek(key)?;
        let (stamp, reads) = cached.basis.as_ref()?;
        self.anchorage.undecided(stamp, reads)
    }

    /// Returns the stored result if it is still true, or runs `query`, told the moment before it, once for all who ask, and keeps what it
    /// returns.
    pub(crate) async fn get_or_run<T, Q>(
        &self,
        name: Name<'_>,
        manner: Manner,
        query: impl FnOnce(Option<Stamp>) -> Q,
    ) -> Result<Arc<T>>
    where
        T: Send + Sync + 'static,
        Q: Future<Output = Result<(T, Seen)>>,
    {
        let load = async {
            let stamp = self.stamp();
            Ok(self.load(name, manner, stamp, query(stamp).await?))
        };
        let judge = Judge::new(self, manner);
        let key: &(dyn Names + '_) = &name;
        let found = self.results.get_or_load_if(key, self.options(manner), |cached| judge.accepts(cached), load).await;
        unpack(found)
    }

    /// The same on the calling thread.
    pub(crate) fn get_or_run_blocking<T: Send + Sync + 'static>(
        &self,
        name: Name<'_>,
        manner: Manner,
        query: impl FnOnce(Option<Stamp>) -> Result<(T, Seen)>,
    ) -> Result<Arc<T>> {
        let load = || {
            let stamp = self.stamp();
            Ok(self.load(name, manner, stamp, query(stamp)?))
        };
        let judge = Judge::new(self, manner);
        let key: &(dyn Names + '_) = &name;
        unpack(self.results.get_or_load_if_blocking(key, self.options(manner), |cached| judge.accepts(cached), load))
    }

    /// Results whose moment can't be told, or that depend on more than the database, go to their caller alone.
    fn load<T: Send + Sync + 'static>(
        &self,
        name: Name<'_>,
        manner: Manner,
        stamp: Option<Stamp>,
        (value, seen): (T, Seen),
    ) -> Load<Cached> {
        let stamp = if faults::mutated(Mutation::NumbersLate) { self.stamp() } else { stamp };
        let reason = match (seen.volatile, stamp) {
            (Some(reason), _) if !manner.volatile_ok => Some(reason),
            (_, None) => Some(Volatile::Moment),
            _ => None,
        };
        let basis = stamp.filter(|_| reason.is_none()).map(|stamp| (stamp, seen.reads));
        let cached =
            Cached { basis, weight: self.scales.weigh(&value), value: Arc::new(value), hits: AtomicU64::new(0) };
        if !manner.volatile_ok {
            // A moment that can't be told may be told the next time, and so may what was found by following a program.
            self.hopeless.note(Place::of(name), !(seen.was_heard && reason.is_some()));
        }
        if let Some(reason) = reason {
            self.not_kept(name.text, &reason);
            return Load::Pass(cached);
        }
        // The tag is for `invalidate`.
        Load::StoreWith(cached, self.options(manner).tag(name.text))
    }

    /// Tells whether to run a query past the cache, only hearing whether its result could still not be kept: the last ones could not. Counts
    /// that, and returns its place, for [`passed_by`](Self::passed_by).
    pub(crate) fn is_hopeless(&self, name: Name<'_>, manner: Manner) -> Option<Place> {
        let place = (!manner.volatile_ok && !manner.refresh).then(|| Place::of(name))?;
        self.hopeless.has(place).then(|| {
            self.passed_by.fetch_add(1, Ordering::Relaxed);
            place
        })
    }

    /// Takes what a query returned that ran past the cache, with the reason why that could not have been kept; without one the next result
    /// is looked at.
    pub(crate) fn passed_by<T>(
        &self,
        name: Name<'_>,
        place: Place,
        returned: Result<(T, Option<Volatile>)>,
    ) -> Result<Arc<T>> {
        match &returned {
            Ok((_, Some(reason))) => self.not_kept(name.text, reason),
            Ok((_, None)) => self.hopeless.note(place, true),
            Err(_) => _ = self.failed_past.fetch_add(1, Ordering::Relaxed),
        }
        returned.map(|(value, _)| Arc::new(value))
    }

    /// Counts a result that could not be kept.
    pub(crate) fn not_kept(&self, key: &str, reason: &Volatile) {
        self.reasons.count(reason);
        tracing::debug!(target: "pool_manager", key, %reason, "a query's result is not kept");
    }

    /// How many results could not be kept, and why.
    pub(crate) fn uncacheable(&self) -> Uncacheable {
        self.reasons.counts()
    }

    /// How many calls found a result that they could not have.
    pub(crate) fn stale_prevented(&self) -> u64 {
        self.stale_prevented.load(Ordering::Relaxed)
    }

    /// The bytes of all results, as far as known.
    pub(crate) fn bytes(&self) -> u64 {
        self.results.weight()
    }

    fn options(&self, manner: Manner) -> EntryOptions {
        EntryOptions::new().ttl(manner.ttl.unwrap_or_else(|| self.in_force.cache_ttl()))
    }

    /// The moment before a query.
    fn stamp(&self) -> Option<Stamp> {
        let stamp = self.anchorage.stamp(self.in_force.lookout(&self.clock));
        faults::pause(Point::Numbered);
        stamp
    }

    /// Drops the results of a key, and keeps those out that are on their way. Returns how many there were.
    pub(crate) fn invalidate(&self, key: &str) -> usize {
        self.results.invalidate_tag(key)
    }

    /// Takes tables to have changed.
    pub(crate) fn invalidate_tables(&self, tables: &[&str]) {
        let told = self.anchorage.current().is_some_and(|anchor| match anchor.ledger() {
            Some(ledger) => {
                ledger.outdate(tables.iter().map(|name| name.to_ascii_lowercase()).collect());
                true
            }
            None => false,
        });
        if !told {
            self.clear();
        }
    }

    /// The queries that are keys of results, those that were served most first.
    pub(crate) fn hot_queries(&self, limit: usize) -> Vec<HotQuery> {
        let mut all = self.results.snapshot();
        all.retain(|(key, _)| key.is_query());
        all.sort_by_key(|(_, cached)| Reverse(cached.hits.load(Ordering::Relaxed)));
        all.truncate(limit);
        let hot = |(key, cached): &(Key, Arc<Cached>)| {
            let (sql, parameters) = key.query()?;
            Some(HotQuery::hit(sql, parameters, cached.hits.load(Ordering::Relaxed)))
        };
        all.iter().filter_map(hot).collect()
    }

    pub(crate) fn stats(&self) -> pool_cache::Stats {
        let mut stats = self.results.stats();
        let passed_by = self.passed_by.load(Ordering::Relaxed);
        stats.misses += passed_by;
        stats.loads += passed_by;
        stats.load_failures += self.failed_past.load(Ordering::Relaxed);
        stats
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

/// Judges what is found in the cache, for one call.
struct Judge<'a> {
    cache: &'a QueryCache,
    refresh: bool,
    refused: AtomicBool,
}

impl<'a> Judge<'a> {
    #[inline]
    fn new(cache: &'a QueryCache, manner: Manner) -> Self {
        Self { cache, refresh: manner.refresh, refused: AtomicBool::new(false) }
    }

    #[inline]
    fn accepts(&self, cached: &Cached) -> bool {
        if self.refresh {
            return false;
        }
        let QueryCache { anchorage, in_force, clock, .. } = self.cache;
        let holds =
            cached.basis.as_ref().is_some_and(|(stamp, reads)| anchorage.holds(stamp, reads, in_force.lookout(clock)));
        if holds {
            cached.note_hit();
        }
        if !holds && !self.refused.swap(true, Ordering::Relaxed) {
            self.cache.stale_prevented.fetch_add(1, Ordering::Relaxed);
        }
        holds
    }
}

#[inline]
fn typed<T: Send + Sync + 'static>(value: Arc<dyn Any + Send + Sync>) -> Arc<T> {
    value.downcast().unwrap_or_else(|_| panic!("BUG: a cached result has another type than its key says"))
}

fn unpack<T: Send + Sync + 'static>(found: Result<Arc<Cached>, LoadError<Error>>) -> Result<Arc<T>> {
    match found {
        Ok(cached) => Ok(typed(Arc::clone(&cached.value))),
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
