//! The recipe of a configuration: sources in order, later wins.
//!
//! Owns the public way to say where settings come from; it must not know formats.
//! Invariant: a builder holds no result. Files and the environment are read by `build`, anew each time.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::PoolConfig;
use crate::error::{ConfigError, Problem};
use crate::key::Key;
use crate::layer::{Layer, Reading, Settled, database_name, merge};
use crate::preset::Preset;
use crate::rules;
use crate::source::{self, Foreign, Format, Source, Text};
use crate::table::{typed, with_keys};
use crate::value::{Typed, Value};

/// Says where settings come from; later sources win, key by key.
///
/// A builder is a recipe: [`build`](Self::build) reads files and the environment each time it is called, so one builder
/// gives a fresh configuration whenever its sources changed.
///
/// # Examples
///
/// ```
/// use pool_config::{PoolConfig, Preset};
/// use std::time::Duration;
///
/// let config = PoolConfig::builder()
///     .preset(Preset::WebApplication)
///     .toml_str("pool.toml", "acquire_timeout = \"1m 30s\"\nidleTimeout = 60000")
///     .env_from([("POOL_MAX_CONNECTIONS", "20")])
///     .min_connections(5)
///     .build()?;
/// assert_eq!(config.max_connections(), 20);
/// assert_eq!(config.min_connections(), 5);
/// assert_eq!(config.acquire_timeout(), Duration::from_secs(90));
/// assert_eq!(config.idle_timeout(), Some(Duration::from_secs(60)));
/// # Ok::<(), pool_config::ConfigError>(())
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct PoolConfigBuilder {
    sources: Vec<Source>,
}

macro_rules! argument {
    (lasting) => { impl Into<Option<Duration>> };
    (limit) => { impl Into<Option<usize>> };
    (bound) => { impl Into<Option<u64>> };
    ($kind:ident) => { typed!($kind) };
}

macro_rules! declare_setters {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident $camel:literal $variant:ident: $kind:ident($($limit:expr),*) = $default:expr $(, $reopen:ident)?;
    )+) => {
        impl PoolConfigBuilder {
            $(
                #[doc = concat!("Sets `", stringify!($name), "`.")]
                #[doc = ""]
                $(#[doc = $doc])+
                #[doc = ""]
                #[doc = concat!("Default: `", stringify!($default), "`.")]
                #[track_caller]
                pub fn $name(self, $name: argument!($kind)) -> Self {
                    let typed: typed!($kind) = $name.into();
                    self.code(Key::$variant, typed.into_value())
                }
            )+
        }
    };
}

with_keys!(declare_setters);

impl PoolConfigBuilder {
    /// Starts with nothing set, so that defaults hold.
    pub fn new() -> PoolConfigBuilder {
        PoolConfigBuilder::default()
    }

    fn with(mut self, source: Source) -> PoolConfigBuilder {
        self.sources.push(source);
        self
    }

    #[track_caller]
    fn code(self, key: Key, value: Value) -> PoolConfigBuilder {
        self.with(Source::Code { key, value, location: Location::caller() })
    }

    /// Sets a key to a value, for callers that learn at run time which key.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_config::{Key, PoolConfig, Value};
    ///
    /// let config = PoolConfig::builder().set(Key::MaxConnections, Value::Count(3)).build()?;
    /// assert_eq!(config.max_connections(), 3);
    /// # Ok::<(), pool_config::ConfigError>(())
    /// ```
    #[track_caller]
    pub fn set(self, key: Key, value: Value) -> PoolConfigBuilder {
        self.code(key, value)
    }

    /// Adds the figures of a preset.
    pub fn preset(self, preset: Preset) -> PoolConfigBuilder {
        self.with(Source::Preset(preset))
    }

    /// Adds a file in TOML, JSON or YAML, told apart by the end of its name: `.toml`, `.json`, `.yaml` or `.yml`.
    ///
    /// JSON needs the feature `json`, which is on by default, YAML the feature `yaml`.
    ///
    /// The file is read by [`build`](Self::build) and must exist then.
    pub fn file(self, path: impl AsRef<Path>) -> PoolConfigBuilder {
        self.with(Source::File { path: path.as_ref().into(), optional: false })
    }

