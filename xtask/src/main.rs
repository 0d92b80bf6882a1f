//! The commands of the project: `cargo xtask <command>`.
//!
//! One file says which commands and flags there are (`flags`), one file does each command. `workspace` knows where things are,
//! `process` starts programs, `error` says what can go wrong.
//!
//! The command line alone builds in seconds and knows no other crate of the project, so that `ci` and `layers` work however broken
//! the rest is.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line speaks to its user")]

mod bench;
mod ci;
mod config;
#[cfg(feature = "demo")]
mod demo;
#[cfg(not(feature = "demo"))]
#[path = "launch.rs"]
mod demo;
mod docs;
mod error;
mod flags;
mod fuzz;
mod house;
mod layers;
mod lint;
mod loom;
mod miri;
mod process;
mod props;
mod san;
mod stress;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{
    error::Error,
    flags::{Command, Flags},
};

fn main() -> ExitCode {
    match run(Flags::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                eprintln!("  because: {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

/// Does one command; `ci` comes back here for each of its steps.
fn run(command: Command) -> Result<(), Error> {
    match command {
        Command::Demo(flags) => demo::run(&flags),
        Command::Test(flags) => test::run(&flags),
        Command::Lint => lint::run(),
        Command::Layers => layers::run(),
        Command::Docs => docs::run(),
        Command::Props(flags) => props::run(&flags),
        Command::Loom(flags) => loom::run(&flags),
        Command::San(flags) => san::run(&flags),
        Command::Fuzz(flags) => fuzz::run(&flags),
        Command::Miri(flags) => miri::run(&flags),
        Command::Stress(flags) => stress::run(&flags),
        Command::Config(flags) => config::run(&flags),
        Command::Bench(flags) => bench::run(&flags),
        Command::Ci => ci::run(),
    }
}
