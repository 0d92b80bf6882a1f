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
//! * A cached result is returned only while nothing was committed since before its query began.
//! * Closing loses nothing: no new work, running work finishes or is interrupted, the log is written back.
//!
//! # What it does not
//!
//! * A query that is still open (half its rows read) on the connection that then writes may have read an older version:
//!   [`Error::StaleSnapshot`]. Collect first, or use [`DatabaseManager::write`].
//! * Other processes are waited for, up to `busy_timeout`, and not queued with.
//! * It follows neither URI file names nor databases that change their journal mode while open.
//!
//! # How a call runs
//!
//! The async calls take a connection first and then run the closure on a blocking thread of the tokio runtime; outside a runtime
//! they run it where they are polled. [`DatabaseManager::blocking`] runs closures on the calling thread.
//!
//! [rusqlite] is re-exported, so that a program never has two versions of it.

mod anchor;
pub mod blocking;
mod builder;
mod busy;
mod clock;
mod connection;
mod driver;
mod engine;
mod error;
mod factory;
mod lane;
mod location;
mod logging;
mod manager;
mod place;
mod pooled;
mod query_cache;
mod registry;
pub mod schema;
mod session;
pub mod shutdown;
mod stats;
mod trace;
mod transaction;
mod wal_index;

pub use blocking::Blocking;
pub use builder::DatabaseManagerBuilder;
pub use clock::{Clock, ManualClock};
pub use connection::Connection;
pub use error::{Error, Result};
pub use factory::PoolFactory;
pub use manager::DatabaseManager;
pub use pool_config::{self, Key, Origin, PoolConfig, PoolConfigBuilder, Preset, Synchronous};
pub use pool_stmt::rusqlite::CachedStatement;
pub use pooled::PooledConnection;
pub use rusqlite;
pub use schema::{Column, ColumnType, DefaultValue, Schema, SchemaError};
pub use stats::{CamelCase, GlobalPoolStats, PoolStats};
pub use transaction::{Operation, Transaction, TransactionKind, operation};
