//! The write lane: nobody in this process sees another's lock, whoever came first writes first, and nobody waits for ever.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pool_manager::{Connection, DatabaseManager, Error, PoolConfig, Result, TransactionKind};

use crate::support::{ENDLESS, TestDb, count, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_caller_sees_a_lock_of_another_whatever_they_mix() {
    let test = TestDb::new(PoolConfig::builder().max_connections(4).acquire_timeout(Duration::from_secs(60)));
    test.fill(8);
    let (tasks, rounds) = (24, 12);
    let working: Vec<_> = (0..tasks)
        .map(|task| {
            let db = test.db.clone();
            tokio::spawn(async move {
                for round in 0..rounds {
                    let id = (task + round) % 8 + 1;
                    let add_one = "UPDATE t SET value = value + 1 WHERE id = ?1";
                    match (task + round) % 6 {
                        0 => db.execute_with_pool(move |conn| Ok(conn.execute(add_one, [id])?)).await.map(drop),
                        1 => db.write(move |tx| Ok(tx.execute(add_one, [id])?)).await.map(drop),
                        // Reads, then writes, in a transaction that began by reading.
                        2 => db
                            .execute_pooled_transaction_with(TransactionKind::Deferred, move |tx| {
                                let value: i64 =
                                    tx.query_row("SELECT value FROM t WHERE id = ?1", [id], |row| row.get(0))?;
                                Ok(tx.execute("UPDATE t SET value = ?2 WHERE id = ?1", [id, value + 1])?)
                            })
                            .await
                            .map(drop),
                        // The same by plain SQL.
                        3 => {
                            db.execute_with_pool(move |conn| {
                                conn.execute_batch("BEGIN")?;
                                let value: i64 =
                                    conn.query_row("SELECT value FROM t WHERE id = ?1", [id], |row| row.get(0))?;
                                conn.execute("UPDATE t SET value = ?2 WHERE id = ?1", [id, value + 1])?;
                                Ok(conn.execute_batch("COMMIT")?)
                            })
                            .await
                        }
                        4 => {
                            let conn = db.acquire().await.unwrap();
                            let sql = "UPDATE t SET value = value + 1 WHERE id = ?1 RETURNING value";
                            tokio::task::block_in_place(|| {
                                conn.query_row(sql, [id], |row| row.get::<_, i64>(0))
                                    .map(drop)
                                    .map_err(|error| conn.explain(error))
                            })
                        }
                        _ => db
                            .read(
                                |conn| Ok(conn.query_row("SELECT sum(value) FROM t", [], |row| row.get::<_, i64>(0))?),
                            )
                            .await
                            .map(drop),
                    }
                    .unwrap();
                }
            })
        })
        .collect();
    for task in working {
        task.await.unwrap();
    }
    let reads = (0..tasks * rounds).filter(|at| (at / rounds + at % rounds) % 6 == 5).count() as i64;
    let sum: i64 =
        test.db.read(|conn| Ok(conn.query_row("SELECT sum(value) FROM t", [], |row| row.get(0))?)).await.unwrap();
    assert_eq!(sum, tasks * rounds - reads, "every write arrived");
}

/// Starts a writer that has the lane when this returns, and keeps it until it is told to finish.
fn hold_the_lane<'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    db: &'scope DatabaseManager,
) -> std::sync::mpsc::Sender<()> {
    let (start, started) = std::sync::mpsc::channel();
    let (finish, finished) = std::sync::mpsc::channel();
    scope.spawn(move || {
        db.blocking()
            .write(move |_| {
                start.send(()).unwrap();
                finished.recv().map_err(Error::application)
            })
            .unwrap();
    });
    started.recv().unwrap();
    finish
}

