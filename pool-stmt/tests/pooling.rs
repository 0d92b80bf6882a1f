//! Statements are kept, found, given up and warmed as promised, on real databases.
#![allow(clippy::unwrap_used, reason = "a test ends where something unexpected fails")]

use pool_stmt::rusqlite::StatementConnection;
use pool_stmt::{StatementRegistry, statement};
use rusqlite::Connection;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

fn in_memory(capacity: usize) -> (StatementConnection, Arc<StatementRegistry>) {
    let registry = Arc::new(StatementRegistry::default());
    let connection = Connection::open_in_memory().unwrap();
    connection
        .execute_batch(
            "CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT UNIQUE); INSERT INTO t(b) VALUES ('x'), ('y'), ('z')",
        )
        .unwrap();
    (StatementConnection::new(connection, Arc::clone(&registry), capacity), registry)
}

fn open(path: &Path, registry: &Arc<StatementRegistry>) -> StatementConnection {
    StatementConnection::new(Connection::open(path).unwrap(), Arc::clone(registry), 16)
}

fn two_connections() -> (tempfile::TempDir, Arc<StatementRegistry>, Connection, StatementConnection) {
    let folder = tempfile::tempdir().unwrap();
    let registry = Arc::new(StatementRegistry::default());
    let path = folder.path().join("db");
    let writer = Connection::open(&path).unwrap();
    writer
        .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t(a); CREATE TABLE u(x); INSERT INTO t VALUES (1)")
        .unwrap();
    let connection = open(&path, &registry);
    (folder, registry, writer, connection)
}

fn columns(connection: &StatementConnection, sql: &str) -> Vec<String> {
    let statement = connection.prepare_cached(sql).unwrap();
    statement.column_names().map(str::to_owned).collect()
}

fn first(connection: &StatementConnection, sql: &str) -> i64 {
    connection.prepare_cached(sql).unwrap().query_row([], |row| row.get(0)).unwrap()
}

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
fn a_text_without_a_statement_does_no_harm() {
    let (connection, _) = in_memory(4);
    for text in ["", "  ", "-- nothing", ";"] {
        let statement = connection.prepare_cached(text).unwrap();
        assert_eq!(statement.column_count(), 0);
        drop(statement);
        assert_eq!(connection.idle_statements(), 0);
    }
}

#[test]
fn columns_follow_a_change_of_the_schema_by_the_same_connection() {
    let (connection, _) = in_memory(4);
    let sql = "SELECT * FROM t";
    assert_eq!(columns(&connection, sql), ["a", "b"]);
    connection.execute_batch("ALTER TABLE t ADD COLUMN c").unwrap();
    assert_eq!(columns(&connection, sql), ["a", "b", "c"]);
    connection.prepare_cached("ALTER TABLE t RENAME COLUMN c TO d").unwrap().execute([]).unwrap();
    assert_eq!(columns(&connection, sql), ["a", "b", "d"]);
    connection.execute_batch("DROP TABLE t; CREATE TABLE t(only)").unwrap();
    assert_eq!(columns(&connection, sql), ["only"]);
    connection.execute_batch("CREATE TEMP TABLE t(shadow)").unwrap();
    assert_eq!(columns(&connection, sql), ["shadow"]);
}

#[test]
fn columns_follow_a_change_that_is_rolled_back() {
    let (connection, _) = in_memory(8);
    let sql = "SELECT * FROM t";
    for rollback in ["ROLLBACK", "ROLLBACK TO s; COMMIT"] {
        connection.execute_batch("BEGIN; SAVEPOINT s; ALTER TABLE t ADD COLUMN c").unwrap();
        assert_eq!(columns(&connection, sql), ["a", "b", "c"]);
        for part in rollback.split("; ") {
            connection.prepare_cached(part).unwrap().execute([]).unwrap();
            assert_eq!(columns(&connection, sql), ["a", "b"]);
        }
    }
}

#[test]
fn columns_follow_a_change_by_a_statement_prepared_long_before() {
    let (connection, _) = in_memory(4);
    let sql = "SELECT * FROM t";
    let mut change = connection.prepare("ALTER TABLE t ADD COLUMN c").unwrap();
    for _ in 0..3 {
        assert_eq!(columns(&connection, sql), ["a", "b"]);
    }
    change.execute([]).unwrap();
    assert_eq!(columns(&connection, sql), ["a", "b", "c"]);
}

