//! The one error type of this crate: what went wrong, on which database, and what was waited for.
//!
//! Wraps the errors of the layers below without flattening them: the cause is always in `source()`. Also owns the
//! translation of SQLite's result codes into what they mean here (`Busy` is always another process, because callers of
//! this process queue in the write lane). It must not know how any of the failing operations work.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::ffi;

use crate::schema::SchemaError;

/// The result of every call of this crate, and what closures given to it return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed.
///
/// Closures return this type, so `?` works in them on this crate's and on rusqlite's errors, and on those of [`std::io`], which handles to
/// BLOBs have. Errors of your own go through [`Error::application`]:
///
/// ```
/// # use pool_manager::{Error, Result};
/// fn closure_body() -> Result<i64> {
///     let parsed: i64 = "12".parse().map_err(Error::application)?;
///     Ok(parsed)
/// }
/// # assert_eq!(closure_body().unwrap(), 12);
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The path can't name a database.
    #[error("invalid database path {path:?}: {reason}")]
    InvalidPath {
        /// The path as it was given.
        path: PathBuf,
        /// What is wrong with it and what is allowed.
        reason: String,
    },
    /// The database file could not be opened.
    #[error("cannot open database {path:?}: {reason}")]
    Open {
        /// The canonical path.
        path: PathBuf,
        /// What was found in plain words.
        reason: String,
        /// SQLite's own error.
        source: rusqlite::Error,
    },
    /// The file under an open pool is gone, was replaced by another one or was truncated.
    #[error("database file {path:?} {change}")]
    FileChanged {
        /// The canonical path.
        path: PathBuf,
        /// What happened to it.
        change: &'static str,
    },
    /// No connection became free in time: every one was leased for as long as the caller was willing to wait.
    #[error(
        "connection acquire timeout: waited {waited:?} for one of {max_connections} connections ({leased} leased, {waiting} waiting{}); \
         raise max_connections or acquire_timeout, or hold connections for less time",
        longest_holder.as_ref().map(|holder| format!(", longest holder {holder}")).unwrap_or_default()
    )]
    AcquireTimeout {
        /// How long the caller waited.
        waited: Duration,
        /// The configured maximum.
        max_connections: usize,
        /// Connections leased when the time was up.
        leased: usize,
        /// Callers waiting when the time was up.
        waiting: usize,
        /// Who holds a connection longest, where holders are tracked.
        longest_holder: Option<String>,
    },
    /// More callers wait for a connection than is allowed.
    #[error("too many callers wait for a connection: at most {limit} may")]
    TooManyWaiters {
        /// The bound.
        limit: usize,
    },
    /// Another writer of this process held the write lane for as long as the caller was willing to wait.
    #[error("write lane timeout: waited {waited:?} (acquire_timeout) for the writers of this process that came first")]
    WriteLaneTimeout {
        /// How long the caller waited.
        waited: Duration,
    },
    /// The deadline of the call has passed, which [`CallOptions`](crate::CallOptions) set. Of a write, nothing is in the database then.
    #[error("deadline passed: {waited:?} of {limit:?} went by {doing}")]
    DeadlinePassed {
        /// What the call was doing when the time was up.
        doing: &'static str,
        /// How long it was allowed to take.
        limit: Duration,
        /// How long it took.
        waited: Duration,
        /// What the closure, or the wait, failed with because of that; `None` where it was not waited for.
        source: Option<Box<Error>>,
    },
    /// A bulk write ended before its last item: the slices that were committed before are in the database, and of the slice that failed
    /// nothing is.
    #[error("bulk write stopped after {written} items that are in the database")]
    BulkStopped {
        /// How many items are in the database: the first ones.
        written: u64,
        /// What stopped it.
        source: Box<Error>,
    },
    /// Another process had the database locked, and kept it so for the whole of `busy_timeout`; or SQLite did not wait, because waiting
    /// could never end: the transaction had read already and wanted to write while somebody else did.
    #[error("database is locked by another process: waited {waited:?} of busy_timeout = {busy_timeout:?}")]
    Busy {
        /// How long was waited.
        waited: Duration,
        /// The configured bound on waiting for other processes.
        busy_timeout: Duration,
        /// SQLite's own error.
        source: rusqlite::Error,
    },
    /// A closure waits for what only its own end gives back: it calls its own database again, on the same thread, for something that
    /// it holds itself. Use the connection or transaction that the closure was given.
    #[error("this would wait for ever: {what} is held by the closure that asks for it")]
    WouldDeadlock {
        /// What was asked for.
        what: &'static str,
    },
    /// A closure of [`DatabaseManager::write`](crate::DatabaseManager::write) shares its transaction with other writes, so it can't begin
    /// or end one. What needs that runs in a transaction of its own:
    /// [`execute_pooled_transaction`](crate::DatabaseManager::execute_pooled_transaction).
    #[error(
        "a grouped write can't begin or end a transaction: it shares one with other writes; use execute_pooled_transaction"
    )]
    SharedTransaction {
        /// SQLite's own error.
        source: rusqlite::Error,
    },
    /// Other writes had a part in the transaction of this one, and it could not be committed. All of them get the same error, and none
    /// of them is in the database.
    #[error("the transaction that several writes shared could not be committed")]
    CommitFailed(#[source] Arc<Error>),
    /// A transaction was over before its owner committed it: a statement of its own ended it (`COMMIT`, `ROLLBACK`, `OR ROLLBACK`), or
    /// SQLite rolled it back because of an error (a full disk). Nothing that it wrote was kept, and nothing ran after it.
    #[error("the transaction was ended before its time; all of it is rolled back")]
    TransactionEnded,
    /// A transaction or an open query that had read an older version of the database wanted to write.
    ///
    /// SQLite can't let it: what it read may be out of date (`SQLITE_BUSY_SNAPSHOT`). Finish or collect the query before
    /// writing, or do both in [`DatabaseManager::write`](crate::DatabaseManager::write), which never has this error.
    #[error("cannot write after reading an older version: another commit came between")]
    StaleSnapshot {
        /// SQLite's own error.
        source: rusqlite::Error,
    },
    /// A statement that writes ran where only reading is allowed.
    #[error("cannot write here: {place}")]
    ReadOnly {
        /// Which rule forbids it and what to call instead.
        place: &'static str,
        /// SQLite's own error.
        source: rusqlite::Error,
    },
    /// A statement was to change the journal mode, for which nobody else may have the database open: each connection of the pool stands in
    /// the way, and any of another process. Close the pool and change it by a connection of its own
    /// (<https://www.sqlite.org/pragma.html#pragma_journal_mode>); a pool puts a file into WAL mode when it opens it again.
    #[error("the journal mode can't be changed while a pool has the database open; close the pool first")]
    JournalModeInUse {
        /// SQLite's own error.
        source: rusqlite::Error,
    },
    /// The pool was opened before this process was forked from the one that opened it. Its connections stay the parent's: SQLite's do not
    /// survive a fork (<https://www.sqlite.org/howtocorrupt.html>, section 2.6). Nothing was done; a manager that is built in the child works.
    #[error("the pool of {database} was opened before this process was forked; open the database anew in the child")]
    Forked {
        /// Path or name of the database.
        database: String,
    },
    /// The pool of this database was closed.
    #[error("the pool of {database} is closed")]
    Closed {
        /// Path or name of the database.
        database: String,
    },
    /// The pool was closed, but connections held by hand did not come back in time. Each closes when it is given back; until then the
    /// log stays beside the database file.
    #[error("the pool of {database} is closed, but {connections} connection(s) were not given back in time")]
    StillInUse {
        /// Path or name of the database.
        database: String,
        /// How many are still held.
        connections: usize,
    },
    /// The call was cut short because its caller went away or the pool was closing.
    #[error("interrupted: {cause}")]
    Interrupted {
        /// Who asked for it.
        cause: &'static str,
        /// SQLite's own error.
        source: rusqlite::Error,
    },
    /// Settings were refused.
    #[error(transparent)]
    Config(#[from] pool_config::ConfigError),
    /// Settings were refused by the pool itself.
    #[error("invalid pool options")]
    PoolOptions(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A database is open already with other settings than the ones asked for.
    #[error(
        "{path:?} is open already with other settings: {differences}; close that pool first or leave these keys out"
    )]
    PoolExists {
        /// The canonical path.
        path: PathBuf,
        /// Key by key, what is in force and what was asked for.
        differences: String,
    },
    /// A table description was refused.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// SQLite refused a statement.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// The load of a cached query that several callers waited for failed; all of them get the same error.
    #[error("the query behind a cached result failed")]
    Shared(#[source] Arc<Error>),
    /// Signal handlers could not be installed or threads not started.
    #[error("{what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// Something needs a transaction, and none is open.
    #[error("{what} needs an open transaction")]
    NoTransaction {
        /// What needs it.
        what: &'static str,
    },
    /// An error of the caller's own, passed through a closure.
    #[error(transparent)]
    Application(Box<dyn std::error::Error + Send + Sync>),
}

/// What SQLite said, if that is in it, as it is for handles to BLOBs; otherwise the caller's own.
impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        error.downcast::<rusqlite::Error>().map_or_else(Self::application, Self::Sqlite)
    }
}

