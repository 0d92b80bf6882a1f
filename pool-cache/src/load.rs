//! Loading what is missing, once however many ask.
//!
//! Owns the steps of a load from the first look to the stored result, the same for async and blocking callers. Must
//! not know shards or the lists behind a flight. Invariants: loaders, predicates and weighers run outside all locks; a
//! [`Lead`] that goes out of scope without a result (error, panic, dropped future) lets those who wait go on.

use std::borrow::Borrow;
use std::fmt;
use std::future::{Future, poll_fn};
use std::hash::Hash;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::cache::{Shared, TtlCache};
use crate::error::LoadError;
use crate::flight::{Outcome, block_on};
use crate::flights::{Conclusion, Registration, Role};
use crate::options::EntryOptions;
use crate::scope;
use crate::store::{Insertion, Interest};

/// What a loader brings.
#[derive(Clone, Debug)]
pub enum Load<V> {
    /// A value for everybody: it is stored with the options of the call, and given to those who wait for this load.
    Store(V),
    /// Like `Store`, with these options in place of those of the call: what to say of an entry (its tags, its time to
    /// live) is often known only after loading. A tag that is named only here and was invalidated while the loader ran
    /// keeps the value out as well.
    StoreWith(V, EntryOptions),
    /// A value for the caller alone: it is not stored, and those who wait load for themselves.
    Pass(V),
}

/// What to do next for a key.
enum Step<'a, K: Hash + Eq, V> {
    Hit(Arc<V>),
    Lead(Lead<'a, K, V>),
    Wait(Arc<Registration<K, V>>, scope::Wait),
}

/// What one caller has been through.
#[derive(Default)]
struct Attempt {
    counted: bool,
    /// Waiting has been of no use: load, and let nobody wait for it.
    alone: bool,
    refused: u32,
}

impl Attempt {
    /// Judges the end of a flight that was waited for; `None` is to try again.
    fn judge<V, E: Send + Sync + 'static>(
        &mut self,
        outcome: Outcome<V>,
        valid: impl Fn(&V) -> bool,
    ) -> Option<Result<Arc<V>, LoadError<E>>> {
        match outcome {
            Outcome::Value(value) if valid(&value) => return Some(Ok(value)),
            // The first refused value may have been read before this caller asked, the next one was not.
            Outcome::Value(_) => {
                self.refused += 1;
                self.alone = self.refused > 1;
            }
            Outcome::Failed(error) => match error.downcast::<E>() {
                Ok(source) => return Some(Err(LoadError::Failed { source })),
                Err(_) => self.alone = true,
            },
            Outcome::Passed => self.alone = true,
            Outcome::Abandoned => {}
        }
        None
    }
}

/// The duty to bring a result, or to let the others go.
struct Lead<'a, K: Hash + Eq, V> {
    cache: &'a Shared<K, V>,
    registration: Arc<Registration<K, V>>,
    /// Whether a loader was started for it.
    started: bool,
    landed: bool,
}

