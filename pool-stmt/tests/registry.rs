//! What the registry knows of all statements, what it counts and what it warns of.
#![allow(clippy::unwrap_used, reason = "a test ends where something unexpected fails")]

mod common;

use common::{first, in_memory};
use pool_stmt::rusqlite::StatementConnection;
use pool_stmt::{StatementRegistry, statement};
use rusqlite::Connection;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn the_registry_stays_within_its_bound() {
    let registry = Arc::new(StatementRegistry::new(100));
    let connection = StatementConnection::new(Connection::open_in_memory().unwrap(), Arc::clone(&registry), 10);
    for n in 0..5_000 {
        first(&connection, "SELECT 'hot'='hot'");
        assert_eq!(first(&connection, &format!("SELECT {n}")), n);
        assert!(registry.stats().statements <= 100);
    }
    assert_eq!(&*registry.hottest(1)[0], "SELECT 'hot'='hot'");
    assert_eq!(connection.idle_statements(), 10);
    assert!(registry.stats().hits >= 4_999, "the hot statement was driven out: {:?}", registry.stats());
}

#[test]
fn counts_outlive_their_connections() {
    let (connection, registry) = in_memory(4);
    first(&connection, "SELECT 1");
    first(&connection, "SELECT 1");
    let plain = connection.into_connection();
    assert_eq!((registry.stats().hits, registry.stats().connections), (1, 0));
    plain.execute_batch("SELECT 1").unwrap();
    plain.close().unwrap();
}

#[test]
fn a_statement_in_use_is_known_however_many_others_come() {
    let (connection, registry) = in_memory(1_000);
    for n in 0..1_100 {
        first(&connection, &format!("SELECT {n}"));
    }
    // "SELECT 999" is prepared, but was forgotten: it was used once, like all of them.
    let forgotten = (0..1_100).map(|n| format!("SELECT {n}")).find(|sql| registry.facts(sql).is_none());
    let forgotten = forgotten.expect("the registry holds fewer");
    connection.prepare_cached(&forgotten).unwrap();
    let before = registry.stats().prepares;
    for _ in 0..64 {
        first(&connection, &forgotten);
    }
    assert!(registry.facts(&forgotten).is_some());
    assert!(registry.stats().statements <= StatementRegistry::DEFAULT_MAX_STATEMENTS);
    assert_eq!(registry.stats().prepares, before);
}

#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);
impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What is logged while a connection to a small registry is used.
fn warnings(using: impl FnOnce(&StatementConnection)) -> String {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
    tracing::subscriber::with_default(subscriber, || {
        let registry = Arc::new(StatementRegistry::new(100));
        using(&StatementConnection::new(Connection::open_in_memory().unwrap(), registry, 10));
    });
    let log = log.0.lock().unwrap().clone();
    String::from_utf8(log).unwrap()
}

#[test]
fn pasted_values_are_warned_of_once_and_named() {
    let log = warnings(|connection| {
        for n in 0..2_000 {
            first(connection, &format!("SELECT {n} WHERE 'x{n}' <> ''"));
        }
    });
    assert_eq!(log.matches("WARN").count(), 1, "{log}");
    assert!(log.contains("SELECT ? WHERE ? <> ?"), "{log}");
}

fn report(registry: &StatementRegistry, sql: &str) -> pool_stmt::StatementReport {
    registry.statements().into_iter().find(|report| &*report.sql == sql).expect("it is known")
}

#[test]
fn each_statement_is_counted_by_what_happened_to_it() {
    let (connection, registry) = in_memory(2);
    connection.execute_batch("INSERT INTO t(b) SELECT 'n' || value FROM json_each('[1,2,3,4,5,6,7]')").unwrap();
    let scan = "SELECT count(*) FROM t WHERE b LIKE '%1' AND a > ?1";
    let sort = "SELECT b FROM t WHERE a > 0 ORDER BY length(b)";
    connection.execute_batch("CREATE TABLE u(c); INSERT INTO u SELECT b FROM t").unwrap();
    let join = "SELECT count(*) FROM u AS x JOIN u AS y ON x.c = y.c";
    for _ in 0..100 {
        connection.prepare_cached(scan).unwrap().query_row([0], |_| Ok(())).unwrap();
    }
    connection.prepare_cached(sort).unwrap().query_map([], |_| Ok(())).unwrap().count();
    first(&connection, join);
    connection.prepare_cached("SELECT 1").unwrap().discard();
    connection.tell_counts();

    let scan = report(&registry, scan);
    assert_eq!((scan.prepares, scan.misses, scan.hits, scan.runs), (1, 1, 99, 100));
    assert_eq!((scan.evictions, scan.discards, scan.sorts), (0, 0, 0));
    // The primary key leads to the first row; from there on they are all stepped over.
    assert!(scan.steps > 100 * 10, "{scan:?}");
    assert!(scan.memory > 500 && scan.memory < 100_000, "{scan:?}");
    assert_eq!(scan.last_error, None);
    let sort = report(&registry, sort);
    assert_eq!((sort.runs, sort.sorts), (1, 1));
    assert_eq!(sort.evictions, 1, "the bound is two");
    assert!(report(&registry, join).auto_indexed_rows > 0, "{:?}", report(&registry, join));
    assert_eq!(report(&registry, "SELECT 1").discards, 1);
    let stats = registry.stats();
    assert_eq!((stats.runs, stats.sorts, stats.evictions), (102, 1, 1));
    assert_eq!(stats.steps, registry.statements().iter().map(|report| report.steps).sum());
}

