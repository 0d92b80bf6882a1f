//! Which cached results of rows with one value in an indexed column survive writes to other rows, and that none survives a write that concerns
//! it, in whatever way that is made.
//!
//! Each way is taken several times before it counts: a statement is believed only once its program was looked at.

use pool_manager::faults::Mutation;
use pool_manager::rusqlite::{self, params, types::Value};
use pool_manager::{DatabaseManager, PoolConfig, Transaction};

use crate::support::TestDb;
use crate::surviving::{TIMES, cached, database, finer_wins_hits, hits, survive};

const SCHEMA: &str = "
    CREATE TABLE city (id INTEGER PRIMARY KEY, country INTEGER, name TEXT, visits INTEGER DEFAULT 0);
    CREATE INDEX by_country ON city (country);
    CREATE INDEX by_name ON city (name, visits);
    INSERT INTO city (id, country, name)
        VALUES (1, 1, 'a'), (2, 1, 'b'), (3, 2, 'c'), (4, 3, 'a'), (5, 4, 'd'), (6, 4, '7'), (900, 9, 'x');
    CREATE VIEW visited AS SELECT country, sum(visits) AS visits FROM city GROUP BY country;
    CREATE TABLE mixed (id INTEGER PRIMARY KEY, any, folded TEXT COLLATE NOCASE, part INTEGER, twice AS (part * 2), n INTEGER DEFAULT 0);
    CREATE INDEX by_any ON mixed (any);
    CREATE INDEX by_folded ON mixed (folded);
    CREATE INDEX by_part ON mixed (part) WHERE n >= 0;
    CREATE INDEX by_twice ON mixed (twice);
    INSERT INTO mixed (id, any, folded, part) VALUES (1, 1, 'a', 1), (2, '1', 'A', 2), (3, 1.0, 'b', 3), (4, NULL, NULL, 4);
    CREATE TABLE source (id INTEGER PRIMARY KEY, value);
    INSERT INTO source VALUES (1, 0), (2, 0);
    CREATE TRIGGER visits AFTER UPDATE ON source BEGIN UPDATE city SET visits = new.value WHERE id = new.id; END;
    CREATE TABLE parent (id INTEGER PRIMARY KEY, value);
    CREATE TABLE child (id INTEGER PRIMARY KEY, up REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE, n);
    CREATE INDEX by_up ON child (up);
    INSERT INTO parent VALUES (1, 0), (300, 0);
    INSERT INTO child VALUES (71, 1, 0), (72, 300, 0), (73, NULL, 0);
    CREATE TABLE late (up REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
    CREATE TABLE keyed (name PRIMARY KEY, kind, n DEFAULT 0) WITHOUT ROWID;
    CREATE INDEX by_kind ON keyed (kind);
    INSERT INTO keyed VALUES ('a', 1, 0), ('b', 2, 0);
";

fn by_write(write: fn(&Transaction<'_>, i64) -> rusqlite::Result<usize>) -> impl Fn(&DatabaseManager, i64) {
    move |db, time| db.blocking().write(move |tx| Ok(write(tx, time).map(drop)?)).unwrap()
}

const VISITS: &str = "SELECT sum(visits) FROM city WHERE country = ?1";
const CITIES: &str = "SELECT count(*) FROM city WHERE country = ?1";
const NAMED: &str = "SELECT sum(visits) FROM city WHERE name = ?1";

#[test]
fn an_aggregate_survives_writes_to_rows_with_other_values_and_not_to_its_own() {
    let test = database(SCHEMA);
    let db = &test.db;
    let update = by_write(|tx, _| tx.execute("UPDATE city SET visits = visits + 1 WHERE id = ?1", [1]));
    // Visits are in the index of names, so entries leave that.
    assert_eq!(
        survive(db, [(VISITS, 1), (VISITS, 2), (CITIES, 1), (CITIES, 2), (VISITS, 77)], update),
        [false, true, false, true, true]
    );
    let update = by_write(|tx, _| tx.execute("UPDATE city SET visits = visits + 1 WHERE id IN (3, 5)", []));
    assert_eq!(survive(db, [(VISITS, 1), (VISITS, 2), (VISITS, 3), (VISITS, 4)], update), [true, false, true, false]);
    let through_a_view = "SELECT visits FROM visited WHERE country = ?1";
    let update = by_write(|tx, _| tx.execute("UPDATE city SET visits = visits + 1 WHERE id = 4", []));
    assert_eq!(survive(db, [(through_a_view, 3), (VISITS, 3), (VISITS, 1)], update), [false, false, true]);
    let nothing = by_write(|tx, _| tx.execute("DELETE FROM city WHERE id = 12345", []));
    assert_eq!(survive(db, [(VISITS, 3), (CITIES, 3)], nothing), [true, true]);
}

#[test]
fn a_text_is_told_apart_by_its_bytes() {
    let test = database(SCHEMA);
    let db = &test.db;
    db.blocking().write(|tx| Ok(tx.execute_batch("DROP INDEX by_name; CREATE INDEX by_name ON city (name)")?)).unwrap();
    let text = |text: &str| Value::Text(text.to_owned());
    let update = by_write(|tx, _| tx.execute("UPDATE city SET visits = visits + 1 WHERE name = 'a'", []));
    let keys = [(NAMED, text("a")), (NAMED, text("A")), (NAMED, text("b")), (NAMED, text(""))];
    assert_eq!(survive(db, keys, update), [false, true, true, true]);
    let update = by_write(|tx, _| tx.execute("UPDATE city SET visits = visits + 1 WHERE id = 6", []));
    let keys = [(NAMED, text("7")), (NAMED, Value::Integer(7)), (NAMED, Value::Integer(8)), (NAMED, text("8"))];
    assert_eq!(survive(db, keys, update), [false, false, true, true]);
    // A literal, and beside it the parameter of another query.
    let literal = "SELECT sum(visits) FROM city WHERE name = 'd' AND ?1 > 0";
    let update = by_write(|tx, _| tx.execute("UPDATE city SET visits = visits + 1 WHERE id = 5", []));
    assert_eq!(survive(db, [(literal, 1), (VISITS, 1)], update), [false, true]);
    // Where SQLite ends a text when it shows what is bound.
    let insert = by_write(|tx, time| {
        tx.execute("INSERT INTO city (id, country, name) VALUES (?1, 5, ?2)", params![1_000 + time, "nul\0more"])
    });
    let count = "SELECT count(*) FROM city WHERE name = ?1";
    let keys = [(count, text("nul\0more")), (count, text("nul\0other")), (count, text("nu"))];
    assert_eq!(survive(db, keys, insert), [false, false, true]);
}

#[test]
fn numbers_count_as_equal_whatever_they_are_stored_as() {
    let test = database(SCHEMA);
    let db = &test.db;
    let of_any = "SELECT sum(n) FROM mixed WHERE any = ?1";
    let both = || [(of_any, Value::Integer(1)), (of_any, Value::Integer(2))];
    let update = by_write(|tx, _| tx.execute("UPDATE mixed SET n = n + 1 WHERE id = 3", []));
    assert_eq!(survive(db, both(), update), [false, true], "a fraction");
    let update = by_write(|tx, _| tx.execute("UPDATE mixed SET n = n + 1 WHERE id = 2", []));
    let text = Value::Text("1".into());
    assert!(!survive(db, [(of_any, text)], update)[0], "a text");
    let update = by_write(|tx, _| tx.execute("UPDATE mixed SET n = n + 1 WHERE id = 4", []));
    assert_eq!(survive(db, both(), update), [true, true], "no value");
    // By these nothing is told apart.
    let strange =
        [Value::Real(1.0), Value::Null, Value::Blob(vec![1]), Value::Integer(i64::MAX), Value::Text("1.0".into())];
    for key in strange {
        let update = by_write(|tx, _| tx.execute("UPDATE mixed SET n = n + 1 WHERE id = 2", []));
        assert_eq!(survive(db, [(of_any, key.clone())], update), [false], "{key:?}");
    }
}

#[test]
fn indexes_that_do_not_tell_rows_apart_tell_tables() {
    let test = database(SCHEMA);
    let db = &test.db;
    for sql in [
        "SELECT sum(n) FROM mixed WHERE folded = ?1",
        "SELECT sum(n) FROM mixed WHERE part = ?1 AND n >= 0",
        "SELECT sum(n) FROM mixed WHERE twice = ?1",
        "SELECT sum(n) FROM mixed WHERE any > ?1",
        "SELECT count(*) FROM mixed WHERE any > ?1",
        "SELECT sum(n) FROM mixed WHERE any IN (?1, 77)",
        "SELECT sum(n) FROM mixed WHERE any = ?1 OR any = 77",
        "SELECT sum(n) FROM mixed WHERE any = ?1 OR id = 77",
        "SELECT sum(n) FROM mixed WHERE +any = ?1",
        "SELECT (SELECT sum(n) FROM mixed WHERE any = ?1) + (SELECT count(folded) FROM mixed)",
    ] {
        let update = by_write(|tx, _| tx.execute("UPDATE mixed SET n = n + 1 WHERE id = 4", []));
        assert_eq!(survive(db, [(sql, 500)], update), [false], "{sql}");
    }
    let of_kind = "SELECT sum(n) FROM keyed WHERE kind = ?1";
    let update = by_write(|tx, _| tx.execute("UPDATE keyed SET n = n + 1 WHERE name = 'a'", []));
    assert_eq!(survive(db, [(of_kind, 1), (of_kind, 2)], update), [false, false]);
}

#[test]
fn a_row_that_comes_goes_or_moves_outdates_what_it_concerns() {
    let test = database(SCHEMA);
    let db = &test.db;
    let insert = by_write(|tx, time| tx.execute("INSERT INTO city (id, country) VALUES (?1, 2)", [100 + time]));
    assert_eq!(survive(db, [(CITIES, 1), (CITIES, 2), (VISITS, 2)], insert), [true, false, false]);
    let upsert = by_write(|tx, time| {
        let sql = "INSERT INTO city (id, country) VALUES (?1, 5) ON CONFLICT DO UPDATE SET visits = visits + 1";
        tx.execute(sql, [200 + time / 2])
    });
    assert_eq!(survive(db, [(VISITS, 5), (VISITS, 1)], upsert), [false, true]);
    // Where rows go, or get another value, nobody looks which they had.
    let moved = by_write(|tx, time| tx.execute("UPDATE city SET country = ?1 WHERE id = 900", [8 + time % 2]));
    let [from, to, _] = survive(db, [(CITIES, 8), (CITIES, 9), (CITIES, 1)], moved);
    assert!(!from && !to);
    let deleted = by_write(|tx, time| {
        tx.execute("INSERT OR IGNORE INTO city (id, country) VALUES (301, 6), (302, 6)", [])?;
        tx.execute("DELETE FROM city WHERE id = ?1", [301 + time % 2])
    });
    assert!(!survive(db, [(CITIES, 6)], deleted)[0]);
    let replaced = by_write(|tx, time| tx.execute("REPLACE INTO city (id, country) VALUES (400, ?1)", [20 + time % 2]));
    let [from, to] = survive(db, [(CITIES, 20), (CITIES, 21)], replaced);
    assert!(!from && !to);
    let renumbered = by_write(|tx, time| tx.execute("UPDATE city SET id = ?1 + 1 WHERE id = ?1", [900 + time]));
    let ids = "SELECT max(id) FROM city WHERE country = ?1";
    assert!(!survive(db, [(ids, 9), (ids, 8)], renumbered).iter().all(|hit| *hit));
    let emptied = by_write(|tx, time| {
        if time % 2 == 0 {
            tx.execute("DELETE FROM mixed", [])
        } else {
            tx.execute("INSERT INTO mixed (any) VALUES (3)", [])
        }
    });
    let of_any = "SELECT count(*) FROM mixed WHERE any = ?1";
    assert_eq!(survive(db, [(of_any, 3)], emptied), [false]);
    let many = by_write(|tx, _| {
        let sql = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)
                   INSERT INTO city (country) SELECT 30 FROM n";
        tx.execute(sql, [])
    });
    assert_eq!(survive(db, [(CITIES, 30), (CITIES, 1)], many), [false, false]);
}

#[test]
fn what_triggers_and_foreign_keys_write_outdates_what_it_concerns() {
    let test = database(SCHEMA);
    let db = &test.db;
    let update = by_write(|tx, time| tx.execute("UPDATE source SET value = ?1 WHERE id = 1", [time]));
    assert_eq!(survive(db, [(VISITS, 1), (VISITS, 2)], update), [false, true]);
    let children = "SELECT count(*) FROM child WHERE up = ?1";
    let cascade = by_write(|tx, time| tx.execute("UPDATE parent SET id = ?1 + 1 WHERE id = ?1", [300 + time]));
    let [from, to] = survive(db, [(children, 300 + TIMES), (children, 301 + TIMES)], cascade);
    assert!(!from && !to);
    let cascade = by_write(|tx, time| {
        if time % 2 == 1 {
            return tx.execute("DELETE FROM parent WHERE id = 7", []);
        }
        tx.execute("INSERT INTO parent VALUES (7, ?1)", [time])?;
        tx.execute("INSERT INTO child VALUES (70, 7, 0)", [])
    });
    assert!(!survive(db, [(children, 7)], cascade)[0]);
    // The parent is written, the child is not.
    let update = by_write(|tx, time| tx.execute("UPDATE parent SET value = ?1", [time]));
    assert_eq!(survive(db, [(children, 1)], update), [true]);
}

#[test]
fn every_way_to_commit_outdates_what_it_concerns() {
    let test = database(SCHEMA);
    let db = &test.db;
    let path = test.path();
    const SQL: &str = "UPDATE city SET visits = visits + 1 WHERE id = 1";
    let both = [(VISITS, 1), (VISITS, 2)];
    let borrowing =
        |db: &DatabaseManager, _| db.blocking().transaction(|tx| Ok(tx.execute(SQL, []).map(drop)?)).unwrap();
    assert_eq!(survive(db, both, borrowing), [false, true]);
    let held = |db: &DatabaseManager, _| {
        let held = db.blocking().acquire().unwrap();
        let tx = held.transaction().unwrap();
        tx.execute(SQL, []).unwrap();
        tx.commit().unwrap();
    };
    assert_eq!(survive(db, both, held), [false, true]);
    let listed = |db: &DatabaseManager, _| {
        let one = || pool_manager::operation(|tx: &Transaction<'_>| Ok(tx.execute(SQL, []).map(drop)?));
        db.blocking().execute_pooled_operations(vec![one(), one()]).unwrap();
    };
    assert_eq!(survive(db, both, listed), [false, true]);
    let by_hand = |db: &DatabaseManager, _| {
        db.blocking().acquire().unwrap().execute_batch(&format!("BEGIN; {SQL}; COMMIT")).unwrap();
    };
    assert_eq!(survive(db, both, by_hand), [false, true]);
    let alone = |db: &DatabaseManager, _| _ = db.blocking().acquire().unwrap().execute(SQL, []).unwrap();
    assert_eq!(survive(db, both, alone), [false, true]);
    assert!(!survive(db, both, |_, _| _ = test.foreign().execute(SQL, []).unwrap())[0]);
    let direct = DatabaseManager::builder().path(&path).use_pool(false).build().unwrap();
    assert!(!survive(db, both, |_, _| direct.blocking().write(|tx| Ok(tx.execute(SQL, []).map(drop)?)).unwrap())[0]);
    let blob = |db: &DatabaseManager, time: i64| {
        let write = move |tx: &Transaction<'_>| {
            tx.execute("UPDATE parent SET value = ?1", [time])?;
            Ok(tx.blob_open("main", "child", "n", 71, false)?.write_at(&[b'a' + u8::try_from(time).unwrap()], 0)?)
        };
        db.blocking().write(write).unwrap();
    };
    db.blocking().write(|tx| Ok(tx.execute("UPDATE child SET n = 'x' WHERE id = 71", []).map(drop)?)).unwrap();
    assert_eq!(survive(db, [("SELECT max(n) FROM child WHERE up = ?1", 1)], blob), [false]);
}

#[test]
fn a_change_of_the_schema_is_noticed() {
    let test = database(SCHEMA);
    let db = &test.db;
    let update = by_write(|tx, _| tx.execute("UPDATE city SET visits = visits + 1 WHERE id = 1", []));
    assert_eq!(survive(db, [(VISITS, 1), (VISITS, 2)], &update), [false, true]);
    // The same page, another table's or another column's index.
    let changes = [
        "DROP INDEX by_country; CREATE INDEX by_country ON city (country DESC, name)",
        "DROP INDEX by_country; DROP INDEX by_name; CREATE INDEX by_name ON city (country); CREATE INDEX by_country ON city (name)",
        "ALTER TABLE city RENAME COLUMN country TO land; ALTER TABLE city RENAME COLUMN name TO country;
         ALTER TABLE city RENAME COLUMN land TO name; UPDATE city SET country = name, name = country",
        "DROP VIEW visited; DROP TRIGGER visits; CREATE TABLE swap AS SELECT * FROM city; DROP TABLE city; ALTER TABLE swap RENAME TO city; CREATE INDEX by_country ON city (country)",
        "VACUUM",
    ];
    for change in changes {
        cached(db, VISITS, &Value::Integer(2));
        db.blocking().execute_with_pool(|conn| Ok(conn.execute_batch(change)?)).unwrap();
        assert_eq!(survive(db, [(VISITS, 1), (VISITS, 2)], &update), [false, true], "{change}");
    }
    db.blocking().write(|tx| Ok(tx.execute_batch("DROP INDEX by_country")?)).unwrap();
    assert_eq!(survive(db, [(VISITS, 1), (VISITS, 2)], &update), [false, false]);
}

/// What of many aggregates of one value each the cache answers while one in so many operations writes a row.
fn hit_rate(write_every: u64) -> f64 {
    let test = TestDb::new(PoolConfig::builder().max_connections(2));
    let db = &test.db;
    let schema = "CREATE TABLE city (id INTEGER PRIMARY KEY, country INTEGER, visits INTEGER DEFAULT 0);
        CREATE INDEX by_country ON city (country);
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
        INSERT INTO city (id, country) SELECT i, i % 100 FROM n";
    db.blocking().write(move |tx| Ok(tx.execute_batch(schema)?)).unwrap();
    let mut reads = 0_u64;
    let mut chance = 1_u64;
    for turn in 1..=10_000_u64 {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let random = i64::try_from(chance >> 33).unwrap();
        if turn.is_multiple_of(write_every) {
            let sql = "UPDATE city SET visits = visits + 1 WHERE id = ?1";
            let write =
                move |tx: &Transaction<'_>| Ok(tx.prepare_cached(sql)?.execute([1 + random % 2000]).map(drop)?);
            db.blocking().write(write).unwrap();
        } else {
            reads += 1;
            cached(db, VISITS, &Value::Integer(random % 100));
        }
    }
    hits(db) as f64 / reads as f64
}

#[test]
fn values_win_hits_where_tables_lose_them() {
    finer_wins_hits("cache_keys::values_win_hits_where_tables_lose_them", Mutation::IgnoresKeys, hit_rate);
}
