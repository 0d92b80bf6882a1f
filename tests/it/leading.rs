//! Whoever leads the write queue works for others: what those bring along harms neither it nor the rest, and it is kept no longer than its own
//! write takes.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use pool_config::WorkPlacement;
use pool_manager::{
    CallOptions, DatabaseManager, Error, PoolConfig, PoolConfigBuilder, Result, Transaction, WriteOutcome, WriteReceipt,
};

use crate::support::{TestDb, count, eventually};

/// All closures count as quick, no batch ends because the machine is busy, and who waits in vain fails this test late.
fn with(config: PoolConfigBuilder) -> TestDb {
    let config = PoolConfig::builder()
        .work_placement(WorkPlacement::Inline)
        .write_batch_time(Duration::from_secs(60))
        .acquire_timeout(Duration::from_secs(30))
        .layer(config);
    let test = TestDb::new(config);
    test.fill(1);
    test
}

/// Has a thread lead the queue, in a closure that ends when it is told to.
fn lead(test: &TestDb) -> (Sender<()>, std::thread::JoinHandle<Result<()>>) {
    let (finish, finished) = channel::<()>();
    let (start, started) = channel();
    let db = test.db.clone();
    let thread = std::thread::spawn(move || {
        db.blocking().write(move |tx| {
            start.send(()).unwrap();
            // Also when the test has failed.
            let _ = finished.recv();
            insert(tx, -1)
        })
    });
    started.recv().unwrap();
    (finish, thread)
}

fn insert(tx: &Transaction<'_>, value: i64) -> Result<()> {
    tx.prepare_cached("INSERT INTO t (value) VALUES (?1)")?.execute([value])?;
    Ok(())
}

fn waiting(test: &TestDb) -> usize {
    test.db.pool_stats().unwrap().waiting_writers
}

fn poll<F: Future + ?Sized>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// Panics when it is dropped, if it is armed.
struct Bomb(bool);

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0 {
            std::panic::resume_unwind(Box::new("a destructor that panics"));
        }
    }
}

struct WakerThatPanics;

impl Wake for WakerThatPanics {
    fn wake(self: Arc<Self>) {
        std::panic::resume_unwind(Box::new("a waker that panics"));
    }
}

#[test]
fn a_waker_that_panics_harms_nobody_whose_commit_it_shares() {
    let test = with(PoolConfig::builder());
    let write = |value: i64| move |tx: &Transaction<'_>| insert(tx, value);
    test.db.blocking().write(write(0)).unwrap();
    let (finish, leader) = lead(&test);
    let receipt = WriteReceipt::new();
    let mut loud = Box::pin(test.db.write(write(1)));
    let waker = Waker::from(Arc::new(WakerThatPanics));
    assert!(loud.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let mut quiet = Box::pin(test.db.write_with(CallOptions::new().receipt(&receipt), write(2)));
    assert!(poll(&mut quiet).is_pending());
    let db = test.db.clone();
    let thread = std::thread::spawn(move || db.blocking().write(write(3)));
    eventually("all wait", || waiting(&test) == 3);
    finish.send(()).unwrap();
    leader.join().expect("the panic is not its own").unwrap();
    thread.join().expect("the panic is not its own").unwrap();
    assert_eq!(receipt.wait_blocking(), WriteOutcome::Committed);
    assert!(matches!(poll(&mut quiet), Poll::Ready(Ok(()))));
    assert!(matches!(poll(&mut loud), Poll::Ready(Ok(()))));
    assert_eq!(count(&test.db, "t").unwrap(), 1 + 5);
}

#[test]
fn a_result_whose_destructor_panics_harms_nobody_whose_commit_it_shares() {
    let test = with(PoolConfig::builder());
    let armed = |value: i64, armed: bool| {
        move |tx: &Transaction<'_>| {
            insert(tx, value)?;
            Ok(Bomb(armed))
        }
    };
    let pass = |value: i64, when: Option<(Sender<()>, std::sync::mpsc::Receiver<()>)>| {
        move |tx: &Transaction<'_>| {
            insert(tx, value)?;
            if let Some((here, go_on)) = when {
                here.send(()).unwrap();
                go_on.recv().unwrap();
            }
            Ok(())
        }
    };
    drop(test.db.blocking().write(armed(0, false)).unwrap());
    test.db.blocking().write(pass(0, None)).unwrap();
    let (finish, leader) = lead(&test);
    let (first, last) = (WriteReceipt::new(), WriteReceipt::new());
    let mut dropped = Box::pin(test.db.write_with(CallOptions::new().receipt(&first), armed(1, true)));
    assert!(poll(&mut dropped).is_pending());
    let (here, arrived) = channel();
    let (go_on, told) = channel();
    let mut other = Box::pin(test.db.write_with(CallOptions::new().receipt(&last), pass(2, Some((here, told)))));
    assert!(poll(&mut other).is_pending());
    finish.send(()).unwrap();
    arrived.recv().unwrap();
    // It has run, and goes on to its commit.
    drop(dropped);
    go_on.send(()).unwrap();
    leader.join().expect("the panic is not its own").unwrap();
    assert_eq!([first.wait_blocking(), last.wait_blocking()], [WriteOutcome::Committed; 2]);
    assert!(matches!(poll(&mut other), Poll::Ready(Ok(()))));
    assert_eq!(count(&test.db, "t").unwrap(), 1 + 2 + 3);
}

