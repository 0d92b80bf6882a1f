//! What a use may leave behind on a connection, where SQLite has to be asked in C.
//!
//! Owns the `unsafe` of finding and undoing it: statements whose Rust side was leaked half-way, limits, and whatever makes SQLite
//! outdate prepared statements. Invariant: all of this runs between two uses, when no reference to a statement of the
//! connection is left but leaked ones, which nobody can use any more: statements borrow the connection, and its user is gone.

use std::cell::{Cell, RefCell};
use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};

use rusqlite::{Connection, ffi};

use crate::hooks;

/// The state of a fresh connection, to compare a used one with. To be dropped before the connection.
#[derive(Debug)]
pub(crate) struct Fresh {
    sentinel: RefCell<Sentinel>,
    limits: [c_int; LIMITS.len()],
    /// Whether the database had no schema yet. With its first table the text encoding is settled, which outdates statements, too.
    blank: Cell<bool>,
}

/// A statement that is never run. SQLite marks it as outdated, with all others, when a flag pragma or `sqlite3_db_config` is set, a
/// function or collation is replaced or deleted, a temporary table comes or goes: what other statements meant may have changed.
#[derive(Debug)]
struct Sentinel(Witness);

/// Tells whether the sentinel of a connection is outdated, for those who are called back by the connection.
#[derive(Debug, Clone)]
pub(crate) struct Witness(Arc<AtomicPtr<ffi::sqlite3_stmt>>);

impl Witness {
    /// Tells whether something changed that other statements could notice; true when the connection is closed. To be called by who uses
    /// the connection.
    #[inline]
    pub(crate) fn is_outdated(&self) -> bool {
        let sentinel = self.0.load(Ordering::Relaxed);
        // SAFETY: null, which is an error that tells nothing, or a statement of the open connection; it is finalized by who uses that.
        sentinel.is_null() || unsafe { ffi::sqlite3_expired(sentinel) != 0 }
    }
}

impl Sentinel {
    fn prepare(connection: &Connection) -> rusqlite::Result<Self> {
        let mut sentinel = std::ptr::null_mut();
        // SAFETY: the connection is open and the text ends with NUL.
        let code = unsafe {
            let handle = connection.handle();
            ffi::sqlite3_prepare_v2(handle, c"SELECT 1".as_ptr(), -1, &raw mut sentinel, std::ptr::null_mut())
        };
        if code == ffi::SQLITE_OK {
            Ok(Self(Witness(Arc::new(AtomicPtr::new(sentinel)))))
        } else {
            Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))
        }
    }
}

impl Sentinel {
    fn succeed(&mut self, successor: Self) {
        let ours = self.0.0.load(Ordering::Relaxed);
        self.0.0.store(successor.0.0.swap(ours, Ordering::Relaxed), Ordering::Relaxed);
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let sentinel = self.0.0.swap(std::ptr::null_mut(), Ordering::Relaxed);
        // SAFETY: the statement is finalized only here; its connection is open still: see `Fresh`.
        unsafe { ffi::sqlite3_finalize(sentinel) };
    }
}

/// What `sqlite3_limit` bounds: <https://www.sqlite.org/c3ref/c_limit_attached.html>
const LIMITS: [c_int; 12] = [
    ffi::SQLITE_LIMIT_LENGTH,
    ffi::SQLITE_LIMIT_SQL_LENGTH,
    ffi::SQLITE_LIMIT_COLUMN,
    ffi::SQLITE_LIMIT_EXPR_DEPTH,
    ffi::SQLITE_LIMIT_COMPOUND_SELECT,
    ffi::SQLITE_LIMIT_VDBE_OP,
    ffi::SQLITE_LIMIT_FUNCTION_ARG,
    ffi::SQLITE_LIMIT_ATTACHED,
    ffi::SQLITE_LIMIT_LIKE_PATTERN_LENGTH,
    ffi::SQLITE_LIMIT_VARIABLE_NUMBER,
    ffi::SQLITE_LIMIT_TRIGGER_DEPTH,
    ffi::SQLITE_LIMIT_WORKER_THREADS,
];

impl Fresh {
    /// Notes the state of a connection that is set up and was not used yet.
    ///
    /// `blank`: what [`load_schema`] told.
    pub(crate) fn of(connection: &Connection, blank: bool) -> rusqlite::Result<Self> {
        let sentinel = RefCell::new(Sentinel::prepare(connection)?);
        // SAFETY: the connection is open; -1 asks without setting.
        let limits = LIMITS.map(|limit| unsafe { ffi::sqlite3_limit(connection.handle(), limit, -1) });
        Ok(Self { sentinel, limits, blank: Cell::new(blank) })
    }

    /// Tells whether something changed that other statements could notice.
    #[inline]
    pub(crate) fn is_outdated(&self, connection: &Connection) -> bool {
        if self.blank.get() {
            self.look_for_a_schema(connection);
        }
        self.sentinel.borrow().0.is_outdated()
    }

