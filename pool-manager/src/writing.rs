//! The way of a write: into the queue, into a transaction, and out with an answer after the commit.
//!
//! Owns which writes share a transaction, what undoes one of them alone, and who is told what. It must not know how they wait
//! (`write_queue`) or what becomes of a caller that goes away (`job`).
//!
//! Invariants: a write is answered only after the transaction that holds it has been committed or rolled back; of writes that share
//! one, a write that fails, panics or is given up takes nothing with it.
//!
//! Which share: those that are in the queue when one of them has run, up to a number and a time, if their call sites are known to be
//! quick. SQLite rolls the whole transaction back when a statement that writes is interrupted
//! (<https://www.sqlite.org/c3ref/interrupt.html>), so once a second write has begun none is interrupted any more: what may be slow has
//! to be first, or alone.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pool_config::WorkPlacement;
use pool_stmt::statement;
use tokio::runtime::Handle;

use crate::connection::Connection;
use crate::engine::{Engine, Lease};
use crate::error::{Error, Result};
use crate::job::Write;
use crate::lane::NoTurn;
use crate::nesting::{self, Running};
use crate::priority::Priority;
use crate::session::{Ticket, Use};
use crate::sites::{Site, Stopwatch};
use crate::transaction::{self, Transaction, TransactionKind};
use crate::write_queue::{Job, Next, Ran};

