//! Which tables the program of a query opens.
//!
//! Owns the reading of SQLite's `EXPLAIN` (<https://sqlite.org/opcode.html>). Must not know names: a program has page numbers alone.
//! Invariant: total on any program; an instruction that may reach rows in another way than through a cursor counts as one that can't be
//! followed.

use super::lodging::{Lodging, Resident};
use rusqlite::PrepFlags;
use std::collections::BTreeSet;

/// What the program of a statement opens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Opened {
    /// The root pages of tables and indexes of the database `main`.
    pub roots: BTreeSet<u32>,
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

/// The flag of an `Open` whose root page is not known before it runs (`OPFLAG_P2ISREG` in sqliteInt.h).
const IN_REGISTER: i64 = 0x10;

pub(super) fn of<C: Resident>(lodging: &Lodging<C>, sql: &str) -> rusqlite::Result<Opened> {
    let text = format!("EXPLAIN {sql}");
    let mut explain = lodging.connection().prepare_with_flags(&text, PrepFlags::SQLITE_PREPARE_DONT_LOG)?;
    let mut program = explain.raw_query();
    let mut opened = Opened::default();
    let mut virtual_tables = BTreeSet::new();
    while let Some(row) = program.next()? {
        // addr, opcode, p1, p2, p3, p4, p5, comment
        match row.get_ref(1)?.as_str()? {
            "OpenRead" | "OpenWrite" | "ReopenIdx" => {
                let (root, database, flags): (i64, i64, i64) = (row.get(3)?, row.get(4)?, row.get(6)?);
                match (database, u32::try_from(root)) {
                    (0, Ok(root)) if flags & IN_REGISTER == 0 => _ = opened.roots.insert(root),
                    (0, _) => opened.unclear = true,
                    _ => opened.elsewhere = true,
                }
            }
            "VOpen" => {
                // Its address.
                let table: String = row.get(5)?;
                virtual_tables.insert(table);
            }
            other => opened.unclear |= UNCLEAR.contains(&other),
        }
    }
    opened.virtual_tables = virtual_tables.len();
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
}
