//! Owns what the lock protects: who waits, which slots are vacant, the limits and the rare counts; and the one rule by
//! which connections and vacancies are given out.
//!
//! Must not call a manager, an observer or a waker: what is to be done outside the lock is collected in [`Effects`].
//! Invariants, whenever the lock is free: `occupied <= max_connections` unless the maximum was lowered; if somebody
//! waits, there is neither a vacancy nor an idle slot for them (or a busy thread left one to itself, see
//! [`crate::turn`], and maintenance will look when the first waiter's patience is over); the flags in the words say [`CALL`]
//! whenever a release must look here.

use std::sync::Arc;
use std::task::Waker;

use crate::clock::{Nanos, nanos};
use crate::contain::contain;
use crate::handoff::{Grant, Handoffs};
use crate::manager::CloseReason;
use crate::options::Options;
use crate::queue::{Queue, TimerId};
use crate::slot::{Claim, Vacancy};
use crate::slots::Slots;
use crate::stats::CloseCounts;
use crate::turn::PATIENCE;
use crate::words::{CALL, GATE};

/// What is left to do once the lock is released.
#[derive(Debug)]
pub(crate) struct Effects<C> {
    first: Option<Waker>,
    others: Vec<Waker>,
    pub(crate) closing: Vec<(Claim<C>, CloseReason)>,
}

impl<C> Effects<C> {
    pub(crate) fn none() -> Self {
        Self { first: None, others: Vec::new(), closing: Vec::new() }
    }

    /// Wakes somebody later; the first one without an allocation.
    pub(crate) fn wake(&mut self, waker: Option<Waker>) {
        match waker {
            Some(waker) if self.first.is_none() => self.first = Some(waker),
            waker => self.others.extend(waker),
        }
    }

    pub(crate) fn wake_all(&mut self) {
        for waker in self.first.take().into_iter().chain(self.others.drain(..)) {
            wake(waker);
        }
    }
}

/// Wakes one who waits. A waker is the program's own code: when it panics, the others are still woken, and whoever gave a connection back
/// did nothing wrong.
pub(crate) fn wake(waker: Waker) {
    contain(|| waker.wake());
}

/// Counts that change only under the lock.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) created: u64,
    pub(crate) closed: CloseCounts,
    pub(crate) detached: u64,
    pub(crate) errors: u64,
    pub(crate) timed_out: u64,
    pub(crate) refused: u64,
    /// What the slots do not count: opening, validating.
    pub(crate) prepare_total: Nanos,
    pub(crate) prepare_max: Nanos,
    pub(crate) most_waiting: usize,
}

/// Reads the clock, which is worth avoiding.
pub(crate) type Now<'n> = &'n dyn Fn() -> Nanos;

/// The fields in the order of the declaration: what every wait writes comes first, on the cache line of the lock, and what it
/// only reads apart from that.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Ledger {
    pub(crate) queue: Queue,
    flags: u64,
    pub(crate) closed: bool,
    /// Slots that are opening, idle, leased or closing.
    pub(crate) occupied: usize,
    /// Slots among them that have no connection yet.
    pub(crate) opening: usize,
    /// Slots among them that have no connection any more.
    pub(crate) closing: usize,
    pub(crate) options: Options,
    pub(crate) counts: Counts,
    /// Who waits for the last connection to go.
    pub(crate) closers: Vec<TimerId>,
    /// One bit per slot: empty.
    vacant: Vec<u64>,
}

impl Ledger {
    pub(crate) fn new(options: Options, capacity: usize, handoffs: Arc<Handoffs>) -> Self {
        let mut ledger = Self {
            options,
            queue: Queue::new(handoffs),
            counts: Counts::default(),
            closed: false,
            closers: Vec::new(),
            occupied: 0,
            opening: 0,
            closing: 0,
            vacant: Vec::new(),
            flags: 0,
        };
        ledger.add_vacant(0, capacity);
        ledger
    }

    fn add_vacant(&mut self, from: usize, to: usize) {
        self.vacant.resize(to.div_ceil(64), 0);
        for index in from..to {
            self.vacant[index / 64] |= 1 << (index % 64);
        }
    }

    /// Makes room for a higher maximum.
    pub(crate) fn grow<C>(&mut self, slots: &Slots<C>, capacity: usize) {
        let before = slots.capacity();
        slots.grow(capacity, self.flags);
        self.add_vacant(before, slots.capacity());
    }

    /// Connections that are open.
    pub(crate) fn total(&self) -> usize {
        self.occupied - self.opening - self.closing
    }

    /// Tells whether there are more connections than the maximum allows, not counting those on their way out.
    fn is_over(&self) -> bool {
        self.occupied - self.closing > self.options.max_connections
    }

