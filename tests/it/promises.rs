//! Each row of the table of broken promises in the design (section 1), kept: one test a row, named after it.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pool_manager::{Column, DatabaseManager, Error, ManualClock, PoolConfig, Schema};

use crate::support::{TestDb, count, eventually};

/// "ten concurrent acquires on a cold pool got five connections, each handed out twice; a double release hands one connection to two
/// holders". A lease is released by being dropped, which the compiler lets happen once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exclusive_connections() {
    let test = TestDb::new(PoolConfig::builder().max_connections(10).min_connections(0));
    let acquiring: Vec<_> = (0..10)
        .map(|_| {
            let db = test.db.clone();
            tokio::spawn(async move { db.acquire().await.unwrap() })
        })
        .collect();
    let mut held = Vec::new();
    for task in acquiring {
        held.push(task.await.unwrap());
    }
    // A temporary table exists on one connection only: were two of these the same, the second could not make it.
    for conn in &held {
        conn.execute_batch("CREATE TEMP TABLE mine (a)").unwrap();
    }
    let stats = test.db.pool_stats().unwrap();
    assert_eq!((stats.active_connections, stats.total_created, stats.total_acquired), (10, 10, 10));
    drop(held);
    let stats = test.db.pool_stats().unwrap();
    assert_eq!((stats.active_connections, stats.total_released), (0, 10));
}

/// "reaper went below the minimum and nothing refilled; `max 0`, `min > max`, negative numbers accepted".
#[test]
fn min_and_max_kept() {
    let time = ManualClock::new();
    let folder = tempfile::tempdir().unwrap();
    let db = DatabaseManager::builder()
        .path(folder.path().join("a.sqlite"))
        .config(PoolConfig::builder().max_connections(5).min_connections(2))
        .clock(time.clock())
        .build()
        .unwrap();
    db.maintain();
    eventually("filled to the minimum", || db.pool_stats().unwrap().idle_connections == 2);
    let held: Vec<_> = (0..5).map(|_| db.blocking().acquire().unwrap()).collect();
    drop(held);
    assert_eq!(db.pool_stats().unwrap().idle_connections, 5);
    time.advance(Duration::from_secs(31));
    db.maintain();
    assert_eq!(db.pool_stats().unwrap().total_connections, 2, "reaped to the minimum and not below");

    for (max, min) in [("0", "0"), ("2", "3"), ("-1", "0"), ("5", "-2")] {
        let refused =
            PoolConfig::builder().toml_str("test", format!("max_connections = {max}\nmin_connections = {min}")).build();
        let text = refused.expect_err("must be refused").to_string();
        assert!(text.contains("connections"), "{max}, {min}: {text}");
    }
}

/// "health check only destroyed; a deleted database file passed it; a closed connection was handed out again".
#[test]
fn failed_connections_replaced() {
    let time = ManualClock::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sqlite");
    let config =
        PoolConfig::builder().max_connections(4).min_connections(2).max_connection_age(None).idle_timeout(None);
    let db = DatabaseManager::builder().path(&path).config(config).clock(time.clock()).build().unwrap();
    db.blocking().write(|tx| Ok(tx.execute_batch("CREATE TABLE old (a)")?)).unwrap();
    db.maintain();
    eventually("filled", || db.pool_stats().unwrap().idle_connections == 2);
    let before = db.pool_stats().unwrap();

    // A new file takes the old one's place, log and all.
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
    }
    time.advance(Duration::from_secs(11));
    db.maintain();
    let missing = db.blocking().read(|_| Ok(())).expect_err("the file is gone");
    assert!(matches!(&missing, Error::FileChanged { change: "is missing", .. }), "{missing}");

    pool_manager::rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE new (a)").unwrap();
    time.advance(Duration::from_secs(11));
    db.maintain();
    let tables = db.blocking().read(|conn| {
        Ok(conn.query_row("SELECT group_concat(name) FROM sqlite_schema", [], |row| row.get::<_, String>(0))?)
    });
    assert_eq!(tables.unwrap(), "new", "a replaced file gets fresh connections");
    let after = db.pool_stats().unwrap();
    assert!(after.total_destroyed >= before.total_connections as u64, "{after:?}");
    eventually("refilled", || {
        db.maintain();
        // The read above may have opened one of its own meanwhile.
        db.pool_stats().unwrap().idle_connections >= 2
    });
}

