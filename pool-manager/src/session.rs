//! What one connection is being used for right now, and what its statements may therefore do.
//!
//! Owns the rules: when a statement has to take the write permit, when the permit goes back, when a statement is refused, and
//! who may interrupt. It is asked by the trace hook (`trace`) at the start and end of every statement, whoever prepared it and
//! however it is run, and by the busy handler. It must not know how a connection is pooled.
//!
//! Invariant: outside a use (`begin` to `end`) a session holds no permit and can't be interrupted; an interrupt asked for with
//! the ticket of one use never reaches the next.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rusqlite::{InterruptHandle, ffi};

use crate::anchor::Anchorage;
use crate::error::{Error, Result, primary_code};
use crate::lane::{Lane, NoTurn, Turn};

/// What a connection is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Use {
    /// Nothing: it lies in the pool or is being set up.
    None,
    /// Reading only; a statement that writes is refused.
    Read,
    /// Anything; the permit is taken when the first statement needs it.
    Any,
    /// Writing, with the permit in hand for the whole use.
    Write,
}

/// Why a statement was stopped from within.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// It writes, but this use only reads.
    Writes,
    /// No permit came.
    Lane(NoTurn),
    /// Its caller went away.
    Cancelled,
    /// The pool is closing and its deadline has passed.
    Closing,
}

/// Nothing was refused.
const ALLOWED: u8 = 0;
/// The statement that runs now was refused.
const STATEMENT_REFUSED: u8 = 1;
/// A statement was refused and has ended; the reason is kept until the next one starts.
const STATEMENT_ENDED: u8 = 2;
/// No statement may run in this use any more.
const USE_REFUSED: u8 = 3;

/// Names one use of one connection, so that an interrupt can't hit another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

struct State {
    ticket: u64,
    permit: Option<Turn>,
    refusal: Option<Refusal>,
    interrupt: Option<InterruptHandle>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("ticket", &self.ticket)
            .field("permit", &self.permit.is_some())
            .field("refusal", &self.refusal)
            .finish_non_exhaustive()
    }
}

/// The use of one connection.
#[derive(Debug)]
pub(crate) struct Session {
    lane: Arc<Lane>,
    anchorage: Arc<Anchorage>,
    name: Arc<str>,
    acquire_timeout: Duration,
    busy_timeout: Duration,
    /// In rollback-journal mode and in memory a reader keeps writers out, and the other way round: there every statement takes
    /// its turn. In WAL mode only those do that write.
    serial: bool,
    /// From which time on a statement counts as slow, where that is watched.
    slow: Option<Duration>,
    usage: AtomicU8,
    /// `ALLOWED`, or what `state.refusal` is about, readable without its lock.
    refused: AtomicU8,
    state: Mutex<State>,
}

/// What `trace` has to do about a statement that is about to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Run,
    Interrupt,
}

/// What a statement is to the lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Reads,
    Writes,
    /// It writes while a query of the same connection is open, or a transaction that has only read so far.
    Upgrades,
    /// `BEGIN` or `SAVEPOINT` outside a transaction: what follows may write, and then it would be too late to queue.
    Begins,
}

/// Whether a connection is done with the lane when a statement has finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    /// A transaction is open.
    No,
    /// Its locks are gone.
    Yes,
    /// It lets go of its locks as soon as the report returns.
    Soon,
}

impl Session {
    pub(crate) fn new(
        lane: Arc<Lane>,
        anchorage: Arc<Anchorage>,
        name: Arc<str>,
        acquire_timeout: Duration,
        busy_timeout: Duration,
        serial: bool,
        slow: Option<Duration>,
    ) -> Self {
        let state = State { ticket: 0, permit: None, refusal: None, interrupt: None };
        Self {
            lane,
            anchorage,
            name,
            acquire_timeout,
            busy_timeout,
            serial,
            slow,
            usage: AtomicU8::new(Use::None as u8),
            refused: AtomicU8::new(ALLOWED),
            state: Mutex::new(state),
        }
    }

