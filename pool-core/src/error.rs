//! Owns the errors of the crate.
//!
//! Two enums, because what goes wrong while taking a connection carries the manager's error and what goes wrong with
//! settings does not. Invariant: a cause is in `source()`, never in the text.

use std::fmt;
use std::time::Duration;

use crate::observer::Holder;

/// Why a hook refused a connection.
pub type Refusal = Box<dyn std::error::Error + Send + Sync>;

/// Why no connection could be acquired.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcquireError<E: std::error::Error + 'static> {
    /// No connection came free in time.
    #[error("no connection within {waited:?}: {leased} leased, {waiting} waiting{}", Longest(longest_holder))]
    TimedOut {
        /// How long the caller waited.
        waited: Duration,
        /// Connections leased when the time was up.
        leased: usize,
        /// Other callers waiting when the time was up.
        waiting: usize,
        /// Who has held a connection the longest; `None` unless `track_holders` is on.
        longest_holder: Option<Holder>,
    },
    /// The pool is closed.
    #[error("the pool is closed")]
    Closed,
    /// As many callers as `max_waiters` allows are waiting already.
    #[error("{limit} callers are waiting already, which is the limit")]
    TooManyWaiters {
        /// The value of `max_waiters`.
        limit: usize,
    },
    /// There was room for one more connection, and opening it failed.
    #[error("opening a connection failed")]
    OpenFailed {
        /// What the manager said.
        source: E,
    },
    /// A hook refused a connection that had just been opened.
    #[error("a hook refused the new connection")]
    Refused {
        /// What the hook said.
        source: Refusal,
    },
}

struct Longest<'a>(&'a Option<Holder>);

impl fmt::Display for Longest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(holder) => write!(f, ", longest held by {holder}"),
            None => Ok(()),
        }
    }
}

/// Why settings were not taken over; those in force stay as they were.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A value is out of its range or contradicts another one.
    #[error("{key} is {value}, allowed is {allowed}")]
    InvalidSetting {
        /// The name of the option.
        key: &'static str,
        /// The value that was given.
        value: String,
        /// What would be accepted.
        allowed: String,
    },
    /// The pool is closed, it cannot be reconfigured any more.
    #[error("the pool is closed")]
    Closed,
}