/// "an open transaction survived release; the connection was released before an async callback ended".
#[tokio::test]
async fn clean_connections() {
    let test = TestDb::new(PoolConfig::builder().max_connections(1).min_connections(0));
    test.fill(1);
    let held = test.db.acquire().await.unwrap();
    held.execute_batch("BEGIN; UPDATE t SET value = 7").unwrap();
    // Held across an await: not released before its holder is done with it.
    tokio::task::yield_now().await;
    assert!(!held.is_autocommit());
    assert_eq!(test.db.pool_stats().unwrap().active_connections, 1);
    drop(held);
    let (autocommit, value) = test
        .db
        .read(|conn| Ok((conn.is_autocommit(), conn.query_row("SELECT value FROM t", [], |row| row.get::<_, i64>(0))?)))
        .await
        .unwrap();
    assert_eq!((autocommit, value), (true, 0), "rolled back at release");
    assert_eq!(test.db.pool_stats().unwrap().total_created, 1, "and the connection could be kept");
}

/// "checked on release only; an aged connection destroyed while somebody waited let the waiter time out".
#[test]
fn max_age() {
    let time = ManualClock::new();
    let folder = tempfile::tempdir().unwrap();
    let config = PoolConfig::builder()
        .max_connections(1)
        .min_connections(0)
        .idle_timeout(None)
        .max_connection_age(Duration::from_secs(60))
        .acquire_timeout(Duration::from_secs(120));
    let path = folder.path().join("a.sqlite");
    let db = DatabaseManager::builder().path(path).config(config).clock(time.clock()).build().unwrap();
    drop(db.blocking().acquire().unwrap());
    time.advance(Duration::from_secs(120));
    let held = db.blocking().acquire().unwrap();
    assert_eq!(db.pool_stats().unwrap().total_created, 2, "an aged one is not handed out");

    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| db.blocking().acquire().map(drop));
        eventually("somebody waits", || db.pool_stats().unwrap().waiting_clients == 1);
        time.advance(Duration::from_secs(61)); // too old now, while the waiter may wait for longer
        drop(held);
        waiter.join().unwrap().expect("the waiter gets a fresh connection, not a time-out");
    });
    assert_eq!(db.pool_stats().unwrap().total_created, 3);
}