#[test]
fn a_closure_whose_destructor_panics_keeps_no_other_from_being_told_that_the_pool_is_closed() {
    let test = with(PoolConfig::builder());
    let (finish, leader) = lead(&test);
    let bomb = Bomb(true);
    let mut loud = Box::pin(test.db.write(move |_| {
        let _bomb = bomb;
        Ok(())
    }));
    let mut quiet = Box::pin(test.db.write(|_| Ok(())));
    assert!(poll(&mut loud).is_pending());
    assert!(poll(&mut quiet).is_pending());
    let db = test.db.clone();
    let closer = std::thread::spawn(move || db.blocking().close_pool());
    eventually("the queue is closed", || waiting(&test) == 0);
    eventually("it is told", || matches!(poll(&mut quiet), Poll::Ready(Err(Error::Closed { .. }))));
    assert!(matches!(poll(&mut loud), Poll::Ready(Err(Error::Closed { .. }))));
    finish.send(()).unwrap();
    leader.join().unwrap().unwrap();
    closer.join().expect("the panic is not its own").unwrap();
}

#[test]
fn a_thread_that_uses_up_the_patience_of_its_runtime_gets_its_answer_all_the_same() {
    let test = with(PoolConfig::builder().acquire_timeout(Duration::from_secs(60)));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (finish, leader) = lead(&test);
    let done = runtime.block_on(std::future::poll_fn(|context| {
        // A task gets nothing more from tokio in this poll.
        while pin!(tokio::task::consume_budget()).poll(context).is_ready() {}
        let writer = test.db.clone();
        let counted = test.db.clone();
        let finish = finish.clone();
        std::thread::spawn(move || {
            eventually("it waits", || counted.pool_stats().unwrap().waiting_writers == 1);
            finish.send(()).unwrap();
        });
        Poll::Ready(writer.blocking().write(|tx| insert(tx, 1)))
    }));
    done.unwrap();
    leader.join().unwrap().unwrap();
    assert_eq!(count(&test.db, "t").unwrap(), 3);
}

/// Writes, and before it ends has the next of a chain stand in the queue, as long as the chain goes on.
fn chain(db: DatabaseManager, over: Arc<AtomicBool>, links: Arc<AtomicUsize>) {
    std::thread::spawn(move || {
        let next = db.clone();
        let _ = db.blocking().write(move |_| {
            if links.fetch_add(1, Ordering::SeqCst) < 200 && !over.load(Ordering::SeqCst) {
                let counted = next.clone();
                chain(next, over, links);
                eventually("the next one waits", || counted.pool_stats().unwrap().waiting_writers > 0);
            }
            Ok(())
        });
    });
}

