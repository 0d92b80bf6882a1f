//! The table of a shard: which slot may hold the key of a hash.
//!
//! Owns slot numbers and a byte of each hash; must not know keys or entries. What is known of a place lies in one cache line: twelve slots
//! and their bytes, and how many entries found it full and went on (the layout of F14, Bronson and Shi, 2019). So a look-up misses the
//! processor's caches once, and a removal leaves no tombstone behind: the table is never cleaned up, only enlarged. Invariants: an entry lies
//! in the first line from its own on that had room when it came, and each line before has counted it; there is always a vacant slot.

use crate::processor::{equal_bytes, prefetch};

/// Slots of a line.
const SLOTS: usize = 12;
/// Entries for each line from which on the table is enlarged: beyond, too many would have to go on.
const FULL: usize = 10;
/// One entry that went on, above those bytes.
const PASSED: u128 = 1 << 96;

#[derive(Clone, Debug, Default)]
#[repr(C, align(64))]
struct Line {
    /// A byte for each slot, zero if it is vacant; above them the number of entries that went on.
    tags: u128,
    slots: [u32; SLOTS],
}

/// The byte that stands for a hash: an odd one, so never zero.
#[inline]
fn tag(hash: u64) -> u8 {
    (hash >> 56) as u8 | 1
}

impl Line {
    /// The slots with this byte: a bit for each.
    #[inline]
    fn with(&self, tag: u8) -> u32 {
        equal_bytes(&self.tags, tag) & ((1 << SLOTS) - 1)
    }

    /// Finds the place, among those with this byte, whose slot `is` accepts.
    #[inline]
    fn find(&self, tag: u8, mut is: impl FnMut(u32) -> bool) -> Option<usize> {
        let mut found = self.with(tag);
        while found != 0 {
            let place = found.trailing_zeros() as usize;
            if is(self.slots[place]) {
                return Some(place);
            }
            found &= found - 1;
        }
        None
    }

    #[inline]
    fn is_last(&self) -> bool {
        self.tags < PASSED
    }
}

/// A table without keys: who asks tells its own entry from others of the same byte.
#[derive(Debug, Default)]
pub(crate) struct Index {
    lines: Vec<Line>,
    len: usize,
}

impl Index {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The line `step` lines after the one in which an entry of this hash is looked for first. The shard is chosen by other bits.
    #[inline]
    fn line(&self, hash: u64, step: usize) -> usize {
        // There is a power of two of lines, or none.
        (hash as usize).wrapping_add(step) & self.lines.len().wrapping_sub(1)
    }

    /// Finds the slot that `is` accepts.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        let tag = tag(hash);
        let line = self.lines.get(self.line(hash, 0))?;
        let found = line.with(tag);
        if found != 0 {
            // Nearly always it is the first of these, so no more than that is done here.
            let slot = line.slots[found.trailing_zeros() as usize];
            if is(slot) {
                return Some(slot);
            }
        } else if line.is_last() {
            return None;
        }
        self.search(hash, tag, is)
    }

    /// Looks at all that has this byte, in all lines that have to be looked into.
    #[cold]
    fn search(&self, hash: u64, tag: u8, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        for step in 0..self.lines.len() {
            let line = &self.lines[self.line(hash, step)];
            if let Some(place) = line.find(tag, &mut is) {
                return Some(line.slots[place]);
            }
            if line.is_last() {
                break;
            }
        }
        None
    }

    /// Lists a slot that is not listed. `hash_of` tells the hashes of the others.
    #[inline]
    pub(crate) fn insert(&mut self, hash: u64, slot: u32, hash_of: impl Fn(u32) -> u64) {
        if self.len == self.lines.len() * FULL {
            self.enlarge(hash_of);
        }
        self.len += 1;
        self.put(hash, slot);
    }

    fn put(&mut self, hash: u64, slot: u32) {
        for step in 0..self.lines.len() {
            let at = self.line(hash, step);
            let line = &mut self.lines[at];
            if let Some(place) = line.find(0, |_| true) {
                line.slots[place] = slot;
                line.tags |= u128::from(tag(hash)) << (place * 8);
                return;
            }
            line.tags += PASSED;
        }
        unreachable!("BUG: no vacant slot in a table that is not full");
    }

    #[cold]
    fn enlarge(&mut self, hash_of: impl Fn(u32) -> u64) {
        let more = vec![Line::default(); (self.lines.len() * 2).max(1)];
        let before = std::mem::replace(&mut self.lines, more);
        for line in before {
            for (place, &slot) in line.slots.iter().enumerate() {
                if line.tags >> (place * 8) & 0xff != 0 {
                    self.put(hash_of(slot), slot);
                }
            }
        }
    }

    /// Takes a slot off the list. Returns whether it was there.
    #[inline]
    pub(crate) fn remove(&mut self, hash: u64, slot: u32) -> bool {
        for step in 0..self.lines.len() {
            let at = self.line(hash, step);
            let line = &mut self.lines[at];
            let place = line.find(tag(hash), |other| other == slot);
            if let Some(place) = place {
                line.tags &= !(0xff << (place * 8));
                self.len -= 1;
                for step in 0..step {
                    let passed = self.line(hash, step);
                    self.lines[passed].tags -= PASSED;
                }
                return true;
            }
            if line.is_last() {
                break;
            }
        }
        false
    }

    /// Fetches what is read first of a hash.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        if let Some(line) = self.lines.get(self.line(hash, 0)) {
            prefetch(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// Few different lines and bytes, so that many go on.
    fn hash(key: u64) -> u64 {
        ((key % 4) << 56) | (key % 7)
    }

    fn find(index: &Index, key: u64, keys: &[u64]) -> Option<u32> {
        index.find(hash(key), |slot| keys[slot as usize] == key)
    }

    proptest! {
        #[test]
        fn what_was_listed_and_not_taken_off_is_found_and_nothing_else(
            keys in prop::collection::vec((0_u64..400, any::<bool>()), 1..900),
        ) {
            let (mut index, mut model, mut slots) = (Index::new(), HashMap::new(), Vec::new());
            for (key, add) in keys {
                match model.get(&key).copied() {
                    None if add => {
                        let slot = slots.len() as u32;
                        slots.push(key);
                        index.insert(hash(key), slot, |slot| hash(slots[slot as usize]));
                        model.insert(key, slot);
                    }
                    Some(slot) if !add => {
                        prop_assert!(index.remove(hash(key), slot));
                        prop_assert!(!index.remove(hash(key), slot));
                        model.remove(&key);
                    }
                    listed => prop_assert_eq!(find(&index, key, &slots), listed),
                }
                prop_assert_eq!(index.len, model.len());
            }
            for key in 0..400 {
                prop_assert_eq!(find(&index, key, &slots), model.get(&key).copied());
            }
            for (key, slot) in model {
                prop_assert!(index.remove(hash(key), slot));
            }
            prop_assert!(index.lines.iter().all(|line| line.tags == 0), "nobody is counted who is not there");
        }
    }

    #[test]
    fn coming_and_going_for_ever_does_not_enlarge_the_table() {
        let mixed = |key: u32| u64::from(key).wrapping_mul(0x9E37_79B9_7F4A_7C15).swap_bytes();
        let mut index = Index::new();
        for key in 0..200_000_u32 {
            index.insert(mixed(key), key, mixed);
            if key >= 1000 {
                assert!(index.remove(mixed(key - 1000), key - 1000));
            }
        }
        assert!(index.lines.len() <= (1000 / FULL).next_power_of_two(), "{}", index.lines.len());
    }
}
