//! Models of the concurrent parts, explored by loom over every interleaving up to a bound.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p pool-core --release --test loom`. `LOOM_MAX_PREEMPTIONS` (default
//! here 3) and `LOOM_MAX_BRANCHES` scale the search. Without the flag this file is empty.
//!
//! The models run the whole pool, whose atomics, locks and cells are loom's then; only the maintenance thread is left
//! out. loom's cell reports any two accesses to a connection that are not ordered, its scheduler any lost wake-up as a
//! deadlock.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]
#![cfg(loom)]

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};

use loom::sync::{Condvar, Mutex};
use loom::thread;
use pool_core::{AcquireError, Manager, Pool};

/// Counts what is open at once (with real atomics: they order nothing that loom would see).
#[derive(Clone, Default)]
struct Counting {
    open: Arc<AtomicUsize>,
    limit: usize,
    /// Whether `open` has to wait once.
    slow: bool,
}

struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Manager for Counting {
    type Connection = Open;
    type Error = Infallible;

    async fn open(&self) -> Result<Open, Infallible> {
        let mut waited = !self.slow;
        poll_fn(|context: &mut Context<'_>| {
            if std::mem::replace(&mut waited, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        assert!(self.open.fetch_add(1, SeqCst) < self.limit, "more connections than the maximum");
        Ok(Open(Arc::clone(&self.open)))
    }
}

struct Sleeper {
    woken: Mutex<bool>,
    wake: Condvar,
}

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        *self.woken.lock().unwrap() = true;
        self.wake.notify_one();
    }
}

/// Drives a future on a thread of the model (loom's own way stumbles over a waker that outlives its wait).
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let sleeper = Arc::new(Sleeper { woken: Mutex::new(false), wake: Condvar::new() });
    let waker = Waker::from(Arc::clone(&sleeper));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let mut woken = sleeper.woken.lock().unwrap();
        while !std::mem::take(&mut *woken) {
            woken = sleeper.wake.wait(woken).unwrap();
        }
    }
}

fn pool(connections: usize) -> Pool<Counting> {
    let manager = Counting { limit: connections, ..Counting::default() };
    Pool::builder(manager).max_connections(connections).min_connections(0).build().unwrap()
}

fn model(run: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(3);
    builder.max_branches = builder.max_branches.max(20_000);
    builder.check(run);
}

/// A task that acquires and releases, on a thread of its own.
fn spawn_task(pool: &Arc<Pool<Counting>>) -> thread::JoinHandle<()> {
    let pool = Arc::clone(pool);
    thread::spawn(move || drop(block_on(pool.acquire()).unwrap()))
}

/// The same, in a pool that may be closed meanwhile.
fn spawn_task_that_may_be_refused(pool: &Arc<Pool<Counting>>) -> thread::JoinHandle<()> {
    let pool = Arc::clone(pool);
    thread::spawn(move || match block_on(pool.acquire()) {
        Ok(lease) => drop(lease),
        Err(AcquireError::Closed) => {}
        Err(other) => panic!("{other}"),
    })
}

/// A thread that acquires and releases.
fn spawn_thread(pool: &Arc<Pool<Counting>>) -> thread::JoinHandle<()> {
    let pool = Arc::clone(pool);
    thread::spawn(move || drop(pool.acquire_blocking().unwrap()))
}

/// Polls a waiter once, as a runtime would that nobody wakes.
fn poll_once<F: Future>(waiter: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    waiter.poll(&mut Context::from_waker(Waker::noop()))
}

/// At rest nothing is leased, nobody waits, and all counts add up.
fn check_rest(pool: &Pool<Counting>) {
    let stats = pool.stats();
    assert_eq!((stats.leased, stats.waiting, stats.opening), (0, 0, 0), "{stats:?}");
    assert_eq!(stats.acquired, stats.released, "{stats:?}");
    assert_eq!(stats.created, stats.total as u64 + stats.closed.total() + stats.detached, "{stats:?}");
}

#[test]
fn two_threads_never_share_the_only_connection() {
    model(|| {
        let pool = Arc::new(pool(1));
        let other = spawn_thread(&pool);
        drop(pool.acquire_blocking().unwrap());
        other.join().unwrap();
        check_rest(&pool);
    });
}

