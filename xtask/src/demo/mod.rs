//! `demo`: the whole layer on real input, with figures that move, a table of what happened, and checks of what was promised.
//!
//! Without a file it makes a database of its own from `tests/data` and serves it; with one it serves that, read-only.
//!
//! The demo is built optimised, with the feature of its name; `launch` does that when this is the plain command line.

#[cfg(feature = "demo")]
mod catalog;
#[cfg(feature = "demo")]
mod dice;
#[cfg(feature = "demo")]
mod error;
#[cfg(feature = "demo")]
mod facts;
#[cfg(feature = "demo")]
mod foreign;
#[cfg(feature = "demo")]
mod inspect;
#[cfg(not(feature = "demo"))]
mod launch;
#[cfg(feature = "demo")]
mod load;
#[cfg(feature = "demo")]
mod numbers;
#[cfg(feature = "demo")]
mod own;
#[cfg(feature = "demo")]
mod phase;
#[cfg(feature = "demo")]
mod queries;
#[cfg(feature = "demo")]
mod report;
#[cfg(feature = "demo")]
mod screen;
#[cfg(feature = "demo")]
mod serve;
#[cfg(feature = "demo")]
mod stop;
#[cfg(feature = "demo")]
mod theirs;

#[cfg(feature = "demo")]
pub(crate) use error::Error;
#[cfg(not(feature = "demo"))]
pub(crate) use launch::run;

/// How long another process may keep somebody's database locked before that is told.
#[cfg(feature = "demo")]
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(1);

/// Runs the demo in this process.
#[cfg(feature = "demo")]
pub(crate) fn run(flags: &crate::flags::DemoFlags) -> Result<(), crate::error::Error> {
    let demo = || {
        let stop = stop::Stop::on_signals()?;
        let screen = screen::Screen::stdout();
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
