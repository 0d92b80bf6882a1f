//! Integration tests across the crates, on real files; one file a subject.
//!
//! `promises` has a test for each failure of the implementation this project began with, `settings` one for each setting.
#![allow(clippy::unwrap_used, reason = "in a test, what can't be unwrapped has failed")]

mod bank;
mod blobs;
mod bulk;
mod cache;
mod cache_checker;
mod cache_functions;
mod cache_keys;
mod cache_looks;
mod cache_random;
mod cache_rows;
mod cache_tables;
mod call_options;
mod changes;
mod checkpoints;
mod chinook;
mod closing;
mod external_writers;
#[cfg(unix)]
mod forks;
mod grouping;
mod grouping_threads;
mod lane;
mod leading;
mod live;
mod nesting;
mod opening;
mod promises;
mod real_data;
mod receipts;
mod reset;
#[cfg(unix)]
mod rights;
mod schema;
mod schema_changes;
mod settings;
mod snapshots;
mod statements;
#[cfg(target_os = "linux")]
mod stopped;
mod streams;
mod support;
mod surviving;
mod transactions;
mod uncacheable;
mod warm;
mod write_snapshots;
