//! `DatabaseManager`: the whole feature behind one type.
//!
//! Owns names and documentation of the calls; each is a line that hands work to the engine. It must not hold logic of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pool_config::{Change, PoolConfig, PoolConfigBuilder};
use pool_stmt::{StatementRegistry, StatementReport};

use crate::blocking::Blocking;
use crate::builder::DatabaseManagerBuilder;
use crate::connection::Connection;
use crate::engine::Engine;
use crate::error::Result;
use crate::factory::PoolFactory;
use crate::fork::Bound;
use crate::pooled::PooledConnection;
use crate::query_cache::Manner;
use crate::registry;
use crate::schema::{self, Schema};
use crate::session::{LongReader, Use};
use crate::stats::{GlobalPoolStats, PoolStats};
use crate::transaction::{Operation, Transaction, TransactionKind};

/// A transaction of its own.
const OWN: Option<TransactionKind> = Some(TransactionKind::Immediate);

/// How many statements the short listings have.
const LISTED: usize = 10;

/// One SQLite database with pooled connections, a fair write lane, reused statements and a query cache that is never stale.
///
/// Cheap to clone: clones, and managers opened on the same file, share one pool. The calls here are async and run closures on
/// blocking threads of the tokio runtime; [`blocking`](Self::blocking) has the same calls for threads.
///
/// ```
/// use pool_manager::{Column, DatabaseManager, Schema};
///
/// # #[tokio::main]
/// # async fn main() -> pool_manager::Result<()> {
/// let db = DatabaseManager::open(":memory:")?;
/// db.create(
///     Schema::new("users")
///         .column(Column::number("id").primary().auto_increment())
///         .column(Column::string("name").not_null()),
/// ).await?;
/// let id = db.execute_with_pool(|conn| {
///     conn.execute("INSERT INTO users (name) VALUES (?1)", ["Ada"])?;
///     Ok(conn.last_insert_rowid())
/// }).await?;
/// let name = db.execute_cached("user 1", None, move |conn| {
///     Ok(conn.query_row("SELECT name FROM users WHERE id = ?1", [id], |row| row.get::<_, String>(0))?)
/// }).await?;
/// assert_eq!(*name, "Ada");
/// db.close_pool().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct DatabaseManager {
    engine: Bound<Arc<Engine>>,
}

impl DatabaseManager {
    /// Starts describing a manager: the same as [`builder`](Self::builder), with the description's name.
    #[expect(clippy::new_ret_no_self, reason = "the description's `new DatabaseManager().withPooling(...)`")]
    pub fn new() -> DatabaseManagerBuilder {
        DatabaseManagerBuilder::new()
    }

    /// Starts describing a manager.
    pub fn builder() -> DatabaseManagerBuilder {
        DatabaseManagerBuilder::new()
    }

