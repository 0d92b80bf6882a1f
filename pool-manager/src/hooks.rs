//! The hooks into SQLite: they see every statement start and finish, every transaction end and every wait for a lock, whoever
//! prepared the statement and however it is run.
//!
//! Owns the `unsafe` of `sqlite3_trace_v2` (<https://www.sqlite.org/c3ref/trace_v2.html>), `sqlite3_commit_hook`,
//! `sqlite3_rollback_hook`, `sqlite3_update_hook`, `sqlite3_wal_hook` and `sqlite3_busy_handler`, and nothing else; what to do is for `session` and `busy` to say. rusqlite's own
//! `trace_v2` hands out neither the statement's `readonly` flag nor its connection, so this talks to SQLite directly.
//!
//! Why the start of a statement is the right place to queue for the write lane: `SQLITE_TRACE_STMT` is reported by the first
//! instruction of the statement's program, before the one that begins a transaction and takes locks. Why a refusal is safe
//! there: the interrupt flag is tested by the jump that follows the program's transaction instruction, before any row is
//! touched. Both are asserted by tests, for this very version of SQLite.
//!
//! Invariant: the session given to [`install`] outlives the connection, which its owner (`connection`) guarantees by the order of
//! its fields.

use std::borrow::Cow;
use std::ffi::{CStr, c_int, c_uint, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use rusqlite::ffi;

use crate::busy;
use crate::error::Result;
use crate::ledger::Ledger;
use crate::location::FileIdentity;
use crate::log::Due;
use crate::memory_ledgers;
use crate::publisher::Publisher;
use crate::reads::Bound;
use crate::session::{Kind, Session, Settled, Verdict};
use crate::wal_index::WalIndex;

/// Reports what happens on `connection` to `session` from now on.
///
/// The caller keeps `session` alive for as long as the connection is open: it is stored beside it and dropped after it.
pub(crate) fn install(connection: &rusqlite::Connection, session: &Arc<Session>) -> Result<()> {
    let context = context_of(session);
    // SAFETY: the handle belongs to an open connection. `context` points into the Arc, which outlives the connection (see
    // above), and is only used as `&Session`, which is `Sync`.
    let code = unsafe {
        let handle = connection.handle();
        ffi::sqlite3_commit_hook(handle, Some(on_commit), context);
        ffi::sqlite3_rollback_hook(handle, Some(on_rollback), context);
        ffi::sqlite3_update_hook(handle, Some(on_change), context);
        ffi::sqlite3_wal_hook(handle, Some(on_log), context);
        ffi::sqlite3_trace_v2(handle, ffi::SQLITE_TRACE_STMT | ffi::SQLITE_TRACE_PROFILE, Some(on_event), context)
    };
    check(code, "sqlite3_trace_v2 failed")?;
    install_busy_handler(connection, session)
}

/// Makes the connection wait for locks of other processes as `busy` says. Users can replace that with a shared reference, by
/// `busy_timeout` or a pragma, so it is done again after each use. The other hooks need a unique reference, which nobody gets.
pub(crate) fn install_busy_handler(connection: &rusqlite::Connection, session: &Arc<Session>) -> Result<()> {
    // SAFETY: as in `install`.
    let code = unsafe { ffi::sqlite3_busy_handler(connection.handle(), Some(on_busy), context_of(session)) };
    check(code, "sqlite3_busy_handler failed")
}

/// Reports nothing of `connection` any more. For one that can't be closed and will outlive its session.
pub(crate) fn remove(connection: &rusqlite::Connection) {
    let nobody = std::ptr::null_mut();
    // SAFETY: the handle belongs to an open connection; a hook that is not there is given no context.
    unsafe {
        let handle = connection.handle();
        ffi::sqlite3_commit_hook(handle, None, nobody);
        ffi::sqlite3_rollback_hook(handle, None, nobody);
        ffi::sqlite3_update_hook(handle, None, nobody);
        ffi::sqlite3_wal_hook(handle, None, nobody);
        ffi::sqlite3_trace_v2(handle, 0, None, nobody);
        ffi::sqlite3_busy_handler(handle, None, nobody);
    }
}

fn context_of(session: &Arc<Session>) -> *mut c_void {
    Arc::as_ptr(session).cast_mut().cast()
}

fn check(code: c_int, what: &str) -> Result<()> {
    if code == ffi::SQLITE_OK {
        return Ok(());
    }
    Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some(what.to_owned())).into())
}