impl<K: Hash + Eq, V> Lead<'_, K, V> {
    fn land(&mut self, outcome: Outcome<V>) {
        self.landed = true;
        self.cache.flights.leave(&self.registration);
        self.registration.flight.land(outcome);
    }

    /// Offers a value to the store and to those who wait.
    fn store(mut self, hash: u64, key: K, value: Arc<V>, options: EntryOptions) -> bool {
        let cache = self.cache;
        let mut removals = cache.removals();
        let now = cache.now();
        let new = cache.entry(hash, key, Arc::clone(&value), options, now);
        let tags = new.tags.clone();
        let mut new = Some(new);
        let mut kept = false;
        let conclusion = cache.flights.conclude(&self.registration, &tags, || {
            if let Some(offered) = new.take() {
                // What is refused comes back to be dropped outside the lock.
                match cache.store.insert(offered, now, &mut removals, || true) {
                    Insertion::Kept => kept = true,
                    Insertion::Refused(refused) | Insertion::Held(refused) => new = Some(refused),
                }
            }
        });
        let outcome = match conclusion {
            Conclusion::Stored | Conclusion::Outdated => Outcome::Value(value),
            Conclusion::Tainted => Outcome::Abandoned,
        };
        if conclusion != Conclusion::Stored {
            cache.loads.outdated.fetch_add(1, Ordering::Relaxed);
        }
        self.landed = true;
        self.registration.flight.land(outcome);
        kept
    }

    fn finish<Q, E>(
        mut self,
        hash: u64,
        key: &Q,
        options: EntryOptions,
        result: Result<Load<V>, E>,
    ) -> Result<Arc<V>, LoadError<E>>
    where
        Q: ToOwned<Owned = K> + ?Sized,
        E: Send + Sync + 'static,
    {
        let (value, options) = match result {
            Ok(Load::Store(value)) => (Arc::new(value), options),
            Ok(Load::StoreWith(value, options)) => (Arc::new(value), options),
            Ok(Load::Pass(value)) => {
                self.land(Outcome::Passed);
                return Ok(Arc::new(value));
            }
            Err(error) => {
                let source = Arc::new(error);
                self.cache.loads.failed.fetch_add(1, Ordering::Relaxed);
                self.land(Outcome::Failed(Arc::clone(&source) as _));
                return Err(LoadError::Failed { source });
            }
        };
        self.store(hash, key.to_owned(), Arc::clone(&value), options);
        Ok(value)
    }
}

impl<K: Hash + Eq, V> Drop for Lead<'_, K, V> {
    fn drop(&mut self) {
        if !self.landed {
            self.cache.loads.failed.fetch_add(u64::from(self.started), Ordering::Relaxed);
            self.land(Outcome::Abandoned);
        }
    }
}

impl<K: Hash + Eq, V> Shared<K, V> {
    /// Looks, and if there is nothing good finds out whether to load or to wait.
    fn step<Q, E>(
        &self,
        hash: u64,
        key: &Q,
        options: &EntryOptions,
        attempt: &mut Attempt,
        valid: impl Fn(&V) -> bool,
    ) -> Result<Step<'_, K, V>, LoadError<E>>
    where
        K: Borrow<Q>,
        Q: Eq + ToOwned<Owned = K> + ?Sized,
    {
        let first = !std::mem::replace(&mut attempt.counted, true);
        if let Some(value) = self.find(hash, key, if first { Interest::Asks } else { Interest::Again }) {
            if valid(&value) {
                return Ok(Step::Hit(value));
            }
            if first {
                self.store.refuse(hash);
            }
        }
        match self.flights.enter(hash, key, &options.tags, attempt.alone) {
            Role::Lead(registration) => {
                let mut lead = Lead { cache: self, registration, started: false, landed: false };
                // Another load may have landed between the look and the entry: then its value is there now.
                if let Some(value) = self.find(hash, key, Interest::Again).filter(|value| valid(value)) {
                    lead.land(Outcome::Value(Arc::clone(&value)));
                    return Ok(Step::Hit(value));
                }
                lead.started = true;
                self.loads.started.fetch_add(1, Ordering::Relaxed);
                Ok(Step::Lead(lead))
            }
            Role::Join(registration) => {
                self.loads.waited.fetch_add(1, Ordering::Relaxed);
                let wait = scope::wait_for(registration.id).ok_or(LoadError::Recursive)?;
                Ok(Step::Wait(registration, wait))
            }
        }
    }
}

