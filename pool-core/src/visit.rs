//! Owns one visit of maintenance to one pool: timeouts, ages, idleness, health, leaks, refilling.
//!
//! Runs on the maintenance thread, or on the thread that moves a manual clock. Decisions are [`reaper::plan`]'s.
//! Invariant: a visit never waits; what has to wait becomes a background task.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::clock::{NEVER, Nanos, TimeWatcher, nanos};
use crate::ledger::Effects;
use crate::limit::Limited;
use crate::maintenance::{self, Maintained};
use crate::manager::{CloseReason, Manager};
use crate::observer::Holder;
use crate::opening::{Permit, is_valid, open};
use crate::options::Options;
use crate::reaper::{self, Action, View};
use crate::shared::{Custody, Shared};
use crate::slot::{AGED, STAMP, Slot};
use crate::sync::Ordering;

impl<M: Manager> Shared<M> {
    /// Does everything that is due, or everything at all if forced; returns when to come again.
    pub(crate) fn visit(&self, forced: bool) -> Nanos {
        let now = self.clock.now();
        // Whoever calls from here on is heard: the end of the visit only ever brings the next one forward.
        self.next_visit.store(NEVER, Ordering::Release);
        self.expire_waiters(now);
        let options = self.ledger().options.clone();
        if !self.ledger().closed {
            self.reap(now, &options, forced);
            self.refill();
        }
        let next = self.next_visit_after(now, &options);
        self.next_visit.fetch_min(next, Ordering::AcqRel).min(next)
    }

    fn expire_waiters(&self, now: Nanos) {
        let mut effects = Effects::none();
        let mut ledger = self.ledger();
        ledger.queue.expire(now, &mut |waker| effects.wake(Some(waker)));
        ledger.dispatch(&self.slots, &|| now, &mut effects);
        drop(ledger);
        self.perform(effects);
    }

    fn views(&self, now: Nanos) -> Vec<View> {
        let mut reaper = self.reaper.lock();
        let view = |slot: &Slot<M::Connection>| {
            let opened_at = slot.opened_at.load(Ordering::Relaxed);
            let idle = self.slots.is_idle(slot.index());
            if !idle && !slot.is_leased() {
                return None;
            }
            let since = match slot.care() & STAMP {
                0 => reaper.unused_since(slot.index(), slot.uses(), now).max(opened_at),
                _ => slot.idle_at.load(Ordering::Relaxed),
            };
            let dealt_with = !idle && slot.care() & AGED != 0;
            let retire_at = if dealt_with { NEVER } else { slot.retire_at.load(Ordering::Relaxed) };
            Some(View { index: slot.index(), idle_since: idle.then_some(since), retire_at })
        };
        self.slots.iter().filter_map(view).collect()
    }

    fn reap(&self, now: Nanos, options: &Options, forced: bool) {
        let full = {
            let mut reaper = self.reaper.lock();
            let full = forced || now >= reaper.next_pass;
            if full {
                reaper.next_pass = now.saturating_add(nanos(options.reap_interval));
            }
            full
        };
        let views = self.views(now);
        for action in reaper::plan(now, options, full, &views) {
            match action {
                Action::MarkAged(index) => {
                    // A connection that has come back meanwhile is found by its next holder or the next visit.
                    if let Some(slot) = self.slots.iter().nth(index) {
                        slot.set_care(AGED, 0);
                    }
                }
                Action::Close(index, reason) => {
                    if let Some(claim) = self.slots.claim_exact(index) {
                        self.close_connection(claim, reason);
                    }
                }
                Action::Validate(index) => self.validate_in_background(index),
            }
        }
        if let Some(threshold) = options.leak_threshold {
            self.report_leaks(now, threshold);
        }
    }

    fn report_leaks(&self, now: Nanos, threshold: Duration) {
        let mut leaks = Vec::new();
        {
            let mut reaper = self.reaper.lock();
            for slot in self.slots.iter() {
                let Some(holder) = holder_of(slot, now) else { continue };
                if holder.held_for > threshold && reaper.first_report(slot.index(), slot.uses()) {
                    leaks.push(holder);
                }
            }
        }
        for holder in leaks {
            self.observe(|observer| observer.leak(&holder));
        }
    }