/// The session behind a hook's context.
///
/// # Safety
///
/// `context` is what [`install`] registered, and the connection is open.
unsafe fn session_of<'s>(context: *mut c_void) -> &'s Session {
    // SAFETY: as the caller promises; the session outlives the connection.
    unsafe { &*context.cast_const().cast::<Session>() }
}

/// Keeps a panic from unwinding into SQLite. The only code called that is not ours is the program's subscriber of `tracing`.
fn contained<T>(instead: T, run: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or(instead)
}

/// Returning non-zero turns the commit into a roll-back: <https://www.sqlite.org/c3ref/commit_hook.html>
unsafe extern "C" fn on_commit(context: *mut c_void) -> c_int {
    // SAFETY: SQLite passes back what `install` registered.
    let session = unsafe { session_of(context) };
    if session.is_inherited() || !session.may_commit() {
        return 1;
    }
    contained((), || {
        if is_writing(&session.publisher) {
            session.publisher.commit_begins();
        }
        // SAFETY: as above.
        unsafe { note_attached(session.publisher.connection(), &session.publisher) };
    });
    0
}

/// Tells whether the connection has its database's lock to write. To be asked in its use.
pub(crate) fn is_writing(publisher: &Publisher) -> bool {
    // SAFETY: a connection in use is open; null, before it was told, is an error that writes nothing.
    let state = unsafe { ffi::sqlite3_txn_state(publisher.connection(), c"main".as_ptr()) };
    state == ffi::SQLITE_TXN_WRITE
}

/// Notes commits to attached files that a manager has open.
///
/// # Safety
///
/// The connection is null or open and in use by this thread.
unsafe fn note_attached(connection: *mut ffi::sqlite3, publisher: &Publisher) {
    /// The first that is neither `main` nor `temp`: <https://www.sqlite.org/c3ref/db_name.html>
    const FIRST: c_int = 2;
    if connection.is_null() {
        return;
    }
    for at in FIRST.. {
        // SAFETY: as the caller promises; what SQLite returns lives at least until something is detached.
        unsafe {
            let schema = ffi::sqlite3_db_name(connection, at);
            if schema.is_null() {
                return;
            }
            if ffi::sqlite3_txn_state(connection, schema) != ffi::SQLITE_TXN_WRITE {
                continue;
            }
            if is_in_memory(connection, schema) {
                memory_ledgers::all().into_iter().for_each(|ledger| publisher.commit_begins_elsewhere(ledger));
                continue;
            }
            let path = ffi::sqlite3_db_filename(connection, schema);
            let path = if path.is_null() { None } else { CStr::from_ptr(path).to_str().ok() };
            let Some(identity) = path.and_then(|path| FileIdentity::at(Path::new(path))) else { continue };
            let wal_index = || WalIndex::of_schema(connection, CStr::from_ptr(schema));
            if let Some(ledger) = Ledger::find(identity, wal_index) {
                publisher.commit_begins_elsewhere(ledger);
            }
        }
    }
}

/// Tells whether a database of a connection belongs to the VFS of named databases in memory.
///
/// # Safety
///
/// The connection is open and in use by this thread, and `schema` the name of one of its databases.
unsafe fn is_in_memory(connection: *mut ffi::sqlite3, schema: *const std::ffi::c_char) -> bool {
    let mut vfs: *mut ffi::sqlite3_vfs = std::ptr::null_mut();
    // SAFETY: as the caller promises; this opcode stores one pointer, to a VFS that is registered for ever or null:
    // https://www.sqlite.org/c3ref/c_fcntl_begin_atomic_write.html#sqlitefcntlvfspointer
    unsafe {
        let code = ffi::sqlite3_file_control(
            connection,
            schema,
            ffi::SQLITE_FCNTL_VFS_POINTER,
            (&raw mut vfs).cast::<c_void>(),
        );
        code == ffi::SQLITE_OK && !vfs.is_null() && CStr::from_ptr((*vfs).zName) == c"memdb"
    }
}

