//! Another process that is stopped while it holds SQLite's lock to write: it is waited for as long as the settings say, then named, and nothing
//! is lost when it goes on.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdout};
use std::time::Duration;

use pool_manager::{Connection, Error, PoolConfig, Result, Transaction, rusqlite};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{TestDb, another_process, eventually, role};

/// What each write here adds, and what the other process adds.
const OURS: i64 = 1;
const THEIRS: i64 = 100;

fn sum(conn: &Connection) -> Result<i64> {
    Ok(conn.query_row("SELECT sum(value) FROM t", [], |row| row.get(0))?)
}

/// Adds to a row; returns the sum after that.
fn add(tx: &Transaction<'_>) -> Result<i64> {
    tx.execute("UPDATE t SET value = value + ?1 WHERE id = 1", [OURS])?;
    sum(tx)
}

/// A process that holds the lock, is stopped, and has been told to commit as soon as it goes on.
struct Stopped {
    child: Child,
    says: Lines<BufReader<ChildStdout>>,
}

impl Stopped {
    fn start(test: &str, of: &TestDb) -> Self {
        let mut child = another_process(&format!("stopped::{test}"), "holder", &of.path());
        let says = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut stopped = Self { child, says };
        stopped.hear("holds the lock");
        stopped.signal(Signal::STOP);
        eventually("it is stopped", || stopped.is_stopped());
        writeln!(stopped.child.stdin.as_mut().unwrap(), "commit").unwrap();
        stopped
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// The state stands after the name, which is in brackets and may have others in it: `man 5 proc_pid_stat`.
    fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        stat.rsplit_once(')').unwrap().1.trim_ascii_start().starts_with('T')
    }

    fn hear(&mut self, word: &str) {
        assert!(self.says.any(|line| line.unwrap().ends_with(word)), "the other process ended");
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // It may be stopped still.
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The other process' side; tells whether this is it.
fn is_the_holder() -> bool {
    let Some((_, path)) = role() else { return false };
    let conn = rusqlite::Connection::open(path).unwrap();
    conn.execute_batch("BEGIN IMMEDIATE").unwrap();
    conn.execute("UPDATE t SET value = value + ?1 WHERE id = 1", [THEIRS]).unwrap();
    let mut says = std::io::stdout();
    writeln!(says, "holds the lock").unwrap();
    for _ in std::io::stdin().lines() {
        conn.execute_batch("COMMIT").unwrap();
        writeln!(says, "has committed").unwrap();
    }
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_holder_of_the_lock_is_waited_for_then_named_and_loses_nothing() {
    if is_the_holder() {
        return;
    }
    const WAIT: Duration = Duration::from_millis(60);
    let test = TestDb::new(PoolConfig::builder().busy_timeout(WAIT));
    test.fill(1);
    let mut stopped = Stopped::start("a_stopped_holder_of_the_lock_is_waited_for_then_named_and_loses_nothing", &test);
    let items = || std::iter::once(()).cycle().take(5);
    let bulk = |done: Result<u64>| match done {
        Err(Error::BulkStopped { written: 0, source }) => Err(*source),
        done => panic!("{done:?}"),
    };
    let refused = [
        test.db.write(add).await,
        test.db.blocking().write(add),
        test.db.transaction(add).await,
        test.db.execute_with_pool(|conn| Ok(conn.execute_batch("UPDATE t SET value = -1").map(|()| 0)?)).await,
        bulk(test.db.write_many(items(), |tx, ()| add(tx).map(drop)).await),
        bulk(test.db.blocking().write_many(items(), |tx, ()| add(tx).map(drop))),
    ];
    for refused in refused {
        let error = refused.expect_err("another process has the lock");
        let Error::Busy { waited, busy_timeout, .. } = error else { panic!("{error:?}") };
        assert!(waited >= WAIT && busy_timeout == WAIT, "{waited:?} {busy_timeout:?}");
        assert!(error.to_string().contains("waited") && error.to_string().contains("busy_timeout = 60ms"), "{error}");
    }
    assert_eq!(test.db.read(sum).await.unwrap(), 0, "who reads waits for nobody");
    stopped.signal(Signal::CONT);
    stopped.hear("has committed");
    assert_eq!(test.db.write(add).await.unwrap(), THEIRS + OURS);
    assert_eq!(test.db.read(sum).await.unwrap(), THEIRS + OURS, "nothing that was refused is in the database");
}

#[test]
fn writes_that_wait_for_a_stopped_process_go_on_with_it() {
    if is_the_holder() {
        return;
    }
    const WRITERS: i64 = 8;
    let config = PoolConfig::builder().busy_timeout(Duration::from_secs(60)).acquire_timeout(Duration::from_secs(60));
    let test = TestDb::new(config);
    test.fill(1);
    let mut stopped = Stopped::start("writes_that_wait_for_a_stopped_process_go_on_with_it", &test);
    let db = &test.db;
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(|| db.blocking().write(add))).collect();
        eventually("one of them waits for the lock, and the others for it", || {
            let stats = db.pool_stats().unwrap();
            stats.active_connections == 1 && stats.waiting_writers as i64 == WRITERS - 1
        });
        assert_eq!(db.blocking().read(sum).unwrap(), 0, "who reads waits for nobody");
        stopped.signal(Signal::CONT);
        stopped.hear("has committed");
        let mut sums: Vec<_> = writers.into_iter().map(|writer| writer.join().unwrap().unwrap()).collect();
        sums.sort_unstable();
        assert_eq!(sums, (1..=WRITERS).map(|nth| THEIRS + nth * OURS).collect::<Vec<_>>());
    });
}
