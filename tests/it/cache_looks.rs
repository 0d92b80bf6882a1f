//! Looking at written rows when somebody asks for what was read by a value: that it shows nowhere, and that neither what is written meanwhile
//! nor what is not published yet goes unseen.

use std::sync::mpsc;
use std::thread;

use pool_manager::faults::{self, Mutation, Point};
use pool_manager::rusqlite::{params, types::Value};
use pool_manager::{DatabaseManager, PoolConfig, Transaction};

use crate::support::{TestDb, another_process, role};
use crate::surviving::{TIMES, cached, database, fresh, hits, survive};

const SCHEMA: &str = "
    CREATE TABLE city (id INTEGER PRIMARY KEY, country INTEGER, visits INTEGER DEFAULT 0);
    CREATE INDEX by_country ON city (country);
    INSERT INTO city (id, country) VALUES (1, 1), (2, 1), (3, 2), (4, 3), (5, 4);
    CREATE TABLE parent (id INTEGER PRIMARY KEY);
    CREATE TABLE late (up REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
";

const VISITS: &str = "SELECT sum(visits) FROM city WHERE country = ?1";
const CITIES: &str = "SELECT count(*) FROM city WHERE country = ?1";

fn visits(db: &DatabaseManager, country: i64) -> Vec<String> {
    cached(db, VISITS, &Value::Integer(country))
}

fn fresh_visits(db: &DatabaseManager, country: i64) -> Vec<String> {
    fresh(db, VISITS, &Value::Integer(country))
}

fn visit(db: &DatabaseManager, city: i64) {
    let write = move |tx: &Transaction<'_>| {
        Ok(tx.prepare_cached("UPDATE city SET visits = visits + 1 WHERE id = ?1")?.execute([city]).map(drop)?)
    };
    db.blocking().write(write).unwrap();
}

fn visit_or_find(db: &DatabaseManager, city: i64, country: i64) {
    let write = move |tx: &Transaction<'_>| {
        let sql = "INSERT INTO city (id, country) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET visits = visits + 1";
        Ok(tx.prepare_cached(sql)?.execute([city, country]).map(drop)?)
    };
    db.blocking().write(write).unwrap();
}

fn move_city(db: &DatabaseManager, city: i64, country: i64) {
    let write = move |tx: &Transaction<'_>| {
        tx.prepare_cached("UPDATE city SET country = ?2 WHERE id = ?1")?.execute([city, country])?;
        Ok(())
    };
    db.blocking().write(write).unwrap();
}

fn found(db: &DatabaseManager, city: i64, country: i64) {
    let write = move |tx: &Transaction<'_>| {
        let insert = "INSERT INTO city (id, country, visits) VALUES (?1, ?2, 1)";
        Ok(tx.prepare_cached(insert)?.execute(params![city, country]).map(drop)?)
    };
    db.blocking().write(write).unwrap();
}

#[test]
fn one_look_serves_all_who_read_by_the_column_and_those_whose_value_was_not_written_keep_their_results() {
    let test = database(SCHEMA);
    let db = &test.db;
    for _ in 0..TIMES {
        visit(db, 3);
        (1..=4).for_each(|country| _ = visits(db, country));
    }
    for city in [3, 3, 4, 3] {
        visit(db, city);
    }
    let before = hits(db);
    for country in 1..=4 {
        assert_eq!(visits(db, country), fresh_visits(db, country));
    }
    assert_eq!(hits(db) - before, 2, "countries 1 and 4");
    (0..TIMES).for_each(|_| visit_or_find(db, 99, 2));
    visits(db, 1);
    visit(db, 3);
    visits(db, 1);
    // More than anybody looks at for a few results, and for many.
    for (results, rows, hit) in [(4, 16, 1), (4, 17, 0), (100, 64, 1), (100, 65, 0)] {
        (1..=results).for_each(|country| _ = visits(db, country));
        for city in 100 * results..100 * results + rows {
            visit_or_find(db, city, 2);
        }
        let before = hits(db);
        assert_eq!(visits(db, 1), fresh_visits(db, 1));
        assert_eq!(hits(db) - before, hit, "{results} results, {rows} rows");
    }
}

#[test]
fn a_row_that_is_told_and_then_undone_is_looked_for_and_concerns_nobody() {
    let test = database(SCHEMA);
    let db = &test.db;
    let undone = |db: &DatabaseManager, time: i64| {
        let write = move |tx: &Transaction<'_>| {
            let failed = tx.savepoint(|tx| {
                tx.execute("INSERT INTO city (id, country) VALUES (?1, 1)", [1_000 + time])?;
                Err::<(), _>(pool_manager::Error::application("no"))
            });
            assert!(failed.is_err());
            Ok(tx.execute("UPDATE city SET visits = visits + 1 WHERE id = 3", []).map(drop)?)
        };
        db.blocking().write(write).unwrap();
    };
    assert_eq!(survive(db, [(CITIES, 1), (VISITS, 2)], undone), [true, false]);
    // And then done.
    let before = hits(db);
    found(db, 1_000 + TIMES, 1);
    assert_eq!(cached(db, CITIES, &Value::Integer(1)), fresh(db, CITIES, &Value::Integer(1)));
    assert_eq!(hits(db), before);
}

