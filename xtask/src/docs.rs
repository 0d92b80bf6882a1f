//! `docs`: the documentation of our own crates, every warning being an error.

use crate::{error::Error, process::Process};

pub(crate) fn run() -> Result<(), Error> {
    Process::cargo("doc")
        .env("RUSTDOCFLAGS", "-Dwarnings")
        .args(["--workspace", "--all-features", "--no-deps", "--locked"])
        .run()
}
