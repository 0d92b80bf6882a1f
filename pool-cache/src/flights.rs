//! The loads in flight, by key.
//!
//! Owns who leads and who joins, and which running loads an invalidation has outdated. Must not know loaders or the
//! store. Invariants: at most one flight a key can be joined; a result is stored only under the same lock under which
//! [`Flights::outdate`] and its siblings look for the flight, so no value that was loaded before an invalidation can be
//! stored after it.

use std::borrow::Borrow;
use std::sync::Arc;

use hashbrown::HashTable;

use crate::flight::Flight;
use crate::sync::{AtomicUsize, Mutex, Ordering, fence};

/// How many invalidated tags are noted for one load: one that lasts must neither collect nor compare them without end.
const MOST_NOTED: usize = 64;
const STRIPES: usize = if cfg!(loom) { 1 } else { 16 };

/// One load: what it is for, and where its result is waited for.
#[derive(Debug)]
pub(crate) struct Registration<K, V> {
    hash: u64,
    key: K,
    /// Unique in the process, see [`crate::scope`].
    pub(crate) id: u64,
    /// Whether others may wait for it; if not they load for themselves.
    joinable: bool,
    tags: Vec<Arc<str>>,
    pub(crate) flight: Flight<V>,
}

#[derive(Debug)]
struct Active<K, V> {
    registration: Arc<Registration<K, V>>,
    /// Tags that were invalidated while the load ran; beyond [`MOST_NOTED`], any may have been.
    invalidated: Vec<Arc<str>>,
    any: bool,
}

impl<K, V> Active<K, V> {
    /// Notes the invalidation of a tag that the load has not declared.
    fn note(&mut self, tag: &Arc<str>) {
        if self.any || self.invalidated.contains(tag) {
            return;
        }
        if self.invalidated.len() == MOST_NOTED {
            self.any = true;
            self.invalidated = Vec::new();
            return;
        }
        self.invalidated.push(Arc::clone(tag));
    }

    /// Whether a result with these tags may have been invalidated. Those that the load has declared were not: it would be gone.
    fn taints(&self, tags: &[Arc<str>]) -> bool {
        let declared = &self.registration.tags;
        tags.iter().any(|tag| if self.any { !declared.contains(tag) } else { self.invalidated.contains(tag) })
    }
}

/// The part of a caller in a load.
#[derive(Debug)]
pub(crate) enum Role<K, V> {
    Lead(Arc<Registration<K, V>>),
    Join(Arc<Registration<K, V>>),
}

/// What became of a result that wanted to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conclusion {
    /// Nothing came in between, it was offered to the store.
    Stored,
    /// Its key was invalidated or inserted: those who waited had asked before, and may have it.
    Outdated,
    /// One of its tags was invalidated, maybe before some of those who wait had asked.
    Tainted,
}

type Table<K, V> = HashTable<Active<K, V>>;

#[derive(Debug)]
pub(crate) struct Flights<K, V> {
    stripes: Box<[Mutex<Table<K, V>>]>,
    /// How many flights there are, so that invalidations of an idle cache need no lock.
    active: AtomicUsize,
}

impl<K, V> Flights<K, V> {
    pub(crate) fn new() -> Self {
        Flights { stripes: (0..STRIPES).map(|_| Mutex::new(HashTable::new())).collect(), active: AtomicUsize::new(0) }
    }

    fn stripe(&self, hash: u64) -> &Mutex<Table<K, V>> {
        &self.stripes[(hash >> 48) as usize % STRIPES]
    }

    /// Whether there is any flight, for a caller that holds a lock which every load takes after it has entered: who comes first
    /// under that lock is seen by the other, and no fence is needed.
    #[inline]
    pub(crate) fn any(&self) -> bool {
        self.active.load(Ordering::Relaxed) > 0
    }

    fn is_idle(&self) -> bool {
        // The caller has just changed what loaders read, a loader reads it after `enter` has counted it: the fence here and
        // the one there leave no order in which both miss each other.
        fence(Ordering::SeqCst);
        !self.any()
    }

