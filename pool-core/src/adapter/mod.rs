//! Owns the way in for resources that were written for another pool: their manager traits, wrapped.
//!
//! Each adapter is behind the feature of its name. A resource that implements r2d2's, bb8's or deadpool's manager trait is pooled
//! unchanged: wrap the manager, keep the rest. Must not know how the pool works.

#[cfg(feature = "bb8")]
mod bb8;
#[cfg(feature = "deadpool")]
mod deadpool;
#[cfg(feature = "r2d2")]
mod r2d2;

#[cfg(feature = "bb8")]
pub use self::bb8::Bb8;
#[cfg(feature = "deadpool")]
pub use self::deadpool::{Deadpool, DeadpoolConnection};
#[cfg(feature = "r2d2")]
pub use self::r2d2::R2d2;

#[cfg(any(feature = "bb8", feature = "deadpool"))]
pub use self::foreign::ForeignError;

#[cfg(any(feature = "bb8", feature = "deadpool"))]
mod foreign {
    use std::fmt;
    use std::sync::{Mutex, PoisonError};

    /// An error of a manager that asks less of its errors than [`std::error::Error`] does.
    ///
    /// Shows what the error's `Debug` shows; the error itself comes out with [`into_error`](Self::into_error).
    pub struct ForeignError<E>(Mutex<E>);

    impl<E> ForeignError<E> {
        pub(crate) fn new(error: E) -> Self {
            Self(Mutex::new(error))
        }

        /// Returns the manager's own error.
        pub fn into_error(self) -> E {
            self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
        }
    }

    impl<E: fmt::Debug> fmt::Debug for ForeignError<E> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).fmt(f)
        }
    }

    impl<E: fmt::Debug> fmt::Display for ForeignError<E> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            fmt::Debug::fmt(self, f)
        }
    }

    impl<E: fmt::Debug> std::error::Error for ForeignError<E> {}
}
