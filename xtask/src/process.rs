//! Starts programs, and says each command line so that it can be repeated by hand. Knows nothing of what they do.
//!
//! Invariant: what is printed is what runs, environment included.

use std::{
    env,
    ffi::OsString,
    fmt,
    process::{Command, Output},
};

use crate::{error::Error, workspace};

/// A command line with its environment.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    program: OsString,
    /// The program as a person would type it.
    typed: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
}

impl Process {
    /// The program of this name.
    pub(crate) fn new(program: &str) -> Self {
        Self { program: program.into(), typed: program.into(), args: Vec::new(), env: Vec::new() }
    }

    /// The cargo that runs this very command.
    pub(crate) fn cargo(subcommand: &str) -> Self {
        let program = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        Self { program, typed: "cargo".into(), args: vec![subcommand.into()], env: Vec::new() }
    }

    /// The cargo of the nightly toolchain, which only rustup's `cargo` can find.
    pub(crate) fn nightly_cargo(subcommand: &str) -> Self {
        Self::new("cargo").args(["+nightly", subcommand])
    }

    /// Adds an argument.
    pub(crate) fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    pub(crate) fn args(mut self, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of the environment.
    pub(crate) fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Runs it from the root of the workspace, its output going where ours goes.
    pub(crate) fn run(&self) -> Result<(), Error> {
        eprintln!("$ {self}");
        let status = self.in_root().status().map_err(|source| self.not_started(source))?;
        if status.success() { Ok(()) } else { Err(Error::Failed { command: self.to_string() }) }
    }

    /// Runs it in the place of this process, so that Ctrl-C is its alone, and in the folder the user is in, where the user's paths mean
    /// something. Returns only if it could not be started.
    #[cfg(unix)]
    pub(crate) fn become_it(&self) -> Result<(), Error> {
        use std::os::unix::process::CommandExt as _;
        Err(self.not_started(self.here().exec()))
    }

    /// Runs it in the folder the user is in, where the user's paths mean something, and ends as it ends.
    #[cfg(not(unix))]
    pub(crate) fn become_it(&self) -> Result<(), Error> {
        let status = self.here().status().map_err(|source| self.not_started(source))?;
        std::process::exit(status.code().unwrap_or(1))
    }

    /// Runs it quietly from the root of the workspace and returns what it wrote to its standard output; a failure shows the rest.
    pub(crate) fn read(&self) -> Result<Vec<u8>, Error> {
        let output = self.in_root().output().map_err(|source| self.not_started(source))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        Err(Error::Failed { command: self.to_string() })
    }

    /// Tells whether it can be started and succeeds; its output goes nowhere.
    pub(crate) fn succeeds(&self) -> bool {
        matches!(self.in_root().output(), Ok(Output { status, .. }) if status.success())
    }

    /// The command as the standard library has it, to be started in the folder the user is in.
    pub(crate) fn here(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    fn in_root(&self) -> Command {
        let mut command = self.here();
        command.current_dir(workspace::root());
        command
    }

    fn not_started(&self, source: std::io::Error) -> Error {
        Error::NotStarted { command: self.to_string(), source }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.env {
            write!(f, "{name}={} ", Quoted(value))?;
        }
        f.write_str(&self.typed)?;
        self.args.iter().try_for_each(|arg| write!(f, " {}", Quoted(arg)))
    }
}

/// A word as a shell wants it.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |c: char| c.is_alphanumeric() || "-_+=./:,@%".contains(c);
        if !self.0.is_empty() && self.0.chars().all(plain) {
            f.write_str(self.0)
        } else {
            write!(f, "'{}'", self.0.replace('\'', r"'\''"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_printed_ready_for_a_shell() {
        let process = Process::cargo("test").env("RUSTFLAGS", "--cfg loom").args(["-p", "pool-core", "it's"]);
        assert_eq!(process.to_string(), r"RUSTFLAGS='--cfg loom' cargo test -p pool-core 'it'\''s'");
    }

    #[test]
    fn a_failing_program_is_an_error_that_names_its_command_line() {
        let error = Process::cargo("no-such-subcommand").read().unwrap_err();
        assert_eq!(error.to_string(), "failed: cargo no-such-subcommand");
    }

    #[test]
    fn a_program_that_is_not_there_neither_succeeds_nor_starts() {
        let process = Process::new("no-such-program-anywhere");
        assert!(!process.succeeds());
        assert!(matches!(process.run(), Err(Error::NotStarted { .. })));
    }
}