/// <https://www.sqlite.org/c3ref/update_hook.html>
unsafe extern "C" fn on_change(
    context: *mut c_void,
    _what: c_int,
    database: *const std::ffi::c_char,
    table: *const std::ffi::c_char,
    row: i64,
) {
    // SAFETY: SQLite passes back what `install` registered.
    let session = unsafe { session_of(context) };
    let rows = &session.publisher.rows;
    if rows.is_following() {
        // SAFETY: SQLite passes the names of the database within the connection and of the table.
        let (database, table) = unsafe { (CStr::from_ptr(database), CStr::from_ptr(table)) };
        if database == c"main" {
            contained((), || rows.changes(&table.to_string_lossy(), row));
        }
    }
}

unsafe extern "C" fn on_rollback(context: *mut c_void) {
    // SAFETY: SQLite passes back what `install` registered.
    let session = unsafe { session_of(context) };
    if !session.is_inherited() {
        session.rolled_back();
    }
}

/// Called after a commit has let go of the lock to write, in place of SQLite's own hook that does `wal_autocheckpoint`:
/// <https://www.sqlite.org/c3ref/wal_hook.html>
unsafe extern "C" fn on_log(
    context: *mut c_void,
    connection: *mut ffi::sqlite3,
    schema: *const std::ffi::c_char,
    pages: c_int,
) -> c_int {
    // SAFETY: SQLite passes back what `install` registered.
    let session = unsafe { session_of(context) };
    let pages = u32::try_from(pages).unwrap_or(0);
    if session.is_inherited() {
        return ffi::SQLITE_OK;
    }
    // SAFETY: SQLite passes the name of the database within the connection whose log it is.
    let main = unsafe { CStr::from_ptr(schema) } == c"main";
    let due = contained(Due::Nothing, || session.rules.log_has(pages, main));
    if let Some(snapshot) = session.snapshot()
        && main
    {
        snapshot.has_committed();
        if due != Due::Nothing {
            // Or nothing could be written back beyond where it was taken.
            snapshot.give_up();
        }
    }
    if due == Due::Passive && session.is_on_worker() {
        session.rules.log.put_off();
    } else if due == Due::Passive {
        session.rules.log.caught_up(main.then_some(pages));
        session.has_written_back();
        let nothing = std::ptr::null_mut();
        // SAFETY: as above, and the connection is open. What it reports, that somebody else does the same for one, is no failure of the commit.
        unsafe { ffi::sqlite3_wal_checkpoint_v2(connection, schema, ffi::SQLITE_CHECKPOINT_PASSIVE, nothing, nothing) };
    } else if main {
        session.rules.log.is_fine();
    }
    ffi::SQLITE_OK
}

/// Returning zero ends the wait: <https://www.sqlite.org/c3ref/busy_handler.html>
unsafe extern "C" fn on_busy(context: *mut c_void, tries: c_int) -> c_int {
    // SAFETY: SQLite passes back what `install_busy_handler` registered.
    let session = unsafe { session_of(context) };
    c_int::from(!session.is_inherited() && busy::wait(session, u32::try_from(tries).unwrap_or(0)))
}

