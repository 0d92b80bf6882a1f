//! What a shard remembers of keys that are not in it: roughly how often each was asked for, and which have just left.
//!
//! Owns four-bit counters and fingerprints; must not know keys, entries or queues. All that is known of a key lies in one cache
//! line, which its arrival reads and its departure writes.
//!
//! A key has four counters in one word and is worth the least of them (a count-min sketch, Cormode and Muthukrishnan, 2005;
//! together in one place and halved now and then as in TinyLFU, Einziger, Friedman and Manes, 2017). A key that comes back soon
//! after its departure would have stayed, had its queue been a little longer: that is how a shard learns how long each of
//! its queues should be (the idea of ARC, Megiddo and Modha, FAST 2003). Invariants: what is recalled is never less than what
//! was last remembered since, but for halving; it may be more. A departure that more than the asked number of others from the
//! same queue have followed is never found; a younger one may be lost to another.

use crate::processor::prefetch;

/// Entries of the shard for each block: 24 counters an entry, since many more keys are known than are in.
const ENTRIES: usize = 4;
/// Words of counters in a block.
const WORDS: usize = 6;
/// Counters in a block.
const COUNTERS: usize = WORDS * 16;
/// In the word of a departure: the fingerprint, and below it the number of the departure. Zero is none.
const FINGERPRINT: u64 = !0 << 32;

/// A cache line.
#[derive(Clone, Debug, Default)]
#[repr(align(64))]
struct Block {
    counts: [u64; WORDS],
    /// The last departure from each queue, the hot one second.
    departed: [u64; 2],
}

#[derive(Debug, Default)]
pub(crate) struct Memory {
    blocks: Vec<Block>,
    /// How many counters are not zero.
    used: usize,
    /// How many have departed from the cold queue and from the hot one.
    departures: [u32; 2],
}

/// What is known of a key that arrives.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// How often it had been asked for when it last departed.
    pub(crate) count: u8,
    /// The queue it has just left: whether that is the hot one.
    pub(crate) just_left: Option<bool>,
}

/// One in the lowest bit of each quarter of a word, and of each counter.
const QUARTERS: u64 = 0x0001_0001_0001_0001;
const EACH: u64 = 0x1111_1111_1111_1111;

/// The word of the four counters of a key, and one in the lowest bit of each of them: one in each quarter of the word.
#[inline]
fn counters(hash: u64) -> (usize, u64) {
    // The lowest bits choose the block, those from 32 on the shard.
    let word = ((hash >> 48) as usize * WORDS) >> 16;
    // Two bits for each quarter say which of its four counters it is: copies of all eight, shifted so that each finds its own.
    let places = (hash >> 24 & 0xff).wrapping_mul(1 | 1 << 14 | 1 << 28 | 1 << 42);
    let (low, high) = (places & QUARTERS, places >> 1 & QUARTERS);
    let ones = QUARTERS + low * 15;
    (word, ones + ((ones * 255) & (high * 0xffff)))
}

/// One in the lowest bit of each counter of a word that is not zero.
#[inline]
fn not_zero(word: u64) -> u64 {
    let pairs = word | word >> 1;
    (pairs | pairs >> 2) & EACH
}

/// How many ones of [`not_zero`] there are, but for sixteen.
#[inline]
fn count_ones(ones: u64) -> usize {
    // The sum of the digits to the base of sixteen.
    (ones % 15) as usize
}

/// The shifts of the counters whose lowest bits are `ones`.
fn shifts(mut ones: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let shift = (ones != 0).then(|| ones.trailing_zeros());
        ones &= ones.wrapping_sub(1);
        shift
    })
}

/// Raises the counters whose lowest bits are `ones` to `count`, where they are less.
fn raise(mut counts: u64, ones: u64, count: u8) -> u64 {
    let count = u64::from(count.min(15));
    for shift in shifts(ones) {
        counts += count.saturating_sub(counts >> shift & 15) << shift;
    }
    counts
}

/// The least of the counters whose lowest bits are `ones`.
fn least(counts: u64, ones: u64) -> u8 {
    shifts(ones).map(|shift| (counts >> shift & 15) as u8).min().unwrap_or(0)
}

impl Memory {
    /// Makes the memory fit for a shard of this many entries. When it grows, every key keeps its counters.
    #[inline]
    pub(crate) fn fit(&mut self, entries: usize) {
        if self.blocks.len() * ENTRIES < entries {
            self.grow(entries);
        }
    }

    #[cold]
    fn grow(&mut self, entries: usize) {
        let blocks = entries.div_ceil(ENTRIES).next_power_of_two();
        if self.blocks.is_empty() {
            self.blocks.push(Block::default());
        }
        while self.blocks.len() < blocks {
            self.blocks.extend_from_within(..);
        }
        self.used = self.count_used();
    }

