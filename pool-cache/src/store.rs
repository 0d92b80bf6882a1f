//! The entries of a whole cache: shards behind locks, within one budget.
//!
//! Owns locking, the strict bounds and the counts of what enters and leaves. Must not know clocks, loads or weighers:
//! time and weight are arguments. Invariants: one shard lock at a time; nothing of the user but `Eq` of keys and what `glance` is
//! given runs under it (what leaves goes to [`Removals`]); no lock is held for more than [`BATCH`] removals.

mod purge;

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::budget::{Budget, Room};
use crate::removal::{RemovalReason, Removals};
use crate::shard::{Leaver, NewEntry, Shard, Standing};
use crate::stats::Stats;
use crate::sync::{Mutex, give_way, yield_now};
use crate::tally::{Left, Tally};
use crate::wheel::NEVER;

/// How many entries leave a shard before its lock is released for others.
const BATCH: u32 = 64;
/// Below this many entries a shard its queues are too short to tell good from bad.
const LEAST_PER_SHARD: usize = 100;
/// With more entries a shard than this, whoever makes it enlarge its table keeps the others waiting for too long: 80,000 that have to move
/// take some 5 ms, and each doubling twice as long and more.
const MOST_PER_SHARD: usize = 1 << 17;
/// More shards than this cost memory and help nobody.
const MOST_SHARDS: usize = 1024;

/// In this order: what a hit touches shares the line of the lock.
#[derive(Debug)]
#[repr(C)]
struct Guarded<K, V> {
    hits: u64,
    misses: u64,
    shard: Shard<K, V>,
    tally: Tally,
}

/// A shard and its lock, on cache lines of their own. A mutex: the lock is held for some tens of nanoseconds, and a reader of a lock
/// for readers and writers would have to write twice to the same line, too, and once more to count.
#[derive(Debug)]
#[repr(align(128))]
struct Cell<K, V> {
    guarded: Mutex<Guarded<K, V>>,
    /// Values that were found, counted as hits, and then refused by a predicate: misses.
    refused: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct Store<K, V> {
    cells: Box<[Cell<K, V>]>,
    budget: Budget,
    hasher: foldhash::quality::RandomState,
    /// The shard that gives room next when another one has none.
    donor: AtomicUsize,
}

/// What a look at a key finds.
#[derive(Debug)]
pub(crate) enum Found<V> {
    Alive(Arc<V>),
    /// It is there and its time is over.
    Expired,
    Absent,
}

/// How much a look at a key means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    /// Nothing: it is not counted, and eviction does not see it.
    None,
    /// Somebody wants the value, which eviction respects; the question has been counted before.
    Again,
    /// Somebody wants the value, and it counts as a hit or a miss.
    Asks,
}

/// What became of an insertion.
#[derive(Debug)]
pub(crate) enum Insertion<K, V> {
    Kept,
    /// It can never fit or would have expired at once; whatever was there under its key is gone.
    Refused(NewEntry<K, V>),
    /// Somebody has to be told first; nothing has happened.
    Held(NewEntry<K, V>),
}

impl<K, V> Guarded<K, V> {
    /// Sends an entry that has left its shard on its way; `true` if it was still alive.
    fn dismiss(&mut self, entry: Leaver<K, V>, left: Left, room: &mut Room<'_>, to: &mut Removals<'_, K, V>) -> bool {
        room.vacate(entry.weight);
        self.see_off(entry, left, to)
    }

    /// The same for an entry whose room is taken already.
    fn see_off(&mut self, entry: Leaver<K, V>, left: Left, to: &mut Removals<'_, K, V>) -> bool {
        let reason = left.reason(entry.expires_at);
        self.tally.left(reason);
        to.push(entry.key, entry.value, reason);
        reason != RemovalReason::Expired
    }

    /// Puts in an entry whose room has been taken.
    fn place(&mut self, new: NewEntry<K, V>, standing: Standing) {
        self.tally.insertions += 1;
        self.shard.place(new, standing, self.hits);
    }

    /// Puts in an entry in place of the one at `victim`, whose room it takes.
    fn supplant(&mut self, victim: u32, new: NewEntry<K, V>, now: u64, to: &mut Removals<'_, K, V>) {
        self.tally.insertions += 1;
        let entry = self.shard.supplant(victim, new, self.hits);
        self.see_off(entry, Left { why: RemovalReason::Evicted, now }, to);
    }

    /// Makes room for one entry: what has expired leaves first, then what is worth least.
    fn make_room(&mut self, now: u64, room: &mut Room<'_>, to: &mut Removals<'_, K, V>) -> bool {
        if self.purge_some(now, 1, 8, room, to) {
            return true;
        }
        let Some(victim) = self.shard.victim() else { return false };
        let entry = self.shard.evict(victim);
        self.dismiss(entry, Left { why: RemovalReason::Evicted, now }, room, to);
        true
    }

