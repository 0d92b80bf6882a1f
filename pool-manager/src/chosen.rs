//! The way of calls with choices of their own, beside that of plain ones in `engine` and `writing`.
//!
//! Owns what becomes of a call whose time is over at each of its stages. It must not know what may be chosen, or how a transaction is
//! shared. Invariant: a write that is told that its time is over is out, and whatever is in is told so.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::call_options::CallOptions;
use crate::connection::Connection;
use crate::deadline::{Deadline, FOR_A_CONNECTION, RUNNING, Stop, TO_WRITE};
use crate::engine::Engine;
use crate::error::Result;
use crate::job::{Caller, Choices, GivenUp, Home, Write, returned};
use crate::lane::NoTurn;
use crate::lead::Lead;
use crate::place::{Link, on_blocking_thread_linked};
use crate::priority::Priority;
use crate::receipt::{ReceiptEntry, WriteOutcome, WriteReceipt};
use crate::session::Use;
use crate::sites::{Site, Stopwatch};
use crate::thread_time::Began;
use crate::transaction::{Transaction, TransactionKind};
use crate::write_queue::Seat;
use crate::writing::{Seated, committed};

impl Engine {
    /// Runs a closure on a pooled connection.
    pub(crate) async fn call_with<T, F>(self: &Arc<Self>, usage: Use, options: &CallOptions, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let site = Site::of::<F>();
        let link = Arc::new(Link::default());
        let Some(limit) = options.limit() else { return self.call_placed(usage, site, options, link, work).await };
        let deadline = Arc::new(self.deadline(limit, FOR_A_CONNECTION, Arc::<Link>::clone(&link)));
        deadline.check()?;
        let bounded = {
            let deadline = Arc::clone(&deadline);
            move |connection: &Connection| {
                deadline.now(RUNNING);
                let value = work(connection)?;
                deadline.finish()?;
                Ok(value)
            }
        };
        match deadline.bound(self.call_placed(usage, site, options, link, bounded)).await {
            Some(done) => deadline.explain(done),
            None => Err(deadline.passed(None)),
        }
    }

    async fn call_placed<T, F>(
        self: &Arc<Self>,
        usage: Use,
        site: Site,
        options: &CallOptions,
        link: Arc<Link>,
        work: F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let placement = options.placement.unwrap_or_else(|| self.in_force().work_placement());
        let lease = self.lease_for(site, placement).await?;
        if self.may_run_here(usage, site, &lease, placement) {
            let began = Began::now();
            let done = self.run(&lease, usage, Some(&link), work);
            self.sites.ran_here(site, began);
            return done;
        }
        let engine = Arc::clone(self);
        on_blocking_thread_linked(link, move |link| {
            let stopwatch = Stopwatch::start();
            let done = engine.run(&lease, usage, Some(link), work);
            engine.sites.ran_elsewhere(site, &stopwatch);
            done
        })
        .await
    }

    pub(crate) fn call_blocking_with<T>(
        &self,
        usage: Use,
        options: &CallOptions,
        work: impl FnOnce(&Connection) -> Result<T>,
    ) -> Result<T> {
        let Some(limit) = options.limit() else { return self.call_blocking(usage, work) };
        let link = Arc::new(Link::default());
        let deadline = self.deadline(limit, FOR_A_CONNECTION, Arc::<Link>::clone(&link));
        deadline.check()?;
        let done = self.lease_blocking_within(Some(deadline.left())).and_then(|lease| {
            self.run(&lease, usage, Some(&link), |connection| {
                deadline.now(RUNNING);
                let value = work(connection)?;
                deadline.finish()?;
                Ok(value)
            })
        });
        deadline.explain(done)
    }

    /// Runs a closure in a transaction: its own, if a kind was chosen, or one that it shares with other writes. `entry` is the call's on the
    /// receipt that was chosen.
    pub(crate) async fn write_with<T, W>(
        self: &Arc<Self>,
        options: CallOptions,
        entry: Option<ReceiptEntry>,
        work: W,
    ) -> Result<T>
    where
        T: Send + 'static,
        W: FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    {
        self.open_or_closed()?;
        self.writes_not_here()?;
        let since = Instant::now();
        let (own, placement) = (options.kind, options.placement);
        let choices = Choices { priority: options.priority, placement, entry };
        let home = Handle::try_current().ok();
        let (job, mut caller) = Write::chosen(work, own, Home::Task(home.clone()), choices);
        let deadline = options.limit().map(|limit| self.deadline(limit, TO_WRITE, Arc::<Write<T, W>>::clone(&job)));
        if let Some(deadline) = &deadline
            && let Err(passed) = deadline.check()
        {
            caller.run_out();
            return Err(passed);
        }
        if self.writes.push(job).map_err(|reason| self.no_turn(reason))? {
            self.lead_queue(home.as_ref(), || caller.has_run());
        }
        let limit = self.in_force().acquire_timeout();
        let answer = {
            let mut time = pin!(Lead::time_out(self, limit));
            let mut waits = true;
            let answer = std::future::poll_fn(|context| {
                if let Poll::Ready(answer) = pin!(caller.answer()).poll(context) {
                    return Poll::Ready(answer);
                }
                if waits && time.as_mut().poll(context).is_ready() {
                    // Once it has begun, its own statements say how long they wait.
                    waits = false;
                    if caller.give_up() {
                        Lead::begin_if_sent(self);
                        return Poll::Ready(Err(self.no_turn(NoTurn::TimedOut(since.elapsed()))));
                    }
                }
                Poll::Pending
            });
            match &deadline {
                None => Some(answer.await),
                Some(deadline) => deadline.bound(answer).await,
            }
        };
        let answer = match answer {
            Some(answer) => Some(answer),
            None if caller.run_out() => None,
            // Too late for that: perhaps it is committed already.
            None => Some(caller.answer().await),
        };
        told(deadline.as_ref(), &caller, answer)
    }

