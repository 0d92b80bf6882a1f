//! Bulk work in slices: others get their turn, and nothing is half done.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use pool_manager::{CallOptions, DatabaseManager, Error, PoolConfig, Result, Transaction, TransactionKind};

use crate::support::{ENDLESS, TestDb, count, eventually};

/// Slices of 100 items, however long they take.
fn sliced() -> TestDb {
    let config = PoolConfig::builder()
        .write_batch_max(100)
        .write_batch_time(Duration::from_secs(60))
        .acquire_timeout(Duration::from_secs(60));
    let test = TestDb::new(config);
    test.fill(0);
    test
}

fn insert(tx: &Transaction<'_>, value: i64) -> Result<()> {
    tx.prepare_cached("INSERT INTO t (value) VALUES (?1)")?.execute([value])?;
    Ok(())
}

fn rows(test: &TestDb) -> u64 {
    count(&test.db, "t").unwrap() as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_writes_wait_for_one_slice_at_most() {
    const ITEMS: i64 = 100_000;
    let test = TestDb::new(PoolConfig::builder().acquire_timeout(Duration::from_secs(60)));
    test.fill(0);
    test.db.write(|tx| Ok(tx.execute_batch("CREATE TABLE other (a)")?)).await.unwrap();
    let most = test.db.config().write_batch_max() as i64;
    let begun = Arc::new(AtomicI64::new(0));
    // In which item of the bulk work another write came, and in which it was served.
    let served = Arc::new(Mutex::new(Vec::new()));
    let runtime = tokio::runtime::Handle::current();
    let (db, came, notes) = (test.db.clone(), Arc::clone(&begun), Arc::clone(&served));
    let each = move |tx: &Transaction<'_>, item: i64| {
        came.store(item, Ordering::SeqCst);
        if item % 2_500 == 17 {
            let (other, came, notes) = (db.clone(), Arc::clone(&came), Arc::clone(&notes));
            runtime.spawn(async move {
                let write = other.write(move |tx| {
                    notes.lock().push((item, came.load(Ordering::SeqCst)));
                    Ok(tx.execute("INSERT INTO other VALUES (1)", [])?)
                });
                write.await.unwrap();
            });
            eventually("it waits", || db.pool_stats().unwrap().waiting_writers > 0);
        }
        insert(tx, item)
    };
    let again = each.clone();
    assert_eq!(test.db.write_many(0..ITEMS, each).await.unwrap(), ITEMS as u64);
    let db = test.db.clone();
    let thread = tokio::task::spawn_blocking(move || db.blocking().write_many(0..ITEMS, again));
    assert_eq!(thread.await.unwrap().unwrap(), ITEMS as u64);
    assert_eq!(rows(&test), 2 * ITEMS as u64);
    eventually("all were served", || count(&test.db, "other").unwrap() == 80);
    for (item, at) in served.lock().iter() {
        assert!(at - item < most, "came in item {item} and was served in {at}");
    }
}

