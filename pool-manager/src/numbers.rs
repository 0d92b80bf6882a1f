//! The numbers of the publications that named a table last, one of its rows, or a value of one of its columns.
//!
//! Owns the cells in which they stand, of each table that somebody wrote or asked for, and the written rows at whose values somebody has yet to
//! look. It must not know what a publication is, nor when a number is too high (`ledger`). Invariants: all of this is changed under the
//! lock of its ledger; cells that are made later than their table's begin with its number, for until then nobody noted rows or values.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::key_column::{Column, Mark};
use crate::row_cells::{Key, Row, RowCells};
use crate::row_watch::Written;

/// The number of the last publication that named a table.
pub(crate) type Cell = Arc<AtomicU64>;

/// Of how many tables rows are told apart; each takes some kilobytes.
const MOST_ROW_TABLES: usize = 1_000;

/// By how many columns rows are told apart besides, of one table and of all.
const MOST_TABLE_COLUMNS: usize = 8;
const MOST_COLUMNS: usize = 1_000;

/// How many rows wait for who looks at what they have in a column: as many as there are values that results depend on, within these bounds. With
/// more, whoever reads by it runs the query again. A look costs an eighth of running a small query by a value, and serves all who read by
/// the column; so whatever comes, it costs little more than what it may save.
const FEWEST_UNLOOKED: usize = 16;
const MOST_UNLOOKED: usize = 64;

/// How many tables are told apart.
const MOST_TABLES: usize = 10_000;

/// The numbers, by tables named in lower case.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    tables: HashMap<Box<str>, Table>,
}

#[derive(Debug, Default)]
struct Table {
    last: Cell,
    /// Once somebody has read single rows of it.
    rows: Option<Arc<RowCells>>,
    /// By which somebody has read it.
    columns: Vec<Keyed>,
}

/// A column by whose values rows are told apart.
#[derive(Debug)]
struct Keyed {
    cells: Arc<RowCells>,
    unlooked: Vec<Unlooked>,
}

/// A row that was written, has kept in the column what it had, and was not looked at since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unlooked {
    pub(crate) row: i64,
    /// The last publication that named it.
    pub(crate) number: u64,
}

impl Keyed {
    fn key(&self) -> &Key {
        self.cells.key().unwrap_or_else(|| panic!("BUG: the cells of a column don't know which"))
    }

    /// Enters a publication; `rows`: all that it wrote, if none has lost what it had; `None` if nobody can tell.
    fn enter(&mut self, rows: Option<&[i64]>, number: u64) {
        match rows {
            Some([]) => {}
            Some(rows) if self.note(rows, number) => self.cells.set_unlooked(number),
            _ => {
                self.unlooked.clear();
                self.cells.enter_unknown(number);
            }
        }
    }

    /// Notes rows; tells whether there was room.
    fn note(&mut self, rows: &[i64], number: u64) -> bool {
        // Each value that a result depends on has a reference.
        let room = Arc::strong_count(&self.cells).clamp(FEWEST_UNLOOKED, MOST_UNLOOKED);
        for row in rows {
            match self.unlooked.iter().position(|known| known.row == *row) {
                Some(at) => self.unlooked[at].number = number,
                None if self.unlooked.len() >= room => return false,
                None => self.unlooked.push(Unlooked { row: *row, number }),
            }
        }
        true
    }
}

impl Numbers {
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
            table.rows = Some(Arc::new(RowCells::new(table.last.load(Ordering::Relaxed), None)));
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
        let is_it = |known: &&Keyed| known.key().column == column && is_schema_of(known.key().since);
        let known = self.tables.get(name).and_then(|table| table.columns.iter().find(is_it));
        let cells = match known.map(|known| Arc::clone(&known.cells)) {
            Some(cells) => cells,
            None => {
                // Of others nothing more can be told.
                self.tables
                    .values_mut()
                    .for_each(|table| table.columns.retain(|known| is_schema_of(known.key().since)));
                let columns = self.tables.values().map(|table| table.columns.len()).sum::<usize>();
                let table = self.tables.entry(name.into()).or_default();
                if columns >= MOST_COLUMNS || table.columns.len() >= MOST_TABLE_COLUMNS {
                    return None;
                }
                let key = Key { table: name.into(), column, since };
                // Which values were written so far nobody noted.
                let cells = Arc::new(RowCells::new(table.last.load(Ordering::Relaxed), Some(key)));
                table.columns.push(Keyed { cells: Arc::clone(&cells), unlooked: Vec::new() });
                cells
            }
        };
        Some(marks.into_iter().map(|mark| Row::of(&cells, mark)).collect())
    }

    /// The column whose cells these are, while it is told apart.
    fn keyed(&mut self, cells: &Arc<RowCells>) -> Option<&mut Keyed> {
        let columns = &mut self.tables.get_mut(&cells.key()?.table)?.columns;
        columns.iter_mut().find(|known| Arc::ptr_eq(&known.cells, cells))
    }

    /// The rows at whose values in a column nobody has looked, of publications up to a number.
    pub(crate) fn unlooked(&mut self, cells: &Arc<RowCells>, most: u64) -> Vec<Unlooked> {
        let all = self.keyed(cells).map(|known| known.unlooked.iter().filter(|row| row.number <= most).copied());
        all.into_iter().flatten().collect()
    }

    /// Enters what was found at rows that nobody had looked at. Those that were written again, or forgotten, stay as they are.
    pub(crate) fn looked(&mut self, cells: &Arc<RowCells>, found: &[(Unlooked, Option<Mark>)]) {
        let Some(Keyed { cells, unlooked }) = self.keyed(cells) else { return };
        for (row, mark) in found {
            let Some(at) = unlooked.iter().position(|known| known == row) else { continue };
            if let Some(mark) = mark {
                cells.enter_late(*mark, row.number);
            }
            unlooked.swap_remove(at);
        }
        cells.set_unlooked(unlooked.iter().map(|row| row.number).max().unwrap_or(0));
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
            match self.tables.get_mut(&**name) {
                Some(table) => {
                    table.last.store(number, Ordering::Relaxed);
                    if let Some(cells) = &table.rows {
                        match rows.and_then(|rows| rows.of(name)) {
                            Some(rows) => cells.enter(rows, number),
                            None => cells.enter_unknown(number),
                        }
                    }
                    for known in &mut table.columns {
                        let rows = rows.filter(|_| is_schema_of(known.key().since));
                        known.enter(rows.and_then(|rows| rows.of_index(name, known.key().column.index)), number);
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
