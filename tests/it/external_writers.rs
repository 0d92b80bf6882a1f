//! `external_writers`: what each choice promises about commits of other processes, and that commits of this one are never missed.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout};
use std::time::Duration;

use pool_manager::{Connection, DatabaseManager, ExternalWriters, ManualClock, PoolConfig, rusqlite};

use crate::support::{TestDb, another_process, role};

/// Another process, which runs each statement that it is told.
struct Other {
    child: Child,
    tell: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Other {
    fn start(test: &str, path: &Path) -> Self {
        let mut child = another_process(&format!("external_writers::{test}"), "writer", path);
        let tell = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, tell, answers }
    }

    fn run(&mut self, sql: &str) {
        writeln!(self.tell.as_mut().unwrap(), "{sql}").unwrap();
        assert!(self.answers.any(|line| line.unwrap().ends_with("committed")), "the other process ended");
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        drop(self.tell.take());
        let ended = self.child.wait().unwrap();
        assert!(ended.success() || std::thread::panicking());
    }
}

/// The other process' side; tells whether this is it.
fn is_the_other() -> bool {
    let Some((_, path)) = role() else { return false };
    let conn = rusqlite::Connection::open(path).unwrap();
    conn.busy_timeout(Duration::from_secs(10)).unwrap();
    for line in std::io::stdin().lines() {
        conn.execute_batch(&line.unwrap()).unwrap();
        let mut answers = std::io::stdout();
        writeln!(answers, "committed").unwrap();
    }
    true
}

struct Here {
    folder: tempfile::TempDir,
    time: ManualClock,
    db: DatabaseManager,
}

impl Here {
    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("a.sqlite")
    }
}

fn open(external_writers: ExternalWriters) -> Here {
    let (folder, time) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let config = PoolConfig::builder()
        .external_writers(external_writers)
        .external_poll_interval(Duration::from_millis(100))
        .max_connections(4);
    let db = DatabaseManager::builder().path(folder.path().join("a.sqlite")).config(config).clock(time.clock());
    let db = db.build().unwrap();
    let schema = "CREATE TABLE t (value); INSERT INTO t VALUES (0); CREATE TABLE u (value); INSERT INTO u VALUES (0)";
    db.blocking().write(|tx| Ok(tx.execute_batch(schema)?)).unwrap();
    Here { folder, time, db }
}

