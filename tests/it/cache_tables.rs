//! What a cached result depends on: which commits outdate it and which leave it alone.

use pool_manager::rusqlite::types::Value;
use pool_manager::rusqlite::{self, Row, named_params, params};
use pool_manager::{CacheOptions, DatabaseManager, PoolConfig, Result};

use crate::support::TestDb;

const SCHEMA: &str = "
    CREATE TABLE a (id INTEGER PRIMARY KEY, value, other);
    CREATE TABLE b (id INTEGER PRIMARY KEY, value, parent REFERENCES p ON DELETE CASCADE);
    CREATE TABLE p (id INTEGER PRIMARY KEY);
    CREATE TABLE log (value);
    CREATE TRIGGER logs AFTER INSERT ON p BEGIN INSERT INTO log VALUES (new.id); END;
    CREATE TABLE w (id TEXT PRIMARY KEY, value) WITHOUT ROWID;
    CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT, value);
    CREATE VIEW v AS SELECT value FROM a WHERE value > 0;
    CREATE VIEW changeable AS SELECT id, value FROM a;
    CREATE TRIGGER changes INSTEAD OF INSERT ON changeable BEGIN INSERT INTO a (id, value) VALUES (new.id, new.value); END;
    CREATE VIRTUAL TABLE f USING fts5 (text);
    INSERT INTO p VALUES (1), (2);
    INSERT INTO b VALUES (1, 1, 1), (2, 2, 2);
";

/// With one connection none has to learn of the schema from others, which outdates more than it must.
fn database() -> TestDb {
    with_connections(1)
}

fn with_connections(connections: usize) -> TestDb {
    let test = TestDb::new(PoolConfig::builder().min_connections(1).max_connections(connections));
    test.db.blocking().write(|tx| Ok(tx.execute_batch(SCHEMA)?)).unwrap();
    test
}

/// The rows of a query as text, cached.
fn cached(db: &DatabaseManager, sql: &'static str) -> String {
    let rows = move |conn: &pool_manager::Connection| text_of(conn, sql);
    (*db.blocking().execute_cached(sql, None, rows).unwrap()).clone()
}

fn text_of(conn: &rusqlite::Connection, sql: &str) -> Result<String> {
    let mut statement = conn.prepare(sql)?;
    let columns = statement.column_count();
    let mut rows = statement.query([])?;
    let mut lines = Vec::new();
    while let Some(row) = rows.next()? {
        let values = (0..columns).map(|at| Ok(format!("{:?}", row.get_ref(at)?)));
        lines.push(values.collect::<rusqlite::Result<Vec<_>>>()?.join(" "));
    }
    lines.sort_unstable();
    Ok(lines.join("\n"))
}

fn hits(db: &DatabaseManager) -> u64 {
    db.pool_stats().unwrap().cache_hits
}

fn write(db: &DatabaseManager, sql: &str) {
    let sql = sql.to_owned();
    db.blocking().write(move |tx| Ok(tx.execute_batch(&sql)?)).unwrap();
}

/// Whether a result is served from the cache after some write.
fn survives(db: &DatabaseManager, sql: &'static str, change: impl FnOnce(&DatabaseManager)) -> bool {
    cached(db, sql);
    let before = hits(db);
    cached(db, sql);
    assert_eq!(hits(db), before + 1, "{sql} is kept: {:?}", db.pool_stats());
    change(db);
    let found = cached(db, sql);
    let fresh = db.blocking().read(|conn| text_of(conn, sql)).unwrap();
    assert_eq!(found, fresh, "{sql}");
    hits(db) == before + 2
}

