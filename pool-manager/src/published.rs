//! The bytes of the wal-index' header that were published last.
//!
//! Owns their storing and comparing without a lock. It must not know what a publication says (`ledger`). Invariants: stored by one at a
//! time, under the lock of the ledger's tables; who finds them equal to what it has read finds whatever was stored before them, too.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use crate::wal_index::Header;

/// The bytes last published.
#[derive(Debug)]
pub(crate) struct Published {
    /// Odd while they are stored.
    version: AtomicU32,
    words: [AtomicU64; 6],
}

impl Published {
    /// Begins with these.
    pub(crate) fn new(header: Header) -> Self {
        Self { version: AtomicU32::new(0), words: header.map(AtomicU64::new) }
    }

    /// Tells whether these are the bytes published. Whatever was stored before they were published is seen by loads after this.
    #[inline]
    pub(crate) fn equals(&self, header: &Header) -> bool {
        // Pairs with the last store of `store`.
        let version = self.version.load(Ordering::Acquire);
        let mut differs = 0;
        for (published, found) in self.words.iter().zip(header) {
            differs |= published.load(Ordering::Relaxed) ^ found;
        }
        // Pairs with the fence of `store`: who has read one of its words reads its odd version or a later one next.
        fence(Ordering::Acquire);
        differs == 0 && version & 1 == 0 && self.version.load(Ordering::Relaxed) == version
    }

    /// Stores others.
    pub(crate) fn store(&self, header: &Header) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        for (published, found) in self.words.iter().zip(header) {
            published.store(*found, Ordering::Relaxed);
        }
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }
}
