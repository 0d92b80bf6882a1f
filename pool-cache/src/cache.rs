//! The cache as callers see it, except for loading.
//!
//! Owns the public calls and puts time, weight and listener together with the store. Must not know shards or the
//! states of loads. Invariants: whatever changes an entry from outside outdates the loads of its key *before* it touches
//! the store; hashing, weighing, predicates, listeners and destructors run outside all locks, but for what `glance` is given.

use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::builder::{DEFAULT_MAX_ENTRIES, TtlCacheBuilder, valid_jitter};
use crate::clock::{Clock, Lately, nanos};
use crate::error::SettingError;
use crate::flights::Flights;
use crate::options::EntryOptions;
use crate::removal::{Listener, Removals};
use crate::shard::NewEntry;
use crate::stats::Stats;
use crate::store::{Found, Insertion, Interest, Store};
use crate::wheel::NEVER;

/// A time to live from which on a few milliseconds are no matter, in nanoseconds.
const LONG_LIFE: u64 = 10_000_000_000;

/// How an entry is weighed.
pub(crate) type Weigher<K, V> = dyn Fn(&K, &V) -> u64 + Send + Sync;

/// A bounded map whose values expire, shared between threads and tasks.
///
/// A clone is another reference to the same cache. See the [crate documentation](crate) for the promises.
pub struct TtlCache<K, V> {
    shared: Arc<Shared<K, V>>,
}

pub(crate) struct Shared<K, V> {
    pub(crate) store: Store<K, V>,
    pub(crate) flights: Flights<K, V>,
    pub(crate) loads: LoadCounters,
    clock: Clock,
    default_ttl: AtomicU64,
    /// The bits of the share.
    ttl_jitter: AtomicU64,
    weigher: Option<Box<Weigher<K, V>>>,
    listener: Listener<K, V>,
}

/// Counts of loads. Relaxed everywhere: they order nothing.
#[derive(Debug, Default)]
pub(crate) struct LoadCounters {
    pub(crate) started: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) waited: AtomicU64,
    pub(crate) outdated: AtomicU64,
}

impl<K, V> Clone for TtlCache<K, V> {
    fn clone(&self) -> Self {
        TtlCache { shared: Arc::clone(&self.shared) }
    }
}

impl<K, V> fmt::Debug for TtlCache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let budget = self.shared.store.budget();
        f.debug_struct("TtlCache")
            .field("entries", &budget.entries())
            .field("weight", &budget.weight())
            .field("max_entries", &budget.max_entries())
            .field("max_weight", &budget.max_weight())
            .finish_non_exhaustive()
    }
}

impl<K: Hash + Eq, V> TtlCache<K, V> {
    /// Starts setting up a cache.
    pub fn builder() -> TtlCacheBuilder<K, V> {
        TtlCacheBuilder::new()
    }

    pub(crate) fn from_settings(settings: TtlCacheBuilder<K, V>) -> Self {
        let max_weight = settings.max_weight.unwrap_or(u64::MAX);
        let max_entries = match (settings.max_entries, settings.max_weight) {
            (Some(entries), _) => entries as u64,
            (None, Some(_)) => u64::MAX,
            (None, None) => DEFAULT_MAX_ENTRIES as u64,
        };
        TtlCache {
            shared: Arc::new(Shared {
                store: Store::new(max_entries, max_weight, settings.shards),
                flights: Flights::new(),
                loads: LoadCounters::default(),
                clock: settings.clock,
                default_ttl: AtomicU64::new(settings.default_ttl),
                ttl_jitter: AtomicU64::new(settings.ttl_jitter.to_bits()),
                weigher: settings.weigher,
                listener: settings.listener,
            }),
        }
    }

    pub(crate) fn shared(&self) -> &Shared<K, V> {
        &self.shared
    }

