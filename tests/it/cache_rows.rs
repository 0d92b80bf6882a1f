//! Which cached results of single rows survive writes to other rows, and that none survives a write to its own, in whatever way that is made.
//!
//! Each way is taken several times before it counts: a statement is believed only once its program was looked at.

use pool_manager::faults::Mutation;
use pool_manager::rusqlite::{self, params, types::Value};
use pool_manager::{DatabaseManager, Error, PoolConfig, Result};

use crate::support::TestDb;
use crate::surviving::{TIMES, cached, database, finer_wins_hits, fresh, hits, survive};

const SCHEMA: &str = "
    CREATE TABLE t (id INTEGER PRIMARY KEY, value INTEGER);
    INSERT INTO t VALUES (1, 0), (2, 0), (3, 0), (5, 0), (200, 0);
    CREATE VIEW v AS SELECT id, value * 2 AS value FROM t;
    CREATE TABLE u (id INTEGER PRIMARY KEY, value UNIQUE);
    INSERT INTO u VALUES (1, 'x'), (2, 'y');
    CREATE TABLE w (id PRIMARY KEY, value) WITHOUT ROWID;
    INSERT INTO w VALUES (1, 0), (2, 0);
    CREATE TABLE e (id INTEGER PRIMARY KEY, value);
    CREATE TABLE source (id INTEGER PRIMARY KEY, value);
    CREATE TABLE noted (id INTEGER PRIMARY KEY, value);
    INSERT INTO source VALUES (1, 0);
    INSERT INTO noted VALUES (11, 0), (12, 0);
    CREATE TRIGGER notes AFTER UPDATE ON source BEGIN UPDATE noted SET value = new.value WHERE id = new.id + 10; END;
    CREATE TABLE parent (id INTEGER PRIMARY KEY, value);
    CREATE TABLE child (id INTEGER PRIMARY KEY, value REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE);
    INSERT INTO parent VALUES (1, 0), (300, 0);
    INSERT INTO child VALUES (71, 1), (72, 300);
    CREATE TABLE g (id INTEGER PRIMARY KEY, a INTEGER, value AS (a * 2), stored AS (a * 3) STORED);
    INSERT INTO g (id, a) VALUES (1, 0), (2, 0);
    CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT, value);
    INSERT INTO counted VALUES (1, 0);
    CREATE TABLE plain (value);
    INSERT INTO plain VALUES (0), (0);
    CREATE VIRTUAL TABLE f USING fts5 (text);
    INSERT INTO f VALUES ('one'), ('two');
    CREATE TABLE a (id INTEGER PRIMARY KEY, value, u_id);
    INSERT INTO a VALUES (1, 0, 1), (2, 0, 2);
";

fn by_write(write: fn(&rusqlite::Connection, i64) -> rusqlite::Result<usize>) -> impl Fn(&DatabaseManager, i64) {
    move |db, time| db.blocking().transaction(|tx| Ok(write(tx, time).map(drop)?)).unwrap()
}

const OF_T: &str = "SELECT value FROM t WHERE id = ?1";

#[test]
fn a_row_survives_writes_to_others_and_not_to_itself() {
    let test = database(SCHEMA);
    let db = &test.db;
    let update = by_write(|conn, _| conn.execute("UPDATE t SET value = value + 1 WHERE id = 1", []));
    assert_eq!(survive(db, [(OF_T, 1), (OF_T, 2), (OF_T, 4)], update), [false, true, true]);
    let upsert = "INSERT INTO t VALUES (3, 0) ON CONFLICT DO UPDATE SET value = value + 1";
    assert_eq!(
        survive(db, [(OF_T, 3), (OF_T, 2)], |db, _| _ =
            db.blocking().transaction(|tx| Ok(tx.execute(upsert, [])?)).unwrap()),
        [false, true]
    );
    let by_view = "SELECT value FROM v WHERE id = ?1";
    let update = by_write(|conn, _| conn.execute("UPDATE t SET value = value + 1 WHERE id = ?1", [2]));
    assert_eq!(survive(db, [(by_view, 2), (by_view, 1)], update), [false, true]);
    let by_rowid = "SELECT value FROM plain WHERE rowid = ?1";
    let update = by_write(|conn, time| conn.execute("UPDATE plain SET value = ?1 WHERE rowid = 1", [time]));
    assert_eq!(survive(db, [(by_rowid, 1), (by_rowid, 2)], update), [false, true]);
    let of_counted = "SELECT value FROM counted WHERE id = ?1";
    let insert = by_write(|conn, time| conn.execute("INSERT INTO counted (value) VALUES (?1)", [time]));
    // The row that is added last.
    assert_eq!(survive(db, [(of_counted, TIMES + 2), (of_counted, 1)], insert), [false, true]);
    let generated = "SELECT value + stored FROM g WHERE id = ?1";
    let update = by_write(|conn, _| conn.execute("UPDATE g SET a = a + 1 WHERE id = 1", []));
    assert_eq!(survive(db, [(generated, 1), (generated, 2)], update), [false, true]);
}

