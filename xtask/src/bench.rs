//! `bench`: ours beside its peers. Each set of benchmarks is a workspace of its own below `xtask/peers`, with its own lock file: the peers
//! cannot all link one SQLite, and nobody who only builds the project should have to fetch them. A set whose peers cannot even be linked
//! with each other has programs below `runners`, each a workspace again; the set is then told where they are.

use std::{fs, path::Path};

use crate::{
    error::Error,
    flags::BenchFlags,
    process::Process,
    workspace::{from_root, root},
};

pub(crate) fn run(flags: &BenchFlags) -> Result<(), Error> {
    let sets = root().join("xtask/peers");
    let known = programs(&sets);
    if !known.contains(&flags.name) {
        return Err(Error::UnknownBench { name: flags.name.clone(), known: known.join(", ") });
    }
    let set = sets.join(&flags.name);
    let mut process = Process::cargo("run").args(["--release", "--locked", "--manifest-path", &manifest(&set), "--"]);
    for runner in programs(&set.join("runners")) {
        process = process.args(["--runner".into(), build(&set.join("runners").join(runner))?]);
    }
    process.args(flags.args.clone()).run()
}

/// Builds a runner and says where its program is.
fn build(folder: &Path) -> Result<String, Error> {
    let manifest = manifest(folder);
    let build = Process::cargo("build").args(["--release", "--locked", "--manifest-path", &manifest]);
    build.run()?;
    // Built already, so this only asks.
    let messages = build.arg("--message-format=json").read()?;
    executable(&String::from_utf8_lossy(&messages))
        .ok_or(Error::Missing { path: manifest, wanted_by: "a runner is a package with a program" })
}

/// The program that cargo's messages name last.
fn executable(messages: &str) -> Option<String> {
    messages.lines().rev().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(String::from)
    })
}

fn manifest(folder: &Path) -> String {
    from_root(&folder.join("Cargo.toml"))
}

/// The folders here that hold a package with a program, by name.
fn programs(folder: &Path) -> Vec<String> {
    let folders = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = folders
        .filter(|folder| ["Cargo.toml", "src/main.rs"].iter().all(|file| folder.path().join(file).is_file()))
        .map(|folder| folder.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_beside_the_sets_is_no_set() {
        let sets = programs(&root().join("xtask/peers"));
        assert!(sets.contains(&"sqlite".into()), "{sets:?}");
        assert!(!sets.contains(&"figures".into()), "{sets:?}");
    }

    #[test]
    fn the_program_is_found_among_the_messages_of_a_build() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
                        {\"reason\":\"compiler-artifact\",\"executable\":\"target/release/x\"}\n\
                        {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(executable(messages).as_deref(), Some("target/release/x"));
        assert_eq!(executable("{\"reason\":\"build-finished\"}"), None);
    }
}
