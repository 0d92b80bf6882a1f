//! What the program's own code may do to a pool: panic wherever it is called, never end, call back, run where a thread or the time ends.
#![allow(clippy::unwrap_used, reason = "a test ends where something unexpected fails")]
#![cfg(not(loom))]

mod common;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use std::time::Duration;

use common::{fake, now, poll_once, until};
use pool_core::{CloseReason, Manager, ManualClock, Pool};

const SECOND: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(5);

/// What somebody panics with whose destructor panics as well.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            resume_unwind(Box::new("a bomb"));
        }
    }
}

fn explode() {
    resume_unwind(Box::new(Bomb));
}

fn contained(run: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(run)).map_err(std::mem::forget);
}

fn check_rest<M: Manager>(pool: &Pool<M>) {
    let stats = pool.stats();
    assert_eq!((stats.leased, stats.waiting, stats.opening), (0, 0, 0), "{stats:?}");
    assert_eq!(stats.acquired, stats.released, "{stats:?}");
    assert_eq!(stats.created, stats.closed.total() + stats.detached + stats.total as u64, "{stats:?}");
}

/// A manager that lets one step explode.
struct Explosive {
    reset: AtomicBool,
    close: AtomicBool,
}

impl Manager for Explosive {
    type Connection = ();
    type Error = std::convert::Infallible;

    async fn open(&self) -> Result<(), Self::Error> {
        Ok(())
    }

    fn reset(&self, (): &mut ()) -> Result<(), Self::Error> {
        if self.reset.swap(false, SeqCst) {
            explode();
        }
        Ok(())
    }

    fn close(&self, (): (), _: CloseReason) {
        if self.close.swap(false, SeqCst) {
            explode();
        }
    }
}

#[test]
fn a_panic_whose_payload_panics_in_turn_loses_no_slot() {
    let manager = Explosive { reset: AtomicBool::new(true), close: AtomicBool::new(true) };
    let (armed, fuse) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (release, close) = (Arc::clone(&armed), Arc::clone(&fuse));
    let pool = Pool::builder(manager)
        .max_connections(1)
        .min_connections(0)
        .after_release(move |()| {
            if release.swap(false, SeqCst) {
                explode();
            }
            Ok(())
        })
        .before_close(move |()| {
            if close.swap(false, SeqCst) {
                explode();
            }
        })
        .build()
        .unwrap();
    // The reset explodes, and then the close.
    drop(now(pool.acquire()).unwrap());
    armed.store(true, SeqCst);
    drop(now(pool.acquire()).unwrap());
    fuse.store(true, SeqCst);
    now(pool.acquire()).unwrap().discard();
    drop(now(pool.acquire()).unwrap());
    let stats = pool.stats();
    assert_eq!((stats.total, stats.closed.total(), stats.errors), (1, 3, 4), "{stats:?}");
    check_rest(&pool);
}

#[test]
fn a_hook_that_panics_does_not_keep_the_manager_from_closing() {
    let (builder, world) = fake();
    let pool = builder.before_close(|_| explode()).build().unwrap();
    now(pool.acquire()).unwrap().discard();
    assert_eq!(world.reasons(), [CloseReason::Discarded]);
    assert_eq!(pool.stats().errors, 1);
    check_rest(&pool);
}

