//! Owns how each competitor is asked for a connection: all of one kind, with checks on hand-out off.
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

impl r2d2::ManageConnection for Maker {
    type Connection = Thing;
    type Error = Infallible;

    fn connect(&self) -> Result<Thing, Infallible> {
        Ok(Thing::default())
    }

    fn is_valid(&self, _: &mut Thing) -> Result<(), Infallible> {
        Ok(())
    }

    fn has_broken(&self, _: &mut Thing) -> bool {
        false
    }
}

impl bb8::ManageConnection for Maker {
    type Connection = Thing;
    type Error = Infallible;

    async fn connect(&self) -> Result<Thing, Infallible> {
        Ok(Thing::default())
    }

    async fn is_valid(&self, _: &mut Thing) -> Result<(), Infallible> {
        Ok(())
    }

    fn has_broken(&self, _: &mut Thing) -> bool {
        false
    }
}

impl deadpool::managed::Manager for Maker {
    type Type = Thing;
    type Error = Infallible;

    async fn create(&self) -> Result<Thing, Infallible> {
        Ok(Thing::default())
    }

    async fn recycle(
        &self,
        _: &mut Thing,
        _: &deadpool::managed::Metrics,
    ) -> deadpool::managed::RecycleResult<Infallible> {
        Ok(())
    }
}

#[mobc::async_trait]
impl mobc::Manager for Maker {
    type Connection = Thing;
    type Error = Infallible;

    async fn connect(&self) -> Result<Thing, Infallible> {
        Ok(Thing::default())
    }

    async fn check(&self, thing: Thing) -> Result<Thing, Infallible> {
        Ok(thing)
    }
}

/// fast_pool wants errors made of text.
#[derive(Debug)]
pub struct Text;

impl From<&str> for Text {
    fn from(_: &str) -> Self {
        Text
    }
}

impl fast_pool::Manager for Maker {
    type Connection = Thing;
    type Error = Text;

    async fn connect(&self) -> Result<Thing, Text> {
        Ok(Thing::default())
    }

    async fn check(&self, _: &mut Thing) -> Result<(), Text> {
        Ok(())
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

const PATIENCE: Duration = Duration::from_secs(60);

fn ours(size: usize) -> pool_core::Pool<Maker> {
    pool_core::Pool::builder(Maker)
        .max_connections(size)
        .min_connections(size)
        .acquire_timeout(PATIENCE)
        .build()
        .unwrap()
}

#[derive(Clone)]
pub struct OursAsync(pub pool_core::Pool<Maker>);

impl AsyncPool for OursAsync {
    const NAME: &'static str = "ours (async)";
    type Lease<'p> = pool_core::Lease<'p, Maker>;

    fn new(size: usize) -> Self {
        Self(ours(size))
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
        Self(ours(size))
    }

    #[inline]
    fn take(&self) -> Self::Lease<'_> {
        self.0.acquire_blocking().unwrap()
    }
}

impl BlockingPool for r2d2::Pool<Maker> {
    const NAME: &'static str = "r2d2";
    type Lease<'p> = r2d2::PooledConnection<Maker>;

    fn new(size: usize) -> Self {
        r2d2::Pool::builder()
            .max_size(size as u32)
            .test_on_check_out(false)
            .connection_timeout(PATIENCE)
            .build(Maker)
            .unwrap()
    }

    #[inline]
    fn take(&self) -> Self::Lease<'_> {
        self.get().unwrap()
    }
}

impl AsyncPool for deadpool::managed::Pool<Maker> {
    const NAME: &'static str = "deadpool";
    type Lease<'p> = deadpool::managed::Object<Maker>;

    fn new(size: usize) -> Self {
        deadpool::managed::Pool::builder(Maker).max_size(size).build().unwrap()
    }

    #[inline]
    async fn take(&self) -> Self::Lease<'_> {
        self.get().await.unwrap()
    }
}

impl AsyncPool for bb8::Pool<Maker> {
    const NAME: &'static str = "bb8";
    type Lease<'p> = bb8::PooledConnection<'p, Maker>;

    fn new(size: usize) -> Self {
        bb8::Pool::builder()
            .max_size(size as u32)
            .test_on_check_out(false)
            .connection_timeout(PATIENCE)
            .build_unchecked(Maker)
    }

    #[inline]
    async fn take(&self) -> Self::Lease<'_> {
        self.get().await.unwrap()
    }
}

impl AsyncPool for mobc::Pool<Maker> {
    const NAME: &'static str = "mobc";
    type Lease<'p> = mobc::Connection<Maker>;

    fn new(size: usize) -> Self {
        mobc::Pool::builder()
            .max_open(size as u64)
            .max_idle(size as u64)
            .test_on_check_out(false)
            .get_timeout(Some(PATIENCE))
            .build(Maker)
    }

    #[inline]
    async fn take(&self) -> Self::Lease<'_> {
        self.get().await.unwrap()
    }
}

#[derive(Clone)]
pub struct FastPool(fast_pool::Pool<Maker>);

impl AsyncPool for FastPool {
    const NAME: &'static str = "fast_pool";
    type Lease<'p> = fast_pool::ConnectionGuard<Maker>;

    fn new(size: usize) -> Self {
        let pool = fast_pool::Pool::new(Maker);
        pool.set_max_open(size as u64);
        pool.set_timeout_check(None);
        pool.set_timeout_wait(Some(PATIENCE));
        Self(pool)
    }

    #[inline]
    async fn take(&self) -> Self::Lease<'_> {
        self.0.get().await.unwrap_or_else(|Text| panic!("fast_pool gave up"))
    }
}
