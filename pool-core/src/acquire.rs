//! Owns one acquire from the first try to the connection: the only implementation, for tasks and threads alike.
//!
//! Must not know who gets served when: that is the ledger's. Invariant: dropped at any await point, it leaves the queue
//! and passes on whatever it had been given.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::clock::{NEVER, Nanos, nanos};
use crate::error::AcquireError;
use crate::lease::Lease;
use crate::ledger::Effects;
use crate::manager::Manager;
use crate::opening::{Task, prepare};
use crate::queue::{Grant, NodeId, State};
use crate::shared::{Custody, Shared, Verdict};
use crate::slot::Claim;
#[cfg(all(feature = "tokio", not(loom)))]
use crate::sync::Ordering;
use crate::turn;

type Acquired<M> = Result<Claim<<M as Manager>::Connection>, AcquireError<<M as Manager>::Error>>;
type Preparation<'p, M> = Pin<Box<dyn Future<Output = Acquired<M>> + Send + 'p>>;

enum Stage<'p, M: Manager> {
    Start,
    /// Has let other tasks run before its first try.
    #[cfg(all(feature = "tokio", not(loom)))]
    Yielded,
    Waiting(NodeId),
    Preparing {
        preparation: Preparation<'p, M>,
        timer: Option<NodeId>,
    },
    Done,
}

impl<M: Manager> Stage<'_, M> {
    /// Tells whether nothing has been tried yet.
    #[inline(always)]
    fn is_fresh(&self) -> bool {
        match self {
            Stage::Start => true,
            #[cfg(all(feature = "tokio", not(loom)))]
            Stage::Yielded => true,
            _ => false,
        }
    }
}

/// A call for a connection: the future that [`Pool::acquire`](crate::Pool::acquire) returns.
///
/// Does nothing until polled. Dropping it at any time loses nothing: neither its turn nor a connection on its way.
#[must_use = "futures do nothing unless polled"]
pub struct Acquire<'p, M: Manager> {
    shared: &'p Shared<M>,
    stage: Stage<'p, M>,
    caller: &'static Location<'static>,
    timeout: Option<Duration>,
    /// Whether a thread is parked behind this call.
    thread: bool,
    since: Nanos,
    deadline: Nanos,
    /// How much of the time since then is in the statistics already.
    counted: Nanos,
}

impl<'p, M: Manager> Acquire<'p, M> {
    #[inline(always)]
    pub(crate) fn new(
        shared: &'p Shared<M>,
        caller: &'static Location<'static>,
        timeout: Option<Duration>,
        thread: bool,
    ) -> Self {
        Self { shared, stage: Stage::Start, caller, timeout, thread, since: 0, deadline: NEVER, counted: 0 }
    }

    /// When a thread that is parked behind this call must look at the clock.
    pub(crate) fn wake_at(&self) -> Nanos {
        self.shared.sleep_until(self.deadline)
    }

    #[cold]
    fn poll_long(&mut self, context: &mut Context<'_>) -> Poll<Acquired<M>> {
        loop {
            let task = match &mut self.stage {
                stage if stage.is_fresh() => ready!(self.enter(context)),
                Stage::Waiting(id) => {
                    let id = *id;
                    ready!(self.poll_waiting(id, context))
                }
                Stage::Preparing { .. } => return self.poll_preparing(context),
                _ => panic!("an acquire was polled after it was done"),
            };
            match task {
                Err(error) => {
                    self.stage = Stage::Done;
                    return Poll::Ready(Err(error));
                }
                Ok(Grant::Open(vacancy)) => self.prepare(Task::Open(vacancy)),
                Ok(Grant::Connection(claim)) => {
                    self.stage = Stage::Done;
                    let mut custody = Custody::new(self.shared, claim);
                    match self.shared.judge(custody.claim()) {
                        Verdict::Fit => return Poll::Ready(Ok(self.shared.hand_over(custody.keep(), self.caller))),
                        Verdict::Doubtful => self.prepare(Task::Validate(custody.keep())),
                        Verdict::Unfit(reason) => self.prepare(Task::Replace(custody.keep(), reason)),
                    }
                }
            }
        }
    }

    fn prepare(&mut self, task: Task<M::Connection>) {
        let preparation = Box::pin(prepare(self.shared, task, self.caller));
        self.stage = Stage::Preparing { preparation, timer: None };
    }

