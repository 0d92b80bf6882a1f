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
fn columns_and_facts_follow_a_change_by_another_process() {
    // The other process runs this test as well, and does what it is told.
    if let (Some(path), Ok(sql)) = (std::env::var_os("POOL_STMT_DATABASE"), std::env::var("POOL_STMT_CHANGE")) {
        return Connection::open(path).unwrap().execute_batch(&sql).unwrap();
    }
    let (folder, _, writer, connection) = two_connections();
    drop(writer);
    let change = |sql: &str| {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "columns_and_facts_follow_a_change_by_another_process"])
            .env("POOL_STMT_DATABASE", folder.path().join("db"))
            .env("POOL_STMT_CHANGE", sql)
            .stdout(std::process::Stdio::null())
            .status();
        assert!(status.unwrap().success(), "{sql}");
    };
    let (all, insert) = ("SELECT * FROM t", "INSERT INTO u VALUES (1)");
    assert_eq!(columns(&connection, all), ["a"]);
    connection.prepare_cached(insert).unwrap().execute([]).unwrap();

    change("ALTER TABLE t ADD COLUMN b");
    first(&connection, "SELECT count(*) FROM u");
    assert_eq!(columns(&connection, all), ["a", "b"]);

    change("CREATE TRIGGER tr AFTER INSERT ON u BEGIN INSERT INTO t(a) VALUES (2); END");
    let rows: i64 = first(&connection, "SELECT count(*) FROM t");
    assert_eq!(connection.prepare_cached(insert).unwrap().facts().tables_written().count(), 2);
    connection.prepare_cached(insert).unwrap().execute([]).unwrap();
    assert_eq!(first(&connection, "SELECT count(*) FROM t"), rows + 1);

    change("DROP TABLE t; DROP TRIGGER tr");
    first(&connection, "SELECT count(*) FROM u");
    assert!(connection.prepare_cached(all).is_err(), "the table is gone");
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

#[test]
fn pasted_values_are_warned_of_once_and_named() {
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
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
    tracing::subscriber::with_default(subscriber, || {
        let registry = Arc::new(StatementRegistry::new(100));
        let connection = StatementConnection::new(Connection::open_in_memory().unwrap(), registry, 10);
        for round in 0..4 {
            for n in 0..1_000 {
                let n = n + 1_000 * (round / 2);
                let sql = if round % 2 == 0 { format!("SELECT {n}") } else { format!("SELECT {n} AS other") };
                first(&connection, &sql);
            }
        }
    });
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert_eq!(log.matches("WARN").count(), 2, "{log}");
    assert!(log.contains("SELECT ? AS other"), "{log}");
}

#[test]
fn facts_are_recognised_when_a_text_is_prepared_again_and_found_out_anew_when_the_schema_changed() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Arc::new(StatementRegistry::default());
    let path = folder.path().join("db");
    let one = open(&path, &registry);
    one.execute_batch("CREATE TABLE t(a INTEGER, b); CREATE TABLE log(x)").unwrap();
    let other = open(&path, &registry);
    let (select, insert) = ("SELECT a FROM t", "INSERT INTO t VALUES (1, 2)");
    let facts =
        |connection: &StatementConnection, sql: &str| Arc::clone(connection.prepare_cached(sql).unwrap().facts());
    for sql in [select, insert] {
        assert!(Arc::ptr_eq(&facts(&one, sql), &facts(&other, sql)), "{sql}");
    }
    // The same accesses, but another type.
    one.execute_batch("DROP TABLE t; CREATE TABLE t(a TEXT, b)").unwrap();
    assert_eq!(facts(&one, select).columns[0].declared_type.as_deref(), Some("TEXT"));
    // The same columns, but another table is written.
    one.execute_batch("CREATE TRIGGER tr AFTER INSERT ON t BEGIN INSERT INTO log VALUES (1); END").unwrap();
    assert_eq!(facts(&one, insert).tables_written().count(), 2);
    first(&other, "SELECT count(*) FROM log");
    assert_eq!(facts(&other, insert).tables_written().count(), 2);
    // The same accesses and columns, but the table is virtual.
    one.execute_batch("DROP TABLE t; CREATE VIRTUAL TABLE t USING fts5(a, b)").unwrap();
    assert!(!facts(&one, select).is_repeatable());
    assert_eq!(facts(&one, select).virtual_tables.len(), 1);
    first(&other, "SELECT count(*) FROM log");
    assert!(!facts(&other, select).is_repeatable());
    assert_eq!(facts(&other, insert).virtual_tables.len(), 1);
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