#[test]
fn a_result_survives_commits_that_write_other_tables_and_no_others() {
    let test = database();
    let outdated = [
        ("SELECT count(*) FROM a", "INSERT INTO A (value) VALUES (1)"),
        ("SELECT count(*) FROM \"A\"", "REPLACE INTO a (id, value) VALUES (1, 7)"),
        ("SELECT sum(value) FROM v", "UPDATE a SET value = value + 1"),
        ("SELECT count(*) FROM b", "DELETE FROM p WHERE id = 2"),
        ("SELECT count(*) FROM log", "INSERT INTO p VALUES (3)"),
        ("SELECT count(*) FROM a JOIN b USING (value)", "INSERT INTO b VALUES (9, 1, NULL)"),
        ("SELECT count(*) FROM a NATURAL JOIN b", "INSERT INTO a VALUES (9, 1, NULL)"),
        ("SELECT a.id FROM a JOIN log USING (value)", "INSERT INTO log VALUES (1)"),
        ("SELECT EXISTS (SELECT 1 FROM w)", "INSERT INTO w VALUES ('x', 1)"),
        ("WITH x AS (SELECT id FROM w) SELECT count(*) FROM x", "DELETE FROM w"),
        ("SELECT count(*) FROM a", "INSERT INTO changeable VALUES (100, 5)"),
        ("SELECT count(*) FROM f_content", "INSERT INTO f VALUES ('a word')"),
        ("SELECT count(*) FROM sqlite_schema", "CREATE TABLE more (x)"),
        ("SELECT count(*) FROM w", "CREATE TABLE even_more (x)"),
        ("SELECT 1 IN (SELECT id FROM w)", "ALTER TABLE counted ADD COLUMN more"),
    ];
    for (query, change) in outdated {
        assert!(!survives(&test.db, query, |db| write(db, change)), "{query} after {change}");
    }
    let kept = [
        ("SELECT count(*) FROM a", "INSERT INTO w VALUES ('y', 1)"),
        ("SELECT sum(value) FROM v", "INSERT INTO log VALUES (5)"),
        ("SELECT count(*) FROM b", "UPDATE a SET value = 3; DELETE FROM w"),
        ("SELECT a.id FROM a JOIN log USING (value)", "INSERT INTO w VALUES ('z', 1)"),
        ("SELECT count(*) FROM a", "INSERT INTO f VALUES ('another word')"),
        ("SELECT 1 + 1", "DELETE FROM a"),
    ];
    for (query, change) in kept {
        assert!(survives(&test.db, query, |db| write(db, change)), "{query} after {change}");
    }
}

/// What a reader learns of the schema that it sees is not true for others if the schema was changed meanwhile.
#[test]
fn a_reader_of_an_old_schema_teaches_others_nothing() {
    let test = with_connections(3);
    write(&test.db, "INSERT INTO w VALUES ('old', 1)");
    let sql = "SELECT * FROM changed";
    write(&test.db, "CREATE VIEW changed AS SELECT count(*) FROM w");
    let old = move |conn: &pool_manager::Connection| -> Result<String> {
        let found = text_of(conn, sql)?;
        // While this reads, another connection gives the view another meaning, and somebody asks for something.
        Ok(found)
    };
    let db = test.db.clone();
    let reads_on = move |conn: &pool_manager::Connection| -> Result<String> {
        conn.query_row("SELECT count(*) FROM log", [], |_| Ok(()))?;
        let there = db.clone();
        let change = std::thread::spawn(move || {
            write(&there, "DROP VIEW changed; CREATE VIEW changed AS SELECT count(*) FROM log");
            cached(&there, "SELECT count(*) FROM a");
        });
        change.join().unwrap();
        old(conn)
    };
    test.db.blocking().execute_cached("old", None, reads_on).unwrap();
    for _ in 0..2 {
        cached(&test.db, sql);
    }
    assert!(!survives(&test.db, sql, |db| write(db, "INSERT INTO log VALUES (1)")));
}

#[test]
fn commits_that_nobody_reports_are_found_all_the_same() {
    let test = with_connections(2);
    let path = test.path();
    let query = "SELECT count(*) FROM a";
    let insert = "INSERT INTO a (value) VALUES (1) RETURNING id";
    // Its commit comes when the statement is reset, after its end was told.
    let half_way = |db: &DatabaseManager| {
        let row = |conn: &pool_manager::Connection| Ok(conn.query_row(insert, [], |row| row.get::<_, i64>(0))?);
        db.blocking().execute_with_pool(row).unwrap();
    };
    assert!(!survives(&test.db, query, half_way));
    // The same file under another name.
    let attached = |db: &DatabaseManager| {
        let held = db.blocking().acquire().unwrap();
        held.execute("ATTACH ?1 AS twin", [path.to_str().unwrap()]).unwrap();
        held.execute("INSERT INTO twin.a (value) VALUES (1)", []).unwrap();
    };
    assert!(!survives(&test.db, query, attached));
    // Another manager of the file, with a connection of its own.
    let direct = DatabaseManager::builder().path(test.path()).use_pool(false).build().unwrap();
    assert!(!survives(&test.db, query, |_| write(&direct, "INSERT INTO a (value) VALUES (1)")));
    // Statements that are prepared before a commit and run after it.
    let held = test.db.blocking().acquire().unwrap();
    let mut first = held.prepare("INSERT INTO a (value) VALUES (?1)").unwrap();
    let mut second = held.prepare("INSERT INTO w VALUES (?1, 1)").unwrap();
    for round in 0..3 {
        second.execute([round]).unwrap();
        assert!(!survives(&test.db, query, |_| _ = first.execute([round]).unwrap()));
    }
    drop((first, second));
    drop(held);
    // Emptying the log changes its header without a commit.
    assert!(!survives(&test.db, query, |db| {
        let held = db.blocking().acquire().unwrap();
        held.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    }));
    assert!(survives(&test.db, query, |db| {
        let rolled_back: Result<()> = db.blocking().write(|tx| {
            tx.execute("DELETE FROM a", [])?;
            Err(pool_manager::Error::application("rolled back"))
        });
        rolled_back.expect_err("it is rolled back");
    }));
}

