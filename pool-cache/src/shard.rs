//! One shard of the cache: entries, their order of eviction, their expiry and their tags, without any lock.
//!
//! Owns which entry is found, which leaves next and why. Must not know locks, clocks, limits, listeners or loads.
//! Invariant: an entry is in the table, in one of the two queues, under its tags and (if it expires) in the wheel, or
//! in none of them; the only user code run here is `Eq` of keys, in [`Shard::find`], before anything has changed.
//!
//! The policy is the variant of CLOCK-Pro (Jiang, Chen and Zhang, USENIX 2005) that `quick_cache` documents, close to
//! S3-FIFO (Yang and others, SOSP 2023): new keys wait in a short *cold* queue; who is asked for there moves to the *hot*
//! queue, a clock with two chances; who is evicted from cold leaves a ghost and enters hot if it returns soon.

use std::borrow::Borrow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use hashbrown::HashTable;

use crate::ghosts::Ghosts;
use crate::slab::{Linked, Links, List, NIL, Slab};
use crate::tags::TagIndex;
use crate::wheel::{DEADLINE, Due, NO_BUCKET, Timed, Wheel};

const QUEUE: usize = 0;
/// How often an entry can have been asked for, as far as eviction cares.
const MOST_REFERENCED: u8 = 2;

/// What comes in: everything about an entry that is known before a shard is locked.
#[derive(Debug)]
pub(crate) struct NewEntry<K, V> {
    pub(crate) hash: u64,
    pub(crate) key: K,
    pub(crate) value: Arc<V>,
    pub(crate) weight: u64,
    pub(crate) expires_at: u64,
    pub(crate) tags: Vec<Arc<str>>,
}

#[derive(Debug)]
pub(crate) struct Entry<K, V> {
    pub(crate) key: K,
    pub(crate) value: Arc<V>,
    pub(crate) expires_at: u64,
    hash: u64,
    pub(crate) weight: u64,
    /// Number of the insertion in this shard: tells an entry from a later one under the same key.
    pub(crate) serial: u64,
    queue: Links,
    deadline: Links,
    first_tag: u32,
    bucket: u16,
    hot: bool,
    referenced: AtomicU8,
}

impl<K, V> Entry<K, V> {
    /// The share of the queues this entry takes: a weightless one still takes a place.
    fn size(&self) -> u64 {
        self.weight.max(1)
    }

    /// Notes that the entry was asked for. Two threads may count as one: it is only a hint for eviction.
    #[inline]
    pub(crate) fn touch(&self) {
        let referenced = self.referenced.load(Ordering::Relaxed);
        if referenced < MOST_REFERENCED {
            self.referenced.store(referenced + 1, Ordering::Relaxed);
        }
    }
}

impl<K, V> Linked<QUEUE> for Entry<K, V> {
    fn links_mut(&mut self) -> &mut Links {
        &mut self.queue
    }
}

impl<K, V> Linked<DEADLINE> for Entry<K, V> {
    fn links_mut(&mut self) -> &mut Links {
        &mut self.deadline
    }
}

impl<K, V> Timed for Entry<K, V> {
    fn expires_at(&self) -> u64 {
        self.expires_at
    }

    fn bucket(&self) -> u16 {
        self.bucket
    }

    fn set_bucket(&mut self, bucket: u16) {
        self.bucket = bucket;
    }
}

/// What an entry had earned, for the value that takes over its key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Standing {
    /// The key is new; `crowded` says that something had to leave for it.
    Newcomer { crowded: bool },
    /// The key was there.
    Heir { hot: bool, referenced: u8 },
}

#[derive(Debug)]
pub(crate) struct Shard<K, V> {
    table: HashTable<u32>,
    entries: Slab<Entry<K, V>>,
    hot: List<QUEUE>,
    cold: List<QUEUE>,
    hot_size: u64,
    cold_size: u64,
    /// Hot has more than its share since an entry was promoted: it gives room until it has not.
    hot_gives: bool,
    ghosts: Ghosts,
    wheel: Wheel,
    tags: TagIndex,
    serial: u64,
}

impl<K, V> Shard<K, V> {
    pub(crate) fn new() -> Self {
        Shard {
            table: HashTable::new(),
            entries: Slab::new(),
            hot: List::EMPTY,
            cold: List::EMPTY,
            hot_size: 0,
            cold_size: 0,
            hot_gives: false,
            ghosts: Ghosts::default(),
            wheel: Wheel::new(),
            tags: TagIndex::new(),
            serial: 0,
        }
    }

