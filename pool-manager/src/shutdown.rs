//! Closing all pools when the process is told to end.
//!
//! Owns waiting for SIGTERM and SIGINT (Ctrl-C). It ends no process itself: what happens after closing is the program's to say.

use std::fmt;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::registry;

/// Which signal came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Signal {
    /// SIGTERM: a supervisor asks the process to end.
    Terminate,
    /// SIGINT: Ctrl-C.
    Interrupt,
}

impl Signal {
    /// The exit code that shells and supervisors expect of a process ended by this signal: 128 plus its number.
    #[must_use]
    pub fn exit_code(self) -> i32 {
        match self {
            Self::Terminate => 128 + signal_hook::consts::SIGTERM,
            Self::Interrupt => 128 + signal_hook::consts::SIGINT,
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
        })
    }
}

/// Installs handlers for SIGTERM and SIGINT; the returned future waits for one of them, closes all pools and returns which it was.
///
/// `deadline` bounds how long running work may go on; `None` means each pool's `close_timeout`. From this call on the two signals no
/// longer end the process by themselves. A second signal while closing ends it at once, with the signal's exit code.
///
/// # Errors
///
/// [`Error::System`] when the handlers can't be installed. The future's errors are those of
/// [`DatabaseManager::close_all_pools`](crate::DatabaseManager::close_all_pools).
///
/// ```no_run
/// # #[tokio::main]
/// # async fn main() -> pool_manager::Result<()> {
/// let closing = pool_manager::shutdown::close_on_signal(None)?;
/// let server = tokio::spawn(async { /* serve */ });
/// let signal = closing.await?;
/// server.abort();
/// std::process::exit(signal.exit_code());
/// # }
/// ```
pub fn close_on_signal(deadline: Option<Duration>) -> Result<impl Future<Output = Result<Signal>> + Send> {
    let mut signals = Signals::install()?;
    let (tell, told) = tokio::sync::oneshot::channel();
    signals.on_first(move |signal| {
        let _ = tell.send(signal);
    })?;
    Ok(async move {
        let _installed = &signals;
        let signal = told.await.map_err(|_| no_signal())?;
        registry::close_all(deadline).await?;
        Ok(signal)
    })
}

/// Waits on the calling thread: installs the handlers, waits for a signal, closes all pools.
///
/// # Errors
///
/// As [`close_on_signal`].
pub fn close_on_signal_blocking(deadline: Option<Duration>) -> Result<Signal> {
    let mut signals = Signals::install()?;
    let (tell, told) = std::sync::mpsc::channel();
    signals.on_first(move |signal| {
        let _ = tell.send(signal);
    })?;
    let signal = told.recv().map_err(|_| no_signal())?;
    registry::close_all_blocking(deadline)?;
    Ok(signal)
}

fn system(what: &'static str, source: std::io::Error) -> Error {
    Error::System { what, source }
}

/// The waiting thread ends without a signal only when its handlers were removed under it.
fn no_signal() -> Error {
    system("waiting for a signal", std::io::Error::other("the handlers were removed"))
}

/// Installed handlers; removed when dropped.
struct Signals {
    waiting: Option<signal_hook::iterator::Signals>,
    handle: signal_hook::iterator::Handle,
}

impl Signals {
    fn install() -> Result<Self> {
        let waiting = signal_hook::iterator::Signals::new([signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT])
            .map_err(|error| system("installing handlers for SIGTERM and SIGINT", error))?;
        let handle = waiting.handle();
        Ok(Self { waiting: Some(waiting), handle })
    }

    /// Calls `tell` at the first signal and ends the process at the second.
    fn on_first(&mut self, tell: impl FnOnce(Signal) + Send + 'static) -> Result<()> {
        let Some(mut waiting) = self.waiting.take() else {
            panic!("BUG: a set of signals is waited for once");
        };
        let wait = move || {
            let mut arrivals = waiting.forever().map(|number| match number {
                signal_hook::consts::SIGTERM => Signal::Terminate,
                _ => Signal::Interrupt,
            });
            if let Some(first) = arrivals.next() {
                tell(first);
                if let Some(second) = arrivals.next() {
                    std::process::exit(second.exit_code());
                }
            }
        };
        std::thread::Builder::new()
            .name("pool-signals".to_owned())
            .spawn(wait)
            .map_err(|error| system("starting the thread that waits for signals", error))?;
        Ok(())
    }
}

impl Drop for Signals {
    /// Ends the waiting thread.
    fn drop(&mut self) {
        self.handle.close();
    }
}