/// "stale after every write; first-in-first-out; 64 concurrent misses ran the query 64 times; errors cached; same key with another query
/// gave the wrong rows".
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn query_cache() {
    let test = TestDb::new(PoolConfig::builder().max_cache_size(10));
    test.fill(1);
    let value = |db: &DatabaseManager| {
        let db = db.clone();
        async move {
            let read = db.execute_cached("value", None, |conn| {
                Ok(conn.query_row("SELECT value FROM t", [], |row| row.get::<_, i64>(0))?)
            });
            *read.await.unwrap()
        }
    };
    for written in 1..=20 {
        test.db.write(move |tx| Ok(tx.execute("UPDATE t SET value = ?1", [written])?)).await.unwrap();
        assert_eq!(value(&test.db).await, written, "stale after a write of this process");
        test.foreign().execute("UPDATE t SET value = -value", []).unwrap();
        assert_eq!(value(&test.db).await, -written, "stale after a write of somebody else");
        assert_eq!(value(&test.db).await, -written);
    }
    assert!(test.db.pool_stats().unwrap().cache_hits >= 20, "nothing was ever cached");

    // One run for 64 who ask at once.
    let runs = Arc::new(AtomicUsize::new(0));
    let asking: Vec<_> = (0..64)
        .map(|_| {
            let (db, runs) = (test.db.clone(), Arc::clone(&runs));
            tokio::spawn(async move {
                let query = move |conn: &pool_manager::Connection| {
                    runs.fetch_add(1, Ordering::SeqCst);
                    let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 300000) SELECT count(*) FROM n";
                    Ok(conn.query_row(sql, [], |row| row.get::<_, i64>(0))?)
                };
                *db.execute_cached("slow", None, query).await.unwrap()
            })
        })
        .collect();
    for task in asking {
        assert_eq!(task.await.unwrap(), 300_000);
    }
    assert_eq!(runs.load(Ordering::SeqCst), 1);

    // Errors are not kept.
    let failing = test.db.execute_cached("later", None, |conn| {
        Ok(conn.query_row("SELECT a FROM not_yet", [], |row| row.get::<_, i64>(0))?)
    });
    failing.await.expect_err("no such table");
    let later = |db: DatabaseManager| async move {
        db.execute_cached("later", None, |conn| {
            Ok(conn.query_row("SELECT count(*) FROM later", [], |row| row.get::<_, i64>(0))?)
        })
        .await
    };
    later(test.db.clone()).await.expect_err("no such table");
    test.db.write(|tx| Ok(tx.execute_batch("CREATE TABLE later (a)")?)).await.unwrap();
    assert_eq!(*later(test.db.clone()).await.unwrap(), 0);

    // One key, two queries, and two types.
    let one = test.db.execute_cached("same", None, |_| Ok(1_i64)).await.unwrap();
    let two = test.db.execute_cached("same", None, |_| Ok(2_i64)).await.unwrap();
    let text = test.db.execute_cached("same", None, |_| Ok("three".to_owned())).await.unwrap();
    assert_eq!((*one, *two, text.as_str()), (1, 2, "three"));

    // Not first in, first out: what is asked for again and again survives a scan that is larger than the cache.
    let runs = Arc::new(AtomicUsize::new(0));
    for other in 0..200 {
        let runs = Arc::clone(&runs);
        let hot = move |_: &pool_manager::Connection| {
            runs.fetch_add(1, Ordering::SeqCst);
            Ok(0_i64)
        };
        test.db.execute_cached("hot", None, hot.clone()).await.unwrap();
        test.db.execute_cached("hot", None, hot).await.unwrap();
        test.db.execute_cached(format!("scan {other}"), None, |_| Ok(0_i64)).await.unwrap();
    }
    let runs = runs.load(Ordering::SeqCst);
    assert!(runs <= 10, "the hot result was evicted {runs} times by a scan");
}

/// "no caller; keyed without the connection, so one connection ran another's statement".
#[test]
fn statement_pooling() {
    let test = TestDb::new(PoolConfig::builder().max_connections(4).min_connections(0));
    test.fill(4);
    let held: Vec<_> = (0..4).map(|_| test.db.blocking().acquire().unwrap()).collect();
    for (at, conn) in held.iter().enumerate() {
        // Temporary tables are one connection's: a statement of another one would see its rows.
        conn.execute_batch(&format!("CREATE TEMP TABLE own (a); INSERT INTO own VALUES ({at})")).unwrap();
    }
    for _ in 0..10 {
        for (at, conn) in held.iter().enumerate() {
            let mut select = conn.prepare_cached("SELECT a FROM own").unwrap();
            assert_eq!(select.query_row([], |row| row.get::<_, usize>(0)).unwrap(), at);
        }
    }
    drop(held);
    let stats = test.db.pool_stats().unwrap();
    assert!(stats.statement_hits >= 32, "eight of ten times on each of four connections: {stats:?}");
}

/// "holders got \"closed database\"; acquire after close opened a new connection; the registry kept closed pools".
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing() {
    let test = TestDb::with_defaults();
    test.fill(1);
    let held = test.db.acquire().await.unwrap();
    let closing = tokio::spawn({
        let db = test.db.clone();
        async move { db.close_pool().await }
    });
    eventually("new work is refused", || test.db.blocking().read(|_| Ok(())).is_err());
    assert_eq!(
        held.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).unwrap(),
        1,
        "a holder finishes"
    );
    held.execute("UPDATE t SET value = 5", []).expect("and may write");
    drop(held);
    closing.await.unwrap().unwrap();
    assert!(matches!(test.db.acquire().await, Err(Error::Closed { .. })));
    let canonical = test.path().canonicalize().unwrap();
    assert!(!DatabaseManager::global_pool_stats().pools.iter().any(|(path, _)| *path == canonical));
    let leftovers: Vec<_> =
        std::fs::read_dir(test.folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(leftovers, ["test.sqlite"], "the log was written back and is gone");
    assert_eq!(test.foreign().query_row("SELECT value FROM t", [], |row| row.get::<_, i64>(0)).unwrap(), 5);

    let again = DatabaseManager::open(test.path()).unwrap();
    assert_eq!(count(&again, "t").unwrap(), 1, "the same file can be opened anew");
}

