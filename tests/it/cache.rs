//! The query cache under fire: whoever writes, however it ends, no read is older than what was acknowledged before it began.

use std::io::{BufRead, BufReader, Write};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use pool_manager::rusqlite::{self, functions::FunctionFlags};
use pool_manager::{Connection, DatabaseManager, Error, PoolConfig, Result};
use tokio::runtime::Handle;

use crate::support::{TestDb, another_process, eventually, role};

fn cached_value(db: &DatabaseManager) -> i64 {
    let query =
        |conn: &pool_manager::Connection| Ok(conn.query_row("SELECT value FROM t", [], |row| row.get::<_, i64>(0))?);
    *db.blocking().execute_cached("value", None, query).unwrap()
}

#[test]
fn cached_reads_are_never_older_than_an_acknowledged_write() {
    for path in ["file", ":memory:"] {
        let test = TestDb::with_defaults();
        test.fill(1);
        let memory = DatabaseManager::open(":memory:").unwrap();
        memory
            .blocking()
            .write(|tx| Ok(tx.execute_batch("CREATE TABLE t (value); INSERT INTO t VALUES (0)")?))
            .unwrap();
        let db = if path == "file" { &test.db } else { &memory };
        let acknowledged = AtomicI64::new(0);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut newest = 0;
                    while !done.load(Ordering::SeqCst) {
                        let before = acknowledged.load(Ordering::SeqCst);
                        let seen = cached_value(db);
                        assert!(seen >= before, "{path}: read {seen} after {before} was acknowledged");
                        assert!(seen >= newest, "{path}: went back from {newest} to {seen}");
                        newest = seen;
                    }
                });
            }
            for value in 1..=300 {
                if value % 7 == 0 {
                    let rolled_back: Result<(), Error> = db.blocking().write(|tx| {
                        tx.execute("UPDATE t SET value = -1", [])?;
                        Err(Error::application("rolled back"))
                    });
                    rolled_back.expect_err("rolled back");
                }
                match value % 3 {
                    0 => db.blocking().write(move |tx| Ok(tx.execute("UPDATE t SET value = ?1", [value])?)).unwrap(),
                    1 => db
                        .blocking()
                        .execute_with_pool(|conn| Ok(conn.execute("UPDATE t SET value = ?1", [value])?))
                        .unwrap(),
                    _ => db
                        .blocking()
                        .acquire()
                        .unwrap()
                        .execute("REPLACE INTO t (rowid, value) VALUES (1, ?1)", [value])
                        .unwrap(),
                };
                acknowledged.store(value, Ordering::SeqCst);
                if value % 50 == 0 {
                    // Time for hits, too.
                    (0..200).for_each(|_| assert_eq!(cached_value(db), value, "{path}"));
                }
            }
            done.store(true, Ordering::SeqCst);
        });
        assert!(db.pool_stats().unwrap().cache_hits >= 1000, "{path}: {:?}", db.pool_stats());
    }
}

/// A second process commits between any two reads of the first.
#[test]
fn cached_reads_see_the_commits_of_another_process_at_once() {
    if let Some((_, path)) = role() {
        // The other process: one commit for each line it is told.
        let conn = pool_manager::rusqlite::Connection::open(path).unwrap();
        conn.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
        for line in std::io::stdin().lines() {
            conn.execute("UPDATE t SET value = ?1", [line.unwrap()]).unwrap();
            println!("committed");
        }
        return;
    }
    let test = TestDb::with_defaults();
    test.fill(1);
    let mut other =
        another_process("cache::cached_reads_see_the_commits_of_another_process_at_once", "writer", &test.path());
    let mut tell = other.stdin.take().unwrap();
    let mut answers = BufReader::new(other.stdout.take().unwrap()).lines();
    for value in 1..=100 {
        cached_value(&test.db);
        writeln!(tell, "{value}").unwrap();
        assert!(answers.any(|line| line.unwrap().ends_with("committed")), "the other process ended");
        assert_eq!(cached_value(&test.db), value);
        assert_eq!(cached_value(&test.db), value);
    }
    drop(tell);
    assert!(other.wait().unwrap().success());
    assert!(test.db.pool_stats().unwrap().cache_hits >= 100);
}

