//! Why a result can't be kept.
//!
//! Owns the reasons, their words and how often each was met. It must not know how they are found out.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// What a result depends on besides the content of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Volatile {
    /// A table of this connection alone, or of another file.
    Table(String),
    /// A function that may return something else each time; without its name where nobody would be told.
    Function(Box<str>),
    /// A pragma, a virtual table, or whatever else can't be followed.
    Unknown,
    /// Which query it is can't be told.
    Closure,
    /// From when it is can't be told.
    Moment,
}

impl fmt::Display for Volatile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(table) => write!(f, "it reads {table}, which is not in the database itself"),
            Self::Function(name) => write!(f, "it calls {name}(), which may return something else each time"),
            Self::Unknown => f.write_str("it reads a pragma, a virtual table or something else that can't be followed"),
            Self::Closure => f.write_str("it comes from a boxed closure, and which one that is can't be told"),
            Self::Moment => f.write_str("somebody has the file locked, so it can't be told from when it is"),
        }
    }
}

/// How many results could not be kept, by the reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Uncacheable {
    /// Those that read a temporary table, or one of an attached database.
    pub tables: u64,
    /// Those that call a function which may return something else each time: chance, time, counters, a function of the program
    /// that was not declared deterministic.
    pub functions: u64,
    /// Those that read a pragma, a virtual table of the program or something else that can't be followed.
    pub unknown: u64,
    /// Those of closures in a box, which can't be told apart.
    pub closures: u64,
    /// Those read outside WAL mode while another process had the file locked.
    pub moments: u64,
}

impl Uncacheable {
    /// Returns the sum.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.tables + self.functions + self.unknown + self.closures + self.moments
    }

    pub(crate) const fn add(&mut self, other: &Self) {
        self.tables += other.tables;
        self.functions += other.functions;
        self.unknown += other.unknown;
        self.closures += other.closures;
        self.moments += other.moments;
    }
}

/// Counts reasons.
#[derive(Debug, Default)]
pub(crate) struct Reasons([AtomicU64; 5]);

impl Reasons {
    pub(crate) fn count(&self, reason: &Volatile) {
        let place = match reason {
            Volatile::Table(_) => 0,
            Volatile::Function(_) => 1,
            Volatile::Unknown => 2,
            Volatile::Closure => 3,
            Volatile::Moment => 4,
        };
        self.0[place].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> Uncacheable {
        let [tables, functions, unknown, closures, moments] = self.0.each_ref().map(|one| one.load(Ordering::Relaxed));
        Uncacheable { tables, functions, unknown, closures, moments }
    }
}
