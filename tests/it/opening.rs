//! Opening: one pool for one file, and clear words about files that can't be used.

use std::path::Path;
use std::time::Duration;

use pool_manager::{DatabaseManager, Error, PoolConfig};

use crate::support::{TestDb, count, eventually};

#[test]
fn managers_of_one_file_share_one_pool_whatever_they_call_it() {
    let test = TestDb::new(PoolConfig::builder().max_connections(3));
    test.fill(2);
    let detour = test.folder.path().join("sub/..//./test.sqlite");
    std::fs::create_dir(test.folder.path().join("sub")).unwrap();
    let again = DatabaseManager::open(&detour).unwrap();
    #[cfg(unix)]
    {
        let link = test.folder.path().join("link.sqlite");
        std::os::unix::fs::symlink(test.path(), &link).unwrap();
        let linked = DatabaseManager::open(&link).unwrap();
        assert_eq!(linked.path(), test.db.path());
    }
    let _held = again.blocking().acquire().unwrap();
    assert_eq!(test.db.pool_stats().unwrap().active_connections, 1);
    assert_eq!(again.config().max_connections(), 3, "joined as it is");

    let error =
        DatabaseManager::new().with_pooling(&detour, PoolConfig::builder().max_connections(4)).expect_err("3, not 4");
    assert!(
        matches!(&error, Error::PoolExists { .. }) && error.to_string().contains("max_connections is 3, asked for 4"),
        "{error}"
    );
    DatabaseManager::new()
        .with_pooling(&detour, PoolConfig::builder().max_connections(3))
        .expect("the same is no conflict");
}

#[test]
fn threads_that_open_a_new_file_at_once_get_one_pool() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new.sqlite");
    let opened: Vec<_> = std::thread::scope(|scope| {
        let opening: Vec<_> = (0..16).map(|_| scope.spawn(|| DatabaseManager::open(&path).unwrap())).collect();
        opening.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let _held = opened[0].blocking().acquire().unwrap();
    assert!(opened.iter().all(|db| db.pool_stats().unwrap().active_connections == 1));
}

#[test]
fn a_direct_connection_runs_the_same_calls() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("direct.sqlite");
    let direct = DatabaseManager::builder().path(&path).use_pool(false).build().unwrap();
    assert!(direct.pool_stats().is_none());
    direct.blocking().write(|tx| Ok(tx.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1)")?)).unwrap();
    let query =
        |conn: &pool_manager::Connection| Ok(conn.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0))?);
    assert_eq!(*direct.blocking().execute_cached("count", None, query).unwrap(), 1);
    // Beside a pool on the same file: they share the write lane.
    let pooled = DatabaseManager::open(&path).unwrap();
    std::thread::scope(|scope| {
        for db in [&direct, &pooled] {
            scope.spawn(|| {
                for _ in 0..50 {
                    db.blocking().write(|tx| Ok(tx.execute("INSERT INTO t VALUES (1)", [])?)).unwrap();
                }
            });
        }
    });
    assert_eq!(count(&direct, "t").unwrap(), 101);
    assert_eq!(*direct.blocking().execute_cached("count", None, query).unwrap(), 101);
    direct.blocking().close_pool().unwrap();
    assert!(matches!(direct.blocking().read(|_| Ok(())), Err(Error::Closed { .. })));
    assert_eq!(count(&pooled, "t").unwrap(), 101, "the pool goes on");
}

#[test]
fn unusable_paths_and_files_are_named_with_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let text = file(
        "text.sqlite",
        &b"this is not a database, but it is long enough to look like a header of one...".repeat(20),
    );
    let mut damaged = vec![0; 8192];
    damaged[..16].copy_from_slice(b"SQLite format 3\0");
    damaged[16..18].copy_from_slice(&4096_u16.to_be_bytes());
    let damaged = file("damaged.sqlite", &damaged);
    let cases: [(&Path, &str); 7] = [
        (Path::new(""), "is empty"),
        (folder.path(), "is a directory"),
        (Path::new("a\0b"), "NUL"),
        (&folder.path().join("no/such/folder/a.sqlite"), "can't be used"),
        (&text.join("a.sqlite"), "is not a folder"),
        (&text, "not a SQLite database"),
        (&damaged, ""),
    ];
    for (path, expected) in cases {
        let error = DatabaseManager::open(path).expect_err("unusable");
        assert!(matches!(error, Error::InvalidPath { .. } | Error::Open { .. }), "{path:?}: {error:?}");
        let text = error.to_string();
        assert!(text.contains(expected), "{path:?}: {text}");
    }
    let missing = folder.path().join("missing.sqlite");
    let error = DatabaseManager::builder().path(&missing).read_only(true).build().expect_err("missing");
    assert!(error.to_string().contains("missing"), "{error}");
    assert!(!missing.exists(), "reading makes no file");
}

