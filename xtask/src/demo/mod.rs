//! `demo`: the whole layer on real input, with figures that move, a table of what happened, and checks of what was promised.
//!
//! Without a file it makes a database of its own from `tests/data` and serves it; with one it serves that, read-only.
//!
//! Only in the build with the feature of its name; the plain command line has `launch.rs` in its place.

mod catalog;
mod dice;
mod error;
mod facts;
mod foreign;
mod inspect;
mod load;
mod numbers;
mod own;
mod phase;
mod queries;
mod report;
mod screen;
mod serve;
mod stop;
mod theirs;

use std::time::Duration;

use self::{screen::Screen, stop::Stop};
use crate::flags::DemoFlags;

pub(crate) use error::Error;

/// How long another process may keep somebody's database locked before that is told.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs the demo in this process.
pub(crate) fn run(flags: &DemoFlags) -> Result<(), crate::error::Error> {
    let demo = || {
        let stop = Stop::on_signals()?;
        let screen = Screen::stdout();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build()?;
        runtime.block_on(async {
            match &flags.database {
                None => own::run(flags, screen, stop).await,
                Some(path) => theirs::run(path, flags, PATIENCE, screen, stop).await,
            }
        })
    };
    demo().map_err(crate::error::Error::Demo)
}
