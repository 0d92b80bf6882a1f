//! One open database: its pool, its write lane and its query cache, and the ways work goes through them.
//!
//! Owns the order in which a call takes turn, connection and permit, and the order in which things close. It must not know how
//! managers are built or found. All managers of one path share one engine.
//!
//! The way of one call: [turn in the writers' queue] -> connection -> [permit] -> thread -> closure -> clean-up by pool-core's
//! release -> permit and turn back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pool_config::PoolConfig;
use pool_core::{AcquireError, CloseReport, OwnedLease, Pool};

use crate::clock::Clock;
use crate::connection::{Connection, Volatile};
use crate::driver::{Database, Driver};
use crate::error::{Error, Result};
use crate::lane::{Lane, NoTurn, Turn, TurnQueue};
use crate::location::Location;
use crate::logging::Logging;
use crate::place::{Link, on_blocking_thread};
use crate::query_cache::QueryCache;
use crate::session::Use;
use crate::stats::{PoolStats, rate};
use crate::transaction::{Transaction, TransactionKind};

/// How an engine is opened.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) config: PoolConfig,
    pub(crate) pooled: bool,
    pub(crate) read_only: bool,
    pub(crate) clock: Clock,
}

/// One open database.
#[derive(Debug)]
pub(crate) struct Engine {
    database: Arc<Database>,
    plan: Plan,
    pool: Pool<Driver>,
    writers: TurnQueue,
    cache: Option<QueryCache>,
    closed: AtomicBool,
}

type Lease = OwnedLease<Driver>;

impl Engine {
    pub(crate) fn open(location: Location, plan: Plan, lane: Arc<Lane>) -> Result<Arc<Self>> {
        let config = &plan.config;
        let database = Arc::new(Database::open(location, config, plan.read_only, lane)?);
        let mut options = Pool::builder(Driver(Arc::clone(&database)))
            .name(&*database.name)
            .acquire_timeout(config.acquire_timeout())
            .reap_interval(config.reap_interval())
            .clock(plan.clock.pool());
        options = if plan.pooled {
            options
                .max_connections(config.max_connections())
                .min_connections(config.min_connections())
                .idle_timeout(config.idle_timeout())
                .max_connection_age(config.max_connection_age())
                .health_checks(config.enable_health_checks())
                .validate_after_idle(config.enable_health_checks().then_some(VALIDATE_AFTER_IDLE))
        } else {
            // A direct connection is a pool of one that nothing reaps.
            options
                .max_connections(1)
                .min_connections(1)
                .idle_timeout(None)
                .max_connection_age(None)
                .health_checks(false)
        };
        if config.enable_logging() {
            options = options.observer(Arc::new(Logging { database: Arc::clone(&database.name) }));
        }
        let pool = options.build().map_err(|error| Error::PoolOptions(Box::new(error)))?;
        let cache = config.enable_query_cache().then(|| {
            let clock = plan.clock.cache();
            QueryCache::new(config.max_cache_size(), clock, Arc::clone(&database.anchorage), config.cache_ttl())
        });
        database.lane.join();
        Ok(Arc::new(Self { database, pool, writers: TurnQueue::new(), cache, closed: AtomicBool::new(false), plan }))
    }

