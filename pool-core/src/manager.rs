//! Owns the contract between a pool and the resource it pools.
//!
//! Must not know how the pool works. Invariant: no method of a manager is ever called while the pool holds a lock.

use std::future::{Future, ready};

/// Opens, checks, cleans and closes the connections of one pool.
///
/// A database implements this trait once; everything else is the pool's work. The two methods that may have to wait
/// return futures; a resource that never waits returns [`std::future::ready`] or uses `async fn` without an await.
///
/// Futures are driven by whoever needs the connection: the task that acquires, the thread that acquires (parked in
/// between), or the maintenance thread when it refills the pool or checks idle connections. With the feature `tokio`
/// the pool remembers the runtime it was built in and enters it wherever no other one drives the future, so that
/// `open` may use tokio's sockets and timers even then. A future that blocks instead of waiting blocks its driver:
/// a manager whose `open` may block for long should be used without `min_connections` and health checks, which run on
/// the thread that serves all pools of the process. So does [`close`](Manager::close) when a connection has been idle for too
/// long or has reached its age: one that blocks keeps tasks in all pools from timing out as long.
///
/// A panic in any method loses nothing: the slot is freed, the next waiter gets its chance. In `open` and `validate`
/// it goes on to the caller who acquires, in `reset` and `close` it is contained and counted as an error.
///
/// ```
/// use pool_core::Manager;
///
/// struct Numbers(std::sync::atomic::AtomicU64);
///
/// impl Manager for Numbers {
///     type Connection = u64;
///     type Error = std::convert::Infallible;
///
///     async fn open(&self) -> Result<u64, Self::Error> {
///         Ok(self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
///     }
/// }
/// ```
pub trait Manager: Send + Sync + 'static {
    /// What is pooled.
    type Connection: Send + 'static;
    /// Why it could not be opened, or is not fit for use.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Opens a new connection.
    ///
    /// The future may be dropped before it is done: when its caller gives up, or when the pool is closed.
    fn open(&self) -> impl Future<Output = Result<Self::Connection, Self::Error>> + Send;

    /// Checks whether an idle connection still works; an error makes the pool close and replace it.
    ///
    /// Called before hand-out when the connection was idle for longer than `validate_after_idle`, and in the
    /// background when `health_checks` is on. The default says that it does.
    fn validate(&self, connection: &mut Self::Connection) -> impl Future<Output = Result<(), Self::Error>> + Send {
        let _ = connection;
        ready(Ok(()))
    }

    /// Undoes what the holder left behind, at every release; an error makes the pool close the connection.
    ///
    /// The default does nothing.
    ///
    /// # Errors
    ///
    /// Whatever keeps the connection from being handed to somebody else.
    #[inline]
    fn reset(&self, connection: &mut Self::Connection) -> Result<(), Self::Error> {
        let _ = connection;
        Ok(())
    }

    /// Tells whether the connection is known to be unusable, at every hand-out and every release.
    ///
    /// Must be cheap and must not wait. The default says no.
    #[inline]
    fn is_broken(&self, connection: &mut Self::Connection) -> bool {
        let _ = connection;
        false
    }

    /// Closes a connection; its slot is free for another one as soon as this returns.
    ///
    /// The default drops the connection.
    fn close(&self, connection: Self::Connection, reason: CloseReason) {
        let _ = reason;
        drop(connection);
    }

    /// Hears that a connection leaves the pool for good, through [`Lease::detach`](crate::Lease::detach).
    ///
    /// The default does nothing.
    fn detach(&self, connection: &mut Self::Connection) {
        let _ = connection;
    }
}

/// Why a connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// It was idle for longer than `idle_timeout` while there were more than `min_connections`.
    Idle,
    /// It was open for longer than `max_connection_age`.
    MaxAge,
    /// [`Manager::is_broken`](crate::Manager::is_broken) said so.
    Broken,
    /// [`Manager::validate`](crate::Manager::validate) failed.
    Invalid,
    /// [`Manager::reset`](crate::Manager::reset) failed or panicked.
    ResetFailed,
    /// A hook refused it, or panicked.
    Refused,
    /// Its holder discarded it.
    Discarded,
    /// Its holder panicked.
    HolderPanicked,
    /// Whoever was having it validated gave up or panicked, which leaves its state unknown.
    Interrupted,
    /// `max_connections` was lowered.
    Shrunk,
    /// The pool was closed.
    PoolClosed,
}

impl CloseReason {
    /// Every reason, in the order of [`CloseCounts`](crate::CloseCounts).
    pub const ALL: [CloseReason; 11] = [
        CloseReason::Idle,
        CloseReason::MaxAge,
        CloseReason::Broken,
        CloseReason::Invalid,
        CloseReason::ResetFailed,
        CloseReason::Refused,
        CloseReason::Discarded,
        CloseReason::HolderPanicked,
        CloseReason::Interrupted,
        CloseReason::Shrunk,
        CloseReason::PoolClosed,
    ];
}
