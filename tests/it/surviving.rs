//! Which cached results survive a write: what the tests of rows and of values have in common.
//!
//! Owns taking a way to write until it counts, and what a way to tell things apart is worth. Must not know what is told apart.

use pool_manager::faults::{self, Mutation};
use pool_manager::rusqlite::{self, params, types::Value};
use pool_manager::{Connection, DatabaseManager, PoolConfig};

use crate::support::{TestDb, another_process, role};

/// With one connection, what is found out about a statement is known to all who write.
pub(crate) fn database(schema: &'static str) -> TestDb {
    let test = TestDb::new(PoolConfig::builder().min_connections(1).max_connections(1));
    test.db.blocking().transaction(|tx| Ok(tx.execute_batch(schema)?)).unwrap();
    test
}

pub(crate) fn cached(db: &DatabaseManager, sql: &str, key: &Value) -> Vec<String> {
    let found = db.blocking().query_cached(sql, params![key], |row| Ok(format!("{:?}", row.get_ref(0)?)));
    (*found.unwrap()).clone()
}

pub(crate) fn fresh(db: &DatabaseManager, sql: &str, key: &Value) -> Vec<String> {
    let read = |conn: &Connection| {
        let mut statement = conn.prepare(sql)?;
        let found = statement.query_map([key], |row| Ok(format!("{:?}", row.get_ref(0)?)))?;
        Ok(found.collect::<rusqlite::Result<_>>()?)
    };
    db.blocking().read(read).unwrap()
}

pub(crate) fn hits(db: &DatabaseManager) -> u64 {
    db.pool_stats().unwrap().cache_hits
}

/// How often a way to write is taken before it counts.
pub(crate) const TIMES: i64 = 7;

/// Takes a way to write, and tells of each query whether its result survived the last time. It is compared with a fresh one in any case.
pub(crate) fn survive<K: Into<Value>, const N: usize>(
    db: &DatabaseManager,
    queries: [(&str, K); N],
    write: impl Fn(&DatabaseManager, i64),
) -> [bool; N] {
    let queries = queries.map(|(sql, key)| (sql, key.into()));
    // Somebody must want to know which rows are written, and what they have.
    queries.iter().for_each(|(sql, key)| _ = cached(db, sql, key));
    for time in 0..TIMES {
        write(db, time);
    }
    queries.iter().for_each(|(sql, key)| _ = cached(db, sql, key));
    for (sql, key) in &queries {
        let before = hits(db);
        cached(db, sql, key);
        assert_eq!(hits(db), before + 1, "{sql} is kept");
    }
    write(db, TIMES);
    queries.map(|(sql, key)| {
        let before = hits(db);
        let found = cached(db, sql, &key);
        let hit = hits(db) > before;
        assert_eq!(found, fresh(db, sql, &key), "{sql} of {key:?}");
        hit
    })
}

/// Has two processes of this test tell what share of reads the cache answers while one in so many operations writes, one of them with rows and
/// values told apart no finer than `coarsely`. `rate` measures that.
#[expect(clippy::print_stdout, reason = "one process tells the other, and the test whoever wants to know")]
pub(crate) fn finer_wins_hits(name: &str, coarsely: Mutation, rate: impl Fn(u64) -> f64) {
    const COARSELY: &str = "coarsely";
    if let Some((role, _)) = role() {
        if role == COARSELY {
            faults::mutate(coarsely);
        }
        for write_every in [1_000, 100, 10] {
            println!("rate {}", rate(write_every));
        }
        return;
    }
    let rates = |role: &str| -> Vec<f64> {
        let told = another_process(name, role, std::path::Path::new("")).wait_with_output().unwrap();
        let told = String::from_utf8(told.stdout).unwrap();
        told.lines().filter_map(|line| line.split_once("rate ")?.1.parse().ok()).collect()
    };
    let (finely, coarsely) = (rates("finely"), rates(COARSELY));
    println!("answered from the cache, writes 1 in 1000, 100, 10: finely {finely:.3?}, by table {coarsely:.3?}");
    assert_eq!((finely.len(), coarsely.len()), (3, 3));
    assert!(finely.iter().zip(&coarsely).all(|(finely, coarsely)| finely > coarsely), "{finely:?} {coarsely:?}");
}
