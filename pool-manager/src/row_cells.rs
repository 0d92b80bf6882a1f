//! The numbers of publications that wrote single rows of one table.
//!
//! The same cells serve for rows with certain values in a column, by marks that stand for the values (`key_column`) in place of the numbers
//! of rows.
//!
//! Owns how rows are told apart. It must not know what a number means (`ledger`). Invariant: who looks at a row's cells finds the number
//! of every publication that named the row, or a later one: rows share cells, which costs misses.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Of each power of two it is a question of memory, 8 KiB a table, and of how many rows outdate how many others: one in so many.
const CELLS: usize = 1 << CELL_BITS;
const CELL_BITS: u32 = 10;

/// The cells of a table of which single rows are read.
#[derive(Debug)]
pub(crate) struct RowCells {
    /// The last publication that wrote rows of which nobody knows which.
    unknown: AtomicU64,
    cells: Box<[AtomicU64]>,
    /// How much was spent on finding out what was written since anybody last asked; see [`spend`](RowCells::spend).
    unasked: AtomicU32,
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
    pub(crate) fn new(last: u64) -> Self {
        Self {
            unknown: AtomicU64::new(last),
            cells: (0..CELLS).map(|_| AtomicU64::new(0)).collect(),
            unasked: AtomicU32::new(0),
        }
    }

    /// Notes that looks are about to be taken at what was written; tells whether that is worth it: as long as there were no more than `most`
    /// since anybody last asked for a number. Without them the publication is one of which nobody knows the rows.
    ///
    /// Pairs with nothing: a count that is not exact costs looks, or misses.
    pub(crate) fn spend(&self, looks: u32, most: u32) -> bool {
        let spent = self.unasked.load(Ordering::Relaxed).saturating_add(looks);
        if spent > most {
            return false;
        }
        self.unasked.store(spent, Ordering::Relaxed);
        true
    }

    #[inline]
    fn is_asked(&self) {
        if self.unasked.load(Ordering::Relaxed) != 0 {
            self.unasked.store(0, Ordering::Relaxed);
        }
    }

    /// Enters a publication; `rows`: which it names, `None` for any.
    pub(crate) fn enter(&self, rows: Option<&[i64]>, number: u64) {
        // Before the bytes are published, as the cells of tables: see `ledger`.
        match rows {
            Some(rows) => rows.iter().for_each(|row| self.cells[cell_of(*row)].store(number, Ordering::Relaxed)),
            None => self.unknown.store(number, Ordering::Relaxed),
        }
    }
}

impl Row {
    pub(crate) fn of(table: &Arc<RowCells>, row: i64) -> Self {
        table.is_asked();
        Self { table: Arc::clone(table), cell: cell_of(row) }
    }

    /// The last publication that named the row, or may have.
    #[inline]
    pub(crate) fn last(&self) -> u64 {
        self.table.is_asked();
        // Pair with the stores in `enter`, by way of the published bytes.
        let unknown = self.table.unknown.load(Ordering::Relaxed);
        unknown.max(self.table.cells[self.cell].load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_worth_it_until_there_were_too_many_since_anybody_asked() {
        let table = Arc::new(RowCells::new(3));
        let row = Row::of(&table, 7);
        for _ in 0..2 {
            assert!(table.spend(3, 4) && !table.spend(2, 4) && table.spend(1, 4) && !table.spend(1, 4));
            assert_eq!(row.last(), 3);
        }
        assert!(!table.spend(5, 4));
        assert!(table.spend(4, 4) && !table.spend(1, 4));
        Row::of(&table, 8);
        assert!(table.spend(1, 4));
    }

    #[test]
    fn a_row_is_outdated_by_itself_and_by_rows_that_nobody_knows_and_by_few_others() {
        let table = Arc::new(RowCells::new(3));
        let row = Row::of(&table, 7);
        assert_eq!(row.last(), 3);
        table.enter(Some(&[7, -1]), 4);
        assert_eq!((row.last(), Row::of(&table, -1).last(), Row::of(&table, 8).last()), (4, 4, 3));
        table.enter(None, 5);
        assert_eq!(row.last(), 5);
        table.enter(Some(&[]), 6);
        assert_eq!(row.last(), 5);
        for number in 6..206 {
            table.enter(Some(&[number]), u64::try_from(number).unwrap());
        }
        let spared = (10_000..11_000).filter(|row| Row::of(&table, *row).last() == 5).count();
        assert!((700..1_000).contains(&spared), "{spared}");
    }
}
