//! Readers that keep their snapshot for the next: never less than what was acknowledged, one state for each closure, and a log that
//! can always be emptied.

use std::io::{BufRead, BufReader, Write};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use pool_manager::{Connection, DatabaseManager, Error, PoolConfig, Result, WorkPlacement};

use crate::support::{ENDLESS, TestDb, another_process, eventually, role};

fn sum(conn: &Connection) -> Result<i64> {
    Ok(conn.prepare_cached("SELECT sum(value) FROM t")?.query_row([], |row| row.get(0))?)
}

/// Commits once for each line it is sent, and answers each.
#[test]
fn another_process_commits_when_it_is_told_to() {
    let Some((_, path)) = role() else { return };
    let connection = pool_manager::rusqlite::Connection::open(path).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    for line in std::io::stdin().lines() {
        connection.execute_batch(&line.unwrap()).unwrap();
        println!("done");
    }
}

#[test]
fn a_read_sees_what_another_process_committed_between_any_two() {
    let test = TestDb::new(PoolConfig::builder().max_connections(3).work_placement(WorkPlacement::Inline));
    test.fill(10);
    let name = "snapshots::another_process_commits_when_it_is_told_to";
    let mut child = another_process(name, "commits", &test.path());
    let mut orders = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut tell = |order: &str| {
        writeln!(orders, "{order}").unwrap();
        while !answers.next().unwrap().unwrap().ends_with("done") {}
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let reads = test.db.blocking();
    for round in 1..=150 {
        match round % 5 {
            0 => tell("BEGIN; UPDATE t SET value = value + 1 WHERE id = 1; COMMIT; PRAGMA wal_checkpoint(PASSIVE)"),
            1 => tell("UPDATE t SET value = value + 1 WHERE id = 3; PRAGMA wal_checkpoint(TRUNCATE)"),
            _ => tell("UPDATE t SET value = value + 1 WHERE id = 2"),
        }
        // More than one connection keeps a snapshot.
        let (inner, outer) = reads.read(|conn| Ok((reads.read(sum)?, sum(conn)?))).unwrap();
        assert_eq!((inner, outer), (round, round));
        assert_eq!(runtime.block_on(test.db.read(sum)).unwrap(), round);
        if round % 7 == 0 {
            reads.write(|tx| Ok(tx.execute("UPDATE t SET value = value - 1 WHERE id = 4", [])?)).unwrap();
            assert_eq!(reads.read(sum).unwrap(), round - 1);
            tell("UPDATE t SET value = value + 1 WHERE id = 4");
        }
    }
    tell("ALTER TABLE t ADD COLUMN more DEFAULT 7");
    let columns = |conn: &Connection| Ok(conn.prepare_cached("SELECT * FROM t")?.column_count());
    assert_eq!(reads.read(columns).unwrap(), 3);
    drop(orders);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_read_closure_sees_one_state_unless_that_is_switched_off() {
    for (shared, seen) in [(true, [0, 0]), (false, [0, 1])] {
        let test = TestDb::new(PoolConfig::builder().shared_snapshots(shared));
        test.fill(1);
        let foreign = test.foreign();
        let reads = test.db.blocking();
        let both = reads.read(|conn| {
            let before = sum(conn)?;
            foreign.execute("UPDATE t SET value = 1", [])?;
            Ok([before, sum(conn)?])
        });
        assert_eq!(both.unwrap(), seen, "shared_snapshots = {shared}");
        assert_eq!(reads.read(sum).unwrap(), 1);
        // A transaction of its own can be begun inside, and is undone when it is left open.
        let within = reads.read(|conn| {
            conn.execute_batch("BEGIN")?;
            let sum = sum(conn)?;
            Ok((sum, conn.is_autocommit()))
        });
        assert_eq!(within.unwrap(), (1, false));
        assert!(reads.read(|conn| Ok(conn.is_autocommit())).unwrap());
    }
}

fn empties_the_log(connection: &pool_manager::rusqlite::Connection) -> bool {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0)).unwrap() == 0
}

#[test]
fn idle_snapshots_do_not_keep_the_log() {
    let test = TestDb::new(PoolConfig::builder().max_connections(4));
    test.fill(10);
    let foreign = test.foreign();
    foreign.busy_timeout(Duration::ZERO).unwrap();
    let reads = test.db.blocking();
    let many = || reads.read(|a| Ok((sum(a)?, reads.read(|b| Ok((sum(b)?, reads.read(sum)?)))?))).unwrap();
    for round in 1..20 {
        many();
        foreign.execute("UPDATE t SET value = value + 1 WHERE id = 1", []).unwrap();
        if round % 2 == 0 {
            // Of its own: at once.
            assert!(reads.execute_with_pool(|conn| Ok(empties_the_log(conn))).unwrap(), "round {round}");
        } else {
            // Of another program: after a few milliseconds without a read.
            eventually("an idle snapshot is given up", || empties_the_log(&foreign));
        }
        assert_eq!(reads.read(sum).unwrap(), round);
    }
}

