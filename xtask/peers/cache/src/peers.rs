//! Owns how each competitor is built and asked; must not know what is measured.
//!
//! All hold a `u64` behind an `Arc`, so that a hit copies the same and an insertion allocates the same.

use std::convert::Infallible;
use std::future::Future;
use std::hash::Hash;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

/// The time to live of those that know one, in scenarios in which nothing expires.
const TTL: Duration = Duration::from_secs(3600);

pub trait Key: Hash + Eq + Clone + Send + Sync + 'static {}
impl<K: Hash + Eq + Clone + Send + Sync + 'static> Key for K {}

/// A cache of at most `capacity` entries.
pub trait Peer<K>: Send + Sync + 'static {
    const NAME: &'static str;
    fn new(capacity: usize) -> Self;
    fn look(&self, key: &K) -> Option<Arc<u64>>;
    fn put(&self, key: K, value: u64);
    /// Does what is put off, so that what is measured next is the cache at rest.
    fn settle(&self) {}
}

/// A cache that can load, once for all who ask.
pub trait Loading: Clone + Send + Sync + 'static {
    const NAME: &'static str;
    fn new(capacity: usize) -> Self;
    fn load(&self, key: u64, loader: impl Future<Output = u64> + Send) -> impl Future<Output = Arc<u64>> + Send;
}

/// A cache whose entries have each a time to live of their own.
pub trait Expiring: Send + Sync + 'static {
    const NAME: &'static str;
    fn new(capacity: usize) -> Self;
    fn look(&self, key: u64) -> Option<Arc<u64>>;
    fn put(&self, key: u64, value: u64, ttl: Duration);
    /// Frees everything that has expired.
    fn purge(&self);
}

pub type Ours<K> = pool_cache::TtlCache<K, u64>;

impl<K: Key> Peer<K> for Ours<K> {
    const NAME: &'static str = "ours";

    fn new(capacity: usize) -> Self {
        Self::builder().max_entries(capacity).default_ttl(TTL).build().expect("valid settings")
    }

    #[inline]
    fn look(&self, key: &K) -> Option<Arc<u64>> {
        self.get(key)
    }

    #[inline]
    fn put(&self, key: K, value: u64) {
        self.insert(key, value);
    }
}

impl Loading for Ours<u64> {
    const NAME: &'static str = "ours";

    fn new(capacity: usize) -> Self {
        <Self as Peer<u64>>::new(capacity)
    }

    async fn load(&self, key: u64, loader: impl Future<Output = u64> + Send) -> Arc<u64> {
        self.get_or_load(&key, async { Ok::<_, Infallible>(loader.await) }).await.expect("the loader does not fail")
    }
}

impl Expiring for Ours<u64> {
    const NAME: &'static str = "ours";

    fn new(capacity: usize) -> Self {
        <Self as Peer<u64>>::new(capacity)
    }

    fn look(&self, key: u64) -> Option<Arc<u64>> {
        self.get(&key)
    }

    fn put(&self, key: u64, value: u64, ttl: Duration) {
        self.insert_with(key, value, pool_cache::EntryOptions::new().ttl(ttl));
    }

    fn purge(&self) {
        self.purge_expired();
    }
}

/// quick_cache; it knows no time to live.
pub type Quick<K> = quick_cache::sync::Cache<K, Arc<u64>>;

impl<K: Key> Peer<K> for Quick<K> {
    const NAME: &'static str = "quick_cache";

    fn new(capacity: usize) -> Self {
        quick_cache::sync::Cache::new(capacity)
    }

    #[inline]
    fn look(&self, key: &K) -> Option<Arc<u64>> {
        self.get(key)
    }

    #[inline]
    fn put(&self, key: K, value: u64) {
        self.insert(key, Arc::new(value));
    }
}

impl Loading for Arc<Quick<u64>> {
    const NAME: &'static str = "quick_cache";

