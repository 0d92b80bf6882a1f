//! Writing the log back beside those who read: they keep their state, and the log stays bounded.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use pool_manager::rusqlite;
use pool_manager::{Connection, PoolConfig, Result};

use crate::support::{TestDb, eventually, logged_until};

fn sum(conn: &Connection) -> Result<i64> {
    Ok(conn.prepare_cached("SELECT sum(value) FROM t")?.query_row([], |row| row.get(0))?)
}

/// Whether it was kept from finishing, and how many pages of how many it moved.
fn checkpoint(conn: &rusqlite::Connection, mode: &str) -> (bool, i64, i64) {
    let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)? != 0, row.get(2)?, row.get(1)?));
    conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], row).unwrap()
}

#[test]
fn a_reader_keeps_its_state_while_others_commit_and_write_the_log_back() {
    let test = TestDb::new(PoolConfig::builder().max_connections(4));
    test.fill(2_000);
    let foreign = test.foreign();
    foreign.busy_timeout(Duration::ZERO).unwrap();
    let db = test.db.blocking();
    let add = |rounds: i64| {
        for _ in 0..rounds {
            db.write(|tx| Ok(tx.execute("UPDATE t SET value = value + 1 WHERE id % 100 = 0", [])?)).unwrap();
        }
    };
    let mut total = 0;
    for mode in ["PASSIVE", "FULL", "RESTART", "TRUNCATE"] {
        let mut rows = db.read_stream("SELECT value FROM t", [], |row| row.get::<_, i64>(0));
        let first = rows.next().unwrap().unwrap();
        let both = db.read(|transaction| {
            transaction.execute_batch("BEGIN")?;
            let before = sum(transaction)?;
            let within = db.read(|conn| {
                let before = sum(conn)?;
                add(5);
                let (busy, moved, pages) = checkpoint(&foreign, mode);
                assert!(moved < pages, "{mode}: readers need what it can't move yet, {moved} of {pages}");
                assert_eq!(busy, mode != "PASSIVE", "{mode}");
                add(5);
                Ok([before, sum(conn)?])
            })?;
            Ok([before, sum(transaction)?, within[0], within[1]])
        });
        assert_eq!(both.unwrap(), [total; 4], "{mode}: within closures");
        assert_eq!(first + rows.map(|row| row.unwrap()).sum::<i64>(), total, "{mode}: rows half taken");
        total += 10 * 20;
        assert_eq!(db.read(sum).unwrap(), total, "{mode}: whoever comes later");
        // A passive one does not ask idle connections to give up what they keep; they do so by themselves.
        eventually("all of the log can be moved when they have gone", || {
            let (busy, moved, pages) = db.execute_with_pool(|conn| Ok(checkpoint(conn, mode))).unwrap();
            !busy && moved == pages
        });
        assert_eq!(db.read(sum).unwrap(), total);
    }
}

/// Says that it is over, also when the test fails.
struct EndsWith<'o>(&'o AtomicBool);

impl Drop for EndsWith<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn the_log_stays_bounded_while_readers_overlap_for_ever() {
    const LIMIT: u64 = 256 << 10;
    const ROUNDS: i64 = 700;
    const SIZE: u64 = 16_000;
    // What one write may add: its pages, those of the tables' upper levels and the list of free ones, each with a header.
    const WRITE: u64 = 16 * (4_096 + 24);
    let config = PoolConfig::builder().max_connections(5).wal_size_limit(LIMIT).wal_autocheckpoint(20);
    // Whoever waits until no reader is left waits for half of this, and has not emptied the log then. Disks may be slow.
    let limits = config.checkpoint_timeout(Duration::from_secs(600)).acquire_timeout(Duration::from_secs(60));
    let test = TestDb::new(limits);
    test.fill(100);
    let db = test.db.blocking();
    db.write(|tx| Ok(tx.execute_batch("CREATE TABLE large (id INTEGER PRIMARY KEY, value)")?)).unwrap();
    let log = format!("{}-wal", test.path().display());
    let over = AtomicBool::new(false);
    let (mut largest, mut turns) = (0, [0_u64; 2]);
    std::thread::scope(|scope| {
        let _ends = EndsWith(&over);
        // Each leaves its snapshot only when the other is in one: there is no moment without a reader.
        let (to_second, from_first) = mpsc::channel();
        let (to_first, from_second) = mpsc::channel();
        let ends = [(to_second, from_second, true), (to_first, from_first, false)];
        for ((tell, told, begins), turns) in ends.into_iter().zip(&mut turns) {
            let over = &over;
            scope.spawn(move || {
                let read = |conn: &Connection| {
                    conn.execute_batch("BEGIN")?;
                    let before = sum(conn)?;
                    let _ = tell.send(());
                    while told.recv_timeout(Duration::from_millis(1)).is_err() && !over.load(Ordering::Relaxed) {}
                    assert_eq!(sum(conn)?, before);
                    Ok(())
                };
                if !begins {
                    // An error: the other one failed.
                    let _ = told.recv();
                }
                while !over.load(Ordering::Relaxed) {
                    db.read(read).unwrap();
                    *turns += 1;
                }
            });
        }
        for round in 0..ROUNDS {
            db.write(move |tx| {
                tx.execute("UPDATE t SET value = value + 1 WHERE id = 1", [])?;
                Ok(tx.execute("REPLACE INTO large VALUES (?1, zeroblob(?2))", [round % 50, SIZE as i64])?)
            })
            .unwrap();
            largest = largest.max(std::fs::metadata(&log).map_or(0, |file| file.len()));
        }
    });
    assert!(turns.iter().all(|turns| *turns > 10), "{turns:?}");
    let bound = LIMIT + WRITE;
    assert!(largest > LIMIT && largest <= bound, "{largest} bytes at most, {bound} allowed");
}

