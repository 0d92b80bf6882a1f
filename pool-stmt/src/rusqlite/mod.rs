//! Statement pooling for [`rusqlite`].
//!
//! Owns a connection, its statements and what is heard while they are prepared. Must not know pools.
//! Invariant: a statement handed out was prepared under the schema which the connection knows at that time.

mod cached;
mod card;
mod classify;
mod loan;
mod lodging;
mod recorder;
mod watch;

pub use cached::CachedStatement;
pub use lodging::PROBE;

use crate::facts::{Accesses, Facts, Table};
use crate::key::StatementKey;
use crate::membership::{Membership, StatementEvent};
use crate::registry::StatementRegistry;
use card::Card;
use loan::Loan;
use lodging::Lodging;
use recorder::Recorder;
use rusqlite::hooks::{AuthContext, Authorization};
use rusqlite::{Connection, PrepFlags};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};
use watch::SchemaWatch;

/// A connection that keeps its prepared statements for use again and knows what they touch.
///
/// Dereferences to [`rusqlite::Connection`]; a statement prepared through that is not pooled, but what it touches is
/// known all the same ([`take_accesses`](Self::take_accesses)). The connection's authorizer is taken.
///
/// ```
/// use pool_stmt::StatementRegistry;
/// use pool_stmt::rusqlite::StatementConnection;
/// use std::sync::Arc;
///
/// # fn main() -> rusqlite::Result<()> {
/// let registry = Arc::new(StatementRegistry::default());
/// let connection = StatementConnection::new(rusqlite::Connection::open_in_memory()?, Arc::clone(&registry), 64);
/// connection.execute_batch("CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT)")?;
/// for name in ["Ada", "Grace"] {
///     connection.prepare_cached("INSERT INTO person(name) VALUES (?1)")?.execute([name])?;
/// }
/// let mut by_id = connection.prepare_cached("SELECT name FROM person WHERE id = ?1")?;
/// assert_eq!(by_id.query_row([2], |row| row.get::<_, String>(0))?, "Grace");
/// assert!(by_id.facts().read_only);
/// assert_eq!(registry.stats().hits, 1);
/// # Ok(())
/// # }
/// ```
pub struct StatementConnection {
    lodging: Lodging<Card>,
    recorder: Recorder,
    /// Whether the recorder is installed. Without it nothing is known of any statement, and none is kept.
    recording: bool,
    membership: Membership,
    watch: SchemaWatch,
    /// Whether a table is virtual, as found out in this epoch.
    virtual_tables: RefCell<HashMap<Table, bool>>,
    observed: RefCell<Vec<Arc<Facts>>>,
    observation: Cell<u64>,
}

impl StatementConnection {
    /// Takes a connection over, to keep at most `capacity` idle statements; 0 keeps none and prepares each time.
    ///
    /// The registry is the one of the database, shared by all its connections.
    #[must_use]
    pub fn new(connection: Connection, registry: Arc<StatementRegistry>, capacity: usize) -> Self {
        let mut this = Self {
            lodging: Lodging::new(connection, capacity),
            recorder: Recorder::default(),
            recording: false,
            membership: StatementRegistry::connect(&registry),
            watch: SchemaWatch::default(),
            virtual_tables: RefCell::default(),
            observed: RefCell::default(),
            observation: Cell::new(1),
        };
        this.install_recorder();
        this
    }