    fn new(capacity: usize) -> Self {
        Arc::new(quick_cache::sync::Cache::new(capacity))
    }

    async fn load(&self, key: u64, loader: impl Future<Output = u64> + Send) -> Arc<u64> {
        let loaded = self.get_or_insert_async(&key, async { Ok::<_, Infallible>(Arc::new(loader.await)) }).await;
        loaded.expect("the loader does not fail")
    }
}

pub type Moka<K> = moka::sync::Cache<K, Arc<u64>>;

impl<K: Key> Peer<K> for Moka<K> {
    const NAME: &'static str = "moka";

    fn new(capacity: usize) -> Self {
        moka::sync::Cache::builder().max_capacity(capacity as u64).time_to_live(TTL).build()
    }

    #[inline]
    fn look(&self, key: &K) -> Option<Arc<u64>> {
        self.get(key)
    }

    #[inline]
    fn put(&self, key: K, value: u64) {
        self.insert(key, Arc::new(value));
    }

    fn settle(&self) {
        self.run_pending_tasks();
    }
}

impl Loading for moka::future::Cache<u64, Arc<u64>> {
    const NAME: &'static str = "moka";

    fn new(capacity: usize) -> Self {
        moka::future::Cache::builder().max_capacity(capacity as u64).time_to_live(TTL).build()
    }

    async fn load(&self, key: u64, loader: impl Future<Output = u64> + Send) -> Arc<u64> {
        self.get_with(key, async { Arc::new(loader.await) }).await
    }
}

/// moka with a time to live per entry, which is part of the value.
pub struct MokaExpiring(moka::sync::Cache<u64, (Arc<u64>, Duration)>);

struct OwnTime;

impl moka::Expiry<u64, (Arc<u64>, Duration)> for OwnTime {
    fn expire_after_create(&self, _: &u64, value: &(Arc<u64>, Duration), _: std::time::Instant) -> Option<Duration> {
        Some(value.1)
    }
}

impl Expiring for MokaExpiring {
    const NAME: &'static str = "moka";

    fn new(capacity: usize) -> Self {
        MokaExpiring(moka::sync::Cache::builder().max_capacity(capacity as u64).expire_after(OwnTime).build())
    }

    fn look(&self, key: u64) -> Option<Arc<u64>> {
        self.0.get(&key).map(|(value, _)| value)
    }

    fn put(&self, key: u64, value: u64, ttl: Duration) {
        self.0.insert(key, (Arc::new(value), ttl));
    }

    fn purge(&self) {
        self.0.run_pending_tasks();
    }
}

/// The plain least-recently-used cache behind one lock.
pub struct Lru<K: Hash + Eq>(Mutex<lru::LruCache<K, Arc<u64>>>);

impl<K: Key> Peer<K> for Lru<K> {
    const NAME: &'static str = "LRU";

    fn new(capacity: usize) -> Self {
        Lru(Mutex::new(lru::LruCache::new(NonZeroUsize::new(capacity).expect("room for an entry"))))
    }

    #[inline]
    fn look(&self, key: &K) -> Option<Arc<u64>> {
        self.0.lock().get(key).cloned()
    }

    #[inline]
    fn put(&self, key: K, value: u64) {
        let evicted = self.0.lock().push(key, Arc::new(value));
        drop(evicted);
    }
}

/// dashmap: a map, not a cache. It has no bound, so it only takes part where nothing has to leave.
pub type Map<K> = dashmap::DashMap<K, Arc<u64>>;

impl<K: Key> Peer<K> for Map<K> {
    const NAME: &'static str = "dashmap";

    fn new(_: usize) -> Self {
        dashmap::DashMap::new()
    }

    #[inline]
    fn look(&self, key: &K) -> Option<Arc<u64>> {
        self.get(key).map(|value| Arc::clone(&value))
    }

    #[inline]
    fn put(&self, key: K, value: u64) {
        self.insert(key, Arc::new(value));
    }
}
