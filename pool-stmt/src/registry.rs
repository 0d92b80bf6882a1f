//! What is known of all statements of one database, and what happened to them.
//!
//! Owns facts and use counts by SQL text and the counters of all connections. Must not know a connection or a statement.
//! Invariant: never more than `max_statements` texts are known, however many are run.

use crate::facts::Facts;
use crate::membership::{Counters, Membership, StatementEvent};
use crate::pattern;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Shared by all connections to one database: the facts of each statement by its SQL text, how often it is used, and counters.
///
/// ```
/// use pool_stmt::StatementRegistry;
///
/// let registry = StatementRegistry::new(1_000);
/// assert!(registry.facts("SELECT 1").is_none(), "not prepared yet");
/// assert_eq!(registry.stats().prepares, 0);
/// ```
#[derive(Debug)]
pub struct StatementRegistry {
    max_statements: usize,
    known: Mutex<Known>,
    warned: AtomicBool,
}

#[derive(Debug, Default)]
struct Known {
    statements: HashMap<Arc<str>, Arc<KnownStatement>, foldhash::fast::RandomState>,
    connections: Vec<Arc<Counters>>,
    deterministic: HashSet<Box<str>>,
    /// Counts of connections that are gone.
    past: StatementStats,
}

/// A SQL text the registry knows.
#[derive(Debug)]
pub struct KnownStatement {
    sql: Arc<str>,
    facts: Mutex<Arc<Facts>>,
    uses: AtomicU64,
    forgotten: AtomicBool,
}

/// What happened to the statements of a database so far, over all its connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatementStats {
    /// Statements prepared: for misses, for warming, and in place of outdated ones.
    pub prepares: u64,
    /// Statements found prepared.
    pub hits: u64,
    /// Statements not found prepared.
    pub misses: u64,
    /// Statements dropped for want of room.
    pub evictions: u64,
    /// Statements dropped on return: failed, or not worth keeping.
    pub discards: u64,
    /// Idle statements dropped because the schema changed.
    pub outdated: u64,
    /// Statements that SQLite itself prepared again while they ran, because the schema changed.
    pub reprepares: u64,
    /// Texts known now.
    pub statements: usize,
    /// Connections open now.
    pub connections: usize,
}

impl StatementStats {
    fn add(&mut self, counters: &Counters) {
        self.prepares += counters.value(StatementEvent::Prepare);
        self.hits += counters.value(StatementEvent::Hit);
        self.misses += counters.value(StatementEvent::Miss);
        self.evictions += counters.value(StatementEvent::Evict);
        self.discards += counters.value(StatementEvent::Discard);
        self.outdated += counters.value(StatementEvent::Outdate);
        self.reprepares += counters.value(StatementEvent::Reprepare);
    }
}

impl Default for StatementRegistry {
    /// A registry for [`DEFAULT_MAX_STATEMENTS`](StatementRegistry::DEFAULT_MAX_STATEMENTS) texts.
    fn default() -> Self {
        Self::new(Self::DEFAULT_MAX_STATEMENTS)
    }
}

impl StatementRegistry {
    /// How many texts a registry knows by default.
    pub const DEFAULT_MAX_STATEMENTS: usize = 1024;

    /// Makes a registry that knows at most `max_statements` texts; at least one.
    #[must_use]
    pub fn new(max_statements: usize) -> Self {
        Self { max_statements: max_statements.max(1), known: Mutex::default(), warned: AtomicBool::new(false) }
    }

    /// Returns what is known about a statement by its SQL text; `None` when it was not prepared, or forgotten since.
    ///
    /// White space around the text does not count. The facts are those of the latest preparation by any connection. A
    /// connection that has an older view of the schema, or learns of a newer one while it runs the statement, may do
    /// something else.
    #[must_use]
    pub fn facts(&self, sql: &str) -> Option<Arc<Facts>> {
        let known = self.known.lock();
        known.statements.get(sql.trim_ascii()).map(|statement| statement.facts())
    }

    /// Counts what happened so far.
    #[must_use]
    pub fn stats(&self) -> StatementStats {
        let known = self.known.lock();
        let mut stats = known.past;
        for counters in &known.connections {
            stats.add(counters);
        }
        stats.statements = known.statements.len();
        stats.connections = known.connections.len();
        stats
    }

    /// Lists the texts in steady use, the most used first, at most `n`.
    ///
    /// What may change the schema or a setting is left out: some pragmas do their work as soon as they are prepared.
    #[must_use]
    pub fn hottest(&self, n: usize) -> Vec<Arc<str>> {
        let mut all: Vec<_> = {
            let known = self.known.lock();
            let keepable = known.statements.values().filter(|statement| !statement.facts().accesses.changes_schema);
            keepable.map(|statement| (statement.uses(), Arc::clone(&statement.sql))).collect()
        };
        all.sort_unstable_by(|a, b| b.cmp(a));
        all.truncate(n);
        all.into_iter().map(|(_, sql)| sql).collect()
    }

    /// Declares a function of the application to be deterministic: statements that call it may be repeatable.
    ///
    /// Functions that SQLite does not bring count as non-deterministic otherwise. Holds for statements prepared from now on.
    /// A built-in function replaced by one of the application is judged by its name.
    pub fn declare_deterministic(&self, function: &str) {
        self.known.lock().deterministic.insert(function.to_ascii_lowercase().into());
    }

