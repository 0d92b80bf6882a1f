//! The finished configuration: every key with a checked value and its origin.
//!
//! Owns reading settings; it must not know how they were collected.
//! Invariant: every value is allowed for its key, and the values fit together.

use std::fmt;
use std::sync::Arc;

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::builder::PoolConfigBuilder;
use crate::key::{Key, Spelling};
use crate::layer::{Setting, Settled};
use crate::origin::Origin;
use crate::preset::Preset;
use crate::rules::Warning;
use crate::table::{typed, with_keys};
use crate::value::{Typed, Value};

/// Checked settings of a pool; every value knows where it came from.
///
/// Cloning is cheap: clones share the settings. Two configurations are equal when their values are, wherever those
/// came from. Serializes as a map of every key in snake case, see [`spelled`](Self::spelled) for camel case.
///
/// # Examples
///
/// ```
/// use pool_config::{Key, Origin, PoolConfig};
///
/// let config = PoolConfig::builder().toml_str("pool.toml", "maxConnections = 20").build()?;
/// assert_eq!(config.max_connections(), 20);
/// assert_eq!(config.origin(Key::MaxConnections).to_string(), "pool.toml line 1 as maxConnections");
/// assert!(config.is_default(Key::MinConnections));
/// # Ok::<(), pool_config::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct PoolConfig {
    settled: Arc<[Settled]>,
    warnings: Arc<[Warning]>,
}

macro_rules! declare_getters {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident $camel:literal $variant:ident: $kind:ident($($limit:expr),*) = $default:expr $(, $reopen:ident)?;
    )+) => {
        impl PoolConfig {
            $(
                #[doc = concat!("Returns `", stringify!($name), "`.")]
                #[doc = ""]
                $(#[doc = $doc])+
                #[doc = ""]
                #[doc = concat!("Default: `", stringify!($default), "`.")]
                #[must_use]
                pub fn $name(&self) -> typed!($kind) {
                    let value = Typed::from_value(self.value(Key::$variant));
                    value.expect(concat!("BUG: a value of another kind under ", stringify!($name)))
                }
            )+
        }
    };
}

with_keys!(declare_getters);

impl PoolConfig {
    pub(crate) fn new(settled: Vec<Settled>, warnings: Vec<Warning>) -> PoolConfig {
        PoolConfig { settled: settled.into(), warnings: warnings.into() }
    }

    /// Starts a configuration that nothing is set in yet.
    pub fn builder() -> PoolConfigBuilder {
        PoolConfigBuilder::new()
    }

    /// Returns the configuration of a preset: its figures, and defaults for the rest.
    #[must_use]
    pub fn preset(preset: Preset) -> PoolConfig {
        match Self::builder().preset(preset).build() {
            Ok(config) => config,
            Err(error) => unreachable!("BUG: the figures of a preset are not allowed: {error}"),
        }
    }

    /// Returns every key, in the order of the table.
    pub fn keys() -> impl ExactSizeIterator<Item = Key> {
        Key::ALL.iter().copied()
    }

    /// Returns the value of a key.
    #[must_use]
    pub fn value(&self, key: Key) -> Value {
        self.settled(key).holds.value
    }

    /// Returns where the value of a key came from.
    #[must_use]
    pub fn origin(&self, key: Key) -> &Origin {
        &self.settled(key).holds.origin
    }

    /// Says whether no layer set the key, so that its default holds.
    #[must_use]
    pub fn is_default(&self, key: Key) -> bool {
        *self.origin(key) == Origin::Default
    }

    /// Returns the settings of earlier layers that the value of a key hides, latest first; the default comes last.
    ///
    /// Empty when the default holds.
    #[must_use]
    pub fn overridden(&self, key: Key) -> &[Setting] {
        &self.settled(key).overridden
    }

    /// Returns what is allowed and yet probably not meant, such as a cache size while the cache is off.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Returns a view that serializes the keys in the given spelling.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_config::{PoolConfig, Spelling};
    ///
    /// let json = serde_json::to_value(PoolConfig::default().spelled(Spelling::Camel))?;
    /// assert_eq!(json["maxConnections"], 10);
    /// assert_eq!(json["acquireTimeout"], 10_000);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn spelled(&self, spelling: Spelling) -> Spelled<'_> {
        Spelled { config: self, spelling }
    }

    pub(crate) fn settled(&self, key: Key) -> &Settled {
        &self.settled[key as usize]
    }
}

/// The defaults of every key.
impl Default for PoolConfig {
    fn default() -> PoolConfig {
        match Self::builder().build() {
            Ok(config) => config,
            Err(error) => unreachable!("BUG: the defaults are not allowed: {error}"),
        }
    }
}

impl PartialEq for PoolConfig {
    fn eq(&self, other: &PoolConfig) -> bool {
        Key::ALL.iter().all(|key| self.value(*key) == other.value(*key))
    }
}

impl Eq for PoolConfig {}

/// Shows every value with its origin.
impl fmt::Debug for PoolConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("PoolConfig");
        for key in Key::ALL {
            shown.field(key.name(), &format_args!("{} ({})", self.value(*key), self.origin(*key)));
        }
        shown.finish()
    }
}

impl Serialize for PoolConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.spelled(Spelling::Snake).serialize(serializer)
    }
}

/// A configuration that serializes with its keys in one spelling, see [`PoolConfig::spelled`].
#[derive(Debug, Clone, Copy)]
pub struct Spelled<'a> {
    config: &'a PoolConfig,
    spelling: Spelling,
}

impl Serialize for Spelled<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(Key::ALL.len()))?;
        for key in Key::ALL {
            map.serialize_entry(key.spelled(self.spelling), &self.config.value(*key))?;
        }
        map.end()
    }
}
