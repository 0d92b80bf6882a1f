//! Owns what all handles and leases of one pool share, and the two ways through it: short and long.
//!
//! The short way is a handful of instructions on one atomic word and one slot and must stay free of locks, clocks and
//! reference counts; everything else is `#[cold]` and out of line. Invariant: no lock is held while a manager, hook,
//! observer or waker is called.

use std::panic::Location;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::clock::{Clock, NEVER, Nanos, nanos};
use crate::contain::contain;
pub(crate) use crate::custody::Custody;
use crate::handoff::Handoffs;
use crate::hooks::{self, Hooks};
use crate::ledger::{self, Effects, Ledger};
use crate::manager::{CloseReason, Manager};
use crate::observer::{Holder, Observer, current_name};
use crate::options::Options;
use crate::reaper::Reaper;
use crate::slot::{AGED, Claim, HOOK_AFTER, HOOK_BEFORE, STAMP, TRACK, Vacancy};
use crate::slots::Slots;
use crate::sync::{AtomicU32, AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering};
use crate::turn;

/// What a look at a claimed connection says.
pub(crate) enum Verdict {
    Fit,
    /// Was idle for so long that it must be validated first.
    Doubtful,
    Unfit(CloseReason),
}

/// What came of cleaning a connection at release.
enum Cleaned<E> {
    Fit,
    Broken,
    /// Without an error where the manager panicked.
    Failed(Option<E>),
}

/// Something on cache lines (in pairs) of its own, so that writing it does not slow down who reads its neighbours.
#[repr(align(128))]
struct Apart<T>(T);

pub(crate) struct Shared<M: Manager> {
    pub(crate) slots: Slots<M::Connection>,
    pub(crate) manager: M,
    /// This pool, for tasks that outlive the call that starts them.
    pub(crate) me: Weak<Shared<M>>,
    ledger: Apart<Mutex<Ledger>>,
    /// Where waiters find what they were given.
    pub(crate) handoffs: Arc<Handoffs>,
    /// Not zero once closing has begun: for those who do not take the lock.
    pub(crate) closed: AtomicU32,
    pub(crate) clock: Clock,
    pub(crate) hooks: Hooks<M::Connection>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) name: String,
    pub(crate) reaper: Mutex<Reaper>,
    /// When the maintenance thread wants to come by; a waiter with an earlier deadline calls it.
    pub(crate) next_visit: AtomicU64,
    /// Tasks that are letting others run. Relaxed: a hint.
    pub(crate) crowd: AtomicUsize,
    /// `Pool` handles; the pool closes when the last one goes.
    pub(crate) handles: AtomicUsize,
    /// The runtime the pool was built in.
    #[cfg(feature = "tokio")]
    runtime: Option<tokio::runtime::Handle>,
}

impl<M: Manager> Shared<M> {
    pub(crate) fn new(
        manager: M,
        options: Options,
        clock: Clock,
        hooks: Hooks<M::Connection>,
        observer: Option<Arc<dyn Observer>>,
        name: String,
    ) -> Arc<Self> {
        let slots = Slots::new(options.max_connections);
        let handoffs = Arc::new(Handoffs::new());
        let ledger = Ledger::new(options, slots.capacity(), Arc::clone(&handoffs));
        let shared = Arc::new_cyclic(|me| Self {
            slots,
            manager,
            me: me.clone(),
            ledger: Apart(Mutex::new(ledger)),
            handoffs,
            closed: AtomicU32::new(0),
            clock,
            hooks,
            observer,
            name,
            reaper: Mutex::new(Reaper::default()),
            next_visit: AtomicU64::new(NEVER),
            crowd: AtomicUsize::new(0),
            handles: AtomicUsize::new(1),
            #[cfg(feature = "tokio")]
            runtime: tokio::runtime::Handle::try_current().ok(),
        });
        shared.apply_care(&shared.ledger());
        shared
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.0.lock()
    }

    /// Takes an idle connection that needs no second look.
    #[inline(always)]
    pub(crate) fn try_short(&self, caller: &'static Location<'static>) -> Option<Claim<M::Connection>> {
        let claim = match self.slots.claim_first() {
            Some(claim) => claim,
            None => self.slots.claim_more()?,
        };
        let mut custody = Custody::new(self, claim);
        if custody.claim().slot().care() == 0 && !self.manager.is_broken(custody.claim().connection_mut()) {
            let claim = custody.keep();
            claim.slot().count_use();
            return Some(claim);
        }
        self.second_look(custody, caller)
    }

