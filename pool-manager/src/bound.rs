//! What was bound to the parameters of a statement when it ran: numbers and texts.
//!
//! SQLite tells what is bound in one way only: `sqlite3_expanded_sql` gives the text with each parameter replaced by its value
//! (<https://sqlite.org/c3ref/expanded_sql.html>), as it is at that moment. Owns comparing the two texts. It must not know what the
//! values mean. Invariant: a value is returned only if both texts are the same but for parameters, each of which has a value in its
//! place; of what is not recognised nothing is said.

/// What is bound to a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Integer(i64),
    /// A text as far as its first NUL: there SQLite ends it.
    Text(String),
    /// Something else, or nothing.
    Other,
}

/// The values bound, by the parameters' indexes, the first being at 0. `None` where the texts don't fit together.
pub(crate) fn values(text: &str, expanded: &str) -> Option<Vec<Value>> {
    let (mut text, mut expanded) = (text.as_bytes(), expanded.as_bytes());
    let mut found = Found::default();
    loop {
        let (kind, length) = token(text)?;
        let (token, rest) = text.split_at(length);
        text = rest;
        match kind {
            Kind::End => return expanded.is_empty().then_some(found.values),
            Kind::Other => expanded = expanded.strip_prefix(token)?,
            Kind::Parameter => {
                let (value, length) = value(expanded)?;
                expanded = &expanded[length..];
                found.enter(token, value)?;
            }
        }
    }
}

#[derive(Default)]
struct Found<'t> {
    values: Vec<Value>,
    /// Names, with their indexes.
    names: Vec<(&'t [u8], usize)>,
}

impl<'t> Found<'t> {
    /// Gives a parameter its index, by SQLite's rules: <https://sqlite.org/lang_expr.html#parameters>
    fn enter(&mut self, token: &'t [u8], value: Value) -> Option<()> {
        let index = match token {
            [b'?'] => self.values.len(),
            [b'?', number @ ..] => {
                let number: usize = std::str::from_utf8(number).ok()?.parse().ok()?;
                number.checked_sub(1).filter(|index| *index < 32_766)?
            }
            name => match self.names.iter().find(|(known, _)| *known == name) {
                Some((_, index)) => *index,
                None => {
                    self.names.push((name, self.values.len()));
                    self.values.len()
                }
            },
        };
        if self.values.len() <= index {
            self.values.resize(index + 1, Value::Other);
        }
        self.values[index] = value;
        Some(())
    }
}

