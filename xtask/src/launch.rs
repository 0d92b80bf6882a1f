//! `demo`, as the plain command line does it: builds the demo optimised and becomes it. Figures of an unoptimised build would not be worth
//! showing, and no other command should wait for what the demo shows.

use crate::{error::Error, flags::DemoFlags, process::Process};

const BUILD: [&str; 5] = ["--release", "--package", "xtask", "--features", "demo"];

pub(crate) fn run(_: &DemoFlags) -> Result<(), Error> {
    // Cargo shows how far it is; a build that has nothing to do is a line.
    Process::cargo("build").args(BUILD).run()?;
    // In the user's folder, with the user's words: the paths among them mean something there.
    let words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    Process::cargo("run").arg("--quiet").args(BUILD).arg("--").args(words).become_it()
}