#[test]
fn who_leads_without_a_runtime_returns_when_its_own_write_is_done() {
    let test = with(PoolConfig::builder().write_batch_max(1));
    let (over, links) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (db, ended, counted) = (test.db.clone(), Arc::clone(&over), Arc::clone(&links));
    let mut own = Box::pin(test.db.write(move |tx| {
        chain(db.clone(), ended, counted);
        eventually("the chain waits", || db.pool_stats().unwrap().waiting_writers > 0);
        insert(tx, 1)
    }));
    eventually("it is done", || poll(&mut own).is_ready());
    over.store(true, Ordering::SeqCst);
    let links = links.load(Ordering::SeqCst);
    assert!(links < 200, "it worked for others until nobody was left: {links}");
}

fn one_blocking_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap()
}

#[test]
fn a_lead_that_no_thread_of_its_runtime_begins_is_taken_by_a_thread_that_waits() {
    let test = with(PoolConfig::builder());
    let runtime = one_blocking_thread();
    let (go_on, told) = channel();
    let db = test.db.clone();
    let threads = runtime.spawn_blocking(move || {
        told.recv().unwrap();
        db.blocking().write(|tx| insert(tx, 1))?;
        db.blocking().transaction(|tx| insert(tx, 2))
    });
    let mut task = Box::pin(test.db.write(|tx| insert(tx, 3)));
    {
        let _inside = runtime.enter();
        assert!(poll(&mut task).is_pending());
    }
    go_on.send(()).unwrap();
    runtime.block_on(async {
        threads.await.unwrap().unwrap();
        task.await.unwrap();
    });
    assert_eq!(count(&test.db, "t").unwrap(), 4);
}

#[test]
fn who_has_the_lead_and_waits_for_a_connection_keeps_no_thread_from_its_holder() {
    let test = with(PoolConfig::builder().max_connections(1).min_connections(1));
    let runtime = one_blocking_thread();
    let (go_on, told) = channel::<()>();
    let plug = runtime.spawn_blocking(move || told.recv().unwrap());
    let mut write = Box::pin(test.db.write(|tx| insert(tx, 3)));
    let options = CallOptions::new().run(WorkPlacement::Blocking);
    let mut read = Box::pin(test.db.read_with(options, |conn| Ok(conn.query_row("SELECT 1", [], |_| Ok(()))?)));
    {
        let _inside = runtime.enter();
        assert!(poll(&mut write).is_pending());
        assert!(poll(&mut read).is_pending());
    }
    go_on.send(()).unwrap();
    runtime.block_on(async {
        plug.await.unwrap();
        read.await.unwrap();
        write.await.unwrap();
    });
    assert_eq!(count(&test.db, "t").unwrap(), 2);
}

#[test]
fn threads_share_a_commit_also_with_choices_of_their_own() {
    let test = with(PoolConfig::builder());
    let foreign = test.foreign();
    let write = |value: i64| {
        move |tx: &Transaction<'_>| {
            insert(tx, value)?;
            Ok(tx.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0))?)
        }
    };
    test.db.blocking().write_with(CallOptions::new(), write(0)).unwrap();
    let (finish, leader) = lead(&test);
    let receipts: Vec<_> = (0..4).map(|_| WriteReceipt::new()).collect();
    let threads: Vec<_> = (0i64..4)
        .map(|at| {
            let (db, receipt) = (test.db.clone(), receipts[at as usize].clone());
            let thread = std::thread::spawn(move || {
                let options = CallOptions::new().timeout(Duration::from_secs(60)).receipt(&receipt);
                // The last one has a transaction of its own.
                let options = if at == 3 { options.kind(pool_manager::TransactionKind::Immediate) } else { options };
                db.blocking().write_with(options, write(at))
            });
            eventually("it waits", || waiting(&test) as i64 == at + 1);
            thread
        })
        .collect();
    let committed: i64 = foreign.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
    finish.send(()).unwrap();
    leader.join().unwrap().unwrap();
    let seen: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap().unwrap() - committed).collect();
    assert_eq!(seen, [2, 3, 4, 5]);
    assert!(receipts.iter().all(|receipt| receipt.outcome() == WriteOutcome::Committed));
}

