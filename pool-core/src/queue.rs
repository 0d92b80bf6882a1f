//! Owns those who wait: one first-in-first-out queue for tasks and threads alike, and their deadlines.
//!
//! A slab of nodes linked by index: joining, leaving from anywhere and taking the first are O(1), nothing is
//! allocated per wait once the slab has grown to the longest queue seen, and there is nothing unsafe about it. Must not know
//! when somebody may be served. Invariant: a node is linked exactly while it is [`State::Waiting`].
//!
//! What a waiter is given is left for it in [`Handoffs`], where it is taken without the lock. The lock is needed to free the
//! node, so that is left to the next one who grants the same slot: it has the lock, and a slot can only be granted again
//! when the waiter before has taken it and given it back. So at most one node per slot is kept back.

use std::sync::Arc;
use std::task::Waker;

use crate::clock::{NEVER, Nanos};
use crate::handoff::{Grant, Handoffs, Place};

pub(crate) const NONE: u32 = u32::MAX;

/// How a wait stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// In the queue.
    Waiting,
    /// Served; out of the queue, the node is freed when its slot is granted again.
    Granted,
    /// The deadline has passed; out of the queue.
    TimedOut,
    /// The pool was closed; out of the queue.
    Closed,
    /// Never in the queue: wants to be woken at its deadline.
    Timer,
    /// The node is free.
    Free,
}

/// The name of a timer; good until [`Queue::forget_timer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerId(u32);

/// A waiter or timer, on a cache line of its own: one core queues up, another one grants.
#[derive(Debug)]
#[repr(align(64))]
struct Node {
    waker: Option<Waker>,
    deadline: Nanos,
    /// Who joined before; means nothing for the first, so that taking the first touches no other node.
    before: u32,
    after: u32,
    state: State,
    /// Whether nobody may be served before this one.
    strict: bool,
}

/// The fields in the order of the declaration: those that every wait touches share the cache line of the lock.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Queue {
    waiting: u32,
    /// How many of the waiting may never be overtaken.
    strict: u32,
    first: u32,
    last: u32,
    /// The node that became free last, or [`NONE`]: who queues up again after a release takes that one.
    spare: u32,
    nodes: Vec<Node>,
    /// The numbers of the other nodes that are free.
    free: Vec<u32>,
    /// No deadline is earlier than this.
    earliest: Nanos,
    /// When the first was overtaken for the first time.
    overtaken_at: Option<Nanos>,
    handoffs: Arc<Handoffs>,
}

impl Queue {
    pub(crate) fn new(handoffs: Arc<Handoffs>) -> Self {
        Self {
            waiting: 0,
            strict: 0,
            first: NONE,
            last: NONE,
            spare: NONE,
            nodes: Vec::new(),
            free: Vec::new(),
            earliest: NEVER,
            overtaken_at: None,
            handoffs,
        }
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting as usize
    }

    /// The moment before which no deadline passes.
    pub(crate) fn earliest(&self) -> Nanos {
        self.earliest
    }

    fn node(&mut self, id: u32) -> &mut Node {
        &mut self.nodes[id as usize]
    }

    fn take_free(&mut self) -> Option<u32> {
        match std::mem::replace(&mut self.spare, NONE) {
            NONE => self.free.pop(),
            id => Some(id),
        }
    }

    fn put_free(&mut self, id: u32) {
        match std::mem::replace(&mut self.spare, id) {
            NONE => {}
            other => self.free.push(other),
        }
    }

    fn add(&mut self, node: Node) -> u32 {
        // Written only where it changes: its cache line is one that others read.
        if node.deadline < self.earliest {
            self.earliest = node.deadline;
        }
        if let Some(id) = self.take_free() {
            // The old content needs no dropping (a free node has no waker), and looking at it would mean to wait for the core
            // that wrote it.
            std::mem::forget(std::mem::replace(self.node(id), node));
            return id;
        }
        let id = u32::try_from(self.nodes.len()).ok().filter(|&id| id != NONE);
        self.nodes.push(node);
        id.expect("BUG: four thousand million waiters")
    }

    /// Joins at the end.
    pub(crate) fn join(&mut self, waker: Waker, deadline: Nanos, strict: bool) -> Place {
        let last = self.last;
        let state = State::Waiting;
        let node = Node { state, waker: Some(waker), deadline, strict, before: last, after: NONE };
        let id = self.add(node);
        match last {
            NONE => self.first = id,
            _ => self.node(last).after = id,
        }
        self.last = id;
        self.waiting += 1;
        self.strict += u32::from(strict);
        self.handoffs.join(id)
    }

