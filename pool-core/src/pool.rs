//! Owns the handle that users hold: every public call on a pool.
//!
//! Must not know how a call is carried out. Invariant: the pool closes when its last handle is dropped.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::acquire::Acquire;
use crate::block::block_on;
use crate::builder::PoolBuilder;
use crate::clock::TimeWatcher;
use crate::closing::{CloseReport, Closing};
use crate::error::{AcquireError, SettingsError};
use crate::lease::{Lease, OwnedLease};
use crate::ledger::Effects;
use crate::manager::Manager;
use crate::observer::Holder;
use crate::options::Options;
use crate::shared::{Custody, Shared, Verdict};
use crate::stats::Stats;
use crate::sync::Ordering;

/// A pool of connections; cloning gives another handle to the same pool.
///
/// Tasks and threads take connections from one queue, first come, first served. When the last handle is dropped the
/// pool closes: idle connections at once, leased ones when they come back.
pub struct Pool<M: Manager> {
    shared: Arc<Shared<M>>,
}

impl<M: Manager> Pool<M> {
    /// Starts to put a pool together.
    pub fn builder(manager: M) -> PoolBuilder<M> {
        PoolBuilder::new(manager)
    }

    pub(crate) fn new(shared: Arc<Shared<M>>) -> Self {
        let watcher: Arc<dyn TimeWatcher> = Arc::clone(&shared) as _;
        shared.clock.watch(Arc::downgrade(&watcher));
        shared.call_maintenance(0);
        Self { shared }
    }