#[test]
fn a_thread_whose_time_is_over_is_told_so_wherever_its_write_is() {
    let test = with(PoolConfig::builder());
    let ran = Arc::new(AtomicUsize::new(0));
    let short = |receipt: &WriteReceipt| CallOptions::new().timeout(Duration::from_millis(20)).receipt(receipt);
    let is_over = |told: Result<()>, while_doing: &str| match told {
        Err(Error::DeadlinePassed { doing, .. }) => assert_eq!(doing, while_doing),
        other => panic!("not a deadline: {other:?}"),
    };
    let write = |ran: &Arc<AtomicUsize>| {
        let ran = Arc::clone(ran);
        move |tx: &Transaction<'_>| {
            ran.fetch_add(1, Ordering::SeqCst);
            insert(tx, 1)?;
            Ok(tx.query_row(crate::support::ENDLESS, [], |_| Ok(()))?)
        }
    };
    // In the queue.
    let receipt = WriteReceipt::new();
    let (finish, leader) = lead(&test);
    is_over(test.db.blocking().write_with(short(&receipt), write(&ran)), "waiting to write");
    assert_eq!(receipt.outcome(), WriteOutcome::RolledBack);
    finish.send(()).unwrap();
    leader.join().unwrap().unwrap();
    assert_eq!(ran.load(Ordering::SeqCst), 0);
    // On its own thread.
    let receipt = WriteReceipt::new();
    is_over(test.db.blocking().write_with(short(&receipt), write(&ran)), "running its closure");
    assert_eq!((receipt.outcome(), ran.load(Ordering::SeqCst)), (WriteOutcome::RolledBack, 1));
    // With the lead, waiting for the lane.
    let holder = test.db.blocking().acquire().unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    is_over(test.db.blocking().write_with(short(&WriteReceipt::new()), write(&ran)), "waiting to write");
    drop(holder);
    // The time is over before anything begins.
    let none = CallOptions::new().timeout(Duration::ZERO);
    is_over(test.db.blocking().write_with(none, write(&ran)), "waiting to write");
    assert_eq!(ran.load(Ordering::SeqCst), 1);
    assert_eq!(count(&test.db, "t").unwrap(), 2);
    let stats = test.db.pool_stats().unwrap();
    assert_eq!((stats.active_connections, stats.waiting_writers), (0, 0));
}

fn workers(count: usize) -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(count).max_blocking_threads(4).build().unwrap()
}

/// A write of one row; all of them are of one site, which has run.
fn one_row(value: i64) -> impl FnOnce(&Transaction<'_>) -> Result<()> + Send + 'static {
    move |tx| insert(tx, value)
}

/// Has three share a transaction, so that the next one to write may expect company. Returns how many rows there are.
fn with_company(test: &TestDb) -> i64 {
    test.db.blocking().write(one_row(0)).unwrap();
    let (finish, leader) = lead(test);
    let mut others = [Box::pin(test.db.write(one_row(1))), Box::pin(test.db.write(one_row(2)))];
    others.iter_mut().for_each(|other| assert!(poll(other).is_pending()));
    finish.send(()).unwrap();
    leader.join().unwrap().unwrap();
    others.iter_mut().for_each(|other| assert!(matches!(poll(other), Poll::Ready(Ok(())))));
    1 + 4
}

/// Keeps the only worker of a runtime from everything else until it is told.
fn plug(runtime: &tokio::runtime::Runtime) -> Sender<()> {
    let (pull, pulled) = channel::<()>();
    let (start, started) = channel();
    runtime.spawn(async move {
        start.send(()).unwrap();
        // Also when the test has failed.
        let _ = pulled.recv();
    });
    started.recv().unwrap();
    pull
}

#[test]
fn one_who_writes_alone_waits_for_nobody_also_after_there_was_company() {
    let test = with(PoolConfig::builder());
    let runtime = workers(1);
    let inside = runtime.enter();
    test.db.blocking().write(one_row(0)).unwrap();
    assert!(matches!(poll(&mut Box::pin(test.db.write(one_row(0)))), Poll::Ready(Ok(()))), "at once");
    let rows = with_company(&test) + 2;
    let mut first = Box::pin(test.db.write(one_row(3)));
    let pull = plug(&runtime);
    assert!(poll(&mut first).is_pending(), "others may come");
    pull.send(()).unwrap();
    eventually("it is done", || poll(&mut first).is_ready());
    let is_done = |write: &mut Pin<Box<dyn Future<Output = Result<()>>>>| matches!(poll(write), Poll::Ready(Ok(())));
    // The lead may end a moment after the answer: with its runtime at the latest.
    drop(inside);
    drop(runtime);
    let runtime = workers(1);
    let _inside = runtime.enter();
    for _ in 0..4 {
        assert!(is_done(&mut (Box::pin(test.db.write(one_row(4))) as _)), "none came");
        assert!(is_done(&mut (Box::pin(test.db.write_with(CallOptions::new(), one_row(5))) as _)), "none came");
    }
    assert_eq!(count(&test.db, "t").unwrap(), rows + 9);
}

#[test]
fn tasks_that_are_about_to_write_join_the_one_who_was_first() {
    let test = with(PoolConfig::builder());
    with_company(&test);
    let runtime = workers(1);
    let seen = Arc::new(AtomicUsize::new(usize::MAX));
    let write = |db: &DatabaseManager| {
        let (db, seen, counted) = (db.clone(), Arc::clone(&seen), db.clone());
        async move {
            let look = move |_: &Transaction<'_>| {
                let waiting = counted.pool_stats().unwrap().waiting_writers;
                let _ = seen.compare_exchange(usize::MAX, waiting, Ordering::SeqCst, Ordering::SeqCst);
                Ok(())
            };
            db.write(look).await
        }
    };
    // The site has run, and the company is there again.
    runtime.block_on(write(&test.db)).unwrap();
    with_company(&test);
    seen.store(usize::MAX, Ordering::SeqCst);
    let first = {
        let writes: Vec<_> = (0..8).map(|_| write(&test.db)).collect();
        // From within, so that all are in the queue of the worker before the first of them runs.
        runtime.spawn(async move { writes.into_iter().map(tokio::spawn).collect::<Vec<_>>() })
    };
    for written in runtime.block_on(first).unwrap() {
        runtime.block_on(written).unwrap().unwrap();
    }
    assert_eq!(seen.load(Ordering::SeqCst), 7, "when the first of eight ran");
}

