//! What the unsafe part promises, in short programs for AddressSanitizer and valgrind: no statement outlives its connection,
//! none is used after it is gone, and none is lost.
#![allow(clippy::unwrap_used, reason = "a test ends where something unexpected fails")]

use pool_stmt::StatementRegistry;
use pool_stmt::rusqlite::{CachedStatement, StatementConnection};
use rusqlite::Connection;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

fn connection(capacity: usize) -> StatementConnection {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch("CREATE TABLE t(a, b); INSERT INTO t VALUES (1, 'x'), (2, 'y')").unwrap();
    StatementConnection::new(connection, Arc::new(StatementRegistry::default()), capacity)
}

fn fill(connection: &StatementConnection) {
    for n in 0..6 {
        let mut statement = connection.prepare_cached(&format!("SELECT a + {n}, b FROM t WHERE a >= ?1")).unwrap();
        let mut rows = statement.query([1]).unwrap();
        assert_eq!(rows.next().unwrap().unwrap().get::<_, i64>(0).unwrap(), 1 + n);
    }
}

/// Puts the connection at another address, over and over.
fn moved(connection: StatementConnection) -> StatementConnection {
    let mut all = vec![connection];
    for _ in 0..4 {
        let next = Box::new(all.pop().unwrap());
        all.reserve(64);
        all.push(*next);
    }
    all.pop().unwrap()
}

#[test]
fn a_connection_can_be_moved_with_its_statements() {
    let connection = moved(connection(4));
    fill(&connection);
    let connection = moved(connection);
    fill(&connection);
    let connection = std::thread::spawn(move || {
        fill(&connection);
        moved(connection)
    })
    .join()
    .unwrap();
    fill(&connection);
    assert_eq!(connection.idle_statements(), 4);
}

#[test]
fn statements_go_before_their_connection() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    Connection::open(&path).unwrap().execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t(a, b)").unwrap();
    let connection =
        StatementConnection::new(Connection::open(&path).unwrap(), Arc::new(StatementRegistry::default()), 4);
    connection.prepare_cached("INSERT INTO t VALUES (1, 2)").unwrap().execute([]).unwrap();
    drop(connection.prepare_cached("SELECT * FROM t").unwrap());
    assert!(folder.path().join("db-wal").exists());
    drop(connection);
    // SQLite refuses to close while a statement is left, and only closing removes the log.
    assert!(!folder.path().join("db-wal").exists(), "the connection is still open");
}

#[test]
fn a_leaked_statement_is_finalized_with_its_connection() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    for _ in 0..2 {
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE IF NOT EXISTS t(a, b)").unwrap();
        let connection = StatementConnection::new(connection, Arc::new(StatementRegistry::default()), 4);
        connection.execute("INSERT INTO t VALUES (1, 2), (3, 4)", []).unwrap();
        let mut statement = connection.prepare_cached("SELECT * FROM t").unwrap();
        let mut rows = statement.query([]).unwrap();
        rows.next().unwrap().unwrap();
        std::mem::forget(rows);
        std::mem::forget(statement);
        let statement: &mut CachedStatement<'_> =
            Box::leak(Box::new(connection.prepare_cached("SELECT * FROM t").unwrap()));
        assert_eq!(statement.query_row([], |row| row.get::<_, i64>(0)).unwrap(), 1);
        let memory: *mut u8 = (&raw mut *statement).cast();
        assert_eq!(connection.lent_statements(), 2);
        let connection = moved(connection);
        connection.clear_statements();
        connection.set_capacity(0);
        assert_eq!(connection.lent_statements(), 2);
        drop(connection);
        assert!(!folder.path().join("db-wal").exists(), "the connection is still open");
        // So that leak checkers find what the library leaks and not what this test does.
        // SAFETY: the memory is that of the box leaked above, whose value nobody uses any more and which has no destructor to run.
        unsafe { std::alloc::dealloc(memory, std::alloc::Layout::new::<CachedStatement<'_>>()) };
    }
}

#[test]
fn a_detached_connection_is_free_of_statements() {
    let connection = connection(4);
    fill(&connection);
    std::mem::forget(connection.prepare_cached("SELECT 1").unwrap());
    let plain = connection.into_connection();
    assert_eq!(plain.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).unwrap(), 2);
    plain.close().expect("no statement is left");
}