#[test]
fn writers_are_served_in_the_order_they_came() {
    let test = TestDb::with_defaults();
    test.fill(1);
    let order = Arc::new(Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        let finish = hold_the_lane(scope, &test.db);
        for at in 0..6 {
            let (db, order) = (&test.db, Arc::clone(&order));
            scope.spawn(move || {
                db.blocking()
                    .write(move |_| {
                        order.lock().push(at);
                        Ok(())
                    })
                    .unwrap();
            });
            eventually("it stands in the queue", || db.pool_stats().unwrap().waiting_writers == at + 1);
        }
        finish.send(()).unwrap();
    });
    assert_eq!(*order.lock(), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_read_closure_can_not_write() {
    let test = TestDb::with_defaults();
    test.fill(3);
    for sql in [
        "INSERT INTO t VALUES (9, 9)",
        "DELETE FROM t",
        "CREATE TABLE x (a)",
        "DROP TABLE t",
        "BEGIN IMMEDIATE",
        "PRAGMA user_version = 3",
        "VACUUM",
        "CREATE TEMP TABLE x (a)",
        "UPDATE t SET value = 1 RETURNING id",
        "REPLACE INTO t VALUES (1, 5)",
    ] {
        let error = test.db.blocking().read(|conn| Ok(conn.execute_batch(sql)?)).expect_err(sql);
        assert!(matches!(error, Error::ReadOnly { .. }), "{sql}: {error:?}");
    }
    let (rows, sum): (i64, i64) = test
        .db
        .blocking()
        .read(|conn| {
            // A refused statement does not spoil the rest of the closure.
            conn.execute("DELETE FROM t", []).unwrap_err();
            Ok(conn.query_row("SELECT count(*), sum(value) FROM t", [], |row| Ok((row.get(0)?, row.get(1)?)))?)
        })
        .unwrap();
    assert_eq!((rows, sum), (3, 0));
}

#[test]
fn waiting_writers_leave_the_connections_to_readers() {
    let test = TestDb::new(PoolConfig::builder().max_connections(2));
    test.fill(1);
    std::thread::scope(|scope| {
        let db = &test.db;
        let finish = hold_the_lane(scope, db);
        let writers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(move || db.blocking().write(|tx| Ok(tx.execute("UPDATE t SET value = value + 1", [])?)))
            })
            .collect();
        for _ in 0..20 {
            assert_eq!(count(db, "t").unwrap(), 1);
        }
        finish.send(()).unwrap();
        for writer in writers {
            writer.join().unwrap().unwrap();
        }
    });
}

#[test]
fn a_held_lane_is_named_in_the_error_of_who_waited_in_vain() {
    let test = TestDb::new(PoolConfig::builder().acquire_timeout(Duration::from_millis(50)));
    test.fill(1);
    let first = test.db.blocking().acquire().unwrap();
    first.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = test.db.blocking().write(|_| Ok(())).expect_err("held by the first");
    assert!(matches!(error, Error::WriteLaneTimeout { .. }), "{error:?}");
    let update =
        |db: &DatabaseManager| db.blocking().execute_with_pool(|conn| Ok(conn.execute("UPDATE t SET value = 1", [])?));
    let error = update(&test.db).expect_err("held by the first");
    assert!(matches!(error, Error::WriteLaneTimeout { .. }), "{error:?}");
    let second = test.db.blocking().acquire().unwrap();
    let error = second.execute("UPDATE t SET value = 1", []).map_err(|error| second.explain(error)).expect_err("held");
    assert!(matches!(error, Error::WriteLaneTimeout { .. }), "{error:?}");
    // Reading goes on, also on the connection that was refused.
    assert_eq!(second.query_row("SELECT value FROM t", [], |row| row.get::<_, i64>(0)).unwrap(), 0);
    first.execute_batch("COMMIT").unwrap();
    second.execute("UPDATE t SET value = 1", []).expect("the lane is free again");
    update(&test.db).unwrap();
}

#[test]
fn a_lock_of_another_process_is_waited_for_and_then_named() {
    let test = TestDb::new(PoolConfig::builder().busy_timeout(Duration::from_millis(60)));
    test.fill(1);
    let other = test.foreign();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let write = || test.db.blocking().write(|tx| Ok(tx.execute("UPDATE t SET value = value + 1", [])?));
    let error = write().expect_err("locked");
    assert!(
        matches!(error, Error::Busy { busy_timeout, .. } if busy_timeout == Duration::from_millis(60)),
        "{error:?}"
    );
    assert_eq!(count(&test.db, "t").unwrap(), 1, "readers don't mind");
    other.execute_batch("COMMIT").unwrap();
    write().unwrap();
}

