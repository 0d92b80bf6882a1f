//! Shows the settings that hold: `explain [FILE]` takes a file, or the one that is found from here, and the environment.
//!
//! `explain --example` prints a commented file of every setting, `explain --schema` its JSON schema,
//! `explain --database NAME [FILE]` the settings of one database.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line speaks to its user")]

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use pool_config::PoolConfig;

const USAGE: &str = "usage: explain [--database NAME] [FILE] | --example | --schema";

fn main() -> ExitCode {
    let text = match arguments(std::env::args_os().skip(1).collect()) {
        Some(Wanted::Example) => Ok(PoolConfig::example()),
        Some(Wanted::Schema) => Ok(PoolConfig::json_schema()),
        Some(Wanted::Settings { file, database }) => {
            let builder = match file {
                Some(file) => PoolConfig::builder().file(file),
                None => PoolConfig::builder().discover(),
            };
            let builder = builder.env();
            let config = database.map_or_else(|| builder.build(), |database| builder.build_for(&database));
            config.map(|config| config.explain().to_string())
        }
        None => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match text {
        // Whoever reads may stop early, `head` for one.
        Ok(text) => match io::stdout().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Err(error) => failed(&error),
        },
        Err(error) => failed(&error),
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("error: {error}");
    if let Some(cause) = error.source() {
        eprintln!("  because: {cause}");
    }
    ExitCode::FAILURE
}

enum Wanted {
    Settings { file: Option<OsString>, database: Option<String> },
    Example,
    Schema,
}

fn arguments(words: Vec<OsString>) -> Option<Wanted> {
    let words: Vec<Option<&str>> = words.iter().map(|word| word.to_str()).collect();
    let settings = |file: Option<&str>, database: Option<&str>| Wanted::Settings {
        file: file.map(OsString::from),
        database: database.map(str::to_owned),
    };
    match words.as_slice() {
        [Some("--example")] => Some(Wanted::Example),
        [Some("--schema")] => Some(Wanted::Schema),
        [] => Some(settings(None, None)),
        [Some("--database"), Some(name)] => Some(settings(None, Some(name))),
        [Some("--database"), Some(name), Some(file)] => Some(settings(Some(file), Some(name))),
        [Some(file)] if !file.starts_with("--") => Some(settings(Some(file), None)),
        _ => None,
    }
}
