//! Owns the database everybody reads and the connections they read it with.
//!
//! Must not know what is measured. Invariant: all connections have the same settings and the same file.

use pool_stmt::StatementRegistry;
use pool_stmt::rusqlite::StatementConnection;
use rusqlite::Connection;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

/// The point read everybody runs, with a number to make several texts of it.
#[must_use]
pub fn text(number: usize) -> String {
    format!("SELECT name, born FROM person WHERE id = ?1 AND {number} >= 0")
}

/// Rows in the table.
pub const ROWS: i64 = 1_000;

/// How many statements an application has in steady use here.
pub const TEXTS: usize = 20;

/// The connections of all competitors, to one file.
pub struct Stage {
    pub plain: Connection,
    pub ours: StatementConnection,
    /// Statement pooling off.
    pub off: StatementConnection,
    pub texts: Vec<String>,
    folder: TempDir,
}

impl Stage {
    #[must_use]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("db");
        let plain = open(&path);
        plain
            .execute_batch(&format!(
                "CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT, born TEXT);
                 WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
                 INSERT INTO person SELECT i, 'person ' || i, '1815-12-10' FROM n"
            ))
            .expect("the table");
        plain.set_prepared_statement_cache_capacity(64);
        let registry = Arc::new(StatementRegistry::default());
        let ours = StatementConnection::new(open(&path), Arc::clone(&registry), 64);
        let off = StatementConnection::new(open(&path), registry, 0);
        Self { plain, ours, off, texts: (0..TEXTS).map(text).collect(), folder }
    }

    /// Begins a read transaction everywhere, so that the file's locks are not part of what is measured.
    pub fn pin(&self) {
        for connection in [&self.plain, &*self.ours, &*self.off] {
            if connection.is_autocommit() {
                connection.execute_batch("BEGIN; SELECT count(*) FROM person;").expect("a transaction");
            }
        }
    }

    /// What the SQLite that all are linked with was compiled with.
    #[must_use]
    pub fn compile_options(&self) -> Vec<String> {
        let mut asked = self.plain.prepare("PRAGMA compile_options").expect("a statement");
        let options = asked.query_map([], |row| row.get(0)).expect("rows");
        options.collect::<Result<_, _>>().expect("text")
    }

    #[must_use]
    pub fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("db")
    }
}

/// Opens a connection as an application would.
#[must_use]
pub fn open(path: &Path) -> Connection {
    let connection = Connection::open(path).expect("a connection");
    connection
        .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA mmap_size = 67108864")
        .expect("settings");
    connection
}
