//! The effective configuration as text, for an operator who asks "why this value?".
//!
//! Owns the layout; it must not know how values came to hold.
//! Invariant: one line a key, however long or strange the names of files and variables are.

use std::fmt;

use crate::config::PoolConfig;
use crate::key::Key;

/// A configuration that displays as a table, see [`PoolConfig::explain`].
#[derive(Debug, Clone, Copy)]
pub struct Explanation<'a> {
    config: &'a PoolConfig,
}

impl PoolConfig {
    /// Returns a view that displays every key with its value, where that came from, and what it hides.
    ///
    /// Warnings follow the table.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_config::{PoolConfig, Preset};
    ///
    /// let config = PoolConfig::builder()
    ///     .preset(Preset::HighThroughput)
    ///     .env_from([("POOL_MAX_CONNECTIONS", "50")])
    ///     .build()?;
    /// let text = config.explain().to_string();
    /// let line = text.lines().find(|line| line.contains("max_connections")).unwrap();
    /// let words: Vec<_> = line.split_whitespace().collect();
    /// assert_eq!(
    ///     words.join(" "),
    ///     "max_connections 50 environment variable POOL_MAX_CONNECTIONS \
    ///      instead of 25 (preset high_throughput), 10 (default)"
    /// );
    /// # Ok::<(), pool_config::ConfigError>(())
    /// ```
    #[must_use]
    pub fn explain(&self) -> Explanation<'_> {
        Explanation { config: self }
    }
}

/// One line of the table.
struct Row {
    key: Key,
    value: String,
    origin: String,
    hidden: String,
}

impl Explanation<'_> {
    fn rows(&self) -> Vec<Row> {
        let config = self.config;
        let row = |key: Key| {
            let hidden = config.overridden(key).iter().map(|hidden| format!("{} ({})", hidden.value, hidden.origin));
            let hidden = hidden.collect::<Vec<_>>().join(", ");
            let (value, origin) = (config.value(key).to_string(), config.origin(key).to_string());
            Row { key, value, origin, hidden }
        };
        Key::ALL.iter().copied().map(row).collect()
    }
}

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.rows();
        let width = |text: fn(&Row) -> &str| rows.iter().map(|row| text(row).chars().count()).max().unwrap_or_default();
        let keys = width(|row| row.key.name());
        let (values, origins) = (width(|row| &row.value), width(|row| &row.origin));
        let mut section = None;
        for Row { key, value, origin, hidden } in &rows {
            if section.replace(key.section()) != Some(key.section()) {
                writeln!(formatter, "{}", key.section())?;
            }
            write!(formatter, "  {key:keys$}  {value:values$}  ")?;
            if hidden.is_empty() {
                writeln!(formatter, "{origin}")?;
            } else {
                writeln!(formatter, "{origin:origins$}  instead of {hidden}")?;
            }
        }
        for warning in self.config.warnings() {
            writeln!(formatter, "warning {}: {warning}", warning.name())?;
        }
        Ok(())
    }
}
