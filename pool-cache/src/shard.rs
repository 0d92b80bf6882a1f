//! One shard of the cache: entries, their order of eviction, their expiry and their tags, without any lock.
//!
//! Owns which entry is found, which leaves next and why. Must not know locks, clocks, limits, listeners or loads.
//! Invariant: an entry is in the table, in one of the two queues, under its tags and (if it expires) in the wheel, or
//! in none of them; the only user code run here is `Eq` of keys, in [`Shard::find`] and [`Shard::find_entry`], before anything
//! has changed.
//!
//! The policy, in the words of those it learned from: new keys wait in a *cold* queue, who has to make room there
//! challenges the next in the *hot* queue, and the one that was asked for more often stays (TinyLFU, Einziger, Friedman and
//! Manes, 2017). Both queues give another chance to what was asked for since they last looked (CLOCK). How much of the
//! shard is cold follows from what comes back soon after its eviction, from which queue (ARC, Megiddo and Modha, 2003):
//! little against scans and loops, much when what is wanted changes.

use std::borrow::Borrow;
use std::mem::replace;
use std::sync::Arc;

use crate::heat::Heat;
use crate::index::Index;
use crate::memory::Memory;
use crate::options::Tags;
use crate::processor::prefetch_counters;
use crate::slab::{Linked, Links, List, NIL, Slab};
use crate::tags::TagIndex;
use crate::wheel::{DEADLINE, Due, NO_BUCKET, Timed, Wheel};

const QUEUE: usize = 0;
/// The whole of a shard, in the unit of [`Shard::cold_share`].
const WHOLE: u64 = 1 << 32;
/// The least and the most of a shard that is cold.
const COLD_LEAST: u64 = WHOLE / 100;
const COLD_MOST: u64 = WHOLE / 2;
/// More than this is taken for a sign that recency decides.
const COLD_MATTERS: u64 = WHOLE / 14;
/// What comes back within this part of a shard's length of evictions would have stayed in a somewhat longer queue.
const SOON: usize = 16;
/// After how many questions per entry the counts are halved.
const ERA: u64 = 30;
/// How many questions it counts as, for the fading of counts, if a key comes back soon to a shard that is all cold, and in
/// proportion to one that is partly so: where recency decides, what is wanted changes, and old counts are worth less.
const CHANGE: u64 = 16384;
/// How much more often than one that is hot a cold entry must have been asked for to take its place. One is no difference: in a
/// loop, who was just asked for is one ahead of who comes next.
const LEAD: u8 = 1;
/// How many entries eviction gives another chance before it takes the next one whatever it was.
const CHANCES: u32 = 64;
/// The most that an entry counts for in the queues. A shard has fewer than 2^32 entries, so no sum is over 64 bits.
const MAX_SIZE: u64 = u32::MAX as u64;

/// What comes in: everything about an entry that is known before a shard is locked.
#[derive(Debug)]
pub(crate) struct NewEntry<K, V> {
    pub(crate) hash: u64,
    pub(crate) key: K,
    pub(crate) value: Arc<V>,
    pub(crate) weight: u64,
    pub(crate) expires_at: u64,
    pub(crate) tags: Tags,
}

/// In this order: what a hit reads comes first and lies together.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Entry<K, V> {
    pub(crate) key: K,
    pub(crate) value: Arc<V>,
    pub(crate) expires_at: u64,
    heat: Heat,
    bucket: u16,
    first_tag: u32,
    hash: u64,
    pub(crate) weight: u64,
    queue: Links,
    deadline: Links,
}

impl<K, V> Entry<K, V> {
    /// The share of the queues this entry takes: a weightless one still takes a place, and so many as a shard has places sum up.
    fn size(&self) -> u64 {
        self.weight.clamp(1, MAX_SIZE)
    }
}

impl<K, V> Linked<QUEUE> for Entry<K, V> {
    fn links(&self) -> &Links {
        &self.queue
    }

    fn links_mut(&mut self) -> &mut Links {
        &mut self.queue
    }
}

impl<K, V> Linked<DEADLINE> for Entry<K, V> {
    fn links(&self) -> &Links {
        &self.deadline
    }

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

/// What goes out: what is still of interest about an entry that has left its shard.
#[derive(Debug)]
pub(crate) struct Leaver<K, V> {
    pub(crate) key: K,
    pub(crate) value: Arc<V>,
    pub(crate) expires_at: u64,
    pub(crate) weight: u64,
    hot: bool,
    count: u8,
}

impl<K, V> Leaver<K, V> {
    fn new(entry: Entry<K, V>, era: u8) -> Self {
        let Entry { key, value, expires_at, weight, heat, .. } = entry;
        Leaver { key, value, expires_at, weight, hot: heat.is_hot(), count: heat.count(era) }
    }