enum Kind {
    Parameter,
    Other,
    End,
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

/// The kind and the length of what a text begins with: <https://sqlite.org/src/file/src/tokenize.c>
fn token(text: &[u8]) -> Option<(Kind, usize)> {
    let up_to = |is_in: fn(u8) -> bool, from: usize| {
        text[from..].iter().position(|byte| !is_in(*byte)).map_or(text.len(), |length| from + length)
    };
    Some(match text {
        [] => (Kind::End, 0),
        [b'?', ..] => (Kind::Parameter, up_to(|byte| byte.is_ascii_digit(), 1)),
        [b':' | b'@' | b'#' | b'$', ..] => {
            let end = up_to(|byte| byte.is_ascii_alphanumeric() || byte == b'_', 1);
            // Names of other kinds are for Tcl.
            let odd = end == 1 || text.get(end).is_some_and(|next| is_word(*next) || matches!(next, b':' | b'('));
            return (!odd).then_some((Kind::Parameter, end));
        }
        [quote @ (b'\'' | b'"' | b'`'), ..] => (Kind::Other, quoted(text, *quote)?),
        [b'[', ..] => (Kind::Other, text.iter().position(|byte| *byte == b']')? + 1),
        [b'-', b'-', ..] => (Kind::Other, up_to(|byte| byte != b'\n', 2)),
        [b'/', b'*', rest @ ..] => {
            (Kind::Other, rest.windows(2).position(|end| end == b"*/").map_or(text.len(), |length| length + 4))
        }
        [first, ..] if is_word(*first) => (Kind::Other, up_to(is_word, 1)),
        _ => (Kind::Other, 1),
    })
}

/// The length of what is quoted, in which the quote itself is doubled.
fn quoted(text: &[u8], quote: u8) -> Option<usize> {
    let mut at = 1;
    loop {
        at += text.get(at..)?.iter().position(|byte| *byte == quote)? + 1;
        if text.get(at) != Some(&quote) {
            return Some(at);
        }
        at += 1;
    }
}

/// The value that a text begins with, and its length.
fn value(text: &[u8]) -> Option<(Value, usize)> {
    match text {
        [b'\'', ..] => {
            let length = quoted(text, b'\'')?;
            let value = std::str::from_utf8(&text[1..length - 1]).ok()?;
            Some((Value::Text(value.replace("''", "'")), length))
        }
        [b'x', b'\'', rest @ ..] => Some((Value::Other, rest.iter().position(|byte| *byte == b'\'')? + 3)),
        [b'N', b'U', b'L', b'L', ..] => Some((Value::Other, 4)),
        _ => {
            let digits = |from: usize| {
                let count = text.get(from..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
                (count > 0).then_some(from + count)
            };
            let end = digits(usize::from(text.first() == Some(&b'-')))?;
            if text.get(end) != Some(&b'.') {
                let number = std::str::from_utf8(&text[..end]).ok()?.parse().ok()?;
                return Some((Value::Integer(number), end));
            }
            let end = digits(end + 1)?;
            if !matches!(text.get(end), Some(b'e' | b'E')) {
                return Some((Value::Other, end));
            }
            Some((Value::Other, digits(end + 1 + usize::from(matches!(text.get(end + 1), Some(b'+' | b'-'))))?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Value as Bound;
    use rusqlite::types::Value;

    /// The numbers among the values.
    fn numbers(text: &str, expanded: &str) -> Option<Vec<Option<i64>>> {
        let number = |value| if let Bound::Integer(number) = value { Some(number) } else { None };
        Some(super::values(text, expanded)?.into_iter().map(number).collect())
    }

    /// The texts as SQLite makes them.
    fn found(sql: &str, values: &[Value]) -> Option<Vec<Option<i64>>> {
        let conn = rusqlite::Connection::open_in_memory().unwrap();
        let mut statement = conn.prepare(sql).unwrap();
        for (at, value) in values.iter().enumerate() {
            statement.raw_bind_parameter(at + 1, value).unwrap();
        }
        numbers(sql, &statement.expanded_sql().unwrap())
    }

    #[test]
    fn integers_are_found_where_they_are_bound() {
        let (one, text) = (Value::Integer(1), Value::Text("it's ?1 -- 7".into()));
        let low = Value::Integer(i64::MIN);
        for (sql, values, expected) in [
            ("SELECT ?", vec![one.clone()], vec![Some(1)]),
            ("SELECT ?1,?2", vec![one.clone(), low.clone()], vec![Some(1), Some(i64::MIN)]),
            ("SELECT ?2-?1", vec![one.clone(), low.clone()], vec![Some(1), Some(i64::MIN)]),
            ("SELECT ?2, ?", vec![one.clone(), low, Value::Integer(3)], vec![None, Some(i64::MIN), Some(3)]),
            ("SELECT :a, @b, $c, :a", vec![one.clone(), text.clone(), Value::Integer(9)], vec![Some(1), None, Some(9)]),
            ("SELECT ?1 AS a$b, '?', \"?\", [?], `?` /* ? */ -- ?", vec![one.clone()], vec![Some(1)]),
            ("SELECT 'it''s ?', ?1", vec![one.clone()], vec![Some(1)]),
            ("SELECT ?, ?", vec![text, one.clone()], vec![None, Some(1)]),
            ("SELECT ?, ?", vec![Value::Null, one.clone()], vec![None, Some(1)]),
            ("SELECT ?, ?", vec![Value::Blob(vec![1, 39]), one.clone()], vec![None, Some(1)]),
            ("SELECT 1;", vec![], vec![]),
        ] {
            let sql = sql.replace("\"?\"", "'\"?\"'").replace("[?]", "'[?]'").replace("`?`", "'`?`'");
            assert_eq!(found(&sql, &values), Some(expected), "{sql}");
        }
    }

    #[test]
    fn of_what_is_not_an_integer_no_number_is_said() {
        for value in [Value::Real(5.0), Value::Real(1e300), Value::Real(-0.5), Value::Text("5".into()), Value::Null] {
            let numbers = found("SELECT ?1+?2", &[value.clone(), Value::Integer(4)]);
            assert_eq!(numbers, Some(vec![None, Some(4)]), "{value:?}");
        }
        for (text, expanded) in [
            ("SELECT ?", "SELECT 1 "),
            ("SELECT ?", "SELECT 1, 2"),
            ("SELECT ?", "-- SELECT ?"),
            ("SELECT ? ", "SELECT 1"),
            ("SELECT 'a ?", "SELECT 'a 1"),
            ("SELECT ?", "SELECT 99999999999999999999"),
            ("SELECT $a::b", "SELECT 1"),
            ("SELECT $a(1)", "SELECT 1"),
            ("SELECT ?0", "SELECT 1"),
        ] {
            assert_eq!(numbers(text, expanded), None, "{text}");
        }
    }

    #[test]
    fn a_text_is_found_as_far_as_its_first_nul() {
        let conn = rusqlite::Connection::open_in_memory().unwrap();
        let sql = "SELECT ?1, ?2";
        let mut statement = conn.prepare(sql).unwrap();
        for (text, found) in [("it's ?2 -- ''", "it's ?2 -- ''"), ("", ""), ("Köln", "Köln"), ("a\0b", "a"), ("'", "'")]
        {
            statement.raw_bind_parameter(1, text).unwrap();
            statement.raw_bind_parameter(2, 7).unwrap();
            let values = super::values(sql, &statement.expanded_sql().unwrap());
            assert_eq!(values, Some(vec![Bound::Text(found.to_owned()), Bound::Integer(7)]), "{text}");
        }
    }
}