#[test]
fn a_file_locked_by_another_process_is_waited_for_and_then_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("locked.sqlite");
    let other = pool_manager::rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE t (a); BEGIN EXCLUSIVE; INSERT INTO t VALUES (1)").unwrap();
    let open =
        || DatabaseManager::new().with_pooling(&path, PoolConfig::builder().busy_timeout(Duration::from_millis(50)));
    let error = open().expect_err("locked");
    assert!(matches!(error, Error::Busy { .. }), "{error:?}");
    other.execute_batch("COMMIT").unwrap();
    drop(other);
    assert_eq!(count(&open().unwrap(), "t").unwrap(), 1);
}

#[test]
fn a_read_only_manager_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.sqlite");
    pool_manager::rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1)")
        .unwrap();
    let before = std::fs::read(&path).unwrap();
    let db = DatabaseManager::builder().path(&path).read_only(true).build().unwrap();
    assert_eq!(count(&db, "t").unwrap(), 1);
    for outcome in [
        db.blocking().write(|tx| Ok(tx.execute("DELETE FROM t", [])?)),
        db.blocking().execute_with_pool(|conn| Ok(conn.execute("DELETE FROM t", [])?)),
    ] {
        assert!(matches!(outcome, Err(Error::ReadOnly { .. })), "{outcome:?}");
    }
    db.blocking().close_pool().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_dropped_manager_closes_its_pool() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sqlite");
    let db = DatabaseManager::open(&path).unwrap();
    db.blocking().write(|tx| Ok(tx.execute_batch("CREATE TABLE t (a)")?)).unwrap();
    let canonical = path.canonicalize().unwrap();
    drop(db);
    assert!(!DatabaseManager::global_pool_stats().pools.iter().any(|(open, _)| *open == canonical));
    let other = DatabaseManager::new().with_pooling(&path, PoolConfig::builder().max_connections(7)).unwrap();
    assert_eq!(other.config().max_connections(), 7);
}

#[cfg(unix)]
#[test]
fn a_link_to_a_file_that_does_not_exist_yet_is_that_file() {
    let folder = tempfile::tempdir().unwrap();
    let (target, link, further) =
        (folder.path().join("a.sqlite"), folder.path().join("link.sqlite"), folder.path().join("further.sqlite"));
    std::os::unix::fs::symlink("a.sqlite", &link).unwrap();
    std::os::unix::fs::symlink(&link, &further).unwrap();
    let by_link = DatabaseManager::open(&further).unwrap();
    let by_name = DatabaseManager::open(&target).unwrap();
    assert_eq!(by_link.path(), by_name.path());
    let _held = by_link.blocking().acquire().unwrap();
    assert_eq!(by_name.pool_stats().unwrap().active_connections, 1, "one pool");
    let (round, trip) = (folder.path().join("round"), folder.path().join("trip"));
    std::os::unix::fs::symlink(&round, &trip).unwrap();
    std::os::unix::fs::symlink(&trip, &round).unwrap();
    assert!(matches!(DatabaseManager::open(&round), Err(Error::InvalidPath { .. })));
}

#[test]
fn several_direct_connections_may_open_a_new_file_at_once() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sqlite");
        let start = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    start.wait();
                    DatabaseManager::builder().path(&path).use_pool(false).build().unwrap();
                });
            }
        });
    }
}

#[test]
fn figures_do_not_wait_for_a_pool_that_is_being_opened() {
    let test = TestDb::with_defaults();
    test.fill(1);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("locked.sqlite");
    let locker = pool_manager::rusqlite::Connection::open(&path).unwrap();
    locker.execute_batch("CREATE TABLE t (a); BEGIN EXCLUSIVE").unwrap();
    std::thread::scope(|scope| {
        let opening = scope.spawn(|| {
            let config = PoolConfig::builder().busy_timeout(std::time::Duration::from_secs(600));
            DatabaseManager::new().with_pooling(&path, config).unwrap()
        });
        // Whether it has begun or not, this returns; the lock goes only after it.
        for _ in 0..50 {
            let all = DatabaseManager::global_pool_stats();
            assert!(all.pools.iter().any(|(path, _)| *path == test.db.path()));
            std::thread::yield_now();
        }
        locker.execute_batch("ROLLBACK").unwrap();
        opening.join().unwrap();
    });
}

