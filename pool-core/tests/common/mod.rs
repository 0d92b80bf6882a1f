//! A manager whose every step a test can steer and count.
#![allow(dead_code, reason = "each test file uses its own share")]

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use pool_core::{CloseReason, Manager, Pool, PoolBuilder};

/// A connection that knows its number and whether it still works.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) number: usize,
    pub(crate) broken: bool,
    pub(crate) invalid: bool,
    pub(crate) dirty: bool,
    /// Checks that nobody else has it.
    world: Arc<World>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.world.open.fetch_sub(1, SeqCst);
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("told to fail")]
pub(crate) struct Told;

/// What the managers of one test share with the test.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) opened: AtomicUsize,
    pub(crate) open: AtomicUsize,
    pub(crate) most_open: AtomicUsize,
    pub(crate) validated: AtomicUsize,
    pub(crate) reset: AtomicUsize,
    pub(crate) closed: Mutex<Vec<(usize, CloseReason)>>,
    pub(crate) fail_open: AtomicBool,
    pub(crate) panic_open: AtomicBool,
    pub(crate) panic_validate: AtomicBool,
    pub(crate) panic_reset: AtomicBool,
    pub(crate) fail_reset: AtomicBool,
    /// While set, `open` and `validate` wait to be let through.
    pub(crate) hold: AtomicBool,
    pub(crate) held: Mutex<VecDeque<Waker>>,
}

impl World {
    /// Lets everything through that is held, now and later.
    pub(crate) fn let_go(&self) {
        self.hold.store(false, SeqCst);
        let held = std::mem::take(&mut *self.held.lock().unwrap());
        held.into_iter().for_each(Waker::wake);
    }

    async fn gate(&self) {
        poll_fn(|context| {
            let mut held = self.held.lock().unwrap();
            if !self.hold.load(SeqCst) {
                return Poll::Ready(());
            }
            held.push_back(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    pub(crate) fn reasons(&self) -> Vec<CloseReason> {
        self.closed.lock().unwrap().iter().map(|(_, reason)| *reason).collect()
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Fake(pub(crate) Arc<World>);

impl Manager for Fake {
    type Connection = Connection;
    type Error = Told;

    async fn open(&self) -> Result<Connection, Told> {
        self.0.gate().await;
        assert!(!self.0.panic_open.load(SeqCst), "told to panic");
        if self.0.fail_open.load(SeqCst) {
            return Err(Told);
        }
        let open = self.0.open.fetch_add(1, SeqCst) + 1;
        self.0.most_open.fetch_max(open, SeqCst);
        let number = self.0.opened.fetch_add(1, SeqCst);
        Ok(Connection { number, broken: false, invalid: false, dirty: false, world: Arc::clone(&self.0) })
    }

    async fn validate(&self, connection: &mut Connection) -> Result<(), Told> {
        self.0.gate().await;
        assert!(!self.0.panic_validate.load(SeqCst), "told to panic");
        self.0.validated.fetch_add(1, SeqCst);
        if connection.invalid { Err(Told) } else { Ok(()) }
    }

    fn reset(&self, connection: &mut Connection) -> Result<(), Told> {
        assert!(!self.0.panic_reset.load(SeqCst), "told to panic");
        self.0.reset.fetch_add(1, SeqCst);
        connection.dirty = false;
        if self.0.fail_reset.load(SeqCst) { Err(Told) } else { Ok(()) }
    }

    fn is_broken(&self, connection: &mut Connection) -> bool {
        connection.broken
    }

    fn close(&self, connection: Connection, reason: CloseReason) {
        self.0.closed.lock().unwrap().push((connection.number, reason));
    }
}

/// A builder without a minimum, and the world its manager lives in.
pub(crate) fn fake() -> (PoolBuilder<Fake>, Arc<World>) {
    let manager = Fake::default();
    let world = Arc::clone(&manager.0);
    (Pool::builder(manager).min_connections(0), world)
}

/// Polls a future once with a waker that does nothing.
pub(crate) fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// The output of a future that must be ready.
pub(crate) fn now<F: Future>(future: F) -> F::Output {
    match poll_once(std::pin::pin!(future)) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the future had to wait"),
    }
}

/// Sleeps in the scheduler, not in time, until something is so.
pub(crate) fn until(so: impl Fn() -> bool) {
    while !so() {
        std::thread::yield_now();
    }
}
