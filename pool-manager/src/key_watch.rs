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
//! `row_watch` forgets the values then. The look costs one query a row, and is taken for a column only if somebody reads by it, a result of
//! that is alive, and not many looks were taken since anybody asked for one.

use std::sync::Arc;

use crate::faults::{self, Mutation};
use crate::key_column::Mark;
use crate::ledger::Ledger;
use crate::numbers::KeyCells;

/// With more rows to look at, nothing is said.
const MOST_ROWS: usize = 64;

/// What the rows of one table have that a transaction has written. Stays for the next one: most write the same tables.
#[derive(Debug, Default)]
pub(crate) struct KeyMarks {
    /// Which columns these are: see [`Ledger::edition_of_columns`].
    edition: u64,
    columns: Vec<Looked>,
}

#[derive(Debug)]
struct Looked {
    column: Arc<KeyCells>,
    marks: Vec<Mark>,
    /// Whether these are all. What was not looked for, or could not be found out, is not said.
    are_all: bool,
}

impl KeyMarks {
    /// Looks at rows, which are all that the open transaction has written of a table named in lower case. `shrunk`: the indexes from which it
    /// has removed entries; `ask` enters the marks of what rows have in a column, and tells whether that could be found out.
    pub(crate) fn look(
        &mut self,
        ledger: &Ledger,
        table: &str,
        rows: &[i64],
        shrunk: &[u32],
        mut ask: impl FnMut(&Arc<KeyCells>, &[i64], &mut Vec<Mark>) -> bool,
    ) {
        let edition = ledger.edition_of_columns();
        if self.edition != edition {
            let looked = |column| Looked { column, marks: Vec::new(), are_all: false };
            self.columns = ledger.columns_of(table).into_iter().map(looked).collect();
            self.edition = edition;
        }
        for Looked { column, marks, are_all } in &mut self.columns {
            if *are_all && faults::mutated(Mutation::LooksOnce) {
                continue;
            }
            marks.clear();
            *are_all = false;
            if rows.len() > MOST_ROWS || !ledger.is_schema_of(column.since) || shrunk.contains(&column.column.index) {
                continue;
            }
            if !column.is_worth_looks(rows.len()) {
                // Who has read by the column before finds that nobody looked.
                *are_all = faults::mutated(Mutation::TakesUnlookedForUnwritten);
                continue;
            }
            let rows = if faults::mutated(Mutation::LooksEarly) { &rows[..rows.len().saturating_sub(1)] } else { rows };
            *are_all = ask(column, rows, marks);
        }
    }

    /// The marks that were found in a column at the last look; `None` if they are not known.
    pub(crate) fn of(&self, column: &Arc<KeyCells>) -> Option<&[Mark]> {
        let looked = self.columns.iter().find(|looked| Arc::ptr_eq(&looked.column, column));
        looked.filter(|looked| looked.are_all).map(|looked| &*looked.marks)
    }
}