    pub(crate) fn location(&self) -> &Location {
        &self.database.location
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(crate) fn config(&self) -> &PoolConfig {
        &self.plan.config
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    // Taking turns, connections and permits.

    pub(crate) async fn lease(&self) -> Result<Lease> {
        self.pool.acquire_owned().await.map_err(|error| self.no_connection(error))
    }

    pub(crate) fn lease_blocking(&self) -> Result<Lease> {
        self.pool.acquire_owned_blocking().map_err(|error| self.no_connection(error))
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

    fn no_turn(&self, reason: NoTurn) -> Error {
        match reason {
            NoTurn::TimedOut(waited) => Error::WriteLaneTimeout { waited },
            NoTurn::Closed => self.closed_error(),
        }
    }

    fn closed_error(&self) -> Error {
        Error::Closed { database: self.database.name.to_string() }
    }

    // Running closures.

    /// Runs `work` on a leased connection and gives it back.
    fn run<T>(
        &self,
        lease: &Lease,
        usage: Use,
        permit: Option<Turn>,
        link: Option<&Link>,
        work: impl FnOnce(&Connection) -> Result<T>,
    ) -> Result<T> {
        let session = lease.session();
        let ticket = session.begin(usage, permit);
        if link.is_some_and(|link| !link.running(session, ticket)) {
            // Nobody is there any more to see this.
            return Err(self.closed_error());
        }
        session.explain(work(lease))
    }

    /// Runs a closure on a pooled connection.
    pub(crate) async fn call<T: Send + 'static>(
        self: &Arc<Self>,
        usage: Use,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let lease = self.lease().await?;
        let engine = Arc::clone(self);
        on_blocking_thread(move |link| engine.run(&lease, usage, None, Some(link), work)).await
    }

    pub(crate) fn call_blocking<T>(&self, usage: Use, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let lease = self.lease_blocking()?;
        self.run(&lease, usage, None, None, work)
    }

    /// Runs a closure in a transaction in the write lane.
    pub(crate) async fn transact<T: Send + 'static>(
        self: &Arc<Self>,
        kind: TransactionKind,
        work: impl FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let limit = self.config().acquire_timeout();
        let turn = self.writers.turn(limit).await.map_err(|reason| self.no_turn(reason))?;
        let lease = self.lease().await?;
        let permit = self.database.lane.permit().turn(limit).await.map_err(|reason| self.no_turn(reason))?;
        let engine = Arc::clone(self);
        on_blocking_thread(move |link| {
            let done = engine
                .run(&lease, Use::Write, Some(permit), Some(link), |connection| committed(connection, kind, work));
            // The connection goes back before the turn, so that the next writer finds it.
            drop(lease);
            drop(turn);
            done
        })
        .await
    }

    pub(crate) fn transact_blocking<T>(
        &self,
        kind: TransactionKind,
        work: impl FnOnce(&Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        let limit = self.config().acquire_timeout();
        let _turn = self.writers.turn_blocking(limit).map_err(|reason| self.no_turn(reason))?;
        let lease = self.lease_blocking()?;
        let permit = self.database.lane.permit().turn_blocking(limit).map_err(|reason| self.no_turn(reason))?;
        self.run(&lease, Use::Write, Some(permit), None, |connection| committed(connection, kind, work))
    }

    /// Answers from the query cache, or runs the closure.
    pub(crate) async fn cached<T, F>(self: &Arc<Self>, key: &str, ttl: Option<Duration>, query: F) -> Result<Arc<T>>
    where
        T: Send + Sync + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        self.open_or_closed()?;
        // A hit waits for nothing: without this, a task that only hits would keep its worker from all others.
        tokio::task::consume_budget().await;
        match &self.cache {
            None => self.call(Use::Read, query).await.map(Arc::new),
            Some(cache) => cache.get_or_run::<T, F, _>(key, ttl, self.call(Use::Read, observed(query))).await,
        }
    }

    pub(crate) fn cached_blocking<T, F>(&self, key: &str, ttl: Option<Duration>, query: F) -> Result<Arc<T>>
    where
        T: Send + Sync + 'static,
        F: FnOnce(&Connection) -> Result<T> + 'static,
    {
        self.open_or_closed()?;
        match &self.cache {
            None => self.call_blocking(Use::Read, query).map(Arc::new),
            Some(cache) => {
                cache.get_or_run_blocking::<T, F>(key, ttl, || self.call_blocking(Use::Read, observed(query)))
            }
        }
    }

    /// A hit needs no connection, so the pool would not notice by itself that it is closed.
    fn open_or_closed(&self) -> Result<()> {
        if self.is_closed() { Err(self.closed_error()) } else { Ok(()) }
    }

    // Figures.

    pub(crate) fn stats(&self) -> PoolStats {
        let pool = self.pool.stats();
        let statements = self.database.statements.stats();
        let cache = self.cache.as_ref().map(QueryCache::stats);
        let (cache_hits, cache_misses, cache_entries) =
            cache.map_or((0, 0, 0), |cache| (cache.hits, cache.misses, cache.entries as usize));
        let writers = self.writers.stats();
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
            cache_hit_rate: rate(cache_hits, cache_misses),
            cache_hits,
            cache_misses,
            cache_entries,
            cache_uncacheable: self.cache.as_ref().map_or(0, QueryCache::uncacheable),
            statement_hits: statements.hits,
            statement_misses: statements.misses,
            total_timeouts: pool.timed_out,
            average_write_wait: mean_ms(writers.acquire_time_total, writers.acquired),
            waiting_writers: writers.waiting + self.database.lane.permit().stats().waiting,
            max_connections: self.config().max_connections(),
        }
    }