    /// Hands out a claimed connection after a look at it, or puts it back for the long way to deal with.
    #[cold]
    fn second_look(
        &self,
        mut custody: Custody<'_, M>,
        caller: &'static Location<'static>,
    ) -> Option<Claim<M::Connection>> {
        match self.judge(custody.claim()) {
            Verdict::Fit => Some(self.hand_over(custody.keep(), caller)),
            Verdict::Doubtful => {
                self.publish(custody.keep());
                None
            }
            Verdict::Unfit(reason) => {
                self.close_connection(custody.keep(), reason);
                None
            }
        }
    }

    /// Judges a claimed connection by everything that needs no waiting.
    pub(crate) fn judge(&self, claim: &mut Claim<M::Connection>) -> Verdict {
        let care = claim.slot().care();
        if care & AGED != 0 {
            return Verdict::Unfit(CloseReason::MaxAge);
        }
        if self.manager.is_broken(claim.connection_mut()) {
            return Verdict::Unfit(CloseReason::Broken);
        }
        if care & STAMP != 0 {
            let now = self.clock.now();
            if now >= claim.slot().retire_at.load(Ordering::Relaxed) {
                return Verdict::Unfit(CloseReason::MaxAge);
            }
            let idle_for = now.saturating_sub(claim.slot().idle_at.load(Ordering::Relaxed));
            if self.ledger().options.validate_after_idle.is_some_and(|limit| idle_for >= nanos(limit)) {
                return Verdict::Doubtful;
            }
        }
        self.judge_by_hook(claim)
    }

    /// Asks the hook before hand-out.
    pub(crate) fn judge_by_hook(&self, claim: &mut Claim<M::Connection>) -> Verdict {
        if claim.slot().care() & HOOK_BEFORE != 0
            && hooks::run(self.hooks.before_hand_out.as_ref(), claim.connection_mut()).is_err()
        {
            self.ledger().counts.errors += 1;
            return Verdict::Unfit(CloseReason::Refused);
        }
        Verdict::Fit
    }

    /// Marks a connection as leased by whoever runs.
    pub(crate) fn hand_over(
        &self,
        claim: Claim<M::Connection>,
        caller: &'static Location<'static>,
    ) -> Claim<M::Connection> {
        claim.slot().count_use();
        if claim.slot().care() & TRACK != 0 {
            let holder = Holder { who: current_name(), location: caller, held_for: Duration::ZERO };
            *claim.slot().holder.lock() = Some((holder, self.clock.now()));
        }
        claim
    }

    /// Takes a connection back from its holder.
    #[inline(always)]
    pub(crate) fn release(&self, mut claim: Claim<M::Connection>) {
        if std::thread::panicking() || claim.slot().is_returned_by_the_long_way() {
            return self.release_long(claim);
        }
        let cleaned = self.clean(&mut claim);
        claim.slot().count_use();
        match cleaned {
            Cleaned::Fit => {
                if self.slots.publish(claim) {
                    self.answer_call();
                }
            }
            unfit => self.release_unfit(claim, unfit),
        }
    }

    /// Looks after those who called while a connection came back.
    #[cold]
    fn answer_call(&self) {
        let mut effects = Effects::none();
        let among_threads;
        {
            let mut ledger = self.ledger();
            among_threads = ledger.queue.is_patient();
            if among_threads {
                let now = self.clock.now();
                if turn::goes_on(now) && ledger.may_overtake(now) {
                    drop(ledger);
                    // Should this thread stay away for once, somebody must look after the first waiter.
                    return self.call_maintenance_before(now.saturating_add(nanos(turn::PATIENCE)));
                }
            }
            ledger.dispatch(&self.slots, &|| self.clock.now(), &mut effects);
        }
        self.perform(effects);
        if among_threads {
            turn::done(self.clock.now());
        }
    }

    /// Resets a connection that comes back; a panic in the manager is contained.
    #[inline(always)]
    fn clean(&self, claim: &mut Claim<M::Connection>) -> Cleaned<M::Error> {
        let cleaned = contain(|| {
            if self.manager.is_broken(claim.connection_mut()) {
                return Cleaned::Broken;
            }
            match self.manager.reset(claim.connection_mut()) {
                Ok(()) => Cleaned::Fit,
                Err(error) => Cleaned::Failed(Some(error)),
            }
        });
        cleaned.unwrap_or(Cleaned::Failed(None))
    }