    /// What it had earned.
    pub(crate) fn standing(&self) -> Standing {
        Standing::Heir { hot: self.hot, count: self.count }
    }
}

/// What an entry had earned, for the value that takes over its key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Standing {
    /// The key is new; `crowded` says that something had to leave for it.
    Newcomer { crowded: bool },
    /// The key was there.
    Heir { hot: bool, count: u8 },
}

/// In this order for the same reason.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Shard<K, V> {
    table: Index,
    entries: Slab<Entry<K, V>>,
    /// How often the counts were halved.
    era: u8,
    hot: List<QUEUE>,
    cold: List<QUEUE>,
    hot_size: u64,
    cold_size: u64,
    /// How much of the shard is meant to be cold, in parts of [`WHOLE`].
    cold_share: u64,
    memory: Memory,
    /// Questions in this era, and the hits that had been counted at the last look.
    asked: u64,
    hits_seen: u64,
    wheel: Wheel,
    tags: TagIndex,
    serial: u64,
}

impl<K, V> Shard<K, V> {
    pub(crate) fn new() -> Self {
        Shard {
            table: Index::new(),
            entries: Slab::new(),
            hot: List::EMPTY,
            cold: List::EMPTY,
            hot_size: 0,
            cold_size: 0,
            cold_share: COLD_LEAST,
            memory: Memory::default(),
            era: 0,
            asked: 0,
            hits_seen: 0,
            wheel: Wheel::new(),
            tags: TagIndex::new(),
            serial: 0,
        }
    }

