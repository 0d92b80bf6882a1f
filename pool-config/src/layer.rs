//! A layer is what one source says, the merge is how layers become one configuration.
//!
//! Owns collecting entries with their problems, and precedence; it must not know formats or files.
//! Invariant: the merge alone decides precedence: the later layer wins, key by key.

use std::collections::BTreeMap;

use figment::value::{Dict, Map, Value as Raw};
use figment::{Figment, Metadata, Profile, Provider};

use crate::error::{ConfigError, Problem};
use crate::key::Key;
use crate::nearest::nearest;
use crate::origin::Origin;
use crate::value::Value;

/// What one source says about one key.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    raw: Raw,
    origin: Origin,
}

/// What one source says, by key; every value is one that its key takes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layer {
    entries: BTreeMap<Key, Entry>,
}

impl Layer {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// figment carries the layers: a layer is a provider whose profile is the default one, and known by its position.
struct Positioned<'a, F> {
    layer: &'a Layer,
    position: usize,
    wanted: &'a F,
}

impl<F: Fn(Key) -> bool> Provider for Positioned<'_, F> {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.position.to_string())
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        let entries = self.layer.entries.iter().filter(|(key, _)| (self.wanted)(**key));
        let dict = entries.map(|(key, entry)| (key.name().to_owned(), entry.raw.clone())).collect();
        Ok(Profile::Default.collect(dict))
    }
}

/// What a source says: shared settings, settings of single databases, and what was wrong with it.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    pub(crate) shared: Layer,
    pub(crate) databases: BTreeMap<String, Layer>,
    pub(crate) problems: Vec<Problem>,
    /// What was met and is in no layer, because its key does not take it, by database.
    bad: BTreeMap<(Option<String>, Key), (Raw, Origin)>,
}

impl Reading {
    /// Takes in one entry as it was written, or the problem with it.
    ///
    /// `database` names the table it stands in; `None` is the shared part.
    pub(crate) fn take(&mut self, database: Option<&str>, written: &str, raw: Raw, origin: Origin) {
        match Key::find(written) {
            Some(key) => self.take_known(database, key, raw, origin),
            None => self.reject(written, |name| nearest(name).map(str::to_owned), &raw, origin),
        }
    }

    /// Notes a key that does not exist; `suggest` looks for the one that was meant.
    pub(crate) fn reject(
        &mut self,
        written: &str,
        suggest: impl FnOnce(&str) -> Option<String>,
        raw: &Raw,
        origin: Origin,
    ) {
        // Nobody will see the suggestions beyond those of the problems that are told, and they are the costly part.
        let told = self.problems.len() < ConfigError::MOST;
        let nearest = told.then(|| suggest(written)).flatten();
        let value = nearest.is_some().then(|| shown(raw));
        self.problems.push(Problem::UnknownKey { key: written.to_owned(), value, origin, nearest });
    }

    /// Takes in one entry whose key is known, or the problem with it.
    pub(crate) fn take_known(&mut self, database: Option<&str>, key: Key, raw: Raw, origin: Origin) {
        let database = database.map(database_name);
        if let Some((first, first_origin)) = self.met(database.as_ref(), key) {
            let (first_value, first) = (shown(first), first_origin.clone());
            let (second_value, second) = (shown(&raw), origin);
            self.problems.push(Problem::GivenTwice { key, first_value, first, second_value, second });
            return;
        }
        if let Err(fault) = key.kind().read(&raw) {
            self.problems.push(Problem::InvalidSetting { key, value: shown(&raw), origin: origin.clone(), fault });
            self.bad.insert((database, key), (raw, origin));
            return;
        }
        let layer = match database {
            None => &mut self.shared,
            Some(name) => self.databases.entry(name).or_default(),
        };
        layer.entries.insert(key, Entry { raw, origin });
    }

