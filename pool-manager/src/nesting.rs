//! What the closures that run on this thread hold.
//!
//! A closure that calls its own database again, on its own thread, may wait for what only its own end gives back. Owns telling
//! that apart from waiting for others, so that such a call fails at once instead of after its time-out.

use std::cell::RefCell;
use std::marker::PhantomData;

use crate::lane::Lane;

/// One closure under way: which pool lent its connection, and which lane it writes in.
struct Frame {
    pool: *const (),
    writes: Option<*const Lane>,
}

thread_local! {
    /// The pointers are only compared: what they point to is kept alive by the closures' callers.
    static FRAMES: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };
}

/// Notes that a closure runs, until dropped on the same thread.
#[derive(Debug)]
pub(crate) struct Running(PhantomData<*const ()>);

impl Running {
    pub(crate) fn new<P>(pool: &P, writes: Option<&Lane>) -> Self {
        let frame = Frame { pool: std::ptr::from_ref(pool).cast(), writes: writes.map(std::ptr::from_ref) };
        FRAMES.with_borrow_mut(|frames| frames.push(frame));
        Self(PhantomData)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        FRAMES.with_borrow_mut(Vec::pop);
    }
}

/// Tells whether a closure on this thread writes in this lane.
pub(crate) fn writes_here(lane: &Lane) -> bool {
    FRAMES.with_borrow(|frames| frames.iter().any(|frame| frame.writes == Some(std::ptr::from_ref(lane))))
}

/// How many connections of a pool are in use by closures on this thread.
pub(crate) fn held_here<P>(pool: &P) -> usize {
    let pool = std::ptr::from_ref(pool).cast();
    FRAMES.with_borrow(|frames| frames.iter().filter(|frame| frame.pool == pool).count())
}
