//! A process that is forked while a pool is open: the child is refused what it inherited, harms nothing, and can open the database anew.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use pool_manager::{DatabaseManager, Error, PoolConfig, PooledConnection, Result, RowStream, Schema};

use crate::support::{another_process, role};

fn open(path: &Path) -> DatabaseManager {
    DatabaseManager::new().with_pooling(path, PoolConfig::builder().max_connections(4)).unwrap()
}

fn count(db: &DatabaseManager, what: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM t WHERE who = '{what}'");
    db.blocking().read(|conn| Ok(conn.query_row(&sql, [], |row| row.get(0))?)).unwrap()
}

fn insert(db: &DatabaseManager, who: &'static str) -> Result<usize> {
    db.blocking().write(move |tx| Ok(tx.prepare_cached("INSERT INTO t (who) VALUES (?1)")?.execute([who])?))
}

/// Runs something in a child of this process, and returns how that ended. A child that hangs is ended by a signal.
fn forked(run: impl FnOnce()) -> libc::pid_t {
    // SAFETY: glibc and musl let a forked child allocate and start threads; locks of this program that other threads hold are what this
    // is a test of.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork failed");
    if child == 0 {
        // SAFETY: these take and return numbers.
        unsafe { libc::alarm(25) };
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        // SAFETY: as above. Nothing that was inherited runs at the end: no handlers, no destructors.
        unsafe { libc::_exit(if done.is_ok() { 0 } else { 101 }) }
    }
    child
}

/// The exit code of a child, or minus the signal that ended it.
fn ended(child: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(waited, child);
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -libc::WTERMSIG(status) }
}

fn wait_for(path: &Path) {
    let since = Instant::now();
    while !path.exists() {
        assert!(since.elapsed() < Duration::from_secs(20), "never came: {}", path.display());
        std::thread::yield_now();
    }
}

fn refused<T>(outcome: Result<T>) {
    match outcome {
        Err(Error::Forked { .. }) => {}
        Err(other) => panic!("refused for another reason: {other:?}"),
        Ok(_) => panic!("not refused"),
    }
}

/// Every call of a manager.
fn every_call_is_refused(db: &DatabaseManager) {
    let calls = db.blocking();
    refused(calls.read(|_| Ok(())));
    refused(calls.execute_with_pool(|_| Ok(())));
    refused(calls.write(|_| Ok(())));
    refused(calls.execute_pooled_transaction(|_| Ok(())));
    refused(calls.execute_pooled_operations::<()>(vec![]));
    refused(calls.execute_cached("sum", None, |_| Ok(1)));
    refused(calls.query_cached("SELECT 1", [], |row| row.get::<_, i64>(0)));
    refused(calls.create(Schema::new("x")).or_else(|error| match error {
        Error::Schema(_) => calls.acquire().map(drop),
        other => Err(other),
    }));
    refused(calls.acquire());
    refused(calls.read_stream("SELECT 1", [], |row| row.get::<_, i64>(0)).next().unwrap());
    refused(calls.close_pool());
    refused(db.reconfigure(PoolConfig::builder()));
    db.maintain();
    assert!(db.pool_stats().is_none() && db.statements().is_empty() && db.slowest_statements().is_empty());
    assert_eq!(db.invalidate("sum"), 0);
    db.invalidate_tables(&["t"]);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        refused(db.read(|_| Ok(())).await);
        refused(db.write(|_| Ok(())).await);
        refused(db.execute_pooled_transaction(|_| Ok(())).await);
        refused(db.execute_cached("sum", None, |_| Ok(1)).await);
        refused(db.read_stream("SELECT 1", [], |row| row.get::<_, i64>(0)).next().await.unwrap());
        refused(db.acquire().await);
        refused(db.close_pool().await);
    });
}

fn every_statement_is_refused(held: &PooledConnection) {
    refused(held.execute("INSERT INTO t (who) VALUES ('stolen')", []).map_err(|error| held.explain(error)));
    refused(held.execute_batch("COMMIT").map_err(|error| held.explain(error)));
    refused(held.prepare("SELECT 1").map_err(|error| held.explain(error)));
    refused(held.prepare_cached("SELECT count(*) FROM t").map_err(|error| held.explain(error)));
    refused(held.transaction());
}

/// What the parent has in hand when it forks.
struct Inherited {
    db: DatabaseManager,
    /// In a transaction that writes.
    writing: PooledConnection,
    /// Half-way through its rows.
    rows: RowStream<i64>,
}

