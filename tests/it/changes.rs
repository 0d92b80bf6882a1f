//! `db.changes()`: what was committed, in order, and nothing that was not.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_core::Stream;
use pool_manager::{Changed, Changes, DatabaseManager, Error, PoolConfig, Result};

use crate::support::TestDb;

const SCHEMA: &str = "
    CREATE TABLE parent (id INTEGER PRIMARY KEY);
    CREATE TABLE child (id INTEGER PRIMARY KEY, parent REFERENCES parent ON DELETE CASCADE);
    CREATE TABLE log (text);
    CREATE TRIGGER logs AFTER DELETE ON child BEGIN INSERT INTO log VALUES (old.id); END;
    CREATE TABLE other (value);
    INSERT INTO parent VALUES (1), (2), (3);
    INSERT INTO child VALUES (1, 1), (2, 2);
";

fn database() -> TestDb {
    let test = TestDb::new(PoolConfig::builder().max_connections(3));
    test.db.blocking().write(|tx| Ok(tx.execute_batch(SCHEMA)?)).unwrap();
    test
}

fn write(db: &DatabaseManager, sql: &str) {
    let sql = sql.to_owned();
    db.blocking().write(move |tx| Ok(tx.execute_batch(&sql)?)).unwrap();
}

fn names(change: &Changed) -> String {
    change.tables().map_or("any".to_owned(), |tables| tables.collect::<Vec<_>>().join(" "))
}

/// Everything that waits to be taken.
fn taken(changes: &mut Changes) -> Vec<String> {
    std::iter::from_fn(|| changes.try_next()).map(|change| names(&change)).collect()
}

#[test]
fn an_item_shows_what_was_written() {
    let test = database();
    let mut changes = test.db.changes();
    write(&test.db, "CREATE TABLE more (a)");
    let shown = |change: Option<Changed>| format!("{:?}", change.unwrap());
    assert_eq!(shown(changes.try_next()), r#"Changed { tables: "any", merged: 1 }"#);
    for _ in 0..3 {
        write(&test.db, "INSERT INTO other VALUES (0)");
    }
    let last = std::iter::from_fn(|| changes.try_next()).last();
    assert_eq!(shown(last), r#"Changed { tables: {"other"}, merged: 1 }"#);
}

#[test]
fn each_commit_is_one_item_with_the_tables_it_wrote_in_order() {
    let test = database();
    // The connections learn of the schema first, which outdates more than it must.
    for _ in 0..3 {
        write(&test.db, "INSERT INTO other VALUES (0)");
    }
    let mut changes = test.db.changes();
    write(&test.db, "INSERT INTO Other VALUES (1)");
    write(&test.db, "DELETE FROM parent WHERE id = 1");
    let held = test.db.blocking().acquire().unwrap();
    held.execute("INSERT INTO log VALUES ('by hand')", []).unwrap();
    held.execute_batch("BEGIN; INSERT INTO other VALUES (2); INSERT INTO log VALUES ('both'); COMMIT").unwrap();
    drop(held);
    write(&test.db, "CREATE TABLE more (a)");
    let found = taken(&mut changes);
    assert_eq!(found[..3], ["other", "child log parent", "log"]);
    // What a connection has written in the same use counts.
    assert_eq!(found[3], "log other");
    assert_eq!(found[4..], ["any"]);
}

#[test]
fn what_was_not_committed_is_not_told() {
    let test = database();
    let mut changes = test.db.changes();
    let undone: Result<()> = test.db.blocking().write(|tx| {
        tx.execute("DELETE FROM other", [])?;
        Err(Error::application("undone"))
    });
    undone.expect_err("undone");
    let held = test.db.blocking().acquire().unwrap();
    held.execute_batch("BEGIN; INSERT INTO other VALUES (2); ROLLBACK").unwrap();
    held.execute("INSERT INTO child VALUES (9, 99)", []).expect_err("there is no such parent");
    test.db.blocking().read(|conn| Ok(conn.query_row("SELECT count(*) FROM log", [], |_| Ok(()))?)).unwrap();
    assert_eq!(taken(&mut changes), [""; 0]);
}

#[test]
fn an_item_comes_after_its_commit_can_be_seen() {
    let test = database();
    let mut changes = test.db.changes();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..=200 {
                write(&test.db, &format!("INSERT INTO other VALUES ({number})"));
            }
        });
        let (mut told, mut merged) = (0, 0);
        while merged < 200 {
            let change = changes.next_blocking().unwrap();
            merged += change.merged();
            told += 1;
            assert!(change.concerns("OTHER"));
            let seen: u64 = test
                .db
                .blocking()
                .read(|conn| Ok(conn.query_row("SELECT count(*) FROM other", [], |row| row.get(0))?))
                .unwrap();
            assert!(seen >= merged, "{seen} rows after {merged} commits were told");
        }
        assert!(told > 0);
    });
}