    /// Asks for a wake-up at a deadline without joining the queue.
    pub(crate) fn set_timer(&mut self, waker: Waker, deadline: Nanos) -> TimerId {
        let (state, waker) = (State::Timer, Some(waker));
        TimerId(self.add(Node { state, waker, deadline, strict: true, before: NONE, after: NONE }))
    }

    fn unlink(&mut self, id: u32) {
        let (before, after, strict) = {
            let node = self.node(id);
            (node.before, node.after, node.strict)
        };
        if self.first == id {
            self.first = after;
            if self.overtaken_at.is_some() {
                self.overtaken_at = None;
            }
            if after == NONE {
                self.last = NONE;
            }
        } else {
            self.node(before).after = after;
            match after {
                NONE => self.last = before,
                _ => self.node(after).before = before,
            }
        }
        self.waiting -= 1;
        self.strict -= u32::from(strict);
    }

    /// Tells whether all who wait may be overtaken for a while.
    pub(crate) fn is_patient(&self) -> bool {
        self.strict == 0 && self.waiting > 0
    }

    /// Tells whether the first may be overtaken at this moment, and from when on it has been.
    pub(crate) fn overtake(&mut self, now: Nanos, patience: Nanos) -> bool {
        self.is_patient() && now.saturating_sub(*self.overtaken_at.get_or_insert(now)) < patience
    }

    /// Tells whether the first has been overtaken for long enough.
    pub(crate) fn has_lost_patience(&self, now: Nanos, patience: Nanos) -> bool {
        self.overtaken_at.is_some_and(|at| now.saturating_sub(at) >= patience)
    }

    /// Takes the first out of the queue and gives it something; returns whom to wake.
    pub(crate) fn grant<C>(&mut self, grant: Grant<C>) -> Option<Waker> {
        let (first, waker) = self.take_first(State::Granted);
        let slot = match &grant {
            Grant::Connection(claim) => claim.slot(),
            Grant::Open(vacancy) => vacancy.slot(),
        };
        let done_with = slot.swap_place(first);
        if done_with != NONE {
            // Its state stays, for the line is another core's by now; it has no waker any more.
            debug_assert_eq!(self.node(done_with).state, State::Granted, "BUG: a freed node is kept back");
            self.put_free(done_with);
        }
        self.handoffs.leave(first, grant);
        waker
    }

    /// Takes the first out of the queue because the pool is closed; returns whom to wake.
    pub(crate) fn dismiss(&mut self) -> Option<Waker> {
        self.take_first(State::Closed).1
    }

    fn take_first(&mut self, state: State) -> (u32, Option<Waker>) {
        let first = self.first;
        assert!(first != NONE, "BUG: nobody waits");
        let node = self.node(first);
        // Written before anything is read, for the line is another core's by now: it comes once, to be written.
        node.state = state;
        let waker = node.waker.take();
        self.unlink(first);
        (first, waker)
    }

    /// Tells how a wait stands.
    pub(crate) fn state(&self, place: &Place) -> State {
        self.nodes[place.number() as usize].state
    }

    /// Tells whether this waker is the one that one who waits left.
    pub(crate) fn knows(&self, place: &Place, waker: &Waker) -> bool {
        self.nodes[place.number() as usize].waker.as_ref().is_some_and(|known| known.will_wake(waker))
    }

    /// Renews the waker of one who goes on waiting; returns the old one, to be dropped outside the lock.
    #[must_use]
    pub(crate) fn rewake(&mut self, place: &Place, waker: Waker) -> Option<Waker> {
        self.node(place.number()).waker.replace(waker)
    }

    /// Renews the waker of a timer; returns the old one, to be dropped outside the lock.
    #[must_use]
    pub(crate) fn rewake_timer(&mut self, id: TimerId, waker: Waker) -> Option<Waker> {
        self.node(id.0).waker.replace(waker)
    }

    /// Ends a wait that has not been served, in or out of the queue; returns the waker, to be dropped outside the lock.
    #[must_use]
    pub(crate) fn leave(&mut self, place: Place) -> Option<Waker> {
        let id = place.number();
        match self.state(&place) {
            State::Waiting => self.unlink(id),
            State::Granted => panic!("BUG: a served waiter leaves without its grant"),
            _ => {}
        }
        self.free(id)
    }

    /// Ends a timer; returns its waker, to be dropped outside the lock.
    #[must_use]
    pub(crate) fn forget_timer(&mut self, id: TimerId) -> Option<Waker> {
        self.free(id.0)
    }

