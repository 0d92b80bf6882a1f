//! The query that tells what a row has in a column, kept prepared on one connection.
//!
//! Owns the `unsafe` of running it past the hooks: nobody follows what it does, no statistics count it, and it allocates nothing. It must
//! not know why anybody asks. Invariants: the statements are used and finalized by who uses the connection, and dropped before it is closed; one
//! is reset whenever it is not being asked, so that it pins no snapshot and holds no lock.
//!
//! SQLite prepares such a statement anew by itself when the schema has changed. What it answers then may be about another column of the same
//! name: who asks has to know from which schema the column is, and until when an answer counts.

use std::cell::RefCell;
use std::ffi::c_int;
use std::sync::Arc;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, ffi};

use crate::hooks;
use crate::key_column::{Mark, mark_of_stored};
use crate::numbers::Unlooked;
use crate::row_cells::RowCells;
use crate::session::Session;

/// For how many columns a query is kept.
const MOST_KEPT: usize = 16;

/// The queries of one connection. To be dropped before it is closed.
#[derive(Debug, Default)]
pub(crate) struct KeyQueries {
    kept: RefCell<Vec<Kept>>,
}

#[derive(Debug)]
struct Kept {
    column: Arc<RowCells>,
    query: Query,
}

/// A prepared statement with one parameter.
#[derive(Debug)]
struct Query(*mut ffi::sqlite3_stmt);

// SAFETY: the statement is used by who uses its connection, on one thread at a time (SQLite's multi-thread mode), and moves with it.
unsafe impl Send for Query {}

impl Drop for Query {
    fn drop(&mut self) {
        // SAFETY: the statement is finalized only here; its connection is open still: see `KeyQueries`.
        unsafe { ffi::sqlite3_finalize(self.0) };
    }
}

impl KeyQueries {
    /// Finds the marks of what rows have in a column, as far as that can be found out; of rows that are not there, none.
    ///
    /// To be called in a use that reads, with the connection whose queries these are and its session.
    pub(crate) fn ask(
        &self,
        connection: &Connection,
        session: &Arc<Session>,
        column: &Arc<RowCells>,
        rows: &[Unlooked],
        found: &mut Vec<(Unlooked, Option<Mark>)>,
    ) {
        let Some(key) = column.key().filter(|_| !session.is_inherited()) else { return };
        let mut kept = self.kept.borrow_mut();
        let at = match kept.iter().position(|known| Arc::ptr_eq(&known.column, column)) {
            Some(at) => at,
            None => {
                let Some(query) = Query::prepare(connection, &key.column.query) else { return };
                if kept.len() == MOST_KEPT {
                    kept.remove(0);
                }
                kept.push(Kept { column: Arc::clone(column), query });
                kept.len() - 1
            }
        };
        let query = &kept[at].query;
        let told = rows.iter().map_while(|row| Some((*row, query.ask(row.row)?)));
        hooks::unheard(connection, session, || found.extend(told));
    }
}

impl Query {
    fn prepare(connection: &Connection, text: &str) -> Option<Self> {
        let (mut statement, length) = (std::ptr::null_mut(), c_int::try_from(text.len()).ok()?);
        // SAFETY: the connection is open, and the text is as long as is said.
        let code = unsafe {
            ffi::sqlite3_prepare_v3(
                connection.handle(),
                text.as_ptr().cast(),
                length,
                ffi::SQLITE_PREPARE_PERSISTENT,
                &raw mut statement,
                std::ptr::null_mut(),
            )
        };
        let query = Self(statement);
        (code == ffi::SQLITE_OK && !statement.is_null()).then_some(query)
    }

    /// Finds the mark of what one row has, if it has one; `None` when that can't be found out.
    fn ask(&self, row: i64) -> Option<Option<Mark>> {
        // SAFETY: the statement belongs to the open connection that this thread uses. What is read of the row is used before the reset.
        unsafe {
            let bound = ffi::sqlite3_bind_int64(self.0, 1, row);
            let found = if bound == ffi::SQLITE_OK { ffi::sqlite3_step(self.0) } else { bound };
            let mark = match found {
                ffi::SQLITE_ROW => value_of(self.0).map(mark_of_stored),
                // It was never there: what SQLite reports may have been undone in its own transaction.
                ffi::SQLITE_DONE => Some(None),
                _ => None,
            };
            ffi::sqlite3_reset(self.0);
            mark
        }
    }
}

/// The value in the first column of a row, of a BLOB only that it is one; `None` where there is no memory for it.
///
/// # Safety
///
/// The statement has a row, and lives, unchanged, for `'v`.
unsafe fn value_of<'v>(statement: *mut ffi::sqlite3_stmt) -> Option<ValueRef<'v>> {
    // SAFETY: as the caller promises. The address of a text is asked for before its length, in this order:
    // https://www.sqlite.org/c3ref/column_blob.html
    unsafe {
        Some(match ffi::sqlite3_column_type(statement, 0) {
            ffi::SQLITE_INTEGER => ValueRef::Integer(ffi::sqlite3_column_int64(statement, 0)),
            ffi::SQLITE_FLOAT => ValueRef::Real(ffi::sqlite3_column_double(statement, 0)),
            ffi::SQLITE_TEXT => {
                let text = ffi::sqlite3_column_text(statement, 0);
                let length = usize::try_from(ffi::sqlite3_column_bytes(statement, 0)).ok()?;
                if text.is_null() {
                    return None;
                }
                ValueRef::Text(std::slice::from_raw_parts(text, length))
            }
            ffi::SQLITE_BLOB => ValueRef::Blob(&[]),
            _ => ValueRef::Null,
        })
    }
}
