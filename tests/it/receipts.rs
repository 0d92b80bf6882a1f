//! Receipts: whoever drops a write can learn whether it is in or out.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use pool_manager::{CallOptions, Error, PoolConfig, Result, Transaction, WorkPlacement, WriteOutcome, WriteReceipt};

use crate::support::{ENDLESS, TestDb, count, eventually};

fn new_db() -> TestDb {
    let config = PoolConfig::builder()
        .work_placement(WorkPlacement::Inline)
        .acquire_timeout(Duration::from_secs(60))
        .write_batch_time(Duration::from_secs(60));
    let test = TestDb::new(config);
    test.fill(1);
    test
}

fn options(receipt: &WriteReceipt) -> CallOptions {
    CallOptions::new().receipt(receipt)
}

fn is_in(test: &TestDb, id: i64) -> bool {
    count(&test.db, &format!("t WHERE id = {id}")).unwrap() == 1
}

fn insert(tx: &Transaction<'_>, id: i64) -> Result<()> {
    tx.prepare_cached("INSERT INTO t VALUES (?1, 1)")?.execute([id])?;
    Ok(())
}

#[tokio::test]
async fn a_receipt_tells_what_the_call_tells() {
    let test = new_db();
    let receipt = WriteReceipt::new();
    assert_eq!(receipt.outcome(), WriteOutcome::Pending);
    let (db, blocking) = (&test.db, test.db.blocking());
    let deferred = "CREATE TABLE child (parent REFERENCES t (id) DEFERRABLE INITIALLY DEFERRED)";
    db.write_with(options(&receipt), move |tx| Ok(tx.execute_batch(deferred)?)).await.unwrap();
    assert_eq!(receipt.outcome(), WriteOutcome::Committed);
    db.write_with(options(&receipt), |tx| insert(tx, 1)).await.unwrap_err();
    assert_eq!(receipt.outcome(), WriteOutcome::RolledBack);
    db.transaction_with(options(&receipt), |tx| insert(tx, 2)).await.unwrap();
    assert_eq!(receipt.outcome(), WriteOutcome::Committed);
    // The closure succeeds, and the commit does not.
    let dangles = |tx: &Transaction<'_>| Ok(tx.execute("INSERT INTO child VALUES (99)", []).map(drop)?);
    db.transaction_with(options(&receipt), dangles).await.unwrap_err();
    assert_eq!(receipt.outcome(), WriteOutcome::RolledBack);

    blocking.write_with(options(&receipt), |tx| insert(tx, 3)).unwrap();
    assert_eq!(receipt.wait_blocking(), WriteOutcome::Committed);
    blocking.transaction_with(options(&receipt), dangles).unwrap_err();
    assert_eq!(receipt.wait_blocking(), WriteOutcome::RolledBack);
    blocking.write_with(options(&receipt), |tx| insert(tx, 4)).unwrap();
    let panics =
        || blocking.write_with(options(&receipt), |_| -> Result<()> { std::panic::resume_unwind(Box::new(1)) });
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).unwrap_err();
    assert_eq!(receipt.wait_blocking(), WriteOutcome::RolledBack);
    blocking.write_with(options(&receipt), |tx| insert(tx, 5)).unwrap();
    let over = options(&receipt).timeout(Duration::ZERO);
    blocking.write_with(over.clone(), |tx| insert(tx, 6)).unwrap_err();
    assert_eq!(receipt.wait_blocking(), WriteOutcome::RolledBack);
    db.write_with(options(&receipt), |tx| insert(tx, 7)).await.unwrap();
    db.write_with(over, |tx| insert(tx, 8)).await.unwrap_err();
    assert_eq!(receipt.wait().await, WriteOutcome::RolledBack);

    db.write_with(options(&receipt), |tx| insert(tx, 9)).await.unwrap();
    db.close_pool().await.unwrap();
    db.write_with(options(&receipt), |tx| insert(tx, 10)).await.unwrap_err();
    assert_eq!(receipt.wait().await, WriteOutcome::RolledBack);
}