impl<K: Hash + Eq, V> TtlCache<K, V> {
    /// Returns the value of a key, or loads and stores it: one load however many ask for the key, async or blocking.
    ///
    /// The future is polled only if this caller is the one to load. If it is dropped half-way or panics, one of those who wait
    /// loads instead. If it fails, those who wait get the same error, and nothing is stored.
    ///
    /// # Errors
    ///
    /// [`LoadError::Failed`] with the loader's error; [`LoadError::Recursive`] if the load would wait for itself.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cache = pool_cache::TtlCache::<String, usize>::builder().build()?;
    /// let length = cache.get_or_load("key", async { Ok::<_, std::io::Error>("value".len()) }).await?;
    /// assert_eq!(*length, 5);
    /// assert_eq!(cache.stats().loads, 1);
    /// # Ok(()) }
    /// ```
    pub async fn get_or_load<Q, E>(
        &self,
        key: &Q,
        loader: impl Future<Output = Result<V, E>>,
    ) -> Result<Arc<V>, LoadError<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        E: Send + Sync + 'static,
    {
        self.get_or_load_with(key, EntryOptions::new(), loader).await
    }

    /// Returns the value of a key, or loads and stores it with its own time to live, weight and tags, like
    /// [`get_or_load`](Self::get_or_load).
    ///
    /// # Errors
    ///
    /// Those of [`get_or_load`](Self::get_or_load).
    pub async fn get_or_load_with<Q, E>(
        &self,
        key: &Q,
        options: EntryOptions,
        loader: impl Future<Output = Result<V, E>>,
    ) -> Result<Arc<V>, LoadError<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        E: Send + Sync + 'static,
    {
        self.get_or_load_if(key, options, |_| true, async { loader.await.map(Load::Store) }).await
    }

    /// Returns the value of a key if `valid` accepts it, or loads it; the loader decides whether it is stored.
    ///
    /// A value that `valid` refuses counts as a miss, in the cache as well as from the load of another for which this caller
    /// waited. What this caller's own loader brings is returned unasked. A loader that brings [`Load::Pass`] serves its caller
    /// alone; those who waited for it load for themselves, all at once.
    ///
    /// # Errors
    ///
    /// Those of [`get_or_load`](Self::get_or_load).
    ///
    /// ```
    /// use pool_cache::{EntryOptions, Load, TtlCache};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// struct Rows { version: u64, count: usize }
    /// let cache = TtlCache::<String, Rows>::builder().build()?;
    /// cache.insert("all".to_owned(), Rows { version: 1, count: 10 });
    /// let newest = 2;
    /// let rows = cache
    ///     .get_or_load_if("all", EntryOptions::new().tag("users"), |rows| rows.version >= newest, async {
    ///         Ok::<_, std::io::Error>(Load::Store(Rows { version: newest, count: 11 }))
    ///     })
    ///     .await?;
    /// assert_eq!(rows.count, 11);
    /// # Ok(()) }
    /// ```
    pub async fn get_or_load_if<Q, E>(
        &self,
        key: &Q,
        options: EntryOptions,
        valid: impl Fn(&V) -> bool,
        loader: impl Future<Output = Result<Load<V>, E>>,
    ) -> Result<Arc<V>, LoadError<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        E: Send + Sync + 'static,
    {
        let hash = self.shared().store.hash(key);
        let mut attempt = Attempt::default();
        loop {
            match self.shared().step(hash, key, &options, &mut attempt, &valid)? {
                Step::Hit(value) => return Ok(value),
                Step::Lead(lead) => {
                    let mut loader = pin!(loader);
                    let id = lead.registration.id;
                    let result = poll_fn(|context| scope::within(id, || loader.as_mut().poll(context))).await;
                    return lead.finish(hash, key, options, result);
                }
                Step::Wait(registration, _wait) => {
                    let outcome = registration.flight.landed().await;
                    if let Some(result) = attempt.judge(outcome, &valid) {
                        return result;
                    }
                }
            }
        }
    }

