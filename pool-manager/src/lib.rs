//! `DatabaseManager`: pooled SQLite connections, a fair write lane, reused statements and a query cache that is never stale,
//! behind one type.
//!
//! ```
//! use pool_manager::{Column, DatabaseManager, Schema};
//!
//! # #[tokio::main]
//! # async fn main() -> pool_manager::Result<()> {
//! # let folder = tempfile::tempdir().expect("a temporary folder");
//! # let path = folder.path().join("app.sqlite");
//! let db = DatabaseManager::open(path)?;
//! db.create(Schema::new("users").column(Column::number("id").primary()).column(Column::string("name"))).await?;
//!
//! // Closures get a connection that can do all that rusqlite's can.
//! db.execute_with_pool(|conn| Ok(conn.execute("INSERT INTO users (name) VALUES (?1)", ["Ada"])?)).await?;
//!
//! // A cached result is never older than the newest commit, of any process.
//! let count = db.execute_cached("users", None, |conn| {
//!     Ok(conn.query_row("SELECT count(*) FROM users", [], |row| row.get::<_, i64>(0))?)
//! }).await?;
//! assert_eq!(*count, 1);
//!
//! db.close_pool().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What it promises
//!
//! * A connection has one user at a time; there are never more than `max_connections`, and what a user leaves open is undone before
//!   the next one gets it.
//! * Callers of this process never meet `SQLITE_BUSY` because of each other: whoever writes queues in the *write lane*, first come
//!   first served, also from inside a closure that began by reading, also with plain rusqlite calls.
//! * A write that was answered is committed; an error, a panic or a dropped future rolls an open transaction back.
//! * A cached result is returned only while nothing that its query read was changed since before it began, by anybody (or by anybody in this
//!   process, where `external_writers` is not `strict`): tables, and single rows read by their primary key, are followed through views,
//!   triggers and foreign keys, and what can't be followed is not kept.
//! * Closing loses nothing: no new work, running work finishes or is interrupted, the log is written back.
//!
//! # What it does not
//!
//! * A query that is still open (half its rows read) on the connection that then writes may have read an older version:
//!   [`Error::StaleSnapshot`]. Collect first, or use [`DatabaseManager::write`].
//! * Other processes are waited for, up to `busy_timeout`, and not queued with.
//! * It follows neither URI file names nor databases that change their journal mode while open; a statement in the pool that would leave WAL
//!   mode is refused ([`Error::JournalModeInUse`]). A file that this process has open under another name, by a hard link, is refused; that
//!   another process has it open so is not seen.
//! * A file that is replaced under an open pool is noticed within 50 ms; until then calls may reach the old one. SQLite asks not to do
//!   that at all (<https://www.sqlite.org/howtocorrupt.html>, section 2.4), or to remove the `-wal` file with the old one at least.
//! * A statement that is refused ends the open queries of its connection, too: SQLite's interrupt knows the connection only. Where
//!   rusqlite reports the refusal itself it says "interrupted" or "database is locked"; closures' errors are named on the way out, and
//!   [`Connection::explain`] names those of connections held by hand.
//! * Handles for incremental BLOBs read and write without a statement. [`Connection::blob_open`] sees to it that they are known all the
//!   same. Those opened around it, with `rusqlite::Connection::blob_open(&conn, ...)` or in C, do not queue; in a read closure what they
//!   write is rolled back when they close; and the query cache learns neither what they read nor, in a transaction that writes other
//!   tables, too, which table they write: call [`invalidate_tables`](DatabaseManager::invalidate_tables) after it.
//! * What a cached closure reads without a statement (a backup, a BLOB handle opened around the connection) is outdated by any commit as long as it runs no statement.
//!   In one that does, nobody is told of it: use [`read`](DatabaseManager::read) for that.
//! * A function that a user adds to a connection and never calls stays there, for others to call, until the connection is closed. A
//!   statement leaked with `mem::forget` leaks its connection, but not its locks.
//! * Statements of [`execute_with_pool`](DatabaseManager::execute_with_pool) commit one by one, unless the closure begins a
//!   transaction: what was committed before an error or a dropped future stays.
//!
//! # How a call runs
//!
//! The async calls take a connection first. A closure that only reads then runs where the call is polled, if its call site was quick before
//! (no more than 200 µs) and the database is in WAL mode, so that it waits for nobody; otherwise on a blocking thread of the tokio runtime. The
//! setting `work_placement` overrules the measuring. Of those who write, one at a time has the *lead*: it works the queue off, right
//! where it was called for as long as that is quick, then on a blocking thread; closures of [`DatabaseManager::write`] that wait meanwhile, of
//! tasks and of threads, share a transaction. Outside a runtime everything runs where it is polled. [`DatabaseManager::blocking`] runs
//! closures on the calling thread; those of its `write` may run on the thread that has the lead.
//!
//! Calls whose names end in `_with` take [`CallOptions`]: a deadline for the whole call, the priority of a write, where its closure runs, how its
//! transaction begins, and a [`WriteReceipt`] that tells what became of a write whose future was dropped.
//! [`DatabaseManager::write_many`] writes many items in slices between which others get their turn.
//!
//! # Settings
//!
//! [`PoolConfig`] says what each key means. Most can change while the pool is open, by [`DatabaseManager::reconfigure`] or by following a
//! [`LiveConfig`] ([`DatabaseManagerBuilder::live`]). Two keys act on what can be known only: `max_cache_weight` on an estimate
//! ([`DatabaseManagerBuilder::weigh_results`]), and `long_read` reports single statements when they end, and other readers
//! when the log is written back ([`DatabaseManager::long_readers`]).
//!
//! [rusqlite] is re-exported, so that a program never has two versions of it.

