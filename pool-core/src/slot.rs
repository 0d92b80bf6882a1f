//! Owns one slot: the place of one connection, and the right to touch it.
//!
//! All `unsafe` of the crate is here. Must not know queues, limits or managers.
//!
//! ```text
//! EMPTY ──> OPENING ──> IDLE <──> LEASED ──> CLOSED ──> EMPTY (or OPENING, when its holder replaces it)
//! ```
//!
//! | state   | connection | who may touch it              | how it is told apart                                   |
//! |---------|------------|-------------------------------|--------------------------------------------------------|
//! | EMPTY   | none       | nobody                        | vacant in the ledger, under the lock                   |
//! | OPENING | none       | holder of the [`Vacancy`]     | counted as opening in the ledger                       |
//! | IDLE    | one        | nobody                        | its bit is set in the [`Word`](crate::words::Word)     |
//! | LEASED  | one        | holder of the [`Claim`]       | bit clear; `uses` is odd while a caller has it         |
//! | CLOSED  | none       | whoever closes it (a [`Vacancy`]) | no longer published, not yet vacant                |
//!
//! Invariant: at most one `Claim` or `Vacancy` exists per slot, and none while the slot is idle or empty.

use std::ptr::NonNull;

use crate::clock::Nanos;
use crate::observer::Holder;
use crate::queue::NONE;
use crate::sync::{AtomicU32, AtomicU64, Mutex, Ordering, UnsafeCell};

/// The connection is past its age.
pub(crate) const AGED: u32 = 1;
/// The pool remembers holders.
pub(crate) const TRACK: u32 = 1 << 1;
/// The pool has a hook before hand-out.
pub(crate) const HOOK_BEFORE: u32 = 1 << 2;
/// The pool has a hook after release.
pub(crate) const HOOK_AFTER: u32 = 1 << 3;
/// The pool notes the exact time of every release.
pub(crate) const STAMP: u32 = 1 << 4;

#[derive(Debug)]
struct Waits {
    count: AtomicU64,
    total: AtomicU64,
    longest: AtomicU64,
}

/// The place of one connection; a cache line (pair) of its own, so that holders on two cores do not disturb each other.
///
/// The fields in the order of the declaration: what every lease and every wait touches comes first, on one line.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct Slot<C> {
    /// Hand-outs plus releases: odd while leased. Written by the owner alone, hence no read-modify-write.
    uses: AtomicU64,
    /// What must be looked at on hand-out and release; zero for the short way.
    care: AtomicU32,
    /// Not zero if the holder got the connection from the queue: whoever waits comes before the word then.
    handed: AtomicU32,
    /// The place in the queue of the waiter that was granted this slot last, or [`NONE`].
    place: AtomicU32,
    index: u32,
    /// Waits that ended with this slot. Written by the owner alone.
    waits: Waits,
    connection: UnsafeCell<Option<C>>,
    /// When the connection was opened, when it is to be retired, when it was last released (if stamped).
    pub(crate) opened_at: AtomicU64,
    pub(crate) retire_at: AtomicU64,
    pub(crate) idle_at: AtomicU64,
    /// Who holds the connection since when; only touched when holders are tracked.
    pub(crate) holder: Mutex<Option<(Holder, Nanos)>>,
}

// SAFETY: the only part that is not Sync by itself is `connection`. It is reached through a `Claim` or `Vacancy`
// alone, of which at most one exists (the module's invariant), so `&Slot` gives no access to a `C`; handing the claim
// from thread to thread moves the `C`, which needs `C: Send`.
unsafe impl<C: Send> Sync for Slot<C> {}

impl<C> Slot<C> {
    pub(crate) fn new(index: usize) -> Self {
        Self {
            uses: AtomicU64::new(0),
            care: AtomicU32::new(0),
            handed: AtomicU32::new(0),
            place: AtomicU32::new(NONE),
            index: u32::try_from(index).expect("BUG: slot index out of range"),
            connection: UnsafeCell::new(None),
            opened_at: AtomicU64::new(0),
            retire_at: AtomicU64::new(0),
            idle_at: AtomicU64::new(0),
            waits: Waits { count: AtomicU64::new(0), total: AtomicU64::new(0), longest: AtomicU64::new(0) },
            holder: Mutex::new(None),
        }
    }

    #[inline(always)]
    pub(crate) fn index(&self) -> usize {
        self.index as usize
    }

    /// How often the slot was handed out and released. Relaxed: a count that is exact only at rest.
    pub(crate) fn uses(&self) -> u64 {
        self.uses.load(Ordering::Relaxed)
    }

    pub(crate) fn is_leased(&self) -> bool {
        self.uses() % 2 == 1
    }

