//! What is known about a statement from its preparation.
//!
//! Owns the vocabulary of facts. Must not know which driver or database found them out.
//! Invariant: facts say at least what the statement can do: a table may be named that a run does not touch, never the other
//! way round.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A table (or view, or virtual table) of a database of a connection.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table {
    /// The name under which the connection knows the database: `main`, `temp` or the name it was attached under.
    pub database: Box<str>,
    /// The name of the table as the schema spells it.
    pub name: Box<str>,
}

impl Table {
    /// Names a table.
    #[must_use]
    pub fn new(database: impl Into<Box<str>>, name: impl Into<Box<str>>) -> Self {
        Self { database: database.into(), name: name.into() }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.database, self.name)
    }
}

/// What running statements may read and change.
///
/// Made while the database prepares them. Empty by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Accesses {
    /// Tables that are read, with the columns named; views and what they read are both here. No columns: only the number of
    /// rows matters.
    pub tables_read: BTreeMap<Table, BTreeSet<Box<str>>>,
    /// Tables whose rows may be changed: directly, through views, by triggers and by foreign-key actions.
    pub tables_written: BTreeSet<Table>,
    /// Functions called, in lower case.
    pub functions: BTreeSet<Box<str>>,
    /// Whether the schema, the set of attached databases or a setting of the connection may change.
    pub changes_schema: bool,
    /// Whether a table, view, index or trigger of the database `temp` is created, altered or dropped.
    ///
    /// That the rows of a temporary table are read or written is to be seen by its database in the lists above.
    pub changes_temp: bool,
    /// Whether a setting of the connection or of a database it has open may change: a pragma with a value, or one that acts without.
    ///
    /// Not those which only write the file, such as `user_version`, or work off what is to be done, such as `wal_checkpoint`.
    pub sets_pragma: bool,
    /// Whether a database is attached or detached. `VACUUM` does both while it runs, for itself.
    pub attaches: bool,
    /// Whether a transaction or savepoint is begun or ended.
    pub controls_transaction: bool,
    /// Whether something was done of which nothing more is known: another database or setting may be involved.
    pub unknown: bool,
    /// Whether statements may have been prepared of which nothing was told: any table may be read or written.
    pub unheard: bool,
}

impl Accesses {
    /// Tells whether nothing at all is accessed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { tables_read, tables_written, functions, .. } = self;
        let nothing_named = tables_read.is_empty() && tables_written.is_empty() && functions.is_empty();
        let Self {
            changes_schema, changes_temp, sets_pragma, attaches, controls_transaction, unknown, unheard, ..
        } = self;
        let any = changes_schema | changes_temp | sets_pragma | attaches | controls_transaction | unknown | unheard;
        nothing_named && !any
    }

    /// Tells whether any table is read or written.
    #[must_use]
    pub fn touches_tables(&self) -> bool {
        !self.tables_read.is_empty() || !self.tables_written.is_empty()
    }

    /// Adds the accesses of others.
    pub fn merge(&mut self, others: &Self) {
        for (table, columns) in &others.tables_read {
            if let Some(known) = self.tables_read.get_mut(table) {
                add_all(known, columns);
            } else {
                self.tables_read.insert(table.clone(), columns.clone());
            }
        }
        add_all(&mut self.tables_written, &others.tables_written);
        add_all(&mut self.functions, &others.functions);
        self.changes_schema |= others.changes_schema;
        self.changes_temp |= others.changes_temp;
        self.sets_pragma |= others.sets_pragma;
        self.attaches |= others.attaches;
        self.controls_transaction |= others.controls_transaction;
        self.unknown |= others.unknown;
        self.unheard |= others.unheard;
    }
}

/// Adds what is missing, and copies nothing else.
fn add_all<T: Ord + Clone>(to: &mut BTreeSet<T>, from: &BTreeSet<T>) {
    for one in from {
        if !to.contains(one) {
            to.insert(one.clone());
        }
    }
}