    /// Lends a prepared statement: an idle one of this text, or else a new one.
    ///
    /// White space around the text does not count.
    ///
    /// # Errors
    ///
    /// As [`rusqlite::Connection::prepare`].
    #[inline]
    pub fn prepare_cached(&self, sql: &str) -> rusqlite::Result<CachedStatement<'_>> {
        self.prepare_keyed(&StatementKey::new(sql))
    }

    /// Lends a prepared statement by its key, which [`statement!`](crate::statement) makes at compile time.
    ///
    /// # Errors
    ///
    /// As [`rusqlite::Connection::prepare`].
    #[inline]
    pub fn prepare_keyed(&self, key: &StatementKey<'_>) -> rusqlite::Result<CachedStatement<'_>> {
        self.settle();
        if let Some(mut loan) = self.lodging.take(key) {
            let card = loan.card_mut();
            if !card.has_tables || card.epoch == self.watch.epoch() {
                card.count_use(self.registry());
                self.count(StatementEvent::Hit, 1);
                self.observe(&mut loan);
                return Ok(CachedStatement::new(self, loan));
            }
            self.count(StatementEvent::Outdate, 1);
            loan.end(false);
        }
        self.prepare_anew(key)
    }

    /// Makes the epoch that of the schema which the connection knows now.
    #[inline]
    fn settle(&self) {
        if self.watch.settle(&self.recorder, &self.lodging) {
            self.virtual_tables.borrow_mut().clear();
        }
    }

    #[cold]
    fn prepare_anew(&self, key: &StatementKey<'_>) -> rusqlite::Result<CachedStatement<'_>> {
        self.count(StatementEvent::Miss, 1);
        let mut loan = self.prepare_loan(key, PrepFlags::default())?;
        self.observe(&mut loan);
        Ok(CachedStatement::new(self, loan))
    }

    fn prepare_loan(&self, key: &StatementKey<'_>, mut flags: PrepFlags) -> rusqlite::Result<Loan<'_, Card>> {
        flags.set(PrepFlags::SQLITE_PREPARE_PERSISTENT, self.capacity() > 0);
        // Before the preparation: what happens to the schema during it outdates the statement.
        let epoch = self.watch.epoch();
        // A preparation that finds no table or column looks whether the schema is still the one in the file, and loads that.
        self.watch.doubt();
        self.recorder.record();
        let prepared = self.lodging.prepare(key, flags, |statement| {
            let mut recording = self.recorder.recorded();
            recording.accesses.unknown |= !self.recording || self.reads_virtual_tables(&recording.accesses);
            let facts = card::facts(key.text(), statement, recording, |name| self.is_deterministic(name));
            let (known, facts) = self.registry().prepared(self.text_as_traced(key.text()), facts);
            Card { has_tables: facts.accesses.touches_tables(), facts, known, epoch, observation: 0, uses: 0 }
        });
        if prepared.is_err() {
            self.recorder.recorded();
        }
        let loan = prepared?;
        self.count(StatementEvent::Prepare, 1);
        if loan.card().has_tables {
            // Not earlier: the schema is loaded by now in any case, so the probe does not load it before its time.
            if let Err(error) = self.recorder.mute(|| self.lodging.prepare_probe()) {
                tracing::debug!(%error, "the schema of a connection cannot be watched: statements are prepared more often");
            }
        }
        Ok(loan)
    }

    /// Prepares the statements the database uses most, at most `n` of them; returns how many are prepared.
    ///
    /// To be called on a new connection, so that its first user does not wait. No preparation starts after `budget`
    /// has passed; zero prepares nothing. A text that cannot be prepared is skipped.
    pub fn warm(&self, n: usize, budget: Duration) -> usize {
        let start = Instant::now();
        self.settle();
        let mut prepared = 0;
        let texts = self.registry().hottest(n.min(self.capacity()));
        // The hottest last, so that it is the most recent.
        for text in texts.iter().rev() {
            if start.elapsed() >= budget {
                break;
            }
            if let Some(loan) = self.lodging.take(&StatementKey::new(text)) {
                loan.end(true);
            } else if let Ok(loan) = self.prepare_loan(&StatementKey::new(text), PrepFlags::SQLITE_PREPARE_DONT_LOG) {
                let keep = loan.card().is_worth_keeping();
                if loan.end(keep) {
                    self.count(StatementEvent::Evict, 1);
                }
                prepared += usize::from(keep);
            }
        }
        prepared
    }

    /// Notices that a change of the schema is over. To be called between two users of a connection, outside transactions.
    ///
    /// A statement is not used again as long as a transaction that changed the schema may be rolled back. Somebody who only works in
    /// transactions would never let a pooled statement see the end of one.
    #[inline]
    pub fn rest(&self) {
        if self.watch.is_changing(&self.recorder) {
            self.settle();
        }
    }

    /// Returns what may have been read and changed on this connection since the last call.
    ///
    /// That is what all statements touch which were handed out by [`prepare_cached`](Self::prepare_cached), prepared by the
    /// user directly, or prepared again by SQLite itself while they ran. Statements that are in use across the
    /// call are in the result for the time in which they were handed out only.
    pub fn take_accesses(&self) -> Accesses {
        self.observation.set(self.observation.get() + 1);
        let mut accesses = self.recorder.take_direct();
        for facts in self.observed.take() {
            accesses.merge(&facts.accesses);
        }
        accesses
    }

    /// Tells whether a function, named in lower case, gives the same value for the same arguments whenever it is called.
    ///
    /// True of what SQLite brings, save chance, time and counters, and of functions that were
    /// [declared](StatementRegistry::declare_deterministic).
    #[must_use]
    pub fn is_deterministic(&self, function: &str) -> bool {
        classify::is_deterministic_builtin(function) || self.registry().is_declared_deterministic(function)
    }

    /// Gives mutable access to the connection, to set hooks or to configure it. Finalizes all its statements first.
    ///
    /// An authorizer set here is replaced when the access ends.
    pub fn connection_mut(&mut self) -> ConnectionMut<'_> {
        self.recording = false;
        self.watch.outdate();
        ConnectionMut(self)
    }

    /// Finalizes all statements and returns the connection, without an authorizer.
    #[must_use]
    pub fn into_connection(self) -> Connection {
        let mut connection = self.lodging.into_connection();
        let nobody = None::<fn(AuthContext<'_>) -> Authorization>;
        if let Err(error) = connection.authorizer(nobody) {
            tracing::error!(%error, "the authorizer of a connection could not be removed");
        }
        connection
    }

    /// Finalizes all idle statements. Those in use are kept when they come back.
    pub fn clear_statements(&self) {
        self.lodging.clear();
    }

    /// Changes how many idle statements are kept; 0 keeps none.
    pub fn set_capacity(&self, capacity: usize) {
        let evicted = self.lodging.set_capacity(capacity);
        self.count(StatementEvent::Evict, evicted as u64);
    }

    /// Returns how many idle statements are kept at most.
    #[must_use]
    pub fn capacity(&self) -> usize {
        if self.recording { self.lodging.capacity() } else { 0 }
    }

    /// Returns how many statements are idle.
    #[must_use]
    pub fn idle_statements(&self) -> usize {
        self.lodging.idle()
    }

    /// Returns how many statements are in use, those whose holder was leaked among them.
    #[must_use]
    pub fn lent_statements(&self) -> usize {
        self.lodging.lent()
    }

    /// Returns the registry of the database.
    #[must_use]
    pub fn registry(&self) -> &Arc<StatementRegistry> {
        self.membership.registry()
    }

    #[inline]
    fn count(&self, event: StatementEvent, times: u64) {
        self.membership.count(event, times);
    }

    #[inline]
    fn lodging(&self) -> &Lodging<Card> {
        &self.lodging
    }

    #[inline]
    fn watch(&self) -> &SchemaWatch {
        &self.watch
    }

    fn install_recorder(&mut self) {
        match self.recorder.install(self.lodging.connection_mut()) {
            Ok(()) => self.recording = true,
            Err(error) => {
                self.recording = false;
                tracing::error!(%error, "statements of a connection are not pooled, for it takes no authorizer");
            }
        }
    }

    #[inline]
    fn observe(&self, loan: &mut Loan<'_, Card>) {
        let card = loan.card_mut();
        if card.observation != self.observation.get() {
            card.observation = self.observation.get();
            self.observe_first(Arc::clone(&card.facts));
        }
    }

    fn observe_first(&self, facts: Arc<Facts>) {
        let mut observed = self.observed.borrow_mut();
        observed.push(facts);
        if observed.len() > MAX_OBSERVED {
            for facts in observed.drain(..) {
                self.recorder.add_direct(&facts.accesses);
            }
        }
    }

    /// Returns the text by which SQLite knows the statement of a text: it ends with the statement.
    fn text_as_traced<'a>(&self, text: &'a str) -> &'a str {
        if text.find(';').is_none_or(|at| at + 1 == text.len()) {
            return text;
        }
        let mut length = text.len();
        self.lodging.any_statement(|known| {
            let is_it =
                !known.is_empty() && known.len() < text.len() && text.starts_with(known) && known.ends_with(';');
            if is_it {
                length = known.len();
            }
            is_it
        });
        &text[..length]
    }

    fn reads_virtual_tables(&self, accesses: &Accesses) -> bool {
        let mut known = self.virtual_tables.borrow_mut();
        accesses.tables_read.keys().any(|table| {
            if let Some(&is_virtual) = known.get(table) {
                return is_virtual;
            }
            let is_virtual = self.is_virtual(table);
            known.insert(table.clone(), is_virtual);
            is_virtual
        })
    }

    /// Asks SQLite's compiler to refuse virtual tables. It touches no file.
    fn is_virtual(&self, table: &Table) -> bool {
        if classify::is_pure_table_function(&table.name) {
            return false;
        }
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let sql = format!("SELECT 1 FROM {}.{}", quoted(&table.database), quoted(&table.name));
        let flags = PrepFlags::SQLITE_PREPARE_NO_VTAB | PrepFlags::SQLITE_PREPARE_DONT_LOG;
        self.recorder.mute(|| self.lodging.connection().prepare_with_flags(&sql, flags).is_err())
    }
}

/// How many statements handed out are listed before their accesses are put together.
const MAX_OBSERVED: usize = 256;

impl Deref for StatementConnection {
    type Target = Connection;

    #[inline]
    fn deref(&self) -> &Connection {
        self.lodging.connection()
    }
}

impl fmt::Debug for StatementConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatementConnection")
            .field("connection", self.lodging.connection())
            .field("capacity", &self.capacity())
            .field("idle_statements", &self.idle_statements())
            .field("lent_statements", &self.lent_statements())
            .finish_non_exhaustive()
    }
}

/// Mutable access to the connection within a [`StatementConnection`].
#[derive(Debug)]
pub struct ConnectionMut<'c>(&'c mut StatementConnection);

impl Deref for ConnectionMut<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.0.lodging.connection()
    }
}

impl DerefMut for ConnectionMut<'_> {
    fn deref_mut(&mut self) -> &mut Connection {
        self.0.lodging.connection_mut()
    }
}

impl Drop for ConnectionMut<'_> {
    fn drop(&mut self) {
        self.0.install_recorder();
    }
}