#[test]
fn what_is_not_in_the_database_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.sqlite");
    let other = folder.path().join("other.sqlite");
    rusqlite::Connection::open(&other).unwrap().execute_batch("CREATE TABLE theirs (value)").unwrap();
    let db = DatabaseManager::builder()
        .path(&path)
        .on_connect(move |conn| {
            conn.execute("ATTACH ?1 AS other", [other.to_str().unwrap()])?;
            Ok(conn.execute_batch("CREATE TEMP TABLE mine (value); CREATE TEMP TABLE both (value)")?)
        })
        .build()
        .unwrap();
    write(&db, "CREATE TABLE main.both (value); CREATE TABLE ours (value)");
    let queries = [
        "SELECT count(*) FROM mine",
        "SELECT count(*) FROM both",
        "SELECT count(*) FROM theirs",
        "SELECT value FROM theirs",
        "SELECT count(*) FROM ours JOIN mine USING (value)",
        "SELECT count(*) FROM main.ours NATURAL JOIN theirs",
        "SELECT count(*) FROM pragma_table_info('ours')",
    ];
    for (at, sql) in queries.into_iter().enumerate() {
        cached(&db, sql);
        cached(&db, sql);
        let stats = db.pool_stats().unwrap();
        assert_eq!((stats.cache_hits, stats.cache_uncacheable), (0, 2 * (at as u64 + 1)), "{sql}");
        let by = stats.cache_uncacheable_by;
        assert_eq!((by.total(), by.tables), (stats.cache_uncacheable, by.total() - by.unknown), "{sql}");
    }
    for sql in ["SELECT count(*) FROM main.both", "SELECT count(*) FROM ours"] {
        assert!(survives(&db, sql, |db| write(db, "INSERT INTO temp.mine VALUES (1)")));
    }
}

#[test]
fn a_query_is_cached_by_its_text_and_parameters() {
    let test = database();
    write(&test.db, "INSERT INTO a VALUES (1, 'one', NULL), (2, 'two', 2.5), (3, '1', x'01')");
    let blocking = test.db.blocking();
    let find = |parameters: &[&dyn rusqlite::ToSql]| {
        let sql = "SELECT value FROM a WHERE id = ?1 OR value = ?2 ORDER BY id";
        blocking.query_cached(sql, parameters, |row| row.get::<_, String>(0)).unwrap().join(" ")
    };
    for _ in 0..2 {
        assert_eq!(find(params![1, "two"]), "one two");
        assert_eq!(find(params!["1", "two"]), "one two");
        assert_eq!(find(params![2, rusqlite::types::Null]), "two");
        assert_eq!(find(params![2, "1"]), "two 1");
        assert_eq!(find(params![2, "11"]), "two");
    }
    assert_eq!(hits(&test.db), 5);
    // Another closure, another type: other results.
    let lengths = blocking.query_cached("SELECT value FROM a", params![], |row| Ok(row.get::<_, String>(0)?.len()));
    assert_eq!(*lengths.unwrap(), [3, 3, 1]);
    write(&test.db, "DELETE FROM a WHERE id = 2");
    assert_eq!(find(params![1, "two"]), "one");
    let missing = blocking.query_cached("SELECT ?1 FROM missing", params![1], |row| row.get::<_, i64>(0));
    missing.expect_err("there is no such table");
}

