//! Resources written for other pools, pooled unchanged.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]
#![cfg(all(feature = "r2d2", feature = "bb8", feature = "deadpool"))]

mod common;

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use common::{Told, now};
use pool_core::adapter::{Bb8, Deadpool, R2d2};
use pool_core::{AcquireError, CloseReason, Pool};

/// What all three traits manage here: a number that breaks, fails its check or fails to open on demand.
#[derive(Debug, Default)]
struct Source {
    opened: AtomicUsize,
    checked: AtomicUsize,
}

impl Source {
    fn open(&self) -> Result<usize, Told> {
        match self.opened.fetch_add(1, SeqCst) {
            3 => Err(Told),
            number => Ok(number),
        }
    }

    /// Even numbers pass.
    fn check(&self, number: usize) -> Result<(), Told> {
        self.checked.fetch_add(1, SeqCst);
        if number.is_multiple_of(2) { Ok(()) } else { Err(Told) }
    }
}

impl r2d2::ManageConnection for Source {
    type Connection = usize;
    type Error = Told;

    fn connect(&self) -> Result<usize, Told> {
        self.open()
    }
    fn is_valid(&self, number: &mut usize) -> Result<(), Told> {
        self.check(*number)
    }
    fn has_broken(&self, number: &mut usize) -> bool {
        *number == 100
    }
}

impl bb8::ManageConnection for Source {
    type Connection = usize;
    type Error = Told;

    async fn connect(&self) -> Result<usize, Told> {
        self.open()
    }
    async fn is_valid(&self, number: &mut usize) -> Result<(), Told> {
        self.check(*number)
    }
    fn has_broken(&self, number: &mut usize) -> bool {
        *number == 100
    }
}

impl deadpool::managed::Manager for Source {
    type Type = usize;
    type Error = Told;

    async fn create(&self) -> Result<usize, Told> {
        self.open()
    }
    async fn recycle(
        &self,
        number: &mut usize,
        metrics: &deadpool::managed::Metrics,
    ) -> deadpool::managed::RecycleResult<Told> {
        assert_eq!(metrics.recycle_count, self.checked.load(SeqCst));
        Ok(self.check(*number)?)
    }
    fn detach(&self, number: &mut usize) {
        *number += 1000;
    }
}

#[test]
fn a_resource_of_r2d2() {
    let pool = Pool::builder(R2d2(Source::default())).max_connections(1).min_connections(0);
    let pool = pool.validate_after_idle(Some(Duration::ZERO)).build().unwrap();
    assert_eq!(*pool.acquire_blocking().unwrap(), 0);
    *pool.acquire_blocking().unwrap() = 1;
    // Number 1 fails its check and number 100 is broken: both are replaced.
    *pool.acquire_blocking().unwrap() = 100;
    assert_eq!(*pool.acquire_blocking().unwrap(), 2);
    assert_eq!(pool.stats().closed.of(CloseReason::Invalid), 1);
    assert_eq!(pool.stats().closed.of(CloseReason::Broken), 1);
    pool.acquire_blocking().unwrap().discard();
    let error = pool.acquire_blocking().unwrap_err();
    assert!(matches!(error, AcquireError::OpenFailed { source: Told }));
}

#[test]
fn a_resource_of_bb8() {
    let pool = Pool::builder(Bb8(Source::default())).max_connections(1).min_connections(0);
    let pool = pool.validate_after_idle(Some(Duration::ZERO)).build().unwrap();
    assert_eq!(*now(pool.acquire()).unwrap(), 0);
    *now(pool.acquire()).unwrap() = 1;
    *now(pool.acquire()).unwrap() = 100;
    assert_eq!(*now(pool.acquire()).unwrap(), 2);
    assert_eq!(pool.stats().closed.total(), 2);
    now(pool.acquire()).unwrap().discard();
    let Err(AcquireError::OpenFailed { source }) = now(pool.acquire()).map(drop) else { panic!("it opened") };
    assert_eq!((source.to_string(), source.into_error()), ("Told".to_owned(), Told));
}

#[test]
fn a_resource_of_deadpool() {
    let pool = Pool::builder(Deadpool(Source::default())).max_connections(1).min_connections(0);
    let pool = pool.validate_after_idle(Some(Duration::ZERO)).build().unwrap();
    drop(now(pool.acquire()).unwrap());
    drop(now(pool.acquire()).unwrap());
    let mut lease = now(pool.acquire()).unwrap();
    assert_eq!((**lease, lease.metrics().recycle_count), (0, 2));
    **lease = 1;
    drop(lease);
    let lease = now(pool.acquire()).unwrap();
    assert_eq!((**lease, lease.metrics().recycle_count), (1, 0));
    assert_eq!(lease.detach().into_object(), 1001);
    now(pool.acquire()).unwrap().discard();
    assert!(matches!(now(pool.acquire()), Err(AcquireError::OpenFailed { .. })));
}