    /// An empty shard that continues the numbering of this one.
    pub(crate) fn successor(&self) -> Self {
        Shard { serial: self.serial, ..Shard::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The number of the last insertion.
    pub(crate) fn serial(&self) -> u64 {
        self.serial
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry<K, V>> {
        self.entries.iter()
    }

    pub(crate) fn into_entries(self) -> impl Iterator<Item = Entry<K, V>> {
        self.entries.into_values()
    }

    pub(crate) fn entry(&self, at: u32) -> &Entry<K, V> {
        &self.entries[at]
    }

    #[inline]
    pub(crate) fn find<Q>(&self, hash: u64, key: &Q) -> Option<u32>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.table.find(hash, |&at| self.entries[at].key.borrow() == key).copied()
    }

    /// Finds the entry of one insertion, if it is still there.
    pub(crate) fn find_serial(&self, hash: u64, serial: u64) -> Option<u32> {
        self.table.find(hash, |&at| self.entries[at].serial == serial).copied()
    }

    /// Puts in an entry whose key is not there.
    pub(crate) fn place(&mut self, new: NewEntry<K, V>, standing: Standing) {
        let size = new.weight.max(1);
        let (hot, referenced) = match standing {
            Standing::Heir { hot, referenced } => (hot, (referenced + 1).min(MOST_REFERENCED)),
            Standing::Newcomer { crowded } => {
                let returns = self.ghosts.take(new.hash, self.entries.len() / 2);
                let fits = !crowded && self.hot_size.saturating_add(size) <= self.hot_target(size);
                (returns || fits, 0)
            }
        };
        self.serial += 1;
        let at = self.entries.insert(Entry {
            key: new.key,
            value: new.value,
            expires_at: new.expires_at,
            hash: new.hash,
            weight: new.weight,
            serial: self.serial,
            queue: Links::LOOSE,
            deadline: Links::LOOSE,
            first_tag: NIL,
            bucket: NO_BUCKET,
            hot,
            referenced: AtomicU8::new(referenced),
        });
        let entries = &self.entries;
        self.table.insert_unique(new.hash, at, |&at| entries[at].hash);
        self.enqueue(at);
        self.wheel.add(&mut self.entries, at);
        if !new.tags.is_empty() {
            self.entries[at].first_tag = self.tags.attach(at, &new.tags);
        }
    }

    /// Takes out an entry together with what it had earned.
    pub(crate) fn remove(&mut self, at: u32) -> (Entry<K, V>, Standing) {
        self.dequeue(at);
        self.wheel.remove(&mut self.entries, at);
        let entry = self.entries.remove(at);
        self.tags.detach(entry.first_tag);
        let listed = self.table.find_entry(entry.hash, |&listed| listed == at);
        listed.expect("BUG: an entry is missing from the table").remove();
        let standing = Standing::Heir { hot: entry.hot, referenced: entry.referenced.load(Ordering::Relaxed) };
        (entry, standing)
    }

    /// Takes out an entry that expired in an earlier tick, if one is found within a few steps.
    pub(crate) fn take_elapsed(&mut self, now: u64, steps: &mut u32) -> Result<Option<Entry<K, V>>, OutOfSteps> {
        match self.wheel.elapsed(&mut self.entries, now, steps) {
            Due::Entry(at) => Ok(Some(self.remove(at).0)),
            Due::Nothing => Ok(None),
            Due::OutOfSteps => Err(OutOfSteps),
        }
    }

    /// Whether [`take_elapsed`](Self::take_elapsed) is worth a call.
    #[inline]
    pub(crate) fn may_have_elapsed(&self, now: u64) -> bool {
        self.wheel.may_be_due(now)
    }

    /// How many entries share the tick the wheel has reached.
    pub(crate) fn current_tick_len(&self) -> u32 {
        self.wheel.current_len()
    }

    /// Looks at one entry of that tick and takes it out if it has expired.
    pub(crate) fn take_from_current_tick(&mut self, now: u64) -> Option<Entry<K, V>> {
        let at = self.wheel.rotate(&mut self.entries, now)?;
        Some(self.remove(at).0)
    }

    /// Takes out the entry that carries `tag` for longest, if it came in no later than `serial`.
    pub(crate) fn take_tagged(&mut self, tag: &str, serial: u64) -> Option<Entry<K, V>> {
        let at = self.tags.front(tag)?;
        (self.entries[at].serial <= serial).then(|| self.remove(at).0)
    }

    /// Takes out the entry that is worth least.
    pub(crate) fn evict(&mut self) -> Option<Entry<K, V>> {
        self.hot_gives &= self.hot_size > self.hot_target(0);
        if self.hot_gives {
            return self.evict_hot();
        }
        while let Some(at) = self.cold.front() {
            let entry = &mut self.entries[at];
            let referenced = entry.referenced.get_mut();
            if *referenced == 0 {
                let (evicted, _) = self.remove(at);
                self.ghosts.add(evicted.hash, self.entries.len() + 1);
                return Some(evicted);
            }
            *referenced -= 1;
            self.dequeue(at);
            self.entries[at].hot = true;
            self.enqueue(at);
            if self.hot_size > self.hot_target(0) {
                self.hot_gives = true;
                return self.evict_hot();
            }
        }
        self.evict_hot()
    }

    fn evict_hot(&mut self) -> Option<Entry<K, V>> {
        loop {
            let at = self.hot.front()?;
            let referenced = self.entries[at].referenced.get_mut();
            if *referenced == 0 {
                return Some(self.remove(at).0);
            }
            *referenced -= 1;
            self.hot.move_to_back(&mut self.entries, at);
        }
    }

    /// How much of the shard the hot queue may take, with `more` added: all but a thirty-second.
    fn hot_target(&self, more: u64) -> u64 {
        let total = self.hot_size.saturating_add(self.cold_size).saturating_add(more);
        total - total / 32
    }

    fn enqueue(&mut self, at: u32) {
        let (hot, size) = (self.entries[at].hot, self.entries[at].size());
        let (queue, total) =
            if hot { (&mut self.hot, &mut self.hot_size) } else { (&mut self.cold, &mut self.cold_size) };
        queue.push_back(&mut self.entries, at);
        *total += size;
    }

    fn dequeue(&mut self, at: u32) {
        let (hot, size) = (self.entries[at].hot, self.entries[at].size());
        let (queue, total) =
            if hot { (&mut self.hot, &mut self.hot_size) } else { (&mut self.cold, &mut self.cold_size) };
        queue.unlink(&mut self.entries, at);
        *total -= size;
    }
}

/// The search for expired entries stopped before it was through.
#[derive(Debug)]
pub(crate) struct OutOfSteps;
