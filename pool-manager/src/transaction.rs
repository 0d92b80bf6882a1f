//! Transactions: begun on a connection, committed on demand, rolled back otherwise.
//!
//! Owns the kinds of SQLite's transactions, savepoints within them, and the list form of the description. It must not know lanes:
//! a statement that begins a transaction queues by itself.

use std::ops::Deref;

use pool_stmt::{StatementKey, statement};
use rusqlite::ffi;

use crate::connection::Connection;
use crate::error::{Error, Result, primary_code};
use crate::session::Phase;

/// How a transaction begins (<https://www.sqlite.org/lang_transaction.html>).
///
/// All three hold the write lane of this process from the beginning, so that none can fail half-way because another caller of this
/// process wrote. They differ in what *other processes* notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TransactionKind {
    /// Locks the file at the first statement that writes. The first write after a read fails with
    /// [`StaleSnapshot`](crate::Error::StaleSnapshot) when another process has committed since the read, and with
    /// [`Busy`](crate::Error::Busy) at once while another process writes: waiting could not help.
    Deferred,
    /// Takes the file's write lock at once. The default.
    #[default]
    Immediate,
    /// Takes the file's write lock at once and, outside WAL mode, keeps readers of other connections out as well.
    Exclusive,
}

/// One operation of a list; see [`operation`].
pub type Operation<T> = Box<dyn FnOnce(&Transaction<'_>) -> Result<T> + Send>;

/// Boxes a closure as one operation for
/// [`execute_pooled_operations`](crate::DatabaseManager::execute_pooled_operations).
pub fn operation<T>(run: impl FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static) -> Operation<T> {
    Box::new(run)
}

/// An open transaction on a pooled connection. Derefs to [`Connection`]; rolls back when dropped without
/// [`commit`](Self::commit).
#[derive(Debug)]
pub struct Transaction<'c> {
    connection: &'c Connection,
    phase: OpenPhase<'c>,
    open: Open<'c>,
}

/// A transaction whose end is its owner's to say, until this is dropped.
#[derive(Debug)]
struct OpenPhase<'c>(&'c Connection);

impl Drop for OpenPhase<'_> {
    fn drop(&mut self) {
        self.0.session().set_phase(Phase::Outside);
    }
}

/// Rolls back what is open when this is dropped.
#[derive(Debug)]
struct Open<'c>(&'c Connection);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if self.0.is_autocommit() {
            return;
        }
        self.0.give_up_snapshot();
        if let Err(error) = run(self.0, &statement!("ROLLBACK")) {
            // Cleaning up after the use tries again, and discards the connection if that fails, too.
            tracing::debug!(target: "pool_manager", %error, "a transaction could not be rolled back");
        }
    }
}

/// Runs a statement that returns nothing.
pub(crate) fn run(connection: &Connection, key: &StatementKey<'_>) -> rusqlite::Result<()> {
    connection.forget_interrupt();
    connection.prepare_keyed(key)?.execute([]).map(drop)
}

impl<'c> Transaction<'c> {
    pub(crate) fn begin(connection: &'c Connection, kind: TransactionKind) -> Result<Self> {
        let begin = || match kind {
            TransactionKind::Deferred => run(connection, &statement!("BEGIN DEFERRED")),
            TransactionKind::Immediate => run(connection, &statement!("BEGIN IMMEDIATE")),
            TransactionKind::Exclusive => run(connection, &statement!("BEGIN EXCLUSIVE")),
        };
        if kind != TransactionKind::Immediate {
            connection.give_up_snapshot();
        }
        match begin() {
            // Another process writes, for which SQLite does not wait on a snapshot, or has committed since it was taken.
            Err(error) if primary_code(&error) == Some(ffi::SQLITE_BUSY) && connection.give_up_snapshot() => begin(),
            begun => begun,
        }?;
        connection.session().set_phase(Phase::Open);
        // The guard first: it ends the phase before the other one rolls back.
        Ok(Self { connection, phase: OpenPhase(connection), open: Open(connection) })
    }

    /// Commits. When this returns `Ok`, the changes are in the database.
    ///
    /// # Errors
    ///
    /// When SQLite can't commit (a deferred foreign key is violated, the disk is full), or when the transaction is over already
    /// ([`Error::TransactionEnded`]); then everything is rolled back.
    pub fn commit(self) -> Result<()> {
        let session = self.connection.session();
        if session.has_ended(self.connection.is_autocommit()) {
            return Err(Error::TransactionEnded);
        }
        session.set_phase(Phase::Committing);
        session.explain(run(self.open.0, &statement!("COMMIT")).map_err(Into::into))
    }

    /// Rolls back now; dropping the transaction does the same, silently.
    ///
    /// # Errors
    ///
    /// When SQLite reports one; the connection is then discarded at release.
    pub fn rollback(self) -> Result<()> {
        drop(self.phase);
        Ok(run(self.open.0, &statement!("ROLLBACK"))?)
    }

    /// Runs a part that can fail alone: an error or a panic undoes what `part` did and leaves the rest of the transaction whole.
    ///
    /// # Errors
    ///
    /// The error of `part`, or SQLite's when the savepoint can't be made or released.
    ///
    /// ```
    /// # let db = pool_manager::DatabaseManager::open(":memory:")?;
    /// let kept = db.blocking().execute_pooled_transaction(|tx| {
    ///     tx.execute_batch("CREATE TABLE t (a INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)")?;
    ///     let failed = tx.savepoint(|tx| {
    ///         tx.execute("INSERT INTO t VALUES (2)", [])?;
    ///         Ok(tx.execute("INSERT INTO t VALUES (1)", [])?)
    ///     });
    ///     assert!(failed.is_err());
    ///     Ok(tx.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0))?)
    /// })?;
    /// assert_eq!(kept, 1);
    /// # Ok::<(), pool_manager::Error>(())
    /// ```
    pub fn savepoint<T>(&self, part: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        self.connection.execute_batch("SAVEPOINT part")?;
        let undo = UndoPart(self.connection);
        let value = part(self)?;
        self.connection.execute_batch("RELEASE part")?;
        std::mem::forget(undo);
        Ok(value)
    }
}

impl Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

/// Takes back what happened since the savepoint when it is dropped, by an error or a panic.
struct UndoPart<'c>(&'c Connection);

impl Drop for UndoPart<'_> {
    fn drop(&mut self) {
        // Fails only when the whole transaction is gone already, and then there is nothing to take back.
        let _ = self.0.execute_batch("ROLLBACK TO part; RELEASE part");
    }
}