impl Engine {
    /// Runs a closure in a transaction: its own, of the given kind, or one that it shares with other writes.
    pub(crate) async fn write<T, W>(self: &Arc<Self>, own: Option<TransactionKind>, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    {
        self.open_or_closed()?;
        let since = Instant::now();
        let (job, mut caller) = Write::new(work, own);
        if self.writes.push(job).map_err(|reason| self.no_turn(reason))? {
            self.lead(Site::of::<W>(), own, self.in_force().work_placement());
        }
        let limit = self.in_force().acquire_timeout();
        let in_time = {
            let mut answer = pin!(caller.answer());
            let mut time = pin!(self.writes.time_out(limit));
            std::future::poll_fn(|context| {
                use std::task::Poll;
                if let Poll::Ready(answer) = answer.as_mut().poll(context) {
                    return Poll::Ready(Some(answer));
                }
                time.as_mut().poll(context).map(|_| None)
            })
            .await
        };
        match in_time {
            Some(answer) => answer,
            None if caller.give_up() => Err(self.no_turn(NoTurn::TimedOut(since.elapsed()))),
            // It has begun: from here on its own statements say how long they wait.
            None => caller.answer().await,
        }
    }

    /// The same on the calling thread, always in a transaction of its own: what the closure borrows can't leave the thread.
    pub(crate) fn write_blocking<T>(
        self: &Arc<Self>,
        kind: TransactionKind,
        work: impl FnOnce(&Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        if nesting::writes_here(self.lane()) {
            return Err(Error::WouldDeadlock { what: "the write lane" });
        }
        self.open_or_closed()?;
        self.writes
            .lead_blocking(self.in_force().acquire_timeout(), Priority::Normal)
            .map_err(|reason| self.no_turn(reason))?;
        // Passes the lead on when this returns, after the connection has gone back: the next writer finds it.
        let _lead = Lead::new(self);
        let lease = self.lease_blocking()?;
        self.run(&lease, Use::Write, None, |connection| committed(connection, kind, work))
    }

    /// Has the queue worked off, for a caller whose write was the first in it: here, if that write may run here.
    pub(crate) fn lead(self: &Arc<Self>, site: Site, own: Option<TransactionKind>, placement: WorkPlacement) {
        let lead = Lead::new(self);
        if !self.write_here(site, own, placement) {
            lead.begin(Handle::try_current().ok().as_ref());
        }
    }

    /// Runs a job, and those after it that may share its transaction, and tells their callers.
    fn run_batch(&self, first: &Arc<dyn Job>) {
        let lease = match self.lease_blocking() {
            Ok(lease) => lease,
            Err(error) => return first.refuse(error),
        };
        let stopwatch = Stopwatch::start();
        let done = self.run_together(&lease, first);
        if matches!(&done, Ok(batch) if batch.members.len() == 1) && !lease.session().wrote_back() {
            self.sites.ran_elsewhere(first.site().whole(), &stopwatch);
        }
        // Back before anybody is told: the next one finds the connection and the lane.
        drop(lease);
        match done {
            Ok(batch) => batch.answer(),
            Err(error) => first.refuse(error),
        }
    }

    /// Returns who had a part in the transaction, and what became of it. An error: it did not begin.
    fn run_together(&self, lease: &Lease, first: &Arc<dyn Job>) -> Result<Batch> {
        let session = lease.session();
        let ticket = lease.begin(Use::Write);
        if !first.claim(session, ticket) {
            return Ok(Batch { members: Vec::new(), committed: Ok(()) });
        }
        session.enter_lane()?;
        let _running = Running::new(self, Some(self.lane()));
        let transaction = begin(lease, first.own_transaction().unwrap_or_default())?;
        let stopwatch = Stopwatch::start();
        let measured = || self.sites.ran_elsewhere(first.site(), &stopwatch);
        Ok(self.carry_out(lease, transaction, ticket, first, self.config().write_batch_time(), measured))
    }

    /// Runs a job in a transaction that has begun, and those after it that may share it for `longest`, and commits. `measured` is
    /// called after the first has run.
    pub(crate) fn carry_out(
        &self,
        connection: &Connection,
        transaction: Transaction<'_>,
        ticket: Ticket,
        first: &Arc<dyn Job>,
        longest: Duration,
        measured: impl FnOnce(),
    ) -> Batch {
        let since = Instant::now();
        let session = connection.session();
        session.watch();
        let ran = first.run(&transaction, session, ticket, true);
        if session.saw_roll_back() {
            self.sites.keep_alone(first.site());
        } else {
            measured();
        }
        let mut members = vec![Arc::clone(first)];
        if ran != Ran::Keep {
            return Batch { members, committed: Ok(()) };
        }
        let shares = first.own_transaction().is_none();
        let may_go_on = || since.elapsed() < longest;
        let ended = shares && self.share(connection, &transaction, &mut members, may_go_on);
        let committed = if ended { Err(Error::TransactionEnded) } else { transaction.commit() };
        Batch { members, committed }
    }

    /// Runs further jobs in the transaction of the first. Returns true when the transaction did not survive that.
    fn share(
        &self,
        connection: &Connection,
        transaction: &Transaction<'_>,
        members: &mut Vec<Arc<dyn Job>>,
        may_go_on: impl Fn() -> bool,
    ) -> bool {
        let config = self.config();
        let most = config.write_batch_max();
        // From here on one closure must not notice what another one left, nor end what another one began. First what costs least:
        // often nobody waits.
        let may_share = |members: usize| {
            self.writes.is_waited_for() && members < most && may_go_on() && connection.tidy_up().is_ok()
        };
        let is_short = |job: &dyn Job| match job.placement().unwrap_or(config.work_placement()) {
            // The program says that all are.
            WorkPlacement::Inline => self.sites.is_known(job.site()),
            // Not where others wait for the thread.
            WorkPlacement::Blocking if connection.session().is_on_worker() => false,
            _ => self.sites.is_quick(job.site()),
        };
        let fits = |job: &dyn Job| job.own_transaction().is_none() && is_short(job);
        let mut checked = false;
        let mut ended = false;
        while !ended && may_share(members.len()) {
            // A transaction with one write that dangles is rolled back for that one alone.
            if connection.dangling_keys() != 0 || (!checked && self.schema_may_roll_back(connection)) {
                break;
            }
            checked = true;
            let Some(job) = self.writes.next_if(fits) else { break };
            connection.set_shared(true);
            ended = self.run_member(connection, transaction, &job, members);
            connection.set_shared(false);
        }
        ended
    }

    /// Runs one job in a savepoint. Returns true when the transaction did not survive it.
    fn run_member(
        &self,
        connection: &Connection,
        transaction: &Transaction<'_>,
        job: &Arc<dyn Job>,
        members: &mut Vec<Arc<dyn Job>>,
    ) -> bool {
        let session = connection.session();
        let ticket = session.next_part();
        if let Err(error) = transaction::run(connection, &statement!("SAVEPOINT \"a grouped write\"")) {
            job.refuse(error.into());
            return session.has_ended(connection.is_autocommit());
        }
        let since = Instant::now();
        let mut ran = job.run(transaction, session, ticket, false);
        self.sites.ran_here(job.site(), since.elapsed());
        let mut failed = None;
        if ran == Ran::Keep && connection.dangling_keys() != 0 {
            let violated = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CONSTRAINT_FOREIGNKEY);
            let text = "FOREIGN KEY constraint failed".to_owned();
            failed = Some(rusqlite::Error::SqliteFailure(violated, Some(text)).into());
            ran = Ran::Undo;
        }
        let ended = session.has_ended(connection.is_autocommit());
        let kept = ran == Ran::Keep && !ended;
        let undone = if kept || ended {
            Ok(())
        } else {
            transaction::run(connection, &statement!("ROLLBACK TO \"a grouped write\""))
        };
        let released = if ended {
            Ok(())
        } else {
            undone.and_then(|()| transaction::run(connection, &statement!("RELEASE \"a grouped write\"")))
        };
        if kept {
            members.push(Arc::clone(job));
        } else {
            // What it wrote is undone already.
            let failed = failed.or_else(|| ended.then_some(Error::TransactionEnded));
            job.answer(failed);
        }
        // When a savepoint can't be undone or released, nobody knows any more what the transaction holds.
        ended || released.is_err()
    }

    /// Tells whether a constraint or trigger of the schema can roll whole transactions back.
    fn schema_may_roll_back(&self, connection: &Connection) -> bool {
        let ask = || -> Result<bool> {
            let version: i64 =
                connection.prepare_keyed(&statement!("PRAGMA schema_version"))?.query_row([], |row| row.get(0))?;
            let mut known = self.rolls_back.lock();
            if let Some((_, may)) = known.filter(|(of, _)| *of == version) {
                return Ok(may);
            }
            let may = connection
                .prepare_keyed(&statement!("SELECT count(*) > 0 FROM sqlite_schema WHERE sql LIKE '%rollback%'"))?
                .query_row([], |row| row.get(0))?;
            *known = Some((version, may));
            Ok(may)
        };
        // What can't be found out is taken for the worse: then each write has its own transaction.
        ask().unwrap_or(true)
    }
}

fn begin(connection: &Connection, kind: TransactionKind) -> Result<Transaction<'_>> {
    if kind == TransactionKind::Deferred {
        connection.session().settle_lane();
    }
    connection.transaction_with(kind)
}