    /// Returns the value of a key, if there is one whose time is not over. Counts a hit or a miss.
    ///
    /// ```
    /// let cache = pool_cache::TtlCache::<String, u32>::builder().build()?;
    /// cache.insert("one".to_owned(), 1);
    /// assert_eq!(cache.get("one").as_deref(), Some(&1));
    /// assert_eq!(cache.get("two"), None);
    /// # Ok::<(), pool_cache::SettingError>(())
    /// ```
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> Option<Arc<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.shared.store.hash(key);
        self.shared.find(hash, key, Interest::Asks)
    }

    /// Returns the value of a key like [`get`](Self::get), if `valid` accepts it. A refused value counts as a miss and
    /// stays where it is.
    ///
    /// ```
    /// let cache = pool_cache::TtlCache::<&str, (u64, &str)>::builder().build()?;
    /// cache.insert("row", (7, "as of version 7"));
    /// let current_version = 8;
    /// assert!(cache.get_if("row", |(version, _)| *version >= current_version).is_none());
    /// # Ok::<(), pool_cache::SettingError>(())
    /// ```
    pub fn get_if<Q>(&self, key: &Q, valid: impl FnOnce(&V) -> bool) -> Option<Arc<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.shared.store.hash(key);
        let value = self.shared.find(hash, key, Interest::Asks)?;
        if !valid(&value) {
            self.shared.store.refuse(hash);
            return None;
        }
        Some(value)
    }

    /// Returns what `take` makes of the value of a key, which spares sharing the value as [`get_if`](Self::get_if) does.
    ///
    /// `is` tells the key from others of the same hash: it accepts what is equal to `key`, which so may be of a type that only hashes
    /// alike. When `take` returns something that counts as a hit. When there is no value, or its time is over, or `take` returns `None`,
    /// nothing is counted or changed: who asks on with another call is counted by that.
    ///
    /// Both run while a part of the cache is locked: they must be quick and must not use the cache.
    ///
    /// ```
    /// let cache = pool_cache::TtlCache::<String, Vec<u64>>::builder().build()?;
    /// cache.insert("squares".to_owned(), vec![1, 4, 9]);
    /// let last = cache.glance("squares", |key| key == "squares", |squares| squares.last().copied());
    /// assert_eq!((last, cache.stats().hits), (Some(9), 1));
    /// # Ok::<(), pool_cache::SettingError>(())
    /// ```
    #[inline]
    pub fn glance<Q, T>(&self, key: &Q, is: impl Fn(&K) -> bool, take: impl FnOnce(&V) -> Option<T>) -> Option<T>
    where
        Q: Hash + ?Sized,
    {
        let shared = &*self.shared;
        shared.store.glance(shared.store.hash(key), is, |moment| shared.clock.has_come(moment), take)
    }

    /// Does what [`glance`](Self::glance) does, for who has asked the cache's clock just before, for something else: what was alive then counts
    /// as alive.
    ///
    /// ```
    /// let clock = pool_cache::Clock::system();
    /// let cache = pool_cache::TtlCache::<u32, u32>::builder().clock(clock.clone()).build()?;
    /// cache.insert(1, 10);
    /// assert_eq!(cache.glance_since(clock.lately(), &1, |key| *key == 1, |value| Some(*value)), Some(10));
    /// # Ok::<(), pool_cache::SettingError>(())
    /// ```
    #[inline]
    pub fn glance_since<Q, T>(
        &self,
        lately: Lately,
        key: &Q,
        is: impl Fn(&K) -> bool,
        take: impl FnOnce(&V) -> Option<T>,
    ) -> Option<T>
    where
        Q: Hash + ?Sized,
    {
        let shared = &*self.shared;
        shared.store.glance(shared.store.hash(key), is, |moment| shared.clock.has_come_since(lately, moment), take)
    }

    /// Returns the value of a key without counting, and without making its eviction less likely.
    pub fn peek<Q>(&self, key: &Q) -> Option<Arc<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.shared.find(self.shared.store.hash(key), key, Interest::None)
    }

    /// Says whether a key has a value whose time is not over, like [`peek`](Self::peek).
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.peek(key).is_some()
    }

    /// Stores a value with the cache's time to live, replacing what was there under its key. See
    /// [`insert_with`](Self::insert_with).
    pub fn insert(&self, key: K, value: V) -> bool {
        self.insert_with(key, value, EntryOptions::new())
    }

    /// Stores a value with its own time to live, weight and tags, replacing what was there under its key.
    ///
    /// Returns whether it is kept: `false` if it is heavier than `max_weight`, if `max_entries` is zero, or if its time to
    /// live is zero. What was there under its key is gone in any case, and a load of this key that was running when the
    /// call began will not overwrite it.
    pub fn insert_with(&self, key: K, value: V, options: EntryOptions) -> bool {
        let shared = &*self.shared;
        let mut removals = shared.removals();
        let hash = shared.store.hash(&key);
        let now = shared.time_for(&options);
        let new = shared.entry(hash, key, Arc::new(value), options, now);
        // Under the lock of its shard this call and a load, which looks at the shard after it is registered, see each other.
        match shared.store.insert(new, now, &mut removals, || !shared.flights.any()) {
            Insertion::Kept => true,
            Insertion::Refused(_) => false,
            Insertion::Held(new) => {
                shared.flights.outdate(hash, &new.key);
                matches!(shared.store.insert(new, now, &mut removals, || true), Insertion::Kept)
            }
        }
    }

    /// Removes the value of a key. Returns whether there was one whose time was not over.
    ///
    /// A load of this key that is running will not store its result, and nobody who asks from now on gets it.
    pub fn invalidate<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let shared = &*self.shared;
        let mut removals = shared.removals();
        let hash = shared.store.hash(key);
        shared.flights.outdate(hash, key);
        shared.store.invalidate(hash, key, shared.clock.now(), &mut removals)
    }

    /// Removes all entries that carry a tag. Returns how many of them had not expired.
    ///
    /// A running load that declared the tag, or whose result turns out to carry it, will not store its result, and
    /// nobody who asks from now on gets it. The cost is proportional to the entries removed.
    pub fn invalidate_tag(&self, tag: &str) -> usize {
        let shared = &*self.shared;
        let mut removals = shared.removals();
        shared.flights.outdate_tag(tag);
        shared.store.invalidate_tag(tag, shared.clock.now(), &mut removals)
    }

    /// Removes all entries that carry any of the tags. Returns how many of them had not expired.
    pub fn invalidate_tags<T: AsRef<str>>(&self, tags: impl IntoIterator<Item = T>) -> usize {
        tags.into_iter().map(|tag| self.invalidate_tag(tag.as_ref())).sum()
    }

    /// Removes all entries, and keeps the results of running loads out. Returns how many had not expired.
    pub fn invalidate_all(&self) -> usize {
        let shared = &*self.shared;
        let mut removals = shared.removals();
        shared.flights.outdate_all();
        shared.store.invalidate_all(shared.clock.now(), &mut removals)
    }

    /// Frees what has expired. Returns how many entries that were.
    ///
    /// Expired values are never returned, purged or not; a call now and then gives their memory back. The cost is
    /// proportional to what has expired, and other threads never wait for more than 16 removals of it. (Insertions
    /// free a little of what has expired as they go, so a busy cache needs this less.)
    pub fn purge_expired(&self) -> usize {
        let shared = &*self.shared;
        let mut removals = shared.removals();
        shared.store.purge_expired(shared.clock.now(), &mut removals)
    }

    /// Returns the number of entries, those included that have expired and were not purged yet.
    pub fn len(&self) -> usize {
        self.shared.store.budget().entries() as usize
    }

    /// Says whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the sum of the weights of the entries that [`len`](Self::len) counts.
    pub fn weight(&self) -> u64 {
        self.shared.store.budget().weight()
    }

    /// Returns the bound on entries.
    pub fn max_entries(&self) -> usize {
        usize::try_from(self.shared.store.budget().max_entries()).unwrap_or(usize::MAX)
    }

    /// Returns the bound on weight; `u64::MAX` if there is none.
    pub fn max_weight(&self) -> u64 {
        self.shared.store.budget().max_weight()
    }

    /// Changes the bound on entries. When it returns, the cache is within it.
    pub fn set_max_entries(&self, max_entries: usize) {
        self.shared.store.budget().set_max_entries(max_entries as u64);
        self.shared.shrink();
    }

    /// Changes the bound on weight. When it returns, the cache is within it.
    pub fn set_max_weight(&self, max_weight: u64) {
        self.shared.store.budget().set_max_weight(max_weight);
        self.shared.shrink();
    }

    /// Changes the time to live of entries inserted from now on that say nothing themselves; `None` is for ever.
    pub fn set_default_ttl(&self, ttl: Option<Duration>) {
        self.shared.default_ttl.store(ttl.map_or(NEVER, nanos), Ordering::Relaxed);
    }

    /// Changes by how much of its time to live an entry inserted from now on may be shortened, see
    /// [`ttl_jitter`](TtlCacheBuilder::ttl_jitter).
    ///
    /// # Errors
    ///
    /// [`SettingError::InvalidJitter`] if it is not a number from 0 to 1; nothing changes then.
    ///
    /// ```
    /// let cache = pool_cache::TtlCache::<u32, u32>::builder().build()?;
    /// cache.set_ttl_jitter(0.1)?;
    /// assert!(cache.set_ttl_jitter(1.5).is_err());
    /// # Ok::<(), pool_cache::SettingError>(())
    /// ```
    pub fn set_ttl_jitter(&self, share: f64) -> Result<(), SettingError> {
        self.shared.ttl_jitter.store(valid_jitter(share)?.to_bits(), Ordering::Relaxed);
        Ok(())
    }

    /// Returns the counts since the cache was created.
    pub fn stats(&self) -> Stats {
        let loads = &self.shared.loads;
        let mut stats = Stats {
            loads: loads.started.load(Ordering::Relaxed),
            load_failures: loads.failed.load(Ordering::Relaxed),
            load_waits: loads.waited.load(Ordering::Relaxed),
            loads_outdated: loads.outdated.load(Ordering::Relaxed),
            ..Stats::default()
        };
        self.shared.store.add_to(&mut stats);
        stats
    }

    /// Copies the keys and shares the values of everything that has not expired, in no order.
    ///
    /// Each shard is seen at one moment; keys are cloned while it is locked.
    ///
    /// ```
    /// let cache = pool_cache::TtlCache::<u32, u32>::builder().build()?;
    /// (1..=3).for_each(|i| _ = cache.insert(i, i * i));
    /// let total: u32 = cache.snapshot().into_iter().map(|(_, square)| *square).sum();
    /// assert_eq!(total, 14);
    /// # Ok::<(), pool_cache::SettingError>(())
    /// ```
    pub fn snapshot(&self) -> Vec<(K, Arc<V>)>
    where
        K: Clone,
    {
        self.shared.store.snapshot(self.shared.clock.now())
    }
}

