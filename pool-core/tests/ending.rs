//! Closing, hooks, observers, holders, statistics.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod common;

use std::cell::RefCell;
use std::pin::pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::Poll;
use std::time::Duration;

use common::{fake, now, poll_once, until};
use pool_core::{AcquireError, CloseReason, Holder, ManualClock, Observer, Pool, SettingsError};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn closing_waits_for_those_who_hold_a_connection() {
    let (builder, world) = fake();
    let pool = builder.max_connections(2).build().unwrap();
    let lease = now(pool.acquire()).unwrap();
    drop(now(pool.acquire()).unwrap());
    let mut closing = pin!(pool.close(SECOND));
    assert!(poll_once(closing.as_mut()).is_pending());
    assert_eq!(world.reasons(), [CloseReason::PoolClosed]);
    drop(lease);
    let Poll::Ready(report) = poll_once(closing.as_mut()) else { panic!("the pool is empty") };
    assert!(report.is_complete());
    assert_eq!(world.open.load(SeqCst), 0);
}

#[test]
fn closing_gives_up_at_the_deadline_and_says_what_is_left() {
    let (builder, world) = fake();
    let time = ManualClock::new();
    let pool = builder.clock(time.clock()).track_holders(true).build().unwrap();
    let lease = now(pool.acquire()).unwrap();
    let mut closing = pin!(pool.close(SECOND));
    assert!(poll_once(closing.as_mut()).is_pending());
    time.advance(SECOND);
    let Poll::Ready(report) = poll_once(closing.as_mut()) else { panic!("the time is up") };
    assert_eq!((report.leased, report.holders.len(), report.is_complete()), (1, 1, false));
    drop(lease);
    assert_eq!(world.open.load(SeqCst), 0);
}

#[test]
fn a_thread_that_ends_may_wait_for_a_connection_to_the_last() {
    struct AtEnd(Pool<common::Fake>);
    impl Drop for AtEnd {
        fn drop(&mut self) {
            drop(self.0.acquire_blocking().unwrap());
        }
    }
    thread_local!(static LAST: RefCell<Option<AtEnd>> = const { RefCell::new(None) });
    let (builder, world) = fake();
    let pool = builder.max_connections(1).build().unwrap();
    let lease = now(pool.acquire()).unwrap();
    let at_end = AtEnd(pool.clone());
    let thread = std::thread::spawn(|| {
        let pool = at_end.0.clone();
        // The first local of this thread, and so the last to go.
        LAST.set(Some(at_end));
        // What waiting keeps for the thread is made now.
        assert!(pool.acquire_blocking_timeout(Duration::from_millis(1)).is_err());
    });
    until(|| pool.stats().timed_out == 1 && pool.stats().waiting == 1);
    drop(lease);
    thread.join().unwrap();
    assert_eq!(world.opened.load(SeqCst), 1);
}

#[test]
fn a_closed_pool_refuses_everything_and_answers_waiters_at_once() {
    let (builder, _) = fake();
    let pool = builder.max_connections(1).build().unwrap();
    let lease = now(pool.acquire()).unwrap();
    let mut waiter = pin!(pool.acquire());
    assert!(poll_once(waiter.as_mut()).is_pending());
    pool.close_blocking(Duration::ZERO);
    assert!(matches!(poll_once(waiter.as_mut()), Poll::Ready(Err(AcquireError::Closed))));
    assert!(matches!(now(pool.acquire()), Err(AcquireError::Closed)));
    assert!(matches!(pool.acquire_blocking(), Err(AcquireError::Closed)));
    assert!(pool.try_acquire().is_none());
    assert_eq!(pool.reconfigure(pool.options()), Err(SettingsError::Closed));
    drop(lease);
    assert!(pool.is_closed());
    assert!(pool.close_blocking(Duration::ZERO).is_complete());
}

