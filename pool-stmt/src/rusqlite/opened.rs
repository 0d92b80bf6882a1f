//! Which tables the program of a query opens.
//!
//! Owns what is said of a query by its program. Must not know names: a program has page numbers alone. Invariant: total on any program;
//! an instruction that may reach rows in another way than through a cursor counts as one that can't be followed.

use super::lodging::{Lodging, Resident};
use super::program::{self, Instruction};
use super::{effect, equal_keys, single_rows};
use std::collections::{BTreeMap, BTreeSet};

pub use super::equal_keys::ColumnKey;
pub use super::single_rows::RowKey;

/// What the program of a statement opens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Opened {
    /// The root pages of tables and indexes of the database `main`.
    pub roots: BTreeSet<u32>,
    /// Of which of these roots, which are tables then, nothing is read but single rows, and which: besides those to which entries of
    /// indexes in [`keys`](Self::keys) lead, so there may be none.
    pub rows: BTreeMap<u32, BTreeSet<RowKey>>,
    /// Of which of these roots, which are indexes then or tables without row numbers, nothing is read but entries that have one of these
    /// values in their first column, compared byte by byte, and the rows to which these lead.
    pub keys: BTreeMap<u32, BTreeSet<ColumnKey>>,
    /// Whether tables of another database are opened: `temp`, or an attached one.
    pub elsewhere: bool,
    /// How many virtual tables are opened.
    pub virtual_tables: usize,
    /// Whether it does something that does not tell which rows it reads.
    pub unclear: bool,
}

/// Instructions that read or change more than the rows of an open cursor. Others work on cursors and registers.
const UNCLEAR: &[&str] = &[
    "AutoCommit",
    "Checkpoint",
    "Clear",
    "CreateBtree",
    "Destroy",
    "DropIndex",
    "DropTable",
    "DropTrigger",
    "IncrVacuum",
    "IntegrityCk",
    "JournalMode",
    "LoadAnalysis",
    "MaxPgcnt",
    "Pagecount",
    "ParseSchema",
    "ReadCookie",
    "SetCookie",
    "SqlExec",
    "VCheck",
    "VCreate",
    "VDestroy",
    "VRename",
    "VUpdate",
    "Vacuum",
];

/// Tells whether an instruction reaches rows in another way than through a cursor.
pub(super) fn is_unclear(opcode: &str) -> bool {
    UNCLEAR.contains(&opcode)
}

/// The flag of an `Open` whose root page is not known before it runs (`OPFLAG_P2ISREG` in sqliteInt.h).
const IN_REGISTER: i64 = 0x10;

/// The root page in `main` that an `Open` is about.
pub(super) fn root_in_main(open: &Instruction) -> Option<u32> {
    let known = open.p3 == 0 && open.p5 & IN_REGISTER == 0;
    u32::try_from(open.p2).ok().filter(|_| known)
}

pub(super) fn of<C: Resident>(lodging: &Lodging<C>, sql: &str) -> rusqlite::Result<Opened> {
    let programs = program::of(lodging, sql)?;
    let mut opened = Opened::default();
    let mut virtual_tables = BTreeSet::new();
    for instruction in programs.iter().flatten() {
        match &*instruction.opcode {
            "OpenRead" | "OpenWrite" | "ReopenIdx" => match root_in_main(instruction) {
                Some(root) => _ = opened.roots.insert(root),
                None if instruction.p3 == 0 => opened.unclear = true,
                None => opened.elsewhere = true,
            },
            // Its address.
            "VOpen" => _ = virtual_tables.insert(&instruction.p4),
            other => opened.unclear |= is_unclear(other),
        }
    }
    opened.virtual_tables = virtual_tables.len();
    if let [program] = &*programs
        && let Some(effects) = effect::of(program)
    {
        let keyed = equal_keys::of(program, &effects);
        opened.rows = single_rows::of(program, &effects, &keyed.followers);
        opened.keys = keyed.indexes;
    }
    Ok(opened)
}

#[cfg(test)]
mod tests {
    use crate::StatementRegistry;
    use crate::rusqlite::StatementConnection;
    use std::sync::Arc;

