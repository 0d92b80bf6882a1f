//! What is known of all statements of one database, and what happened to them.
//!
//! Owns facts and use counts by SQL text and the counters of all connections. Must not know a connection or a statement.
//! Invariant: never more than `max_statements` texts are known, however many are run.

use crate::facts::Facts;
use crate::known::{KnownStatement, StatementReport};
use crate::membership::{Counters, Membership, StatementEvent};
use crate::pattern;
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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
    /// Uses counted since the last time all were halved.
    fresh_uses: AtomicU64,
    /// How often a listing was asked for.
    listings: AtomicU64,
}

/// After how many uses all use counts are halved, so that what was hot long ago cools down.
const COOLING: u64 = 1 << 16;

/// Longer texts, in bytes, are not entered: the bound on entries is one on memory, too.
const LONGEST_TEXT: usize = 64 * 1024;

/// How many patterns are warned of at most.
const MOST_WARNINGS: usize = 16;

#[derive(Debug, Default)]
struct Known {
    statements: HashMap<Arc<str>, Arc<KnownStatement>, foldhash::fast::RandomState>,
    connections: Vec<Arc<Counters>>,
    deterministic: HashSet<Box<str>>,
    /// The patterns of texts that were warned of.
    warned: HashSet<String>,
    /// Counts of connections that are gone.
    past: StatementStats,
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
    /// Runs, as far as told: see [`StatementReport`].
    pub runs: u64,
    /// Steps of SQLite's virtual machine.
    pub steps: u64,
    /// Rows stepped over in full scans of tables.
    pub fullscan_steps: u64,
    /// Sorts.
    pub sorts: u64,
    /// Rows put into indexes which SQLite made for one run.
    pub auto_indexed_rows: u64,
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
        self.runs += counters.value(StatementEvent::Run);
        self.steps += counters.value(StatementEvent::Step);
        self.fullscan_steps += counters.value(StatementEvent::FullscanStep);
        self.sorts += counters.value(StatementEvent::Sort);
        self.auto_indexed_rows += counters.value(StatementEvent::AutoIndexRow);
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
        Self {
            max_statements: max_statements.max(1),
            known: Mutex::default(),
            fresh_uses: AtomicU64::new(0),
            listings: AtomicU64::new(0),
        }
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

    /// Returns the entry of a SQL text without white space around it; `None` when it was not prepared, or forgotten since.
    #[must_use]
    pub fn known(&self, sql: &str) -> Option<Arc<KnownStatement>> {
        self.known.lock().statements.get(sql).map(Arc::clone)
    }

    /// Lists all texts known, with what happened to their statements.
    #[must_use]
    pub fn statements(&self) -> Vec<StatementReport> {
        self.listings.fetch_add(1, Ordering::Relaxed);
        let known = self.known.lock();
        known.statements.values().map(|statement| statement.report()).collect()
    }

    /// Lists the texts whose runs take longest on average, the slowest first, at most `n`, of those whose time is known.
    #[must_use]
    pub fn slowest(&self, n: usize) -> Vec<StatementReport> {
        self.top(n, |report| report.mean_time().as_nanos())
    }

    /// Lists the texts that step over most rows in full scans of tables, at most `n`, of those that do.
    #[must_use]
    pub fn scanning(&self, n: usize) -> Vec<StatementReport> {
        self.top(n, |report| u128::from(report.fullscan_steps))
    }

    fn top(&self, n: usize, weight: impl Fn(&StatementReport) -> u128) -> Vec<StatementReport> {
        let mut all = self.statements();
        all.retain(|report| weight(report) > 0);
        all.sort_by_cached_key(|report| (Reverse(weight(report)), Arc::clone(&report.sql)));
        all.truncate(n);
        all
    }

    /// How often a listing was asked for: connections compare it to know when to tell what they counted.
    #[cfg(feature = "rusqlite")]
    #[inline]
    pub(crate) fn listings(&self) -> u64 {
        self.listings.load(Ordering::Relaxed)
    }

