//! `demo`, as the plain command line does it: builds the demo optimised and becomes it. Figures of an unoptimised build would not be worth
//! showing, and no other command should wait for what the demo shows.

use crate::{error::Error, flags::DemoFlags, process::Process};

const BUILD: [&str; 5] = ["--release", "--package", "xtask", "--features", "demo"];

pub(crate) fn run(_: &DemoFlags) -> Result<(), Error> {
    // Cargo shows how far it is; a build that has nothing to do is a line.
    Process::cargo("build").args(BUILD).run()?;
    // In the user's folder, with the user's words: the paths among them mean something there.
    let words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    become_it(Process::cargo("run").arg("--quiet").args(BUILD).arg("--").args(words))
}

/// Runs it in the place of this process, so that Ctrl-C is its alone.
#[cfg(unix)]
fn become_it(demo: Process) -> Result<(), Error> {
    use std::os::unix::process::CommandExt as _;
    let source = demo.here().exec();
    Err(Error::NotStarted { command: demo.to_string(), source })
}

/// Runs it and hands on how it ended.
#[cfg(not(unix))]
fn become_it(demo: Process) -> Result<(), Error> {
    let status = demo.here().status().map_err(|source| Error::NotStarted { command: demo.to_string(), source })?;
    std::process::exit(status.code().unwrap_or(1))
}