#[test]
fn an_open_that_ends_after_closing_gives_its_connection_to_nobody() {
    let (builder, world) = fake();
    let pool = builder.build().unwrap();
    world.hold.store(true, SeqCst);
    let mut opener = pin!(pool.acquire());
    assert!(poll_once(opener.as_mut()).is_pending());
    pool.close_blocking(Duration::ZERO);
    world.let_go();
    assert!(matches!(poll_once(opener.as_mut()), Poll::Ready(Err(AcquireError::Closed))));
    assert_eq!(world.open.load(SeqCst), 0);
}

#[test]
fn dropping_the_last_handle_closes_everything() {
    let (builder, world) = fake();
    let pool = builder.build().unwrap();
    let owned = pool.acquire_owned_blocking().unwrap();
    drop(pool.acquire_blocking().unwrap());
    let clone = pool.clone();
    drop(pool);
    assert_eq!(world.open.load(SeqCst), 2);
    drop(clone);
    assert_eq!(world.open.load(SeqCst), 1);
    drop(owned);
    assert_eq!(world.open.load(SeqCst), 0);
}

#[test]
fn closing_drops_background_work_that_hangs() {
    let (builder, world) = fake();
    let time = ManualClock::new();
    let pool = builder.clock(time.clock()).min_connections(1).build().unwrap();
    world.hold.store(true, SeqCst);
    pool.maintain();
    assert_eq!(pool.stats().opening, 1);
    assert!(pool.close_blocking(Duration::ZERO).is_complete());
}

#[test]
fn a_slow_close_does_not_block_others() {
    let (entered, entering) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = Mutex::new(released);
    let (builder, _) = fake();
    let pool = builder
        .max_connections(2)
        .before_close(move |connection| {
            if connection.broken {
                entered.send(()).unwrap();
                released.lock().unwrap().recv().unwrap();
            }
        })
        .build()
        .unwrap();
    let mut lease = pool.acquire_owned_blocking().unwrap();
    drop(pool.acquire_blocking().unwrap());
    lease.broken = true;
    std::thread::scope(|scope| {
        scope.spawn(|| drop(lease));
        entering.recv().unwrap();
        // One slot is busy closing; the other serves.
        drop(pool.acquire_blocking().unwrap());
        assert_eq!(pool.stats().total, 1);
        release.send(()).unwrap();
    });
    assert_eq!(pool.stats().total, 1);
}

#[test]
fn hooks_run_in_their_places_and_may_refuse() {
    let (builder, world) = fake();
    let log = Arc::new(Mutex::new(Vec::new()));
    let note = |what: &'static str| {
        let log = Arc::clone(&log);
        move |connection: &mut common::Connection| {
            log.lock().unwrap().push(what);
            if connection.dirty && what == "release" { Err("still dirty".into()) } else { Ok(()) }
        }
    };
    let closing = Arc::clone(&log);
    let pool = builder
        .after_open(note("open"))
        .before_hand_out(note("hand out"))
        .after_release(note("release"))
        .before_close(move |_| closing.lock().unwrap().push("close"))
        .build()
        .unwrap();
    drop(now(pool.acquire()).unwrap());
    drop(now(pool.acquire()).unwrap());
    now(pool.acquire()).unwrap().discard();
    let seen = std::mem::take(&mut *log.lock().unwrap());
    let expected = ["open", "hand out", "release", "hand out", "release", "hand out", "close"];
    assert_eq!(seen, expected);
    assert_eq!(world.reasons(), [CloseReason::Discarded]);
}

#[test]
fn a_refusing_hook_replaces_old_connections_and_fails_new_ones() {
    let (builder, world) = fake();
    let pool = builder
        .before_hand_out(
            |connection| if connection.number == 0 && connection.dirty { Err("no".into()) } else { Ok(()) },
        )
        .after_open(|connection| {
            connection.dirty = true;
            if connection.number == 2 { Err("never".into()) } else { Ok(()) }
        })
        .build()
        .unwrap();
    // Number 0 is refused as new already: the hook would refuse the next one just as well.
    assert!(matches!(now(pool.acquire()), Err(AcquireError::Refused { .. })));
    let first = now(pool.acquire()).unwrap();
    assert!(matches!(now(pool.acquire()), Err(AcquireError::Refused { .. })));
    drop(first);
    assert_eq!(world.reasons(), [CloseReason::Refused; 2]);
    assert_eq!(pool.stats().opening, 0);
}

