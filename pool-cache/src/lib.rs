//! A concurrent, bounded cache with time to live, tags and loads that run once.
//!
//! ```
//! use pool_cache::{EntryOptions, TtlCache};
//! use std::time::Duration;
//!
//! let cache: TtlCache<String, Vec<u8>> = TtlCache::builder()
//!     .max_entries(10_000)
//!     .default_ttl(Duration::from_secs(300))
//!     .ttl_jitter(0.1)
//!     .build()?;
//!
//! cache.insert("logo".to_owned(), vec![1, 2, 3]);
//! cache.insert_with("menu".to_owned(), vec![4], EntryOptions::new().ttl(Duration::from_secs(5)).tag("pages"));
//! assert_eq!(cache.get("logo").as_deref(), Some(&vec![1, 2, 3]));
//!
//! // Loads what is missing, once, however many threads and tasks ask.
//! let page = cache.get_or_load_blocking("index", || Ok::<_, std::io::Error>(vec![5, 6]))?;
//! assert_eq!(*page, [5, 6]);
//!
//! assert_eq!(cache.invalidate_tag("pages"), 1);
//! assert_eq!((cache.len(), cache.stats().hits, cache.stats().misses), (2, 1, 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Promises
//!
//! - Never more than `max_entries` entries or `max_weight` weight, at any moment, with any number of threads; the whole
//!   of both is usable (an entry may weigh as much as `max_weight`).
//! - An expired value is never returned. [`TtlCache::purge_expired`] frees expired memory at a cost proportional to what has
//!   expired, a small batch of each shard in turn: other threads wait for it some microseconds, unless the system interrupts it just then.
//! - One load per key however many ask, async and blocking together. An error is given to all who wait and is never
//!   stored. A loader that panics or whose future is dropped leaves no trace, and one of those who wait loads instead.
//! - A value whose loading began before an invalidation of its key, of one of its tags or of everything is not stored
//!   after it, and is not given to anybody who asked after it. The same holds for a load that was running when
//!   its key was inserted by hand.
//! - A load that would wait for itself, through any chain of loads on any threads, is told so
//!   ([`LoadError::Recursive`]) and does not hang.
//! - Values are shared by [`Arc`](std::sync::Arc). Hashing, weighing, predicates, loaders, listeners and the destructors of keys and
//!   values run outside all locks (but [`TtlCache::glance`] takes under one); a panic in any of them, or in `Eq`, reaches the caller and
//!   leaves the cache whole.
//! - Eviction survives scans and loops: a key that is asked for once does not push out those that are asked for often. Where what
//!   is wanted changes, recency gains weight by itself.
//! - No thread of its own.
//!
//! # Memory
//!
//! Over key and value, an entry takes 71 bytes in a cache of 100,000 that has just become full and 92 bytes once it has evicted for long
//! (measured with `u64` keys; moka 0.12: 248 and 253; quick_cache 0.7, which knows no time to live: 43 and 102).
//!
//! # Not promised
//!
//! - The order of eviction, and that the most recent entry is kept.
//! - That a scan leaves alone what nobody asks for meanwhile: how often a key was asked for is halved after every 30 questions for each
//!   entry. A key that was wanted a few times before a scan as long as 100 times the capacity, and not once during it, may be gone afterwards.
//! - `Eq` and `Clone` of keys, and what [`TtlCache::glance`] is given, run under a lock: they must not use the same cache.
//! - A future from [`TtlCache::get_or_load`] that is polled once and then neither polled nor dropped keeps those who wait
//!   waiting. A task or thread started by a loader is not known to be part of the load, unless it takes its [`LoadScope`] along; and a
//!   blocking loader that runs other tasks on its thread makes them part of it.
//! - Iteration in any order, or at one moment for all entries.

mod budget;
mod builder;
mod cache;
mod clock;
mod error;
mod flight;
mod flights;
mod heat;
mod index;
mod load;
mod memory;
mod options;
mod processor;
mod removal;
mod scope;
mod shard;
mod slab;
mod stats;
mod store;
mod sync;
mod tags;
mod tally;
mod wheel;

pub use builder::TtlCacheBuilder;
pub use cache::TtlCache;
pub use clock::{Clock, Lately, ManualClock};
pub use error::{LoadError, SettingError};
pub use load::{Load, Reservation};
pub use options::EntryOptions;
pub use removal::RemovalReason;
pub use scope::LoadScope;
pub use stats::Stats;