    /// What was said of a key before, good value or bad.
    fn met(&self, database: Option<&String>, key: Key) -> Option<(&Raw, &Origin)> {
        let layer = database.map_or(Some(&self.shared), |name| self.databases.get(name));
        if let Some(Entry { raw, origin }) = layer.and_then(|layer| layer.entries.get(&key)) {
            return Some((raw, origin));
        }
        if self.bad.is_empty() {
            return None;
        }
        self.bad.get(&(database.cloned(), key)).map(|(raw, origin)| (raw, origin))
    }
}

/// Names of databases are compared without regard to case: environment variables are upper case by custom.
pub(crate) fn database_name(name: &str) -> String {
    name.to_lowercase()
}

/// A value as error texts repeat it.
pub(crate) fn shown(raw: &Raw) -> String {
    match raw {
        Raw::String(_, text) => format!("{text:?}"),
        Raw::Char(_, c) => format!("{:?}", c.to_string()),
        Raw::Bool(_, flag) => flag.to_string(),
        Raw::Num(..) => match (raw.to_u128(), raw.to_i128(), raw.to_f64()) {
            (Some(number), ..) => number.to_string(),
            (_, Some(number), _) => number.to_string(),
            (.., Some(number)) => number.to_string(),
            _ => "a number".to_owned(),
        },
        Raw::Empty(..) => "null".to_owned(),
        Raw::Dict(..) => "{...}".to_owned(),
        Raw::Array(..) => "[...]".to_owned(),
    }
}

/// A value together with where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setting {
    /// The value.
    pub value: Value,
    /// Where the value came from.
    pub origin: Origin,
}

impl Setting {
    /// Joins a value and where it came from.
    #[must_use]
    pub fn new(value: Value, origin: Origin) -> Setting {
        Setting { value, origin }
    }
}

/// The outcome of a merge for one key: the setting that holds, and those behind it.
#[derive(Debug, Clone)]
pub(crate) struct Settled {
    pub(crate) holds: Setting,
    /// What earlier layers said, latest first; the default comes last unless it holds.
    pub(crate) overridden: Vec<Setting>,
}

/// Merges layers, first to last; later wins, key by key. One outcome per key, in the order of [`Key::ALL`]; keys that are not `wanted` are
/// taken for unset.
pub(crate) fn merge(layers: &[&Layer], wanted: impl Fn(Key) -> bool) -> Vec<Settled> {
    let positioned = layers.iter().enumerate().map(|(position, layer)| Positioned { layer, position, wanted: &wanted });
    let figment = positioned.fold(Figment::new(), Figment::merge);
    let mut profiles = figment.data().expect("BUG: a layer failed to say what it holds");
    let merged = profiles.remove(&Profile::Default).unwrap_or_default();
    let settle = |key: &Key| {
        let default = Setting { value: key.default_value(), origin: Origin::Default };
        let Some(raw) = merged.get(key.name()) else {
            return Settled { holds: default, overridden: Vec::new() };
        };
        // figment tags what a provider brought.
        let brought_by = figment.get_metadata(raw.tag()).and_then(|layer| layer.name.parse::<usize>().ok());
        let winner = brought_by.expect("BUG: a merged value has the tag of no layer");
        let said = |layer: &&Layer| layer.entries.get(key).map(|entry| setting(*key, &entry.raw, entry));
        let holds = setting(*key, raw, &layers[winner].entries[key]);
        let overridden = layers[..winner].iter().rev().filter_map(said).chain([default]).collect();
        Settled { holds, overridden }
    };
    Key::ALL.iter().map(settle).collect()
}

fn setting(key: Key, raw: &Raw, entry: &Entry) -> Setting {
    let value = key.kind().read(raw).expect("BUG: a layer holds a value that its key does not take");
    Setting { value, origin: entry.origin.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions_are_looked_for_only_while_problems_are_told() {
        let (mut reading, mut looked) = (Reading::default(), 0);
        for _ in 0..3 * ConfigError::MOST {
            let suggest = |_: &str| {
                looked += 1;
                None
            };
            reading.reject("colour", suggest, &Raw::from(1), Origin::Default);
        }
        assert_eq!((looked, reading.problems.len()), (ConfigError::MOST, 3 * ConfigError::MOST));
    }
}
