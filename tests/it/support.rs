//! What the tests share: databases in temporary folders, and running the test binary as another process.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pool_manager::{DatabaseManager, PoolConfig, PoolConfigBuilder, Result};

/// A database file in a folder that goes away with it.
pub(crate) struct TestDb {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) db: DatabaseManager,
}

impl TestDb {
    pub(crate) fn new(config: PoolConfigBuilder) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let db = DatabaseManager::new().with_pooling(folder.path().join("test.sqlite"), config).unwrap();
        Self { folder, db }
    }

    pub(crate) fn with_defaults() -> Self {
        Self::new(PoolConfig::builder())
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("test.sqlite")
    }

    /// A connection that is none of the pool's: what another program would use.
    pub(crate) fn foreign(&self) -> pool_manager::rusqlite::Connection {
        let connection = pool_manager::rusqlite::Connection::open(self.path()).unwrap();
        connection.busy_timeout(Duration::from_secs(10)).unwrap();
        connection
    }

    /// A table `t (id, value)` with rows 1 to `rows`.
    pub(crate) fn fill(&self, rows: i64) {
        self.db
            .blocking()
            .write(move |tx| {
                tx.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, value INTEGER NOT NULL)")?;
                let mut insert = tx.prepare_cached("INSERT INTO t VALUES (?1, 0)")?;
                for id in 1..=rows {
                    insert.execute([id])?;
                }
                Ok(())
            })
            .unwrap();
    }
}

pub(crate) fn count(db: &DatabaseManager, table: &str) -> Result<i64> {
    let sql = format!("SELECT count(*) FROM {table}");
    db.blocking().read(|conn| Ok(conn.query_row(&sql, [], |row| row.get(0))?))
}

/// A query that runs until it is interrupted.
pub(crate) const ENDLESS: &str =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

/// Waits for something that another thread is about to do. The limit only matters when it never does.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < Duration::from_secs(30), "never came true: {what}");
        std::thread::yield_now();
    }
}

/// Runs one test of this binary as a process of its own; it finds `role` and `path` in its environment.
pub(crate) fn another_process(test: &str, role: &str, path: &std::path::Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env("POOL_TEST_ROLE", role)
        .env("POOL_TEST_PATH", path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Which role this process has, when `another_process` started it.
pub(crate) fn role() -> Option<(String, PathBuf)> {
    let role = std::env::var("POOL_TEST_ROLE").ok()?;
    Some((role, std::env::var_os("POOL_TEST_PATH")?.into()))
}

/// Collects what is logged, for one thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Runs something on this thread and returns what it logged there.
pub(crate) fn logged<T>(run: impl FnOnce() -> T) -> String {
    with_log(|_| drop(run()))
}

/// Does something again and again until what was logged, there or on threads that log for it, is as it should be; returns that.
pub(crate) fn logged_until(holds: impl Fn(&str) -> bool, mut run: impl FnMut()) -> String {
    with_log(|log| {
        eventually("it is logged", || {
            run();
            holds(&String::from_utf8_lossy(&log.0.lock()))
        });
    })
}

fn with_log(run: impl FnOnce(&Log)) -> String {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    tracing::subscriber::with_default(subscriber, || run(&log));
    let text = log.0.lock().clone();
    String::from_utf8(text).unwrap()
}