    /// Acquires a connection, waiting up to `acquire_timeout` for its turn.
    ///
    /// Opens a connection if none is idle and the maximum allows it. Takes part in tokio's cooperative budget, so a
    /// task that never finds the pool empty still lets the other tasks of its worker run.
    ///
    /// # Errors
    ///
    /// Every variant of [`AcquireError`], which says what each means.
    ///
    /// # Panics
    ///
    /// The future passes on a panic in [`Manager::open`], [`Manager::validate`] or a hook.
    #[inline]
    #[track_caller]
    pub fn acquire(&self) -> Acquire<'_, M> {
        Acquire::new(&self.shared, Location::caller(), None, false)
    }

    /// Acquires a connection like [`acquire`](Self::acquire), waiting up to this time; zero does not wait.
    ///
    /// # Errors
    ///
    /// Every variant of [`AcquireError`].
    #[inline]
    #[track_caller]
    pub fn acquire_timeout(&self, timeout: Duration) -> Acquire<'_, M> {
        Acquire::new(&self.shared, Location::caller(), Some(timeout), false)
    }

    /// Acquires a connection on this thread, which sleeps up to `acquire_timeout` until its turn.
    ///
    /// A thread that has waited for less than half a millisecond may be overtaken by others that are running already.
    ///
    /// # Errors
    ///
    /// Every variant of [`AcquireError`].
    ///
    /// # Panics
    ///
    /// Passes on a panic in [`Manager::open`], [`Manager::validate`] or a hook.
    #[inline]
    #[track_caller]
    pub fn acquire_blocking(&self) -> Result<Lease<'_, M>, AcquireError<M::Error>> {
        let caller = Location::caller();
        match self.shared.try_short(caller) {
            Some(claim) => Ok(Lease::new(&self.shared, claim)),
            None => self.acquire_parked(caller, None),
        }
    }

    /// Acquires a connection on this thread, which sleeps up to this time until its turn; zero does not wait.
    ///
    /// # Errors
    ///
    /// Every variant of [`AcquireError`].
    ///
    /// # Panics
    ///
    /// Passes on a panic in [`Manager::open`], [`Manager::validate`] or a hook.
    #[inline]
    #[track_caller]
    pub fn acquire_blocking_timeout(&self, timeout: Duration) -> Result<Lease<'_, M>, AcquireError<M::Error>> {
        let caller = Location::caller();
        match self.shared.try_short(caller) {
            Some(claim) => Ok(Lease::new(&self.shared, claim)),
            None => self.acquire_parked(caller, Some(timeout)),
        }
    }

    #[cold]
    fn acquire_parked(
        &self,
        caller: &'static Location<'static>,
        timeout: Option<Duration>,
    ) -> Result<Lease<'_, M>, AcquireError<M::Error>> {
        block_on(Acquire::new(&self.shared, caller, timeout, true), Acquire::wake_at)
    }

    /// Takes an idle connection if there is one and nobody has a better right to it; never opens one, never waits.
    ///
    /// A connection that must be validated first is left to the others. `None` also when the pool is closed.
    ///
    /// # Panics
    ///
    /// Passes on a panic in a hook.
    #[inline]
    #[track_caller]
    #[must_use]
    pub fn try_acquire(&self) -> Option<Lease<'_, M>> {
        let caller = Location::caller();
        let claim = self.shared.try_short(caller).or_else(|| self.shared.try_each(caller))?;
        Some(Lease::new(&self.shared, claim))
    }

    /// Acquires a connection that borrows nothing, waiting up to `acquire_timeout` for its turn.
    ///
    /// # Errors
    ///
    /// Every variant of [`AcquireError`].
    #[track_caller]
    pub fn acquire_owned(&self) -> impl Future<Output = Result<OwnedLease<M>, AcquireError<M::Error>>> + Send + '_ {
        self.owned(self.acquire())
    }

    /// Acquires a connection that borrows nothing, waiting up to this time; zero does not wait.
    ///
    /// # Errors
    ///
    /// Every variant of [`AcquireError`].
    #[track_caller]
    pub fn acquire_owned_timeout(
        &self,
        timeout: Duration,
    ) -> impl Future<Output = Result<OwnedLease<M>, AcquireError<M::Error>>> + Send + '_ {
        self.owned(self.acquire_timeout(timeout))
    }

    async fn owned(&self, acquire: Acquire<'_, M>) -> Result<OwnedLease<M>, AcquireError<M::Error>> {
        Ok(acquire.await?.into_owned(&self.shared))
    }

    /// Acquires a connection that borrows nothing, on this thread, which sleeps up to `acquire_timeout`.
    ///
    /// # Errors
    ///
    /// Every variant of [`AcquireError`].
    ///
    /// # Panics
    ///
    /// Like [`acquire_blocking`](Self::acquire_blocking).
    #[track_caller]
    pub fn acquire_owned_blocking(&self) -> Result<OwnedLease<M>, AcquireError<M::Error>> {
        Ok(self.acquire_blocking()?.into_owned(&self.shared))
    }

    /// Acquires a connection that borrows nothing, on this thread, which sleeps up to this time; zero does not wait.
    ///
    /// # Errors
    ///
    /// Every variant of [`AcquireError`].
    ///
    /// # Panics
    ///
    /// Like [`acquire_blocking`](Self::acquire_blocking).
    #[track_caller]
    pub fn acquire_owned_blocking_timeout(&self, timeout: Duration) -> Result<OwnedLease<M>, AcquireError<M::Error>> {
        Ok(self.acquire_blocking_timeout(timeout)?.into_owned(&self.shared))
    }

    /// Takes an idle connection that borrows nothing, under the conditions of [`try_acquire`](Self::try_acquire).
    ///
    /// # Panics
    ///
    /// Passes on a panic in a hook.
    #[track_caller]
    #[must_use]
    pub fn try_acquire_owned(&self) -> Option<OwnedLease<M>> {
        Some(self.try_acquire()?.into_owned(&self.shared))
    }

    /// Returns the pool's numbers.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Returns who holds connections, the longest first; empty unless `track_holders` is on.
    #[must_use]
    pub fn holders(&self) -> Vec<Holder> {
        self.shared.holders()
    }

    /// Returns the limits and times in force.
    pub fn options(&self) -> Options {
        self.shared.ledger().options.clone()
    }

    /// Puts new limits and times in force while the pool is in use.
    ///
    /// A higher maximum serves waiters at once; a lower one closes idle connections at once and others when they
    /// come back, with those whose opening is under way among them. New ages count from when each connection was opened. A waiting acquire keeps the deadline it had.
    ///
    /// ```
    /// # use pool_core::{Manager, Pool};
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     async fn open(&self) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let pool = Pool::builder(Numbers).build()?;
    /// pool.reconfigure(pool.options().max_connections(20).min_connections(0))?;
    /// assert_eq!(pool.stats().max_connections, 20);
    /// # Ok::<(), pool_core::SettingsError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`SettingsError::InvalidSetting`] as in [`PoolBuilder::build`], [`SettingsError::Closed`] once the pool is closed;
    /// the settings stay as they were.
    pub fn reconfigure(&self, options: Options) -> Result<(), SettingsError> {
        options.check()?;
        self.shared.reconfigure(options)
    }

    /// Closes the pool: waiters and newcomers are refused, idle connections are closed, and those who hold one may
    /// finish within this time.
    ///
    /// Returns when the last connection is closed or the time is up, and says what was still in use then; that is
    /// closed when it comes back. Can be called again to wait longer. If the future is dropped, the pool stays closed.
    pub async fn close(&self, timeout: Duration) -> CloseReport {
        Closing::new(&self.shared, timeout).await
    }

    /// Closes the pool like [`close`](Self::close), on this thread.
    pub fn close_blocking(&self, timeout: Duration) -> CloseReport {
        block_on(Closing::new(&self.shared, timeout), Closing::wake_at)
    }

    /// Tells whether the pool has been closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.ledger().closed
    }

    /// Does one pass of maintenance now and on this thread: timeouts, ages, idleness, health, leaks, refilling.
    ///
    /// For tests on a manual clock; otherwise the maintenance thread does this every `reap_interval`. What has to wait,
    /// such as an `open` that awaits, goes on in the background.
    pub fn maintain(&self) {
        self.shared.visit(true);
    }

    /// Returns the manager.
    #[must_use]
    pub fn manager(&self) -> &M {
        &self.shared.manager
    }

    /// Returns the pool's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }
}

