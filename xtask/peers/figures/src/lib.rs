//! What the programs that measure below `xtask/peers` and the one that collects have in common: a figure, the lines in which it is said,
//! the words of an order, and the command line of those that need no database.
//!
//! Must not know what is measured, nor by whom. It is a package of its own without a program, so it is nobody who measures.

mod figure;
mod order;
mod serve;

pub use figure::{Better, Built, Competitor, Figure, Line, Point};
pub use order::Order;
pub use serve::{Round, Row, lines, serve, versions};
