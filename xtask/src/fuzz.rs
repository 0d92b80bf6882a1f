//! `fuzz`: feeds the readers of settings whatever libFuzzer invents, where the tools for it are installed.
//!
//! The target is a workspace of its own with its own lock file, because it needs the nightly toolchain and a C++ compiler for
//! libFuzzer. A bounded share of the same claims runs as property tests with `test` and `props`.

use std::fs;

use crate::{
    error::Error,
    flags::FuzzFlags,
    process::Process,
    san,
    workspace::{Workspace, require, root},
};

/// What makes the compiler tell libFuzzer which way the program took, see
/// <https://clang.llvm.org/docs/SanitizerCoverage.html>.
const FLAGS: &str = "-Zsanitizer=address -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions -Ccodegen-units=1";

const MANIFEST: &str = "pool-config/fuzz/Cargo.toml";

pub(crate) fn run(flags: &FuzzFlags) -> Result<(), Error> {
    require(MANIFEST, "it holds the fuzz target")?;
    require("pool-config/tests/claims/mod.rs", "it holds what the fuzz target claims")?;
    if !san::nightly_is_installed() {
        println!("skipped: fuzzing needs the nightly toolchain (rustup toolchain install nightly)");
        return Ok(());
    }
    if !Process::new("c++").arg("--version").succeeds() {
        println!("skipped: libFuzzer needs a C++ compiler (c++)");
        return Ok(());
    }
    let target = Workspace::load()?.target_directory.join("fuzz");
    let found = target.join("found");
    fs::create_dir_all(&found).map_err(|source| Error::Unwritable { path: found.clone(), source })?;
    let found = found.to_string_lossy().into_owned();
    Process::nightly_cargo("run")
        .env("RUSTFLAGS", FLAGS)
        .env("CARGO_TARGET_DIR", target.to_string_lossy())
        // With a target named, build scripts and macros are built without the sanitizer.
        .args(["--release", "--locked", "--manifest-path", MANIFEST, "--target", &san::host()?, "--"])
        // What is new goes to the first folder, the others only begin.
        .args([found.clone(), root().join("pool-config/fuzz/seeds").to_string_lossy().into_owned()])
        .arg(format!("-artifact_prefix={found}/"))
        .arg(format!("-max_total_time={}", flags.seconds))
        .args(["-max_len=4096", "-timeout=10", "-print_final_stats=1"])
        .run()
}
