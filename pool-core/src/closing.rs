//! Owns the end of a pool: nobody is served any more, those who hold a connection may finish.
//!
//! Must not know how connections are closed. Invariant: from the moment closing has begun no connection is handed out or kept.

use std::future::Future;
use std::pin::Pin;
use std::sync::Weak;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::clock::{NEVER, Nanos, nanos};
use crate::ledger::Effects;
use crate::maintenance::{self, Maintained};
use crate::manager::Manager;
use crate::observer::Holder;
use crate::queue::TimerId;
use crate::shared::Shared;
use crate::sync::Ordering;

/// What was still in use when [`Pool::close`](crate::Pool::close) returned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseReport {
    /// Connections still leased; each is closed when it comes back.
    pub leased: usize,
    /// Connections still being opened or closed.
    pub in_transit: usize,
    /// Who holds the leased ones, the longest first; empty unless `track_holders` is on.
    pub holders: Vec<Holder>,
}

impl CloseReport {
    /// Tells whether every connection is closed.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.leased == 0 && self.in_transit == 0
    }
}

impl<M: Manager> Shared<M> {
    /// Turns everybody away and closes what is idle.
    pub(crate) fn begin_close(&self) {
        let mut effects = Effects::none();
        {
            let mut ledger = self.ledger();
            ledger.closed = true;
            // Release: pairs with the look of those who find a grant when they wake up.
            self.closed.store(1, Ordering::Release);
            ledger.update_flags(&self.slots, &|| 0);
            ledger.dispatch(&self.slots, &|| 0, &mut effects);
        }
        maintenance::forget(&(self.me.clone() as Weak<dyn Maintained>));
        // What was planned is not to be done any more. Release: as for who plans.
        self.next_visit.store(NEVER, Ordering::Release);
        self.perform(effects);
    }

    fn close_report(&self) -> CloseReport {
        let leased = self.slots.iter().filter(|slot| slot.is_leased()).count();
        let occupied = self.ledger().occupied;
        CloseReport { leased, in_transit: occupied.saturating_sub(leased), holders: self.holders() }
    }
}

/// A close under way; done when the last connection is gone or the time is up.
pub(crate) struct Closing<'p, M: Manager> {
    shared: &'p Shared<M>,
    timeout: Duration,
    begun: Option<(Nanos, Option<TimerId>)>,
}

impl<'p, M: Manager> Closing<'p, M> {
    pub(crate) fn new(shared: &'p Shared<M>, timeout: Duration) -> Self {
        Self { shared, timeout, begun: None }
    }

    pub(crate) fn wake_at(&self) -> Nanos {
        self.shared.sleep_until(self.begun.as_ref().map_or(0, |begun| begun.0))
    }

    fn forget_timer(&mut self) {
        if let Some((_, Some(timer))) = &mut self.begun {
            let timer = *timer;
            self.begun = None;
            let mut ledger = self.shared.ledger();
            ledger.closers.retain(|&closer| closer != timer);
            let left = ledger.queue.forget_timer(timer);
            drop(ledger);
            drop(left);
        }
    }
}

impl<M: Manager> Future for Closing<'_, M> {
    type Output = CloseReport;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<CloseReport> {
        let this = self.get_mut();
        let shared = this.shared;
        let now = shared.clock.now();
        let (deadline, timer) = *this.begun.get_or_insert_with(|| {
            shared.begin_close();
            // Maintenance has forgotten the pool; the deadlines of those for whom something is being opened still pass.
            let earliest = shared.ledger().queue.earliest();
            shared.call_maintenance_before(earliest);
            (now.saturating_add(nanos(this.timeout)), None)
        });
        // Outside the lock, as everything that is the program's own code.
        let waker = context.waker().clone();
        let mut ledger = shared.ledger();
        if ledger.occupied == 0 || now >= deadline {
            drop(ledger);
            this.forget_timer();
            return Poll::Ready(shared.close_report());
        }
        let old = match timer {
            Some(timer) => ledger.queue.rewake_timer(timer, waker),
            None => {
                let timer = ledger.queue.set_timer(waker, deadline);
                ledger.closers.push(timer);
                this.begun = Some((deadline, Some(timer)));
                None
            }
        };
        drop(ledger);
        drop(old);
        shared.call_maintenance_before(deadline);
        Poll::Pending
    }
}

impl<M: Manager> Drop for Closing<'_, M> {
    fn drop(&mut self) {
        self.forget_timer();
    }
}