    /// Opens a pooled database with the default settings.
    ///
    /// # Errors
    ///
    /// As [`DatabaseManagerBuilder::build`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::builder().path(path).build()
    }

    /// Makes a factory of managers that share defaults.
    #[must_use]
    pub fn create_pool_factory(defaults: impl Into<PoolConfigBuilder>) -> PoolFactory {
        PoolFactory::new(defaults)
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    pub(crate) fn over(engine: Arc<Engine>) -> Self {
        Self { engine: Bound::new(engine) }
    }

    /// Returns the same calls for threads that block.
    #[must_use]
    pub fn blocking(&self) -> Blocking<'_> {
        Blocking::new(&self.engine)
    }

    /// Returns the settings in force; each knows where it came from.
    #[must_use]
    pub fn config(&self) -> Arc<PoolConfig> {
        self.engine.config()
    }

    /// Puts other settings in force while the pool is in use, for all managers of this database. Returns what changed; `None` when all values
    /// are what they were.
    ///
    /// `config` is the whole configuration, keys it does not name go back to their defaults; to change some and leave the rest, begin
    /// with [`config`](Self::config) as below. No connection in use is dropped:
    ///
    /// * A higher `max_connections` serves waiters at once, a lower one closes idle connections at once and others when they come back.
    ///   Times hold at once, but who waits already keeps the deadline it had.
    /// * What connections are made with (`synchronous`, `page_cache_size`, `mmap_size`, `wal_autocheckpoint`, `wal_size_limit`,
    ///   `statement_cache_size`, `enable_statement_pooling`, `stable_query_plans`) holds for connections that are opened from now on; each
    ///   older one is replaced when it would be handed out next.
    /// * Bounds of the query cache hold at once, times to live for results that are stored from now on.
    /// * What can't change while the pool is open (`page_size`, `foreign_keys`, `statement_registry_size`, `cache_shards`; see
    ///   [`Key::is_live`](crate::Key::is_live)) stays as it is; [`Change::waiting_keys`] lists it. [`config`](Self::config) goes on to show the value in
    ///   force, and the one that waits among those it overrides.
    ///
    /// # Errors
    ///
    /// [`Error::Config`](crate::Error::Config) when the settings are refused: then nothing changes. [`Error::Closed`](crate::Error::Closed) after
    /// closing.
    ///
    /// ```
    /// use pool_manager::{DatabaseManager, Key, PoolConfig};
    ///
    /// let db = DatabaseManager::open(":memory:")?;
    /// let change = db.reconfigure(PoolConfig::builder().layer(&*db.config()).max_connections(20).page_size(8192))?;
    /// assert_eq!(db.pool_stats().expect("pooling is on").max_connections, 20);
    ///
    /// let waiting: Vec<Key> = change.expect("two keys").waiting_keys().map(|changed| changed.key).collect();
    /// assert_eq!(waiting, [Key::PageSize]);
    /// assert_eq!(db.config().page_size(), 4096);
    ///
    /// assert!(db.reconfigure(PoolConfig::builder().max_connections(0)).is_err());
    /// assert_eq!(db.config().max_connections(), 20);
    /// # Ok::<(), pool_manager::Error>(())
    /// ```
    pub fn reconfigure(&self, config: impl Into<PoolConfigBuilder>) -> Result<Option<Change>> {
        self.engine.reconfigure(|| Ok(config.into().build()?))
    }

    /// Returns the canonical path of the database, or `:memory:`.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.engine.location().path()
    }

    /// Makes a table. If it exists with the same columns, nothing happens.
    ///
    /// # Errors
    ///
    /// [`Error::Schema`](crate::Error::Schema) when the description is refused or another table of this name exists; otherwise as
    /// [`execute_pooled_transaction`](Self::execute_pooled_transaction).
    pub async fn create(&self, schema: Schema) -> Result<()> {
        self.create_all(vec![schema]).await
    }

    /// Makes several tables, all or none.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub async fn create_all(&self, schemas: impl Into<Vec<Schema>>) -> Result<()> {
        let schemas = schemas.into();
        schema::check_all(&schemas)?;
        self.engine.write(OWN, move |tx| schema::create_all(tx, &schemas)).await
    }

    /// Runs a closure on a pooled connection. It may read and write: readers run in parallel, and from the first statement that
    /// writes until its transaction ends the closure holds the write lane.
    ///
    /// Dropping the future interrupts the statement that runs for it. A panic of the closure goes on in the caller; what it left
    /// open is rolled back.
    ///
    /// # Errors
    ///
    /// What the closure returns; [`Error::AcquireTimeout`](crate::Error::AcquireTimeout) when no connection came in time,
    /// [`Error::WriteLaneTimeout`](crate::Error::WriteLaneTimeout) when the lane did not, [`Error::Busy`](crate::Error::Busy) when
    /// another process kept the file locked, [`Error::Closed`](crate::Error::Closed) after closing.
    pub async fn execute_with_pool<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.engine.call(Use::Any, work).await
    }

    /// Runs a closure that only reads; a statement in it that writes fails with [`Error::ReadOnly`](crate::Error::ReadOnly).
    ///
    /// # Errors
    ///
    /// As [`execute_with_pool`](Self::execute_with_pool).
    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.engine.call(Use::Read, work).await
    }

    /// Runs a closure that writes, in a transaction that it may share with other writes: when many tasks write at the same time, one
    /// commit serves them all.
    ///
    /// Each write still fails alone: an error, a panic or a dropped future undoes that write and no other. When this returns `Ok`, the
    /// commit that holds the write has happened; when the commit fails, every write it held gets
    /// [`Error::CommitFailed`](crate::Error::CommitFailed). With one writer there is nothing to share, and nobody waits for company.
    ///
    /// Because others may share it, the closure can neither begin nor end a transaction
    /// ([`Error::SharedTransaction`](crate::Error::SharedTransaction)); savepoints are its own. Which closures share is for the
    /// manager to say: those of call sites that were quick before, up to `write_batch_max` writes and `write_batch_time`. A call site
    /// that runs statements with `OR ROLLBACK`, which end the whole transaction when they fail, gets its own each time; should it do so
    /// for the first time after it has shared, all that share with it get [`Error::CommitFailed`](crate::Error::CommitFailed).
    ///
    /// # Errors
    ///
    /// As [`execute_pooled_transaction`](Self::execute_pooled_transaction).
    pub async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.engine.write(None, work).await
    }

    /// Runs a closure in a transaction that begins immediate: commits when it returns `Ok`, rolls back on an error or a panic.
    ///
    /// Transactions of this process run one after another, first come first served. When this returns `Ok`, the commit has happened.
    ///
    /// # Errors
    ///
    /// As [`execute_with_pool`](Self::execute_with_pool), and what the commit reports.
    pub async fn execute_pooled_transaction<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.engine.write(OWN, work).await
    }

    /// Runs a list of operations in one immediate transaction: results in order, all or nothing.
    ///
    /// # Errors
    ///
    /// As [`execute_pooled_transaction`](Self::execute_pooled_transaction); the first operation that fails ends the list.
    pub async fn execute_pooled_operations<T: Send + 'static>(&self, operations: Vec<Operation<T>>) -> Result<Vec<T>> {
        self.engine.write(OWN, move |tx| operations.into_iter().map(|run| run(tx)).collect()).await
    }

    /// Returns the stored result of a query, or runs it, once for all who ask at the same time, and stores what it returns.
    ///
    /// A stored result is returned only while nothing that the query read was changed since before it began, by anybody, in this process or
    /// another: a hit is never stale. Commits of this process outdate what read the tables they wrote, directly, by triggers or by
    /// foreign keys, and of what read single rows by their primary key only that which read the rows they wrote; commits of others, and
    /// changes of the schema, outdate everything, and so does any commit to a file outside WAL mode. With the setting `external_writers` =
    /// `poll` or `none`, commits of other processes are seen later. `ttl` bounds its age as well; `None` means the setting `cache_ttl` (5 minutes).
    /// The closure only reads. Results are told apart by `key`, by their type and by the closure, so two queries under one key can't
    /// get each other's rows; what the closure *captures* is not looked at and belongs into the key. Errors are not stored.
    ///
    /// With `enable_query_cache` off this is [`read`](Self::read).
    ///
    /// # Errors
    ///
    /// As [`execute_with_pool`](Self::execute_with_pool); callers that waited for one query get its error as
    /// [`Error::Shared`](crate::Error::Shared).
    pub async fn execute_cached<T, F>(&self, key: impl AsRef<str>, ttl: Option<Duration>, query: F) -> Result<Arc<T>>
    where
        T: Send + Sync + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        self.engine.cached(key.as_ref(), Manner { ttl, ..Manner::default() }, query).await
    }

    /// Takes a connection to hold by hand; it goes back when dropped.
    ///
    /// Its calls run where they are made: in async code keep them short.
    ///
    /// # Errors
    ///
    /// As [`execute_with_pool`](Self::execute_with_pool).
    pub async fn acquire(&self) -> Result<PooledConnection> {
        Ok(PooledConnection::new(self.engine.lease().await?))
    }

    /// Returns the pool's figures, or `None` on a direct connection and in a child that was forked from the process that opened the pool.
    #[must_use]
    pub fn pool_stats(&self) -> Option<PoolStats> {
        (self.engine.plan().pooled && !self.engine.is_inherited()).then(|| self.engine.stats())
    }

    /// Lists the statements that this database knows by their SQL text, with what happened to them: prepared, found, run, rows scanned,
    /// sorts, memory, time, last error. At most `statement_registry_size` of them, in no order.
    ///
    /// A connection tells what it counted now and then: every 32 uses of a statement at the latest, and when it is given back for the
    /// first time after a listing; the list may be behind by that. Statements run through plain rusqlite calls are not in it.
    /// Times are SQLite's, which measures in milliseconds: they are right in sum.
    ///
    /// ```
    /// # let db = pool_manager::DatabaseManager::open(":memory:")?;
    /// db.blocking().read(|conn| Ok(conn.prepare_cached("SELECT 1")?.query_row([], |_| Ok(()))?))?;
    /// let statements = db.statements();
    /// let one = statements.iter().find(|statement| &*statement.sql == "SELECT 1").expect("it was prepared");
    /// assert!(one.facts.read_only);
    /// # Ok::<(), pool_manager::Error>(())
    /// ```
    #[must_use]
    pub fn statements(&self) -> Vec<StatementReport> {
        self.statements_of(StatementRegistry::statements)
    }

    fn statements_of(&self, list: impl FnOnce(&StatementRegistry) -> Vec<StatementReport>) -> Vec<StatementReport> {
        if self.engine.is_inherited() { Vec::new() } else { list(self.engine.statements()) }
    }

    /// Lists the ten statements whose runs take longest on average, the slowest first, of those whose time is known.
    ///
    /// See [`statements`](Self::statements).
    #[must_use]
    pub fn slowest_statements(&self) -> Vec<StatementReport> {
        self.statements_of(|statements| statements.slowest(LISTED))
    }

    /// Lists the ten statements that stepped over most rows in full scans of tables, the most first, of those that do: an index may be
    /// missing.
    ///
    /// See [`statements`](Self::statements).
    #[must_use]
    pub fn scanning_statements(&self) -> Vec<StatementReport> {
        self.statements_of(|statements| statements.scanning(LISTED))
    }

    /// Lists those who have been reading the same state of the database for `long_read` or longer: as long as they do, what is committed
    /// stays in the write-ahead log. Each is told of once by a `tracing` event, too: when the log can't be emptied because of it, or when
    /// a part of the log is written back.
    ///
    /// A closure that reads counts from its begin, a stream from its first row, a connection on which anything may be done from the first
    /// statement of its transaction or the one that is not finished. Empty outside WAL mode, and with `long_read` off.
    ///
    /// ```
    /// # let db = pool_manager::DatabaseManager::open(":memory:")?;
    /// for reader in db.long_readers() {
    ///     println!("{} for {:?}: {:?}", reader.site, reader.reading_for, reader.sql);
    /// }
    /// # Ok::<(), pool_manager::Error>(())
    /// ```
    #[must_use]
    pub fn long_readers(&self) -> Vec<LongReader> {
        if self.engine.is_inherited() { Vec::new() } else { self.engine.long_readers() }
    }

    /// Returns the figures of all pools of this process.
    #[must_use]
    pub fn global_pool_stats() -> GlobalPoolStats {
        registry::stats()
    }

    /// Closes the pool, for all managers of this database: no new work, waiters get an error at once, running work may finish within
    /// `close_timeout` and is interrupted after that, and the log is written back into the database file.
    ///
    /// # Errors
    ///
    /// [`Error::StillInUse`](crate::Error::StillInUse) when connections held by hand did not come back in time; what the last
    /// checkpoint reports. Nothing that was committed is lost by either.
    pub async fn close_pool(&self) -> Result<()> {
        self.engine.close(self.config().close_timeout()).await
    }

    /// The same with another deadline; zero interrupts at once.
    ///
    /// # Errors
    ///
    /// As [`close_pool`](Self::close_pool).
    pub async fn close_pool_within(&self, deadline: Duration) -> Result<()> {
        self.engine.close(deadline).await
    }

    /// Closes every pool of this process, all at the same time, each within its `close_timeout`. Returns how many there were.
    ///
    /// # Errors
    ///
    /// The first error of a checkpoint; the others were closed all the same.
    pub async fn close_all_pools() -> Result<usize> {
        registry::close_all(None).await
    }

    /// The same with one deadline for all.
    ///
    /// # Errors
    ///
    /// As [`close_all_pools`](Self::close_all_pools).
    pub async fn close_all_pools_within(deadline: Duration) -> Result<usize> {
        registry::close_all(Some(deadline)).await
    }

    /// Runs one pass of maintenance now: what the background does every `reap_interval`.
    ///
    /// Closes connections that are idle for too long or too old, begins to refill to the minimum, checks the health of idle ones, frees
    /// expired results. Does not wait for the connections it opens.
    pub fn maintain(&self) {
        self.engine.maintain();
    }
}
