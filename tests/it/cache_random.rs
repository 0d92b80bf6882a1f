//! Random schemas, random queries, random changes: what is cached is what a query gives that is run anew.
//!
//! A failure names the seed and the smallest schema, query and change that show it.

use pool_manager::rusqlite::params;
use pool_manager::{Connection, DatabaseManager, ExternalWriters, PoolConfig, Result, rusqlite};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::support::TestDb;

/// Tables, and views on them.
const SOURCES: &[&str] = &["t0", "t1", "T2", "t3", "v0", "v1"];

fn table() -> impl Strategy<Value = &'static str> {
    select(&["t0", "t1", "t2", "t3"][..])
}

/// A query with columns `k` and `n`.
fn query() -> impl Strategy<Value = String> {
    let simple = prop_oneof![
        4 => select(SOURCES).prop_map(|source| format!("SELECT k, n FROM {source}")),
        1 => select(SOURCES).prop_map(|source| format!("SELECT 1 AS k, count(*) AS n FROM {source}")),
        1 => (table(), 0..6).prop_map(|(table, k)| format!("SELECT k, n FROM {table} WHERE k = {k}")),
        1 => (table(), 0..6).prop_map(|(table, k)| format!("SELECT k, n FROM {table} WHERE n > {k}")),
    ];
    simple.prop_recursive(3, 8, 2, |inner| {
        let two = (inner.clone(), inner.clone());
        prop_oneof![
            inner.clone().prop_map(|x| format!("SELECT k, sum(n) AS n FROM ({x}) GROUP BY k")),
            inner.clone().prop_map(|x| format!("WITH c AS ({x}) SELECT k, max(n) AS n FROM c")),
            inner.clone().prop_map(|x| format!("SELECT k, count(*) OVER (PARTITION BY n) AS n FROM ({x})")),
            inner.clone().prop_map(|x| format!(
                "WITH RECURSIVE r(k, n) AS (SELECT * FROM ({x}) UNION SELECT k + 1, n FROM r WHERE k < 4) SELECT k, n FROM r"
            )),
            two.clone().prop_map(|(x, y)| format!("SELECT 2 AS k, count(*) AS n FROM ({x}) JOIN ({y}) USING (k)")),
            two.clone().prop_map(|(x, y)| format!("SELECT 3 AS k, count(*) AS n FROM ({x}) NATURAL JOIN ({y})")),
            two.clone().prop_map(|(x, y)| format!("SELECT a.k, b.n FROM ({x}) AS a LEFT JOIN ({y}) AS b ON a.k = b.n")),
            two.clone().prop_map(|(x, y)| format!("SELECT k, n FROM ({x}) WHERE k IN (SELECT n FROM ({y}))")),
            two.clone().prop_map(|(x, y)| {
                format!("SELECT k, n FROM ({x}) AS a WHERE EXISTS (SELECT 1 FROM ({y}) AS b WHERE b.k = a.k)")
            }),
            two.clone().prop_map(|(x, y)| format!("SELECT k, (SELECT max(n) FROM ({y})) AS n FROM ({x})")),
            two.prop_map(|(x, y)| format!("SELECT k, n FROM ({x}) EXCEPT SELECT k, n FROM ({y})")),
        ]
    })
}

/// A query of tables alone, for a view.
fn view(name: &'static str) -> impl Strategy<Value = String> {
    let of_tables = query().prop_map(|query| query.replace("v0", "t0").replace("v1", "t1"));
    of_tables.prop_map(move |query| format!("DROP VIEW IF EXISTS {name}; CREATE VIEW {name} AS {query}"))
}

fn trigger() -> impl Strategy<Value = String> {
    let events = select(&[("INSERT", "new"), ("UPDATE", "new"), ("UPDATE", "old"), ("DELETE", "old")][..]);
    (0..3, events, table(), table(), 0..3).prop_map(|(number, (event, row), on, other, what)| {
        let does = match what {
            0 => format!("UPDATE OR IGNORE {other} SET n = n + 1 WHERE k <= {row}.k"),
            1 => format!("DELETE FROM {other} WHERE n = {row}.n"),
            _ => format!("INSERT OR IGNORE INTO {other} (k, n) VALUES ({row}.k, 7)"),
        };
        format!("DROP TRIGGER IF EXISTS g{number}; CREATE TRIGGER g{number} AFTER {event} ON {on} BEGIN {does}; END")
    })
}

