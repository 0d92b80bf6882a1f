//! Builds the demo optimised and becomes it: figures of an unoptimised build would not be worth showing.

use std::process::Command;

use crate::{error::Error, flags::DemoFlags, process::Process};

const BUILD: [&str; 5] = ["--release", "--package", "xtask", "--features", "demo"];

pub(crate) fn run(_: &DemoFlags) -> Result<(), Error> {
    // Cargo shows how far it is; a build that has nothing to do is a line.
    Process::cargo("build").args(BUILD).run()?;
    // In the user's folder, with the user's words: the paths among them mean something there.
    let demo = Process::cargo("run").arg("--quiet").args(BUILD).arg("--").args(std::env::args().skip(1));
    become_it(demo)
}

/// Runs it in the place of this process, so that Ctrl-C is its alone.
#[cfg(unix)]
fn become_it(demo: Process) -> Result<(), Error> {
    use std::os::unix::process::CommandExt as _;
    let mut command: Command = demo.here();
    let source = command.exec();
    Err(Error::NotStarted { command: demo.to_string(), source })
}

/// Runs it and hands on how it ended.
#[cfg(not(unix))]
fn become_it(demo: Process) -> Result<(), Error> {
    let mut command: Command = demo.here();
    let status = command.status().map_err(|source| Error::NotStarted { command: demo.to_string(), source })?;
    std::process::exit(status.code().unwrap_or(1))
}
