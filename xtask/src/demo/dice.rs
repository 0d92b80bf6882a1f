//! Random numbers for choosing rows and amounts: fast, repeatable, of no other use.

/// A sequence of random numbers (SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    /// The sequence that belongs to a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`; 0 where there is none.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        // The high half of a 128-bit product is as even as the numbers themselves.
        ((u128::from(self.roll()) * limit as u128) >> 64) as usize
    }

    /// A number from `first` to `last`, which is not below it.
    pub(crate) fn between(&mut self, first: i64, last: i64) -> i64 {
        // Up to 2^64 numbers lie between them.
        let span = (i128::from(last) - i128::from(first) + 1) as u128;
        first.wrapping_add(((u128::from(self.roll()) * span) >> 64) as i64)
    }

    /// One of these, or `None` when there is none.
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let index = self.below(from.len());
        from.get(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_face_comes_up() {
        let mut dice = Dice::new(7);
        let mut seen = [0; 6];
        (0..6_000).for_each(|_| seen[dice.below(6)] += 1);
        assert!(seen.iter().all(|count| (800..1_200).contains(count)), "{seen:?}");
        assert_eq!(dice.below(0), 0);
        assert_eq!(dice.between(-3, -3), -3);
        assert!((0..100).all(|_| (-2..=3).contains(&dice.between(-2, 3))));
        let far = |dice: &mut Dice| dice.between(i64::MIN, i64::MAX);
        assert!((0..100).any(|_| far(&mut dice) < 0) && (0..100).any(|_| far(&mut dice) > 0));
        assert_eq!(dice.pick::<u8>(&[]), None);
    }
}