#[test]
fn a_connection_refused_before_hand_out_is_replaced() {
    let (builder, world) = fake();
    let refuse = Arc::new(AtomicUsize::new(usize::MAX));
    let refused = Arc::clone(&refuse);
    let pool = builder
        .before_hand_out(
            move |connection| {
                if connection.number == refused.load(SeqCst) { Err("no".into()) } else { Ok(()) }
            },
        )
        .build()
        .unwrap();
    drop(now(pool.acquire()).unwrap());
    refuse.store(0, SeqCst);
    assert_eq!(now(pool.acquire()).unwrap().number, 1);
    assert_eq!(world.reasons(), [CloseReason::Refused]);
}

#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl Log {
    fn note(&self, text: String) {
        self.0.lock().unwrap().push(text);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Observer for Log {
    fn opened(&self, took: Duration) {
        self.note(format!("opened in {took:?}"));
    }
    fn closed(&self, reason: CloseReason, age: Duration) {
        self.note(format!("closed {reason:?} at {age:?}"));
    }
    fn open_failed(&self, error: &(dyn std::error::Error + 'static)) {
        self.note(format!("open failed: {error}"));
    }
    fn waited(&self, duration: Duration) {
        self.note(format!("waited {duration:?}"));
    }
    fn timed_out(&self, waited: Duration) {
        self.note(format!("timed out after {waited:?}"));
        panic!("an observer's panic is its own");
    }
    fn leak(&self, holder: &Holder) {
        self.note(format!("leak for {:?} in {}", holder.held_for, holder.location.file()));
    }
}

#[test]
fn the_observer_hears_what_happens_and_may_panic() {
    let (builder, world) = fake();
    let (time, log) = (ManualClock::new(), Arc::new(Log::default()));
    let builder = builder.clock(time.clock()).observer(log.clone()).max_connections(1);
    let pool = builder.leak_threshold(Some(10 * SECOND)).build().unwrap();
    world.fail_open.store(true, SeqCst);
    assert!(now(pool.acquire()).is_err());
    world.fail_open.store(false, SeqCst);
    let lease = now(pool.acquire()).unwrap();
    let mut served = pin!(pool.acquire());
    let mut late = pin!(pool.acquire_timeout(SECOND));
    assert!(poll_once(served.as_mut()).is_pending());
    assert!(poll_once(late.as_mut()).is_pending());
    time.advance(2 * SECOND);
    assert!(matches!(poll_once(late.as_mut()), Poll::Ready(Err(_))));
    drop(lease);
    let Poll::Ready(Ok(lease)) = poll_once(served.as_mut()) else { panic!("not served") };
    time.advance(10 * SECOND);
    time.advance(SECOND);
    time.advance(SECOND);
    lease.discard();
    let expected = [
        "open failed: told to fail",
        "opened in 0ns",
        "timed out after 2s",
        "waited 2s",
        "leak for 11s in pool-core/tests/ending.rs",
        "closed Discarded at 14s",
    ];
    assert_eq!(log.take(), expected);
}

#[test]
fn a_timeout_names_the_longest_holder() {
    let (builder, _) = fake();
    let time = ManualClock::new();
    let pool = builder.clock(time.clock()).max_connections(1).track_holders(true).build().unwrap();
    let line = line!() + 1;
    let _lease = now(pool.acquire()).unwrap();
    time.advance(3 * SECOND);
    let error = now(pool.acquire_timeout(Duration::ZERO)).unwrap_err();
    let AcquireError::TimedOut { longest_holder: Some(holder), .. } = &error else { panic!("{error}") };
    assert_eq!((holder.location.line(), holder.held_for), (line, 3 * SECOND));
    assert!(error.to_string().contains("1 leased, 0 waiting, longest held by thread"), "{error}");
}

#[test]
fn holders_are_forgotten_on_release_and_unknown_without_tracking() {
    let (builder, _) = fake();
    let pool = builder.build().unwrap();
    let lease = now(pool.acquire()).unwrap();
    assert!(pool.holders().is_empty());
    drop(lease);
    pool.reconfigure(pool.options().track_holders(true)).unwrap();
    let lease = now(pool.acquire()).unwrap();
    assert_eq!(pool.holders().len(), 1);
    drop(lease);
    assert!(pool.holders().is_empty());
}

#[test]
fn counts_add_up_after_everything_has_happened() {
    let (builder, world) = fake();
    let time = ManualClock::new();
    let pool = builder.clock(time.clock()).max_connections(3).build().unwrap();
    let mut leases: Vec<_> = (0..3).map(|_| now(pool.acquire()).unwrap()).collect();
    let mut waiter = Box::pin(pool.acquire());
    assert!(poll_once(waiter.as_mut()).is_pending());
    leases.pop().unwrap().discard();
    leases[0].broken = true;
    drop(poll_once(waiter.as_mut()));
    drop(waiter);
    drop(leases.pop().unwrap().detach());
    let stats = pool.stats();
    assert_eq!((stats.total, stats.leased, stats.idle), (2, 1, 1), "{stats:?}");
    drop(leases);
    world.fail_open.store(true, SeqCst);
    time.advance(60 * SECOND);
    assert!(now(pool.acquire()).is_err());
    let stats = pool.stats();
    assert_eq!((stats.total, stats.leased, stats.waiting, stats.opening), (0, 0, 0, 0), "{stats:?}");
    assert_eq!((stats.acquired, stats.released), (4, 4), "{stats:?}");
    assert_eq!(stats.created, stats.closed.total() + stats.detached, "{stats:?}");
    assert_eq!((stats.waited, stats.errors, stats.most_waiting), (1, 1, 1), "{stats:?}");
}

#[test]
fn the_maintenance_thread_ends_with_the_last_pool_and_serves_the_next() {
    for _ in 0..3 {
        let (builder, _) = fake();
        let pool = builder.min_connections(1).build().unwrap();
        until(|| pool.stats().idle == 1);
    }
}

struct WakerThatPanics(AtomicUsize);

impl std::task::Wake for WakerThatPanics {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
        std::panic::resume_unwind(Box::new("a waker that panics"));
    }
}

#[test]
fn a_waker_that_panics_harms_neither_who_gives_back_nor_who_waits_behind_it() {
    let (builder, _) = fake();
    let pool = builder.max_connections(1).build().unwrap();
    let loud = Arc::new(WakerThatPanics(AtomicUsize::new(0)));
    let waker = std::task::Waker::from(Arc::clone(&loud));
    let mut context = std::task::Context::from_waker(&waker);
    let lease = now(pool.acquire()).unwrap();
    let mut first = Box::pin(pool.acquire());
    assert!(first.as_mut().poll(&mut context).is_pending());
    drop(lease);
    let Poll::Ready(Ok(lease)) = poll_once(first.as_mut()) else { panic!("it was handed over") };
    // All who wait are woken in one go.
    let mut waiters: Vec<_> = (0..3).map(|_| Box::pin(pool.acquire())).collect();
    for waiter in &mut waiters {
        assert!(waiter.as_mut().poll(&mut context).is_pending());
    }
    assert!(!pool.close_blocking(Duration::ZERO).is_complete());
    assert_eq!(loud.0.load(SeqCst), 1 + 3);
    drop(lease);
    assert!(pool.close_blocking(SECOND).is_complete());
}
