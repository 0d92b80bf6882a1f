//! What every competitor on rusqlite does with a connection, whichever version of rusqlite that is: each runner includes this file.
//!
//! Must not know how a connection is come by.

use peers_sqlite_arena::{BuiltOn, Country, Failure, Totals, digest, sql, versions};
use rusqlite::{Connection, ErrorCode, Params, Row, TransactionBehavior, params};

/// Something that can be asked with the text of a statement.
pub trait Ask {
    /// Asks for one row.
    fn row<T>(
        &self,
        text: &str,
        params: impl Params,
        map: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T>;
    /// Asks for all rows, one by one.
    fn each(
        &self,
        text: &str,
        params: impl Params,
        each: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()>;
    /// Changes something.
    fn change(&self, text: &str, params: impl Params) -> rusqlite::Result<()>;
}

/// All kinds of prepared statements have calls of the same names, so a type only has to say how it prepares.
macro_rules! ask {
    ($asked:ty: |$conn:ident, $text:ident| $prepare:expr) => {
        impl $crate::work::Ask for $asked {
            fn row<T>(
                &self,
                $text: &str,
                params: impl rusqlite::Params,
                map: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
            ) -> rusqlite::Result<T> {
                let $conn = self;
                $prepare?.query_row(params, map)
            }

            fn each(
                &self,
                $text: &str,
                params: impl rusqlite::Params,
                mut each: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<()>,
            ) -> rusqlite::Result<()> {
                let $conn = self;
                let mut statement = $prepare?;
                let mut rows = statement.query(params)?;
                while let Some(row) = rows.next()? {
                    each(row)?;
                }
                Ok(())
            }

            fn change(&self, $text: &str, params: impl rusqlite::Params) -> rusqlite::Result<()> {
                let $conn = self;
                $prepare?.execute(params).map(drop)
            }
        }
    };
}
#[allow(unused_imports, reason = "whoever has only plain connections does not need it")]
pub(crate) use ask;

ask!(Connection: |conn, text| conn.prepare_cached(text));

/// Gives a connection its settings.
#[allow(dead_code, reason = "whoever has no connections of its own does not need it")]
pub fn set_up(conn: &Connection, settings: &str) -> rusqlite::Result<()> {
    conn.execute_batch(settings)?;
    conn.set_prepared_statement_cache_capacity(sql::STATEMENTS);
    Ok(())
}

fn name_and_population(row: &Row<'_>) -> rusqlite::Result<u64> {
    let name: String = row.get(0)?;
    Ok(digest(&name, row.get(1)?))
}

pub fn point(conn: &impl Ask, id: i64) -> rusqlite::Result<u64> {
    reuse(conn, sql::POINT, id)
}

pub fn reuse(conn: &impl Ask, text: &str, id: i64) -> rusqlite::Result<u64> {
    conn.row(text, [id], name_and_population)
}

pub fn range(conn: &impl Ask, first: i64) -> rusqlite::Result<u64> {
    let mut sum = 0_u64;
    conn.each(sql::RANGE, [first], |row| {
        sum = sum.wrapping_add(name_and_population(row)?);
        Ok(())
    })?;
    Ok(sum)
}

pub fn country(conn: &impl Ask, country: i64) -> rusqlite::Result<Country> {
    country_by(conn, sql::COUNTRY, country)
}

pub fn country_by(conn: &impl Ask, text: &str, country: i64) -> rusqlite::Result<Country> {
    let found = |row: &Row<'_>| Ok(Country { cities: row.get(0)?, people: row.get(1)?, visits: row.get(2)? });
    conn.row(text, [country], found)
}

/// Writes one row; alone it is a transaction.
pub fn insert(conn: &impl Ask, value: i64) -> rusqlite::Result<()> {
    conn.change(sql::INSERT, [value])
}

/// Changes one row; alone it is a transaction.
pub fn visit(conn: &impl Ask, id: i64) -> rusqlite::Result<()> {
    conn.change(sql::VISIT, [id])
}

/// Reads a balance and writes it back, inside of a transaction.
pub fn increment_within(conn: &impl Ask, account: i64) -> rusqlite::Result<()> {
    let balance: i64 = conn.row(sql::BALANCE, [account], |row| row.get(0))?;
    conn.change(sql::SET_BALANCE, params![account, balance + 1])
}

/// The same in a transaction of its own.
#[allow(dead_code, reason = "whoever has transactions of its own does not need it")]
pub fn increment(conn: &mut Connection, account: i64, immediate: bool) -> rusqlite::Result<()> {
    let behavior = if immediate { TransactionBehavior::Immediate } else { TransactionBehavior::Deferred };
    let transaction = conn.transaction_with_behavior(behavior)?;
    increment_within(&*transaction, account)?;
    transaction.commit()
}

pub fn totals(conn: &Connection) -> rusqlite::Result<Totals> {
    conn.query_row(sql::TOTALS, [], |row| {
        Ok(Totals { entries: row.get(0)?, values: row.get(1)?, balance: row.get(2)?, visits: row.get(3)? })
    })
}

/// Reads the large table: rows and the sum of their keys, zero rows when their contents are not as long as they must be.
pub fn scan(conn: &Connection) -> rusqlite::Result<(i64, i64)> {
    conn.query_row(sql::SCAN, [], |row| {
        let (rows, keys, bytes): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(if bytes == rows * sql::CONTENT { (rows, keys) } else { (0, 0) })
    })
}

/// Tells a locked database from all other errors.
pub fn failure(error: rusqlite::Error) -> Failure {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Failure::Busy,
        _ => Failure::other(error),
    }
}

/// Says what this program is built on: packages in the versions of its lock file, and SQLite.
pub fn built(lock: &str, packages: &[&str]) -> BuiltOn {
    let conn = Connection::open_in_memory().map_err(failure)?;
    let options: rusqlite::Result<Vec<String>> =
        conn.prepare("PRAGMA compile_options").and_then(|mut all| all.query_map([], |row| row.get(0))?.collect());
    let version = rusqlite::version();
    Ok((format!("{}, SQLite {version}", versions(lock, packages)), options.map_err(failure)?))
}
