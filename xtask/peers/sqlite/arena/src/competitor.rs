//! What a competitor is asked to do, and what it is told about the database.
//!
//! Must not know how it is measured.

use std::{future::Future, path::PathBuf};

use crate::sql;

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// "Database is locked": counted.
    Busy,
    /// Anything else: the competitor failed.
    Other(String),
}

impl Failure {
    /// Any other error.
    pub fn other(error: impl std::fmt::Display) -> Self {
        Self::Other(error.to_string())
    }
}

/// Where a competitor's callers live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In tasks of a runtime with two workers.
    Tasks,
    /// Each in a thread of its own; calls block.
    Threads,
    /// The same, but in no more than two threads: each has a connection to itself.
    TwoThreads,
}

/// In which of several ways a competitor is used.
#[derive(Clone, Copy, Debug)]
pub struct Quirks {
    /// Asks a connection whether it lives before handing it out, where that can be chosen.
    pub tested: bool,
    /// Transactions that read first begin immediate, not deferred.
    pub immediate: bool,
    /// Statements are kept, not prepared for every use.
    pub reuse: bool,
    /// Results are cached, where that can be chosen.
    pub query_cache: bool,
    /// Cached results are compared with what other processes commit, where that can be chosen.
    pub strict: bool,
    /// Cached results of single rows, and of rows with one value, survive writes to other rows, where that can be chosen.
    pub rows: bool,
}

impl Default for Quirks {
    fn default() -> Self {
        Self { tested: true, immediate: false, reuse: true, query_cache: true, strict: true, rows: true }
    }
}

/// The database and how it is to be used.
#[derive(Clone, Debug)]
pub struct Site {
    pub path: PathBuf,
    /// `synchronous = FULL`, not `NORMAL`.
    pub full: bool,
    pub connections: u32,
    pub quirks: Quirks,
}

impl Site {
    /// The settings of every connection.
    #[must_use]
    pub fn settings(&self) -> String {
        sql::settings(self.full)
    }
}

/// What is known of a country.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Country {
    pub cities: i64,
    pub people: i64,
    pub visits: i64,
}

/// What all that was written adds up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub entries: i64,
    pub values: i64,
    pub balance: i64,
    pub visits: i64,
}

impl std::ops::AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.entries += other.entries;
        self.values += other.values;
        self.balance += other.balance;
        self.visits += other.visits;
    }
}

type Answer<T> = Result<T, Failure>;

/// Somebody who reads and writes the database for one caller. Where callers block, no future ever waits.
pub trait Competitor: Sized + Send + 'static {
    /// Where its callers live.
    const PLACE: Place;

    /// Opens the database.
    fn open(site: &Site) -> impl Future<Output = Answer<Self>> + Send;
    /// The same for another caller: shared, or a connection of its own.
    fn another(&self) -> Answer<Self>;

    /// Reads one row by its key; answers with its digest.
    fn point(&mut self, id: i64) -> impl Future<Output = Answer<u64>> + Send;
    /// Reads a thousand rows; answers with the sum of their digests.
    fn range(&mut self, first: i64) -> impl Future<Output = Answer<u64>> + Send;
    /// Reads one row with one of several texts.
    fn reuse(&mut self, text: &'static str, id: i64) -> impl Future<Output = Answer<u64>> + Send;
    /// Aggregates the cities of a country.
    fn country(&mut self, country: i64) -> impl Future<Output = Answer<Country>> + Send;
    /// Writes one row in one transaction.
    fn insert(&mut self, value: i64) -> impl Future<Output = Answer<()>> + Send;
    /// Changes one row in one transaction.
    fn visit(&mut self, id: i64) -> impl Future<Output = Answer<()>> + Send;
    /// Reads a balance and writes it back with one more, in one transaction.
    fn increment(&mut self, account: i64) -> impl Future<Output = Answer<()>> + Send;
    /// Adds up all that was written.
    fn totals(&mut self) -> impl Future<Output = Answer<Totals>> + Send;
    /// Takes this many connections and reads the large table with each; answers with rows and keys of each. They stay open.
    fn scan(&mut self, connections: usize) -> impl Future<Output = Answer<Vec<(i64, i64)>>> + Send;

    /// [`point`](Self::point) that may be answered from a cache.
    fn cached_point(&mut self, id: i64) -> impl Future<Output = Answer<u64>> + Send {
        self.point(id)
    }
    /// [`range`](Self::range) that may be answered from a cache.
    fn cached_range(&mut self, first: i64) -> impl Future<Output = Answer<u64>> + Send {
        self.range(first)
    }
    /// [`country`](Self::country) that may be answered from a cache.
    fn cached_country(&mut self, country: i64) -> impl Future<Output = Answer<Country>> + Send {
        self.country(country)
    }
}