/// What statements may have left behind on their connection, or changed in its schema.
///
/// See `rusqlite::StatementConnection::take_effects`. Empty by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Effects {
    /// As [`Accesses::changes_schema`].
    pub changes_schema: bool,
    /// As [`Accesses::changes_temp`].
    pub changes_temp: bool,
    /// As [`Accesses::sets_pragma`].
    pub sets_pragma: bool,
    /// As [`Accesses::attaches`].
    pub attaches: bool,
    /// Whether a function is called that the connection did not have from the start: somebody added it.
    ///
    /// Known only where `rusqlite::StatementConnection::know_functions` was called.
    pub calls_added_function: bool,
}

impl Effects {
    /// Tells whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What a statement is, by its first word; a `WITH` is what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StatementKind {
    /// `SELECT` or `VALUES`.
    Query,
    /// `INSERT` or `REPLACE`.
    Insert,
    /// `UPDATE`.
    Update,
    /// `DELETE`.
    Delete,
    /// `CREATE`, `ALTER` or `DROP`.
    Schema,
    /// `BEGIN` in any of its forms.
    Begin,
    /// `COMMIT` or `END`.
    Commit,
    /// `ROLLBACK` of the whole transaction.
    Rollback,
    /// `SAVEPOINT`.
    Savepoint,
    /// `RELEASE`.
    Release,
    /// `ROLLBACK TO` a savepoint.
    RollbackTo,
    /// `PRAGMA`.
    Pragma,
    /// `ATTACH`.
    Attach,
    /// `DETACH`.
    Detach,
    /// `ANALYZE`.
    Analyze,
    /// `REINDEX`.
    Reindex,
    /// `VACUUM`.
    Vacuum,
    /// `EXPLAIN` or `EXPLAIN QUERY PLAN` of anything.
    Explain,
    /// Something this version does not know.
    Other,
}

impl StatementKind {
    /// Tells whether it begins or ends a transaction or a savepoint.
    #[must_use]
    pub const fn controls_transaction(self) -> bool {
        matches!(self, Self::Begin | Self::Commit | Self::Rollback | Self::Savepoint | Self::Release | Self::RollbackTo)
    }
}

/// A column of the result of a statement.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Column {
    /// Its name, as the statement or else the database calls it.
    pub name: Box<str>,
    /// The declared type of the table column it comes from; `None` for an expression.
    pub declared_type: Option<Box<str>>,
}

/// What is known about a statement.
///
/// True of the schema under which it was prepared: see [`StatementRegistry::facts`](crate::StatementRegistry::facts).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Facts {
    /// What it is.
    pub kind: StatementKind,
    /// Whether a run leaves database, transaction, schema and settings as they are.
    ///
    /// Stricter than [`sqlite3_stmt_readonly`](https://sqlite.org/c3ref/stmt_readonly.html), which counts `BEGIN`, `COMMIT`,
    /// `SAVEPOINT`, `ATTACH` and settings as read-only.
    pub read_only: bool,
    /// What it reads and changes.
    pub accesses: Accesses,
    /// Virtual tables and table-valued functions among the tables it reads or writes.
    pub virtual_tables: BTreeSet<Table>,
    /// Whether one of the virtual tables it reads is something else than a function of its arguments: it may read what it likes.
    pub reads_beyond: bool,
    /// Functions whose value may differ between two runs on the same rows, in lower case.
    pub nondeterministic_functions: BTreeSet<Box<str>>,
    /// The names of the parameters by position, with their prefix; `None` for `?`.
    pub parameters: Box<[Option<Box<str>>]>,
    /// The columns of the result; empty when it returns no rows.
    pub columns: Box<[Column]>,
}

impl Facts {
    /// Lists the tables read.
    pub fn tables_read(&self) -> impl Iterator<Item = &Table> {
        self.accesses.tables_read.keys()
    }

    /// Lists the tables that may be written.
    pub fn tables_written(&self) -> impl Iterator<Item = &Table> {
        self.accesses.tables_written.iter()
    }

    /// Tells whether two runs with the same parameters give the same rows as long as no table read is changed.
    ///
    /// False for anything but a query, for non-deterministic functions, and where something is read that is not an
    /// ordinary table.
    #[must_use]
    pub fn is_repeatable(&self) -> bool {
        self.kind == StatementKind::Query
            && self.read_only
            && self.nondeterministic_functions.is_empty()
            && !self.accesses.unknown
            && !self.reads_beyond
    }
}