#[tokio::test]
async fn an_item_that_fails_takes_its_slice_with_it_and_no_other() {
    let test = sliced();
    let each = |tx: &Transaction<'_>, item: i64| {
        insert(tx, item)?;
        if item == 750 { Err(Error::application("its own")) } else { Ok(()) }
    };
    for round in 1..=2 {
        let stopped = match round {
            1 => test.db.write_many(0.., each).await,
            _ => test.db.blocking().write_many(0.., each),
        };
        match stopped {
            Err(Error::BulkStopped { written: 700, source }) => {
                assert!(matches!(*source, Error::Application(_)), "{source:?}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(rows(&test), 700 * round);
    }
    let missing =
        test.db.write_many(0..10, |tx, _| Ok(tx.execute("INSERT INTO missing VALUES (1)", []).map(drop)?)).await;
    assert!(matches!(&missing, Err(error @ Error::BulkStopped { written: 0, .. }) if error.sqlite().is_some()));
}

#[tokio::test]
async fn a_panic_takes_its_slice_with_it_and_goes_on_in_the_caller() {
    let test = sliced();
    let items = || (0..).inspect(|item| assert!(*item < 250, "the iterator's own"));
    let each = |tx: &Transaction<'_>, item: i64| {
        assert!(item < 150, "the closure's own");
        insert(tx, item)
    };
    let db = test.db.clone();
    let panic = tokio::spawn(async move { db.write_many(items(), insert).await }).await.unwrap_err();
    assert_eq!(*panic.into_panic().downcast_ref::<&str>().unwrap(), "the iterator's own");
    assert_eq!(rows(&test), 200);
    let db = test.db.clone();
    let panic = tokio::spawn(async move { db.write_many(0.., each).await }).await.unwrap_err();
    assert_eq!(*panic.into_panic().downcast_ref::<&str>().unwrap(), "the closure's own");
    assert_eq!(rows(&test), 300);
    let blocking = std::panic::AssertUnwindSafe(|| test.db.blocking().write_many(items(), each));
    std::panic::catch_unwind(blocking).unwrap_err();
    assert_eq!(rows(&test), 400);
    assert_eq!(test.db.write_many(0..10, insert).await.unwrap(), 10, "the lane is free");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_work_that_is_dropped_ends_between_two_slices() {
    let test = sliced();
    for round in 0..20 {
        let (reach, reached) = tokio::sync::oneshot::channel();
        let mut reach = Some(reach);
        let db = test.db.clone();
        let endless = tokio::spawn(async move {
            db.write_many(0.., move |tx, item| {
                if item == 300 + 13 * round
                    && let Some(reach) = reach.take()
                {
                    let _ = reach.send(());
                }
                insert(tx, item)
            })
            .await
        });
        reached.await.unwrap();
        endless.abort();
        assert!(endless.await.unwrap_err().is_cancelled());
        test.db.write(|_| Ok(())).await.unwrap();
        assert_eq!(rows(&test) % 100, 0);
    }
    assert!(rows(&test) >= 20 * 300);
}

/// Writes without end, in one of both forms, and closes the pool with so long a deadline in the middle of the fourth slice, which `goes_on`.
/// Returns what was said to be written, why no more was, and how many rows there are.
async fn closed_amidst(
    blocking: bool,
    deadline: Duration,
    goes_on: fn(&Transaction<'_>) -> Result<()>,
) -> (u64, Error, u64) {
    let test = sliced();
    let db = test.db.clone();
    let (reach, reached) = tokio::sync::oneshot::channel();
    let mut reach = Some(reach);
    let (other, each) = (test.db.clone(), move |tx: &Transaction<'_>, item: i64| {
        if item == 350
            && let Some(reach) = reach.take()
        {
            reach.send(()).unwrap();
            let refuses = || matches!(db.blocking().read(|_| Ok(())), Err(Error::Closed { .. }));
            eventually("it closes", refuses);
            goes_on(tx)?;
        }
        insert(tx, item)
    });
    let work = if blocking {
        tokio::task::spawn_blocking(move || other.blocking().write_many(0.., each))
    } else {
        tokio::spawn(async move { other.write_many(0.., each).await })
    };
    reached.await.unwrap();
    test.db.close_pool_within(deadline).await.unwrap();
    let Err(Error::BulkStopped { written, source }) = work.await.unwrap() else { panic!("it has no end") };
    let rows = test.foreign().query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0));
    (written, *source, rows.unwrap() as u64)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_amidst_bulk_work_leaves_whole_slices_and_says_how_many() {
    for blocking in [false, true] {
        let (written, why, rows) = closed_amidst(blocking, Duration::from_secs(60), |_| Ok(())).await;
        assert_eq!((written, rows), (400, 400), "the slice that runs is finished: {why:?}");
        assert!(matches!(why, Error::Closed { .. }), "{why:?}");
        let endless = |tx: &Transaction<'_>| Ok(tx.query_row(ENDLESS, [], |_| Ok(()))?);
        let (written, why, rows) = closed_amidst(blocking, Duration::ZERO, endless).await;
        assert_eq!((written, rows), (300, 300), "the slice that was interrupted is undone: {why:?}");
        assert!(matches!(why, Error::Interrupted { .. }), "{why:?}");
    }
}

#[tokio::test]
async fn items_are_asked_for_one_at_a_time_and_not_after_the_last() {
    let test = sliced();
    let asked = Arc::new(AtomicU64::new(0));
    let (asks, sees) = (Arc::clone(&asked), Arc::clone(&asked));
    // Not fused, and does not know its end: to ask it again would begin anew.
    let items = std::iter::from_fn(move || {
        let at = asks.fetch_add(1, Ordering::SeqCst);
        (at != 250).then_some(at as i64)
    });
    let each = move |tx: &Transaction<'_>, item: i64| {
        assert_eq!(sees.load(Ordering::SeqCst), item as u64 + 1);
        insert(tx, item)
    };
    assert_eq!(test.db.write_many(items, each).await.unwrap(), 250);
    assert_eq!(asked.load(Ordering::SeqCst), 251);
    let borrowed = [1, 2, 3];
    let mut sum = 0;
    let written = test.db.blocking().write_many(&borrowed, |tx, item| {
        sum += item;
        insert(tx, *item)
    });
    assert_eq!((written.unwrap(), sum), (3, 6));
    assert_eq!(test.db.write_many([], insert).await.unwrap(), 0);
    assert_eq!(test.db.write_many(vec![7; 200], insert).await.unwrap(), 200);
    assert_eq!(rows(&test), 453);
}

