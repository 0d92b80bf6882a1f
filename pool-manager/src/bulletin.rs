//! What was committed, posted for those who want to hear of it.
//!
//! Owns the subscriptions of one open database, and what each has not taken yet. It must not know how commits are found (`ledger`), nor how
//! subscribers wait for them (`changes`). Invariants: all get everything that is posted after they came, in the order in which it is posted;
//! what one does not take is put together and never grows beyond a bound; a post without subscribers is one load.

use std::collections::{BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::Waker;

use parking_lot::{Condvar, Mutex};

use crate::ledger::Writes;

/// How many posts are kept apart for one subscriber.
const KEPT_APART: usize = 64;

/// What one post, or several put together, have to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Post {
    /// In lower case; `None` for any table.
    pub(crate) tables: Option<BTreeSet<Box<str>>>,
    pub(crate) posts: u64,
}

impl Post {
    fn of(writes: &Writes) -> Self {
        let tables = match writes {
            Writes::Tables(names) => Some(names.iter().map(|name| name.as_str().into()).collect()),
            Writes::Any => None,
        };
        Self { tables, posts: 1 }
    }

    fn add(&mut self, later: Self) {
        self.posts += later.posts;
        self.tables = self.tables.take().zip(later.tables).map(|(mut tables, others)| {
            tables.extend(others);
            tables
        });
    }
}

/// Those to be woken, after locks are given back.
#[derive(Debug, Default)]
#[must_use = "nobody hears of it before they are woken"]
pub(crate) struct Wakers(Vec<Waker>);

impl Wakers {
    /// Wakes them all: one that panics keeps the others from nothing, nor whoever has committed.
    pub(crate) fn wake(self) {
        for waker in self.0 {
            if catch_unwind(AssertUnwindSafe(|| waker.wake())).is_err() {
                tracing::error!(target: "pool_manager", "the waker of a subscriber to changes panicked");
            }
        }
    }
}

/// The subscriptions of one open database, which closes them when it is closed or goes: no code of subscribers runs when this is dropped, for
/// whoever posts may be the last to let go of it, under a lock.
#[derive(Debug, Default)]
pub(crate) struct Bulletin {
    /// How many have come so far and may still be there.
    subscribers: AtomicUsize,
    letterboxes: Mutex<Letterboxes>,
}

#[derive(Debug, Default)]
struct Letterboxes {
    all: Vec<Weak<Letterbox>>,
    closed: bool,
}

impl Bulletin {
    /// Begins a subscription; it ends with the last reference to what is returned.
    pub(crate) fn subscribe(&self) -> Arc<Letterbox> {
        let letterbox = Arc::new(Letterbox::default());
        let mut letterboxes = self.letterboxes.lock();
        letterbox.state.lock().closed = letterboxes.closed;
        letterboxes.all.retain(|known| known.strong_count() > 0);
        letterboxes.all.push(Arc::downgrade(&letterbox));
        // Under the lock. A commit that is visible to the subscriber by now may be posted or not, one that comes later is: who posts it
        // has taken locks of SQLite after this.
        self.subscribers.store(letterboxes.all.len(), Ordering::SeqCst);
        letterbox
    }

    pub(crate) fn post(&self, writes: &Writes, wakers: &mut Wakers) {
        if self.subscribers.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut letterboxes = self.letterboxes.lock();
        letterboxes.all.retain(|letterbox| letterbox.upgrade().inspect(|open| open.put(writes, wakers)).is_some());
        self.subscribers.store(letterboxes.all.len(), Ordering::SeqCst);
    }

    /// The same for who holds no lock.
    pub(crate) fn post_alone(&self, writes: &Writes) {
        let mut wakers = Wakers::default();
        self.post(writes, &mut wakers);
        wakers.wake();
    }

    /// Ends all subscriptions, and those that are begun from now on.
    pub(crate) fn close(&self) {
        let mut wakers = Wakers::default();
        let mut letterboxes = self.letterboxes.lock();
        letterboxes.closed = true;
        for letterbox in letterboxes.all.drain(..).filter_map(|letterbox| letterbox.upgrade()) {
            letterbox.close(&mut wakers);
        }
        drop(letterboxes);
        wakers.wake();
    }
}

