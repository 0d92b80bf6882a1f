//! How a thread waits for what a task would wait for.
//!
//! Owns the waker of each thread, which unparks it. It must not know what is waited for. Invariant: who is unparked looks again, for it
//! may have been for another reason.

use std::sync::Arc;
use std::task::{Wake, Waker};
use std::thread::Thread;

/// Wakes a thread that waits for a future.
pub(crate) struct Unpark(pub(crate) Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

thread_local! {
    static WAKER: Waker = Waker::from(Arc::new(Unpark(std::thread::current())));
}

/// What unparks the calling thread.
pub(crate) fn waker() -> Waker {
    WAKER.with(Waker::clone)
}
