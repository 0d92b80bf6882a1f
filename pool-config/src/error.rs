//! What can be wrong with a configuration.
//!
//! Owns the texts an operator reads; it must not know how problems are found.
//! Invariant: a problem names what is wrong, where it is, and what is allowed instead.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::key::Key;
use crate::kind::Fault;
use crate::origin::{After, Origin, Printable};
use crate::source::Format;
use crate::value::Value;

/// One thing that is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A value that its key does not take.
    #[error("{key} = {} {fault}, from {origin}; allowed: {}", Printable(.value), .key.allowed())]
    #[non_exhaustive]
    InvalidSetting {
        /// The key.
        key: Key,
        /// The value as it was written.
        value: String,
        /// Where it was written.
        origin: Origin,
        /// What is wrong with it.
        fault: Fault,
    },

    /// A key that does not exist.
    #[error(
        "{}{} is not a known key, from {}; {}",
        Printable(.key), equals(.value), After(.key, .origin), allowed_keys(.nearest)
    )]
    #[non_exhaustive]
    UnknownKey {
        /// The key as it was written.
        key: String,
        /// The value as it was written; `None` where no known key is near. It may be a secret then, meant for
        /// somebody else.
        value: Option<String>,
        /// Where it was written.
        origin: Origin,
        /// The known key that was probably meant, as it would be written there.
        nearest: Option<String>,
    },

    /// A key that one layer sets twice, in both spellings or in the same one.
    #[error(
        "{key} is set twice in one layer, to {} from {first} and to {} from {second}; allowed: one of them",
        Printable(.first_value), Printable(.second_value)
    )]
    #[non_exhaustive]
    GivenTwice {
        /// The key.
        key: Key,
        /// The value that is written first.
        first_value: String,
        /// Where it is written first.
        first: Origin,
        /// The value that is written again.
        second_value: String,
        /// Where it is written again.
        second: Origin,
    },

    /// Two values that do not fit together.
    #[error(
        "{key} = {value}, from {origin}, is above {limit} = {limit_value}, from {limit_origin}; allowed: at most {limit_value}"
    )]
    #[non_exhaustive]
    Conflict {
        /// The key that is too large.
        key: Key,
        /// Its value.
        value: Value,
        /// Where its value came from.
        origin: Origin,
        /// The key that limits it.
        limit: Key,
        /// The limit.
        limit_value: Value,
        /// Where the limit came from.
        limit_origin: Origin,
    },

    /// Something other than a table where a table must be.
    #[error("{} is {found}, from {origin}; allowed: {allowed}", Printable(.place))]
    #[non_exhaustive]
    NotATable {
        /// What must be a table.
        place: String,
        /// What was found, with its article.
        found: &'static str,
        /// Where it was found.
        origin: Origin,
        /// What is allowed.
        allowed: &'static str,
    },

    /// Text that breaks the rules of its format.
    #[error("{} line {line} column {column} is not {format}: {}", Printable(.name), Printable(.reason))]
    #[non_exhaustive]
    Syntax {
        /// The file or the name of the text.
        name: String,
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
        /// The format, `TOML`, `JSON` or `YAML`.
        format: &'static str,
        /// What the parser says.
        reason: String,
    },

    /// Bytes that are not UTF-8.
    #[error("{} is not text: {place} is not UTF-8", Printable(.name))]
    #[non_exhaustive]
    NotText {
        /// The file or the environment variable.
        name: String,
        /// The part that is not UTF-8.
        place: String,
    },

    /// Text or a file that is larger than any sensible configuration.
    #[error("{} is larger than {limit} bytes; allowed: a smaller file", Printable(.name))]
    #[non_exhaustive]
    TooLarge {
        /// The file or the name of the text.
        name: String,
        /// The most that is read, in bytes.
        limit: u64,
    },

    /// A file that cannot be opened or read; the cause is in `source()`.
    #[error("cannot read {}", Printable(&.path.to_string_lossy()))]
    #[non_exhaustive]
    Unreadable {
        /// The path as it was named.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// A path that names a directory, a device, a pipe or a socket.
    #[error("{} is {found}; allowed: a regular file", Printable(&.path.to_string_lossy()))]
    #[non_exhaustive]
    NotAFile {
        /// The path as it was named.
        path: PathBuf,
        /// What it is, with its article.
        found: &'static str,
    },

    /// A file whose name does not tell a known format.
    #[error(
        "{} has no known format; allowed: names that end in {}", Printable(&.path.to_string_lossy()), Format::endings()
    )]
    #[non_exhaustive]
    UnknownFormat {
        /// The path as it was named.
        path: PathBuf,
    },

    /// A source of another crate that failed; the cause is in `source()`.
    #[error("{} cannot be read", Printable(.name))]
    #[non_exhaustive]
    Provider {
        /// What the source calls itself.
        name: String,
        /// What the source said.
        source: Box<dyn Error + Send + Sync>,
    },
}

fn equals(value: &Option<String>) -> String {
    value.as_ref().map(|value| format!(" = {}", Printable(value))).unwrap_or_default()
}

fn allowed_keys(nearest: &Option<String>) -> String {
    match nearest {
        Some(name) => format!("did you mean {name}?"),
        None => {
            let names: Vec<_> = Key::ALL.iter().map(|key| key.name()).collect();
            format!("allowed: {}", names.join(", "))
        }
    }
}

impl Problem {
    /// Returns the known key that the problem is about.
    #[must_use]
    pub fn key(&self) -> Option<Key> {
        match self {
            Problem::InvalidSetting { key, .. } | Problem::GivenTwice { key, .. } | Problem::Conflict { key, .. } => {
                Some(*key)
            }
            _ => None,
        }
    }
}

/// Everything that is wrong with a configuration, found in one go.
///
/// Displays one problem as it is, several as their number and one problem a line.
/// `source()` is the cause of the first problem that has one.
#[derive(Debug)]
pub struct ConfigError {
    problems: Vec<Problem>,
    left_off: usize,
}

impl ConfigError {
    /// More problems than this help nobody; a hostile file may hold hundreds of thousands.
    pub(crate) const MOST: usize = 100;

    pub(crate) fn new(mut problems: Vec<Problem>) -> ConfigError {
        let left_off = problems.len().saturating_sub(Self::MOST);
        problems.truncate(Self::MOST);
        ConfigError { problems, left_off }
    }

    /// Returns the problems, at least one and at most a hundred, in the order of the layers.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Returns how many problems there are beyond [`problems`](Self::problems).
    #[must_use]
    pub fn left_off(&self) -> usize {
        self.left_off
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [problem] = self.problems.as_slice() {
            return write!(formatter, "{problem}");
        }
        write!(formatter, "{} problems in the configuration:", self.problems.len() + self.left_off)?;
        for problem in &self.problems {
            write!(formatter, "\n- {problem}")?;
        }
        if self.left_off > 0 {
            write!(formatter, "\n- and {} more", self.left_off)?;
        }
        Ok(())
    }
}

impl Error for ConfigError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.problems.iter().find_map(Error::source)
    }
}
