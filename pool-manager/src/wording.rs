//! What the text of a statement says at a glance, without being parsed.
//!
//! Owns how its first word is found and what it tells. It must not know what follows from that (`hooks`, `row_watch`). Invariant: white
//! space and comments before the first word, in whatever number, make no difference.

/// The first words that tell something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// There is none: nothing but white space and comments.
    None,
    /// `BEGIN` or `SAVEPOINT`.
    Begins,
    /// `COMMIT`, `END`, `RELEASE` or `ROLLBACK`.
    Ends,
    /// `DELETE`, `INSERT`, `REPLACE`, `UPDATE`, or `WITH`, which any of them may follow: such a statement may change rows, and certainly does
    /// nothing else.
    Changes,
    Select,
    /// It commits without calling the hook, as it changes no content. But row numbers it may change:
    /// <https://www.sqlite.org/lang_vacuum.html>
    Vacuum,
    Other,
}

impl Word {
    /// Tells whether a statement is `BEGIN` or the like, which writes no rows.
    pub(crate) fn bounds_transaction(self) -> bool {
        matches!(self, Self::Begins | Self::Ends)
    }

    /// Tells whether a statement begins as one that reads or changes rows, or as part of a transaction. A trigger's text is a comment that
    /// names it.
    pub(crate) fn leaves_schema(self) -> bool {
        !matches!(self, Self::Vacuum | Self::Other)
    }
}

/// Tells whether a statement has the words `OR ROLLBACK` in it.
pub(crate) fn has_or_rollback(text: &[u8]) -> bool {
    const WORD: &[u8] = b"rollback";
    text.windows(WORD.len()).enumerate().any(|(at, window)| {
        let before = text[..at].trim_ascii_end();
        window.eq_ignore_ascii_case(WORD)
            && before.len() < at
            && before.len() >= 2
            && before[before.len() - 2..].eq_ignore_ascii_case(b"or")
    })
}

/// Tells whether the first word is one that [`Begins`](Word::Begins). Each statement that reads is asked this.
pub(crate) fn begins_transaction(text: &[u8]) -> bool {
    let text = from_first_word(text);
    starts_with_word(text, "begin") || starts_with_word(text, "savepoint")
}

/// Finds the first word of a text.
pub(crate) fn first_word(text: &[u8]) -> Word {
    let text = from_first_word(text);
    let Some(first) = text.first() else { return Word::None };
    // Most statements are told by one comparison.
    let words: &[(&str, Word)] = match first.to_ascii_lowercase() {
        b's' => &[("select", Word::Select), ("savepoint", Word::Begins)],
        b'i' => &[("insert", Word::Changes)],
        b'u' => &[("update", Word::Changes)],
        b'd' => &[("delete", Word::Changes)],
        b'r' => &[("replace", Word::Changes), ("release", Word::Ends), ("rollback", Word::Ends)],
        b'w' => &[("with", Word::Changes)],
        b'b' => &[("begin", Word::Begins)],
        b'c' => &[("commit", Word::Ends)],
        b'e' => &[("end", Word::Ends)],
        b'v' => &[("vacuum", Word::Vacuum)],
        _ => &[],
    };
    words.iter().find(|(word, _)| starts_with_word(text, word)).map_or(Word::Other, |(_, word)| *word)
}

/// What a statement is to the journal mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JournalMode {
    /// It asks for it.
    Asks,
    /// It is to change it, or to set what is set already.
    Sets,
}

/// Tells whether a statement is `PRAGMA journal_mode`, whatever stands before and after; `None` for any other, and where the name is quoted.
pub(crate) fn journal_mode(text: &[u8]) -> Option<JournalMode> {
    let text = from_first_word(text);
    if !starts_with_word(text, "pragma") {
        return None;
    }
    let name = from_first_word(&text["pragma".len()..]);
    let after = from_first_word(after_name(name));
    let name = if let [b'.', rest @ ..] = after { from_first_word(rest) } else { name };
    if !starts_with_word(name, "journal_mode") {
        return None;
    }
    let rest = from_first_word(&name["journal_mode".len()..]);
    Some(if rest.is_empty() { JournalMode::Asks } else { JournalMode::Sets })
}

/// The text after a name, which may be quoted in any of the ways that SQLite knows.
fn after_name(text: &[u8]) -> &[u8] {
    let quote = match text {
        [quote @ (b'"' | b'\'' | b'`'), ..] => *quote,
        [b'[', ..] => b']',
        _ => {
            let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 0x80;
            return &text[text.iter().position(|byte| !is_of_name(byte)).unwrap_or(text.len())..];
        }
    };
    let mut rest = &text[1..];
    loop {
        let Some(end) = rest.iter().position(|byte| *byte == quote) else { return &[] };
        rest = &rest[end + 1..];
        // Doubled, it stands for itself.
        match rest {
            [next, more @ ..] if *next == quote && quote != b']' => rest = more,
            _ => return rest,
        }
    }
}

