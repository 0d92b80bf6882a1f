//! Transactions: committed whole or not at all, in every form.

use pool_manager::{Error, TransactionKind, operation};

use crate::support::{TestDb, count};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_of_operations_gives_results_in_order() {
    let test = TestDb::with_defaults();
    test.fill(0);
    let operations = (1..=5)
        .map(|id| operation(move |tx| Ok(tx.prepare_cached("INSERT INTO t VALUES (?1, ?1 * 10)")?.insert([id])?)))
        .chain([operation(|tx| Ok(tx.query_row("SELECT count(*) FROM t", [], |row| row.get(0))?))])
        .collect();
    assert_eq!(test.db.execute_pooled_operations(operations).await.unwrap(), [1, 2, 3, 4, 5, 5]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_operation_undoes_the_whole_list() {
    let test = TestDb::with_defaults();
    test.fill(1);
    let later = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let ran = std::sync::Arc::clone(&later);
    let error = test
        .db
        .execute_pooled_operations(vec![
            operation(|tx| Ok(tx.execute("INSERT INTO t VALUES (2, 0)", [])?)),
            operation(|tx| Ok(tx.execute("INSERT INTO t VALUES (1, 0)", [])?)),
            operation(move |_| {
                ran.store(true, std::sync::atomic::Ordering::SeqCst);
                Ok(0)
            }),
        ])
        .await
        .expect_err("row 1 exists");
    assert!(error.to_string().contains("UNIQUE constraint failed"), "{error}");
    assert!(!later.load(std::sync::atomic::Ordering::SeqCst), "operations after the failed one ran");
    assert_eq!(count(&test.db, "t").unwrap(), 1);
}

#[test]
fn every_kind_commits_and_rolls_back() {
    let test = TestDb::with_defaults();
    test.fill(0);
    let blocking = test.db.blocking();
    for (at, kind) in
        [TransactionKind::Deferred, TransactionKind::Immediate, TransactionKind::Exclusive].into_iter().enumerate()
    {
        blocking
            .execute_pooled_transaction_with(kind, |tx| Ok(tx.execute("INSERT INTO t VALUES (?1, 0)", [at])?))
            .unwrap();
        let failed: Result<(), _> = blocking.execute_pooled_transaction_with(kind, |tx| {
            tx.execute("DELETE FROM t", [])?;
            Err(Error::application("changed my mind"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "changed my mind");
        assert_eq!(count(&test.db, "t").unwrap(), at as i64 + 1);
    }
}

#[test]
fn a_failing_commit_is_reported_and_leaves_nothing() {
    let test = TestDb::with_defaults();
    let blocking = test.db.blocking();
    let tables = "CREATE TABLE parent (id INTEGER PRIMARY KEY); \
         CREATE TABLE child (parent REFERENCES parent DEFERRABLE INITIALLY DEFERRED);";
    blocking.write(|tx| Ok(tx.execute_batch(tables)?)).unwrap();
    let error = blocking.write(|tx| Ok(tx.execute("INSERT INTO child VALUES (7)", [])?)).expect_err("no such parent");
    assert!(error.to_string().contains("FOREIGN KEY constraint failed"), "{error}");
    assert_eq!(count(&test.db, "child").unwrap(), 0);
    blocking.write(|tx| Ok(tx.execute_batch("INSERT INTO parent VALUES (7); INSERT INTO child VALUES (7)")?)).unwrap();
}

#[test]
fn a_savepoint_undoes_its_part_alone_on_error_and_panic() {
    let test = TestDb::with_defaults();
    test.fill(0);
    test.db
        .blocking()
        .write(|tx| {
            tx.execute("INSERT INTO t VALUES (1, 0)", [])?;
            let failed: Result<(), _> = tx.savepoint(|tx| {
                tx.execute("INSERT INTO t VALUES (2, 0)", [])?;
                tx.savepoint(|tx| Ok(tx.execute("INSERT INTO t VALUES (3, 0)", [])?))?;
                Err(Error::application("undo"))
            });
            failed.expect_err("undone");
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                tx.savepoint(|tx| -> pool_manager::Result<()> {
                    tx.execute("INSERT INTO t VALUES (4, 0)", [])?;
                    panic!("undo");
                })
            }))
            .expect_err("the panic goes on");
            tx.savepoint(|tx| Ok(tx.execute("INSERT INTO t VALUES (5, 0)", [])?))?;
            Ok(())
        })
        .unwrap();
    let ids: String = test
        .db
        .blocking()
        .read(|conn| Ok(conn.query_row("SELECT group_concat(id) FROM t", [], |row| row.get(0))?))
        .unwrap();
    assert_eq!(ids, "1,5");
}

#[test]
fn a_transaction_by_hand_rolls_back_unless_committed() {
    let test = TestDb::with_defaults();
    test.fill(0);
    let conn = test.db.blocking().acquire().unwrap();
    let tx = conn.transaction().unwrap();
    tx.execute("INSERT INTO t VALUES (1, 0)", []).unwrap();
    drop(tx);
    let tx = conn.transaction().unwrap();
    tx.execute("INSERT INTO t VALUES (2, 0)", []).unwrap();
    assert!(conn.transaction().is_err(), "one at a time");
    tx.commit().unwrap();
    let tx = conn.transaction().unwrap();
    tx.execute("INSERT INTO t VALUES (3, 0)", []).unwrap();
    tx.rollback().unwrap();
    assert_eq!(conn.query_row("SELECT group_concat(id) FROM t", [], |row| row.get::<_, String>(0)).unwrap(), "2");
}

#[test]
fn a_transaction_that_ends_early_keeps_nothing_and_runs_nothing_after() {
    let test = TestDb::with_defaults();
    test.fill(1);
    for ending in [
        "INSERT OR ROLLBACK INTO t VALUES (1, 0)",
        "ROLLBACK",
        "COMMIT",
        "END",
        "COMMIT; BEGIN",
        "ROLLBACK; BEGIN IMMEDIATE",
        "ROLLBACK; SAVEPOINT mine",
    ] {
        let done = test.db.blocking().execute_pooled_transaction(|tx| {
            tx.execute("INSERT INTO t VALUES (10, 0)", [])?;
            // A closure that does not look at its errors.
            let _ = tx.execute_batch(ending);
            let _ = tx.execute("INSERT INTO t VALUES (11, 0)", []);
            let _ = tx.execute_batch("COMMIT");
            Ok(())
        });
        assert!(matches!(done, Err(Error::TransactionEnded)), "{ending}: {done:?}");
        assert_eq!(count(&test.db, "t").unwrap(), 1, "{ending}");
        let done = test.db.blocking().execute_pooled_operations(vec![
            operation(|tx| Ok(tx.execute("INSERT INTO t VALUES (10, 0)", [])?)),
            operation(move |tx| Ok(tx.execute_batch(ending).map_or(0, |()| 1))),
            operation(|tx| Ok(tx.execute("INSERT INTO t VALUES (11, 0)", [])?)),
        ]);
        assert!(matches!(done, Err(Error::TransactionEnded)), "{ending}: {done:?}");
        assert_eq!(count(&test.db, "t").unwrap(), 1, "{ending}");
    }
    // One that has only read has nothing to lose, and is told all the same.
    let done = test.db.blocking().execute_pooled_transaction(|tx| Ok(tx.execute_batch("ROLLBACK")?));
    assert!(matches!(done, Err(Error::TransactionEnded)), "{done:?}");
    // By hand, too.
    let conn = test.db.blocking().acquire().unwrap();
    let tx = conn.transaction().unwrap();
    tx.execute("INSERT INTO t VALUES (10, 0)", []).unwrap();
    tx.execute_batch("COMMIT").expect_err("only its owner may");
    tx.execute("INSERT INTO t VALUES (11, 0)", []).expect_err("it is over");
    assert!(matches!(tx.commit(), Err(Error::TransactionEnded)));
    assert_eq!(conn.execute("INSERT INTO t VALUES (12, 0)", []).unwrap(), 1, "the connection goes on");
    let tx = conn.transaction().unwrap();
    tx.execute("INSERT INTO t VALUES (13, 0)", []).unwrap();
    tx.commit().unwrap();
    assert_eq!(count(&test.db, "t").unwrap(), 3);
}
