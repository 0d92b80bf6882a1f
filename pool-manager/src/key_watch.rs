//! Which values of columns the rows have that a transaction has written.
//!
//! Owns the look at them, right before the transaction is committed. It must not know which rows these are (`row_watch`), nor what becomes
//! of the values (`ledger`).
//!
//! # Why the values are all that counts
//!
//! Whoever depends on the rows that have a certain value in a column is concerned by a transaction if one of the rows that it inserted,
//! changed or deleted had that value before, or has it then. Rows are told apart by a column only if it is the first of an index of
//! all rows (`key_column`), so a row that was there before has its entry in that index, with its value. If no statement of the transaction
//! removes entries from the index, which programs tell (`pool_stmt::rusqlite::Changes`), that entry is there in the end as well: the row has the
//! same value before and after. So what the written rows have in the end, in the eyes of their own transaction, is all.
//!
//! That holds for writes to other columns and for rows that are new; of a transaction that removes entries (which deletes rows, or changes the
//! column) nothing is said, and it concerns everybody who reads the table by that column. The same is so of one that writes after the look:
//! `row_watch` forgets the values then. The look is taken for a column only if somebody reads by it, and costs one query a row.

use std::sync::Arc;

use pool_stmt::rusqlite::StatementConnection;

use crate::faults::{self, Mutation};
use crate::key_column::{Mark, mark_of_stored};
use crate::ledger::{KeyCells, Ledger};
use crate::row_watch::RowWatch;

/// With more rows to look at, nothing is said.
const MOST_ROWS: usize = 64;

/// Rows of a table, and the column to look at.
pub(crate) type Wanted = (Arc<KeyCells>, Vec<i64>);

/// Looks at the rows written in the transaction that is open on the connection, which is committed next.
pub(crate) fn look(rows: &RowWatch, ledger: &Ledger, connection: &StatementConnection) {
    if !rows.is_following() || !ledger.wants_keys() {
        return;
    }
    let mut wanted = rows.unlooked(|table| ledger.columns_of(table));
    if faults::mutated(Mutation::LooksEarly) {
        wanted.iter_mut().for_each(|(_, rows)| _ = rows.pop());
    }
    let found: Vec<_> = wanted
        .into_iter()
        .filter(|(_, rows)| rows.len() <= MOST_ROWS)
        // What can't be found out is not said.
        .filter_map(|(cells, rows)| marks(&cells, &rows, connection).ok().map(|marks| (cells, marks)))
        .collect();
    if !found.is_empty() {
        rows.looked(found);
    }
}

/// The marks of what the rows have in a column, those that are still there.
fn marks(cells: &KeyCells, rows: &[i64], connection: &StatementConnection) -> rusqlite::Result<Vec<Mark>> {
    let mut query = connection.prepare_cached(&cells.column.query)?;
    let mut marks = Vec::with_capacity(rows.len());
    for row in rows {
        match query.query_row([row], |found| Ok(mark_of_stored(found.get_ref(0)?))) {
            Ok(mark) => marks.extend(mark),
            // It is gone, or was never there.
            Err(rusqlite::Error::QueryReturnedNoRows) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(marks)
}
