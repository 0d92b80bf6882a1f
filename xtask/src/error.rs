//! What can go wrong in a command. Every variant says what to do about it or where to look.

use std::{io, path::PathBuf};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Error {
    /// A program ran and said no.
    #[error("failed: {command}")]
    Failed {
        /// The command line, ready to be pasted into a shell.
        command: String,
    },
    /// A program could not be started at all.
    #[error("cannot start: {command}")]
    NotStarted {
        /// The command line, ready to be pasted into a shell.
        command: String,
        /// What the system said.
        source: io::Error,
    },
    /// A file that a command lives on is not there.
    #[error("{path} is missing: {wanted_by}")]
    Missing {
        /// The file, from the root of the workspace.
        path: String,
        /// What needs it.
        wanted_by: &'static str,
    },
    /// A file or folder could not be read.
    #[error("cannot read {path}")]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file or folder could not be written.
    #[error("cannot write {path}")]
    Unwritable {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// `cargo metadata` answered something else than expected.
    #[error("cannot understand what cargo metadata says")]
    Metadata {
        /// Where it stopped making sense.
        source: serde_json::Error,
    },
    /// A check of the sources found something; what it was has been printed.
    #[error("{check} found {count} thing(s) to mend")]
    Found {
        /// The check.
        check: &'static str,
        /// How many findings were printed.
        count: usize,
    },
    /// There is no such set of benchmarks.
    #[error("no benchmarks called `{name}`, only: {known}")]
    UnknownBench {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// Names or flags of `bench` that do not go together.
    #[error("{what}")]
    Misused {
        /// What goes with what.
        what: String,
    },
    /// The demo could not go on.
    #[cfg(feature = "demo")]
    #[error(transparent)]
    Demo(crate::demo::Error),
    /// A step of `ci` failed; its own error has been printed.
    #[error("ci stopped at step `{step}`; to repeat it alone: {repeat}")]
    StepFailed {
        /// The name of the step.
        step: String,
        /// The command that repeats it.
        repeat: String,
        /// Why it failed.
        source: Box<Error>,
    },
}