    /// Takes out up to `most` entries that expired in earlier ticks, as far as `steps` moves in the expiry index go.
    #[inline]
    fn purge_some(
        &mut self,
        now: u64,
        most: u32,
        steps: u32,
        room: &mut Room<'_>,
        to: &mut Removals<'_, K, V>,
    ) -> bool {
        self.shard.may_have_elapsed(now) && self.purge_elapsed(now, most, steps, room, to)
    }

    #[cold]
    fn purge_elapsed(
        &mut self,
        now: u64,
        most: u32,
        mut steps: u32,
        room: &mut Room<'_>,
        to: &mut Removals<'_, K, V>,
    ) -> bool {
        let mut found = false;
        for _ in 0..most {
            let Ok(Some(entry)) = self.shard.take_elapsed(now, &mut steps) else { break };
            self.dismiss(entry, Left { why: RemovalReason::Expired, now }, room, to);
            found = true;
        }
        found
    }
}

/// How many shards serve a cache of this size on this machine.
fn shards_for(max_entries: u64, max_weight: u64) -> usize {
    if cfg!(loom) {
        return 1;
    }
    let most = std::thread::available_parallelism().map_or(1, |n| n.get() * 4).next_power_of_two();
    let expected = usize::try_from(max_entries.min(max_weight)).unwrap_or(usize::MAX);
    let mut shards = 1;
    while shards < most && expected / (shards * 2) >= LEAST_PER_SHARD {
        shards *= 2;
    }
    while shards < MOST_SHARDS && expected / shards > MOST_PER_SHARD {
        shards *= 2;
    }
    shards
}

impl<K, V> Store<K, V> {
    pub(crate) fn new(max_entries: u64, max_weight: u64, shards: Option<usize>) -> Self {
        let shards = shards.unwrap_or_else(|| shards_for(max_entries, max_weight));
        let shards = shards.clamp(1, MOST_SHARDS).next_power_of_two();
        let cell = || Cell {
            guarded: Mutex::new(Guarded { hits: 0, misses: 0, shard: Shard::new(), tally: Tally::default() }),
            refused: AtomicU64::new(0),
        };
        Store {
            cells: (0..shards).map(|_| cell()).collect(),
            budget: Budget::new(max_entries, max_weight),
            hasher: foldhash::quality::RandomState::default(),
            donor: AtomicUsize::new(0),
        }
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    #[inline]
    pub(crate) fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        self.hasher.hash_one(key)
    }

    #[inline]
    fn index(&self, hash: u64) -> usize {
        (hash >> 32) as usize & (self.cells.len() - 1)
    }

    #[inline]
    fn cell(&self, hash: u64) -> &Cell<K, V> {
        &self.cells[self.index(hash)]
    }

    /// Counts a hit as a miss after all.
    pub(crate) fn refuse(&self, hash: u64) {
        // Relaxed: the counter orders nothing, `stats` only sums it.
        self.cell(hash).refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Looks a key up. `has_come` compares with now.
    #[inline]
    pub(crate) fn look<Q>(&self, hash: u64, key: &Q, interest: Interest, has_come: impl FnOnce(u64) -> bool) -> Found<V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let mut guarded = self.cell(hash).guarded.lock();
        let found = guarded.shard.find(hash, key);
        let missed = u64::from(interest == Interest::Asks);
        let Some(at) = found else {
            guarded.misses += missed;
            return Found::Absent;
        };
        let entry = guarded.shard.entry(at);
        if entry.expires_at != NEVER && has_come(entry.expires_at) {
            guarded.misses += missed;
            return Found::Expired;
        }
        let value = Arc::clone(&entry.value);
        if interest != Interest::None {
            guarded.shard.touch(at);
        }
        guarded.hits += missed;
        Found::Alive(value)
    }

    /// Takes something of the value of the key that `is` accepts, under the lock; counts a hit if there was something to take, and else
    /// leaves no trace.
    #[inline]
    pub(crate) fn glance<T>(
        &self,
        hash: u64,
        is: impl Fn(&K) -> bool,
        has_come: impl FnOnce(u64) -> bool,
        take: impl FnOnce(&V) -> Option<T>,
    ) -> Option<T> {
        let mut guarded = self.cell(hash).guarded.lock();
        let Guarded { hits, shard, .. } = &mut *guarded;
        let entry = shard.find_entry(hash, is)?;
        if entry.expires_at != NEVER && has_come(entry.expires_at) {
            return None;
        }
        let taken = take(&entry.value)?;
        shard.touch_entry(entry);
        *hits += 1;
        Some(taken)
    }