fn starts_with_word(text: &[u8], word: &str) -> bool {
    text.split_at_checked(word.len()).is_some_and(|(start, rest)| {
        start.eq_ignore_ascii_case(word.as_bytes())
            && rest.first().is_none_or(|next| !next.is_ascii_alphanumeric() && *next != b'_')
    })
}

/// The text after white space and comments.
fn from_first_word(mut text: &[u8]) -> &[u8] {
    loop {
        match text {
            [byte, rest @ ..] if byte.is_ascii_whitespace() || *byte == b';' => text = rest,
            // SQLite takes a byte order mark for white space: https://www.sqlite.org/src/file/src/tokenize.c
            [0xef, 0xbb, 0xbf, rest @ ..] => text = rest,
            [b'-', b'-', rest @ ..] => {
                let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
                text = &rest[end..];
            }
            [b'/', b'*', rest @ ..] => {
                let end = rest.windows(2).position(|pair| pair == b"*/").map_or(rest.len(), |at| at + 2);
                text = &rest[end..];
            }
            _ => return text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn or_rollback_is_found_where_it_is_meant() {
        for sql in ["INSERT OR ROLLBACK INTO t VALUES (1)", "update or\n\trollback t SET a = 1"] {
            assert!(has_or_rollback(sql.as_bytes()), "{sql}");
        }
        for sql in [
            "",
            "rollback",
            "ROLLBACK TO a",
            "INSERT INTO rollback VALUES ('for rollback')",
            "INSERT OR REPLACE INTO t",
        ] {
            assert_eq!(has_or_rollback(sql.as_bytes()), sql.contains("or rollback"), "{sql}");
        }
    }

    #[test]
    fn the_first_word_decides_whether_a_statement_begins_a_transaction() {
        for sql in [
            "BEGIN",
            "begin deferred",
            "  -- x\n /* y */ Begin;",
            "SAVEPOINT a",
            "savepoint\ta",
            ";;begin",
            "\u{feff}begin",
        ] {
            assert!(first_word(sql.as_bytes()) == Word::Begins && begins_transaction(sql.as_bytes()), "{sql}");
        }
        for sql in ["", "SELECT 1", "-- begin", "/* begin", "BEGINNING", "save", "savepoints", "-", "/", "ROLLBACK"] {
            assert!(first_word(sql.as_bytes()) != Word::Begins && !begins_transaction(sql.as_bytes()), "{sql}");
        }
    }

    #[test]
    fn a_word_is_whole_and_tells_what_a_statement_is_whatever_stands_before_it() {
        for before in ["", " \n", "-- begin\n", "/* vacuum */\t", ";"] {
            let word = |sql: &str| first_word(format!("{before}{sql}").as_bytes());
            assert_eq!(
                [word("END"), word("ENDS"), word("RELEASE a")],
                [Word::Ends, Word::Other, Word::Ends],
                "{before:?}"
            );
            assert_eq!([word("With t AS (SELECT 1)"), word("without")], [Word::Changes, Word::Other], "{before:?}");
            assert_eq!([word("vacuum;"), word("vacuum_1")], [Word::Vacuum, Word::Other], "{before:?}");
            assert_eq!([word("select(1)"), word("DROP TABLE t")], [Word::Select, Word::Other], "{before:?}");
        }
        assert_eq!(first_word(b"-- a trigger"), Word::None);
    }

    #[test]
    fn asking_for_the_journal_mode_is_told_from_setting_it() {
        for sql in [
            "PRAGMA journal_mode",
            "pragma Journal_Mode; -- well?",
            "/* ? */ PRAGMA main . journal_mode /* ! */",
            "PRAGMA 'a''.b'.journal_mode",
            "PRAGMA [main].journal_mode",
        ] {
            assert_eq!(journal_mode(sql.as_bytes()), Some(JournalMode::Asks), "{sql}");
        }
        for sql in ["PRAGMA journal_mode=wal", "pragma main.journal_mode (DELETE)", "PRAGMA journal_mode = off;"] {
            assert_eq!(journal_mode(sql.as_bytes()), Some(JournalMode::Sets), "{sql}");
        }
        for sql in
            ["", "PRAGMA", "PRAGMA user_version", "PRAGMA journal_modes", "PRAGMA \"journal_mode", "journal_mode"]
        {
            assert_eq!(journal_mode(sql.as_bytes()), None, "{sql}");
        }
    }

    /// Of all pragmas that only tell when they are given no value, SQLite takes this one alone for one that writes.
    #[test]
    fn no_other_pragma_that_asks_is_taken_for_a_write_by_sqlite() {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        let mut names = connection.prepare("SELECT name FROM pragma_pragma_list ORDER BY name").unwrap();
        let names: Vec<String> = names.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        let writes = |name: &&String| !connection.prepare(&format!("PRAGMA {name}")).unwrap().readonly();
        let writing: Vec<&String> = names.iter().filter(writes).collect();
        assert_eq!(writing, ["incremental_vacuum", "journal_mode", "wal_checkpoint"]);
    }
}
