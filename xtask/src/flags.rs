//! Every command and flag there is, and nothing else: what `cargo xtask --help` says is what this file says.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// The commands of the project.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, disable_help_subcommand = true)]
pub(crate) struct Flags {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// See it work: load 34,006 cities and serve them, or serve a database of your own, read-only
    Demo(DemoFlags),
    /// Run all tests of the workspace, those in the documentation included
    Test(TestFlags),
    /// Check formatting, the rules of the house and clippy, all warnings being errors
    Lint,
    /// Check which crate may know which
    Layers,
    /// Build the documentation, all warnings being errors
    Docs,
    /// Run the property tests with many cases
    Props(PropsFlags),
    /// Explore the interleavings of the atomic parts with loom
    Loom(LoomFlags),
    /// Run the tests of the unsafe parts under AddressSanitizer (nightly) and valgrind, where they are installed
    San(SanFlags),
    /// Feed the readers of settings invented input (nightly), where the tools are installed
    Fuzz(FuzzFlags),
    /// Run the tests of pool-core's unsafe parts under miri, where it is installed
    Miri(MiriFlags),
    /// Put one pool under thousands of tasks and threads
    Stress(StressFlags),
    /// Show the settings that hold and where each comes from
    Config(ConfigFlags),
    /// Measure ours beside its peers
    Bench(BenchFlags),
    /// Do everything that decides whether a change lands
    Ci,
}

/// Flags of `demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoFlags {
    /// A SQLite database to serve; it is opened read-only
    #[arg(conflicts_with = "file")]
    pub(crate) database: Option<PathBuf>,
    /// Where to make the demo's own database [default: a new file in the system's folder for temporary files]
    #[arg(long)]
    pub(crate) file: Option<PathBuf>,
    /// Seconds each phase lasts
    #[arg(long, default_value_t = 3.0, value_parser = seconds)]
    pub(crate) seconds: f64,
    /// Tasks that work at the same time
    #[arg(long, default_value_t = 64, value_parser = at_least_one)]
    pub(crate) tasks: usize,
    /// Connections of the pool at most
    #[arg(long, default_value_t = 10, value_parser = at_least_one)]
    pub(crate) connections: usize,
}

/// Reads a time in seconds that a phase can last.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=3_600.0).contains(&seconds) => Ok(seconds),
        _ => Err("from 0.1 to 3600".into()),
    }
}

/// Reads how many of something there are to be.
fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (1..=10_000).contains(&number) => Ok(number),
        _ => Err("from 1 to 10000".into()),
    }
}

/// Flags of `test`.
#[derive(Debug, Args)]
pub(crate) struct TestFlags {
    /// Handed to `cargo test`: a filter, `-p <crate>`, `-- --nocapture`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) args: Vec<String>,
}

/// Flags of `props`.
#[derive(Debug, Args)]
pub(crate) struct PropsFlags {
    /// Cases each property is tried with
    #[arg(long, default_value_t = 2_000)]
    pub(crate) cases: u32,
    /// Use the unoptimised build that `test` has made already
    #[arg(long)]
    pub(crate) dev: bool,
    /// Only this crate
    #[arg(short, long)]
    pub(crate) package: Option<String>,
}

/// Flags of `loom`.
#[derive(Debug, Args)]
pub(crate) struct LoomFlags {
    /// How often loom may take a thread off its processor in one run [default: what the models themselves say]
    #[arg(long)]
    pub(crate) preemptions: Option<u32>,
    /// Only models whose name contains this
    pub(crate) filter: Option<String>,
}

/// Flags of `san`.
#[derive(Debug, Args)]
pub(crate) struct SanFlags {
    /// Only valgrind, on the build that `test` has made already
    #[arg(long)]
    pub(crate) valgrind_only: bool,
}

/// Flags of `fuzz`.
#[derive(Debug, Args)]
pub(crate) struct FuzzFlags {
    /// Seconds to go on for
    #[arg(long, default_value_t = 60)]
    pub(crate) seconds: u32,
}

/// Flags of `config`.
#[derive(Debug, Args)]
pub(crate) struct ConfigFlags {
    /// A file of settings [default: what POOL_CONFIG names, else the pool.toml here or above]
    pub(crate) file: Option<PathBuf>,
    /// Show the settings of this database, with its own table
    #[arg(long, value_name = "NAME")]
    pub(crate) database: Option<String>,
    /// Write pool.example.toml and pool.schema.json anew from the table of settings
    #[arg(long, conflicts_with_all = ["file", "database"])]
    pub(crate) write: bool,
}

/// Flags of `miri`.
#[derive(Debug, Args)]
pub(crate) struct MiriFlags {
    /// Only tests whose name contains this
    pub(crate) filter: Option<String>,
}

/// Flags of `stress`.
#[derive(Debug, Args)]
pub(crate) struct StressFlags {
    /// How many times in a row
    #[arg(long, default_value_t = 1)]
    pub(crate) rounds: u32,
}

/// Flags of `bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchFlags {
    /// Scenarios or sets of them (pool, sqlite, cache, statement, config), or `headline`: the description's four claims, or
    /// `instructions`: what the hot paths take, where valgrind is installed [default: all scenarios]
    pub(crate) names: Vec<String>,
    /// Build and measure the peers, too
    #[arg(long)]
    pub(crate) peers: bool,
    /// Fewer and shorter rounds, a smaller table
    #[arg(long)]
    pub(crate) quick: bool,
    /// How often each figure is measured [default: 5, with --quick 3]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub(crate) rounds: Option<u64>,
    /// How long each measuring takes, in milliseconds [default: 300, with --quick 100]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub(crate) millis: Option<u64>,
    /// Size of the table of memory-10-connections, in MiB [default: 500, with --quick 64]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub(crate) memory_mib: Option<u64>,
    /// Only competitors whose name contains this
    #[arg(long, value_name = "TEXT")]
    pub(crate) competitor: Option<String>,
    /// Where databases are made [default: the system's folder for temporary files]
    #[arg(long)]
    pub(crate) folder: Option<PathBuf>,
    /// Write the figures to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Compare with the figures that --json wrote to this file in an earlier run
    #[arg(long, value_name = "FILE")]
    pub(crate) baseline: Option<PathBuf>,
    /// Write the figures as a page of Markdown to this file, as docs/figures.md is
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
    /// With `instructions`: let what is counted now be the accepted counts
    #[arg(long)]
    pub(crate) accept: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Flags::command().debug_assert();
    }

    #[test]
    fn arguments_of_cargo_test_pass_through() {
        let flags = Flags::try_parse_from(["xtask", "test", "-p", "pool-core", "--", "--nocapture"]).unwrap();
        let Command::Test(flags) = flags.command else { panic!("another command") };
        assert_eq!(flags.args, ["-p", "pool-core", "--", "--nocapture"]);
    }
}
