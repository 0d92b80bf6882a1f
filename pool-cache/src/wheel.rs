//! The expiry index: a hierarchical timing wheel over the slots of one shard.
//!
//! Owns which entries expire when, nothing else: it never looks at keys or values and reads no clock. Adding and
//! removing cost the same for any number of entries; finding what has expired costs as much as has expired, plus at
//! most [`LEVELS`] moves for each insertion (Varghese and Lauck, "Hashed and hierarchical timing wheels", 1987). An entry
//! whose time is put off stays where it is and moves when the wheel comes by. Invariants: every bucket below the current
//! position of its level is empty, and no entry is in a bucket later than its time, so none is overtaken.

use crate::slab::{Linked, List, Slab};

/// The list kind that the wheel threads through entries.
pub(crate) const DEADLINE: usize = 1;
/// An expiry time that never comes.
pub(crate) const NEVER: u64 = u64::MAX;
/// The bucket of an entry that is not in the wheel.
pub(crate) const NO_BUCKET: u16 = u16::MAX;

/// A tick is 2^20 ns, about a millisecond.
const TICK_BITS: u32 = 20;
/// Buckets of one level, as a power of two: one bit each in a word.
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
/// Eight levels of six bits hold every tick of a 64-bit nanosecond.
const LEVELS: usize = 8;

/// What the wheel needs to know of an entry.
pub(crate) trait Timed: Linked<DEADLINE> {
    fn expires_at(&self) -> u64;
    fn bucket(&self) -> u16;
    fn set_bucket(&mut self, bucket: u16);
}

/// What a search for expired entries found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// This entry has expired; it is still in the wheel.
    Entry(u32),
    /// Nothing that expired in an earlier tick is left.
    Nothing,
    /// The allowed steps are used up, there may be more.
    OutOfSteps,
}

#[derive(Debug)]
pub(crate) struct Wheel {
    /// The tick up to which everything was looked at.
    reached: u64,
    /// No bucket before the one that starts with this tick holds anything.
    next: u64,
    /// One word a level: which buckets hold entries.
    occupied: [u64; LEVELS],
    /// Empty until the first entry that expires.
    buckets: Box<[List<DEADLINE>]>,
}

fn slot_of(tick: u64, level: usize) -> usize {
    (tick >> (SLOT_BITS as usize * level)) as usize & (SLOTS - 1)
}

impl Wheel {
    pub(crate) fn new() -> Self {
        Wheel { reached: 0, next: u64::MAX, occupied: [0; LEVELS], buckets: Box::default() }
    }

    /// Starts to watch the entry at `at`, unless it never expires.
    pub(crate) fn add<T: Timed>(&mut self, slab: &mut Slab<T>, at: u32) {
        let expires_at = slab[at].expires_at();
        if expires_at == NEVER {
            return;
        }
        if self.buckets.is_empty() {
            self.buckets = vec![List::EMPTY; LEVELS * SLOTS].into_boxed_slice();
        }
        let tick = (expires_at >> TICK_BITS).max(self.reached);
        let level = (((tick ^ self.reached) | 1).ilog2() / SLOT_BITS) as usize;
        let slot = slot_of(tick, level);
        let bucket = level * SLOTS + slot;
        slab[at].set_bucket(bucket as u16);
        self.buckets[bucket].push_back(slab, at);
        self.occupied[level] |= 1 << slot;
        let shift = SLOT_BITS as usize * level;
        self.next = self.next.min(tick >> shift << shift);
    }

    /// Whether an entry in `bucket` may stay there when its time to expire changes.
    #[inline]
    pub(crate) fn may_stay(bucket: u16, before: u64, after: u64) -> bool {
        if bucket == NO_BUCKET { after == NEVER } else { before <= after && after != NEVER }
    }

    /// Stops watching the entry at `at`.
    pub(crate) fn remove<T: Timed>(&mut self, slab: &mut Slab<T>, at: u32) {
        let bucket = slab[at].bucket();
        if bucket == NO_BUCKET {
            return;
        }
        slab[at].set_bucket(NO_BUCKET);
        let list = &mut self.buckets[bucket as usize];
        list.unlink(slab, at);
        if list.is_empty() {
            self.occupied[bucket as usize / SLOTS] &= !(1 << (bucket as usize % SLOTS));
        }
    }

    /// Whether there can be anything that expired before the tick of `now`.
    #[inline]
    pub(crate) fn may_be_due(&self, now: u64) -> bool {
        now >> TICK_BITS > self.next
    }

    /// Finds an entry that expired in a tick before that of `now`, in at most `steps` moves.
    pub(crate) fn elapsed<T: Timed>(&mut self, slab: &mut Slab<T>, now: u64, steps: &mut u32) -> Due {
        let target = now >> TICK_BITS;
        loop {
            if let Some(at) = self.to_spread().or_else(|| self.passed(target)) {
                if slab[at].expires_at() >> TICK_BITS < target {
                    return Due::Entry(at);
                }
                if *steps == 0 {
                    return Due::OutOfSteps;
                }
                *steps -= 1;
                self.remove(slab, at);
                self.add(slab, at);
                continue;
            }
            match self.next_occupied() {
                Some(start) if start <= target => self.reached = start,
                ahead => {
                    self.reached = self.reached.max(target);
                    let here = self.occupied[0] & (1 << slot_of(self.reached, 0)) != 0;
                    self.next = if here { self.reached } else { ahead.unwrap_or(u64::MAX) };
                    return Due::Nothing;
                }
            }
        }
    }

