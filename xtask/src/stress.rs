//! `stress`: one pool under thousands of tasks and threads at once, optimised, as often as asked for.

use crate::{error::Error, flags::StressFlags, process::Process, workspace::require};

pub(crate) fn run(flags: &StressFlags) -> Result<(), Error> {
    require("pool-core/tests/stress.rs", "it mixes both kinds of caller on one pool")?;
    (0..flags.rounds.max(1)).try_for_each(|_| {
        Process::cargo("test").args(["-p", "pool-core", "--release", "--test", "stress", "--", "--nocapture"]).run()
    })
}