    /// Fetches the line of a key that is about to arrive or depart.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        if let Some(block) = self.blocks.get(hash as usize & self.blocks.len().wrapping_sub(1)) {
            prefetch(block);
        }
    }

    /// Remembers a key that was asked for `count` times and departs from one of the queues. When half of the counters are in
    /// use, all are halved: more would take strangers for acquaintances, who would then be remembered for more than they were.
    #[inline]
    pub(crate) fn depart(&mut self, hash: u64, count: u8, hot: bool) {
        let last = self.blocks.len().wrapping_sub(1);
        let Some(block) = self.blocks.get_mut(hash as usize & last) else { return };
        let departures = &mut self.departures[usize::from(hot)];
        *departures = departures.wrapping_add(1);
        block.departed[usize::from(hot)] = hash & FINGERPRINT | u64::from(*departures);
        let (word, ones) = counters(hash);
        let counts = &mut block.counts[word];
        let fresh = ones & !not_zero(*counts);
        match count {
            0 => return,
            1 => *counts |= fresh,
            _ => *counts = raise(*counts, ones, count),
        }
        self.used += count_ones(fresh);
        if self.used > self.blocks.len() * COUNTERS / 2 {
            self.halve();
        }
    }

    /// Tells what is known of a key, and forgets that it has departed. `soon` is after how many departures it is forgotten
    /// anyway.
    #[inline]
    pub(crate) fn arrive(&mut self, hash: u64, soon: usize) -> Known {
        let at = hash as usize & self.blocks.len().wrapping_sub(1);
        let Some(block) = self.blocks.get(at) else { return Known::default() };
        let (word, ones) = counters(hash);
        let counts = block.counts[word];
        let count = if ones & !not_zero(counts) == 0 { least(counts, ones) } else { 0 };
        let [cold, hot] = block.departed.map(|departed| departed >> 32 == hash >> 32);
        let just_left = if cold || hot { self.returned(at, hash, soon) } else { None };
        Known { count, just_left }
    }

    /// Tells which queue a key has just left whose fingerprint is in this block.
    #[cold]
    fn returned(&mut self, block: usize, hash: u64, soon: usize) -> Option<bool> {
        let mut just_left = None;
        for (queue, departed) in self.blocks[block].departed.iter_mut().enumerate() {
            if (*departed ^ hash) & FINGERPRINT == 0 && *departed != 0 {
                let age = self.departures[queue].wrapping_sub(*departed as u32) as usize;
                if age < soon {
                    just_left = Some(queue == 1);
                }
                *departed = 0;
            }
        }
        just_left
    }

    /// Halves all counts.
    #[cold]
    pub(crate) fn halve(&mut self) {
        for word in self.blocks.iter_mut().flat_map(|block| &mut block.counts) {
            *word = *word >> 1 & 0x7777_7777_7777_7777;
        }
        self.used = self.count_used();
    }

    fn count_used(&self) -> usize {
        let used = |word: &u64| not_zero(*word).count_ones() as usize;
        self.blocks.iter().flat_map(|block| &block.counts).map(used).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(i: u64) -> u64 {
        let mixed = (i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed ^ (mixed >> 27)
    }

    fn memory(entries: usize) -> Memory {
        let mut memory = Memory::default();
        memory.fit(entries);
        memory
    }

    fn recall(memory: &mut Memory, i: u64) -> u8 {
        memory.arrive(hash(i), 0).count
    }

    #[test]
    fn empty_memory_knows_nothing() {
        assert_eq!(Memory::default().arrive(hash(1), 10), Known::default());
    }

    #[test]
    fn what_was_remembered_is_never_recalled_as_less_and_rarely_as_more() {
        let mut memory = memory(1000);
        let count = |i: u64| (i % 15 + 1) as u8;
        (0..1000).for_each(|i| memory.depart(hash(i), count(i), false));
        assert!((0..1000).all(|i| recall(&mut memory, i) >= count(i)));
        let exact = (0..1000).filter(|&i| recall(&mut memory, i) == count(i)).count();
        assert!(exact > 950, "{exact}");
        let unknown = (1000..2000).filter(|&i| recall(&mut memory, i) == 0).count();
        assert!(unknown > 950, "{unknown}");
    }

    #[test]
    fn any_number_of_strangers_leaves_most_strangers_unknown() {
        let mut memory = memory(100);
        for i in 0..20_000 {
            let count = recall(&mut memory, i) + 1;
            memory.depart(hash(i), count, false);
        }
        assert_eq!(memory.used, memory.count_used());
        let known = (20_000..30_000).filter(|&i| recall(&mut memory, i) > 0).count();
        assert!(known < 1_200, "not many more than a sixteenth if half of the counters are in use: {known}");
    }

    #[test]
    fn halving_and_growing_keep_what_is_known() {
        let mut memory = memory(10);
        (0..10).for_each(|i| memory.depart(hash(i), 9, false));
        memory.halve();
        memory.fit(1000);
        assert!((0..10).all(|i| recall(&mut memory, i) == 4));
    }

    #[test]
    fn departures_are_known_for_a_while_by_their_queue() {
        let mut memory = memory(1000);
        (0..1000).for_each(|i| memory.depart(hash(i), 1, i % 2 == 0));
        let mut found = |keys: std::ops::Range<u64>, hot| {
            keys.filter(|&i| memory.arrive(hash(i), 25).just_left == Some(hot)).count()
        };
        assert_eq!(found(0..950, true) + found(0..950, false), 0);
        let (cold, hot) = (found(950..1000, false), found(950..1000, true));
        assert_eq!(hot, 0, "looking for it forgets it");
        assert!(cold >= 18, "{cold} of 25");
    }
}
