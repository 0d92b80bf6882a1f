//! Statement pooling for [`rusqlite`].
//!
//! Owns a connection, its statements and what is heard while they are prepared. Must not know pools.
//! Invariant: a statement handed out was prepared under the schema which the connection knows at that time.

mod authorizer;
mod cached;
mod card;
mod classify;
mod effect;
mod equal_keys;
mod loan;
mod lodging;
mod opened;
mod overheard;
mod preparing;
mod program;
mod recorder;
mod reported;
mod single_rows;
mod trail;
mod watch;

pub use cached::CachedStatement;
pub use lodging::PROBE;
pub use opened::{ColumnKey, Opened, RowKey};
pub use overheard::Overheard;
pub use reported::{Change, Changes};

use crate::facts::{Accesses, Effects};
use crate::key::StatementKey;
use crate::membership::{Membership, StatementEvent};
use crate::registry::StatementRegistry;
use card::Card;
use loan::Loan;
use lodging::Lodging;
use preparing::{Confirmed, VirtualTables};
use recorder::Recorder;
use rusqlite::Connection;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
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
    // The order of the first two is an invariant: the connection is closed before the recorder that it reports to is dropped.
    lodging: Lodging<Card>,
    recorder: Recorder,
    /// Whether the recorder is installed. Without it nothing is known of any statement, and none is kept.
    recording: bool,
    membership: Membership,
    watch: SchemaWatch,
    virtual_tables: RefCell<VirtualTables>,
    confirmed: RefCell<Confirmed>,
    /// The listing of the registry to which all counts were told.
    listing: Cell<u64>,
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
            confirmed: RefCell::default(),
            listing: Cell::new(registry.listings()),
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
            if self.recorder.forbids_transactions() && classify::bounds_transaction(loan.card().facts().kind) {
                // It is as good as before, for whoever may.
                loan.end(true);
                return self.prepare_anew(key);
            }
            let card = loan.card_mut();
            if !card.has_tables || card.epoch == self.watch.epoch() {
                if card.count_use() {
                    let (statement, card) = loan.both();
                    card.tell(statement, self.registry());
                }
                self.count(StatementEvent::Hit, 1);
                self.observe(&mut loan);
                return Ok(CachedStatement::new(self, loan, Fate::Kept));
            }
            self.count(StatementEvent::Outdate, 1);
            card.known().count(StatementEvent::Outdate, 1);
            loan.end(false);
        }
        self.prepare_anew(key)
    }

    /// Makes the epoch that of the schema which the connection knows now.
    #[inline]
    fn settle(&self) {
        self.watch.settle(&self.recorder, &self.lodging);
    }

    /// What is to become of a statement just prepared.
    fn fate(&self, card: &Card) -> Fate {
        match self.capacity() {
            0 => Fate::Passing,
            _ if card.is_worth_keeping() => Fate::Kept,
            _ => Fate::Discarded,
        }
    }

    /// Tells the registry what was counted since the last time, of all idle statements: some hundred nanoseconds for each.
    ///
    /// Happens by itself every 32 uses of a statement, when a statement goes, and when the connection comes to [`rest`](Self::rest)
    /// after somebody asked for a listing.
    pub fn tell_counts(&self) {
        self.listing.set(self.registry().listings());
        self.lodging.look_at_idle(|statement, card| card.tell(statement, self.registry()));
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
        if self.listing.get() != self.registry().listings() {
            self.tell_counts();
        }
    }

    /// Returns what may have been read and changed on this connection since the last call.
    ///
    /// That is what all statements touch which were handed out by [`prepare_cached`](Self::prepare_cached), prepared by the
    /// user directly, or prepared again by SQLite itself while they ran. Statements that are in use across the
    /// call are in the result for the time in which they were handed out only.
    ///
    /// The cache which rusqlite itself keeps with its feature `cache` is emptied, for nothing is heard when a statement of it runs
    /// again.
    pub fn take_accesses(&self) -> Accesses {
        let mut all = Accesses::default();
        self.drain_accesses(|accesses| all.merge(accesses));
        all
    }

    /// Shows what [`take_accesses`](Self::take_accesses) would return in parts, which saves putting them together.
    ///
    /// `look` sees the accesses of each statement and must not use this connection.
    pub fn drain_accesses(&self, mut look: impl FnMut(&Accesses)) {
        self.flush_prepared_statement_cache();
        self.observation.set(self.observation.get() + 1);
        if let Some(direct) = self.recorder.take_direct() {
            look(&direct);
        }
        if !self.recording {
            look(&Accesses { unknown: true, unheard: true, ..Accesses::default() });
        }
        self.recorder.drain_observed(look);
    }

    /// Returns a share in what is heard, for looking at it while the connection is in use by somebody else, such as a hook.
    #[must_use]
    pub fn overheard(&self) -> Overheard {
        Overheard::new(self.recorder.share())
    }

    /// Tells which tables a query opens, by the program that SQLite makes of it: the connection must be able to prepare it.
    ///
    /// Costs about two preparations. What is heard while it is prepared is not complete: tables that are joined with `USING` or `NATURAL`
    /// and of which nothing else is read are not told to an authorizer, nor is the database of a table of which only the rows are
    /// counted. A program can't read what it does not open.
    ///
    /// # Errors
    ///
    /// As [`rusqlite::Connection::prepare`], and those of running the statement `EXPLAIN`.
    pub fn opened_by(&self, sql: &str) -> rusqlite::Result<Opened> {
        self.recorder.mute(|| opened::of(&self.lodging, sql))
    }

    /// Tells which changes of rows SQLite's update hook reports when a statement runs, and which it does not, by the program that SQLite
    /// makes of it: the connection must be able to prepare it.
    ///
    /// What triggers and foreign keys do counts as well. Holds for programs made of the same text on this connection, with the same settings
    /// and the same schema.
    ///
    /// # Errors
    ///
    /// As [`rusqlite::Connection::prepare`], and those of running the statement `EXPLAIN`.
    pub fn changed_by(&self, sql: &str) -> rusqlite::Result<Changes> {
        self.recorder.mute(|| reported::of(&self.lodging, sql))
    }

    /// Returns what statements prepared since the last call may have left behind on this connection; costs a few nanoseconds.
    ///
    /// Whoever prepared them, and apart from [`take_accesses`](Self::take_accesses), which takes something else. What was prepared
    /// counts, whether it ran or not: some pragmas act already then.
    ///
    /// Complete, as statements that have effects are not kept: neither here nor, across this call, in the cache which
    /// rusqlite itself keeps with its feature `cache`. Only a statement that is in use across the call is not heard of again.
    #[inline]
    pub fn take_effects(&self) -> Effects {
        let mut effects = self.recorder.take_effects();
        effects.changes_schema |= !self.recording;
        if !effects.is_empty() {
            self.flush_prepared_statement_cache();
        }
        effects
    }

    /// Refuses, or allows again, statements that begin or end a transaction; savepoints stay allowed. For a user who only has a part of
    /// a transaction.
    ///
    /// They fail to be prepared, with SQLite's "not authorized". One that is in use already still runs, and so would one in the cache
    /// which rusqlite itself keeps with its feature `cache`: that is emptied.
    pub fn forbid_transactions(&self, forbid: bool) {
        if forbid {
            self.flush_prepared_statement_cache();
        }
        self.recorder.forbid_transactions(forbid);
    }

    /// Tells which functions the connection has now, in lower case, so that [`take_effects`](Self::take_effects) can tell when one is
    /// called that was added later. Only the first call counts.
    pub fn know_functions(&self, functions: Arc<HashSet<Box<str>>>) {
        self.recorder.know_functions(functions);
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
        self.remove_recorder();
        self.watch.outdate();
        ConnectionMut(self)
    }

    /// Finalizes all statements and returns the connection, without an authorizer.
    #[must_use]
    pub fn into_connection(mut self) -> Connection {
        self.remove_recorder();
        self.lodging.into_connection()
    }

    /// Finalizes all idle statements. Those in use are kept when they come back.
    pub fn clear_statements(&self) {
        self.lodging.clear();
    }

    /// Changes how many idle statements are kept; 0 keeps none.
    pub fn set_capacity(&self, capacity: usize) {
        self.lodging.set_capacity(capacity);
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
        // SAFETY: the recorder outlives the connection, see the order of the fields, unless the connection is taken out, before which
        // the recorder is removed.
        match unsafe { self.recorder.install(self.lodging.connection()) } {
            Ok(()) => self.recording = true,
            Err(error) => {
                self.recording = false;
                tracing::error!(%error, "statements of a connection are not pooled, for it takes no authorizer");
            }
        }
    }

    /// To be called before anybody can take the connection out.
    fn remove_recorder(&mut self) {
        self.recording = false;
        Recorder::remove(self.lodging.connection()).expect("BUG: SQLite refuses to remove an authorizer");
    }

    #[inline]
    fn observe(&self, loan: &mut Loan<'_, Card>) {
        let card = loan.card_mut();
        if card.observation != self.observation.get() {
            card.observation = self.observation.get();
            self.recorder.observe(Arc::clone(card.facts()));
        }
    }
}

/// What becomes of a statement when it is given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is kept.
    Kept,
    /// It is finalized, because it failed or is of no use to anybody else.
    Discarded,
    /// It is finalized, because none is kept.
    Passing,
}

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
