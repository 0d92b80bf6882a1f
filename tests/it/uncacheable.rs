//! Queries whose results can't be kept, asked for again and again: they run each time, each is counted, and what becomes cacheable is kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pool_manager::{CacheOptions, Connection, Error, Result};

use crate::support::TestDb;

const TIMES: u64 = 12;

#[tokio::test]
async fn what_can_never_be_kept_runs_each_time_and_counts_by_its_reason() {
    let test = TestDb::with_defaults();
    test.fill(1);
    let db = &test.db;
    let runs = Arc::new(AtomicU64::new(0));
    for sql in ["SELECT random()", "PRAGMA cache_size", "SELECT count(*) FROM pragma_table_info('t')"] {
        for time in 0..TIMES {
            let counts = Arc::clone(&runs);
            let query = move |conn: &Connection| -> Result<i64> {
                counts.fetch_add(1, Ordering::Relaxed);
                Ok(conn.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
            };
            if time % 2 == 0 {
                db.execute_cached(sql, None, query).await.unwrap();
            } else {
                db.blocking().query_cached(sql, [], |row| row.get::<_, i64>(0)).unwrap();
            }
        }
    }
    let stats = db.pool_stats().unwrap();
    assert_eq!(runs.load(Ordering::Relaxed), 3 * TIMES / 2);
    assert_eq!((stats.cache_hits, stats.cache_misses, stats.cache_uncacheable), (0, 3 * TIMES, 3 * TIMES));
    assert_eq!((stats.cache_uncacheable_by.functions, stats.cache_uncacheable_by.unknown), (TIMES, 2 * TIMES));
}

#[test]
fn what_becomes_cacheable_is_kept_from_its_second_run_on() {
    let test = TestDb::with_defaults();
    test.fill(1);
    let db = &test.db;
    let by_chance = Arc::new(AtomicBool::new(true));
    let ask = || {
        let by_chance = Arc::clone(&by_chance);
        let query = move |conn: &Connection| -> Result<i64> {
            if by_chance.load(Ordering::Relaxed) {
                conn.prepare_cached("SELECT random()")?.query_row([], |_| Ok(()))?;
            }
            Ok(conn.query_row("SELECT sum(value) FROM t", [], |row| row.get(0))?)
        };
        let hits = db.pool_stats().unwrap().cache_hits;
        let value = *db.blocking().execute_cached("sum", None, query).unwrap();
        (value, db.pool_stats().unwrap().cache_hits > hits)
    };
    let write =
        |value: i64| db.blocking().write(move |tx| Ok(tx.execute("UPDATE t SET value = ?1", [value])?)).unwrap();
    write(5);
    for _ in 0..TIMES {
        assert_eq!(ask(), (5, false));
    }
    by_chance.store(false, Ordering::Relaxed);
    assert_eq!([ask(), ask(), ask()], [(5, false), (5, false), (5, true)]);
    write(6);
    assert_eq!([ask(), ask()], [(6, false), (6, true)]);
    by_chance.store(true, Ordering::Relaxed);
    write(7);
    for _ in 0..TIMES {
        assert_eq!(ask(), (7, false));
    }
    assert_eq!(db.pool_stats().unwrap().cache_uncacheable_by.functions, 2 * TIMES);
}

#[test]
fn who_wants_a_volatile_result_kept_or_a_fresh_one_is_not_passed_by() {
    let test = TestDb::with_defaults();
    let db = &test.db;
    let ask = |options: CacheOptions| {
        let query = |conn: &Connection| -> Result<i64> { Ok(conn.query_row("SELECT random()", [], |row| row.get(0))?) };
        *db.blocking().execute_cached_with("dice", options, query).unwrap()
    };
    for _ in 0..TIMES {
        ask(CacheOptions::new());
    }
    let kept = ask(CacheOptions::new().volatile_ok(true));
    assert_eq!(ask(CacheOptions::new().volatile_ok(true)), kept);
    assert_ne!(ask(CacheOptions::new().volatile_ok(true).refresh(true)), kept);
}

#[test]
fn what_fails_past_the_cache_says_why_and_is_asked_again() {
    let test = TestDb::with_defaults();
    let db = &test.db;
    let ask = |fails: bool| {
        let query = move |conn: &Connection| -> Result<i64> {
            if fails {
                Err(Error::application("as it was told"))
            } else {
                Ok(conn.query_row("SELECT random()", [], |row| row.get(0))?)
            }
        };
        db.blocking().execute_cached("dice", None, query)
    };
    for _ in 0..TIMES {
        ask(false).unwrap();
    }
    assert!(ask(true).unwrap_err().to_string().contains("as it was told"));
    ask(false).unwrap();
    let stats = db.pool_stats().unwrap();
    assert_eq!((stats.cache_misses, stats.cache_uncacheable_by.functions), (TIMES + 2, TIMES + 1));
}
