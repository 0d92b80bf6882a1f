//! Looking at rows that were written, to find out which values of a column they have: whoever depends on one that none has is not concerned.
//!
//! Owns the look, which is taken by who asks for a result and before its query would be run again. It must not know how rows are asked
//! (`key_query`), nor what becomes of the values (`ledger`).
//!
//! # Why the values are all that counts
//!
//! Whoever depends on the rows that have a certain value in a column is concerned by a transaction if one of the rows that it inserted,
//! changed or deleted had that value before, or has it then. Rows are told apart by a column only if it is the first of an index of
//! all rows (`key_column`), so a row that was there before has its entry in that index, with its value. If no statement of the transaction
//! removes entries from the index, which programs tell (`pool_stmt::rusqlite::Changes`), that entry is there in the end as well: the row has the
//! same value before and after. So what the written rows have in the end is all.
//!
//! # Why it is early enough to look when somebody asks
//!
//! For the same reason: as long as no transaction removes entries from the index, the row keeps its value. One that does (it deletes rows, or
//! changes the column) concerns everybody who reads the table by that column, and then no look matters any more. So who writes only notes
//! the rows, and pays nothing for those who read by their values; who asks looks once at what was written since anybody asked, for
//! everybody. `ledger` shows why nothing is missed.

use std::sync::Arc;

use crate::faults::{self, Point};
use crate::key_column::Mark;
use crate::ledger::Ledger;
use crate::numbers::Unlooked;
use crate::row_cells::RowCells;

/// Columns at which somebody has to look before it can be told whether a result is still true.
#[derive(Debug)]
pub(crate) struct Undecided {
    ledger: Arc<Ledger>,
    /// The number of the ledger from before whoever looks begins to read.
    moment: u64,
    columns: Vec<Arc<RowCells>>,
}

impl Undecided {
    /// To be called before whoever looks begins to read.
    pub(crate) fn new(ledger: &Arc<Ledger>, columns: Vec<Arc<RowCells>>) -> Self {
        let moment = ledger.moment();
        faults::pause(Point::Undecided);
        Self { ledger: Arc::clone(ledger), moment, columns }
    }

    /// Looks, on a connection to the database of a ledger. `ask` finds the marks of what rows have in a column, as far as that can be found out.
    pub(crate) fn look(
        &self,
        ledger: &Arc<Ledger>,
        mut ask: impl FnMut(&Arc<RowCells>, &[Unlooked], &mut Vec<(Unlooked, Option<Mark>)>),
    ) {
        // The file may have been replaced meanwhile.
        if !Arc::ptr_eq(ledger, &self.ledger) {
            return;
        }
        faults::pause(Point::Looking);
        let mut found = Vec::new();
        for column in &self.columns {
            let rows = ledger.unlooked(column, self.moment);
            // Somebody else may have looked.
            if !rows.is_empty() {
                ask(column, &rows, &mut found);
                faults::pause(Point::Looked);
                ledger.looked(column, &found);
                found.clear();
            }
        }
    }
}
