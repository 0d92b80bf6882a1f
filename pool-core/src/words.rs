//! Owns one atomic word: which of its slots are idle, and whether acquires or releases must take the long way.
//!
//! Must not know what a slot contains. Invariant: whoever clears a slot's bit owns the slot until it sets the bit
//! again; nobody else touches the bit in between.
//!
//! The two flags live in the same word as the bits, which is what makes hand-over free of lost wake-ups without any
//! fence: a waiter sets [`CALL`] and sees in the same read-modify-write which slots are idle; a release sets its bit
//! and sees in the same read-modify-write whether somebody called. One of the two comes second in the word's
//! modification order and sees the other. (With a flag elsewhere this would be a store-load pair that needs two
//! sequentially consistent fences, one of them in every release.)

use crate::sync::{AtomicU64, Ordering};

/// Slots of one word; the two bits above are the flags. The models make do with two, so that they see several words.
pub(crate) const SLOTS_PER_WORD: usize = if cfg!(loom) { 2 } else { 62 };

const IDLE: u64 = (1 << 62) - 1;

/// A release must look after those who wait, or after the limits: it takes the lock once its bit is set.
pub(crate) const CALL: u64 = 1 << 62;

/// An acquire must not help itself: somebody has the better right, or the pool is closed.
pub(crate) const GATE: u64 = 1 << 63;

/// The idle bits and flags of up to [`SLOTS_PER_WORD`] slots, on a cache line (pair) of their own.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Word(AtomicU64);

impl Word {
    pub(crate) fn new(flags: u64) -> Self {
        Self(AtomicU64::new(flags))
    }

    /// Takes the lowest idle slot, unless the gate is down.
    ///
    /// Acquire on success: pairs with the release in [`Word::publish`], so the new owner sees all the old one did.
    #[inline(always)]
    pub(crate) fn claim_lowest(&self) -> Option<usize> {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            // With the gate down the word compares as large, with nothing idle the rest is zero: two cheap tests.
            if word & GATE != 0 || word & IDLE == 0 {
                return None;
            }
            match self.0.compare_exchange_weak(word, word & (word - 1), Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Some(word.trailing_zeros() as usize),
                Err(now) => word = now,
            }
        }
    }

    /// Takes the lowest idle slot for one who stands inside the lock, gate or no gate.
    pub(crate) fn claim_inside(&self, highest: bool) -> Option<usize> {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let idle = word & IDLE;
            if idle == 0 {
                return None;
            }
            let bit = if highest { idle.ilog2() } else { idle.trailing_zeros() };
            match self.0.compare_exchange_weak(word, word & !(1 << bit), Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Some(bit as usize),
                Err(now) => word = now,
            }
        }
    }

    /// Takes this very slot if it is idle. Acquire: pairs with [`Word::publish`].
    pub(crate) fn claim_exact(&self, bit: usize) -> bool {
        let mask = 1 << bit;
        self.0.fetch_and(!mask, Ordering::Acquire) & mask != 0
    }

    /// Gives a slot back and tells whether somebody called meanwhile.
    ///
    /// Release: pairs with the claims. The answer pairs with [`Word::set_flags`] through the word's modification order.
    #[inline(always)]
    pub(crate) fn publish(&self, bit: usize) -> bool {
        let before = self.0.fetch_or(1 << bit, Ordering::Release);
        debug_assert!(before & (1 << bit) == 0, "BUG: slot {bit} was released twice");
        before & CALL != 0
    }

    /// Sets exactly these flags and leaves the bits alone. Only inside the lock.
    pub(crate) fn set_flags(&self, flags: u64) {
        // Set before clearing: in between, more callers take the long way than need to, never fewer.
        if flags != 0 {
            self.0.fetch_or(flags, Ordering::AcqRel);
        }
        let off = (CALL | GATE) & !flags;
        if off != 0 {
            self.0.fetch_and(!off, Ordering::AcqRel);
        }
    }

    pub(crate) fn is_idle(&self, bit: usize) -> bool {
        self.0.load(Ordering::Relaxed) & (1 << bit) != 0
    }
}
