//! `loom`: every interleaving of the atomic parts, as far as one has patience.
//!
//! Any crate may have models, in `tests/loom.rs`; pool-core must. `--cfg loom` is another build of everything, so it has a target folder
//! of its own.

use crate::{
    error::Error,
    flags::LoomFlags,
    process::Process,
    workspace::{Workspace, require},
};

pub(crate) fn run(flags: &LoomFlags) -> Result<(), Error> {
    require("pool-core/tests/loom.rs", "it holds the models of the atomic parts")?;
    let workspace = Workspace::load()?;
    let target = workspace.target_directory.join("loom");
    let with_models =
        workspace.packages.iter().filter(|package| package.targets.iter().any(|target| target.name == "loom"));
    for package in with_models {
        let mut process = Process::cargo("test")
            .env("RUSTFLAGS", "--cfg loom")
            .env("CARGO_TARGET_DIR", target.to_string_lossy())
            .args(["-p", &package.name, "--release", "--test", "loom"]);
        if let Some(preemptions) = flags.preemptions {
            process = process.env("LOOM_MAX_PREEMPTIONS", preemptions.to_string());
        }
        process.args(flags.filter.clone()).run()?;
    }
    Ok(())
}
