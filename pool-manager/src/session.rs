//! What one connection is being used for right now, and what its statements may therefore do.
//!
//! Owns the rules: when a statement has to take the write permit, when the permit goes back, when a statement is refused, and
//! who may interrupt. It is asked by the trace hook (`trace`) at the start and end of every statement, whoever prepared it and
//! however it is run, and by the busy handler. It must not know how a connection is pooled.
//!
//! Invariant: outside a use (`begin` to `end`) a session holds no permit and can't be interrupted; an interrupt asked for with
//! the ticket of one use never reaches the next.

mod consumer;
mod permit;
mod reading;
mod waits;

pub use self::reading::LongReader;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::Thread;
use std::time::Instant;

use parking_lot::Mutex;
use pool_stmt::StatementRegistry;
use rusqlite::InterruptHandle;

use crate::anchorage::Anchorage;
use crate::driver::Database;
use crate::error::Error;
use crate::fork::Process;
use crate::in_force::InForce;
use crate::lane::{Lane, NoTurn, Permit};
use crate::log::Log;
use crate::nesting;
use crate::publisher::Publisher;
use crate::reads::Texts;
use crate::snapshot::Snapshot;

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
    /// The thread that would have to wait for the permit is the one that has it.
    Nested,
    /// The transaction it belongs to is over.
    TransactionEnded,
    /// It would end a transaction that others share.
    EndsShared,
    /// It writes, but the file was made read-only.
    Frozen,
    /// Its caller went away.
    Cancelled,
    /// The pool is closing and its deadline has passed.
    Closing,
}

/// The transaction that `transaction` has begun on the connection, as far as the rules are about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// There is none.
    Outside,
    /// It is open, and only its owner may end it.
    Open,
    /// Its owner is committing it.
    Committing,
    /// Somebody else ended it: a statement of the user, or SQLite itself after an error.
    Ended,
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
    permit: Option<Permit>,
    refusal: Option<Refusal>,
    interrupt: Option<InterruptHandle>,
    /// The thread that waits for a permit, to be woken when it need not wait any more.
    waiting: Option<Thread>,
    /// Since when the connection waits for a lock of another process.
    busy_since: Option<Instant>,
    /// Which call site uses it, and what it reads, as far as that was told.
    site: &'static str,
    sql: String,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { ticket, refusal, permit, .. } = self;
        write!(f, "State {{ ticket: {ticket}, refusal: {refusal:?}, permit: {} }}", permit.is_some())
    }
}

/// What a session goes by, the same for all connections of a database but for `serial`.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) lane: Arc<Lane>,
    pub(crate) anchorage: Arc<Anchorage>,
    pub(crate) name: Arc<str>,
    pub(crate) in_force: Arc<InForce>,
    pub(crate) statements: Arc<StatementRegistry>,
    /// The database, which the connection may outlive.
    pub(crate) database: Weak<Database>,
    pub(crate) log: Arc<Log>,
    pub(crate) page_size: u64,
    /// In rollback-journal mode and in memory a reader keeps writers out, and the other way round: there every statement takes
    /// its turn. In WAL mode only those do that write.
    pub(crate) serial: bool,
}

/// The use of one connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) rules: Rules,
    /// Where it was made.
    process: Process,
    pub(crate) publisher: Publisher,
    pub(crate) texts: Texts,
    usage: AtomicU8,
    /// `ALLOWED`, or what `state.refusal` is about, readable without its lock.
    refused: AtomicU8,
    /// A [`Phase`].
    phase: AtomicU8,
    /// Whether the transaction is shared with others.
    shared: AtomicBool,
    /// Whether to look out for a statement that rolls the whole transaction back when it fails, and whether one was seen.
    watched: AtomicBool,
    rolls_back: AtomicBool,
    /// Whether the use runs on a thread that others wait for, and whether it must not wait for a lock now.
    on_worker: AtomicBool,
    impatient: AtomicBool,
    /// Whether a commit of this use wrote a part of the log back.
    wrote_back: AtomicBool,
    /// Whether anything was committed since the permit was taken.
    committed: AtomicBool,
    /// Whether a statement that was refused runs all the same, and must not stay.
    doomed: AtomicBool,
    /// Whether the last statement that wanted to write sets the journal mode.
    changes_journal: AtomicBool,
    /// For how long the busy handler waited in vain, in nanoseconds.
    busy_waited: AtomicU64,
    reading: reading::Reading,
    /// What the connection keeps between two uses that read.
    snapshot: OnceLock<Arc<Snapshot>>,
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
    /// A transaction is open, or another statement that needs the lane.
    No,
    /// Its locks are gone.
    Yes,
    /// It lets go of its locks as soon as the report returns.
    Soon,
}

