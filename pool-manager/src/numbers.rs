//! The numbers of the publications that named a table last, one of its rows, or a value of one of its columns.
//!
//! Owns the cells in which they stand, of each table that somebody wrote or asked for. It must not know what a publication is, nor when a
//! number is too high (`ledger`). Invariants: all of this is changed under the lock of its ledger; cells that are made later than their
//! table's begin with its number, for until then nobody noted rows or values.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::key_column::{Column, Mark};
use crate::row_cells::{Row, RowCells};
use crate::row_watch::Written;

/// The number of the last publication that named a table.
pub(crate) type Cell = Arc<AtomicU64>;

/// Of how many tables rows are told apart; each takes some kilobytes.
const MOST_ROW_TABLES: usize = 1_000;

/// By how many columns rows are told apart besides, of one table and of all.
const MOST_TABLE_COLUMNS: usize = 8;
const MOST_COLUMNS: usize = 1_000;

/// How many rows are looked at for a column before somebody asks for one of its values again. One look costs about a sixteenth of running
/// a query by a value, so whatever comes, no more than twice is spent of what would have been enough had it been known before.
const MOST_UNASKED: u32 = 16;

/// How many tables are told apart.
const MOST_TABLES: usize = 10_000;

/// The numbers, by tables named in lower case.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    tables: HashMap<Box<str>, Table>,
    /// How often other columns came to be told apart.
    edition: u64,
}

#[derive(Debug, Default)]
struct Table {
    last: Cell,
    /// Once somebody has read single rows of it.
    rows: Option<Arc<RowCells>>,
    /// By which somebody has read it.
    columns: Vec<Arc<KeyCells>>,
}

/// The cells of a column by whose values rows are told apart.
#[derive(Debug)]
pub(crate) struct KeyCells {
    pub(crate) column: Column,
    /// A number of the ledger from before that was found out.
    pub(crate) since: u64,
    /// Of marks.
    cells: Arc<RowCells>,
}

impl KeyCells {
    /// Tells whether it is worth it to look at what so many rows have there that were written: a result, or a query under way, may depend on a
    /// value of the column, and somebody asked for one not long ago.
    ///
    /// Who asks for the cells after this gets a number from before the next publication, which outdates all values unless it says which.
    pub(crate) fn is_worth_looks(&self, rows: usize) -> bool {
        Arc::strong_count(&self.cells) > 1 && self.cells.spend(u32::try_from(rows).unwrap_or(u32::MAX), MOST_UNASKED)
    }
}

impl Numbers {
    /// How often other columns came to be told apart.
    pub(crate) fn edition(&self) -> u64 {
        self.edition
    }

    /// The cells of tables.
    pub(crate) fn cells<'n>(&mut self, names: impl IntoIterator<Item = &'n str>) -> Box<[Cell]> {
        let cell = |name: &str| match self.tables.get(name) {
            Some(table) => Arc::clone(&table.last),
            // Nobody has written it yet: writers enter what they write.
            None => Arc::clone(&self.tables.entry(name.into()).or_default().last),
        };
        names.into_iter().map(cell).collect()
    }

    /// The cells of rows of a table; `None` where only the table's is kept.
    pub(crate) fn rows(&mut self, name: &str, rows: impl IntoIterator<Item = i64>) -> Option<Vec<Row>> {
        if self.tables.get(name).is_none_or(|table| table.rows.is_none()) {
            if self.tables.values().filter(|table| table.rows.is_some()).count() >= MOST_ROW_TABLES {
                return None;
            }
            let table = self.tables.entry(name.into()).or_default();
            // Which rows were written so far nobody noted.
            table.rows = Some(Arc::new(RowCells::new(table.last.load(Ordering::Relaxed))));
        }
        let cells = self.tables.get(name)?.rows.as_ref()?;
        Some(rows.into_iter().map(|row| Row::of(cells, row)).collect())
    }

    /// The cells of marks in a column of a table; `None` where only the table's is kept. `is_schema_of`: tells whether what was known at a
    /// number is still so, as it is of `since`.
    pub(crate) fn keys(
        &mut self,
        name: &str,
        since: u64,
        column: Column,
        marks: impl IntoIterator<Item = Mark>,
        is_schema_of: impl Fn(u64) -> bool,
    ) -> Option<Vec<Row>> {
        let is_it = |known: &&Arc<KeyCells>| known.column == column && is_schema_of(known.since);
        let known = self.tables.get(name).and_then(|table| table.columns.iter().find(is_it));
        let cells = match known.map(|known| Arc::clone(&known.cells)) {
            Some(cells) => cells,
            None => {
                // Of others nothing more can be told.
                self.tables.values_mut().for_each(|table| table.columns.retain(|known| is_schema_of(known.since)));
                let columns = self.tables.values().map(|table| table.columns.len()).sum::<usize>();
                let table = self.tables.entry(name.into()).or_default();
                if columns >= MOST_COLUMNS || table.columns.len() >= MOST_TABLE_COLUMNS {
                    return None;
                }
                // At which values were written so far nobody looked.
                let cells = Arc::new(RowCells::new(table.last.load(Ordering::Relaxed)));
                table.columns.push(Arc::new(KeyCells { column, since, cells: Arc::clone(&cells) }));
                self.edition += 1;
                cells
            }
        };
        Some(marks.into_iter().map(|mark| Row::of(&cells, mark)).collect())
    }

    /// The columns of a table by which somebody reads it.
    pub(crate) fn columns_of(&self, name: &str) -> &[Arc<KeyCells>] {
        self.tables.get(name).map_or(&[], |table| &table.columns)
    }

    /// Enters a publication that names tables; `rows`: what it wrote of them, as far as that is known.
    pub(crate) fn enter(
        &mut self,
        names: &[String],
        rows: Option<&Written>,
        number: u64,
        is_schema_of: impl Fn(u64) -> bool,
    ) {
        for name in names {
            match self.tables.get(&**name) {
                Some(table) => {
                    table.last.store(number, Ordering::Relaxed);
                    if let Some(cells) = &table.rows {
                        cells.enter(rows.and_then(|rows| rows.of(name)), number);
                    }
                    for known in &table.columns {
                        let rows = rows.filter(|_| is_schema_of(known.since));
                        known.cells.enter(rows.and_then(|rows| rows.marks_of(name, known)), number);
                    }
                }
                None => {
                    let table = Table { last: Arc::new(AtomicU64::new(number)), ..Table::default() };
                    self.tables.insert(name.as_str().into(), table);
                }
            }
        }
    }

    /// Forgets all tables if there are more than can be told apart; then whatever was read before is to be taken to have changed.
    pub(crate) fn forget_too_many(&mut self) -> bool {
        let too_many = self.tables.len() > MOST_TABLES;
        if too_many {
            self.tables.clear();
        }
        too_many
    }
}