    /// Takes what is free, or joins the queue.
    #[allow(clippy::type_complexity)]
    fn enter(&mut self, context: &mut Context<'_>) -> Poll<Result<Grant<M::Connection>, AcquireError<M::Error>>> {
        let shared = self.shared;
        let now = shared.clock.now();
        let mut effects = Effects::none();
        let mut ledger = shared.ledger();
        if ledger.closed {
            return Poll::Ready(Err(AcquireError::Closed));
        }
        let timeout = self.timeout.unwrap_or(ledger.options.acquire_timeout);
        self.since = now;
        self.deadline = now.saturating_add(nanos(timeout));
        let first = ledger.queue.waiting() == 0;
        if (first || self.thread && ledger.may_overtake(now))
            && let Some(claim) = shared.slots.claim_inside(false)
        {
            return Poll::Ready(Ok(Grant::Connection(claim)));
        }
        if first && let Some(vacancy) = ledger.take_vacancy(&shared.slots) {
            return Poll::Ready(Ok(Grant::Open(vacancy)));
        }
        if self.deadline <= now {
            drop(ledger);
            return Poll::Ready(Err(self.timed_out(now)));
        }
        if let Some(limit) = ledger.options.max_waiters
            && ledger.queue.waiting() >= limit
        {
            ledger.counts.refused += 1;
            return Poll::Ready(Err(AcquireError::TooManyWaiters { limit }));
        }
        let patient = self.thread && !shared.clock.is_manual();
        if patient {
            turn::queues_up(now);
        }
        let deadline = if patient { NEVER } else { self.deadline };
        let id = ledger.queue.join(context.waker().clone(), deadline, !patient);
        ledger.counts.most_waiting = ledger.counts.most_waiting.max(ledger.queue.waiting());
        ledger.dispatch(&shared.slots, &|| now, &mut effects);
        let served = matches!(ledger.queue.state(id), State::Granted(_));
        if served && let (State::Granted(grant), _) = ledger.queue.leave(id) {
            drop(ledger);
            shared.perform(effects);
            return Poll::Ready(Ok(grant));
        }
        self.stage = Stage::Waiting(id);
        drop(ledger);
        shared.call_maintenance_before(deadline);
        shared.perform(effects);
        Poll::Pending
    }

    /// Looks how a wait stands.
    #[allow(clippy::type_complexity)]
    fn poll_waiting(
        &mut self,
        id: NodeId,
        context: &mut Context<'_>,
    ) -> Poll<Result<Grant<M::Connection>, AcquireError<M::Error>>> {
        let shared = self.shared;
        let now = shared.clock.now();
        let mut effects = Effects::none();
        let mut ledger = shared.ledger();
        if matches!(ledger.queue.state(id), State::Waiting) && now < self.deadline {
            let old = ledger.queue.rewake(id, context.waker());
            drop(ledger);
            drop(old);
            return Poll::Pending;
        }
        let (state, waker) = ledger.queue.leave(id);
        self.stage = Stage::Done;
        let outcome = match state {
            State::Granted(grant) if ledger.closed => {
                drop(ledger);
                drop(waker);
                self.return_grant(grant);
                return Poll::Ready(Err(AcquireError::Closed));
            }
            State::Granted(grant) => Ok(grant),
            State::Closed => Err(AcquireError::Closed),
            _ => {
                ledger.dispatch(&shared.slots, &|| now, &mut effects);
                drop(ledger);
                shared.perform(effects);
                drop(waker);
                return Poll::Ready(Err(self.timed_out(now)));
            }
        };
        if outcome.is_ok() {
            let waited = now.saturating_sub(self.since);
            self.counted = waited;
            ledger.counts.waited += 1;
            ledger.counts.wait_total += waited;
            ledger.counts.wait_max = ledger.counts.wait_max.max(waited);
        }
        drop(ledger);
        shared.perform(effects);
        drop(waker);
        if outcome.is_ok() && shared.observer.is_some() {
            let waited = Duration::from_nanos(now.saturating_sub(self.since));
            shared.observe(|observer| observer.waited(waited));
        }
        Poll::Ready(outcome)
    }

    fn poll_preparing(&mut self, context: &mut Context<'_>) -> Poll<Acquired<M>> {
        let shared = self.shared;
        let Stage::Preparing { preparation, timer } = &mut self.stage else { panic!("BUG: nothing is prepared") };
        if let Poll::Ready(acquired) = shared.in_runtime(|| preparation.as_mut().poll(context)) {
            let timer = timer.take();
            self.stage = Stage::Done;
            self.forget_timer(timer);
            if acquired.is_ok() {
                let spent = shared.clock.now().saturating_sub(self.since);
                let mut ledger = shared.ledger();
                ledger.counts.wait_total += spent.saturating_sub(self.counted);
                ledger.counts.wait_max = ledger.counts.wait_max.max(spent);
            }
            return Poll::Ready(acquired);
        }
        let now = shared.clock.now();
        if now >= self.deadline {
            self.give_up();
            return Poll::Ready(Err(self.timed_out(now)));
        }
        let deadline = self.deadline;
        let mut ledger = shared.ledger();
        let old = match *timer {
            Some(timer) => ledger.queue.rewake(timer, context.waker()),
            None => {
                *timer = Some(ledger.queue.set_timer(context.waker().clone(), deadline));
                None
            }
        };
        drop(ledger);
        drop(old);
        if !self.thread {
            shared.call_maintenance_before(deadline);
        }
        Poll::Pending
    }

