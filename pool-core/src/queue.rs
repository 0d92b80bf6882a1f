//! Owns those who wait: one first-in-first-out queue for tasks and threads alike, and their deadlines.
//!
//! A slab of nodes linked by index: joining, leaving from anywhere and taking the first are O(1), nothing is
//! allocated per wait once the slab has grown to the longest queue seen, and there is nothing unsafe about it. Must not know
//! when somebody may be served. Invariant: a node is linked exactly while it is [`State::Waiting`].

use std::task::Waker;

use crate::clock::{NEVER, Nanos};
use crate::slot::{Claim, Vacancy};

const NONE: u32 = u32::MAX;

/// What a waiter is given.
#[derive(Debug)]
pub(crate) enum Grant<C> {
    /// A connection.
    Connection(Claim<C>),
    /// The right to open one.
    Open(Vacancy<C>),
}

/// How a wait stands.
#[derive(Debug)]
pub(crate) enum State<C> {
    /// In the queue.
    Waiting,
    /// Served; the grant is to be picked up.
    Granted(Grant<C>),
    /// The deadline has passed; out of the queue.
    TimedOut,
    /// The pool was closed; out of the queue.
    Closed,
    /// Never in the queue: wants to be woken at its deadline.
    Timer,
    /// The node is free.
    Free,
}

/// The name of a node; good until [`Queue::leave`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeId(u32);

#[derive(Debug)]
struct Node<C> {
    state: State<C>,
    waker: Option<Waker>,
    deadline: Nanos,
    /// Whether nobody may be served before this one.
    strict: bool,
    before: u32,
    after: u32,
}

#[derive(Debug)]
pub(crate) struct Queue<C> {
    nodes: Vec<Node<C>>,
    free: u32,
    first: u32,
    last: u32,
    waiting: usize,
    /// How many of the waiting may never be overtaken.
    strict: usize,
    /// When the first was overtaken for the first time.
    overtaken_at: Option<Nanos>,
    /// No deadline is earlier than this.
    earliest: Nanos,
}

impl<C> Queue<C> {
    pub(crate) fn new() -> Self {
        Self {
            nodes: Vec::new(),
            free: NONE,
            first: NONE,
            last: NONE,
            waiting: 0,
            strict: 0,
            overtaken_at: None,
            earliest: NEVER,
        }
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// The moment before which no deadline passes.
    pub(crate) fn earliest(&self) -> Nanos {
        self.earliest
    }

    fn node(&mut self, id: u32) -> &mut Node<C> {
        &mut self.nodes[id as usize]
    }

    fn add(&mut self, node: Node<C>) -> NodeId {
        self.earliest = self.earliest.min(node.deadline);
        if self.free == NONE {
            let id = u32::try_from(self.nodes.len()).expect("BUG: four thousand million waiters");
            self.nodes.push(node);
            return NodeId(id);
        }
        let id = self.free;
        self.free = self.node(id).after;
        *self.node(id) = node;
        NodeId(id)
    }

    /// Joins at the end.
    pub(crate) fn join(&mut self, waker: Waker, deadline: Nanos, strict: bool) -> NodeId {
        let last = self.last;
        let state = State::Waiting;
        let node = Node { state, waker: Some(waker), deadline, strict, before: last, after: NONE };
        let id = self.add(node);
        match last {
            NONE => self.first = id.0,
            _ => self.node(last).after = id.0,
        }
        self.last = id.0;
        self.waiting += 1;
        self.strict += usize::from(strict);
        id
    }

    /// Asks for a wake-up at a deadline without joining the queue.
    pub(crate) fn set_timer(&mut self, waker: Waker, deadline: Nanos) -> NodeId {
        let (state, waker) = (State::Timer, Some(waker));
        self.add(Node { state, waker, deadline, strict: true, before: NONE, after: NONE })
    }

    fn unlink(&mut self, id: u32) {
        let (before, after, strict) = {
            let node = self.node(id);
            (node.before, node.after, node.strict)
        };
        match before {
            NONE => {
                self.first = after;
                self.overtaken_at = None;
            }
            _ => self.node(before).after = after,
        }
        match after {
            NONE => self.last = before,
            _ => self.node(after).before = before,
        }
        self.waiting -= 1;
        self.strict -= usize::from(strict);
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
    pub(crate) fn grant(&mut self, grant: Grant<C>) -> Option<Waker> {
        self.finish_first(State::Granted(grant))
    }

    /// Takes the first out of the queue because the pool is closed; returns whom to wake.
    pub(crate) fn dismiss(&mut self) -> Option<Waker> {
        self.finish_first(State::Closed)
    }

    fn finish_first(&mut self, state: State<C>) -> Option<Waker> {
        let first = self.first;
        assert!(first != NONE, "BUG: nobody waits");
        self.unlink(first);
        let node = self.node(first);
        node.state = state;
        node.waker.take()
    }

    /// Tells how a wait stands.
    pub(crate) fn state(&self, id: NodeId) -> &State<C> {
        &self.nodes[id.0 as usize].state
    }

    /// Renews the waker of one who goes on waiting; returns the old one, to be dropped outside the lock.
    #[must_use]
    pub(crate) fn rewake(&mut self, id: NodeId, waker: &Waker) -> Option<Waker> {
        match &mut self.node(id.0).waker {
            Some(known) if known.will_wake(waker) => None,
            place => place.replace(waker.clone()),
        }
    }

    /// Ends a wait, in or out of the queue; returns how it stood.
    pub(crate) fn leave(&mut self, id: NodeId) -> (State<C>, Option<Waker>) {
        if matches!(self.state(id), State::Waiting) {
            self.unlink(id.0);
        }
        let free = self.free;
        let node = self.node(id.0);
        let state = std::mem::replace(&mut node.state, State::Free);
        node.after = free;
        let waker = node.waker.take();
        self.free = id.0;
        (state, waker)
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
    pub(crate) fn ring(&mut self, id: NodeId) -> Option<Waker> {
        self.node(id.0).waker.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> Queue<()> {
        Queue::new()
    }

    #[test]
    fn leaving_from_the_middle_keeps_the_order_of_the_others() {
        let mut queue = queue();
        let ids: Vec<_> = (0..3).map(|_| queue.join(Waker::noop().clone(), NEVER, true)).collect();
        queue.leave(ids[1]);
        queue.dismiss();
        assert!(matches!(queue.state(ids[0]), State::Closed));
        assert!(matches!(queue.state(ids[2]), State::Waiting));
        queue.dismiss();
        assert!(matches!(queue.state(ids[2]), State::Closed));
        assert_eq!(queue.waiting(), 0);
    }

    #[test]
    fn nodes_are_reused() {
        let mut queue = queue();
        for _ in 0..100 {
            let id = queue.join(Waker::noop().clone(), NEVER, true);
            queue.leave(id);
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
        assert!(matches!(queue.state(early), State::TimedOut));
        assert!(matches!(queue.state(late), State::Waiting));
    }

    #[test]
    fn one_strict_waiter_makes_the_queue_strict() {
        let mut queue = queue();
        queue.join(Waker::noop().clone(), NEVER, false);
        assert!(queue.is_patient());
        let task = queue.join(Waker::noop().clone(), NEVER, true);
        assert!(!queue.is_patient());
        queue.leave(task);
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
        queue.leave(first);
        assert!(queue.overtake(1500, 500));
    }

    #[test]
    fn a_waiter_costs_less_than_a_hundred_bytes() {
        assert!(size_of::<Node<[u8; 4096]>>() <= 96, "{}", size_of::<Node<[u8; 4096]>>());
    }
}
