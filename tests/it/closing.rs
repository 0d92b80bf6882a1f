//! Closing: nobody waits for ever, nothing committed is lost, and the process' signals do it, too.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use pool_manager::{DatabaseManager, Error, PoolConfig, shutdown};

use crate::support::{ENDLESS, TestDb, another_process, eventually, role};

#[test]
fn waiters_are_told_at_once() {
    let test = TestDb::new(PoolConfig::builder().max_connections(1).acquire_timeout(Duration::from_secs(600)));
    let held = test.db.blocking().acquire().unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| test.db.blocking().read(|_| Ok(())));
        eventually("somebody waits", || test.db.pool_stats().unwrap().waiting_clients == 1);
        let closing = scope.spawn(|| test.db.blocking().close_pool());
        assert!(matches!(waiter.join().unwrap(), Err(Error::Closed { .. })));
        drop(held);
        closing.join().unwrap().unwrap();
    });
}

#[test]
fn waiting_writers_are_told_at_once() {
    let test = TestDb::new(PoolConfig::builder().acquire_timeout(Duration::from_secs(600)));
    test.fill(1);
    let held = test.db.blocking().acquire().unwrap();
    held.execute_batch("BEGIN IMMEDIATE; UPDATE t SET value = 3").unwrap();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4).map(|_| scope.spawn(|| test.db.blocking().write(|_| Ok(())))).collect();
        // One of them stands first in line with a connection in hand.
        eventually("a writer has a connection", || test.db.pool_stats().unwrap().active_connections == 2);
        let closing = scope.spawn(|| test.db.blocking().close_pool_within(Duration::from_secs(600)));
        eventually("three of four were told", || writers.iter().filter(|writer| writer.is_finished()).count() == 3);
        held.execute_batch("COMMIT").expect("the holder finishes");
        drop(held);
        closing.join().unwrap().unwrap();
        let outcomes: Vec<_> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        assert_eq!(
            outcomes.iter().filter(|outcome| matches!(outcome, Err(Error::Closed { .. }))).count(),
            3,
            "{outcomes:?}"
        );
    });
    assert_eq!(test.foreign().query_row("SELECT value FROM t", [], |row| row.get::<_, i64>(0)).unwrap(), 3);
}

#[test]
fn what_still_runs_at_the_deadline_is_interrupted() {
    let test = TestDb::with_defaults();
    test.fill(1);
    std::thread::scope(|scope| {
        let (start, started) = std::sync::mpsc::channel();
        let endless = scope.spawn({
            let db = &test.db;
            move || {
                db.blocking().write(|tx| {
                    tx.execute("UPDATE t SET value = 99", [])?;
                    start.send(()).unwrap();
                    Ok(tx.query_row(ENDLESS, [], |row| row.get::<_, i64>(0))?)
                })
            }
        });
        started.recv().unwrap();
        test.db.blocking().close_pool_within(Duration::ZERO).unwrap();
        let error = endless.join().unwrap().expect_err("interrupted");
        assert!(matches!(error, Error::Interrupted { .. }), "{error:?}");
    });
    assert_eq!(test.foreign().query_row("SELECT value FROM t", [], |row| row.get::<_, i64>(0)).unwrap(), 0);
}

#[test]
fn a_connection_that_does_not_come_back_is_reported_and_closes_when_it_does() {
    let test = TestDb::with_defaults();
    test.fill(1);
    let held = test.db.blocking().acquire().unwrap();
    let error = test.db.blocking().close_pool_within(Duration::ZERO).expect_err("one is held");
    assert!(matches!(error, Error::StillInUse { connections: 1, .. }), "{error:?}");
    held.execute("UPDATE t SET value = 4", []).expect_err("its use was interrupted");
    drop(held);
    let left: Vec<_> = std::fs::read_dir(test.folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left, ["test.sqlite"], "the last one to close writes the log back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_twice_at_the_same_time_and_again_is_harmless() {
    let test = TestDb::with_defaults();
    test.fill(1);
    let (one, other) = tokio::join!(test.db.close_pool(), test.db.close_pool());
    one.unwrap();
    other.unwrap();
    test.db.close_pool().await.unwrap();
}

#[test]
fn a_process_told_to_end_closes_its_pools_first() {
    if let Some((role, path)) = role() {
        let db = DatabaseManager::open(path).unwrap();
        db.blocking().write(|tx| Ok(tx.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1)")?)).unwrap();
        let signal = match role.as_str() {
            "async" => tokio::runtime::Builder::new_multi_thread().build().unwrap().block_on(async {
                let closing = shutdown::close_on_signal(None).unwrap();
                println!("ready");
                closing.await.unwrap()
            }),
            _ => {
                let telling = std::thread::spawn(|| shutdown::close_on_signal_blocking(None).unwrap());
                println!("ready");
                telling.join().unwrap()
            }
        };
        assert!(matches!(db.blocking().read(|_| Ok(())), Err(Error::Closed { .. })));
        std::process::exit(signal.exit_code());
    }
    for (role, signal, code) in [("async", "TERM", 143), ("async", "INT", 130)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sqlite");
        let mut child = another_process("closing::a_process_told_to_end_closes_its_pools_first", role, &path);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().ends_with("ready")), "the process ended early");
        let sent =
            std::process::Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        assert_eq!(child.wait().unwrap().code(), Some(code));
        let left: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(left, ["a.sqlite"], "the log was written back");
    }
}

#[test]
fn figures_of_all_pools_are_added_up() {
    let one = TestDb::with_defaults();
    let two = TestDb::with_defaults();
    one.fill(1);
    let _held = two.db.blocking().acquire().unwrap();
    let all = DatabaseManager::global_pool_stats();
    let of = |test: &TestDb| {
        let canonical = test.path().canonicalize().unwrap();
        all.pools.iter().find(|(path, _)| *path == canonical).map(|(_, stats)| stats.clone()).unwrap()
    };
    assert_eq!(of(&two).active_connections, 1);
    assert!(of(&one).total_acquired >= 1);
    assert!(all.total.total_acquired >= of(&one).total_acquired + of(&two).total_acquired);
    let names = serde_json::to_value(of(&one).camel_case()).unwrap();
    for name in [
        "totalConnections",
        "activeConnections",
        "idleConnections",
        "waitingClients",
        "totalCreated",
        "totalDestroyed",
        "totalAcquired",
        "totalReleased",
        "totalErrors",
        "averageAcquireTime",
        "cacheHitRate",
    ] {
        assert!(names.get(name).is_some_and(serde_json::Value::is_number), "{name} in {names}");
    }
    assert!(serde_json::to_value(of(&one)).unwrap().get("total_connections").is_some());
}
