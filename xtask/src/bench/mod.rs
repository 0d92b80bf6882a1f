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
    check(flags)?;
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
    let page = target.join("report.html").to_string_lossy().into_owned();
    let files = written(flags).into_iter().chain([("--html", page)]);
    collect = collect.args(chosen.scenarios).args(effort(flags)).args(words(files));
    collect = collect.args(["--typed".into(), repeated(flags)]);
    eprintln!("$ {collect}");
    collect.become_it()
}

/// Refuses flags and names that do not go together, before anything is built.
fn check(flags: &BenchFlags) -> Result<(), Error> {
    let named = |name: &str| flags.names.iter().any(|named| named == name);
    let alone = flags.names.len() == 1;
    for name in [HEADLINE, INSTRUCTIONS] {
        if named(name) && !alone {
            return Err(Error::Misused { what: format!("`{name}` stands alone, without other names") });
        }
    }
    if flags.accept && !named(INSTRUCTIONS) {
        return Err(Error::Misused { what: "`--accept` goes with `instructions` alone".into() });
    }
    if named(INSTRUCTIONS) && (flags.peers || !effort(flags).is_empty() || !written(flags).is_empty()) {
        return Err(Error::Misused {
            what: "`instructions` is a table of its own and knows no flag but `--accept`".into(),
        });
    }
    if let Some(file) = flags.baseline.as_deref().filter(|file| !file.is_file()) {
        return Err(Error::Misused { what: format!("{} is no file that --json wrote", file.display()) });
    }
    Ok(())
}

/// The flags that say how much is measured, in the words of the collecting program and of the user alike.
fn effort(flags: &BenchFlags) -> Vec<String> {
    let number = |number: Option<u64>| number.map(|number| number.to_string());
    let values = [
        ("--rounds", number(flags.rounds)),
        ("--millis", number(flags.millis)),
        ("--memory-mib", number(flags.memory_mib)),
        ("--competitor", flags.competitor.clone()),
    ];
    let given = values.into_iter().filter_map(|(name, value)| Some((name, value?)));
    flags.quick.then(|| "--quick".to_owned()).into_iter().chain(words(given)).collect()
}

/// The flags that name files and folders.
fn written(flags: &BenchFlags) -> Vec<(&'static str, String)> {
    let values = [
        ("--folder", &flags.folder),
        ("--json", &flags.json),
        ("--baseline", &flags.baseline),
        ("--markdown", &flags.markdown),
    ];
    values.into_iter().filter_map(|(name, path)| Some((name, path.as_ref()?.to_string_lossy().into_owned()))).collect()
}

fn words<'n>(values: impl IntoIterator<Item = (&'n str, String)>) -> Vec<String> {
    values.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
}

/// The command line that measures the same again; where figures were written to is nobody else's concern.
fn repeated(flags: &BenchFlags) -> String {
    let peers = flags.peers.then(|| "--peers".to_owned());
    Process::new("cargo").args(["xtask", "bench"]).args(flags.names.clone()).args(peers).args(effort(flags)).to_string()
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
    use clap::Parser as _;

    use super::*;
    use crate::flags::{Command, Flags};

    fn flags(line: &str) -> BenchFlags {
        match Flags::try_parse_from(["xtask", "bench"].into_iter().chain(line.split_whitespace())).unwrap().command {
            Command::Bench(flags) => flags,
            other => panic!("another command: {other:?}"),
        }
    }

    #[test]
    fn what_is_shown_repeats_the_run_and_names_no_file() {
        let line = "read-point-sequential --peers --rounds 3 --competitor ours --json a/b --markdown c --folder d";
        let repeated = repeated(&flags(line));
        assert_eq!(repeated, "cargo xtask bench read-point-sequential --peers --rounds 3 --competitor ours");
    }

    #[test]
    fn what_does_not_go_together_is_refused_before_anything_is_built() {
        for line in [
            "headline cache-hit",
            "instructions headline",
            "cache-hit --accept",
            "instructions --rounds 2",
            "instructions --json x",
            "--baseline no-such-file.json",
        ] {
            assert!(matches!(check(&flags(line)), Err(Error::Misused { .. })), "{line}");
        }
        for line in ["", "headline --quick", "instructions --accept", "cache-hit pool --peers --json x"] {
            assert!(check(&flags(line)).is_ok(), "{line}");
        }
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
