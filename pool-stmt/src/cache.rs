//! The statements of one connection, found by their text.
//!
//! Owns which statements are kept, which one is idle, which one is lent, and which one goes when there are too many.
//! Must not know what a statement is, nor run any code of it: whatever has to be dropped is handed to the caller.
//! Invariant: a statement is lent to at most one holder, and at most `capacity` statements are idle.

use crate::key::StatementKey;
use crate::order::{Linked, Links, Order};
use std::num::NonZeroUsize;

/// No slot: the end of the chain of a bucket.
const NONE: u32 = u32::MAX;

/// Keeps a bounded number of prepared statements of one connection for use again.
///
/// A statement is lent ([`take`](Self::take), [`admit`](Self::admit)) and given back
/// ([`give_back`](Self::give_back), [`discard`](Self::discard)) with the [`Ticket`] that names it. While it is lent
/// nobody else is given it: a second user of the same text prepares another one, and both are kept on return.
///
/// The bound is on idle statements. One that was used once goes before any that was used again, and among equals
/// the one longest unused goes first, so statements used once do not drive out those in steady use, which is: at
/// least once among eight times as many uses as the cache has places.
///
/// `S` is the driver's statement. The cache drops none while it works: what is evicted is returned, so that
/// the caller can drop it when nothing is borrowed.
///
/// ```
/// use pool_stmt::{StatementCache, statement};
///
/// let key = statement!("SELECT 1");
/// let mut cache = StatementCache::new(2);
/// assert!(cache.take(&key).is_none());
/// let ticket = cache.admit(&key, "prepared");
/// assert!(cache.take(&key).is_none(), "it is lent");
/// assert_eq!(cache.give_back(ticket), None);
/// assert!(cache.take(&key).is_some());
/// ```
#[derive(Debug)]
pub struct StatementCache<S> {
    capacity: usize,
    slots: Vec<Slot<S>>,
    vacant: Vec<u32>,
    /// First slot of each chain; a power of two many.
    buckets: Vec<u32>,
    /// Idle statements that were used once.
    once: Order,
    /// Idle statements that were used again.
    again: Order,
    /// How many statements were taken or admitted so far.
    uses: u64,
}

/// Names a lent statement; whoever holds it owes the cache its return.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a statement that is not given back stays lent for ever"]
pub struct Ticket(u32);

#[derive(Debug)]
struct Slot<S> {
    hash: u64,
    text: Box<str>,
    /// The address of the text in the key that names it, if that is fixed.
    address: Option<NonZeroUsize>,
    /// `None` in a vacant slot.
    statement: Option<S>,
    idle: bool,
    /// Whether it was taken after its first return.
    again: bool,
    next_in_bucket: u32,
    links: Links,
    /// The value of `uses` when it was lent last.
    last_use: u64,
}

impl<S> Linked for Slot<S> {
    fn links(&mut self) -> &mut Links {
        &mut self.links
    }
}

impl<S> Slot<S> {
    /// Tells whether a key of the same hash is of the same text.
    #[inline]
    fn is_named_by(&mut self, key: &StatementKey<'_>) -> bool {
        let address = key.address();
        if address.is_some() && address == self.address && self.text.len() == key.text().len() {
            return true;
        }
        let is_it = *self.text == *key.text();
        if is_it && address.is_some() {
            self.address = address;
        }
        is_it
    }
}