impl Error {
    /// Wraps an error of the caller's own, so that a closure can return it.
    pub fn application(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Application(error.into())
    }

    /// Tells whether the same call may succeed when it is made again later.
    ///
    /// True for time-outs, for a database locked by another process, and for a stale snapshot.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::AcquireTimeout { .. }
            | Self::TooManyWaiters { .. }
            | Self::WriteLaneTimeout { .. }
            | Self::DeadlinePassed { .. }
            | Self::Busy { .. }
            | Self::StaleSnapshot { .. } => true,
            Self::Shared(shared) | Self::CommitFailed(shared) => shared.is_transient(),
            _ => false,
        }
    }

    /// The SQLite error behind this one, where there is one.
    #[must_use]
    pub fn sqlite(&self) -> Option<&rusqlite::Error> {
        match self {
            Self::Sqlite(source)
            | Self::Open { source, .. }
            | Self::Busy { source, .. }
            | Self::StaleSnapshot { source }
            | Self::ReadOnly { source, .. }
            | Self::SharedTransaction { source }
            | Self::JournalModeInUse { source }
            | Self::Interrupted { source, .. } => Some(source),
            Self::Shared(shared) | Self::CommitFailed(shared) => shared.sqlite(),
            Self::DeadlinePassed { source: Some(source), .. } | Self::BulkStopped { source, .. } => source.sqlite(),
            _ => None,
        }
    }

    /// Names what SQLite's lock codes mean on a pooled connection.
    pub(crate) fn named(self, waited: Duration, busy_timeout: Duration) -> Self {
        let Self::Sqlite(source) = self else { return self };
        match extended_code(&source) {
            Some(ffi::SQLITE_BUSY_SNAPSHOT) => Self::StaleSnapshot { source },
            Some(code) if code & 0xff == ffi::SQLITE_BUSY => Self::Busy { waited, busy_timeout, source },
            Some(code) if code & 0xff == ffi::SQLITE_READONLY => {
                Self::ReadOnly { place: "the database was opened read-only or its file may not be written", source }
            }
            _ => Self::Sqlite(source),
        }
    }
}

