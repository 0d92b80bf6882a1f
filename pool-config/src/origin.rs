//! Where a value came from, in words an operator can act on.
//!
//! Owns the description of places; it must not know values or how layers are merged.
//! Invariant: cloning an origin allocates nothing.

use std::fmt;
use std::panic::Location;
use std::path::Path;
use std::sync::Arc;

use crate::key::Key;
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

/// Names the key as written only where it is not one of the table, spelled as error texts spell it.
impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { key, .. } | Origin::Text { key, .. } | Origin::Provider { key, .. } => {
                self.describe(formatter, Key::find(key).is_some_and(|known| known.name() == &**key))
            }
            _ => self.describe(formatter, false),
        }
    }
}

/// An origin in an error text that named the key as written already.
pub(crate) struct After<'a>(pub(crate) &'a str, pub(crate) &'a Origin);

impl fmt::Display for After<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let After(written, origin) = *self;
        let named = match origin {
            Origin::File { key, .. } | Origin::Text { key, .. } | Origin::Provider { key, .. } => &**key == written,
            Origin::Environment { variable } => &**variable == written,
            _ => false,
        };
        origin.describe(formatter, named)
    }
}

impl Origin {
    fn describe(&self, formatter: &mut fmt::Formatter<'_>, key_is_named: bool) -> fmt::Result {
        match self {
            Origin::Default => formatter.write_str("default"),
            Origin::Preset(preset) => write!(formatter, "preset {preset}"),
            Origin::File { path, line, key } => {
                place(formatter, &path.to_string_lossy(), *line, (!key_is_named).then_some(key))
            }
            Origin::Text { name, line, key } => place(formatter, name, *line, (!key_is_named).then_some(key)),
            Origin::Environment { .. } if key_is_named => formatter.write_str("the environment"),
            Origin::Environment { variable } => write!(formatter, "environment variable {}", Printable(variable)),
            Origin::Code { location } => write!(formatter, "code at {location}"),
            Origin::Provider { name, key } => place(formatter, name, None, (!key_is_named).then_some(key)),
        }
    }
}

fn place(formatter: &mut fmt::Formatter<'_>, name: &str, line: Option<usize>, key: Option<&Arc<str>>) -> fmt::Result {
    write!(formatter, "{}", Printable(name))?;
    if let Some(line) = line {
        write!(formatter, " line {line}")?;
    }
    if let Some(key) = key {
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
