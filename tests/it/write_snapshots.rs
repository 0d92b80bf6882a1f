//! Writers that take the snapshot of their own commit along: nothing is lost, nothing is in the way, and others may commit at any time.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use pool_manager::faults::{self, Point};
use pool_manager::rusqlite::Connection as Plain;
use pool_manager::{Connection, DatabaseManager, Error, PoolConfig, PoolConfigBuilder, Result, Transaction};

use crate::support::{TestDb, count, eventually, role};

const ADD: &str = "UPDATE t SET value = value + 1 WHERE id = 1";

fn sum(conn: &Connection) -> Result<i64> {
    Ok(conn.prepare_cached("SELECT sum(value) FROM t")?.query_row([], |row| row.get(0))?)
}

/// Changes a row; returns the sum after that.
fn add(tx: &Transaction<'_>) -> Result<i64> {
    tx.prepare_cached(ADD)?.execute([])?;
    sum(tx)
}

fn one() -> PoolConfigBuilder {
    PoolConfig::builder().max_connections(1).min_connections(1)
}

/// Whether the log could be emptied, how many frames it has, and how many of them are in the database file.
fn checkpoint(connection: &Plain, kind: &str) -> (bool, i64, i64) {
    connection
        .query_row(&format!("PRAGMA wal_checkpoint({kind})"), [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap()
}

#[test]
fn writes_see_what_others_committed_between_any_two() {
    let test = TestDb::new(one());
    test.fill(3);
    let (db, foreign) = (test.db.blocking(), test.foreign());
    let mut expected = 0;
    for round in 0..200 {
        for _ in 0..=round % 4 {
            expected += 1;
            assert_eq!(db.write(add).unwrap(), expected, "round {round}");
        }
        if round % 3 == 0 {
            assert_eq!(db.read(sum).unwrap(), expected);
        }
        for _ in 0..round % 3 {
            foreign.execute(ADD, []).unwrap();
            expected += 1;
        }
        if round % 2 == 0 {
            assert_eq!(db.read(sum).unwrap(), expected);
        }
        if round % 7 == 0 {
            checkpoint(&foreign, "PASSIVE");
        }
    }
    // A commit without a change, one that is undone, and one of another in between.
    for _ in 0..10 {
        db.write(|tx| sum(tx)).unwrap();
        foreign.execute(ADD, []).unwrap();
        let failed: Result<()> = db.write(|tx| add(tx).and(Err(Error::application("no"))));
        assert!(failed.is_err());
        foreign.execute(ADD, []).unwrap();
        expected += 2;
        assert_eq!(db.read(sum).unwrap(), expected);
        db.write(|tx| sum(tx)).unwrap();
        assert_eq!(db.read(sum).unwrap(), expected);
    }
}

/// Has others commit so often when this thread passes a point in its write, and returns the sum that is read after that.
fn sum_after_others_commit_at(point: Point, commits: i64) -> (TestDb, i64) {
    // The sweeper gives nothing up meanwhile.
    let test = TestDb::new(one().snapshot_idle(Duration::from_secs(60)));
    test.fill(3);
    let db = test.db.blocking();
    // The second one takes a snapshot, and the third one has it kept.
    for sum in 1..=3 {
        assert_eq!(db.write(add).unwrap(), sum);
    }
    let (foreign, done) = (test.foreign(), Rc::new(Cell::new(false)));
    let passed = Rc::clone(&done);
    faults::at_next(point, move || {
        for _ in 0..commits {
            assert_eq!(foreign.execute(ADD, []).unwrap(), 1);
        }
        passed.set(true);
    });
    db.write(|tx| tx.prepare_cached(ADD)?.execute([]).map_err(Into::into)).unwrap();
    assert!(done.get(), "the write does not pass {point:?}");
    let found = db.read(sum).unwrap();
    (test, found)
}

#[test]
fn what_others_commit_right_after_ones_own_commit_is_read_by_the_next() {
    for commits in 1..=3 {
        let (test, found) = sum_after_others_commit_at(Point::Unlocked, commits);
        assert_eq!(found, 4 + commits);
        assert_eq!(test.db.blocking().write(add).unwrap(), 5 + commits);
    }
}

#[test]
fn what_others_commit_right_before_ones_own_write_is_neither_lost_nor_in_its_way() {
    for commits in 1..=3 {
        let (test, found) = sum_after_others_commit_at(Point::LookedToWrite, commits);
        assert_eq!(found, 4 + commits);
        assert_eq!(test.db.blocking().write(add).unwrap(), 5 + commits);
    }
}

#[test]
fn who_writes_alone_keeps_its_snapshot_if_that_is_switched_on() {
    for shared in [true, false] {
        let test = TestDb::new(one().shared_snapshots(shared));
        test.fill(3);
        let foreign = test.foreign();
        foreign.busy_timeout(Duration::ZERO).unwrap();
        let keeps = || {
            let mut two = [(); 2].iter().map(|()| test.db.blocking().write(add).unwrap());
            assert_eq!(two.next().map(|sum| sum + 1), two.next());
            checkpoint(&foreign, "TRUNCATE").0
        };
        if shared {
            eventually("a snapshot is kept that nobody has given up yet", keeps);
        } else {
            assert!((0..20).all(|_| !keeps()));
        }
        // Of its own program: at once.
        let own = test.db.blocking().execute_with_pool(|conn| Ok(checkpoint(conn, "TRUNCATE"))).unwrap();
        assert_eq!(own, (false, 0, 0));
    }
}

#[test]
fn an_idle_writer_does_not_keep_the_log() {
    // Maintenance does not come in time to give it up.
    let test = TestDb::new(one().reap_interval(Duration::from_secs(600)));
    test.fill(3);
    let foreign = test.foreign();
    foreign.busy_timeout(Duration::ZERO).unwrap();
    for round in 0..5 {
        for nth in 1..=3 {
            assert_eq!(test.db.blocking().write(add).unwrap(), round * 3 + nth);
        }
        eventually("an idle snapshot is given up", || !checkpoint(&foreign, "TRUNCATE").0);
    }
}

#[test]
fn what_a_busy_writer_keeps_from_being_written_back_is_bounded() {
    let test = TestDb::new(one().wal_autocheckpoint(0));
    test.fill(3);
    let foreign = test.foreign();
    let mut most = 0;
    for sum in 1..=300 {
        assert_eq!(test.db.blocking().write(add).unwrap(), sum);
        let (_, frames, moved) = checkpoint(&foreign, "PASSIVE");
        most = most.max(frames - moved);
    }
    // Each commit changes one page.
    assert!(most > 1 && most <= 32, "{most} frames");
}

#[test]
fn a_writer_moves_its_whole_log_into_the_file_and_begins_it_anew() {
    let test = TestDb::new(one().wal_autocheckpoint(10));
    test.fill(3);
    let log = format!("{}-wal", test.path().display());
    for sum in 1..=300 {
        assert_eq!(test.db.blocking().write(add).unwrap(), sum);
        let frames = std::fs::metadata(&log).unwrap().len() / (4_096 + 24);
        // What `fill` wrote counts, too.
        assert!(frames <= 20, "{frames} frames after {sum} commits");
    }
}

#[test]
fn a_write_may_change_the_schema() {
    let test = TestDb::new(one());
    test.fill(3);
    let db = test.db.blocking();
    for round in 1..=5 {
        assert_eq!(db.write(add).unwrap(), round * 2 - 1);
        assert_eq!(db.write(add).unwrap(), round * 2);
        let schema = [
            "CREATE TABLE other (a, b, c); CREATE INDEX of_other ON other (a)",
            "-- a word\nDROP INDEX of_other",
            "/* another */ ALTER TABLE other DROP COLUMN c",
            "INSERT INTO other VALUES (1, 2); DROP TABLE other",
        ];
        for sql in schema {
            db.write(move |tx| Ok(tx.execute_batch(sql)?)).unwrap();
            assert_eq!(db.read(sum).unwrap(), round * 2);
        }
    }
}

#[test]
fn a_write_waits_for_another_program_whatever_it_has_kept() {
    const WAIT: Duration = Duration::from_millis(40);
    let test = TestDb::new(one().busy_timeout(WAIT));
    test.fill(3);
    let (db, foreign) = (test.db.blocking(), test.foreign());
    for round in 1..=3 {
        assert_eq!(db.write(add).unwrap(), round * 2 - 1);
        assert_eq!(db.write(add).unwrap(), round * 2);
        foreign.execute_batch("BEGIN IMMEDIATE").unwrap();
        let refused = db.write(add);
        assert!(matches!(&refused, Err(Error::Busy { waited, .. }) if *waited >= WAIT), "{refused:?}");
        foreign.execute_batch("ROLLBACK").unwrap();
    }
}

#[test]
fn an_interrupt_outlasts_no_write() {
    let test = TestDb::new(one());
    test.fill(3);
    let db = test.db.blocking();
    let late = db.read(|conn| Ok(conn.get_interrupt_handle())).unwrap();
    for round in 1..=5 {
        assert_eq!(db.write(add).unwrap(), round * 3 - 2);
        late.interrupt();
        assert_eq!(db.write(add).unwrap(), round * 3 - 1);
        let handle = db.read(|conn| Ok(conn.get_interrupt_handle())).unwrap();
        // Between the last statement and the commit, when nothing runs.
        let sum = db.write(move |tx| add(tx).inspect(|_| handle.interrupt()));
        assert_eq!(sum.unwrap(), round * 3);
        assert_eq!(db.read(crate::write_snapshots::sum).unwrap(), round * 3);
    }
}

/// A process that may not write files beyond a size stands for a disk that is full: SQLite's pager can't tell the difference.
#[cfg(unix)]
#[test]
fn a_write_that_finds_no_room_leaves_reading_to_those_after_it() {
    if let Some((_, path)) = role() {
        let db = DatabaseManager::new().with_pooling(&path, PoolConfig::builder().max_connections(1)).unwrap();
        let blocking = db.blocking();
        blocking.write(|tx| Ok(tx.execute_batch("CREATE TABLE t (value)")?)).unwrap();
        for _ in 0..20 {
            assert_eq!(count(&db, "t").unwrap(), 0);
            // More than the cache holds, so that writing begins long before the commit.
            let large = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
                INSERT INTO t SELECT zeroblob(4000) FROM n";
            let refused = blocking.write(move |tx| Ok(tx.execute(large, [])?)).unwrap_err();
            assert!(refused.to_string().contains("disk"), "{refused}");
            assert_eq!(count(&db, "t").unwrap(), 0);
        }
        blocking.write(|tx| Ok(tx.execute("INSERT INTO t VALUES (1)", [])?)).unwrap();
        assert_eq!(count(&db, "t").unwrap(), 1);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let test = "write_snapshots::a_write_that_finds_no_room_leaves_reading_to_those_after_it";
    // The shell's units are 512 bytes or 1,024.
    let mut limited = std::process::Command::new("sh");
    limited
        .args(["-c", "trap '' XFSZ; ulimit -f 4000; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--test-threads=1"])
        .env("POOL_TEST_ROLE", "limited")
        .env("POOL_TEST_PATH", folder.path().join("test.sqlite"));
    let done = limited.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
}