#[test]
fn a_close_that_is_given_longer_than_a_round_of_maintenance_ends_in_time() {
    let (builder, _) = fake();
    let pool = builder.reap_interval(TICK).build().unwrap();
    let lease = now(pool.acquire()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let report = runtime.block_on(pool.close(4 * TICK));
    assert_eq!(report.leased, 1);
    drop(lease);
    assert!(runtime.block_on(pool.close(SECOND)).is_complete());
    check_rest(&pool);
}

#[test]
fn an_acquire_whose_open_never_ends_times_out_even_if_the_pool_is_closed_meanwhile() {
    let (builder, world) = fake();
    let pool = builder.reap_interval(TICK).build().unwrap();
    world.hold.store(true, SeqCst);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let refused = runtime.block_on(async {
        let mut acquire = Box::pin(pool.acquire_timeout(4 * TICK));
        assert!(poll_once(acquire.as_mut()).is_pending());
        assert!(!pool.close(Duration::ZERO).await.is_complete());
        acquire.await
    });
    assert!(refused.is_err());
    check_rest(&pool);
}

#[test]
fn an_open_or_a_check_in_the_background_that_never_ends_holds_its_slot_no_longer_than_an_acquire_may_take() {
    let (builder, world) = fake();
    let time = ManualClock::new();
    let pool = builder.clock(time.clock()).max_connections(1).min_connections(1).health_checks(true).build().unwrap();
    world.hold.store(true, SeqCst);
    pool.maintain();
    assert_eq!(pool.stats().opening, 1);
    pool.reconfigure(pool.options().min_connections(0)).unwrap();
    time.advance(pool.options().acquire_timeout);
    until(|| pool.stats().opening == 0);
    world.hold.store(false, SeqCst);
    drop(now(pool.acquire()).unwrap());
    world.hold.store(true, SeqCst);
    pool.maintain();
    let mut waiter = Box::pin(pool.acquire_timeout(Duration::MAX));
    assert!(poll_once(waiter.as_mut()).is_pending());
    time.advance(pool.options().acquire_timeout);
    until(|| pool.stats().opening == 1);
    world.hold.store(false, SeqCst);
    let Poll::Ready(Ok(lease)) = poll_once(waiter.as_mut()) else { panic!("it is the waiter's turn to open") };
    assert_eq!(world.reasons(), [CloseReason::Interrupted]);
    assert_eq!(pool.stats().errors, 2);
    drop(lease);
    check_rest(&pool);
}

/// A future that never ends and panics when it is dropped.
struct Stuck(Arc<AtomicBool>);

impl Future for Stuck {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        if self.0.load(SeqCst) {
            resume_unwind(Box::new("told to panic"));
        }
    }
}

struct Sticky(Arc<AtomicBool>);

impl Manager for Sticky {
    type Connection = ();
    type Error = std::convert::Infallible;

    async fn open(&self) -> Result<(), Self::Error> {
        if self.0.load(SeqCst) {
            Stuck(Arc::clone(&self.0)).await;
        }
        Ok(())
    }
}

#[test]
fn closing_drops_background_work_that_panics_then_and_answers_everybody() {
    let stuck = Arc::new(AtomicBool::new(true));
    let pool = Pool::builder(Sticky(Arc::clone(&stuck))).max_connections(2).min_connections(1).build().unwrap();
    // Known to the test, the manager and the future that is stuck.
    until(|| Arc::strong_count(&stuck) == 3);
    stuck.store(false, SeqCst);
    let lease = now(pool.acquire()).unwrap();
    let mut waiter = Box::pin(pool.acquire());
    assert!(poll_once(waiter.as_mut()).is_pending());
    stuck.store(true, SeqCst);
    let report = pool.close_blocking(Duration::ZERO);
    assert_eq!((report.leased, report.in_transit), (1, 0));
    assert!(matches!(poll_once(waiter.as_mut()), Poll::Ready(Err(_))));
    drop(lease);
    check_rest(&pool);
    // The thread that serves all pools is alive.
    let (builder, _) = fake();
    let next = builder.min_connections(1).build().unwrap();
    until(|| next.stats().idle == 1);
}

/// What a waker does when it is copied or dropped; one of its kind is no other's equal.
type Act = Box<dyn Fn() + Send + Sync>;

struct Acts {
    copied: Mutex<Option<Act>>,
    dropped: Mutex<Option<Act>>,
}

impl Acts {
    fn waker(self: &Arc<Self>) -> Waker {
        // SAFETY: the functions below take the pointer for what it is, a counted reference in a box of its own.
        unsafe { Waker::from_raw(boxed(self)) }
    }
}

fn boxed(acts: &Arc<Acts>) -> RawWaker {
    static TABLE: RawWakerVTable = RawWakerVTable::new(copy, free, nothing, free);
    RawWaker::new(Box::into_raw(Box::new(Arc::clone(acts))).cast_const().cast(), &TABLE)
}

fn act(place: &Mutex<Option<Act>>) {
    let act = place.lock().unwrap().take();
    if let Some(act) = act {
        act();
    }
}

unsafe fn copy(pointer: *const ()) -> RawWaker {
    // SAFETY: see `Acts::waker`.
    let acts = unsafe { &*pointer.cast::<Arc<Acts>>() };
    act(&acts.copied);
    boxed(acts)
}

unsafe fn free(pointer: *const ()) {
    // SAFETY: see `Acts::waker`; this is the pointer's end.
    let acts = unsafe { Box::from_raw(pointer.cast_mut().cast::<Arc<Acts>>()) };
    act(&acts.dropped);
}

unsafe fn nothing(_: *const ()) {}

