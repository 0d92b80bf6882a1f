//! The calls with choices of their own, and those for transactions and bulk work, for async callers and for threads.
//!
//! Owns names and documentation; the work is that of `chosen`, `writing` and `bulk`.

use std::future::Future;

use crate::blocking::Blocking;
use crate::call_options::CallOptions;
use crate::connection::Connection;
use crate::error::Result;
use crate::manager::DatabaseManager;
use crate::receipt::WriteReceipt;
use crate::session::Use;
use crate::transaction::{Transaction, TransactionKind};

impl DatabaseManager {
    /// As [`execute_with_pool`](Self::execute_with_pool), with choices for this call.
    ///
    /// # Errors
    ///
    /// As [`execute_with_pool`](Self::execute_with_pool); [`Error::DeadlinePassed`](crate::Error::DeadlinePassed) when its time is over:
    /// what the closure had committed by then stays.
    pub async fn execute_with_pool_with<T: Send + 'static>(
        &self,
        options: CallOptions,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.engine().call_with(Use::Any, &options, work).await
    }

    /// As [`read`](Self::read), with choices for this call.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read); [`Error::DeadlinePassed`](crate::Error::DeadlinePassed) when its time is over.
    ///
    /// ```
    /// use pool_manager::{CallOptions, WorkPlacement};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> pool_manager::Result<()> {
    /// # let db = pool_manager::DatabaseManager::open(":memory:")?;
    /// // A report: never on the thread of a task, however quick it was the last time.
    /// let options = CallOptions::new().run(WorkPlacement::Blocking);
    /// let one: i64 = db.read_with(options, |conn| Ok(conn.query_row("SELECT 1", [], |row| row.get(0))?)).await?;
    /// # assert_eq!(one, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn read_with<T: Send + 'static>(
        &self,
        options: CallOptions,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.engine().call_with(Use::Read, &options, work).await
    }

    /// As [`write`](Self::write), with choices for this call.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write); [`Error::DeadlinePassed`](crate::Error::DeadlinePassed) when its time is over: then nothing of it is in
    /// the database.
    pub fn write_with<'a, T, W>(
        &'a self,
        options: CallOptions,
        work: W,
    ) -> impl Future<Output = Result<T>> + Send + use<'a, T, W>
    where
        T: Send + 'static,
        W: FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    {
        // Also a future that is never polled has to tell its receipt.
        let entry = options.receipt.as_ref().map(WriteReceipt::begin);
        self.engine().write_with(options, entry, work)
    }

    /// Runs a closure in a transaction of its own that begins immediate: commits when it returns `Ok`, rolls back on an error or a panic.
    ///
    /// Another name of [`execute_pooled_transaction`](Self::execute_pooled_transaction). [`write`](Self::write) lets others share the commit
    /// and is the quicker one where many write.
    ///
    /// # Errors
    ///
    /// As [`execute_pooled_transaction`](Self::execute_pooled_transaction).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> pool_manager::Result<()> {
    /// # let db = pool_manager::DatabaseManager::open(":memory:")?;
    /// let id = db.transaction(|tx| {
    ///     tx.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, a); INSERT INTO t (a) VALUES ('x')")?;
    ///     Ok(tx.last_insert_rowid())
    /// }).await?;
    /// assert_eq!(id, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn transaction<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.engine().write(Some(TransactionKind::Immediate), work).await
    }

    /// As [`transaction`](Self::transaction), with choices for this call: a [`TransactionKind`] or [`CallOptions`].
    ///
    /// # Errors
    ///
    /// As [`transaction`](Self::transaction); [`Error::DeadlinePassed`](crate::Error::DeadlinePassed) when its time is over: then nothing of
    /// it is in the database.
    pub fn transaction_with<'a, T, O, W>(
        &'a self,
        options: O,
        work: W,
    ) -> impl Future<Output = Result<T>> + Send + use<'a, T, O, W>
    where
        T: Send + 'static,
        O: Into<CallOptions>,
        W: FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    {
        self.write_with(options.into().alone(), work)
    }

    /// As [`execute_pooled_transaction`](Self::execute_pooled_transaction), with a choice of how the transaction begins, or other
    /// [`CallOptions`].
    ///
    /// # Errors
    ///
    /// As [`transaction_with`](Self::transaction_with).
    pub fn execute_pooled_transaction_with<'a, T, O, W>(
        &'a self,
        options: O,
        work: W,
    ) -> impl Future<Output = Result<T>> + Send + use<'a, T, O, W>
    where
        T: Send + 'static,
        O: Into<CallOptions>,
        W: FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    {
        self.transaction_with(options, work)
    }

    /// Writes many items, `each` one by one, in transactions that take turns with those of others. Returns how many were written; what `each`
    /// returns besides errors is dropped.
    ///
    /// Items are written in *slices*: a slice is one transaction in the write queue, ended by its number of items (the setting
    /// `write_batch_max`) or its time (`write_batch_time`), whichever comes first. After each one this goes to the end of the queue, so
    /// that whoever came meanwhile writes before the next. Items are asked for one at a time, in the transaction that writes them: no more
    /// of them is in memory than that, and an iterator that waits for something keeps others waiting.
    ///
    /// Bulk work as a whole is not one transaction: when it ends early, the slices before stay, and nothing of the slice that failed. That
    /// goes for an item that fails, for a dropped future, and for a panic of the iterator or of `each`, which goes on in the caller. For
    /// all or nothing, loop in [`transaction`](Self::transaction), and others wait.
    ///
    /// # Errors
    ///
    /// [`Error::BulkStopped`](crate::Error::BulkStopped), which says how many items are in the database; its cause is what `each` returned
    /// or what [`transaction`](Self::transaction) has.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> pool_manager::Result<()> {
    /// # let db = pool_manager::DatabaseManager::open(":memory:")?;
    /// db.transaction(|tx| Ok(tx.execute_batch("CREATE TABLE t (a INTEGER PRIMARY KEY)")?)).await?;
    /// let written = db.write_many(0..1_000, |tx, a| {
    ///     Ok(tx.prepare_cached("INSERT INTO t VALUES (?1)")?.execute([a])?)
    /// }).await?;
    /// assert_eq!(written, 1_000);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn write_many<I, F, R>(&self, items: I, each: F) -> Result<u64>
    where
        I: IntoIterator,
        I::IntoIter: Send + 'static,
        F: FnMut(&Transaction<'_>, I::Item) -> Result<R> + Send + 'static,
    {
        self.engine().write_many(CallOptions::new(), items.into_iter(), each).await
    }

    /// As [`write_many`](Self::write_many), with choices for this call: its deadline is one for all slices, its priority each one's.
    ///
    /// # Errors
    ///
    /// As [`write_many`](Self::write_many).
    pub async fn write_many_with<I, F, R>(&self, options: CallOptions, items: I, each: F) -> Result<u64>
    where
        I: IntoIterator,
        I::IntoIter: Send + 'static,
        F: FnMut(&Transaction<'_>, I::Item) -> Result<R> + Send + 'static,
    {
        self.engine().write_many(options, items.into_iter(), each).await
    }
}

impl Blocking<'_> {
    /// As [`DatabaseManager::execute_with_pool_with`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn execute_with_pool_with<T>(
        &self,
        options: CallOptions,
        work: impl FnOnce(&Connection) -> Result<T>,
    ) -> Result<T> {
        self.engine().call_blocking_with(Use::Any, &options, work)
    }

    /// As [`DatabaseManager::read_with`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn read_with<T>(&self, options: CallOptions, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.engine().call_blocking_with(Use::Read, &options, work)
    }

    /// As [`DatabaseManager::write_with`]. As with [`write`](Self::write), the closure may run on another thread; one that borrows from
    /// its thread goes to [`transaction_with`](Self::transaction_with).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn write_with<T: Send + 'static>(
        &self,
        options: CallOptions,
        work: impl FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.engine().write_blocking_with(options, work)
    }

    /// Runs a closure in a transaction of its own; see [`DatabaseManager::transaction`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn transaction<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        self.engine().write_alone_blocking(TransactionKind::Immediate, work)
    }

    /// As [`DatabaseManager::transaction_with`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn transaction_with<T>(
        &self,
        options: impl Into<CallOptions>,
        work: impl FnOnce(&Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        self.engine().transaction_blocking_with(&options.into().alone(), work)
    }

    /// As [`DatabaseManager::execute_pooled_transaction_with`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn execute_pooled_transaction_with<T>(
        &self,
        options: impl Into<CallOptions>,
        work: impl FnOnce(&Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        self.transaction_with(options, work)
    }

    /// Writes many items in slices; see [`DatabaseManager::write_many`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn write_many<I: IntoIterator, R>(
        &self,
        items: I,
        each: impl FnMut(&Transaction<'_>, I::Item) -> Result<R>,
    ) -> Result<u64> {
        self.engine().write_many_blocking(CallOptions::new(), items.into_iter(), each)
    }

    /// As [`DatabaseManager::write_many_with`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn write_many_with<I: IntoIterator, R>(
        &self,
        options: CallOptions,
        items: I,
        each: impl FnMut(&Transaction<'_>, I::Item) -> Result<R>,
    ) -> Result<u64> {
        self.engine().write_many_blocking(options, items.into_iter(), each)
    }
}
