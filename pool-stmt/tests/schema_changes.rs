//! What is known of statements follows each change of the schema, by whomever it is made.
#![allow(clippy::unwrap_used, reason = "a test ends where something unexpected fails")]

mod common;

use common::{columns, first, in_memory, open, two_connections};
use pool_stmt::StatementRegistry;
use pool_stmt::rusqlite::StatementConnection;
use rusqlite::Connection;
use std::path::Path;
use std::sync::Arc;

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
