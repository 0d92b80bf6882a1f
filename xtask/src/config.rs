//! `config`: shows the settings that hold and why, and writes the files that are made from the table of settings.
//!
//! The example `explain` of pool-config does the work: the plain command line knows no other crate of the project.

use std::fs;

use crate::{error::Error, flags::ConfigFlags, process::Process, workspace::root};

/// What is made from the table of settings: the file, and the flag that prints it.
const WRITTEN: &[(&str, &str)] = &[("pool.example.toml", "--example"), ("pool.schema.json", "--schema")];

pub(crate) fn run(flags: &ConfigFlags) -> Result<(), Error> {
    if flags.write {
        return WRITTEN.iter().try_for_each(|(file, flag)| write(file, flag));
    }
    let database = flags.database.iter().flat_map(|name| ["--database".to_owned(), name.clone()]);
    let file = flags.file.iter().map(|file| file.to_string_lossy().into_owned());
    let explain = explain().args(database).args(file);
    // In the user's folder, where the file is looked for and where its name means something.
    let status = explain.here().status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(Error::Failed { command: explain.to_string() }),
        Err(source) => Err(Error::NotStarted { command: explain.to_string(), source }),
    }
}

fn explain() -> Process {
    let manifest = root().join("Cargo.toml").to_string_lossy().into_owned();
    Process::cargo("run").args(["--quiet", "--manifest-path", &manifest, "--package", "pool-config"]).args([
        "--all-features",
        "--example",
        "explain",
        "--",
    ])
}

fn write(file: &str, flag: &str) -> Result<(), Error> {
    let text = explain().arg(flag).read()?;
    let path = root().join(file);
    match fs::read(&path) {
        Ok(old) if old == text => println!("{file} is current"),
        _ => {
            fs::write(&path, text).map_err(|source| Error::Unwritable { path, source })?;
            println!("{file} is written");
        }
    }
    Ok(())
}