#[test]
fn exchanging_the_connection_itself_leaves_no_statement_behind() {
    let (mut one, mut two) = (connection(4), connection(4));
    fill(&one);
    fill(&two);
    std::mem::forget(one.prepare_cached("SELECT a FROM t").unwrap());
    std::mem::swap(&mut *one.connection_mut(), &mut *two.connection_mut());
    assert_eq!((one.idle_statements(), one.lent_statements()), (0, 0));
    fill(&one);
    let plain = std::mem::replace(&mut *one.connection_mut(), Connection::open_in_memory().unwrap());
    drop(one);
    // Nobody is left who could be asked.
    plain.execute_batch("CREATE TABLE another(x); DROP TABLE another").unwrap();
    fill(&two);
    drop(two);
    plain.close().expect("no statement is left");
}

#[test]
fn a_leaked_mutable_access_turns_pooling_off_and_nothing_else() {
    let mut connection = connection(4);
    fill(&connection);
    std::mem::forget(connection.connection_mut());
    fill(&connection);
    fill(&connection);
    assert_eq!(connection.idle_statements(), 0);
    assert!(connection.take_accesses().unknown && !connection.take_effects().is_empty(), "nothing is heard");
    drop(connection.connection_mut());
    connection.take_effects();
    assert!(connection.take_accesses().is_empty() && connection.take_effects().is_empty());
    fill(&connection);
    assert_eq!(connection.idle_statements(), 4);
}

#[test]
fn a_panic_while_rows_are_read_returns_the_statement() {
    let connection = connection(4);
    let sql = "SELECT a FROM t";
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let mut statement = connection.prepare_cached(sql).unwrap();
        let mut rows = statement.query([]).unwrap();
        rows.next().unwrap().unwrap();
        panic!("in the middle");
    }));
    assert!(panicked.is_err());
    assert_eq!((connection.idle_statements(), connection.lent_statements()), (1, 0));
    assert!(!connection.is_busy());
    assert_eq!(connection.prepare_cached(sql).unwrap().query_row([], |row| row.get::<_, i64>(0)).unwrap(), 1);
}

#[test]
fn a_function_of_the_user_may_use_statements_while_one_runs() {
    thread_local! {
        static SHARED: std::cell::Cell<Option<&'static StatementConnection>> = const { std::cell::Cell::new(None) };
    }
    let connection: &'static StatementConnection = Box::leak(Box::new(connection(2)));
    SHARED.set(Some(connection));
    connection
        .create_scalar_function("other", 1, rusqlite::functions::FunctionFlags::default(), |context| {
            let connection = SHARED.get().unwrap();
            fill(connection);
            let a: i64 = context.get(0)?;
            connection.prepare_cached("SELECT b FROM t WHERE a = ?1")?.query_row([a], |row| row.get::<_, String>(0))
        })
        .unwrap();
    for _ in 0..2 {
        let mut statement = connection.prepare_cached("SELECT other(a) FROM t").unwrap();
        let all: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        assert_eq!(all, ["x", "y"]);
    }
    SHARED.set(None);
    let connection: *const StatementConnection = connection;
    // SAFETY: leaked above, and nothing refers to it any more.
    drop(unsafe { Box::from_raw(connection.cast_mut()) });
}

#[test]
fn statements_are_evicted_outdated_and_warmed_without_a_trace() {
    let registry = Arc::new(StatementRegistry::new(16));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    for round in 0..4 {
        let connection = StatementConnection::new(Connection::open(&path).unwrap(), Arc::clone(&registry), 3);
        connection.execute_batch(&format!("CREATE TABLE t{round}(a, b)")).unwrap();
        connection.warm(8, Duration::MAX);
        for n in 0..20 {
            let held = connection.prepare_cached(&format!("SELECT * FROM t{round} LIMIT {}", n % 5)).unwrap();
            drop(connection.prepare_cached(&format!("SELECT * FROM t{round} LIMIT {}", n % 7)).unwrap());
            if n % 3 == 0 {
                connection.execute_batch(&format!("ALTER TABLE t{round} ADD COLUMN c{n}")).unwrap();
            }
            if n % 4 == 0 {
                held.discard();
            }
        }
        assert!(connection.idle_statements() <= 3);
    }
}
