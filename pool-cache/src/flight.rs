//! One load in flight: a result that one caller brings and any number wait for.
//!
//! Owns the state of a flight and its waiters, and how a thread waits. Must not know keys, stores or loaders.
//! States: `Loading -> Landed`, once. Invariant: every waiter registered before landing is woken by it, every later one
//! finds the outcome; a waiter that goes away takes its waker with it.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use crate::sync::{self, Mutex};

/// How a flight ended, for those who waited.
#[derive(Debug)]
pub(crate) enum Outcome<V> {
    Value(Arc<V>),
    /// The loader's error; its type is that of the caller who led.
    Failed(Arc<dyn Any + Send + Sync>),
    /// There is a value, but for the leader only.
    Passed,
    /// There is none: cancelled, panicked, or outdated before it landed.
    Abandoned,
}

impl<V> Clone for Outcome<V> {
    fn clone(&self) -> Self {
        match self {
            Outcome::Value(value) => Outcome::Value(Arc::clone(value)),
            Outcome::Failed(error) => Outcome::Failed(Arc::clone(error)),
            Outcome::Passed => Outcome::Passed,
            Outcome::Abandoned => Outcome::Abandoned,
        }
    }
}

#[derive(Debug)]
enum State<V> {
    /// Who waits, each at a place of its own, and the places that are free again.
    Loading {
        wakers: Vec<Option<Waker>>,
        free: Vec<usize>,
    },
    Landed(Outcome<V>),
}

#[derive(Debug)]
pub(crate) struct Flight<V> {
    state: Mutex<State<V>>,
}

impl<V> Flight<V> {
    pub(crate) fn new() -> Self {
        Flight { state: Mutex::new(State::Loading { wakers: Vec::new(), free: Vec::new() }) }
    }

    /// Ends the flight and wakes everybody who waits for it.
    pub(crate) fn land(&self, outcome: Outcome<V>) {
        let before = {
            let mut state = self.state.lock();
            assert!(matches!(*state, State::Loading { .. }), "BUG: a flight landed twice");
            std::mem::replace(&mut *state, State::Landed(outcome))
        };
        // Wakers are foreign code: they run without the lock, and one that panics must not keep the others asleep.
        if let State::Loading { wakers, .. } = before {
            for waker in wakers.into_iter().flatten() {
                let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
            }
        }
    }

    /// Waits for the end without blocking the thread.
    pub(crate) fn landed(&self) -> Landed<'_, V> {
        Landed { flight: self, registered: None }
    }
}

/// Blocks the thread until a future is ready. One that is ready at once costs nothing more.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    if let Poll::Ready(ready) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        return ready;
    }
    let waker = Waker::from(Arc::new(Unpark(sync::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(ready) => return ready,
            // A stray unpark only costs another look.
            Poll::Pending => sync::park(),
        }
    }
}

struct Unpark(sync::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The wait for a [`Flight`]; dropping it ends the wait.
#[derive(Debug)]
pub(crate) struct Landed<'a, V> {
    flight: &'a Flight<V>,
    registered: Option<usize>,
}

impl<V> Future for Landed<'_, V> {
    type Output = Outcome<V>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome<V>> {
        let flight = self.flight;
        // Cloned before and dropped after the lock: wakers are foreign code.
        let mut waker = Some(context.waker().clone());
        let _replaced;
        let mut state = flight.state.lock();
        match &mut *state {
            State::Landed(outcome) => {
                let outcome = outcome.clone();
                self.registered = None;
                drop(state);
                return Poll::Ready(outcome);
            }
            State::Loading { wakers, free } => {
                let place = self.registered.or_else(|| free.pop()).unwrap_or(wakers.len());
                if place == wakers.len() {
                    wakers.push(None);
                }
                _replaced = std::mem::replace(&mut wakers[place], waker.take());
                self.registered = Some(place);
            }
        }
        drop(state);
        Poll::Pending
    }
}

impl<V> Drop for Landed<'_, V> {
    fn drop(&mut self) {
        let Some(place) = self.registered else { return };
        let mut state = self.flight.state.lock();
        let mut _gone = None;
        if let State::Loading { wakers, free } = &mut *state {
            _gone = wakers[place].take();
            free.push(place);
        }
        drop(state);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn waiters_that_give_up_are_not_looked_for_among_all_others() {
        let flight = Flight::<u32>::new();
        let mut waiting: Vec<_> = (0..100_000).map(|_| flight.landed()).collect();
        for _ in 0..2 {
            for waiter in &mut waiting {
                assert!(Pin::new(waiter).poll(&mut Context::from_waker(Waker::noop())).is_pending());
            }
        }
        // The last first, or this takes minutes.
        while waiting.len() > 1 {
            waiting.pop();
        }
        let State::Loading { wakers, free } = &*flight.state.lock() else { unreachable!("nothing has landed") };
        assert_eq!((wakers.iter().flatten().count(), free.len()), (1, 99_999));
    }
}