/// Polls a future once.
fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::pin::Pin::new(future).poll(&mut Context::from_waker(std::task::Waker::noop()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_write_that_is_dropped_at_any_stage_is_in_or_out_and_the_receipt_says_which() {
    let test = new_db();
    let db = &test.db;

    // Before it was polled.
    let receipt = WriteReceipt::new();
    drop(db.write_with(options(&receipt), |tx| insert(tx, 10)));
    assert_eq!(receipt.wait().await, WriteOutcome::RolledBack);

    // In the queue.
    let holder = db.acquire().await.unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let receipt = WriteReceipt::new();
    let mut queued = Box::pin(db.write_with(options(&receipt), |tx| insert(tx, 11)));
    assert!(poll_once(&mut queued).is_pending());
    assert_eq!(receipt.outcome(), WriteOutcome::Pending);
    drop(queued);
    assert_eq!(receipt.wait().await, WriteOutcome::RolledBack);
    drop(holder);

    // While it runs.
    let receipt = WriteReceipt::new();
    let (start, started) = std::sync::mpsc::channel();
    let mut running = Box::pin(db.write_with(options(&receipt), move |tx| {
        insert(tx, 12)?;
        start.send(()).unwrap();
        Ok(tx.query_row(ENDLESS, [], |row| row.get::<_, i64>(0))?)
    }));
    assert!(poll_once(&mut running).is_pending());
    started.recv().unwrap();
    assert_eq!(receipt.outcome(), WriteOutcome::Pending);
    drop(running);
    assert_eq!(receipt.wait().await, WriteOutcome::RolledBack);

    // When it has run and its commit is to come, and in another one's transaction.
    let (enter, entered) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let gate = Arc::new(Mutex::new(released));
    let write = |id: i64, stops: bool, receipt: &WriteReceipt| {
        let (enter, gate) = (enter.clone(), Arc::clone(&gate));
        Box::pin(db.write_with(options(receipt), move |tx| {
            insert(tx, id)?;
            if stops {
                enter.send(()).unwrap();
                gate.lock().recv().map_err(Error::application)?;
            }
            Ok(())
        }))
    };
    write(13, false, &WriteReceipt::new()).await.unwrap();
    let holder = db.acquire().await.unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (first, second) = (WriteReceipt::new(), WriteReceipt::new());
    let (mut has_run, mut shares) = (write(14, false, &first), write(15, true, &second));
    assert!(poll_once(&mut has_run).is_pending() && poll_once(&mut shares).is_pending());
    eventually("both wait", || db.pool_stats().unwrap().waiting_writers == 2);
    drop(holder);
    entered.recv().unwrap();
    drop((has_run, shares));
    assert_eq!((first.outcome(), second.outcome()), (WriteOutcome::Pending, WriteOutcome::RolledBack));
    release.send(()).unwrap();
    assert_eq!(first.wait().await, WriteOutcome::Committed);

    db.write(|_| Ok(())).await.unwrap();
    let found: Vec<i64> = (10..16).filter(|id| is_in(&test, *id)).collect();
    assert_eq!(found, [13, 14]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_writes_dropped_at_random_moments_each_receipt_is_right() {
    for placement in [WorkPlacement::Inline, WorkPlacement::Adaptive, WorkPlacement::Blocking] {
        let test = TestDb::new(PoolConfig::builder().acquire_timeout(Duration::from_secs(60)));
        test.fill(1);
        let calls: Vec<_> = (0..600_i64)
            .map(|at| {
                let db = test.db.clone();
                let receipt = WriteReceipt::new();
                let options = options(&receipt).run(placement);
                let made = Arc::new(AtomicBool::new(false));
                let makes = Arc::clone(&made);
                let call = tokio::spawn(async move {
                    makes.store(true, Ordering::SeqCst);
                    db.write_with(options, move |tx| insert(tx, 100 + at)).await
                });
                (at, receipt, made, call)
            })
            .collect();
        let mut known = Vec::new();
        for (at, receipt, made, call) in calls {
            for _ in 0..at % 7 {
                tokio::task::yield_now().await;
            }
            if at % 3 != 0 {
                call.abort();
            }
            let told = call.await;
            // A task that is aborted before it has run has made no call.
            let outcome = match made.load(Ordering::SeqCst) {
                true => receipt.wait().await,
                false => WriteOutcome::RolledBack,
            };
            if let Ok(told) = &told {
                assert_eq!(told.is_ok(), outcome == WriteOutcome::Committed);
            }
            known.push((100 + at, outcome));
        }
        for (id, outcome) in known {
            assert_eq!(is_in(&test, id), outcome == WriteOutcome::Committed, "{placement:?} {id} {outcome:?}");
        }
    }
}
