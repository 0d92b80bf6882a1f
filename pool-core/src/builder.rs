//! Owns how a pool is put together.
//!
//! Must not know how it works. Invariant: a pool is built only from settings that do not contradict themselves.

use std::fmt;
use std::sync::Arc;

use crate::clock::Clock;
use crate::error::{Refusal, SettingsError};
use crate::hooks::Hooks;
use crate::manager::Manager;
use crate::observer::Observer;
use crate::options::{Options, setters};
use crate::pool::Pool;
use crate::shared::Shared;

/// Settings of a pool to be; made by [`Pool::builder`].
#[must_use = "nothing happens before `build`"]
pub struct PoolBuilder<M: Manager> {
    manager: M,
    options: Options,
    minimum_was_set: bool,
    name: String,
    clock: Clock,
    observer: Option<Arc<dyn Observer>>,
    hooks: Hooks<M::Connection>,
}

impl<M: Manager> PoolBuilder<M> {
    pub(crate) fn new(manager: M) -> Self {
        Self {
            manager,
            options: Options::default(),
            minimum_was_set: false,
            name: "pool".to_owned(),
            clock: Clock::system(),
            observer: None,
            hooks: Hooks::default(),
        }
    }

    setters!();

    fn options_mut(&mut self) -> &mut Options {
        &mut self.options
    }

    /// Sets how many connections are kept open; default 2, or `max_connections` if that is lower; zero keeps none.
    pub fn min_connections(mut self, min_connections: usize) -> Self {
        self.options.min_connections = min_connections;
        self.minimum_was_set = true;
        self
    }

    /// Takes over all limits and times at once.
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self.minimum_was_set = true;
        self
    }

    /// Names the pool, for its `Debug` text and whoever reports on it; default `"pool"`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the clock; default [`Clock::system`].
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets who hears what happens; default nobody.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Runs a hook on every new connection; if it refuses, the connection is closed and the acquire fails with
    /// [`AcquireError::Refused`](crate::AcquireError::Refused).
    pub fn after_open(
        mut self,
        hook: impl Fn(&mut M::Connection) -> Result<(), Refusal> + Send + Sync + 'static,
    ) -> Self {
        self.hooks.after_open = Some(Box::new(hook));
        self
    }

    /// Runs a hook before every hand-out; a connection it refuses is closed and replaced.
    ///
    /// If it refuses a connection that was just opened, the acquire fails with
    /// [`AcquireError::Refused`](crate::AcquireError::Refused).
    pub fn before_hand_out(
        mut self,
        hook: impl Fn(&mut M::Connection) -> Result<(), Refusal> + Send + Sync + 'static,
    ) -> Self {
        self.hooks.before_hand_out = Some(Box::new(hook));
        self
    }

    /// Runs a hook after every release, when the connection has been reset; one it refuses is closed.
    pub fn after_release(
        mut self,
        hook: impl Fn(&mut M::Connection) -> Result<(), Refusal> + Send + Sync + 'static,
    ) -> Self {
        self.hooks.after_release = Some(Box::new(hook));
        self
    }

    /// Runs a hook on every connection that is about to be closed, for whatever reason.
    pub fn before_close(mut self, hook: impl Fn(&mut M::Connection) + Send + Sync + 'static) -> Self {
        self.hooks.before_close = Some(Box::new(hook));
        self
    }

    /// Builds the pool.
    ///
    /// Returns at once: the minimum is opened in the background, or by the first callers if they come earlier, or by
    /// [`Pool::maintain`] on a manual clock. With the feature `tokio` the pool remembers the runtime it is built in,
    /// see [`Manager`].
    ///
    /// # Errors
    ///
    /// [`SettingsError::InvalidSetting`] names the first option that is out of range or contradicts another.
    pub fn build(mut self) -> Result<Pool<M>, SettingsError> {
        if !self.minimum_was_set {
            self.options.min_connections = self.options.min_connections.min(self.options.max_connections);
        }
        self.options.check()?;
        let shared = Shared::new(self.manager, self.options, self.clock, self.hooks, self.observer, self.name);
        Ok(Pool::new(shared))
    }
}

impl<M: Manager> fmt::Debug for PoolBuilder<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuilder")
            .field("name", &self.name)
            .field("options", &self.options)
            .field("hooks", &self.hooks)
            .finish_non_exhaustive()
    }
}
