//! One write whose closure was moved into the queue, and the future of whoever waits for it.
//!
//! Owns the stages of such a write and what happens when its caller goes away at each of them. It must not know in which order writes
//! run, or in which transaction.
//!
//! Invariant: the closure runs at most once, and the caller is answered at most once, after it is known whether what it wrote stays.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pool_config::WorkPlacement;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::deadline::Stop;
use crate::error::{Error, Result};
use crate::priority::Priority;
use crate::receipt::{ReceiptEntry, WriteOutcome};
use crate::session::{Session, Ticket};
use crate::sites::Site;
use crate::transaction::{Transaction, TransactionKind};
use crate::write_queue::{Job, Ran, Seat};

/// What a closure returned, or what it panicked with.
pub(crate) type Outcome<T> = std::result::Result<Result<T>, Box<dyn Any + Send>>;

/// One write.
pub(crate) struct Write<T, W> {
    stage: Mutex<Stage<T, W>>,
    own_transaction: Option<TransactionKind>,
    site: Site,
    home: Home,
    since: Instant,
    choices: Choices,
    /// A [`GivenUp`], or zero. Written under the lock of `stage`, which orders it.
    given_up: AtomicU8,
}

/// What the caller of a write has chosen for it.
#[derive(Debug, Default)]
pub(crate) struct Choices {
    pub(crate) priority: Priority,
    pub(crate) placement: Option<WorkPlacement>,
    /// Told what becomes of the write; dropped untold means that nothing of it is in the database.
    pub(crate) entry: Option<ReceiptEntry>,
}

/// Whether a write was given up, because its caller went away or its time was over, and what it was doing then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum GivenUp {
    /// For a connection, the lane or its turn in the queue.
    Waiting = 1,
    Running = 2,
}

/// Where its caller waits.
pub(crate) enum Home {
    /// In a task, of a runtime if it is one of tokio's.
    Task(Option<Handle>),
    /// In a thread.
    Thread(Seat),
}

enum Stage<T, W> {
    /// Nobody has begun it. With a use, somebody waits for the lane on its behalf.
    Waiting(W, oneshot::Sender<Outcome<T>>, Option<(Arc<Session>, Ticket)>),
    /// It runs; with a session, its caller may interrupt it.
    Running(Option<(Arc<Session>, Ticket)>),
    /// Its caller went away while it ran.
    Abandoned,
    /// Its time was over before it began. The closure is dropped by its caller.
    TakenBack(
        W,
        #[expect(dead_code, reason = "held, so that nobody takes the write for forgotten")] oneshot::Sender<Outcome<T>>,
    ),
    Ran(Outcome<T>, oneshot::Sender<Outcome<T>>),
    Over,
}

/// The caller's end.
pub(crate) struct Caller<T: Send + 'static, W> {
    write: Arc<Write<T, W>>,
    told: oneshot::Receiver<Outcome<T>>,
    answered: bool,
}

impl<T, W> Write<T, W>
where
    T: Send + 'static,
    W: FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
{
    pub(crate) fn new(work: W, own_transaction: Option<TransactionKind>, home: Home) -> (Arc<Self>, Caller<T, W>) {
        Self::chosen(work, own_transaction, home, Choices::default())
    }

    pub(crate) fn chosen(
        work: W,
        own_transaction: Option<TransactionKind>,
        home: Home,
        choices: Choices,
    ) -> (Arc<Self>, Caller<T, W>) {
        let (tell, told) = oneshot::channel();
        let write = Arc::new(Self {
            stage: Mutex::new(Stage::Waiting(work, tell, None)),
            own_transaction,
            site: Site::of::<W>(),
            home,
            since: Instant::now(),
            choices,
            given_up: AtomicU8::new(0),
        });
        (Arc::clone(&write), Caller { write, told, answered: false })
    }
}

impl<T, W> Write<T, W> {
    fn given_up(&self) -> Option<GivenUp> {
        match self.given_up.load(Ordering::Relaxed) {
            1 => Some(GivenUp::Waiting),
            2 => Some(GivenUp::Running),
            _ => None,
        }
    }

    fn is_given_up(&self) -> bool {
        self.given_up().is_some()
    }

