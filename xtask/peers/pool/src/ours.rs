//! Owns what is pooled, how a pool is asked for it, and how ours is: without a check on hand-out.
//!
//! Must not know what is measured.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

/// What is pooled: something that costs nothing, so that the pool is all that is measured.
#[derive(Debug, Default)]
pub struct Thing {
    _content: u64,
}

/// One manager for everybody.
#[derive(Clone, Copy, Debug)]
pub struct Maker;

impl pool_core::Manager for Maker {
    type Connection = Thing;
    type Error = Infallible;

    async fn open(&self) -> Result<Thing, Infallible> {
        Ok(Thing::default())
    }
}

/// A pool that tasks wait for.
pub trait AsyncPool: Clone + Send + Sync + 'static {
    /// How it is called in the tables.
    const NAME: &'static str;
    /// Its guard.
    type Lease<'p>: Send;
    /// Builds a pool of this many connections, all open already where that can be asked for.
    fn new(size: usize) -> Self;
    /// Takes a connection.
    fn take(&self) -> impl Future<Output = Self::Lease<'_>> + Send;
}

/// A pool that threads wait for.
pub trait BlockingPool: Clone + Send + Sync + 'static {
    /// How it is called in the tables.
    const NAME: &'static str;
    /// Its guard.
    type Lease<'p>;
    /// Builds a pool of this many connections.
    fn new(size: usize) -> Self;
    /// Takes a connection.
    fn take(&self) -> Self::Lease<'_>;
}

/// How long a caller waits before it gives up: longer than anything measured.
pub const PATIENCE: Duration = Duration::from_secs(60);

fn ours(size: usize, patience: Duration) -> pool_core::Pool<Maker> {
    pool_core::Pool::builder(Maker)
        .max_connections(size)
        .min_connections(size)
        .acquire_timeout(patience)
        .build()
        .unwrap()
}

#[derive(Clone)]
pub struct OursAsync(pub pool_core::Pool<Maker>);

impl AsyncPool for OursAsync {
    const NAME: &'static str = "ours (async)";
    type Lease<'p> = pool_core::Lease<'p, Maker>;

    fn new(size: usize) -> Self {
        Self(ours(size, PATIENCE))
    }

    #[inline]
    async fn take(&self) -> Self::Lease<'_> {
        self.0.acquire().await.unwrap()
    }
}

/// Ours as deadpool is by itself: waiting without a limit.
#[derive(Clone)]
pub struct OursUnlimited(pool_core::Pool<Maker>);

impl AsyncPool for OursUnlimited {
    const NAME: &'static str = "ours (no limit)";
    type Lease<'p> = pool_core::Lease<'p, Maker>;

    fn new(size: usize) -> Self {
        Self(ours(size, Duration::MAX))
    }

    #[inline]
    async fn take(&self) -> Self::Lease<'_> {
        self.0.acquire().await.unwrap()
    }
}

#[derive(Clone)]
pub struct OursBlocking(pub pool_core::Pool<Maker>);

impl BlockingPool for OursBlocking {
    const NAME: &'static str = "ours (blocking)";
    type Lease<'p> = pool_core::Lease<'p, Maker>;

    fn new(size: usize) -> Self {
        Self(ours(size, PATIENCE))
    }

    #[inline]
    fn take(&self) -> Self::Lease<'_> {
        self.0.acquire_blocking().unwrap()
    }
}