#[test]
fn a_release_never_misses_a_waiter() {
    model(|| {
        let pool = Arc::new(pool(1));
        let lease = pool.try_acquire_owned().or_else(|| pool.acquire_owned_blocking().ok()).unwrap();
        let waiter = spawn_task(&pool);
        drop(lease);
        waiter.join().unwrap();
        check_rest(&pool);
    });
}

#[test]
fn three_callers_of_both_kinds_are_all_served() {
    model(|| {
        let pool = Arc::new(pool(1));
        let (first, second) = (spawn_task(&pool), spawn_thread(&pool));
        first.join().unwrap();
        second.join().unwrap();
        drop(block_on(pool.acquire()).unwrap());
        check_rest(&pool);
    });
}

#[test]
fn two_connections_are_handed_out_by_the_short_way_at_once() {
    model(|| {
        let pool = Arc::new(pool(2));
        let leases = (pool.acquire_blocking().unwrap(), pool.acquire_blocking().unwrap());
        drop(leases);
        let other = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || drop(pool.try_acquire()))
        };
        drop(pool.try_acquire());
        other.join().unwrap();
        check_rest(&pool);
    });
}

#[test]
fn a_connection_of_a_later_word_reaches_the_waiter_too() {
    model(|| {
        // Two slots a word: the third connection lives in the second word.
        let pool = Arc::new(pool(3));
        let first = (pool.acquire_blocking().unwrap(), pool.acquire_blocking().unwrap());
        let third = pool.acquire_owned_blocking().unwrap();
        let waiter = spawn_task(&pool);
        drop(third);
        waiter.join().unwrap();
        drop(first);
        check_rest(&pool);
    });
}

#[test]
fn a_waiter_that_gives_up_passes_on_what_it_was_given() {
    model(|| {
        let pool = Arc::new(pool(1));
        let lease = pool.acquire_owned_blocking().unwrap();
        let mut quitter = Box::pin(async { drop(pool.acquire().await) });
        assert!(poll_once(quitter.as_mut()).is_pending());
        let waiter = spawn_task(&pool);
        let releaser = thread::spawn(move || drop(lease));
        drop(quitter);
        waiter.join().unwrap();
        releaser.join().unwrap();
        check_rest(&pool);
    });
}

#[test]
fn an_open_that_is_dropped_half_way_frees_its_slot_for_the_next() {
    model(|| {
        let manager = Counting { limit: 1, slow: true, ..Counting::default() };
        let pool = Arc::new(Pool::builder(manager).max_connections(1).min_connections(0).build().unwrap());
        let mut quitter = Box::pin(async { drop(pool.acquire().await) });
        assert!(poll_once(quitter.as_mut()).is_pending());
        let waiter = spawn_task(&pool);
        drop(quitter);
        waiter.join().unwrap();
        check_rest(&pool);
    });
}

#[test]
fn closing_answers_everybody_and_keeps_nothing() {
    model(|| {
        let pool = Arc::new(pool(1));
        let lease = pool.acquire_owned_blocking().unwrap();
        let waiter = spawn_task_that_may_be_refused(&pool);
        let releaser = thread::spawn(move || drop(lease));
        pool.close_blocking(std::time::Duration::ZERO);
        waiter.join().unwrap();
        releaser.join().unwrap();
        check_rest(&pool);
        assert_eq!(pool.stats().total, 0);
    });
}

#[test]
fn closing_against_opening_leaves_no_connection_behind() {
    model(|| {
        let pool = Arc::new(pool(1));
        let opener = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || drop(pool.acquire_blocking()))
        };
        pool.close_blocking(std::time::Duration::ZERO);
        opener.join().unwrap();
        check_rest(&pool);
        assert_eq!((pool.stats().total, pool.manager().open.load(SeqCst)), (0, 0));
    });
}

#[test]
fn growing_against_waiting_serves_the_waiter() {
    model(|| {
        let manager = Counting { limit: 2, ..Counting::default() };
        let pool = Arc::new(Pool::builder(manager).max_connections(1).min_connections(0).build().unwrap());
        let lease = pool.acquire_blocking().unwrap();
        let waiter = spawn_task(&pool);
        pool.reconfigure(pool.options().max_connections(2)).unwrap();
        waiter.join().unwrap();
        drop(lease);
        check_rest(&pool);
    });
}