#[test]
fn an_open_query_that_read_an_older_version_is_told_so_when_it_writes() {
    let test = TestDb::with_defaults();
    test.fill(3);
    let outcome = test.db.blocking().execute_with_pool(|conn| {
        let mut select = conn.prepare("SELECT id FROM t")?;
        let mut rows = select.query([])?;
        rows.next()?;
        test.db.blocking().write(|tx| Ok(tx.execute("UPDATE t SET value = 9", [])?))?;
        Ok(conn.execute("UPDATE t SET value = 1", [])?)
    });
    assert!(matches!(outcome, Err(Error::StaleSnapshot { .. })), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_future_interrupts_its_query_and_no_other() {
    let test = TestDb::new(PoolConfig::builder().max_connections(1).min_connections(0));
    test.fill(1);
    let (start, started) = tokio::sync::oneshot::channel();
    let endless = tokio::spawn({
        let db = test.db.clone();
        async move {
            db.read(move |conn| {
                start.send(()).unwrap();
                Ok(conn.query_row(ENDLESS, [], |row| row.get::<_, i64>(0))?)
            })
            .await
        }
    });
    started.await.unwrap();
    endless.abort();
    // The only connection comes back, and the next holder's query runs to its end.
    for _ in 0..50 {
        let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000) SELECT count(*) FROM n";
        let rows: i64 = test.db.read(move |conn| Ok(conn.query_row(sql, [], |row| row.get(0))?)).await.unwrap();
        assert_eq!(rows, 1000);
    }
    assert_eq!(test.db.pool_stats().unwrap().total_created, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_write_is_undone_and_frees_the_lane() {
    let test = TestDb::with_defaults();
    test.fill(1);
    let (start, started) = tokio::sync::oneshot::channel();
    let writing = tokio::spawn({
        let db = test.db.clone();
        async move {
            db.write(move |tx| {
                tx.execute("UPDATE t SET value = 99", [])?;
                start.send(()).unwrap();
                Ok(tx.query_row(ENDLESS, [], |row| row.get::<_, i64>(0))?)
            })
            .await
        }
    });
    started.await.unwrap();
    writing.abort();
    let value: i64 = test.db.write(|tx| Ok(tx.query_row("SELECT value FROM t", [], |row| row.get(0))?)).await.unwrap();
    assert_eq!(value, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_reaches_its_caller_and_nobody_else() {
    let test = TestDb::new(PoolConfig::builder().max_connections(1));
    test.fill(1);
    let panicking = tokio::spawn({
        let db = test.db.clone();
        async move {
            db.write(|tx| -> pool_manager::Result<()> {
                tx.execute("UPDATE t SET value = 99", [])?;
                panic!("the closure's own");
            })
            .await
        }
    });
    let panic = panicking.await.expect_err("the panic goes on in the caller").into_panic();
    assert_eq!(*panic.downcast_ref::<&str>().unwrap(), "the closure's own");
    let blocking = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        test.db.blocking().execute_with_pool(|conn| -> pool_manager::Result<()> {
            conn.execute_batch("BEGIN; UPDATE t SET value = 98")?;
            panic!("another");
        })
    }));
    blocking.expect_err("the panic goes on in the caller");
    let value: i64 =
        test.db.read(|conn| Ok(conn.query_row("SELECT value FROM t", [], |row| row.get(0))?)).await.unwrap();
    assert_eq!(value, 0);
    test.db.write(|tx| Ok(tx.execute("UPDATE t SET value = 1", [])?)).await.unwrap();
}

#[test]
fn a_database_in_memory_is_one_for_all_and_has_no_locks_to_see() {
    let db = DatabaseManager::builder()
        .path(":memory:")
        .config(PoolConfig::builder().max_connections(6).acquire_timeout(Duration::from_secs(60)))
        .build()
        .unwrap();
    let other = DatabaseManager::open(":memory:").unwrap();
    db.blocking().write(|tx| Ok(tx.execute_batch("CREATE TABLE t (a)")?)).unwrap();
    other
        .blocking()
        .read(|conn| Ok(conn.query_row("SELECT count(*) FROM t", [], |_| Ok(()))?))
        .expect_err("another database");
    let db = Arc::new(db);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..40 {
                    db.blocking().execute_with_pool(|conn| Ok(conn.execute("INSERT INTO t VALUES (1)", [])?)).unwrap();
                    count(&db, "t").unwrap();
                }
            });
        }
    });
    assert_eq!(count(&db, "t").unwrap(), 320);
    let stats = db.pool_stats().unwrap();
    assert!(stats.total_created > 1, "several connections: {stats:?}");
    eventually("all connections are back", || db.pool_stats().unwrap().active_connections == 0);
}

