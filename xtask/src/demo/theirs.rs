//! The demo with a file: somebody's own database, looked at, served, and left as it was.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use pool_manager::{DatabaseManager, PoolConfig};

use super::{
    error::{Error, pool_problem},
    foreign,
    inspect::{Fingerprint, inspect},
    numbers::{count, size},
    own::settings,
    phase::Stage,
    report::{self, Check},
    screen::Screen,
    stop::Stop,
};
use crate::flags::DemoFlags;

/// Explores, serves and closes the database in this file; another process may keep it locked for as long as `patience`.
pub(crate) async fn run(
    path: &Path,
    flags: &DemoFlags,
    patience: Duration,
    screen: Screen,
    stop: Stop,
) -> Result<(), Error> {
    let looking = screen.wait("looking at what is in it");
    let had_side_files = !side_files(path).is_empty();
    let seen = inspect(path).and_then(|before| Ok((foreign::explore(path, before.size, patience)?, before)));
    looking.abandon();
    let (contents, before) = seen?;
    let unusable =
        |error: pool_manager::Error| Error::Unusable { path: path.to_owned(), problem: pool_problem(&error) };
    let db = DatabaseManager::builder()
        .path(path)
        .read_only(true)
        .config(PoolConfig::builder().max_connections(flags.connections).busy_timeout(patience))
        .build()
        .map_err(unusable)?;
    let stage = Stage { db, screen, stop, length: Duration::from_secs_f64(flags.seconds), tasks: flags.tasks };
    println!(
        "{}: {} ({}, {}), read-only\n{}\n",
        screen.strong("pooled SQLite"),
        path.display(),
        size(before.size),
        count(contents.tables.len(), "table", "tables"),
        screen.quiet(&settings(&stage)),
    );
    foreign::show(screen, &contents);
    println!();
    let served = foreign::serve(&stage, &contents.queries).await;
    // Closed in any case, so that nothing is open when the file is looked at again.
    let closed = stage.db.close_pool().await;
    let (outcomes, mut checks) = served.and_then(|served| closed.map(|()| served)).map_err(unusable)?;
    checks.push(report::closed(&stage.stats()));
    let stopped = stage.stop.requested();
    drop(stage);
    checks.push(unchanged(&before, &inspect(path)?));
    if stopped {
        println!("\nstopped by the user; what was done until then:");
    }
    if outcomes.is_empty() {
        println!("nothing was asked: there was nothing to ask for, or no time");
    } else {
        report::phases(screen, &outcomes);
    }
    let failed = report::checks(screen, &checks);
    if !had_side_files && !side_files(path).is_empty() {
        let left = "SQLite left its -wal and -shm files beside the database: who reads a database in WAL mode needs them, and only who \
                    may write takes them away";
        println!("\n{}", screen.quiet(left));
    }
    if failed > 0 { Err(Error::Checks { failed }) } else { Ok(()) }
}

/// The files of the write-ahead log that are there.
fn side_files(path: &Path) -> Vec<PathBuf> {
    let beside = |ending| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    ["-wal", "-shm"].map(beside).into_iter().filter(|file| file.exists()).collect()
}

/// Says whether the file is what it was. If not, somebody else wrote: no connection of the demo can.
fn unchanged(before: &Fingerprint, after: &Fingerprint) -> Check {
    let text = match (before == after, after.hash) {
        (true, Some(hash)) => format!("the file is the same to the byte (hash {hash:016x})"),
        (true, None) => "the file has the same size and time (too large to compare every byte)".into(),
        (false, _) => {
            "the file changed meanwhile, by another program: every connection of the demo is read-only".into()
        }
    };
    Check { passed: true, text }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use pool_manager::rusqlite::Connection;
    use tempfile::TempDir;

    use super::*;

    /// A database made by these statements.
    fn database(sql: &str) -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("their own.sqlite");
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        (folder, path)
    }

    /// Serves a file as the command does, in a moment.
    fn serve(path: &Path) -> Result<(), Error> {
        let flags = DemoFlags { database: Some(path.into()), file: None, seconds: 0.1, tasks: 4, connections: 3 };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build().unwrap();
        runtime.block_on(run(path, &flags, Duration::from_millis(1), Screen::stdout(), Stop::default()))
    }

    /// What is wrong with a file, after its name.
    fn problem(path: &Path) -> String {
        serve(path).unwrap_err().to_string().replace(&path.display().to_string(), "it")
    }

    const LIBRARY: &str = r#"
        CREATE TABLE author (id INTEGER PRIMARY KEY, name TEXT UNIQUE);
        CREATE TABLE "book's ""title""" (title TEXT PRIMARY KEY, "by" INT REFERENCES author) WITHOUT ROWID;
        CREATE VIEW "all of them" AS SELECT * FROM author JOIN "book's ""title""" ON "by" = id;
        CREATE VIEW broken AS SELECT * FROM burnt;
        CREATE VIRTUAL TABLE words USING fts5(word);
        CREATE TABLE blank (a);
        INSERT INTO author VALUES (1, 'Ada'), (2, 'O''Brien');
        INSERT INTO "book's ""title""" VALUES ('a', 1), ('b', 1), ('c', 2);
        INSERT INTO words VALUES ('hello')"#;

    #[test]
    fn a_database_of_any_shape_is_served_and_stays_the_same_to_the_byte() {
        for journal in ["DELETE", "WAL"] {
            let (_folder, path) = database(&format!("PRAGMA journal_mode = {journal}; {LIBRARY}"));
            let before = fs::read(&path).unwrap();
            serve(&path).unwrap();
            assert!(before == fs::read(&path).unwrap(), "{journal}");
        }
    }

    #[test]
    fn a_database_without_tables_is_served_as_well() {
        let (_folder, path) = database("CREATE TABLE t (a); DROP TABLE t");
        serve(&path).unwrap();
    }

    #[test]
    fn a_locked_database_is_said_to_be_locked() {
        let (_folder, path) = database(LIBRARY);
        let other = Connection::open(&path).unwrap();
        other.execute_batch("BEGIN EXCLUSIVE").unwrap();
        assert_eq!(problem(&path), "it is locked by another process");
    }

    #[test]
    fn a_damaged_database_is_said_to_be_corrupt() {
        let (_folder, path) = database(LIBRARY);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        assert!(problem(&path).starts_with("it is corrupt: "), "cut off");
        let mut scribbled = whole;
        scribbled[4096..8192].fill(0xa5);
        fs::write(&path, &scribbled).unwrap();
        assert!(problem(&path).starts_with("it is corrupt: "), "scribbled on");
    }

    #[test]
    fn a_stopped_demo_still_closes_and_reports() {
        let (_folder, path) = database(LIBRARY);
        let flags = DemoFlags { database: Some(path.clone()), file: None, seconds: 60.0, tasks: 4, connections: 3 };
        let stop = Stop::default();
        stop.request();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build().unwrap();
        runtime.block_on(run(&path, &flags, Duration::from_millis(1), Screen::stdout(), stop)).unwrap();
    }
}
