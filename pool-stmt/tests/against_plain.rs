//! Pooled statements give what rusqlite used plainly gives, whatever is done in between.
//!
//! Two databases get the same actions: one through pooled statements on three connections, the other through plain
//! `prepare` on three connections. Each action must have the same outcome on both.
#![allow(clippy::unwrap_used, reason = "a test ends where something unexpected fails")]

use pool_stmt::rusqlite::StatementConnection;
use pool_stmt::{Facts, StatementRegistry, Table};
use proptest::prelude::*;
use rusqlite::types::Value;
use rusqlite::{Connection, Statement};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const CONNECTIONS: usize = 3;

/// What is run, by number. The second group changes the schema.
const STATEMENTS: [&str; 27] = [
    "SELECT * FROM t",
    "SELECT * FROM v WHERE a > ?1",
    "SELECT a, b FROM t WHERE a = ?1",
    "SELECT count(*), sum(a) FROM t",
    "SELECT t.*, u.* FROM t, u",
    "INSERT INTO t(a, b) VALUES (?1, 'n') RETURNING *",
    "INSERT INTO t(a) VALUES (?1)",
    "UPDATE t SET b = ?1 WHERE a > 2",
    "DELETE FROM t WHERE a = ?1",
    "INSERT INTO u VALUES (?1)",
    "SELECT a / 0, abs(-9223372036854775807 - ?1) FROM t",
    "SELECT * FROM u WHERE x LIKE ?1",
    "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 20) SELECT i, b FROM n JOIN t ON a = i",
    "PRAGMA table_info(t)",
    "SELECT * FROM f WHERE x <> ?1",
    "INSERT INTO f VALUES ('n' || ?1) RETURNING *",
    "ALTER TABLE t ADD COLUMN c1 DEFAULT 7",
    "ALTER TABLE t RENAME COLUMN b TO c2",
    "ALTER TABLE t RENAME COLUMN c2 TO b",
    "DROP VIEW v",
    "CREATE VIEW v AS SELECT *, a + 1 AS more FROM t",
    "CREATE TRIGGER IF NOT EXISTS tr AFTER INSERT ON t BEGIN INSERT INTO u VALUES (NEW.a); END",
    "DROP TRIGGER tr",
    "CREATE TEMP TABLE IF NOT EXISTS u(shadow, other)",
    "DROP TABLE f",
    "CREATE TABLE f(x)",
    "CREATE VIRTUAL TABLE f USING fts5(x)",
];

/// How many of them do not change the schema.
const HARMLESS: usize = 16;

const TRANSACTIONS: [&str; 6] = ["BEGIN", "BEGIN IMMEDIATE", "COMMIT", "ROLLBACK", "SAVEPOINT s", "ROLLBACK TO s"];

#[derive(Debug, Clone)]
enum Action {
    /// Runs to the end.
    Run {
        on: usize,
        statement: usize,
        parameter: i64,
    },
    /// Reads some rows and stops.
    Abandon {
        on: usize,
        statement: usize,
        rows: usize,
    },
    /// Asks for the columns without running.
    Columns {
        on: usize,
        statement: usize,
    },
    /// Runs without the parameter, and more than one at once of the same text.
    Twice {
        on: usize,
        statement: usize,
    },
    Transaction {
        on: usize,
        which: usize,
    },
    /// Runs past the pool on both sides.
    Direct {
        on: usize,
        statement: usize,
    },
    /// Runs through the cache of rusqlite on both sides.
    TheirCache {
        on: usize,
        statement: usize,
    },
    /// Reads a row and leaks the rows.
    Leak {
        on: usize,
        statement: usize,
    },
    /// Finds the facts out anew: they must be those that were told.
    Facts {
        on: usize,
        statement: usize,
    },
    /// Between two users; what is told then has no bearing on results.
    Rest {
        on: usize,
    },
    /// Evicts, for the pooled side alone.
    Clear {
        on: usize,
    },
    Capacity {
        on: usize,
        capacity: usize,
    },
    /// Opens the connection again, warmed.
    Reopen {
        on: usize,
    },
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let on = 0..CONNECTIONS;
    let statement = prop_oneof![4 => 0..HARMLESS, 1 => HARMLESS..STATEMENTS.len()];
    let action = prop_oneof![
        8 => (on.clone(), statement.clone(), 0..5_i64).prop_map(|(on, statement, parameter)| Action::Run { on, statement, parameter }),
        3 => (on.clone(), statement.clone(), 0..3_usize).prop_map(|(on, statement, rows)| Action::Abandon { on, statement, rows }),
        4 => (on.clone(), 0..HARMLESS).prop_map(|(on, statement)| Action::Columns { on, statement }),
        1 => (on.clone(), 0..5_usize).prop_map(|(on, statement)| Action::Twice { on, statement }),
        2 => (on.clone(), 0..TRANSACTIONS.len()).prop_map(|(on, which)| Action::Transaction { on, which }),
        2 => (on.clone(), statement.clone()).prop_map(|(on, statement)| Action::Direct { on, statement }),
        1 => (on.clone(), statement.clone()).prop_map(|(on, statement)| Action::TheirCache { on, statement }),
        2 => (on.clone(), 0..HARMLESS).prop_map(|(on, statement)| Action::Leak { on, statement }),
        1 => (on.clone(), statement).prop_map(|(on, statement)| Action::Facts { on, statement }),
        1 => on.clone().prop_map(|on| Action::Rest { on }),
        1 => on.clone().prop_map(|on| Action::Clear { on }),
        1 => (on.clone(), 0..6_usize).prop_map(|(on, capacity)| Action::Capacity { on, capacity }),
        1 => on.prop_map(|on| Action::Reopen { on }),
    ];
    prop::collection::vec(action, 1..80)
}

