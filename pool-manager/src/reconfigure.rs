//! Taking new settings over while a pool is open.
//!
//! Owns what an open pool can take over, in which order it does, and following a configuration that changes by itself. It must not
//! know how settings are read. Invariant: new settings are checked as a whole before the first of them is put in force, so a refused
//! configuration changes nothing.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use pool_config::{Change, Key, LiveConfig, PoolConfig, PoolConfigBuilder, Reload, Subscription, Value};
use pool_core::{Options, SettingsError};

use crate::engine::Engine;
use crate::error::{Error, Result};

/// The limits and times of a pool by these settings. A direct connection is a pool of one that nothing reaps.
pub(crate) fn pool_options(config: &PoolConfig, pooled: bool) -> Options {
    let options = Options::default()
        .acquire_timeout(config.acquire_timeout())
        .max_waiters(config.max_waiters())
        .reap_interval(config.reap_interval())
        .track_holders(config.track_holders())
        .leak_threshold(config.leak_threshold());
    if !pooled {
        return options.max_connections(1).min_connections(1).idle_timeout(None).max_connection_age(None);
    }
    options
        .max_connections(config.max_connections())
        .min_connections(config.min_connections())
        .idle_timeout(config.idle_timeout())
        .max_connection_age(config.max_connection_age())
        .age_jitter(config.age_jitter())
        .health_checks(config.enable_health_checks())
        .validate_after_idle(config.validate_after_idle().filter(|_| config.enable_health_checks()))
}

/// Where a pool's settings come from, to read them again.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    /// What the live configuration wins over.
    pub(crate) below: PoolConfigBuilder,
    pub(crate) live: Option<LiveConfig>,
    /// What wins over it.
    pub(crate) above: PoolConfigBuilder,
}

impl Recipe {
    pub(crate) fn build(&self) -> Result<PoolConfig> {
        let mut all = self.below.clone();
        if let Some(live) = &self.live {
            all = all.layer(&*live.current());
        }
        Ok(all.layer(self.above.clone()).build()?)
    }
}

/// What an engine knows about its settings besides those in force.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    /// Held while settings are taken over. Values that wait for the next opening, and were told of.
    waiting: Mutex<Vec<(Key, Value)>>,
    following: Mutex<Option<Subscription>>,
}

impl Engine {
    /// Takes over what an open pool can; returns what differs from the settings that were in force.
    pub(crate) fn reconfigure(&self, new: impl FnOnce() -> Result<PoolConfig>) -> Result<Option<Change>> {
        self.own_process()?;
        // Read under the lock: of two that come at the same time the later one reads the newer settings.
        let mut waiting = self.settings().waiting.lock();
        let (old, new) = (self.config(), new()?);
        let change = old.change_to(&new);
        self.reconfigure_pool(pool_options(&new, self.plan().pooled))?;
        self.in_force().set(possible(&old, &new, change.as_ref()));
        self.query_cache().reconfigure();
        let still = change.iter().flat_map(Change::waiting_keys);
        let still: Vec<_> = still.map(|changed| (changed.key, changed.new.value)).collect();
        for (key, value) in still.iter().filter(|one| !waiting.contains(one)) {
            let database = self.name();
            tracing::warn!(target: "pool_manager", database, %key, %value, "this setting waits until the pool is opened anew");
        }
        *waiting = still;
        Ok(change)
    }

    /// Follows a live configuration from now on, unless it follows one already.
    pub(crate) fn follow(self: &Arc<Self>, recipe: Recipe) -> Result<()> {
        let Some(live) = recipe.live.clone() else { return Ok(()) };
        let mut following = self.settings().following.lock();
        if following.is_some() {
            return Ok(());
        }
        let engine = Arc::downgrade(self);
        let again = recipe.clone();
        *following = Some(live.subscribe(move |reload| heard(&engine, &again, reload)));
        drop(following);
        // It may have changed before the subscription.
        self.reconfigure(|| recipe.build())?;
        Ok(())
    }
}

/// The new settings, but for those that an open pool can't take over: these stay, and the new ones are listed as overridden.
fn possible(old: &PoolConfig, new: &PoolConfig, change: Option<&Change>) -> PoolConfig {
    let mut keys = change.into_iter().flat_map(Change::waiting_keys).map(|changed| changed.key).peekable();
    if keys.peek().is_none() {
        return new.clone();
    }
    let kept = keys.fold(PoolConfigBuilder::from(new), |kept, key| kept.set(key, old.value(key)));
    kept.build().unwrap_or_else(|error| panic!("BUG: settings that were in force are not allowed: {error}"))
}

fn heard(engine: &Weak<Engine>, recipe: &Recipe, reload: &Reload) {
    let Some(engine) = engine.upgrade().filter(|engine| !engine.is_closed()) else { return };
    let database = engine.name();
    match reload {
        Reload::Changed(_) => match engine.reconfigure(|| recipe.build()) {
            Ok(Some(change)) => tracing::info!(target: "pool_manager", database, %change, "settings changed"),
            Ok(None) => {}
            Err(error) => {
                tracing::error!(target: "pool_manager", database, %error, "settings refused; the old ones hold");
            }
        },
        Reload::Refused(error) => {
            tracing::error!(target: "pool_manager", database, %error, "settings refused; the old ones hold");
        }
        _ => {}
    }
}

/// What the pool says to settings that pool-config has let pass.
pub(crate) fn refused(error: SettingsError, closed: impl FnOnce() -> Error) -> Error {
    match error {
        SettingsError::Closed => closed(),
        error => Error::PoolOptions(Box::new(error)),
    }
}