#[test]
fn parameters_of_cached_queries_take_the_forms_that_rusqlite_takes() {
    let test = database();
    write(&test.db, "INSERT INTO a VALUES (1, 'one', NULL), (2, 'two', NULL), (3, 'three', NULL)");
    let blocking = test.db.blocking();
    let value = |row: &Row<'_>| row.get::<_, String>(0);
    let by_id = "SELECT value FROM a WHERE id BETWEEN ?1 AND ?2";
    let found = [
        blocking.query_cached(by_id, (2, 2), value),
        blocking.query_cached(by_id, [2, 2], value),
        blocking.query_cached(by_id, [&2, &2], value),
        blocking.query_cached(by_id, vec![2, 2], value),
        blocking.query_cached(by_id, params![2, 2], value),
        blocking.query_cached(by_id, [Value::Integer(2), Value::Integer(2)].as_slice(), value),
    ];
    assert!(found.iter().all(|found| **found.as_ref().unwrap() == ["two"]), "{found:?}");
    assert_eq!(hits(&test.db), 5, "they are one key");

    // By name: the order is the caller's, and what is not named is NULL.
    let named = "SELECT value FROM a WHERE id = :id AND value IS NOT @other";
    let ask = |parameters: &[(&str, &dyn rusqlite::ToSql)]| {
        (*blocking.query_cached(named, parameters, value).unwrap()).clone()
    };
    assert_eq!(ask(named_params! { ":id": 2, "@other": "x" }), ["two"]);
    assert_eq!(ask(named_params! { ":id": 3, "@other": "x" }), ["three"]);
    assert_eq!(ask(named_params! { ":id": 3, "@other": "three" }), [""; 0]);
    assert_eq!(ask(named_params! { "@other": "x", ":id": 3 }), ["three"]);
    assert_eq!(ask(named_params! { ":id": 2, "@other": "x" }), ["two"]);
    assert_eq!(hits(&test.db), 6);
    assert_eq!(ask(named_params! { ":id": 1 }), ["one"]);
    blocking.query_cached(named, &[(":nobody", &1)], value).expect_err("there is no such parameter");
    blocking.query_cached(by_id, [1], value).expect_err("one is missing");
    assert_eq!(blocking.query_cached("SELECT value FROM a", (), value).unwrap().len(), 3);
    assert_eq!(blocking.query_cached("SELECT value FROM a", [], value).unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_future_of_a_cached_query_holds_nothing_of_its_parameters() {
    let test = database();
    write(&test.db, "INSERT INTO a VALUES (1, 'one', NULL)");
    let db = test.db.clone();
    let asks = async move {
        let mut found = Vec::new();
        for _ in 0..2 {
            let rows = {
                // Neither lives as long as the future, nor may it go to another thread.
                let id = std::rc::Rc::new(1_i64);
                db.query_cached("SELECT value FROM a WHERE id = ?1", params![*id], |row| row.get::<_, String>(0))
            };
            found.push((*rows.await.unwrap()).clone());
        }
        found
    };
    assert_eq!(tokio::spawn(asks).await.unwrap(), [["one"], ["one"]]);
    assert_eq!(hits(&test.db), 1);
}

#[test]
fn calls_can_refresh_pass_by_and_invalidate() {
    let test = database();
    let blocking = test.db.blocking();
    let ask = |options| {
        *blocking
            .execute_cached_with("dice", options, |conn| {
                Ok(conn.query_row("SELECT random() FROM a", [], |row| row.get::<_, i64>(0)).unwrap_or_default())
            })
            .unwrap()
    };
    write(&test.db, "INSERT INTO a (value) VALUES (1)");
    assert_ne!(ask(CacheOptions::new()), ask(CacheOptions::new()), "chance is not kept");
    assert_eq!(test.db.pool_stats().unwrap().cache_uncacheable_by.functions, 2);
    let kept = CacheOptions::new().volatile_ok(true);
    let first = ask(kept);
    assert_eq!(ask(kept), first);
    assert_ne!(ask(kept.bypass(true)), first);
    assert_eq!(ask(kept), first);
    let second = ask(kept.refresh(true));
    assert_ne!(second, first);
    assert_eq!(ask(kept), second);
    write(&test.db, "INSERT INTO w VALUES ('x', 1)");
    assert_eq!(ask(kept), second, "its table was not written");
    write(&test.db, "UPDATE a SET value = 2");
    let third = ask(kept);
    assert_ne!(third, second, "its table was written");
    assert_eq!(test.db.invalidate("dice"), 1);
    let fourth = ask(kept);
    assert_ne!(fourth, third);
    test.db.invalidate_tables(&["w", "B"]);
    assert_eq!(ask(kept), fourth);
    test.db.invalidate_tables(&["A"]);
    assert_ne!(ask(kept), fourth);
    let stats = test.db.pool_stats().unwrap();
    assert_eq!((stats.cache_hits, stats.cache_stale_prevented), (5, 2), "{stats:?}");
    assert!(stats.cache_bytes > 8);
}

/// A small generator of numbers: the same for the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn one<'t>(&mut self, of: &[&'t str]) -> &'t str {
        of[self.below(of.len())]
    }
}

