//! `test`: everything the workspace can test in one build, documentation and examples included. Plain cargo, so that nothing has to be
//! installed.

use crate::{error::Error, flags::TestFlags, process::Process, workspace::Workspace};

pub(crate) fn run(flags: &TestFlags) -> Result<(), Error> {
    let chosen = flags.args.iter().any(|arg| arg == "-p" || arg.starts_with("--package") || arg.starts_with("-p="));
    let scope: &[&str] = if chosen { &[] } else { &["--workspace"] };
    Process::cargo("test").args(scope.iter().copied()).arg("--all-features").args(flags.args.clone()).run()?;
    if flags.args.is_empty() { examples() } else { Ok(()) }
}

/// Runs what `cargo test` has only built: an example that fails misleads.
fn examples() -> Result<(), Error> {
    let workspace = Workspace::load()?;
    let built = workspace.target_directory.join("debug").join("examples");
    let targets = workspace.packages.iter().flat_map(|package| &package.targets);
    for example in targets.filter(|target| target.kind.iter().any(|kind| kind == "example")) {
        Process::new(&built.join(&example.name).to_string_lossy()).run()?;
    }
    Ok(())
}
