//! A short memory of keys that were evicted, as hashes.
//!
//! Owns the fingerprints of the last evictions from one queue; must not know keys, values or queues. A key that comes back
//! soon after its eviction would have stayed, had its queue been a little longer: that is how a shard learns how long each
//! of its queues should be (the idea of ARC, Megiddo and Modha, FAST 2003). Invariant: eight bytes a place, one place a key;
//! one that more than the asked number of others have followed is never found, a younger one may be lost.

/// Places for each eviction that is to be remembered: a key has one place, which it may lose to another.
const PLACES: usize = 4;

#[derive(Debug, Default)]
pub(crate) struct Ghosts {
    /// The fingerprint in the upper half, the number of the eviction in the lower. Zero is free.
    places: Vec<u64>,
    evictions: u32,
}

fn fingerprint(hash: u64) -> u64 {
    // The lowest bit is set so that no fingerprint looks like a free place.
    (hash | 1 << 32) & !u64::from(u32::MAX)
}

impl Ghosts {
    /// Notes an eviction; most of the last `memory` of them are to be remembered.
    #[inline]
    pub(crate) fn add(&mut self, hash: u64, memory: usize) {
        if self.places.len() < memory * PLACES {
            // Starting over loses what little was remembered while the shard was smaller.
            self.places = vec![0; (memory * PLACES).next_power_of_two()];
        }
        self.evictions = self.evictions.wrapping_add(1);
        let place = hash as usize & (self.places.len() - 1);
        self.places[place] = fingerprint(hash) | u64::from(self.evictions);
    }

    /// Whether the key was evicted within the last `memory` evictions; forgets it.
    #[inline]
    pub(crate) fn take(&mut self, hash: u64, memory: usize) -> bool {
        let last = self.places.len().wrapping_sub(1);
        let Some(place) = self.places.get_mut(hash as usize & last) else { return false };
        if *place & !u64::from(u32::MAX) != fingerprint(hash) {
            return false;
        }
        let age = self.evictions.wrapping_sub(*place as u32) as usize;
        *place = 0;
        age < memory
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
            ghosts.add(hash(i), 50);
        }
        assert_eq!((0..950).filter(|&i| ghosts.take(hash(i), 50)).count(), 0);
        let found = (950..1000).filter(|&i| ghosts.take(hash(i), 50)).count();
        assert!(found >= 35, "{found}");
        assert_eq!((950..1000).filter(|&i| ghosts.take(hash(i), 50)).count(), 0, "taken once");
    }

    #[test]
    fn empty_memory_knows_nothing() {
        assert!(!Ghosts::default().take(7, 10));
    }
}
