//! The hook into SQLite that sees every statement start and finish, whoever prepared it and however it is run.
//!
//! Owns the `unsafe` of `sqlite3_trace_v2` (<https://www.sqlite.org/c3ref/trace_v2.html>) and nothing else; what to do about a
//! statement is for `session` to say. rusqlite's own `trace_v2` hands out neither the statement's `readonly` flag nor its
//! connection, so this talks to SQLite directly.
//!
//! Why the start of a statement is the right place to queue for the write lane: `SQLITE_TRACE_STMT` is reported by the first
//! instruction of the statement's program, before the one that begins a transaction and takes locks. Why a refusal is safe
//! there: the interrupt flag is tested by the jump that follows the program's transaction instruction, before any row is
//! touched. Both are asserted by tests, for this very version of SQLite.

use std::ffi::{CStr, c_int, c_uint, c_void};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::ffi;

use crate::error::Result;
use crate::session::{Kind, Session, Settled, Verdict};

/// Reports every statement of `connection` to `session` from now on.
///
/// The caller keeps `session` alive for as long as the connection is open: it is stored beside it and dropped after it.
pub(crate) fn install(connection: &rusqlite::Connection, session: &Arc<Session>) -> Result<()> {
    let context = Arc::as_ptr(session).cast_mut().cast::<c_void>();
    // SAFETY: the handle belongs to an open connection. `context` points into the Arc, which outlives the connection (see
    // above), and is only used as `&Session`, which is `Sync`.
    let code = unsafe {
        let handle = connection.handle();
        ffi::sqlite3_trace_v2(handle, ffi::SQLITE_TRACE_STMT | ffi::SQLITE_TRACE_PROFILE, Some(on_event), context)
    };
    if code == ffi::SQLITE_OK {
        Ok(())
    } else {
        Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some("sqlite3_trace_v2 failed".to_owned())).into())
    }
}

/// SQLite's callback. A panic in it would end the process, which is right: nothing it calls may panic.
unsafe extern "C" fn on_event(
    event: c_uint,
    context: *mut c_void,
    statement: *mut c_void,
    detail: *mut c_void,
) -> c_int {
    // SAFETY: SQLite passes back what `install` registered, which is alive while the connection is.
    let session = unsafe { &*context.cast_const().cast::<Session>() };
    let statement = statement.cast::<ffi::sqlite3_stmt>();
    match event {
        ffi::SQLITE_TRACE_STMT => {
            // SAFETY: for this event SQLite passes the running statement and its text.
            let verdict = session.before_statement(|| unsafe { kind_of(statement, detail.cast_const().cast()) });
            if verdict == Verdict::Interrupt {
                // SAFETY: the statement belongs to an open connection; sqlite3_interrupt may be called at any time while it is.
                unsafe { ffi::sqlite3_interrupt(ffi::sqlite3_db_handle(statement)) };
            }
        }
        ffi::SQLITE_TRACE_PROFILE => {
            // SAFETY: for this event SQLite passes the statement that has finished and a pointer to its nanoseconds.
            unsafe {
                session.after_statement(|serial| is_settled(statement, serial));
                if let Some(limit) = session.slow_from() {
                    report_slow(session, statement, *detail.cast_const().cast::<i64>(), limit);
                }
            }
        }
        _ => {}
    }
    0
}

/// What a statement is to the write lane.
///
/// # Safety
///
/// `statement` is a live statement and `text` null or its NUL-terminated text.
unsafe fn kind_of(statement: *mut ffi::sqlite3_stmt, text: *const std::ffi::c_char) -> Kind {
    // SAFETY: as the caller promises.
    unsafe {
        let connection = ffi::sqlite3_db_handle(statement);
        // "Transaction control statements such as BEGIN ... cause sqlite3_stmt_readonly() to return true", but for BEGIN
        // IMMEDIATE and EXCLUSIVE: https://www.sqlite.org/c3ref/stmt_readonly.html
        if ffi::sqlite3_stmt_readonly(statement) == 0 {
            let reading = ffi::sqlite3_txn_state(connection, std::ptr::null()) == ffi::SQLITE_TXN_READ;
            return if reading { Kind::Upgrades } else { Kind::Writes };
        }
        if text.is_null() || ffi::sqlite3_get_autocommit(connection) == 0 {
            return Kind::Reads;
        }
        if begins_transaction(CStr::from_ptr(text).to_bytes()) { Kind::Begins } else { Kind::Reads }
    }
}