    fn connection() -> StatementConnection {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "CREATE TABLE a (id INTEGER PRIMARY KEY, x); CREATE TABLE b (id INTEGER PRIMARY KEY, y);
                 CREATE VIEW v AS SELECT count(*) AS n FROM a JOIN b USING (id);
                 CREATE TEMP TABLE t (x); ATTACH ':memory:' AS other; CREATE TABLE other.o (x);
                 CREATE VIRTUAL TABLE f USING fts5 (text);",
            )
            .unwrap();
        StatementConnection::new(connection, Arc::new(StatementRegistry::default()), 8)
    }

    #[test]
    fn a_program_names_every_table_it_reads() {
        let connection = connection();
        let root = |name: &str| {
            let sql = "SELECT rootpage FROM main.sqlite_schema WHERE name = ?1";
            connection.query_row(sql, [name], |row| row.get::<_, u32>(0)).unwrap()
        };
        let both = [root("a"), root("b")];
        for sql in [
            "SELECT count(*) FROM a JOIN b USING (id)",
            "SELECT count(*) FROM a NATURAL JOIN b",
            "SELECT a.x FROM a NATURAL JOIN b",
            "SELECT * FROM v",
            "SELECT 1 WHERE EXISTS (SELECT 1 FROM A) AND 3 IN (SELECT id FROM B)",
            "WITH RECURSIVE c(n) AS (SELECT id FROM a UNION SELECT id FROM b, c WHERE n = id) SELECT max(n) FROM c",
        ] {
            let opened = connection.opened_by(sql).unwrap();
            assert!(both.iter().all(|root| opened.roots.contains(root)), "{sql}: {opened:?}");
            assert!(!opened.elsewhere && !opened.unclear && opened.virtual_tables == 0, "{sql}: {opened:?}");
        }
        assert!(connection.take_accesses().tables_read.keys().all(|table| &*table.name == "sqlite_master"));
    }

    #[test]
    fn other_databases_virtual_tables_and_pragmas_are_noticed() {
        let connection = connection();
        for sql in ["SELECT count(*) FROM t", "SELECT x FROM o", "SELECT count(*) FROM o NATURAL JOIN t"] {
            assert!(connection.opened_by(sql).unwrap().elsewhere, "{sql}");
        }
        for (sql, tables) in [
            ("SELECT count(*) FROM f", 1),
            ("SELECT count(*) FROM json_each('[1]')", 1),
            ("SELECT count(*) FROM json_each('[1]'), f", 2),
        ] {
            assert_eq!(connection.opened_by(sql).unwrap().virtual_tables, tables, "{sql}");
        }
        assert!(connection.opened_by("PRAGMA user_version").unwrap().unclear);
        assert!(connection.opened_by("SELECT nothing").is_err());
    }

    #[test]
    fn a_program_tells_of_which_tables_it_reads_single_rows() {
        use super::RowKey::{Number, Parameter};
        let connection = connection();
        let root = |name: &str| {
            let sql = "SELECT rootpage FROM main.sqlite_schema WHERE name = ?1";
            connection.query_row(sql, [name], |row| row.get::<_, u32>(0)).unwrap()
        };
        let (a, b) = (root("a"), root("b"));
        connection.execute_batch("CREATE VIEW w AS SELECT id, x FROM a; CREATE INDEX bx ON b (y)").unwrap();
        let bx = root("bx");
        let rows = |sql: &str| {
            connection.opened_by(sql).unwrap().rows.into_iter().map(|(root, keys)| (root, Vec::from_iter(keys)))
        };
        for (sql, expected) in [
            ("SELECT * FROM a WHERE id = ?", vec![(a, vec![Parameter(1)])]),
            ("SELECT x, upper(x) FROM a WHERE rowid = :id AND x > ?2 LIMIT 1", vec![(a, vec![Parameter(1)])]),
            ("SELECT ?3 || x FROM a WHERE ?2 = id", vec![(a, vec![Parameter(2)])]),
            ("SELECT x FROM w WHERE id = 7", vec![(a, vec![Number(7)])]),
            ("SELECT x FROM a WHERE id = -70000000000", vec![(a, vec![Number(-70_000_000_000)])]),
            ("SELECT count(*), max(x), total(x) FROM a WHERE id = ?1", vec![(a, vec![Parameter(1)])]),
            ("SELECT EXISTS (SELECT 1 FROM a WHERE id = ?1)", vec![(a, vec![Parameter(1)])]),
            (
                "SELECT * FROM a, b WHERE a.id = ?1 AND b.id = ?2",
                vec![(a, vec![Parameter(1)]), (b, vec![Parameter(2)])],
            ),
            ("SELECT * FROM a, b WHERE a.id = ?1 AND b.id = a.x", vec![(a, vec![Parameter(1)])]),
            ("SELECT * FROM a, b WHERE a.id = ?1 AND b.y = a.x", vec![(a, vec![Parameter(1)])]),
            (
                "SELECT * FROM a LEFT JOIN b ON b.id = ?2 WHERE a.id = ?1",
                vec![(a, vec![Parameter(1)]), (b, vec![Parameter(2)])],
            ),
            (
                "SELECT * FROM a WHERE id = ?1 UNION ALL SELECT * FROM a WHERE id = ?2",
                vec![(a, vec![Parameter(1), Parameter(2)])],
            ),
            ("SELECT * FROM a WHERE id = ?1 AND x = (SELECT max(x) FROM a)", vec![]),
            ("SELECT * FROM a WHERE id IN (?1, ?2)", vec![]),
            ("SELECT * FROM a WHERE id = ?1 + 1", vec![]),
            ("SELECT * FROM a WHERE id >= ?1", vec![]),
            ("SELECT * FROM a WHERE x = ?1", vec![]),
            ("SELECT * FROM a WHERE id = ?1 OR id = 3", vec![]),
            ("SELECT y FROM b WHERE y = ?1", vec![]),
            ("SELECT * FROM a, (SELECT 3 AS n UNION SELECT 4) WHERE id = n", vec![]),
        ] {
            assert_eq!(rows(sql).collect::<Vec<_>>(), expected, "{sql}");
            assert!(connection.opened_by(sql).unwrap().roots.iter().all(|root| [a, b, bx].contains(root)), "{sql}");
        }
    }
}
