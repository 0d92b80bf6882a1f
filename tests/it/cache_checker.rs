//! The checker that finds a stale result if there is one: writers, readers, and a history of what each was told.
//!
//! Every value is the number of the commit that wrote it, so it can be told which of two is older. A cached read has to return a number
//! no lower than the highest that was acknowledged to its writer before the read began, and no lower than the highest that anybody had
//! read by then, cached or not. Pauses at the steps of publishing and hitting widen the windows. That it finds mistakes is shown by
//! making them: each in a process of its own.
//!
//! `POOL_STALENESS_WRITES` is how many writes each writer makes (200).

use std::io::{BufRead, BufReader};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;
use pool_manager::faults::{self, Mutation};
use pool_manager::rusqlite;
use pool_manager::{Connection, DatabaseManager, Error, ExternalWriters, PoolConfig, Result};

use crate::support::{TestDb, another_process, role};

/// What is written and read: a way to write a number, and a query that finds it.
struct Register {
    /// How many of its writes are left out for one that is made.
    seldom: i64,
    write: fn(&rusqlite::Connection, i64) -> rusqlite::Result<()>,
    query: &'static str,
}

const SCHEMA: &str = "
    CREATE TABLE plain (id INTEGER PRIMARY KEY, value INTEGER);
    INSERT INTO plain VALUES (1, 0), (2, 0);
    CREATE TABLE parent (number INTEGER PRIMARY KEY);
    CREATE TABLE cascade_child (number REFERENCES parent ON UPDATE CASCADE);
    INSERT INTO parent VALUES (0);
    INSERT INTO cascade_child VALUES (0);
    CREATE TABLE source (id INTEGER PRIMARY KEY, value INTEGER);
    CREATE TABLE cascade_log (value INTEGER);
    INSERT INTO source VALUES (1, 0);
    INSERT INTO cascade_log VALUES (0);
    CREATE TRIGGER logging AFTER UPDATE ON source BEGIN UPDATE cascade_log SET value = new.value; END;
    CREATE VIEW numbered AS SELECT 0 AS value;
    CREATE TABLE ours (number TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE theirs (number TEXT);
    CREATE TABLE emptied (value INTEGER);
    INSERT INTO emptied VALUES (0);
    CREATE TABLE rows (id INTEGER PRIMARY KEY, value INTEGER);
    INSERT INTO rows VALUES (1, 0), (2, 0);
    CREATE TABLE named (id INTEGER PRIMARY KEY, name UNIQUE, value INTEGER);
    CREATE TABLE moving (id INTEGER PRIMARY KEY, value INTEGER);
    INSERT INTO moving VALUES (1, 0);
    CREATE TABLE cleared (id INTEGER PRIMARY KEY, value INTEGER);
    CREATE TABLE keyed (id INTEGER PRIMARY KEY, kind, value INTEGER);
    CREATE INDEX by_kind ON keyed (kind);
    INSERT INTO keyed VALUES (1, 1, 0), (2, 2, 0), (3, 'name', 0), (4, 'other', 0);
    CREATE TABLE changing (id INTEGER PRIMARY KEY, kind, value INTEGER);
    CREATE INDEX by_changing_kind ON changing (kind);
    INSERT INTO changing VALUES (1, 0, 0);
    CREATE TABLE growing (id INTEGER PRIMARY KEY, kind, value INTEGER);
    CREATE INDEX by_growing_kind ON growing (kind);
    CREATE TABLE taken (id INTEGER PRIMARY KEY, kind UNIQUE, value INTEGER);
    CREATE TABLE owner (id INTEGER PRIMARY KEY, value);
    CREATE TABLE owned (id INTEGER PRIMARY KEY, kind REFERENCES owner ON UPDATE CASCADE, value INTEGER);
    CREATE INDEX by_owned_kind ON owned (kind);
    INSERT INTO owner VALUES (0, 0);
    INSERT INTO owned VALUES (1, 0, 0);
    CREATE TRIGGER handing_over AFTER UPDATE OF value ON owner BEGIN UPDATE owned SET value = new.value; END;
";

const REGISTERS: &[Register] = &[
    Register {
        seldom: 1,
        write: |conn, number| conn.execute("UPDATE plain SET value = ?1 WHERE id = 1", [number]).map(drop),
        query: "SELECT value FROM plain WHERE id = 1",
    },
    Register {
        seldom: 1,
        write: |conn, number| conn.execute("REPLACE INTO PLAIN VALUES (2, ?1)", [number]).map(drop),
        query: "SELECT sum(value) FROM (SELECT p.value FROM plain AS p WHERE id > 1)",
    },
    Register {
        seldom: 1,
        write: |conn, number| conn.execute("UPDATE parent SET number = ?1", [number]).map(drop),
        query: "SELECT number FROM cascade_child",
    },
    Register {
        seldom: 1,
        write: |conn, number| conn.execute("UPDATE source SET value = ?1", [number]).map(drop),
        query: "WITH newest AS (SELECT max(value) AS value FROM cascade_log) SELECT value FROM newest",
    },
    Register {
        // A change of the schema outdates all results and would hide what else does not.
        seldom: 20,
        write: |conn, number| {
            let sql = format!("DROP VIEW numbered; CREATE VIEW numbered AS SELECT {number} AS value");
            conn.execute_batch(&sql)
        },
        query: "SELECT value FROM numbered",
    },
    Register {
        seldom: 1,
        // One row more with each number; which tables are joined is not told while the query is prepared.
        write: |conn, number| {
            conn.execute("INSERT INTO ours VALUES (?1)", [number])?;
            conn.execute("INSERT INTO theirs VALUES (?1)", [number]).map(drop)
        },
        query: "SELECT count(*) FROM ours NATURAL JOIN theirs",
    },
    Register {
        seldom: 1,
        write: |conn, number| {
            conn.execute("DELETE FROM emptied", [])?;
            conn.execute("INSERT INTO emptied VALUES (?1)", [number]).map(drop)
        },
        query: "SELECT max(value) FROM emptied",
    },
    Register {
        seldom: 1,
        write: |conn, number| {
            conn.execute("UPDATE rows SET value = ?1 WHERE id = 1", [number])?;
            conn.execute("UPDATE rows SET value = value WHERE id = 2", []).map(drop)
        },
        query: "SELECT value FROM rows WHERE id = 1",
    },
    Register {
        seldom: 1,
        // The one row goes to make place for the other.
        write: |conn, number| {
            conn.execute("REPLACE INTO named VALUES (1 + ?1 % 2, 'the name', ?1)", [number]).map(drop)
        },
        query: "SELECT coalesce((SELECT value FROM named WHERE id = 1), -1)",
    },
    Register {
        seldom: 1,
        write: |conn, number| conn.execute("UPDATE moving SET id = 1 + ?1 % 2, value = ?1", [number]).map(drop),
        query: "SELECT coalesce((SELECT value FROM moving WHERE id = 1), -1)",
    },
    Register {
        seldom: 1,
        write: |conn, number| {
            if number % 2 == 0 {
                return conn.execute("DELETE FROM cleared", []).map(drop);
            }
            conn.execute("INSERT INTO cleared VALUES (1, ?1)", [number]).map(drop)
        },
        query: "SELECT coalesce((SELECT value FROM cleared WHERE id = 1), -1)",
    },
    Register {
        seldom: 1,
        write: |conn, number| {
            conn.execute("UPDATE keyed SET value = value WHERE id = 2", [])?;
            conn.execute("UPDATE keyed SET value = ?1 WHERE id = 1", [number]).map(drop)
        },
        query: "SELECT max(value) FROM keyed WHERE kind = 1",
    },
    Register {
        seldom: 1,
        write: |conn, number| {
            conn.execute("UPDATE keyed SET value = value WHERE id = 4", [])?;
            conn.execute("UPDATE keyed SET value = ?1 WHERE kind = 'name'", [number]).map(drop)
        },
        query: "SELECT sum(value) FROM (SELECT * FROM keyed WHERE kind = 'name')",
    },
    Register {
        seldom: 1,
        // The row comes and goes among those that are read.
        write: |conn, number| conn.execute("UPDATE changing SET kind = ?1 % 2, value = ?1", [number]).map(drop),
        query: "SELECT coalesce(max(value), -1) FROM changing WHERE kind = 1",
    },
    Register {
        seldom: 1,
        write: |conn, number| {
            if number % 3 == 0 {
                conn.execute("DELETE FROM growing WHERE value < ?1", [number])?;
            }
            conn.execute("INSERT INTO growing (kind, value) VALUES (7, ?1)", [number]).map(drop)
        },
        query: "SELECT coalesce(max(value), -1) FROM growing WHERE kind = 7",
    },
    Register {
        seldom: 1,
        // Of the row that is written over nothing is told but its number.
        write: |conn, number| conn.execute("REPLACE INTO taken VALUES (1, ?1 % 2, ?1)", [number]).map(drop),
        query: "SELECT coalesce(max(value), -1) FROM taken WHERE kind = 1",
    },
    Register {
        seldom: 1,
        write: |conn, number| {
            conn.execute("UPDATE owner SET id = ?1 % 2", [number])?;
            conn.execute("UPDATE owner SET value = ?1", [number]).map(drop)
        },
        query: "SELECT coalesce(max(value), -1) FROM owned WHERE kind = 1",
    },
];

/// What a query finds where a row comes and goes: it says nothing of the number.
const NO_ROW: i64 = -1;

/// Everything that was told.
struct History {
    acknowledged: Vec<AtomicI64>,
    read: Vec<AtomicI64>,
    violations: Mutex<Vec<String>>,
    reads: AtomicU64,
    done: AtomicBool,
    leaves_out_strangers: bool,
}

impl History {
    fn new() -> Self {
        let zeros = || REGISTERS.iter().map(|_| AtomicI64::new(0)).collect();
        Self {
            acknowledged: zeros(),
            read: zeros(),
            violations: Mutex::default(),
            reads: AtomicU64::new(0),
            done: AtomicBool::new(false),
            leaves_out_strangers: false,
        }
    }

    /// Checks one read.
    fn check(&self, register: usize, path: &str, read: impl FnOnce() -> i64) {
        let acknowledged = self.acknowledged[register].load(Ordering::SeqCst);
        let seen = self.read[register].load(Ordering::SeqCst);
        let number = read();
        if number == NO_ROW {
            return;
        }
        self.read[register].fetch_max(number, Ordering::SeqCst);
        self.reads.fetch_add(1, Ordering::Relaxed);
        let unchecked = self.leaves_out_strangers && register % 2 == 1;
        if !unchecked && (number < acknowledged || number < seen) {
            self.violations.lock().push(format!(
                "register {register}: a {path} read returned {number} after {acknowledged} was acknowledged and {seen} was read"
            ));
            self.done.store(true, Ordering::SeqCst);
        }
    }
}

fn number(conn: &Connection, query: &str, prepared: bool) -> Result<i64> {
    if prepared {
        return Ok(conn.prepare_cached(query)?.query_row([], |row| row.get(0))?);
    }
    Ok(conn.query_row(query, [], |row| row.get(0))?)
}

fn read(history: &History, db: &DatabaseManager, client: usize) {
    let mut turn = client;
    while !history.done.load(Ordering::SeqCst) {
        turn = turn.wrapping_mul(5).wrapping_add(7);
        let register = turn / 16 % REGISTERS.len();
        let query = REGISTERS[register].query;
        let prepared = turn & 64 == 0;
        // As seldom as they are, these bring in what is new by another way.
        if turn & (15 << 8) == 0 {
            history.check(register, "plain", || db.blocking().read(|conn| number(conn, query, prepared)).unwrap());
        } else {
            history.check(register, "cached", || {
                *db.blocking().execute_cached(query, None, move |conn| number(conn, query, prepared)).unwrap()
            });
        }
    }
}

/// Writes one number, each time in another way.
fn write(db: &DatabaseManager, register: usize, number: i64) {
    let write = REGISTERS[register].write;
    let undone: Result<()> = match number % 5 {
        0 => db.blocking().write(move |tx| {
            write(tx, number + 1_000_000)?;
            Err(Error::application("rolled back"))
        }),
        1 => {
            let panicking = || {
                db.blocking().write(move |tx| -> Result<()> {
                    write(tx, number + 1_000_000)?;
                    std::panic::resume_unwind(Box::new("given up"));
                })
            };
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(panicking)).map(drop).expect_err("it panics");
            Err(Error::application("panicked"))
        }
        _ => Err(Error::application("not tried")),
    };
    undone.expect_err("nothing of this is committed");
    match number % 4 {
        0 => db.blocking().write(move |tx| Ok(write(tx, number)?)).unwrap(),
        // Several statements would be several commits.
        1 => db
            .blocking()
            .execute_with_pool(|conn| {
                let tx = conn.transaction()?;
                write(&tx, number)?;
                tx.commit()
            })
            .unwrap(),
        2 => {
            let held = db.blocking().acquire().unwrap();
            held.execute_batch("BEGIN IMMEDIATE; SAVEPOINT a").unwrap();
            write(&held, number + 1_000_000).unwrap();
            held.execute_batch("ROLLBACK TO a; RELEASE a").unwrap();
            write(&held, number).unwrap();
            held.execute_batch("COMMIT").unwrap();
        }
        _ => db
            .blocking()
            .execute_pooled_transaction(|tx| {
                write(tx, number)?;
                Ok(())
            })
            .unwrap(),
    }
}

