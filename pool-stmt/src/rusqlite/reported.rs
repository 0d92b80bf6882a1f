//! Which changes of rows SQLite's update hook reports.
//!
//! Owns what is said of a statement that writes, by its programs. Must not know names beyond those that a program has. Invariant: a change
//! of a row in `main` is in the answer, or the answer says that it is not complete.
//!
//! The hook (<https://sqlite.org/c3ref/update_hook.html>) is called in three places of `sqlite3VdbeExec` (vdbe.c): by `OP_Insert` if its
//! P4 is a table, with the new number of the row; by `OP_Delete` if its P4 is a table and its P2 has `OPFLAG_NCHANGE`, with the number of
//! the row deleted; and for virtual tables never. The instructions that change rows of a table on disk are these two and `OP_Clear`;
//! `OP_RowCell` only prepares an `OP_Insert`. So the changes not reported are:
//!
//! * `OP_Clear`, which `sqlite3DeleteFrom` makes of a `DELETE` without `WHERE`, triggers and foreign keys;
//! * `OP_Delete` without that flag: `sqlite3GenerateRowDelete` leaves it out for rows that `REPLACE` deletes, and `sqlite3Update` for the
//!   row under its old number, where the number changes or a foreign key must be checked in between;
//! * what has no P4, but for the list of highest numbers: tables that SQLite keeps for itself, and statements that it runs for itself (`sqlite3NestedParse`).
//!
//! From an index entries go by `OP_IdxDelete`, by `OP_Delete` (`sqlite3GenerateRowDelete` uses it for the index that found the row), or by
//! `OP_Clear`. `sqlite3Update` touches an index only if one of its columns may change. Whether a program removes entries from an index
//! depends on what it may change, not on how it finds the rows.

use super::lodging::{Lodging, Resident};
use super::opened::{is_unclear, root_in_main};
use super::program::{self, Instruction};
use super::single_rows::is_index;
use std::collections::{BTreeMap, BTreeSet};

/// How rows change without being reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Change {
    /// All are deleted at once.
    Cleared,
    /// Others that are in the way are deleted.
    Replaced,
    /// Their number changes, or might.
    Moved,
    /// SQLite changes them for itself.
    Silent,
}

/// What running a statement changes in rows of tables in `main` that have row numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changes {
    /// Tables of which a change is reported, by root page, and the names under which.
    pub reported: BTreeMap<u32, BTreeSet<Box<str>>>,
    /// Tables of which a change is not reported, by root page, and how they change. May be indexes, too.
    pub unreported: BTreeMap<u32, BTreeSet<Change>>,
    /// Indexes from which entries may be removed, by root page. As long as none is removed from an index of all rows, each row that was
    /// there before keeps the values of the index' columns.
    pub shrinking: BTreeSet<u32>,
    /// Whether it does something that does not tell which rows it changes.
    pub unclear: bool,
}

/// Flags of P2 of `OP_Delete` (sqliteInt.h).
const COUNTS: i64 = 0x01;
/// Nothing is deleted; only builds with another hook have it.
const DOES_NOTHING: i64 = 0x40;

pub(super) fn of<C: Resident>(lodging: &Lodging<C>, sql: &str) -> rusqlite::Result<Changes> {
    let mut changes = Changes::default();
    for program in program::of(lodging, sql)? {
        changes.add(&program);
    }
    Ok(changes)
}

