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
use crate::handoff::{Grant, Place};
use crate::lease::Lease;
use crate::ledger::Effects;
use crate::manager::Manager;
use crate::opening::{Task, prepare};
use crate::queue::{State, TimerId};
use crate::shared::{Custody, Shared, Verdict};
use crate::slot::Claim;
use crate::sync::Ordering;
use crate::turn;

/// What went wrong, in a box: errors are large and rare, and what is passed on at every step of a wait should be small.
type Failure<M> = Box<AcquireError<<M as Manager>::Error>>;
type Granted<M> = Result<Grant<<M as Manager>::Connection>, Failure<M>>;
type Acquired<M> = Result<Claim<<M as Manager>::Connection>, Failure<M>>;
type Prepared<M> = Result<Claim<<M as Manager>::Connection>, AcquireError<<M as Manager>::Error>>;
type Preparation<'p, M> = Pin<Box<dyn Future<Output = Prepared<M>> + Send + 'p>>;

enum Stage<'p, M: Manager> {
    Start,
    /// Lets other tasks run. What it has got it keeps: it came before whoever asks meanwhile.
    Yielded(Option<Claim<M::Connection>>),
    Waiting(Place),
    Preparing {
        preparation: Preparation<'p, M>,
        timer: Option<TimerId>,
    },
    Done,
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

    /// Goes on, and makes a lease or an error of what comes of it.
    #[inline]
    fn poll_rest(&mut self, context: &mut Context<'_>) -> Poll<<Self as Future>::Output> {
        // Not `map`: it copies the outcome of a poll that has none, too.
        let acquired = ready!(self.poll_long(context));
        Poll::Ready(self.concluded(acquired))
    }

    #[inline]
    fn concluded(&self, acquired: Acquired<M>) -> <Self as Future>::Output {
        match acquired {
            Ok(claim) => Ok(Lease::new(self.shared, claim)),
            Err(failure) => Err(*failure),
        }
    }

    #[cold]
    fn poll_long(&mut self, context: &mut Context<'_>) -> Poll<Acquired<M>> {
        loop {
            let task = match &mut self.stage {
                Stage::Start => ready!(self.enter(context)),
                Stage::Waiting(_) => ready!(self.poll_waiting(context)),
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
    fn enter(&mut self, context: &mut Context<'_>) -> Poll<Granted<M>> {
        let shared = self.shared;
        let now = shared.clock.now();
        // Outside the lock, as everything that is the program's own code.
        let waker = context.waker().clone();
        let mut ledger = shared.ledger();
        if ledger.closed {
            return Poll::Ready(Err(Box::new(AcquireError::Closed)));
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
            return Poll::Ready(Err(Box::new(AcquireError::TooManyWaiters { limit })));
        }
        let patient = self.thread && !shared.clock.is_manual();
        if patient {
            turn::queues_up(now);
        }
        let deadline = if patient { NEVER } else { self.deadline };
        let place = ledger.queue.join(waker, deadline, !patient);
        if ledger.queue.waiting() > ledger.counts.most_waiting {
            ledger.counts.most_waiting = ledger.queue.waiting();
        }
        if !ledger.may_dispatch_to_newcomer() {
            self.stage = Stage::Waiting(place);
            drop(ledger);
            shared.call_maintenance_before(deadline);
            return Poll::Pending;
        }
        let mut effects = Effects::none();
        ledger.dispatch(&shared.slots, &|| now, &mut effects);
        drop(ledger);
        let served = shared.handoffs.take(place, &shared.slots).map_err(|place| self.stage = Stage::Waiting(place));
        if served.is_err() {
            shared.call_maintenance_before(deadline);
        }
        shared.perform(effects);
        served.map_or(Poll::Pending, |grant| Poll::Ready(Ok(grant)))
    }

    /// Looks how a wait stands: outside the lock if it has been served, or else inside.
    fn poll_waiting(&mut self, context: &mut Context<'_>) -> Poll<Granted<M>> {
        let shared = self.shared;
        let now = shared.clock.now();
        let Stage::Waiting(place) = std::mem::replace(&mut self.stage, Stage::Done) else {
            panic!("BUG: nobody waits")
        };
        let place = match shared.handoffs.take(place, &shared.slots) {
            Ok(grant) => return Poll::Ready(self.served(grant, now)),
            Err(place) => place,
        };
        let mut effects = Effects::none();
        let mut ledger = shared.ledger();
        match ledger.queue.state(&place) {
            State::Waiting if now < self.deadline => {
                let known = ledger.queue.knows(&place, context.waker());
                drop(ledger);
                self.stage = Stage::Waiting(place);
                if !known {
                    self.renew_waker(context);
                }
                return Poll::Pending;
            }
            State::Granted => {
                drop(ledger);
                let granted = shared.handoffs.take(place, &shared.slots);
                return Poll::Ready(self.served(granted.expect("BUG: a served waiter finds nothing"), now));
            }
            State::Closed => {
                let waker = ledger.queue.leave(place);
                drop(ledger);
                drop(waker);
                return Poll::Ready(Err(Box::new(AcquireError::Closed)));
            }
            _ => {}
        }
        let waker = ledger.queue.leave(place);
        ledger.dispatch(&shared.slots, &|| now, &mut effects);
        drop(ledger);
        shared.perform(effects);
        drop(waker);
        Poll::Ready(Err(self.timed_out(now)))
    }

    /// Leaves another waker than the one left before.
    #[cold]
    fn renew_waker(&self, context: &Context<'_>) {
        let Stage::Waiting(place) = &self.stage else { panic!("BUG: nobody waits") };
        // Outside the lock, as everything that is the program's own code.
        let waker = context.waker().clone();
        let mut ledger = self.shared.ledger();
        let (old, is_over) = match ledger.queue.state(place) {
            State::Waiting => (ledger.queue.rewake(place, waker), false),
            _ => (Some(waker), true),
        };
        drop(ledger);
        if is_over {
            // Whoever ended the wait meanwhile has woken the waker left before.
            context.waker().wake_by_ref();
        }
        drop(old);
    }

    /// Counts a wait that has ended well, unless the pool was closed meanwhile.
    fn served(&mut self, grant: Grant<M::Connection>, now: Nanos) -> Granted<M> {
        let shared = self.shared;
        // Acquire: pairs with the store in `begin_close`.
        if shared.closed.load(Ordering::Acquire) != 0 {
            self.return_grant(grant);
            return Err(Box::new(AcquireError::Closed));
        }
        let waited = now.saturating_sub(self.since);
        self.counted = waited;
        match &grant {
            Grant::Connection(claim) => claim.slot().count_wait(waited),
            Grant::Open(vacancy) => vacancy.slot().count_wait(waited),
        }
        if shared.observer.is_some() {
            // An observer's panic is its own, so the grant is not lost here.
            shared.observe(|observer| observer.waited(Duration::from_nanos(waited)));
        }
        Ok(grant)
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
                let prepared = spent.saturating_sub(self.counted);
                ledger.counts.prepare_total = ledger.counts.prepare_total.saturating_add(prepared);
                ledger.counts.prepare_max = ledger.counts.prepare_max.max(spent);
            }
            return Poll::Ready(acquired.map_err(Box::new));
        }
        let now = shared.clock.now();
        if now >= self.deadline {
            self.give_up();
            return Poll::Ready(Err(self.timed_out(now)));
        }
        let deadline = self.deadline;
        let waker = context.waker().clone();
        let mut ledger = shared.ledger();
        let old = match *timer {
            Some(timer) => ledger.queue.rewake_timer(timer, waker),
            None => {
                *timer = Some(ledger.queue.set_timer(waker, deadline));
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

    fn forget_timer(&self, timer: Option<TimerId>) {
        if let Some(timer) = timer {
            let left = self.shared.ledger().queue.forget_timer(timer);
            drop(left);
        }
    }

    /// Leaves the queue or stops the preparation and passes on what was given.
    #[cold]
    fn give_up(&mut self) {
        let shared = self.shared;
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Start | Stage::Done => {}
            Stage::Yielded(kept) => {
                shared.crowd.fetch_sub(1, Ordering::Relaxed);
                if let Some(claim) = kept {
                    shared.release(claim);
                }
            }
            Stage::Preparing { preparation, timer } => {
                // First, for the drop of a future is the program's own code.
                self.forget_timer(timer);
                shared.in_runtime(|| drop(preparation));
            }
            Stage::Waiting(place) => {
                let mut effects = Effects::none();
                let mut ledger = shared.ledger();
                if ledger.queue.state(&place) == State::Granted {
                    drop(ledger);
                    let granted = shared.handoffs.take(place, &shared.slots);
                    return self.return_grant(granted.expect("BUG: a served waiter finds nothing"));
                }
                let waker = ledger.queue.leave(place);
                ledger.dispatch(&shared.slots, &|| shared.clock.now(), &mut effects);
                drop(ledger);
                shared.perform(effects);
                drop(waker);
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
    fn timed_out(&self, now: Nanos) -> Failure<M> {
        let shared = self.shared;
        let waited = Duration::from_nanos(now.saturating_sub(self.since));
        let leased = shared.slots.iter().filter(|slot| slot.is_leased()).count();
        let waiting = {
            let mut ledger = shared.ledger();
            ledger.counts.timed_out += 1;
            ledger.queue.waiting()
        };
        shared.observe(|observer| observer.timed_out(waited));
        let longest_holder = shared.holders().into_iter().next();
        Box::new(AcquireError::TimedOut { waited, leased, waiting, longest_holder })
    }
}

/// A task's share of its worker.
impl<'p, M: Manager> Acquire<'p, M> {
    /// The first poll of a task: it must let others run now and then, even if it never has to wait.
    ///
    /// An acquire is a fraction of a unit of tokio's cooperative budget. While other tasks have let somebody run here and
    /// wait for their worker again, a turn is one lease, or each of 64 tasks would wait for thousands.
    #[inline(always)]
    fn poll_start(&mut self, context: &mut Context<'_>) -> Poll<<Self as Future>::Output> {
        let paid = turn::is_paid_for();
        if paid
            && !self.is_crowded()
            && let Some(claim) = self.shared.try_short(self.caller)
        {
            self.stage = Stage::Done;
            return Poll::Ready(Ok(Lease::new(self.shared, claim)));
        }
        self.poll_start_long(context, paid)
    }

    /// Tells whether tasks are letting others run. Relaxed: a hint.
    #[inline(always)]
    fn is_crowded(&self) -> bool {
        turn::ALWAYS_YIELDS || self.shared.crowd.load(Ordering::Relaxed) != 0
    }

    #[inline(never)]
    fn poll_start_long(&mut self, context: &mut Context<'_>, paid: bool) -> Poll<<Self as Future>::Output> {
        let spent = match paid {
            true => None,
            false => match turn::poll_unit(context) {
                Poll::Ready(unit) => Some(unit),
                Poll::Pending => {
                    let got = self.shared.try_short(self.caller);
                    return self.lets_others_run(got);
                }
            },
        };
        let acquired = match self.shared.try_short(self.caller) {
            Some(claim) if self.is_crowded() => {
                turn::come_back(context);
                return self.lets_others_run(Some(claim));
            }
            Some(claim) => {
                self.stage = Stage::Done;
                Ok(claim)
            }
            None => ready!(self.poll_long(context)),
        };
        if let Some(unit) = spent {
            turn::spend(unit);
        }
        Poll::Ready(self.concluded(acquired))
    }

    #[cold]
    fn lets_others_run<R>(&mut self, got: Option<Claim<M::Connection>>) -> Poll<R> {
        self.shared.crowd.fetch_add(1, Ordering::Relaxed);
        self.stage = Stage::Yielded(got);
        Poll::Pending
    }

    /// Goes on after having let others run.
    #[cold]
    fn poll_yielded(&mut self, context: &mut Context<'_>) -> Poll<<Self as Future>::Output> {
        let shared = self.shared;
        let Stage::Yielded(got) = std::mem::replace(&mut self.stage, Stage::Start) else {
            panic!("BUG: others were not let run")
        };
        shared.crowd.fetch_sub(1, Ordering::Relaxed);
        match got {
            // Acquire: pairs with the store in `begin_close`.
            Some(claim) if shared.closed.load(Ordering::Acquire) != 0 => {
                self.stage = Stage::Done;
                shared.release(claim);
                Poll::Ready(Err(AcquireError::Closed))
            }
            Some(claim) => {
                self.stage = Stage::Done;
                Poll::Ready(Ok(Lease::new(shared, claim)))
            }
            None => self.poll_rest(context),
        }
    }
}

impl<'p, M: Manager> Future for Acquire<'p, M> {
    type Output = Result<Lease<'p, M>, AcquireError<M::Error>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        match this.stage {
            // A thread has no budget to spend, and has tried the short way already.
            Stage::Start if !this.thread => this.poll_start(context),
            Stage::Yielded(_) => this.poll_yielded(context),
            _ => this.poll_rest(context),
        }
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
            Stage::Start => "start",
            Stage::Yielded(_) => "yielded",
            Stage::Waiting(_) => "waiting",
            Stage::Preparing { .. } => "preparing",
            _ => "done",
        };
        f.debug_struct("Acquire").field("stage", &stage).field("caller", &self.caller).finish_non_exhaustive()
    }
}