#[test]
fn columns_follow_a_change_by_another_connection_as_soon_as_this_one_knows_it() {
    let (_folder, registry, writer, connection) = two_connections();
    let sql = "SELECT * FROM t";
    assert_eq!(columns(&connection, sql), ["a"]);
    first(&connection, "SELECT count(*) FROM u");
    first(&connection, "SELECT count(*) FROM u");

    writer.execute_batch("ALTER TABLE t ADD COLUMN b").unwrap();
    // It learns of the change from whatever it runs next.
    first(&connection, "SELECT count(*) FROM u");
    assert_eq!(columns(&connection, sql), ["a", "b"]);

    writer.execute_batch("ALTER TABLE t ADD COLUMN c").unwrap();
    let count: i64 = connection.query_row("SELECT count(*) FROM u", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 0);
    assert_eq!(columns(&connection, sql), ["a", "b", "c"]);

    // The statement itself is the first to run: its columns are those of the rows it returns.
    writer.execute_batch("ALTER TABLE t ADD COLUMN d").unwrap();
    let mut statement = connection.prepare_cached(sql).unwrap();
    let mut rows = statement.query([]).unwrap();
    let row = rows.next().unwrap().unwrap();
    assert_eq!(row.as_ref().column_count(), 4);
    drop(rows);
    drop(statement);
    assert_eq!(columns(&connection, sql), ["a", "b", "c", "d"]);
    assert!(registry.stats().reprepares > 0);
}

#[test]
fn columns_follow_a_change_that_a_failing_or_a_fresh_preparation_brought_to_light() {
    let (_folder, _, writer, connection) = two_connections();
    let sql = "SELECT * FROM t";
    assert_eq!(columns(&connection, sql), ["a"]);
    assert_eq!(columns(&connection, sql), ["a"]);

    // SQLite prepares the update again while it runs, and fails before it asks the authorizer anything.
    let mut update = connection.prepare_cached("UPDATE t SET a = 1").unwrap();
    writer.execute_batch("ALTER TABLE t RENAME COLUMN a TO b").unwrap();
    assert!(update.execute([]).is_err());
    drop(update);
    assert_eq!(columns(&connection, sql), ["b"]);
    assert_eq!(columns(&connection, sql), ["b"]);

    // A preparation that misses its column looks at the file, and succeeds.
    writer.execute_batch("ALTER TABLE t RENAME COLUMN b TO c").unwrap();
    assert_eq!(columns(&connection, "SELECT c FROM t"), ["c"]);
    assert_eq!(columns(&connection, sql), ["c"]);
}

#[test]
fn columns_follow_a_change_by_another_connection_to_a_database_in_memory() {
    let registry = Arc::new(StatementRegistry::default());
    let name = "file:/pool-stmt-columns?vfs=memdb";
    let writer = Connection::open(name).unwrap();
    writer.execute_batch("CREATE TABLE t(a); CREATE TABLE u(x)").unwrap();
    let connection = open(Path::new(name), &registry);
    let sql = "SELECT * FROM t";
    assert_eq!(columns(&connection, sql), ["a"]);
    writer.execute_batch("ALTER TABLE t ADD COLUMN b").unwrap();
    first(&connection, "SELECT count(*) FROM u");
    assert_eq!(columns(&connection, sql), ["a", "b"]);
}

#[test]
fn direct_preparations_do_not_outdate_statements() {
    let (connection, registry) = in_memory(4);
    for n in 0..50 {
        connection.execute("INSERT INTO t(b) VALUES (?1)", [n]).unwrap();
        first(&connection, "SELECT count(*) FROM t");
    }
    let stats = registry.stats();
    assert_eq!((stats.prepares, stats.hits, stats.outdated), (1, 49, 0));
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

#[test]
fn settings_that_change_no_meaning_do_not_outdate_statements() {
    let (connection, registry) = in_memory(4);
    first(&connection, "SELECT count(*) FROM t");
    for setting in ["busy_timeout = 10", "cache_size = 50", "user_version = 3", "wal_checkpoint"] {
        connection.execute_batch(&format!("PRAGMA {setting}")).unwrap();
        first(&connection, "SELECT count(*) FROM t");
    }
    assert_eq!((registry.stats().outdated, registry.stats().hits), (0, 4));
    connection.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    first(&connection, "SELECT count(*) FROM t");
    assert_eq!(registry.stats().outdated, 1);
}

#[test]
fn pasted_values_are_warned_of_once_and_named() {
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
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
    tracing::subscriber::with_default(subscriber, || {
        let registry = Arc::new(StatementRegistry::new(100));
        let connection = StatementConnection::new(Connection::open_in_memory().unwrap(), registry, 10);
        for n in 0..2_000 {
            first(&connection, &format!("SELECT {n} WHERE 'x{n}' <> ''"));
        }
    });
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert_eq!(log.matches("WARN").count(), 1, "{log}");
    assert!(log.contains("SELECT ? WHERE ? <> ?"), "{log}");
}