mod anchor;
mod anchorage;
mod blob;
pub mod blocking;
mod bound;
mod builder;
mod bulk;
mod bulletin;
mod busy;
mod cache_calls;
mod cached;
mod cached_query;
mod call_options;
mod changes;
mod chosen;
mod chosen_calls;
mod clock;
mod connection;
mod deadline;
mod driver;
mod engine;
mod error;
mod factory;
#[cfg(feature = "faults")]
#[doc(hidden)]
pub mod faults;
#[cfg(not(feature = "faults"))]
#[allow(dead_code, unreachable_pub, reason = "the points and mistakes are for the checker")]
mod faults;
mod fork;
mod hooks;
mod hopeless;
mod in_force;
mod inherited;
mod job;
mod key_column;
mod key_look;
mod key_query;
mod lane;
mod lead;
mod ledger;
mod location;
mod log;
mod logging;
mod lone_write;
mod manager;
mod memory_ledgers;
mod nesting;
mod numbers;
mod parameters;
mod parking;
mod place;
mod pooled;
mod pragmas;
mod priority;
mod published;
mod publisher;
mod query_cache;
mod query_key;
mod reads;
mod receipt;
mod reconfigure;
mod registry;
mod remains;
mod reports;
mod row_cells;
mod row_source;
mod row_watch;
mod running;
pub mod schema;
mod session;
pub mod shutdown;
mod sites;
mod snapshot;
mod stats;
mod stream;
mod sweeper;
mod thread_time;
mod transaction;
mod volatile;
mod wal_index;
mod warm;
mod weight;
mod wording;
mod write_queue;
mod writing;

pub use blocking::Blocking;
pub use builder::DatabaseManagerBuilder;
pub use cache_calls::CacheOptions;
pub use cached_query::CachedQuery;
pub use call_options::CallOptions;
pub use changes::{Changed, Changes};
pub use clock::{Clock, ManualClock};
pub use connection::Connection;
pub use error::{Error, Result};
pub use factory::PoolFactory;
pub use manager::DatabaseManager;
pub use parameters::{ParameterList, Parameters};
pub use pool_config::{
    self, Change, ExternalWriters, Key, LiveConfig, Origin, PoolConfig, PoolConfigBuilder, Preset, Reload, Synchronous,
    Watch, WatchOptions, WorkPlacement,
};
pub use pool_stmt::rusqlite::CachedStatement;
pub use pool_stmt::{StatementFailure, StatementKey, StatementReport, statement};
pub use pooled::PooledConnection;
pub use priority::Priority;
pub use receipt::{WriteOutcome, WriteReceipt};
pub use rusqlite;
pub use schema::{Column, ColumnType, DefaultValue, Schema, SchemaError};
pub use session::LongReader;
pub use stats::{CamelCase, GlobalPoolStats, PoolStats};
pub use stream::{RowIter, RowStream};
pub use transaction::{Operation, Transaction, TransactionKind, operation};
pub use volatile::Uncacheable;
pub use warm::{HotQuery, Warmed};
