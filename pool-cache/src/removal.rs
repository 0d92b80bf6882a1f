//! What becomes of entries that have left: the listener is told, then they are dropped.
//!
//! Owns the order "unlock, tell, drop"; must not know why the store decided so. Invariant: [`Removals`] is declared
//! before any lock is taken, so its drop runs after every lock is released; a panic of a listener or of a destructor stops
//! neither the other removals nor the cache, and reaches the caller at the end.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

/// Why an entry left the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RemovalReason {
    /// Its time to live was over.
    Expired,
    /// It had to make room.
    Evicted,
    /// Another value was inserted under its key.
    Replaced,
    /// It was invalidated by key, by tag or together with everything else.
    Invalidated,
}

type Callback<K, V> = dyn Fn(&K, &Arc<V>, RemovalReason) + Send + Sync;

/// Who is told about entries that leave.
pub(crate) struct Listener<K, V>(pub(crate) Option<Box<Callback<K, V>>>);

impl<K, V> fmt::Debug for Listener<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listener({})", if self.0.is_some() { "set" } else { "none" })
    }
}

struct Removed<K, V> {
    key: K,
    value: Arc<V>,
    reason: RemovalReason,
}

/// Entries that have left their shard and wait until the locks are released.
pub(crate) struct Removals<'a, K, V> {
    listener: &'a Listener<K, V>,
    /// Most calls remove one entry at most, and nothing panics: no allocation for that.
    first: Option<Removed<K, V>>,
    rest: Option<Box<Rest<K, V>>>,
}

/// What most calls have none of.
struct Rest<K, V> {
    removed: Vec<Removed<K, V>>,
    panicked: Option<Box<dyn Any + Send>>,
}

impl<'a, K, V> Removals<'a, K, V> {
    #[inline]
    pub(crate) fn new(listener: &'a Listener<K, V>) -> Self {
        Removals { listener, first: None, rest: None }
    }

    #[inline]
    pub(crate) fn push(&mut self, key: K, value: Arc<V>, reason: RemovalReason) {
        let removed = Removed { key, value, reason };
        if self.first.is_none() {
            self.first = Some(removed);
        } else {
            self.push_more(removed);
        }
    }

    #[cold]
    fn push_more(&mut self, removed: Removed<K, V>) {
        self.rest().removed.push(removed);
    }

    fn rest(&mut self) -> &mut Rest<K, V> {
        self.rest.get_or_insert_with(|| Box::new(Rest { removed: Vec::new(), panicked: None }))
    }

    /// Tells and drops what has been collected. No lock may be held. A panic waits until the drop of this.
    #[inline]
    pub(crate) fn settle(&mut self) {
        if let Some(removed) = self.first.take() {
            self.dismiss(removed);
        }
        if self.rest.is_some() {
            self.settle_rest();
        }
    }

    #[cold]
    fn settle_rest(&mut self) {
        let mut removed = std::mem::take(&mut self.rest().removed);
        removed.drain(..).for_each(|removed| self.dismiss(removed));
        // Its memory is used again: nothing is allocated under a lock by what removes many, but for the first time.
        self.rest().removed = removed;
    }

    fn dismiss(&mut self, removed: Removed<K, V>) {
        if let Some(callback) = &self.listener.0 {
            let told = catch_unwind(AssertUnwindSafe(|| callback(&removed.key, &removed.value, removed.reason)));
            self.note(told);
        }
        self.note(catch_unwind(AssertUnwindSafe(|| drop(removed))));
    }

    #[inline]
    fn note(&mut self, outcome: std::thread::Result<()>) {
        if let Err(payload) = outcome {
            self.keep_first(payload);
        }
    }

    #[cold]
    fn keep_first(&mut self, payload: Box<dyn Any + Send>) {
        let kept = &mut self.rest().panicked;
        if kept.is_none() {
            *kept = Some(payload);
        } else {
            // The payload is foreign, too: its drop must not stop the rest.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(payload)));
        }
    }
}

impl<K, V> Drop for Removals<'_, K, V> {
    #[inline]
    fn drop(&mut self) {
        self.settle();
        if let Some(rest) = self.rest.take()
            && let Some(payload) = rest.panicked
            && !std::thread::panicking()
        {
            resume_unwind(payload);
        }
    }
}
