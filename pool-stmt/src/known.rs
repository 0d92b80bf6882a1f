//! One SQL text the registry knows: its facts and what happened to its statements.
//!
//! Owns the counters of a text over all connections. Must not know a connection or a statement.
//! Invariant: facts and the trail that led to them are replaced together.

use crate::facts::Facts;
use crate::membership::{EVENTS, StatementEvent};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// A SQL text the registry knows.
#[derive(Debug)]
pub struct KnownStatement {
    sql: Arc<str>,
    learned: Mutex<Learned>,
    last_error: Mutex<Option<StatementFailure>>,
    /// How often it was used, halved now and then.
    uses: AtomicU64,
    forgotten: AtomicBool,
    events: [AtomicU64; EVENTS],
    memory: AtomicU64,
    nanos: AtomicU64,
    longest: AtomicU64,
}

#[derive(Debug)]
struct Learned {
    facts: Arc<Facts>,
    trail: Option<u64>,
}

/// An error that a statement ended with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatementFailure {
    /// The database's number of the error; SQLite's extended code.
    pub code: i32,
    /// What the database said about it.
    pub message: Box<str>,
}

impl StatementFailure {
    /// Makes the description of an error.
    #[must_use]
    pub fn new(code: i32, message: impl Into<Box<str>>) -> Self {
        Self { code, message: message.into() }
    }
}

/// What is known of one SQL text and what happened to its statements so far, over all connections.
///
/// A connection hands on what it counts every 32 uses of a statement at the latest (the first uses sooner), when the statement leaves
/// it, and when it comes to rest after a listing was asked for (`StatementConnection::rest`); `hits`, `runs` and what follows them may
/// be behind by that.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StatementReport {
    /// The SQL text.
    pub sql: Arc<str>,
    /// What it is.
    pub facts: Arc<Facts>,
    /// How often it was prepared: for misses, for warming, and in place of outdated statements.
    pub prepares: u64,
    /// How often it was found prepared.
    pub hits: u64,
    /// How often it was not found prepared.
    pub misses: u64,
    /// How often a statement of it was dropped for want of room.
    pub evictions: u64,
    /// How often a statement of it was dropped on return: failed, or not worth keeping.
    pub discards: u64,
    /// How often an idle statement of it was dropped because the schema changed.
    pub outdated: u64,
    /// How often SQLite itself prepared it again while it ran.
    pub reprepares: u64,
    /// How often it ran.
    pub runs: u64,
    /// Steps of SQLite's virtual machine: the work done.
    pub steps: u64,
    /// Rows that were stepped over in a full scan of a table: an index may be missing.
    pub fullscan_steps: u64,
    /// Sorts: an index may be missing.
    pub sorts: u64,
    /// Rows put into indexes which SQLite made for one run: an index may be missing.
    pub auto_indexed_rows: u64,
    /// Bytes of memory of one prepared statement of it, the largest seen; 0 as long as none was looked at.
    pub memory: u64,
    /// Time spent in runs; zero unless the embedding layer tells times ([`spent`](crate::StatementRegistry::spent)).
    pub time: Duration,
    /// The longest run told.
    pub longest: Duration,
    /// The last error a run ended with; `None` when none did.
    pub last_error: Option<StatementFailure>,
}

impl StatementReport {
    /// Returns the time of a run on average; zero when none is known.
    #[must_use]
    pub fn mean_time(&self) -> Duration {
        let nanos = u64::try_from(self.time.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(nanos.checked_div(self.runs).unwrap_or(nanos))
    }
}

impl KnownStatement {
    pub(crate) fn new(sql: Arc<str>, facts: Facts, trail: Option<u64>) -> Self {
        Self {
            sql,
            learned: Mutex::new(Learned { facts: Arc::new(facts), trail }),
            last_error: Mutex::default(),
            uses: AtomicU64::new(1),
            forgotten: AtomicBool::new(false),
            events: [const { AtomicU64::new(0) }; EVENTS],
            memory: AtomicU64::new(0),
            nanos: AtomicU64::new(0),
            longest: AtomicU64::new(0),
        }
    }

