//! Prepared statements, reused.