#[test]
fn the_warning_of_a_long_reader_says_who_reads_what_for_how_long() {
    const QUERY: &str = "SELECT value + 56 FROM t";
    let config = PoolConfig::builder().max_connections(4).wal_size_limit(64 << 10).long_read(Duration::from_millis(1));
    let test = TestDb::new(config.checkpoint_timeout(Duration::from_millis(2)));
    test.fill(5_000);
    let mut rows = test.db.blocking().read_stream(QUERY, [], |row| row.get::<_, i64>(0));
    rows.next().unwrap().unwrap();
    let warned = |log: &str| log.lines().find(|line| line.contains("long reader")).map(str::to_owned);
    let write = || _ = test.db.blocking().write(|tx| Ok(tx.execute("UPDATE t SET value = value + 1", [])?)).unwrap();
    let log = logged_until(|log| warned(log).is_some(), write);
    let warning = warned(&log).unwrap();
    let path = test.db.path();
    for said in [
        "WARN pool_manager: long reader: what was committed since it began stays in the log",
        &format!("database={:?}", path.to_str().unwrap()),
        "site=\"",
        &format!("sql={QUERY:?}"),
        "reading_for=",
        "keeps_log=true",
    ] {
        assert!(warning.contains(said), "{said} is not in: {warning}");
    }
    // Once for each time it reads, however often the log can't be emptied.
    let more = logged_until(|log| log.contains("the log could not be emptied"), write);
    assert_eq!(warned(&more), None);
    drop(rows);
}

#[test]
fn whoever_keeps_the_log_from_being_emptied_for_long_is_named_while_doing_so() {
    const QUERY: &str = "SELECT value + 12 FROM t";
    let config = PoolConfig::builder().max_connections(4).wal_size_limit(64 << 10).long_read(Duration::from_millis(1));
    let test = TestDb::new(config.checkpoint_timeout(Duration::from_millis(2)));
    test.fill(5_000);
    let db = test.db.blocking();
    let grow = || {
        let named = || test.db.long_readers().into_iter().find(|reader| reader.keeps_log);
        eventually("the reader is named", || {
            db.write(|tx| Ok(tx.execute("UPDATE t SET value = value + 1", [])?)).unwrap();
            named().is_some()
        });
        named().unwrap()
    };
    let none = || eventually("nobody reads any more", || test.db.long_readers().is_empty());

    let mut rows = db.read_stream(QUERY, [], |row| row.get::<_, i64>(0));
    rows.next().unwrap().unwrap();
    let reader = grow();
    assert!(reader.sql.as_deref() == Some(QUERY) && reader.reading_for >= Duration::from_millis(1), "{reader:?}");
    drop(rows);
    none();

    let held = db.acquire().unwrap();
    held.execute_batch("BEGIN").unwrap();
    held.query_row("SELECT count(*) FROM t", [], |_| Ok(())).unwrap();
    held.execute_batch("COMMIT").unwrap();
    none();
    let mut statement = held.prepare("SELECT value + 34 FROM t").unwrap();
    let mut found = statement.query([]).unwrap();
    found.next().unwrap();
    assert_eq!(grow().site, "a connection held by hand");
    drop(found);
    none();
    drop(statement);
    drop(held);

    let site = db.read(|conn| {
        sum(conn)?;
        Ok(grow().site)
    });
    assert!(site.unwrap().contains("whoever_keeps_the_log"));
    none();
}