#[test]
fn a_row_that_is_not_there_is_outdated_by_its_insertion() {
    let test = database(SCHEMA);
    let insert = by_write(|conn, time| conn.execute("INSERT INTO t VALUES (?1, 1)", [500 + time]));
    assert_eq!(survive(&test.db, [(OF_T, 500 + TIMES), (OF_T, 600)], insert), [false, true]);
    let select =
        by_write(|conn, time| conn.execute("INSERT INTO t SELECT id + ?1, value FROM source", [1_000 * (time + 1)]));
    assert_eq!(survive(&test.db, [(OF_T, 1_000 * (TIMES + 1) + 1), (OF_T, 2)], select), [false, true]);
    // The whole of one table, in the order of its pages.
    let transfer = by_write(|conn, time| {
        if time % 2 == 0 {
            conn.execute("DELETE FROM e WHERE id > 0", [])
        } else {
            conn.execute("INSERT INTO e SELECT id, value FROM source", [])
        }
    });
    let of_e = "SELECT value FROM e WHERE id = ?1";
    assert_eq!(survive(&test.db, [(of_e, 1), (of_e, 2)], transfer), [false, true]);
}

#[test]
fn rows_that_go_without_a_report_are_outdated() {
    let test = database(SCHEMA);
    let db = &test.db;
    let of_u = "SELECT value FROM u WHERE id = ?1";
    // Another row has the name and makes place.
    let replace = by_write(|conn, time| conn.execute("REPLACE INTO u VALUES (?1, 'a')", [100 + time]));
    assert_eq!(survive(db, [(of_u, 99 + TIMES), (of_u, 100 + TIMES)], replace), [false, false]);
    let replace = by_write(|conn, time| {
        conn.execute("INSERT OR IGNORE INTO u VALUES (400, 'b')", [])?;
        conn.execute("UPDATE OR REPLACE u SET value = 'b' WHERE id = ?1", [1 + time % 2])
    });
    assert!(!survive(db, [(of_u, 400), (of_u, 1)], replace)[1]);
    let moved = by_write(|conn, time| conn.execute("UPDATE t SET id = ?1 + 1 WHERE id = ?1", [200 + time]));
    assert_eq!(survive(db, [(OF_T, 200 + TIMES), (OF_T, 201 + TIMES)], moved), [false, false]);
    let of_e = "SELECT value FROM e WHERE id = ?1";
    let emptied = by_write(|conn, time| {
        if time % 2 == 0 {
            conn.execute("INSERT INTO e VALUES (5, ?1)", [time])
        } else {
            conn.execute("DELETE FROM e", [])
        }
    });
    assert_eq!(survive(db, [(of_e, 5)], emptied), [false]);
    let of_w = "SELECT value FROM w WHERE id = ?1";
    let update = by_write(|conn, _| conn.execute("UPDATE w SET value = value + 1 WHERE id = 1", []));
    assert_eq!(survive(db, [(of_w, 1), (of_w, 2)], update), [false, false]);
    let many = by_write(|conn, time| {
        let sql = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
                   INSERT OR REPLACE INTO t SELECT i + 10000, ?1 FROM n";
        conn.execute(sql, [time])
    });
    assert_eq!(survive(db, [(OF_T, 10_300), (OF_T, 1)], many), [false, false]);
    let reused = by_write(|conn, time| {
        conn.execute("DELETE FROM t WHERE id = 5", [])?;
        conn.execute("INSERT INTO t VALUES (5, ?1)", [time])
    });
    assert_eq!(survive(db, [(OF_T, 5), (OF_T, 2)], reused), [false, true]);
}