    /// Adds a file like [`file`](Self::file), and nothing when no such file exists.
    pub fn optional_file(self, path: impl AsRef<Path>) -> PoolConfigBuilder {
        self.with(Source::File { path: path.as_ref().into(), optional: true })
    }

    /// Adds the file that the environment variable `POOL_CONFIG` names, else the `pool.toml` in the working folder or
    /// the nearest folder above it that has one, else nothing.
    ///
    /// The file is looked for by [`build`](Self::build). One that is named must exist; an empty name counts as none.
    pub fn discover(self) -> PoolConfigBuilder {
        self.with(Source::Discover)
    }

    /// Adds what a figment provider says, which opens the way for formats this crate does not know.
    ///
    /// The provider's default and global profiles are read by [`build`](Self::build); origins name the file where the
    /// provider knows it, without a line.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_config::{Key, PoolConfig, figment::providers::Serialized};
    ///
    /// let config = PoolConfig::builder().provider(Serialized::default("maxConnections", 20)).build()?;
    /// assert_eq!(config.max_connections(), 20);
    /// # Ok::<(), pool_config::ConfigError>(())
    /// ```
    pub fn provider(self, provider: impl figment::Provider + Send + Sync + 'static) -> PoolConfigBuilder {
        self.with(Source::Provider(Foreign::new(provider)))
    }

    /// Adds the environment variables of this process that begin with `POOL_`, as they are when
    /// [`build`](Self::build) is called.
    ///
    /// `POOL_MAX_CONNECTIONS` sets `max_connections`, `POOL_DATABASES__USERS__MAX_CONNECTIONS` sets it for the
    /// database `users` alone. `POOL_CONFIG` is left to [`discover`](Self::discover).
    pub fn env(self) -> PoolConfigBuilder {
        self.with(Source::Process)
    }

    /// Adds variables as [`env`](Self::env) does, from a list instead of the environment of this process.
    pub fn env_from<N, V>(self, variables: impl IntoIterator<Item = (N, V)>) -> PoolConfigBuilder
    where
        N: Into<OsString>,
        V: Into<OsString>,
    {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        self.with(Source::Variables(variables))
    }

    /// Adds settings written in TOML. The name stands for the text in origins and errors.
    pub fn toml_str(self, name: impl AsRef<str>, text: impl Into<String>) -> PoolConfigBuilder {
        self.with(Source::Text(Text::named(name.as_ref(), Format::Toml, text.into())))
    }

    /// Adds settings written in JSON. The name stands for the text in origins and errors.
    #[cfg(feature = "json")]
    pub fn json_str(self, name: impl AsRef<str>, text: impl Into<String>) -> PoolConfigBuilder {
        self.with(Source::Text(Text::named(name.as_ref(), Format::Json, text.into())))
    }

    /// Adds settings written in YAML. The name stands for the text in origins and errors.
    ///
    /// Scalars without quotes are read by the core schema of YAML 1.2, so `yes` is text and no switch. Anchors,
    /// aliases, tags and a second document are refused.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_config::PoolConfig;
    ///
    /// let text = "maxConnections: 20\ndatabases:\n  users: { idleTimeout: 1m 30s }";
    /// let config = PoolConfig::builder().yaml_str("pool.yaml", text).build_for("users")?;
    /// assert_eq!((config.max_connections(), config.idle_timeout().unwrap().as_secs()), (20, 90));
    /// # Ok::<(), pool_config::ConfigError>(())
    /// ```
    #[cfg(feature = "yaml")]
    pub fn yaml_str(self, name: impl AsRef<str>, text: impl Into<String>) -> PoolConfigBuilder {
        self.with(Source::Text(Text::named(name.as_ref(), Format::Yaml, text.into())))
    }

    /// Adds everything another builder names, so that it wins over what this one names so far.
    pub fn layer(mut self, other: impl Into<PoolConfigBuilder>) -> PoolConfigBuilder {
        self.sources.extend(other.into().sources);
        self
    }

