//! The numbers of publications that wrote single rows of one table.
//!
//! The same cells serve for rows with certain values in a column, by marks that stand for the values (`key_column`) in place of the numbers
//! of rows.
//!
//! Owns how rows are told apart. It must not know what a number means (`ledger`). Invariant: who looks at a row's cells finds the number
//! of every publication that named the row, or a later one: rows share cells, which costs misses.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::key_column::{Column, Mark};

/// Of each power of two it is a question of memory, 8 KiB a table, and of how many rows outdate how many others: one in so many.
const CELLS: usize = 1 << CELL_BITS;
const CELL_BITS: u32 = 10;

/// The cells of a table of which single rows are read, or of a column by whose values rows are.
#[derive(Debug)]
pub(crate) struct RowCells {
    /// The last publication that wrote rows of which nobody knows which.
    unknown: AtomicU64,
    /// The last publication that wrote rows at whose values nobody has looked yet; zero while there is none.
    unlooked: AtomicU64,
    cells: Box<[AtomicU64]>,
    key: Option<Key>,
}

/// Of which column the cells are.
#[derive(Debug)]
pub(crate) struct Key {
    /// Its table, in lower case.
    pub(crate) table: Box<str>,
    pub(crate) column: Column,
    /// A number of the ledger from before that was found out.
    pub(crate) since: u64,
}

/// The cells of one row.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    table: Arc<RowCells>,
    cell: usize,
}

fn cell_of(row: i64) -> usize {
    (row.cast_unsigned().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (u64::BITS - CELL_BITS)) as usize
}

impl RowCells {
    /// Cells for a table that was written last by the publication `last`, of which nobody knows the rows any more.
    pub(crate) fn new(last: u64, key: Option<Key>) -> Self {
        Self {
            unknown: AtomicU64::new(last),
            unlooked: AtomicU64::new(0),
            cells: (0..CELLS).map(|_| AtomicU64::new(0)).collect(),
            key,
        }
    }

    /// Of which column these are; `None` of cells of rows.
    pub(crate) fn key(&self) -> Option<&Key> {
        self.key.as_ref()
    }

    // What follows is called under the ledger's lock, and before the bytes are published, as for the cells of tables: see `ledger`.

    /// Enters a publication that names these rows.
    pub(crate) fn enter(&self, rows: &[i64], number: u64) {
        rows.iter().for_each(|row| self.cells[cell_of(*row)].store(number, Ordering::Relaxed));
    }

    /// Enters a publication that names any row.
    pub(crate) fn enter_unknown(&self, number: u64) {
        self.unknown.store(number, Ordering::Relaxed);
        self.set_unlooked(0);
    }

    /// Enters that an earlier publication named a mark.
    pub(crate) fn enter_late(&self, mark: Mark, number: u64) {
        self.cells[cell_of(mark)].fetch_max(number, Ordering::Relaxed);
    }

    /// Enters the last publication at whose rows nobody has looked. A lower one than before comes after what is known now: of each publication
    /// between them its marks, or that it named any.
    pub(crate) fn set_unlooked(&self, number: u64) {
        // Pairs with the load in `last_but_for_looks`.
        self.unlooked.store(number, Ordering::Release);
    }
}

impl Row {
    pub(crate) fn of(table: &Arc<RowCells>, row: i64) -> Self {
        Self { table: Arc::clone(table), cell: cell_of(row) }
    }

    pub(crate) fn table(&self) -> &Arc<RowCells> {
        &self.table
    }

    /// The last publication that named the row, or may have.
    #[inline]
    pub(crate) fn last(&self) -> u64 {
        let (looked_at, not) = self.last_but_for_looks();
        looked_at.max(not)
    }

    /// The same in two parts: of what was looked at, where that is needed, and of what was not.
    #[inline]
    pub(crate) fn last_but_for_looks(&self) -> (u64, u64) {
        // First, so that what was found out by looking is seen below. The others pair with their stores by way of the published bytes.
        let unlooked = self.table.unlooked.load(Ordering::Acquire);
        let unknown = self.table.unknown.load(Ordering::Relaxed);
        (unknown.max(self.table.cells[self.cell].load(Ordering::Relaxed)), unlooked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_outdated_by_itself_and_by_rows_that_nobody_knows_and_by_few_others() {
        let table = Arc::new(RowCells::new(3, None));
        let row = Row::of(&table, 7);
        assert_eq!(row.last(), 3);
        table.enter(&[7, -1], 4);
        assert_eq!((row.last(), Row::of(&table, -1).last(), Row::of(&table, 8).last()), (4, 4, 3));
        table.enter_unknown(5);
        assert_eq!(row.last(), 5);
        table.enter(&[], 6);
        assert_eq!(row.last(), 5);
        for number in 6..206 {
            table.enter(&[number], u64::try_from(number).unwrap());
        }
        let spared = (10_000..11_000).filter(|row| Row::of(&table, *row).last() == 5).count();
        assert!((700..1_000).contains(&spared), "{spared}");
    }

    #[test]
    fn a_look_tells_what_it_has_seen_and_takes_back_nothing_that_is_newer() {
        let table = Arc::new(RowCells::new(3, None));
        let row = Row::of(&table, 7);
        table.set_unlooked(5);
        assert_eq!((row.last(), row.last_but_for_looks()), (5, (3, 5)));
        table.enter_late(8, 5);
        table.set_unlooked(0);
        assert_eq!((row.last(), Row::of(&table, 8).last()), (3, 5));
        table.enter_late(8, 4);
        assert_eq!(Row::of(&table, 8).last(), 5);
        table.set_unlooked(6);
        table.enter_unknown(7);
        assert_eq!(row.last_but_for_looks(), (7, 0));
    }
}