/// What one subscriber has not taken yet.
#[derive(Debug, Default)]
pub(crate) struct Letterbox {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct State {
    posts: VecDeque<Post>,
    waker: Option<Waker>,
    closed: bool,
}

impl Letterbox {
    fn put(&self, writes: &Writes, wakers: &mut Wakers) {
        let mut state = self.state.lock();
        let post = Post::of(writes);
        if state.posts.len() < KEPT_APART {
            state.posts.push_back(post);
        } else if let Some(last) = state.posts.back_mut() {
            last.add(post);
        }
        wakers.0.extend(state.waker.take());
        self.arrived.notify_all();
    }

    fn close(&self, wakers: &mut Wakers) {
        let mut state = self.state.lock();
        state.closed = true;
        wakers.0.extend(state.waker.take());
        self.arrived.notify_all();
    }

    /// Takes the next post, or `None` after the last. `Err` when there is none yet: then `waker` is woken when there is.
    pub(crate) fn take(&self, waker: Option<&Waker>) -> Result<Option<Post>, Empty> {
        // Outlives the lock: with it may go whatever it kept alive, this database among it.
        let mut waker = waker.cloned();
        let mut state = self.state.lock();
        match state.posts.pop_front() {
            Some(post) => Ok(Some(post)),
            None if state.closed => Ok(None),
            None => {
                if waker.is_some() {
                    std::mem::swap(&mut state.waker, &mut waker);
                }
                Err(Empty)
            }
        }
    }

    /// Says that its subscriber goes. Whoever posts may be the last to let go of it then, under a lock, and must find no waker in it: with
    /// that may go whatever it kept alive.
    pub(crate) fn leave(&self) {
        let waker = self.state.lock().waker.take();
        drop(waker);
    }

    /// Waits for the next post on the calling thread; `None` after the last.
    pub(crate) fn wait(&self) -> Option<Post> {
        let mut state = self.state.lock();
        loop {
            match state.posts.pop_front() {
                Some(post) => return Some(post),
                None if state.closed => return None,
                None => self.arrived.wait(&mut state),
            }
        }
    }
}

/// There is no post yet.
#[derive(Debug)]
pub(crate) struct Empty;

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Writes {
        Writes::Tables(vec![name.to_owned()])
    }

    #[test]
    fn what_a_slow_subscriber_does_not_take_is_put_together_and_nothing_is_lost() {
        let bulletin = Bulletin::default();
        let letterbox = bulletin.subscribe();
        let mut wakers = Wakers::default();
        for number in 0..1000 {
            bulletin.post(&named(&format!("t{}", number % 100)), &mut wakers);
        }
        bulletin.close();
        let mut posts = Vec::new();
        while let Some(post) = letterbox.wait() {
            posts.push(post);
        }
        assert_eq!(posts.len(), KEPT_APART);
        assert_eq!(posts.iter().map(|post| post.posts).sum::<u64>(), 1000);
        assert!(posts[..KEPT_APART - 1].iter().enumerate().all(|(at, post)| {
            post.posts == 1 && post.tables.iter().flatten().map(|name| &**name).eq([format!("t{at}").as_str()])
        }));
        assert_eq!(posts[KEPT_APART - 1].tables.as_ref().map(BTreeSet::len), Some(100));
    }

    #[test]
    fn any_table_put_together_with_some_is_any_table() {
        let mut post = Post::of(&named("a"));
        post.add(Post::of(&Writes::Any));
        post.add(Post::of(&named("b")));
        assert_eq!(post, Post { tables: None, posts: 3 });
    }

    #[test]
    fn a_subscriber_that_is_gone_is_forgotten_at_the_next_post() {
        let bulletin = Bulletin::default();
        drop(bulletin.subscribe());
        bulletin.post(&Writes::Any, &mut Wakers::default());
        assert_eq!(bulletin.subscribers.load(Ordering::SeqCst), 0);
    }
}
