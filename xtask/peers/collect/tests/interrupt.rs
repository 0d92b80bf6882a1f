//! Ctrl-C on the program itself: whatever it made is gone, whatever was there before is as it was.
#![cfg(unix)]

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

/// Waits until somebody has a folder below this one to measure in.
fn wait_for_measuring(made: &Path, child: &mut Child) {
    let measured = || fs::read_dir(made).unwrap().flatten().any(|place| place.path().join("measured").exists());
    while !measured() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before anything was measured");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_interrupted_run_leaves_nothing_behind_and_what_was_there_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let (made, written) = (folder.path().join("made"), folder.path().join("written"));
    fs::create_dir(&made).unwrap();
    fs::create_dir(&written).unwrap();
    let figures = written.join("figures.json");
    fs::write(&figures, "those of an earlier run").unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_peers-collect"))
        .args(["--runner", concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/runner.sh"), "endless"])
        .args(["--folder".as_ref(), made.as_os_str(), "--json".as_ref(), figures.as_os_str()])
        .args(["--markdown".as_ref(), written.join("figures.md").as_os_str()])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for_measuring(&made, &mut child);
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "error: interrupted; nothing was written\n");
    assert!(!output.status.success());
    assert_eq!(fs::read_dir(&made).unwrap().count(), 0);
    assert_eq!(fs::read_dir(&written).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(&figures).unwrap(), "those of an earlier run");
}