    /// Tells whether a function, named in lower case, was declared to be deterministic.
    #[must_use]
    pub fn is_declared_deterministic(&self, function: &str) -> bool {
        self.known.lock().deterministic.contains(function)
    }

    /// Enters a connection to the database, until the membership is dropped.
    #[must_use]
    pub fn connect(this: &Arc<Self>) -> Membership {
        let counters = Arc::new(Counters::default());
        this.known.lock().connections.push(Arc::clone(&counters));
        Membership::new(Arc::clone(this), counters)
    }

    pub(crate) fn disconnect(&self, counters: &Arc<Counters>) {
        let mut known = self.known.lock();
        if let Some(at) = known.connections.iter().position(|other| Arc::ptr_eq(other, counters)) {
            known.connections.swap_remove(at);
            known.past.add(counters);
        }
    }

    /// Records the facts of a statement just prepared; returns them, shared with earlier ones if they are equal.
    pub fn prepared(&self, sql: &str, facts: Facts) -> (Arc<KnownStatement>, Arc<Facts>) {
        let mut known = self.known.lock();
        if let Some(statement) = known.statements.get(sql) {
            let statement = Arc::clone(statement);
            drop(known);
            let facts = statement.learn(facts);
            return (statement, facts);
        }
        let forgotten = known.make_room(self.max_statements);
        let facts = Arc::new(facts);
        let sql: Arc<str> = sql.into();
        let statement = Arc::new(KnownStatement {
            sql: Arc::clone(&sql),
            facts: Mutex::new(Arc::clone(&facts)),
            uses: AtomicU64::new(1),
            forgotten: AtomicBool::new(false),
        });
        known.statements.insert(sql, Arc::clone(&statement));
        drop(known);
        self.warn_of_pasted_values(&forgotten);
        (statement, facts)
    }

    /// Takes a text back that was forgotten although a connection still has it prepared and in use.
    ///
    /// Does nothing, at the cost of a look, in the usual case that the text is known.
    #[inline]
    pub fn remember(&self, statement: &Arc<KnownStatement>) {
        if statement.forgotten.load(Ordering::Relaxed) {
            self.remember_anew(statement);
        }
    }

    #[cold]
    fn remember_anew(&self, statement: &Arc<KnownStatement>) {
        let mut known = self.known.lock();
        // If another connection has prepared the text since, that entry stays, and this one is not asked for again.
        statement.forgotten.store(false, Ordering::Relaxed);
        if !known.statements.contains_key(statement.sql()) {
            let forgotten = known.make_room(self.max_statements);
            known.statements.insert(Arc::clone(&statement.sql), Arc::clone(statement));
            drop(known);
            drop(forgotten);
        }
    }

    #[cold]
    fn warn_of_pasted_values(&self, forgotten: &[Arc<KnownStatement>]) {
        let Some((pattern, times)) = pattern::commonest(forgotten.iter().map(|statement| &*statement.sql)) else {
            return;
        };
        if times >= 8 && !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                pattern,
                max_statements = self.max_statements,
                "more different SQL texts than the statement registry holds; {times} forgotten ones differ in literals alone: \
                 bind values as parameters instead of pasting them into the text",
            );
        }
    }
}

impl Known {
    /// Makes room for one more text; returns what had to go.
    fn make_room(&mut self, max_statements: usize) -> Vec<Arc<KnownStatement>> {
        if self.statements.len() < max_statements { Vec::new() } else { self.forget_coldest(max_statements) }
    }

    /// Halves all use counts and takes out the eighth that is used least.
    fn forget_coldest(&mut self, max_statements: usize) -> Vec<Arc<KnownStatement>> {
        let mut uses: Vec<u64> = Vec::with_capacity(self.statements.len());
        for statement in self.statements.values() {
            let halved = statement.uses() / 2;
            statement.uses.store(halved, Ordering::Relaxed);
            uses.push(halved);
        }
        let mut surplus = (max_statements / 8).max(1) + self.statements.len() - max_statements;
        let (_, &mut limit, _) = uses.select_nth_unstable(surplus - 1);
        let mut forgotten = Vec::with_capacity(surplus);
        self.statements.retain(|_, statement| {
            let stays = surplus == 0 || statement.uses() > limit;
            if !stays {
                surplus -= 1;
                statement.forgotten.store(true, Ordering::Relaxed);
                forgotten.push(Arc::clone(statement));
            }
            stays
        });
        forgotten
    }
}

impl KnownStatement {
    /// Returns the SQL text.
    #[must_use]
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// Counts that the statement was used some times.
    pub fn used(&self, times: u64) {
        self.uses.fetch_add(times, Ordering::Relaxed);
    }

    fn uses(&self) -> u64 {
        self.uses.load(Ordering::Relaxed)
    }

    fn facts(&self) -> Arc<Facts> {
        Arc::clone(&self.facts.lock())
    }

    /// Replaces the facts, unless they are as before.
    fn learn(&self, facts: Facts) -> Arc<Facts> {
        let mut known = self.facts.lock();
        if **known != facts {
            *known = Arc::new(facts);
        }
        Arc::clone(&known)
    }
}
