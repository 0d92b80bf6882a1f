//! Exact reset: what one user of a connection leaves behind does not reach the next.

use std::time::Duration;

use pool_manager::rusqlite::config::DbConfig;
use pool_manager::rusqlite::functions::FunctionFlags;
use pool_manager::rusqlite::limits::Limit;
use pool_manager::{Connection, PoolConfig, Result, rusqlite};

use crate::support::{TestDb, count};

/// A pool of one connection, so that the next user would get what the last one left.
fn one_connection() -> TestDb {
    let config = PoolConfig::builder().max_connections(1).busy_timeout(Duration::from_millis(300));
    let test = TestDb::new(config.acquire_timeout(Duration::from_secs(2)));
    test.fill(2);
    test
}

fn ask(conn: &Connection, sql: &str) -> Result<i64> {
    Ok(conn.query_row(sql, [], |row| row.get(0))?)
}

fn insert(conn: &Connection) -> Result<usize> {
    Ok(conn.execute("INSERT INTO t (value) VALUES (1)", [])?)
}

#[test]
fn a_temporary_table_does_not_hide_the_next_users_table() {
    for sql in [
        "CREATE TEMP TABLE t (id, value)",
        "CREATE TEMP VIEW t AS SELECT 1 AS id, 2 AS value",
        "CREATE TEMP TRIGGER swallow BEFORE INSERT ON main.t BEGIN SELECT raise(IGNORE); END",
    ] {
        let test = one_connection();
        test.db.blocking().execute_with_pool(|conn| Ok(conn.execute_batch(sql)?)).unwrap();
        assert_eq!(count(&test.db, "t").unwrap(), 2, "{sql}");
        test.db.blocking().execute_with_pool(insert).unwrap();
        assert_eq!(count(&test.db, "main.t").unwrap(), 3, "an acknowledged row is in the table: {sql}");
    }
}

#[test]
fn changed_pragmas_do_not_stay() {
    let reads = ["foreign_keys", "synchronous", "query_only", "cache_size", "recursive_triggers", "temp_store"];
    let test = one_connection();
    let settings = || {
        test.db
            .blocking()
            .execute_with_pool(|conn| reads.iter().map(|name| ask(conn, &format!("PRAGMA {name}"))).collect())
    };
    let before: Vec<i64> = settings().unwrap();
    for (name, value) in reads.into_iter().zip([0, 0, 1, 7, 1, 1]) {
        test.db
            .blocking()
            .execute_with_pool(|conn| {
                conn.execute_batch(&format!("PRAGMA {name} = {value}"))?;
                assert_eq!(ask(conn, &format!("PRAGMA {name}"))?, value);
                Ok(())
            })
            .unwrap();
        assert_eq!(settings().unwrap(), before, "after {name}");
    }
    // Prepared through the cache, and run again by the next user of the same connection.
    for _ in 0..3 {
        let off = |conn: &Connection| Ok(conn.prepare_cached("PRAGMA foreign_keys = OFF")?.execute([]).map(drop)?);
        test.db.blocking().execute_with_pool(off).unwrap();
        assert_eq!(settings().unwrap(), before);
    }
}

#[test]
fn an_exclusive_locking_mode_does_not_lock_the_others_out() {
    let test = TestDb::new(PoolConfig::builder().max_connections(3).busy_timeout(Duration::from_millis(300)));
    test.fill(1);
    let other = test.db.blocking().acquire().unwrap();
    let exclusive =
        |conn: &Connection| Ok(conn.query_row("PRAGMA locking_mode = EXCLUSIVE", [], |row| row.get::<_, String>(0))?);
    assert_eq!(test.db.blocking().execute_with_pool(exclusive).unwrap(), "exclusive");
    for _ in 0..3 {
        test.db.blocking().execute_with_pool(insert).unwrap();
    }
    assert_eq!(ask(&other, "SELECT count(*) FROM t").unwrap(), 4);
}

