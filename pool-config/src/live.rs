//! A configuration that follows its sources.
//!
//! Owns the current configuration and who hears of a new one; it must not know what a pool does with it, nor when to look.
//! Invariant: the current configuration is always a good one, readers of it never wait, and subscribers hear of changes one
//! after another, in the order in which they came to hold.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::ArcSwap;

use crate::builder::PoolConfigBuilder;
use crate::change::Change;
use crate::config::PoolConfig;
use crate::error::ConfigError;

/// What came of reading the sources again, for those who subscribed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Reload {
    /// Another configuration holds now.
    Changed(Arc<Change>),
    /// The sources have problems now, so the old configuration goes on holding. Told once for the same problems.
    Refused(Arc<ConfigError>),
}

/// A configuration that follows its sources.
///
/// Clones are the same configuration. Nothing looks at the sources by itself: call [`reload`](Self::reload), after a
/// signal for example, or let [`watch`](Self::watch) call it whenever a file changed.
///
/// # Examples
///
/// ```
/// use pool_config::{Key, PoolConfig, Reload};
/// use std::sync::{Arc, Mutex};
///
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("pool.toml");
/// std::fs::write(&path, "max_connections = 10")?;
/// let live = PoolConfig::builder().file(&path).live()?;
///
/// let heard = Arc::new(Mutex::new(Vec::new()));
/// let list = heard.clone();
/// let _subscription = live.subscribe(move |reload| match reload {
///     Reload::Changed(change) => list.lock().unwrap().push(change.to_string()), // pool.reconfigure(...)
///     Reload::Refused(error) => list.lock().unwrap().push(error.to_string()),
///     _ => {}
/// });
///
/// std::fs::write(&path, "max_connections = 20")?;
/// assert!(live.reload()?.is_some());
/// assert_eq!(live.current().max_connections(), 20);
/// assert!(heard.lock().unwrap()[0].starts_with("max_connections: 10 -> 20, from "));
///
/// std::fs::write(&path, "max_connections = 0")?;
/// assert!(live.reload().is_err());
/// assert_eq!(live.current().max_connections(), 20);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A signal is one more reason to call [`reload`](Self::reload):
///
/// ```no_run
/// # use pool_config::PoolConfig;
/// use signal_hook::{consts::SIGHUP, iterator::Signals};
///
/// let live = PoolConfig::builder().discover().env().live()?;
/// let mut signals = Signals::new([SIGHUP])?;
/// std::thread::spawn(move || {
///     for _ in signals.forever() {
///         let _ = live.reload(); // whoever subscribed hears of it
///     }
/// });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct LiveConfig {
    shared: Arc<Shared>,
}

type Listener = Arc<dyn Fn(&Reload) + Send + Sync>;

struct Shared {
    builder: PoolConfigBuilder,
    database: Option<String>,
    current: ArcSwap<PoolConfig>,
    /// Held while sources are read and subscribers told, so that nobody hears of changes in another order. Holds the
    /// problems that stand, so that they are told once.
    refused: Mutex<Option<Arc<ConfigError>>>,
    listeners: Mutex<Listeners>,
}

#[derive(Default)]
struct Listeners {
    next: u64,
    all: Vec<(u64, Listener)>,
}

/// Locks; whoever panicked while it held the lock left nothing half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PoolConfigBuilder {
    /// Reads every source, and keeps the recipe to read them again.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build).
    pub fn live(self) -> Result<LiveConfig, ConfigError> {
        LiveConfig::new(self, None)
    }

    /// Reads every source for one database, and keeps the recipe to read them again.
    ///
    /// # Errors
    ///
    /// As [`build_for`](Self::build_for).
    pub fn live_for(self, database: impl Into<String>) -> Result<LiveConfig, ConfigError> {
        LiveConfig::new(self, Some(database.into()))
    }

    fn build_scoped(&self, database: Option<&str>) -> Result<PoolConfig, ConfigError> {
        database.map_or_else(|| self.build(), |database| self.build_for(database))
    }
}

