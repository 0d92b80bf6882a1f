//! Drives everything that `slot` does with `unsafe`, for tools that watch memory.
//!
//! Run under AddressSanitizer with `RUSTFLAGS=-Zsanitizer=address cargo +nightly test -p pool-core --target
//! x86_64-unknown-linux-gnu --test unsafe_parts`, under valgrind as `valgrind --error-exitcode=1 BINARY
//! --test-threads=1`, under miri as `cargo +nightly miri test -p pool-core --no-default-features --test unsafe_parts`.
//! Small and without a runtime, so that miri can run it.
//!
//! Connections own memory and are changed through every kind of guard, so that a second holder, a use after free or a
//! double drop is a fault the tools can see.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pool_core::{Manager, ManualClock, Pool};

struct Texts;

impl Manager for Texts {
    type Connection = Vec<String>;
    type Error = Infallible;

    async fn open(&self) -> Result<Vec<String>, Infallible> {
        Ok(vec!["opened".to_owned()])
    }

    fn reset(&self, texts: &mut Vec<String>) -> Result<(), Infallible> {
        texts.truncate(4);
        Ok(())
    }

    fn is_broken(&self, texts: &mut Vec<String>) -> bool {
        texts.first().is_some_and(|text| text == "broken")
    }
}

fn pool(connections: usize) -> Pool<Texts> {
    let time = ManualClock::new();
    Pool::builder(Texts).max_connections(connections).min_connections(0).clock(time.clock()).build().unwrap()
}

#[test]
fn guards_of_all_kinds_read_and_write_their_own_connection() {
    let pool = pool(3);
    let mut borrowed = pool.acquire_blocking().unwrap();
    let mut owned = pool.acquire_owned_blocking().unwrap();
    borrowed.push("borrowed".to_owned());
    owned.push("owned".to_owned());
    assert_eq!((borrowed[1].as_str(), owned[1].as_str()), ("borrowed", "owned"));
    drop(borrowed);
    let mut again = pool.try_acquire().unwrap();
    assert_eq!(again[1], "borrowed");
    again[0] = "broken".to_owned();
    drop(again);
    let detached = owned.detach();
    assert_eq!(detached[1], "owned");
    pool.acquire_blocking().unwrap().discard();
}

#[test]
fn connections_move_between_threads_with_their_claims() {
    let pool = pool(2);
    let rounds = if cfg!(miri) { 20 } else { 2000 };
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let pool = &pool;
            scope.spawn(move || {
                for round in 0..rounds {
                    let mut lease = pool.acquire_blocking().unwrap();
                    lease.push(format!("{thread} {round}"));
                    if round % 50 == 49 {
                        lease.discard();
                    }
                }
            });
        }
    });
    assert_eq!(pool.stats().acquired, 3 * rounds as u64);
}

#[test]
fn an_owned_lease_outlives_its_pool() {
    let pool = pool(1);
    let mut lease = pool.acquire_owned_blocking().unwrap();
    drop(pool);
    lease.push("alone".to_owned());
    let thread = std::thread::spawn(move || lease.len());
    assert_eq!(thread.join().unwrap(), 2);
}

#[test]
fn what_is_dropped_half_way_is_freed_once() {
    let pool = pool(1);
    let lease = pool.acquire_blocking().unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let mut given = Box::pin(pool.acquire());
    assert!(given.as_mut().poll(&mut context).is_pending());
    drop(lease);
    // It has been given the connection and never looks.
    drop(given);
    assert!(matches!(pin!(pool.acquire()).poll(&mut context), Poll::Ready(Ok(_))));
    std::mem::forget(pool.acquire_blocking().unwrap());
    assert_eq!(pool.close_blocking(Duration::ZERO).leased, 1);
}

#[test]
fn a_panic_while_holding_frees_the_connection_once() {
    let pool = pool(1);
    let panicking = AssertUnwindSafe(|| {
        let mut lease = pool.acquire_blocking().unwrap();
        lease.push("lost".to_owned());
        std::panic::resume_unwind(Box::new(()));
    });
    assert!(catch_unwind(panicking).is_err());
    assert_eq!(pool.acquire_blocking().unwrap().len(), 1);
}

#[test]
fn chunks_that_are_added_leave_the_others_where_they_are() {
    let pool = pool(1);
    let first = pool.acquire_blocking().unwrap();
    pool.reconfigure(pool.options().max_connections(150)).unwrap();
    let others: Vec<_> = (0..149).map(|_| pool.acquire_blocking().unwrap()).collect();
    assert!(others.iter().all(|lease| lease[0] == "opened"));
    assert_eq!(first[0], "opened");
    drop(others);
    drop(first);
    assert_eq!(pool.stats().idle, 150);
}