#[test]
fn outside_wal_mode_the_cache_is_as_strict() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.sqlite");
    let other = pool_manager::rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("PRAGMA journal_mode = DELETE; CREATE TABLE t (value); INSERT INTO t VALUES (0)").unwrap();
    // Read-only: the journal mode stays what it is.
    let db = DatabaseManager::builder().path(&path).read_only(true).build().unwrap();
    for value in 1..=20 {
        cached_value(&db);
        other.execute("UPDATE t SET value = ?1", [value]).unwrap();
        assert_eq!(cached_value(&db), value);
        assert_eq!(cached_value(&db), value);
    }
    assert!(db.pool_stats().unwrap().cache_hits >= 20);
    let names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(names, ["old.sqlite"], "nothing was left beside it");
}

#[test]
fn a_cached_query_can_not_write() {
    let test = TestDb::with_defaults();
    test.fill(1);
    let write = |conn: &pool_manager::Connection| Ok(conn.execute("DELETE FROM t", [])?);
    let error = test.db.blocking().execute_cached("write", None, write).expect_err("it writes");
    assert!(matches!(&error, Error::ReadOnly { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_waited_for_a_failing_query_get_its_error() {
    let test = TestDb::new(PoolConfig::builder());
    let asking: Vec<_> = (0..16)
        .map(|_| {
            let db = test.db.clone();
            tokio::spawn(async move {
                db.execute_cached("failing", None, |conn| {
                    let slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100000) SELECT count(*) FROM n";
                    conn.query_row(slow, [], |_| Ok(()))?;
                    Ok(conn.query_row("SELECT a FROM missing", [], |row| row.get::<_, i64>(0))?)
                })
                .await
            })
        })
        .collect();
    for task in asking {
        let error = task.await.unwrap().expect_err("no such table");
        assert!(error.sqlite().unwrap().to_string().contains("no such table: missing"), "{error:?}");
    }
}

#[test]
fn what_depends_on_more_than_the_database_is_not_kept() {
    let test = TestDb::with_defaults();
    test.fill(3);
    let volatile = [
        "SELECT random()",
        "SELECT datetime('now')",
        "SELECT count(*) FROM t WHERE value < strftime('%s', 'now')",
        "SELECT CURRENT_TIMESTAMP",
        "SELECT changes()",
        "PRAGMA user_version",
        "SELECT count(*) FROM pragma_table_info('t')",
    ];
    for (at, sql) in volatile.into_iter().enumerate() {
        for prepared in [true, false] {
            for _ in 0..2 {
                let query = move |conn: &pool_manager::Connection| {
                    if prepared {
                        conn.prepare_cached(sql)?.query_row([], |_| Ok(()))?;
                    } else {
                        conn.query_row(sql, [], |_| Ok(()))?;
                    }
                    Ok(())
                };
                test.db.blocking().execute_cached(format!("{sql} {prepared}"), None, query).unwrap();
            }
        }
        let stats = test.db.pool_stats().unwrap();
        assert_eq!((stats.cache_hits, stats.cache_uncacheable), (0, 4 * (at as u64 + 1)), "{sql}");
    }
    for sql in [
        "SELECT upper('a'), count(*), max(value) FROM t",
        "WITH x AS (SELECT abs(value) AS v FROM t) SELECT sum(v) FROM x",
    ] {
        for _ in 0..2 {
            let query = move |conn: &pool_manager::Connection| Ok(conn.query_row(sql, [], |_| Ok(()))?);
            test.db.blocking().execute_cached(sql, None, query).unwrap();
        }
    }
    assert_eq!(test.db.pool_stats().unwrap().cache_hits, 2);
}

#[test]
fn function_pointers_and_boxes_of_one_type_do_not_share_results() {
    let test = TestDb::with_defaults();
    test.fill(1);
    let one: fn(&Connection) -> Result<i64> = |conn| Ok(conn.query_row("SELECT 1", [], |row| row.get(0))?);
    let two: fn(&Connection) -> Result<i64> = |conn| Ok(conn.query_row("SELECT 2", [], |row| row.get(0))?);
    let blocking = test.db.blocking();
    for _ in 0..2 {
        assert_eq!(*blocking.execute_cached("key", None, one).unwrap(), 1);
        assert_eq!(*blocking.execute_cached("key", None, two).unwrap(), 2);
    }
    assert_eq!(test.db.pool_stats().unwrap().cache_hits, 2);
    type Boxed = Box<dyn Fn(&Connection) -> Result<i64> + Send>;
    for number in [3, 4, 3] {
        let boxed: Boxed = Box::new(move |conn| Ok(conn.query_row("SELECT ?1", [number], |row| row.get(0))?));
        assert_eq!(*blocking.execute_cached("key", None, boxed).unwrap(), number);
    }
    let stats = test.db.pool_stats().unwrap();
    assert_eq!(
        (stats.cache_hits, stats.cache_uncacheable),
        (2, 3),
        "what is in a box can't be told: it runs each time"
    );
}

#[test]
fn references_to_closures_of_one_type_do_not_share_results() {
    let test = TestDb::with_defaults();
    test.fill(1);
    let blocking = test.db.blocking();
    type Query = dyn Fn(&Connection) -> Result<i64> + Send + Sync;
    const QUERIES: [&Query; 2] = [&|conn| Ok(conn.query_row("SELECT 1", [], |row| row.get(0))?), &|conn| {
        Ok(conn.query_row("SELECT 2", [], |row| row.get(0))?)
    }];
    type Map = dyn Fn(&rusqlite::Row<'_>) -> rusqlite::Result<i64> + Sync;
    const MAPS: [&Map; 2] = [&|row| row.get(0), &|row| Ok(row.get::<_, i64>(0)? + 1)];
    for at in [0, 1, 0] {
        let number = i64::try_from(at).unwrap();
        assert_eq!(*blocking.execute_cached("key", None, QUERIES[at]).unwrap(), number + 1);
        assert_eq!(*blocking.query_cached("SELECT value FROM t", [], MAPS[at]).unwrap(), [number]);
    }
}

#[test]
fn a_function_in_the_place_of_one_of_sqlite_is_not_taken_for_it() {
    fn counting(conn: &rusqlite::Connection, name: &str, flags: FunctionFlags) -> rusqlite::Result<()> {
        static CALLS: AtomicI64 = AtomicI64::new(0);
        conn.create_scalar_function(name, 1, flags, |_| Ok(CALLS.fetch_add(1, Ordering::Relaxed)))
    }
    let folder = tempfile::tempdir().unwrap();
    let db = DatabaseManager::builder()
        .path(folder.path().join("test.sqlite"))
        .config(PoolConfig::builder().shared_snapshots(false))
        .on_connect(|conn| {
            counting(conn, "abs", FunctionFlags::SQLITE_UTF8)?;
            Ok(counting(conn, "Lower", FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC)?)
        })
        .build()
        .unwrap();
    let ask = |sql: &str| db.blocking().query_cached(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_ne!(ask("SELECT ABS(1)"), ask("SELECT ABS(1)"));
    assert_eq!(ask("SELECT lower('a')"), ask("SELECT lower('a')"), "the program says that it is deterministic");
    assert_eq!(ask("SELECT sign(-1)"), ask("SELECT sign(-1)"));
    let replaces = |conn: &Connection| {
        counting(conn, "sign", FunctionFlags::SQLITE_UTF8)?;
        Ok(conn.query_row("SELECT sign(1)", [], |row| row.get::<_, i64>(0))?)
    };
    let ask = || db.blocking().execute_cached("sign", None, replaces).unwrap();
    assert_ne!(ask(), ask());
}

#[test]
fn a_function_that_knows_more_capital_letters_than_sqlite_hides_no_table() {
    let folder = tempfile::tempdir().unwrap();
    let db = DatabaseManager::builder()
        .path(folder.path().join("test.sqlite"))
        .on_connect(|conn| {
            let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
            Ok(conn.create_scalar_function("lower", 1, flags, |call| Ok(call.get::<String>(0)?.to_lowercase()))?)
        })
        .build()
        .unwrap();
    let write = |sql: &'static str| db.blocking().write(|tx| Ok(tx.execute_batch(sql)?)).unwrap();
    write("CREATE TABLE \"\u{c4}\" (value); INSERT INTO \"\u{c4}\" VALUES (0)");
    let ask = || db.blocking().query_cached("SELECT value FROM \"\u{c4}\"", [], |row| row.get::<_, i64>(0)).unwrap();
    for value in 0..3 {
        assert_eq!(*ask(), [value]);
        write("UPDATE \"\u{c4}\" SET value = value + 1");
    }
}

#[test]
fn what_reads_without_a_statement_is_outdated_by_any_commit() {
    let test = TestDb::with_defaults();
    test.fill(1);
    let in_a_copy = |conn: &Connection| {
        let mut copy = rusqlite::Connection::open_in_memory()?;
        rusqlite::backup::Backup::new(conn, &mut copy)?.run_to_completion(100, std::time::Duration::ZERO, None)?;
        Ok(copy.query_row("SELECT value FROM t", [], |row| row.get::<_, i64>(0))?)
    };
    let ask = || *test.db.blocking().execute_cached("copy", None, in_a_copy).unwrap();
    for value in 0..3 {
        assert_eq!((ask(), ask()), (value, value));
        test.db.blocking().write(|tx| Ok(tx.execute("UPDATE t SET value = value + 1", []).map(drop)?)).unwrap();
    }
}

#[test]
fn a_replaced_file_is_noticed_by_hits_and_writes_as_well() {
    let test = TestDb::with_defaults();
    test.fill(3);
    let rows = |conn: &Connection| Ok(conn.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0))?);
    let cached = || *test.db.blocking().execute_cached("rows", None, rows).unwrap();
    assert_eq!((cached(), cached()), (3, 3));
    let other = test.folder.path().join("other.sqlite");
    let connection = pool_manager::rusqlite::Connection::open(&other).unwrap();
    connection.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, value INTEGER NOT NULL)").unwrap();
    drop(connection);
    for left in ["test.sqlite-wal", "test.sqlite-shm"] {
        std::fs::remove_file(test.folder.path().join(left)).unwrap();
    }
    std::fs::rename(&other, test.path()).unwrap();
    eventually("the new file is noticed, though no connection was idle for long", || cached() == 0);
    test.db.blocking().execute_with_pool(|conn| Ok(conn.execute("INSERT INTO t VALUES (1, 1)", [])?)).unwrap();
    assert_eq!(test.foreign().query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).unwrap(), 1);
    assert_eq!(cached(), 1);
    std::fs::remove_file(test.path()).unwrap();
    eventually("a missing file is noticed", || {
        matches!(test.db.blocking().execute_cached("rows", None, rows), Err(Error::FileChanged { .. }))
    });
}

#[test]
fn a_cached_query_that_asks_for_its_own_result_is_told_so_on_whichever_thread() {
    fn ask(db: DatabaseManager, handle: Handle, depth: u32) -> Pin<Box<dyn Future<Output = Result<i64>> + Send>> {
        Box::pin(async move {
            let again = db.clone();
            let query = move |conn: &pool_manager::Connection| match depth {
                // Not reached, or it would end by itself.
                3 => Ok(conn.query_row("SELECT count(*) FROM t", [], |row| row.get(0))?),
                _ => handle.block_on(ask(again, handle.clone(), depth + 1)),
            };
            Ok(*db.execute_cached("itself", None, query).await?)
        })
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let test = TestDb::new(PoolConfig::builder().max_connections(5));
    test.fill(1);
    let asked = runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(60), ask(test.db.clone(), Handle::current(), 0)).await
    });
    let error = asked.expect("it does not wait").expect_err("there is no result");
    assert_eq!(error.to_string(), "the loader waits for its own result");
    assert_eq!(test.db.blocking().read(|_| Ok(7)).unwrap(), 7);
}

#[tokio::test]
async fn a_task_that_only_hits_lets_others_run() {
    let test = TestDb::with_defaults();
    test.fill(1);
    let has_run = std::sync::Arc::new(AtomicBool::new(false));
    let other = std::sync::Arc::clone(&has_run);
    let query = |conn: &Connection| -> Result<i64> { Ok(conn.query_row("SELECT value FROM t", [], |row| row.get(0))?) };
    test.db.execute_cached("value", None, query).await.unwrap();
    tokio::spawn(async move { other.store(true, Ordering::Relaxed) });
    let mut hits = 0;
    while !has_run.load(Ordering::Relaxed) && hits < 100_000 {
        test.db.execute_cached("value", None, query).await.unwrap();
        hits += 1;
    }
    assert!(hits < 2_000, "{hits}");
    assert_eq!(test.db.pool_stats().unwrap().cache_hits, hits);
}
