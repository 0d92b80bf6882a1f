//! What the query cache costs those who don't use it: reads that ask for nothing cached, and writes, with and without cached results that
//! live beside them.
//!
//! The pairs are to be compared: the same call, once with `enable_query_cache` off. Invariant: both of a pair do the same
//! work on the same rows in the same order.

use std::hint::black_box;

use pool_manager::{Connection, DatabaseManager, PoolConfig, Result};

const ROWS: i64 = 20_000;
/// How many rows share a value.
const SHARING: i64 = 50;
/// After how many writes what is cached is asked for.
const ASKED_EVERY: usize = 8;

/// What others have read, and want to read again.
#[derive(Clone, Copy)]
enum Beside {
    /// There is no query cache.
    NoCache,
    Nothing,
    Row,
    Value,
}

fn database(folder: &tempfile::TempDir, cached: bool) -> DatabaseManager {
    let config = PoolConfig::builder().enable_query_cache(cached).build().expect("settings");
    let path = folder.path().join("counted.sqlite");
    let db = DatabaseManager::builder().path(path).config(config).build().expect("a database");
    let filled = db.blocking().write(|tx| {
        tx.execute_batch(&format!(
            "CREATE TABLE thing (id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, count INTEGER NOT NULL, name TEXT NOT NULL);
             WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < {ROWS})
             INSERT INTO thing SELECT n, n / {SHARING}, 0, 'thing number ' || n FROM number;
             CREATE INDEX by_kind ON thing (kind);"
        ))?;
        Ok(())
    });
    filled.expect("a table");
    db
}

/// All rows in an order that jumps from page to page.
fn keys() -> impl Iterator<Item = i64> {
    (1..=ROWS).map(|at| at * 7_919 % ROWS + 1).cycle()
}

fn sum(conn: &Connection, sql: &str, of: i64) -> Result<i64> {
    Ok(conn.prepare_cached(sql)?.query_row([of], |row| row.get(0))?)
}

fn write(times: u64, beside: Beside) {
    let folder = tempfile::tempdir().expect("a folder");
    let db = database(&folder, !matches!(beside, Beside::NoCache));
    let sql = match beside {
        Beside::NoCache | Beside::Nothing => None,
        Beside::Row => Some("SELECT count FROM thing WHERE id = ?1"),
        Beside::Value => Some("SELECT sum(count) FROM thing WHERE kind = ?1"),
    };
    let change = |id: i64| {
        let changed = db.blocking().write(move |tx| {
            Ok(tx.prepare_cached("UPDATE thing SET count = count + 1 WHERE id = ?1")?.execute([id])?)
        });
        assert_eq!(changed.expect("a write"), 1);
    };
    let read =
        || sql.map(|sql| db.blocking().execute_cached("beside", None, move |conn| sum(conn, sql, 7)).expect("a sum"));
    // Statements are known from their third run on.
    for id in keys().take(5) {
        read();
        change(id);
    }
    read();
    for (at, id) in keys().skip(5).take(times as usize).enumerate() {
        change(id);
        // Or nobody would look any more at what is written.
        if at % ASKED_EVERY == 0 {
            black_box(read());
        }
    }
}

/// Changes a row where nothing is cached, ever.
pub fn write_without_cache(times: u64) {
    write(times, Beside::NoCache);
}

/// Changes a row while nobody has anything cached.
pub fn write_with_cache(times: u64) {
    write(times, Beside::Nothing);
}

/// Changes a row while somebody reads another one.
pub fn write_beside_row(times: u64) {
    write(times, Beside::Row);
}

/// Changes a row while somebody reads rows by another value.
pub fn write_beside_value(times: u64) {
    write(times, Beside::Value);
}

fn read(times: u64, cached: bool) {
    let folder = tempfile::tempdir().expect("a folder");
    let db = database(&folder, cached);
    let read = |id: i64| {
        let sql = "SELECT count FROM thing WHERE id = ?1";
        db.blocking().read(move |conn| sum(conn, sql, id)).expect("a row")
    };
    assert!(keys().take(ROWS as usize).all(|id| read(id) == 0));
    for id in keys().take(times as usize) {
        black_box(read(id));
    }
}

/// Reads a row by its key where nothing is cached, ever.
pub fn read_without_cache(times: u64) {
    read(times, false);
}

/// Reads a row by its key, which is not to be cached.
pub fn read_with_cache(times: u64) {
    read(times, true);
}