impl<M: Manager> Shared<M> {
    /// Looks at every idle connection for one that can be taken without waiting.
    #[cold]
    fn try_each(&self, caller: &'static Location<'static>) -> Option<crate::slot::Claim<M::Connection>> {
        let mut doubtful = Vec::new();
        let found = loop {
            let claim = {
                let ledger = self.ledger();
                if ledger.closed || ledger.queue.waiting() > 0 {
                    break None;
                }
                self.slots.claim_inside(false)
            };
            let Some(claim) = claim else { break None };
            let mut custody = Custody::new(self, claim);
            match self.judge(custody.claim()) {
                Verdict::Fit => break Some(self.hand_over(custody.keep(), caller)),
                Verdict::Doubtful => doubtful.push(custody),
                Verdict::Unfit(reason) => self.close_connection(custody.keep(), reason),
            }
        };
        for custody in doubtful {
            self.publish(custody.keep());
        }
        found
    }

    fn stats(&self) -> Stats {
        let ledger = self.ledger();
        let uses = || self.slots.iter().map(crate::slot::Slot::uses);
        let total = ledger.total();
        let leased = uses().filter(|uses| uses % 2 == 1).count().min(total);
        let counts = &ledger.counts;
        let waits = || self.slots.iter().map(crate::slot::Slot::waits);
        Stats {
            max_connections: ledger.options.max_connections,
            min_connections: ledger.options.min_connections,
            total,
            leased,
            idle: total - leased,
            opening: ledger.opening,
            waiting: ledger.queue.waiting(),
            created: counts.created,
            closed: counts.closed,
            detached: counts.detached,
            acquired: uses().map(|uses| uses.div_ceil(2)).sum(),
            released: uses().map(|uses| uses / 2).sum(),
            errors: counts.errors,
            timed_out: counts.timed_out,
            refused: counts.refused,
            waited: waits().map(|(count, _, _)| count).sum(),
            acquire_time_total: Duration::from_nanos(
                waits().map(|(_, total, _)| total).fold(counts.prepare_total, u64::saturating_add),
            ),
            acquire_time_max: Duration::from_nanos(
                waits().map(|(_, _, longest)| longest).fold(counts.prepare_max, u64::max),
            ),
            most_waiting: counts.most_waiting,
        }
    }

    fn reconfigure(&self, options: Options) -> Result<(), SettingsError> {
        let mut effects = Effects::none();
        {
            let mut ledger = self.ledger();
            if ledger.closed {
                return Err(SettingsError::Closed);
            }
            ledger.grow(&self.slots, options.max_connections);
            let age_changed = (options.max_connection_age, options.age_jitter)
                != (ledger.options.max_connection_age, ledger.options.age_jitter);
            for slot in self.slots.iter().filter(|_| age_changed) {
                let opened_at = slot.opened_at.load(Ordering::Relaxed);
                slot.set_care(0, crate::slot::AGED);
                slot.retire_at.store(crate::opening::retire_at(&options, opened_at), Ordering::Relaxed);
            }
            ledger.options = options;
            self.apply_care(&ledger);
            ledger.dispatch(&self.slots, &|| self.clock.now(), &mut effects);
        }
        self.perform(effects);
        // A shorter interval counts from now on.
        self.reaper.lock().next_pass = 0;
        self.call_maintenance(0);
        Ok(())
    }
}

impl<M: Manager> Clone for Pool<M> {
    fn clone(&self) -> Self {
        // Relaxed: a new handle is made from one that is held.
        self.shared.handles.fetch_add(1, Ordering::Relaxed);
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<M: Manager> Drop for Pool<M> {
    fn drop(&mut self) {
        // AcqRel: what other handles did happens before the pool closes.
        if self.shared.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.begin_close();
        }
    }
}

impl<M: Manager> fmt::Debug for Pool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("name", &self.shared.name).field("stats", &self.stats()).finish_non_exhaustive()
    }
}