fn value(table: &'static str) -> impl Fn(&Connection) -> pool_manager::Result<i64> + Clone + 'static {
    move |conn| Ok(conn.query_row(&format!("SELECT value FROM {table}"), [], |row| row.get(0))?)
}

fn cached(db: &DatabaseManager, table: &'static str) -> i64 {
    *db.blocking().execute_cached(table, None, value(table)).unwrap()
}

fn share(db: &DatabaseManager, sql: &str) {
    let sql = sql.to_owned();
    db.blocking().write(move |tx| Ok(tx.execute_batch(&sql)?)).unwrap();
}

#[test]
fn strict_sees_what_another_process_committed_at_once() {
    if is_the_other() {
        return;
    }
    let here = open(ExternalWriters::Strict);
    let mut other = Other::start("strict_sees_what_another_process_committed_at_once", &here.path());
    for number in 1..20 {
        cached(&here.db, "t");
        other.run(&format!("UPDATE t SET value = {number}"));
        assert_eq!(cached(&here.db, "t"), number);
    }
}

#[test]
fn poll_misses_another_process_for_its_interval_and_no_longer() {
    if is_the_other() {
        return;
    }
    let here = open(ExternalWriters::Poll);
    let mut other = Other::start("poll_misses_another_process_for_its_interval_and_no_longer", &here.path());
    here.time.advance(Duration::from_secs(1));
    for number in 1..20 {
        let before = cached(&here.db, "t");
        other.run(&format!("UPDATE t SET value = {number}"));
        here.time.advance(Duration::from_millis(99));
        assert_eq!(cached(&here.db, "t"), before, "no clock says that it is time to look");
        // What is read anew in between is new, and makes the others look no earlier.
        let fresh = here.db.blocking().execute_cached("another key", None, value("t")).unwrap();
        assert!(*fresh == number || *fresh == before);
        here.time.advance(Duration::from_millis(1));
        assert_eq!(cached(&here.db, "t"), number);
        // An own commit in the interval is seen, and brings the stranger's with it.
        other.run(&format!("UPDATE t SET value = {number} + 1000"));
        here.db.blocking().write(|tx| Ok(tx.execute("UPDATE u SET value = value + 1", [])?)).unwrap();
        assert_eq!(cached(&here.db, "t"), number + 1000);
    }
    assert!(here.db.pool_stats().unwrap().cache_hits >= 19);
}

#[test]
fn none_keeps_a_result_until_a_commit_of_its_own_process() {
    if is_the_other() {
        return;
    }
    let here = open(ExternalWriters::None);
    let mut other = Other::start("none_keeps_a_result_until_a_commit_of_its_own_process", &here.path());
    for number in 1..20 {
        let before = cached(&here.db, "t");
        other.run(&format!("UPDATE t SET value = {number}"));
        here.time.advance(Duration::from_secs(20));
        assert_eq!(cached(&here.db, "t"), before);
        here.db.blocking().write(|tx| Ok(tx.execute("UPDATE u SET value = value + 1", [])?)).unwrap();
        assert_eq!(cached(&here.db, "t"), number);
        // Commits of its own that follow one another say which tables they wrote.
        let hits = here.db.pool_stats().unwrap().cache_hits;
        here.db.blocking().write(|tx| Ok(tx.execute("UPDATE u SET value = value + 1", [])?)).unwrap();
        assert_eq!(cached(&here.db, "t"), number);
        assert_eq!(here.db.pool_stats().unwrap().cache_hits, hits + 1);
    }
}

/// Every way in which a commit of this process can come about.
#[test]
fn commits_of_this_process_are_seen_whatever_is_chosen() {
    for external_writers in ExternalWriters::ALL {
        let here = open(*external_writers);
        let (db, path) = (&here.db, here.path());
        let direct = DatabaseManager::builder().path(&path).use_pool(false).build().unwrap();
        let neighbour = DatabaseManager::open(here.folder.path().join("b.sqlite")).unwrap();
        let held = db.blocking().acquire().unwrap();
        let mut number = 0;
        let mut next = || {
            number += 1;
            format!("UPDATE t SET value = {number}")
        };
        type Way<'a> = (&'a str, Box<dyn Fn(&str) + 'a>);
        let ways: Vec<Way<'_>> = vec![
            ("a shared write", Box::new(|sql| share(db, sql))),
            (
                "a transaction",
                Box::new(|sql| db.blocking().execute_pooled_transaction(|tx| Ok(tx.execute_batch(sql)?)).unwrap()),
            ),
            (
                "a statement of a closure",
                Box::new(|sql| db.blocking().execute_with_pool(|conn| Ok(conn.execute_batch(sql)?)).unwrap()),
            ),
            ("a connection held by hand", Box::new(|sql| held.execute_batch(sql).unwrap())),
            (
                "a statement whose end is told before it commits",
                Box::new(|sql| {
                    let sql = format!("{sql} RETURNING value");
                    let mut statement = held.prepare(&sql).unwrap();
                    statement.query([]).unwrap().next().unwrap().unwrap();
                }),
            ),
            (
                "the file under another name",
                Box::new(|sql| {
                    held.execute("ATTACH ?1 AS twin", [path.to_str().unwrap()]).unwrap();
                    held.execute_batch(&sql.replace("UPDATE t", "UPDATE twin.t")).unwrap();
                    held.execute_batch("DETACH twin").unwrap();
                }),
            ),
            (
                "a connection of another file that has attached it",
                Box::new(|sql| {
                    let conn = neighbour.blocking().acquire().unwrap();
                    conn.execute("ATTACH ?1 AS theirs", [path.to_str().unwrap()]).unwrap();
                    conn.execute_batch(&sql.replace("UPDATE t", "UPDATE theirs.t")).unwrap();
                    assert_eq!(
                        cached(db, "t"),
                        conn.query_row("SELECT value FROM theirs.t", [], |row| row.get::<_, i64>(0)).unwrap()
                    );
                }),
            ),
            ("another manager of the file", Box::new(|sql| share(&direct, sql))),
        ];
        for round in 0..3 {
            for (way, commit) in &ways {
                cached(db, "t");
                let sql = next();
                commit(&sql);
                assert_eq!(cached(db, "t"), number_of(&sql), "{external_writers}, round {round}: {way}");
            }
        }
        drop(ways);
    }
}

