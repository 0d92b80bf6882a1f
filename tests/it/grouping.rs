//! Grouped writes: one commit for many, and each fails alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use pool_config::WorkPlacement;
use pool_manager::{DatabaseManager, Error, PoolConfig, PoolConfigBuilder, Result, Transaction};
use tokio::task::JoinHandle;

use crate::support::{ENDLESS, TestDb, count, eventually};

fn new_db() -> TestDb {
    with(PoolConfig::builder())
}

/// A pool opened on a file that has its table already: connections to an empty one are replaced after their first use.
fn with(config: PoolConfigBuilder) -> TestDb {
    // All closures count as quick: on a busy machine some would not be.
    let config = config.work_placement(WorkPlacement::Inline).acquire_timeout(Duration::from_secs(60));
    // Unless a test is about that, no batch ends because the machine is busy.
    let config = PoolConfig::builder().write_batch_time(Duration::from_secs(60)).layer(config);
    let mut test = TestDb::new(config.clone());
    test.fill(1);
    test.db.blocking().close_pool().unwrap();
    test.db = DatabaseManager::new().with_pooling(test.path(), config).unwrap();
    test
}

/// Holds the write lane while `queue` adds writes to the queue, and lets them go when so many wait.
async fn behind_a_holder<T>(test: &TestDb, waiting: usize, queue: impl FnOnce() -> Vec<T>) -> Vec<T> {
    let holder = test.db.acquire().await.unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let queued = queue();
    // The first has left the queue: it waits for the lane.
    eventually("all wait", || test.db.pool_stats().unwrap().waiting_writers == waiting);
    drop(holder);
    queued
}

fn spawn<T: Send + 'static>(
    db: &DatabaseManager,
    work: impl FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
) -> JoinHandle<Result<T>> {
    let db = db.clone();
    tokio::spawn(async move { db.write(work).await })
}