/// A query with columns `k` and `n`.
fn random_query(chance: &mut Chance, depth: usize) -> String {
    const SOURCES: [&str; 7] = ["t0", "t1", "t2", "T3", "v0", "v1", "v2"];
    let source = |chance: &mut Chance| {
        if depth == 0 { chance.one(&SOURCES).to_owned() } else { format!("({})", random_query(chance, depth - 1)) }
    };
    match chance.below(9) {
        0 => format!("SELECT k, n FROM {}", source(chance)),
        1 => format!("SELECT 1 AS k, count(*) AS n FROM {}", source(chance)),
        2 => format!("SELECT k, sum(n) AS n FROM {} GROUP BY k", source(chance)),
        3 => {
            format!("SELECT 2 AS k, count(*) AS n FROM {} AS x JOIN {} AS y USING (k)", source(chance), source(chance))
        }
        4 => format!("SELECT 3 AS k, count(*) AS n FROM {} AS x NATURAL JOIN {} AS y", source(chance), source(chance)),
        5 => format!("SELECT x.k, y.n FROM {} AS x LEFT JOIN {} AS y ON x.k = y.n", source(chance), source(chance)),
        6 => format!("WITH c AS ({}) SELECT k, max(n) AS n FROM c", random_query(chance, depth.saturating_sub(1))),
        7 => format!("SELECT k, n FROM {} WHERE k IN (SELECT n FROM {})", source(chance), source(chance)),
        _ => format!("SELECT k, n FROM {} UNION SELECT 0, EXISTS (SELECT 1 FROM {})", source(chance), source(chance)),
    }
}

fn random_write(chance: &mut Chance) -> String {
    let (table, k, n) = (chance.one(&["t0", "t1", "t2", "t3"]), chance.below(6), chance.below(6));
    match chance.below(7) {
        0 | 1 => format!("INSERT OR IGNORE INTO {table} (k, n) VALUES ({k}, {n})"),
        2 => format!("UPDATE {table} SET n = {n} WHERE k = {k}"),
        3 => format!("DELETE FROM {table} WHERE n = {n}"),
        4 => format!("REPLACE INTO {table} (k, n) VALUES ({k}, {n})"),
        5 => format!("DELETE FROM {table}"),
        _ => format!("INSERT OR IGNORE INTO {table} (k, n) SELECT k + 1, n FROM t{}", chance.below(4)),
    }
}

#[test]
fn random_queries_give_the_same_cached_and_not_after_random_writes() {
    let rounds = std::env::var("POOL_STALENESS_SCHEMAS").map_or(6, |text| text.parse().unwrap());
    let mut hits_of_all = 0;
    for seed in 0..rounds {
        let chance = &mut Chance(seed);
        let test = TestDb::with_defaults();
        write(
            &test.db,
            "CREATE TABLE t0 (k, n); CREATE TABLE t1 (k PRIMARY KEY, n) WITHOUT ROWID;
             CREATE TABLE t2 (k INTEGER PRIMARY KEY, n); CREATE TABLE t3 (k PRIMARY KEY, n REFERENCES t2 ON DELETE CASCADE);
             CREATE TRIGGER moves AFTER DELETE ON t2 BEGIN UPDATE t0 SET n = n + 1 WHERE k = old.k; END",
        );
        for view in 0..3 {
            // Of tables and the views before it.
            let query = std::iter::repeat_with(|| random_query(chance, 0))
                .find(|query| (view..3).all(|later| !query.contains(&format!("v{later}"))))
                .unwrap();
            write(&test.db, &format!("CREATE VIEW v{view} AS {query}"));
        }
        let queries: Vec<&'static str> = (0..25)
            .map(|_| {
                let depth = chance.below(3);
                &*random_query(chance, depth).leak()
            })
            .collect();
        for _ in 0..150 {
            let sql = chance.one(&queries);
            let found = cached(&test.db, sql);
            assert_eq!(found, test.db.blocking().read(|conn| text_of(conn, sql)).unwrap(), "seed {seed}: {sql}");
            if chance.below(3) == 0 {
                let change = random_write(chance);
                // One that breaks a foreign key fails and changes nothing.
                let _ = test.db.blocking().write(move |tx| Ok(tx.execute_batch(&change)?));
            }
        }
        hits_of_all += hits(&test.db);
    }
    assert!(hits_of_all > 0, "the cache answered nothing");
}
