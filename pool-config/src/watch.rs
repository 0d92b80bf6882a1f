//! Looking at files from time to time, and reloading when one changed.
//!
//! Owns the one thread that does so for the whole process; it must not know what a change is (`trail`) nor what follows
//! from it (`live`).
//! Invariant: the thread runs while somebody watches, and ends with the last who does.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::{self, Thread};
use std::time::{Duration, Instant, SystemTime};

use crate::live::{LiveConfig, lock};
use crate::trail::{Tracker, Trail, Verdict};

/// How often files are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "options do nothing until `watch_with` gets them"]
#[non_exhaustive]
pub struct WatchOptions {
    /// The time between two looks at the files; default 1 s.
    ///
    /// With the feature `notify` the system tells of most changes sooner; network file systems often don't.
    pub every: Duration,
    /// How long a changed file must look the same before it is read; default 100 ms.
    ///
    /// An editor may be half-way through writing it.
    pub settle: Duration,
}

impl Default for WatchOptions {
    fn default() -> WatchOptions {
        WatchOptions { every: Duration::from_secs(1), settle: Duration::from_millis(100) }
    }
}

impl WatchOptions {
    /// Sets the time between two looks; at least 1 ms.
    pub fn every(mut self, every: Duration) -> WatchOptions {
        self.every = every.max(Duration::from_millis(1));
        self
    }

    /// Sets how long a changed file must look the same before it is read; zero reads at once.
    pub fn settle(mut self, settle: Duration) -> WatchOptions {
        self.settle = settle;
        self
    }
}

impl LiveConfig {
    /// Reloads whenever a file of the recipe changed, until the returned guard is dropped. With the options' defaults.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub fn watch(&self) -> io::Result<Watch> {
        self.watch_with(WatchOptions::default())
    }

    /// Reloads whenever a file of the recipe changed, until the returned guard is dropped.
    ///
    /// Files that appear, vanish, are replaced or are reached through another link count as changed; for
    /// [`discover`](crate::PoolConfigBuilder::discover) also a `pool.toml` that appears nearer. A file that is replaced by
    /// renaming a finished one is never seen half-written; one that is written in place is read when it was left alone
    /// for the settling time. Subscribers are told on the thread that watches, one for the whole process; one that panics
    /// does not end it.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_config::PoolConfig;
    /// use std::sync::mpsc;
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("pool.toml");
    /// std::fs::write(&path, "max_connections = 10")?;
    /// let live = PoolConfig::builder().file(&path).live()?;
    /// let (tell, told) = mpsc::channel();
    /// let _subscription = live.subscribe(move |_| drop(tell.send(())));
    /// let _watch = live.watch()?;
    ///
    /// std::fs::write(&path, "max_connections = 20")?;
    /// told.recv()?;
    /// assert_eq!(live.current().max_connections(), 20);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn watch_with(&self, options: WatchOptions) -> io::Result<Watch> {
        let watched = Arc::new(Watched {
            live: self.clone(),
            options,
            nudged: AtomicBool::new(false),
            progress: Mutex::new(Progress { tracker: Tracker::default(), due: Instant::now() }),
            #[cfg(feature = "notify")]
            system: crate::notices::Notices::default(),
        });
        let mut watcher = lock(&WATCHER);
        watcher.all.push(Arc::downgrade(&watched));
        match &watcher.thread {
            Some(thread) => thread.unpark(),
            None => {
                let thread = thread::Builder::new().name("pool-config-watch".to_owned()).spawn(watch_all)?;
                watcher.thread = Some(thread.thread().clone());
            }
        }
        Ok(Watch { _watched: watched })
    }
}

/// Keeps files watched until it is dropped, see [`LiveConfig::watch`].
#[must_use = "nothing is watched once this is dropped"]
pub struct Watch {
    _watched: Arc<Watched>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        wake();
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Watch").field("options", &self._watched.options).finish_non_exhaustive()
    }
}

/// One configuration that is watched.
pub(crate) struct Watched {
    live: LiveConfig,
    options: WatchOptions,
    /// Whether the system told of a change since the last look.
    nudged: AtomicBool,
    progress: Mutex<Progress>,
    #[cfg(feature = "notify")]
    system: crate::notices::Notices,
}

struct Progress {
    tracker: Tracker,
    due: Instant,
}

impl Watched {
    /// Asks for a look soon.
    #[cfg(feature = "notify")]
    pub(crate) fn nudge(&self) {
        // The thread takes the flag before it looks, so a change after the look finds it taken.
        self.nudged.store(true, Ordering::Release);
        wake();
    }

    /// Looks, if it is time to, and reloads if something changed; returns when to look again.
    fn attend(self: &Arc<Self>) -> Instant {
        let mut progress = lock(&self.progress);
        let now = Instant::now();
        // Taken before the look, see `nudge`.
        let nudged = self.nudged.swap(false, Ordering::AcqRel);
        if now < progress.due && !nudged {
            return progress.due;
        }
        let trail = Trail::of(self.live.builder().files());
        #[cfg(feature = "notify")]
        self.system.follow(&trail, self);
        let WatchOptions { every, settle } = self.options;
        let wait = match progress.tracker.look(trail, (now, SystemTime::now()), every, settle) {
            Verdict::Wait(wait) => wait,
            Verdict::Read(wait) => {
                // What goes wrong is told to subscribers; a panic of one of them has been shown by the panic hook.
                let _ = catch_unwind(AssertUnwindSafe(|| self.live.reload()));
                wait
            }
        };
        progress.due = now + wait;
        progress.due
    }
}

/// Everybody who watches, and the thread that does it for them.
struct Watcher {
    all: Vec<Weak<Watched>>,
    thread: Option<Thread>,
}

static WATCHER: Mutex<Watcher> = Mutex::new(Watcher { all: Vec::new(), thread: None });

fn wake() {
    if let Some(thread) = &lock(&WATCHER).thread {
        thread.unpark();
    }
}

/// The thread: attends to all who are left, and ends when nobody is.
fn watch_all() {
    loop {
        let watched: Vec<Arc<Watched>> = {
            let mut watcher = lock(&WATCHER);
            watcher.all.retain(|watched| watched.strong_count() > 0);
            if watcher.all.is_empty() {
                // Under the lock, so that whoever comes now starts another thread.
                watcher.thread = None;
                return;
            }
            watcher.all.iter().filter_map(Weak::upgrade).collect()
        };
        let due = watched.iter().map(Watched::attend).min();
        // Nobody is kept watched by the thread while it waits.
        drop(watched);
        if let Some(due) = due {
            thread::park_timeout(due.saturating_duration_since(Instant::now()));
        }
    }
}