    fn next_visit_after(&self, now: Nanos, options: &Options) -> Nanos {
        let earliest = {
            let ledger = self.ledger();
            if ledger.closed {
                return ledger.queue.earliest();
            }
            ledger.queue.earliest()
        };
        let next_pass = self.reaper.lock().next_pass;
        let mut next = earliest.min(next_pass).min(reaper::next_age(&self.views(now), now));
        if let Some(threshold) = options.leak_threshold {
            // One nanosecond past the threshold, for a leak is a lease that exceeds it.
            let due = |slot: &Slot<M::Connection>| {
                let since = slot.holder.lock().as_ref()?.1;
                Some(since.saturating_add(nanos(threshold)).saturating_add(1))
            };
            next = next.min(self.slots.iter().filter_map(due).filter(|&at| at > now).min().unwrap_or(NEVER));
        }
        next
    }

    /// Who holds connections, the longest first; empty unless holders are tracked.
    pub(crate) fn holders(&self) -> Vec<Holder> {
        let now = self.clock.now();
        let mut holders: Vec<_> = self.slots.iter().filter_map(|slot| holder_of(slot, now)).collect();
        holders.sort_by_key(|holder| std::cmp::Reverse(holder.held_for));
        holders
    }

    /// Opens what is missing to the minimum, in the background.
    fn refill(&self) {
        let Some(shared) = self.me.upgrade() else { return };
        loop {
            let before = self.total();
            let vacancy = {
                let mut ledger = self.ledger();
                if ledger.occupied >= ledger.options.min_connections {
                    return;
                }
                ledger.take_vacancy(&self.slots)
            };
            let Some(vacancy) = vacancy else { return };
            let pool = Arc::clone(&shared);
            let opened = self.run_in_background(async move {
                let permit = Permit::new(&pool, vacancy);
                let opening = async {
                    if let Ok(custody) = open(&pool, permit).await {
                        pool.publish(custody.keep());
                    }
                };
                Limited::new(&pool, opening).await;
            });
            if opened && self.total() == before {
                // It failed at once; the next pass tries again.
                return;
            }
        }
    }

    fn total(&self) -> usize {
        self.ledger().total()
    }

    fn validate_in_background(&self, index: usize) {
        let Some(shared) = self.me.upgrade() else { return };
        let Some(claim) = self.slots.claim_exact(index) else { return };
        self.run_in_background(async move {
            let mut custody = Custody::new(&shared, claim);
            let checking = async {
                if is_valid(&shared, &mut custody).await {
                    shared.publish(custody.keep());
                } else {
                    shared.close_connection(custody.keep(), CloseReason::Invalid);
                }
            };
            Limited::new(&shared, checking).await;
        });
    }

    /// Starts a task here and leaves it to the maintenance thread if it has to wait; tells whether it is done.
    fn run_in_background(&self, task: impl Future<Output = ()> + Send + 'static) -> bool {
        let pool: Weak<dyn Maintained> = self.me.clone();
        maintenance::start(pool, Box::pin(task))
    }

    /// Has the maintenance thread come at this moment, if it would come later. It has forgotten a pool that is closing,
    /// whatever visit was planned before.
    pub(crate) fn call_maintenance_before(&self, moment: Nanos) {
        // Acquire: pairs with the store in `begin_close`.
        let forgotten = self.closed.load(Ordering::Acquire) != 0 && moment != NEVER;
        if forgotten || moment < self.next_visit.load(Ordering::Acquire) {
            self.call_maintenance(moment);
        }
    }

    /// Has the maintenance thread come at this moment; it does not look after pools on a manual clock.
    #[cold]
    pub(crate) fn call_maintenance(&self, moment: Nanos) {
        if !self.clock.is_manual() {
            self.next_visit.fetch_min(moment, Ordering::AcqRel);
            maintenance::call(&(self.me.clone() as Weak<dyn Maintained>));
        }
    }
}

fn holder_of<C>(slot: &Slot<C>, now: Nanos) -> Option<Holder> {
    let (mut holder, since) = slot.holder.lock().clone()?;
    holder.held_for = Duration::from_nanos(now.saturating_sub(since));
    Some(holder)
}

impl<M: Manager> Maintained for Shared<M> {
    fn next_visit(&self) -> Nanos {
        self.next_visit.load(Ordering::Acquire)
    }

    fn visit(&self) -> Nanos {
        Shared::visit(self, false)
    }

    fn enter(&self, run: &mut dyn FnMut()) {
        self.in_runtime(run);
    }

    fn is_closed(&self) -> bool {
        self.ledger().closed
    }

    fn postpone(&self) {
        let a_second_later = self.clock.now().saturating_add(1_000_000_000);
        self.next_visit.fetch_min(a_second_later, Ordering::AcqRel);
    }
}

impl<M: Manager> TimeWatcher for Shared<M> {
    fn time_moved(&self) {
        Shared::visit(self, false);
    }
}
