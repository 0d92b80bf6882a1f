//! Owns how a thread waits for a future: it sleeps until it is woken or its time is up.
//!
//! Must not know pools. Invariant: a wake-up between two polls is never lost, and a nested wait on the same thread
//! (an `open` that acquires from another pool) never takes a wake-up that was meant for the outer one.

use std::future::Future;
use std::task::{Context, Poll};

#[cfg(not(loom))]
pub(crate) use real::block_on;

#[cfg(not(loom))]
mod real {
    use super::{Context, Future, Poll};
    use std::cell::RefCell;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Wake, Waker};
    use std::thread::{self, Thread};

    use crate::clock::{NEVER, Nanos, system_until};

    struct Sleeper {
        thread: Thread,
        woken: AtomicBool,
    }

    impl Wake for Sleeper {
        fn wake(self: Arc<Self>) {
            self.wake_by_ref();
        }

        // Release: pairs with the swap in `block_on`, so the woken thread sees what it was woken for.
        fn wake_by_ref(self: &Arc<Self>) {
            if !self.woken.swap(true, Ordering::Release) {
                self.thread.unpark();
            }
        }
    }

    thread_local! {
        /// This thread's sleeper while it is not in use; a nested wait finds none and makes its own.
        static SLEEPER: RefCell<Option<(Arc<Sleeper>, Waker)>> = const { RefCell::new(None) };
    }

    /// Drives a future on this thread, which is polled again when woken and when the moment of the system clock
    /// has come that the future asks for.
    pub(crate) fn block_on<F: Future + Unpin>(future: F, wake_at: impl Fn(&F) -> Nanos) -> F::Output {
        let mut future = pin!(future);
        // A thread that ends has none any more, and may still wait.
        let kept = SLEEPER.try_with(|place| place.borrow_mut().take()).ok().flatten();
        let (sleeper, waker) = kept.unwrap_or_else(|| {
            let sleeper = Arc::new(Sleeper { thread: thread::current(), woken: AtomicBool::new(false) });
            let waker = Waker::from(Arc::clone(&sleeper));
            (sleeper, waker)
        });
        sleeper.woken.store(false, Ordering::Relaxed);
        let mut context = Context::from_waker(&waker);
        let output = loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                break output;
            }
            let moment = wake_at(&future);
            while !sleeper.woken.swap(false, Ordering::Acquire) {
                if moment == NEVER {
                    thread::park();
                } else {
                    let left = system_until(moment);
                    if left.is_zero() {
                        break;
                    }
                    thread::park_timeout(left);
                }
            }
        };
        let _ = SLEEPER.try_with(|place| *place.borrow_mut() = Some((sleeper, waker)));
        output
    }
}

#[cfg(loom)]
pub(crate) use modelled::block_on;

/// The same for loom's threads, which wait without a time limit.
#[cfg(loom)]
mod modelled {
    use super::{Context, Future, Poll};
    use loom::sync::{Condvar, Mutex};
    use std::pin::pin;
    use std::sync::{Arc, PoisonError};
    use std::task::{Wake, Waker};

    struct Sleeper {
        woken: Mutex<bool>,
        wake: Condvar,
    }

    impl Wake for Sleeper {
        fn wake(self: Arc<Self>) {
            *self.woken.lock().unwrap_or_else(PoisonError::into_inner) = true;
            self.wake.notify_one();
        }
    }

    pub(crate) fn block_on<F: Future + Unpin>(future: F, _wake_at: impl Fn(&F) -> crate::clock::Nanos) -> F::Output {
        let mut future = pin!(future);
        let sleeper = Arc::new(Sleeper { woken: Mutex::new(false), wake: Condvar::new() });
        let waker = Waker::from(Arc::clone(&sleeper));
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return output;
            }
            let mut woken = sleeper.woken.lock().unwrap_or_else(PoisonError::into_inner);
            while !std::mem::take(&mut *woken) {
                woken = sleeper.wake.wait(woken).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::clock::NEVER;
    use std::future::poll_fn;
    use std::sync::mpsc;
    use std::task::Waker;

    #[test]
    fn a_nested_wait_does_not_swallow_the_outer_wake_up() {
        let (wakers, woken) = mpsc::channel::<Waker>();
        let mut step = 0;
        let outer = poll_fn(move |context| {
            step += 1;
            if step == 1 {
                // The outer one is woken while the nested wait sleeps, then the nested one.
                let outer_waker = context.waker().clone();
                let mut asked = false;
                let nested = poll_fn(|context| {
                    if std::mem::replace(&mut asked, true) {
                        return Poll::Ready(());
                    }
                    outer_waker.wake_by_ref();
                    wakers.send(context.waker().clone()).expect("the waking thread is there");
                    Poll::Pending
                });
                block_on(Box::pin(nested), |_| NEVER);
                return Poll::Pending;
            }
            Poll::Ready(())
        });
        let waking = std::thread::spawn(move || woken.iter().for_each(Waker::wake));
        block_on(Box::pin(outer), |_| NEVER);
        waking.join().expect("the waking thread does not panic");
    }
}
