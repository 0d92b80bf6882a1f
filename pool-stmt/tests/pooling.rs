//! Statements are kept, found, given up and warmed as promised, on real databases.
#![allow(clippy::unwrap_used, reason = "a test ends where something unexpected fails")]

mod common;

use common::{first, in_memory, open};
use pool_stmt::rusqlite::StatementConnection;
use pool_stmt::{StatementRegistry, statement};
use rusqlite::Connection;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn the_second_use_of_a_text_is_a_hit_whatever_white_space_surrounds_it() {
    let (connection, registry) = in_memory(4);
    assert_eq!(first(&connection, "SELECT count(*) FROM t"), 3);
    assert_eq!(first(&connection, "\n SELECT count(*) FROM t  "), 3);
    let by_key = connection.prepare_keyed(&statement!("SELECT count(*) FROM t")).unwrap();
    drop(by_key);
    let stats = registry.stats();
    assert_eq!((stats.prepares, stats.misses, stats.hits), (1, 1, 2));
}

#[test]
fn bindings_do_not_reach_the_next_user() {
    let (connection, _) = in_memory(4);
    let sql = "SELECT ?1 IS NULL";
    let mut statement = connection.prepare_cached(sql).unwrap();
    statement.raw_bind_parameter(1, "secret").unwrap();
    drop(statement);
    let mut statement = connection.prepare_cached(sql).unwrap();
    let is_null: bool = statement.raw_query().next().unwrap().unwrap().get(0).unwrap();
    assert!(is_null);
}

#[test]
fn a_statement_abandoned_half_way_is_reset() {
    let (connection, registry) = in_memory(4);
    let sql = "SELECT b FROM t ORDER BY a";
    {
        let mut statement = connection.prepare_cached(sql).unwrap();
        let mut rows = statement.query([]).unwrap();
        rows.next().unwrap().unwrap();
        // Leaked, the rows cannot reset their statement.
        std::mem::forget(rows);
    }
    assert!(!connection.is_busy(), "it still runs");
    let b: String = connection.prepare_cached(sql).unwrap().query_row([], |row| row.get(0)).unwrap();
    assert_eq!(b, "x");
    assert_eq!(registry.stats().hits, 1);
}

#[test]
fn one_text_can_be_in_use_twice_at_once() {
    let (connection, registry) = in_memory(4);
    let sql = "SELECT a FROM t ORDER BY a";
    let mut outer = connection.prepare_cached(sql).unwrap();
    let mut inner = connection.prepare_cached(sql).unwrap();
    let mut sum = 0;
    let mut rows = outer.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let mut others = inner.query([]).unwrap();
        while let Some(other) = others.next().unwrap() {
            sum += row.get::<_, i64>(0).unwrap() * other.get::<_, i64>(0).unwrap();
        }
    }
    assert_eq!(sum, 36);
    drop(rows);
    drop((outer, inner));
    assert_eq!(connection.idle_statements(), 2);
    assert_eq!(registry.stats().prepares, 2);
}

#[test]
fn capacity_zero_prepares_each_time_and_still_knows_the_facts() {
    let (connection, registry) = in_memory(0);
    for _ in 0..3 {
        assert_eq!(first(&connection, "SELECT count(*) FROM t"), 3);
    }
    assert_eq!(connection.idle_statements(), 0);
    let stats = registry.stats();
    assert_eq!((stats.prepares, stats.hits, stats.evictions), (3, 0, 0));
    assert!(registry.facts("SELECT count(*) FROM t").unwrap().read_only);
}

#[test]
fn shrinking_and_clearing_finalize_idle_statements() {
    let (connection, registry) = in_memory(8);
    for n in 0..6 {
        first(&connection, &format!("SELECT {n}"));
    }
    connection.set_capacity(2);
    assert_eq!(connection.idle_statements(), 2);
    assert_eq!(registry.stats().evictions, 4);
    connection.clear_statements();
    assert_eq!(connection.idle_statements(), 0);
}

#[test]
fn a_failed_statement_can_be_used_again() {
    let (connection, _) = in_memory(4);
    let sql = "INSERT INTO t(b) VALUES (?1)";
    assert!(connection.prepare_cached(sql).unwrap().execute(["x"]).is_err(), "b is unique");
    assert_eq!(connection.prepare_cached(sql).unwrap().execute(["new"]).unwrap(), 1);
}

