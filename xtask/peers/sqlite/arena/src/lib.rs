//! What all who are compared on SQLite files have in common: the table and what its rows must add up to, the questions, the scenarios, and
//! the protocol between the program that measures and the one that collects.
//!
//! It links no SQLite: each runner brings its own. So everybody is asked the same, by the same code, with the same settings.

mod city;
mod competitor;
mod crowd;
#[cfg(test)]
mod fake;
mod measure;
mod memory;
mod mix;
mod random;
mod runner;
mod scenario;
pub mod sql;

pub use city::{City, RANGE, ROWS, digest};
pub use competitor::{Competitor, Country, Failure, Place, Quirks, Site, Totals};
pub use measure::block_on;
pub use peers_figures::versions;
pub use runner::{BuiltOn, Entrant, Fill, Runner, main};
pub use scenario::{CACHED, OPENING, READS, REUSE, WRITES};
