//! What differs between two configurations.
//!
//! Owns the comparison; it must not know why there are two.
//! Invariant: a change names at least one key, and every key whose value differs.

use std::fmt;

use crate::config::PoolConfig;
use crate::key::Key;
use crate::layer::Setting;

/// One key whose value differs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChangedKey {
    /// The key.
    pub key: Key,
    /// What it was.
    pub old: Setting,
    /// What it is now.
    pub new: Setting,
    /// Whether an open pool can take the new value over, see [`Key::is_live`]; else it holds from the next opening on.
    pub live: bool,
}

/// Displays as `max_connections: 10 -> 20, from pool.toml line 1`.
impl fmt::Display for ChangedKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ChangedKey { key, old, new, live } = self;
        write!(formatter, "{key}: {} -> {}, from {}", old.value, new.value, new.origin)?;
        if *live { Ok(()) } else { formatter.write_str(" (needs the pool to be opened anew)") }
    }
}

/// Two configurations and what differs between them.
///
/// # Examples
///
/// ```
/// use pool_config::PoolConfig;
///
/// let (old, new) = (PoolConfig::default(), PoolConfig::builder().max_connections(20).page_size(8192).build()?);
/// let change = old.change_to(&new).expect("two keys differ");
/// let live: Vec<_> = change.live_keys().collect();
/// assert_eq!(live.len(), 1);
/// assert!(live[0].to_string().starts_with("max_connections: 10 -> 20, from code at "));
/// # Ok::<(), pool_config::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Change {
    /// The configuration that held before.
    pub old: PoolConfig,
    /// The configuration that holds now.
    pub new: PoolConfig,
    /// Every key whose value differs, at least one, in the order of the table.
    pub keys: Vec<ChangedKey>,
}

impl Change {
    /// Returns the keys that an open pool can take over.
    pub fn live_keys(&self) -> impl Iterator<Item = &ChangedKey> {
        self.keys.iter().filter(|changed| changed.live)
    }

    /// Returns the keys whose new values hold only once the pool is opened anew.
    pub fn waiting_keys(&self) -> impl Iterator<Item = &ChangedKey> {
        self.keys.iter().filter(|changed| !changed.live)
    }

    /// Returns what changed about a key; `None` when its value is the same.
    #[must_use]
    pub fn of(&self, key: Key) -> Option<&ChangedKey> {
        self.keys.iter().find(|changed| changed.key == key)
    }
}

/// Displays one key a line.
impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut gap = "";
        for changed in &self.keys {
            write!(formatter, "{gap}{changed}")?;
            gap = "\n";
        }
        Ok(())
    }
}

impl PoolConfig {
    /// Compares with a newer configuration; `None` when all values are the same, wherever they come from.
    #[must_use]
    pub fn change_to(&self, new: &PoolConfig) -> Option<Change> {
        let setting = |config: &PoolConfig, key| config.settled(key).holds.clone();
        let differs = Key::ALL.iter().copied().filter(|key| self.value(*key) != new.value(*key));
        let keys: Vec<ChangedKey> = differs
            .map(|key| ChangedKey { key, old: setting(self, key), new: setting(new, key), live: key.is_live() })
            .collect();
        (!keys.is_empty()).then(|| Change { old: self.clone(), new: new.clone(), keys })
    }
}
