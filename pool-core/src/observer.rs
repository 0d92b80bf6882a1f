//! Owns what a pool tells about itself while it runs: events and holders.
//!
//! Must not know who listens. Invariant: an observer is called outside all locks, and a panic in it stops there.

use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::time::Duration;

use crate::manager::CloseReason;

/// Hears what happens in a pool; every method does nothing unless implemented.
///
/// Nothing is reported for an acquire that finds an idle connection, nor for a release: those are counted in
/// [`Stats`](crate::Stats) and cost no call.
pub trait Observer: Send + Sync + 'static {
    /// A connection was opened, in this time.
    fn opened(&self, took: Duration) {
        let _ = took;
    }
    /// A connection was closed at this age.
    fn closed(&self, reason: CloseReason, age: Duration) {
        let _ = (reason, age);
    }
    /// Opening a connection failed.
    fn open_failed(&self, error: &(dyn Error + 'static)) {
        let _ = error;
    }
    /// An acquire had to wait and got its connection after this time.
    fn waited(&self, duration: Duration) {
        let _ = duration;
    }
    /// An acquire gave up after this time.
    fn timed_out(&self, waited: Duration) {
        let _ = waited;
    }
    /// An idle connection failed its validation.
    fn validation_failed(&self, error: &(dyn Error + 'static)) {
        let _ = error;
    }
    /// Cleaning a connection at release failed.
    fn reset_failed(&self, error: &(dyn Error + 'static)) {
        let _ = error;
    }
    /// A connection has been leased for longer than `leak_threshold`; told once a lease.
    fn leak(&self, holder: &Holder) {
        let _ = holder;
    }
}

/// Who holds a connection, where it was acquired and for how long it has been held.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// The tokio task or the thread that acquired.
    pub who: String,
    /// The line that called acquire.
    pub location: &'static Location<'static>,
    /// Time since the connection was handed over.
    pub held_for: Duration,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {:?} since {}", self.who, self.held_for, self.location)
    }
}

/// Names the task or thread that runs.
pub(crate) fn current_name() -> String {
    #[cfg(all(feature = "tokio", not(loom)))]
    if let Some(id) = tokio::task::try_id() {
        return format!("task {id}");
    }
    let thread = std::thread::current();
    match thread.name() {
        Some(name) => format!("thread {name}"),
        None => format!("{:?}", thread.id()),
    }
}
