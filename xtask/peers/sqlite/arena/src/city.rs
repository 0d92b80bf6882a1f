//! The rows everybody reads, made from their keys, and what they must add up to.
//!
//! Must not know SQL. Invariant: a digest depends on every column that was read, so that wrong rows cannot pass.

use crate::random::mixed;

/// Cities in the table: as many as the demo loads.
pub const ROWS: i64 = 34_006;

/// Rows of a range read.
pub const RANGE: i64 = 1_000;

/// Countries there are.
pub(crate) const COUNTRIES: i64 = 240;

/// One row.
#[derive(Clone, Debug)]
pub struct City {
    pub id: i64,
    pub name: String,
    pub country: i64,
    pub population: i64,
}

impl City {
    /// The row of this key.
    #[must_use]
    pub fn of(id: i64) -> Self {
        let random = mixed(id as u64);
        let share = (random >> 11) as f64 / (1_u64 << 53) as f64;
        // A few countries have most of the cities.
        let country = ((COUNTRIES as f64 * share.powi(3)) as i64).min(COUNTRIES - 1) + 1;
        let population = (mixed(random) % 5_000_000) as i64;
        Self { id, name: format!("Saint-{random:x}-on-{:x}", random % 4096), country, population }
    }
}

/// What a row of name and population counts for; rows add up, wrapping.
#[must_use]
pub fn digest(name: &str, population: i64) -> u64 {
    let bytes = name.as_bytes();
    let word = |from: usize| {
        let mut word = [0; 8];
        let part = &bytes[from..bytes.len().min(from + 8)];
        word[..part.len()].copy_from_slice(part);
        u64::from_le_bytes(word)
    };
    let ends = word(0) ^ word(bytes.len().saturating_sub(8)).rotate_left(23);
    (ends ^ population as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(bytes.len() as u64)
}

/// What every question about cities must be answered with.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    /// Of each city, by key less one.
    digests: Vec<u64>,
    /// Of all cities before, by key less one.
    before: Vec<u64>,
    /// Cities and people of each country, by key less one.
    countries: Vec<(i64, i64)>,
}

impl Expected {
    pub(crate) fn new() -> Self {
        let mut expected = Self { digests: Vec::new(), before: vec![0], countries: vec![(0, 0); COUNTRIES as usize] };
        let mut sum = 0_u64;
        for city in (1..=ROWS).map(City::of) {
            let digest = digest(&city.name, city.population);
            sum = sum.wrapping_add(digest);
            expected.digests.push(digest);
            expected.before.push(sum);
            let (cities, people) = &mut expected.countries[city.country as usize - 1];
            *cities += 1;
            *people += city.population;
        }
        expected
    }

    pub(crate) fn point(&self, id: i64) -> u64 {
        self.digests[id as usize - 1]
    }

    pub(crate) fn range(&self, first: i64) -> u64 {
        self.before[(first - 1 + RANGE) as usize].wrapping_sub(self.before[first as usize - 1])
    }

    pub(crate) fn country(&self, country: i64) -> (i64, i64) {
        self.countries[country as usize - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_adds_up_to_its_points_and_a_changed_column_is_seen() {
        let expected = Expected::new();
        let sum = (500..500 + RANGE).fold(0_u64, |sum, id| sum.wrapping_add(expected.point(id)));
        assert_eq!(expected.range(500), sum);
        let city = City::of(7);
        assert_eq!(digest(&city.name, city.population), expected.point(7));
        assert_ne!(digest(&city.name, city.population + 1), expected.point(7));
        assert_ne!(digest(&city.name[1..], city.population), expected.point(7));
    }

    #[test]
    fn every_country_has_cities_for_its_aggregate() {
        let expected = Expected::new();
        assert!((1..=COUNTRIES).all(|country| expected.country(country).0 > 0));
    }
}