#[test]
fn an_attached_database_does_not_stay() {
    let test = one_connection();
    let attached = |conn: &Connection| ask(conn, "SELECT count(*) FROM pragma_database_list WHERE name = 'other'");
    test.db.blocking().execute_with_pool(|conn| Ok(conn.execute_batch("ATTACH ':memory:' AS other")?)).unwrap();
    assert_eq!(test.db.blocking().execute_with_pool(attached).unwrap(), 0);
    // With the name as a parameter.
    test.db.blocking().execute_with_pool(|conn| Ok(conn.execute("ATTACH ?1 AS other", [":memory:"])?)).unwrap();
    assert_eq!(test.db.blocking().execute_with_pool(attached).unwrap(), 0);
}

#[test]
fn a_replaced_function_or_collation_does_not_stay() {
    let test = one_connection();
    test.db
        .blocking()
        .execute_with_pool(|conn| {
            conn.create_scalar_function("lower", 1, FunctionFlags::SQLITE_UTF8, |_| Ok("replaced"))?;
            Ok(())
        })
        .unwrap();
    let lower = |conn: &Connection| Ok(conn.query_row("SELECT lower('A')", [], |row| row.get::<_, String>(0))?);
    assert_eq!(test.db.blocking().read(lower).unwrap(), "a");
}

#[test]
fn a_function_that_was_added_and_used_does_not_stay() {
    let test = one_connection();
    test.db
        .blocking()
        .execute_with_pool(|conn| {
            conn.create_scalar_function("mine", 0, FunctionFlags::SQLITE_UTF8, |_| Ok(1))?;
            assert_eq!(ask(conn, "SELECT mine()")?, 1);
            Ok(())
        })
        .unwrap();
    test.db.blocking().read(|conn| ask(conn, "SELECT mine()")).expect_err("nobody knows it");
}

#[test]
fn limits_settings_and_busy_timeouts_do_not_stay() {
    let test = one_connection();
    let length = test.db.blocking().read(|conn| Ok(conn.limit(Limit::SQLITE_LIMIT_SQL_LENGTH)?)).unwrap();
    test.db
        .blocking()
        .execute_with_pool(|conn| {
            conn.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, 100)?;
            conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
            Ok(conn.busy_timeout(Duration::ZERO)?)
        })
        .unwrap();
    test.db
        .blocking()
        .read(|conn| {
            assert_eq!(conn.limit(Limit::SQLITE_LIMIT_SQL_LENGTH)?, length);
            assert!(conn.db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER)?);
            Ok(())
        })
        .unwrap();
    test.db.blocking().execute_with_pool(|conn| Ok(conn.busy_timeout(Duration::ZERO)?)).unwrap();
    let foreign = test.foreign();
    foreign.execute_batch("BEGIN IMMEDIATE").unwrap();
    let failed = test.db.blocking().execute_with_pool(insert).expect_err("locked");
    let pool_manager::Error::Busy { waited, busy_timeout, .. } = failed else { panic!("{failed:?}") };
    assert!(waited >= busy_timeout, "the pool's own busy handler is back: waited {waited:?}");
}

/// Leaks a statement that has given one row of several.
fn leak_half_way(conn: &rusqlite::Connection, sql: &str) -> rusqlite::Result<()> {
    let mut statement = std::mem::ManuallyDrop::new(conn.prepare(sql)?);
    let mut rows = std::mem::ManuallyDrop::new(statement.query([])?);
    assert!(rows.next()?.is_some());
    Ok(())
}

