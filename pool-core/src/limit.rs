//! Owns the end of background work that does not end by itself: an `open` or a `validate` that nobody waits for holds a slot, and
//! must not hold it for ever.
//!
//! Must not know what the work is. Invariant: the timer is forgotten when the work is done, given up or dropped.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::clock::{Nanos, nanos};
use crate::manager::Manager;
use crate::queue::TimerId;
use crate::shared::Shared;

/// Work of one pool, to be given up after the time that an acquire may take.
pub(crate) struct Limited<'p, M: Manager, F> {
    shared: &'p Shared<M>,
    work: Option<Pin<Box<F>>>,
    deadline: Nanos,
    timer: Option<TimerId>,
}

impl<'p, M: Manager, F: Future<Output = ()>> Limited<'p, M, F> {
    pub(crate) fn new(shared: &'p Shared<M>, work: F) -> Self {
        let limit = shared.ledger().options.acquire_timeout;
        let deadline = shared.clock.now().saturating_add(nanos(limit));
        Self { shared, work: Some(Box::pin(work)), deadline, timer: None }
    }
}

impl<M: Manager, F: Future<Output = ()>> Future for Limited<'_, M, F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let shared = this.shared;
        let Some(work) = &mut this.work else { return Poll::Ready(()) };
        if work.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        if shared.clock.now() >= this.deadline {
            shared.ledger().counts.errors += 1;
            this.work = None;
            return Poll::Ready(());
        }
        // Outside the lock, as everything that is the program's own code.
        let waker = context.waker().clone();
        let mut ledger = shared.ledger();
        let old = match this.timer {
            Some(timer) => ledger.queue.rewake_timer(timer, waker),
            None => {
                this.timer = Some(ledger.queue.set_timer(waker, this.deadline));
                None
            }
        };
        drop(ledger);
        drop(old);
        shared.call_maintenance_before(this.deadline);
        Poll::Pending
    }
}

impl<M: Manager, F> Drop for Limited<'_, M, F> {
    fn drop(&mut self) {
        if let Some(timer) = self.timer.take() {
            let left = self.shared.ledger().queue.forget_timer(timer);
            drop(left);
        }
    }
}