impl Changes {
    /// Adds what one program does; cursors are its own.
    fn add(&mut self, program: &[Instruction]) {
        // Nothing but `OP_OpenWrite` opens a table on disk for writing.
        let mut tables: BTreeMap<i64, BTreeSet<u32>> = BTreeMap::new();
        let mut indexes: BTreeMap<i64, BTreeSet<u32>> = BTreeMap::new();
        for open in program.iter().filter(|instruction| &*instruction.opcode == "OpenWrite") {
            match root_in_main(open) {
                Some(root) if !is_index(open) => _ = tables.entry(open.p1).or_default().insert(root),
                Some(root) => _ = indexes.entry(open.p1).or_default().insert(root),
                None => self.unclear |= open.p3 == 0,
            }
        }
        for (at, instruction) in program.iter().enumerate() {
            if is_sequence(program, at) {
                continue;
            }
            let roots = tables.get(&instruction.p1).into_iter().flatten();
            if matches!(&*instruction.opcode, "Delete" | "IdxDelete") {
                self.shrinking.extend(indexes.get(&instruction.p1).into_iter().flatten());
            }
            match &*instruction.opcode {
                "Clear" if instruction.p2 == 0 => match u32::try_from(instruction.p1) {
                    Ok(root) => {
                        self.not_reported(root, Change::Cleared);
                        self.shrinking.insert(root);
                    }
                    Err(_) => self.unclear = true,
                },
                "Clear" => {}
                "Insert" => roots.for_each(|root| self.told(*root, instruction, None)),
                "Delete" if instruction.p2 & DOES_NOTHING != 0 => {}
                "Delete" if instruction.p2 & COUNTS != 0 => roots.for_each(|root| self.told(*root, instruction, None)),
                "Delete" => {
                    // Within one that replaces there is the name of the table still.
                    let how = if instruction.p4.is_some() { Change::Replaced } else { Change::Moved };
                    roots.for_each(|root| self.told(*root, instruction, Some(how)));
                }
                other => self.unclear |= is_unclear(other),
            }
        }
    }

    fn told(&mut self, root: u32, instruction: &Instruction, instead: Option<Change>) {
        match (&instruction.p4, instead) {
            (_, Some(how)) => self.not_reported(root, how),
            (Some(name), None) => _ = self.reported.entry(root).or_default().insert(name.clone()),
            (None, None) => self.not_reported(root, Change::Silent),
        }
    }

    fn not_reported(&mut self, root: u32, how: Change) {
        self.unreported.entry(root).or_default().insert(how);
    }
}