    /// One that waits does not run; one that runs is interrupted where that harms nobody else, and undone in any case; what has run goes
    /// on to its commit.
    fn abandon(&self) {
        let mut stage = self.stage.lock();
        let (next, given_up, session) = match std::mem::replace(&mut *stage, Stage::Over) {
            Stage::Waiting(work, tell, session) => (Stage::TakenBack(work, tell), GivenUp::Waiting, session),
            Stage::Running(session) => (Stage::Abandoned, GivenUp::Running, session),
            other => {
                *stage = other;
                return;
            }
        };
        *stage = next;
        self.given_up.store(given_up as u8, Ordering::Relaxed);
        drop(stage);
        self.settle(WriteOutcome::RolledBack);
        if let Some((session, ticket)) = session {
            session.cancel(ticket);
        }
    }

    fn settle(&self, outcome: WriteOutcome) {
        if let Some(entry) = &self.choices.entry {
            entry.settle(outcome);
        }
    }
}

impl<T: Send, W: Send> Stop for Write<T, W> {
    fn stop(&self) {
        self.abandon();
    }
}

/// Runs a closure, and lets nothing of it out but what it returned or panicked with.
pub(crate) fn outcome<T>(
    work: impl FnOnce(&Transaction<'_>) -> Result<T>,
    transaction: &Transaction<'_>,
) -> Outcome<T> {
    let returned = catch_unwind(AssertUnwindSafe(|| work(transaction)));
    returned.map(|returned| transaction.session().explain(returned))
}

/// Does something with what belongs to a caller: its waker, or a destructor of its result or closure. If that panics, it is nobody's panic who
/// is at work here.
pub(crate) fn apart(run: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
        // It may have such a destructor itself.
        std::mem::forget(panic);
        tracing::warn!(target: "pool_manager", "the waker or a destructor of one who wrote panicked");
    }
}

/// What is to be told of a closure after the transaction that it ran in was committed or failed.
pub(crate) fn after<T>(outcome: Outcome<T>, committed: Result<()>) -> Outcome<T> {
    match (outcome, committed) {
        (Ok(Ok(_)), Err(error)) => Ok(Err(error)),
        (outcome, _) => outcome,
    }
}

