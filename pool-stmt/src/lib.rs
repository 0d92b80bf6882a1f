//! Prepared statements, reused, and known by what they touch.

mod cache;
mod facts;
mod key;
mod membership;
mod order;
mod pattern;
mod registry;

#[cfg(feature = "rusqlite")]
pub mod rusqlite;

pub use cache::{StatementCache, Ticket};
pub use facts::{Accesses, Column, Facts, StatementKind, Table};
pub use key::StatementKey;
pub use membership::{Membership, StatementEvent};
pub use registry::{KnownStatement, StatementRegistry, StatementStats};
