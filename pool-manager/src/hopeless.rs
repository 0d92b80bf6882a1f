//! Which queries had results that can't be kept, the last times.
//!
//! Owns that memory, of a few queries at a time. It must not know why a result can't be kept. Invariant: what is remembered only chooses the
//! way in which a query runs, so a mistake (two names share a place, two calls write at the same time) costs a miss and nothing else.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::query_key::Name;

/// How many queries are remembered; who shares a place with another one that is asked for as often is forgotten each time.
const PLACES: usize = 256;

/// So many times in a row make a query hopeless.
const TIMES: u64 = 3;

/// The bits that count them, below those of the name.
const COUNT: u64 = 3;

/// Names of queries, as hashes with a count in the lowest bits. Relaxed everywhere: each place means something alone.
#[derive(Debug)]
pub(crate) struct Hopeless([AtomicU64; PLACES]);

impl Default for Hopeless {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; PLACES])
    }
}

/// A query's place, and what stands there when it has never been hopeless.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    at: usize,
    mark: u64,
}

impl Place {
    pub(crate) fn of(name: Name<'_>) -> Self {
        // Not seeded: whoever chooses names that collide keeps results out of a cache, his own.
        let mut state = DefaultHasher::new();
        name.hash(&mut state);
        let hash = state.finish();
        Self { at: (hash >> 56) as usize % PLACES, mark: hash & !COUNT }
    }
}

impl Hopeless {
    /// Tells whether the last results of a query could not be kept.
    pub(crate) fn has(&self, place: Place) -> bool {
        self.0[place.at].load(Ordering::Relaxed) == place.mark | TIMES
    }

    /// Notes whether a result could be kept.
    pub(crate) fn note(&self, place: Place, kept: bool) {
        let known = &self.0[place.at];
        let word = known.load(Ordering::Relaxed);
        let same = word & !COUNT == place.mark;
        match (kept, same) {
            (false, true) if word & COUNT < TIMES => known.store(word + 1, Ordering::Relaxed),
            (false, true) => {}
            (false, false) => known.store(place.mark | 1, Ordering::Relaxed),
            (true, true) => known.store(place.mark, Ordering::Relaxed),
            (true, false) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_hopeless_after_three_times_in_a_row_and_until_one_result_could_be_kept() {
        let all = Hopeless::default();
        let (one, other) = (Place { at: 7, mark: 0x100 }, Place { at: 7, mark: 0x200 });
        for _ in 0..2 {
            all.note(one, false);
            all.note(one, false);
            assert!(!all.has(one));
            all.note(one, true);
        }
        (0..9).for_each(|_| all.note(one, false));
        all.note(other, true);
        assert!(all.has(one) && !all.has(other));
        all.note(one, true);
        assert!(!all.has(one));
        (0..3).for_each(|_| all.note(one, false));
        all.note(other, false);
        assert!(!all.has(one) && !all.has(other), "the other one has its place");
    }
}