#[tokio::test]
async fn the_deadline_of_bulk_work_is_one_for_all_slices() {
    let test = sliced();
    let mut before = 0;
    for way in 0..2 {
        let options = CallOptions::new().timeout(Duration::from_millis(40));
        let stopped = match way {
            0 => test.db.write_many_with(options, 0.., insert).await,
            _ => test.db.blocking().write_many_with(options, 0.., insert),
        };
        let Err(Error::BulkStopped { written, source }) = stopped else { panic!("{stopped:?}") };
        assert!(matches!(*source, Error::DeadlinePassed { .. }), "{source:?}");
        test.db.write(|_| Ok(())).await.unwrap();
        assert_eq!(rows(&test), before + written);
        before += written;
    }
}

#[test]
fn slices_stand_in_one_queue_with_all_other_writes() {
    let test = sliced();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let holder = test.db.blocking().acquire().unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut threads = Vec::new();
    for at in 0..12_usize {
        let (db, noted) = (test.db.clone(), Arc::clone(&order));
        let note = move || -> Result<()> {
            noted.lock().push(at);
            Ok(())
        };
        // The first of each slice notes it.
        let notes = move |note: &dyn Fn() -> Result<()>, item: i64| if item % 100 == 0 { note() } else { Ok(()) };
        match at % 6 {
            0 => {
                let each = move |tx: &Transaction<'_>, item| {
                    notes(&note, item)?;
                    insert(tx, item)
                };
                drop(runtime.spawn(async move { db.write_many(0..200, each).await }));
            }
            1 => threads.push(std::thread::spawn(move || {
                let each = |tx: &Transaction<'_>, item| {
                    notes(&note, item)?;
                    insert(tx, item)
                };
                db.blocking().write_many(0..200, each).map(drop)
            })),
            2 => drop(runtime.spawn(async move { db.write(move |_| note()).await })),
            3 => threads.push(std::thread::spawn(move || db.blocking().write(move |_| note()))),
            4 => {
                let options = CallOptions::new().timeout(Duration::from_secs(60));
                drop(runtime.spawn(async move { db.write_with(options, move |_| note()).await }));
            }
            _ => {
                let options = CallOptions::new().timeout(Duration::from_secs(60)).kind(TransactionKind::Deferred);
                threads.push(std::thread::spawn(move || db.blocking().transaction_with(options, |_| note())));
            }
        }
        eventually("it waits", || test.db.pool_stats().unwrap().waiting_writers == at + 1);
    }
    drop(holder);
    threads.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
    eventually("all have written", || order.lock().len() == 16);
    let order = order.lock();
    // The second slices come after all others; which of them first is for their callers to say.
    assert_eq!(order[..12], (0..12).collect::<Vec<_>>());
    let mut second = order[12..].to_vec();
    second.sort_unstable();
    assert_eq!(second, [0, 1, 6, 7]);
}

/// What one of many callers does in one round.
fn turn_of(caller: usize, round: usize) -> usize {
    (caller * 7 + round * 3) % 8
}