fn columns() -> impl Strategy<Value = &'static str> {
    select(
        &[
            "(k, n)",
            "(k INTEGER PRIMARY KEY, n)",
            "(k INTEGER PRIMARY KEY AUTOINCREMENT, n)",
            "(k PRIMARY KEY, n) WITHOUT ROWID",
            "(k UNIQUE, n REFERENCES t2 ON DELETE CASCADE)",
            "(k UNIQUE, n REFERENCES t2 ON UPDATE CASCADE ON DELETE SET NULL)",
            "(k TEXT UNIQUE, n REAL)",
        ][..],
    )
}

/// An index, by whose first column rows may be told apart or not.
fn index() -> impl Strategy<Value = String> {
    let terms = select(&["n", "n, k", "k, n", "n DESC", "n COLLATE NOCASE", "n + 0", "n) WHERE (k > 1"][..]);
    (table(), 0..3, terms).prop_map(|(table, at, terms)| {
        format!("DROP INDEX IF EXISTS i{at}_{table}; CREATE INDEX i{at}_{table} ON {table} ({terms})")
    })
}

/// A query of one row, or of rows with one value, by what is bound to ?1.
fn row_query() -> impl Strategy<Value = String> {
    let simple = || {
        prop_oneof![
            3 => select(SOURCES).prop_map(|source| format!("SELECT k, n FROM {source} WHERE k = ?1")),
            2 => table().prop_map(|table| format!("SELECT rowid AS k, n FROM {table} WHERE rowid = ?1")),
            1 => table().prop_map(|table| format!("SELECT 1 AS k, count(*) AS n FROM {table} WHERE oid = ?1")),
            3 => table().prop_map(|table| format!("SELECT 1 AS k, count(*) || total(k) AS n FROM {table} WHERE n = ?1")),
            1 => (table(), 0..6).prop_map(|(table, n)| format!("SELECT k, n FROM {table} WHERE n = {n} OR ?1 > 9")),
            1 => (table(), 0..6).prop_map(|(table, n)| format!("SELECT k, n FROM {table} WHERE n = {n} AND ?1 >= 0")),
            1 => table().prop_map(|table| format!("SELECT max(k) AS k, 1 AS n FROM {table} WHERE n = ?1 AND k > 1")),
            1 => table().prop_map(|table| format!("SELECT 1 AS k, count(*) AS n FROM {table} WHERE n >= ?1")),
        ]
    };
    let two = || (simple(), simple());
    prop_oneof![
        4 => simple(),
        1 => two().prop_map(|(x, y)| format!("SELECT a.k, b.n FROM ({x}) AS a LEFT JOIN ({y}) AS b")),
        1 => two().prop_map(|(x, y)| format!("{x} UNION ALL {y}")),
        1 => (simple(), query()).prop_map(|(x, z)| {
            format!("SELECT a.k, b.n FROM ({x}) AS a LEFT JOIN ({z}) AS b ON b.k = a.n")
        }),
    ]
}

/// A change of single rows, with ?1 and ?2 bound: the same text again and again, so that its program gets known.
fn row_write() -> impl Strategy<Value = String> {
    (table(), 0..10).prop_map(|(table, what)| match what {
        0 => format!("INSERT OR IGNORE INTO {table} (k, n) VALUES (?1, ?2)"),
        1 => format!("REPLACE INTO {table} (k, n) VALUES (?1, ?2)"),
        2 => format!("UPDATE OR IGNORE {table} SET n = ?2 WHERE k = ?1"),
        3 => format!("UPDATE OR REPLACE {table} SET k = ?2 WHERE k = ?1"),
        4 => format!("UPDATE OR FAIL {table} SET k = k + 1 WHERE k BETWEEN ?1 AND ?2"),
        5 => format!("DELETE FROM {table} WHERE k = ?1 OR n = ?2"),
        6 => format!("DELETE FROM {table} WHERE ?1 < 9 OR ?2"),
        7 => format!("INSERT INTO {table} (k, n) VALUES (?1, ?2), (?2, ?1) ON CONFLICT DO UPDATE SET n = n + excluded.n"),
        8 => format!("INSERT INTO {table} (k, n) VALUES (?1, ?2) ON CONFLICT (k) DO UPDATE SET k = ?2"),
        _ => format!("UPDATE OR IGNORE {table} SET n = x.n + 1 FROM t2 AS x WHERE {table}.k = x.k AND x.k IN (?1, ?2) RETURNING 1"),
    })
}

