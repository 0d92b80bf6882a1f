//! Owns time: what "now" is, and who moves it.
//!
//! Must not know pools beyond "something that wants to hear that time has moved". Invariant: a clock never goes back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Nanoseconds since the clock's beginning.
pub(crate) type Nanos = u64;

/// A moment that never comes.
pub(crate) const NEVER: Nanos = Nanos::MAX;

/// Converts a duration to nanoseconds, saturating after some 584 years.
pub(crate) fn nanos(duration: Duration) -> Nanos {
    Nanos::try_from(duration.as_nanos()).unwrap_or(NEVER)
}

static PROCESS_START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Tells a pool what time it is: the system's monotonic clock, or one that a test moves by hand.
///
/// Cloning is cheap and gives the same clock.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    manual: Option<Arc<ManualTime>>,
}

impl Clock {
    /// Returns the system's monotonic clock, the default of every pool.
    #[must_use]
    pub fn system() -> Self {
        Self::default()
    }

    pub(crate) fn now(&self) -> Nanos {
        match &self.manual {
            None => system_now(),
            Some(time) => time.now.load(Ordering::Acquire),
        }
    }

    pub(crate) fn is_manual(&self) -> bool {
        self.manual.is_some()
    }

    /// Asks to be told whenever this clock is moved by hand; the system clock tells nobody.
    pub(crate) fn watch(&self, watcher: Weak<dyn TimeWatcher>) {
        if let Some(time) = &self.manual {
            let mut watchers = time.watchers.lock();
            watchers.retain(|known| known.strong_count() > 0);
            watchers.push(watcher);
        }
    }
}

/// Returns the system clock's time; the first call of the process is moment zero.
pub(crate) fn system_now() -> Nanos {
    nanos(PROCESS_START.elapsed())
}

/// Returns how far away a moment of the system clock is.
pub(crate) fn system_until(moment: Nanos) -> Duration {
    Duration::from_nanos(moment.saturating_sub(system_now()))
}

/// Something whose timeouts depend on a clock.
pub(crate) trait TimeWatcher: Send + Sync {
    /// Does everything that has become due.
    fn time_moved(&self);
}

struct ManualTime {
    now: AtomicU64,
    watchers: Mutex<Vec<Weak<dyn TimeWatcher>>>,
}

impl std::fmt::Debug for ManualTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ManualTime").field("now", &Duration::from_nanos(self.now.load(Ordering::Acquire))).finish()
    }
}

/// A clock that stands still until a test moves it.
///
/// A pool that lives by a manual clock is left alone by the maintenance thread: it is maintained when the clock is
/// advanced and when [`Pool::maintain`](crate::Pool::maintain) is called, so tests see every effect at a known moment.
/// Idle times are exact on a manual clock, and waiting threads are served strictly in order.
///
/// ```
/// use pool_core::ManualClock;
/// use std::time::Duration;
///
/// let time = ManualClock::new();
/// let clock = time.clock(); // goes into `PoolBuilder::clock`
/// time.advance(Duration::from_secs(30));
/// assert_eq!(time.elapsed(), Duration::from_secs(30));
/// # drop(clock);
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock {
    time: Arc<ManualTime>,
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl ManualClock {
    /// Makes a clock that stands at zero.
    #[must_use]
    pub fn new() -> Self {
        Self { time: Arc::new(ManualTime { now: AtomicU64::new(0), watchers: Mutex::new(Vec::new()) }) }
    }

    /// Returns the clock to give to a pool.
    #[must_use]
    pub fn clock(&self) -> Clock {
        Clock { manual: Some(Arc::clone(&self.time)) }
    }

    /// Returns how far the clock has been moved since it was made.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.time.now.load(Ordering::Acquire))
    }

    /// Moves the clock forward and does what has become due in every pool that lives by it before returning.
    ///
    /// The clock stops for good some 584 years after its beginning. Time jumps: what becomes due in between happens at the new time, timeouts first.
    pub fn advance(&self, by: Duration) {
        let moved = |now: Nanos| Some(now.saturating_add(nanos(by)));
        let _ = self.time.now.fetch_update(Ordering::AcqRel, Ordering::Acquire, moved);
        let watchers: Vec<_> = self.time.watchers.lock().iter().filter_map(Weak::upgrade).collect();
        for watcher in watchers {
            watcher.time_moved();
        }
    }
}
