//! What the comparisons below `xtask/peers` share: a figure, what many rounds of it amount to, the table, the JSON, and the options
//! of their command lines.
//!
//! Must not know what is measured, nor by whom. It is a package of its own without a program, so it is no set of benchmarks.

mod figure;
mod options;
mod report;

pub use figure::{Better, Competitor, Figure, Line};
pub use options::Options;
pub use report::Report;
