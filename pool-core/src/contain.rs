//! Owns how the program's own code is run where its panics must not get any further.
//!
//! Must not know what is run. Invariant: nothing unwinds out of here, not even from the destructor of what somebody panicked with.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs something of the program's own; `None` if it panics.
#[inline(always)]
pub(crate) fn contain<R>(run: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => Some(result),
        Err(panic) => {
            discard(panic);
            None
        }
    }
}

/// Drops what somebody panicked with. If its destructor panics, what is left of it is leaked.
#[cold]
fn discard(panic: Box<dyn Any + Send>) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(panic);
    }
}
