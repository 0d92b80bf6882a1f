//! What SQLite tells of a statement that starts, runs or has ended.
//!
//! Owns the `unsafe` of asking it about one, and the reading of its answers. It must not know what becomes of them (`hooks`, `session`).
//! Invariant: nothing here changes a statement.

use std::borrow::Cow;
use std::ffi::{CStr, c_char, c_int};

use rusqlite::ffi;

use crate::reads::Bound;
use crate::session::{Kind, Settled};
use crate::wording::{JournalMode, begins_transaction, journal_mode};

/// What a statement with a certain text is to the write lane.
///
/// # Safety
///
/// `statement` is a live statement.
pub(crate) unsafe fn kind_of<'s>(statement: *mut ffi::sqlite3_stmt, text: impl FnOnce() -> &'s [u8]) -> Kind {
    // SAFETY: as the caller promises.
    unsafe {
        let connection = ffi::sqlite3_db_handle(statement);
        // "Transaction control statements such as BEGIN ... cause sqlite3_stmt_readonly() to return true", but for BEGIN
        // IMMEDIATE and EXCLUSIVE: https://www.sqlite.org/c3ref/stmt_readonly.html
        if ffi::sqlite3_stmt_readonly(statement) == 0 {
            // SQLite says that of a question, too. The text as it was prepared: of a statement within another a comment is told.
            if journal_mode(bytes_of(ffi::sqlite3_sql(statement))) == Some(JournalMode::Asks) {
                return Kind::Reads;
            }
            let reading = ffi::sqlite3_txn_state(connection, std::ptr::null()) == ffi::SQLITE_TXN_READ;
            return if reading { Kind::Upgrades } else { Kind::Writes };
        }
        if ffi::sqlite3_get_autocommit(connection) == 0 {
            return Kind::Reads;
        }
        if begins_transaction(text()) { Kind::Begins } else { Kind::Reads }
    }
}

/// Tells whether a statement that has ended found its program outdated: then `sqlite3_step` prepares it anew and runs it again, of which it
/// reports the end alone (`tag-20220401a` in sqlite3.c). The permit has to stay for that. Where preparing fails nothing runs, and the permit
/// stays until the connection's next statement or the end of its use.
///
/// A statement that changed the schema itself may have an outdated program as well; it has committed.
///
/// # Safety
///
/// `statement` is a live statement.
pub(crate) unsafe fn has_outdated_program(statement: *mut ffi::sqlite3_stmt) -> bool {
    /// "Recompile immediately": what `OP_Transaction` notes in `Vdbe.expired`.
    const AT_ONCE: c_int = 1;
    // SAFETY: as the caller promises. https://www.sqlite.org/c3ref/aggregate_count.html
    unsafe { ffi::sqlite3_stmt_busy(statement) == 0 && ffi::sqlite3_expired(statement) == AT_ONCE }
}

/// Tells whether the connection needs the lane no longer now that `statement` has finished.
///
/// # Safety
///
/// `statement` is a live statement.
pub(crate) unsafe fn is_settled(statement: *mut ffi::sqlite3_stmt, serial: bool) -> Settled {
    // SAFETY: as the caller promises.
    unsafe {
        let connection = ffi::sqlite3_db_handle(statement);
        if ffi::sqlite3_get_autocommit(connection) == 0 {
            return Settled::No;
        }
        // A statement that is reset half-way reports before it lets go of its locks, and lets go of them right after: if no other
        // one needs them. Full-text and other virtual tables run statements of their own within the user's.
        if ffi::sqlite3_stmt_busy(statement) != 0 {
            return if other_needs_lane(connection, statement, serial) { Settled::No } else { Settled::Soon };
        }
        let still_needs = if serial { ffi::SQLITE_TXN_READ } else { ffi::SQLITE_TXN_WRITE };
        if ffi::sqlite3_txn_state(connection, std::ptr::null()) < still_needs { Settled::Yes } else { Settled::No }
    }
}

/// Tells whether another statement of the connection is under way that writes or, with `serial`, reads.
///
/// # Safety
///
/// `statement` is a live statement of the open `connection`.
unsafe fn other_needs_lane(connection: *mut ffi::sqlite3, statement: *mut ffi::sqlite3_stmt, serial: bool) -> bool {
    let mut other = std::ptr::null_mut();
    loop {
        // SAFETY: as the caller promises; nothing is finalized between two turns, because this thread uses the connection.
        unsafe {
            other = ffi::sqlite3_next_stmt(connection, other);
            if other.is_null() {
                return false;
            }
            let busy = other != statement && ffi::sqlite3_stmt_busy(other) != 0;
            if busy && (serial || ffi::sqlite3_stmt_readonly(other) == 0) {
                return true;
            }
        }
    }
}

/// What is bound to the parameters of a statement.
///
/// # Safety
///
/// `statement` is a live statement.
pub(crate) unsafe fn values_of(statement: *mut ffi::sqlite3_stmt) -> Bound {
    // SAFETY: as the caller promises; the text is freed once, after it was copied.
    unsafe {
        if ffi::sqlite3_bind_parameter_count(statement) == 0 {
            return Bound::Nothing;
        }
        // Null where it is longer than SQLITE_LIMIT_LENGTH, or there is no memory for it.
        let expanded = ffi::sqlite3_expanded_sql(statement);
        if expanded.is_null() {
            return Bound::Unknown;
        }
        let text = CStr::from_ptr(expanded).to_string_lossy().into();
        ffi::sqlite3_free(expanded.cast());
        Bound::Text(text)
    }
}

/// The text of a statement, empty where there is none.
///
/// # Safety
///
/// `statement` is a live statement, and lives for `'s`.
pub(crate) unsafe fn text_of<'s>(statement: *mut ffi::sqlite3_stmt) -> Cow<'s, str> {
    // SAFETY: sqlite3_sql returns null or the statement's own text, alive as long as the statement.
    readable(unsafe { bytes_of(ffi::sqlite3_sql(statement)) })
}

/// A text of SQLite's, empty where there is none.
///
/// # Safety
///
/// `text` is null or NUL-terminated, and lives, unchanged, for `'s`.
pub(crate) unsafe fn bytes_of<'s>(text: *const c_char) -> &'s [u8] {
    // SAFETY: as the caller promises.
    if text.is_null() { &[] } else { unsafe { CStr::from_ptr(text) }.to_bytes() }
}

/// The same, for reading.
pub(crate) fn readable(bytes: &[u8]) -> Cow<'_, str> {
    // What is no text in Unicode is rare, and replacing its parts takes a look at each character.
    str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}