#[test]
fn a_waker_that_panics_when_it_is_copied_or_dropped_loses_no_turn() {
    let (builder, _) = fake();
    let pool = builder.max_connections(1).build().unwrap();
    let panic = || -> Option<Act> { Some(Box::new(|| resume_unwind(Box::new("told to panic")))) };
    let acts = Arc::new(Acts { copied: Mutex::new(None), dropped: Mutex::new(None) });
    let waker = acts.waker();
    let mut context = Context::from_waker(&waker);
    for place in [&acts.copied, &acts.dropped, &acts.dropped] {
        let lease = now(pool.acquire()).unwrap();
        let mut waiter = Box::pin(pool.acquire());
        assert!(waiter.as_mut().poll(&mut context).is_pending());
        let mut behind = Box::pin(pool.acquire());
        assert!(poll_once(behind.as_mut()).is_pending());
        // It is copied anew and the old one dropped.
        *place.lock().unwrap() = panic();
        contained(|| assert!(waiter.as_mut().poll(&mut context).is_pending()));
        drop(lease);
        *acts.dropped.lock().unwrap() = panic();
        contained(|| drop(waiter));
        acts.dropped.lock().unwrap().take();
        assert!(matches!(poll_once(behind.as_mut()), Poll::Ready(Ok(_))));
        drop(behind);
        check_rest(&pool);
    }
}

#[test]
fn a_waker_may_call_the_pool_when_it_is_copied_or_dropped() {
    let (builder, world) = fake();
    let pool = builder.max_connections(1).build().unwrap();
    let call = || -> Option<Act> {
        let pool = pool.clone();
        Some(Box::new(move || drop((pool.stats(), pool.try_acquire()))))
    };
    let acts = Arc::new(Acts { copied: Mutex::new(None), dropped: Mutex::new(None) });
    let waker = acts.waker();
    let mut context = Context::from_waker(&waker);
    let mut poll = |future: Pin<&mut dyn Future<Output = bool>>| {
        let (mut future, mut ready) = (future, false);
        for _ in 0..3 {
            *acts.copied.lock().unwrap() = call();
            *acts.dropped.lock().unwrap() = call();
            ready = future.as_mut().poll(&mut context).is_ready();
        }
        ready
    };
    let lease = now(pool.acquire()).unwrap();
    let mut waiter = Box::pin(async { pool.acquire().await.is_ok() });
    assert!(!poll(waiter.as_mut()));
    drop(waiter);
    lease.discard();
    world.hold.store(true, SeqCst);
    let mut opener = Box::pin(async { pool.acquire().await.is_ok() });
    assert!(!poll(opener.as_mut()));
    let mut closing = Box::pin(async { pool.close(SECOND).await.is_complete() });
    assert!(!poll(closing.as_mut()));
    drop((opener, closing));
    // Nor does a pool live for ever by what is kept here.
    acts.copied.lock().unwrap().take();
    acts.dropped.lock().unwrap().take();
    check_rest(&pool);
}

#[test]
fn a_clock_that_is_moved_to_the_end_of_time_never_goes_back() {
    let (builder, _) = fake();
    let time = ManualClock::new();
    let pool = builder.clock(time.clock()).max_connections(1).build().unwrap();
    let centuries = Duration::from_hours(24 * 365 * 300);
    for _ in 0..3 {
        let lease = now(pool.acquire()).unwrap();
        let mut waiter = Box::pin(pool.acquire_timeout(Duration::MAX));
        let _ = poll_once(waiter.as_mut());
        let before = time.elapsed();
        time.advance(centuries);
        assert!(time.elapsed() >= before);
        drop(waiter);
        drop(lease);
    }
    time.advance(Duration::MAX);
    time.advance(SECOND);
    assert_eq!(time.elapsed(), Duration::from_nanos(u64::MAX));
    check_rest(&pool);
}

#[test]
fn a_thread_that_ends_may_open_a_connection_to_the_last() {
    struct AtEnd(Pool<common::Fake>);
    impl Drop for AtEnd {
        fn drop(&mut self) {
            drop(self.0.acquire_blocking().unwrap());
        }
    }
    thread_local!(static LAST: RefCell<Option<AtEnd>> = const { RefCell::new(None) });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let pool = {
        let _entered = runtime.enter();
        let (builder, _) = fake();
        builder.track_holders(true).build().unwrap()
    };
    let ended = pool.clone();
    let ending = std::thread::spawn(move || {
        LAST.with(|last| *last.borrow_mut() = Some(AtEnd(ended)));
        // Tokio's own locals come after, so that they are gone first.
        assert!(tokio::runtime::Handle::try_current().is_err());
        drop(runtime.enter());
    });
    ending.join().unwrap();
    until(|| pool.stats().released == 1);
    check_rest(&pool);
}
