//! The limits of the whole cache, and the room that is taken.
//!
//! Owns two counters and two limits; must not know entries or shards. Invariant: what is taken never exceeds the limit
//! that was in force when it was taken, and room is taken *before* an entry goes in and given back *after* one has gone
//! out, so the cache is never over its bounds, whatever the number of shards and threads.

use crate::sync::{AtomicU64, Ordering};

#[derive(Debug)]
pub(crate) struct Budget {
    entries: AtomicU64,
    weight: AtomicU64,
    max_entries: AtomicU64,
    max_weight: AtomicU64,
}

// The counters order nothing but themselves: entries become visible through the shard locks. Only a limit that is lowered
// has a partner: `take` counts and then looks at the limit again, `set_max_*` sets it and then looks at the counter
// (`is_exceeded`). All four are sequentially consistent, so one of the two sees the other.
fn take(taken: &AtomicU64, limit: &AtomicU64, amount: u64) -> bool {
    if amount == 0 {
        return true;
    }
    let fitting = |taken: u64| taken.checked_add(amount).filter(|&sum| sum <= limit.load(Ordering::Relaxed));
    match taken.fetch_update(Ordering::SeqCst, Ordering::Relaxed, fitting) {
        Ok(before) if before + amount > limit.load(Ordering::SeqCst) => {
            give_back(taken, amount);
            false
        }
        outcome => outcome.is_ok(),
    }
}

fn give_back(taken: &AtomicU64, amount: u64) {
    if amount > 0 {
        taken.fetch_sub(amount, Ordering::Relaxed);
    }
}

impl Budget {
    pub(crate) fn new(max_entries: u64, max_weight: u64) -> Self {
        Budget {
            entries: AtomicU64::new(0),
            weight: AtomicU64::new(0),
            max_entries: AtomicU64::new(max_entries),
            max_weight: AtomicU64::new(max_weight),
        }
    }

    pub(crate) fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    pub(crate) fn weight(&self) -> u64 {
        self.weight.load(Ordering::Relaxed)
    }

    pub(crate) fn max_entries(&self) -> u64 {
        self.max_entries.load(Ordering::Relaxed)
    }

    pub(crate) fn max_weight(&self) -> u64 {
        self.max_weight.load(Ordering::Relaxed)
    }

    pub(crate) fn set_max_entries(&self, limit: u64) {
        self.max_entries.store(limit, Ordering::SeqCst);
    }

    pub(crate) fn set_max_weight(&self, limit: u64) {
        self.max_weight.store(limit, Ordering::SeqCst);
    }

    /// Whether an entry of this weight can ever fit.
    pub(crate) fn admits(&self, weight: u64) -> bool {
        self.max_entries() > 0 && weight <= self.max_weight()
    }

    /// Whether more is taken than the limits, which were lowered, allow.
    pub(crate) fn is_exceeded(&self) -> bool {
        self.entries.load(Ordering::SeqCst) > self.max_entries()
            || self.weight.load(Ordering::SeqCst) > self.max_weight()
    }

    /// Starts collecting room.
    pub(crate) fn room(&self) -> Room<'_> {
        Room { budget: self, entries: 0, weight: 0 }
    }
}

/// Room that is taken from the budget and not yet used; what is left goes back on drop.
#[derive(Debug)]
pub(crate) struct Room<'a> {
    budget: &'a Budget,
    entries: u64,
    weight: u64,
}

impl Room<'_> {
    /// Adds the room of an entry that has just been taken out of its shard.
    pub(crate) fn vacate(&mut self, weight: u64) {
        self.entries += 1;
        self.weight = self.weight.checked_add(weight).expect("BUG: the taken weight overflows");
    }

    /// Takes what is missing for one entry of this weight; `false` if that is not to be had.
    pub(crate) fn cover(&mut self, weight: u64) -> bool {
        if self.entries == 0 {
            if !take(&self.budget.entries, &self.budget.max_entries, 1) {
                return false;
            }
            self.entries = 1;
        }
        let missing = weight.saturating_sub(self.weight);
        if !take(&self.budget.weight, &self.budget.max_weight, missing) {
            return false;
        }
        self.weight += missing;
        true
    }

    /// Takes over the room of an entry that is to leave its shard, and hands what the one in its place needs straight to that, if there is
    /// to be one and there is enough.
    #[inline]
    pub(crate) fn trade(&mut self, left: u64, wanted: u64, directly: bool) -> bool {
        if directly && left == wanted {
            return true;
        }
        self.vacate(left);
        let enough = directly && self.cover(wanted);
        if enough {
            self.occupy(wanted);
        }
        enough
    }

    /// Hands the covered room over to an entry that goes into its shard.
    pub(crate) fn occupy(&mut self, weight: u64) {
        self.entries = self.entries.checked_sub(1).expect("BUG: an entry goes in without room");
        self.weight = self.weight.checked_sub(weight).expect("BUG: an entry goes in without room for its weight");
    }

    /// Gives everything back that is not used.
    pub(crate) fn release(&mut self) {
        give_back(&self.budget.entries, std::mem::take(&mut self.entries));
        give_back(&self.budget.weight, std::mem::take(&mut self.weight));
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_covered_by_what_was_vacated_before_more_is_taken() {
        let budget = Budget::new(2, 10);
        let mut room = budget.room();
        assert!(room.cover(6));
        room.occupy(6);
        assert!(!room.cover(5), "weight is short");
        drop(room);
        assert_eq!((budget.entries(), budget.weight()), (1, 6), "a failed attempt keeps nothing");
        let mut room = budget.room();
        room.vacate(6);
        assert!(room.cover(10));
        room.occupy(10);
        drop(room);
        assert_eq!((budget.entries(), budget.weight()), (1, 10));
    }

    #[test]
    fn weights_that_would_overflow_do_not_fit() {
        let budget = Budget::new(10, u64::MAX);
        let mut room = budget.room();
        assert!(room.cover(u64::MAX));
        room.occupy(u64::MAX);
        assert!(!room.cover(1));
    }
}