#[test]
fn rows_that_triggers_and_foreign_keys_write_are_outdated() {
    let test = database(SCHEMA);
    let db = &test.db;
    let of_noted = "SELECT value FROM noted WHERE id = ?1";
    let update = by_write(|conn, time| conn.execute("UPDATE source SET value = ?1", [time]));
    assert_eq!(survive(db, [(of_noted, 11), (of_noted, 12)], update), [false, true]);
    let of_child = "SELECT value FROM child WHERE id = ?1";
    let delete = by_write(|conn, time| {
        if time % 2 == 1 {
            return conn.execute("DELETE FROM parent WHERE id = 7", []);
        }
        conn.execute("INSERT INTO parent VALUES (7, ?1)", [time])?;
        conn.execute("INSERT INTO child VALUES (70, 7)", [])
    });
    assert_eq!(survive(db, [(of_child, 70), (of_child, 71)], delete), [false, true]);
    let moved = by_write(|conn, time| conn.execute("UPDATE parent SET id = ?1 + 1 WHERE id = ?1", [300 + time]));
    assert_eq!(survive(db, [(of_child, 72), (of_child, 71)], moved), [false, true]);
}

#[test]
fn rows_are_outdated_by_writes_that_nobody_follows() {
    let test = database(SCHEMA);
    let db = &test.db;
    let path = test.path();
    let both = [(OF_T, 1), (OF_T, 2)];
    let sql = "UPDATE t SET value = value + 1 WHERE id = 1";
    assert_eq!(survive(db, both, |_, _| _ = test.foreign().execute(sql, []).unwrap()), [false, false]);
    let direct = DatabaseManager::builder().path(&path).use_pool(false).build().unwrap();
    assert!(!survive(db, both, |_, _| _ = direct.blocking().transaction(|tx| Ok(tx.execute(sql, [])?)).unwrap())[0]);
    let attached = |db: &DatabaseManager, _| {
        let held = db.blocking().acquire().unwrap();
        held.execute("ATTACH ?1 AS twin", [path.to_str().unwrap()]).unwrap();
        held.execute("UPDATE twin.t SET value = value + 1 WHERE id = 1", []).unwrap();
    };
    assert_eq!(survive(db, both, attached), [false, false]);
    let changed = |db: &DatabaseManager, time| {
        let sql =
            format!("ALTER TABLE t ADD COLUMN more_{time} DEFAULT 7; UPDATE t SET value = value + 1 WHERE id = 1");
        db.blocking().transaction(|tx| Ok(tx.execute_batch(&sql)?)).unwrap();
    };
    assert_eq!(survive(db, both, changed), [false, false]);
    let full_text = "SELECT c0 FROM f_content WHERE id = ?1";
    let write = by_write(|conn, time| conn.execute("UPDATE f SET text = 'number ' || ?1 WHERE rowid = 1", [time]));
    assert!(!survive(db, [(full_text, 1)], write)[0]);
    // Each text is another one, so none is known.
    let unknown = |db: &DatabaseManager, time| {
        let sql = format!("UPDATE t SET value = {time} WHERE id = 1");
        db.blocking().transaction(|tx| Ok(tx.execute(&sql, []).map(drop)?)).unwrap();
    };
    assert_eq!(survive(db, both, unknown), [false, false]);
}