    /// Joins the flight of a key or starts one. With `alone` it always starts one, which nobody can join.
    pub(crate) fn enter<Q>(&self, hash: u64, key: &Q, tags: &[Arc<str>], alone: bool) -> Role<K, V>
    where
        K: Borrow<Q>,
        Q: Eq + ToOwned<Owned = K> + ?Sized,
    {
        let stripe = self.stripe(hash);
        let is_this = |active: &Active<K, V>| active.registration.joinable && active.registration.key.borrow() == key;
        if !alone && let Some(active) = stripe.lock().find(hash, is_this) {
            return Role::Join(Arc::clone(&active.registration));
        }
        // Copying the key is foreign code, so it happens between the two looks.
        let registration = Arc::new(Registration {
            hash,
            key: key.to_owned(),
            id: crate::scope::next_id(),
            joinable: !alone,
            tags: tags.to_vec(),
            flight: Flight::new(),
        });
        let mut table = stripe.lock();
        if !alone && let Some(active) = table.find(hash, is_this) {
            let joined = Arc::clone(&active.registration);
            // The unused registration holds a key: it is dropped after the lock.
            drop(table);
            return Role::Join(joined);
        }
        let active = Active { registration: Arc::clone(&registration), invalidated: Vec::new(), any: false };
        table.insert_unique(hash, active, |active| active.registration.hash);
        self.active.fetch_add(1, Ordering::Relaxed);
        drop(table);
        fence(Ordering::SeqCst);
        Role::Lead(registration)
    }

    /// Ends a flight without a result. Does nothing if it has been outdated.
    pub(crate) fn leave(&self, registration: &Registration<K, V>) {
        let mut table = self.stripe(registration.hash).lock();
        let found = table.find_entry(registration.hash, |active| active.registration.id == registration.id);
        let gone = found.ok().map(|found| found.remove().0);
        self.active.fetch_sub(usize::from(gone.is_some()), Ordering::Relaxed);
        drop(table);
    }

    /// Ends a flight with a result: `store` runs under the lock, and only if the result is not outdated.
    pub(crate) fn conclude(
        &self,
        registration: &Registration<K, V>,
        tags: &[Arc<str>],
        store: impl FnOnce(),
    ) -> Conclusion {
        let mut table = self.stripe(registration.hash).lock();
        let is_this = |active: &Active<K, V>| active.registration.id == registration.id;
        let conclusion = match table.find(registration.hash, is_this) {
            None => return Conclusion::Outdated,
            Some(active) if active.taints(tags) => Conclusion::Tainted,
            Some(_) => {
                store();
                Conclusion::Stored
            }
        };
        let found = table.find_entry(registration.hash, is_this);
        let gone = found.ok().map(|found| found.remove().0);
        self.active.fetch_sub(usize::from(gone.is_some()), Ordering::Relaxed);
        drop(table);
        conclusion
    }

    /// Outdates the loads of a key: their results are not stored, and nobody joins them from now on.
    pub(crate) fn outdate<Q>(&self, hash: u64, key: &Q)
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        if !self.is_idle() {
            let mut gone = Vec::new();
            let mut table = self.stripe(hash).lock();
            while let Ok(found) = table.find_entry(hash, |active| active.registration.key.borrow() == key) {
                gone.push(found.remove().0);
                self.active.fetch_sub(1, Ordering::Relaxed);
            }
            drop(table);
        }
    }

    /// Outdates the loads that carry a tag, and notes it with the others: they may turn out to carry it.
    pub(crate) fn outdate_tag(&self, tag: &str) {
        let name: Arc<str> = Arc::from(tag);
        self.outdate_where(|active| {
            if active.registration.tags.iter().any(|other| **other == *tag) {
                return true;
            }
            active.note(&name);
            false
        });
    }

    /// Outdates all loads.
    pub(crate) fn outdate_all(&self) {
        self.outdate_where(|_| true);
    }

    fn outdate_where(&self, mut outdated: impl FnMut(&mut Active<K, V>) -> bool) {
        if self.is_idle() {
            return;
        }
        for stripe in &self.stripes {
            let mut table = stripe.lock();
            let gone: Vec<_> = table.extract_if(&mut outdated).collect();
            self.active.fetch_sub(gone.len(), Ordering::Relaxed);
            drop(table);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(names: &[&str]) -> Vec<Arc<str>> {
        names.iter().copied().map(Arc::from).collect()
    }

    #[test]
    fn load_that_lasts_does_not_collect_every_tag_that_is_invalidated_meanwhile() {
        let conclude = |with: &[&str]| {
            let flights = Flights::<u32, u32>::new();
            let Role::Lead(registration) = flights.enter(1, &1, &tags(&["declared"]), false) else { unreachable!() };
            (0..10_000).for_each(|i| flights.outdate_tag(&format!("other {i}")));
            let noted = flights.stripe(1).lock().iter().map(|active| active.invalidated.len()).sum::<usize>();
            assert!(noted <= MOST_NOTED, "{noted}");
            flights.conclude(&registration, &tags(with), || {})
        };
        assert_eq!(conclude(&[]), Conclusion::Stored);
        assert_eq!(conclude(&["declared"]), Conclusion::Stored);
        assert_eq!(conclude(&["declared", "other 9999"]), Conclusion::Tainted);
        assert_eq!(conclude(&["nobody's"]), Conclusion::Tainted, "it is not known any more");
    }
}