/// Tells whether the text's first word is `BEGIN` or `SAVEPOINT`, after white space and comments.
fn begins_transaction(mut text: &[u8]) -> bool {
    loop {
        match text {
            [b'B' | b'b', ..] => return starts_with_word(text, b"begin"),
            [b'S' | b's', b'A' | b'a', ..] => return starts_with_word(text, b"savepoint"),
            [byte, rest @ ..] if byte.is_ascii_whitespace() || *byte == b';' => text = rest,
            [b'-', b'-', rest @ ..] => {
                let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
                text = &rest[end..];
            }
            [b'/', b'*', rest @ ..] => {
                let end = rest.windows(2).position(|pair| pair == b"*/").map_or(rest.len(), |at| at + 2);
                text = &rest[end..];
            }
            _ => return false,
        }
    }
}

fn starts_with_word(text: &[u8], word: &[u8]) -> bool {
    text.len() >= word.len()
        && text[..word.len()].eq_ignore_ascii_case(word)
        && text.get(word.len()).is_none_or(|next| !next.is_ascii_alphanumeric() && *next != b'_')
}

/// Tells whether the connection needs the lane no longer now that `statement` has finished.
///
/// # Safety
///
/// `statement` is a live statement.
unsafe fn is_settled(statement: *mut ffi::sqlite3_stmt, serial: bool) -> Settled {
    // SAFETY: as the caller promises.
    unsafe {
        let connection = ffi::sqlite3_db_handle(statement);
        if ffi::sqlite3_get_autocommit(connection) == 0 {
            return Settled::No;
        }
        // A statement that is reset half-way reports before it lets go of its locks, and lets go of them right after.
        if ffi::sqlite3_stmt_busy(statement) != 0 {
            return Settled::Soon;
        }
        let still_needs = if serial { ffi::SQLITE_TXN_READ } else { ffi::SQLITE_TXN_WRITE };
        if ffi::sqlite3_txn_state(connection, std::ptr::null()) < still_needs { Settled::Yes } else { Settled::No }
    }
}

/// # Safety
///
/// `statement` is a live statement.
unsafe fn report_slow(session: &Session, statement: *mut ffi::sqlite3_stmt, nanoseconds: i64, limit: Duration) {
    let took = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0));
    if took < limit {
        return;
    }
    // SAFETY: sqlite3_sql returns null or the statement's own text, alive as long as the statement.
    let sql = unsafe {
        let text = ffi::sqlite3_sql(statement);
        if text.is_null() { "".into() } else { CStr::from_ptr(text).to_string_lossy() }
    };
    tracing::warn!(target: "pool_manager", database = session.name(), sql = &*sql, ?took, ?limit, "slow statement");
}

#[cfg(test)]
mod tests {
    use super::begins_transaction;

    #[test]
    fn the_first_word_decides_whether_a_statement_begins_a_transaction() {
        for sql in ["BEGIN", "begin deferred", "  -- x\n /* y */ Begin;", "SAVEPOINT a", "savepoint\ta", ";;begin"] {
            assert!(begins_transaction(sql.as_bytes()), "{sql}");
        }
        for sql in ["", "SELECT 1", "-- begin", "/* begin", "BEGINNING", "save", "savepoints", "-", "/", "ROLLBACK"] {
            assert!(!begins_transaction(sql.as_bytes()), "{sql}");
        }
    }
}
