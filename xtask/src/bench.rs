//! `bench`: ours beside its peers. Each set of benchmarks is a workspace of its own below `xtask/peers`, with its own lock file: the peers
//! cannot all link one SQLite, and nobody who only builds the project should have to fetch them.

use std::fs;

use crate::{
    error::Error,
    flags::BenchFlags,
    process::Process,
    workspace::{from_root, root},
};

pub(crate) fn run(flags: &BenchFlags) -> Result<(), Error> {
    let known = known();
    if !known.contains(&flags.name) {
        return Err(Error::UnknownBench { name: flags.name.clone(), known: known.join(", ") });
    }
    let manifest = from_root(&root().join("xtask/peers").join(&flags.name).join("Cargo.toml"));
    Process::cargo("run")
        .args(["--release", "--locked", "--manifest-path", &manifest, "--"])
        .args(flags.args.clone())
        .run()
}

/// The sets there are: each folder of `xtask/peers` with a manifest.
fn known() -> Vec<String> {
    let folders = fs::read_dir(root().join("xtask/peers")).into_iter().flatten().flatten();
    let mut names: Vec<String> = folders
        .filter(|folder| folder.path().join("Cargo.toml").is_file())
        .map(|folder| folder.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
