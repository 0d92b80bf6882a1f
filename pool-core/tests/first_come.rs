//! Who gets a connection, and when: order, limits, trying, waiting, giving up.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod common;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering::SeqCst;
use std::task::Poll;
use std::time::Duration;

use common::{Fake, fake, now, poll_once, until};
use pool_core::{Acquire, AcquireError, ManualClock, Pool};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn never_more_than_the_maximum() {
    let (builder, world) = fake();
    let pool = builder.max_connections(2).build().unwrap();
    let first = now(pool.acquire()).unwrap();
    let second = pool.acquire_blocking().unwrap();
    let mut third = pin!(pool.acquire());
    assert!(poll_once(third.as_mut()).is_pending());
    assert_ne!(first.number, second.number);
    assert_eq!(world.most_open.load(SeqCst), 2);
}

#[test]
fn a_release_hands_over_to_the_first_waiter() {
    let (builder, _) = fake();
    let pool = builder.max_connections(1).build().unwrap();
    let lease = now(pool.acquire()).unwrap();
    let mut first = pin!(pool.acquire());
    let mut second = pin!(pool.acquire());
    assert!(poll_once(first.as_mut()).is_pending());
    assert!(poll_once(second.as_mut()).is_pending());
    drop(lease);
    assert!(poll_once(second.as_mut()).is_pending());
    assert!(pool.try_acquire().is_none());
    let Poll::Ready(Ok(lease)) = poll_once(first.as_mut()) else { panic!("the first was not served") };
    drop(lease);
    assert!(poll_once(second.as_mut()).is_ready());
}

#[test]
fn timed_out_waiter_does_not_consume_a_handoff() {
    let (builder, _) = fake();
    let time = ManualClock::new();
    let pool = builder.max_connections(1).clock(time.clock()).acquire_timeout(SECOND).build().unwrap();
    let lease = now(pool.acquire()).unwrap();
    let mut early = pin!(pool.acquire());
    let mut late = pin!(pool.acquire_timeout(10 * SECOND));
    assert!(poll_once(early.as_mut()).is_pending());
    assert!(poll_once(late.as_mut()).is_pending());
    time.advance(SECOND);
    drop(lease);
    assert!(matches!(poll_once(late.as_mut()), Poll::Ready(Ok(_))));
    let Poll::Ready(Err(AcquireError::TimedOut { waited, leased, .. })) = poll_once(early.as_mut()) else {
        panic!("the early one did not time out")
    };
    assert_eq!((waited, leased), (SECOND, 0));
}

#[test]
fn a_cancelled_waiter_is_skipped_and_what_it_was_given_goes_on() {
    let (builder, _) = fake();
    let pool = builder.max_connections(1).build().unwrap();
    let lease = now(pool.acquire()).unwrap();
    let mut first = Box::pin(pool.acquire());
    let mut second = Box::pin(pool.acquire());
    let mut third = pin!(pool.acquire());
    assert!(poll_once(first.as_mut()).is_pending());
    assert!(poll_once(second.as_mut()).is_pending());
    assert!(poll_once(third.as_mut()).is_pending());
    drop(first);
    drop(lease);
    // The second has been served but does not know yet.
    drop(second);
    assert!(matches!(poll_once(third.as_mut()), Poll::Ready(Ok(_))));
}

#[test]
fn threads_and_tasks_wait_in_one_queue() {
    let (builder, _) = fake();
    let pool = builder.max_connections(1).build().unwrap();
    let lease = now(pool.acquire()).unwrap();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| pool.acquire_blocking().unwrap().number);
        until(|| pool.stats().waiting == 1);
        let mut task = pin!(pool.acquire());
        assert!(poll_once(task.as_mut()).is_pending());
        drop(lease);
        assert_eq!(thread.join().unwrap(), 0);
        assert!(matches!(poll_once(task.as_mut()), Poll::Ready(Ok(_))));
    });
}

#[test]
fn a_blocked_thread_times_out() {
    let (builder, _) = fake();
    let pool = builder.max_connections(1).build().unwrap();
    let _lease = now(pool.acquire()).unwrap();
    let error = pool.acquire_blocking_timeout(Duration::from_millis(1)).unwrap_err();
    assert!(matches!(error, AcquireError::TimedOut { leased: 1, waiting: 0, .. }));
}