impl<S> StatementCache<S> {
    /// Makes an empty cache for at most `capacity` idle statements; 0 keeps none.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            slots: Vec::new(),
            vacant: Vec::new(),
            buckets: vec![NONE; 16],
            once: Order::new(),
            again: Order::new(),
            uses: 0,
        }
    }

    /// Lends an idle statement of this key; `None` when there is none.
    #[inline]
    pub fn take(&mut self, key: &StatementKey<'_>) -> Option<Ticket> {
        let mut at = self.buckets[self.bucket(key.hash())];
        while at != NONE {
            let slot = &mut self.slots[at as usize];
            if slot.idle && slot.hash == key.hash() && slot.is_named_by(key) {
                slot.idle = false;
                self.uses += 1;
                slot.last_use = self.uses;
                let order = if slot.again { &mut self.again } else { &mut self.once };
                slot.again = true;
                order.remove(&mut self.slots, at);
                return Some(Ticket(at));
            }
            at = slot.next_in_bucket;
        }
        None
    }

    /// Takes in a newly prepared statement, lent to the caller.
    ///
    /// # Panics
    ///
    /// Panics when more than four thousand million statements are lent at once.
    pub fn admit(&mut self, key: &StatementKey<'_>, statement: S) -> Ticket {
        if self.slots.len() - self.vacant.len() == self.buckets.len() {
            self.widen();
        }
        self.uses += 1;
        let bucket = self.bucket(key.hash());
        let slot = Slot {
            hash: key.hash(),
            text: key.text().into(),
            address: key.address(),
            statement: Some(statement),
            idle: false,
            again: false,
            next_in_bucket: self.buckets[bucket],
            links: Links::default(),
            last_use: self.uses,
        };
        let at = if let Some(at) = self.vacant.pop() {
            self.slots[at as usize] = slot;
            at
        } else {
            let at = u32::try_from(self.slots.len()).expect("BUG: more statements lent than a u32 can count");
            self.slots.push(slot);
            at
        };
        self.buckets[bucket] = at;
        Ticket(at)
    }

    /// Returns a lent statement.
    ///
    /// # Panics
    ///
    /// Panics when the ticket is of another cache.
    #[must_use]
    #[inline]
    pub fn lent(&mut self, ticket: &Ticket) -> &mut S {
        self.slots[ticket.0 as usize].statement.as_mut().expect("BUG: a ticket without its statement")
    }

    /// Ends a loan and keeps the statement; returns the one evicted for it, if any.
    ///
    /// With capacity 0 the statement itself is returned.
    #[must_use = "an evicted statement is to be dropped where nothing is borrowed"]
    #[inline]
    pub fn give_back(&mut self, ticket: Ticket) -> Option<S> {
        let at = ticket.0;
        let slot = &mut self.slots[at as usize];
        slot.idle = true;
        let order = if slot.again { &mut self.again } else { &mut self.once };
        order.push(&mut self.slots, at);
        // Those used again hold three quarters at most, so that new ones have room to prove themselves.
        if self.again.len() > self.capacity - self.capacity / 4
            && let Some(oldest) = self.again.oldest()
        {
            self.again.remove(&mut self.slots, oldest);
            self.slots[oldest as usize].again = false;
            self.once.push(&mut self.slots, oldest);
        }
        if self.len() > self.capacity { self.evict() } else { None }
    }

    /// Ends a loan and gives the statement up.
    ///
    /// # Panics
    ///
    /// Panics when the ticket is of another cache.
    #[must_use = "a discarded statement is to be dropped where nothing is borrowed"]
    pub fn discard(&mut self, ticket: Ticket) -> S {
        self.vacate(ticket.0)
    }

    /// Takes all idle statements out; those lent are kept when they come back.
    #[must_use = "the statements are to be dropped where nothing is borrowed"]
    pub fn clear(&mut self) -> Vec<S> {
        std::iter::from_fn(|| self.evict()).collect()
    }

    /// Changes the bound; returns what no longer fits.
    #[must_use = "the statements are to be dropped where nothing is borrowed"]
    pub fn set_capacity(&mut self, capacity: usize) -> Vec<S> {
        self.capacity = capacity;
        let excess = self.len().saturating_sub(capacity);
        std::iter::from_fn(|| self.evict()).take(excess).collect()
    }

    /// Lists the idle statements.
    pub fn idle_mut(&mut self) -> impl Iterator<Item = &mut S> {
        self.slots.iter_mut().filter(|slot| slot.idle).filter_map(|slot| slot.statement.as_mut())
    }

    /// Returns the bound on idle statements.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Returns the number of idle statements.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.once.len() + self.again.len()
    }

    /// Tells whether no statement is idle.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of lent statements.
    #[must_use]
    pub fn lent_count(&self) -> usize {
        self.slots.len() - self.vacant.len() - self.len()
    }

    fn evict(&mut self) -> Option<S> {
        let (order, at) = match (self.once.oldest(), self.again.oldest()) {
            // Or yesterday's hot statements would hold their places against a set of new ones that is larger than the rest.
            (_, Some(at)) if self.uses - self.slots[at as usize].last_use > 8 * self.capacity as u64 => {
                (&mut self.again, at)
            }
            (Some(at), _) => (&mut self.once, at),
            (None, Some(at)) => (&mut self.again, at),
            (None, None) => return None,
        };
        order.remove(&mut self.slots, at);
        Some(self.vacate(at))
    }

    fn vacate(&mut self, at: u32) -> S {
        let slot = &mut self.slots[at as usize];
        let statement = slot.statement.take().expect("BUG: a ticket without its statement");
        slot.idle = false;
        slot.text = Box::default();
        slot.address = None;
        let (hash, next) = (slot.hash, slot.next_in_bucket);
        let bucket = self.bucket(hash);
        if self.buckets[bucket] == at {
            self.buckets[bucket] = next;
        } else {
            let mut before = self.buckets[bucket] as usize;
            while self.slots[before].next_in_bucket != at {
                before = self.slots[before].next_in_bucket as usize;
            }
            self.slots[before].next_in_bucket = next;
        }
        self.vacant.push(at);
        statement
    }

    const fn bucket(&self, hash: u64) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "only the low bits count")]
        let hash = hash as usize;
        hash & (self.buckets.len() - 1)
    }

    fn widen(&mut self) {
        self.buckets = vec![NONE; self.buckets.len() * 2];
        for at in 0..self.slots.len() {
            if self.slots[at].statement.is_some() {
                let bucket = self.bucket(self.slots[at].hash);
                #[expect(clippy::cast_possible_truncation, reason = "`admit` keeps the number of slots below u32::MAX")]
                let index = at as u32;
                self.slots[at].next_in_bucket = std::mem::replace(&mut self.buckets[bucket], index);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(n: usize) -> String {
        format!("SELECT {n}")
    }

    /// Takes or prepares the statement of `n`; returns the ticket and whether it was a hit.
    fn use_it(cache: &mut StatementCache<usize>, n: usize) -> (Ticket, bool) {
        let text = key(n);
        let key = StatementKey::new(&text);
        match cache.take(&key) {
            Some(ticket) => {
                assert_eq!(*cache.lent(&ticket), n);
                (ticket, true)
            }
            None => (cache.admit(&key, n), false),
        }
    }

    #[test]
    fn two_users_of_one_text_get_two_statements_and_both_are_kept() {
        let mut cache = StatementCache::new(4);
        let (first, _) = use_it(&mut cache, 1);
        let (second, hit) = use_it(&mut cache, 1);
        assert!(!hit);
        assert_ne!(first, second);
        assert_eq!(cache.lent_count(), 2);
        assert_eq!(cache.give_back(first), None);
        assert_eq!(cache.give_back(second), None);
        assert_eq!((cache.len(), cache.lent_count()), (2, 0));
    }

    #[test]
    fn a_fixed_key_finds_what_a_text_brought_in_and_the_other_way_round() {
        let mut cache = StatementCache::new(4);
        let (text, fixed) = (key(1), crate::statement!("SELECT 1"));
        for keys in [[StatementKey::new(&text), fixed], [fixed, StatementKey::new(&text)], [fixed, fixed]] {
            let ticket = cache.admit(&keys[0], 1);
            assert_eq!(cache.give_back(ticket), None);
            for key in [keys[1], keys[0], keys[1]] {
                let ticket = cache.take(&key).expect("it is idle");
                assert!(cache.take(&key).is_none());
                assert_eq!(cache.give_back(ticket), None);
            }
            assert!(cache.take(&crate::statement!("SELECT 2")).is_none());
            assert_eq!(cache.clear(), [1]);
        }
    }

    #[test]
    fn capacity_zero_keeps_nothing() {
        let mut cache = StatementCache::new(0);
        let (ticket, _) = use_it(&mut cache, 7);
        assert_eq!(cache.give_back(ticket), Some(7));
        assert!(cache.is_empty());
    }

    #[test]
    fn a_run_of_statements_used_once_does_not_evict_those_used_again() {
        let mut cache = StatementCache::new(8);
        for _ in 0..2 {
            for hot in 0..4 {
                let (ticket, _) = use_it(&mut cache, hot);
                assert_eq!(cache.give_back(ticket), None);
            }
        }
        for round in 1..20 {
            for pasted in 0..50 {
                let (ticket, _) = use_it(&mut cache, round * 100 + pasted);
                let _evicted = cache.give_back(ticket);
            }
            for hot in 0..4 {
                let (ticket, hit) = use_it(&mut cache, hot);
                assert!(hit, "{hot} was evicted");
                assert_eq!(cache.give_back(ticket), None);
            }
        }
    }

    #[test]
    fn statements_that_were_hot_once_leave_when_others_become_hot() {
        let mut cache = StatementCache::new(4);
        for generation in 0..3 {
            for _ in 0..20 {
                for n in 0..3 {
                    let (ticket, _) = use_it(&mut cache, generation * 10 + n);
                    let _evicted = cache.give_back(ticket);
                }
            }
            for n in 0..3 {
                let (ticket, hit) = use_it(&mut cache, generation * 10 + n);
                assert!(hit, "generation {generation}: {n} is not kept");
                assert_eq!(cache.give_back(ticket), None);
            }
        }
    }

    #[test]
    fn a_loan_that_is_never_returned_takes_no_room() {
        let mut cache = StatementCache::new(2);
        for _ in 0..100 {
            let _forgotten = use_it(&mut cache, 1);
        }
        let (ticket, _) = use_it(&mut cache, 2);
        assert_eq!(cache.give_back(ticket), None);
        assert_eq!((cache.len(), cache.lent_count()), (1, 100));
    }

    #[derive(Debug, Clone)]
    enum Action {
        Use(usize),
        GiveBack(usize),
        Discard(usize),
        Clear,
        SetCapacity(usize),
    }

    fn actions() -> impl Strategy<Value = Vec<Action>> {
        let action = prop_oneof![
            6 => (0..24_usize).prop_map(Action::Use),
            5 => any::<usize>().prop_map(Action::GiveBack),
            1 => any::<usize>().prop_map(Action::Discard),
            1 => Just(Action::Clear),
            1 => (0..12_usize).prop_map(Action::SetCapacity),
        ];
        prop::collection::vec(action, 0..300)
    }

    proptest! {
        /// The model: the multiset of idle numbers. A hit happens exactly if the number is in it.
        #[test]
        fn every_statement_is_idle_lent_or_handed_out_exactly_once(capacity in 0..12_usize, actions in actions()) {
            let mut cache = StatementCache::new(capacity);
            let mut capacity = capacity;
            let mut idle: Vec<usize> = Vec::new();
            let mut lent: Vec<(Ticket, usize)> = Vec::new();
            let forget = |idle: &mut Vec<usize>, n: usize| {
                let at = idle.iter().position(|&m| m == n).expect("an evicted statement was idle");
                idle.swap_remove(at);
            };
            for action in actions {
                match action {
                    Action::Use(n) => {
                        let (ticket, hit) = use_it(&mut cache, n);
                        prop_assert_eq!(hit, idle.contains(&n));
                        if hit { forget(&mut idle, n); }
                        prop_assert!(lent.iter().all(|(other, _)| *other != ticket));
                        lent.push((ticket, n));
                    }
                    Action::GiveBack(which) if !lent.is_empty() => {
                        let (ticket, n) = lent.swap_remove(which % lent.len());
                        idle.push(n);
                        if let Some(evicted) = cache.give_back(ticket) { forget(&mut idle, evicted); }
                    }
                    Action::Discard(which) if !lent.is_empty() => {
                        let (ticket, n) = lent.swap_remove(which % lent.len());
                        prop_assert_eq!(cache.discard(ticket), n);
                    }
                    Action::GiveBack(_) | Action::Discard(_) => {}
                    Action::Clear => {
                        for n in cache.clear() { forget(&mut idle, n); }
                        prop_assert!(idle.is_empty());
                    }
                    Action::SetCapacity(new) => {
                        capacity = new;
                        for n in cache.set_capacity(new) { forget(&mut idle, n); }
                    }
                }
                prop_assert_eq!(cache.len(), idle.len());
                prop_assert_eq!(cache.lent_count(), lent.len());
                prop_assert!(cache.len() <= capacity);
            }
        }
    }
}