#[test]
fn where_tasks_run_only_while_somebody_waits_for_them_a_write_waits_for_no_company() {
    let test = with(PoolConfig::builder());
    let rows = with_company(&test);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _inside = runtime.enter();
    assert!(matches!(poll(&mut Box::pin(test.db.write(one_row(3)))), Poll::Ready(Ok(()))));
    with_company(&test);
    let chosen = test.db.write_with(CallOptions::new(), one_row(4));
    assert!(matches!(poll(&mut Box::pin(chosen)), Poll::Ready(Ok(()))));
    assert_eq!(count(&test.db, "t").unwrap(), 2 * rows - 1 + 2);
}

#[test]
fn a_lead_whose_worker_does_not_come_to_it_is_taken_by_a_task_of_another_runtime() {
    let test = with(PoolConfig::builder());
    for chosen in [false, true] {
        with_company(&test);
        let before = count(&test.db, "t").unwrap();
        let (stuck, other) = (workers(1), workers(1));
        let pull = plug(&stuck);
        let mut first = Box::pin(test.db.write(one_row(3)));
        {
            let _inside = stuck.enter();
            assert!(poll(&mut first).is_pending());
        }
        let db = test.db.clone();
        let second = async move {
            if chosen { db.write_with(CallOptions::new(), one_row(4)).await } else { db.write(one_row(4)).await }
        };
        other.block_on(second).unwrap();
        eventually("it was before", || matches!(poll(&mut first), Poll::Ready(Ok(()))));
        pull.send(()).unwrap();
        drop(stuck);
        assert_eq!(count(&test.db, "t").unwrap(), before + 2);
    }
}

