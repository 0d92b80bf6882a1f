//! Owns the settings of a pool that can change while it runs, their defaults and their rules.
//!
//! Must not know how they are applied. Invariant: a value that contradicts itself never gets past `check`.

use std::time::Duration;

use crate::error::SettingsError;
use crate::slots::MAX_CONNECTIONS;

/// What the background does in rounds would be one endless round if they were closer together.
const MIN_ROUND: Duration = Duration::from_millis(1);

/// The limits and times of a pool.
///
/// Made by [`PoolBuilder`](crate::PoolBuilder) or taken from a running pool with [`Pool::options`](crate::Pool::options),
/// changed with the methods named like the fields, and put in force with [`Pool::reconfigure`](crate::Pool::reconfigure).
///
/// ```
/// use pool_core::Options;
/// use std::time::Duration;
///
/// let options = Options::default().max_connections(20).acquire_timeout(Duration::from_secs(2));
/// assert_eq!(options.max_connections, 20);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "options do nothing until a pool gets them"]
#[non_exhaustive]
pub struct Options {
    /// Most connections open at once, 1 to 4,096; default 10.
    pub max_connections: usize,
    /// Connections kept open even when nobody uses them, at most `max_connections`; default 2, zero keeps none.
    pub min_connections: usize,
    /// How long an acquire waits before it fails, unless the call says otherwise; default 10 s, [`Duration::MAX`] without limit.
    ///
    /// An `open` or `validate` in the background is given up after this time, too: it holds a slot that others may wait for.
    pub acquire_timeout: Duration,
    /// How long a connection above the minimum may stay idle; default 30 s, `None` for ever.
    ///
    /// The reaper notices idleness at its passes, so a connection is closed at the earliest after this time and at
    /// the latest two `reap_interval`s later.
    pub idle_timeout: Option<Duration>,
    /// How old a connection may become before it is replaced, on return if leased; default 1 h, at least 1 ms, `None` for ever.
    pub max_connection_age: Option<Duration>,
    /// By which share of `max_connection_age` each connection's own limit is shortened at random, 0 to 1; default 0.1.
    ///
    /// Keeps connections that were opened together from being replaced together.
    pub age_jitter: f64,
    /// Time between two passes over idle connections; default 10 s, at least 1 ms: passes that end when the next begins would keep the
    /// process' maintenance thread busy for ever.
    pub reap_interval: Duration,
    /// Whether idle connections are validated in the background at every pass; default off.
    pub health_checks: bool,
    /// Validates a connection before hand-out when it was idle for at least this time; zero always, default `None` never.
    ///
    /// Costs two readings of the clock a lease.
    pub validate_after_idle: Option<Duration>,
    /// Most callers that may wait at once, further ones are refused; zero lets nobody wait, default `None` sets no limit.
    pub max_waiters: Option<usize>,
    /// Whether the pool remembers who holds each connection; default off, and then free.
    pub track_holders: bool,
    /// Reports a connection held for longer than this to the observer, once a lease; default `None` never.
    ///
    /// Turns tracking of holders on.
    pub leak_threshold: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_connections: 10,
            min_connections: 2,
            acquire_timeout: Duration::from_secs(10),
            idle_timeout: Some(Duration::from_secs(30)),
            max_connection_age: Some(Duration::from_secs(3600)),
            age_jitter: 0.1,
            reap_interval: Duration::from_secs(10),
            health_checks: false,
            validate_after_idle: None,
            max_waiters: None,
            track_holders: false,
            leak_threshold: None,
        }
    }
}

/// Writes the consuming setters, once for `Options` and once for the builder that contains one.
macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident : $kind:ty),+ $(,)?) => {
        $($(#[$doc])* pub fn $name(mut self, $name: $kind) -> Self {
            self.options_mut().$name = $name;
            self
        })+
    };
    () => {
        $crate::options::setters! {
            /// Sets the most connections open at once, 1 to 4,096; default 10.
            max_connections: usize,
            /// Sets how long an acquire waits unless the call says otherwise; default 10 s,
            /// [`Duration::MAX`](::std::time::Duration::MAX) without limit.
            acquire_timeout: ::std::time::Duration,
            /// Sets how long a connection above the minimum may stay idle; default 30 s, `None` for ever.
            idle_timeout: Option<::std::time::Duration>,
            /// Sets how old a connection may become; default 1 h, `None` for ever.
            max_connection_age: Option<::std::time::Duration>,
            /// Sets the share of the age that chance may take off, 0 to 1; default 0.1.
            age_jitter: f64,
            /// Sets the time between two passes over idle connections; default 10 s.
            reap_interval: ::std::time::Duration,
            /// Sets whether idle connections are validated in the background at every pass; default off.
            health_checks: bool,
            /// Sets from which idle time on a connection is validated before hand-out; zero always, default `None` never.
            validate_after_idle: Option<::std::time::Duration>,
            /// Sets the most callers that may wait at once; zero lets nobody wait, default `None` sets no limit.
            max_waiters: Option<usize>,
            /// Sets whether the pool remembers who holds each connection; default off.
            track_holders: bool,
            /// Sets after which time a lease is reported as leaked; default `None` never. Turns tracking on.
            leak_threshold: Option<::std::time::Duration>,
        }
    };
}
pub(crate) use setters;

impl Options {
    setters!();

    fn options_mut(&mut self) -> &mut Self {
        self
    }

    /// Sets how many connections are kept open; default 2, zero keeps none.
    pub fn min_connections(mut self, min_connections: usize) -> Self {
        self.min_connections = min_connections;
        self
    }

    /// Tells whether holders are to be remembered, for their own sake or for leak reports.
    pub(crate) fn tracks(&self) -> bool {
        self.track_holders || self.leak_threshold.is_some()
    }

    /// Refuses what is out of range or contradicts itself.
    pub(crate) fn check(&self) -> Result<(), SettingsError> {
        let wrong = |key, value: String, allowed: String| Err(SettingsError::InvalidSetting { key, value, allowed });
        if self.max_connections == 0 || self.max_connections > MAX_CONNECTIONS {
            let allowed = format!("1 to {MAX_CONNECTIONS}");
            return wrong("max_connections", self.max_connections.to_string(), allowed);
        }
        if self.min_connections > self.max_connections {
            let allowed = format!("0 to max_connections, which is {}", self.max_connections);
            return wrong("min_connections", self.min_connections.to_string(), allowed);
        }
        if !(0.0..=1.0).contains(&self.age_jitter) {
            return wrong("age_jitter", self.age_jitter.to_string(), "0 to 1".to_owned());
        }
        let times = [
            ("acquire_timeout", Some(self.acquire_timeout), "more than zero"),
            ("idle_timeout", self.idle_timeout, "more than zero, or None for no limit"),
            ("leak_threshold", self.leak_threshold, "more than zero, or None for no reports"),
        ];
        for (key, time, allowed) in times {
            if time == Some(Duration::ZERO) {
                return wrong(key, "0".to_owned(), allowed.to_owned());
            }
        }
        let rounds = [
            ("reap_interval", Some(self.reap_interval), ""),
            ("max_connection_age", self.max_connection_age, ", or None for no limit"),
        ];
        for (key, time, or) in rounds {
            if let Some(time) = time.filter(|time| *time < MIN_ROUND) {
                return wrong(key, format!("{time:?}"), format!("{MIN_ROUND:?} or more{or}"));
            }
        }
        Ok(())
    }
}
