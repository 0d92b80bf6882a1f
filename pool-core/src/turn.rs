//! Owns how long a running thread may go on before those who wait get their turn.
//!
//! Handing every connection straight to the first sleeping thread costs a context switch for every lease: some 20 µs
//! on a small virtual machine, where the work of a lease may be one. A thread that is seen to come back at once may
//! therefore take its connection again for a short while before it hands over and queues up: everybody gets turns of the same
//! length in the same order, and one context switch serves a whole turn. (parking_lot's mutex is fair in the same
//! eventual way.) Nobody is woken for a connection that its last holder is about to take again; should that thread stay
//! away for once, maintenance looks after the first waiter when its patience is over.
//!
//! Must not know pools: a thread has one turn, whatever it takes it in. Invariants: the first waiter is overtaken for
//! [`PATIENCE`] at most; a thread whose turn is over gets another one only by queueing up.

use std::cell::Cell;
use std::time::Duration;

use crate::clock::Nanos;

/// How long the first waiter lets others past, if it is a thread. Tasks let nobody past.
pub(crate) const PATIENCE: Duration = Duration::from_micros(500);

/// Leases of a thread's turn: their work should outweigh a context switch, and the turn be over before anybody's
/// patience is. Leases and not time, for a thread that the system interrupts shall not lose its turn by it.
const TURN: u32 = 48;

/// A thread that stays away for longer than this is not in a hurry.
const AT_ONCE: Nanos = 100_000;

#[derive(Clone, Copy)]
struct Turn {
    /// Whether this thread came back at once the last time and has not had its turn since.
    busy: bool,
    /// Leases of its turn so far.
    taken: u32,
    released_at: Nanos,
}

thread_local! {
    static TURN_OF_THIS_THREAD: Cell<Turn> = const { Cell::new(Turn { busy: false, taken: 0, released_at: 0 }) };
}

/// Notes a release while only threads wait; tells whether this thread may take the connection again.
pub(crate) fn goes_on(now: Nanos) -> bool {
    let note = |place: &Cell<Turn>| {
        let mut turn = place.get();
        turn.taken += 1;
        turn.busy &= turn.taken < TURN;
        turn.released_at = now;
        place.set(turn);
        turn.busy
    };
    // A lease may be dropped while the thread's locals are being destroyed: then its turn is over. The models know neither
    // time nor maintenance, on which going on depends.
    !cfg!(loom) && TURN_OF_THIS_THREAD.try_with(note).unwrap_or(false)
}

/// Notes that what a release had to do, such as waking somebody, is done: from here on counts how long the thread stays away.
pub(crate) fn done(now: Nanos) {
    let _ = TURN_OF_THIS_THREAD.try_with(|place| place.set(Turn { released_at: now, ..place.get() }));
}

/// Notes that this thread has to queue up for a connection.
pub(crate) fn queues_up(now: Nanos) {
    let note = |place: &Cell<Turn>| {
        let released_at = place.get().released_at;
        place.set(Turn { busy: now.saturating_sub(released_at) < AT_ONCE, taken: 0, released_at });
    };
    let _ = TURN_OF_THIS_THREAD.try_with(note);
}

/// Whether every task that gets a connection without waiting lets others run first: in the models, to see what happens then.
pub(crate) const ALWAYS_YIELDS: bool = cfg!(loom);

#[cfg(all(feature = "tokio", not(loom)))]
pub(crate) use budget::{come_back, is_paid_for, poll_unit, spend};

/// Tokio's cooperative budget, in units of leases.
#[cfg(all(feature = "tokio", not(loom)))]
mod budget {
    use std::cell::Cell;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll};

    use tokio::task::coop::{RestoreOnPending, poll_proceed};

    /// Leases that one unit of the budget buys: a lease without waiting costs a fraction of the channel operations that
    /// the unit is made for, and a task alone on its worker pays some microseconds for each time it yields.
    const LEASES_A_UNIT: u32 = 4;

    thread_local! {
        static LEASES_LEFT: Cell<u32> = const { Cell::new(0) };
    }

    /// Counts a lease on this worker; tells whether the unit spent last covers it.
    #[inline(always)]
    pub(crate) fn is_paid_for() -> bool {
        let pay = |left: &Cell<u32>| {
            let paid = left.get() > 0;
            left.set(if paid { left.get() - 1 } else { LEASES_A_UNIT - 1 });
            paid
        };
        LEASES_LEFT.try_with(pay).unwrap_or(false)
    }

    /// Takes a unit out of the budget, to be given to [`spend`] if there is progress; pending if it is others' turn to run.
    pub(crate) fn poll_unit(context: &mut Context<'_>) -> Poll<RestoreOnPending> {
        poll_proceed(context)
    }

    /// Has the task polled again after the others of its worker. Not just by its waker: a worker whose tasks are all put off
    /// like this takes some from a busier one, while tasks that wake themselves stay where they are, one here and three there.
    pub(crate) fn come_back(context: &mut Context<'_>) {
        let _ = pin!(tokio::task::yield_now()).poll(context);
    }

    /// Says that a unit has brought progress.
    pub(crate) fn spend(unit: RestoreOnPending) {
        unit.made_progress();
    }
}

#[cfg(any(not(feature = "tokio"), loom))]
pub(crate) use no_budget::{come_back, is_paid_for, poll_unit, spend};

/// Without tokio nobody counts.
#[cfg(any(not(feature = "tokio"), loom))]
mod no_budget {
    use std::task::{Context, Poll};

    #[inline(always)]
    pub(crate) fn is_paid_for() -> bool {
        true
    }

    pub(crate) fn poll_unit(_: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    pub(crate) fn come_back(context: &mut Context<'_>) {
        context.waker().wake_by_ref();
    }

    pub(crate) fn spend((): ()) {}
}