#[test]
fn a_lead_that_gathers_in_a_runtime_that_ends_passes_to_who_waits() {
    let test = with(PoolConfig::builder());
    let rows = with_company(&test);
    let runtime = workers(1);
    let pull = plug(&runtime);
    let receipts = [WriteReceipt::new(), WriteReceipt::new()];
    let mut given_up = Box::pin(test.db.write(one_row(3)));
    let mut waits: Vec<_> = receipts
        .iter()
        .map(|receipt| Box::pin(test.db.write_with(CallOptions::new().receipt(receipt), one_row(4))))
        .collect();
    {
        let _inside = runtime.enter();
        assert!(poll(&mut given_up).is_pending());
    }
    waits.iter_mut().for_each(|write| assert!(poll(write).is_pending()));
    // Who began it goes away, and so does everything that it runs on. None of the others looks after the lead: none is polled.
    drop(given_up);
    runtime.shutdown_background();
    pull.send(()).unwrap();
    for receipt in &receipts {
        assert_eq!(receipt.wait_blocking(), WriteOutcome::Committed);
    }
    for write in &mut waits {
        eventually("it is told", || matches!(poll(write), Poll::Ready(Ok(()))));
    }
    assert_eq!(count(&test.db, "t").unwrap(), rows + 2);
}

#[test]
fn a_lead_that_is_left_to_a_runtime_that_has_ended_comes_back() {
    let test = with(PoolConfig::builder());
    let rows = with_company(&test);
    let runtime = workers(1);
    let ended = runtime.handle().clone();
    runtime.shutdown_background();
    let receipt = WriteReceipt::new();
    let mut write = Box::pin(test.db.write_with(CallOptions::new().receipt(&receipt), one_row(3)));
    {
        let _inside = ended.enter();
        let _ = poll(&mut write);
    }
    assert_eq!(receipt.wait_blocking(), WriteOutcome::Committed);
    assert_eq!(count(&test.db, "t").unwrap(), rows + 1);
}

#[test]
fn who_began_a_lead_and_goes_away_leaves_it_to_those_who_joined() {
    let test = with(PoolConfig::builder());
    let rows = with_company(&test);
    let runtime = workers(1);
    let pull = plug(&runtime);
    let mut given_up = Box::pin(test.db.write(one_row(3)));
    let receipt = WriteReceipt::new();
    let mut joined = Box::pin(test.db.write_with(CallOptions::new().receipt(&receipt), one_row(4)));
    {
        let _inside = runtime.enter();
        assert!(poll(&mut given_up).is_pending());
        assert!(poll(&mut joined).is_pending());
    }
    drop(given_up);
    pull.send(()).unwrap();
    assert_eq!(receipt.wait_blocking(), WriteOutcome::Committed);
    eventually("it is told", || matches!(poll(&mut joined), Poll::Ready(Ok(()))));
    assert_eq!(count(&test.db, "t").unwrap(), rows + 1);
}

#[test]
fn a_thread_that_waits_beside_tasks_that_gather_is_served_in_its_turn() {
    let test = with(PoolConfig::builder());
    let rows = with_company(&test);
    let runtime = workers(1);
    let pull = plug(&runtime);
    let mut first = Box::pin(test.db.write(one_row(3)));
    {
        let _inside = runtime.enter();
        assert!(poll(&mut first).is_pending());
    }
    let threads = [true, false].map(|alone| {
        let db = test.db.clone();
        std::thread::spawn(move || {
            if alone { db.blocking().transaction(|tx| insert(tx, 4)) } else { db.blocking().write(one_row(5)) }
        })
    });
    eventually("all wait", || waiting(&test) == 3 || count(&test.db, "t").unwrap() > rows);
    pull.send(()).unwrap();
    threads.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
    runtime.block_on(first).unwrap();
    assert_eq!(count(&test.db, "t").unwrap(), rows + 3);
}

#[test]
fn what_is_to_run_where_it_is_called_waits_for_no_verdict_on_its_site() {
    let test = TestDb::new(PoolConfig::builder());
    test.fill(1);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let read = |options: CallOptions, spin: bool| {
        test.db.read_with(options, move |conn| {
            let since = std::time::Instant::now();
            while spin && since.elapsed() < Duration::from_millis(2) {}
            Ok(conn.query_row("SELECT 1", [], |_| Ok(()))?)
        })
    };
    for _ in 0..100 {
        runtime.block_on(read(CallOptions::new(), false)).unwrap();
    }
    for _ in 0..4 {
        let here = read(CallOptions::new().run(WorkPlacement::Inline), true);
        assert!(matches!(poll(&mut Box::pin(here)), Poll::Ready(Ok(()))));
    }
}
