//! Connections to ask, and short ways of asking them, for the tests of this folder.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part of this")]
#![allow(clippy::unwrap_used, reason = "a test ends where something unexpected fails")]

use pool_stmt::StatementRegistry;
use pool_stmt::rusqlite::StatementConnection;
use rusqlite::Connection;
use std::path::Path;
use std::sync::Arc;

pub fn in_memory(capacity: usize) -> (StatementConnection, Arc<StatementRegistry>) {
    let registry = Arc::new(StatementRegistry::default());
    let connection = Connection::open_in_memory().unwrap();
    connection
        .execute_batch(
            "CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT UNIQUE); INSERT INTO t(b) VALUES ('x'), ('y'), ('z')",
        )
        .unwrap();
    (StatementConnection::new(connection, Arc::clone(&registry), capacity), registry)
}

pub fn open(path: &Path, registry: &Arc<StatementRegistry>) -> StatementConnection {
    StatementConnection::new(Connection::open(path).unwrap(), Arc::clone(registry), 16)
}

pub fn two_connections() -> (tempfile::TempDir, Arc<StatementRegistry>, Connection, StatementConnection) {
    let folder = tempfile::tempdir().unwrap();
    let registry = Arc::new(StatementRegistry::default());
    let path = folder.path().join("db");
    let writer = Connection::open(&path).unwrap();
    writer
        .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t(a); CREATE TABLE u(x); INSERT INTO t VALUES (1)")
        .unwrap();
    let connection = open(&path, &registry);
    (folder, registry, writer, connection)
}

pub fn columns(connection: &StatementConnection, sql: &str) -> Vec<String> {
    let statement = connection.prepare_cached(sql).unwrap();
    statement.column_names().map(str::to_owned).collect()
}

pub fn first(connection: &StatementConnection, sql: &str) -> i64 {
    connection.prepare_cached(sql).unwrap().query_row([], |row| row.get(0)).unwrap()
}