    /// Somebody who tells the same from within the connection.
    pub(crate) fn witness(&self) -> Witness {
        self.sentinel.borrow().0.clone()
    }

    /// Sees to it that the first table of a database, whoever made it, does not look like a user's doing. What else the very use did in
    /// which it turned up is not seen: an error on the side of keeping the connection, once in the life of a database.
    #[cold]
    fn look_for_a_schema(&self, connection: &Connection) {
        let filled = || -> rusqlite::Result<Option<Sentinel>> {
            if load_schema(connection)? {
                return Ok(None);
            }
            Sentinel::prepare(connection).map(Some)
        };
        // What can't be found out now can be at the next use.
        if let Ok(Some(anew)) = filled() {
            self.blank.set(false);
            // Whoever asks the one that was there before goes on with the new one.
            self.sentinel.borrow_mut().succeed(anew);
        }
    }

    /// Puts limits back.
    #[inline]
    pub(crate) fn restore_limits(&self, connection: &Connection) {
        for (limit, value) in LIMITS.into_iter().zip(self.limits) {
            // SAFETY: the connection is open.
            unsafe { ffi::sqlite3_limit(connection.handle(), limit, value) };
        }
    }
}

/// Makes the connection know the schema. The first time that settles the text encoding, which outdates prepared statements. Tells whether there
/// was none right before: a table that somebody makes after that is found at a later use.
pub(crate) fn load_schema(connection: &Connection) -> rusqlite::Result<bool> {
    let blank = is_blank(connection)?;
    connection.query_row("SELECT count(*) FROM sqlite_schema WHERE rootpage = 1", [], |_| Ok(blank))
}

/// Tells whether the database has no schema yet.
fn is_blank(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("PRAGMA schema_version", [], |row| row.get::<_, i64>(0)).map(|version| version == 0)
}

/// Resets statements that were leaked half-way, so that their locks and snapshots go, but for those that are `ours`. Returns whether there
/// were any.
pub(crate) fn reset_leaked(connection: &Connection, ours: impl Fn(*mut ffi::sqlite3_stmt) -> bool) -> bool {
    let mut found = false;
    let mut statement = std::ptr::null_mut();
    loop {
        // SAFETY: the connection is open; resetting a statement removes none from the list. Nobody uses a statement now: see above.
        unsafe {
            statement = ffi::sqlite3_next_stmt(connection.handle(), statement);
            if statement.is_null() {
                return found;
            }
            if ffi::sqlite3_stmt_busy(statement) != 0 && !ours(statement) {
                ffi::sqlite3_reset(statement);
                found = true;
            }
        }
    }
}

/// Tells whether the open transaction violates foreign keys that are checked at its end only; 0 when not. Otherwise the number means
/// nothing: <https://www.sqlite.org/c3ref/c_dbstatus_options.html#sqlitedbstatusdeferredfks>
pub(crate) fn deferred_foreign_keys(connection: &Connection) -> i64 {
    let (mut current, mut highest) = (0, 0);
    // SAFETY: the connection is open, and both numbers live until the call returns.
    let code = unsafe {
        let handle = connection.handle();
        ffi::sqlite3_db_status(handle, ffi::SQLITE_DBSTATUS_DEFERRED_FKS, &raw mut current, &raw mut highest, 0)
    };
    if code == ffi::SQLITE_OK { i64::from(current) } else { 0 }
}

/// Closes a connection. SQLite refuses that as long as a statement of it exists: one that was leaked leaks its connection, too, with
/// its memory and its open file, but not its locks. (Finalizing what is left is no way out: full-text and other virtual tables have
/// statements of their own on the connection, which they finalize themselves when the last statement that uses them goes.)
pub(crate) fn close(connection: Connection) -> rusqlite::Result<()> {
    connection.close().map_err(|(connection, error)| {
        hooks::remove(&connection);
        reset_leaked(&connection, |_| false);
        if !connection.is_autocommit()
            && let Err(error) = connection.execute_batch("ROLLBACK")
        {
            return error;
        }
        error
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_table_of_a_database_is_nobodys_doing_whenever_it_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blank.sqlite");
        let make = || Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
        let read = |connection: &Connection| connection.query_row("SELECT count(*) FROM t", [], |_| Ok(())).unwrap();
        // While a connection is set up, which has seen that there is none.
        let early = Connection::open(&path).unwrap();
        let none_yet = load_schema(&early).unwrap();
        let late = Connection::open(&path).unwrap();
        let blank = Fresh::of(&late, load_schema(&late).unwrap()).unwrap();
        make();
        let filled = Fresh::of(&early, none_yet).unwrap();
        for (fresh, connection) in [(filled, early), (blank, late)] {
            read(&connection);
            assert!(!fresh.is_outdated(&connection));
            connection.execute_batch("PRAGMA reverse_unordered_selects = on").unwrap();
            assert!(fresh.is_outdated(&connection), "what a user does is seen");
        }
    }
}
