//! What the unsafe parts promise, in short programs for AddressSanitizer and valgrind: the trace hook never outlives its session, and the
//! mapped wal-index is read only while the connection that mapped it is open.
#![allow(clippy::unwrap_used, reason = "a test ends where something unexpected fails")]

use std::path::Path;

use pool_manager::{Connection, DatabaseManager, PoolConfig};

fn open(path: &Path) -> DatabaseManager {
    let config = PoolConfig::builder().max_connections(3).min_connections(0);
    DatabaseManager::new().with_pooling(path, config).unwrap()
}

fn write(db: &DatabaseManager, value: i64) {
    db.blocking().execute_with_pool(|conn| Ok(conn.execute("UPDATE t SET value = ?1", [value])?)).unwrap();
}

fn cached(db: &DatabaseManager) -> i64 {
    let query = |conn: &Connection| Ok(conn.query_row("SELECT value FROM t", [], |row| row.get::<_, i64>(0))?);
    *db.blocking().execute_cached("value", None, query).unwrap()
}

const TABLE: &str = "CREATE TABLE IF NOT EXISTS t (value); DELETE FROM t; INSERT INTO t VALUES (0)";

#[test]
fn hooks_live_as_long_as_their_connection_wherever_it_moves() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder.path().join("a.sqlite"));
    db.blocking().write(|tx| Ok(tx.execute_batch(TABLE)?)).unwrap();
    let held: Vec<_> = (0..3).map(|_| db.blocking().acquire().unwrap()).collect();
    let threads: Vec<_> = held
        .into_iter()
        .map(|conn| {
            std::thread::spawn(move || {
                conn.execute("UPDATE t SET value = value + 1", []).unwrap();
                conn.prepare("SELECT nonsense").unwrap_err();
                conn
            })
        })
        .collect();
    let held: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    // The pool goes first; its connections close one by one when they are given back, each with a statement half-way.
    let statements: Vec<_> = held.iter().map(|conn| conn.prepare_cached("SELECT value FROM t").unwrap()).collect();
    drop(statements);
    drop(db);
    for conn in held {
        assert_eq!(conn.query_row("SELECT value FROM t", [], |row| row.get::<_, i64>(0)).unwrap(), 3);
    }
}

#[test]
fn refused_statements_and_leaked_ones_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder.path().join("a.sqlite"));
    db.blocking().write(|tx| Ok(tx.execute_batch(TABLE)?)).unwrap();
    for _ in 0..3 {
        db.blocking().read(|conn| Ok(conn.execute("DELETE FROM t", [])?)).unwrap_err();
        let conn = db.blocking().acquire().unwrap();
        conn.execute_batch("BEGIN; UPDATE t SET value = 9").unwrap();
    }
    assert_eq!(cached(&db), 0);
    db.blocking().close_pool().unwrap();
}

#[test]
fn the_wal_index_is_read_while_others_write_close_and_replace_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sqlite");
    for round in 0..3 {
        let db = open(&path);
        db.blocking().write(|tx| Ok(tx.execute_batch(TABLE)?)).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| (1..=20).for_each(|value| write(&db, value)));
            scope.spawn(|| (0..50).for_each(|_| assert!((0..=20).contains(&cached(&db)))));
        });
        assert_eq!(cached(&db), 20);
        if round == 1 {
            // Who asks for a cached result while the pool closes reads the mapping, or is told that the pool is closed.
            std::thread::scope(|scope| {
                scope.spawn(|| db.blocking().close_pool().unwrap());
                scope.spawn(|| {
                    let query =
                        |conn: &Connection| Ok(conn.query_row("SELECT value FROM t", [], |row| row.get::<_, i64>(0))?);
                    while db.blocking().execute_cached("value", None, query).is_ok() {}
                });
            });
        }
        drop(db);
        if round == 0 {
            std::fs::remove_file(&path).unwrap();
        }
    }
}

#[test]
fn a_database_without_wal_index_has_no_mapping() {
    let db = DatabaseManager::open(":memory:").unwrap();
    db.blocking().write(|tx| Ok(tx.execute_batch(TABLE)?)).unwrap();
    for value in 0..5 {
        write(&db, value);
        assert_eq!(cached(&db), value);
    }
}

/// What is asked about written rows past the hooks: values of all types, in more columns than queries are kept for.
#[test]
fn written_rows_are_looked_at_in_many_columns_and_with_values_of_all_types() {
    let folder = tempfile::tempdir().unwrap();
    // One connection, so that it is asked about all of them.
    let config = PoolConfig::builder().max_connections(1);
    let db = DatabaseManager::new().with_pooling(folder.path().join("a.sqlite"), config).unwrap();
    let columns: Vec<(String, String)> = (0..21).map(|at| (format!("t{}", at % 3), format!("c{}", at / 3))).collect();
    let values = ["1", "2.5", "'text'", "x'0102'", "NULL", "''"];
    let mut schema = String::new();
    for table in ["t0", "t1", "t2"] {
        schema += &format!("CREATE TABLE {table} (id INTEGER PRIMARY KEY, n DEFAULT 0, c0, c1, c2, c3, c4, c5, c6);");
        for (row, value) in values.iter().enumerate() {
            schema += &format!("INSERT INTO {table} VALUES ({row}, 0, {});", [*value; 7].join(", "));
        }
    }
    for (table, column) in &columns {
        schema += &format!("CREATE INDEX {table}_{column} ON {table} ({column});");
    }
    db.blocking().write(move |tx| Ok(tx.execute_batch(&schema)?)).unwrap();
    let write = |sql: String| db.blocking().write(move |tx| Ok(tx.execute_batch(&sql)?)).unwrap();
    let look = |(table, column): &(String, String)| {
        let sql = format!("SELECT sum(n) FROM {table} WHERE {column} = ?1");
        let query = move |conn: &Connection| Ok(conn.query_row(&sql, ["text"], |row| row.get::<_, Option<i64>>(0))?);
        let expected = db.blocking().read(query.clone()).unwrap();
        let key = format!("{table}.{column}");
        assert_eq!(*db.blocking().execute_cached(key, None, query).unwrap(), expected);
    };
    for round in 0..4 {
        for row in (0..3).flat_map(|_| 0..values.len()) {
            for table in ["t0", "t1", "t2"] {
                write(format!("UPDATE {table} SET n = n + 1 WHERE id = {row}"));
            }
            columns.iter().for_each(look);
        }
        match round {
            // The schema changes under the queries that are kept.
            1 => write("ALTER TABLE t1 ADD COLUMN more".to_owned()),
            // The connection that keeps them is replaced.
            2 => db.blocking().acquire().unwrap().execute_batch("PRAGMA cache_size = 77").unwrap(),
            _ => write("UPDATE t2 SET c3 = CASE WHEN c3 = 'text' THEN 1 ELSE 'text' END WHERE id < 3".to_owned()),
        }
        columns.iter().for_each(look);
    }
    db.blocking().close_pool().unwrap();
}
