//! What the closures that run on this thread hold.
//!
//! A closure that calls its own database again, on its own thread, may wait for what only its own end gives back. Owns telling
//! that apart from waiting for others, so that such a call fails at once instead of after its time-out. Work that a call sends to another
//! thread takes along what is held where it was called ([`Held`]): there the caller waits for it.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;

use crate::engine::Engine;
use crate::lane::Lane;

/// One closure under way: which pool lent its connection, and which lane it writes in. The addresses are only compared: what is there is
/// kept alive by the closures' callers.
#[derive(Debug, Clone, Copy)]
struct Frame {
    pool: usize,
    writes: Option<usize>,
}

thread_local! {
    // A thread that is ending may have none any more, while destructors of other locals still call: there every call counts as the first.
    static FRAMES: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };
    /// By which lane a statement was refused last, zero for none.
    static REFUSED: Cell<usize> = const { Cell::new(0) };
}

fn address_of<T>(of: &T) -> usize {
    std::ptr::from_ref(of).addr()
}

/// Notes that closures run, until dropped on the same thread; how many ran there before. What is noted last is dropped first.
#[derive(Debug)]
pub(crate) struct Running(usize, PhantomData<*const ()>);

impl Running {
    pub(crate) fn new(pool: &Engine, writes: Option<&Lane>) -> Self {
        let frame = Frame { pool: address_of(pool), writes: writes.map(address_of) };
        Self::all_of(&[frame])
    }

    fn all_of(closures: &[Frame]) -> Self {
        forget_refusal();
        let note = |frames: &RefCell<Vec<Frame>>| {
            let mut frames = frames.borrow_mut();
            let before = frames.len();
            frames.extend_from_slice(closures);
            before
        };
        Self(FRAMES.try_with(note).unwrap_or(0), PhantomData)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = FRAMES.try_with(|frames| frames.borrow_mut().truncate(self.0));
    }
}

/// What the closures on one thread hold, for work of theirs on another.
#[derive(Debug)]
pub(crate) struct Held(Vec<Frame>);

impl Held {
    /// What is held on this thread; nothing allocates nothing.
    pub(crate) fn here() -> Self {
        Self(FRAMES.try_with(|frames| frames.borrow().clone()).unwrap_or_default())
    }

    /// Runs something on this thread for those closures.
    pub(crate) fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        let _running = (!self.0.is_empty()).then(|| Running::all_of(&self.0));
        work()
    }
}

/// Tells whether a closure on this thread writes in this lane.
pub(crate) fn writes_here(lane: &Lane) -> bool {
    let writes = |frame: &Frame| frame.writes == Some(address_of(lane));
    FRAMES.try_with(|frames| frames.borrow().iter().any(writes)).unwrap_or(false)
}

/// Notes that a statement on this thread was refused, because a closure on it writes in this lane.
///
/// Where the statement is run by a connection held by hand, its error goes out through a closure that knows nothing of it: this tells which.
pub(crate) fn note_refusal(lane: &Lane) {
    let _ = REFUSED.try_with(|refused| refused.set(address_of(lane)));
}

/// Tells whether one was, by this lane, and forgets it.
pub(crate) fn take_refusal(lane: &Lane) -> bool {
    REFUSED.try_with(|refused| refused.replace(0) == address_of(lane)).unwrap_or(false)
}

/// Forgets it: another closure begins.
pub(crate) fn forget_refusal() {
    let _ = REFUSED.try_with(|refused| refused.set(0));
}

/// How many connections of a pool are in use by closures on this thread.
pub(crate) fn held_here(pool: &Engine) -> usize {
    let of_pool = |frame: &&Frame| frame.pool == address_of(pool);
    FRAMES.try_with(|frames| frames.borrow().iter().filter(of_pool).count()).unwrap_or(0)
}
