//! `miri`: the tests of pool-core's unsafe parts in an interpreter that knows what undefined behaviour is, where it is installed.
//!
//! Only pool-core: miri cannot run the C code of a database.

use crate::{error::Error, flags::MiriFlags, process::Process, san, workspace::require};

pub(crate) fn run(flags: &MiriFlags) -> Result<(), Error> {
    require("pool-core/tests/unsafe_parts.rs", "it holds the tests of the unsafe parts")?;
    if !san::nightly_is_installed() || !Process::nightly_cargo("miri").arg("--version").succeeds() {
        println!("skipped: miri is not installed (rustup +nightly component add miri)");
        return Ok(());
    }
    Process::nightly_cargo("miri")
        .args(["test", "-p", "pool-core", "--test", "unsafe_parts"])
        .args(flags.filter.clone())
        .run()
}
