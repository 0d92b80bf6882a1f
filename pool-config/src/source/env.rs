//! Reading environment variables.
//!
//! Owns how names of variables map to keys and how their text maps to raw values; it must not know where the variables
//! come from.
//! Invariant: variables without the prefix are neither looked at nor named in an error.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use figment::value::Value as Raw;

use super::discover;
use super::text::{DATABASES, number};
use crate::error::Problem;
use crate::key::{Key, VARIABLE_PREFIX};
use crate::kind::Kind;
use crate::layer::Reading;
use crate::nearest::nearest;
use crate::origin::Origin;

/// Takes in every variable that begins with the prefix, in the order of their names.
pub(crate) fn read(variables: impl IntoIterator<Item = (OsString, OsString)>, reading: &mut Reading) {
    let ours = |name: &OsStr| name.as_encoded_bytes().starts_with(VARIABLE_PREFIX.as_bytes());
    let mut variables: Vec<_> = variables.into_iter().filter(|(name, _)| ours(name)).collect();
    // The order of an environment is an accident; that of errors should not be.
    variables.sort();
    for (name, value) in variables {
        let shown = name.to_string_lossy().into_owned();
        if shown == discover::VARIABLE {
            continue;
        }
        match (name.to_str(), value.to_str()) {
            (Some(name), Some(value)) => take(name, value, reading),
            (name, _) => {
                let place = if name.is_none() { "its name" } else { "its value" }.to_owned();
                reading.problems.push(Problem::NotText { name: format!("environment variable {shown}"), place });
            }
        }
    }
}

fn take(variable: &str, value: &str, reading: &mut Reading) {
    let origin = Origin::Environment { variable: Arc::from(variable) };
    let rest = &variable[VARIABLE_PREFIX.len()..];
    let (database, written) = match split_database(rest) {
        Some((database, written)) => (Some(database), written),
        None => (None, rest),
    };
    let snake = written.to_ascii_lowercase();
    let key = Key::find(written).or_else(|| Key::find(&snake));
    match key {
        Some(key) => reading.take_known(database, key, raw(key, value), origin),
        None => {
            let table = &variable[..variable.len() - written.len()];
            let meant = |_: &str| nearest(&snake).map(|name| format!("{table}{}", name.to_ascii_uppercase()));
            reading.reject(variable, meant, &Raw::from(value), origin);
        }
    }
}

/// Splits `DATABASES__NAME__KEY` into name and key. The name may hold `__` itself, no key does.
fn split_database(rest: &str) -> Option<(&str, &str)> {
    let (table, rest) = rest.split_once("__")?;
    let (database, key) = rest.rsplit_once("__")?;
    (table.eq_ignore_ascii_case(DATABASES) && !database.is_empty()).then_some((database, key))
}

/// Turns text into the raw value that the key would have in a file; text that does not fit stays text.
fn raw(key: Key, value: &str) -> Raw {
    let text = value.trim();
    let on = ["true", "1", "on", "yes"];
    let off = ["false", "0", "off", "no"];
    let is = |words: [&str; 4]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    let digits = text.strip_prefix('-').unwrap_or(text);
    match key.kind() {
        Kind::Flag if is(on) => Raw::from(true),
        Kind::Flag if is(off) => Raw::from(false),
        Kind::Share => text.parse::<f64>().map_or_else(|_| Raw::from(value), Raw::from),
        Kind::Count { .. } | Kind::Size { .. } | Kind::PowerOfTwo { .. } | Kind::Time { .. }
            if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            number(text, 10)
        }
        _ => Raw::from(value),
    }
}
