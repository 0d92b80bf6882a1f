//! The manager's calls for threads that block.
//!
//! Owns the same names with the same meaning as `manager`; closures run on the calling thread and may borrow from it, but for those of
//! `write` and `write_with`, which whoever commits for all runs.

use std::sync::Arc;
use std::time::Duration;

use crate::connection::Connection;
use crate::engine::Engine;
use crate::error::Result;
use crate::pooled::PooledConnection;
use crate::query_cache::Manner;
use crate::registry;
use crate::schema::{self, Schema};
use crate::session::Use;
use crate::transaction::{Operation, Transaction, TransactionKind};

/// The calls of [`DatabaseManager`](crate::DatabaseManager) for threads; from
/// [`blocking`](crate::DatabaseManager::blocking).
///
/// Async and blocking callers share one pool and its queues. Don't call these in async code: they would hold up the runtime.
///
/// ```
/// # let db = pool_manager::DatabaseManager::open(":memory:")?;
/// let mut names = vec!["Ada", "Grace"];
/// db.blocking().execute_pooled_transaction(|tx| {
///     tx.execute_batch("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)")?;
///     let mut insert = tx.prepare_cached("INSERT INTO users (name) VALUES (?1)")?;
///     for name in names.drain(..) {
///         insert.execute([name])?;
///     }
///     Ok(())
/// })?;
/// # Ok::<(), pool_manager::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Blocking<'m> {
    engine: &'m Arc<Engine>,
}

impl<'m> Blocking<'m> {
    pub(crate) fn new(engine: &'m Arc<Engine>) -> Self {
        Self { engine }
    }

    pub(crate) fn engine(&self) -> &'m Arc<Engine> {
        self.engine
    }

    /// Makes a table; see [`DatabaseManager::create`](crate::DatabaseManager::create).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn create(&self, schema: Schema) -> Result<()> {
        self.create_all(vec![schema])
    }

    /// Makes several tables, all or none; see [`DatabaseManager::create_all`](crate::DatabaseManager::create_all).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn create_all(&self, schemas: impl Into<Vec<Schema>>) -> Result<()> {
        let schemas = schemas.into();
        schema::check_all(&schemas)?;
        self.engine.write_alone_blocking(TransactionKind::Immediate, |tx| schema::create_all(tx, &schemas))
    }

    /// Runs a closure on a pooled connection; see
    /// [`DatabaseManager::execute_with_pool`](crate::DatabaseManager::execute_with_pool).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn execute_with_pool<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.engine.call_blocking(Use::Any, work)
    }

    /// Runs a closure that only reads; see [`DatabaseManager::read`](crate::DatabaseManager::read).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.engine.call_blocking(Use::Read, work)
    }

    /// Runs a closure in a transaction that it may share with other writes, of threads and of tasks; see
    /// [`DatabaseManager::write`](crate::DatabaseManager::write). When many threads write at the same time, one of them commits for all,
    /// so the closure may run on another thread. One that borrows from its thread has a transaction of its own with
    /// [`execute_pooled_transaction`](Self::execute_pooled_transaction).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.engine.write_blocking(work)
    }

    /// Runs a closure in an immediate transaction; see
    /// [`DatabaseManager::execute_pooled_transaction`](crate::DatabaseManager::execute_pooled_transaction). It runs on the calling thread
    /// and may borrow from it.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn execute_pooled_transaction<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        self.engine.write_alone_blocking(TransactionKind::Immediate, work)
    }

    /// Runs a list of operations in one transaction; see
    /// [`DatabaseManager::execute_pooled_operations`](crate::DatabaseManager::execute_pooled_operations).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn execute_pooled_operations<T>(&self, operations: Vec<Operation<T>>) -> Result<Vec<T>> {
        self.engine
            .write_alone_blocking(TransactionKind::Immediate, |tx| operations.into_iter().map(|run| run(tx)).collect())
    }

    /// Returns a stored result or runs its query; see
    /// [`DatabaseManager::execute_cached`](crate::DatabaseManager::execute_cached).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn execute_cached<T, F>(&self, key: impl AsRef<str>, ttl: Option<Duration>, query: F) -> Result<Arc<T>>
    where
        T: Send + Sync + 'static,
        F: FnOnce(&Connection) -> Result<T> + 'static,
    {
        self.engine.cached_blocking(key.as_ref(), Manner { ttl, ..Manner::default() }, query)
    }

    /// Takes a connection to hold by hand; see [`DatabaseManager::acquire`](crate::DatabaseManager::acquire).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn acquire(&self) -> Result<PooledConnection> {
        Ok(PooledConnection::new(self.engine.lease_blocking()?))
    }

    /// Closes the pool; see [`DatabaseManager::close_pool`](crate::DatabaseManager::close_pool).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn close_pool(&self) -> Result<()> {
        self.engine.close_blocking(self.engine.config().close_timeout())
    }

    /// The same with another deadline; zero interrupts at once.
    ///
    /// # Errors
    ///
    /// As [`close_pool`](Self::close_pool).
    pub fn close_pool_within(&self, deadline: Duration) -> Result<()> {
        self.engine.close_blocking(deadline)
    }
}

/// Closes every pool of this process; see
/// [`DatabaseManager::close_all_pools`](crate::DatabaseManager::close_all_pools). `None` means each pool's own `close_timeout`.
///
/// # Errors
///
/// As there.
pub fn close_all_pools(deadline: Option<Duration>) -> Result<usize> {
    registry::close_all_blocking(deadline)
}