#[test]
fn what_is_written_after_a_commit_that_failed_is_looked_at() {
    let test = database(SCHEMA);
    let db = &test.db;
    for time in 0..TIMES {
        let before = visits(db, 2);
        let held = db.blocking().acquire().unwrap();
        let tx = held.transaction().unwrap();
        tx.execute("UPDATE city SET visits = visits + 1 WHERE id = 1", []).unwrap();
        tx.execute("INSERT INTO late VALUES (9999)", []).unwrap();
        tx.commit().expect_err("a foreign key points to nothing");
        held.execute("UPDATE city SET visits = visits + 1 WHERE id = 3", []).unwrap();
        drop(held);
        assert_ne!(visits(db, 2), before, "{time}");
    }
}

#[test]
fn a_look_leaves_what_the_program_can_ask_for_as_it_is() {
    let test = database(SCHEMA);
    let db = &test.db;
    let told = |db: &DatabaseManager| {
        let held = db.blocking().acquire().unwrap();
        (held.changes(), held.last_insert_rowid(), held.total_changes())
    };
    for city in 10..10 + TIMES {
        visits(db, 1);
        found(db, city, 2);
        let (before, hit) = (told(db), hits(db));
        visits(db, 1);
        assert!(city < 9 + TIMES || hits(db) > hit, "somebody looked");
        assert_eq!(told(db), before);
    }
    let statements = db.statements();
    let texts: Vec<&str> = statements.iter().map(|statement| &*statement.sql).collect();
    assert!(texts.iter().any(|sql| sql.starts_with("INSERT INTO city")), "{texts:?}");
    assert!(!texts.iter().any(|sql| sql.contains("_rowid_")), "{texts:?}");
}

/// Two managers of a file that keep what was read of each country; the first one's connections know the statements used here. Then somebody has
/// visited a city of country 1.
fn undecided() -> (TestDb, DatabaseManager) {
    let test = TestDb::new(PoolConfig::builder().min_connections(4).max_connections(4));
    let db = &test.db;
    db.blocking().transaction(|tx| Ok(tx.execute_batch(SCHEMA)?)).unwrap();
    // With a cache of its own.
    let second = DatabaseManager::builder().path(test.path()).use_pool(false).build().unwrap();
    for time in 0..4 * TIMES {
        (1..=4).for_each(|country| _ = (visits(db, country), visits(&second, country)));
        // Held, so that each connection has its turn.
        let held: Vec<_> = (0..time % 4).map(|_| db.blocking().acquire().unwrap()).collect();
        thread::scope(|scope| {
            let write = || (visit(db, 1), move_city(db, 5, 10 + time), found(db, 50 + time, 20));
            scope.spawn(write).join().unwrap();
        });
        drop(held);
    }
    (1..=4).for_each(|country| _ = (visits(db, country), visits(&second, country)));
    visit(db, 1);
    (test, second)
}

/// What is answered for country 1 to who has compared what was published with what was committed, when then its city is moved away, which is
/// committed and not published yet, and somebody else looks at the city; and what is right before and after that.
fn answers_while_a_move_is_not_published() -> [Vec<String>; 3] {
    let (test, second) = undecided();
    let db = test.db.clone();
    let before = fresh_visits(&db, 1);
    let (go_on, wait) = mpsc::channel::<()>();
    let moving = db.clone();
    // Whoever judges at a glance has its own cache's lock, so another manager looks.
    faults::at_next(Point::HeaderCompared, move || {
        let look = move || {
            faults::at_next(Point::Undecided, move || {
                let (committed, has_committed) = mpsc::channel();
                thread::spawn(move || {
                    faults::at_next(Point::Committed, move || {
                        committed.send(()).unwrap();
                        // Until there is an answer.
                        _ = wait.recv();
                    });
                    move_city(&moving, 1, 30);
                });
                has_committed.recv().unwrap();
            });
            visits(&second, 4)
        };
        thread::spawn(look).join().unwrap();
    });
    let answered = visits(&db, 1);
    drop(go_on);
    let after = fresh_visits(&db, 1);
    assert_ne!(before, after, "the city was moved while somebody looked");
    [answered, before, after]
}

/// What is answered twice for a country in which a city is found after somebody who looks has begun to read; and what is right in the end.
fn answers_after_a_city_is_found_beside_a_look() -> [Vec<String>; 3] {
    let (test, _second) = undecided();
    let db = test.db.clone();
    let other = db.clone();
    faults::at_next(Point::Looking, move || {
        thread::spawn(move || found(&other, 40, 3)).join().unwrap();
    });
    // The visit was to country 1.
    let first = visits(&db, 3);
    [first, visits(&db, 3), fresh_visits(&db, 3)]
}

/// Runs `check`, here and in a process in which a mistake is made, which has to be found there.
#[expect(clippy::print_stdout, reason = "one process tells the other")]
fn found_by(name: &str, mistake: Mutation, check: impl Fn() -> bool) {
    if role().is_some() {
        faults::mutate(mistake);
        println!("all well: {}", check());
        return;
    }
    assert!(check());
    let told = another_process(name, "mistaken", std::path::Path::new("")).wait_with_output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains("all well: false"), "the mistake was not found: {told}");
}

#[test]
fn what_is_found_by_a_look_counts_only_if_all_is_published_that_it_may_have_seen() {
    let name = "cache_looks::what_is_found_by_a_look_counts_only_if_all_is_published_that_it_may_have_seen";
    found_by(name, Mutation::LooksAhead, || {
        let [answered, before, after] = answers_while_a_move_is_not_published();
        answered == before || answered == after
    });
}

#[test]
fn a_look_tells_nothing_of_rows_that_were_written_after_it_began_to_read() {
    let name = "cache_looks::a_look_tells_nothing_of_rows_that_were_written_after_it_began_to_read";
    found_by(name, Mutation::LooksBefore, || {
        let [_, second, right] = answers_after_a_city_is_found_beside_a_look();
        second == right
    });
}