/// The extended result code of SQLite behind a rusqlite error.
pub(crate) fn extended_code(error: &rusqlite::Error) -> Option<i32> {
    error.sqlite_error().map(|failure| failure.extended_code)
}

/// The primary result code of SQLite behind a rusqlite error.
pub(crate) fn primary_code(error: &rusqlite::Error) -> Option<i32> {
    extended_code(error).map(|code| code & 0xff)
}

/// Says in plain words why a database could not be opened.
pub(crate) fn open_reason(error: &rusqlite::Error) -> String {
    if extended_code(error) == Some(ffi::SQLITE_READONLY_DIRECTORY) {
        return "its folder may not be written, where SQLite has to keep the log of a database in WAL mode".to_owned();
    }
    let reason = match primary_code(error) {
        Some(ffi::SQLITE_NOTADB) => "the file is not a SQLite database (or is encrypted)",
        Some(ffi::SQLITE_CORRUPT) => "the file is damaged",
        Some(ffi::SQLITE_BUSY) => "another process keeps it locked",
        Some(ffi::SQLITE_CANTOPEN) => "the file is missing or may not be opened",
        Some(ffi::SQLITE_READONLY) => "the file may not be written",
        Some(ffi::SQLITE_PERM | ffi::SQLITE_AUTH) => "permission denied",
        Some(ffi::SQLITE_FULL) => "the disk is full",
        Some(ffi::SQLITE_IOERR) => "reading or writing the file failed",
        _ => return error.to_string(),
    };
    reason.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: i32) -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
    }

    #[test]
    fn an_io_error_that_sqlite_is_behind_is_named_as_sqlites() {
        let busy = Error::from(std::io::Error::other(failure(ffi::SQLITE_BUSY)));
        assert!(matches!(busy.named(Duration::ZERO, Duration::ZERO), Error::Busy { .. }));
        let own = Error::from(std::io::Error::from(std::io::ErrorKind::InvalidInput));
        assert!(matches!(own, Error::Application(own) if own.is::<std::io::Error>()));
    }

    #[test]
    fn a_folder_that_may_not_be_written_is_told_from_a_file() {
        assert!(open_reason(&failure(ffi::SQLITE_READONLY_DIRECTORY)).starts_with("its folder"));
        assert_eq!(open_reason(&failure(ffi::SQLITE_READONLY)), "the file may not be written");
    }
}
