//! A connection pool for anything that is costly to open: fair, fast, one for async and blocking callers alike.
//!
//! ```
//! use pool_core::{Manager, Pool};
//! use std::io;
//!
//! /// A pool knows of its resource what this trait says.
//! struct Files;
//!
//! impl Manager for Files {
//!     type Connection = String;
//!     type Error = io::Error;
//!
//!     async fn open(&self) -> Result<String, io::Error> {
//!         Ok("connected".to_owned())
//!     }
//! }
//!
//! let pool = Pool::builder(Files).max_connections(4).build()?;
//!
//! // A thread takes a connection, a task does; they wait in one queue.
//! let lease = pool.acquire_blocking()?;
//! assert_eq!(*lease, "connected");
//! drop(lease); // back in the pool
//!
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! let lease = pool.acquire().await?;
//! assert_eq!(pool.stats().leased, 1);
//! # drop(lease);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Promises
//!
//! - Never two holders of a connection, never more than [`max_connections`](Options::max_connections) open (a
//!   connection counts until it has been closed), refilled to [`min_connections`](Options::min_connections).
//! - First come, first served. A task is never overtaken. A waiting thread may be, by threads that come back at once,
//!   for half a millisecond at most once it is first: that saves a context switch for every lease.
//! - A dropped acquire future, a panicking holder, a failing or panicking `open`, a thread that dies: no slot and no
//!   turn is lost.
//! - Age, idleness and health are judged in the background as well as before hand-out; what is unfit is replaced
//!   while the caller keeps its turn.
//! - A failing `open` is told at once with its cause, to the caller it was for.
//! - No lock is held while a connection is opened, validated, reset or closed, nor while a hook or observer runs.
//! - One maintenance thread a process serves all pools and ends with the last.
//! - Time comes from a [`Clock`] that tests can move.
//! - The numbers of [`Stats`] add up exactly at rest.
//!
//! # No promises
//!
//! - A connection that is leased when the pool is closed stays open until its holder gives it back.
//! - A blocking `open` or `validate` blocks whoever drives it: see [`Manager`].
//! - Tasks of a runtime other than tokio get no cooperative budget: one that never waits may hog its worker.
//! - Leaking a lease, or an acquire that waits ([`std::mem::forget`]), takes a connection out of use for good.
//!
//! # How it works
//!
//! Idle connections are bits of an atomic word (62 a word), taken lowest first, so that warm connections are reused and the others
//! age out. Taking one is a compare-and-swap, giving it back an atomic or; a borrowed [`Lease`] counts no reference,
//! and each slot counts its uses by itself without an atomic read-modify-write. Two flags in the same word send
//! callers the long way: an acquire when somebody has a better right, a release when somebody waits. Since bits and flags
//! share a word, no wake-up can fall between them. Those who wait stand in a queue behind a lock that the short way
//! never touches: the lock is taken once to queue up and once to hand on what comes back; what a waiter is given it takes
//! without. A waiter costs 72 bytes there beside its future, and no allocation once the queue has been as long before. The clock is read by those who wait, open or track, not by the short way.
//!
//! A task that gets a connection without waiting may still have to let others run, by tokio's cooperative budget or
//! because others are letting somebody run themselves. It keeps what it has got meanwhile, for it came first; where more
//! tasks than connections do this, the queue gives each of them its turn.
//!
//! # Features
//!
//! - `tokio` (default): acquires take part in tokio's cooperative budget, and `open` finds the runtime the pool was
//!   built in. Without it the crate knows no runtime.
//! - `r2d2`, `bb8`, `deadpool`: managers written for those pools, pooled unchanged (module `adapter`).
mod acquire;
#[cfg(any(feature = "r2d2", feature = "bb8", feature = "deadpool"))]
pub mod adapter;
mod block;
mod builder;
mod clock;
mod closing;
mod contain;
mod custody;
mod error;
mod handoff;
mod hooks;
mod lease;
mod ledger;
mod limit;
mod maintenance;
mod manager;
mod observer;
mod opening;
mod options;
mod pool;
mod queue;
mod reaper;
mod shared;
mod slot;
mod slots;
mod stats;
mod sync;
mod turn;
mod visit;
mod words;

pub use acquire::Acquire;
pub use builder::PoolBuilder;
pub use clock::{Clock, ManualClock};
pub use closing::CloseReport;
pub use error::{AcquireError, Refusal, SettingsError};
pub use lease::{Lease, OwnedLease};
pub use manager::{CloseReason, Manager};
pub use observer::{Holder, Observer};
pub use options::Options;
pub use pool::Pool;
pub use stats::{CloseCounts, Stats};
