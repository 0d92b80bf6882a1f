//! How a thread waits for what a task would wait for.
//!
//! Owns the waker of each thread, which unparks it. It must not know what is waited for. Invariant: who is unparked looks again, for it
//! may have been for another reason.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

/// Wakes a thread that waits for a future.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

thread_local! {
    static WAKER: Waker = unpark_this();
}

/// Waits on the calling thread.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    // In a task tokio would let it have nothing any more once the task has had its share, and a thread can't come again later.
    let mut future = pin!(tokio::task::unconstrained(future));
    let waker = waker();
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return done;
        }
        std::thread::park();
    }
}

/// What unparks the calling thread. One that is ending, and whose locals are gone, gets a new one each time.
pub(crate) fn waker() -> Waker {
    WAKER.try_with(Waker::clone).unwrap_or_else(|_| unpark_this())
}

fn unpark_this() -> Waker {
    Waker::from(Arc::new(Unpark(std::thread::current())))
}
