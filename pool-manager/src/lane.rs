//! The write lane of one database: who may write next.
//!
//! SQLite lets one connection write at a time and answers everybody else with `SQLITE_BUSY`. Inside this process nobody
//! should see that, so writers queue here, first come first served. Two turns, both of them pools of one `()` from pool-core
//! (same queue for async tasks and threads, same time-outs):
//!
//! * the *permit* is held while statements write. Whoever holds a connection may wait for it. One for each file, also where a
//!   direct connection stands beside a pool.
//! * the *queue* is where those wait who know beforehand that they will write, before they take a connection: 64 waiting
//!   writers must not take the connections of those who read. One for each pool.
//!
//! Order of waiting is always queue, connection, permit. The holder of the permit waits for none of the three, so there is
//! no cycle. The lane knows neither connections nor statements.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use pool_core::{AcquireError, OwnedLease, Pool};

/// A turn in one of the two queues; given back when dropped.
pub(crate) type Turn = OwnedLease<Turns>;

/// Makes turns: there is nothing to open.
#[derive(Debug)]
pub(crate) struct Turns;

impl pool_core::Manager for Turns {
    type Connection = ();
    type Error = Infallible;

    async fn open(&self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Why no turn came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoTurn {
    TimedOut(Duration),
    Closed,
}

/// A queue for one turn at a time, first come first served.
#[derive(Debug)]
pub(crate) struct TurnQueue(Pool<Turns>);

impl TurnQueue {
    pub(crate) fn new() -> Self {
        Self(turns())
    }

    pub(crate) async fn turn(&self, limit: Duration) -> Result<Turn, NoTurn> {
        self.0.acquire_owned_timeout(limit).await.map_err(no_turn)
    }

    pub(crate) fn turn_blocking(&self, limit: Duration) -> Result<Turn, NoTurn> {
        self.0.acquire_owned_blocking_timeout(limit).map_err(no_turn)
    }

    /// Who waits for a turn, and how long those waited who got one.
    pub(crate) fn stats(&self) -> pool_core::Stats {
        self.0.stats()
    }

    /// Tells everybody who waits, and everybody who comes later, that no turn will come. A turn that is held stays valid.
    pub(crate) fn close(&self) {
        self.0.close_blocking(Duration::ZERO);
    }
}

/// The permit to write to one database file, shared by all pools of this process that are on it.
#[derive(Debug)]
pub(crate) struct Lane {
    permit: TurnQueue,
    pools: AtomicUsize,
    /// Whether a permit was given back by a statement that was about to let go of its lock, but had not yet.
    unsettled: AtomicBool,
}

impl Lane {
    pub(crate) fn new() -> Self {
        Self { permit: TurnQueue::new(), pools: AtomicUsize::new(0), unsettled: AtomicBool::new(false) }
    }

    pub(crate) fn permit(&self) -> &TurnQueue {
        &self.permit
    }

    /// Notes that the permit comes back a moment before the lock does.
    ///
    /// The next writer waits for the lock in SQLite's busy handler, unless it begins by reading: for one that reads first and writes
    /// then SQLite does not wait. Such a one asks [`take_unsettled`](Self::take_unsettled). The permit's hand-over orders the two.
    pub(crate) fn set_unsettled(&self) {
        self.unsettled.store(true, Ordering::Relaxed);
    }

    /// Tells whether the lock may still be held by the one before, and forgets it.
    pub(crate) fn take_unsettled(&self) -> bool {
        self.unsettled.load(Ordering::Relaxed) && self.unsettled.swap(false, Ordering::Relaxed)
    }

    /// Counts a pool that uses this lane.
    pub(crate) fn join(&self) {
        self.pools.fetch_add(1, Ordering::AcqRel);
    }

    /// Takes a pool out again. After the last one nobody may wait any more.
    pub(crate) fn leave(&self) {
        if self.pools.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.permit.close();
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.permit.0.is_closed()
    }
}

fn turns() -> Pool<Turns> {
    Pool::builder(Turns)
        .max_connections(1)
        .min_connections(0)
        .idle_timeout(None)
        .max_connection_age(None)
        .health_checks(false)
        .build()
        .unwrap_or_else(|error| panic!("BUG: the options of a lane are constants: {error}"))
}

fn no_turn(error: AcquireError<Infallible>) -> NoTurn {
    match error {
        AcquireError::TimedOut { waited, .. } => NoTurn::TimedOut(waited),
        _ => NoTurn::Closed,
    }
}