    /// Takes the lowest empty slot if the maximum allows one more connection.
    pub(crate) fn take_vacancy<C>(&mut self, slots: &Slots<C>) -> Option<Vacancy<C>> {
        if self.closed || self.occupied >= self.options.max_connections {
            return None;
        }
        let word = self.vacant.iter().position(|&word| word != 0)?;
        let bit = self.vacant[word].trailing_zeros() as usize;
        self.vacant[word] &= !(1 << bit);
        self.occupied += 1;
        self.opening += 1;
        // SAFETY: the slot has just been struck from the vacant ones.
        Some(unsafe { slots.vacancy(word * 64 + bit) })
    }

    fn put_back<C>(&mut self, vacancy: Vacancy<C>) {
        let index = vacancy.slot().index();
        debug_assert!(self.vacant[index / 64] & (1 << (index % 64)) == 0, "BUG: slot {index} vacated twice");
        self.vacant[index / 64] |= 1 << (index % 64);
        self.occupied -= 1;
    }

    /// Takes back the place of a connection that was not opened.
    pub(crate) fn not_opened<C>(&mut self, vacancy: Vacancy<C>) {
        self.opening -= 1;
        self.put_back(vacancy);
    }

    /// Takes back the place of a connection that has been closed or detached.
    pub(crate) fn vacate<C>(&mut self, vacancy: Vacancy<C>) {
        self.closing -= 1;
        self.put_back(vacancy);
    }

    /// Gives out whatever can be given out, in order, after any change that may allow it.
    pub(crate) fn dispatch<C>(&mut self, slots: &Slots<C>, now: Now<'_>, effects: &mut Effects<C>) {
        if self.closed {
            return self.dispatch_closed(slots, effects);
        }
        // First the flags, then the look at the idle slots: see `words`. The model of shrinking needs it here, too.
        self.update_flags(slots, now);
        while self.is_over() {
            let Some(claim) = slots.claim_inside(true) else { break };
            self.start_closing();
            effects.closing.push((claim, CloseReason::Shrunk));
        }
        while self.queue.waiting() > 0 {
            let grant = match slots.claim_inside(false) {
                Some(claim) => {
                    claim.slot().set_handed(true);
                    Grant::Connection(claim)
                }
                None => match self.take_vacancy(slots) {
                    Some(vacancy) => Grant::Open(vacancy),
                    None => break,
                },
            };
            effects.wake(self.queue.grant(grant));
        }
        self.update_flags(slots, now);
    }

    /// Hands a connection that comes back to the first waiter, without a detour through the word; gives it back where
    /// nobody waits, or where it is not certain that the first waiter is the one to get it.
    ///
    /// The rule is [`Ledger::dispatch`]'s: whoever waits, nothing else is idle or vacant.
    pub(crate) fn hand_on<C>(
        &mut self,
        slots: &Slots<C>,
        claim: Claim<C>,
        now: Now<'_>,
    ) -> Result<Option<Waker>, Claim<C>> {
        if self.closed || self.queue.waiting() == 0 || self.queue.is_patient() || self.is_over() {
            return Err(claim);
        }
        let waker = self.queue.grant(Grant::Connection(claim));
        self.update_flags(slots, now);
        Ok(waker)
    }

    /// Tells whether somebody who has just joined may find anything: if others wait and all acquires and
    /// releases already come here, nothing is idle or vacant but what is about to be dispatched.
    pub(crate) fn may_dispatch_to_newcomer(&self) -> bool {
        self.flags != CALL | GATE || self.queue.waiting() == 1 || self.queue.is_patient()
    }

    /// Tells whether a thread may take a connection before those who wait.
    pub(crate) fn may_overtake(&mut self, now: Nanos) -> bool {
        !self.closed && !self.is_over() && self.queue.overtake(now, nanos(PATIENCE))
    }

    /// A closed pool serves nobody and keeps nothing.
    fn dispatch_closed<C>(&mut self, slots: &Slots<C>, effects: &mut Effects<C>) {
        while self.queue.waiting() > 0 {
            effects.wake(self.queue.dismiss());
        }
        while let Some(claim) = slots.claim_inside(false) {
            self.start_closing();
            effects.closing.push((claim, CloseReason::PoolClosed));
        }
        if self.occupied == 0 {
            for closer in self.closers.drain(..) {
                effects.wake(self.queue.ring(closer));
            }
        }
    }

    /// Counts a connection as being closed; its slot stays taken until [`Ledger::vacate`].
    pub(crate) fn start_closing(&mut self) {
        self.closing += 1;
    }

    /// Puts the flags into the words if they changed.
    pub(crate) fn update_flags<C>(&mut self, slots: &Slots<C>, now: Now<'_>) {
        let flags = if self.closed {
            CALL | GATE
        } else {
            match self.queue.waiting() {
                0 if self.is_over() => CALL,
                0 => 0,
                _ if self.queue.is_patient() && !self.queue.has_lost_patience(now(), nanos(PATIENCE)) => CALL,
                _ => CALL | GATE,
            }
        };
        if flags != self.flags {
            self.flags = flags;
            slots.set_flags(flags);
        }
    }
}