/// Tells whether an instruction writes down the highest number of an `AUTOINCREMENT` table, which `autoIncrementEnd` (insert.c) does with a
/// cursor that it opens for that and closes again, whatever the number of that cursor means elsewhere in the program.
fn is_sequence(program: &[Instruction], at: usize) -> bool {
    const WORK: [&str; 6] = ["OpenWrite", "NotNull", "NewRowid", "MakeRecord", "Insert", "Close"];
    let Some(work) = at.checked_sub(4).and_then(|start| program.get(start..start + WORK.len())) else { return false };
    work.iter().map(|instruction| &*instruction.opcode).eq(WORK)
        && work[4].p4.is_none()
        && [0, 2, 5].iter().all(|cursor| work[*cursor].p1 == work[4].p1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StatementRegistry;
    use crate::rusqlite::StatementConnection;
    use std::sync::Arc;
    use std::sync::Mutex;

    const SCHEMA: &str = "
        CREATE TABLE plain (id INTEGER PRIMARY KEY, value);
        CREATE TABLE one (id INTEGER PRIMARY KEY, value UNIQUE);
        CREATE TABLE parent (id INTEGER PRIMARY KEY, value);
        CREATE TABLE child (id INTEGER PRIMARY KEY, up REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE);
        CREATE TABLE watched (id INTEGER PRIMARY KEY, value);
        CREATE TRIGGER notes AFTER UPDATE ON watched BEGIN
            REPLACE INTO one VALUES (new.id, new.value); UPDATE plain SET value = 0 WHERE id = new.id; END;
        CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT, value);
        CREATE TABLE keyed (name PRIMARY KEY, value) WITHOUT ROWID;
        CREATE TABLE copy (id INTEGER PRIMARY KEY, value);
    ";

    fn connection() -> StatementConnection {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        connection.execute_batch(SCHEMA).unwrap();
        StatementConnection::new(connection, Arc::new(StatementRegistry::default()), 8)
    }

    fn names(connection: &StatementConnection, sql: &str) -> (String, String) {
        let changes = connection.changed_by(sql).unwrap();
        let name = |root: &u32| {
            let sql = "SELECT name FROM sqlite_schema WHERE rootpage = ?1";
            connection.query_row(sql, [root], |row| row.get::<_, String>(0)).unwrap()
        };
        let mut reported: Vec<_> = changes.reported.keys().map(name).collect();
        reported.sort_unstable();
        for (root, known) in &changes.reported {
            // The cursor of a table may be used for the list of highest numbers later.
            let same = known.iter().map(|known| known.to_string()).eq([name(root)]);
            assert!(same || name(root) == "sqlite_sequence", "{sql}: {known:?}");
        }
        let unreported = changes.unreported.iter().map(|(root, how)| format!("{} {how:?}", name(root)));
        assert!(!changes.unclear, "{sql}");
        (reported.join(" "), unreported.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn every_change_that_a_program_makes_is_reported_or_told_apart() {
        let connection = connection();
        for (sql, reported, unreported) in [
            ("INSERT INTO plain VALUES (?1, ?2)", "plain", ""),
            ("UPDATE plain SET value = 1", "plain", ""),
            ("UPDATE plain SET value = 1 WHERE id = ?1", "plain", ""),
            ("DELETE FROM plain WHERE id = ?1", "plain", ""),
            ("DELETE FROM plain WHERE value > 3", "plain", ""),
            ("DELETE FROM plain", "", "plain {Cleared}"),
            ("REPLACE INTO plain VALUES (1, 2)", "plain", ""),
            ("UPDATE plain SET id = id + 1", "plain", "plain {Moved}"),
            ("INSERT INTO plain VALUES (1, 2) ON CONFLICT DO UPDATE SET value = 1", "plain", ""),
            ("INSERT INTO plain VALUES (1, 2) ON CONFLICT DO UPDATE SET id = 9", "plain", "plain {Moved}"),
            ("REPLACE INTO one VALUES (1, 2)", "one", "one {Replaced}"),
            ("UPDATE OR REPLACE one SET value = 3 WHERE id = 1", "one", "one {Replaced}"),
            ("UPDATE one SET value = 3 WHERE value = 4", "one", ""),
            ("INSERT INTO copy SELECT * FROM plain", "copy", ""),
            ("INSERT OR REPLACE INTO copy SELECT * FROM plain", "copy", ""),
            ("DELETE FROM parent WHERE id = 1", "child parent", ""),
            ("UPDATE parent SET value = 2", "parent", ""),
            ("UPDATE watched SET value = 1", "one plain watched", "one {Replaced}"),
            ("INSERT INTO counted (value) VALUES (1)", "counted sqlite_sequence", ""),
            ("INSERT INTO keyed VALUES (1, 2)", "", ""),
            ("UPDATE keyed SET value = 3", "", ""),
        ] {
            assert_eq!(names(&connection, sql), (reported.to_owned(), unreported.to_owned()), "{sql}");
        }
        assert!(names(&connection, "UPDATE parent SET id = 2").1.contains("parent {Moved}"));
        for sql in ["CREATE TABLE more (x)", "PRAGMA user_version = 3", "BEGIN IMMEDIATE"] {
            assert!(connection.changed_by(sql).unwrap().unclear, "{sql}");
        }
    }

    #[test]
    fn a_program_tells_from_which_indexes_it_may_remove_entries() {
        let connection = connection();
        connection
            .execute_batch(
                "CREATE INDEX by_value ON plain (value); CREATE INDEX by_both ON watched (value, id);
                 CREATE TABLE generated (id INTEGER PRIMARY KEY, a, b AS (a * 2)); CREATE INDEX by_b ON generated (b);
                 CREATE INDEX by_up ON child (up);",
            )
            .unwrap();
        let named = |sql: &str| {
            let name = |root: &u32| {
                let sql = "SELECT name FROM sqlite_schema WHERE rootpage = ?1";
                connection.query_row(sql, [root], |row| row.get::<_, String>(0)).unwrap()
            };
            let mut names: Vec<_> = connection.changed_by(sql).unwrap().shrinking.iter().map(name).collect();
            names.sort_unstable();
            names.join(" ")
        };
        for (sql, expected) in [
            ("INSERT INTO plain VALUES (?1, ?2)", ""),
            ("INSERT OR IGNORE INTO plain VALUES (?1, ?2)", ""),
            ("INSERT INTO plain SELECT * FROM copy", ""),
            ("UPDATE plain SET id = id + 1", "by_value"),
            ("UPDATE plain SET value = 1", "by_value"),
            ("UPDATE watched SET id = 1 WHERE value = 5", "by_both by_value sqlite_autoindex_one_1"),
            ("DELETE FROM plain WHERE id = ?1", "by_value"),
            ("DELETE FROM plain WHERE value = ?1", "by_value"),
            ("DELETE FROM plain WHERE value = ?1 OR id = ?2", "by_value"),
            ("DELETE FROM plain", "by_value plain"),
            ("REPLACE INTO plain VALUES (1, 2)", "by_value"),
            ("UPDATE OR REPLACE plain SET value = 3", "by_value"),
            ("INSERT INTO plain VALUES (1, 2) ON CONFLICT DO UPDATE SET value = 1", "by_value"),
            ("INSERT INTO plain VALUES (1, 2) ON CONFLICT DO UPDATE SET id = 1", "by_value"),
            ("UPDATE generated SET a = 1", "by_b"),
            ("UPDATE counted SET value = 1", ""),
            ("DELETE FROM parent WHERE id = 1", "by_up"),
            ("UPDATE parent SET value = 2", ""),
            ("UPDATE copy SET value = 2 WHERE id IN (SELECT id FROM plain WHERE value = 3)", ""),
        ] {
            assert_eq!(named(sql), expected, "{sql}");
        }
    }

    /// The numbers of rows of `one`, `plain`, ... that differ between two states are all heard, or the program admits that they are not.
    #[test]
    fn the_hook_hears_what_the_programs_promise() {
        let mut connection = connection();
        let heard: Arc<Mutex<BTreeSet<(String, i64)>>> = Arc::default();
        let hear = Arc::clone(&heard);
        let hook = move |_, _: &str, table: &str, row| _ = hear.lock().unwrap().insert((table.to_owned(), row));
        connection.connection_mut().update_hook(Some(hook)).unwrap();
        connection
            .execute_batch(
                "INSERT INTO parent VALUES (1, 1), (2, 2); INSERT INTO child VALUES (7, 1), (8, 2), (9, 1);
                 INSERT INTO plain VALUES (1, 1), (2, 2), (3, 3); INSERT INTO one SELECT id, value FROM plain;
                 INSERT INTO watched SELECT * FROM plain;",
            )
            .unwrap();
        let state = |connection: &StatementConnection| {
            let mut all = BTreeSet::new();
            for table in ["plain", "one", "parent", "child", "watched", "copy"] {
                let mut rows = connection.prepare(&format!("SELECT * FROM {table}")).unwrap();
                let rows = rows.query_map([], |row| {
                    Ok((table.to_owned(), row.get::<_, i64>(0)?, format!("{:?}", row.get_ref(1)?)))
                });
                all.extend(rows.unwrap().map(Result::unwrap));
            }
            all
        };
        let mut complete = 0;
        for sql in [
            "UPDATE plain SET value = value + 1 WHERE value > 1",
            "UPDATE OR REPLACE one SET value = 2 WHERE id = 1",
            "UPDATE plain SET id = id + 10",
            "DELETE FROM parent WHERE id = 1",
            "UPDATE parent SET id = 5",
            "REPLACE INTO one VALUES (40, 3)",
            "UPDATE watched SET value = 3 WHERE id < 3",
            "INSERT INTO copy SELECT * FROM plain",
            "DELETE FROM copy WHERE value IN (SELECT value FROM plain LIMIT 1)",
            "INSERT INTO plain VALUES (11, 5) ON CONFLICT DO UPDATE SET value = 77",
            "REPLACE INTO plain VALUES (11, 6)",
            "DELETE FROM plain",
        ] {
            heard.lock().unwrap().clear();
            let before = state(&connection);
            let changes = connection.changed_by(sql).unwrap();
            connection.execute(sql, []).unwrap();
            let after = state(&connection);
            let heard = heard.lock().unwrap();
            let missed =
                before.symmetric_difference(&after).any(|(table, row, _)| !heard.contains(&(table.clone(), *row)));
            assert!(!missed || !changes.unreported.is_empty(), "{sql}: {changes:?}, heard {heard:?}");
            complete += usize::from(!missed);
        }
        assert!(complete == 6, "{complete}");
    }
}
