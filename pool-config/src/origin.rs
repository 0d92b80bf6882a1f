//! Where a value came from, in words an operator can act on.
//!
//! Owns the description of places; it must not know values or how layers are merged.
//! Invariant: cloning an origin allocates nothing.

use std::fmt;
use std::panic::Location;
use std::path::Path;
use std::sync::Arc;

use crate::preset::Preset;

/// Where a value came from.
///
/// Displays as it appears in error texts: `default`, `preset batch`, `pool.toml line 3`,
/// `environment variable POOL_IDLE_TIMEOUT`, `code at src/main.rs:10:5`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// The default of the key.
    Default,
    /// A preset.
    Preset(Preset),
    /// A line of a file.
    File {
        /// The path as it was named.
        path: Arc<Path>,
        /// The line, from 1; `None` where the format does not let one know.
        line: Option<usize>,
        /// The key as it is written there, with the table around it.
        key: Arc<str>,
    },
    /// A line of text that code passed in.
    Text {
        /// The name that was passed in with the text.
        name: Arc<str>,
        /// The line, from 1; `None` where the format does not let one know.
        line: Option<usize>,
        /// The key as it is written there, with the table around it.
        key: Arc<str>,
    },
    /// An environment variable.
    Environment {
        /// The name of the variable.
        variable: Arc<str>,
    },
    /// A call of a setter.
    Code {
        /// Where the setter was called.
        location: &'static Location<'static>,
    },
    /// A source of another crate, see [`PoolConfigBuilder::provider`](crate::PoolConfigBuilder::provider).
    Provider {
        /// What the source calls itself.
        name: Arc<str>,
        /// The key as it is written there, with the table around it.
        key: Arc<str>,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => formatter.write_str("default"),
            Origin::Preset(preset) => write!(formatter, "preset {preset}"),
            Origin::File { path, line, key } => {
                write!(formatter, "{}", Printable(&path.to_string_lossy()))?;
                place(formatter, *line, key)
            }
            Origin::Text { name, line, key } => {
                write!(formatter, "{}", Printable(name))?;
                place(formatter, *line, key)
            }
            Origin::Environment { variable } => write!(formatter, "environment variable {}", Printable(variable)),
            Origin::Code { location } => write!(formatter, "code at {location}"),
            Origin::Provider { name, key } => {
                write!(formatter, "{}", Printable(name))?;
                place(formatter, None, key)
            }
        }
    }
}

/// Names the line, and the key where it is not written as the error text writes it.
fn place(formatter: &mut fmt::Formatter<'_>, line: Option<usize>, key: &str) -> fmt::Result {
    if let Some(line) = line {
        write!(formatter, " line {line}")?;
    }
    if crate::key::Key::find(key).is_none_or(|known| known.name() != key) {
        write!(formatter, " as {}", Printable(key))?;
    }
    Ok(())
}

/// How much of a name or value somebody else wrote an error text repeats.
const LONGEST: usize = 80;

/// Displays foreign text on one line: control characters escaped, the end of long text left out.
pub(crate) struct Printable<'a>(pub(crate) &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (count, c) in self.0.chars().enumerate() {
            if count == LONGEST {
                return formatter.write_str("...");
            }
            if c.is_control() {
                write!(formatter, "{}", c.escape_default())?;
            } else {
                write!(formatter, "{c}")?;
            }
        }
        Ok(())
    }
}
