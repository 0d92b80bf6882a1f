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
