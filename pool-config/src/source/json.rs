//! Reading JSON with the place of every entry.
//!
//! Owns the mapping from JSON to raw values; it must not know which keys exist.
//! Invariant: a key that stands twice in an object is seen twice. Only the levels that mean something are parsed into
//! values, and the parser bounds the nesting of the rest.

use std::fmt;

use figment::value::{Empty, Tag, Value as Raw};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::text::{LEVELS, Said, Unparsed, Written, number};

/// Parses a document into its entries, in the order they are written.
pub(crate) fn parse(text: &str) -> Result<Vec<Written>, Unparsed> {
    let place = Place { text };
    let whole: &RawValue = serde_json::from_str(text).map_err(|error| place.unparsed(&error, text))?;
    if !whole.get().starts_with('{') {
        // The parser's own words would repeat the document, which may be a secret.
        return Err(Unparsed { at: place.at(whole.get()), reason: "expected an object of settings".to_owned() });
    }
    place.table(whole.get(), LEVELS)
}

/// The text that everything parsed is a part of.
#[derive(Clone, Copy)]
struct Place<'a> {
    text: &'a str,
}

impl<'a> Place<'a> {
    /// Returns where a part of the text begins. The parser lends parts of its input, so addresses tell.
    fn at(self, part: &'a str) -> usize {
        (part.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize)
    }

    fn unparsed(self, error: &serde_json::Error, part: &'a str) -> Unparsed {
        let text = error.to_string();
        let reason = text.split(" at line ").next().unwrap_or(&text).to_owned();
        let line_start: usize = part.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
        let at = self.at(part) + line_start + error.column().saturating_sub(1);
        Unparsed { at: at.min(self.text.len()), reason }
    }

    fn table(self, part: &'a str, levels: usize) -> Result<Vec<Written>, Unparsed> {
        let Entries(entries) = serde_json::from_str(part).map_err(|error| self.unparsed(&error, part))?;
        let entry = |(key, value): (String, &'a RawValue)| {
            let said = self.said(value.get(), levels - 1)?;
            Ok(Written { key, at: self.at(value.get()), said })
        };
        entries.into_iter().map(entry).collect()
    }

    fn said(self, part: &'a str, levels: usize) -> Result<Said, Unparsed> {
        Ok(Said::Plain(match part.as_bytes().first() {
            Some(b'{') if levels > 0 => return Ok(Said::Table(self.table(part, levels)?)),
            Some(b'{') => Raw::from(figment::value::Dict::new()),
            Some(b'[') => Raw::from(Vec::<Raw>::new()),
            Some(b'"') => {
                let text: String = serde_json::from_str(part).map_err(|error| self.unparsed(&error, part))?;
                Raw::from(text)
            }
            Some(b't') => Raw::from(true),
            Some(b'f') => Raw::from(false),
            Some(b'n') => Raw::Empty(Tag::Default, Empty::None),
            _ if part.contains(['.', 'e', 'E']) => Raw::from(part.parse::<f64>().unwrap_or(f64::NAN)),
            _ => number(part, 10),
        }))
    }
}

/// An object as its entries, doubled keys included.
struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Entries<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of settings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<'de>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}
