//! How a session waits for those who take what it reads.
//!
//! Owns that such a wait ends at once when the use is stopped. It must not know what is handed over. Invariant: outside the wait the
//! session names no thread to be woken.

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use super::{Session, USE_REFUSED};
use crate::parking;

impl Session {
    /// Waits on the calling thread, which runs the use, for a future; `None` when the use was stopped meanwhile.
    pub(crate) fn wait_for<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        // In a task tokio would let it have nothing any more once the task has had its share, and a thread can't come again later.
        let mut future = pin!(tokio::task::unconstrained(future));
        let thread = std::thread::current();
        let waker = parking::waker();
        let mut context = Context::from_waker(&waker);
        let mut waits = false;
        loop {
            let polled = future.as_mut().poll(&mut context);
            if !waits && let Poll::Ready(done) = polled {
                return Some(done);
            }
            let mut state = self.state.lock();
            state.waiting = None;
            if let Poll::Ready(done) = polled {
                return Some(done);
            }
            // Who stops the use does so under this lock, and wakes whoever is named in it.
            if self.refused.load(Ordering::Relaxed) == USE_REFUSED {
                return None;
            }
            state.waiting = Some(thread.clone());
            waits = true;
            drop(state);
            std::thread::park();
        }
    }
}
