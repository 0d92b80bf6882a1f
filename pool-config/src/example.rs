//! A file of every setting with its default, for those who write one.
//!
//! Owns the layout; it must not know any key.
//! Invariant: taken as it is the file sets nothing, and with its settings switched on it sets the defaults.

use std::fmt::Write as _;

use crate::config::PoolConfig;
use crate::key::Key;
use crate::value::Value;

const HEAD: &str = "\
#:schema ./pool.schema.json

# Every setting there is, with its default. Take the # in front of a line away to set it.
#
# Times are whole numbers of milliseconds or text like \"1m 30s\", sizes whole numbers of bytes or text like \"64 MiB\".
# Keys may be spelled max_connections or maxConnections. Environment variables win over this file:
# POOL_MAX_CONNECTIONS for all databases, POOL_DATABASES__NAME__MAX_CONNECTIONS for one.
";

const DATABASES: &str = "
# ---- databases ----

# What is special to one database stands in a table with its name, and wins over the settings above.
#[databases.users]
#max_connections = 4
";

impl PoolConfig {
    /// Returns a commented TOML file of every key with its meaning, what is allowed, and its default.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_config::PoolConfig;
    ///
    /// let example = PoolConfig::example();
    /// assert!(example.contains("\n#max_connections = 10\n"));
    /// assert_eq!(PoolConfig::builder().toml_str("example", example).build()?, PoolConfig::default());
    /// # Ok::<(), pool_config::ConfigError>(())
    /// ```
    #[must_use]
    pub fn example() -> String {
        let mut text = HEAD.to_owned();
        let mut section = None;
        for key in Key::ALL.iter().copied() {
            if section.replace(key.section()) != Some(key.section()) {
                let _ = write!(text, "\n# ---- {} ----\n", key.section());
            }
            text.push('\n');
            for line in key.doc().lines() {
                // An empty line of the documentation parts paragraphs, which a file needs less than a short screen.
                if !line.is_empty() {
                    let _ = writeln!(text, "# {line}");
                }
            }
            let _ = writeln!(text, "# Allowed: {}.", key.allowed());
            if !key.is_live() {
                text.push_str("# A pool that is open has to be opened anew for a new value.\n");
            }
            let _ = writeln!(text, "#{key} = {}", written(key.default_value()));
        }
        text.push_str(DATABASES);
        text
    }
}

/// A value as a TOML file has it.
fn written(value: Value) -> String {
    match value {
        Value::Flag(_) | Value::Count(_) | Value::Share(_) => value.to_string(),
        _ => format!("\"{value}\""),
    }
}