    /// Adds time spent in one run of a statement, by its SQL text as the database has it. Zero and unknown texts are ignored.
    ///
    /// For whoever hears of times, as by
    /// [`SQLITE_TRACE_PROFILE`](https://sqlite.org/c3ref/c_trace.html#sqlitetraceprofile). SQLite measures in milliseconds there:
    /// most runs of short statements take none and some take one, so that the sum is right in the long run, and most calls return at
    /// once.
    #[inline]
    pub fn spent(&self, sql: &str, time: Duration) {
        if !time.is_zero()
            && let Some(statement) = self.known(sql.trim_ascii())
        {
            statement.spent(time);
        }
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
            keepable.map(|statement| (statement.uses(), Arc::clone(statement.shared_sql()))).collect()
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
        let mut known = self.known.lock();
        known.deterministic.insert(function.to_ascii_lowercase().into());
        for statement in known.statements.values() {
            statement.doubt();
        }
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
    ///
    /// `trail` is a hash of whatever the facts were concluded from besides the text, by which a later preparation may
    /// [recognise](KnownStatement::learned) them without concluding anew; `None` when they are not to be recognised.
    pub fn prepared(&self, sql: &str, facts: Facts, trail: Option<u64>) -> (Arc<KnownStatement>, Arc<Facts>) {
        let mut known = self.known.lock();
        if let Some(statement) = known.statements.get(sql) {
            let statement = Arc::clone(statement);
            drop(known);
            let facts = statement.learn(facts, trail);
            return (statement, facts);
        }
        let sql: Arc<str> = sql.into();
        let statement = Arc::new(KnownStatement::new(Arc::clone(&sql), facts, trail));
        let facts = statement.facts();
        if sql.len() > LONGEST_TEXT {
            return (statement, facts);
        }
        let forgotten = known.make_room(self.max_statements);
        known.statements.insert(sql, Arc::clone(&statement));
        drop(known);
        self.warn_of_pasted_values(&forgotten);
        (statement, facts)
    }

    /// Counts that a statement was used some times, and takes its text back if it was forgotten although it is in use.
    pub fn used(&self, statement: &Arc<KnownStatement>, times: u64) {
        statement.add_uses(times);
        if self.fresh_uses.fetch_add(times, Ordering::Relaxed) + times >= COOLING {
            self.cool();
        }
        if statement.is_forgotten() {
            self.remember(statement);
        }
    }

    #[cold]
    fn cool(&self) {
        let known = self.known.lock();
        if self.fresh_uses.swap(0, Ordering::Relaxed) >= COOLING {
            for statement in known.statements.values() {
                statement.cool();
            }
        }
    }

    #[cold]
    fn remember(&self, statement: &Arc<KnownStatement>) {
        let mut known = self.known.lock();
        // If another connection has prepared the text since, that entry stays, and this one is not asked for again.
        statement.set_forgotten(false);
        if !known.statements.contains_key(statement.sql()) {
            let forgotten = known.make_room(self.max_statements);
            known.statements.insert(Arc::clone(statement.shared_sql()), Arc::clone(statement));
            drop(known);
            drop(forgotten);
        }
    }

    #[cold]
    fn warn_of_pasted_values(&self, forgotten: &[Arc<KnownStatement>]) {
        let Some((pattern, times)) = pattern::commonest(forgotten.iter().map(|statement| statement.sql())) else {
            return;
        };
        if times < 8 {
            return;
        }
        {
            let warned = &mut self.known.lock().warned;
            if warned.len() >= MOST_WARNINGS || !warned.insert(pattern.clone()) {
                return;
            }
        }
        tracing::warn!(
            pattern,
            max_statements = self.max_statements,
            "more different SQL texts than the statement registry holds; {times} forgotten ones differ in literals alone: \
             bind values as parameters instead of pasting them into the text",
        );
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
            uses.push(statement.cool());
        }
        let mut surplus = (max_statements / 8).max(1) + self.statements.len() - max_statements;
        let (_, &mut limit, _) = uses.select_nth_unstable(surplus - 1);
        let mut forgotten = Vec::with_capacity(surplus);
        self.statements.retain(|_, statement| {
            let stays = surplus == 0 || statement.uses() > limit;
            if !stays {
                surplus -= 1;
                statement.set_forgotten(true);
                forgotten.push(Arc::clone(statement));
            }
            stays
        });
        forgotten
    }
}
