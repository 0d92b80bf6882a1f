//! Prepared statements, reused, and known by what they touch.
//!
//! A connection keeps the statements it has prepared and lends them by their SQL text; all connections of a database share
//! a registry of what each statement is: read-only or not, which tables it reads and writes, whether it gives the same rows
//! twice. Two parts:
//!
//! - generic: [`StatementCache`] decides which statements of a connection are kept, [`StatementRegistry`] knows
//!   texts, facts and counters, [`StatementKey`] names a statement. They know no database.
//! - feature `rusqlite`: `pool_stmt::rusqlite::StatementConnection` owns a connection of rusqlite together with its
//!   statements, and finds the facts out.
//!
#![cfg_attr(feature = "rusqlite", doc = "```")]
#![cfg_attr(not(feature = "rusqlite"), doc = "```ignore")]
//! use pool_stmt::rusqlite::StatementConnection;
//! use pool_stmt::{StatementKind, StatementRegistry};
//! use std::sync::Arc;
//!
//! # fn main() -> rusqlite::Result<()> {
//! let registry = Arc::new(StatementRegistry::default());
//! let plain = rusqlite::Connection::open_in_memory()?;
//! plain.execute_batch(
//!     "CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT);
//!      CREATE TABLE house(owner INTEGER REFERENCES person ON DELETE CASCADE);",
//! )?;
//! let connection = StatementConnection::new(plain, Arc::clone(&registry), 64);
//! for _ in 0..10 {
//!     let mut delete = connection.prepare_cached("DELETE FROM person WHERE id = ?1")?;
//!     delete.execute([7])?;
//! }
//! let facts = registry.facts("DELETE FROM person WHERE id = ?1").expect("it was prepared");
//! assert_eq!(facts.kind, StatementKind::Delete);
//! let written: Vec<String> = facts.tables_written().map(ToString::to_string).collect();
//! assert_eq!(written, ["main.house", "main.person"], "the foreign key deletes too");
//! assert_eq!((registry.stats().prepares, registry.stats().hits), (1, 9));
//! # Ok(())
//! # }
//! ```
//!
//! # What is counted
//!
//! [`StatementRegistry::stats`] sums up; [`statements`](StatementRegistry::statements) lists each SQL text with how often it was
//! prepared, found, evicted and run, the steps, full scans, sorts and automatic indexes of SQLite, memory, and the last error;
//! [`slowest`](StatementRegistry::slowest) and [`scanning`](StatementRegistry::scanning) are the first of that list by time and by
//! rows scanned. Counting costs a store for each use; the rest is told once in 32 uses. Times are told by whoever traces the connection
//! ([`spent`](StatementRegistry::spent)).
//!
//! # Promises
//!
//! - A statement is lent to one user at a time, comes back reset and without bindings, and never reaches another
//!   connection or outlives its own: the types say so, whatever is moved, leaked or unwound.
//! - A statement lent is what a new preparation by the same connection at that moment would be. In particular it never
//!   tells columns of a schema which the connection no longer has. (A connection learns of a change by another one when it next
//!   runs a statement; SQLite offers no earlier moment, for new preparations neither.)
//! - Facts name at least what the statement can touch: through views, triggers and foreign-key actions too.
//! - Memory is bounded: idle statements by the capacity of the connection, known texts by the registry, in number and in length. Each
//!   pattern of texts that differ in pasted values alone is warned of once.
//! - Capacity 0 prepares each time; everything else is the same.
//! - What may stay on a connection is told whoever prepared it (`StatementConnection::take_effects`): settings, attached databases,
//!   temporary tables. Statements that rusqlite's own cache keeps are no exception.
//!
//! # What it does not promise
//!
//! - The authorizer of the connection belongs to this crate. Limits, configuration flags (`sqlite3_db_config`) and modules
//!   changed under idle statements do not outdate them.
//! - Connections opened in SQLite's shared-cache mode may hear of schema changes of each other later than a new preparation would.
//!   (Its documentation discourages that mode; the `memdb` VFS shares a database in memory without it.)
//! - Writing a virtual table writes its shadow tables, which the facts do not name; reading any virtual table, or one of
//!   SQLite's own tables but the schema, makes a statement not repeatable.

mod cache;
mod facts;
mod key;
mod known;
mod membership;
mod order;
mod pattern;
mod registry;

#[cfg(feature = "rusqlite")]
pub mod rusqlite;

pub use cache::{StatementCache, Ticket};
pub use facts::{Accesses, Column, Effects, Facts, StatementKind, Table};
pub use key::StatementKey;
pub use known::{KnownStatement, StatementFailure, StatementReport};
pub use membership::{Membership, StatementEvent};
pub use registry::{StatementRegistry, StatementStats};