/// What a closure returned. Its panic goes on here.
pub(crate) fn returned<T>(outcome: Outcome<T>) -> Result<T> {
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

impl<T, W> Job for Write<T, W>
where
    T: Send + 'static,
    W: FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
{
    fn own_transaction(&self) -> Option<TransactionKind> {
        self.own_transaction
    }

    fn site(&self) -> Site {
        self.site
    }

    fn priority(&self) -> Priority {
        self.choices.priority
    }

    fn placement(&self) -> Option<WorkPlacement> {
        self.choices.placement
    }

    fn is_waiting(&self) -> bool {
        matches!(*self.stage.lock(), Stage::Waiting(..))
    }

    fn claim(&self, session: &Arc<Session>, ticket: Ticket) -> bool {
        let mut stage = self.stage.lock();
        let Stage::Waiting(_, _, claim) = &mut *stage else { return false };
        *claim = Some((Arc::clone(session), ticket));
        true
    }

    fn run(&self, transaction: &Transaction<'_>, session: &Arc<Session>, ticket: Ticket, may_interrupt: bool) -> Ran {
        let running = Stage::Running(may_interrupt.then(|| (Arc::clone(session), ticket)));
        let (work, tell) = {
            let mut stage = self.stage.lock();
            match std::mem::replace(&mut *stage, running) {
                Stage::Waiting(work, tell, _) => (work, tell),
                other => {
                    *stage = other;
                    return Ran::Not;
                }
            }
        };
        let outcome = outcome(work, transaction);
        let mut stage = self.stage.lock();
        let kept = matches!(outcome, Ok(Ok(_))) && !self.is_given_up();
        *stage = Stage::Ran(outcome, tell);
        if kept { Ran::Keep } else { Ran::Undo }
    }

    fn answer(&self, failed: Option<Error>) {
        let (outcome, tell) = {
            let mut stage = self.stage.lock();
            match std::mem::replace(&mut *stage, Stage::Over) {
                Stage::Ran(outcome, tell) => (outcome, tell),
                other => {
                    *stage = other;
                    return;
                }
            }
        };
        let is_in = matches!(outcome, Ok(Ok(_))) && failed.is_none() && !self.is_given_up();
        self.settle(if is_in { WriteOutcome::Committed } else { WriteOutcome::RolledBack });
        let outcome = catch_unwind(AssertUnwindSafe(|| after(outcome, failed.map_or(Ok(()), Err)))).unwrap_or_else(Err);
        // A caller that has gone away wants no answer.
        apart(|| drop(tell.send(outcome)));
    }

    fn refuse(&self, error: Error) {
        let (work, tell) = {
            let mut stage = self.stage.lock();
            match std::mem::replace(&mut *stage, Stage::Over) {
                Stage::Waiting(work, tell, _) => (work, tell),
                other => {
                    *stage = other;
                    return;
                }
            }
        };
        self.settle(WriteOutcome::RolledBack);
        apart(|| drop(tell.send(Ok(Err(error)))));
        apart(|| drop(work));
    }

    fn waited(&self) -> Duration {
        self.since.elapsed()
    }

    fn runtime(&self) -> Option<&Handle> {
        match &self.home {
            Home::Task(runtime) => runtime.as_ref(),
            Home::Thread(_) => None,
        }
    }

    fn seat(&self) -> Option<&Seat> {
        match &self.home {
            Home::Task(_) => None,
            Home::Thread(seat) => Some(seat),
        }
    }
}

impl<T: Send + 'static, W> Caller<T, W> {
    /// Takes the write back, if it has not begun.
    pub(crate) fn give_up(&self) -> bool {
        let mut stage = self.write.stage.lock();
        if !matches!(*stage, Stage::Waiting(..)) {
            return false;
        }
        let taken = std::mem::replace(&mut *stage, Stage::Over);
        drop(stage);
        self.write.settle(WriteOutcome::RolledBack);
        if let Stage::Waiting(_, _, Some((session, ticket))) = taken {
            session.cancel(ticket);
        }
        true
    }

    /// Gives the write up because its time is over. False: it is too late for that, what it wrote may be in the database already, and the
    /// answer tells.
    pub(crate) fn run_out(&self) -> bool {
        self.write.abandon();
        let mut stage = self.write.stage.lock();
        if matches!(*stage, Stage::TakenBack(..)) {
            let taken = std::mem::replace(&mut *stage, Stage::Over);
            drop(stage);
            drop(taken);
        } else {
            drop(stage);
        }
        self.write.is_given_up()
    }

    /// Tells whether it was given up, by whomever.
    pub(crate) fn given_up(&self) -> Option<GivenUp> {
        self.write.given_up()
    }

    /// Waits for the answer. A panic of the closure goes on here.
    pub(crate) async fn answer(&mut self) -> Result<T> {
        returned(std::future::poll_fn(|context| self.poll_answer(context)).await)
    }

    /// Waits for the answer.
    pub(crate) fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<Outcome<T>> {
        Pin::new(&mut self.told).poll(context).map(|told| {
            self.answered = true;
            told.unwrap_or_else(|_| panic!("BUG: a write was forgotten"))
        })
    }

    /// The same for a thread. In a task tokio would let it have nothing any more once the task has had its share, and a thread can't
    /// come again later.
    pub(crate) fn poll_answer_on_thread(&mut self, context: &mut Context<'_>) -> Poll<Outcome<T>> {
        let mut waiting = tokio::task::unconstrained(std::future::poll_fn(|context| self.poll_answer(context)));
        Pin::new(&mut waiting).poll(context)
    }

    /// Tells whether the write waits no longer.
    pub(crate) fn has_run(&self) -> bool {
        matches!(*self.write.stage.lock(), Stage::Over | Stage::TakenBack(..))
    }

    /// Where the caller waits, if that is a thread.
    pub(crate) fn seat(&self) -> Option<&Seat> {
        match &self.write.home {
            Home::Task(_) => None,
            Home::Thread(seat) => Some(seat),
        }
    }
}

impl<T: Send + 'static, W> Drop for Caller<T, W> {
    /// One that waits does not run; one that runs is interrupted where that harms nobody else, and undone in any case.
    fn drop(&mut self) {
        if !self.answered && !self.give_up() {
            self.run_out();
        }
    }
}
