//! Closing: nobody waits for ever, nothing committed is lost, and the process' signals do it, too.

use std::cell::RefCell;
use std::io::{BufRead, BufReader};
use std::sync::mpsc;
use std::time::Duration;

use pool_manager::{DatabaseManager, Error, PoolConfig, shutdown};

use crate::support::{ENDLESS, TestDb, another_process, count, eventually, role};

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
                db.blocking().write(move |tx| {
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

#[test]
fn a_pool_opened_while_another_closes_can_write() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sqlite");
    for round in 0..50 {
        let old = DatabaseManager::open(&path).unwrap();
        old.blocking().write(|tx| Ok(tx.execute_batch("CREATE TABLE IF NOT EXISTS t (a)")?)).unwrap();
        let new = std::thread::scope(|scope| {
            scope.spawn(|| old.blocking().close_pool().unwrap());
            loop {
                let new = DatabaseManager::open(&path).unwrap();
                // As long as closing has not begun, it is the same pool.
                if new.pool_stats().unwrap().total_acquired == 0 {
                    break new;
                }
                std::thread::yield_now();
            }
        });
        new.blocking().write(|tx| Ok(tx.execute("INSERT INTO t VALUES (1)", [])?)).unwrap();
        assert_eq!(count(&new, "t").unwrap(), round + 1);
    }
}

#[test]
fn what_outlives_its_pool_stands_in_the_same_lane_as_the_next_pool() {
    let test = TestDb::new(PoolConfig::builder().acquire_timeout(Duration::from_millis(200)));
    test.fill(1);
    let write =
        |db: &DatabaseManager| db.blocking().write(|tx| Ok(tx.execute("INSERT INTO t (value) VALUES (1)", [])?));
    let short = PoolConfig::builder().acquire_timeout(Duration::from_millis(200));
    // Held across the closing of its pool.
    let held = test.db.blocking().acquire().unwrap();
    held.execute_batch("BEGIN IMMEDIATE; INSERT INTO t (value) VALUES (5)").unwrap();
    assert!(matches!(test.db.blocking().close_pool_within(Duration::ZERO), Err(Error::StillInUse { .. })));
    let next = DatabaseManager::new().with_pooling(test.path(), short.clone()).unwrap();
    assert!(matches!(write(&next), Err(Error::WriteLaneTimeout { .. })));
    drop(held);
    write(&next).unwrap();
    // Held across the end of its manager: it can still write.
    let held = next.blocking().acquire().unwrap();
    drop(next);
    held.execute_batch("BEGIN IMMEDIATE; INSERT INTO t (value) VALUES (6)").unwrap();
    let last = DatabaseManager::new().with_pooling(test.path(), short).unwrap();
    assert!(matches!(write(&last), Err(Error::WriteLaneTimeout { .. })));
    held.execute_batch("COMMIT").unwrap();
    write(&last).unwrap();
    assert_eq!(count(&last, "t WHERE value = 6").unwrap(), 1);
    assert_eq!(count(&last, "t WHERE value = 5").unwrap(), 0, "rolled back when it was interrupted and given back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_that_is_dropped_is_finished_by_the_next() {
    let test = TestDb::with_defaults();
    test.fill(10);
    let held = test.db.acquire().await.unwrap();
    let closing = tokio::spawn({
        let db = test.db.clone();
        async move { db.close_pool_within(Duration::from_secs(600)).await }
    });
    eventually("closing has begun", || matches!(test.db.blocking().read(|_| Ok(())), Err(Error::Closed { .. })));
    closing.abort();
    assert!(closing.await.unwrap_err().is_cancelled());
    drop(held);
    test.db.close_pool().await.unwrap();
    let left: Vec<_> = std::fs::read_dir(&test.folder).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left, ["test.sqlite"], "the log was written back");
}

#[test]
fn of_several_who_close_the_most_impatient_interrupts_and_all_wait_for_the_end() {
    let test = TestDb::with_defaults();
    test.fill(10);
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let db = &test.db;
        let query = scope.spawn(move || {
            db.blocking().read(|conn| {
                tell.send(()).unwrap();
                Ok(conn.query_row(ENDLESS, [], |row| row.get::<_, i64>(0))?)
            })
        });
        told.recv().unwrap();
        let patient = scope.spawn(|| test.db.blocking().close_pool_within(Duration::from_secs(600)));
        eventually("closing has begun", || matches!(test.db.blocking().read(|_| Ok(())), Err(Error::Closed { .. })));
        test.db.blocking().close_pool_within(Duration::ZERO).unwrap();
        let left: Vec<_> = std::fs::read_dir(&test.folder).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(left, ["test.sqlite"], "told when everything is done, and not before");
        patient.join().unwrap().unwrap();
        assert!(matches!(query.join().unwrap(), Err(Error::Interrupted { .. })));
    });
}

#[test]
fn what_waits_for_the_lane_at_the_deadline_is_told() {
    let test = TestDb::new(PoolConfig::builder().acquire_timeout(Duration::from_secs(600)));
    test.fill(1);
    let held = test.db.blocking().acquire().unwrap();
    held.execute_batch("BEGIN IMMEDIATE").unwrap();
    std::thread::scope(|scope| {
        let db = &test.db;
        let plain = scope.spawn(|| db.blocking().execute_with_pool(|conn| Ok(conn.execute("DELETE FROM t", [])?)));
        eventually("it waits for the lane", || db.pool_stats().unwrap().waiting_writers == 1);
        let write = scope.spawn(|| db.blocking().write(|tx| Ok(tx.execute("DELETE FROM t", [])?)));
        eventually("both wait for the lane", || db.pool_stats().unwrap().waiting_writers == 2);
        assert!(matches!(
            db.blocking().close_pool_within(Duration::ZERO),
            Err(Error::StillInUse { connections: 1, .. })
        ));
        assert!(matches!(plain.join().unwrap(), Err(Error::Interrupted { .. })));
        assert!(matches!(write.join().unwrap(), Err(Error::Interrupted { .. })));
    });
}