impl Session {
    pub(crate) fn new(rules: Rules, publisher: Publisher) -> Self {
        Self {
            rules,
            process: Process::this(),
            publisher,
            texts: Texts::default(),
            usage: AtomicU8::new(Use::None as u8),
            refused: AtomicU8::new(ALLOWED),
            phase: AtomicU8::new(Phase::Outside as u8),
            shared: AtomicBool::new(false),
            watched: AtomicBool::new(false),
            rolls_back: AtomicBool::new(false),
            on_worker: AtomicBool::new(false),
            impatient: AtomicBool::new(false),
            wrote_back: AtomicBool::new(false),
            committed: AtomicBool::new(false),
            doomed: AtomicBool::new(false),
            changes_journal: AtomicBool::new(false),
            busy_waited: AtomicU64::new(0),
            reading: reading::Reading::default(),
            snapshot: OnceLock::new(),
            state: Mutex::new(State {
                ticket: 0,
                permit: None,
                refusal: None,
                interrupt: None,
                waiting: None,
                busy_since: None,
                site: "",
                sql: String::new(),
            }),
        }
    }

    pub(crate) fn set_interrupt(&self, handle: InterruptHandle) {
        self.state.lock().interrupt = Some(handle);
    }

    pub(crate) fn set_snapshot(&self, snapshot: Arc<Snapshot>) {
        let _ = self.snapshot.set(snapshot);
    }

