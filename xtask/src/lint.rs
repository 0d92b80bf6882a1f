//! `lint`: formatting, the rules of the house, clippy. The fastest answer comes first.

use crate::{error::Error, house, process::Process, workspace::Workspace};

pub(crate) fn run() -> Result<(), Error> {
    Process::cargo("fmt").args(["--all", "--", "--check"]).run()?;
    house::run()?;
    clippy(&["--workspace", "--all-targets", "--all-features"])?;
    // With all features on nobody would notice a crate that needs one of its optional features to build.
    for package in Workspace::load()?.packages.iter().filter(|package| !package.features.is_empty()) {
        clippy(&["-p", &package.name, "--no-default-features"])?;
    }
    Ok(())
}

fn clippy(scope: &[&str]) -> Result<(), Error> {
    Process::cargo("clippy").args(scope.iter().copied()).args(["--locked", "--", "-D", "warnings"]).run()
}