#[test]
fn a_connection_held_by_hand_tells_the_rows_of_each_transaction() {
    let test = database(SCHEMA);
    let db = &test.db;
    let both = [(OF_T, 1), (OF_T, 2)];
    let held = |db: &DatabaseManager, _| {
        let held = db.blocking().acquire().unwrap();
        held.execute_batch("BEGIN IMMEDIATE; UPDATE t SET value = value + 1 WHERE id = 3; COMMIT").unwrap();
        held.execute_batch("UPDATE t SET value = value + 1 WHERE id = 1").unwrap();
    };
    assert_eq!(survive(db, both, held), [false, true]);
    let undone = |db: &DatabaseManager, _| {
        let held = db.blocking().acquire().unwrap();
        held.execute_batch("BEGIN; SAVEPOINT a; UPDATE t SET value = value + 1 WHERE id = 1; ROLLBACK TO a").unwrap();
        held.execute_batch("UPDATE t SET value = value + 1 WHERE id = 2; COMMIT").unwrap();
    };
    assert!(!survive(db, both, undone)[1]);
    let rolled_back = |db: &DatabaseManager, _| {
        let rolled_back: Result<()> = db.blocking().transaction(|tx| {
            tx.execute("UPDATE t SET value = value + 1 WHERE id = 1", [])?;
            Err(Error::application("rolled back"))
        });
        rolled_back.expect_err("it is rolled back");
        db.blocking()
            .transaction(|tx| Ok(tx.execute("UPDATE t SET value = value + 1 WHERE id = 3", []).map(drop)?))
            .unwrap();
    };
    assert!(survive(db, both, rolled_back)[1]);
    // A commit that fails leaves its transaction open, and what it wrote is committed later.
    let late = |db: &DatabaseManager, time| {
        let held = db.blocking().acquire().unwrap();
        held.execute_batch("BEGIN; PRAGMA defer_foreign_keys = ON").unwrap();
        held.execute("UPDATE t SET value = value + 1 WHERE id = 1", []).unwrap();
        held.execute("INSERT INTO child VALUES (?1, 9999)", [5_000 + time]).unwrap();
        held.execute_batch("COMMIT").expect_err("a foreign key points to nothing");
        held.execute("DELETE FROM child WHERE id = ?1", [5_000 + time]).unwrap();
        held.execute_batch("COMMIT").unwrap();
    };
    assert!(!survive(db, both, late)[0]);
    // The commit comes when the statement is given up, after its end was told.
    let half_way = |db: &DatabaseManager, _| {
        let returning = "UPDATE t SET value = value + 1 WHERE id IN (1, 3) RETURNING value";
        let first = |conn: &pool_manager::Connection| Ok(conn.query_row(returning, [], |row| row.get::<_, i64>(0))?);
        db.blocking().execute_with_pool(first).unwrap();
    };
    assert!(!survive(db, both, half_way)[0]);
}

#[test]
fn settings_that_change_programs_are_noticed() {
    let test = database(SCHEMA);
    let db = &test.db;
    let of_e = "SELECT value FROM e WHERE id = ?1";
    let clear = "DELETE FROM e";
    db.blocking()
        .write(|tx| Ok(tx.execute_batch("CREATE TRIGGER gone AFTER DELETE ON e BEGIN SELECT 1; END")?))
        .unwrap();
    // With the trigger each row is deleted, and reported, one by one; without it all at once.
    let delete = |db: &DatabaseManager, time: i64| {
        if time % 2 == 0 {
            db.blocking().transaction(|tx| Ok(tx.execute("INSERT OR IGNORE INTO e VALUES (71, 1)", [])?)).unwrap();
        } else if time < TIMES {
            db.blocking().transaction(|tx| Ok(tx.execute(clear, []).map(drop)?)).unwrap();
        } else {
            let held = db.blocking().acquire().unwrap();
            held.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false).unwrap();
            held.execute(clear, []).unwrap();
            held.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, true).unwrap();
        }
    };
    assert_eq!(survive(db, [(of_e, 71)], delete), [false]);
}

#[test]
fn what_is_not_a_number_and_what_is_found_another_way_is_read_as_a_table() {
    let test = database(SCHEMA);
    let db = &test.db;
    let write = by_write(|conn, _| conn.execute("UPDATE t SET value = value + 1 WHERE id = 5", []));
    for value in [Value::Text("5".into()), Value::Real(5.0), Value::Null, Value::Blob(b"5".to_vec())] {
        cached(db, OF_T, &value);
        (0..TIMES).for_each(|time| write(db, time));
        let before = cached(db, OF_T, &value);
        write(db, TIMES);
        let (hits_before, after) = (hits(db), cached(db, OF_T, &value));
        assert_eq!(after, fresh(db, OF_T, &value), "{value:?}");
        assert_eq!(hits(db), hits_before, "{value:?}");
        assert_eq!(before.is_empty(), matches!(value, Value::Null | Value::Blob(_)), "{value:?}");
    }
    let joined = "SELECT u.value FROM a JOIN u ON u.id = a.u_id WHERE a.id = ?1";
    let other_of_a = by_write(|conn, _| conn.execute("UPDATE a SET value = value || 'x' WHERE id = 2", []));
    assert_eq!(survive(db, [(joined, 1), (joined, 2)], other_of_a), [true, false]);
    let other_of_u = by_write(|conn, time| conn.execute("UPDATE u SET value = ?1 WHERE id = 2", [time]));
    assert_eq!(survive(db, [(joined, 1)], other_of_u), [false]);
    for whole in
        ["SELECT max(value) FROM t WHERE id = ?1 OR id = 2", "SELECT count(*) FROM t WHERE value > ?1 OR id = 1"]
    {
        let write = by_write(|conn, _| conn.execute("UPDATE t SET value = value + 1 WHERE id = 3", []));
        assert_eq!(survive(db, [(whole, 1)], write), [false], "{whole}");
    }
}