    #[cold]
    fn release_long(&self, mut claim: Claim<M::Connection>) {
        let care = claim.slot().care();
        if care & TRACK != 0 {
            claim.slot().holder.lock().take();
        }
        claim.slot().count_use();
        if std::thread::panicking() {
            return self.close_connection(claim, CloseReason::HolderPanicked);
        }
        match self.clean(&mut claim) {
            Cleaned::Fit => {}
            unfit => return self.release_unfit(claim, unfit),
        }
        if care & AGED != 0 {
            return self.close_connection(claim, CloseReason::MaxAge);
        }
        if care & HOOK_AFTER != 0 {
            let hook = self.hooks.after_release.as_ref();
            if contain(|| hooks::run(hook, claim.connection_mut()).is_ok()) != Some(true) {
                self.ledger().counts.errors += 1;
                return self.close_connection(claim, CloseReason::Refused);
            }
        }
        if care & STAMP != 0 {
            let now = self.clock.now();
            if now >= claim.slot().retire_at.load(Ordering::Relaxed) {
                return self.close_connection(claim, CloseReason::MaxAge);
            }
            claim.slot().idle_at.store(now, Ordering::Relaxed);
        }
        let Some(claim) = self.hand_on(claim) else { return };
        if self.slots.publish(claim) {
            self.answer_call();
        }
    }

    /// Hands a connection that came from the queue to the next who waits there; gives it back if it is to become idle.
    fn hand_on(&self, claim: Claim<M::Connection>) -> Option<Claim<M::Connection>> {
        if !claim.slot().was_handed() {
            return Some(claim);
        }
        let mut ledger = self.ledger();
        match ledger.hand_on(&self.slots, claim, &|| self.clock.now()) {
            Ok(waker) => {
                drop(ledger);
                if let Some(waker) = waker {
                    ledger::wake(waker);
                }
                None
            }
            Err(claim) => {
                drop(ledger);
                claim.slot().set_handed(false);
                Some(claim)
            }
        }
    }

    #[cold]
    fn release_unfit(&self, claim: Claim<M::Connection>, cleaned: Cleaned<M::Error>) {
        let Cleaned::Failed(error) = cleaned else {
            return self.close_connection(claim, CloseReason::Broken);
        };
        self.ledger().counts.errors += 1;
        if let Some(error) = error {
            self.observe(|observer| observer.reset_failed(&error));
            contain(|| drop(error));
        }
        self.close_connection(claim, CloseReason::ResetFailed);
    }

    /// Makes a connection idle and serves whoever waits for it.
    pub(crate) fn publish(&self, claim: Claim<M::Connection>) {
        let Some(claim) = self.hand_on(claim) else { return };
        if self.slots.publish(claim) {
            self.dispatch();
        }
    }

    /// Serves whoever can be served.
    #[cold]
    pub(crate) fn dispatch(&self) {
        let mut effects = Effects::none();
        self.ledger().dispatch(&self.slots, &|| self.clock.now(), &mut effects);
        self.perform(effects);
    }

    /// Wakes and closes what a dispatch has decided, until nothing is left to do.
    pub(crate) fn perform(&self, mut effects: Effects<M::Connection>) {
        loop {
            effects.wake_all();
            let Some((claim, reason)) = effects.closing.pop() else { break };
            let vacancy = self.close_outside(claim, reason);
            let mut ledger = self.ledger();
            ledger.vacate(vacancy);
            ledger.dispatch(&self.slots, &|| self.clock.now(), &mut effects);
            self.call_if_too_few(&ledger);
        }
    }

    /// Closes a connection and gives its place to whoever waits.
    pub(crate) fn close_connection(&self, claim: Claim<M::Connection>, reason: CloseReason) {
        self.ledger().start_closing();
        let mut effects = Effects::none();
        effects.closing.push((claim, reason));
        self.perform(effects);
    }

    /// Closes a connection and keeps its place for a new one.
    pub(crate) fn replace_connection(
        &self,
        claim: Claim<M::Connection>,
        reason: CloseReason,
    ) -> Vacancy<M::Connection> {
        self.ledger().start_closing();
        let vacancy = self.close_outside(claim, reason);
        let mut ledger = self.ledger();
        ledger.closing -= 1;
        ledger.opening += 1;
        vacancy
    }

