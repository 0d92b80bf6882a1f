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

use std::cell::LazyCell;
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
use crate::running::{bytes_of, has_outdated_program, is_settled, kind_of, readable, text_of, values_of};
use crate::session::{Kind, Session, Verdict};
use crate::wal_index::WalIndex;
use crate::wording::{self, Word};

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
        trace(handle, context)
    };
    check(code, "sqlite3_trace_v2 failed")?;
    install_busy_handler(connection, session)
}

/// Reports the beginning and the end of statements.
///
/// # Safety
///
/// The connection is open, and `context` a session, as [`install`] registers them.
unsafe fn trace(connection: *mut ffi::sqlite3, context: *mut c_void) -> c_int {
    // SAFETY: as the caller promises.
    unsafe {
        ffi::sqlite3_trace_v2(connection, ffi::SQLITE_TRACE_STMT | ffi::SQLITE_TRACE_PROFILE, Some(on_event), context)
    }
}

/// Runs statements of our own on a connection in use, whose hooks report to `session`, without a report of their beginning and end.
///
/// They read what the open transaction sees, and nothing else: no rule is asked whether they may, and nobody counts them.
pub(crate) fn unheard<T>(connection: &rusqlite::Connection, session: &Arc<Session>, run: impl FnOnce() -> T) -> T {
    struct Again<'c>(&'c rusqlite::Connection, *mut c_void);
    impl Drop for Again<'_> {
        fn drop(&mut self) {
            // SAFETY: as in `install`, which registered the same session. It stores three words, which does not fail.
            unsafe { trace(self.0.handle(), self.1) };
        }
    }
    let _again = Again(connection, context_of(session));
    // SAFETY: the connection is open.
    unsafe { ffi::sqlite3_trace_v2(connection.handle(), 0, None, std::ptr::null_mut()) };
    run()
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
            contained((), || rows.changes(&readable(table.to_bytes()), row));
        }
    }
}

unsafe extern "C" fn on_rollback(context: *mut c_void) {
    // SAFETY: SQLite passes back what `install` registered.
    let session = unsafe { session_of(context) };
    if !session.is_inherited() {
        session.rolled_back();
        if let Some(snapshot) = session.snapshot() {
            snapshot.is_rolled_back();
        }
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
            let text = LazyCell::new(|| unsafe { bytes_of(detail.cast_const().cast()) });
            let text = || *text;
            let word = LazyCell::new(|| wording::first_word(text()));
            let word = || *word;
            let kind = || {
                // SAFETY: as above.
                let kind = unsafe { kind_of(statement, text) };
                if kind == Kind::Writes && word() == Word::Vacuum {
                    session.publisher.unhooked_commit_begins();
                }
                if matches!(kind, Kind::Writes | Kind::Upgrades) {
                    session.set_changes_journal(wording::journal_mode(text()).is_some());
                }
                kind
            };
            // SAFETY: as above.
            let outside = || unsafe { ffi::sqlite3_get_autocommit(ffi::sqlite3_db_handle(statement)) != 0 };
            let rolls_back = || wording::has_or_rollback(text());
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
                if unsafe { ffi::sqlite3_stmt_readonly(statement) } == 0 {
                    contained((), || {
                        // A trigger's beginning, and that of a statement within another, is told as a comment.
                        let told = !text().starts_with(b"--");
                        // SAFETY: as above.
                        let text = if told { text() } else { unsafe { bytes_of(ffi::sqlite3_sql(statement)) } };
                        let word = if told { word() } else { wording::first_word(text) };
                        if !word.bounds_transaction() {
                            session.publisher.rows.starts(text);
                        }
                    });
                }
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
                && !word().leaves_schema()
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
                snapshot.give_up_if_rolled_back();
            }
        }),
        _ => {}
    }
    0
}