    pub(crate) fn set_interrupt(&self, handle: InterruptHandle) {
        self.state.lock().interrupt = Some(handle);
    }

    /// Starts a use. `permit` comes with `Use::Write`.
    pub(crate) fn begin(&self, usage: Use, permit: Option<Turn>) -> Ticket {
        let mut state = self.state.lock();
        state.ticket += 1;
        state.permit = permit;
        state.refusal = None;
        self.refused.store(ALLOWED, Ordering::Relaxed);
        self.usage.store(usage as u8, Ordering::Relaxed);
        Ticket(state.ticket)
    }

    /// Ends a use, but for its permit: from here on nobody can interrupt it, and what cleans up after it may still write.
    pub(crate) fn end(&self) {
        let mut state = self.state.lock();
        state.ticket += 1;
        state.refusal = None;
        self.refused.store(ALLOWED, Ordering::Relaxed);
        self.usage.store(Use::None as u8, Ordering::Relaxed);
    }

    /// Gives the permit back, if this session holds it.
    pub(crate) fn give_permit_back(&self) {
        let permit = self.state.lock().permit.take();
        drop(permit);
    }

    /// Interrupts the use with this ticket, if it is still going on.
    pub(crate) fn cancel(&self, ticket: Ticket) {
        let mut state = self.state.lock();
        if state.ticket == ticket.0 {
            self.stop(&mut state, Refusal::Cancelled);
        }
    }

    /// Interrupts whatever use is going on.
    pub(crate) fn interrupt_for_closing(&self) {
        let mut state = self.state.lock();
        if self.usage() != Use::None {
            self.stop(&mut state, Refusal::Closing);
        }
    }

    /// The flag stops statements that start later; SQLite's interrupt stops the one that runs. Both under the lock, so that the
    /// use can't end in between.
    fn stop(&self, state: &mut State, refusal: Refusal) {
        state.refusal = Some(refusal);
        self.refused.store(USE_REFUSED, Ordering::Relaxed);
        if let Some(handle) = &state.interrupt {
            handle.interrupt();
        }
    }

    fn usage(&self) -> Use {
        match self.usage.load(Ordering::Relaxed) {
            1 => Use::Read,
            2 => Use::Any,
            3 => Use::Write,
            _ => Use::None,
        }
    }

    /// Judges a statement that is about to start, and queues for the permit where it needs one.
    #[inline]
    pub(crate) fn before_statement(&self, kind: impl FnOnce() -> Kind) -> Verdict {
        let usage = self.usage();
        if self.refused.load(Ordering::Relaxed) != ALLOWED && usage != Use::None && self.is_stopped() {
            return Verdict::Interrupt;
        }
        match usage {
            Use::None | Use::Write => Verdict::Run,
            Use::Read if !self.serial => match kind() {
                Kind::Reads | Kind::Begins => Verdict::Run,
                Kind::Writes | Kind::Upgrades => self.refuse(Refusal::Writes),
            },
            Use::Any if !self.serial => match kind() {
                Kind::Reads => Verdict::Run,
                kind => self.take_permit(kind),
            },
            Use::Read | Use::Any => match kind() {
                Kind::Writes | Kind::Upgrades if usage == Use::Read => self.refuse(Refusal::Writes),
                kind => self.take_permit(kind),
            },
        }
    }

    /// Tells whether the whole use is refused; forgets a refusal that was about an earlier statement.
    #[cold]
    fn is_stopped(&self) -> bool {
        let mut state = self.state.lock();
        if self.refused.load(Ordering::Relaxed) == USE_REFUSED {
            return true;
        }
        state.refusal = None;
        self.refused.store(ALLOWED, Ordering::Relaxed);
        false
    }

    #[cold]
    fn refuse(&self, refusal: Refusal) -> Verdict {
        let mut state = self.state.lock();
        if self.refused.load(Ordering::Relaxed) != USE_REFUSED {
            state.refusal = Some(refusal);
            self.refused.store(STATEMENT_REFUSED, Ordering::Relaxed);
        }
        Verdict::Interrupt
    }

