//! Taking out everything that has expired, in the background of calls that want to go on.
//!
//! Owns in which order shards are gone through and how long each is locked at a time; must not know when an entry expires. Invariants:
//! a lock is held for [`SLICE`] steps at most, some microseconds, which is less than putting a waiting thread to sleep takes; whoever waits
//! for it gets it before this comes back to it, and nothing of the user runs meanwhile.

use super::Store;
use crate::removal::{RemovalReason, Removals};
use crate::sync::give_way;
use crate::tally::Left;

/// How many entries are looked at before a lock is released for others.
const SLICE: u32 = 16;

/// How far a shard has been gone through.
struct Progress {
    shard: usize,
    /// How many entries of the current tick are still to be looked at, once the earlier ticks are through.
    current: Option<u32>,
}

impl<K, V> Store<K, V> {
    /// Takes out everything that has expired: a slice of each shard in turn, so that a thread that waits for one has all the time the
    /// others take.
    pub(crate) fn purge_expired(&self, now: u64, removals: &mut Removals<'_, K, V>) -> usize {
        let mut shards: Vec<Progress> = (0..self.cells.len()).map(|shard| Progress { shard, current: None }).collect();
        let mut count = 0;
        while !shards.is_empty() {
            shards.retain_mut(|progress| {
                count += self.purge_slice(progress, now, removals);
                progress.current != Some(0)
            });
        }
        count
    }

    fn purge_slice(&self, progress: &mut Progress, now: u64, removals: &mut Removals<'_, K, V>) -> usize {
        let (mut steps, mut count) = (SLICE, 0);
        let mut room = self.budget.room();
        let mut guarded = self.cells[progress.shard].guarded.lock();
        while steps > 0 && progress.current != Some(0) {
            let expired = match progress.current {
                None => match guarded.shard.take_elapsed(now, &mut steps) {
                    Ok(Some(entry)) => Some(entry),
                    Ok(None) => {
                        progress.current = Some(guarded.shard.current_tick_len());
                        continue;
                    }
                    Err(_) => break,
                },
                Some(left) => {
                    progress.current = Some(left - 1);
                    guarded.shard.take_from_current_tick(now)
                }
            };
            steps = steps.saturating_sub(1);
            if let Some(entry) = expired {
                guarded.dismiss(entry, Left { why: RemovalReason::Expired, now }, &mut room, removals);
                count += 1;
            }
        }
        give_way(guarded);
        drop(room);
        removals.settle();
        count
    }
}