#[test]
fn a_closure_that_reads_several_rows_is_outdated_by_each_of_them() {
    let test = database(SCHEMA);
    let db = &test.db;
    let sum = |conn: &pool_manager::Connection| {
        let mut select = conn.prepare_cached(OF_T)?;
        [1, 2].into_iter().try_fold(0, |sum, id| Ok(sum + select.query_row([id], |row| row.get::<_, i64>(0))?))
    };
    let write = |id: i64| {
        db.blocking()
            .write(move |tx| Ok(tx.execute("UPDATE t SET value = value + 1 WHERE id = ?1", [id]).map(drop)?))
            .unwrap();
    };
    let ask = || *db.blocking().execute_cached("sum", None, sum).unwrap();
    ask();
    (0..TIMES).for_each(|_| write(3));
    let (before, found) = (hits(db), ask());
    write(3);
    assert_eq!((ask(), hits(db)), (found, before + 1));
    for id in [1, 2] {
        write(id);
        assert_eq!((ask(), hits(db)), (found + id, before + 1));
    }
}

#[test]
fn a_run_whose_values_can_not_be_told_reads_the_whole_table() {
    use rusqlite::limits::Limit::SQLITE_LIMIT_LENGTH;
    let test = database(SCHEMA);
    let db = &test.db;
    let query = |conn: &pool_manager::Connection| {
        let mut select = conn.prepare_cached("SELECT value, ?2 FROM t WHERE id = ?1")?;
        // With each quote doubled the text of the statement is longer than a text may be.
        let limit = conn.set_limit(SQLITE_LIMIT_LENGTH, 1_000)?;
        let first: i64 = select.query_row(params![1, "'".repeat(900)], |row| row.get(0))?;
        conn.set_limit(SQLITE_LIMIT_LENGTH, limit)?;
        let second: i64 = select.query_row(params![2, "'"], |row| row.get(0))?;
        Ok(first + second)
    };
    let sum = || *db.blocking().execute_cached("sum", None, query).unwrap();
    let write = by_write(|conn, _| conn.execute("UPDATE t SET value = value + 1 WHERE id = 1", []));
    for time in 0..TIMES {
        assert_eq!(sum(), time);
        write(db, time);
    }
}

/// What of many reads by key, a few of them popular, the cache answers while one in so many operations writes a row.
fn hit_rate(write_every: u64) -> f64 {
    let test = TestDb::new(PoolConfig::builder().max_connections(2).max_cache_size(20_000));
    test.fill(10_000);
    let db = &test.db;
    let mut chance = 1_u64;
    let mut zipf = move || {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let uniform = (chance >> 11) as f64 / (1_u64 << 53) as f64;
        // Of a hyperbola, which is Zipf's law with exponent 1.
        10_000_f64.powf(uniform) as i64
    };
    let mut reads = 0_u64;
    for turn in 1..=20_000_u64 {
        let id = zipf();
        if turn.is_multiple_of(write_every) {
            let sql = "UPDATE t SET value = value + 1 WHERE id = ?1";
            db.blocking().transaction(move |tx| Ok(tx.prepare_cached(sql)?.execute([id]).map(drop)?)).unwrap();
        } else {
            reads += 1;
            cached(db, OF_T, &Value::Integer(id));
        }
    }
    hits(db) as f64 / reads as f64
}

#[test]
fn rows_win_hits_where_tables_lose_them() {
    finer_wins_hits("cache_rows::rows_win_hits_where_tables_lose_them", Mutation::IgnoresRows, hit_rate);
}