const ADD: &str = "UPDATE t SET value = value + 1 WHERE id = ?1";

fn add(conn: &pool_manager::Connection, id: i64) -> Result<()> {
    Ok(conn.prepare_cached(ADD)?.execute([id]).map(drop)?)
}

fn read_modify_write(conn: &pool_manager::Connection, id: i64) -> Result<()> {
    let value: i64 = conn.prepare_cached("SELECT value FROM t WHERE id = ?1")?.query_row([id], |row| row.get(0))?;
    Ok(conn.prepare_cached("UPDATE t SET value = ?2 WHERE id = ?1")?.execute([id, value + 1]).map(drop)?)
}

fn make_and_drop(tx: &Transaction<'_>, table: usize) -> Result<()> {
    let ddl = format!("CREATE TABLE x{table} (a); INSERT INTO x{table} VALUES (1); DROP TABLE x{table}");
    Ok(tx.execute_batch(&ddl)?)
}

fn sum(conn: &pool_manager::Connection) -> Result<i64> {
    Ok(conn.prepare_cached("SELECT sum(value) FROM t")?.query_row([], |row| row.get(0))?)
}

async fn as_a_task(db: &DatabaseManager, caller: usize, round: usize) -> Result<u64> {
    let id = (caller % 8) as i64 + 1;
    let options = CallOptions::new().timeout(Duration::from_secs(60));
    match turn_of(caller, round) {
        0 => db.read(sum).await.map(|_| 0),
        1 => db.write(move |tx| add(tx, id)).await.map(|()| 1),
        2 => db.transaction_with(TransactionKind::Deferred, move |tx| read_modify_write(tx, id)).await.map(|()| 1),
        3 => db.write_many(1..=8, |tx, id| add(tx, id)).await,
        4 => db.write(move |tx| make_and_drop(tx, caller)).await.map(|()| 0),
        5 => db.execute_with_pool(move |conn| add(conn, id)).await.map(|()| 1),
        6 => db.write_with(options, move |tx| read_modify_write(tx, id)).await.map(|()| 1),
        _ => db.read_with(options, sum).await.map(|_| 0),
    }
}

fn as_a_thread(db: &DatabaseManager, caller: usize, round: usize) -> Result<u64> {
    let id = (caller % 8) as i64 + 1;
    let options = CallOptions::new().timeout(Duration::from_secs(60));
    let db = db.blocking();
    match turn_of(caller, round) {
        0 => db.read(sum).map(|_| 0),
        1 => db.write(move |tx| add(tx, id)).map(|()| 1),
        2 => db.transaction_with(TransactionKind::Deferred, |tx| read_modify_write(tx, id)).map(|()| 1),
        3 => db.write_many(1..=8, |tx, id| add(tx, id)),
        4 => db.write(move |tx| make_and_drop(tx, caller)).map(|()| 0),
        5 => db.execute_with_pool(|conn| add(conn, id)).map(|()| 1),
        6 => db.write_with(options, move |tx| read_modify_write(tx, id)).map(|()| 1),
        _ => db.read_with(options, sum).map(|_| 0),
    }
}

#[test]
fn sixty_four_tasks_and_eight_threads_never_see_a_lock() {
    // Slices of three: bulk work takes several turns.
    let config = PoolConfig::builder().max_connections(6).write_batch_max(3).acquire_timeout(Duration::from_secs(60));
    let test = TestDb::new(config);
    test.fill(8);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let rounds = 16;
    let tasks: Vec<_> = (0..64)
        .map(|caller| {
            let db = test.db.clone();
            runtime.spawn(async move {
                let mut added = 0;
                for round in 0..rounds {
                    added += as_a_task(&db, caller, round).await.unwrap();
                }
                added
            })
        })
        .collect();
    let mut added: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (64..72)
            .map(|caller| {
                let db = &test.db;
                scope.spawn(move || (0..rounds).map(|round| as_a_thread(db, caller, round).unwrap()).sum::<u64>())
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    for task in tasks {
        added += runtime.block_on(task).unwrap();
    }
    assert!(added > 64 * rounds as u64, "{added}");
    assert_eq!(test.db.blocking().read(sum).unwrap() as u64, added, "every write arrived, once");
}
