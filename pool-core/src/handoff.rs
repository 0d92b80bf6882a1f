//! Owns where a grant is left for its waiter: one atomic cell for every place in the queue.
//!
//! A waiter that has been served finds out and takes what it was given without the lock, which those who release and
//! those who queue up need. Must not know who is served when. Cells never move: they come in chunks, each twice as large
//! as the one before, and are freed with the pool.
//!
//! | cell       | meaning                                              | written by                  |
//! |------------|------------------------------------------------------|-----------------------------|
//! | empty      | nothing is there: why not is known inside the lock   | who joins, inside the lock  |
//! | connection | the [`Claim`] on the slot of this number is left     | who grants, inside the lock |
//! | open       | the [`Vacancy`] of the slot of this number is left   | who grants, inside the lock |
//!
//! Invariants: one [`Place`] exists for each time a cell was emptied, and it is gone once the grant is taken; a cell is
//! not used again while a grant may still be in it, see [`Slot::swap_place`](crate::slot::Slot::swap_place).

use std::sync::OnceLock;

use crate::slot::{Claim, Vacancy};
use crate::slots::Slots;
use crate::sync::{AtomicU32, Ordering};

/// What a waiter is given.
#[derive(Debug)]
pub(crate) enum Grant<C> {
    /// A connection.
    Connection(Claim<C>),
    /// The right to open one.
    Open(Vacancy<C>),
}

/// A waiter's place in the queue: the right to what will be left there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place(u32);

impl Place {
    /// The number of the place.
    pub(crate) fn number(&self) -> u32 {
        self.0
    }
}

const EMPTY: u32 = 0;
const CONNECTION: u32 = 1;
const OPEN: u32 = 2;
/// The kind is in the lower two bits, the number of the slot above them.
const KIND_BITS: u32 = 2;
const KIND: u32 = (1 << KIND_BITS) - 1;

const FIRST_CHUNK: usize = if cfg!(loom) { 4 } else { 64 };
const CHUNKS: usize = 26;

/// The cells of one pool.
#[derive(Debug)]
pub(crate) struct Handoffs {
    chunks: [OnceLock<Box<[AtomicU32]>>; CHUNKS],
}

impl Handoffs {
    pub(crate) fn new() -> Self {
        Self { chunks: std::array::from_fn(|_| OnceLock::new()) }
    }

    /// The cell of a place; the first chunk has 64 cells, the second 128, and so on.
    fn cell(&self, number: u32) -> &AtomicU32 {
        let position = number as usize + FIRST_CHUNK;
        let chunk = (position / FIRST_CHUNK).ilog2() as usize;
        let before = FIRST_CHUNK << chunk;
        let cells = self.chunks[chunk].get_or_init(|| (0..before).map(|_| AtomicU32::new(EMPTY)).collect());
        &cells[position - before]
    }

    /// Makes a place of a free cell. Only inside the lock, by who has just taken the number from the free ones.
    ///
    /// Relaxed: whoever joins looks into the cell itself, and whoever grants has the lock.
    pub(crate) fn join(&self, number: u32) -> Place {
        self.cell(number).store(EMPTY, Ordering::Relaxed);
        Place(number)
    }

    /// Leaves a grant. Only inside the lock, for a place that waits.
    ///
    /// Release: pairs with the load in [`Handoffs::take`], which makes the slot's content the waiter's.
    pub(crate) fn leave<C>(&self, number: u32, grant: Grant<C>) {
        let (slot, kind) = match &grant {
            Grant::Connection(claim) => (claim.slot().index(), CONNECTION),
            Grant::Open(vacancy) => (vacancy.slot().index(), OPEN),
        };
        self.cell(number).store((slot as u32) << KIND_BITS | kind, Ordering::Release);
    }

    /// Takes what was left; gives the place back if nothing was. Acquire: pairs with [`Handoffs::leave`].
    pub(crate) fn take<C>(&self, place: Place, slots: &Slots<C>) -> Result<Grant<C>, Place> {
        let left = self.cell(place.0).load(Ordering::Acquire);
        let slot = (left >> KIND_BITS) as usize;
        match left & KIND {
            // SAFETY: `leave` has put away the only claim on this slot under this place (it took it by value), and the
            // place, of which there is one, is used up here, so nobody makes a second claim from it.
            CONNECTION => Ok(Grant::Connection(unsafe { slots.claim_again(slot) })),
            // SAFETY: the same for the only vacancy of this slot.
            OPEN => Ok(Grant::Open(unsafe { slots.vacancy(slot) })),
            _ => Err(place),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn cells_of_all_chunks_are_different_ones() {
        let handoffs = Handoffs::new();
        let cells: std::collections::HashSet<_> =
            (0..1000).map(|number| std::ptr::from_ref(handoffs.cell(number))).collect();
        assert_eq!(cells.len(), 1000);
        assert_eq!(handoffs.chunks.iter().filter(|chunk| chunk.get().is_some()).count(), 5);
    }

    #[test]
    fn what_is_left_is_what_is_taken() {
        let (slots, handoffs) = (Slots::<u8>::new(2), Handoffs::new());
        let place = handoffs.join(70);
        let place = handoffs.take(place, &slots).expect_err("nothing was left yet");
        // SAFETY: no other vacancy of a slot of these fresh slots was made.
        handoffs.leave(70, Grant::Open(unsafe { slots.vacancy(1) }));
        let Ok(Grant::Open(vacancy)) = handoffs.take(place, &slots) else { panic!("nothing to open") };
        handoffs.leave(3, Grant::Connection(vacancy.fill(7)));
        let Ok(Grant::Connection(claim)) = handoffs.take(Place(3), &slots) else { panic!("no connection") };
        assert_eq!(*claim.connection(), 7);
    }
}
