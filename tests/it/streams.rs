//! Rows as a stream: bounded memory, one state of the database, and an end that harms nobody, whatever brings it about.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use pool_manager::rusqlite::{self, Row, named_params, params};
use pool_manager::{DatabaseManager, Error, PoolConfig, Result, RowStream};

use crate::support::{TestDb, count, eventually};

const MILLION: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000000) SELECT i, printf('%0100d', i) FROM n";

/// What may be on its way: see `read_stream`.
const ON_THEIR_WAY: usize = 1_024;

fn first(row: &Row<'_>) -> rusqlite::Result<i64> {
    row.get(0)
}

fn leased(db: &DatabaseManager) -> usize {
    db.pool_stats().unwrap().active_connections
}

async fn rest<T>(stream: &mut RowStream<T>) -> Result<Vec<T>> {
    let mut rows = Vec::new();
    while let Some(row) = stream.next().await {
        rows.push(row?);
    }
    Ok(rows)
}

/// Counts the rows that `map` made.
fn counted(made: &Arc<AtomicUsize>) -> impl FnMut(&Row<'_>) -> rusqlite::Result<i64> + use<> {
    let made = Arc::clone(made);
    move |row| {
        made.fetch_add(1, Ordering::SeqCst);
        row.get(0)
    }
}

#[tokio::test]
async fn all_rows_come_in_order_and_then_the_connection_is_back() {
    let test = TestDb::new(PoolConfig::builder().max_connections(1));
    test.fill(3_000);
    for rows in [0, 1, 255, 256, 257, 1_024, 2_999] {
        let mut stream = test.db.read_stream("SELECT id FROM t WHERE id <= ?1 ORDER BY id", params![rows], first);
        assert_eq!(rest(&mut stream).await.unwrap(), (1..=rows).collect::<Vec<i64>>());
        assert_eq!(leased(&test.db), 0, "{rows} rows");
        assert!(stream.next().await.is_none(), "it stays at its end");
    }
    let numbers = test.db.blocking().read_stream("SELECT id FROM t ORDER BY id", [], first);
    assert_eq!(numbers.collect::<Result<Vec<_>>>().unwrap(), (1..=3_000).collect::<Vec<i64>>());
    assert_eq!(test.db.pool_stats().unwrap().total_created, 1, "the connection was never replaced");
}

#[tokio::test]
async fn parameters_of_streams_take_the_forms_that_rusqlite_takes() {
    let test = TestDb::with_defaults();
    test.fill(9);
    let sql = "SELECT id FROM t WHERE id > ?1 AND id < ?2";
    let named = "SELECT id FROM t WHERE id > :from AND id < :to";
    let blocking = test.db.blocking();
    let streams = [
        test.db.read_stream(sql, (3, 6), first),
        test.db.read_stream(sql, [3, 6], first),
        test.db.read_stream(sql, vec![3, 6], first),
        test.db.read_stream(sql, params![3, "6"], first),
        test.db.read_stream(named, named_params! { ":to": 6, ":from": 3 }, first),
    ];
    for mut stream in streams {
        assert_eq!(rest(&mut stream).await.unwrap(), [4, 5]);
    }
    let rows = blocking.read_stream(named, &[(":from", &3), (":to", &6)], first);
    assert_eq!(rows.collect::<Result<Vec<_>>>().unwrap(), [4, 5]);
    let mut missing = test.db.read_stream(named, named_params! { ":form": 3 }, first);
    missing.next().await.unwrap().expect_err("there is no such parameter");
}