#[test]
fn statements_that_scan_are_listed_by_how_much() {
    let (connection, registry) = in_memory(16);
    connection.execute_batch("INSERT INTO t(b) SELECT 'n' || value FROM json_each('[1,2,3,4,5,6,7]')").unwrap();
    let much = "SELECT count(*) FROM t, t AS u WHERE t.b || u.b = 'x'";
    let little = "SELECT count(*) FROM t WHERE b || '' = 'x'";
    let none = "SELECT count(*) FROM t WHERE a = ?1";
    for sql in [little, much] {
        first(&connection, sql);
    }
    connection.prepare_cached(none).unwrap().query_row([3], |_| Ok(())).unwrap();
    connection.tell_counts();
    let listed: Vec<String> = registry.scanning(10).iter().map(|report| report.sql.to_string()).collect();
    assert_eq!(listed, [much, little]);
    assert_eq!(registry.scanning(1).len(), 1);
    assert!(report(&registry, little).fullscan_steps >= 9);
    assert!(registry.slowest(10).is_empty(), "nobody told a time");
}

#[test]
fn times_told_from_outside_order_the_slowest() {
    let (connection, registry) = in_memory(16);
    for sql in ["SELECT 1", "SELECT 2", "SELECT 3;"] {
        for _ in 0..4 {
            first(&connection, sql);
        }
    }
    connection.tell_counts();
    let millis = Duration::from_millis;
    registry.spent("SELECT 1", millis(8));
    registry.spent("SELECT 3;", millis(30));
    registry.spent("SELECT 3;", millis(10));
    registry.spent("SELECT 2", Duration::ZERO);
    registry.spent("SELECT unknown", millis(9));
    let slowest = registry.slowest(10);
    let listed: Vec<_> =
        slowest.iter().map(|report| (&*report.sql, report.mean_time(), report.time, report.longest)).collect();
    let expected = [("SELECT 3;", millis(10), millis(40), millis(30)), ("SELECT 1", millis(2), millis(8), millis(8))];
    assert_eq!(listed, expected);
}

#[test]
fn a_listing_makes_connections_tell_what_they_counted_when_they_come_to_rest() {
    let (connection, registry) = in_memory(16);
    let sql = "SELECT count(*) FROM t";
    for _ in 0..31 {
        first(&connection, sql);
    }
    assert!(report(&registry, sql).runs < 31, "it is told in bundles");
    connection.rest();
    assert_eq!((report(&registry, sql).runs, report(&registry, sql).hits), (31, 30));
}

#[test]
fn the_last_error_of_a_statement_is_told() {
    let (connection, registry) = in_memory(16);
    let insert = "INSERT INTO t(b) VALUES (?1)";
    connection.prepare_cached(insert).unwrap().execute(["x"]).unwrap_err();
    let failure = report(&registry, insert).last_error.unwrap();
    assert_eq!(failure.code, rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE);
    assert!(failure.message.contains("t.b"), "{failure:?}");
    // Through rows, whose errors only their reader sees.
    let query = "SELECT abs(-9223372036854775807 - a) FROM t";
    let mut statement = connection.prepare_cached(query).unwrap();
    assert!(statement.query([]).unwrap().next().is_err());
    drop(statement);
    assert!(report(&registry, query).last_error.is_some());
    // An error of the reader is none of the statement.
    let fine = "SELECT a FROM t";
    let mapped: rusqlite::Result<()> =
        connection.prepare_cached(fine).unwrap().query_row([], |_| Err(rusqlite::Error::QueryReturnedNoRows));
    assert!(mapped.is_err());
    assert_eq!(report(&registry, fine).last_error, None);
    assert!(connection.prepare_cached(fine).unwrap().exists([]).unwrap());
    assert_eq!(report(&registry, fine).discards, 0);
}

#[test]
fn what_was_hot_long_ago_cools_down() {
    let (connection, registry) = in_memory(16);
    for _ in 0..100_000 {
        connection.prepare_keyed(&statement!("SELECT 'yesterday'")).unwrap();
    }
    for _ in 0..100_000 {
        connection.prepare_keyed(&statement!("SELECT 'today'")).unwrap();
    }
    assert_eq!(&*registry.hottest(1)[0], "SELECT 'today'", "about as often, but later: yesterday's count was halved");
    for _ in 0..300_000 {
        connection.prepare_keyed(&statement!("SELECT 'now'")).unwrap();
    }
    assert_eq!(&*registry.hottest(1)[0], "SELECT 'now'");
}

#[test]
fn a_text_of_pasted_megabytes_is_not_kept_in_the_registry() {
    let (connection, registry) = in_memory(4);
    let long = format!("SELECT 7 WHERE 'x' <> '{}'", "y".repeat(100_000));
    for _ in 0..100 {
        assert_eq!(first(&connection, &long), 7);
    }
    assert!(registry.facts(&long).is_none());
    assert_eq!(registry.stats().statements, 0);
    assert_eq!(registry.stats().hits, 99, "its connection keeps it all the same");
}

#[test]
fn each_pattern_of_pasted_values_is_warned_of_once() {
    let log = warnings(|connection| {
        for round in 0..4 {
            for n in 0..1_000 {
                let n = n + 1_000 * (round / 2);
                let sql = if round % 2 == 0 { format!("SELECT {n}") } else { format!("SELECT {n} AS other") };
                first(connection, &sql);
            }
        }
    });
    assert_eq!(log.matches("WARN").count(), 2, "{log}");
    assert!(log.contains("SELECT ? AS other"), "{log}");
}
