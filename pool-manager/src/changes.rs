//! Hearing of what was committed: a stream of the tables that each commit wrote.
//!
//! Owns names and documentation; what is heard is `bulletin`'s.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::bulletin::{Letterbox, Post};
use crate::engine::Engine;
use crate::manager::DatabaseManager;

/// Which tables were written by a commit, or by several that were put together; from [`Changes`].
#[derive(Clone, PartialEq, Eq)]
pub struct Changed(Post);

impl Changed {
    /// Lists the tables of the database that may have changed, in lower case and in order; `None` means that any may, and the schema.
    ///
    /// These are all that were written, also by triggers and foreign keys, and may be more: what statements were prepared to write counts,
    /// whether they found a row or not.
    pub fn tables(&self) -> Option<impl Iterator<Item = &str>> {
        self.0.tables.as_ref().map(|tables| tables.iter().map(|name| &**name))
    }

    /// Tells whether a table may have changed, named in upper or lower case.
    #[must_use]
    pub fn concerns(&self, table: &str) -> bool {
        self.0.tables.as_ref().is_none_or(|tables| tables.contains(&*table.to_ascii_lowercase()))
    }

    /// How many items this one stands for: more than one where the subscriber was slow.
    #[must_use]
    pub fn merged(&self) -> u64 {
        self.0.posts
    }
}

/// As [`tables`](Changed::tables) lists them, and [`merged`](Changed::merged).
impl fmt::Debug for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tables: &dyn fmt::Debug = match &self.0.tables {
            Some(tables) => tables,
            None => &"any",
        };
        f.debug_struct("Changed").field("tables", tables).field("merged", &self.0.posts).finish()
    }
}

/// A subscription to what is committed; from [`DatabaseManager::changes`]. It ends when it is dropped, and when the database is
/// closed or its last manager is gone.
///
/// A [`Stream`], and the same by [`next`](Self::next) and, for threads, [`next_blocking`](Self::next_blocking).
#[derive(Debug)]
#[must_use = "dropping it ends the subscription"]
pub struct Changes {
    letterbox: Arc<Letterbox>,
    engine: Weak<Engine>,
}

impl DatabaseManager {
    /// Subscribes to what is committed from now on: one [`Changed`] a commit, in the order of the commits, each after it can be seen by everybody.
    ///
    /// Writes that share a commit share an item. Roll-backs give none. Up to 64 items wait for a slow subscriber; what comes then is added to
    /// the last of them, so nothing is lost but how it was divided. Without subscribers a commit costs nothing more.
    ///
    /// Commits of other processes are "any table" and are noticed when somebody looks: a cached call that is a miss or, with
    /// `external_writers` at its default, finds its result outdated; a commit here; [`Changes::look`]. Outside WAL mode they are not noticed.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> pool_manager::Result<()> {
    /// # let db = pool_manager::DatabaseManager::open(":memory:")?;
    /// db.write(|tx| Ok(tx.execute_batch("CREATE TABLE t (a)")?)).await?;
    /// let mut changes = db.changes();
    /// db.write(|tx| Ok(tx.execute("INSERT INTO t VALUES (1)", [])?)).await?;
    /// let change = changes.next().await.expect("the database is open");
    /// assert!(change.concerns("t") && !change.concerns("u"));
    /// db.close_pool().await?;
    /// assert!(changes.next().await.is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub fn changes(&self) -> Changes {
        let engine = self.engine();
        Changes { letterbox: engine.bulletin().subscribe(), engine: Arc::downgrade(engine) }
    }
}

impl Changes {
    /// Waits for the next item; `None` when the database is closed and all items were taken.
    pub async fn next(&mut self) -> Option<Changed> {
        poll_fn(|context| self.poll(context)).await
    }

    /// The same on the calling thread.
    pub fn next_blocking(&mut self) -> Option<Changed> {
        self.letterbox.wait().map(Changed)
    }

    /// Takes the next item if there is one.
    pub fn try_next(&mut self) -> Option<Changed> {
        self.letterbox.take(None).ok().flatten().map(Changed)
    }

    /// Looks whether other processes have committed, so that it becomes an item. In WAL mode this takes nanoseconds.
    pub fn look(&self) {
        if let Some(engine) = self.engine.upgrade() {
            engine.look_for_strangers();
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Changed>> {
        match self.letterbox.take(Some(context.waker())) {
            Ok(post) => Poll::Ready(post.map(Changed)),
            Err(_) => Poll::Pending,
        }
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.letterbox.leave();
    }
}

impl Stream for Changes {
    type Item = Changed;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Changed>> {
        self.get_mut().poll(context)
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Wake, Waker};

    use super::*;
    use crate::bulletin::Bulletin;

    struct Counted;

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {}
    }

    #[test]
    fn whoever_posts_under_a_lock_is_left_no_waker_to_drop_or_wake_there() {
        let bulletin = Bulletin::default();
        let letterbox = bulletin.subscribe();
        let held_by_who_posts = Arc::clone(&letterbox);
        let mut changes = Changes { letterbox, engine: Weak::new() };
        let task = Arc::new(Counted);
        let waker = Waker::from(Arc::clone(&task));
        assert!(changes.poll(&mut Context::from_waker(&waker)).is_pending());
        drop(waker);
        assert_eq!(Arc::strong_count(&task), 2);
        drop(changes);
        assert_eq!(Arc::strong_count(&task), 1, "it went with its subscriber");
        drop(held_by_who_posts);

        let bulletin = Bulletin::default();
        let mut changes = Changes { letterbox: bulletin.subscribe(), engine: Weak::new() };
        let waker = Waker::from(Arc::clone(&task));
        assert!(changes.poll(&mut Context::from_waker(&waker)).is_pending());
        drop(bulletin);
        assert_eq!(Arc::strong_count(&task), 3, "who drops the last reference to a bulletin wakes nobody");
    }
}
