//! A rough memory of how often keys were asked for that are not in the cache.
//!
//! Owns four-bit counters; must not know keys, entries or queues. A key has four counters in one cache line and is worth
//! the least of them (a count-min sketch, Cormode and Muthukrishnan, 2005; one line a key and halving as in TinyLFU,
//! Einziger, Friedman and Manes, 2017). Invariant: what is recalled is never less than what was last remembered since, but
//! for halving; it may be more.

/// Counters in one word, and words in one block: a cache line.
const WORDS: usize = 8;
/// Counters in a block.
const COUNTERS: usize = WORDS * 16;
/// Entries of the shard for each block: 32 counters an entry, since many more keys are known than are in.
const ENTRIES: usize = 4;

#[derive(Clone, Debug)]
#[repr(align(64))]
struct Block([u64; WORDS]);

#[derive(Debug, Default)]
pub(crate) struct Sketch {
    blocks: Vec<Block>,
    /// How many counters are not zero.
    used: usize,
}

/// Word and shift of the four counters of a key: one in each quarter of its block.
#[inline]
fn places(hash: u64) -> [(usize, u32); 4] {
    let bits = hash >> 32;
    [0, 1, 2, 3].map(|row| {
        let bits = bits >> (row * 5);
        ((row * 2 + (bits & 1)) as usize, (bits & 30) as u32 * 2)
    })
}

impl Sketch {
    /// Makes the sketch fit for a shard of this many entries. When it grows, every key keeps its counters.
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
            self.blocks.push(Block([0; WORDS]));
        }
        while self.blocks.len() < blocks {
            self.blocks.extend_from_within(..);
        }
        self.used = self.count_used();
    }

    /// Remembers that a key was asked for `count` times. When half of the counters are in use, all are halved: more would
    /// take strangers for acquaintances, who would then be remembered for more than they were.
    #[inline]
    pub(crate) fn remember(&mut self, hash: u64, count: u8) {
        let last = self.blocks.len().wrapping_sub(1);
        let Some(Block(words)) = self.blocks.get_mut(hash as usize & last) else { return };
        for (word, shift) in places(hash) {
            let known = words[word] >> shift & 15;
            words[word] += u64::from(count.min(15)).saturating_sub(known) << shift;
            self.used += usize::from(known == 0 && count > 0);
        }
        if self.used > self.blocks.len() * COUNTERS / 2 {
            self.halve();
        }
    }

    /// How often a key was asked for when it was last remembered.
    #[inline]
    pub(crate) fn recall(&self, hash: u64) -> u8 {
        let last = self.blocks.len().wrapping_sub(1);
        let Some(Block(words)) = self.blocks.get(hash as usize & last) else { return 0 };
        let [a, b, c, d] = places(hash).map(|(word, shift)| (words[word] >> shift & 15) as u8);
        a.min(b).min(c.min(d))
    }

    /// Halves all counts.
    #[cold]
    pub(crate) fn halve(&mut self) {
        for word in self.blocks.iter_mut().flat_map(|block| &mut block.0) {
            *word = *word >> 1 & 0x7777_7777_7777_7777;
        }
        self.used = self.count_used();
    }

    fn count_used(&self) -> usize {
        let used = |word: &u64| {
            let pairs = word | word >> 1;
            ((pairs | pairs >> 2) & 0x1111_1111_1111_1111).count_ones() as usize
        };
        self.blocks.iter().flat_map(|block| &block.0).map(used).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(i: u64) -> u64 {
        (i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (i + 7).wrapping_mul(0xD1B5_4A32_D192_ED03).rotate_left(31)
    }

    #[test]
    fn what_was_remembered_is_never_recalled_as_less_and_rarely_as_more() {
        let mut sketch = Sketch::default();
        assert_eq!(sketch.recall(hash(1)), 0);
        sketch.fit(1000);
        let count = |i: u64| (i % 15 + 1) as u8;
        (0..1000).for_each(|i| sketch.remember(hash(i), count(i)));
        assert!((0..1000).all(|i| sketch.recall(hash(i)) >= count(i)));
        let exact = (0..1000).filter(|&i| sketch.recall(hash(i)) == count(i)).count();
        assert!(exact > 950, "{exact}");
        let unknown = (1000..2000).filter(|&i| sketch.recall(hash(i)) == 0).count();
        assert!(unknown > 950, "{unknown}");
    }

    #[test]
    fn any_number_of_strangers_leaves_most_strangers_unknown() {
        let mut sketch = Sketch::default();
        sketch.fit(100);
        (0..20_000).for_each(|i| sketch.remember(hash(i), sketch.recall(hash(i)) + 1));
        assert_eq!(sketch.used, sketch.count_used());
        let known = (20_000..30_000).filter(|&i| sketch.recall(hash(i)) > 0).count();
        assert!(known < 1_000, "a sixteenth at the most, if half of the counters are in use: {known}");
    }

    #[test]
    fn halving_and_growing_keep_what_is_known() {
        let mut sketch = Sketch::default();
        sketch.fit(10);
        (0..10).for_each(|i| sketch.remember(hash(i), 9));
        sketch.halve();
        sketch.fit(1000);
        assert!((0..10).all(|i| sketch.recall(hash(i)) == 4));
    }
}
