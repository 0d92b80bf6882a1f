//! Where a closure runs, and what happens to it when its caller goes away.
//!
//! Owns the hop to a blocking thread and the link that lets a dropped future interrupt the statement that runs for it, and only
//! that one. It must not know what the closure does.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::Mutex;
use pool_cache::LoadScope;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::error::{Error, Result};
use crate::nesting::Held;
use crate::session::{Session, Ticket};

/// The link between a future and the use of a connection that runs for it on another thread.
#[derive(Debug, Default)]
pub(crate) struct Link(Mutex<Progress>);

#[derive(Debug, Default)]
enum Progress {
    #[default]
    Waiting,
    Running(Arc<Session>, Ticket),
    /// The caller went away.
    Cancelled,
}

impl Link {
    /// Notes that the use has begun. False: the caller has gone away already, and nothing must run.
    pub(crate) fn running(&self, session: &Arc<Session>, ticket: Ticket) -> bool {
        let mut progress = self.0.lock();
        if matches!(*progress, Progress::Cancelled) {
            return false;
        }
        *progress = Progress::Running(Arc::clone(session), ticket);
        true
    }

    /// A session checks the ticket, so a use that has ended meanwhile is left alone, and so is the next one.
    pub(crate) fn cancel(&self) {
        if let Progress::Running(session, ticket) = std::mem::replace(&mut *self.0.lock(), Progress::Cancelled) {
            session.cancel(ticket);
        }
    }
}

/// Interrupts what is linked when it is dropped before it was disarmed.
#[derive(Debug)]
pub(crate) struct CancelOnDrop(Option<Arc<Link>>);

impl CancelOnDrop {
    pub(crate) fn new(link: &Arc<Link>) -> Self {
        Self(Some(Arc::clone(link)))
    }

    /// What is linked has ended.
    pub(crate) fn disarm(&mut self) {
        self.0 = None;
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(link) = &self.0 {
            link.cancel();
        }
    }
}

/// Has a runtime start `work` on a blocking thread.
///
/// Where the process can have no more threads, tokio panics and keeps the work in its queue, with whatever it holds, until there is one. Then
/// the work is taken back and dropped.
///
/// # Errors
///
/// [`Error::System`] when no thread can be started.
pub(crate) fn start_blocking<T: Send + 'static>(
    runtime: &Handle,
    what: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<Option<T>>> {
    let work = Arc::new(Mutex::new(Some(work)));
    let queued = Arc::clone(&work);
    let begin = move || {
        let work = queued.lock().take();
        work.map(|work| work())
    };
    match catch_unwind(AssertUnwindSafe(|| runtime.spawn_blocking(begin))) {
        Ok(begun) => Ok(begun),
        Err(_) => {
            let unused = work.lock().take();
            drop(unused);
            Err(Error::System { what, source: std::io::ErrorKind::WouldBlock.into() })
        }
    }
}

/// Has another thread run `work`: one of the current runtime or, where there is none, one of its own with this name.
///
/// # Errors
///
/// [`Error::System`] when no thread can be started.
pub(crate) fn start_apart(name: &str, what: &'static str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    match Handle::try_current() {
        Ok(runtime) => start_blocking(&runtime, what, work).map(drop),
        Err(_) => {
            let started = std::thread::Builder::new().name(name.to_owned()).spawn(work);
            started.map(drop).map_err(|source| Error::System { what, source })
        }
    }
}

/// Runs `work` on a blocking thread of the current runtime, or right here where there is none.
///
/// A panic of `work` goes on in the caller. Dropping the future interrupts what runs.
pub(crate) async fn on_blocking_thread<T: Send + 'static>(
    work: impl FnOnce(&Link) -> Result<T> + Send + 'static,
) -> Result<T> {
    on_blocking_thread_linked(Arc::default(), work).await
}

/// The same over a link that somebody else has an end of, too.
pub(crate) async fn on_blocking_thread_linked<T: Send + 'static>(
    link: Arc<Link>,
    work: impl FnOnce(&Link) -> Result<T> + Send + 'static,
) -> Result<T> {
    let Ok(runtime) = Handle::try_current() else {
        return work(&link);
    };
    let mut on_drop = CancelOnDrop::new(&link);
    // Or a cached query that asks for its own result would wait there for ever, and a closure for what it holds itself.
    let (loads, held) = (LoadScope::current(), Held::here());
    let started = start_blocking(&runtime, "starting a thread to run a closure on", move || {
        loads.run(|| held.run(|| work(&link)))
    })?;
    let outcome = started.await;
    on_drop.disarm();
    match outcome {
        Ok(Some(outcome)) => outcome,
        Ok(None) => panic!("BUG: it was taken back"),
        Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
        Err(stopped) => Err(Error::application(stopped)),
    }
}
