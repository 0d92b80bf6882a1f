//! The SQLite facade.