    // Closing.

    /// Closes in order: no new work, waiters told, running work finishes or is interrupted, cache dropped, log written back.
    pub(crate) async fn close(&self, deadline: Duration) -> Result<()> {
        if !self.begin_closing() {
            self.pool.close(deadline).await;
            return Ok(());
        }
        let mut left = self.pool.close(deadline).await;
        if !left.is_complete() {
            self.database.interrupt_all();
            left = self.pool.close(INTERRUPT_GRACE).await;
        }
        self.finish_closing(&left)
    }

    pub(crate) fn close_blocking(&self, deadline: Duration) -> Result<()> {
        if !self.begin_closing() {
            self.pool.close_blocking(deadline);
            return Ok(());
        }
        let mut left = self.pool.close_blocking(deadline);
        if !left.is_complete() {
            self.database.interrupt_all();
            left = self.pool.close_blocking(INTERRUPT_GRACE);
        }
        self.finish_closing(&left)
    }

    /// False: somebody else closes it already.
    fn begin_closing(&self) -> bool {
        let first = !self.closed.swap(true, Ordering::AcqRel);
        self.writers.close();
        first
    }

    fn finish_closing(&self, left: &CloseReport) -> Result<()> {
        self.database.lane.leave();
        if let Some(cache) = &self.cache {
            cache.clear();
        }
        // Closes with the end of this function: then SQLite removes the log, if this was the last connection to the file.
        let Some(anchor) = self.database.anchorage.take() else { return Ok(()) };
        if self.plan.read_only {
            return Ok(());
        }
        // Statistics are a courtesy: another process that holds the lock must not make closing fail.
        if let Err(error) = anchor.optimize() {
            tracing::debug!(target: "pool_manager", database = &*self.database.name, %error, "PRAGMA optimize skipped");
        }
        if !anchor.checkpoint(CHECKPOINT_WAIT)? {
            tracing::info!(target: "pool_manager", database = &*self.database.name, "the log stays: somebody reads from it");
        }
        if left.leased > 0 {
            let database = self.database.name.to_string();
            return Err(Error::StillInUse { database, connections: left.leased });
        }
        Ok(())
    }

    /// Runs one pass of the pool's maintenance now.
    pub(crate) fn maintain(&self) {
        self.pool.maintain();
        if let Some(cache) = &self.cache {
            cache.purge_expired();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if !self.closed.swap(true, Ordering::AcqRel) {
            self.database.lane.leave();
        }
    }
}

fn committed<T>(
    connection: &Connection,
    kind: TransactionKind,
    work: impl FnOnce(&Transaction<'_>) -> Result<T>,
) -> Result<T> {
    if kind == TransactionKind::Deferred {
        connection.session().settle_lane();
    }
    let transaction = connection.transaction_with(kind)?;
    let value = work(&transaction)?;
    transaction.commit()?;
    Ok(value)
}

fn mean_ms(total: Duration, count: u64) -> f64 {
    if count == 0 { 0.0 } else { total.as_secs_f64() * 1e3 / count as f64 }
}

/// Makes a query say whether its result depends on the content of the database alone.
fn observed<T>(
    query: impl FnOnce(&Connection) -> Result<T>,
) -> impl FnOnce(&Connection) -> Result<(T, Option<Volatile>)> {
    |connection| {
        connection.begin_observing();
        let value = query(connection)?;
        Ok((value, connection.why_not_repeatable()))
    }
}

/// A connection that was used within this time is taken to be healthy when it is handed out.
const VALIDATE_AFTER_IDLE: Duration = Duration::from_millis(500);

/// How long interrupted work gets to come back after the deadline.
const INTERRUPT_GRACE: Duration = Duration::from_secs(1);

/// How long the last checkpoint waits for readers of other processes.
const CHECKPOINT_WAIT: Duration = Duration::from_millis(200);
