//! Text in one of the formats, with the name it has in origins and errors.
//!
//! Owns what the formats have in common: size limit, tables of databases, origins; it must not know files.
//! Invariant: no more than [`LIMIT`] bytes are ever parsed.

use std::path::Path;
use std::sync::Arc;

use figment::value::Value as Raw;

use super::lines::Lines;
use crate::error::Problem;
use crate::layer::Reading;
use crate::origin::Origin;

/// More bytes than this are no configuration.
pub(crate) const LIMIT: u64 = 1 << 20;

/// The table that holds one table a database.
pub(crate) const DATABASES: &str = "databases";

/// How deep tables mean something: the document, `databases`, one database.
#[cfg(any(feature = "json", feature = "yaml"))]
pub(crate) const LEVELS: usize = 3;

/// The key with which editors are told where the schema of a file is; it sets nothing.
const SCHEMA: &str = "$schema";

/// How settings are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Toml,
    #[cfg(feature = "json")]
    Json,
    #[cfg(feature = "yaml")]
    Yaml,
}

impl Format {
    /// The ends of file names, each with its format.
    const ENDINGS: &[(&str, Format)] = &[
        ("toml", Format::Toml),
        #[cfg(feature = "json")]
        ("json", Format::Json),
        #[cfg(feature = "yaml")]
        ("yaml", Format::Yaml),
        #[cfg(feature = "yaml")]
        ("yml", Format::Yaml),
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Format::Toml => "TOML",
            #[cfg(feature = "json")]
            Format::Json => "JSON",
            #[cfg(feature = "yaml")]
            Format::Yaml => "YAML",
        }
    }

    /// Tells the format from the end of a file name.
    pub(crate) fn of(path: &Path) -> Option<Format> {
        let extension = path.extension()?;
        Self::ENDINGS.iter().find(|(ending, _)| extension.eq_ignore_ascii_case(ending)).map(|(_, format)| *format)
    }

    /// Lists the ends of file names, as `.toml or .json`.
    pub(crate) fn endings() -> String {
        let endings: Vec<String> = Self::ENDINGS.iter().map(|(ending, _)| format!(".{ending}")).collect();
        match endings.as_slice() {
            [only] => only.clone(),
            [rest @ .., last] => format!("{} or {last}", rest.join(", ")),
            [] => String::new(),
        }
    }

    fn parse(self, text: &str) -> Result<Vec<Written>, Unparsed> {
        match self {
            Format::Toml => super::toml::parse(text),
            #[cfg(feature = "json")]
            Format::Json => super::json::parse(text),
            #[cfg(feature = "yaml")]
            Format::Yaml => super::yaml::parse(text),
        }
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
    pub(crate) fn named(name: &str, format: Format, text: String) -> Text {
        Text { place: Place::Named(name.into()), format, text: text.into() }
    }

    /// Parses the text and takes in what it says.
    pub(crate) fn read(&self, reading: &mut Reading) {
        if self.text.len() as u64 > LIMIT {
            reading.problems.push(Problem::TooLarge { name: self.place.name(), limit: LIMIT });
            return;
        }
        // Editors on Windows put a byte order mark in front, which says nothing.
        let text = self.text.strip_prefix('\u{feff}').unwrap_or(&self.text);
        let lines = Lines::of(text);
        match self.format.parse(text) {
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
                Said::Plain(Raw::String(..)) if key == SCHEMA => {}
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
