//! Reading YAML with the place of every entry.
//!
//! Owns the mapping from YAML to raw values; it must not know which keys exist.
//! Invariant: nothing is ever repeated or expanded: aliases, tags and further documents are refused, and what is nested
//! deeper than tables mean something is skipped without recursion.

use figment::value::{Empty, Tag, Value as Raw};
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};

use super::text::{LEVELS, Said, Unparsed, Written, number};

/// Parses a document into its entries, in the order they are written.
pub(crate) fn parse(text: &str) -> Result<Vec<Written>, Unparsed> {
    let mut events = Events { parser: Parser::new_from_str(text), places: Places::of(text) };
    let mut table = None;
    loop {
        let (event, at) = events.next()?;
        match event {
            Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd => {}
            Event::StreamEnd => return Ok(table.unwrap_or_default()),
            // A document that says nothing, such as one of comments alone, is one empty scalar or none.
            Event::Scalar(text, ScalarStyle::Plain, 0, None) if text.is_empty() && table.is_none() => {
                table = Some(Vec::new());
            }
            _ if table.is_some() => return Err(refused(at, "expected one document")),
            Event::MappingStart(0, None) => table = Some(events.table(LEVELS)?),
            _ => return Err(refused(at, "expected a mapping of settings")),
        }
    }
}

fn refused(at: usize, reason: &str) -> Unparsed {
    Unparsed { at, reason: reason.to_owned() }
}

/// What the parser reports, with the byte each event stands at.
struct Events<'a> {
    parser: Parser<'a, StrInput<'a>>,
    places: Places,
}

impl<'a> Events<'a> {
    fn next(&mut self) -> Result<(Event<'a>, usize), Unparsed> {
        let next: Option<Result<(Event<'a>, Span), ScanError>> = self.parser.next_event();
        match next {
            Some(Ok((event, span))) => Ok((event, self.places.byte(span.start.index()))),
            Some(Err(error)) => Err(refused(self.places.byte(error.marker().index()), error.info())),
            None => Err(refused(self.places.length, "the document does not end")),
        }
    }

    /// Reads the entries of a mapping that has begun, up to its end.
    fn table(&mut self, levels: usize) -> Result<Vec<Written>, Unparsed> {
        let mut entries = Vec::new();
        loop {
            let (key, at) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(entries),
                (Event::Scalar(key, _, 0, None), at) => (key.into_owned(), at),
                (_, at) => return Err(refused(at, "expected a plain key")),
            };
            let said = self.said(levels - 1)?;
            entries.push(Written { key, at, said });
        }
    }

    fn said(&mut self, levels: usize) -> Result<Said, Unparsed> {
        Ok(Said::Plain(match self.next()? {
            (Event::MappingStart(0, None), _) if levels > 0 => return Ok(Said::Table(self.table(levels)?)),
            (Event::MappingStart(0, None), _) => {
                self.skip()?;
                Raw::from(figment::value::Dict::new())
            }
            (Event::SequenceStart(0, None), _) => {
                self.skip()?;
                Raw::from(Vec::<Raw>::new())
            }
            (Event::Scalar(text, ScalarStyle::Plain, 0, None), _) => plain(&text),
            (Event::Scalar(text, _, 0, None), _) => Raw::from(text.into_owned()),
            (_, at) => return Err(refused(at, "expected a value without anchor, alias or tag")),
        }))
    }

    /// Reads to the end of a mapping or sequence that has begun.
    fn skip(&mut self) -> Result<(), Unparsed> {
        let mut depth = 1usize;
        while depth > 0 {
            match self.next()?.0 {
                Event::MappingStart(..) | Event::SequenceStart(..) => depth += 1,
                Event::MappingEnd | Event::SequenceEnd => depth -= 1,
                _ => {}
            }
        }
        Ok(())
    }
}

/// Reads a scalar without quotes by the core schema: <https://yaml.org/spec/1.2.2/#103-core-schema>.
fn plain(text: &str) -> Raw {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Raw::Empty(Tag::Default, Empty::None),
        "true" | "True" | "TRUE" => return Raw::from(true),
        "false" | "False" | "FALSE" => return Raw::from(false),
        ".nan" | ".NaN" | ".NAN" => return Raw::from(f64::NAN),
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let all = |digits: &str, radix| !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Raw::from(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    if all(unsigned, 10) {
        return number(text, 10);
    }
    for (prefix, radix) in [("0o", 8), ("0x", 16)] {
        if let Some(digits) = text.strip_prefix(prefix).filter(|digits| all(digits, radix)) {
            return number(digits, radix);
        }
    }
    let numeric = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && unsigned.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'));
    match text.parse::<f64>() {
        Ok(fraction) if numeric => Raw::from(fraction),
        _ => Raw::from(text),
    }
}

/// Turns the parser's places, which are counted in characters, into bytes.
struct Places {
    /// The byte that every character begins at; `None` where both are the same.
    starts: Option<Vec<usize>>,
    length: usize,
}

impl Places {
    fn of(text: &str) -> Places {
        let starts = (!text.is_ascii()).then(|| text.char_indices().map(|(at, _)| at).collect());
        Places { starts, length: text.len() }
    }

    fn byte(&self, character: usize) -> usize {
        let byte = match &self.starts {
            None => character,
            Some(starts) => starts.get(character).copied().unwrap_or(self.length),
        };
        byte.min(self.length)
    }
}