    /// Reads every source and returns the checked configuration.
    ///
    /// # Errors
    ///
    /// Every problem of every source at once, and every conflict between the values that hold, for the shared
    /// settings and for each database that a source names.
    pub fn build(&self) -> Result<PoolConfig, ConfigError> {
        self.build_scope(None)
    }

    /// Reads every source and returns the checked configuration of one database.
    ///
    /// Each source may hold a table `databases.NAME`; what it says wins over the rest of the same source, and over
    /// earlier sources, but not over later ones. A database that no source names has the shared settings. Names are
    /// compared without regard to case.
    ///
    /// # Errors
    ///
    /// Every problem of every source at once, and every conflict between the values that hold for this database.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_config::PoolConfig;
    ///
    /// let builder = PoolConfig::builder()
    ///     .toml_str("pool.toml", "max_connections = 10\n[databases.analytics]\nmax_connections = 20");
    /// assert_eq!(builder.build_for("analytics")?.max_connections(), 20);
    /// assert_eq!(builder.build_for("users")?.max_connections(), 10);
    /// # Ok::<(), pool_config::ConfigError>(())
    /// ```
    pub fn build_for(&self, database: &str) -> Result<PoolConfig, ConfigError> {
        self.build_scope(Some(&database_name(database)))
    }

    /// Returns every file that decides what is built, missing ones included.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        self.sources.iter().flat_map(source::files).collect()
    }

    fn build_scope(&self, database: Option<&str>) -> Result<PoolConfig, ConfigError> {
        let mut readings: Vec<Reading> = self.sources.iter().map(source::read).collect();
        let mut problems: Vec<Problem> =
            readings.iter_mut().flat_map(|reading| std::mem::take(&mut reading.problems)).collect();
        let spoiled: BTreeSet<Key> = problems.iter().filter_map(Problem::key).collect();
        let settled = settle(&readings, database, |_| true);
        problems.extend(rules::conflicts(&settled, &spoiled));
        if database.is_none() {
            // Whoever builds the shared settings is told of every database; what is wrong with all is told once.
            let mut told: BTreeSet<String> = problems.iter().map(Problem::to_string).collect();
            let names: BTreeSet<&String> = readings.iter().flat_map(|reading| reading.databases.keys()).collect();
            for name in names {
                let conflicts = rules::conflicts(&settle(&readings, Some(name), rules::may_conflict), &spoiled);
                problems.extend(conflicts.into_iter().filter(|conflict| told.insert(conflict.to_string())));
            }
        }
        if !problems.is_empty() {
            return Err(ConfigError::new(problems));
        }
        let warnings = rules::warnings(&settled);
        Ok(PoolConfig::new(settled, warnings))
    }
}

/// Merges what the layers that count say of the wanted keys, and lets defaults give way.
fn settle(readings: &[Reading], database: Option<&str>, wanted: impl Fn(Key) -> bool) -> Vec<Settled> {
    let mut settled = merge(&scope(readings, database), wanted);
    rules::defaults_give_way(&mut settled);
    settled
}

/// Lines up the layers that count for a database, or those that count for all.
fn scope<'a>(readings: &'a [Reading], database: Option<&str>) -> Vec<&'a Layer> {
    let layers = readings.iter().flat_map(|reading| {
        let own = database.and_then(|name| reading.databases.get(name));
        [Some(&reading.shared), own]
    });
    layers.flatten().filter(|layer| !layer.is_empty()).collect()
}

/// Keeps every value that is not a default, with its origin.
impl From<PoolConfig> for PoolConfigBuilder {
    fn from(config: PoolConfig) -> PoolConfigBuilder {
        PoolConfigBuilder::new().with(Source::Config(config))
    }
}

impl From<&PoolConfig> for PoolConfigBuilder {
    fn from(config: &PoolConfig) -> PoolConfigBuilder {
        config.clone().into()
    }
}

impl From<Preset> for PoolConfigBuilder {
    fn from(preset: Preset) -> PoolConfigBuilder {
        PoolConfigBuilder::new().preset(preset)
    }
}
