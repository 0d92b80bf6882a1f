//! Settings of a connection pool: layered, checked, and every value knows where it came from.
//!
//! Useful alone: this crate opens nothing and knows no pool. It turns defaults, presets, files, environment variables
//! and code into one [`PoolConfig`], or into one [`ConfigError`] that tells everything that is wrong.
//!
//! ```
//! use pool_config::{Key, PoolConfig, Preset};
//! use std::time::Duration;
//!
//! let config = PoolConfig::builder()
//!     .preset(Preset::WebApplication)                        // later wins, key by key
//!     .toml_str("pool.toml", "maxConnections = 20\nidle_timeout = \"1m 30s\"") // or .file(path), .discover()
//!     .env_from([("POOL_ACQUIRE_TIMEOUT", "2s")])            // or .env()
//!     .min_connections(5)
//!     .build()?;
//!
//! assert_eq!(config.max_connections(), 20);
//! assert_eq!(config.acquire_timeout(), Duration::from_secs(2));
//! assert_eq!(config.origin(Key::MaxConnections).to_string(), "pool.toml line 1 as maxConnections");
//! assert_eq!(config.origin(Key::AcquireTimeout).to_string(), "environment variable POOL_ACQUIRE_TIMEOUT");
//! assert_eq!(config.overridden(Key::AcquireTimeout)[0].origin.to_string(), "preset web_application");
//!
//! let error = PoolConfig::builder().toml_str("pool.toml", "max_conections = 5").build().unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "max_conections = 5 is not a known key, from pool.toml line 1; did you mean max_connections?"
//! );
//! # Ok::<(), pool_config::ConfigError>(())
//! ```
//!
//! # How values are written
//!
//! | kind | in files | in variables | in code |
//! |---|---|---|---|
//! | count | `20` | `20` | `usize` |
//! | switch | `true` | `true`, `1`, `on`, `yes` and their opposites | `bool` |
//! | duration | `1500` (milliseconds) or `"1m 30s"` | the same, without quotes | [`Duration`](std::time::Duration) |
//! | duration that may be endless | the same, or `"never"` or `"off"` | the same, without quotes | a duration, or `None` |
//! | size | `4096` (bytes) or `"64 MiB"` | the same, without quotes | `u64`, bytes |
//! | count or size that may be endless | the same, or `"unlimited"` | the same, without quotes | a number, or `None` |
//! | share | `0.1` | `0.1` | `f64` |
//! | choice | `"normal"` | `normal` | [`Synchronous`], [`ExternalWriters`], [`WorkPlacement`] |
//!
//! Keys are spelled `max_connections` or `maxConnections`, tables `[databases.NAME]` hold what is special to one
//! database (see [`PoolConfigBuilder::build_for`]). [`Key`] lists every key with its meaning.
//!
//! # Promises
//!
//! - A [`PoolConfig`] holds allowed values only, and they fit together.
//! - Later layers win, key by key; what they hide is still known ([`PoolConfig::overridden`]).
//! - All problems are told at once, up to a hundred, each with key, value, origin and what is allowed. The value of a
//!   key that resembles no known one is not repeated: it may be a secret meant for somebody else.
//! - A [`LiveConfig`] holds a good configuration at all times and readers of it never wait; a file that turns bad changes
//!   nothing and is reported once.
//! - Whatever a file or variable holds, the outcome is a configuration or an error: no panic, no hang, and at most one
//!   mebibyte is read.
//!
//! # Not promised
//!
//! - A file that is written in place may be read half-written if its writer pauses; rename a finished one instead.
//! - A value that is allowed is not necessarily wise; see [`PoolConfig::warnings`].
//! - JSON origins name the line of the value, which is not that of the key where the two stand apart.

#![forbid(unsafe_code)]

mod builder;
mod change;
mod choice;
mod config;
mod error;
mod example;
mod explain;
mod key;
mod kind;
mod layer;
mod live;
mod nearest;
#[cfg(feature = "notify")]
mod notices;
mod origin;
mod preset;
mod quantity;
mod rules;
#[cfg(feature = "json")]
mod schema;
mod section;
mod source;
mod table;
mod trail;
mod value;
mod watch;

/// The crate that carries the layers, for [`PoolConfigBuilder::provider`].
pub use figment;

pub use builder::PoolConfigBuilder;
pub use change::{Change, ChangedKey};
pub use choice::{ExternalWriters, Synchronous, WorkPlacement};
pub use config::{PoolConfig, Spelled};
pub use error::{ConfigError, Problem};
pub use explain::Explanation;
pub use key::{Key, Spelling, UnknownKey};
pub use kind::Fault;
pub use layer::Setting;
pub use live::{LiveConfig, Reload, Subscription};
pub use origin::Origin;
pub use preset::{Preset, UnknownPreset};
pub use rules::Warning;
pub use section::Section;
pub use value::{Share, Value};
pub use watch::{Watch, WatchOptions};