fn write() -> impl Strategy<Value = String> {
    (table(), table(), 0..6, 0..6, 0..8).prop_map(|(table, other, k, n, what)| match what {
        0 | 1 => format!("INSERT OR IGNORE INTO {table} (k, n) VALUES ({k}, {n})"),
        2 => format!("UPDATE OR IGNORE {table} SET n = {n} WHERE k = {k}"),
        3 => format!("UPDATE OR REPLACE {table} SET k = {n} WHERE k = {k}"),
        4 => format!("DELETE FROM {table} WHERE n = {n}"),
        5 => format!("REPLACE INTO {table} (k, n) VALUES ({k}, {n})"),
        6 => format!("INSERT OR IGNORE INTO {table} (k, n) SELECT k + 1, n FROM {other} ORDER BY k, n LIMIT 3"),
        _ => format!("DELETE FROM {table}"),
    })
}

fn definition() -> impl Strategy<Value = String> {
    prop_oneof![
        view("v0"),
        view("v1"),
        trigger(),
        index(),
        table().prop_map(|table| format!("DROP INDEX IF EXISTS i0_{table}")),
        table().prop_map(|table| format!("ALTER TABLE {table} ADD COLUMN more DEFAULT 1")),
        columns().prop_map(|columns| format!("DROP TABLE t3; CREATE TABLE t3 {columns}")),
        Just("ALTER TABLE t0 RENAME TO moved; ALTER TABLE t1 RENAME TO t0; ALTER TABLE moved RENAME TO t1".to_owned()),
    ]
}

/// One change, and how it comes about.
#[derive(Debug, Clone)]
enum Change {
    Write(String),
    /// The same text, with these values one after the other.
    Rows(String, Vec<(i64, i64)>),
    /// By a connection held by hand, statement by statement, in a transaction that is committed or not.
    ByHand(Vec<String>, bool),
    Definition(String),
    /// By a connection that nobody follows.
    Stranger(String),
    Vacuum,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => write().prop_map(Change::Write),
        6 => (row_write(), vec((0..6_i64, 0..6_i64), 3..8)).prop_map(|(sql, values)| Change::Rows(sql, values)),
        2 => (vec(write(), 1..4), any::<bool>()).prop_map(|(all, commits)| Change::ByHand(all, commits)),
        2 => definition().prop_map(Change::Definition),
        2 => prop_oneof![write(), definition()].prop_map(Change::Stranger),
        1 => Just(Change::Vacuum),
    ]
}

fn text_of(conn: &rusqlite::Connection, sql: &str, key: Option<i64>) -> Result<String> {
    let mut statement = conn.prepare(sql)?;
    let mut rows = statement.query(rusqlite::params_from_iter(key))?;
    let mut lines = Vec::new();
    while let Some(row) = rows.next()? {
        lines.push(format!("{:?} {:?}", row.get_ref(0)?, row.get_ref(1)?));
    }
    lines.sort_unstable();
    Ok(lines.join("\n"))
}

/// What a query gives, or which error.
fn cached(db: &DatabaseManager, sql: &str) -> String {
    let text = sql.to_owned();
    let found = db.blocking().execute_cached(sql, None, move |conn: &Connection| text_of(conn, &text, None));
    found.map_or_else(|error| error.to_string(), |text| (*text).clone())
}