#[test]
fn a_waiting_task_times_out_by_the_system_clock_without_a_runtime() {
    let (builder, _) = fake();
    let pool = builder.max_connections(1).build().unwrap();
    let _lease = now(pool.acquire()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let error = runtime.block_on(pool.acquire_timeout(Duration::from_millis(1))).unwrap_err();
    assert!(matches!(error, AcquireError::TimedOut { .. }));
}

#[test]
fn too_many_waiters_are_refused_at_once() {
    let (builder, _) = fake();
    let pool = builder.max_connections(1).max_waiters(Some(1)).build().unwrap();
    let _lease = now(pool.acquire()).unwrap();
    let mut first = pin!(pool.acquire());
    assert!(poll_once(first.as_mut()).is_pending());
    assert!(matches!(now(pool.acquire()), Err(AcquireError::TooManyWaiters { limit: 1 })));
    assert_eq!(pool.stats().refused, 1);
}

#[test]
fn a_thousand_connections_work() {
    let (builder, world) = fake();
    let pool = builder.max_connections(1000).build().unwrap();
    let leases: Vec<_> = (0..1000).map(|_| pool.acquire_blocking().unwrap()).collect();
    assert!(pool.try_acquire().is_none());
    drop(leases);
    let leases: Vec<_> = (0..1000).map(|_| pool.try_acquire().unwrap()).collect();
    assert_eq!(world.opened.load(SeqCst), 1000);
    assert_eq!(pool.stats().leased, 1000);
    drop(leases);
    assert_eq!(pool.stats().idle, 1000);
}

/// Takes and returns connections in one turn of a task until an acquire has to let others run; then does something with it.
fn when_others_have_to_run(pool: &Pool<Fake>, act: impl FnOnce(Pin<Box<Acquire<'_, Fake>>>)) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut act = Some(act);
    runtime.block_on(poll_fn(|context| {
        for _ in 0..10_000 {
            let mut acquire = Box::pin(pool.acquire());
            match acquire.as_mut().poll(context) {
                Poll::Ready(lease) => drop(lease.unwrap()),
                Poll::Pending => {
                    act.take().unwrap()(acquire);
                    return Poll::Ready(());
                }
            }
        }
        panic!("others never had to run");
    }));
}

#[test]
fn a_task_that_lets_others_run_keeps_its_turn() {
    let (builder, _) = fake();
    let pool = builder.max_connections(1).build().unwrap();
    when_others_have_to_run(&pool, |mut first| {
        let mut second = pin!(pool.acquire());
        assert!(pool.try_acquire().is_none());
        assert!(poll_once(second.as_mut()).is_pending());
        let Poll::Ready(Ok(lease)) = poll_once(first.as_mut()) else { panic!("the first was not served") };
        assert!(poll_once(second.as_mut()).is_pending());
        drop(lease);
        assert!(poll_once(second.as_mut()).is_ready());
    });
}

#[test]
fn a_task_that_is_cancelled_while_it_lets_others_run_leaves_its_connection_to_them() {
    let (builder, _) = fake();
    let pool = builder.max_connections(1).build().unwrap();
    when_others_have_to_run(&pool, |first| {
        let mut second = pin!(pool.acquire());
        assert!(poll_once(second.as_mut()).is_pending());
        drop(first);
        assert!(matches!(poll_once(second.as_mut()), Poll::Ready(Ok(_))));
    });
    assert_eq!(pool.stats().leased, 0);
    assert_eq!(pool.stats().acquired, pool.stats().released);
}

#[test]
fn a_task_that_lets_others_run_gets_nothing_from_a_pool_closed_meanwhile() {
    let (builder, world) = fake();
    let pool = builder.max_connections(1).build().unwrap();
    when_others_have_to_run(&pool, |mut first| {
        assert_eq!(pool.close_blocking(Duration::ZERO).leased, 1);
        assert!(matches!(poll_once(first.as_mut()), Poll::Ready(Err(AcquireError::Closed))));
    });
    assert_eq!((pool.stats().total, world.open.load(SeqCst)), (0, 0));
}

#[test]
fn a_connection_that_goes_from_waiter_to_waiter_keeps_the_order() {
    let (builder, world) = fake();
    let pool = builder.max_connections(2).build().unwrap();
    let mut held: Vec<_> = (0..2).map(|_| now(pool.acquire()).unwrap()).collect();
    let mut waiters: std::collections::VecDeque<_> = (0..50).map(|_| Box::pin(pool.acquire())).collect();
    for waiter in &mut waiters {
        assert!(poll_once(waiter.as_mut()).is_pending());
    }
    while let Some(mut first) = waiters.pop_front() {
        drop(held.remove(0));
        // Everybody else looks too, without having been woken.
        assert!(waiters.iter_mut().all(|waiter| poll_once(waiter.as_mut()).is_pending()));
        let Poll::Ready(Ok(lease)) = poll_once(first.as_mut()) else { panic!("the first was not served") };
        held.push(lease);
    }
    drop(held);
    let stats = pool.stats();
    assert_eq!((stats.waited, stats.acquired, stats.released, stats.idle), (50, 52, 52, 2));
    assert_eq!(world.most_open.load(SeqCst), 2);
}

#[test]
fn duration_max_waits_without_limit() {
    const CENTURY: Duration = Duration::from_secs(100 * 366 * 24 * 3600);
    let (builder, _) = fake();
    let time = ManualClock::new();
    let pool = builder.max_connections(1).clock(time.clock()).acquire_timeout(Duration::MAX).build().unwrap();
    let lease = now(pool.acquire()).unwrap();
    let mut by_option = pin!(pool.acquire());
    let mut by_call = pin!(pool.acquire_timeout(Duration::MAX));
    assert!(poll_once(by_option.as_mut()).is_pending());
    assert!(poll_once(by_call.as_mut()).is_pending());
    time.advance(CENTURY);
    assert!(poll_once(by_option.as_mut()).is_pending());
    drop(lease);
    let Poll::Ready(Ok(lease)) = poll_once(by_option.as_mut()) else { panic!("the first was not served") };
    drop(lease);
    assert!(matches!(poll_once(by_call.as_mut()), Poll::Ready(Ok(_))));
}
