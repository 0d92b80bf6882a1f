//! One write whose closure was moved into the queue, and the future of whoever waits for it.
//!
//! Owns the stages of such a write and what happens when its caller goes away at each of them. It must not know in which order writes
//! run, or in which transaction.
//!
//! Invariant: the closure runs at most once, and the caller is answered at most once, after it is known whether what it wrote stays.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::error::{Error, Result};
use crate::session::{Session, Ticket};
use crate::sites::Site;
use crate::transaction::{Transaction, TransactionKind};
use crate::write_queue::{Job, Ran};

/// What a closure returned, or what it panicked with.
type Outcome<T> = std::result::Result<Result<T>, Box<dyn Any + Send>>;

/// One write.
pub(crate) struct Write<T, W> {
    stage: Mutex<Stage<T, W>>,
    own_transaction: Option<TransactionKind>,
    site: Site,
    runtime: Option<Handle>,
    since: Instant,
}

enum Stage<T, W> {
    /// Nobody has begun it. With a use, somebody waits for the lane on its behalf.
    Waiting(W, oneshot::Sender<Outcome<T>>, Option<(Arc<Session>, Ticket)>),
    /// It runs; with a session, its caller may interrupt it.
    Running(Option<(Arc<Session>, Ticket)>),
    /// Its caller went away while it ran.
    Abandoned,
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
    pub(crate) fn new(work: W, own_transaction: Option<TransactionKind>) -> (Arc<Self>, Caller<T, W>) {
        let (tell, told) = oneshot::channel();
        let write = Arc::new(Self {
            stage: Mutex::new(Stage::Waiting(work, tell, None)),
            own_transaction,
            site: Site::of::<W>(),
            runtime: Handle::try_current().ok(),
            since: Instant::now(),
        });
        (Arc::clone(&write), Caller { write, told, answered: false })
    }
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
        let outcome = catch_unwind(AssertUnwindSafe(|| work(transaction))).map(|returned| session.explain(returned));
        let mut stage = self.stage.lock();
        let kept = matches!(outcome, Ok(Ok(_))) && !matches!(*stage, Stage::Abandoned);
        *stage = Stage::Ran(outcome, tell);
        if kept { Ran::Keep } else { Ran::Undo }
    }

    fn answer(&self, failed: Option<Error>) {
        let stage = std::mem::replace(&mut *self.stage.lock(), Stage::Over);
        let Stage::Ran(outcome, tell) = stage else { return };
        // A caller that has gone away wants no answer.
        let _ = tell.send(match (outcome, failed) {
            (Ok(Ok(_)), Some(error)) => Ok(Err(error)),
            (outcome, _) => outcome,
        });
    }

    fn refuse(&self, error: Error) {
        let mut stage = self.stage.lock();
        let taken = std::mem::replace(&mut *stage, Stage::Over);
        drop(stage);
        if let Stage::Waiting(work, tell, _) = taken {
            let _ = tell.send(Ok(Err(error)));
            drop(work);
        }
    }

    fn waited(&self) -> Duration {
        self.since.elapsed()
    }

    fn runtime(&self) -> Option<&Handle> {
        self.runtime.as_ref()
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
        if let Stage::Waiting(_, _, Some((session, ticket))) = taken {
            session.cancel(ticket);
        }
        true
    }

    /// Waits for the answer. A panic of the closure goes on here.
    pub(crate) async fn answer(&mut self) -> Result<T> {
        let told = (&mut self.told).await;
        self.answered = true;
        match told {
            Ok(Ok(returned)) => returned,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(_) => panic!("BUG: a write was forgotten"),
        }
    }
}

impl<T: Send + 'static, W> Drop for Caller<T, W> {
    /// One that waits does not run; one that runs is interrupted where that harms nobody else, and undone in any case.
    fn drop(&mut self) {
        if self.answered || self.give_up() {
            return;
        }
        let mut stage = self.write.stage.lock();
        if let Stage::Running(session) = &mut *stage {
            let session = session.take();
            *stage = Stage::Abandoned;
            drop(stage);
            if let Some((session, ticket)) = session {
                session.cancel(ticket);
            }
        }
    }
}