    /// Returns the SQL text.
    #[must_use]
    pub fn sql(&self) -> &str {
        &self.sql
    }

    pub(crate) fn shared_sql(&self) -> &Arc<str> {
        &self.sql
    }

    /// Returns the facts and the trail that led to them; see [`StatementRegistry::prepared`](crate::StatementRegistry::prepared).
    #[must_use]
    pub fn learned(&self) -> (Arc<Facts>, Option<u64>) {
        let learned = self.learned.lock();
        (Arc::clone(&learned.facts), learned.trail)
    }

    pub(crate) fn facts(&self) -> Arc<Facts> {
        Arc::clone(&self.learned.lock().facts)
    }

    /// Replaces the facts, unless they are as before.
    pub(crate) fn learn(&self, facts: Facts, trail: Option<u64>) -> Arc<Facts> {
        let mut learned = self.learned.lock();
        if *learned.facts != facts {
            learned.facts = Arc::new(facts);
        }
        learned.trail = trail;
        Arc::clone(&learned.facts)
    }

    /// Makes sure that the facts are concluded anew when the text is prepared next.
    pub(crate) fn doubt(&self) {
        self.learned.lock().trail = None;
    }

    /// Counts what happened to a statement of this text some times.
    pub fn count(&self, event: StatementEvent, times: u64) {
        if times > 0 {
            self.events[event as usize].fetch_add(times, Ordering::Relaxed);
        }
    }

    fn counted(&self, event: StatementEvent) -> u64 {
        self.events[event as usize].load(Ordering::Relaxed)
    }

    /// Tells how many bytes a prepared statement of this text takes.
    pub fn takes_memory(&self, bytes: u64) {
        self.memory.fetch_max(bytes, Ordering::Relaxed);
    }

    /// Tells whether nobody has told the memory of a statement of this text.
    #[must_use]
    pub fn wants_memory(&self) -> bool {
        self.memory.load(Ordering::Relaxed) == 0
    }

    /// Remembers an error that a run ended with.
    pub fn failed(&self, failure: StatementFailure) {
        *self.last_error.lock() = Some(failure);
    }

    pub(crate) fn spent(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
        self.longest.fetch_max(nanos, Ordering::Relaxed);
    }

    pub(crate) fn add_uses(&self, times: u64) {
        self.uses.fetch_add(times, Ordering::Relaxed);
    }

    pub(crate) fn uses(&self) -> u64 {
        self.uses.load(Ordering::Relaxed)
    }

    /// Halves the use count and returns it.
    pub(crate) fn cool(&self) -> u64 {
        let halved = self.uses() / 2;
        self.uses.store(halved, Ordering::Relaxed);
        halved
    }

    pub(crate) fn is_forgotten(&self) -> bool {
        self.forgotten.load(Ordering::Relaxed)
    }

    pub(crate) fn set_forgotten(&self, forgotten: bool) {
        self.forgotten.store(forgotten, Ordering::Relaxed);
    }

    pub(crate) fn report(&self) -> StatementReport {
        StatementReport {
            sql: Arc::clone(&self.sql),
            facts: self.facts(),
            prepares: self.counted(StatementEvent::Prepare),
            hits: self.counted(StatementEvent::Hit),
            misses: self.counted(StatementEvent::Miss),
            evictions: self.counted(StatementEvent::Evict),
            discards: self.counted(StatementEvent::Discard),
            outdated: self.counted(StatementEvent::Outdate),
            reprepares: self.counted(StatementEvent::Reprepare),
            runs: self.counted(StatementEvent::Run),
            steps: self.counted(StatementEvent::Step),
            fullscan_steps: self.counted(StatementEvent::FullscanStep),
            sorts: self.counted(StatementEvent::Sort),
            auto_indexed_rows: self.counted(StatementEvent::AutoIndexRow),
            memory: self.memory.load(Ordering::Relaxed),
            time: Duration::from_nanos(self.nanos.load(Ordering::Relaxed)),
            longest: Duration::from_nanos(self.longest.load(Ordering::Relaxed)),
            last_error: self.last_error.lock().clone(),
        }
    }
}