    fn free(&mut self, id: u32) -> Option<Waker> {
        self.put_free(id);
        let node = self.node(id);
        node.state = State::Free;
        node.waker.take()
    }

    /// Takes out all whose deadline has passed and collects whom to wake.
    ///
    /// Looks at every node, but only when the earliest deadline has passed.
    pub(crate) fn expire(&mut self, now: Nanos, wake: &mut impl FnMut(Waker)) {
        if now < self.earliest {
            return;
        }
        let mut earliest = NEVER;
        for id in 0..self.nodes.len() {
            let node = &mut self.nodes[id];
            if !matches!(node.state, State::Waiting | State::Timer) {
                continue;
            }
            if node.deadline > now {
                earliest = earliest.min(node.deadline);
                continue;
            }
            node.deadline = NEVER;
            if let Some(waker) = node.waker.take() {
                wake(waker);
            }
            if matches!(node.state, State::Waiting) {
                self.unlink(id as u32);
                self.nodes[id].state = State::TimedOut;
            }
        }
        self.earliest = earliest;
    }

    /// Wakes one who set a timer before its time.
    pub(crate) fn ring(&mut self, id: TimerId) -> Option<Waker> {
        self.node(id.0).waker.take()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn queue() -> Queue {
        Queue::new(Arc::new(Handoffs::new()))
    }

    #[test]
    fn leaving_from_the_middle_keeps_the_order_of_the_others() {
        let mut queue = queue();
        let [first, second, third] = [(); 3].map(|()| queue.join(Waker::noop().clone(), NEVER, true));
        drop(queue.leave(second));
        queue.dismiss();
        assert_eq!(queue.state(&first), State::Closed);
        assert_eq!(queue.state(&third), State::Waiting);
        queue.dismiss();
        assert_eq!(queue.state(&third), State::Closed);
        assert_eq!(queue.waiting(), 0);
    }

    #[test]
    fn nodes_are_reused() {
        let mut queue = queue();
        for _ in 0..100 {
            let id = queue.join(Waker::noop().clone(), NEVER, true);
            drop(queue.leave(id));
        }
        assert_eq!(queue.nodes.len(), 1);
    }

    #[test]
    fn only_passed_deadlines_expire() {
        let mut queue = queue();
        let early = queue.join(Waker::noop().clone(), 10, true);
        let late = queue.join(Waker::noop().clone(), 20, true);
        let mut woken = 0;
        queue.expire(9, &mut |_| woken += 1);
        assert_eq!(woken, 0);
        queue.expire(10, &mut |_| woken += 1);
        assert_eq!((woken, queue.earliest(), queue.waiting()), (1, 20, 1));
        assert_eq!(queue.state(&early), State::TimedOut);
        assert_eq!(queue.state(&late), State::Waiting);
    }

    #[test]
    fn one_strict_waiter_makes_the_queue_strict() {
        let mut queue = queue();
        queue.join(Waker::noop().clone(), NEVER, false);
        assert!(queue.is_patient());
        let task = queue.join(Waker::noop().clone(), NEVER, true);
        assert!(!queue.is_patient());
        drop(queue.leave(task));
        assert!(queue.is_patient());
    }

    #[test]
    fn patience_counts_from_the_first_time_somebody_goes_past() {
        let mut queue = queue();
        let first = queue.join(Waker::noop().clone(), NEVER, false);
        queue.join(Waker::noop().clone(), NEVER, false);
        assert!(queue.overtake(1000, 500));
        assert!(queue.overtake(1499, 500));
        assert!(!queue.overtake(1500, 500));
        assert!(queue.has_lost_patience(1500, 500));
        drop(queue.leave(first));
        assert!(queue.overtake(1500, 500));
    }

    #[test]
    fn nodes_of_served_waiters_are_freed_when_their_slot_is_granted_again() {
        let (mut queue, slots) = (queue(), crate::slots::Slots::<u8>::new(1));
        // SAFETY: the only vacancy of this slot.
        let mut claim = unsafe { slots.vacancy(0) }.fill(7);
        for _ in 0..100 {
            let place = queue.join(Waker::noop().clone(), NEVER, true);
            queue.grant(Grant::Connection(claim));
            let Ok(Grant::Connection(taken)) = queue.handoffs.take(place, &slots) else { panic!("nothing was left") };
            claim = taken;
        }
        assert_eq!(queue.nodes.len(), 2);
    }

    #[test]
    fn a_waiter_costs_72_bytes() {
        let number = size_of::<u32>();
        assert_eq!(size_of::<Node>() + size_of::<crate::sync::AtomicU32>() + number, 72);
    }
}