/// "0.65x of one plain connection": throughput is measured by `cargo xtask bench`. What made it so was that readers waited for each other:
/// here all connections read at the same moment.
#[test]
fn throughput_readers_run_side_by_side() {
    let test = TestDb::new(PoolConfig::builder().max_connections(8));
    test.fill(10);
    let together = std::sync::Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                test.db
                    .blocking()
                    .read(|conn| {
                        let mut statement = conn.prepare_cached("SELECT id FROM t")?;
                        let mut rows = statement.query([])?;
                        rows.next()?;
                        // Nobody passes unless all eight are in the middle of a query.
                        together.wait();
                        let mut seen = 1;
                        while rows.next()?.is_some() {
                            seen += 1;
                        }
                        assert_eq!(seen, 10);
                        Ok(())
                    })
                    .unwrap();
            });
        }
    });
}

/// "2.9x (ten connections against one)": what a connection may keep is bounded by a setting, and small by default.
#[test]
fn memory_of_a_connection_is_bounded() {
    let test = TestDb::with_defaults();
    let pages: i64 =
        test.db.blocking().read(|conn| Ok(conn.query_row("PRAGMA cache_size", [], |row| row.get(0))?)).unwrap();
    assert_eq!(pages, -2048, "2 MiB each, in KiB");
    let larger = TestDb::new(PoolConfig::builder().page_cache_size(8 << 20));
    let pages: i64 =
        larger.db.blocking().read(|conn| Ok(conn.query_row("PRAGMA cache_size", [], |row| row.get(0))?)).unwrap();
    assert_eq!(pages, -8192);
}

/// "`busy_timeout` 0: up to 99 % of writes failed with "database is locked"".
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writers() {
    let test = TestDb::with_defaults();
    test.fill(1);
    let writing: Vec<_> = (0..64)
        .map(|_| {
            let db = test.db.clone();
            tokio::spawn(async move {
                for _ in 0..5 {
                    db.execute_with_pool(|conn| Ok(conn.execute("UPDATE t SET value = value + 1", [])?)).await.unwrap();
                }
            })
        })
        .collect();
    for task in writing {
        task.await.unwrap();
    }
    let sum: i64 = test.db.read(|conn| Ok(conn.query_row("SELECT value FROM t", [], |row| row.get(0))?)).await.unwrap();
    assert_eq!(sum, 320);
}

/// "names and defaults pasted into SQL: `order`, `O'Reilly` fail, `x AS SELECT * FROM secrets --` copies a table".
#[test]
fn create_takes_names_and_defaults_as_data() {
    let test = TestDb::with_defaults();
    let blocking = test.db.blocking();
    blocking
        .write(|tx| Ok(tx.execute_batch("CREATE TABLE secrets (a); INSERT INTO secrets VALUES ('secret')")?))
        .unwrap();
    let names = ["order", "my table", "a\"quote", "O'Reilly", "x AS SELECT * FROM secrets --"];
    for name in names {
        let schema = Schema::new(name)
            .column(Column::number("id").primary())
            .column(Column::string("select").default("O'Reilly"))
            .column(Column::json("j").default(serde_json::json!({"who": "O'Reilly's"})));
        blocking.create(schema).unwrap_or_else(|error| panic!("{name}: {error}"));
        let quoted = name.replace('"', "\"\"");
        let (text, json): (String, String) = blocking
            .execute_pooled_transaction(|tx| {
                tx.execute_batch(&format!("INSERT INTO \"{quoted}\" (id) VALUES (1)"))?;
                let sql = format!("SELECT \"select\", j ->> 'who' FROM \"{quoted}\"");
                Ok(tx.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?)
            })
            .unwrap();
        assert_eq!((text.as_str(), json.as_str()), ("O'Reilly", "O'Reilly's"), "{name}");
    }
    let tables: HashSet<String> = blocking
        .read(|conn| {
            let mut list = conn.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?;
            Ok(list.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
        })
        .unwrap();
    let mut expected: HashSet<String> = names.iter().map(ToString::to_string).collect();
    expected.insert("secrets".to_owned());
    assert_eq!(tables, expected, "no table came of injected SQL");
}