    /// The same on the calling thread.
    pub(crate) fn write_blocking_with<T, W>(self: &Arc<Self>, options: CallOptions, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    {
        let limit = options.limit();
        let entry = options.receipt.as_ref().map(WriteReceipt::begin);
        self.may_wait_to_write()?;
        let choices = Choices { priority: options.priority, placement: options.placement, entry };
        let (job, caller) = Write::chosen(work, options.kind, Home::Thread(Seat::new()), choices);
        let mut seated = Seated { engine: self, caller };
        let deadline = limit.map(|limit| self.deadline(limit, TO_WRITE, Arc::<Write<T, W>>::clone(&job)));
        if let Some(deadline) = &deadline {
            deadline.check()?;
        }
        let leads = self.writes.push(job).map_err(|reason| self.no_turn(reason))?;
        let outcome = self.wait_on_thread(&mut seated, leads, deadline.as_ref())?;
        told(deadline.as_ref(), &seated.caller, outcome.map(returned))
    }

    /// The same in a transaction of its own, for a closure that stays on the calling thread.
    pub(crate) fn transaction_blocking_with<T>(
        self: &Arc<Self>,
        options: &CallOptions,
        work: impl FnOnce(&Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        let entry = options.receipt.as_ref().map(WriteReceipt::begin);
        let kind = options.kind.unwrap_or_default();
        let done = match options.limit() {
            None if options.priority == Priority::default() => self.write_alone_blocking(kind, work),
            None => self.write_in_turn(kind, options.priority, None, work),
            Some(limit) => {
                let link = Arc::new(Link::default());
                let deadline = self.deadline(limit, TO_WRITE, Arc::<Link>::clone(&link));
                let done = deadline
                    .check()
                    .and_then(|()| self.write_in_turn(kind, options.priority, Some((&deadline, &link)), work));
                deadline.explain(done)
            }
        };
        if let Some(entry) = entry
            && done.is_ok()
        {
            entry.settle(WriteOutcome::Committed);
        }
        done
    }

    fn write_in_turn<T>(
        self: &Arc<Self>,
        kind: TransactionKind,
        priority: Priority,
        deadline: Option<(&Deadline, &Link)>,
        work: impl FnOnce(&Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        self.may_wait_to_write()?;
        let left = deadline.map(|(deadline, _)| deadline.left());
        let limit = self.in_force().acquire_timeout();
        let limit = left.map_or(limit, |left| left.min(limit));
        // Passes the lead on when this returns, after the connection has gone back: the next writer finds it.
        let _lead = self.lead_in_turn(limit, priority)?;
        let lease = self.lease_blocking_within(deadline.map(|(deadline, _)| deadline.left()))?;
        self.run(&lease, Use::Write, deadline.map(|(_, link)| link), |connection| {
            committed(connection, kind, |transaction| {
                let Some((deadline, _)) = deadline else { return work(transaction) };
                deadline.now(RUNNING);
                let value = work(transaction)?;
                // From here on it is not stopped: the commit begins.
                deadline.finish()?;
                Ok(value)
            })
        })
    }

    fn deadline(&self, limit: Duration, doing: &'static str, stops: Arc<dyn Stop>) -> Deadline {
        Deadline::begin(self.timers(), limit, doing, stops)
    }
}

/// What a caller is told: what came of its write, or that its time was over before that was certain.
fn told<T: Send + 'static, W>(
    deadline: Option<&Deadline>,
    caller: &Caller<T, W>,
    answer: Option<Result<T>>,
) -> Result<T> {
    match (deadline, caller.given_up()) {
        (Some(deadline), Some(given_up)) => {
            let doing = match given_up {
                GivenUp::Waiting => TO_WRITE,
                GivenUp::Running => RUNNING,
            };
            Err(deadline.passed_while(doing, answer.and_then(Result::err)))
        }
        _ => answer.unwrap_or_else(|| panic!("BUG: nobody gave the write up")),
    }
}