#[test]
fn a_refused_statement_stops_nothing_but_itself() {
    let test = TestDb::with_defaults();
    test.fill(3);
    let reads = test.db.blocking();
    for _ in 0..3 {
        let seen = reads.read(|conn| {
            let before = sum(conn)?;
            let refused = conn.execute("UPDATE t SET value = 5", []).map_err(|error| conn.explain(error));
            assert!(matches!(refused, Err(Error::ReadOnly { .. })), "{refused:?}");
            Ok(before + sum(conn)?)
        });
        assert_eq!(seen.unwrap(), 0);
        assert_eq!(reads.read(sum).unwrap(), 0);
    }
}

#[test]
fn an_interrupt_that_comes_late_hits_nobody() {
    let test = TestDb::new(PoolConfig::builder().max_connections(1).min_connections(1));
    test.fill(3);
    let reads = test.db.blocking();
    let late = reads.read(|conn| Ok(conn.get_interrupt_handle())).unwrap();
    for _ in 0..3 {
        assert_eq!(reads.read(sum).unwrap(), 0);
        late.interrupt();
    }
    assert_eq!(reads.read(sum).unwrap(), 0);
}

#[tokio::test]
async fn a_cancelled_read_leaves_no_trace() {
    let test = TestDb::new(PoolConfig::builder().max_connections(1).work_placement(WorkPlacement::Blocking));
    test.fill(3);
    for _ in 0..5 {
        assert_eq!(test.db.read(sum).await.unwrap(), 0);
        let endless = test.db.read(|conn| Ok(conn.query_row(ENDLESS, [], |row| row.get::<_, i64>(0))?));
        assert!(tokio::time::timeout(Duration::from_millis(5), endless).await.is_err());
        assert_eq!(test.db.read(sum).await.unwrap(), 0);
    }
}

#[test]
fn a_read_only_manager_sees_what_is_committed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.sqlite");
    let foreign = pool_manager::rusqlite::Connection::open(&path).unwrap();
    foreign.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (id INTEGER PRIMARY KEY, value INTEGER)").unwrap();
    let reader = DatabaseManager::builder().path(path).read_only(true).build().unwrap();
    for round in 1..=20 {
        foreign.execute("INSERT INTO t (value) VALUES (1)", []).unwrap();
        assert_eq!(reader.blocking().read(sum).unwrap(), round);
        assert_eq!(reader.blocking().read(sum).unwrap(), round);
    }
}

/// Many readers, one writer, and snapshots that are given up all the time.
#[test]
fn snapshots_taken_kept_and_given_up_show_what_was_acknowledged_before() {
    let config = PoolConfig::builder().max_connections(4).snapshot_idle(Duration::from_millis(1));
    let test = TestDb::new(config.wal_size_limit(64 << 10).wal_autocheckpoint(8));
    test.fill(10);
    let (acknowledged, over) = (AtomicI64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for reader in 0..4_u32 {
            let (db, acknowledged, over) = (test.db.blocking(), &acknowledged, &over);
            scope.spawn(move || {
                let mut last = 0;
                while !over.load(Ordering::Relaxed) {
                    let known = acknowledged.load(Ordering::SeqCst);
                    let seen = db.read(|conn| Ok([sum(conn)?, sum(conn)?])).unwrap();
                    assert_eq!(seen[0], seen[1]);
                    assert!(seen[0] >= known.max(last), "{seen:?} after {known} and {last}");
                    last = seen[0];
                    if reader > 1 {
                        // Long enough for idle snapshots to be given up, or to be about to be.
                        std::thread::park_timeout(Duration::from_micros(500 * u64::from(reader)));
                    }
                }
            });
        }
        for round in 1..=2_000 {
            const ADD: &str = "UPDATE t SET value = value + 1 WHERE id = ?1";
            test.db.blocking().write(move |tx| Ok(tx.execute(ADD, [round % 10 + 1])?)).unwrap();
            acknowledged.store(round, Ordering::SeqCst);
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(test.db.blocking().read(sum).unwrap(), 2_000);
}
