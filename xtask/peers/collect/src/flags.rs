//! The command line. `cargo xtask bench` says the runners and hands on the rest.

use std::{path::PathBuf, time::Duration};

use clap::Parser;

use crate::drive::Effort;

/// Drives the programs that measure.
#[derive(Clone, Debug, Parser)]
pub struct Flags {
    /// Scenarios to measure, by name [default: all]
    pub scenarios: Vec<String>,
    /// A program that measures
    #[arg(long = "runner", value_name = "PROGRAM", required = true)]
    pub runners: Vec<String>,
    /// The four claims, instead of scenarios
    #[arg(long, conflicts_with = "scenarios")]
    pub headline: bool,
    /// Fewer and shorter rounds, smaller tables
    #[arg(long)]
    pub quick: bool,
    /// How often each figure is measured [default: 5, with --quick 3]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub rounds: Option<u64>,
    /// How long each measuring takes, in milliseconds [default: 300, with --quick 100]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub millis: Option<u64>,
    /// Size of the table of memory-10-connections, in MiB [default: 500, with --quick 64]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub memory_mib: Option<u64>,
    /// Only competitors whose name contains this
    #[arg(long, value_name = "TEXT")]
    pub competitor: Option<String>,
    /// Where databases are made [default: the system's folder for temporary files]
    #[arg(long)]
    pub folder: Option<PathBuf>,
    /// Write the figures to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Compare with the figures of this file
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// Write the page with the plots to this file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write the figures as a page of Markdown to this file
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
    /// The command line that repeats this run, for the pages
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub typed: String,
}

impl Flags {
    /// How much to measure.
    #[must_use]
    pub fn effort(&self) -> Effort {
        let (rounds, millis, mib) = if self.quick { (3, 100, 64) } else { (5, 300, 500) };
        Effort {
            rounds: self.rounds.unwrap_or(rounds),
            time: Duration::from_millis(self.millis.unwrap_or(millis)),
            mib: self.memory_mib.unwrap_or(mib),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn quick_is_a_default_that_numbers_override() {
        Flags::command().debug_assert();
        let effort = |line: &str| Flags::parse_from(format!("x --runner r {line}").split_whitespace()).effort();
        let quick = effort("--quick --rounds 9");
        assert_eq!((quick.rounds, quick.time, quick.mib), (9, Duration::from_millis(100), 64));
        let usual = effort("");
        assert_eq!((usual.rounds, usual.time, usual.mib), (5, Duration::from_millis(300), 500));
    }
}