    /// Stores an entry, making what room it needs. `free` is asked under the shard's lock whether it may begin.
    pub(crate) fn insert<'a>(
        &'a self,
        new: NewEntry<K, V>,
        now: u64,
        removals: &mut Removals<'_, K, V>,
        free: impl Fn() -> bool,
    ) -> Insertion<K, V>
    where
        K: Eq,
    {
        let own = self.index(new.hash);
        let (mut standing, mut begun) = (None, false);
        let mut room: Room<'a> = self.budget.room();
        loop {
            let mut guarded = self.cells[own].guarded.lock();
            if !begun && !free() {
                return Insertion::Held(new);
            }
            begun = true;
            if let Some(at) = guarded.shard.find(new.hash, &new.key) {
                let entry = guarded.shard.remove(at);
                standing = Some(entry.standing());
                guarded.dismiss(entry, Left { why: RemovalReason::Replaced, now }, &mut room, removals);
            }
            guarded.shard.expect(new.hash);
            if new.expires_at <= now || !self.budget.admits(new.weight) {
                guarded.tally.rejections += 1;
                return Insertion::Refused(new);
            }
            let mut crowded = false;
            loop {
                if room.cover(new.weight) {
                    room.occupy(new.weight);
                    guarded.place(new, standing.unwrap_or(Standing::Newcomer { crowded }));
                    guarded.purge_some(now, 2, 2, &mut room, removals);
                    return Insertion::Kept;
                }
                crowded = true;
                if self.is_poor(&guarded.shard) {
                    break;
                }
                if guarded.purge_some(now, 1, 8, &mut room, removals) {
                    continue;
                }
                let Some(victim) = guarded.shard.victim() else { break };
                if room.trade(guarded.shard.entry(victim).weight, new.weight, standing.is_none()) {
                    guarded.supplant(victim, new, now, removals);
                    guarded.purge_some(now, 2, 2, &mut room, removals);
                    return Insertion::Kept;
                }
                let entry = guarded.shard.evict(victim);
                guarded.see_off(entry, Left { why: RemovalReason::Evicted, now }, removals);
            }
            drop(guarded);
            if !self.take_room_elsewhere(own, now, &mut room, removals) {
                // Everything is empty, so the room is in the hands of calls that run right now.
                room.release();
                yield_now();
            }
        }
    }

    /// Whether a shard has so little that taking from it would turn it into a revolving door.
    fn is_poor(&self, shard: &Shard<K, V>) -> bool {
        self.cells.len() > 1 && (shard.len() * self.cells.len() * 2) as u64 <= self.budget.entries()
    }

    fn take_room_elsewhere(
        &self,
        own: usize,
        now: u64,
        room: &mut Room<'_>,
        removals: &mut Removals<'_, K, V>,
    ) -> bool {
        let start = self.donor.fetch_add(1, Ordering::Relaxed);
        for spare_the_poor in [true, false] {
            for step in 0..self.cells.len() {
                let index = (start + step) % self.cells.len();
                if spare_the_poor && index == own {
                    continue;
                }
                let mut guarded = self.cells[index].guarded.lock();
                if spare_the_poor && self.is_poor(&guarded.shard) {
                    continue;
                }
                if guarded.make_room(now, room, removals) {
                    return true;
                }
            }
        }
        false
    }

    /// Takes out the entry of a key.
    pub(crate) fn invalidate<Q>(&self, hash: u64, key: &Q, now: u64, removals: &mut Removals<'_, K, V>) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let mut room = self.budget.room();
        let mut guarded = self.cell(hash).guarded.lock();
        let Some(at) = guarded.shard.find(hash, key) else { return false };
        let entry = guarded.shard.remove(at);
        guarded.dismiss(entry, Left { why: RemovalReason::Invalidated, now }, &mut room, removals)
    }

    /// Takes out an entry that was found to have expired, if it is still there.
    #[cold]
    pub(crate) fn expire(&self, hash: u64, now: u64, removals: &mut Removals<'_, K, V>) {
        let mut room = self.budget.room();
        let mut guarded = self.cell(hash).guarded.lock();
        if let Some(at) = guarded.shard.find_expired(hash, now) {
            let entry = guarded.shard.remove(at);
            guarded.dismiss(entry, Left { why: RemovalReason::Expired, now }, &mut room, removals);
        }
    }

    /// Takes out every entry that carries a tag and was there when the call began.
    pub(crate) fn invalidate_tag(&self, tag: &str, now: u64, removals: &mut Removals<'_, K, V>) -> usize {
        let mut count = 0;
        for cell in &self.cells {
            let bound = cell.guarded.lock().shard.serial();
            let mut more = true;
            while more {
                let mut room = self.budget.room();
                let mut guarded = cell.guarded.lock();
                for _ in 0..BATCH {
                    let Some(entry) = guarded.shard.take_tagged(tag, bound) else {
                        more = false;
                        break;
                    };
                    let left = Left { why: RemovalReason::Invalidated, now };
                    count += usize::from(guarded.dismiss(entry, left, &mut room, removals));
                }
                give_way(guarded);
                drop(room);
                removals.settle();
            }
        }
        count
    }

    /// Takes out everything, one shard after the other.
    pub(crate) fn invalidate_all(&self, now: u64, removals: &mut Removals<'_, K, V>) -> usize {
        let mut count = 0;
        for cell in &self.cells {
            // The whole shard is swapped at once; its entries are counted and dropped without the lock.
            let full = {
                let mut guarded = cell.guarded.lock();
                let empty = guarded.shard.successor();
                std::mem::replace(&mut guarded.shard, empty)
            };
            let mut entries = full.into_entries();
            loop {
                let mut room = self.budget.room();
                let mut tally = Tally::default();
                for entry in entries.by_ref().take(BATCH as usize) {
                    let reason = Left { why: RemovalReason::Invalidated, now }.reason(entry.expires_at);
                    tally.left(reason);
                    room.vacate(entry.weight);
                    removals.push(entry.key, entry.value, reason);
                }
                if tally.invalidations + tally.expirations == 0 {
                    break;
                }
                count += tally.invalidations as usize;
                let mut guarded = cell.guarded.lock();
                guarded.tally.invalidations += tally.invalidations;
                guarded.tally.expirations += tally.expirations;
                give_way(guarded);
                drop(room);
                removals.settle();
            }
        }
        count
    }

    /// Evicts until the cache is within its limits, which were lowered.
    pub(crate) fn shrink(&self, now: u64, removals: &mut Removals<'_, K, V>) {
        let mut index = 0;
        while self.budget.is_exceeded() {
            let mut room = self.budget.room();
            let mut guarded = self.cells[index].guarded.lock();
            // A few from each in turn, so that all shards shrink alike.
            let mut empty = false;
            for _ in 0..4 {
                if !self.budget.is_exceeded() {
                    break;
                }
                if !guarded.make_room(now, &mut room, removals) {
                    empty = true;
                    break;
                }
                room.release();
            }
            drop(guarded);
            drop(room);
            if empty {
                // Maybe all are, and the room is in the hands of calls that run right now.
                yield_now();
            }
            removals.settle();
            index = (index + 1) % self.cells.len();
        }
    }

    /// Copies what is alive, one shard after the other.
    pub(crate) fn snapshot(&self, now: u64) -> Vec<(K, Arc<V>)>
    where
        K: Clone,
    {
        let mut all = Vec::new();
        for cell in &self.cells {
            let guarded = cell.guarded.lock();
            let alive = guarded.shard.iter().filter(|entry| entry.expires_at > now);
            all.extend(alive.map(|entry| (entry.key.clone(), Arc::clone(&entry.value))));
        }
        all
    }

    /// Adds this store's counts to `stats`.
    pub(crate) fn add_to(&self, stats: &mut Stats) {
        for cell in &self.cells {
            let guarded = cell.guarded.lock();
            let tally = &guarded.tally;
            // Refused after it was counted, so never more than there are hits.
            let refused = cell.refused.load(Ordering::Relaxed);
            stats.hits += guarded.hits.saturating_sub(refused);
            stats.misses += guarded.misses + refused;
            stats.insertions += tally.insertions;
            stats.rejections += tally.rejections;
            stats.evictions += tally.evictions;
            stats.expirations += tally.expirations;
            stats.replacements += tally.replacements;
            stats.invalidations += tally.invalidations;
        }
        stats.entries = self.budget.entries();
        stats.weight = self.budget.weight();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn shards_are_neither_too_small_to_judge_nor_too_large_to_enlarge() {
        for max in [1, 1_000, 10_000, 1_000_000, 10_000_000, 100_000_000_u64] {
            let shards = shards_for(max, u64::MAX);
            let each = max / shards as u64;
            assert!(shards == 1 || each >= LEAST_PER_SHARD as u64, "{max} in {shards}");
            assert!(each <= MOST_PER_SHARD as u64, "{max} in {shards}");
        }
        assert_eq!(shards_for(u64::MAX, u64::MAX), MOST_SHARDS);
    }
}