/// What a user sees of a run: the columns told after the run, and the rows or the error.
type Outcome = Result<(Vec<String>, Vec<Vec<Value>>), String>;

fn open(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.busy_timeout(Duration::ZERO).unwrap();
    // For speed alone; it reads the schema, which fails while another connection writes one.
    let _ = connection.pragma_update(None, "synchronous", "OFF");
    connection
}

fn names(statement: &Statement<'_>) -> Vec<String> {
    statement.column_names().map(str::to_owned).collect()
}

/// The same code for both sides: `CachedStatement` repeats the methods of `Statement`.
macro_rules! run {
    ($statement:expr, $parameter:expr, $limit:expr) => {{
        let statement = &mut *$statement;
        (|| {
            if let Some(parameter) = $parameter {
                if statement.parameter_count() > 0 {
                    statement.raw_bind_parameter(1, parameter)?;
                }
            }
            let mut all = Vec::new();
            let mut rows = statement.raw_query();
            for _ in 0..$limit {
                let Some(row) = rows.next()? else { break };
                let columns = row.as_ref().column_count();
                all.push((0..columns).map(|column| row.get(column)).collect::<rusqlite::Result<Vec<Value>>>()?);
            }
            drop(rows);
            Ok::<_, rusqlite::Error>((names(statement), all))
        })()
        .map_err(|error| error.to_string())
    }};
}

/// Reads one row and leaks the rest.
macro_rules! leak {
    ($statement:expr) => {{
        let statement: &mut _ = $statement;
        let mut rows = statement.raw_query();
        let row = rows.next().map(|row| row.is_some()).map_err(|error| error.to_string());
        std::mem::forget(rows);
        row
    }};
}

fn pooled(connection: &StatementConnection, sql: &str, parameter: Option<i64>, limit: usize) -> Outcome {
    let mut statement = connection.prepare_cached(sql).map_err(|error| error.to_string())?;
    run!(&mut statement, parameter, limit)
}

fn plain(connection: &Connection, sql: &str, parameter: Option<i64>, limit: usize) -> Outcome {
    let mut statement = connection.prepare(sql).map_err(|error| error.to_string())?;
    run!(&mut statement, parameter, limit)
}