#[test]
fn the_lane_is_kept_as_long_as_a_statement_that_writes_is_open() {
    let short = PoolConfig::builder().max_connections(3).acquire_timeout(Duration::from_millis(200));
    let test = TestDb::new(short.busy_timeout(Duration::from_millis(100)));
    test.fill(1);
    let one = test.db.blocking().acquire().unwrap();
    let mut statement = one.prepare("INSERT INTO t (value) VALUES (1), (2) RETURNING id").unwrap();
    let mut rows = statement.query([]).unwrap();
    rows.next().unwrap().unwrap();
    let write = || test.db.blocking().write(|tx| Ok(tx.execute("INSERT INTO t (value) VALUES (3)", [])?));
    assert!(matches!(write(), Err(Error::WriteLaneTimeout { .. })));
    // Another statement of the same connection ends half-way meanwhile.
    let _: i64 = one.query_row("SELECT id FROM t", [], |row| row.get(0)).unwrap();
    assert!(matches!(write(), Err(Error::WriteLaneTimeout { .. })));
    drop(rows);
    write().unwrap();
}

#[test]
fn statements_within_a_full_text_insert_do_not_give_the_lane_away() {
    let test = TestDb::with_defaults();
    test.fill(0);
    let create = "CREATE VIRTUAL TABLE words USING fts5(word); CREATE VIRTUAL TABLE boxes USING rtree(id, a, b)";
    test.db.blocking().write(|tx| Ok(tx.execute_batch(create)?)).unwrap();
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)";
    std::thread::scope(|scope| {
        for table in ["words(word) SELECT 'word ' || i FROM n", "boxes(id, a, b) SELECT i, i, i + 1 FROM n"] {
            let db = &test.db;
            scope.spawn(move || {
                for _ in 0..5 {
                    let sql = format!("{many} INSERT INTO {table}");
                    db.blocking().execute_with_pool(|conn| Ok(conn.execute(&sql, [])?)).unwrap();
                    db.blocking().execute_with_pool(|conn| Ok(conn.execute("DELETE FROM boxes", [])?)).unwrap();
                }
            });
        }
        // A transaction that reads first is the one that meets a lock given back too early at once.
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..200 {
                    test.db
                        .blocking()
                        .execute_pooled_transaction_with(TransactionKind::Deferred, |tx| {
                            let _: i64 = tx.query_row("SELECT count(*) FROM t", [], |row| row.get(0))?;
                            Ok(tx.execute("INSERT INTO t (value) VALUES (1)", [])?)
                        })
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(count(&test.db, "t").unwrap(), 400);
    assert_eq!(count(&test.db, "words").unwrap(), 10_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_future_gives_its_connection_back_while_it_waits_for_the_lane() {
    let test = TestDb::new(PoolConfig::builder().max_connections(2).acquire_timeout(Duration::from_secs(600)));
    test.fill(1);
    let holder = test.db.acquire().await.unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    for grouped in [false, true] {
        let db = test.db.clone();
        let waiting = tokio::spawn(async move {
            let insert = "INSERT INTO t (value) VALUES (1)";
            if grouped {
                db.write(move |tx| Ok(tx.execute(insert, [])?)).await
            } else {
                db.execute_with_pool(move |conn| Ok(conn.execute(insert, [])?)).await
            }
        });
        eventually("it waits for the lane", || test.db.pool_stats().unwrap().waiting_writers == 1);
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        // Both connections would be taken otherwise, for ten minutes.
        let rows = |conn: &pool_manager::Connection| {
            Ok(conn.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0))?)
        };
        assert_eq!(test.db.read(rows).await.unwrap(), 1);
    }
}

#[test]
fn readers_in_memory_read_side_by_side() {
    let db = DatabaseManager::new()
        .with_pooling(":memory:", PoolConfig::builder().max_connections(3).acquire_timeout(Duration::from_millis(300)))
        .unwrap();
    db.blocking().write(|tx| Ok(tx.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1), (2)")?)).unwrap();
    db.blocking()
        .read(|conn| {
            let mut statement = conn.prepare("SELECT a FROM t")?;
            let mut rows = statement.query([])?;
            rows.next()?;
            // One query is open; another connection reads, and none may write.
            assert_eq!(count(&db, "t")?, 2);
            let wrote = db.blocking().execute_with_pool(|conn| Ok(conn.execute("INSERT INTO t VALUES (3)", [])?));
            assert!(matches!(wrote, Err(Error::WriteLaneTimeout { .. })), "{wrote:?}");
            Ok(())
        })
        .unwrap();
    db.blocking().execute_with_pool(|conn| Ok(conn.execute("INSERT INTO t VALUES (3)", [])?)).unwrap();
    assert_eq!(count(&db, "t").unwrap(), 3);
}

#[test]
fn asking_for_the_journal_mode_is_reading_and_changing_it_is_refused_for_what_it_is() {
    let test = TestDb::with_defaults();
    test.fill(1);
    let blocking = test.db.blocking();
    let ask = |conn: &Connection| Ok(conn.query_row("PRAGMA main.journal_mode", [], |row| row.get::<_, String>(0))?);
    assert_eq!(blocking.read(ask).unwrap(), "wal");
    let through_a_table = "SELECT journal_mode FROM pragma_journal_mode";
    let asked = blocking.read(|conn| Ok(conn.query_row(through_a_table, [], |row| row.get::<_, String>(0))?));
    assert_eq!(asked.unwrap(), "wal");
    let set = |conn: &Connection, mode: &str| Ok(conn.pragma_update(None, "journal_mode", mode)?);
    let changed = blocking.read(|conn| set(conn, "wal"));
    assert!(matches!(changed, Err(Error::ReadOnly { .. })), "{changed:?}");
    blocking.execute_with_pool(|conn| set(conn, "wal")).unwrap();
    let changed = blocking.execute_with_pool(|conn| set(conn, "delete"));
    let Err(error @ Error::JournalModeInUse { .. }) = &changed else { panic!("{changed:?}") };
    assert!(error.to_string().contains("close the pool") && error.sqlite().is_some() && !error.is_transient());
    // A lock of another process is still that.
    drop(test.db.reconfigure(PoolConfig::builder().busy_timeout(Duration::from_millis(20))).unwrap());
    let foreign = test.foreign();
    foreign.execute_batch("BEGIN IMMEDIATE").unwrap();
    let held = blocking.acquire().unwrap();
    let changed = held.pragma_update(None, "journal_mode", "delete").map_err(|error| held.explain(error));
    assert!(matches!(changed, Err(Error::JournalModeInUse { .. })), "{changed:?}");
    let written = held.execute("UPDATE t SET value = 1", []).map_err(|error| held.explain(error));
    assert!(matches!(written, Err(Error::Busy { .. })), "{written:?}");
    assert_eq!(blocking.read(ask).unwrap(), "wal");
}

#[test]
fn a_table_that_can_not_be_seen_for_a_lock_is_not_said_to_be_missing() {
    let config = PoolConfig::builder().max_connections(2).busy_timeout(Duration::from_millis(20));
    let db = DatabaseManager::new().with_pooling(":memory:", config).unwrap();
    let (writer, reader) = (db.blocking().acquire().unwrap(), db.blocking().acquire().unwrap());
    // The reader has seen the schema before there was a table.
    writer.execute_batch("CREATE TABLE t (value); BEGIN IMMEDIATE").unwrap();
    let unseen = reader.query_row("SELECT count(*) FROM t", [], |_| Ok(())).expect_err("it can't look");
    let named = reader.explain(unseen);
    assert!(matches!(named, Error::WriteLaneTimeout { waited } if waited >= Duration::from_millis(20)), "{named:?}");
    writer.execute_batch("COMMIT").unwrap();
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    drop(reader);
    db.reconfigure(PoolConfig::builder().layer(&*db.config()).synchronous(pool_manager::Synchronous::Full)).unwrap();
    let unopened = db.blocking().acquire().expect_err("it can't be set up").to_string();
    assert_eq!(unopened, "cannot open database \":memory:\": a transaction of this process keeps it locked");
    writer.execute_batch("COMMIT").unwrap();
    let reader = db.blocking().acquire().unwrap();
    let missing = reader.query_row("SELECT count(*) FROM u", [], |_| Ok(())).expect_err("there is none");
    assert!(matches!(reader.explain(missing), Error::Sqlite(_)));
}

#[test]
fn busy_says_how_long_was_waited() {
    let test = TestDb::new(PoolConfig::builder().busy_timeout(Duration::from_millis(50)));
    test.fill(1);
    let foreign = test.foreign();
    foreign.execute_batch("BEGIN IMMEDIATE").unwrap();
    let at_once = test.db.blocking().execute_pooled_transaction_with(TransactionKind::Deferred, |tx| {
        let _: i64 = tx.query_row("SELECT count(*) FROM t", [], |row| row.get(0))?;
        Ok(tx.execute("INSERT INTO t (value) VALUES (1)", [])?)
    });
    assert!(matches!(at_once, Err(Error::Busy { waited: Duration::ZERO, .. })), "{at_once:?}");
    let waited = test.db.blocking().write(|_| Ok(()));
    assert!(matches!(waited, Err(Error::Busy { waited, .. }) if waited >= Duration::from_millis(50)), "{waited:?}");
}

#[test]
fn a_read_closure_writes_no_other_way_either() {
    let test = TestDb::with_defaults();
    test.fill(1);
    for sql in ["\u{feff}BEGIN", "BEGIN IMMEDIATE; INSERT INTO t (value) VALUES (1); COMMIT"] {
        let _ = test.db.blocking().read(|conn| Ok(conn.execute_batch(sql)?));
    }
    assert_eq!(count(&test.db, "t").unwrap(), 1);
}

#[test]
fn a_task_that_has_had_its_share_of_its_runtime_still_gets_what_it_blocks_for() {
    let test = TestDb::new(PoolConfig::builder().acquire_timeout(Duration::from_secs(600)));
    test.fill(3_000);
    let db = test.db.clone();
    let task = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            // No more than 128 units before it has to let others run: https://docs.rs/tokio/latest/tokio/task/coop
            std::future::poll_fn(|context| {
                for _ in 0..1_000 {
                    let _ = std::pin::pin!(tokio::task::consume_budget()).poll(context);
                }
                std::task::Poll::Ready(())
            })
            .await;
            let held = db.blocking().acquire().unwrap();
            let transaction = held.transaction().unwrap();
            transaction.execute("UPDATE t SET value = 1", []).unwrap();
            transaction.commit().unwrap();
            drop(held);
            db.blocking().write(|tx| Ok(tx.execute("UPDATE t SET value = value + 1", [])?)).unwrap();
            let rows = db.blocking().read_stream("SELECT value FROM t", [], |row| row.get::<_, i64>(0));
            rows.map(Result::unwrap).sum::<i64>()
        })
    });
    eventually("it is done", || task.is_finished());
    assert_eq!(task.join().unwrap(), 6_000);
}
