//! Owns how a cache is asked, how ours is built, and the plain least-recently-used cache that hit ratios are compared with; must not know
//! what is measured.
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
pub const TTL: Duration = Duration::from_secs(3600);

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

/// The plain least-recently-used cache behind one lock.
pub struct Lru<K: Hash + Eq>(Mutex<lru::LruCache<K, Arc<u64>>>);

impl<K: Key> Peer<K> for Lru<K> {
    const NAME: &'static str = "lru";

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
