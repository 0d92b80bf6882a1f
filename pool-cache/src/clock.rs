//! The one source of time of a cache.
//!
//! Owns how "now" is found out, and how cheaply; must not know what it is compared with. Invariant: time never goes
//! back, and it counts nanoseconds from the creation of the clock, so 64 bits last for centuries.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use system::Monotonic;

/// Tells a cache the time: the system's, or one that tests move.
///
/// Clones tell the same time.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System(Monotonic),
    Manual(Arc<AtomicU64>),
}

/// What the cheap clock told: a moment that has just passed, in the time of the clock that was asked.
///
/// ```
/// let lately = pool_cache::Clock::system().lately();
/// assert!(lately.nanos() < 1_000_000_000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lately(u64);

impl Lately {
    /// Returns the nanoseconds since the clock was created.
    #[must_use]
    #[inline]
    pub fn nanos(self) -> u64 {
        self.0
    }
}

/// How far the cheap clock may lag. It is moved by the timer interrupt, 1 to 10 ms apart; the rest is for an interrupt that
/// comes late.
const LAG: u64 = 100_000_000;

impl Clock {
    /// Creates a clock that follows the system's monotonic time.
    pub fn system() -> Self {
        Clock(Source::System(Monotonic::start()))
    }

    /// Tells the time since the clock was created, for who keeps something else by the time of a cache.
    ///
    /// ```
    /// let time = pool_cache::ManualClock::new();
    /// time.advance(std::time::Duration::from_secs(2));
    /// assert_eq!(time.clock().elapsed().as_secs(), 2);
    /// ```
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.now())
    }

    /// Tells the same as of the last timer interrupt, 1 to 10 ms ago: at a third of the cost.
    #[inline]
    pub fn lately(&self) -> Lately {
        Lately(match &self.0 {
            Source::System(clock) => clock.at_least(),
            Source::Manual(now) => now.load(Ordering::Relaxed),
        })
    }

    /// Tells the nanoseconds since the clock was created.
    pub(crate) fn now(&self) -> u64 {
        match &self.0 {
            Source::System(clock) => clock.now(),
            Source::Manual(now) => now.load(Ordering::Relaxed),
        }
    }

    /// Says whether a moment has come. Asks the cheap clock first, and the exact one when it is close.
    #[inline]
    pub(crate) fn has_come(&self, moment: u64) -> bool {
        self.has_come_since(self.lately(), moment)
    }

    /// The same, for who has asked the cheap clock just now.
    #[inline]
    pub(crate) fn has_come_since(&self, lately: Lately, moment: u64) -> bool {
        lately.0.saturating_add(LAG) >= moment && self.now() >= moment
    }
}

#[cfg(target_os = "linux")]
mod system {
    use rustix::time::{ClockId, clock_gettime};

    /// The kernel's monotonic clock, read without a system call. (rustix must look for it through libc, feature
    /// `use-libc-auxv`: its own search does not survive valgrind.)
    #[derive(Clone, Copy, Debug)]
    pub(super) struct Monotonic {
        start: u64,
    }

    fn read(clock: ClockId) -> u64 {
        let time = clock_gettime(clock);
        // Monotonic time counts from the start of the machine: neither part is negative.
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }

    impl Monotonic {
        pub(super) fn start() -> Self {
            Monotonic { start: read(ClockId::Monotonic) }
        }

        pub(super) fn now(&self) -> u64 {
            read(ClockId::Monotonic).saturating_sub(self.start)
        }

        /// A moment that has passed: the time of the last timer interrupt, at a third of the cost of `now`.
        #[inline]
        pub(super) fn at_least(&self) -> u64 {
            read(ClockId::MonotonicCoarse).saturating_sub(self.start)
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::time::Instant;

    /// The standard library's clock.
    #[derive(Clone, Copy, Debug)]
    pub(super) struct Monotonic {
        start: Instant,
    }

    impl Monotonic {
        pub(super) fn start() -> Self {
            Monotonic { start: Instant::now() }
        }

        pub(super) fn now(&self) -> u64 {
            super::nanos(self.start.elapsed())
        }

        /// A moment that has passed; here there is no cheaper one than now.
        #[inline]
        pub(super) fn at_least(&self) -> u64 {
            self.now()
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