/// A pool on a file whose pages are all in it, and the file's size.
fn written_back() -> (TestDb, u64) {
    let test = TestDb::with_defaults();
    test.fill(5_000);
    let moved = test.db.blocking().execute_with_pool(|conn| {
        Ok(conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0))?)
    });
    assert_eq!(moved.unwrap(), 0);
    let size = std::fs::metadata(test.path()).unwrap().len();
    assert!(size > 40_000, "{size}");
    (test, size)
}

#[test]
fn a_file_that_is_truncated_under_the_pool_is_noticed_and_named() {
    for to in [|_| 0, |size| size / 2] {
        let (test, size) = written_back();
        let content = std::fs::read(test.path()).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(test.path()).unwrap();
        file.set_len(to(size)).unwrap();
        let one = || {
            test.db
                .blocking()
                .execute_cached("one", None, |conn| Ok(conn.query_row("SELECT 1", [], |row| row.get::<_, i64>(0))?))
        };
        eventually("it is noticed", || matches!(one(), Err(Error::FileChanged { change: "was truncated", .. })));
        // By everybody, and not only by the one who looked first.
        for _ in 0..5 {
            assert!(matches!(one(), Err(Error::FileChanged { .. })));
            assert!(matches!(test.db.blocking().read(|_| Ok(())), Err(Error::FileChanged { .. })));
            assert!(matches!(test.db.blocking().write(|_| Ok(())), Err(Error::FileChanged { .. })));
        }
        // A restored file is taken as it is.
        std::fs::write(test.path(), content).unwrap();
        eventually("it is noticed, too", || one().is_ok());
        assert_eq!(count(&test.db, "t").unwrap(), 5_000);
    }
}

#[test]
fn a_file_that_grows_and_shrinks_by_sqlite_is_not_taken_for_truncated() {
    let (test, size) = written_back();
    let db = test.db.blocking();
    for _ in 0..3 {
        db.write(|tx| Ok(tx.execute_batch("CREATE TABLE large AS SELECT * FROM t; DROP TABLE large")?)).unwrap();
        db.execute_with_pool(|conn| Ok(conn.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)")?)).unwrap();
        assert!(std::fs::metadata(test.path()).unwrap().len() <= size);
        db.execute_with_pool(|conn| Ok(conn.execute_batch("DELETE FROM t WHERE id % 3 = 0; VACUUM")?)).unwrap();
        // Each new connection looks.
        let direct = DatabaseManager::builder().path(test.path()).use_pool(false).build().unwrap();
        direct.blocking().read(|_| Ok(())).unwrap();
        db.read(|_| Ok(())).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn a_file_that_is_made_read_only_under_the_pool_is_noticed_by_those_who_write() {
    use std::os::unix::fs::PermissionsExt;
    let (test, _) = written_back();
    let db = test.db.blocking();
    let allow = |mode| std::fs::set_permissions(test.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    allow(0o444);
    let write = || db.write(|tx| Ok(tx.execute("UPDATE t SET value = 1 WHERE id = 1", [])?));
    eventually("it is noticed", || {
        matches!(write(), Err(Error::ReadOnly { place: "the database file was made read-only", .. }))
    });
    let update = db.execute_with_pool(|conn| Ok(conn.execute("UPDATE t SET value = 2", [])?));
    assert!(matches!(update, Err(Error::ReadOnly { .. })), "{update:?}");
    assert_eq!(count(&test.db, "t").unwrap(), 5_000, "who reads goes on");
    allow(0o644);
    eventually("it may be written again", || write().is_ok());
}

#[test]
#[cfg(unix)]
fn a_hard_link_to_an_open_file_is_refused_by_the_name_to_use_and_opens_after_it() {
    let test = TestDb::with_defaults();
    test.fill(2);
    let link = test.folder.path().join("link.sqlite");
    std::fs::hard_link(test.path(), &link).unwrap();
    for pooled in [true, false] {
        let error = DatabaseManager::builder().path(&link).use_pool(pooled).build().expect_err("two logs of one file");
        let name = test.db.path().display().to_string();
        assert!(matches!(&error, Error::InvalidPath { .. }) && error.to_string().contains(&name), "{error}");
    }
    assert_eq!(count(&test.db, "t").unwrap(), 2, "nothing was harmed");
    test.db.blocking().close_pool().unwrap();
    let linked = DatabaseManager::open(&link).unwrap();
    assert_eq!(count(&linked, "t").unwrap(), 2);
    DatabaseManager::open(test.path()).expect_err("now this is the other name");
}