impl<K: Hash + Eq, V> Shared<K, V> {
    pub(crate) fn removals(&self) -> Removals<'_, K, V> {
        Removals::new(&self.listener)
    }

    pub(crate) fn now(&self) -> u64 {
        self.clock.now()
    }

    /// The time at which an entry with these options comes in: from the cheap clock if it lives so long that its lag, which
    /// only shortens its life, is no matter.
    fn time_for(&self, options: &EntryOptions) -> u64 {
        let ttl = options.time_to_live(self.default_ttl.load(Ordering::Relaxed));
        if ttl >= LONG_LIFE { self.clock.lately().nanos() } else { self.clock.now() }
    }

    #[inline]
    pub(crate) fn find<Q>(&self, hash: u64, key: &Q, interest: Interest) -> Option<Arc<V>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        match self.store.look(hash, key, interest, |moment| self.clock.has_come(moment)) {
            Found::Alive(value) => Some(value),
            Found::Absent => None,
            Found::Expired => {
                self.store.expire(hash, self.clock.now(), &mut self.removals());
                None
            }
        }
    }

    /// Puts together what is stored; the weigher runs here.
    pub(crate) fn entry(&self, hash: u64, key: K, value: Arc<V>, options: EntryOptions, now: u64) -> NewEntry<K, V> {
        let weigh = || self.weigher.as_ref().map_or(1, |weigher| weigher(&key, &value));
        let weight = options.weight.unwrap_or_else(weigh);
        let default_ttl = self.default_ttl.load(Ordering::Relaxed);
        let jitter = f64::from_bits(self.ttl_jitter.load(Ordering::Relaxed));
        let expires_at = options.expires_at(now, default_ttl, jitter, hash ^ now);
        NewEntry { hash, key, value, weight, expires_at, tags: options.tags }
    }

    fn shrink(&self) {
        let mut removals = self.removals();
        self.store.shrink(self.now(), &mut removals);
    }
}