fn child(inherited: Inherited, path: &Path) {
    let Inherited { db, writing, mut rows } = inherited;
    assert_eq!(DatabaseManager::global_pool_stats().pools.len(), 0);
    every_call_is_refused(&db);
    every_statement_is_refused(&writing);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let outcome = runtime.block_on(async {
        loop {
            match rows.next().await.unwrap() {
                Ok(_) => {}
                Err(error) => return Err::<(), _>(error),
            }
        }
    });
    refused(outcome);
    drop((rows, writing, db.clone()));
    // Anew, beside the parent that goes on.
    let own = open(path);
    let found = count(&own, "parent");
    for _ in 0..50 {
        insert(&own, "child").unwrap();
        assert!(count(&own, "parent") >= found);
    }
    assert_eq!((count(&own, "child"), count(&own, "stolen")), (50, 0));
    every_call_is_refused(&db);
    std::fs::write(path.with_extension("opened"), "").unwrap();
    // The parent closes its pool and removes the log, if nobody holds it.
    wait_for(&path.with_extension("closed"));
    for _ in 0..50 {
        insert(&own, "child").unwrap();
    }
    own.blocking().close_pool().unwrap();
    drop(db);
}

fn parent(path: &Path) {
    let db = open(path);
    db.blocking()
        .write(|tx| Ok(tx.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, who TEXT NOT NULL)")?))
        .unwrap();
    for _ in 0..3_000 {
        insert(&db, "parent").unwrap();
    }
    let writing = db.blocking().acquire().unwrap();
    let rows = db.read_stream("SELECT id FROM t", [], |row| row.get(0));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let mut inherited = Inherited { db: db.clone(), writing, rows };
    assert_eq!(runtime.block_on(inherited.rows.next()).unwrap().unwrap(), 1);
    inherited.writing.execute_batch("BEGIN IMMEDIATE; INSERT INTO t (who) VALUES ('parent')").unwrap();
    let holder = std::ptr::from_ref(&inherited);
    let one = forked(|| {
        // SAFETY: the child has a copy of its own; the original is forgotten there, for the child never returns from here.
        child(unsafe { holder.read() }, path);
    });
    assert_eq!(
        inherited.writing.execute_batch("COMMIT").map_err(|error| inherited.writing.explain(error)).ok(),
        Some(())
    );
    let rest = runtime.block_on(async {
        let mut rest = 0;
        while let Some(row) = inherited.rows.next().await {
            row.unwrap();
            rest += 1;
        }
        rest
    });
    assert_eq!(rest, 2_999, "the parent's stream goes on");
    drop(inherited);
    let (mut more, since) = (0, Instant::now());
    while !path.with_extension("opened").exists() {
        assert!(since.elapsed() < Duration::from_secs(25), "the child did not come so far");
        insert(&db, "parent").unwrap();
        more += 1;
    }
    db.blocking().close_pool().unwrap();
    std::fs::write(path.with_extension("closed"), "").unwrap();
    assert_eq!(ended(one), 0, "the child");

    let db = open(path);
    assert_eq!((count(&db, "parent"), count(&db, "child"), count(&db, "stolen")), (3_001 + more, 100, 0));
    forks_while_others_are_at_work(&db, path);
    let sound = |conn: &pool_manager::Connection| {
        Ok(conn.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0))?)
    };
    assert_eq!(db.blocking().read(sound).unwrap(), "ok");
    db.blocking().close_pool().unwrap();
}

/// Children that are forked at any moment, whatever locks other threads hold then.
fn forks_while_others_are_at_work(db: &DatabaseManager, path: &Path) {
    let (over, written) = (AtomicBool::new(false), AtomicI64::new(0));
    let before = count(db, "busy");
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    insert(db, "busy").unwrap();
                    written.fetch_add(1, Ordering::Relaxed);
                    let latest = |conn: &pool_manager::Connection| {
                        Ok(conn.query_row("SELECT max(id) FROM t", [], |row| row.get::<_, i64>(0))?)
                    };
                    db.blocking().execute_cached("latest", None, latest).unwrap();
                }
            });
        }
        for round in 0..30 {
            let child = forked(|| {
                every_call_is_refused(db);
                if round % 3 == 0 {
                    // Where a thread of the parent was in the middle of a lock, opening is refused, and does not hang.
                    match DatabaseManager::open(path) {
                        Ok(own) => {
                            insert(&own, "grandchild").unwrap();
                            own.blocking().close_pool().unwrap();
                        }
                        Err(Error::Forked { .. }) => {}
                        Err(other) => panic!("{other:?}"),
                    }
                }
            });
            assert_eq!(ended(child), 0, "child {round}");
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(count(db, "busy") - before, written.load(Ordering::Relaxed));
}

#[test]
fn a_forked_child_is_refused_what_it_inherited_and_opens_the_database_anew() {
    if let Some((_, path)) = role() {
        return parent(&path);
    }
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("test.sqlite");
    let name = "forks::a_forked_child_is_refused_what_it_inherited_and_opens_the_database_anew";
    let output = another_process(name, "parent", &path).wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
