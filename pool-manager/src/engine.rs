//! One open database: its pool, its write lane and its query cache, and the ways work goes through them.
//!
//! Owns the way of reads and of whatever holds one connection, and the order in which things close; `writing` has the way of writes.
//! It must not know how managers are built or found. All managers of one path share one engine.
//!
//! The way of one call: connection -> thread -> closure (-> permit, at the first statement that writes) -> clean-up by pool-core's
//! release -> permit back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use pool_cache::Lately;
use pool_config::{PoolConfig, WorkPlacement};
use pool_core::{AcquireError, CloseReport, OwnedLease, Pool};
use pool_stmt::StatementRegistry;

use crate::anchor::Anchor;
use crate::bulletin::Bulletin;
use crate::clock::Clock;
use crate::connection::{Connection, OnConnect};
use crate::deadline::Timers;
use crate::driver::{Database, Driver};
use crate::error::{Error, Result};
use crate::fork::{Bound, Process};
use crate::in_force::InForce;
use crate::lane::{Lane, NoTurn};
use crate::location::Location;
use crate::logging::Logging;
use crate::nesting::{self, Running};
use crate::place::{Link, on_blocking_thread};
use crate::query_cache::QueryCache;
use crate::reconfigure::{Settings, pool_options, refused};
use crate::session::{LongReader, Use};
use crate::sites::{Site, Sites, Stopwatch};
use crate::stats::{PoolStats, rate};
use crate::thread_time::Began;
use crate::weight::Weights;
use crate::write_queue::WriteQueue;

/// How an engine is opened.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) config: PoolConfig,
    pub(crate) pooled: bool,
    pub(crate) read_only: bool,
    pub(crate) clock: Clock,
    pub(crate) on_connect: Option<OnConnect>,
    pub(crate) weights: Weights,
}

/// One open database.
#[derive(Debug)]
pub(crate) struct Engine {
    database: Arc<Database>,
    plan: Plan,
    /// Where it was opened.
    process: Process,
    pool: Pool<Driver>,
    pub(crate) writes: WriteQueue,
    pub(crate) sites: Sites,
    /// Of which version of the schema it is known whether it can roll whole transactions back, and whether it can.
    pub(crate) rolls_back: Mutex<Option<(i64, bool)>>,
    cache: QueryCache,
    settings: Settings,
    /// For calls that have a deadline; made with the first of them.
    timers: OnceLock<Arc<Timers>>,
    closed: AtomicBool,
    /// Whether the last steps of closing were done. Held while they are.
    finished: Mutex<bool>,
}

/// A connection in use. In a child that inherits it, it is neither cleaned nor given back.
pub(crate) type Lease = Bound<OwnedLease<Driver>>;

impl Engine {
    pub(crate) fn open(location: Location, plan: Plan, lane: Arc<Lane>) -> Result<Arc<Self>> {
        let database = Database::open(location, &plan, lane)?;
        let in_force = &database.in_force;
        let pool = Pool::builder(Driver(Arc::clone(&database)))
            .name(&*database.name)
            .options(pool_options(&plan.config, plan.pooled))
            .clock(plan.clock.pool())
            .observer(Arc::new(Logging { database: Arc::clone(&database.name), in_force: Arc::clone(in_force) }))
            .build()
            .map_err(|error| Error::PoolOptions(Box::new(error)))?;
        let cache = QueryCache::new(Arc::clone(in_force), plan.clock.cache(), Arc::clone(&database.anchorage));
        cache.scales().learn(plan.weights.clone());
        Ok(Arc::new(Self {
            database,
            pool,
            writes: WriteQueue::new(),
            sites: Sites::new(),
            rolls_back: Mutex::new(None),
            cache,
            settings: Settings::default(),
            timers: OnceLock::new(),
            closed: AtomicBool::new(false),
            finished: Mutex::new(false),
            process: Process::this(),
            plan,
        }))
    }

