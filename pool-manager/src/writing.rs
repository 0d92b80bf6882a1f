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
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pool_config::WorkPlacement;
use pool_stmt::statement;
use tokio::runtime::Handle;

use crate::connection::Connection;
use crate::deadline::Deadline;
use crate::engine::{Engine, Lease};
use crate::error::{Error, Result};
use crate::job::{self, Caller, Home, Outcome, Write, after, returned};
use crate::lane::NoTurn;
use crate::lead::Lead;
use crate::lone_write::Tried;
use crate::nesting::{self, Running};
use crate::parking;
use crate::priority::Priority;
use crate::session::Use;
use crate::sites::{Site, Stopwatch};
use crate::thread_time::Began;
use crate::transaction::{self, Transaction, TransactionKind};
use crate::write_queue::{Job, Patience, Ran, Seat, Taken};

impl Engine {
    /// Runs a closure in a transaction: its own, of the given kind, or one that it shares with other writes.
    pub(crate) async fn write<T, W>(self: &Arc<Self>, own: Option<TransactionKind>, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    {
        self.open_or_closed()?;
        self.writes_not_here()?;
        let (work, lead) = match self.write_here(own, work)? {
            Tried::Done(outcome) => return returned(outcome),
            Tried::Not { work, lead } => (work, lead),
        };
        let since = Instant::now();
        let home = Handle::try_current().ok();
        let (job, mut caller) = Write::new(work, own, Home::Task(home.clone()));
        let pushed = match lead {
            // It was there before those who wait now.
            Some(lead) => self.writes.push_first(job).map(|()| Some(lead)),
            None => self.writes.push(job).map(|leads| leads.then(|| Lead::new(self))),
        };
        if let Some(lead) = pushed.map_err(|reason| self.no_turn(reason))? {
            lead.begin(home.as_ref(), || caller.has_run());
        }
        let limit = self.in_force().acquire_timeout();
        let in_time = {
            let mut time = pin!(Lead::time_out(self, limit));
            std::future::poll_fn(|context| {
                if let Poll::Ready(answer) = caller.poll_answer(context) {
                    return Poll::Ready(Some(answer));
                }
                time.as_mut().poll(context).map(|_| None)
            })
            .await
        };
        match in_time {
            Some(outcome) => returned(outcome),
            None if caller.give_up() => {
                Lead::begin_if_sent(self);
                Err(self.no_turn(NoTurn::TimedOut(since.elapsed())))
            }
            // It has begun: from here on its own statements say how long they wait.
            None => returned(std::future::poll_fn(|context| caller.poll_answer(context)).await),
        }
    }

    /// The same on the calling thread, always in a transaction of its own: what the closure borrows can't leave the thread.
    pub(crate) fn write_alone_blocking<T>(
        self: &Arc<Self>,
        kind: TransactionKind,
        work: impl FnOnce(&Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        self.may_wait_to_write()?;
        // Passes the lead on when this returns, after the connection has gone back: the next writer finds it.
        let _lead = self.lead_in_turn(self.in_force().acquire_timeout(), Priority::Normal)?;
        let lease = self.lease_blocking()?;
        self.run(&lease, Use::Write, None, |connection| committed(connection, kind, work))
    }

    /// Waits on this thread for the lead.
    pub(crate) fn lead_in_turn(self: &Arc<Self>, limit: Duration, priority: Priority) -> Result<Lead> {
        let since = Instant::now();
        let work_off = || Lead::new(self).work_off_until(|| since.elapsed() >= limit);
        self.writes.lead_blocking(limit, priority, work_off).map_err(|reason| self.no_turn(reason))?;
        Ok(Lead::new(self))
    }

    /// The same for a closure that can leave the thread: it shares its transaction with other writes.
    pub(crate) fn write_blocking<T, W>(self: &Arc<Self>, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    {
        self.may_wait_to_write()?;
        if !self.writes.try_lead().map_err(|reason| self.no_turn(reason))? {
            return self.write_waiting(work);
        }
        self.writes.count(Duration::ZERO);
        let lead = Lead::new(self);
        let lease = self.lease_blocking()?;
        let mut outcome = None;
        let carried = {
            lease.begin(Use::Write, "");
            lease.session().enter_lane()?;
            let _running = Running::new(self, Some(self.lane()));
            let transaction = begin(&lease, TransactionKind::Immediate)?;
            let site = Site::of::<W>();
            let run = |transaction: &Transaction<'_>| Ran::of(outcome.insert(job::outcome(work, transaction)));
            let measured = self.sites.measure(site);
            let until = Instant::now() + self.config().write_batch_time();
            self.carry_out(&lease, transaction, First { site, shares: true }, until, run, measured)
        };
        // Back before anybody is told: the next one finds the connection and the lane.
        drop(lease);
        let committed = carried.tell_others();
        drop(lead);
        let Some(outcome) = outcome else { panic!("BUG: it ran") };
        returned(after(outcome, committed))
    }

    /// Waits in the queue until somebody has run the closure, or this thread gets the lead and does it.
    fn write_waiting<T, W>(self: &Arc<Self>, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    {
        let (job, caller) = Write::new(work, None, Home::Thread(Seat::new()));
        let leads = self.writes.push(job).map_err(|reason| self.no_turn(reason))?;
        match self.wait_on_thread(&mut Seated { engine: self, caller }, leads, None)? {
            Some(outcome) => returned(outcome),
            None => panic!("BUG: it has no deadline"),
        }
    }

    /// Waits on this thread for the answer to a write that stands in the queue, and works the queue off where that falls to it. `None`: its
    /// time was over, and it was given up.
    pub(crate) fn wait_on_thread<T: Send + 'static, W>(
        self: &Arc<Self>,
        seated: &mut Seated<'_, T, W>,
        leads: bool,
        deadline: Option<&Deadline>,
    ) -> Result<Option<Outcome<T>>> {
        let since = Instant::now();
        if leads {
            Lead::new(self).work_off_until(|| seated.caller.has_run());
        }
        let waker = parking::waker();
        let mut context = Context::from_waker(&waker);
        let mut limit = self.in_force().acquire_timeout();
        let mut patience = Patience::new();
        loop {
            if let Poll::Ready(outcome) = seated.caller.poll_answer_on_thread(&mut context) {
                return Ok(Some(outcome));
            }
            if deadline.is_some_and(|deadline| deadline.poll_passed(&mut context)) && seated.caller.run_out() {
                return Ok(None);
            }
            if seated.seat().take_lead() {
                Lead::new(self).work_off_until(|| seated.caller.has_run());
                continue;
            }
            let waited = since.elapsed();
            if waited >= limit {
                if seated.caller.give_up() {
                    return Err(self.no_turn(NoTurn::TimedOut(waited)));
                }
                // It has begun: from here on its own statements say how long they wait.
                limit = Duration::MAX;
            }
            if patience.park(limit - waited) && self.writes.take_sent_lead() {
                // No thread has come for it.
                Lead::new(self).work_off_until(|| seated.caller.has_run());
            }
        }
    }

    /// Tells whether this thread may wait for the lead, or holds itself what it would wait for.
    pub(crate) fn may_wait_to_write(&self) -> Result<()> {
        self.writes_not_here()?;
        self.open_or_closed()?;
        self.holds_not_all()
    }

    /// Tells whether no closure on this thread has the turn that a write would wait for.
    pub(crate) fn writes_not_here(&self) -> Result<()> {
        if nesting::writes_here(self.lane()) {
            return Err(Error::WouldDeadlock { what: "the write lane" });
        }
        Ok(())
    }

    /// Runs a job, and those after it that may share its transaction, and tells their callers.
    pub(crate) fn run_batch(&self, first: &Arc<dyn Job>, lease: Lease) {
        let whole = first.site().whole();
        // Of what is known to be quick nothing is to be found out here.
        let stopwatch = (!self.sites.is_quick(whole)).then(Stopwatch::start);
        let done = self.run_together(&lease, first);
        if let (Some(stopwatch), Ok(Some(carried)), false) = (stopwatch, &done, lease.session().wrote_back()) {
            self.sites.ran_elsewhere(whole, &stopwatch.without(carried.sharing));
        }
        // Back before anybody is told: the next one finds the connection and the lane.
        drop(lease);
        match done {
            Ok(Some(carried)) => first.answer(carried.tell_others().err()),
            Ok(None) => {}
            Err(error) => first.refuse(error),
        }
    }

    /// Returns what became of the transaction; `None`: nobody wants it any more. An error: it did not begin.
    fn run_together(&self, lease: &Lease, first: &Arc<dyn Job>) -> Result<Option<Carried>> {
        let session = lease.session();
        let ticket = lease.begin(Use::Write, "");
        if !first.claim(session, ticket) {
            return Ok(None);
        }
        session.enter_lane()?;
        let _running = Running::new(self, Some(self.lane()));
        let transaction = begin(lease, first.own_transaction().unwrap_or_default())?;
        let measured = self.sites.measure(first.site());
        let until = Instant::now() + self.config().write_batch_time();
        let run = |transaction: &Transaction<'_>| first.run(transaction, session, ticket, true);
        Ok(Some(self.carry_out(lease, transaction, First::of(&**first), until, run, measured)))
    }

    /// Runs a write in a transaction that has begun, and the jobs after it that may share it and begin before `until`, and commits.
    /// `measured` is called after the first has run.
    pub(crate) fn carry_out(
        &self,
        connection: &Connection,
        transaction: Transaction<'_>,
        first: First,
        until: Instant,
        run: impl FnOnce(&Transaction<'_>) -> Ran,
        measured: impl FnOnce(),
    ) -> Carried {
        let session = connection.session();
        session.watch();
        let ran = run(&transaction);
        if session.saw_roll_back() {
            self.sites.keep_alone(first.site);
        } else {
            measured();
        }
        let mut carried = Carried { others: Vec::new(), sharing: Duration::ZERO, committed: Ok(()) };
        if ran != Ran::Keep {
            return carried;
        }
        // First what costs least: often nobody waits.
        let ended = first.shares && self.writes.is_waited_for() && {
            let since = Instant::now();
            let ended = self.share(connection, &transaction, &mut carried.others, until);
            carried.sharing = since.elapsed();
            ended
        };
        self.writes.note_company(!carried.others.is_empty());
        carried.committed = if ended { Err(Error::TransactionEnded) } else { transaction.commit() };
        carried
    }

    /// Runs further jobs in the transaction of the first. Returns true when the transaction did not survive that.
    fn share(
        &self,
        connection: &Connection,
        transaction: &Transaction<'_>,
        others: &mut Vec<Arc<dyn Job>>,
        until: Instant,
    ) -> bool {
        let config = self.config();
        let most = config.write_batch_max();
        // From here on one closure must not notice what another one left, nor end what another one began.
        let may_share = |others: usize| {
            self.writes.is_waited_for() && others + 1 < most && Instant::now() < until && connection.tidy_up().is_ok()
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
        while !ended && may_share(others.len()) {
            // A transaction with one write that dangles is rolled back for that one alone.
            if connection.dangling_keys() != 0 || (!checked && self.schema_may_roll_back(connection)) {
                break;
            }
            checked = true;
            let Some(Taken { entry: job, .. }) = self.writes.next_if(fits) else { break };
            connection.set_shared(true);
            ended = self.run_member(connection, transaction, &job, others);
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
        others: &mut Vec<Arc<dyn Job>>,
    ) -> bool {
        let session = connection.session();
        let ticket = session.next_part();
        if let Err(error) = transaction::run(connection, &statement!("SAVEPOINT \"a grouped write\"")) {
            job.refuse(error.into());
            return session.has_ended(connection.is_autocommit());
        }
        let began = Began::now();
        let mut ran = job.run(transaction, session, ticket, false);
        self.sites.ran_here(job.site(), began);
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
            others.push(Arc::clone(job));
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

/// The write that is first in its transaction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct First {
    pub(crate) site: Site,
    /// Whether others may share the transaction.
    pub(crate) shares: bool,
}

impl First {
    pub(crate) fn of(job: &dyn Job) -> Self {
        Self { site: job.site(), shares: job.own_transaction().is_none() }
    }
}

/// What became of a transaction.
pub(crate) struct Carried {
    /// Whose writes are in it besides the first.
    others: Vec<Arc<dyn Job>>,
    /// For how long those ran.
    pub(crate) sharing: Duration,
    committed: Result<()>,
}

impl Carried {
    /// Tells the others, and returns what is to be told to the first.
    pub(crate) fn tell_others(self) -> Result<()> {
        let Self { others, committed, .. } = self;
        let error = match committed {
            Ok(()) => {
                others.iter().for_each(|job| job.answer(None));
                return Ok(());
            }
            Err(error) if others.is_empty() => return Err(error),
            Err(error) => Arc::new(error),
        };
        others.iter().for_each(|job| job.answer(Some(Error::CommitFailed(Arc::clone(&error)))));
        Err(Error::CommitFailed(error))
    }
}

/// A thread that waits for the answer to its write. Dropped it passes the lead on, if that was given to it.
pub(crate) struct Seated<'e, T: Send + 'static, W> {
    pub(crate) engine: &'e Arc<Engine>,
    pub(crate) caller: Caller<T, W>,
}

impl<T: Send + 'static, W> Seated<'_, T, W> {
    fn seat(&self) -> &Seat {
        self.caller.seat().unwrap_or_else(|| panic!("BUG: its home is a thread"))
    }
}

impl<T: Send + 'static, W> Drop for Seated<'_, T, W> {
    fn drop(&mut self) {
        if self.seat().leave() {
            drop(Lead::new(self.engine));
        }
    }
}
