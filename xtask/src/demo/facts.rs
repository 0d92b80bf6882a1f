//! The facts the demo loads: cities and countries of GeoNames, from `tests/data` (CC BY 4.0, see the README there).

use serde::{Deserialize, de::DeserializeOwned};

use super::error::Error;
use crate::workspace;

/// A city, as `cities.csv` has it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct City {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) country: String,
    pub(crate) latitude: f64,
    pub(crate) longitude: f64,
    pub(crate) population: i64,
    pub(crate) timezone: String,
}

/// A country, as `countries.csv` has it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Country {
    pub(crate) code: String,
    pub(crate) name: String,
}

/// Everything there is.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) cities: Vec<City>,
    pub(crate) countries: Vec<Country>,
}

impl Facts {
    /// Reads both files.
    pub(crate) fn read() -> Result<Self, Error> {
        Ok(Self { cities: rows("tests/data/cities.csv")?, countries: rows("tests/data/countries.csv")? })
    }
}

fn rows<Row: DeserializeOwned>(path: &str) -> Result<Vec<Row>, Error> {
    let path = workspace::root().join(path);
    let read = || -> csv::Result<Vec<Row>> { csv::Reader::from_path(&path)?.deserialize().collect() };
    read().map_err(|source| Error::Facts { path: path.clone(), source })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_files_hold_what_their_readme_says() {
        let facts = Facts::read().unwrap();
        assert_eq!((facts.cities.len(), facts.countries.len()), (34_006, 252));
        assert!(facts.cities.is_sorted_by(|a, b| a.id < b.id));
        assert!(facts.countries.is_sorted_by(|a, b| a.code < b.code));
        let codes: HashSet<_> = facts.countries.iter().map(|country| &country.code).collect();
        assert!(facts.cities.iter().all(|city| codes.contains(&city.country)));
        assert_eq!(facts.cities.iter().filter(|city| city.population < 15_000).count(), 45);
    }
}