    pub(crate) fn location(&self) -> &Location {
        &self.database.location
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(crate) fn lane(&self) -> &Lane {
        &self.database.lane
    }

    /// The settings in force.
    pub(crate) fn config(&self) -> Arc<PoolConfig> {
        self.database.in_force.config()
    }

    pub(crate) fn name(&self) -> &str {
        &self.database.name
    }

    // For `reconfigure` and `writing`.

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn in_force(&self) -> &InForce {
        &self.database.in_force
    }

    pub(crate) fn timers(&self) -> &Arc<Timers> {
        self.timers.get_or_init(|| Timers::new(self.plan.clock.pool()))
    }

    pub(crate) fn long_readers(&self) -> Vec<LongReader> {
        self.database.long_readers()
    }

    #[inline]
    pub(crate) fn query_cache(&self) -> &QueryCache {
        &self.cache
    }

    pub(crate) fn statements(&self) -> &StatementRegistry {
        &self.database.statements
    }

    pub(crate) fn reconfigure_pool(&self, options: pool_core::Options) -> Result<()> {
        self.pool.reconfigure(options).map_err(|error| refused(error, || self.closed_error()))
    }

    pub(crate) fn bulletin(&self) -> &Bulletin {
        &self.database.bulletin
    }

    /// Looks whether somebody outside this process has committed, so that it is published.
    pub(crate) fn look_for_strangers(&self) {
        if let Some(anchor) = self.database.anchorage.current() {
            anchor.commits().look();
        }
    }

    /// Tells whether readers and writers keep each other out.
    pub(crate) fn is_serial(&self) -> bool {
        !self.plan.read_only && self.database.anchorage.current().is_some_and(|anchor| !anchor.has_wal_index())
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    // Taking turns, connections and permits.

    pub(crate) async fn lease(&self) -> Result<Lease> {
        self.open_or_closed()?;
        self.holds_not_all()?;
        self.pool.acquire_owned().await.map(Bound::new).map_err(|error| self.no_connection(error))
    }

    /// A connection for a closure of this site. While another one tells whether the site is slow, this takes a little longer, if that is what
    /// decides where it runs.
    #[inline]
    pub(crate) async fn lease_for(&self, site: Site, placement: WorkPlacement) -> Result<Lease> {
        let decides = !matches!(placement, WorkPlacement::Blocking | WorkPlacement::Inline);
        if decides && !self.sites.is_quick(site) && self.sites.is_on_trial(site) {
            self.sites.end_of_trial(site).await;
        }
        self.lease().await
    }

    /// A connection, if one is idle and nobody waits for it.
    pub(crate) fn try_lease(&self) -> Option<Lease> {
        self.pool.try_acquire_owned().map(Bound::new)
    }

    /// Tells whether writing the log back was left to the next commit.
    pub(crate) fn log_is_put_off(&self) -> bool {
        self.database.log.is_put_off()
    }

    pub(crate) fn lease_blocking(&self) -> Result<Lease> {
        self.lease_blocking_within(None)
    }

    /// The same, for no longer than `limit`.
    pub(crate) fn lease_blocking_within(&self, limit: Option<Duration>) -> Result<Lease> {
        self.open_or_closed()?;
        self.holds_not_all()?;
        match limit {
            None => self.pool.acquire_owned_blocking(),
            Some(limit) => self.pool.acquire_owned_blocking_timeout(limit.min(self.in_force().acquire_timeout())),
        }
        .map(Bound::new)
        .map_err(|error| self.no_connection(error))
    }

    /// Tells whether the closures on this thread leave a connection to wait for.
    pub(crate) fn holds_not_all(&self) -> Result<()> {
        let held = nesting::held_here(self);
        if held > 0 && held >= self.config().max_connections() {
            return Err(Error::WouldDeadlock { what: "every connection of the pool" });
        }
        Ok(())
    }

    fn no_connection(&self, error: AcquireError<Error>) -> Error {
        match error {
            AcquireError::TimedOut { waited, leased, waiting, longest_holder, .. } => Error::AcquireTimeout {
                waited,
                max_connections: self.config().max_connections(),
                leased,
                waiting,
                longest_holder: longest_holder.map(|holder| holder.to_string()),
            },
            AcquireError::TooManyWaiters { limit, .. } => Error::TooManyWaiters { limit },
            AcquireError::OpenFailed { source, .. } => source,
            _ => self.closed_error(),
        }
    }

    pub(crate) fn no_turn(&self, reason: NoTurn) -> Error {
        match reason {
            NoTurn::TimedOut(waited) => Error::WriteLaneTimeout { waited },
            NoTurn::Closed | NoTurn::Stopped => self.closed_error(),
        }
    }

    fn closed_error(&self) -> Error {
        Error::Closed { database: self.database.name.to_string() }
    }

    // Running closures.

    /// Runs `work` on a leased connection.
    pub(crate) fn run<T>(
        &self,
        lease: &Lease,
        usage: Use,
        link: Option<&Link>,
        work: impl FnOnce(&Connection) -> Result<T>,
    ) -> Result<T> {
        let session = lease.session();
        let ticket = lease.begin(usage, std::any::type_name_of_val(&work));
        if link.is_some_and(|link| !link.running(session, ticket)) {
            // Nobody is there any more to see this.
            return Err(self.closed_error());
        }
        let writes = usage == Use::Write;
        if writes {
            session.enter_lane()?;
        }
        let _running = Running::new(self, writes.then_some(&*self.database.lane));
        session.explain(work(lease))
    }

    /// Runs a closure on a pooled connection: right here, if it may, or else on a blocking thread.
    pub(crate) async fn call<T: Send + 'static, F>(self: &Arc<Self>, usage: Use, work: F) -> Result<T>
    where
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let site = Site::of::<F>();
        let placement = self.in_force().work_placement();
        let lease = self.lease_for(site, placement).await?;
        if self.may_run_here(usage, site, &lease, placement) {
            let began = Began::now();
            let done = self.run(&lease, usage, None, work);
            self.sites.ran_here(site, began);
            return done;
        }
        let engine = Arc::clone(self);
        on_blocking_thread(move |link| {
            let stopwatch = Stopwatch::start();
            let done = engine.run(&lease, usage, Some(link), work);
            engine.sites.ran_elsewhere(site, &stopwatch);
            done
        })
        .await
    }

    /// Tells whether a use may run on the thread of a task. What may wait for others never does: whom it waits for might need that
    /// very thread.
    pub(crate) fn may_run_here(&self, usage: Use, site: Site, lease: &Lease, placement: WorkPlacement) -> bool {
        let waits_for_nobody = usage == Use::Read && !lease.session().is_serial();
        waits_for_nobody
            && match placement {
                WorkPlacement::Blocking => false,
                WorkPlacement::Inline => true,
                _ => self.sites.is_quick(site),
            }
    }

    pub(crate) fn call_blocking<T>(&self, usage: Use, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let lease = self.lease_blocking()?;
        self.run(&lease, usage, None, work)
    }

    /// A hit needs no connection, so the pool would not notice by itself that it is closed, or that its file is gone.
    #[inline]
    pub(crate) fn open_or_closed(&self) -> Result<()> {
        self.open_lately().map(drop)
    }

    /// The same, and tells the time by the anchorage.
    #[inline]
    pub(crate) fn open_lately(&self) -> Result<Lately> {
        self.own_process()?;
        if self.is_closed() {
            return Err(self.closed_error());
        }
        let lately = self.database.anchorage.lately();
        self.database.look(lately)?;
        Ok(lately)
    }

    /// Tells whether the engine is another process'; see `fork`.
    #[inline]
    pub(crate) fn is_inherited(&self) -> bool {
        self.process.is_gone()
    }

    /// Fails in a process that has inherited the engine.
    #[inline]
    pub(crate) fn own_process(&self) -> Result<()> {
        if self.is_inherited() {
            return Err(Error::Forked { database: self.database.name.to_string() });
        }
        Ok(())
    }

    // Figures.

    pub(crate) fn stats(&self) -> PoolStats {
        let pool = self.pool.stats();
        let statements = self.database.statements.stats();
        let cache = self.cache.stats();
        let (waiting_writers, writes, write_waits) = self.writes.figures();
        PoolStats {
            total_connections: pool.total,
            active_connections: pool.leased,
            idle_connections: pool.idle,
            waiting_clients: pool.waiting,
            total_created: pool.created,
            total_destroyed: pool.closed.total(),
            total_acquired: pool.acquired,
            total_released: pool.released,
            total_errors: pool.errors,
            average_acquire_time: mean_ms(pool.acquire_time_total, pool.acquired),
            cache_hit_rate: rate(cache.hits, cache.misses),
            cache_hits: cache.hits,
            cache_misses: cache.misses,
            cache_entries: cache.entries as usize,
            cache_uncacheable: self.cache.uncacheable().total(),
            cache_uncacheable_by: self.cache.uncacheable(),
            cache_stale_prevented: self.cache.stale_prevented(),
            cache_bytes: self.cache.bytes(),
            statement_hits: statements.hits,
            statement_misses: statements.misses,
            total_timeouts: pool.timed_out,
            average_write_wait: mean_ms(write_waits, writes),
            waiting_writers: waiting_writers + self.database.lane.waiting(),
            max_connections: self.config().max_connections(),
        }
    }

    // Closing.

    /// Closes in order: no new work, waiters told, running work finishes or is interrupted, cache dropped, log written back.
    ///
    /// Several may close at once: each waits no longer than its own deadline, the earliest deadline interrupts, and all return when
    /// everything is done. One that is dropped is finished by the next.
    pub(crate) async fn close(self: &Arc<Self>, deadline: Duration) -> Result<()> {
        self.own_process()?;
        self.begin_closing();
        let mut left = self.pool.close(deadline).await;
        if !left.is_complete() {
            self.database.interrupt_all();
            left = self.pool.close(INTERRUPT_GRACE).await;
        }
        let (engine, report) = (Arc::clone(self), left.clone());
        match on_blocking_thread(move |_| engine.finish_closing(&report)).await {
            // Closing loses nothing, even where no thread is left.
            Err(Error::System { .. }) => self.finish_closing(&left),
            closed => closed,
        }
    }

    pub(crate) fn close_blocking(&self, deadline: Duration) -> Result<()> {
        self.own_process()?;
        self.begin_closing();
        let mut left = self.pool.close_blocking(deadline);
        if !left.is_complete() {
            self.database.interrupt_all();
            left = self.pool.close_blocking(INTERRUPT_GRACE);
        }
        self.finish_closing(&left)
    }

    fn begin_closing(&self) {
        self.closed.store(true, Ordering::Release);
        self.writes.close(|| self.closed_error());
    }

    /// Tells whether nothing is left to close, but for connections that are still held.
    pub(crate) fn has_finished_closing(&self) -> bool {
        self.is_closed() && self.finished.try_lock().is_some_and(|finished| *finished)
    }

    fn finish_closing(&self, left: &CloseReport) -> Result<()> {
        let mut finished = self.finished.lock();
        if !*finished {
            *finished = true;
            self.bulletin().close();
            self.write_back()?;
        }
        if left.leased > 0 {
            let database = self.database.name.to_string();
            return Err(Error::StillInUse { database, connections: left.leased });
        }
        Ok(())
    }

    /// Drops what is cached, and writes the log back.
    fn write_back(&self) -> Result<()> {
        let anchor = self.database.anchorage.take();
        // After that: who looks at the anchor does so under a lock of the cache, and has let go of it when all were taken.
        self.cache.clear();
        let Some(anchor) = anchor else { return Ok(()) };
        let written = self.write_back_from(&anchor);
        // Then SQLite removes the log, if this was the last connection to the file.
        self.database.anchorage.close(anchor);
        written
    }

    fn write_back_from(&self, anchor: &Anchor) -> Result<()> {
        // What this process may not write it did not write, either: the log is others'.
        if self.plan.read_only || anchor.only_reads() {
            return Ok(());
        }
        // Another pool may be open on the file already, and must not meet a lock.
        let wait = self.in_force().emptying_time();
        let turn = self.database.lane.writer_blocking(wait);
        // Statistics are a courtesy: a writer that holds the lock must not make closing fail.
        let optimized = if turn.is_ok() { anchor.optimize() } else { Ok(()) };
        if let Err(error) = optimized {
            tracing::debug!(target: "pool_manager", database = &*self.database.name, %error, "PRAGMA optimize skipped");
        }
        if !anchor.checkpoint(wait, || self.database.give_up_snapshots())? {
            tracing::info!(target: "pool_manager", database = self.name(), checkpoint_timeout = ?wait, "the log stays: somebody reads from it");
        }
        Ok(())
    }

    /// Runs one pass of the pool's maintenance now.
    pub(crate) fn maintain(&self) {
        if self.is_inherited() {
            return;
        }
        self.pool.maintain();
        self.cache.purge_expired();
    }
}

fn mean_ms(total: Duration, count: u64) -> f64 {
    if count == 0 { 0.0 } else { total.as_secs_f64() * 1e3 / count as f64 }
}

/// How long interrupted work gets to come back after the deadline.
const INTERRUPT_GRACE: Duration = Duration::from_secs(1);