pub(crate) fn committed<T>(
    connection: &Connection,
    kind: TransactionKind,
    work: impl FnOnce(&Transaction<'_>) -> Result<T>,
) -> Result<T> {
    let transaction = begin(connection, kind)?;
    let value = work(&transaction)?;
    transaction.commit()?;
    Ok(value)
}

/// Jobs that ran in one transaction, and what became of it.
pub(crate) struct Batch {
    members: Vec<Arc<dyn Job>>,
    committed: Result<()>,
}

impl Batch {
    pub(crate) fn answer(self) {
        match (self.committed, &*self.members) {
            (Ok(()), members) => members.iter().for_each(|job| job.answer(None)),
            (Err(error), [only]) => only.answer(Some(error)),
            (Err(error), members) => {
                let error = Arc::new(error);
                members.iter().for_each(|job| job.answer(Some(Error::CommitFailed(Arc::clone(&error)))));
            }
        }
    }
}

/// The lead of an engine's write queue. Dropped without having ended it passes the lead on, so that nobody waits for ever.
pub(crate) struct Lead {
    engine: Arc<Engine>,
    /// Whether it has ended, or passed to somebody else.
    passed: bool,
    /// Whether it is on its way to a thread of a runtime.
    sent: bool,
}

impl Lead {
    pub(crate) fn new(engine: &Arc<Engine>) -> Self {
        Self { engine: Arc::clone(engine), passed: false, sent: false }
    }

    /// Works the queue off, on a blocking thread where there is a runtime.
    fn begin(mut self, runtime: Option<&Handle>) {
        match runtime {
            Some(runtime) => {
                self.sent = true;
                drop(runtime.spawn_blocking(move || self.work_off()));
            }
            None => self.work_off(),
        }
    }

    /// Works the queue off on a thread of its own.
    fn begin_on_thread(engine: &Arc<Engine>) {
        let leader = Arc::clone(engine);
        let started =
            std::thread::Builder::new().name("pool-write".to_owned()).spawn(move || Self::new(&leader).work_off());
        if let Err(source) = started {
            let source = Arc::new(Error::System { what: "starting a thread that writes", source });
            engine.writes.refuse_all(|| Error::CommitFailed(Arc::clone(&source)));
        }
    }

    fn work_off(mut self) {
        self.sent = false;
        loop {
            match self.engine.writes.next() {
                Next::Job(job) => {
                    self.engine.writes.count(job.waited());
                    self.engine.run_batch(&job);
                }
                Next::Over => {
                    self.passed = true;
                    return;
                }
            }
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if self.passed {
            return;
        }
        let Some(job) = self.engine.writes.pass_on() else { return };
        match job.runtime() {
            // The next one's runtime has threads for it; but one that shuts down drops what it is sent, and then that is here again.
            Some(runtime) if !self.sent && !std::thread::panicking() => Self::new(&self.engine).begin(Some(runtime)),
            _ => Self::begin_on_thread(&self.engine),
        }
    }
}