#[test]
fn a_statement_that_failed_badly_is_not_kept() {
    let (connection, registry) = in_memory(4);
    let fail = connection.prepare_cached("SELECT abs(-9223372036854775808)").unwrap().query_row([], |_| Ok(()));
    assert!(fail.is_err());
    assert_eq!(connection.idle_statements(), 0);
    assert_eq!(registry.stats().discards, 1);
}

#[test]
fn preparing_nonsense_fails_and_leaves_no_trace() {
    let (connection, registry) = in_memory(4);
    assert!(connection.prepare_cached("SELEKT 1").is_err());
    assert!(connection.prepare_cached("SELECT 1; SELECT 2").is_err());
    assert!(registry.facts("SELEKT 1").is_none());
    assert_eq!((connection.idle_statements(), connection.lent_statements()), (0, 0));
    assert_eq!(first(&connection, "SELECT 5"), 5);
}

#[test]
fn a_text_without_a_statement_is_refused_and_does_no_harm() {
    let (connection, registry) = in_memory(4);
    for text in ["", "  ", "-- nothing", ";"] {
        assert_eq!(connection.prepare_cached(text).err(), Some(rusqlite::Error::Empty));
        assert!(registry.facts(text).is_none());
        assert_eq!((connection.idle_statements(), connection.lent_statements()), (0, 0));
    }
    assert_eq!(first(&connection, "SELECT 5"), 5);
}

#[test]
fn statements_that_sqlite_prepares_again_for_each_binding_are_kept() {
    let (connection, registry) = in_memory(4);
    for n in 0..10 {
        let pattern = format!("{n}%");
        let mut statement = connection.prepare_cached("SELECT count(*) FROM t WHERE b LIKE ?1").unwrap();
        statement.query_row([pattern], |row| row.get::<_, i64>(0)).unwrap();
    }
    assert_eq!(registry.stats().outdated, 0);
    assert_eq!(registry.stats().hits, 9);
}

#[test]
fn a_join_with_parameters_is_prepared_once_for_many_uses_and_leaves_no_values() {
    let (connection, registry) = in_memory(4);
    // SQLite guesses how many rows have such a value, and for that looks at the value.
    let sql = "SELECT ?1, count(*) FROM t AS one, t AS other WHERE one.b = ?1 AND other.b = ?2";
    for n in 10..200 {
        let mut statement = connection.prepare_cached(sql).unwrap();
        assert_eq!(statement.query_row((n, n), |row| row.get::<_, i64>(0)).unwrap(), n);
    }
    let mut statement = connection.prepare_cached(sql).unwrap();
    let mut rows = statement.raw_query();
    assert_eq!(rows.next().unwrap().unwrap().get::<_, Option<i64>>(0).unwrap(), None, "values of the user before");
    drop(rows);
    drop(statement);
    connection.tell_counts();
    let reprepared = registry.stats().reprepares;
    assert!(reprepared < 40, "prepared {reprepared} times for 190 uses");
}

#[test]
fn what_found_nothing_to_change_in_the_schema_is_judged_anew() {
    let (connection, _) = in_memory(4);
    let create = "CREATE TRIGGER IF NOT EXISTS tr AFTER INSERT ON t BEGIN SELECT 1; END";
    let changes = || connection.prepare_cached(create).unwrap().facts().accesses.changes_schema;
    assert!(changes());
    connection.prepare_cached(create).unwrap().execute(()).unwrap();
    assert!(!changes());
    connection.execute_batch("DROP TRIGGER tr").unwrap();
    assert!(changes());
}

#[test]
fn a_new_connection_is_warmed_with_the_hottest_statements() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Arc::new(StatementRegistry::default());
    let path = folder.path().join("db");
    let old = open(&path, &registry);
    old.execute_batch("CREATE TABLE t(a)").unwrap();
    for n in 0..8 {
        for _ in 0..(n + 1) * 40 {
            first(&old, &format!("SELECT {n} FROM (SELECT count(*) FROM t)"));
        }
    }
    let new = open(&path, &registry);
    assert_eq!(new.warm(3, Duration::ZERO), 0);
    assert_eq!(new.warm(3, Duration::MAX), 3);
    let before = registry.stats();
    for n in 5..8 {
        first(&new, &format!("SELECT {n} FROM (SELECT count(*) FROM t)"));
    }
    let after = registry.stats();
    assert_eq!((after.hits - before.hits, after.misses - before.misses), (3, 0));
    assert_eq!(after.connections, 2);
}