    /// Runs everything that belongs to closing, outside the lock; a panic in it is contained.
    fn close_outside(&self, claim: Claim<M::Connection>, reason: CloseReason) -> Vacancy<M::Connection> {
        let opened_at = claim.slot().opened_at.load(Ordering::Relaxed);
        let (vacancy, mut connection) = claim.empty();
        // Apart: a hook that panics does not keep the manager from closing.
        let heard = self.hooks.before_close.as_ref().is_none_or(|hook| contain(|| hook(&mut connection)).is_some());
        let closed = contain(|| self.manager.close(connection, reason)).is_some();
        {
            let mut ledger = self.ledger();
            ledger.counts.closed.count(reason);
            ledger.counts.errors += u64::from(!heard) + u64::from(!closed);
        }
        if self.observer.is_some() {
            let age = Duration::from_nanos(self.clock.now().saturating_sub(opened_at));
            self.observe(|observer| observer.closed(reason, age));
        }
        vacancy
    }

    /// Takes a connection out of the pool for good.
    pub(crate) fn detach(&self, claim: Claim<M::Connection>) -> M::Connection {
        if claim.slot().care() & TRACK != 0 {
            claim.slot().holder.lock().take();
        }
        claim.slot().count_use();
        let (vacancy, mut connection) = claim.empty();
        let told = contain(|| self.manager.detach(&mut connection));
        let mut effects = Effects::none();
        {
            let mut ledger = self.ledger();
            ledger.start_closing();
            ledger.counts.detached += 1;
            ledger.counts.errors += u64::from(told.is_none());
            ledger.vacate(vacancy);
            ledger.dispatch(&self.slots, &|| self.clock.now(), &mut effects);
            self.call_if_too_few(&ledger);
        }
        self.perform(effects);
        connection
    }

    /// Takes a connection back from a holder who does not want it to be used again.
    pub(crate) fn discard(&self, claim: Claim<M::Connection>) {
        if claim.slot().care() & TRACK != 0 {
            claim.slot().holder.lock().take();
        }
        claim.slot().count_use();
        self.close_connection(claim, CloseReason::Discarded);
    }

    /// Gives back the place of a connection that was not opened.
    pub(crate) fn not_opened(&self, vacancy: Vacancy<M::Connection>) {
        let mut effects = Effects::none();
        {
            let mut ledger = self.ledger();
            ledger.not_opened(vacancy);
            ledger.dispatch(&self.slots, &|| self.clock.now(), &mut effects);
        }
        self.perform(effects);
    }

    /// Calls the maintenance thread if connections are missing.
    fn call_if_too_few(&self, ledger: &Ledger) {
        if ledger.occupied < ledger.options.min_connections && !ledger.closed && !self.clock.is_manual() {
            self.call_maintenance(0);
        }
    }

    /// Tells the observer, whose panics are its own.
    pub(crate) fn observe(&self, tell: impl FnOnce(&dyn Observer)) {
        if let Some(observer) = &self.observer {
            contain(|| tell(&**observer));
        }
    }

    /// What has to be looked at on every hand-out and release, by the settings.
    fn pool_care(&self, options: &Options) -> u32 {
        let mut care = 0;
        if options.tracks() {
            care |= TRACK;
        }
        if self.hooks.before_hand_out.is_some() {
            care |= HOOK_BEFORE;
        }
        if self.hooks.after_release.is_some() {
            care |= HOOK_AFTER;
        }
        if options.validate_after_idle.is_some() || self.clock.is_manual() {
            care |= STAMP;
        }
        care
    }

    /// Writes the settings' demands into every slot.
    pub(crate) fn apply_care(&self, ledger: &Ledger) {
        let care = self.pool_care(&ledger.options);
        for slot in self.slots.iter() {
            slot.set_care(care, (TRACK | HOOK_BEFORE | HOOK_AFTER | STAMP) & !care);
        }
    }

    /// Runs something inside the runtime the pool was built in, unless another one is running it.
    pub(crate) fn in_runtime<R>(&self, run: impl FnOnce() -> R) -> R {
        #[cfg(feature = "tokio")]
        let _entered = match (&self.runtime, tokio::runtime::Handle::try_current()) {
            // Not where a thread is ending, which can't enter any more.
            (Some(runtime), Err(none)) if none.is_missing_context() => Some(runtime.enter()),
            _ => None,
        };
        run()
    }

    /// How a moment of this pool's clock is seen by a thread that sleeps until then.
    pub(crate) fn sleep_until(&self, moment: Nanos) -> Nanos {
        if self.clock.is_manual() { NEVER } else { moment }
    }
}
