//! Warm start: what was hot is listed, kept, and there again after a restart.

use std::time::Duration;

use pool_manager::rusqlite::{self, Row, named_params, params};
use pool_manager::{DatabaseManager, HotQuery};

use crate::support::TestDb;

const BY_ID: &str = "SELECT value FROM t WHERE id = ?1";

fn value(row: &Row<'_>) -> rusqlite::Result<i64> {
    row.get(0)
}

fn stats(db: &DatabaseManager) -> (u64, u64) {
    let stats = db.pool_stats().unwrap();
    (stats.cache_hits, stats.cache_misses)
}

#[test]
fn the_hottest_queries_come_first_and_with_what_they_were_asked() {
    let test = TestDb::with_defaults();
    test.fill(10);
    let blocking = test.db.blocking();
    for id in 1..=5_i64 {
        for _ in 0..=id {
            blocking.query_cached(BY_ID, params![id], value).unwrap();
        }
    }
    let sql = "SELECT count(*) FROM t WHERE ?1 IS NULL AND ?2 < 0.3 AND ?3 <> x'00' AND ?4 = 'text'";
    blocking.query_cached(sql, params![None::<i64>, 0.1 + 0.2, vec![7_u8, 0], "text"], value).unwrap();
    blocking.execute_cached("a key", None, |_| Ok(1)).unwrap();
    let hot = test.db.hot_queries(100);
    let hits: Vec<_> = hot.iter().map(|query| query.hits).collect();
    assert_eq!(hits, [5, 4, 3, 2, 1, 0]);
    assert_eq!((hot[0].sql.as_str(), hot[0].parameters.as_slice()), (BY_ID, &[5_i64.into()][..]));
    assert_eq!(
        hot[5].parameters,
        [().into_value(), 0.1_f64.into_value(), vec![7_u8, 0].into(), "text".to_owned().into()]
    );
    assert_eq!(test.db.hot_queries(2), hot[..2]);
    let json = serde_json::to_string(&hot).unwrap();
    assert_eq!(serde_json::from_str::<Vec<HotQuery>>(&json).unwrap(), hot, "{json}");
}

/// The values of the test above that have no short way.
trait IntoValue {
    fn into_value(self) -> rusqlite::types::Value;
}

impl IntoValue for () {
    fn into_value(self) -> rusqlite::types::Value {
        rusqlite::types::Value::Null
    }
}

impl IntoValue for f64 {
    fn into_value(self) -> rusqlite::types::Value {
        rusqlite::types::Value::Real(self + 0.2)
    }
}

#[test]
fn a_restarted_program_hits_at_once_what_was_hot() {
    let test = TestDb::with_defaults();
    test.fill(10);
    for id in 1..=5_i64 {
        test.db.blocking().query_cached(BY_ID, params![id], value).unwrap();
    }
    let hot = test.db.hot_queries(100);
    test.db.blocking().close_pool().unwrap();
    let db = DatabaseManager::open(test.path()).unwrap();
    let warmed = db.blocking().warm(&hot, Duration::from_secs(3600), value).unwrap();
    assert_eq!((warmed.ran, warmed.failed, warmed.left), (5, 0, 0));
    assert_eq!(stats(&db), (0, 5));
    // Once more: they are there.
    db.blocking().warm(&hot, Duration::from_secs(3600), value).unwrap();
    assert_eq!(stats(&db), (5, 5));
    db.blocking().write(|tx| Ok(tx.execute("UPDATE t SET value = 7 WHERE id = 3", [])?)).unwrap();
    assert_eq!(*db.blocking().query_cached(BY_ID, params![3_i64], value).unwrap(), [7]);
}

#[test]
fn a_hot_query_keeps_the_names_of_its_parameters() {
    let test = TestDb::with_defaults();
    test.fill(3);
    let sql = "SELECT id FROM t WHERE id >= :from AND id <= :to";
    let ask = |db: &DatabaseManager| {
        (*db.blocking().query_cached(sql, named_params! { ":to": 3, ":from": 2 }, value).unwrap()).clone()
    };
    assert_eq!(ask(&test.db), [2, 3]);
    let hot = test.db.hot_queries(1);
    assert_eq!(hot[0].names, [":to", ":from"]);
    let hot: Vec<HotQuery> = serde_json::from_str(&serde_json::to_string(&hot).unwrap()).unwrap();
    test.db.blocking().close_pool().unwrap();
    let db = DatabaseManager::open(test.path()).unwrap();
    assert_eq!(db.blocking().warm(&hot, Duration::from_secs(3600), value).unwrap().ran, 1);
    assert_eq!((ask(&db), stats(&db)), (vec![2, 3], (1, 1)));
    // A list of an older program knows no names.
    let old = r#"{"sql": "SELECT 1", "parameters": [], "hits": 7}"#;
    assert_eq!(serde_json::from_str::<HotQuery>(old).unwrap().names, [""; 0]);
}

#[tokio::test]
async fn warming_ends_with_its_time_and_goes_on_after_a_query_that_fails() {
    let test = TestDb::with_defaults();
    test.fill(3);
    let list = [
        HotQuery::new("SELECT value FROM missing", []),
        HotQuery::new(BY_ID, [1.into()]),
        HotQuery::new("SELECT name FROM pragma_table_info('t')", []),
    ];
    let warmed = test.db.warm(&list, Duration::from_secs(3600), value).await.unwrap();
    assert_eq!((warmed.ran, warmed.failed, warmed.left), (1, 2, 0));
    let warmed = test.db.warm(&list, Duration::ZERO, value).await.unwrap();
    assert_eq!((warmed.ran, warmed.failed, warmed.left), (0, 0, 3));
    test.db.close_pool().await.unwrap();
    test.db.warm(&list, Duration::from_secs(1), value).await.expect_err("it is closed");
}