#[test]
fn hooks_set_through_mutable_access_stay_and_the_facts_go_on() {
    let (mut connection, _) = in_memory(4);
    first(&connection, "SELECT 1");
    let traced = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = Arc::clone(&traced);
    connection
        .connection_mut()
        .trace_v2(
            rusqlite::trace::TraceEventCodes::SQLITE_TRACE_STMT,
            Some(move |event: rusqlite::trace::TraceEvent<'_>| {
                if let rusqlite::trace::TraceEvent::Stmt(statement, _) = event {
                    log.lock().unwrap().push(statement.sql().into_owned());
                }
            }),
        )
        .unwrap();
    assert_eq!(connection.idle_statements(), 0);
    let sql = "SELECT count(*) FROM t; -- how many";
    first(&connection, sql);
    first(&connection, sql);
    let mut traced = traced.lock().unwrap().clone();
    traced.retain(|sql| sql != pool_stmt::rusqlite::PROBE);
    assert_eq!(traced, ["SELECT count(*) FROM t;", "SELECT count(*) FROM t;"]);
    let facts = connection.registry().facts(&traced[0]).expect("facts are found by the text which is traced");
    assert_eq!(facts.tables_read().map(ToString::to_string).collect::<Vec<_>>(), ["main.t"]);
}

#[test]
fn warming_never_prepares_what_acts_when_it_is_prepared() {
    let (connection, registry) = in_memory(4);
    let off = "PRAGMA foreign_keys = OFF";
    for _ in 0..100 {
        connection.prepare_cached(off).unwrap().execute([]).unwrap();
    }
    assert!(registry.facts(off).unwrap().accesses.changes_schema);
    let other = StatementConnection::new(Connection::open_in_memory().unwrap(), Arc::clone(&registry), 4);
    other.warm(4, Duration::MAX);
    assert_eq!(first(&other, "PRAGMA foreign_keys"), 1);
}

#[test]
fn a_user_who_only_has_a_part_of_a_transaction_can_not_end_it() {
    let (connection, _registry) = in_memory(8);
    for ending in ["COMMIT", "ROLLBACK"] {
        // Prepared once while it was allowed, and kept.
        connection.execute_batch("BEGIN").unwrap();
        connection.prepare_cached(ending).unwrap().execute([]).unwrap();
    }
    connection.execute_batch("BEGIN").unwrap();
    connection.forbid_transactions(true);
    for sql in ["COMMIT", "END", "ROLLBACK", "BEGIN", "BEGIN IMMEDIATE", "-- so what\nCommit"] {
        let cached = connection.prepare_cached(sql).map(drop).expect_err(sql);
        assert_eq!(cached.sqlite_error_code(), Some(rusqlite::ErrorCode::AuthorizationForStatementDenied), "{sql}");
        connection.execute_batch(sql).expect_err(sql);
    }
    connection.execute_batch("SAVEPOINT a; ROLLBACK TO a; RELEASE a").unwrap();
    connection.prepare_cached("SAVEPOINT b").unwrap().execute([]).unwrap();
    assert!(!connection.is_autocommit());
    connection.forbid_transactions(false);
    connection.prepare_cached("COMMIT").unwrap().execute([]).unwrap();
    assert!(connection.is_autocommit());
}

#[test]
fn a_refused_end_of_a_transaction_harms_neither_the_kept_statement_nor_what_is_known_of_it() {
    let (connection, registry) = in_memory(8);
    let other = StatementConnection::new(Connection::open_in_memory().unwrap(), Arc::clone(&registry), 8);
    connection.execute_batch("BEGIN").unwrap();
    connection.prepare_cached("COMMIT").unwrap().execute([]).unwrap();
    let facts = Arc::clone(connection.prepare_cached("COMMIT").unwrap().facts());
    Connection::prepare_cached(&other, "COMMIT").unwrap();
    for connection in [&connection, &other] {
        connection.forbid_transactions(true);
        connection.take_accesses();
        // Kept by the one; the other one would recognise it.
        connection.prepare_cached("COMMIT").map(drop).unwrap_err();
        assert!(!connection.take_accesses().unknown);
        Connection::prepare_cached(connection, "COMMIT").map(drop).unwrap_err();
        connection.forbid_transactions(false);
    }
    let before = registry.stats();
    for connection in [&connection, &other] {
        assert!(Arc::ptr_eq(connection.prepare_cached("COMMIT").unwrap().facts(), &facts));
    }
    let after = registry.stats();
    assert_eq!((after.hits - before.hits, after.prepares - before.prepares), (1, 1));
    assert_eq!(after.outdated, 0);
}