/// Writers for some registers, which count up.
fn write_all(history: &History, db: &DatabaseManager, register: usize, writes: i64) {
    for number in 1..=writes / REGISTERS[register].seldom {
        if history.done.load(Ordering::SeqCst) {
            return;
        }
        write(db, register, number);
        history.acknowledged[register].store(number, Ordering::SeqCst);
        std::thread::yield_now();
    }
}

fn database(external_writers: ExternalWriters) -> TestDb {
    let config = PoolConfig::builder()
        .max_connections(6)
        .acquire_timeout(std::time::Duration::from_secs(60))
        .external_writers(external_writers);
    let test = TestDb::new(config);
    test.db.blocking().write(|tx| Ok(tx.execute_batch(SCHEMA)?)).unwrap();
    test
}

/// Runs the checker; `strangers`: another process, or another connection of this one, writes the registers of odd numbers.
fn check(writes: i64, stranger: Stranger) -> (Arc<History>, u64) {
    check_with(writes, stranger, ExternalWriters::Strict)
}

/// The same with a choice for which what strangers write is not checked unless it is `Strict`.
fn check_with(writes: i64, stranger: Stranger, external_writers: ExternalWriters) -> (Arc<History>, u64) {
    let test = database(external_writers);
    let mut history = History::new();
    history.leaves_out_strangers = external_writers != ExternalWriters::Strict && stranger != Stranger::None;
    let mut child = (stranger == Stranger::Process).then(|| {
        let name = match external_writers {
            ExternalWriters::Strict => "the_checker_finds_no_stale_result_with_two_processes",
            _ => "the_checker_finds_no_stale_result_without_a_look_at_strangers",
        };
        another_process(&format!("cache_checker::{name}"), "stranger", &test.path())
    });
    let told = child.as_mut().map(|child| BufReader::new(child.stdout.take().unwrap()).lines());
    std::thread::scope(|scope| {
        let is_strange = |register: usize| stranger != Stranger::None && register % 2 == 1;
        let mut writers = Vec::new();
        for register in (0..REGISTERS.len()).filter(|register| !is_strange(*register)) {
            let (history, db) = (&history, &test.db);
            writers.push(scope.spawn(move || write_all(history, db, register, writes)));
        }
        match stranger {
            Stranger::None => {}
            Stranger::Connection => {
                let (history, path) = (&history, test.path());
                writers.push(scope.spawn(move || {
                    let conn = stranger_connection(&path);
                    for number in 1..=writes {
                        for register in (0..REGISTERS.len()).filter(|register| register % 2 == 1) {
                            if history.done.load(Ordering::SeqCst) {
                                return;
                            }
                            strange_write(&conn, register, number);
                            history.acknowledged[register].store(number, Ordering::SeqCst);
                        }
                    }
                }));
            }
            Stranger::Process => {
                let (history, told) = (&history, told.unwrap());
                writers.push(scope.spawn(move || {
                    for line in told {
                        let line = line.unwrap();
                        let Some((register, number)) =
                            line.strip_prefix("wrote ").and_then(|rest| rest.split_once(' '))
                        else {
                            continue;
                        };
                        let register: usize = register.parse().unwrap();
                        history.acknowledged[register].fetch_max(number.parse().unwrap(), Ordering::SeqCst);
                    }
                }));
            }
        }
        for client in 0..3 {
            let (history, db) = (&history, &test.db);
            scope.spawn(move || read(history, db, client));
        }
        for writer in writers {
            writer.join().unwrap();
        }
        history.done.store(true, Ordering::SeqCst);
    });
    if let Some(mut child) = child {
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    }
    let hits = test.db.pool_stats().unwrap().cache_hits;
    (Arc::new(history), hits)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stranger {
    None,
    Connection,
    Process,
}

fn stranger_connection(path: &std::path::Path) -> rusqlite::Connection {
    let conn = rusqlite::Connection::open(path).unwrap();
    conn.busy_timeout(std::time::Duration::from_secs(60)).unwrap();
    conn.pragma_update(None, "synchronous", "off").unwrap();
    conn
}

fn strange_write(conn: &rusqlite::Connection, register: usize, number: i64) {
    conn.execute_batch("BEGIN IMMEDIATE").unwrap();
    (REGISTERS[register].write)(conn, number).unwrap();
    conn.execute_batch("COMMIT").unwrap();
}

fn writes() -> i64 {
    std::env::var("POOL_STALENESS_WRITES").map_or(200, |text| text.parse().unwrap())
}

fn assert_clean(history: &History, hits: u64) {
    let violations = history.violations.lock();
    assert!(violations.is_empty(), "{violations:#?}");
    assert!(hits > 0, "the cache answered nothing of {} reads", history.reads.load(Ordering::Relaxed));
}

#[test]
fn the_checker_finds_no_stale_result() {
    let (history, hits) = check(writes(), Stranger::None);
    assert_clean(&history, hits);
}

#[test]
fn the_checker_finds_no_stale_result_with_another_connection_of_the_process() {
    let (history, hits) = check(writes(), Stranger::Connection);
    assert_clean(&history, hits);
}

#[test]
fn the_checker_finds_no_stale_result_with_two_processes() {
    if let Some((_, path)) = role() {
        let conn = stranger_connection(&path);
        for number in 1..=writes() {
            for register in (0..REGISTERS.len()).filter(|register| register % 2 == 1) {
                strange_write(&conn, register, number);
                println!("wrote {register} {number}");
            }
        }
        return;
    }
    let (history, hits) = check(writes(), Stranger::Process);
    assert_clean(&history, hits);
}

#[test]
fn the_checker_finds_no_stale_result_without_a_look_at_strangers() {
    if let Some((_, path)) = role() {
        let conn = stranger_connection(&path);
        for number in 1..=writes() {
            for register in (0..REGISTERS.len()).filter(|register| register % 2 == 1) {
                strange_write(&conn, register, number);
                println!("wrote {register} {number}");
            }
        }
        return;
    }
    for external_writers in [ExternalWriters::Poll, ExternalWriters::None] {
        for stranger in [Stranger::None, Stranger::Process] {
            let (history, hits) = check_with(writes(), stranger, external_writers);
            assert_clean(&history, hits);
        }
    }
}

/// In a process of its own, as pauses and mistakes are of a whole process.
fn in_its_own_process(test: &str, role: &str) -> String {
    let child = another_process(test, role, std::path::Path::new(""));
    let output = child.wait_with_output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_checker_finds_no_stale_result_with_pauses_at_every_step() {
    let name = "cache_checker::the_checker_finds_no_stale_result_with_pauses_at_every_step";
    if role().is_some() {
        faults::pause_one_in(20);
        for stranger in [Stranger::None, Stranger::Connection] {
            let (history, hits) = check(writes(), stranger);
            assert_clean(&history, hits);
        }
        let (history, hits) = check_with(writes(), Stranger::None, ExternalWriters::None);
        assert_clean(&history, hits);
        println!("all clean");
        return;
    }
    let told = in_its_own_process(name, "pausing");
    assert!(told.contains("all clean"), "{told}");
}

#[test]
fn the_checker_finds_every_mistake_that_is_made_on_purpose() {
    let name = "cache_checker::the_checker_finds_every_mistake_that_is_made_on_purpose";
    // Those of looks are for `cache_looks`: chance seldom makes the schedules that show them.
    let mistakes = [
        (Mutation::PublishesEarly, Stranger::None),
        (Mutation::ForgetsCascades, Stranger::None),
        (Mutation::ForgetsTables, Stranger::None),
        (Mutation::SkipsHeader, Stranger::None),
        (Mutation::NumbersLate, Stranger::None),
        (Mutation::TrustsHearsay, Stranger::None),
        (Mutation::ForgetsUnderWay, Stranger::None),
        (Mutation::ForgetsRows, Stranger::None),
        (Mutation::TakesReplaceForKnown, Stranger::None),
        (Mutation::ForgetsOldKey, Stranger::None),
        (Mutation::ForgetsClearing, Stranger::None),
        (Mutation::ForgetsKeys, Stranger::None),
        (Mutation::ForgetsOldValue, Stranger::None),
        (Mutation::IgnoresStrangers, Stranger::Connection),
    ];
    if let Some((role, _)) = role() {
        let (mutation, stranger) =
            mistakes.into_iter().find(|(mutation, _)| format!("{mutation:?}") == role).expect("a mistake");
        faults::mutate(mutation);
        faults::pause_one_in(5);
        // Which schedule shows it is chance.
        for _ in 0..50 {
            let external_writers = match mutation {
                Mutation::ForgetsUnderWay => ExternalWriters::None,
                _ => ExternalWriters::Strict,
            };
            let (history, _) = check_with(writes(), stranger, external_writers);
            if let Some(violation) = history.violations.lock().first() {
                println!("found: {violation}");
                return;
            }
        }
        return;
    }
    for (mutation, _) in mistakes {
        let told = in_its_own_process(name, &format!("{mutation:?}"));
        assert!(told.contains("found: "), "{mutation:?} was not found: {told}");
    }
}
