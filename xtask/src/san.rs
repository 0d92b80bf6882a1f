//! `san`: the tests of the unsafe parts with somebody watching the memory, where such a tool is installed.
//!
//! A tool that is missing is said and skipped; a test that is missing is an error.

use crate::{
    error::Error,
    flags::SanFlags,
    process::Process,
    workspace::{Workspace, require},
};

/// The name of such a test, in whichever crate.
const TEST: &str = "unsafe_parts";

/// The crates that cannot do without.
const REQUIRED: &[&str] = &["pool-core", "pool-stmt", "pool-manager"];

pub(crate) fn run(flags: &SanFlags) -> Result<(), Error> {
    for package in REQUIRED {
        require(&format!("{package}/tests/{TEST}.rs"), "it holds the tests of the unsafe parts")?;
    }
    let workspace = Workspace::load()?;
    let with_tests =
        workspace.packages.iter().filter(|package| package.targets.iter().any(|target| target.name == TEST));
    let packages: Vec<&str> = with_tests.map(|package| package.name.as_str()).collect();
    let host = host()?;
    if !flags.valgrind_only {
        if nightly_is_installed() {
            address_sanitizer(&packages, &host, &workspace)?;
        } else {
            println!("skipped: AddressSanitizer needs the nightly toolchain (rustup toolchain install nightly)");
        }
    }
    if Process::new("valgrind").arg("--version").succeeds() {
        valgrind(&packages, &host)
    } else {
        println!("skipped: valgrind is not installed");
        Ok(())
    }
}

fn address_sanitizer(packages: &[&str], host: &str, workspace: &Workspace) -> Result<(), Error> {
    let target = workspace.target_directory.join("san");
    packages.iter().try_for_each(|package| {
        Process::nightly_cargo("test")
            .env("RUSTFLAGS", "-Zsanitizer=address")
            .env("CARGO_TARGET_DIR", target.to_string_lossy())
            // With a target named, build scripts and macros are built without the sanitizer.
            .args(["-p", package, "--all-features", "--target", host, "--test", TEST])
            .run()
    })
}

fn valgrind(packages: &[&str], host: &str) -> Result<(), Error> {
    let runner = format!("CARGO_TARGET_{}_RUNNER", host.to_uppercase().replace('-', "_"));
    packages.iter().try_for_each(|package| {
        Process::cargo("test")
            .env(&runner, "valgrind --quiet --error-exitcode=9 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite")
            // The same features as `test`, so that its build serves here as well.
            .args(["-p", package, "--all-features", "--test", TEST])
            .run()
    })
}

/// Tells whether rustup has a nightly toolchain; asks without making it install one.
pub(crate) fn nightly_is_installed() -> bool {
    let list = Process::new("rustup").args(["toolchain", "list"]);
    list.succeeds() && list.read().is_ok_and(|output| String::from_utf8_lossy(&output).contains("nightly"))
}

/// The machine's own target, `x86_64-unknown-linux-gnu` say.
pub(crate) fn host() -> Result<String, Error> {
    let rustc = Process::new("rustc").arg("-vV");
    let output = String::from_utf8_lossy(&rustc.read()?).into_owned();
    let host = output.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned);
    host.ok_or_else(|| Error::Failed { command: rustc.to_string() })
}