/// Two connections to a database of which the second has loaded the schema, in which `f` is a plain table.
fn two_that_know_a_plain_table(folder: &tempfile::TempDir, journal: &str) -> [StatementConnection; 2] {
    let registry = Arc::new(StatementRegistry::default());
    let path = folder.path().join(journal);
    let one = open(&path, &registry);
    one.execute_batch(&format!("PRAGMA journal_mode = {journal}; CREATE TABLE f(x); CREATE TABLE g(x)")).unwrap();
    let other = open(&path, &registry);
    let _ = other.prepare_cached("SELECT x FROM f").unwrap();
    [one, other]
}

#[test]
fn a_table_is_told_virtual_that_became_so_when_the_preparation_itself_brings_the_news() {
    for journal in ["DELETE", "WAL"] {
        // Some text found out anew, some that is known from the time when the table was plain.
        for sql in ["INSERT INTO g SELECT x FROM f", "SELECT g.x FROM f, g"] {
            for known in [false, true] {
                let folder = tempfile::tempdir().unwrap();
                let [one, other] = two_that_know_a_plain_table(&folder, journal);
                if known {
                    assert!(one.prepare_cached(sql).unwrap().facts().virtual_tables.is_empty());
                }
                one.execute_batch("DROP TABLE g").unwrap();
                other.query_row("SELECT count(*) FROM f", [], |_| Ok(())).unwrap();
                assert!(other.prepare_cached("INSERT INTO f VALUES (1)").unwrap().facts().virtual_tables.is_empty());
                one.execute_batch("CREATE TABLE g(x); DROP TABLE f; CREATE VIRTUAL TABLE f USING fts5(x)").unwrap();
                // It misses `g`, so that SQLite loads the schema anew.
                let facts = Arc::clone(other.prepare_cached(sql).unwrap().facts());
                assert_eq!(facts.virtual_tables.len(), 1, "{journal}, known: {known}, {sql}");
            }
        }
    }
}

#[test]
fn a_table_that_was_missing_is_not_told_virtual() {
    let folder = tempfile::tempdir().unwrap();
    for journal in ["DELETE", "WAL"] {
        let [one, other] = two_that_know_a_plain_table(&folder, journal);
        for sql in ["INSERT INTO f VALUES ('n' || ?1) RETURNING *", "DELETE FROM f WHERE x = ?1"] {
            assert!(one.prepare_cached(sql).unwrap().facts().virtual_tables.is_empty());
            one.execute_batch("DROP TABLE f").unwrap();
            other.query_row("SELECT count(*) FROM g", [], |_| Ok(())).unwrap();
            other.prepare_cached(sql).map(drop).unwrap_err();
            one.execute_batch("CREATE TABLE f(x)").unwrap();
            let facts = Arc::clone(other.prepare_cached(sql).unwrap().facts());
            assert!(facts.virtual_tables.is_empty(), "{journal}: {sql}");
        }
    }
}

#[test]
fn recognising_facts_does_not_look_into_the_file_for_tables_that_others_have() {
    let folder = tempfile::tempdir().unwrap();
    let [one, other] = two_that_know_a_plain_table(&folder, "DELETE");
    let plain = Connection::open(folder.path().join("DELETE")).unwrap();
    let sql = "SELECT * FROM f, g";
    plain.prepare(sql).unwrap();
    one.execute_batch("CREATE TEMP TABLE g(y); ALTER TABLE f ADD COLUMN more").unwrap();
    assert_eq!(one.prepare_cached(sql).unwrap().column_count(), 3);
    assert_eq!(other.prepare_cached(sql).unwrap().column_count(), plain.prepare(sql).unwrap().column_count());
}

#[test]
fn what_was_known_of_a_table_is_forgotten_when_the_connection_was_lent_mutably() {
    let folder = tempfile::tempdir().unwrap();
    let [_, mut other] = two_that_know_a_plain_table(&folder, "DELETE");
    let sql = "INSERT INTO f VALUES (1)";
    assert!(other.prepare_cached(sql).unwrap().facts().virtual_tables.is_empty());
    other.connection_mut().execute_batch("DROP TABLE f; CREATE VIRTUAL TABLE f USING fts5(x)").unwrap();
    assert_eq!(other.prepare_cached(sql).unwrap().facts().virtual_tables.len(), 1);
}
