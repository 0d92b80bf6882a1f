//! SQL texts with their literals left out, to tell one text with many values from many texts.
//!
//! Owns the rule what counts as a literal. Must not know why somebody asks. Invariant: total on any text, valid SQL or not.

use std::collections::HashMap;

/// Returns the text with each string, blob and number replaced by `?`.
pub(crate) fn of(sql: &str) -> String {
    let mut pattern = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' => {
                pattern.push('?');
                quoted(rest, '\'')
            }
            '"' | '`' => copy(&mut pattern, rest, quoted(rest, first)),
            '[' => copy(&mut pattern, rest, rest.find(']').map_or(rest.len(), |end| end + 1)),
            '0'..='9' => {
                pattern.push('?');
                word(rest)
            }
            // A parameter's number is part of the text, not a value.
            '?' => copy(&mut pattern, rest, 1 + word(&rest[1..])),
            _ if is_word(first) => copy(&mut pattern, rest, word(rest)),
            _ => copy(&mut pattern, rest, first.len_utf8()),
        };
        rest = &rest[length..];
    }
    pattern
}

/// Returns the commonest pattern of some texts and how many of them have it.
pub(crate) fn commonest<'a>(texts: impl Iterator<Item = &'a str>) -> Option<(String, usize)> {
    let mut times: HashMap<String, usize> = HashMap::new();
    for text in texts {
        *times.entry(of(text)).or_default() += 1;
    }
    times.into_iter().max_by(|(a, m), (b, n)| m.cmp(n).then_with(|| b.cmp(a)))
}

fn copy(pattern: &mut String, rest: &str, length: usize) -> usize {
    pattern.push_str(&rest[..length]);
    length
}

/// Length of what starts with a quote, in which a doubled quote stands for itself.
fn quoted(rest: &str, quote: char) -> usize {
    let mut marks = rest.char_indices().skip(1).peekable();
    while let Some((at, mark)) = marks.next() {
        if mark == quote && marks.next_if(|&(_, next)| next == quote).is_none() {
            return at + 1;
        }
    }
    rest.len()
}

fn word(rest: &str) -> usize {
    rest.find(|mark| !is_word(mark)).unwrap_or(rest.len())
}

fn is_word(mark: char) -> bool {
    mark.is_alphanumeric() || mark == '_' || mark == '.'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_left_out_and_names_stay() {
        let cases = [
            ("SELECT a1 FROM t2 WHERE x = 42", "SELECT a1 FROM t2 WHERE x = ?"),
            ("SELECT 'it''s', x'00ff', 1.5e3 FROM \"t 1\"", "SELECT ?, x?, ? FROM \"t 1\""),
            ("SELECT ?1, :b2, @c3, $d4, ?", "SELECT ?1, :b2, @c3, $d4, ?"),
            ("INSERT INTO [a 1] VALUES (1,'x')", "INSERT INTO [a 1] VALUES (?,?)"),
            ("SELECT 'open", "SELECT ?"),
            ("SELECT [open", "SELECT [open"),
            ("SELECT 'ä', ö FROM ü", "SELECT ?, ö FROM ü"),
            ("", ""),
        ];
        for (sql, expected) in cases {
            assert_eq!(of(sql), expected);
        }
    }

    #[test]
    fn the_commonest_pattern_is_found() {
        let texts = ["SELECT 1", "SELECT 'a'", "DELETE FROM t", "SELECT 22"];
        assert_eq!(commonest(texts.into_iter()), Some(("SELECT ?".to_owned(), 3)));
    }
}
