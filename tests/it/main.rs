//! Integration tests across the crates; one file a subject.
