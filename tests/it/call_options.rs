//! Choices of one call: deadlines at every stage, priorities, where a closure runs, how its transaction begins.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use pool_manager::{
    CallOptions, DatabaseManager, Error, ManualClock, PoolConfig, PoolConfigBuilder, Priority, Result, TransactionKind,
    WorkPlacement,
};

use crate::support::{ENDLESS, TestDb, count, eventually};

const HOUR: Duration = Duration::from_secs(3_600);

/// A time that passes when a test moves the clock by it: short enough that no connection grows old.
const LIMIT: Duration = Duration::from_secs(1);

fn within_the_limit() -> CallOptions {
    CallOptions::new().timeout(LIMIT)
}

/// A database whose deadlines pass when the clock is moved, with a table of one row.
fn by_hand(config: PoolConfigBuilder) -> (TestDb, ManualClock) {
    let time = ManualClock::new();
    let config = config.acquire_timeout(HOUR * 100);
    let mut test = TestDb::new(config.clone());
    test.fill(1);
    test.db.blocking().close_pool().unwrap();
    test.db = DatabaseManager::builder().path(test.path()).config(config).clock(time.clock()).build().unwrap();
    (test, time)
}

#[track_caller]
fn assert_passed<T: std::fmt::Debug>(outcome: Result<T>, while_doing: &str) {
    match outcome {
        Err(Error::DeadlinePassed { doing, limit, .. }) => assert_eq!((doing, limit), (while_doing, LIMIT)),
        other => panic!("not a deadline: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_interrupts_its_query_and_no_other() {
    let (test, time) = by_hand(PoolConfig::builder().max_connections(1).min_connections(0));
    for round in 0..20 {
        let (start, started) = std::sync::mpsc::channel();
        let endless = move |conn: &pool_manager::Connection| {
            start.send(()).unwrap();
            Ok(conn.query_row(ENDLESS, [], |row| row.get::<_, i64>(0))?)
        };
        let db = test.db.clone();
        let stopped = if round % 2 == 0 {
            let running = tokio::spawn(async move { db.read_with(within_the_limit(), endless).await });
            started.recv().unwrap();
            time.advance(LIMIT);
            running.await.unwrap()
        } else {
            let running = std::thread::spawn(move || db.blocking().execute_with_pool_with(within_the_limit(), endless));
            started.recv().unwrap();
            time.advance(LIMIT);
            running.join().unwrap()
        };
        assert_passed(stopped, "running its closure");
        // The only connection comes back, and the next holder's query runs to its end.
        let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000) SELECT count(*) FROM n";
        let rows: i64 = test.db.read(move |conn| Ok(conn.query_row(sql, [], |row| row.get(0))?)).await.unwrap();
        assert_eq!(rows, 1000);
    }
    assert_eq!(test.db.pool_stats().unwrap().total_created, 1);
}

#[tokio::test]
async fn a_deadline_interrupts_what_runs_on_the_only_thread_of_a_runtime() {
    let test = TestDb::with_defaults();
    test.fill(1);
    let options = CallOptions::new().timeout(Duration::from_millis(20)).run(WorkPlacement::Inline);
    let here = std::thread::current().id();
    let stopped = test.db.read_with(options, move |conn| {
        assert_eq!(std::thread::current().id(), here);
        Ok(conn.query_row(ENDLESS, [], |row| row.get::<_, i64>(0))?)
    });
    let error = stopped.await.unwrap_err();
    assert!(matches!(error, Error::DeadlinePassed { source: Some(_), .. }), "{error:?}");
    assert_eq!(count(&test.db, "t").unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_bounds_the_wait_for_a_connection() {
    let (test, time) = by_hand(PoolConfig::builder().max_connections(1));
    let held = test.db.acquire().await.unwrap();
    let ran = Arc::new(AtomicBool::new(false));
    let waits = |db: &DatabaseManager| db.pool_stats().unwrap().waiting_clients == 1;
    let (db, runs) = (test.db.clone(), Arc::clone(&ran));
    let work = move |_: &pool_manager::Connection| {
        runs.store(true, Ordering::SeqCst);
        Ok(())
    };
    let (other, again) = (test.db.clone(), work.clone());
    let task = tokio::spawn(async move { db.read_with(within_the_limit(), work).await });
    eventually("it waits", || waits(&test.db));
    time.advance(LIMIT);
    assert_passed(task.await.unwrap(), "waiting for a connection");
    let thread = std::thread::spawn(move || {
        let options = CallOptions::new().timeout(Duration::from_millis(20));
        other.blocking().read_with(options, again)
    });
    eventually("it waits", || waits(&test.db));
    time.advance(LIMIT);
    let error = thread.join().unwrap().unwrap_err();
    assert!(matches!(error, Error::DeadlinePassed { doing: "waiting for a connection", .. }), "{error:?}");
    assert!(!ran.load(Ordering::SeqCst));
    assert_eq!(test.db.pool_stats().unwrap().waiting_clients, 0);
    drop(held);
    assert_eq!(count(&test.db, "t").unwrap(), 1);
}

/// A thread that writes until it is told to end.
fn hold_the_lane(db: &DatabaseManager) -> (std::sync::mpsc::Sender<()>, std::thread::JoinHandle<Result<()>>) {
    let (start, started) = std::sync::mpsc::channel();
    let (finish, finished) = std::sync::mpsc::channel::<()>();
    let db = db.clone();
    let thread = std::thread::spawn(move || {
        db.blocking().transaction(|_| {
            start.send(()).unwrap();
            finished.recv().map_err(Error::application)
        })
    });
    started.recv().unwrap();
    (finish, thread)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_time_is_over_in_the_queue_is_taken_back() {
    let (test, time) = by_hand(PoolConfig::builder());
    let (finish, holder) = hold_the_lane(&test.db);
    let insert = |tx: &pool_manager::Transaction<'_>| Ok(tx.execute("INSERT INTO t (value) VALUES (7)", [])?);
    let db = test.db.clone();
    let task = tokio::spawn(async move { db.write_with(within_the_limit(), insert).await });
    eventually("it waits", || test.db.pool_stats().unwrap().waiting_writers == 1);
    time.advance(LIMIT);
    assert_passed(task.await.unwrap(), "waiting to write");
    let short = CallOptions::new().timeout(Duration::from_millis(20));
    let error = test.db.blocking().transaction_with(short, insert).unwrap_err();
    assert!(matches!(error, Error::DeadlinePassed { doing: "waiting to write", .. }), "{error:?}");
    finish.send(()).unwrap();
    holder.join().unwrap().unwrap();
    test.db.write(|_| Ok(())).await.unwrap();
    assert_eq!(count(&test.db, "t").unwrap(), 1);
    assert_eq!(test.db.pool_stats().unwrap().waiting_writers, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_time_is_over_while_it_runs_is_out() {
    let (test, time) = by_hand(PoolConfig::builder());
    // Also if its closure does not look at what it is told.
    for swallows in [false, true] {
        for way in 0..3 {
            let (start, started) = std::sync::mpsc::channel();
            let work = move |tx: &pool_manager::Transaction<'_>| {
                tx.execute("INSERT INTO t (value) VALUES (7)", [])?;
                start.send(()).unwrap();
                match tx.query_row(ENDLESS, [], |row| row.get::<_, i64>(0)) {
                    Err(_) if swallows => Ok(0),
                    other => Ok(other?),
                }
            };
            let db = test.db.clone();
            let running = tokio::spawn(async move {
                match way {
                    0 => db.write_with(within_the_limit(), work).await,
                    1 => db.transaction_with(within_the_limit(), work).await,
                    _ => tokio::task::block_in_place(|| db.blocking().write_with(within_the_limit(), work)),
                }
            });
            started.recv().unwrap();
            time.advance(LIMIT);
            assert_passed(running.await.unwrap(), "running its closure");
            test.db.write(|_| Ok(())).await.unwrap();
            assert_eq!(count(&test.db, "t").unwrap(), 1, "{way} {swallows}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_shared_transaction_only_the_write_whose_time_is_over_is_undone() {
    // All closures count as quick, and no batch ends because the machine is busy.
    let config = PoolConfig::builder().work_placement(WorkPlacement::Inline).write_batch_time(Duration::from_secs(60));
    let (test, time) = by_hand(config);
    let (enter, entered) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let gate = Arc::new(Mutex::new(released));
    let write = |value: i64, stops: bool, options: CallOptions| {
        let (db, enter, gate) = (test.db.clone(), enter.clone(), Arc::clone(&gate));
        tokio::spawn(async move {
            db.write_with(options, move |tx| {
                tx.execute("INSERT INTO t (value) VALUES (?1)", [value])?;
                if stops {
                    enter.send(()).unwrap();
                    gate.lock().recv().map_err(Error::application)?;
                }
                Ok(())
            })
            .await
        })
    };
    // Who was never seen has the transaction to itself.
    write(0, false, CallOptions::new()).await.unwrap().unwrap();
    let holder = test.db.acquire().await.unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    // The first one's time is over when it has run and waits for the commit; the second one's, while it runs.
    let calls: Vec<_> = [(1, false, within_the_limit()), (2, true, within_the_limit()), (3, false, CallOptions::new())]
        .into_iter()
        .map(|(value, stops, options)| {
            let call = write(value, stops, options);
            eventually("it waits", || test.db.pool_stats().unwrap().waiting_writers == value as usize);
            call
        })
        .collect();
    drop(holder);
    entered.recv().unwrap();
    time.advance(LIMIT);
    let mut calls = calls.into_iter();
    let (first, second, third) = (calls.next().unwrap(), calls.next().unwrap(), calls.next().unwrap());
    // While its closure still runs.
    assert_passed(second.await.unwrap(), "running its closure");
    release.send(()).unwrap();
    first.await.unwrap().expect("what has run is committed, and told so");
    third.await.unwrap().unwrap();
    let values: String = test
        .db
        .read(|conn| {
            Ok(conn
                .query_row("SELECT group_concat(value) FROM (SELECT value FROM t ORDER BY id)", [], |row| row.get(0))?)
        })
        .await
        .unwrap();
    assert_eq!(values, "0,0,1,3");
}

#[tokio::test]
async fn a_time_of_zero_is_over_before_anything_runs() {
    let test = TestDb::with_defaults();
    test.fill(1);
    let none = || CallOptions::new().timeout(Duration::ZERO);
    let past = || CallOptions::new().deadline(std::time::Instant::now());
    let (db, blocking) = (&test.db, test.db.blocking());
    let is_over = |outcome: Result<()>| assert!(matches!(outcome, Err(Error::DeadlinePassed { .. })), "{outcome:?}");
    is_over(db.read_with(none(), |_| panic!("it runs")).await);
    is_over(db.execute_with_pool_with(past(), |_| panic!("it runs")).await);
    is_over(db.write_with(none(), |_| panic!("it runs")).await);
    is_over(db.transaction_with(past(), |_| panic!("it runs")).await);
    is_over(blocking.read_with(none(), |_| panic!("it runs")));
    is_over(blocking.execute_with_pool_with(past(), |_| panic!("it runs")));
    is_over(blocking.write_with(none(), |_| panic!("it runs")));
    is_over(blocking.transaction_with(past(), |_| panic!("it runs")));
    let stats = db.pool_stats().unwrap();
    assert_eq!((stats.waiting_writers, stats.active_connections), (0, 0));
    let far = || CallOptions::new().timeout(Duration::MAX);
    assert_eq!(db.read_with(far(), |_| Ok(1)).await.unwrap(), 1);
    assert_eq!(db.write_with(far(), |_| Ok(2)).await.unwrap(), 2);
    assert_eq!(blocking.write_with(far(), |_| Ok(3)).unwrap(), 3);
}

#[tokio::test]
async fn a_lock_of_another_process_is_waited_for_no_longer_than_the_deadline() {
    let test = TestDb::new(PoolConfig::builder().busy_timeout(Duration::from_secs(600)));
    test.fill(1);
    let foreign = test.foreign();
    foreign.execute_batch("BEGIN IMMEDIATE").unwrap();
    let short = || CallOptions::new().timeout(Duration::from_millis(20));
    let insert = |tx: &pool_manager::Transaction<'_>| Ok(tx.execute("INSERT INTO t (value) VALUES (7)", [])?);
    let task = test.db.write_with(short(), insert).await;
    let thread = test.db.blocking().write_with(short(), insert);
    for outcome in [task, thread] {
        assert!(matches!(outcome, Err(Error::DeadlinePassed { doing: "waiting to write", .. })), "{outcome:?}");
    }
    foreign.execute_batch("COMMIT").unwrap();
    test.db.write_with(CallOptions::new().timeout(HOUR), insert).await.unwrap();
    assert_eq!(count(&test.db, "t").unwrap(), 2);
}

/// Queues writes of these priorities behind a holder, tasks and threads by turns, and returns in which order they ran.
fn order_of(priorities: &[Priority]) -> Vec<usize> {
    let test = TestDb::new(PoolConfig::builder().acquire_timeout(Duration::from_secs(60)));
    test.fill(1);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let (finish, holder) = hold_the_lane(&test.db);
    let mut threads = Vec::new();
    for (at, priority) in priorities.iter().enumerate() {
        let (db, noted) = (test.db.clone(), Arc::clone(&order));
        let options = CallOptions::new().priority(*priority);
        let note = move |_: &pool_manager::Transaction<'_>| {
            noted.lock().push(at);
            Ok(())
        };
        match at % 3 {
            0 => drop(runtime.spawn(async move { db.write_with(options, note).await })),
            1 => drop(runtime.spawn(async move { db.transaction_with(options, note).await })),
            _ => threads.push(std::thread::spawn(move || db.blocking().write_with(options, note).unwrap())),
        }
        eventually("it waits", || test.db.pool_stats().unwrap().waiting_writers == at + 1);
    }
    finish.send(()).unwrap();
    holder.join().unwrap().unwrap();
    eventually("all have written", || order.lock().len() == priorities.len());
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    std::mem::take(&mut *order.lock())
}

#[test]
fn the_more_urgent_write_first_and_equals_in_the_order_they_came() {
    use Priority::{High, Low, Normal};
    assert_eq!(order_of(&[Low, Normal, High, Low, High, Normal, High, Normal]), [2, 4, 6, 1, 5, 7, 0, 3]);
    assert_eq!(order_of(&[Normal; 7]), [0, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn nobody_is_overtaken_for_ever() {
    let most = Priority::MOST_OVERTAKEN as usize;
    let mut came = vec![Priority::Low];
    came.extend([Priority::High].repeat(most + 8));
    let order = order_of(&came);
    assert_eq!(order.iter().position(|at| *at == 0), Some(most), "{order:?}");
}

#[tokio::test]
async fn run_says_where_a_closure_runs_whatever_the_setting() {
    let here = std::thread::current().id();
    for setting in [WorkPlacement::Inline, WorkPlacement::Blocking, WorkPlacement::Adaptive] {
        let test = TestDb::new(PoolConfig::builder().work_placement(setting));
        test.fill(1);
        let run = |placement| CallOptions::new().run(placement);
        let reads = |placement| test.db.read_with(run(placement), |_| Ok(std::thread::current().id()));
        let writes = |placement| {
            test.db.write_with(run(placement), |tx| {
                tx.prepare_cached("UPDATE t SET value = value + 1")?.execute([])?;
                Ok(std::thread::current().id())
            })
        };
        assert_eq!(reads(WorkPlacement::Inline).await.unwrap(), here, "{setting:?}");
        let mut written_here = 0;
        for _ in 0..100 {
            assert_ne!(reads(WorkPlacement::Blocking).await.unwrap(), here, "{setting:?}");
            assert_ne!(writes(WorkPlacement::Blocking).await.unwrap(), here, "{setting:?}");
            written_here += usize::from(writes(WorkPlacement::Inline).await.unwrap() == here);
        }
        assert!(written_here > 0, "{setting:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_with_a_kind_has_a_transaction_of_its_own() {
    let config = PoolConfig::builder().work_placement(WorkPlacement::Inline).write_batch_time(Duration::from_secs(60));
    let (test, _time) = by_hand(config);
    let foreign = Arc::new(Mutex::new(test.foreign()));
    let alone = Arc::new(AtomicUsize::new(0));
    let write = |options: CallOptions| {
        let (db, foreign, alone) = (test.db.clone(), Arc::clone(&foreign), Arc::clone(&alone));
        tokio::spawn(async move {
            db.write_with(options, move |tx| {
                let count = "SELECT count(*) FROM t";
                let here: i64 = tx.prepare_cached(count)?.query_row([], |row| row.get(0))?;
                let committed: i64 = foreign.lock().query_row(count, [], |row| row.get(0))?;
                alone.fetch_add(usize::from(here == committed), Ordering::SeqCst);
                Ok(tx.execute("INSERT INTO t (value) VALUES (1)", [])?)
            })
            .await
        })
    };
    write(CallOptions::new()).await.unwrap().unwrap();
    for (options, expected) in [(CallOptions::new(), 1), (TransactionKind::Immediate.into(), 6)] {
        alone.store(0, Ordering::SeqCst);
        let holder = test.db.acquire().await.unwrap();
        holder.execute_batch("BEGIN IMMEDIATE").unwrap();
        let calls: Vec<_> = (0..6).map(|_| write(options.clone())).collect();
        eventually("all wait", || test.db.pool_stats().unwrap().waiting_writers == 6);
        drop(holder);
        for call in calls {
            call.await.unwrap().unwrap();
        }
        assert_eq!(alone.load(Ordering::SeqCst), expected);
    }
}

#[tokio::test]
async fn transactions_take_a_kind_or_options() {
    let test = TestDb::with_defaults();
    test.fill(1);
    let add = |tx: &pool_manager::Transaction<'_>| Ok(tx.execute("UPDATE t SET value = value + 1", [])?);
    let (db, blocking) = (&test.db, test.db.blocking());
    let options = || CallOptions::new().kind(TransactionKind::Exclusive).timeout(HOUR);
    db.transaction(add).await.unwrap();
    db.transaction_with(TransactionKind::Deferred, add).await.unwrap();
    db.transaction_with(options(), add).await.unwrap();
    db.execute_pooled_transaction_with(TransactionKind::Exclusive, add).await.unwrap();
    db.execute_pooled_transaction_with(options(), add).await.unwrap();
    blocking.transaction(add).unwrap();
    blocking.transaction_with(TransactionKind::Deferred, add).unwrap();
    blocking.transaction_with(options(), add).unwrap();
    blocking.execute_pooled_transaction_with(TransactionKind::Exclusive, add).unwrap();
    blocking.execute_pooled_transaction_with(options(), add).unwrap();
    let undone: Result<()> = db.transaction(move |tx| add(tx).and(Err(Error::application("its own")))).await;
    assert!(matches!(undone, Err(Error::Application(_))));
    let value: i64 = db.read(|conn| Ok(conn.query_row("SELECT value FROM t", [], |row| row.get(0))?)).await.unwrap();
    assert_eq!(value, 10);
}

/// Runs a future where there is no runtime.
fn without_a_runtime<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::task::Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        if let std::task::Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return done;
        }
        std::thread::park();
    }
}

#[test]
fn deadlines_hold_where_there_is_no_runtime() {
    let test = TestDb::new(PoolConfig::builder().acquire_timeout(HOUR));
    test.fill(1);
    let short = || CallOptions::new().timeout(Duration::from_millis(20));
    let is_over = |outcome: Result<i64>, while_doing: &str| match outcome {
        Err(Error::DeadlinePassed { doing, .. }) => assert_eq!(doing, while_doing),
        other => panic!("not a deadline: {other:?}"),
    };
    let read = test.db.read_with(short(), |conn| Ok(conn.query_row(ENDLESS, [], |row| row.get(0))?));
    is_over(without_a_runtime(read), "running its closure");
    let write = test.db.write_with(short(), |tx| {
        tx.execute("INSERT INTO t (value) VALUES (7)", [])?;
        Ok(tx.query_row(ENDLESS, [], |row| row.get(0))?)
    });
    is_over(without_a_runtime(write), "running its closure");
    // Whoever finds the queue empty waits for the lane itself.
    let holder = test.db.blocking().acquire().unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    is_over(without_a_runtime(test.db.write_with(short(), |_| panic!("it runs"))), "waiting to write");
    drop(holder);
    let (finish, thread) = hold_the_lane(&test.db);
    is_over(without_a_runtime(test.db.write_with(short(), |_| panic!("it runs"))), "waiting to write");
    finish.send(()).unwrap();
    thread.join().unwrap().unwrap();
    assert_eq!(without_a_runtime(test.db.write_many(0..10, |_, _| Ok(()))).unwrap(), 10);
    assert_eq!(count(&test.db, "t").unwrap(), 1);
}
