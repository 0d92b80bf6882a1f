//! A connection as users see it: everything rusqlite can do, with reused statements and transactions that queue fairly.
//!
//! Owns the pairing of one SQLite connection with its statements and its session, and cleaning up after a use. It must not know
//! the pool it lies in. Invariant: it is only ever lent as `&Connection`, so that no user can swap two of them or replace the hooks.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use pool_config::PoolConfig;
use pool_stmt::rusqlite::{CachedStatement, StatementConnection};
use pool_stmt::{StatementKey, StatementRegistry};
use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthContext, Authorization};

use crate::anchor::Stamp;
use crate::error::{Error, Result};
use crate::hooks;
use crate::inherited::Listed;
use crate::key_look::Undecided;
use crate::key_query::KeyQueries;
use crate::location::FileIdentity;
use crate::pragmas;
use crate::reads::{self, Ground, Seen};
use crate::remains::{self, Fresh};
use crate::session::{Session, Ticket, Use};
use crate::snapshot::Snapshot;
use crate::sweeper;
use crate::transaction::{Transaction, TransactionKind};
use crate::volatile::Volatile;

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
    // Order matters: the connection closes after what was noted about it, and before the session its hooks point to.
    listed: Listed,
    fresh: Fresh,
    kept: Kept,
    queries: KeyQueries,
    statements: StatementConnection,
    session: Arc<Session>,
    origin: Origin,
    /// Functions with the names of SQLite's own that may return something else each time.
    replaced: Names,
    /// Whether there is nothing in it but the database.
    is_plain: bool,
    /// What stands in its place in a process that has inherited it.
    instead: OnceCell<rusqlite::Connection>,
}

/// What is kept between two uses that read, until the connection closes.
#[derive(Debug)]
struct Kept(Option<Arc<Snapshot>>);

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(snapshot) = &self.0 {
            snapshot.retire();
            sweeper::remove(snapshot);
        }
    }
}

/// Which file a connection is on and what it was made with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    /// `None` in memory.
    pub(crate) identity: Option<FileIdentity>,
    /// Which anchor it was made under.
    pub(crate) generation: u64,
    /// Which settings it was made with.
    pub(crate) edition: u64,
    /// Whether the file was in WAL mode, and so has a wal-index.
    pub(crate) in_wal: bool,
}

/// What new connections get besides their settings.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) on_connect: Option<OnConnect>,
    /// The functions of a connection that nobody has used yet, found out on the first.
    pub(crate) functions: OnceLock<Functions>,
}

/// Which functions there are.
#[derive(Debug, Clone)]
pub(crate) struct Functions {
    all: Names,
    /// Those that the program has put in the place of SQLite's own, and which it does not call deterministic.
    replaced: Names,
}

/// Names in lower case.
type Names = Arc<HashSet<Box<str>>>;

impl Setup {
    fn functions(&self, connection: &rusqlite::Connection) -> Result<Functions> {
        if let Some(known) = self.functions.get() {
            return Ok(known.clone());
        }
        // No function is called here: it may be one of the program's.
        let names = |sql: &str| -> Result<Names> {
            let mut all = connection.prepare(sql)?;
            let all = all.query_map([], |row| Ok(row.get_ref(0)?.as_str()?.to_ascii_lowercase().into()))?;
            Ok(Arc::new(all.collect::<rusqlite::Result<_>>()?))
        };
        let all = names("SELECT DISTINCT name FROM pragma_function_list")?;
        // 0x800 is SQLITE_DETERMINISTIC: https://www.sqlite.org/pragma.html#pragma_function_list
        let replaced = "SELECT name FROM pragma_function_list WHERE NOT builtin AND NOT flags & 0x800
            AND name COLLATE nocase IN (SELECT name FROM pragma_function_list WHERE builtin)";
        let replaced = if self.on_connect.is_some() { names(replaced)? } else { Names::default() };
        Ok(self.functions.get_or_init(|| Functions { all, replaced }).clone())
    }
}

