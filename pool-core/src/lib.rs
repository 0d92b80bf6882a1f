//! A generic connection pool.
