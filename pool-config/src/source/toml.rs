//! Reading TOML with the place of every entry.
//!
//! Owns the mapping from TOML to raw values; it must not know which keys exist.
//! Invariant: nesting is bounded by the parser's own limit, so hostile input cannot exhaust the stack.

use figment::value::Value as Raw;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::text::{Said, Unparsed, Written, number};

/// Parses a document into its entries, in the order of their places.
pub(crate) fn parse(text: &str) -> Result<Vec<Written>, Unparsed> {
    match DeTable::parse(text) {
        Ok(table) => Ok(written(table.into_inner())),
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            Err(Unparsed { at, reason: error.message().to_owned() })
        }
    }
}

fn written(table: DeTable<'_>) -> Vec<Written> {
    let entry = |(key, value): (Spanned<std::borrow::Cow<'_, str>>, Spanned<DeValue<'_>>)| Written {
        at: key.span().start,
        key: key.into_inner().into_owned(),
        said: said(value.into_inner()),
    };
    let mut entries: Vec<Written> = table.into_iter().map(entry).collect();
    entries.sort_by_key(|entry| entry.at);
    entries
}

fn said(value: DeValue<'_>) -> Said {
    Said::Plain(match value {
        DeValue::Table(table) => return Said::Table(written(table)),
        DeValue::String(text) => Raw::from(text.into_owned()),
        DeValue::Integer(integer) => number(integer.as_str(), integer.radix()),
        DeValue::Float(float) => Raw::from(float.as_str().replace('_', "").parse::<f64>().unwrap_or(f64::NAN)),
        DeValue::Boolean(flag) => Raw::from(flag),
        DeValue::Datetime(datetime) => Raw::from(datetime.to_string()),
        DeValue::Array(_) => Raw::from(Vec::<Raw>::new()),
    })
}