#[test]
fn a_database_in_memory_that_is_attached_by_its_name_is_followed_as_well() {
    let open = || {
        let db = DatabaseManager::open(":memory:").unwrap();
        db.blocking().write(|tx| Ok(tx.execute_batch("CREATE TABLE t (value); INSERT INTO t VALUES (0)")?)).unwrap();
        db
    };
    let (here, neighbour) = (open(), open());
    let file = TestDb::with_defaults();
    // Of all databases in memory of this process that have this table it is the one that was marked.
    here.blocking().write(|tx| Ok(tx.execute_batch("PRAGMA user_version = 41")?)).unwrap();
    let is_it = |name: &String| {
        let conn = rusqlite::Connection::open(name).unwrap();
        conn.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0)).unwrap() == 41
    };
    let name = (1..10_000).map(|number| format!("file:/pool-manager-{number}?vfs=memdb")).find(is_it).unwrap();
    let mut value = 0;
    for round in 0..3 {
        for (who, by) in [("itself", &here), ("another in memory", &neighbour), ("a file", &file.db)] {
            assert_eq!(cached(&here, "t"), value);
            value += 1;
            let conn = by.blocking().acquire().unwrap();
            conn.execute("ATTACH ?1 AS alias", [&name]).unwrap();
            conn.execute("UPDATE alias.t SET value = ?1", [value]).unwrap();
            assert_eq!(cached(&here, "t"), value, "round {round}: {who}");
            value += 1;
            conn.execute_batch(&format!("BEGIN; UPDATE alias.t SET value = {value}; COMMIT")).unwrap();
            drop(conn);
            assert_eq!(cached(&here, "t"), value, "round {round}: {who}, given back");
        }
    }
}

fn number_of(sql: &str) -> i64 {
    sql.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_vacuum_that_gives_rows_other_numbers_outdates_what_read_them() {
    for external_writers in ExternalWriters::ALL {
        let here = open(*external_writers);
        let sql = "INSERT INTO t VALUES (1), (2), (3); DELETE FROM t WHERE value < 3";
        here.db.blocking().write(|tx| Ok(tx.execute_batch(sql)?)).unwrap();
        let row = || {
            let row = |conn: &Connection| Ok(conn.query_row("SELECT rowid FROM t", [], |row| row.get::<_, i64>(0))?);
            *here.db.blocking().execute_cached("row", None, row).unwrap()
        };
        assert_eq!(row(), 4);
        here.db.blocking().execute_with_pool(|conn| Ok(conn.execute_batch(" /* tidy */ vacuum")?)).unwrap();
        let now =
            here.db.blocking().read(|conn| Ok(conn.query_row("SELECT rowid FROM t", [], |row| row.get::<_, i64>(0))?));
        assert_eq!(row(), now.unwrap(), "{external_writers}");
    }
}

#[test]
fn the_choice_can_change_while_the_pool_is_open() {
    if is_the_other() {
        return;
    }
    let here = open(ExternalWriters::None);
    let mut other = Other::start("the_choice_can_change_while_the_pool_is_open", &here.path());
    assert_eq!(cached(&here.db, "t"), 0);
    other.run("UPDATE t SET value = 1");
    assert_eq!(cached(&here.db, "t"), 0);
    let strict = PoolConfig::builder().layer(&*here.db.config()).external_writers(ExternalWriters::Strict);
    here.db.reconfigure(strict).unwrap();
    assert_eq!(cached(&here.db, "t"), 1);
}

#[test]
fn a_file_outside_wal_mode_is_looked_at_whatever_is_chosen() {
    for external_writers in ExternalWriters::ALL {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("old.sqlite");
        let other = rusqlite::Connection::open(&path).unwrap();
        other.execute_batch("PRAGMA journal_mode = DELETE; CREATE TABLE t (value); INSERT INTO t VALUES (0)").unwrap();
        let config = PoolConfig::builder().external_writers(*external_writers);
        let db = DatabaseManager::builder().path(&path).config(config).read_only(true).build().unwrap();
        for number in 1..10 {
            cached(&db, "t");
            other.execute("UPDATE t SET value = ?1", [number]).unwrap();
            assert_eq!(cached(&db, "t"), number, "{external_writers}");
        }
    }
}

#[test]
fn a_database_in_memory_asks_nobody_and_misses_no_commit() {
    let db = DatabaseManager::open(":memory:").unwrap();
    let schema = "CREATE TABLE t (value); INSERT INTO t VALUES (0)";
    db.blocking().write(|tx| Ok(tx.execute_batch(schema)?)).unwrap();
    let held = db.blocking().acquire().unwrap();
    for number in (1..40).step_by(2) {
        assert_eq!(cached(&db, "t"), if number == 1 { 0 } else { number - 1 });
        db.blocking().write(move |tx| Ok(tx.execute("UPDATE t SET value = ?1", [number])?)).unwrap();
        assert_eq!((cached(&db, "t"), cached(&db, "t")), (number, number));
        {
            let mut statement = held.prepare("UPDATE t SET value = ?1 RETURNING value").unwrap();
            statement.query([number + 1]).unwrap().next().unwrap().unwrap();
        }
        assert_eq!(cached(&db, "t"), number + 1, "it has committed though its end was told before");
        let rolled_back = held.execute_batch("BEGIN; UPDATE t SET value = -1; ROLLBACK");
        rolled_back.unwrap();
        assert_eq!(cached(&db, "t"), number + 1);
    }
}