/// What a program does on each new connection.
#[derive(Clone)]
pub(crate) struct OnConnect(pub(crate) Arc<Prepare>);

type Prepare = dyn Fn(&rusqlite::Connection) -> Result<()> + Send + Sync;

impl fmt::Debug for OnConnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnConnect")
    }
}

impl Connection {
    /// Dresses a freshly opened SQLite connection.
    pub(crate) fn new(
        connection: rusqlite::Connection,
        session: Arc<Session>,
        registry: Arc<StatementRegistry>,
        setup: &Setup,
        config: &PoolConfig,
        origin: Origin,
    ) -> Result<Self> {
        // At once: so far SQLite has taken no locks on it.
        let opened = Listed::file_of(&connection);
        hooks::install_busy_handler(&connection, &session)?;
        connection.execute_batch(&pragmas::of_connection(config))?;
        // The query planner stability guarantee: https://www.sqlite.org/c3ref/c_dbconfig_defensive.html#sqlitedbconfigenableqpsg
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, config.stable_query_plans())?;
        let mut is_plain = true;
        if let Some(on_connect) = &setup.on_connect {
            on_connect.0(&connection)?;
            is_plain = has_nothing_else(&connection)?;
            hooks::install_busy_handler(&connection, &session)?;
        }
        let blank = remains::load_schema(&connection)?;
        let Functions { all, replaced } = setup.functions(&connection)?;
        session.set_interrupt(connection.get_interrupt_handle());
        let capacity = if config.enable_statement_pooling() { config.statement_cache_size() } else { 0 };
        let statements = StatementConnection::new(connection, registry, capacity);
        // From here on it goes before the connection, whatever fails.
        let listed = opened;
        // SAFETY: the handle is only kept for callbacks of this very connection.
        session.publisher.set_up(unsafe { statements.handle() }, statements.overheard());
        statements.know_functions(all);
        hooks::install(&statements, &session)?;
        statements.warm(config.statement_warm_count(), config.statement_warm_budget());
        let kept = Kept(if origin.in_wal { Snapshot::on(&statements)?.map(Arc::new) } else { None });
        if let Some(snapshot) = &kept.0 {
            session.set_snapshot(Arc::clone(snapshot));
            sweeper::add(snapshot, config.snapshot_idle());
        }
        let fresh = Fresh::of(&statements, blank)?;
        session.publisher.set_witness(fresh.witness());
        statements.take_effects();
        let queries = KeyQueries::default();
        Ok(Self {
            listed,
            fresh,
            kept,
            queries,
            statements,
            session,
            origin,
            replaced,
            is_plain,
            instead: OnceCell::new(),
        })
    }

    /// Starts a use. One that reads gets the newest state of the database, which is the one that the last kept if nothing was committed
    /// since; so does one that writes in a transaction, if that is likely to serve the next one, too.
    #[inline]
    pub(crate) fn begin(&self, usage: Use, site: &'static str) -> Ticket {
        if let Some(snapshot) = &self.kept.0 {
            match usage {
                Use::Read if self.session.rules.in_force.shares_snapshots() => snapshot.enter(),
                Use::Write if self.session.rules.in_force.shares_snapshots() => snapshot.enter_to_write(),
                _ => _ = snapshot.give_up(),
            }
        }
        if usage != Use::Read {
            // What it writes is told apart from what was prepared before.
            self.statements.drain_accesses(|_| {});
            self.session.publisher.begin();
        }
        self.session.begin(usage, site)
    }

    /// Gives up the snapshot that was kept; tells whether there was one.
    pub(crate) fn give_up_snapshot(&self) -> bool {
        self.kept.0.as_ref().is_some_and(|snapshot| snapshot.give_up())
    }

    /// Has SQLite forget an interrupt that came when nothing ran but what keeps the snapshot, as it does by itself where nothing runs at all.
    pub(crate) fn forget_interrupt(&self) {
        if let Some(snapshot) = &self.kept.0 {
            snapshot.give_up_if_interrupted();
        }
    }

    /// Looks at rows that were written, so that it can be told whether a result is still true. To be called in a use that reads.
    pub(crate) fn look(&self, undecided: &Undecided) {
        let ask = |column: &_, rows: &_, found: &mut _| {
            self.queries.ask(&self.statements, &self.session, column, rows, found)
        };
        if let Some(anchor) = self.session.publisher.anchor() {
            undecided.look(anchor.commits(), ask);
        }
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
        self.own_process()?;
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

    #[inline]
    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    /// Forgets what was read so far, to see what is read from now on.
    pub(crate) fn begin_observing(&self) {
        self.begin_hearing();
        self.session.texts.want();
    }

    /// Forgets what was heard so far while statements were prepared, to hear what comes from now on.
    pub(crate) fn begin_hearing(&self) {
        self.statements.drain_accesses(|_| {});
    }

    /// Tells why what has run since could give something else although nothing was committed, as far as that was heard.
    pub(crate) fn heard_volatile(&self) -> Option<Volatile> {
        reads::why_volatile(&self.statements, &self.replaced)
    }

    /// Tells what was read since. `stamp`: from before the connection came into use.
    pub(crate) fn observed(&self, volatile_ok: bool, stamp: Option<&Stamp>) -> Seen {
        let anchor = self.session.publisher.anchor();
        let ground = anchor.as_ref().and_then(|anchor| {
            let ledger = anchor.ledger()?;
            let since = stamp.and_then(|stamp| stamp.number_of(anchor));
            Some(Ground { ledger, atlas: anchor.atlas(), since, is_plain: self.is_plain })
        });
        let mut seen = reads::of(&self.statements, &self.session.texts, ground, &self.replaced, volatile_ok);
        // Functions, collations and settings may be others than before.
        if seen.volatile.is_none() && self.fresh.is_outdated(&self.statements) {
            seen.volatile = Some(Volatile::Unknown);
        }
        seen
    }

    /// Undoes what a use left behind. An error means that the connection can't be used again.
    pub(crate) fn reset(&self) -> Result<()> {
        let refused = self.session.end();
        let clean = self.undo();
        if clean.is_ok() {
            self.learn();
        }
        if let Some(snapshot) = &self.kept.0 {
            snapshot.leave(clean.is_ok() && !refused && !self.session.rules.log.is_being_emptied());
        }
        self.session.give_permit_back();
        clean
    }

    /// Finds out about statements that wrote, for the next time.
    #[inline]
    fn learn(&self) {
        let publisher = &self.session.publisher;
        if publisher.rows.is_curious()
            && let Some(anchor) = publisher.anchor()
            && let Some(ledger) = anchor.ledger()
        {
            // An old state of the database would be taken for that of now.
            self.give_up_snapshot();
            publisher.rows.learn(&self.statements, ledger);
        }
    }

    fn undo(&self) -> Result<()> {
        let leaked = self.reset_leaked();
        if !self.is_autocommit() {
            self.give_up_snapshot();
            self.execute_batch("ROLLBACK")?;
        }
        self.put_back(leaked)?;
        self.statements.rest();
        Ok(())
    }

    /// Puts back what can be put back between two closures that have a part in one transaction. An error means that the connection
    /// must not be used by another.
    pub(crate) fn tidy_up(&self) -> Result<()> {
        let leaked = self.reset_leaked();
        self.put_back(leaked)
    }

    /// Ends statements that were leaked half-way: each keeps its snapshot and its locks.
    fn reset_leaked(&self) -> bool {
        remains::reset_leaked(self, |statement| self.kept.0.as_ref().is_some_and(|snapshot| snapshot.is_pin(statement)))
    }

    /// Busy time-outs and limits are put back. For everything else that stays on a connection a new connection is cheaper than
    /// finding out how it was before.
    fn put_back(&self, leaked: bool) -> Result<()> {
        let effects = self.statements.take_effects();
        let left = match () {
            () if leaked => "a statement that was not finished",
            () if effects.changes_temp => "temporary tables",
            () if effects.attaches => "attached databases",
            () if effects.sets_pragma => "changed pragmas",
            () if effects.calls_added_function => "functions of its own",
            () if self.fresh.is_outdated(&self.statements) => "changed settings, functions or collations",
            () => {
                hooks::install_busy_handler(&self.statements, &self.session)?;
                self.fresh.restore_limits(&self.statements);
                return Ok(());
            }
        };
        Err(Error::application(format!("its user left {left} behind")))
    }

    /// Says whether what runs now has a part in a transaction that others share, and must not end it.
    pub(crate) fn set_shared(&self, shared: bool) {
        self.session.set_shared(shared);
        self.statements.forbid_transactions(shared);
    }

    /// Prepares a statement, or takes it from the cache, by a key that [`statement!`](crate::statement) makes at compile time: looking it
    /// up then costs neither a hash nor a comparison of the text.
    ///
    /// # Errors
    ///
    /// As [`prepare_cached`](Self::prepare_cached).
    ///
    /// ```
    /// use pool_manager::statement;
    ///
    /// # let db = pool_manager::DatabaseManager::open(":memory:")?;
    /// let twice = db.blocking().read(|conn| {
    ///     let mut double = conn.prepare_keyed(&statement!("SELECT ?1 * 2"))?;
    ///     Ok(double.query_row([21], |row| row.get::<_, i64>(0))?)
    /// })?;
    /// assert_eq!(twice, 42);
    /// # Ok::<(), pool_manager::Error>(())
    /// ```
    pub fn prepare_keyed(&self, key: &StatementKey<'_>) -> rusqlite::Result<CachedStatement<'_>> {
        self.own_process()?;
        self.statements.prepare_keyed(key)
    }

    /// Fails in a process that has inherited the connection.
    #[inline]
    fn own_process(&self) -> rusqlite::Result<()> {
        if self.session.is_inherited() { Err(refusal()) } else { Ok(()) }
    }

    /// How many foreign keys of the open transaction point to nothing so far, for those constraints that are checked at its end.
    pub(crate) fn dangling_keys(&self) -> i64 {
        remains::deferred_foreign_keys(self)
    }

    /// Closes the connection, whatever its last user left behind, and gives the permit back after that.
    pub(crate) fn close(self) {
        let Self { listed, fresh, kept, queries, statements, session, .. } = self;
        drop(listed);
        session.end();
        drop(fresh);
        drop(kept);
        drop(queries);
        if let Err(error) = remains::close(statements.into_connection()) {
            tracing::warn!(target: "pool_manager", database = session.name(), %error, "a connection could not be closed");
        }
        session.give_permit_back();
    }
}

fn refusal() -> rusqlite::Error {
    let text = "the connection belongs to the process that this one was forked from".to_owned();
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_MISUSE), Some(text))
}

/// A connection to nothing, on which nothing can be prepared: what a child sees of one that it has inherited, which is left alone.
#[cold]
fn refusing() -> rusqlite::Connection {
    let nothing = rusqlite::Connection::open_in_memory().and_then(|mut connection| {
        connection.authorizer(Some(|_: AuthContext<'_>| Authorization::Deny))?;
        Ok(connection)
    });
    nothing.unwrap_or_else(|error| panic!("a connection to nothing needs memory, and there is none: {error}"))
}

/// Tells whether a connection has neither temporary tables nor attached databases.
fn has_nothing_else(connection: &rusqlite::Connection) -> rusqlite::Result<bool> {
    let sql = "SELECT (SELECT count(*) FROM temp.sqlite_schema) + count(*) FROM pragma_database_list WHERE seq > 1";
    connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map(|others| others == 0)
}

impl Deref for Connection {
    type Target = rusqlite::Connection;

    #[inline]
    fn deref(&self) -> &rusqlite::Connection {
        if self.session.is_inherited() {
            return self.instead.get_or_init(refusing);
        }
        &self.statements
    }
}
