//! Owns the user's own steps in a connection's life.
//!
//! Must not know when they run. Invariant: a pool without a hook pays nothing for it.

use std::fmt;

use crate::error::Refusal;

pub(crate) type Hook<C> = Box<dyn Fn(&mut C) -> Result<(), Refusal> + Send + Sync>;
pub(crate) type FinalHook<C> = Box<dyn Fn(&mut C) + Send + Sync>;

/// The hooks of one pool.
pub(crate) struct Hooks<C> {
    pub(crate) after_open: Option<Hook<C>>,
    pub(crate) before_hand_out: Option<Hook<C>>,
    pub(crate) after_release: Option<Hook<C>>,
    pub(crate) before_close: Option<FinalHook<C>>,
}

impl<C> Default for Hooks<C> {
    fn default() -> Self {
        Self { after_open: None, before_hand_out: None, after_release: None, before_close: None }
    }
}

impl<C> fmt::Debug for Hooks<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("after_open", &self.after_open.is_some())
            .field("before_hand_out", &self.before_hand_out.is_some())
            .field("after_release", &self.after_release.is_some())
            .field("before_close", &self.before_close.is_some())
            .finish()
    }
}

/// Runs a hook if there is one.
pub(crate) fn run<C>(hook: Option<&Hook<C>>, connection: &mut C) -> Result<(), Refusal> {
    match hook {
        Some(hook) => hook(connection),
        None => Ok(()),
    }
}
