//! Handles for incremental BLOBs, whose table the write lane and the query cache get to know.
//!
//! A handle reads and writes without a statement: neither SQLite's authorizer nor its trace nor its update hook is told
//! (<https://www.sqlite.org/c3ref/blob_open.html>). Owns running, before a handle is opened, a statement that touches no row and says all that the
//! handle does not. It must not know who listens. Invariant: when a handle to write has been opened, the connection has the
//! lane, and the table counts as written by the transaction that is open, with rows unknown.

use rusqlite::blob::Blob;

use crate::connection::Connection;
use crate::error::{Error, Result};

impl Connection {
    /// Opens a value as a handle that reads or writes it piece by piece, without holding it in memory.
    ///
    /// `schema` is `main`, `temp` or the name of an attached database. It stands in for [`rusqlite::Connection::blob_open`], which it hides:
    /// of what is read and written through a handle from there the query cache learns nothing, and nobody queues for it.
    ///
    /// A handle that writes needs a transaction, and may be used until that ends. It counts as a write to the whole table, also when
    /// nothing is written; [`reopen`](Blob::reopen) is covered by that. It can't change the length of a value: insert a
    /// [`ZeroBlob`](rusqlite::blob::ZeroBlob) first.
    ///
    /// # Errors
    ///
    /// [`Error::NoTransaction`] when it is to write outside a transaction, [`Error::ReadOnly`] in a closure that only reads; those of the
    /// write lane; [`Error::Sqlite`] when there is no such row or column, or SQLite can't open it: in a view, a virtual table, a table
    /// without rowid, or to write to an indexed column.
    ///
    /// ```
    /// use std::io::Write;
    ///
    /// # let db = pool_manager::DatabaseManager::open(":memory:")?;
    /// db.blocking().write(|tx| {
    ///     tx.execute_batch("CREATE TABLE file (id INTEGER PRIMARY KEY, content); INSERT INTO file VALUES (1, zeroblob(5))")?;
    ///     let mut content = tx.blob_open("main", "file", "content", 1, false)?;
    ///     Ok(content.write_all(b"hello")?)
    /// })?;
    /// # Ok::<(), pool_manager::Error>(())
    /// ```
    pub fn blob_open(&self, schema: &str, table: &str, column: &str, row: i64, read_only: bool) -> Result<Blob<'_>> {
        let [quoted_schema, quoted_table, quoted_column] = [schema, table, column].map(quoted);
        let place = format!("{quoted_schema}.{quoted_table}");
        let session = self.session();
        let announced = if read_only {
            let sql = format!("SELECT {quoted_column} FROM {place} LIMIT 0");
            self.prepare_cached(&sql).and_then(|mut reads| reads.query([])?.next().map(|_| ()))
        } else {
            if self.is_autocommit() && !session.only_reads() {
                return Err(Error::NoTransaction { what: "a BLOB handle that writes" });
            }
            let sql = format!("UPDATE {place} SET {quoted_column} = {quoted_column} WHERE 0");
            self.prepare_cached(&sql).and_then(|mut writes| writes.execute([])).map(|_| ())
        };
        announced.map_err(|error| session.explain_sqlite(error))?;
        if !read_only {
            session.publisher.rows.changes_unknown(table);
        }
        let plain: &rusqlite::Connection = self;
        plain.blob_open(schema, table, column, row, read_only).map_err(|error| session.explain_sqlite(error))
    }
}

/// A name as SQLite takes it, whatever is in it. One that is missing must not turn into a text, as with double quotes it would.
fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}