impl LiveConfig {
    fn new(builder: PoolConfigBuilder, database: Option<String>) -> Result<LiveConfig, ConfigError> {
        let current = ArcSwap::from_pointee(builder.build_scoped(database.as_deref())?);
        let (refused, listeners) = (Mutex::default(), Mutex::default());
        Ok(LiveConfig { shared: Arc::new(Shared { builder, database, current, refused, listeners }) })
    }

    /// Returns the configuration that holds now. Never waits, not even for a reload that is under way.
    #[must_use]
    pub fn current(&self) -> Arc<PoolConfig> {
        self.shared.current.load_full()
    }

    /// Returns the problems that the latest reload found; `None` when the sources are as they should be.
    ///
    /// Waits for a reload that is under way.
    #[must_use]
    pub fn refused(&self) -> Option<Arc<ConfigError>> {
        lock(&self.shared.refused).clone()
    }

    /// Reads all sources again. Returns what changed, or `None` when all values are what they were.
    ///
    /// Subscribers are told before this returns, on this thread. Waits for a reload that is under way. Must not be
    /// called by a subscriber while it is told: it would wait for itself.
    ///
    /// # Errors
    ///
    /// Every problem of the sources; the old configuration goes on holding then. Subscribers are told unless they were
    /// told of just these problems already.
    ///
    /// # Panics
    ///
    /// When a subscriber panics, after all others were told.
    pub fn reload(&self) -> Result<Option<Arc<Change>>, Arc<ConfigError>> {
        let shared = &*self.shared;
        let mut refused = lock(&shared.refused);
        match shared.builder.build_scoped(shared.database.as_deref()) {
            Ok(new) => {
                *refused = None;
                let change = self.current().change_to(&new).map(Arc::new);
                // Lines move without values changing, so origins are taken over in any case.
                shared.current.store(Arc::new(new));
                if let Some(change) = &change {
                    shared.tell(&Reload::Changed(Arc::clone(change)));
                }
                Ok(change)
            }
            Err(error) => {
                let error = Arc::new(error);
                let known = refused.replace(Arc::clone(&error));
                if known.is_none_or(|known| known.to_string() != error.to_string()) {
                    shared.tell(&Reload::Refused(Arc::clone(&error)));
                }
                Err(error)
            }
        }
    }

    /// Tells `listener` of every change and every refusal from now on, until the subscription is dropped.
    ///
    /// It runs on the thread that reloads, so it should be short; a pool that is open takes over
    /// [`Change::live_keys`]. A call that has begun when the subscription is dropped goes on.
    pub fn subscribe(&self, listener: impl Fn(&Reload) + Send + Sync + 'static) -> Subscription {
        let mut listeners = lock(&self.shared.listeners);
        let id = listeners.next;
        listeners.next += 1;
        listeners.all.push((id, Arc::new(listener)));
        Subscription { shared: Arc::downgrade(&self.shared), id }
    }

    pub(crate) fn builder(&self) -> &PoolConfigBuilder {
        &self.shared.builder
    }
}

impl Shared {
    /// Tells all; a panic of one goes on when the others were told.
    fn tell(&self, reload: &Reload) {
        let listeners: Vec<Listener> = lock(&self.listeners).all.iter().map(|(_, told)| Arc::clone(told)).collect();
        let mut panic = None;
        for listener in listeners {
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| listener(reload))) {
                panic.get_or_insert(payload);
            }
        }
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }
}

impl fmt::Debug for LiveConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("LiveConfig");
        shown.field("current", &self.current()).field("database", &self.shared.database).finish_non_exhaustive()
    }
}

/// Keeps a listener subscribed until it is dropped, see [`LiveConfig::subscribe`].
#[must_use = "the listener hears nothing once this is dropped"]
pub struct Subscription {
    shared: Weak<Shared>,
    id: u64,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade() else { return };
        let mut listeners = lock(&shared.listeners);
        let position = listeners.all.iter().position(|(id, _)| *id == self.id);
        // What the listener owns may run anything when it goes: not under the lock.
        let gone = position.map(|position| listeners.all.remove(position));
        drop(listeners);
        drop(gone);
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Subscription").field("id", &self.id).finish_non_exhaustive()
    }
}
