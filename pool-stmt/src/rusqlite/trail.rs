//! A hash of what SQLite's authorizer is told while a statement is prepared.
//!
//! Owns which statements can be recognised by it. Must not know where it is kept. Invariant: equal trails of one text mean equal
//! accesses, which saves finding these out again; a trail that means nothing is 0 and stays so.

use super::authorizer::Action;
use crate::key::{fold, hash};
use rusqlite::ffi;

/// The trail of a preparation of which nothing was told yet.
pub(super) const START: u64 = 0x243F_6A88_85A3_08D3;

const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// Adds what the authorizer is told.
///
/// Whatever may change the schema or a setting has effects that must be heard each time: its trail means nothing.
#[inline]
pub(super) fn step(trail: u64, action: &Action<'_>) -> u64 {
    match action.code {
        _ if trail == 0 => return 0,
        ffi::SQLITE_READ
        | ffi::SQLITE_SELECT
        | ffi::SQLITE_FUNCTION
        | ffi::SQLITE_INSERT
        | ffi::SQLITE_UPDATE
        | ffi::SQLITE_DELETE
        | ffi::SQLITE_RECURSIVE
        | ffi::SQLITE_TRANSACTION
        | ffi::SQLITE_SAVEPOINT => {}
        _ => return 0,
    }
    let mut trail = fold(trail ^ u64::from(action.code.cast_unsigned()), STEP);
    for argument in [action.first, action.second, action.database] {
        trail = match argument {
            Some(text) => fold(trail ^ hash(text.to_bytes()), STEP),
            None => trail.rotate_left(7),
        };
    }
    trail | 1
}