    /// Returns the value of a key, or loads and stores it on this thread, like [`get_or_load`](Self::get_or_load). Those who
    /// wait may be blocked threads or tasks. Must not be called from an async task: it may block its thread.
    ///
    /// # Errors
    ///
    /// Those of [`get_or_load`](Self::get_or_load).
    ///
    /// ```
    /// let cache = pool_cache::TtlCache::<u64, String>::builder().build()?;
    /// let text = cache.get_or_load_blocking(&7, || Ok::<_, std::io::Error>("seven".to_owned()))?;
    /// assert_eq!(*text, "seven");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get_or_load_blocking<Q, E>(
        &self,
        key: &Q,
        loader: impl FnOnce() -> Result<V, E>,
    ) -> Result<Arc<V>, LoadError<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        E: Send + Sync + 'static,
    {
        self.get_or_load_with_blocking(key, EntryOptions::new(), loader)
    }

    /// The blocking twin of [`get_or_load_with`](Self::get_or_load_with).
    ///
    /// # Errors
    ///
    /// Those of [`get_or_load`](Self::get_or_load).
    pub fn get_or_load_with_blocking<Q, E>(
        &self,
        key: &Q,
        options: EntryOptions,
        loader: impl FnOnce() -> Result<V, E>,
    ) -> Result<Arc<V>, LoadError<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        E: Send + Sync + 'static,
    {
        self.get_or_load_if_blocking(key, options, |_| true, || loader().map(Load::Store))
    }

    /// The blocking twin of [`get_or_load_if`](Self::get_or_load_if); the two share their loads.
    ///
    /// # Errors
    ///
    /// Those of [`get_or_load`](Self::get_or_load).
    pub fn get_or_load_if_blocking<Q, E>(
        &self,
        key: &Q,
        options: EntryOptions,
        valid: impl Fn(&V) -> bool,
        loader: impl FnOnce() -> Result<Load<V>, E>,
    ) -> Result<Arc<V>, LoadError<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        E: Send + Sync + 'static,
    {
        block_on(self.get_or_load_if(key, options, valid, async { loader() }))
    }

    /// Announces a value that will be computed outside the cache, to be stored only if it is still current then.
    ///
    /// Reserve before reading what the value is made of, and [`store`](Reservation::store) it afterwards: if in between the
    /// key, one of the tags or everything was invalidated, or the key was inserted, it is kept out. Nobody waits for a
    /// reservation, and dropping it does nothing.
    ///
    /// ```
    /// use pool_cache::{EntryOptions, TtlCache};
    ///
    /// let cache = TtlCache::<&str, u32>::builder().build()?;
    /// let reservation = cache.reserve(&"sum", EntryOptions::new().tag("orders"));
    /// let sum = 1 + 2; // read from a database, say
    /// cache.invalidate_tag("orders"); // somebody writes meanwhile
    /// assert!(!reservation.store(sum));
    /// assert!(cache.is_empty());
    /// # Ok::<(), pool_cache::SettingError>(())
    /// ```
    pub fn reserve(&self, key: &K, options: EntryOptions) -> Reservation<'_, K, V>
    where
        K: Clone,
    {
        let cache = self.shared();
        let hash = cache.store.hash(key);
        let Role::Lead(registration) = cache.flights.enter(hash, key, &options.tags, true) else {
            unreachable!("BUG: who asks to be alone joined another");
        };
        let lead = Lead { cache, registration, started: false, landed: false };
        // Nothing is wanted of it but the order with insertions: see `insert_with`.
        let _ = cache.find(hash, key, Interest::None);
        Reservation { lead, hash, key: key.clone(), options }
    }
}

/// A promise to store a value only if it is still current; made by [`TtlCache::reserve`].
#[must_use = "a reservation does nothing until a value is stored"]
pub struct Reservation<'a, K: Hash + Eq, V> {
    lead: Lead<'a, K, V>,
    hash: u64,
    key: K,
    options: EntryOptions,
}

impl<K: Hash + Eq, V> Reservation<'_, K, V> {
    /// Stores the value unless it may be outdated. Returns whether it is in the cache now.
    pub fn store(self, value: V) -> bool {
        self.lead.store(self.hash, self.key, Arc::new(value), self.options)
    }
}

impl<K: Hash + Eq, V> fmt::Debug for Reservation<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("options", &self.options).finish_non_exhaustive()
    }
}
