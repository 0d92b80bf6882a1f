//! Grouped writes of threads: one of them commits for all, and each fails alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use pool_config::WorkPlacement;
use pool_manager::{DatabaseManager, Error, PoolConfig, PoolConfigBuilder, Result, Transaction};

use crate::support::{TestDb, count, eventually};

/// All closures count as quick, and no batch ends because the machine is busy.
fn with(config: PoolConfigBuilder) -> TestDb {
    let config = PoolConfig::builder()
        .work_placement(WorkPlacement::Inline)
        .write_batch_time(Duration::from_secs(60))
        .acquire_timeout(Duration::from_secs(60))
        .layer(config);
    let mut test = TestDb::new(config.clone());
    test.fill(1);
    test.db.blocking().close_pool().unwrap();
    test.db = DatabaseManager::new().with_pooling(test.path(), config).unwrap();
    test
}

/// Has so many threads write one after another while the lane is held, and returns what each was told.
fn behind_a_holder<T: Send + 'static, W>(
    test: &TestDb,
    writes: i64,
    write: impl Fn(i64) -> W,
) -> Vec<std::thread::Result<Result<T>>>
where
    W: FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
{
    let holder = test.db.blocking().acquire().unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    std::thread::scope(|scope| {
        let threads: Vec<ScopedJoinHandle<'_, Result<T>>> = (0..writes)
            .map(|at| {
                let work = write(at);
                let thread = scope.spawn(|| test.db.blocking().write(work));
                eventually("it waits", || test.db.pool_stats().unwrap().waiting_writers as i64 == at + 1);
                thread
            })
            .collect();
        drop(holder);
        threads.into_iter().map(ScopedJoinHandle::join).collect()
    })
}

/// For each of so many writes, how many rows of others it saw that were not committed.
fn uncommitted_rows_seen(test: &TestDb, writes: i64) -> Vec<i64> {
    let foreign = Arc::new(Mutex::new(test.foreign()));
    let write = |value: i64| {
        let foreign = Arc::clone(&foreign);
        move |tx: &Transaction<'_>| {
            let count = "SELECT count(*) FROM t";
            let here: i64 = tx.prepare_cached(count)?.query_row([], |row| row.get(0))?;
            let committed: i64 = foreign.lock().query_row(count, [], |row| row.get(0))?;
            tx.execute("INSERT INTO t (value) VALUES (?1)", [value])?;
            Ok(here - committed)
        }
    };
    // Who was never seen has the transaction to itself.
    test.db.blocking().write(write(0)).unwrap();
    let before = count(&test.db, "t").unwrap();
    let told = behind_a_holder(test, writes, write);
    let seen = told.into_iter().map(|told| told.unwrap().unwrap()).collect();
    let committed: i64 = foreign.lock().query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
    assert_eq!(committed, before + writes, "all were answered, so all are there");
    seen
}

#[test]
fn threads_that_write_at_the_same_time_share_a_commit() {
    assert_eq!(uncommitted_rows_seen(&with(PoolConfig::builder()), 8), [0, 1, 2, 3, 4, 5, 6, 7]);
    // Then each batch is another thread's.
    let two = with(PoolConfig::builder().write_batch_max(2));
    assert_eq!(uncommitted_rows_seen(&two, 7), [0, 1, 0, 1, 0, 1, 0]);
}

#[test]
fn a_thread_whose_write_fails_or_panics_leaves_the_others_whole() {
    let test = with(PoolConfig::builder());
    let mut kept = 1;
    for round in 0..9 {
        // Another one comes first each time.
        let write = |at: i64| {
            let way = (at + round) % 3;
            move |tx: &Transaction<'_>| {
                tx.execute("INSERT INTO t (value) VALUES (?1)", [at])?;
                match way {
                    0 => Ok(at),
                    1 => Err(Error::application("its own error")),
                    _ => std::panic::resume_unwind(Box::new("its own panic")),
                }
            }
        };
        for (at, told) in (0..).zip(behind_a_holder(&test, 6, write)) {
            match ((at + round) % 3, told) {
                (0, Ok(Ok(value))) => {
                    assert_eq!(value, at);
                    kept += 1;
                }
                (1, Ok(Err(Error::Application(_)))) => {}
                (2, Err(panic)) => assert_eq!(*panic.downcast_ref::<&str>().unwrap(), "its own panic"),
                (way, told) => panic!("{way}: {told:?}"),
            }
        }
        assert_eq!(count(&test.db, "t").unwrap(), kept, "round {round}");
    }
}

#[test]
fn a_commit_that_fails_is_told_to_every_thread_that_shared_it() {
    let test = with(PoolConfig::builder());
    let write = |at: i64| {
        move |tx: &Transaction<'_>| {
            tx.execute("INSERT INTO t (value) VALUES (?1)", [at])?;
            if at == 4 {
                // Takes the whole transaction with it.
                tx.execute("INSERT OR ROLLBACK INTO t VALUES (1, 0)", [])?;
            }
            Ok(())
        }
    };
    test.db.blocking().write(write(0)).unwrap();
    let told: Vec<_> = behind_a_holder(&test, 7, write).into_iter().map(std::thread::Result::unwrap).collect();
    for (at, told) in told.iter().enumerate() {
        match at {
            0..4 => assert!(matches!(told, Err(Error::CommitFailed(_))), "{at}: {told:?}"),
            4 => assert!(told.is_err()),
            _ => assert!(told.is_ok(), "{at} came after: {told:?}"),
        }
    }
    assert_eq!(count(&test.db, "t").unwrap(), 2 + 2);
}

#[test]
fn a_write_that_a_thread_waited_for_in_vain_never_runs() {
    let test = with(PoolConfig::builder().acquire_timeout(Duration::from_millis(50)));
    let ran = Arc::new(AtomicUsize::new(0));
    let holder = test.db.blocking().acquire().unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let ran = Arc::clone(&ran);
            let db = &test.db;
            scope.spawn(move || {
                let told = db.blocking().write(move |_| {
                    ran.fetch_add(1, Ordering::SeqCst);
                    Ok(())
                });
                assert!(matches!(told, Err(Error::WriteLaneTimeout { .. })), "{told:?}");
            });
        }
    });
    drop(holder);
    test.db.blocking().write(|tx| Ok(tx.execute("UPDATE t SET value = 1", [])?)).unwrap();
    assert_eq!(ran.load(Ordering::SeqCst), 0);
}
