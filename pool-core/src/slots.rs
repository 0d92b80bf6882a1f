//! Owns all slots of a pool and finds idle ones, lowest first.
//!
//! The lowest idle slot is taken first so that warm connections are reused and the others age out by themselves. Slots
//! come in chunks of one word; chunks are added when the maximum grows and freed with the pool, so an address stays
//! good. Must not know limits or waiters. Invariant: a slot's place is `index / SLOTS_PER_WORD`, `index % SLOTS_PER_WORD`.

use std::sync::OnceLock;

use crate::slot::{Claim, Slot, Vacancy};
use crate::sync::{AtomicUsize, Ordering};
use crate::words::{SLOTS_PER_WORD, Word};

/// Most connections a pool may have.
pub(crate) const MAX_CONNECTIONS: usize = if cfg!(loom) { 8 } else { 4096 };

const MAX_CHUNKS: usize = MAX_CONNECTIONS.div_ceil(SLOTS_PER_WORD);

#[derive(Debug)]
struct Chunk<C> {
    word: Word,
    slots: Box<[Slot<C>]>,
}

impl<C> Chunk<C> {
    fn new(number: usize, flags: u64) -> Self {
        let first = number * SLOTS_PER_WORD;
        Self { word: Word::new(flags), slots: (first..first + SLOTS_PER_WORD).map(Slot::new).collect() }
    }
}

/// The slots of a pool.
#[derive(Debug)]
pub(crate) struct Slots<C> {
    first: Chunk<C>,
    more: Box<[OnceLock<Chunk<C>>]>,
    /// Chunks in use, the first included. Written inside the lock; Release/Acquire between `grow` and `chunk_count`.
    chunks: AtomicUsize,
}

impl<C> Slots<C> {
    pub(crate) fn new(capacity: usize) -> Self {
        let more = (1..MAX_CHUNKS).map(|_| OnceLock::new()).collect();
        let slots = Self { first: Chunk::new(0, 0), more, chunks: AtomicUsize::new(1) };
        slots.grow(capacity, 0);
        slots
    }

    /// Makes room for this many slots; new words start with these flags. Only inside the lock.
    pub(crate) fn grow(&self, capacity: usize, flags: u64) {
        let wanted = capacity.div_ceil(SLOTS_PER_WORD);
        for number in self.chunk_count()..wanted {
            self.more[number - 1].get_or_init(|| Chunk::new(number, flags));
            self.chunks.store(number + 1, Ordering::Release);
        }
    }

    fn chunk_count(&self) -> usize {
        self.chunks.load(Ordering::Acquire)
    }

    fn chunk(&self, number: usize) -> &Chunk<C> {
        match number {
            0 => &self.first,
            _ => self.more[number - 1].get().expect("BUG: a chunk is counted before it is there"),
        }
    }

    fn all_chunks(&self) -> impl DoubleEndedIterator<Item = &Chunk<C>> {
        (0..self.chunk_count()).map(|number| self.chunk(number))
    }

    /// All slots, of whatever state.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Slot<C>> {
        self.all_chunks().flat_map(|chunk| chunk.slots.iter())
    }

    /// How many slots there are.
    pub(crate) fn capacity(&self) -> usize {
        self.chunk_count() * SLOTS_PER_WORD
    }

    /// Takes the lowest idle slot of the first word, if the gate is up.
    #[inline(always)]
    pub(crate) fn claim_first(&self) -> Option<Claim<C>> {
        Self::claim_from(&self.first)
    }

    /// Takes the lowest idle slot of the other words, where there are any and their gate is up.
    #[inline]
    pub(crate) fn claim_more(&self) -> Option<Claim<C>> {
        match self.chunk_count() {
            1 => None,
            count => self.claim_among(count),
        }
    }

    #[cold]
    fn claim_among(&self, count: usize) -> Option<Claim<C>> {
        (1..count).find_map(|number| Self::claim_from(self.chunk(number)))
    }

    #[inline(always)]
    fn claim_from(chunk: &Chunk<C>) -> Option<Claim<C>> {
        let bit = chunk.word.claim_lowest()?;
        // SAFETY: this call has just cleared the slot's bit; chunks live as long as `self`.
        Some(unsafe { Claim::new(&chunk.slots[bit]) })
    }

    /// Takes the lowest (or highest) idle slot for one who stands inside the lock.
    pub(crate) fn claim_inside(&self, highest: bool) -> Option<Claim<C>> {
        let claim = |chunk: &Chunk<C>| {
            let bit = chunk.word.claim_inside(highest)?;
            // SAFETY: this call has just cleared the slot's bit; chunks live as long as `self`.
            Some(unsafe { Claim::new(&chunk.slots[bit]) })
        };
        if highest { self.all_chunks().rev().find_map(claim) } else { self.all_chunks().find_map(claim) }
    }

    /// Takes this very slot if it is idle.
    pub(crate) fn claim_exact(&self, index: usize) -> Option<Claim<C>> {
        let chunk = self.chunk(index / SLOTS_PER_WORD);
        let bit = index % SLOTS_PER_WORD;
        // SAFETY: made only if this call has just cleared the slot's bit; chunks live as long as `self`.
        chunk.word.claim_exact(bit).then(|| unsafe { Claim::new(&chunk.slots[bit]) })
    }

    /// Takes up again the claim on a slot that was put away.
    ///
    /// # Safety
    ///
    /// A claim on this slot was given up by value for this one, and no other one is made from it.
    pub(crate) unsafe fn claim_again(&self, index: usize) -> Claim<C> {
        let chunk = self.chunk(index / SLOTS_PER_WORD);
        // SAFETY: the caller's promise; chunks live as long as `self`.
        unsafe { Claim::new(&chunk.slots[index % SLOTS_PER_WORD]) }
    }

    /// Takes the right to an empty slot.
    ///
    /// # Safety
    ///
    /// The caller has just struck the slot from the vacant ones, or takes up a vacancy that was given up by value.
    pub(crate) unsafe fn vacancy(&self, index: usize) -> Vacancy<C> {
        let chunk = self.chunk(index / SLOTS_PER_WORD);
        // SAFETY: the caller's promise; chunks live as long as `self`.
        unsafe { Vacancy::new(&chunk.slots[index % SLOTS_PER_WORD]) }
    }

    /// Makes a slot idle; tells whether somebody called meanwhile.
    #[inline(always)]
    pub(crate) fn publish(&self, claim: Claim<C>) -> bool {
        let index = claim.slot().index();
        if index < SLOTS_PER_WORD {
            self.first.word.publish(index)
        } else {
            self.chunk(index / SLOTS_PER_WORD).word.publish(index % SLOTS_PER_WORD)
        }
    }

    /// Sets exactly these flags in every word. Only inside the lock.
    pub(crate) fn set_flags(&self, flags: u64) {
        self.all_chunks().for_each(|chunk| chunk.word.set_flags(flags));
    }

    pub(crate) fn is_idle(&self, index: usize) -> bool {
        self.chunk(index / SLOTS_PER_WORD).word.is_idle(index % SLOTS_PER_WORD)
    }
}
