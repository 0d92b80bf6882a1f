//! `test`: everything the workspace can test in one build, documentation included. Plain cargo, so that nothing has to be installed.

use crate::{error::Error, flags::TestFlags, process::Process};

pub(crate) fn run(flags: &TestFlags) -> Result<(), Error> {
    let chosen = flags.args.iter().any(|arg| arg == "-p" || arg.starts_with("--package") || arg.starts_with("-p="));
    let scope: &[&str] = if chosen { &[] } else { &["--workspace"] };
    Process::cargo("test").args(scope.iter().copied()).arg("--all-features").args(flags.args.clone()).run()
}
