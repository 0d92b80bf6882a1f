//! The callback which SQLite asks while it prepares: <https://sqlite.org/c3ref/set_authorizer.html>.
//!
//! Owns the `unsafe` of `sqlite3_set_authorizer`. Must not know what is made of the answers. rusqlite's own authorizer checks and copies
//! more for each of the questions, of which a preparation asks about one a column: 5 to 10 in a hundred of its time.
//!
//! Invariant: a listener outlives its installation on a connection. Whoever installs it removes it, or closes the connection, before
//! the listener is dropped or the connection given away.

use super::recorder::Heard;
use rusqlite::{Connection, ffi};
use std::borrow::Cow;
use std::ffi::{CStr, c_char, c_int, c_void};

/// One question: may this be done?
#[derive(Debug, Clone, Copy)]
pub(super) struct Action<'a> {
    /// One of the `SQLITE_` codes of <https://sqlite.org/c3ref/c_alter_table.html>.
    pub(super) code: c_int,
    /// What it means depends on the code.
    pub(super) first: Option<&'a CStr>,
    /// What it means depends on the code.
    pub(super) second: Option<&'a CStr>,
    /// The name of the database, where there is one.
    pub(super) database: Option<&'a CStr>,
}

/// The text of an argument; empty when there is none.
pub(super) fn text(argument: Option<&CStr>) -> Cow<'_, str> {
    argument.unwrap_or_default().to_string_lossy()
}

/// Makes a connection ask the listener, in place of whoever was asked before.
///
/// # Safety
///
/// The listener must outlive the installation, which ends with [`remove`] or when the connection is closed.
pub(super) unsafe fn install(connection: &Connection, listener: *const Heard) -> rusqlite::Result<()> {
    // SAFETY: the connection is open; as to the listener, the caller promises.
    check(unsafe { ffi::sqlite3_set_authorizer(connection.handle(), Some(on_action), listener.cast_mut().cast()) })
}

/// Makes a connection ask nobody.
pub(super) fn remove(connection: &Connection) -> rusqlite::Result<()> {
    // SAFETY: the connection is open, and no callback is set.
    check(unsafe { ffi::sqlite3_set_authorizer(connection.handle(), None, std::ptr::null_mut()) })
}

fn check(code: c_int) -> rusqlite::Result<()> {
    if code == ffi::SQLITE_OK { Ok(()) } else { Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)) }
}

/// SQLite's callback. A panic in it would end the process: nothing it calls panics.
unsafe extern "C" fn on_action(
    listener: *mut c_void,
    code: c_int,
    first: *const c_char,
    second: *const c_char,
    database: *const c_char,
    _trigger: *const c_char,
) -> c_int {
    // SAFETY: SQLite passes back what `install` was given, which is alive and only ever referred to shared.
    let listener = unsafe { &*listener.cast_const().cast::<Heard>() };
    // SAFETY: SQLite passes null or C strings that live until the callback returns, as long as `Action` is borrowed.
    let argument = |text: *const c_char| if text.is_null() { None } else { Some(unsafe { CStr::from_ptr(text) }) };
    listener.hear(&Action { code, first: argument(first), second: argument(second), database: argument(database) });
    if code == ffi::SQLITE_TRANSACTION && listener.forbids_transactions() { ffi::SQLITE_DENY } else { ffi::SQLITE_OK }
}
