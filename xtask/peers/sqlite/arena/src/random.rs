//! Numbers that look random and are the same in every run.

/// Mixes a number's bits; the constants are those of splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators",
/// OOPSLA 2014).
pub(crate) fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// A sequence of numbers.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(mixed(seed.wrapping_add(1)))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }

    /// A number from 1 to `most`, all equally often.
    pub(crate) fn up_to(&mut self, most: i64) -> i64 {
        ((u128::from(self.next()) * most as u128) >> 64) as i64 + 1
    }

    /// A number from 1 to `most`, k about 1/k times as often as 1: Zipf's law with exponent 1.
    pub(crate) fn zipf(&mut self, most: i64) -> i64 {
        let share = self.next() as f64 / u64::MAX as f64;
        (((most + 1) as f64).powf(share) as i64).clamp(1, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_in_their_range_and_low_ones_are_the_popular_ones() {
        let mut random = Random::new(1);
        let mut first = 0;
        for _ in 0..10_000 {
            assert!((1..=7).contains(&random.up_to(7)));
            let popular = random.zipf(1_000);
            assert!((1..=1_000).contains(&popular));
            first += u32::from(popular == 1);
        }
        assert!((800..1_200).contains(&first), "{first}");
    }
}