#[test]
fn shrinking_against_releasing_ends_at_the_new_maximum() {
    model(|| {
        let pool = Arc::new(pool(2));
        let first = pool.acquire_owned_blocking().unwrap();
        let second = pool.acquire_owned_blocking().unwrap();
        let releaser = thread::spawn(move || {
            drop(first);
            drop(second);
        });
        pool.reconfigure(pool.options().max_connections(1)).unwrap();
        releaser.join().unwrap();
        check_rest(&pool);
        assert_eq!(pool.stats().total, 1);
    });
}

#[test]
fn maintenance_against_an_acquire_never_takes_a_leased_connection() {
    model(|| {
        let pool = Arc::new(pool(1));
        drop(pool.acquire_blocking().unwrap());
        let holder = spawn_thread(&pool);
        pool.maintain();
        holder.join().unwrap();
        check_rest(&pool);
    });
}

#[test]
fn a_connection_that_came_from_the_queue_is_handed_on_or_found() {
    model(|| {
        // The second waiter joins while the first, who was handed the connection, returns it.
        let pool = Arc::new(pool(1));
        let lease = pool.acquire_owned_blocking().unwrap();
        let mut first = Box::pin(pool.acquire_owned());
        assert!(poll_once(first.as_mut()).is_pending());
        drop(lease);
        let Poll::Ready(Ok(handed)) = poll_once(first.as_mut()) else { panic!("the first was not served") };
        let second = spawn_task(&pool);
        drop(handed);
        second.join().unwrap();
        drop(first);
        check_rest(&pool);
    });
}

#[test]
fn a_waiter_that_gives_up_while_a_connection_is_handed_on_passes_it_on() {
    model(|| {
        let pool = Arc::new(pool(1));
        let lease = pool.acquire_owned_blocking().unwrap();
        let mut first = Box::pin(pool.acquire_owned());
        assert!(poll_once(first.as_mut()).is_pending());
        let mut quitter = Box::pin(pool.acquire_owned());
        assert!(poll_once(quitter.as_mut()).is_pending());
        drop(lease);
        let Poll::Ready(Ok(handed)) = poll_once(first.as_mut()) else { panic!("the first was not served") };
        let releaser = thread::spawn(move || drop(handed));
        let last = spawn_task(&pool);
        drop(quitter);
        releaser.join().unwrap();
        last.join().unwrap();
        drop(first);
        check_rest(&pool);
    });
}

#[test]
fn a_task_that_looks_again_while_it_is_served_takes_its_grant_once() {
    model(|| {
        // Polled without having been woken, the waiter looks outside the lock while the release grants inside.
        let pool = Arc::new(pool(1));
        let lease = pool.acquire_owned_blocking().unwrap();
        let mut waiter = Box::pin(pool.acquire_owned());
        assert!(poll_once(waiter.as_mut()).is_pending());
        let releaser = thread::spawn(move || drop(lease));
        let early = poll_once(waiter.as_mut());
        releaser.join().unwrap();
        match early {
            Poll::Ready(lease) => drop(lease.unwrap()),
            Poll::Pending => drop(block_on(waiter.as_mut()).unwrap()),
        }
        drop(waiter);
        check_rest(&pool);
    });
}

#[test]
fn a_task_that_lets_others_run_keeps_what_it_has_got_until_it_is_dropped() {
    model(|| {
        // In the models every task yields with its connection in hand.
        let pool = Arc::new(pool(1));
        drop(pool.acquire_blocking().unwrap());
        let mut quitter = Box::pin(async { drop(pool.acquire().await) });
        assert!(poll_once(quitter.as_mut()).is_pending());
        assert!(pool.try_acquire().is_none());
        let waiter = spawn_task(&pool);
        drop(quitter);
        waiter.join().unwrap();
        check_rest(&pool);
    });
}

#[test]
fn closing_against_a_task_that_lets_others_run_keeps_nothing() {
    model(|| {
        let pool = Arc::new(pool(1));
        drop(pool.acquire_blocking().unwrap());
        let task = spawn_task_that_may_be_refused(&pool);
        pool.close_blocking(std::time::Duration::ZERO);
        task.join().unwrap();
        check_rest(&pool);
        assert_eq!((pool.stats().total, pool.manager().open.load(SeqCst)), (0, 0));
    });
}