unsafe extern "C" fn on_event(
    event: c_uint,
    context: *mut c_void,
    statement: *mut c_void,
    detail: *mut c_void,
) -> c_int {
    // SAFETY: SQLite passes back what `install` registered.
    let session = unsafe { session_of(context) };
    let statement = statement.cast::<ffi::sqlite3_stmt>();
    if session.is_inherited() {
        if event == ffi::SQLITE_TRACE_STMT {
            // Our own locks may be held by threads that are not here.
            // SAFETY: for this event SQLite passes a running statement.
            unsafe { ffi::sqlite3_interrupt(ffi::sqlite3_db_handle(statement)) };
        }
        return 0;
    }
    let snapshot = session.snapshot();
    if snapshot.is_some_and(|snapshot| snapshot.is_pin(statement)) {
        return 0;
    }
    match event {
        ffi::SQLITE_TRACE_STMT => {
            // SAFETY: for this event SQLite passes the running statement and its text.
            let kind = || unsafe {
                let kind = kind_of(statement, detail.cast_const().cast());
                if kind == Kind::Writes && is_vacuum(detail.cast_const().cast()) {
                    session.publisher.unhooked_commit_begins();
                }
                kind
            };
            // SAFETY: as above.
            let outside = || unsafe { ffi::sqlite3_get_autocommit(ffi::sqlite3_db_handle(statement)) != 0 };
            // SAFETY: as above.
            let rolls_back = || unsafe { says_or_rollback(detail.cast_const().cast()) };
            let verdict = contained(Verdict::Interrupt, || session.before_statement(kind, outside, rolls_back));
            if verdict == Verdict::Run && session.may_begin_reading() {
                // SAFETY: as above.
                contained((), || session.reads(&unsafe { text_of(statement) }));
            }
            if verdict == Verdict::Run && session.texts.are_wanted() {
                // SAFETY: as above.
                let (text, values) = (|| unsafe { text_of(statement) }, || unsafe { values_of(statement) });
                contained((), || session.texts.hear(&text(), values));
            }
            if session.publisher.rows.is_following() {
                // SAFETY: as above.
                let written = unsafe { (ffi::sqlite3_stmt_readonly(statement) == 0).then(|| text_of(statement)) };
                contained((), || written.iter().for_each(|text| session.publisher.rows.starts(text)));
            }
            if verdict == Verdict::Interrupt {
                // Or the statements after this one were interrupted, too. Ending another statement is what functions may do as well.
                if let Some(snapshot) = snapshot {
                    snapshot.give_up();
                }
                // SAFETY: the statement belongs to an open connection; sqlite3_interrupt may be called at any time while it is.
                unsafe { ffi::sqlite3_interrupt(ffi::sqlite3_db_handle(statement)) };
            } else if let Some(snapshot) = snapshot
                && session.writes()
                && snapshot.is_held()
                // SAFETY: as above.
                && !unsafe { leaves_schema(detail.cast_const().cast()) }
            {
                // Tables are not dropped while something reads: `OP_Destroy` in sqlite3.c.
                snapshot.give_up();
            }
        }
        ffi::SQLITE_TRACE_PROFILE => contained((), || {
            // SAFETY: for this event SQLite passes the statement that has finished and a pointer to its nanoseconds.
            unsafe {
                session.after_statement(
                    |serial| is_settled(statement, serial),
                    |committed| !committed && has_outdated_program(statement),
                );
                let nanoseconds = u64::try_from(*detail.cast_const().cast::<i64>()).unwrap_or(0);
                if nanoseconds > 0 {
                    session.rules.took_time(&text_of(statement), nanoseconds);
                }
            }
            if let Some(snapshot) = snapshot.filter(|_| session.writes()) {
                snapshot.give_up_if_interrupted();
            }
        }),
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

/// Tells whether a statement's text has the words `OR ROLLBACK` in it.
///
/// # Safety
///
/// `text` is null or NUL-terminated.
unsafe fn says_or_rollback(text: *const std::ffi::c_char) -> bool {
    // SAFETY: as the caller promises.
    !text.is_null() && has_or_rollback(unsafe { CStr::from_ptr(text) }.to_bytes())
}

fn has_or_rollback(text: &[u8]) -> bool {
    const WORD: &[u8] = b"rollback";
    text.windows(WORD.len()).enumerate().any(|(at, window)| {
        let before = text[..at].trim_ascii_end();
        window.eq_ignore_ascii_case(WORD)
            && before.len() < at
            && before.len() >= 2
            && before[before.len() - 2..].eq_ignore_ascii_case(b"or")
    })
}

/// Tells whether a statement is `VACUUM`, which commits without calling the hook, as it changes no content. But row numbers it may change:
/// <https://www.sqlite.org/lang_vacuum.html>
///
/// # Safety
///
/// `text` is null or NUL-terminated.
unsafe fn is_vacuum(text: *const std::ffi::c_char) -> bool {
    // SAFETY: as the caller promises.
    !text.is_null() && starts_with_word(from_first_word(unsafe { CStr::from_ptr(text) }.to_bytes()), b"vacuum")
}

/// Tells whether a statement's text begins as one that reads or changes rows, or as part of a transaction. A trigger's is a comment that
/// names it.
///
/// # Safety
///
/// `text` is null or NUL-terminated.
unsafe fn leaves_schema(text: *const std::ffi::c_char) -> bool {
    const WORDS: [&[u8]; 11] = [
        b"insert",
        b"update",
        b"delete",
        b"select",
        b"commit",
        b"begin",
        b"replace",
        b"with",
        b"savepoint",
        b"release",
        b"rollback",
    ];
    if text.is_null() {
        return false;
    }
    // SAFETY: as the caller promises.
    let text = from_first_word(unsafe { CStr::from_ptr(text) }.to_bytes());
    text.is_empty() || WORDS.iter().any(|word| starts_with_word(text, word))
}

/// Tells whether the text's first word is `BEGIN` or `SAVEPOINT`.
fn begins_transaction(text: &[u8]) -> bool {
    let text = from_first_word(text);
    starts_with_word(text, b"begin") || starts_with_word(text, b"savepoint")
}

/// The text after white space and comments.
fn from_first_word(mut text: &[u8]) -> &[u8] {
    loop {
        match text {
            [byte, rest @ ..] if byte.is_ascii_whitespace() || *byte == b';' => text = rest,
            // SQLite takes a byte order mark for white space: https://www.sqlite.org/src/file/src/tokenize.c
            [0xef, 0xbb, 0xbf, rest @ ..] => text = rest,
            [b'-', b'-', rest @ ..] => {
                let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
                text = &rest[end..];
            }
            [b'/', b'*', rest @ ..] => {
                let end = rest.windows(2).position(|pair| pair == b"*/").map_or(rest.len(), |at| at + 2);
                text = &rest[end..];
            }
            _ => return text,
        }
    }
}

fn starts_with_word(text: &[u8], word: &[u8]) -> bool {
    text.len() >= word.len()
        && text[..word.len()].eq_ignore_ascii_case(word)
        && text.get(word.len()).is_none_or(|next| !next.is_ascii_alphanumeric() && *next != b'_')
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
unsafe fn has_outdated_program(statement: *mut ffi::sqlite3_stmt) -> bool {
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
unsafe fn is_settled(statement: *mut ffi::sqlite3_stmt, serial: bool) -> Settled {
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
unsafe fn values_of(statement: *mut ffi::sqlite3_stmt) -> Bound {
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
unsafe fn text_of<'s>(statement: *mut ffi::sqlite3_stmt) -> Cow<'s, str> {
    // SAFETY: sqlite3_sql returns null or the statement's own text, alive as long as the statement.
    unsafe {
        let text = ffi::sqlite3_sql(statement);
        if text.is_null() { "".into() } else { CStr::from_ptr(text).to_string_lossy() }
    }
}

#[cfg(test)]
mod tests {
    use super::{begins_transaction, has_or_rollback};

    #[test]
    fn or_rollback_is_found_where_it_is_meant() {
        for sql in ["INSERT OR ROLLBACK INTO t VALUES (1)", "update or\n\trollback t SET a = 1"] {
            assert!(has_or_rollback(sql.as_bytes()), "{sql}");
        }
        for sql in [
            "",
            "rollback",
            "ROLLBACK TO a",
            "INSERT INTO rollback VALUES ('for rollback')",
            "INSERT OR REPLACE INTO t",
        ] {
            assert_eq!(has_or_rollback(sql.as_bytes()), sql.contains("or rollback"), "{sql}");
        }
    }

    #[test]
    fn the_first_word_decides_whether_a_statement_begins_a_transaction() {
        for sql in [
            "BEGIN",
            "begin deferred",
            "  -- x\n /* y */ Begin;",
            "SAVEPOINT a",
            "savepoint\ta",
            ";;begin",
            "\u{feff}begin",
        ] {
            assert!(begins_transaction(sql.as_bytes()), "{sql}");
        }
        for sql in ["", "SELECT 1", "-- begin", "/* begin", "BEGINNING", "save", "savepoints", "-", "/", "ROLLBACK"] {
            assert!(!begins_transaction(sql.as_bytes()), "{sql}");
        }
    }
}
