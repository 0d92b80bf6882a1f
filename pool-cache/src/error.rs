//! What can go wrong, for callers.
//!
//! Owns the two error types; must not know how the failures come about. Invariant: the cause is in `source()`, never
//! in the text.

use std::sync::Arc;

/// A setting that a builder refuses.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingError {
    /// The jitter is not a share of the time to live.
    #[error("ttl_jitter is {jitter}, it must lie between 0 and 1")]
    InvalidJitter {
        /// The refused value.
        jitter: f64,
    },
}

/// A load that brought no value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError<E> {
    /// The loader failed. Everybody who waited for this load gets the same error.
    #[error("the loader failed")]
    Failed {
        /// What the loader returned.
        source: Arc<E>,
    },
    /// The load waits for itself: its loader asked for a key whose load waits for this one.
    #[error("the loader waits for its own result")]
    Recursive,
}

impl<E> LoadError<E> {
    /// Gives the loader's own error, if there is one.
    pub fn failure(&self) -> Option<&Arc<E>> {
        match self {
            LoadError::Failed { source } => Some(source),
            LoadError::Recursive => None,
        }
    }
}

impl<E> Clone for LoadError<E> {
    fn clone(&self) -> Self {
        match self {
            LoadError::Failed { source } => LoadError::Failed { source: Arc::clone(source) },
            LoadError::Recursive => LoadError::Recursive,
        }
    }
}
