//! Named bundles of settings for common uses.
//!
//! Owns the figures; it must not know how layers are merged.
//! Invariant: a preset sets only the keys its source names, everything else stays at its default.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::key::Key;
use crate::value::Value;

/// A bundle of settings for a common use, with the figures of the feature description.
///
/// # Examples
///
/// ```
/// use pool_config::{PoolConfig, Preset};
///
/// let config = PoolConfig::preset(Preset::HighThroughput);
/// assert_eq!(config.max_connections(), 25);
/// assert_eq!("high_throughput".parse(), Ok(Preset::HighThroughput));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Preset {
    /// Web applications with moderate traffic: 10 connections, at least 2, waiting up to 5 s.
    WebApplication,
    /// High throughput: 25 connections, at least 5, waiting up to 2 s, 5,000 cached results.
    HighThroughput,
    /// Batch processing: 5 connections, at least 1, waiting up to 30 s, no query cache.
    Batch,
    /// Finding faults: log events, health checks, a round of upkeep every 5 s.
    Debug,
}

impl Preset {
    /// Every preset.
    pub const ALL: &'static [Preset] = &[Preset::WebApplication, Preset::HighThroughput, Preset::Batch, Preset::Debug];

    /// Returns the name in snake case, such as `web_application`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Preset::WebApplication => "web_application",
            Preset::HighThroughput => "high_throughput",
            Preset::Batch => "batch",
            Preset::Debug => "debug",
        }
    }

    /// Returns what the preset sets.
    #[must_use]
    pub const fn settings(self) -> &'static [(Key, Value)] {
        match self {
            Preset::WebApplication => {
                const {
                    &[
                        (Key::MaxConnections, Value::Count(10)),
                        (Key::MinConnections, Value::Count(2)),
                        (Key::AcquireTimeout, Value::Time(Duration::from_secs(5))),
                    ]
                }
            }
            Preset::HighThroughput => {
                const {
                    &[
                        (Key::MaxConnections, Value::Count(25)),
                        (Key::MinConnections, Value::Count(5)),
                        (Key::AcquireTimeout, Value::Time(Duration::from_secs(2))),
                        (Key::EnableQueryCache, Value::Flag(true)),
                        (Key::MaxCacheSize, Value::Count(5_000)),
                    ]
                }
            }
            Preset::Batch => {
                const {
                    &[
                        (Key::MaxConnections, Value::Count(5)),
                        (Key::MinConnections, Value::Count(1)),
                        (Key::EnableQueryCache, Value::Flag(false)),
                        (Key::AcquireTimeout, Value::Time(Duration::from_secs(30))),
                    ]
                }
            }
            Preset::Debug => {
                const {
                    &[
                        (Key::EnableLogging, Value::Flag(true)),
                        (Key::EnableHealthChecks, Value::Flag(true)),
                        (Key::ReapInterval, Value::Time(Duration::from_secs(5))),
                    ]
                }
            }
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// Parses the name in snake case.
impl FromStr for Preset {
    type Err = UnknownPreset;

    fn from_str(name: &str) -> Result<Preset, UnknownPreset> {
        let found = Preset::ALL.iter().copied().find(|preset| preset.name() == name);
        found.ok_or_else(|| UnknownPreset { name: name.to_owned() })
    }
}

/// No preset has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no preset is called {name:?}; allowed: web_application, high_throughput, batch, debug")]
#[non_exhaustive]
pub struct UnknownPreset {
    /// The name that was asked for.
    pub name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_of_every_preset_is_allowed() {
        for preset in Preset::ALL {
            for (key, value) in preset.settings() {
                assert_eq!(key.kind().check(*value), Ok(()), "{preset} {key}");
            }
        }
    }

    #[test]
    fn a_preset_is_found_by_its_name_and_others_are_listed() {
        for preset in Preset::ALL {
            assert_eq!(preset.name().parse(), Ok(*preset));
        }
        assert_eq!(
            "fast".parse::<Preset>().unwrap_err().to_string(),
            "no preset is called \"fast\"; allowed: web_application, high_throughput, batch, debug"
        );
    }
}
