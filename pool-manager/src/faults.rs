//! Pauses and deliberate mistakes at the steps of publishing, hitting and keeping snapshots, for the tests that have to find them.
//!
//! Owns the points and the mistakes, and what a test has happen at a point. Without the feature `faults` there is nothing here but
//! constants, and no code is left of the calls. Not part of the public surface: the feature is for this project's own tests.

/// A step between two accesses to what several threads share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// A hit has read the header of the wal-index.
    HeaderRead,
    /// A hit has found the header published.
    HeaderCompared,
    /// A reader has its number, and its read transaction is still to begin.
    Numbered,
    /// A commit is about to happen.
    Committing,
    /// A commit has happened and is not published yet.
    Committed,
    /// The numbers of tables are published, the header is not.
    TablesPublished,
    /// A commit is published.
    Published,
    /// It is known that somebody has to look at rows, and who does has no transaction yet.
    Undecided,
    /// Who looks at rows has its transaction, and does not know yet at which.
    Looking,
    /// Rows were looked at, and what was found is not entered yet.
    Looked,
    /// A use that begins to write has looked whether its snapshot is the newest, and has no lock yet.
    LookedToWrite,
    /// A commit has happened and let go of the lock to write, and its connection has not looked whether it is still the newest.
    Unlocked,
}

/// A mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Mutation {
    /// None.
    None,
    /// Publishes before the commit.
    PublishesEarly,
    /// Leaves out what triggers and foreign keys write.
    ForgetsCascades,
    /// Serves hits whatever the header says.
    SkipsHeader,
    /// Takes commits of others for commits that wrote no table.
    IgnoresStrangers,
    /// Takes the reader's number after its query.
    NumbersLate,
    /// Publishes the tables of transactions that are rolled back in part only, and of others none.
    ForgetsTables,
    /// Trusts what is heard of a query while it is prepared.
    TrustsHearsay,
    /// Serves hits that don't look at the header while a commit is not published yet.
    ForgetsUnderWay,
    /// Publishes tables without the rows that were written.
    ForgetsRows,
    /// Believes that SQLite reports the rows that `REPLACE` deletes.
    TakesReplaceForKnown,
    /// Believes that SQLite reports the old number of a row whose number changes.
    ForgetsOldKey,
    /// Believes that SQLite reports what a `DELETE` of all rows deletes.
    ForgetsClearing,
    /// Publishes rows without the values by which they are read.
    ForgetsKeys,
    /// Takes a row whose value changes for one that had its new value before.
    ForgetsOldValue,
    /// Looks at rows in a state that lacks what was written.
    LooksBefore,
    /// Believes what it finds at rows in a state that is not published yet.
    LooksAhead,
    /// No mistake: takes rows for read as a whole where they are read by a value.
    IgnoresKeys,
    /// No mistake: takes tables for read as a whole, to tell what rows are worth.
    IgnoresRows,
}

#[cfg(feature = "faults")]
mod on {
    use super::{Mutation, Point};
    use std::cell::{Cell, RefCell};
    use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
    use std::time::Duration;

    static MUTATION: AtomicU8 = AtomicU8::new(Mutation::None as u8);
    /// Of how many times one pauses is taken; zero for never.
    static ONE_IN: AtomicU32 = AtomicU32::new(0);

    thread_local! {
        static SEED: Cell<u64> = const { Cell::new(0) };
        static NEXT: RefCell<Option<Next>> = const { RefCell::new(None) };
    }

    type Next = (Point, Box<dyn FnOnce()>);

    /// Has something happen when this thread passes a point for the next time, in place of what was to happen.
    pub fn at_next(point: Point, run: impl FnOnce() + 'static) {
        NEXT.set(Some((point, Box::new(run))));
    }

    /// Makes one mistake from now on, in the whole process.
    pub fn mutate(mutation: Mutation) {
        MUTATION.store(mutation as u8, Ordering::Relaxed);
    }

    /// Takes a pause at one of so many points that are passed, by chance; zero for never.
    pub fn pause_one_in(times: u32) {
        ONE_IN.store(times, Ordering::Relaxed);
    }

    pub(crate) fn mutated(mutation: Mutation) -> bool {
        MUTATION.load(Ordering::Relaxed) == mutation as u8
    }

    pub(crate) fn pause(point: Point) {
        // A thread that ends has nothing more to happen.
        let next = NEXT.try_with(|next| next.borrow_mut().take_if(|(at, _)| *at == point)).ok().flatten();
        if let Some((_, run)) = next {
            run();
        }
        let one_in = ONE_IN.load(Ordering::Relaxed);
        if one_in == 0 {
            return;
        }
        let random = SEED.with(|seed| {
            let before = if seed.get() == 0 { std::ptr::from_ref(seed) as u64 } else { seed.get() };
            let next = before.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            seed.set(next);
            next >> 33
        });
        if random.is_multiple_of(u64::from(one_in)) {
            // Hits are passed far more often than commits.
            let longest = if matches!(point, Point::HeaderRead | Point::HeaderCompared) { 100 } else { 400 };
            std::thread::sleep(Duration::from_micros(random / u64::from(one_in) % longest));
        }
    }
}

#[cfg(feature = "faults")]
pub use on::{at_next, mutate, pause_one_in};
#[cfg(feature = "faults")]
pub(crate) use on::{mutated, pause};

#[cfg(not(feature = "faults"))]
#[inline]
pub(crate) const fn mutated(_: Mutation) -> bool {
    false
}

#[cfg(not(feature = "faults"))]
#[inline]
pub(crate) const fn pause(_: Point) {}
