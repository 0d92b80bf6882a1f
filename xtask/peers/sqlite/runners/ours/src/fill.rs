//! Makes the databases that everybody measures on.
//!
//! Invariant: a file is whole and has no log beside it when this returns, so that it can be copied.

use std::path::Path;

use peers_sqlite_arena::{City, Failure, ROWS, sql};
use rusqlite::{Connection, params};

use crate::work::failure;

/// Makes the database of cities, or the large table of so many MiB.
pub fn fill(path: &Path, mib: Option<u64>) -> Result<(), Failure> {
    let mut conn = Connection::open(path).map_err(failure)?;
    let filled = match mib {
        None => cities(&mut conn),
        Some(mib) => bulk(&conn, mib),
    };
    // Closing the last connection writes the log back and removes it.
    filled.and_then(|()| conn.close().map_err(|(_, error)| error)).map_err(failure)
}

fn cities(conn: &mut Connection) -> rusqlite::Result<()> {
    conn.execute_batch(sql::SCHEMA)?;
    let transaction = conn.transaction()?;
    for city in (1..=ROWS).map(City::of) {
        transaction.prepare_cached(sql::ADD_CITY)?.execute(params![
            city.id,
            city.name,
            city.country,
            city.population
        ])?;
    }
    transaction.commit()
}

fn bulk(conn: &Connection, mib: u64) -> rusqlite::Result<()> {
    let [log, table, rows] = sql::BULK;
    conn.execute_batch(log)?;
    conn.execute_batch(table)?;
    // Four rows a page of 4 KiB.
    conn.execute(rows, [(mib * 1024) as i64]).map(drop)
}