#[test]
fn signals_end_the_process_again_when_nobody_waits_for_them() {
    use std::os::unix::process::ExitStatusExt as _;
    if let Some((role, _)) = role() {
        let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
        let _inside = runtime.enter();
        let closing = shutdown::close_on_signal(None).unwrap();
        println!("ready");
        if role == "finished" {
            runtime.block_on(closing).unwrap();
            println!("closed");
        } else {
            drop(closing);
            println!("closed");
        }
        loop {
            std::thread::park();
        }
    }
    for role in ["dropped", "finished"] {
        let folder = tempfile::tempdir().unwrap();
        let name = "closing::signals_end_the_process_again_when_nobody_waits_for_them";
        let mut child = another_process(name, role, &folder.path().join("a.sqlite"));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let kill = |id: u32| {
            assert!(std::process::Command::new("kill").args(["-TERM", &id.to_string()]).status().unwrap().success());
        };
        assert!(lines.any(|line| line.unwrap().ends_with("ready")), "the process ended early");
        if role == "finished" {
            kill(child.id());
        }
        assert!(lines.any(|line| line.unwrap().ends_with("closed")), "the process ended early");
        kill(child.id());
        assert_eq!(child.wait().unwrap().signal(), Some(15), "{role}: ended by the signal itself");
    }
}

/// Keeps panics that say that there is no thread, which are what is tested, out of the tests' output; others are told as ever.
#[cfg(unix)]
fn quiet_about_threads() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !panic.payload_as_str().is_some_and(|text| text.contains("thread")) {
            tell(panic);
        }
    }));
}

#[cfg(unix)]
#[test]
fn a_process_that_can_have_no_more_threads_is_told_so_and_can_close() {
    const NAME: &str = "closing::a_process_that_can_have_no_more_threads_is_told_so_and_can_close";
    if role().is_none() {
        let out = another_process(NAME, "without threads", std::path::Path::new("")).wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success() && said.contains("all were told"), "{said}");
        return;
    }
    quiet_about_threads();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let db = DatabaseManager::open(":memory:").unwrap();
    drop((db.blocking().acquire().unwrap(), db.blocking().acquire().unwrap()));
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: plain system calls. Nobody may have threads without limit but root, which this process is no longer.
    unsafe {
        if libc::getuid() == 0 {
            assert_eq!(libc::setuid(65_534), 0);
        }
        assert_eq!(libc::setrlimit(libc::RLIMIT_NPROC, &raw const none), 0);
    }
    let told = |outcome: pool_manager::Result<()>| {
        assert!(matches!(&outcome, Err(Error::System { .. })), "{outcome:?}");
        assert_eq!(db.pool_stats().unwrap().active_connections, 0, "the connection has come back");
    };
    runtime.block_on(async {
        told(db.read(|_| Ok(())).await);
        told(db.execute_with_pool(|_| Ok(())).await);
        told(db.write(|_| Ok(())).await);
        told(db.query_cached("SELECT 1", [], |row| row.get::<_, i64>(0)).await.map(drop));
        told(db.read_stream("SELECT 1", [], |_| Ok(())).next().await.unwrap());
        assert_eq!(db.blocking().read(|_| Ok(7)).unwrap(), 7, "what needs no thread goes on");
        db.close_pool().await.unwrap();
    });
    println!("all were told");
}

/// Uses the database when the thread ends, after the locals that it needed itself are gone.
struct AtEnd(DatabaseManager, mpsc::Sender<Result<i64, Error>>);

impl Drop for AtEnd {
    fn drop(&mut self) {
        let db = self.0.blocking();
        let all = || {
            db.write(|tx| Ok(tx.execute("UPDATE t SET value = value + 1", [])?))?;
            db.write_many(0..2, |tx, _| {
                tx.execute("UPDATE t SET value = value + 1", []).map(drop).map_err(Error::from)
            })?;
            db.execute_with_pool(|conn| Ok(conn.execute("UPDATE t SET value = value + 1", [])?))?;
            let read = db.read(|conn| Ok(conn.query_row("SELECT value FROM t", [], |row| row.get::<_, i64>(0))?))?;
            let cached = db.query_cached("SELECT value FROM t", [], |row| row.get::<_, i64>(0))?;
            let streamed: Result<Vec<i64>, Error> =
                db.read_stream("SELECT value FROM t", [], |row| row.get(0)).collect();
            assert_eq!((&*cached, streamed?), (&vec![read], vec![read]));
            db.close_pool()?;
            Ok(read)
        };
        self.1.send(all()).unwrap();
    }
}

#[test]
fn a_thread_that_ends_may_use_its_database_to_the_last() {
    thread_local!(static LAST: RefCell<Option<AtEnd>> = const { RefCell::new(None) });
    let test = TestDb::with_defaults();
    test.fill(1);
    let (tell, told) = mpsc::channel();
    let at_end = AtEnd(test.db.clone(), tell);
    let before = std::thread::spawn(|| {
        let db = at_end.0.clone();
        // The first local of this thread, and so the last to go.
        LAST.set(Some(at_end));
        db.blocking().write(|_| Ok(()))?;
        let mut value = db.blocking().read_stream("SELECT value FROM t", [], |row| row.get::<_, i64>(0));
        value.next().expect("there is a row")
    });
    let before = before.join().unwrap().unwrap();
    assert_eq!(told.recv().unwrap().unwrap(), before + 4);
}