fn check(actions: &[Action], journal: &str) {
    let folder = tempfile::tempdir().unwrap();
    let paths = [folder.path().join("pooled"), folder.path().join("plain")];
    for path in &paths {
        open(path)
            .execute_batch(&format!(
                "PRAGMA journal_mode = {journal};
                 CREATE TABLE t(a INTEGER CHECK(a < 4), b); CREATE TABLE u(x); CREATE TABLE f(x);
                 CREATE VIEW v AS SELECT a, b FROM t; INSERT INTO t VALUES (1, 'one'), (2, 'two'), (3, 'three');"
            ))
            .unwrap();
    }
    let registry = Arc::new(StatementRegistry::new(12));
    let pool = || StatementConnection::new(open(&paths[0]), Arc::clone(&registry), 4);
    let mut ours: Vec<StatementConnection> = (0..CONNECTIONS).map(|_| pool()).collect();
    let mut theirs: Vec<Connection> = (0..CONNECTIONS).map(|_| open(&paths[1])).collect();
    for (at, action) in actions.iter().enumerate() {
        match *action {
            Action::Run { on, statement, parameter } => {
                let sql = STATEMENTS[statement];
                let got = pooled(&ours[on], sql, Some(parameter), usize::MAX);
                assert_eq!(got, plain(&theirs[on], sql, Some(parameter), usize::MAX), "{at}: {sql} on {on}");
            }
            Action::Abandon { on, statement, rows } => {
                let sql = STATEMENTS[statement];
                assert_eq!(
                    pooled(&ours[on], sql, None, rows),
                    plain(&theirs[on], sql, None, rows),
                    "{at}: {sql} on {on}"
                );
            }
            Action::Columns { on, statement } => {
                let sql = STATEMENTS[statement];
                let got = ours[on].prepare_cached(sql).map(|statement| names(&statement)).map_err(|e| e.to_string());
                let expected = theirs[on].prepare(sql).map(|statement| names(&statement)).map_err(|e| e.to_string());
                assert_eq!(got, expected, "{at}: columns of {sql} on {on}");
            }
            Action::Twice { on, statement } => {
                let sql = STATEMENTS[statement];
                let ours = &ours[on];
                let theirs = &theirs[on];
                let one = ours.prepare_cached(sql);
                let other = ours.prepare_cached(sql);
                let (Ok(mut one), Ok(mut other)) = (one, other) else {
                    assert!(theirs.prepare(sql).is_err(), "{at}: {sql} on {on}");
                    continue;
                };
                let got: [Outcome; 2] = [run!(&mut one, None::<i64>, 9), run!(&mut other, None::<i64>, 9)];
                let (mut one, mut other) = (theirs.prepare(sql).unwrap(), theirs.prepare(sql).unwrap());
                let expected: [Outcome; 2] = [run!(&mut one, None::<i64>, 9), run!(&mut other, None::<i64>, 9)];
                assert_eq!(got, expected, "{at}: {sql} on {on}");
            }
            Action::Transaction { on, which } => {
                let sql = TRANSACTIONS[which];
                assert_eq!(pooled(&ours[on], sql, None, 1), plain(&theirs[on], sql, None, 1), "{at}: {sql} on {on}");
            }
            Action::Direct { on, statement } => {
                let sql = STATEMENTS[statement];
                assert_eq!(plain(&ours[on], sql, None, 9), plain(&theirs[on], sql, None, 9), "{at}: {sql} on {on}");
            }
            Action::TheirCache { on, statement } => {
                let sql = STATEMENTS[statement];
                let run = |connection: &Connection| -> Outcome {
                    let mut statement = connection.prepare_cached(sql).map_err(|error| error.to_string())?;
                    run!(&mut statement, Some(1), usize::MAX)
                };
                assert_eq!(run(&ours[on]), run(&theirs[on]), "{at}: {sql} on {on}");
                // It goes on telling old columns, which is not ours to compare.
                ours[on].flush_prepared_statement_cache();
                theirs[on].flush_prepared_statement_cache();
            }
            Action::Leak { on, statement } => {
                let sql = STATEMENTS[statement];
                let got = ours[on].prepare_cached(sql).map_err(|e| e.to_string()).and_then(|mut s| leak!(&mut s));
                let expected = theirs[on].prepare(sql).map_err(|e| e.to_string()).and_then(|mut s| leak!(&mut s));
                assert_eq!(got, expected, "{at}: {sql} on {on}");
            }
            Action::Facts { on, statement } => {
                let sql = STATEMENTS[statement];
                let facts = || ours[on].prepare_cached(sql).map(|statement| Arc::clone(statement.facts()));
                let settings = Table::new("main", "f_config");
                let told = facts();
                // Makes all that is known doubtful.
                registry.declare_deterministic("nobody");
                ours[on].clear_statements();
                // The preparation that is the first to meet a virtual table reads its settings, which is part of what is told, also
                // when it is met to be dropped.
                let told = told.ok().map(|facts| Facts::clone(&facts));
                let anew = facts().ok().map(|facts| {
                    let mut facts = Facts::clone(&facts);
                    if let Some(told) = told.as_ref().filter(|told| told.accesses.tables_read.contains_key(&settings)) {
                        facts.accesses.merge(&told.accesses);
                    }
                    facts
                });
                assert_eq!(told, anew, "{at}: facts of {sql} on {on}");
                // It has to keep up with what these preparations may have read.
                let _ = (theirs[on].prepare(sql), theirs[on].prepare(sql));
            }
            Action::Rest { on } => {
                ours[on].rest();
                ours[on].tell_counts();
                ours[on].take_accesses();
                ours[on].take_effects();
            }
            Action::Clear { on } => ours[on].clear_statements(),
            Action::Capacity { on, capacity } => ours[on].set_capacity(capacity),
            Action::Reopen { on } => {
                ours[on] = pool();
                theirs[on] = open(&paths[1]);
                // Both load the schema now, as warming may: how old the schema is that a connection knows can be seen. So it can where a
                // virtual table is met for the first time, which reads its settings.
                for connection in [&*ours[on], &theirs[on]] {
                    let _ = (connection.prepare("SELECT 1 FROM sqlite_schema"), connection.prepare("SELECT 1 FROM f"));
                }
                ours[on].warm(4, Duration::MAX);
            }
        }
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours.is_autocommit(), theirs.is_autocommit(), "{at}: {action:?}");
            assert_eq!(ours.is_busy(), theirs.is_busy(), "{at}: {action:?}");
            assert_eq!(ours.lent_statements(), 0, "{at}: {action:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pooled_statements_do_what_plain_ones_do_in_wal_mode(actions in actions()) {
        check(&actions, "WAL");
    }

    #[test]
    fn pooled_statements_do_what_plain_ones_do_with_a_rollback_journal(actions in actions()) {
        check(&actions, "DELETE");
    }
}