    /// What the connection keeps between two uses that read; `None` where it can keep nothing.
    #[inline]
    pub(crate) fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        self.snapshot.get()
    }

    /// Starts a use, by a call site. One that writes then calls [`enter_lane`](Self::enter_lane).
    pub(crate) fn begin(&self, usage: Use, site: &'static str) -> Ticket {
        let mut state = self.state.lock();
        self.begin_reading(&mut state, usage, site);
        self.switch(&mut state, usage)
    }

    /// Starts the next part of a use: another closure writes in the same transaction, under the same permit. What stopped the whole use
    /// still does.
    pub(crate) fn next_part(&self) -> Ticket {
        let mut state = self.state.lock();
        state.ticket += 1;
        if self.refused.load(Ordering::Relaxed) != USE_REFUSED {
            state.refusal = None;
            self.refused.store(ALLOWED, Ordering::Relaxed);
        }
        self.busy_waited.store(0, Ordering::Relaxed);
        nesting::forget_refusal();
        Ticket(state.ticket)
    }

    /// Says whether the use shares its transaction with others, which what runs now must not end.
    pub(crate) fn set_shared(&self, shared: bool) {
        self.shared.store(shared, Ordering::Relaxed);
    }

    /// Looks out for a statement that rolls the whole transaction back when it fails, from now on.
    pub(crate) fn watch(&self) {
        self.watched.store(true, Ordering::Relaxed);
    }

    /// Tells whether one was seen, and looks out no more.
    pub(crate) fn saw_roll_back(&self) -> bool {
        self.watched.store(false, Ordering::Relaxed);
        self.rolls_back.load(Ordering::Relaxed)
    }

    /// Ends a use, but for its permit: from here on nobody can interrupt it, and what cleans up after it may still write. Tells whether
    /// a statement was refused, or the whole use stopped.
    pub(crate) fn end(&self) -> bool {
        self.publisher.settle();
        self.texts.unwant();
        let mut state = self.state.lock();
        let refused = self.refused.load(Ordering::Relaxed) != ALLOWED;
        self.begin_reading(&mut state, Use::None, "");
        self.switch(&mut state, Use::None);
        refused
    }

    fn switch(&self, state: &mut State, usage: Use) -> Ticket {
        state.ticket += 1;
        state.refusal = None;
        self.refused.store(ALLOWED, Ordering::Relaxed);
        self.phase.store(Phase::Outside as u8, Ordering::Relaxed);
        self.shared.store(false, Ordering::Relaxed);
        self.watched.store(false, Ordering::Relaxed);
        self.rolls_back.store(false, Ordering::Relaxed);
        self.on_worker.store(false, Ordering::Relaxed);
        self.wrote_back.store(false, Ordering::Relaxed);
        self.doomed.store(false, Ordering::Relaxed);
        self.changes_journal.store(false, Ordering::Relaxed);
        self.busy_waited.store(0, Ordering::Relaxed);
        self.usage.store(usage as u8, Ordering::Relaxed);
        Ticket(state.ticket)
    }

    /// Says whether to wait for locks of other processes.
    pub(crate) fn set_impatient(&self, impatient: bool) {
        self.impatient.store(impatient, Ordering::Relaxed);
    }

    /// Tells whether the use runs on a thread that others wait for.
    pub(crate) fn is_on_worker(&self) -> bool {
        self.on_worker.load(Ordering::Relaxed)
    }

    /// Notes that a commit wrote a part of the log back, which takes longer than the commit.
    pub(crate) fn has_written_back(&self) {
        self.wrote_back.store(true, Ordering::Relaxed);
    }

    /// Tells whether one did in this use.
    pub(crate) fn wrote_back(&self) -> bool {
        self.wrote_back.load(Ordering::Relaxed)
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
        if let Some(thread) = state.waiting.take() {
            thread.unpark();
        }
    }

    /// Tells whether reading, too, may have to wait for others.
    pub(crate) fn is_serial(&self) -> bool {
        self.rules.serial
    }

    /// Tells whether the use is a write in a transaction.
    pub(crate) fn writes(&self) -> bool {
        self.usage() == Use::Write
    }

    /// Tells whether the use only reads.
    pub(crate) fn only_reads(&self) -> bool {
        self.usage() == Use::Read
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
    ///
    /// `kind` says what the statement is, `outside` whether the connection is outside any transaction, `rolls_back` whether it is one
    /// that rolls the whole transaction back when it fails.
    #[inline]
    pub(crate) fn before_statement(
        &self,
        kind: impl FnOnce() -> Kind,
        outside: impl FnOnce() -> bool,
        rolls_back: impl FnOnce() -> bool,
    ) -> Verdict {
        // What SQLite committed after the last statement's end was told.
        self.publisher.settle();
        let usage = self.usage();
        if self.refused.load(Ordering::Relaxed) != ALLOWED && usage != Use::None && self.is_stopped() {
            return Verdict::Interrupt;
        }
        if self.phase() != Phase::Outside && self.has_ended(outside()) {
            return self.refuse(Refusal::TransactionEnded);
        }
        if self.watched.load(Ordering::Relaxed) && rolls_back() {
            self.watched.store(false, Ordering::Relaxed);
            self.rolls_back.store(true, Ordering::Relaxed);
        }
        match usage {
            Use::None | Use::Write => Verdict::Run,
            Use::Read => match kind() {
                Kind::Writes | Kind::Upgrades => self.refuse(Refusal::Writes),
                Kind::Reads | Kind::Begins if !self.rules.serial => Verdict::Run,
                kind => self.take_permit(kind, false),
            },
            Use::Any => match kind() {
                Kind::Reads if !self.rules.serial => Verdict::Run,
                Kind::Writes | Kind::Upgrades if self.rules.anchorage.is_frozen() => self.refuse(Refusal::Frozen),
                kind => self.take_permit(kind, true),
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

    /// Notes that a statement has finished. `settled` tells whether the connection still needs the lane then; `runs_again`, given whether
    /// anything was committed, whether SQLite is about to run the same statement once more without saying so.
    pub(crate) fn after_statement(&self, settled: impl Fn(bool) -> Settled, runs_again: impl FnOnce(bool) -> bool) {
        self.publisher.settle();
        self.may_have_read(|| settled(true) != Settled::No);
        let runs_again = runs_again(self.committed.load(Ordering::Relaxed));
        if self.refused.load(Ordering::Relaxed) == STATEMENT_REFUSED {
            let _state = self.state.lock();
            self.doomed.store(runs_again, Ordering::Relaxed);
            // Unless the whole use was stopped meanwhile.
            let _ =
                self.refused.compare_exchange(STATEMENT_REFUSED, STATEMENT_ENDED, Ordering::Relaxed, Ordering::Relaxed);
        }
        if self.usage() == Use::Write || runs_again {
            return;
        }
        let mut state = self.state.lock();
        if state.permit.is_none() {
            return;
        }
        match settled(self.rules.serial) {
            Settled::No => return,
            Settled::Soon => {
                self.publisher.ends_unreported();
                self.rules.lane.set_unsettled();
            }
            Settled::Yes => {}
        }
        let permit = state.permit.take();
        drop(state);
        drop(permit);
    }

    // The transaction that `transaction` has begun.

    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            1 => Phase::Open,
            2 => Phase::Committing,
            3 => Phase::Ended,
            _ => Phase::Outside,
        }
    }

    /// Notes that a transaction was begun, is about to be committed, or is no more.
    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Tells whether the transaction ended without its owner; `outside` tells whether the connection is outside any.
    pub(crate) fn has_ended(&self, outside: bool) -> bool {
        if self.phase() == Phase::Open && outside {
            self.set_phase(Phase::Ended);
        }
        self.phase() == Phase::Ended
    }

    /// Judges a commit that is under way; false turns it into a roll-back.
    pub(crate) fn may_commit(&self) -> bool {
        if self.phase() == Phase::Open {
            self.refuse(Refusal::TransactionEnded);
            return false;
        }
        if self.usage() == Use::Read {
            self.refuse(Refusal::Writes);
            return false;
        }
        if self.doomed.load(Ordering::Relaxed) && self.usage() != Use::None {
            return false;
        }
        self.committed.store(true, Ordering::Relaxed);
        true
    }

    /// Notes that SQLite rolled a transaction back.
    pub(crate) fn rolled_back(&self) {
        self.publisher.rolled_back();
        if self.phase() == Phase::Open {
            self.set_phase(Phase::Ended);
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.rules.name
    }

    /// Tells whether the connection is another process'; see `fork`.
    #[inline]
    pub(crate) fn is_inherited(&self) -> bool {
        self.process.is_gone()
    }

    /// What is said of it then.
    pub(crate) fn forked(&self) -> Error {
        Error::Forked { database: self.name().to_owned() }
    }
}
