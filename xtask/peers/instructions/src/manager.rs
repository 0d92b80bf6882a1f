//! The hot paths through `DatabaseManager`, called by a thread that waits.

use std::hint::black_box;

use pool_manager::{Connection, DatabaseManager, Result};

const ROWS: i64 = 1_000;

/// A database with a table of numbers and their names.
fn database(folder: &tempfile::TempDir) -> DatabaseManager {
    let db = DatabaseManager::open(folder.path().join("counted.sqlite")).expect("a database");
    let filled = db.blocking().write(|tx| {
        tx.execute_batch("CREATE TABLE number (id INTEGER PRIMARY KEY, name TEXT NOT NULL)")?;
        for id in 1..=ROWS {
            tx.execute("INSERT INTO number VALUES (?1, ?2)", (id, format!("number {id}")))?;
        }
        Ok(())
    });
    filled.expect("a table");
    db
}

fn name(conn: &Connection, id: i64) -> Result<usize> {
    let mut statement = conn.prepare_cached("SELECT name FROM number WHERE id = ?1")?;
    Ok(statement.query_row([id], |row| Ok(row.get_ref(0)?.as_str()?.len()))?)
}

/// Reads one row by its key.
pub fn point_read(times: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let db = database(&folder);
    let read = |id: i64| db.blocking().read(move |conn| name(conn, id)).expect("a row");
    (1..=ROWS).for_each(|id| assert!(read(id) > 0));
    for id in (1..=ROWS).cycle().take(times as usize) {
        black_box(read(id));
    }
}

/// Asks for a result that is cached.
pub fn cached_query_hit(times: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let db = database(&folder);
    let ask = || db.blocking().execute_cached("one", None, |conn| name(conn, 1)).expect("a result");
    assert_eq!(*ask(), "number 1".len());
    for _ in 0..times {
        black_box(ask());
    }
}

fn dice(conn: &Connection) -> Result<i64> {
    Ok(conn.prepare_cached("SELECT random()")?.query_row([], |row| row.get(0))?)
}

/// Asks for a result that can't be kept.
pub fn uncacheable_query(times: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let db = database(&folder);
    let ask = || db.blocking().execute_cached("dice", None, dice).expect("a result");
    assert!((0..100).any(|_| ask() != ask()));
    for _ in 0..times {
        black_box(ask());
    }
}

/// Reads the same without asking the cache.
pub fn uncacheable_read(times: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let db = database(&folder);
    let read = || db.blocking().read(dice).expect("a result");
    assert!((0..100).any(|_| read() != read()));
    for _ in 0..times {
        black_box(read());
    }
}