    fn forget_timer(&self, timer: Option<NodeId>) {
        if let Some(timer) = timer {
            let left = self.shared.ledger().queue.leave(timer);
            drop(left);
        }
    }

    /// Leaves the queue or stops the preparation and passes on what was given.
    #[cold]
    fn give_up(&mut self) {
        let shared = self.shared;
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Start | Stage::Done => {}
            #[cfg(all(feature = "tokio", not(loom)))]
            Stage::Yielded => {
                shared.crowd.fetch_sub(1, Ordering::Relaxed);
            }
            Stage::Preparing { preparation, timer } => {
                shared.in_runtime(|| drop(preparation));
                self.forget_timer(timer);
            }
            Stage::Waiting(id) => {
                let mut effects = Effects::none();
                let mut ledger = shared.ledger();
                let (state, waker) = ledger.queue.leave(id);
                if !matches!(state, State::Granted(_)) {
                    ledger.dispatch(&shared.slots, &|| shared.clock.now(), &mut effects);
                }
                drop(ledger);
                drop(waker);
                shared.perform(effects);
                if let State::Granted(grant) = state {
                    self.return_grant(grant);
                }
            }
        }
    }

    fn return_grant(&self, grant: Grant<M::Connection>) {
        match grant {
            Grant::Connection(claim) => self.shared.publish(claim),
            Grant::Open(vacancy) => self.shared.not_opened(vacancy),
        }
    }

    #[cold]
    fn timed_out(&self, now: Nanos) -> AcquireError<M::Error> {
        let shared = self.shared;
        let waited = Duration::from_nanos(now.saturating_sub(self.since));
        let leased = shared.slots.iter().filter(|slot| slot.is_leased()).count();
        let waiting = {
            let mut ledger = shared.ledger();
            ledger.counts.timed_out += 1;
            ledger.queue.waiting()
        };
        shared.observe(|observer| observer.timed_out(waited));
        AcquireError::TimedOut { waited, leased, waiting, longest_holder: shared.holders().into_iter().next() }
    }
}

/// A task's share of its worker.
#[cfg(all(feature = "tokio", not(loom)))]
impl<M: Manager> Acquire<'_, M> {
    /// Spends tokio's cooperative budget, or says that it is others' turn to run.
    ///
    /// A unit of the budget buys [`turn::LEASES_A_UNIT`] leases. While other tasks have let somebody run here and wait for
    /// their worker again, a turn is one lease, or each of 64 tasks would wait for thousands.
    #[inline(always)]
    fn proceed(&mut self, context: &mut Context<'_>) -> Poll<Option<tokio::task::coop::RestoreOnPending>> {
        if matches!(self.stage, Stage::Yielded) {
            self.shared.crowd.fetch_sub(1, Ordering::Relaxed);
            self.stage = Stage::Start;
        } else if self.shared.crowd.load(Ordering::Relaxed) != 0 {
            let _ = std::pin::pin!(tokio::task::yield_now()).poll(context);
            return Poll::Pending;
        }
        if turn::is_paid_for() { Poll::Ready(None) } else { tokio::task::coop::poll_proceed(context).map(Some) }
    }

    #[cold]
    fn yielded<R>(&mut self) -> Poll<R> {
        self.shared.crowd.fetch_add(1, Ordering::Relaxed);
        self.stage = Stage::Yielded;
        Poll::Pending
    }
}

impl<'p, M: Manager> Future for Acquire<'p, M> {
    type Output = Result<Lease<'p, M>, AcquireError<M::Error>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if this.stage.is_fresh() {
            // A task that never has to wait must still let others run: an acquire is a unit of tokio's cooperative
            // budget. A thread has no budget to spend.
            #[cfg(all(feature = "tokio", not(loom)))]
            let spent = match this.thread {
                true => None,
                false => match this.proceed(context) {
                    Poll::Ready(spent) => spent,
                    Poll::Pending => return this.yielded(),
                },
            };
            if let Some(claim) = this.shared.try_short(this.caller) {
                #[cfg(all(feature = "tokio", not(loom)))]
                if let Some(spent) = spent {
                    spent.made_progress();
                }
                this.stage = Stage::Done;
                return Poll::Ready(Ok(Lease::new(this.shared, claim)));
            }
        }
        this.poll_long(context).map_ok(|claim| Lease::new(this.shared, claim))
    }
}

impl<M: Manager> Drop for Acquire<'_, M> {
    #[inline]
    fn drop(&mut self) {
        if !matches!(self.stage, Stage::Start | Stage::Done) {
            self.give_up();
        }
    }
}

impl<M: Manager> fmt::Debug for Acquire<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match &self.stage {
            stage if stage.is_fresh() => "start",
            Stage::Waiting(_) => "waiting",
            Stage::Preparing { .. } => "preparing",
            _ => "done",
        };
        f.debug_struct("Acquire").field("stage", &stage).field("caller", &self.caller).finish_non_exhaustive()
    }
}
