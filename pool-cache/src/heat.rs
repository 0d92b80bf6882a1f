//! How often and how lately an entry was asked for, and which of the two queues that has earned it.
//!
//! Owns one word per entry: a count of questions that fades, a smaller one of those since eviction last came by, and the queue.
//! Must not know keys, or what the queues do. Invariant: a question never lowers either; two threads that ask at once may count as one,
//! which eviction does not mind, so noting a question is a plain load and store, and nothing at all for what is asked most.

use std::sync::atomic::{AtomicU16, Ordering};

/// How often an entry can have been asked for since eviction came by, as far as eviction cares.
const MOST_RECENT: u16 = 3;
/// The most a count says.
pub(crate) const MOST: u8 = 15;

/// The bit of those in the hot queue.
const HOT: u16 = 1 << 6;

/// `era` in the upper byte, then a free bit, that of the queue, four of the count and (lowest) two of recent questions.
#[derive(Debug)]
pub(crate) struct Heat(AtomicU16);

fn pack(era: u8, count: u8, recent: u16) -> u16 {
    u16::from(era) << 8 | u16::from(count) << 2 | recent
}

/// The count of a word in a later era: half for each that has passed.
fn count(word: u16, era: u8) -> u8 {
    let eras = era.wrapping_sub((word >> 8) as u8);
    ((word >> 2) as u8 & MOST) >> eras.min(7)
}

impl Heat {
    /// The heat of an entry that was asked for `count` times, none of them since it came in.
    pub(crate) fn new(era: u8, count: u8, hot: bool) -> Self {
        Heat(AtomicU16::new(pack(era, count.min(MOST), 0) | if hot { HOT } else { 0 }))
    }

    /// Whether the entry is in the hot queue.
    pub(crate) fn is_hot(&self) -> bool {
        self.0.load(Ordering::Relaxed) & HOT != 0
    }

    /// Notes that the entry moves to the hot queue.
    pub(crate) fn promote(&mut self) {
        *self.0.get_mut() |= HOT;
    }

    /// Notes a question.
    #[inline]
    pub(crate) fn touch(&self, era: u8) {
        let before = self.0.load(Ordering::Relaxed);
        if before | HOT == pack(era, MOST, MOST_RECENT) | HOT {
            return;
        }
        let after = pack(era, (count(before, era) + 1).min(MOST), ((before & MOST_RECENT) + 1).min(MOST_RECENT));
        self.0.store(after | before & HOT, Ordering::Relaxed);
    }

    /// How often it was asked for, as it counts in this era.
    pub(crate) fn count(&self, era: u8) -> u8 {
        count(self.0.load(Ordering::Relaxed), era)
    }

    /// Uses up one of the questions since the last time; `false` if there is none.
    pub(crate) fn cool(&mut self) -> bool {
        let word = self.0.get_mut();
        let warm = *word & MOST_RECENT > 0;
        *word -= u16::from(warm);
        warm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_saturate_and_halve_with_each_era() {
        let heat = Heat::new(250, 1, false);
        assert_eq!(heat.count(250), 1);
        (0..20).for_each(|_| heat.touch(250));
        assert_eq!([250, 251, 252, 253, 254, 0].map(|era| heat.count(era)), [15, 7, 3, 1, 0, 0]);
        heat.touch(252);
        assert_eq!((heat.count(252), heat.count(253)), (4, 2));
    }

    #[test]
    fn questions_and_their_fading_do_not_touch_the_queue() {
        let mut heat = Heat::new(255, 15, false);
        (0..5).for_each(|_| heat.touch(0));
        assert!(!heat.is_hot());
        heat.promote();
        (0..20).for_each(|_| heat.touch(1));
        assert!(heat.cool() && heat.is_hot() && heat.count(1) == 15);
    }

    #[test]
    fn recent_questions_are_used_up_and_the_count_is_not() {
        let mut heat = Heat::new(0, 2, false);
        assert!(!heat.cool());
        (0..9).for_each(|_| heat.touch(0));
        assert_eq!((0..9).filter(|_| heat.cool()).count(), 3);
        assert_eq!(heat.count(0), 11);
    }
}
