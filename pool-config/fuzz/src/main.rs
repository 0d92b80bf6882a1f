//! Feeds whatever libFuzzer invents to every reader of settings; the claims are those of the property tests.

#![no_main]

#[path = "../../tests/claims/mod.rs"]
mod claims;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| claims::check(bytes));
