//! `bench`: ours, and on request its peers, side by side on this machine.
//!
//! Programs that measure are workspaces of their own below `xtask/peers`, with their own lock files: the peers cannot all link one SQLite,
//! and nobody who only builds the project should have to fetch them. This builds those that are needed and lets `peers/collect` drive
//! them.

mod instructions;
mod sets;

use std::path::PathBuf;

use crate::{
    error::Error,
    flags::BenchFlags,
    process::Process,
    workspace::{Workspace, root},
};

/// The name that asks for the four claims of the description.
const HEADLINE: &str = "headline";

/// The name that asks for instructions instead of time.
const INSTRUCTIONS: &str = "instructions";

pub(crate) fn run(flags: &BenchFlags) -> Result<(), Error> {
    if flags.names == [INSTRUCTIONS] {
        return instructions::run(flags.accept);
    }
    let headline = flags.names == [HEADLINE];
    let chosen = sets::choose(if headline { &[] } else { &flags.names })?;
    let target = Workspace::load()?.target_directory.join("bench");
    let mut collect = Process::new(&build("collect", &[], &target)?.to_string_lossy());
    for set in chosen.sets.iter().filter(|set| !headline || set.name == "sqlite") {
        // The claims are compared with the driver alone, which is linked with ours.
        let features: &[&str] = if flags.peers || headline { &["--features", "peers"] } else { &[] };
        let others = if flags.peers && !headline { set.others } else { &[] };
        collect = collect.args(["--runner".into(), build(set.ours, features, &target)?.to_string_lossy()]);
        for other in others {
            collect = collect.args(["--runner".into(), build(other, &[], &target)?.to_string_lossy()]);
        }
    }
    if headline {
        collect = collect.arg("--headline");
    }
    collect = collect.args(chosen.scenarios).args(forwarded(flags));
    collect = collect.args(["--html".into(), target.join("report.html").to_string_lossy().into_owned()]);
    collect.args(["--typed".into(), typed()]).run_here()
}

/// The flags that are the collecting program's business, in its words.
fn forwarded(flags: &BenchFlags) -> Vec<String> {
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.to_string_lossy().into_owned());
    let number = |number: Option<u64>| number.map(|number| number.to_string());
    let values = [
        ("--rounds", number(flags.rounds)),
        ("--millis", number(flags.millis)),
        ("--memory-mib", number(flags.memory_mib)),
        ("--competitor", flags.competitor.clone()),
        ("--folder", path(&flags.folder)),
        ("--json", path(&flags.json)),
        ("--baseline", path(&flags.baseline)),
    ];
    let given = values.into_iter().filter_map(|(name, value)| Some([name.to_owned(), value?]));
    flags.quick.then(|| "--quick".to_owned()).into_iter().chain(given.flatten()).collect()
}

/// The command line as the user typed it.
fn typed() -> String {
    ["cargo xtask".to_owned()].into_iter().chain(std::env::args().skip(1)).collect::<Vec<_>>().join(" ")
}

/// Builds a program of `xtask/peers`, into a folder that all of them share, and says where it is.
fn build(folder: &str, features: &[&str], target: &std::path::Path) -> Result<PathBuf, Error> {
    let manifest = format!("xtask/peers/{folder}/Cargo.toml");
    let build = Process::cargo("build")
        .env("CARGO_TARGET_DIR", target.join("build").to_string_lossy())
        .args(["--release", "--locked", "--manifest-path", &manifest])
        .args(features.iter().copied());
    build.run()?;
    // Built already, so this only asks.
    let messages = build.arg("--message-format=json").read()?;
    let program = executable(&String::from_utf8_lossy(&messages));
    program
        .map(|program| root().join(program))
        .ok_or(Error::Missing { path: manifest, wanted_by: "what measures is a package with a program" })
}

/// The program that cargo's messages name last.
fn executable(messages: &str) -> Option<String> {
    messages.lines().rev().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(String::from)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_among_the_messages_of_a_build() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
                        {\"reason\":\"compiler-artifact\",\"executable\":\"target/release/x\"}\n\
                        {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(executable(messages).as_deref(), Some("target/release/x"));
        assert_eq!(executable("{\"reason\":\"build-finished\"}"), None);
    }
}
