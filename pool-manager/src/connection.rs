//! A connection as users see it: everything rusqlite can do, with reused statements and transactions that queue fairly.
//!
//! Owns the pairing of one SQLite connection with its statements and its session, and cleaning up after a use. It must not know
//! the pool it lies in. Invariant: it is only ever lent as `&Connection`, so that no user can swap two of them or replace the hooks.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use pool_stmt::StatementRegistry;
use pool_stmt::rusqlite::{CachedStatement, StatementConnection};

use crate::busy;
use crate::error::{Error, Result};
use crate::location::FileIdentity;
use crate::session::Session;
use crate::trace;
use crate::transaction::{Transaction, TransactionKind};

/// A pooled connection, lent to a closure or held through [`PooledConnection`](crate::PooledConnection).
///
/// Derefs to [`rusqlite::Connection`], so `execute`, `query_row`, `prepare` and libraries written for rusqlite work unchanged.
/// [`prepare_cached`](Self::prepare_cached) reuses statements, and [`transaction`](Self::transaction) begins one that writes.
///
/// Statements that write queue in the database's write lane by themselves, first come first served, however they are run: no
/// caller of this process meets `SQLITE_BUSY` because of another one. The lane is held until the connection is back outside a
/// transaction.
#[derive(Debug)]
pub struct Connection {
    // Order matters: the connection closes before the session its hooks point to.
    statements: StatementConnection,
    session: Arc<Session>,
    identity: Option<FileIdentity>,
    generation: u64,
}

/// What is set on each new connection.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) pragmas: String,
    pub(crate) statement_capacity: usize,
    pub(crate) warm: bool,
}

/// What a result depends on besides the content of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Volatile {
    /// A table of this connection alone, or of another file.
    Table(String),
    /// A function that may return something else each time.
    Function(String),
    /// A pragma, a virtual table, or whatever else can't be followed.
    Unknown,
}

impl fmt::Display for Volatile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(table) => write!(f, "it reads {table}, which is not in the database itself"),
            Self::Function(name) => write!(f, "it calls {name}(), which may return something else each time"),
            Self::Unknown => f.write_str("it reads a pragma, a virtual table or something else that can't be followed"),
        }
    }
}

impl Connection {
    /// Dresses a freshly opened SQLite connection.
    pub(crate) fn new(
        mut connection: rusqlite::Connection,
        session: Arc<Session>,
        registry: Arc<StatementRegistry>,
        setup: &Setup,
        identity: Option<FileIdentity>,
        generation: u64,
    ) -> Result<Self> {
        busy::install(&mut connection, &session)?;
        connection.execute_batch(&setup.pragmas)?;
        session.set_interrupt(connection.get_interrupt_handle());
        let statements = StatementConnection::new(connection, registry, setup.statement_capacity);
        trace::install(&statements, &session)?;
        if setup.warm {
            statements.warm(setup.statement_capacity / 2, Duration::from_millis(1));
        }
        Ok(Self { statements, session, identity, generation })
    }

    /// Prepares a statement, or takes it from this connection's cache when it was prepared before.
    ///
    /// With `enable_statement_pooling` off it is prepared each time; nothing else changes.
    ///
    /// # Errors
    ///
    /// What SQLite says about the statement.
    ///
    /// ```
    /// # let db = pool_manager::DatabaseManager::open(":memory:")?;
    /// let twice = db.blocking().execute_with_pool(|conn| {
    ///     let mut double = conn.prepare_cached("SELECT ?1 * 2")?;
    ///     Ok(double.query_row([21], |row| row.get::<_, i64>(0))?)
    /// })?;
    /// assert_eq!(twice, 42);
    /// # Ok::<(), pool_manager::Error>(())
    /// ```
    pub fn prepare_cached(&self, sql: &str) -> rusqlite::Result<CachedStatement<'_>> {
        self.statements.prepare_cached(sql)
    }

    /// Begins an immediate transaction: it queues in the write lane now and rolls back unless it is committed.
    ///
    /// # Errors
    ///
    /// When a transaction is open already, or the lane or another process keep it waiting for too long.
    pub fn transaction(&self) -> Result<Transaction<'_>> {
        self.transaction_with(TransactionKind::Immediate)
    }

    /// Begins a transaction of the given kind; see [`TransactionKind`].
    ///
    /// # Errors
    ///
    /// As [`transaction`](Self::transaction).
    pub fn transaction_with(&self, kind: TransactionKind) -> Result<Transaction<'_>> {
        self.session.explain(Transaction::begin(self, kind))
    }

    /// Says what an error of SQLite means on this connection: who was waited for, which rule forbids it.
    ///
    /// Closures given to the manager need not call this: what they return is explained on the way out. It is for connections held by
    /// hand.
    #[must_use]
    pub fn explain(&self, error: rusqlite::Error) -> Error {
        self.session.explain_sqlite(error)
    }

    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    pub(crate) fn identity(&self) -> Option<FileIdentity> {
        self.identity
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Forgets what was read so far, to see what is read from now on.
    pub(crate) fn begin_observing(&self) {
        self.statements.take_accesses();
    }

    /// Says why running the same statements again could give other results although nothing was committed; `None` when it could not.
    pub(crate) fn why_not_repeatable(&self) -> Option<Volatile> {
        let accesses = self.statements.take_accesses();
        if let Some(table) = accesses.tables_read.keys().find(|table| &*table.database != "main") {
            return Some(Volatile::Table(table.to_string()));
        }
        let functions = accesses.functions.iter().find(|name| !self.statements.is_deterministic(name));
        if let Some(function) = functions {
            return Some(Volatile::Function(function.to_string()));
        }
        (accesses.unknown || accesses.changes_schema).then_some(Volatile::Unknown)
    }

    /// Undoes what a use left behind. An error means that the connection can't be used again.
    pub(crate) fn reset(&self) -> Result<()> {
        self.session.end();
        let clean = self.roll_back();
        self.session.give_permit_back();
        clean
    }

    fn roll_back(&self) -> Result<()> {
        if !self.is_autocommit() {
            self.execute_batch("ROLLBACK")?;
        }
        // A statement that was leaked half-way pins a snapshot and its tables; nobody can reset it any more.
        if self.is_busy() {
            return Err(Error::application("a statement was left running"));
        }
        self.statements.rest();
        Ok(())
    }
}

impl Deref for Connection {
    type Target = rusqlite::Connection;

    fn deref(&self) -> &rusqlite::Connection {
        &self.statements
    }
}
