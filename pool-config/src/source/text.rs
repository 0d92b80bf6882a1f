//! Text in one of the formats, with the name it has in origins and errors.
//!
//! Owns what TOML and JSON have in common: size limit, tables of databases, origins; it must not know files.
//! Invariant: no more than [`LIMIT`] bytes are ever parsed.

use std::path::Path;
use std::sync::Arc;

use figment::value::Value as Raw;

use super::lines::Lines;
use super::{json, toml};
use crate::error::Problem;
use crate::layer::Reading;
use crate::origin::Origin;

/// More bytes than this are no configuration.
pub(crate) const LIMIT: u64 = 1 << 20;

/// The table that holds one table a database.
pub(crate) const DATABASES: &str = "databases";

/// How settings are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Toml,
    Json,
}

impl Format {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Format::Toml => "TOML",
            Format::Json => "JSON",
        }
    }

    /// Tells the format from the end of a file name.
    pub(crate) fn of(path: &Path) -> Option<Format> {
        let extension = path.extension()?;
        [(Format::Toml, "toml"), (Format::Json, "json")]
            .into_iter()
            .find(|(_, name)| extension.eq_ignore_ascii_case(name))
            .map(|(format, _)| format)
    }
}

/// What the text is a part of.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    File(Arc<Path>),
    Named(Arc<str>),
}

impl Place {
    pub(crate) fn name(&self) -> String {
        match self {
            Place::File(path) => path.to_string_lossy().into_owned(),
            Place::Named(name) => name.to_string(),
        }
    }

    fn origin(&self, line: usize, key: &str) -> Origin {
        let (line, key) = (Some(line), key.into());
        match self {
            Place::File(path) => Origin::File { path: path.clone(), line, key },
            Place::Named(name) => Origin::Text { name: name.clone(), line, key },
        }
    }
}

/// Text with its format and name.
#[derive(Debug, Clone)]
pub(crate) struct Text {
    pub(crate) place: Place,
    pub(crate) format: Format,
    pub(crate) text: Arc<str>,
}

impl Text {
    pub(crate) fn toml(name: &str, text: String) -> Text {
        Text { place: Place::Named(name.into()), format: Format::Toml, text: text.into() }
    }

    pub(crate) fn json(name: &str, text: String) -> Text {
        Text { place: Place::Named(name.into()), format: Format::Json, text: text.into() }
    }

    /// Parses the text and takes in what it says.
    pub(crate) fn read(&self, reading: &mut Reading) {
        if self.text.len() as u64 > LIMIT {
            reading.problems.push(Problem::TooLarge { name: self.place.name(), limit: LIMIT });
            return;
        }
        // Editors on Windows put a byte order mark in front; neither format knows it.
        let text = self.text.strip_prefix('\u{feff}').unwrap_or(&self.text);
        let lines = Lines::of(text);
        let parsed = match self.format {
            Format::Toml => toml::parse(text),
            Format::Json => json::parse(text),
        };
        match parsed {
            Ok(table) => self.take_table(&lines, table, reading),
            Err(Unparsed { at, reason }) => reading.problems.push(Problem::Syntax {
                name: self.place.name(),
                line: lines.line(at),
                column: lines.column(at),
                format: self.format.name(),
                reason,
            }),
        }
    }

    fn take_table(&self, lines: &Lines<'_>, table: Vec<Written>, reading: &mut Reading) {
        for Written { key, at, said } in table {
            let origin = self.place.origin(lines.line(at), &key);
            match said {
                Said::Table(databases) if key == DATABASES => self.take_databases(lines, databases, reading),
                said if key == DATABASES => {
                    reading.problems.push(not_a_table(&key, &said, origin, "one table for each database"));
                }
                said => reading.take(None, &key, said.raw(), origin),
            }
        }
    }

    fn take_databases(&self, lines: &Lines<'_>, databases: Vec<Written>, reading: &mut Reading) {
        for Written { key: database, at, said } in databases {
            let place = format!("{DATABASES}.{database}");
            match said {
                Said::Table(table) => {
                    for Written { key, at, said } in table {
                        let origin = self.place.origin(lines.line(at), &format!("{place}.{key}"));
                        reading.take(Some(&database), &key, said.raw(), origin);
                    }
                }
                said => {
                    let origin = self.place.origin(lines.line(at), &place);
                    reading.problems.push(not_a_table(&place, &said, origin, "a table of settings"));
                }
            }
        }
    }
}

fn not_a_table(place: &str, said: &Said, origin: Origin, allowed: &'static str) -> Problem {
    let found = match said {
        Said::Table(_) => "a table",
        Said::Plain(raw) => crate::kind::type_of(raw),
    };
    Problem::NotATable { place: place.to_owned(), found, origin, allowed }
}

/// One entry of a table as it was written.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) key: String,
    /// The byte that the entry stands at.
    pub(crate) at: usize,
    pub(crate) said: Said,
}

/// What an entry says. Tables are kept apart from plain values because some of them have a meaning.
#[derive(Debug)]
pub(crate) enum Said {
    Plain(Raw),
    Table(Vec<Written>),
}

impl Said {
    fn raw(self) -> Raw {
        match self {
            Said::Plain(raw) => raw,
            // No key takes a table, so what it holds does not matter.
            Said::Table(_) => Raw::from(figment::value::Dict::new()),
        }
    }
}

/// Why and where text broke the rules of its format.
#[derive(Debug)]
pub(crate) struct Unparsed {
    pub(crate) at: usize,
    pub(crate) reason: String,
}

/// Reads an integer of any length; one that no type holds becomes the nearest fraction, too large for any key.
pub(crate) fn number(digits: &str, radix: u32) -> Raw {
    let whole = i128::from_str_radix(digits, radix).map(Raw::from);
    let whole = whole.or_else(|_| u128::from_str_radix(digits, radix).map(Raw::from));
    whole.unwrap_or_else(|_| Raw::from(digits.parse::<f64>().unwrap_or(f64::INFINITY)))
}