    fn take_permit(&self, kind: Kind) -> Verdict {
        if self.state.lock().permit.is_some() {
            return Verdict::Run;
        }
        let since = Instant::now();
        match self.lane.permit().turn_blocking(self.acquire_timeout) {
            Ok(permit) => {
                let mut state = self.state.lock();
                state.permit = Some(permit);
                let stopped = self.refused.load(Ordering::Relaxed) == USE_REFUSED;
                drop(state);
                if matches!(kind, Kind::Begins | Kind::Upgrades) {
                    self.settle_lane();
                }
                let waited = since.elapsed();
                if waited > Duration::from_millis(1) {
                    tracing::debug!(target: "pool_manager", database = &*self.name, ?waited, "waited for the write lane");
                }
                if stopped { Verdict::Interrupt } else { Verdict::Run }
            }
            Err(no_turn) => self.refuse(Refusal::Lane(no_turn)),
        }
    }

    /// Waits for a lock whose permit came back before it. For those who begin a transaction by reading.
    pub(crate) fn settle_lane(&self) {
        if self.lane.take_unsettled() {
            self.anchorage.wait_for_writer(self.busy_timeout);
        }
    }

    /// Notes that a statement has finished. `settled` tells whether the connection still needs the lane then.
    pub(crate) fn after_statement(&self, settled: impl FnOnce(bool) -> Settled) {
        if self.refused.load(Ordering::Relaxed) == STATEMENT_REFUSED {
            let _state = self.state.lock();
            // Unless the whole use was stopped meanwhile.
            let _ =
                self.refused.compare_exchange(STATEMENT_REFUSED, STATEMENT_ENDED, Ordering::Relaxed, Ordering::Relaxed);
        }
        if self.usage() == Use::Write {
            return;
        }
        let mut state = self.state.lock();
        if state.permit.is_none() {
            return;
        }
        match settled(self.serial) {
            Settled::No => return,
            Settled::Soon => self.lane.set_unsettled(),
            Settled::Yes => {}
        }
        let permit = state.permit.take();
        drop(state);
        drop(permit);
    }

    /// From which time on a statement counts as slow, where that is watched.
    pub(crate) fn slow_from(&self) -> Option<Duration> {
        self.slow
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Tells the busy handler whether waiting on makes sense.
    pub(crate) fn may_wait(&self) -> bool {
        matches!(self.refused.load(Ordering::Relaxed), ALLOWED | STATEMENT_ENDED)
    }

    pub(crate) fn busy_timeout(&self) -> Duration {
        self.busy_timeout
    }

    /// Names what a failed use failed of: SQLite only knows "interrupted" and "busy".
    pub(crate) fn explain<T>(&self, outcome: Result<T>) -> Result<T> {
        outcome.map_err(|error| match error {
            Error::Sqlite(source) => self.explain_sqlite(source),
            other => other,
        })
    }

    pub(crate) fn explain_sqlite(&self, source: rusqlite::Error) -> Error {
        let stopped = matches!(primary_code(&source), Some(ffi::SQLITE_INTERRUPT | ffi::SQLITE_BUSY));
        let refusal = if stopped { self.state.lock().refusal } else { None };
        match refusal {
            None => Error::Sqlite(source).named(self.busy_timeout),
            Some(Refusal::Writes) => {
                Error::ReadOnly { place: "a read closure only reads; use write or execute_with_pool", source }
            }
            Some(Refusal::Lane(NoTurn::TimedOut(waited))) => Error::WriteLaneTimeout { waited },
            Some(Refusal::Lane(NoTurn::Closed)) => Error::Closed { database: self.name.to_string() },
            Some(Refusal::Cancelled) => Error::Interrupted { cause: "the caller went away", source },
            Some(Refusal::Closing) => {
                Error::Interrupted { cause: "the pool was closed and its deadline has passed", source }
            }
        }
    }
}
