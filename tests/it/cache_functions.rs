//! Functions of the program that write within a statement: what they wrote outdates cached results as any other write does.
//!
//! SQLite tells the beginning of a statement that runs within another one as a comment (`-- UPDATE ...`), which no program can be made of.

use pool_manager::rusqlite::functions::{Context, FunctionFlags};
use pool_manager::rusqlite::{self, types::Value};
use pool_manager::{DatabaseManager, PoolConfig};

use crate::surviving::{TIMES, survive};

const SCHEMA: &str = "
    CREATE TABLE city (id INTEGER PRIMARY KEY, country INTEGER, code INTEGER UNIQUE, visits INTEGER DEFAULT 0);
    CREATE INDEX by_country ON city (country);
    INSERT INTO city (id, country) VALUES (1, 1), (2, 1), (3, 2), (4, 3);
    WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 20)
    INSERT INTO city (id, country, code) SELECT 100 + i, 10 + i, i FROM n;
";

const VISITS: &str = "SELECT visits FROM city WHERE id = ?1";
const CITIES: &str = "SELECT count(*) FROM city WHERE country = ?1";
const ALL: &str = "SELECT sum(visits + 1000 * country) + ?1 FROM city";

/// Runs a statement with one parameter on the connection that calls.
fn run(call: &Context<'_>, sql: &str) -> rusqlite::Result<usize> {
    // SAFETY: the connection is used within the call alone.
    let connection = unsafe { call.get_connection()? };
    connection.execute(sql, [call.get::<i64>(0)?])
}

/// A database with the functions; on one connection, so that what is found out about a statement is known to all who write.
fn database(folder: &tempfile::TempDir) -> DatabaseManager {
    const FUNCTIONS: [(&str, &str); 3] = [
        ("visit", "UPDATE city SET visits = visits + 1 WHERE id = ?1"),
        ("move_on", "UPDATE city SET country = country + 1 WHERE id = ?1"),
        // The row that had the code is deleted, of which the update hook hears nothing.
        ("take_code", "UPDATE OR REPLACE city SET code = ?1 WHERE id = 4"),
    ];
    let db = DatabaseManager::builder()
        .path(folder.path().join("test.sqlite"))
        .config(PoolConfig::builder().min_connections(1).max_connections(1))
        .on_connect(|conn| {
            for (name, sql) in FUNCTIONS {
                conn.create_scalar_function(name, 1, FunctionFlags::SQLITE_UTF8, move |call| {
                    Ok(run(call, sql)? as i64)
                })?;
            }
            Ok(())
        })
        .build()
        .unwrap();
    db.blocking().write(|tx| Ok(tx.execute_batch(SCHEMA)?)).unwrap();
    db
}

/// Takes a way to write by a statement that only calls a function.
fn by_call(sql: &'static str, argument: fn(i64) -> i64) -> impl Fn(&DatabaseManager, i64) {
    move |db, time| {
        let call = move |tx: &pool_manager::Transaction<'_>| {
            Ok(tx.prepare_cached(sql)?.query_row([argument(time)], |row| row.get::<_, i64>(0))?)
        };
        assert_eq!(db.blocking().write(call).unwrap(), 1);
    }
}

#[test]
fn a_function_that_writes_a_row_outdates_that_row_and_the_table_and_spares_others() {
    let folder = tempfile::tempdir().unwrap();
    let db = database(&folder);
    let visit = by_call("SELECT visit(?1)", |_| 3);
    let queries = [(VISITS, Value::Integer(3)), (VISITS, Value::Integer(1)), (ALL, Value::Integer(0))];
    assert_eq!(survive(&db, queries, visit), [false, true, false]);
}

#[test]
fn a_function_that_replaces_a_row_without_a_report_outdates_it() {
    let folder = tempfile::tempdir().unwrap();
    let db = database(&folder);
    let replace = by_call("SELECT take_code(?1)", |time| time);
    let queries =
        [(VISITS, Value::Integer(100 + TIMES)), (CITIES, Value::Integer(10 + TIMES)), (ALL, Value::Integer(0))];
    assert_eq!(survive(&db, queries, replace), [false; 3]);
}

#[test]
fn a_function_that_changes_a_value_outdates_what_was_read_by_the_old_and_by_the_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let db = database(&folder);
    let moves = by_call("SELECT move_on(?1)", |_| 1);
    // From one country on, one further each time.
    let queries = [(CITIES, Value::Integer(1 + TIMES)), (CITIES, Value::Integer(2 + TIMES)), (ALL, Value::Integer(0))];
    assert_eq!(survive(&db, queries, moves), [false; 3]);
}