#[test]
fn two_managers_of_a_file_both_hear_of_it() {
    let test = database();
    let direct = DatabaseManager::builder().path(test.path()).use_pool(false).build().unwrap();
    let again = DatabaseManager::open(test.path()).unwrap();
    let mut all = [test.db.changes(), direct.changes(), again.changes()];
    for (writer, table) in [(&test.db, "other"), (&direct, "log"), (&again, "parent")] {
        // Once more each, as the first on a connection may be about any table.
        for _ in 0..4 {
            write(writer, &format!("INSERT INTO {table} VALUES (NULL)"));
        }
        for changes in &mut all {
            let found = taken(changes);
            assert_eq!((found.len(), found[3].as_str()), (4, table), "{found:?}");
        }
    }
    direct.blocking().close_pool().unwrap();
    assert!(all[1].next_blocking().is_none());
    // Closing has emptied the log, which looks like a commit of a stranger.
    write(&test.db, "INSERT INTO other VALUES (1)");
    write(&test.db, "INSERT INTO other VALUES (2)");
    assert_eq!(taken(&mut all[0]).last().unwrap(), "other");
}

#[test]
fn commits_of_strangers_are_any_table_once_somebody_looks() {
    let test = database();
    let mut changes = test.db.changes();
    test.foreign().execute("INSERT INTO other VALUES (1)", []).unwrap();
    assert_eq!(taken(&mut changes), [""; 0]);
    changes.look();
    assert_eq!(taken(&mut changes), ["any"]);
    changes.look();
    assert_eq!(taken(&mut changes), [""; 0]);
}

#[tokio::test]
async fn the_stream_wakes_who_waits_and_ends_with_the_database() {
    for memory in [false, true] {
        let test = database();
        let db = if memory { DatabaseManager::open(":memory:").unwrap() } else { test.db.clone() };
        db.write(|tx| Ok(tx.execute_batch("CREATE TABLE IF NOT EXISTS other (value)")?)).await.unwrap();
        let mut changes = db.changes();
        let listening = tokio::spawn(async move {
            let mut all = Vec::new();
            while let Some(change) = changes.next().await {
                all.push(names(&change));
            }
            all
        });
        for _ in 0..5 {
            db.write(|tx| Ok(tx.execute("INSERT INTO other VALUES (1)", [])?)).await.unwrap();
            tokio::task::yield_now().await;
        }
        db.close_pool().await.unwrap();
        let all = listening.await.unwrap();
        assert_eq!(all.len(), 5, "{all:?}");
        assert_eq!(all[4], "other", "{all:?}");
        assert!(db.changes().next().await.is_none(), "it is closed");
    }
}

#[test]
fn a_stream_of_a_database_that_nobody_has_any_more_ends() {
    let test = database();
    let mut changes = test.db.changes();
    write(&test.db, "INSERT INTO other VALUES (1)");
    let TestDb { db, folder } = test;
    drop(db);
    assert!(changes.next_blocking().is_some());
    assert!(changes.next_blocking().is_none());
    drop(folder);
}

/// Counts how often it is woken, and panics if it is told to.
struct Woken {
    times: AtomicUsize,
    panics: bool,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.times.fetch_add(1, Ordering::SeqCst);
        assert!(!self.panics, "a waker that panics");
    }
}

#[test]
fn a_waker_that_panics_harms_neither_who_commits_nor_other_subscribers() {
    let test = database();
    let db = &test.db;
    let woken = |panics| Arc::new(Woken { times: AtomicUsize::new(0), panics });
    let (bad, good) = (woken(true), woken(false));
    let mut changes = [(db.changes(), &bad), (db.changes(), &good)];
    let mut wait = || {
        for (changes, woken) in &mut changes {
            while changes.try_next().is_some() {}
            let waker = Waker::from(Arc::clone(woken));
            assert!(Pin::new(changes).poll_next(&mut Context::from_waker(&waker)).is_pending());
        }
    };
    let times = || (bad.times.load(Ordering::SeqCst), good.times.load(Ordering::SeqCst));
    wait();
    write(db, "INSERT INTO other VALUES (1)");
    assert_eq!(times(), (1, 1));
    // The commit is published when the connection goes back.
    wait();
    let half_way = |conn: &pool_manager::Connection| {
        Ok(conn.query_row("INSERT INTO other VALUES (2), (3) RETURNING value", [], |row| row.get::<_, i64>(0))?)
    };
    db.blocking().execute_with_pool(half_way).unwrap();
    assert_eq!(times(), (2, 2));
    wait();
    test.foreign().execute("INSERT INTO other VALUES (4)", []).unwrap();
    let count = |conn: &pool_manager::Connection| {
        Ok(conn.query_row("SELECT count(*) FROM other", [], |row| row.get::<_, i64>(0))?)
    };
    assert_eq!(*db.blocking().execute_cached("count", None, count).unwrap(), 4);
    assert_eq!(times(), (3, 3));
    wait();
    db.blocking().close_pool().unwrap();
    assert_eq!(times(), (4, 4));
}

#[test]
fn it_is_a_stream() {
    fn poll<S: futures_core::Stream + Unpin>(stream: &mut S) -> Poll<Option<S::Item>> {
        Pin::new(stream).poll_next(&mut Context::from_waker(Waker::noop()))
    }
    let test = database();
    let mut changes = test.db.changes();
    assert!(poll(&mut changes).is_pending());
    write(&test.db, "INSERT INTO other VALUES (1)");
    assert!(poll(&mut changes).is_ready());
}
