//! A database that this process may read and not write, or whose folder it may not write.
//!
//! The calls are made by another process without rights: this one may be the administrator's, who may do everything.

use std::fs::{Permissions, set_permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use pool_manager::{DatabaseManager, Result};

use crate::support::{TestDb, count, role};

/// A user who owns nothing, on most systems.
const NOBODY: u32 = 65_534;

/// What the process without rights was told at each step.
fn without_rights(test: &str, path: &Path) -> Vec<String> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([&format!("rights::{test}"), "--exact", "--nocapture", "--test-threads=1"])
        .env("POOL_TEST_ROLE", "without rights")
        .env("POOL_TEST_PATH", path)
        .current_dir("/");
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let told: Vec<_> = lines.lines().filter_map(|line| Some(line.split_once("told: ")?.1.to_owned())).collect();
    assert!(output.status.success(), "{lines}");
    told
}

/// The side of the process without rights; tells whether this is it.
fn is_without_rights() -> bool {
    let Some((_, path)) = role() else { return false };
    let mut told = std::io::stdout();
    let mut tell = |result: Result<String>| {
        writeln!(told, "told: {}", result.unwrap_or_else(|error| error.to_string())).unwrap();
    };
    match DatabaseManager::open(&path) {
        Err(error) => tell(Err(error)),
        Ok(db) => {
            tell(count(&db, "t").map(|rows| rows.to_string()));
            let write = db.blocking().write(|tx| Ok(tx.execute("INSERT INTO t (value) VALUES (1)", [])?));
            tell(write.map(|_| "written".to_owned()));
            tell(db.blocking().close_pool().map(|()| "closed".to_owned()));
        }
    }
    true
}

fn allow(path: &Path, mode: u32) {
    set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// The files of an open database.
const FILES: [&str; 3] = ["test.sqlite", "test.sqlite-wal", "test.sqlite-shm"];

#[test]
fn who_may_only_read_reads_and_closes_without_an_error() {
    if is_without_rights() {
        return;
    }
    let test = TestDb::with_defaults();
    test.fill(3);
    allow(test.folder.path(), 0o555);
    FILES.iter().for_each(|name| allow(&test.folder.path().join(name), 0o444));
    let told = without_rights("who_may_only_read_reads_and_closes_without_an_error", &test.path());
    let refused = "cannot write here: the database was opened read-only or its file may not be written";
    assert_eq!(told, ["3", refused, "closed"]);
    allow(test.folder.path(), 0o755);
}

#[test]
fn who_may_write_the_files_and_not_their_folder_writes_as_long_as_others_keep_the_log() {
    if is_without_rights() {
        return;
    }
    const NAME: &str = "who_may_write_the_files_and_not_their_folder_writes_as_long_as_others_keep_the_log";
    let test = TestDb::with_defaults();
    test.fill(3);
    allow(test.folder.path(), 0o555);
    FILES.iter().for_each(|name| allow(&test.folder.path().join(name), 0o666));
    assert_eq!(without_rights(NAME, &test.path()), ["3", "written", "closed"]);
    assert_eq!(count(&test.db, "t").unwrap(), 4);
    allow(test.folder.path(), 0o755);
    test.db.blocking().close_pool().unwrap();
    allow(test.folder.path(), 0o555);
    let path = test.folder.path().canonicalize().unwrap().join("test.sqlite");
    let reason = "its folder may not be written, where SQLite has to keep the log of a database in WAL mode";
    assert_eq!(without_rights(NAME, &test.path()), [format!("cannot open database {path:?}: {reason}")]);
    allow(test.folder.path(), 0o755);
}