    /// Counts a hand-out or a release; only the owner calls this. Relaxed: the word's release publishes it.
    #[inline(always)]
    pub(crate) fn count_use(&self) {
        self.uses.store(self.uses.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// What to look at. Relaxed: a flag noticed one lease late is noticed soon enough.
    #[inline(always)]
    pub(crate) fn care(&self) -> u32 {
        self.care.load(Ordering::Relaxed)
    }

    /// Tells whether a release has to take the long way. Relaxed: as for `care`; `handed` is the owner's own.
    #[inline(always)]
    pub(crate) fn is_returned_by_the_long_way(&self) -> bool {
        self.care.load(Ordering::Relaxed) | self.handed.load(Ordering::Relaxed) != 0
    }

    /// Tells whether the holder got the connection from the queue. Only the owner asks.
    pub(crate) fn was_handed(&self) -> bool {
        self.handed.load(Ordering::Relaxed) != 0
    }

    /// Notes whether the holder got the connection from the queue. Only the owner says so. Relaxed: as for `uses`.
    pub(crate) fn set_handed(&self, handed: bool) {
        self.handed.store(u32::from(handed), Ordering::Relaxed);
    }

    /// Notes to whose place in the queue this slot is granted; returns the one before, whose waiter is done with it:
    /// it has taken the slot and given it back, or it would not be granted again. Only inside the lock, by the owner.
    pub(crate) fn swap_place(&self, place: u32) -> u32 {
        let before = self.place.load(Ordering::Relaxed);
        self.place.store(place, Ordering::Relaxed);
        before
    }

    /// Counts a wait that ended with this slot; only the owner calls this. Relaxed: exact only at rest.
    pub(crate) fn count_wait(&self, waited: Nanos) {
        let Waits { count, total, longest } = &self.waits;
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        total.store(total.load(Ordering::Relaxed).saturating_add(waited), Ordering::Relaxed);
        // Stored in any case, for the models must not depend on how long something took.
        longest.store(longest.load(Ordering::Relaxed).max(waited), Ordering::Relaxed);
    }

    /// How many waits ended with this slot, the time they took, and the longest of them.
    pub(crate) fn waits(&self) -> (u64, Nanos, Nanos) {
        let Waits { count, total, longest } = &self.waits;
        (count.load(Ordering::Relaxed), total.load(Ordering::Relaxed), longest.load(Ordering::Relaxed))
    }

    pub(crate) fn set_care(&self, on: u32, off: u32) {
        self.care.fetch_and(!off, Ordering::Relaxed);
        self.care.fetch_or(on, Ordering::Relaxed);
    }
}

/// The sole right to a slot with a connection in it.
///
/// Made only by who cleared the slot's idle bit or filled a [`Vacancy`]; never cloned. Must not outlive the pool's
/// slots, which is why leases borrow or share the pool.
#[derive(Debug)]
pub(crate) struct Claim<C>(NonNull<Slot<C>>);

// SAFETY: a claim is the exclusive right to a `C` (and shared access to a slot that is Sync for `C: Send`).
unsafe impl<C: Send> Send for Claim<C> {}
// SAFETY: `&Claim` gives out `&C` and nothing more of it.
unsafe impl<C: Send + Sync> Sync for Claim<C> {}

impl<C> Claim<C> {
    /// Takes the right to a slot whose idle bit the caller has just cleared.
    ///
    /// # Safety
    ///
    /// The caller has cleared the slot's idle bit and makes no second claim from that; the claim is given up before
    /// the slot is freed.
    #[inline(always)]
    pub(crate) unsafe fn new(slot: &Slot<C>) -> Self {
        Self(NonNull::from(slot))
    }

    #[inline(always)]
    pub(crate) fn slot(&self) -> &Slot<C> {
        // SAFETY: claims do not outlive their slots (contract of `new`).
        unsafe { self.0.as_ref() }
    }

    #[inline(always)]
    pub(crate) fn connection(&self) -> &C {
        let connection = self.slot().connection.with(|connection| {
            // SAFETY: this claim is the only one, and `&self` keeps it from giving out a `&mut C` meanwhile.
            unsafe { &*connection }
        });
        connection.as_ref().expect("BUG: a claimed slot has no connection")
    }

    #[inline(always)]
    pub(crate) fn connection_mut(&mut self) -> &mut C {
        let connection = self.slot().connection.with_mut(|connection| {
            // SAFETY: this claim is the only one, and `&mut self` makes this the only reference it gives out.
            unsafe { &mut *connection }
        });
        connection.as_mut().expect("BUG: a claimed slot has no connection")
    }

    /// Takes the connection out; what is left is a place without one.
    pub(crate) fn empty(self) -> (Vacancy<C>, C) {
        let connection = self.slot().connection.with_mut(|connection| {
            // SAFETY: this claim is the only one and is consumed here.
            unsafe { (*connection).take() }
        });
        (Vacancy(self.0), connection.expect("BUG: a claimed slot has no connection"))
    }
}

/// The sole right to a slot without a connection.
#[derive(Debug)]
pub(crate) struct Vacancy<C>(NonNull<Slot<C>>);

// SAFETY: as for `Claim`: it moves the right to put a `C` into the slot between threads.
unsafe impl<C: Send> Send for Vacancy<C> {}
// SAFETY: `&Vacancy` gives out nothing but `&Slot`, which is Sync for `C: Send`.
unsafe impl<C: Send> Sync for Vacancy<C> {}

impl<C> Vacancy<C> {
    /// Takes the right to an empty slot that the caller has just struck from the ledger's vacant ones.
    ///
    /// # Safety
    ///
    /// The slot was vacant and no longer is; the vacancy is given up before the slot is freed.
    pub(crate) unsafe fn new(slot: &Slot<C>) -> Self {
        Self(NonNull::from(slot))
    }

    pub(crate) fn slot(&self) -> &Slot<C> {
        // SAFETY: vacancies do not outlive their slots (contract of `new`).
        unsafe { self.0.as_ref() }
    }

    /// Puts a connection into the slot.
    pub(crate) fn fill(self, connection: C) -> Claim<C> {
        self.slot().connection.with_mut(|place| {
            // SAFETY: this vacancy is the only right to the slot and is consumed here.
            unsafe { *place = Some(connection) }
        });
        Claim(self.0)
    }
}