    /// An empty shard that continues the numbering of this one.
    pub(crate) fn successor(&self) -> Self {
        Shard { serial: self.serial, hits_seen: self.hits_seen, ..Shard::new() }
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

    pub(crate) fn into_entries(self) -> impl Iterator<Item = Leaver<K, V>> {
        let era = self.era;
        self.entries.into_values().map(move |entry| Leaver::new(entry, era))
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
        self.table.find(hash, |at| self.entries[at].key.borrow() == key)
    }

    /// Finds the entry of a key by another comparison.
    #[inline]
    pub(crate) fn find_entry(&self, hash: u64, is: impl Fn(&K) -> bool) -> Option<&Entry<K, V>> {
        self.table.find(hash, |at| is(&self.entries[at].key)).map(|at| &self.entries[at])
    }

    /// Finds an entry with this hash that has expired.
    pub(crate) fn find_expired(&self, hash: u64, now: u64) -> Option<u32> {
        let expired = |entry: &Entry<K, V>| entry.hash == hash && entry.expires_at <= now;
        self.table.find(hash, |at| expired(&self.entries[at]))
    }

    /// Notes that somebody asked for the entry at `at`.
    #[inline]
    pub(crate) fn touch(&self, at: u32) {
        self.touch_entry(&self.entries[at]);
    }

    /// The same for an entry at hand.
    #[inline]
    pub(crate) fn touch_entry(&self, entry: &Entry<K, V>) {
        entry.heat.touch(self.era);
    }

    /// Puts in an entry whose key is not there. `hits` is how often entries of this shard were found, ever.
    pub(crate) fn place(&mut self, new: NewEntry<K, V>, standing: Standing, hits: u64) {
        self.pass_time(hits);
        let heat = match standing {
            Standing::Heir { hot, count } => Heat::new(self.era, count.saturating_add(1), hot),
            Standing::Newcomer { .. } => self.welcome(new.hash),
        };
        self.serial += 1;
        let at = self.entries.insert(Entry {
            key: new.key,
            value: new.value,
            expires_at: new.expires_at,
            heat,
            bucket: NO_BUCKET,
            first_tag: NIL,
            hash: new.hash,
            weight: new.weight,
            queue: Links::LOOSE,
            deadline: Links::LOOSE,
        });
        let entries = &self.entries;
        self.table.insert(new.hash, at, |at| entries[at].hash);
        self.enqueue(at);
        if matches!(standing, Standing::Newcomer { crowded: false }) {
            self.fill_hot();
        }
        self.wheel.add(&mut self.entries, at);
        if !new.tags.is_empty() {
            self.entries[at].first_tag = self.tags.attach(at, self.serial, &new.tags);
        }
    }

    /// Fetches what [`welcome`](Self::welcome) will read of a key, while its victim is looked for.
    #[inline]
    pub(crate) fn expect(&self, hash: u64) {
        self.memory.prefetch(hash);
    }

    /// Fetches what the next eviction will read: all that the first of the cold queue leads to, and the one behind it, so that this
    /// is there when its turn comes.
    #[inline]
    fn look_ahead(&self) {
        if let Some(at) = self.cold.front() {
            let entry = &self.entries[at];
            self.table.prefetch(entry.hash);
            self.memory.prefetch(entry.hash);
            prefetch_counters(&entry.value);
            self.entries.prefetch(List::<QUEUE>::after(&self.entries, at));
        }
        if let Some(at) = self.hot.front() {
            self.entries.prefetch(at);
        }
    }

    /// Evicts the entry at `at` and puts one whose key is not there in its place. What the two have in common stays as it is:
    /// the slot, in most cases the place in the wheel, and in the queue, whose first becomes the last by turning the ring.
    pub(crate) fn supplant(&mut self, at: u32, new: NewEntry<K, V>, hits: u64) -> Leaver<K, V> {
        let entry = &self.entries[at];
        let (hash, hot, count) = (entry.hash, entry.heat.is_hot(), entry.heat.count(self.era));
        self.memory.fit(self.entries.len());
        self.memory.depart(hash, count, hot);
        self.unlist(hash, at);
        self.pass_time(hits);
        let heat = self.welcome(new.hash);
        self.serial += 1;
        if self.cold.front() == Some(at) {
            self.cold.rotate(&self.entries);
            self.cold_size -= self.entries[at].size();
        } else {
            self.dequeue(at);
            self.cold.push_back(&mut self.entries, at);
        }
        let entry = &mut self.entries[at];
        let stays = Wheel::may_stay(entry.bucket, entry.expires_at, new.expires_at);
        let first_tag = replace(&mut entry.first_tag, NIL);
        entry.hash = new.hash;
        entry.heat = heat;
        let left = Leaver {
            key: replace(&mut entry.key, new.key),
            value: replace(&mut entry.value, new.value),
            expires_at: replace(&mut entry.expires_at, new.expires_at),
            weight: replace(&mut entry.weight, new.weight),
            hot,
            count,
        };
        self.cold_size += entry.size();
        let entries = &self.entries;
        self.table.insert(new.hash, at, |at| entries[at].hash);
        if !stays {
            self.wheel.remove(&mut self.entries, at);
            self.wheel.add(&mut self.entries, at);
        }
        if first_tag != NIL {
            self.tags.detach(first_tag);
        }
        if !new.tags.is_empty() {
            self.entries[at].first_tag = self.tags.attach(at, self.serial, &new.tags);
        }
        self.look_ahead();
        left
    }

    /// Takes out an entry.
    pub(crate) fn remove(&mut self, at: u32) -> Leaver<K, V> {
        self.dequeue(at);
        self.unlist(self.entries[at].hash, at);
        self.wheel.remove(&mut self.entries, at);
        let entry = self.entries.remove(at);
        if entry.first_tag != NIL {
            self.tags.detach(entry.first_tag);
        }
        Leaver::new(entry, self.era)
    }

    #[inline]
    fn unlist(&mut self, hash: u64, at: u32) {
        assert!(self.table.remove(hash, at), "BUG: an entry is missing from the table");
    }

    /// Takes out an entry that expired in an earlier tick, if one is found within a few steps.
    pub(crate) fn take_elapsed(&mut self, now: u64, steps: &mut u32) -> Result<Option<Leaver<K, V>>, OutOfSteps> {
        match self.wheel.elapsed(&mut self.entries, now, steps) {
            Due::Entry(at) => Ok(Some(self.remove(at))),
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
    pub(crate) fn take_from_current_tick(&mut self, now: u64) -> Option<Leaver<K, V>> {
        let at = self.wheel.rotate(&mut self.entries, now)?;
        Some(self.remove(at))
    }

    /// Takes out the entry that carries `tag` for longest, if it came in no later than `serial`.
    pub(crate) fn take_tagged(&mut self, tag: &str, serial: u64) -> Option<Leaver<K, V>> {
        let (at, inserted) = self.tags.front(tag)?;
        (inserted <= serial).then(|| self.remove(at))
    }

    /// Takes out the entry at `at` for want of room.
    pub(crate) fn evict(&mut self, at: u32) -> Leaver<K, V> {
        self.remember(at);
        self.remove(at)
    }

    /// Finds the entry that is worth least.
    pub(crate) fn victim(&mut self) -> Option<u32> {
        let challenger = if self.cold_size >= self.cold_target() { self.next_cold() } else { None };
        // Who was not asked for in a long time gives way to anybody only where recency has shown to matter: not in a scan.
        let yields = self.cold_share > COLD_MATTERS;
        let claim = challenger.map_or(0, |at| self.entries[at].heat.count(self.era));
        if claim <= LEAD && challenger.is_some() && !yields {
            return challenger;
        }
        let Some(holder) = self.next_hot() else {
            return challenger.or_else(|| self.next_cold());
        };
        let Some(challenger) = challenger else { return Some(holder) };
        let claim_held = self.entries[holder].heat.count(self.era);
        if claim > claim_held + LEAD || yields && claim_held == 0 {
            self.promote(challenger);
            Some(holder)
        } else {
            Some(challenger)
        }
    }

    /// Finds what leaves the cold queue next: nothing that was asked for since it was last looked at.
    fn next_cold(&mut self) -> Option<u32> {
        for _ in 0..CHANCES {
            let at = self.cold.front()?;
            if !self.entries[at].heat.cool() {
                return Some(at);
            }
            self.cold.rotate(&self.entries);
        }
        self.cold.front()
    }

    /// Finds what leaves the hot queue next, like [`next_cold`](Self::next_cold).
    fn next_hot(&mut self) -> Option<u32> {
        for _ in 0..CHANCES {
            let at = self.hot.front()?;
            if !self.entries[at].heat.cool() {
                return Some(at);
            }
            self.hot.rotate(&self.entries);
        }
        self.hot.front()
    }

    fn remember(&mut self, at: u32) {
        self.memory.fit(self.entries.len());
        let Entry { hash, heat, .. } = &self.entries[at];
        self.memory.depart(*hash, heat.count(self.era), heat.is_hot());
    }

    /// What is known of a newcomer; if it was evicted just now, the share of the cold queue changes.
    fn welcome(&mut self, hash: u64) -> Heat {
        let known = self.memory.arrive(hash, (self.entries.len() / SOON).max(1));
        if let Some(hot) = known.just_left {
            let step = WHOLE / (self.entries.len() as u64 + 1);
            if hot {
                self.cold_share = self.cold_share.saturating_sub(step).max(COLD_LEAST);
            } else {
                self.cold_share = (self.cold_share + step).min(COLD_MOST);
                self.age(self.cold_share * CHANGE / WHOLE);
            }
        }
        Heat::new(self.era, known.count.saturating_add(1), false)
    }

    /// Notes the questions since the last insertion: the hits, and this one.
    fn pass_time(&mut self, hits: u64) {
        self.age(hits.wrapping_sub(self.hits_seen).saturating_add(1));
        self.hits_seen = hits;
    }

    /// Lets all counts fade when enough questions were asked.
    fn age(&mut self, questions: u64) {
        self.asked = self.asked.saturating_add(questions);
        if self.asked > self.entries.len() as u64 * ERA + ERA {
            self.asked = 0;
            self.era = self.era.wrapping_add(1);
            self.memory.halve();
        }
    }

    /// The size of the cold queue from which on it gives room.
    fn cold_target(&self) -> u64 {
        let total = self.hot_size.saturating_add(self.cold_size);
        // Less than the total, since the share is less than one.
        let target = u128::from(total) * u128::from(self.cold_share) / u128::from(WHOLE);
        (target as u64).max(1)
    }

    /// While there is room for all, what is too much for the cold queue becomes hot unchallenged.
    fn fill_hot(&mut self) {
        for _ in 0..2 {
            let Some(at) = self.cold.front().filter(|_| self.cold_size > self.cold_target()) else { break };
            self.promote(at);
        }
    }

    fn promote(&mut self, at: u32) {
        self.dequeue(at);
        self.entries[at].heat.promote();
        self.enqueue(at);
    }

    fn enqueue(&mut self, at: u32) {
        let (hot, size) = (self.entries[at].heat.is_hot(), self.entries[at].size());
        let (queue, total) =
            if hot { (&mut self.hot, &mut self.hot_size) } else { (&mut self.cold, &mut self.cold_size) };
        queue.push_back(&mut self.entries, at);
        *total += size;
    }

    fn dequeue(&mut self, at: u32) {
        let (hot, size) = (self.entries[at].heat.is_hot(), self.entries[at].size());
        let (queue, total) =
            if hot { (&mut self.hot, &mut self.hot_size) } else { (&mut self.cold, &mut self.cold_size) };
        queue.unlink(&mut self.entries, at);
        *total -= size;
    }
}

/// The search for expired entries stopped before it was through.
#[derive(Debug)]
pub(crate) struct OutOfSteps;
