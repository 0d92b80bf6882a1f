//! What a database knows of its statements.

use pool_manager::rusqlite::config::DbConfig;
use pool_manager::{Connection, DatabaseManager, PoolConfig, StatementReport};

use crate::support::TestDb;

fn found(list: &[StatementReport], sql: &str) -> StatementReport {
    list.iter().find(|statement| &*statement.sql == sql).unwrap_or_else(|| panic!("{sql:?} in {list:?}")).clone()
}

fn run(db: &DatabaseManager, sql: &str, times: usize) {
    for _ in 0..times {
        db.blocking().read(|conn| Ok(conn.prepare_cached(sql)?.query_row([], |_| Ok(()))?)).unwrap();
    }
}

const POINT: &str = "SELECT value FROM t WHERE id = 7";
const SCAN: &str = "SELECT count(*) FROM t WHERE value = 1";
const SLOW: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 50000) SELECT count(*) FROM n";

#[test]
fn statements_are_listed_with_what_happened_to_them() {
    let test = TestDb::new(PoolConfig::builder().max_connections(1));
    test.fill(100);
    run(&test.db, POINT, 10);
    run(&test.db, SCAN, 3);
    assert!(test.db.statements().len() >= 2);
    // A connection tells all it has counted when it is given back after a listing.
    run(&test.db, "SELECT 1", 1);
    let list = test.db.statements();
    let point = found(&list, POINT);
    assert_eq!((point.prepares, point.misses, point.hits, point.runs), (1, 1, 9, 10));
    assert!(point.facts.read_only && point.memory > 0 && point.steps > 10);
    assert_eq!(point.fullscan_steps, 0);
    let scanning = test.db.scanning_statements();
    assert_eq!(&*scanning[0].sql, SCAN);
    assert!(scanning[0].fullscan_steps >= 3 * 99, "{}", scanning[0].fullscan_steps);
    assert!(scanning.iter().all(|statement| &*statement.sql != POINT));
}

#[test]
fn statements_that_take_long_are_listed_slowest_first_and_at_most_ten() {
    let test = TestDb::new(PoolConfig::builder().max_connections(1));
    assert!(test.db.slowest_statements().is_empty());
    for number in 0..12 {
        run(&test.db, &format!("{SLOW} WHERE i > {number}"), 2);
    }
    run(&test.db, &SLOW.replace("50000", "500000"), 1);
    let slowest = test.db.slowest_statements();
    let longest = slowest.iter().find(|statement| statement.sql.contains("500000")).expect("ten others are not longer");
    assert!(!longest.time.is_zero() && longest.longest <= longest.time);
    assert!((2..=10).contains(&slowest.len()), "{}", slowest.len());
    assert!(slowest.is_sorted_by_key(|statement| std::cmp::Reverse(statement.mean_time())));
}

#[test]
fn a_statement_keeps_its_last_error() {
    let test = TestDb::new(PoolConfig::builder());
    test.fill(1);
    let sql = "INSERT INTO t VALUES (1, 1)";
    test.db.blocking().write(|tx| Ok(tx.prepare_cached(sql)?.execute([])?)).unwrap_err();
    let failure = found(&test.db.statements(), sql).last_error.expect("it failed");
    assert!(failure.message.contains("UNIQUE"), "{failure:?}");
}

/// How often SQLite prepared a statement again while it ran with many values.
fn reprepared(db: &DatabaseManager, sql: &str) -> u64 {
    for number in 1..=40 {
        let run = |conn: &Connection| {
            let mut statement = conn.prepare_cached(sql)?;
            let mut rows = statement.query([number])?;
            while rows.next()?.is_some() {}
            Ok(())
        };
        db.blocking().read(run).unwrap();
    }
    let _ = db.statements();
    run(db, "SELECT 1", 1);
    let report = found(&db.statements(), sql);
    assert_eq!((report.prepares, report.runs), (1, 40), "{report:?}");
    report.reprepares
}

#[test]
fn with_stable_plans_a_statement_stays_prepared_whatever_its_values_are() {
    const LIMITED: &str = "SELECT id FROM t WHERE value = 0 LIMIT ?1";
    const ALIKE: &str = "SELECT id FROM words WHERE word LIKE ?1";
    let words =
        "CREATE TABLE words (id INTEGER PRIMARY KEY, word TEXT COLLATE nocase); CREATE INDEX by_word ON words (word)";
    let test = TestDb::new(PoolConfig::builder().max_connections(1).stable_query_plans(true));
    test.fill(50);
    test.db.blocking().write(|tx| Ok(tx.execute_batch(words)?)).unwrap();
    assert_eq!([LIMITED, ALIKE].map(|sql| reprepared(&test.db, sql)), [0, 0]);

    let test = TestDb::new(PoolConfig::builder().max_connections(1));
    test.fill(50);
    test.db.blocking().write(|tx| Ok(tx.execute_batch(words)?)).unwrap();
    let times = [LIMITED, ALIKE].map(|sql| reprepared(&test.db, sql));
    assert!(times.into_iter().all(|times| times >= 10), "{times:?}");
}

#[test]
fn stable_plans_hold_for_connections_that_are_opened_from_then_on() {
    let test = TestDb::new(PoolConfig::builder().max_connections(1));
    let stable = || {
        let flag = DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG;
        test.db.blocking().read(move |conn| Ok(conn.db_config(flag)?)).unwrap()
    };
    for wanted in [false, true, false] {
        let config = PoolConfig::builder().layer(&*test.db.config()).stable_query_plans(wanted);
        test.db.reconfigure(config).unwrap();
        assert_eq!(stable(), wanted);
    }
}
