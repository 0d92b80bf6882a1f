//! `props`: the property tests of all crates with many more cases than `test` gives them.
//!
//! Finds them by looking: a target belongs here when one of its source files states a property.

use crate::{
    error::Error,
    flags::PropsFlags,
    process::Process,
    workspace::{Package, Target, Workspace, from_root, text_files},
};

/// What a file with a property says.
const MARK: &str = "proptest!";

pub(crate) fn run(flags: &PropsFlags) -> Result<(), Error> {
    crate::workspace::require("pool-core/tests/props.rs", "it drives the pool against its model")?;
    let mut found = 0;
    for package in Workspace::load()?.packages {
        if package.name == "xtask" || flags.package.as_ref().is_some_and(|only| *only != package.name) {
            continue;
        }
        let mut targets = Vec::new();
        for target in &package.targets {
            targets.extend(selector(&package, target)?.into_iter().flatten());
        }
        if targets.is_empty() {
            continue;
        }
        found += 1;
        let profile: &[&str] = if flags.dev { &[] } else { &["--release"] };
        Process::cargo("test")
            .env("PROPTEST_CASES", flags.cases.to_string())
            .args(["-p", &package.name, "--all-features"])
            .args(profile.iter().copied())
            .args(targets)
            .run()?;
    }
    match (found, &flags.package) {
        (0, Some(package)) => {
            Err(Error::Missing { path: package.clone(), wanted_by: "no such crate has property tests" })
        }
        _ => Ok(()),
    }
}

/// The flags of `cargo test` that select a target, if it states a property.
fn selector(package: &Package, target: &Target) -> Result<Option<Vec<String>>, Error> {
    let kind = |wanted: &str| target.kind.iter().any(|kind| kind == wanted);
    let (sources, selector) = if kind("lib") {
        (text_files(&from_root(&package.folder().join("src")))?, vec!["--lib".to_owned()])
    } else if kind("test") {
        let top = from_root(&target.src_path);
        let folder = target.src_path.parent().map(from_root).unwrap_or_default();
        let mut files = text_files(&folder)?;
        // A test of one file is that file; one that is a folder (`it/main.rs`) is everything in it.
        if !top.ends_with("/main.rs") {
            files.retain(|file| file.path == top);
        }
        (files, vec!["--test".to_owned(), target.name.clone()])
    } else {
        return Ok(None);
    };
    Ok(sources.iter().any(|file| file.text.contains(MARK)).then_some(selector))
}