/// Queues so many writes behind a holder, and returns for each how many rows of others it saw that were not committed.
async fn uncommitted_rows_seen(test: &TestDb, writes: i64) -> Vec<i64> {
    let foreign = Arc::new(Mutex::new(test.foreign()));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let write = |value: i64| {
        let (foreign, seen) = (Arc::clone(&foreign), Arc::clone(&seen));
        spawn(&test.db, move |tx| {
            let count = "SELECT count(*) FROM t";
            let here: i64 = tx.prepare_cached(count)?.query_row([], |row| row.get(0))?;
            let committed: i64 = foreign.lock().query_row(count, [], |row| row.get(0))?;
            seen.lock().push(here - committed);
            Ok(tx.execute("INSERT INTO t (value) VALUES (?1)", [value])?)
        })
    };
    // Who was never seen has the transaction to itself.
    write(0).await.unwrap().unwrap();
    let before = count(&test.db, "t").unwrap();
    seen.lock().clear();
    let tasks = behind_a_holder(test, usize::try_from(writes).unwrap(), || (0..writes).map(write).collect()).await;
    for task in tasks {
        task.await.unwrap().unwrap();
        let found: i64 = foreign.lock().query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
        assert!(found > before, "answered after the commit");
    }
    assert_eq!(count(&test.db, "t").unwrap(), before + writes);
    std::mem::take(&mut *seen.lock())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_wait_share_a_commit_and_are_answered_after_it() {
    let test = new_db();
    assert_eq!(uncommitted_rows_seen(&test, 20).await, (0..20).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn write_batch_max_says_how_many_share_a_commit() {
    let test = with(PoolConfig::builder().write_batch_max(5));
    assert_eq!(uncommitted_rows_seen(&test, 12).await, [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]);
    let one = with(PoolConfig::builder().write_batch_max(1));
    assert_eq!(uncommitted_rows_seen(&one, 5).await, [0; 5]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn write_batch_time_says_until_when_writes_join() {
    // A microsecond is over before the first has run.
    let test = with(PoolConfig::builder().write_batch_time(Duration::from_micros(1)));
    assert_eq!(uncommitted_rows_seen(&test, 5).await, [0; 5]);
}

#[tokio::test]
async fn work_placement_says_where_closures_that_read_run() {
    async fn runs_here(db: &DatabaseManager) -> bool {
        db.read(|_| Ok(std::thread::current().id())).await.unwrap() == std::thread::current().id()
    }
    let placed = |placement| {
        let test = TestDb::new(PoolConfig::builder().work_placement(placement));
        test.fill(1);
        test
    };
    assert!(runs_here(&placed(WorkPlacement::Inline).db).await);
    let blocking = placed(WorkPlacement::Blocking);
    for _ in 0..5 {
        assert!(!runs_here(&blocking.db).await);
    }
    let adaptive = placed(WorkPlacement::Adaptive);
    assert!(!runs_here(&adaptive.db).await, "nobody knows yet how long it takes");
    // On a busy machine a run may seem long; then the next one does not run here.
    let mut tries = 0;
    while !runs_here(&adaptive.db).await {
        tries += 1;
        assert!(tries < 10_000, "an empty closure is quick");
    }
    // Who may have to wait for others does not, whatever the setting says.
    let inline = placed(WorkPlacement::Inline);
    let here = std::thread::current().id();
    let any = inline.db.execute_with_pool(|_| Ok(std::thread::current().id())).await.unwrap();
    let write = inline.db.write(|_| Ok(std::thread::current().id())).await.unwrap();
    assert!(any != here && write != here);
    // A closure that waits is slow, and is not run here twice.
    let slow = || {
        adaptive.db.read(|_| {
            std::thread::park_timeout(Duration::from_millis(5));
            Ok(std::thread::current().id())
        })
    };
    for _ in 0..3 {
        assert_ne!(slow().await.unwrap(), here);
    }
}

#[tokio::test]
async fn a_closure_that_becomes_slow_runs_where_it_is_called_once_at_most() {
    const LONG: Duration = Duration::from_millis(2);
    let test = TestDb::new(PoolConfig::builder().work_placement(WorkPlacement::Adaptive));
    test.fill(1);
    let here = std::thread::current().id();
    let wait = || std::thread::park_timeout(LONG);
    let work = || {
        let since = std::time::Instant::now();
        while since.elapsed() < LONG * 10 {}
    };
    for slow in [wait as fn(), work as fn()] {
        let run = async |now: fn()| {
            let read = test.db.read(move |_| {
                now();
                Ok(std::thread::current().id())
            });
            read.await.unwrap() == here
        };
        let mut tries = 0;
        while !run(|| ()).await {
            tries += 1;
            assert!(tries < 10_000, "an empty closure is quick");
        }
        run(slow).await;
        for _ in 0..3 {
            assert!(!run(slow).await);
        }
    }
}

/// What one of many writes does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Succeeds,
    Fails,
    Panics,
    DanglesUntilTheCommit,
    Commits,
    RollsASavepointBack,
    ViolatesAConstraint,
    LeavesATemporaryTable,
    LeaksAStatement,
}

const WAYS: [Way; 9] = [
    Way::Succeeds,
    Way::Fails,
    Way::Panics,
    Way::DanglesUntilTheCommit,
    Way::Commits,
    Way::RollsASavepointBack,
    Way::ViolatesAConstraint,
    Way::LeavesATemporaryTable,
    Way::LeaksAStatement,
];

fn in_its_way(way: Way, id: i64, tx: &Transaction<'_>) -> Result<()> {
    let mut insert = tx.prepare_cached("INSERT INTO t VALUES (?1, 1)")?;
    insert.execute([id])?;
    match way {
        Way::Succeeds => Ok(()),
        Way::Fails => Err(Error::application("its own error")),
        Way::Panics => std::panic::resume_unwind(Box::new("its own panic")),
        Way::DanglesUntilTheCommit => Ok(tx.execute("INSERT INTO child VALUES (999999)", []).map(drop)?),
        // These may not, whether they look at the error or not.
        Way::Commits => {
            let _ = tx.execute_batch("COMMIT");
            Ok(tx.prepare_cached("ROLLBACK")?.execute([]).map(drop)?)
        }
        Way::RollsASavepointBack => {
            let failed = tx.savepoint(|tx| {
                tx.execute("INSERT INTO t VALUES (?1, 2)", [id + 1_000_000])?;
                Ok(tx.execute("INSERT INTO t VALUES (1, 2)", [])?)
            });
            assert!(failed.is_err());
            Ok(())
        }
        Way::ViolatesAConstraint => Ok(tx.execute("INSERT INTO t VALUES (1, 1)", []).map(drop)?),
        Way::LeavesATemporaryTable => Ok(tx.execute_batch("CREATE TEMP TABLE IF NOT EXISTS t (id, value)")?),
        Way::LeaksAStatement => {
            let mut statement = std::mem::ManuallyDrop::new(tx.prepare("SELECT 1 UNION SELECT 2")?);
            let mut rows = std::mem::ManuallyDrop::new(statement.query([])?);
            rows.next()?;
            Ok(())
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_write_fails_alone_whatever_it_does() {
    let test = new_db();
    let child = "CREATE TABLE child (parent REFERENCES t (id) DEFERRABLE INITIALLY DEFERRED)";
    test.db.write(move |tx| Ok(tx.execute_batch(child)?)).await.unwrap();
    let hold = |held: &Arc<AtomicBool>| Arc::clone(held);
    let mut kept = 1;
    for round in 0..30_i64 {
        // A different one comes first each time: that one has the transaction to itself at the beginning.
        let ways: Vec<Way> = (0..WAYS.len()).map(|at| WAYS[(at + round as usize) % WAYS.len()]).collect();
        let given_up = hold(&Arc::new(AtomicBool::new(false)));
        let tasks = behind_a_holder(&test, ways.len() + 1, || {
            let mut tasks: Vec<_> = ways
                .iter()
                .enumerate()
                .map(|(at, way)| {
                    let (way, id) = (*way, 1000 + round * 100 + at as i64);
                    spawn(&test.db, move |tx| in_its_way(way, id, tx))
                })
                .collect();
            let given_up = Arc::clone(&given_up);
            let cancelled = spawn(&test.db, move |_| {
                given_up.store(true, Ordering::SeqCst);
                Ok(())
            });
            tasks.push(cancelled);
            tasks
        })
        .await;
        for (at, task) in tasks.into_iter().enumerate() {
            let told = task.await;
            let Some(way) = ways.get(at) else { continue };
            match way {
                Way::Succeeds | Way::RollsASavepointBack | Way::LeavesATemporaryTable | Way::LeaksAStatement => {
                    told.unwrap().unwrap();
                    kept += 1;
                }
                Way::Panics => assert!(told.unwrap_err().is_panic()),
                Way::Fails => assert!(matches!(told.unwrap(), Err(Error::Application(_)))),
                Way::DanglesUntilTheCommit | Way::ViolatesAConstraint => {
                    let error = told.unwrap().unwrap_err();
                    let code = error.sqlite().and_then(|error| error.sqlite_error_code());
                    assert_eq!(
                        code,
                        Some(pool_manager::rusqlite::ErrorCode::ConstraintViolation),
                        "{way:?}: {error:?}"
                    );
                }
                Way::Commits => {
                    let error = told.unwrap().unwrap_err();
                    let named = matches!(error, Error::SharedTransaction { .. } | Error::TransactionEnded);
                    // The first of a transaction is alone in it: there it is an ordinary conflict that ends it.
                    assert!(named || error.sqlite().is_some(), "{way:?}: {error:?}");
                }
            }
        }
        assert_eq!(count(&test.db, "main.t").unwrap(), kept, "round {round}");
        assert_eq!(count(&test.db, "child").unwrap(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_rolls_whole_transactions_back_never_shares_one() {
    let test = new_db();
    let harmless = |at: i64| spawn(&test.db, move |tx| Ok(tx.execute("INSERT INTO t (value) VALUES (?1)", [at])?));
    let harmful = || {
        spawn(&test.db, |tx| {
            tx.execute("INSERT INTO t (value) VALUES (1000)", [])?;
            Ok(tx.execute("INSERT OR ROLLBACK INTO t VALUES (1, 0)", [])?)
        })
    };
    harmless(0).await.unwrap().unwrap();
    for round in 1..=10 {
        let tasks = behind_a_holder(&test, 12, || {
            (0..12).map(|at| if at % 3 == 2 { harmful() } else { harmless(at) }).collect()
        })
        .await;
        for (at, task) in tasks.into_iter().enumerate() {
            assert_eq!(task.await.unwrap().is_err(), at % 3 == 2, "{at}");
        }
        assert_eq!(count(&test.db, "t").unwrap(), 2 + round * 8);
    }
    // In the schema: then nobody shares.
    let trigger =
        "CREATE TRIGGER no BEFORE INSERT ON t WHEN new.value = 5 BEGIN SELECT raise(ROLLBACK, 'no fives'); END";
    test.db.execute_with_pool(move |conn| Ok(conn.execute_batch(trigger)?)).await.unwrap();
    let tasks = behind_a_holder(&test, 12, || (0..12).map(harmless).collect()).await;
    for (at, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await.unwrap().is_err(), at == 5, "{at}");
    }
    assert_eq!(count(&test.db, "t").unwrap(), 82 + 11);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_write_is_undone_and_the_others_stay() {
    let test = new_db();
    let ran = Arc::new(AtomicUsize::new(0));
    for _ in 0..10 {
        let tasks = behind_a_holder(&test, 9, || {
            (0..9)
                .map(|at| {
                    let ran = Arc::clone(&ran);
                    spawn(&test.db, move |tx| {
                        ran.fetch_add(1, Ordering::SeqCst);
                        tx.execute("INSERT INTO t (value) VALUES (?1)", [at])?;
                        Ok(at)
                    })
                })
                .collect::<Vec<_>>()
        })
        .await;
        let mut kept = 0;
        for (at, task) in tasks.into_iter().enumerate() {
            if at % 2 == 0 {
                task.abort();
            }
            // Wholly in or wholly out: who was answered is in.
            kept += i64::from(task.await.is_ok_and(|told| told.is_ok()));
        }
        test.db.write(|_| Ok(())).await.unwrap();
        let found = count(&test.db, "t").unwrap() - 1;
        assert!(found >= kept, "every acknowledged write is there");
        test.db.write(|tx| Ok(tx.execute("DELETE FROM t WHERE id > 1", [])?)).await.unwrap();
    }
    // One that runs for long is alone, and is interrupted.
    let (tell, told) = tokio::sync::oneshot::channel();
    let endless = spawn(&test.db, move |tx| {
        tx.execute("INSERT INTO t VALUES (77, 0)", [])?;
        let _ = tell.send(());
        Ok(tx.execute(&format!("INSERT INTO t (value) {ENDLESS}"), [])?)
    });
    told.await.unwrap();
    endless.abort();
    assert!(endless.await.unwrap_err().is_cancelled());
    test.db.write(|tx| Ok(tx.execute("INSERT INTO t VALUES (78, 0)", [])?)).await.unwrap();
    assert_eq!(count(&test.db, "t WHERE id = 77").unwrap(), 0);
}

#[test]
fn writes_of_a_runtime_that_ends_do_not_keep_others_waiting() {
    let test = new_db();
    for _ in 0..20 {
        let dying = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        for _ in 0..20 {
            let db = test.db.clone();
            dying.spawn(async move { db.write(|tx| Ok(tx.execute("UPDATE t SET value = value + 1", [])?)).await });
        }
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                for _ in 0..5 {
                    test.db.blocking().write(|tx| Ok(tx.execute("UPDATE t SET value = value + 1", [])?)).unwrap();
                }
            });
            dying.shutdown_background();
            thread.join().unwrap();
        });
        let living = tokio::runtime::Builder::new_current_thread().build().unwrap();
        living.block_on(test.db.write(|tx| Ok(tx.execute("UPDATE t SET value = value + 1", [])?))).unwrap();
    }
}

#[test]
fn tasks_and_threads_stand_in_one_queue() {
    let test = new_db();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        let holder = test.db.blocking().acquire().unwrap();
        holder.execute_batch("BEGIN IMMEDIATE").unwrap();
        for at in 0..12_usize {
            let noted = Arc::clone(&order);
            if at % 3 == 1 {
                let db = &test.db;
                scope.spawn(move || {
                    db.blocking()
                        .write(move |_| {
                            noted.lock().push(at);
                            Ok(())
                        })
                        .unwrap();
                });
            } else {
                let db = test.db.clone();
                runtime.spawn(async move {
                    db.write(move |_| {
                        noted.lock().push(at);
                        Ok(())
                    })
                    .await
                    .unwrap();
                });
            }
            eventually("it waits", || test.db.pool_stats().unwrap().waiting_writers == at + 1);
        }
        drop(holder);
    });
    eventually("all have written", || order.lock().len() == 12);
    assert_eq!(*order.lock(), (0..12).collect::<Vec<_>>());
}

/// Places where writes ran: this thread or another.
async fn writes_here(db: &DatabaseManager, value: i64) -> bool {
    let ran = db.write(move |tx| {
        tx.execute("UPDATE t SET value = ?1 WHERE id = 1", [value])?;
        Ok(std::thread::current().id())
    });
    ran.await.unwrap() == std::thread::current().id()
}

/// Whether a write ran here soon: one that comes when another thread has just worked off the queue may still be served by that one.
async fn soon_writes_here(db: &DatabaseManager) -> bool {
    for value in 0..1_000 {
        if writes_here(db, value).await {
            return true;
        }
    }
    false
}

#[tokio::test]
async fn a_lone_write_runs_where_it_is_called_unless_it_would_have_to_wait() {
    let test = new_db();
    assert!(!writes_here(&test.db, 1).await, "nobody knows yet how long it takes");
    assert!(soon_writes_here(&test.db).await);
    let foreign = test.foreign();
    foreign.execute_batch("BEGIN IMMEDIATE").unwrap();
    // This thread has to let go of the lock: it must not wait for it.
    let (here, ()) = tokio::join!(writes_here(&test.db, 3), async { foreign.execute_batch("COMMIT").unwrap() });
    assert!(!here);
    let holder = test.db.acquire().await.unwrap();
    let held = holder.transaction().unwrap();
    let (here, ()) = tokio::join!(writes_here(&test.db, 4), async { held.commit().unwrap() });
    assert!(!here);
    drop(holder);
    assert!(soon_writes_here(&test.db).await);
}

#[tokio::test]
async fn lone_writes_keep_the_log_small() {
    let test = with(PoolConfig::builder().wal_autocheckpoint(10));
    let mut here = 0;
    for value in 0..500 {
        here += u32::from(writes_here(&test.db, value).await);
    }
    assert!(here > 50, "{here}");
    let log = std::fs::metadata(test.folder.path().join("test.sqlite-wal")).unwrap().len();
    assert!(log < 30 * 4_200, "{log}");
}

#[tokio::test]
async fn a_lone_write_that_panics_or_fails_is_undone_and_told() {
    let test = new_db();
    for round in 0..3 {
        let db = test.db.clone();
        let panicked = tokio::spawn(async move {
            let ran = db.write(|tx| -> Result<()> {
                tx.execute("UPDATE t SET value = 7", [])?;
                panic!("as tests do");
            });
            ran.await
        });
        assert!(panicked.await.unwrap_err().is_panic());
        let failed = test.db.write(|tx| Ok(tx.execute("INSERT INTO t VALUES (1, 1)", [])?)).await;
        assert!(matches!(failed, Err(Error::Sqlite(_))), "{failed:?}");
        assert!(test.db.write(|tx| Ok(tx.execute("UPDATE t SET value = value + 1", [])?)).await.is_ok());
        let value = test.db.read(|conn| Ok(conn.query_row("SELECT value FROM t", [], |row| row.get::<_, i64>(0))?));
        assert_eq!(value.await.unwrap(), round + 1);
    }
}
