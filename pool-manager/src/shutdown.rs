//! Closing all pools when the process is told to end.
//!
//! Owns waiting for SIGTERM and SIGINT (Ctrl-C). While somebody waits here it ends no process itself: what happens after closing is the
//! program's to say. Handlers can't be taken out again without disturbing those of others, so one thread listens from the first
//! wait on; when nobody waits, it does what the system would have done without handlers.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::fork::PerProcess;
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
/// longer end the process by themselves. A second signal while closing ends it at once, with the signal's exit code. When the future
/// is done or was dropped, the two signals end the process again: a program that handles them by other means as well calls
/// [`DatabaseManager::close_all_pools`](crate::DatabaseManager::close_all_pools) from there, and not this.
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
    let (tell, told) = tokio::sync::oneshot::channel();
    let wait = Wait::begin(move |signal| {
        let _ = tell.send(signal);
    })?;
    Ok(async move {
        let _until_closed = wait;
        let signal = told.await.unwrap_or_else(|_| forgotten());
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
    let (tell, told) = std::sync::mpsc::channel();
    let _until_closed = Wait::begin(move |signal| {
        let _ = tell.send(signal);
    })?;
    let signal = told.recv().unwrap_or_else(|_| forgotten());
    registry::close_all_blocking(deadline)?;
    Ok(signal)
}

fn forgotten() -> ! {
    panic!("BUG: a wait for a signal was forgotten while it went on")
}

/// What the listening thread knows.
#[derive(Default)]
struct Listener {
    /// Whether the thread runs.
    listens: bool,
    next: u64,
    /// Those who wait for a signal.
    waiting: HashMap<u64, Box<dyn FnOnce(Signal) + Send>>,
    /// How many have got one and are closing.
    closing: usize,
}

static LISTENER: PerProcess<Mutex<Option<Listener>>> = PerProcess::new();

/// One wait for a signal, and the closing that follows; over when dropped.
struct Wait(u64);

impl Wait {
    fn begin(tell: impl FnOnce(Signal) + Send + 'static) -> Result<Self> {
        let mut listener = LISTENER.get().lock();
        let listener = listener.get_or_insert_default();
        if !listener.listens {
            listen()?;
            listener.listens = true;
        }
        listener.next += 1;
        listener.waiting.insert(listener.next, Box::new(tell));
        Ok(Self(listener.next))
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let mut listener = LISTENER.get().lock();
        let listener = listener.get_or_insert_default();
        if listener.waiting.remove(&self.0).is_none() {
            listener.closing -= 1;
        }
    }
}

/// Starts the thread that hears the signals, for as long as the process lives.
fn listen() -> Result<()> {
    let system = |what, source| Error::System { what, source };
    let mut signals = signal_hook::iterator::Signals::new([signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT])
        .map_err(|error| system("installing handlers for SIGTERM and SIGINT", error))?;
    std::thread::Builder::new()
        .name("pool-signals".to_owned())
        .spawn(move || signals.forever().for_each(arrived))
        .map_err(|error| system("starting the thread that waits for signals", error))?;
    Ok(())
}

fn arrived(number: i32) {
    let signal = if number == signal_hook::consts::SIGTERM { Signal::Terminate } else { Signal::Interrupt };
    let mut listener = LISTENER.get().lock();
    let Some(Listener { waiting, closing, .. }) = &mut *listener else { return };
    if waiting.is_empty() {
        if *closing > 0 {
            std::process::exit(signal.exit_code());
        }
        if let Err(error) = signal_hook::low_level::emulate_default_handler(number) {
            tracing::error!(target: "pool_manager", %signal, %error, "a signal could not be given its usual effect");
        }
        return;
    }
    *closing += waiting.len();
    for (_, tell) in waiting.drain() {
        tell(signal);
    }
}
