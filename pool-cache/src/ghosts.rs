//! A short memory of keys that were evicted, as hashes.
//!
//! Owns the fingerprints of the last evictions of one shard; must not know keys, values or lists. A key that comes
//! back soon after its eviction was evicted too early, and enters among the proven ones (the idea of CLOCK-Pro,
//! Jiang, Chen and Zhang, 2005, and of S3-FIFO, Yang and others, 2023). Invariant: eight bytes a place, one cache line a
//! question; one that more than the asked number of others have followed (those not counted that came back) is never found,
//! a younger one may be lost.

/// Places that share one line: a fingerprint goes to any of them.
const WAYS: usize = 4;

#[derive(Debug, Default)]
pub(crate) struct Ghosts {
    /// `WAYS` places a set: fingerprint in the upper half, the clock at its eviction in the lower. Zero is free.
    places: Vec<u64>,
    /// Keys evicted less keys that came back: what returns makes room for what is remembered.
    clock: u32,
}

fn fingerprint(hash: u64) -> u64 {
    // The lowest bit is set so that no fingerprint looks like a free place.
    (hash | 1 << 32) & !u64::from(u32::MAX)
}

/// How many evictions ago a place was filled. The clock can have gone back since: then it is as good as new.
fn age(now: u32, place: u64) -> u32 {
    u32::try_from(now.wrapping_sub(place as u32) as i32).unwrap_or(0)
}

impl Ghosts {
    fn set_of(&self, hash: u64) -> usize {
        (hash as usize & (self.places.len() / WAYS - 1)) * WAYS
    }

    /// Remembers an evicted key of a shard that holds `entries` entries.
    pub(crate) fn add(&mut self, hash: u64, entries: usize) {
        if self.places.len() < entries {
            // Starting over loses what little was remembered while the shard was smaller.
            self.places = vec![0; entries.next_power_of_two().max(4 * WAYS)];
        } else if self.places.is_empty() {
            self.places = vec![0; 4 * WAYS];
        }
        self.clock = self.clock.wrapping_add(1);
        let (start, now) = (self.set_of(hash), self.clock);
        let set = &mut self.places[start..start + WAYS];
        let age = |place: u64| if place == 0 { u32::MAX } else { age(now, place) };
        if let Some(oldest) = set.iter_mut().max_by_key(|place| age(**place)) {
            *oldest = fingerprint(hash) | u64::from(now);
        }
    }

    /// Whether the key was evicted within the last `memory` evictions; forgets it.
    pub(crate) fn take(&mut self, hash: u64, memory: usize) -> bool {
        if self.places.is_empty() {
            return false;
        }
        let (start, now) = (self.set_of(hash), self.clock);
        for place in &mut self.places[start..start + WAYS] {
            if *place & !u64::from(u32::MAX) == fingerprint(hash) && *place != 0 {
                let age = age(now, *place) as usize;
                *place = 0;
                self.clock = self.clock.wrapping_sub(u32::from(age < memory));
                return age < memory;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(i: u64) -> u64 {
        i.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ i.rotate_left(40)
    }

    #[test]
    fn recent_evictions_are_known_and_old_ones_are_not() {
        let mut ghosts = Ghosts::default();
        for i in 0..1000 {
            ghosts.add(hash(i), 100);
        }
        assert_eq!((0..950).filter(|&i| ghosts.take(hash(i), 50)).count(), 0);
        let found = (950..1000).filter(|&i| ghosts.take(hash(i), 50)).count();
        assert!(found >= 45, "{found}");
        assert_eq!((950..1000).filter(|&i| ghosts.take(hash(i), 50)).count(), 0, "taken once");
    }

    #[test]
    fn what_came_back_does_not_push_out_what_is_remembered() {
        let mut ghosts = Ghosts::default();
        ghosts.add(hash(0), 100);
        for i in 1..1000 {
            ghosts.add(hash(i), 100);
            assert!(ghosts.take(hash(i), 10));
        }
        assert!(ghosts.take(hash(0), 10));
    }

    #[test]
    fn empty_memory_knows_nothing() {
        assert!(!Ghosts::default().take(7, 10));
    }
}