    /// How many entries share the current tick, some of which may have expired within it.
    pub(crate) fn current_len(&self) -> u32 {
        self.buckets.get(slot_of(self.reached, 0)).map_or(0, List::len)
    }

    /// Looks at the next entry of the current tick: gives it if it has expired, moves it to the back if it has not.
    pub(crate) fn rotate<T: Timed>(&mut self, slab: &mut Slab<T>, now: u64) -> Option<u32> {
        let list = self.buckets.get_mut(slot_of(self.reached, 0))?;
        let at = list.front()?;
        if slab[at].expires_at() <= now {
            return Some(at);
        }
        list.rotate(slab);
        None
    }

    /// An entry of a higher level whose bucket has been reached: it must move to a lower one.
    fn to_spread(&self) -> Option<u32> {
        (1..LEVELS).find_map(|level| {
            let slot = slot_of(self.reached, level);
            (self.occupied[level] & (1 << slot) != 0).then(|| self.buckets[level * SLOTS + slot].front())?
        })
    }

    /// An entry of the tick that has been reached, if that is over.
    fn passed(&self, target: u64) -> Option<u32> {
        let bucket = self.buckets.get(slot_of(self.reached, 0)).filter(|_| self.reached < target);
        bucket?.front()
    }

    /// The first tick of the nearest occupied bucket ahead.
    fn next_occupied(&self) -> Option<u64> {
        (0..LEVELS).find_map(|level| {
            let here = slot_of(self.reached, level);
            let ahead = self.occupied[level] & !((2_u64 << here).wrapping_sub(1));
            if ahead == 0 {
                return None;
            }
            let shift = SLOT_BITS as usize * level;
            let above = self.reached >> shift >> SLOT_BITS << SLOT_BITS;
            Some((above | u64::from(ahead.trailing_zeros())) << shift)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::Links;
    use proptest::prelude::*;

    struct Item {
        expires_at: u64,
        bucket: u16,
        links: Links,
    }

    impl Linked<DEADLINE> for Item {
        fn links(&self) -> &Links {
            &self.links
        }
        fn links_mut(&mut self) -> &mut Links {
            &mut self.links
        }
    }

    impl Timed for Item {
        fn expires_at(&self) -> u64 {
            self.expires_at
        }
        fn bucket(&self) -> u16 {
            self.bucket
        }
        fn set_bucket(&mut self, bucket: u16) {
            self.bucket = bucket;
        }
    }

    fn item(expires_at: u64) -> Item {
        Item { expires_at, bucket: NO_BUCKET, links: Links::LOOSE }
    }

    fn drain(wheel: &mut Wheel, slab: &mut Slab<Item>, now: u64) -> Vec<u64> {
        let mut found = Vec::new();
        loop {
            match wheel.elapsed(slab, now, &mut 3) {
                Due::Entry(at) => {
                    wheel.remove(slab, at);
                    found.push(slab.remove(at).expires_at);
                }
                Due::OutOfSteps => {}
                Due::Nothing => break,
            }
        }
        for _ in 0..wheel.current_len() {
            if let Some(at) = wheel.rotate(slab, now) {
                wheel.remove(slab, at);
                found.push(slab.remove(at).expires_at);
            }
        }
        found.sort_unstable();
        found
    }

    proptest! {
        #[test]
        fn what_expired_is_found_exactly(
            ops in prop::collection::vec((0_u64..3, prop_oneof![0_u64..1 << 22, 0_u64..1 << 36, 0_u64..1 << 62]), 1..80),
        ) {
            let (mut wheel, mut slab, mut now) = (Wheel::new(), Slab::new(), 0_u64);
            let mut model: Vec<u64> = Vec::new();
            for (op, time) in ops {
                let expires_at = now.saturating_add(time).min(NEVER - 1);
                if op == 0 {
                    let at = slab.insert(item(expires_at));
                    wheel.add(&mut slab, at);
                    model.push(expires_at);
                } else if let (2, Some(at)) = (op, wheel.buckets.iter().find_map(List::front)) {
                    // Another entry in the same slot.
                    let before = slab[at].expires_at;
                    let stays = Wheel::may_stay(slab[at].bucket, before, expires_at);
                    if !stays {
                        wheel.remove(&mut slab, at);
                    }
                    slab[at].expires_at = expires_at;
                    if !stays {
                        wheel.add(&mut slab, at);
                    }
                    let place = model.iter().position(|&t| t == before).expect("what is in the slab is in the model");
                    model[place] = expires_at;
                } else {
                    now = now.saturating_add(time / 2);
                    let (mut due, left): (Vec<u64>, Vec<u64>) = model.iter().partition(|&&t| t <= now);
                    due.sort_unstable();
                    prop_assert!(wheel.may_be_due(now) || due.iter().all(|t| t >> TICK_BITS >= now >> TICK_BITS));
                    prop_assert_eq!(drain(&mut wheel, &mut slab, now), due);
                    model = left;
                }
            }
            prop_assert_eq!(slab.len(), model.len());
        }
    }

    #[test]
    fn nothing_to_find_costs_no_step() {
        let (mut wheel, mut slab) = (Wheel::new(), Slab::new());
        for i in 0..1000 {
            let at = slab.insert(item((1 << 50) + i));
            wheel.add(&mut slab, at);
        }
        let mut steps = 1;
        assert_eq!(wheel.elapsed(&mut slab, 1 << 40, &mut steps), Due::Nothing);
        assert_eq!(steps, 1);
    }
}