#[tokio::test]
async fn it_is_a_stream_to_others() {
    async fn sum(stream: impl futures_core::Stream<Item = Result<i64>>) -> i64 {
        let mut stream = std::pin::pin!(stream);
        let mut sum = 0;
        while let Some(row) = std::future::poll_fn(|context| stream.as_mut().poll_next(context)).await {
            sum += row.unwrap();
        }
        sum
    }
    let test = TestDb::with_defaults();
    test.fill(1_000);
    assert_eq!(sum(test.db.read_stream("SELECT id FROM t", [], first)).await, 500_500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_takes_ten_of_a_million_has_few_made() {
    let test = TestDb::with_defaults();
    test.fill(1);
    let made = Arc::new(AtomicUsize::new(0));
    let mut stream = test.db.read_stream(MILLION, [], counted(&made));
    for expected in 1..=10 {
        assert_eq!(stream.next().await.unwrap().unwrap(), expected);
    }
    assert_eq!(leased(&test.db), 1, "a stream is a leased connection");
    // The producer comes to rest with what may be on its way.
    let mut seen = 0;
    eventually("it waits for its consumer", || {
        let before = std::mem::replace(&mut seen, made.load(Ordering::SeqCst));
        std::thread::park_timeout(Duration::from_millis(20));
        seen > 0 && seen == before
    });
    assert!(seen <= ON_THEIR_WAY, "{seen} rows");
    drop(stream);
    eventually("the connection is back", || leased(&test.db) == 0);
    assert!(made.load(Ordering::SeqCst) <= ON_THEIR_WAY, "and makes no more");
    assert_eq!(count(&test.db, "t").unwrap(), 1);
}

#[tokio::test]
async fn large_rows_count_by_their_bytes() {
    let test = TestDb::with_defaults();
    let made = Arc::new(AtomicUsize::new(0));
    let large = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i, zeroblob(100000) FROM n";
    let mut stream = test.db.read_stream(large, [], counted(&made));
    assert_eq!(stream.next().await.unwrap().unwrap(), 1);
    let mut seen = 0;
    eventually("it waits for its consumer", || {
        let before = std::mem::replace(&mut seen, made.load(Ordering::SeqCst));
        std::thread::park_timeout(Duration::from_millis(20));
        seen == before
    });
    assert!((1..=4).contains(&seen), "{seen} rows of 100,000 bytes");
}

#[tokio::test]
async fn its_rows_are_of_one_state_whoever_commits_meanwhile() {
    let test = TestDb::with_defaults();
    test.fill(5_000);
    let foreign = test.foreign();
    let mut stream = test.db.read_stream("SELECT value FROM t ORDER BY id", [], first);
    assert_eq!(stream.next().await.unwrap().unwrap(), 0);
    // The last rows were certainly not read yet.
    foreign.execute("UPDATE t SET value = 1", []).unwrap();
    test.db.write(|tx| Ok(tx.execute("DELETE FROM t WHERE id > 4000", [])?)).await.unwrap();
    assert_eq!(rest(&mut stream).await.unwrap(), vec![0; 4_999]);
    let mut after = test.db.read_stream("SELECT value FROM t", [], first);
    assert_eq!(rest(&mut after).await.unwrap(), vec![1; 4_000]);
}

#[tokio::test]
async fn a_row_does_not_wait_for_company_of_one_that_takes_for_ever() {
    let test = TestDb::with_defaults();
    // One row, and then none for ever.
    let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n WHERE i IN (200000, 300000) LIMIT 3";
    let mut stream = test.db.read_stream(sql, [], first);
    assert_eq!(stream.next().await.unwrap().unwrap(), 200_000);
    assert_eq!(stream.next().await.unwrap().unwrap(), 300_000);
    drop(stream);
    eventually("the query is interrupted", || leased(&test.db) == 0);
}

#[tokio::test]
async fn dropping_it_before_during_and_after_leaves_a_clean_connection() {
    let test = TestDb::new(PoolConfig::builder().max_connections(1));
    test.fill(2_000);
    for taken in [0, 1, 300, 1_999, 2_000] {
        let mut stream = test.db.read_stream("SELECT id FROM t", [], first);
        for _ in 0..taken {
            stream.next().await.unwrap().unwrap();
        }
        drop(stream);
        assert_eq!(test.db.read(|conn| Ok(conn.is_autocommit())).await.ok(), Some(true), "after {taken}");
    }
    drop(test.db.read_stream("SELECT id FROM t", [], first));
    // While it waits for a connection, too.
    let held = test.db.acquire().await.unwrap();
    let mut waiting = test.db.read_stream("SELECT id FROM t", [], first);
    let polled = std::future::poll_fn(|context| Poll::Ready(std::pin::pin!(waiting.next()).poll(context).is_pending()));
    assert!(polled.await);
    assert_eq!(test.db.pool_stats().unwrap().waiting_clients, 1);
    drop(waiting);
    assert_eq!(test.db.pool_stats().unwrap().waiting_clients, 0);
    drop(held);
    assert_eq!(test.db.pool_stats().unwrap().total_created, 1);
}

#[tokio::test]
async fn an_error_comes_after_the_rows_before_it_and_ends_the_stream() {
    let test = TestDb::with_defaults();
    test.fill(600);
    let half = |row: &Row<'_>| match row.get::<_, i64>(0)? {
        301 => row.get::<_, String>(0).map(|_| 0),
        id => Ok(id),
    };
    let mut stream = test.db.read_stream("SELECT id FROM t ORDER BY id", [], half);
    for expected in 1..=300 {
        assert_eq!(stream.next().await.unwrap().unwrap(), expected);
    }
    let error = stream.next().await.unwrap().expect_err("a number is no text");
    assert!(matches!(error, Error::Sqlite(_)), "{error:?}");
    assert!(stream.next().await.is_none());
    // What SQLite finds half-way.
    let mut stream = test.db.read_stream("SELECT abs(iif(id < 11, id, -9223372036854775808)) FROM t", [], first);
    assert_eq!((&mut stream).take_rows(10).await, (1..=10).collect::<Vec<_>>());
    assert!(stream.next().await.unwrap().is_err(), "integer overflow");
    assert!(stream.next().await.is_none());
    // What is wrong from the start.
    let refused = |sql: &str| test.db.read_stream(sql, [], first);
    assert!(matches!(refused("SELECT nothing FROM nowhere").next().await, Some(Err(Error::Sqlite(_)))));
    let writes = refused("UPDATE t SET value = 1 RETURNING id").next().await;
    assert!(matches!(writes, Some(Err(Error::ReadOnly { .. }))), "{writes:?}");
    assert!(matches!(refused("SELECT ?1").next().await, Some(Err(Error::Sqlite(_)))), "a parameter too few");
    assert_eq!(leased(&test.db), 0);
}

trait TakeRows {
    async fn take_rows(self, rows: usize) -> Vec<i64>;
}

impl TakeRows for &mut RowStream<i64> {
    async fn take_rows(self, rows: usize) -> Vec<i64> {
        let mut taken = Vec::new();
        for _ in 0..rows {
            taken.push(self.next().await.unwrap().unwrap());
        }
        taken
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_the_pool_ends_a_stream_that_nobody_consumes() {
    let test = TestDb::with_defaults();
    test.fill(1);
    let mut stream = test.db.read_stream(MILLION, [], first);
    assert_eq!(stream.next().await.unwrap().unwrap(), 1);
    test.db.close_pool_within(Duration::ZERO).await.expect("its connection comes back");
    let outcome = rest(&mut stream).await;
    assert!(matches!(outcome, Err(Error::Interrupted { .. })), "{outcome:?}");
    let mut late = test.db.read_stream("SELECT 1", [], first);
    assert!(matches!(late.next().await, Some(Err(Error::Closed { .. }))));
}

#[tokio::test]
async fn a_panic_of_map_reaches_the_consumer_and_nobody_else() {
    let test = TestDb::new(PoolConfig::builder().max_connections(1));
    test.fill(10);
    let panics = |row: &Row<'_>| match row.get::<_, i64>(0)? {
        5 => panic!("at the fifth"),
        id => Ok(id),
    };
    let mut stream = test.db.read_stream("SELECT id FROM t ORDER BY id", [], panics);
    assert_eq!((&mut stream).take_rows(4).await, [1, 2, 3, 4]);
    let stream = tokio::spawn(async move { stream.next().await });
    let panic = stream.await.expect_err("panicked").into_panic();
    assert_eq!(panic.downcast_ref(), Some(&"at the fifth"));
    assert_eq!(count(&test.db, "t").unwrap(), 10);

    let mut numbers = test.db.blocking().read_stream("SELECT id FROM t ORDER BY id", [], panics);
    assert_eq!(numbers.by_ref().take(4).count(), 4);
    assert!(std::panic::catch_unwind(AssertUnwindSafe(|| numbers.next())).is_err());
    assert!(numbers.next().is_none());
    assert_eq!(leased(&test.db), 0);
}

#[test]
fn it_needs_no_runtime() {
    let test = TestDb::with_defaults();
    test.fill(2_000);
    let sum: i64 = test.db.blocking().read_stream("SELECT id FROM t", [], first).map(|row| row.unwrap()).sum();
    assert_eq!(sum, 2_001_000);
    let few = test.db.blocking().read_stream(MILLION, [], first).take(3);
    assert_eq!(few.collect::<Result<Vec<_>>>().unwrap(), [1, 2, 3]);
    eventually("the connection is back", || leased(&test.db) == 0);
}

#[test]
fn a_runtime_that_is_gone_ends_it_with_an_error() {
    let test = TestDb::new(PoolConfig::builder().max_connections(2));
    test.fill(1);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).max_blocking_threads(1).build().unwrap();
    let (done, wait) = std::sync::mpsc::channel::<()>();
    // The only blocking thread is taken, so the query stays where it is, and is dropped with the runtime.
    drop(runtime.spawn_blocking(move || wait.recv()));
    let mut stream = test.db.read_stream("SELECT id FROM t", [], first);
    let started = runtime.block_on(async {
        std::future::poll_fn(|context| Poll::Ready(std::pin::pin!(stream.next()).poll(context).is_pending())).await
    });
    assert!(started && leased(&test.db) == 1);
    runtime.shutdown_background();
    drop(done);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let outcome = runtime.block_on(stream.next());
    assert!(matches!(outcome, Some(Err(Error::System { .. }) | Ok(1))), "{outcome:?}");
    assert!(runtime.block_on(stream.next()).is_none());
    eventually("the connection is back", || leased(&test.db) == 0);
}