/// What a query of one row gives, or which error.
fn cached_row(db: &DatabaseManager, sql: &str, key: i64) -> String {
    let line = |row: &rusqlite::Row<'_>| Ok(format!("{:?} {:?}", row.get_ref(0)?, row.get_ref(1)?));
    match db.blocking().query_cached(sql, params![key], line) {
        Ok(lines) => {
            let mut lines = (*lines).clone();
            lines.sort_unstable();
            lines.join("\n")
        }
        Err(error) => error.to_string(),
    }
}

fn apply(test: &TestDb, stranger: &rusqlite::Connection, change: &Change, strict: bool) {
    // What breaks a constraint, or a view that lost its table, fails and changes nothing.
    match change {
        Change::Write(sql) | Change::Definition(sql) => {
            let _ = test.db.blocking().transaction(|tx| Ok(tx.execute_batch(sql)?));
        }
        Change::Rows(sql, values) => {
            for (k, n) in values {
                let _ = test.db.blocking().transaction(|tx| {
                    let mut statement = tx.prepare(sql)?;
                    let mut rows = statement.query([k, n])?;
                    while rows.next()?.is_some() {}
                    Ok(())
                });
            }
        }
        Change::ByHand(all, commits) => {
            let held = test.db.blocking().acquire().unwrap();
            held.execute_batch("BEGIN").unwrap();
            for sql in all {
                let _ = held.execute(sql, []);
            }
            held.execute_batch(if *commits { "COMMIT" } else { "ROLLBACK" }).unwrap();
        }
        Change::Stranger(sql) if strict => {
            let _ = stranger.execute_batch(&format!("BEGIN IMMEDIATE; {sql}; COMMIT"));
            if !stranger.is_autocommit() {
                stranger.execute_batch("ROLLBACK").unwrap();
            }
        }
        Change::Stranger(_) => {}
        Change::Vacuum => {
            test.db.blocking().execute_with_pool(|conn| Ok(conn.execute_batch("VACUUM")?)).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_cached_is_what_the_query_gives_anew(
        tables in vec(columns(), 3),
        definitions in (view("v0"), view("v1"), vec(trigger(), 0..3), vec(index(), 0..4)),
        queries in vec(query(), 1..6),
        row_queries in vec((row_query(), 0..6_i64), 1..6),
        changes in vec(change(), 1..12),
        external_writers in select(ExternalWriters::ALL),
    ) {
        let test = TestDb::new(PoolConfig::builder().max_connections(2).external_writers(external_writers));
        let stranger = test.foreign();
        let strict = external_writers == ExternalWriters::Strict;
        let [t0, t1, t3] = tables[..] else { unreachable!() };
        let schema = format!(
            "CREATE TABLE t2 (k INTEGER PRIMARY KEY, n); CREATE TABLE t0 {t0}; CREATE TABLE t1 {t1}; CREATE TABLE t3 {t3};
             {}; {}; INSERT INTO t2 (k, n) VALUES (0, 1), (1, 2), (2, 3); INSERT INTO t1 (k, n) VALUES (0, 1), (2, 2)",
            definitions.0, definitions.1
        );
        test.db.blocking().transaction(|tx| Ok(tx.execute_batch(&schema)?)).unwrap();
        for definition in definitions.2.iter().chain(&definitions.3) {
            apply(&test, &stranger, &Change::Definition(definition.clone()), strict);
        }
        for change in &changes {
            for sql in &queries {
                cached(&test.db, sql);
            }
            for (sql, key) in &row_queries {
                cached_row(&test.db, sql, *key);
            }
            apply(&test, &stranger, change, strict);
            for sql in &queries {
                let anew = test.db.blocking().read(|conn| text_of(conn, sql, None));
                let anew = anew.unwrap_or_else(|error| error.to_string());
                prop_assert_eq!(cached(&test.db, sql), anew, "{} after {:?}", sql, change);
            }
            for (sql, key) in &row_queries {
                let anew = test.db.blocking().read(|conn| text_of(conn, sql, Some(*key)));
                let anew = anew.unwrap_or_else(|error| error.to_string());
                prop_assert_eq!(cached_row(&test.db, sql, *key), anew, "{} of {} after {:?}", sql, key, change);
            }
        }
    }
}

/// `PROPTEST_CASES`, or few enough for every run of the tests.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").map_or(64, |text| text.parse().unwrap())
}
