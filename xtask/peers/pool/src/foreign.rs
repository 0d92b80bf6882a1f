//! Owns how the other pools are asked for a connection. Those that can be told so do not test it on hand-out, but for the variants called
//! `(tested)`; the test itself costs nothing here, so what differs is the pool's own part of it. deadpool always recycles.
//!
//! Must not know what is measured.

use std::convert::Infallible;

use crate::ours::{AsyncPool, BlockingPool, Maker, PATIENCE, Thing};

pub type Deadpool = deadpool::managed::Pool<Maker>;

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

#[derive(Clone)]
pub struct R2d2<const TESTED: bool>(r2d2::Pool<Maker>);

impl<const TESTED: bool> BlockingPool for R2d2<TESTED> {
    const NAME: &'static str = if TESTED { "r2d2 (tested)" } else { "r2d2" };
    type Lease<'p> = r2d2::PooledConnection<Maker>;

    fn new(size: usize) -> Self {
        let builder = r2d2::Pool::builder().max_size(size as u32).test_on_check_out(TESTED);
        Self(builder.connection_timeout(PATIENCE).build(Maker).unwrap())
    }

    #[inline]
    fn take(&self) -> Self::Lease<'_> {
        self.0.get().unwrap()
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

/// deadpool with the time limit that all others have; by itself it waits without one.
#[derive(Clone)]
pub struct DeadpoolLimited(deadpool::managed::Pool<Maker>);

impl AsyncPool for DeadpoolLimited {
    const NAME: &'static str = "deadpool (60 s)";
    type Lease<'p> = deadpool::managed::Object<Maker>;

    fn new(size: usize) -> Self {
        let builder = deadpool::managed::Pool::builder(Maker).max_size(size);
        Self(builder.runtime(deadpool::Runtime::Tokio1).wait_timeout(Some(PATIENCE)).build().unwrap())
    }

    #[inline]
    async fn take(&self) -> Self::Lease<'_> {
        self.0.get().await.unwrap()
    }
}

#[derive(Clone)]
pub struct Bb8<const TESTED: bool>(bb8::Pool<Maker>);

impl<const TESTED: bool> AsyncPool for Bb8<TESTED> {
    const NAME: &'static str = if TESTED { "bb8 (tested)" } else { "bb8" };
    type Lease<'p> = bb8::PooledConnection<'p, Maker>;

    fn new(size: usize) -> Self {
        let builder = bb8::Pool::builder().max_size(size as u32).test_on_check_out(TESTED);
        Self(builder.connection_timeout(PATIENCE).build_unchecked(Maker))
    }

    #[inline]
    async fn take(&self) -> Self::Lease<'_> {
        self.0.get().await.unwrap()
    }
}

#[derive(Clone)]
pub struct Mobc<const TESTED: bool>(mobc::Pool<Maker>);

impl<const TESTED: bool> AsyncPool for Mobc<TESTED> {
    const NAME: &'static str = if TESTED { "mobc (tested)" } else { "mobc" };
    type Lease<'p> = mobc::Connection<Maker>;

    fn new(size: usize) -> Self {
        let builder = mobc::Pool::builder().max_open(size as u64).max_idle(size as u64).test_on_check_out(TESTED);
        Self(builder.get_timeout(Some(PATIENCE)).build(Maker))
    }

    #[inline]
    async fn take(&self) -> Self::Lease<'_> {
        self.0.get().await.unwrap()
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
