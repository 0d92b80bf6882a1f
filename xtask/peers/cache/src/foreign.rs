//! Owns how the other caches are built and asked; must not know what is measured.
//!
//! ours and moka have a time to live, the others know none.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::ours::{Expiring, Key, Loading, Peer, TTL};

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

pub type QuickLoading = Arc<Quick<u64>>;

impl Loading for QuickLoading {
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

pub type MokaLoading = moka::future::Cache<u64, Arc<u64>>;

impl Loading for MokaLoading {
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
