//! The one source of time of a cache.
//!
//! Owns how "now" is found out; must not know what it is compared with. Invariant: time never goes back, and it counts
//! nanoseconds from the creation of the clock, so 64 bits last for centuries.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Tells a cache the time: the system's, or one that tests move.
///
/// Clones tell the same time.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System(Instant),
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// Creates a clock that follows the system's monotonic time.
    pub fn system() -> Self {
        Clock(Source::System(Instant::now()))
    }

    /// Tells the nanoseconds since the clock was created.
    pub(crate) fn now(&self) -> u64 {
        match &self.0 {
            Source::System(start) => nanos(start.elapsed()),
            Source::Manual(now) => now.load(Ordering::Relaxed),
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Clock::system()
    }
}

/// A clock that stands still until a test moves it.
///
/// ```
/// use pool_cache::{ManualClock, TtlCache};
/// use std::time::Duration;
///
/// let time = ManualClock::new();
/// let cache = TtlCache::builder().default_ttl(Duration::from_secs(60)).clock(time.clock()).build()?;
/// cache.insert("answer", 42);
/// time.advance(Duration::from_secs(59));
/// assert!(cache.get("answer").is_some());
/// time.advance(Duration::from_secs(1));
/// assert!(cache.get("answer").is_none());
/// # Ok::<(), pool_cache::SettingError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// Creates a clock that shows zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the clock to hand to a builder; it shows the time of this one.
    pub fn clock(&self) -> Clock {
        Clock(Source::Manual(Arc::clone(&self.0)))
    }

    /// Moves time forward. Time that would pass the end of the range (584 years) stops there.
    pub fn advance(&self, by: Duration) {
        // Relaxed: a test that moves time on one thread and reads on another synchronises the two itself.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| Some(now.saturating_add(nanos(by))));
    }
}

/// Nanoseconds of a duration, or the largest number there is.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