#[test]
fn a_leaked_statement_keeps_no_lock() {
    let test = one_connection();
    for sql in ["INSERT INTO t (value) VALUES (7), (8) RETURNING id", "SELECT * FROM t"] {
        test.db.blocking().execute_with_pool(|conn| Ok(leak_half_way(conn, sql)?)).unwrap();
        test.db.blocking().execute_with_pool(insert).unwrap();
    }
    test.db
        .blocking()
        .execute_with_pool(|conn| {
            let tx = std::mem::ManuallyDrop::new(conn.transaction()?);
            tx.execute("INSERT INTO t (id, value) VALUES (1000, 0)", [])?;
            // Within the cache as well, and one that is finished.
            std::mem::forget(conn.prepare_cached("SELECT 1")?);
            Ok(())
        })
        .unwrap();
    assert_eq!(count(&test.db, "t WHERE id = 1000").unwrap(), 0, "an open transaction is rolled back");
    test.db.blocking().execute_with_pool(insert).unwrap();
    // A full-text table has statements of its own on the connection, which are none of the leaked ones.
    test.db
        .blocking()
        .execute_with_pool(|conn| {
            conn.execute_batch("CREATE VIRTUAL TABLE words USING fts5(word); INSERT INTO words VALUES ('a'), ('b')")?;
            Ok(leak_half_way(conn, "SELECT * FROM words WHERE words MATCH 'a OR b'")?)
        })
        .unwrap();
    test.db.blocking().execute_with_pool(insert).unwrap();
    let rows = count(&test.db, "t").unwrap();
    test.db.blocking().close_pool().unwrap();
    // What was leaked is a connection each, and no lock: another program writes and reads at once.
    let foreign = test.foreign();
    foreign.busy_timeout(Duration::ZERO).unwrap();
    foreign.execute("INSERT INTO t (value) VALUES (1)", []).unwrap();
    let found: i64 = foreign.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
    assert_eq!(found, rows + 1);
}

#[test]
fn what_was_left_in_a_panic_does_not_stay_either() {
    let test = one_connection();
    for sql in ["BEGIN IMMEDIATE; INSERT INTO t VALUES (1000, 0)", "CREATE TEMP TABLE t (id, value)"] {
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            test.db.blocking().execute_with_pool(|conn| -> Result<()> {
                conn.execute_batch(sql)?;
                leak_half_way(conn, "INSERT INTO main.t (value) VALUES (7), (8) RETURNING id")?;
                std::panic::resume_unwind(Box::new("a closure's own panic"))
            })
        }));
        assert!(panicked.is_err());
        test.db.blocking().execute_with_pool(insert).unwrap();
        assert_eq!(count(&test.db, "main.t WHERE id = 1000").unwrap(), 0);
    }
}

#[test]
fn ordinary_work_leaves_nothing_behind() {
    let test = one_connection();
    let created = || test.db.pool_stats().unwrap().total_created;
    let before = created();
    for _ in 0..3 {
        test.db.blocking().execute_with_pool(insert).unwrap();
        count(&test.db, "t").unwrap();
        test.db
            .blocking()
            .write(|tx| {
                tx.execute_batch("PRAGMA user_version = 7; PRAGMA table_info(t)")?;
                ask(tx, "SELECT count(lower(id) || abs(value) || json(1)) FROM t")
            })
            .unwrap();
        let schema = "CREATE TABLE other (a); CREATE VIEW v AS SELECT a FROM other; DROP VIEW v; DROP TABLE other";
        test.db.blocking().execute_with_pool(|conn| Ok(conn.execute_batch(schema)?)).unwrap();
    }
    // Another connection changes the schema meanwhile.
    test.foreign().execute_batch("CREATE TABLE theirs (a)").unwrap();
    assert_eq!(count(&test.db, "theirs").unwrap(), 0);
    test.db.blocking().execute_with_pool(insert).unwrap();
    assert_eq!(created(), before, "one connection served all of it");
}

#[test]
fn the_first_table_of_a_new_file_costs_no_connection() {
    let test = TestDb::new(PoolConfig::builder().min_connections(2).max_connections(2));
    let (one, other) = (test.db.blocking().acquire().unwrap(), test.db.blocking().acquire().unwrap());
    one.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, value INTEGER NOT NULL)").unwrap();
    insert(&other).unwrap();
    drop((one, other));
    // What a user changes is noticed afterwards as before.
    for _ in 0..2 {
        count(&test.db, "t").unwrap();
        test.db.blocking().execute_with_pool(insert).unwrap();
    }
    let stats = test.db.pool_stats().unwrap();
    assert_eq!((stats.total_created, stats.total_errors), (2, 0));
    test.db.blocking().execute_with_pool(|conn| Ok(conn.execute_batch("PRAGMA recursive_triggers = ON")?)).unwrap();
    assert_eq!(test.db.blocking().read(|conn| ask(conn, "PRAGMA recursive_triggers")).unwrap(), 0);
}
