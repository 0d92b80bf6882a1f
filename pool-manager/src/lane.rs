//! The write lane of one database: who may write next, and outside WAL mode, who may read beside whom.
//!
//! SQLite lets one connection write at a time and answers everybody else with `SQLITE_BUSY`. Inside this process nobody
//! should see that, so writers queue here, first come first served. All queues are pools of `()` from pool-core (the same queue
//! for async tasks and threads, the same time-outs):
//!
//! * the *writer's turn* is held while statements write. Whoever holds a connection may wait for it. One for each file, whichever
//!   pools, direct connections and connections held by hand are on it.
//! * the *readers' turns* matter outside WAL mode only, where SQLite's readers and writers exclude each other: who reads has one of
//!   them, who writes has all.
//!
//! Those who know beforehand that they will write wait in their pool's `write_queue` first, without a connection: 64 waiting writers
//! must not take the connections of those who read. Order of waiting is always write queue, connection, writer's turn, readers' turns. Who holds a reader's turn alone waits for nothing, so
//! there is no cycle. The lane knows neither connections nor statements.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use pool_core::{AcquireError, OwnedLease, Pool};

use crate::parking;

/// A turn in one of the queues; given back when dropped.
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

/// A place in a queue; it is left when this is dropped.
pub(crate) type Place = Pin<Box<dyn Future<Output = Result<Turn, NoTurn>> + Send>>;

/// Why no turn came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoTurn {
    TimedOut(Duration),
    /// The queue was closed.
    Closed,
    /// The one who waited was told to give up.
    Stopped,
}

/// A queue for turns, first come first served.
#[derive(Debug)]
pub(crate) struct TurnQueue(Pool<Turns>);

impl TurnQueue {
    /// Makes a queue in which so many have a turn at the same time.
    pub(crate) fn new(turns: usize) -> Self {
        Self::by_clock(turns, pool_core::Clock::system())
    }

    /// The same with another time to go by.
    pub(crate) fn by_clock(turns: usize, clock: pool_core::Clock) -> Self {
        let pool = Pool::builder(Turns)
            .clock(clock)
            .max_connections(turns)
            .min_connections(0)
            .idle_timeout(None)
            .max_connection_age(None)
            .health_checks(false)
            .build();
        Self(pool.unwrap_or_else(|error| panic!("BUG: the options of a lane are constants: {error}")))
    }

    /// Takes a turn if nobody has it or waits for it.
    fn try_turn(&self) -> Option<Turn> {
        self.0.try_acquire_owned()
    }

    pub(crate) async fn turn(&self, limit: Duration) -> Result<Turn, NoTurn> {
        self.0.acquire_owned_timeout(limit).await.map_err(no_turn)
    }

    pub(crate) fn turn_blocking(&self, limit: Duration) -> Result<Turn, NoTurn> {
        self.0.acquire_owned_blocking_timeout(limit).map_err(no_turn)
    }

    /// Takes a place in the queue now, and waits for the turn wherever what is returned is polled.
    fn place(&self, limit: Duration) -> Place {
        let queue = self.0.clone();
        let mut turn: Place = Box::pin(async move { queue.acquire_owned_timeout(limit).await.map_err(no_turn) });
        match turn.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(turn) => Box::pin(std::future::ready(turn)),
            Poll::Pending => turn,
        }
    }

    /// Waits on the calling thread, but gives up when `stopped` says so; who makes it say so unparks the thread.
    pub(crate) fn turn_unless(&self, limit: Duration, stopped: impl Fn() -> bool) -> Result<Turn, NoTurn> {
        // In a task tokio would let it have nothing any more once the task has had its share, and a thread can't come again later.
        let mut turn = pin!(tokio::task::unconstrained(self.0.acquire_owned_timeout(limit)));
        let waker = parking::waker();
        let mut context = Context::from_waker(&waker);
        // A task's first poll may be put off to let others run, with the turn in hand, and is woken when its task lets go of the thread.
        let mut is_first = true;
        loop {
            if let Poll::Ready(turn) = turn.as_mut().poll(&mut context) {
                return turn.map_err(no_turn);
            }
            if stopped() {
                return Err(NoTurn::Stopped);
            }
            if !std::mem::take(&mut is_first) {
                std::thread::park();
            }
        }
    }

    /// Who waits for a turn, and how long those waited who got one.
    pub(crate) fn stats(&self) -> pool_core::Stats {
        self.0.stats()
    }
}

/// What a connection holds of the lane; given back when dropped.
#[derive(Debug)]
pub(crate) enum Permit {
    /// It reads, outside WAL mode.
    Shared(#[expect(dead_code, reason = "held")] Turn),
    /// It writes. The readers' turns go back before the writer's.
    Exclusive {
        #[expect(dead_code, reason = "held")]
        readers: Vec<Turn>,
        #[expect(dead_code, reason = "held")]
        writer: Turn,
    },
}

/// The lane of one database file, shared by all connections of this process that are on it.
#[derive(Debug)]
pub(crate) struct Lane {
    writer: TurnQueue,
    readers: TurnQueue,
    /// Whether a permit was given back by a statement that was about to let go of its lock, but had not yet.
    unsettled: AtomicBool,
}

/// How many may read at the same time outside WAL mode. A writer takes so many turns, so it is not larger than pays.
const READERS: usize = 8;

impl Lane {
    pub(crate) fn new() -> Self {
        Self { writer: TurnQueue::new(1), readers: TurnQueue::new(READERS), unsettled: AtomicBool::new(false) }
    }

    /// Waits until the caller alone writes; with `serial`, until nobody else reads, either.
    pub(crate) fn exclusive(
        &self,
        serial: bool,
        limit: Duration,
        stopped: impl Fn() -> bool,
    ) -> Result<Permit, NoTurn> {
        let since = Instant::now();
        let writer = self.writer.turn_unless(limit, &stopped)?;
        let mut readers = Vec::new();
        for _ in 0..if serial { READERS } else { 0 } {
            let left = limit.saturating_sub(since.elapsed());
            readers.push(self.readers.turn_unless(left, &stopped).map_err(|reason| match reason {
                NoTurn::TimedOut(_) => NoTurn::TimedOut(since.elapsed()),
                reason => reason,
            })?);
        }
        Ok(Permit::Exclusive { readers, writer })
    }

    /// Lets the caller alone write if nobody does or waits for it. For those who write in WAL mode.
    pub(crate) fn try_exclusive(&self) -> Option<Permit> {
        self.writer.try_turn().map(|writer| Permit::Exclusive { readers: Vec::new(), writer })
    }

    /// Waits until nobody writes. For those who read outside WAL mode.
    pub(crate) fn shared(&self, limit: Duration, stopped: impl Fn() -> bool) -> Result<Permit, NoTurn> {
        self.readers.turn_unless(limit, stopped).map(Permit::Shared)
    }

    /// Waits for the writer's turn outside of any use of a connection.
    pub(crate) fn writer_blocking(&self, limit: Duration) -> Result<Turn, NoTurn> {
        self.writer.turn_blocking(limit)
    }

    /// Takes a place in the queue for the writer's turn, before all who come later, and leaves the waiting to another thread.
    pub(crate) fn place_of_writer(&self, limit: Duration) -> Place {
        self.writer.place(limit)
    }

    /// How many connections wait for the writer's turn.
    pub(crate) fn waiting(&self) -> usize {
        self.writer.stats().waiting
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
}

fn no_turn(error: AcquireError<Infallible>) -> NoTurn {
    match error {
        AcquireError::TimedOut { waited, .. } => NoTurn::TimedOut(waited),
        _ => NoTurn::Closed,
    }
}
