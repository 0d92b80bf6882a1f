//! What a statement is, judged by its text.
//!
//! Owns the knowledge of SQL words, pragmas and built-in functions. Must not know a connection.
//! Invariant: total on any text; what is not recognised is judged as the worse.

use crate::facts::StatementKind;

/// Judges a statement by its first words. A `WITH` counts as a query here: what follows it needs a parser.
pub(super) fn kind(sql: &str) -> StatementKind {
    let mut words = Words(sql);
    let Some(first) = words.next() else { return StatementKind::Other };
    match first.to_ascii_uppercase().as_str() {
        "SELECT" | "VALUES" | "WITH" => StatementKind::Query,
        "INSERT" | "REPLACE" => StatementKind::Insert,
        "UPDATE" => StatementKind::Update,
        "DELETE" => StatementKind::Delete,
        "CREATE" | "ALTER" | "DROP" => StatementKind::Schema,
        "BEGIN" => StatementKind::Begin,
        "COMMIT" | "END" => StatementKind::Commit,
        "ROLLBACK" => {
            let mut second = words.next();
            if second.is_some_and(|word| word.eq_ignore_ascii_case("TRANSACTION")) {
                second = words.next();
            }
            if second.is_some_and(|word| word.eq_ignore_ascii_case("TO")) {
                StatementKind::RollbackTo
            } else {
                StatementKind::Rollback
            }
        }
        "SAVEPOINT" => StatementKind::Savepoint,
        "RELEASE" => StatementKind::Release,
        "PRAGMA" => StatementKind::Pragma,
        "ATTACH" => StatementKind::Attach,
        "DETACH" => StatementKind::Detach,
        "ANALYZE" => StatementKind::Analyze,
        "REINDEX" => StatementKind::Reindex,
        "VACUUM" => StatementKind::Vacuum,
        "EXPLAIN" => StatementKind::Explain,
        _ => StatementKind::Other,
    }
}

/// Tells whether such a statement begins or ends a transaction, savepoints aside.
#[inline]
pub(super) const fn bounds_transaction(kind: StatementKind) -> bool {
    matches!(kind, StatementKind::Begin | StatementKind::Commit | StatementKind::Rollback)
}

/// Tells whether running a statement of this text may outdate prepared statements: by a change of the schema, of the attached
/// databases or of the settings.
pub(super) fn may_change_schema(sql: &str) -> bool {
    match kind(sql) {
        StatementKind::Schema
        | StatementKind::Attach
        | StatementKind::Detach
        | StatementKind::Analyze
        | StatementKind::Reindex
        | StatementKind::Vacuum
        | StatementKind::Other => true,
        StatementKind::Pragma => {
            let mut words = Words(sql);
            let name = words.nth(1).unwrap_or_default();
            let rest = words.0.trim_start();
            let (name, rest) = match rest.strip_prefix('.') {
                Some(rest) => {
                    words = Words(rest);
                    (words.next().unwrap_or_default(), words.0.trim_start())
                }
                None => (name, rest),
            };
            pragma_outdates(name, rest.starts_with(['=', '(']))
        }
        // Nothing keeps the schema from being written like a table.
        StatementKind::Insert | StatementKind::Update | StatementKind::Delete => {
            let lower = sql.to_ascii_lowercase();
            lower.contains("sqlite_master") || lower.contains("sqlite_schema") || lower.contains("sqlite_temp_")
        }
        _ => false,
    }
}

/// Tells whether a pragma may change anything, given whether it has an argument.
///
/// See <https://sqlite.org/pragma.html>.
pub(super) fn pragma_has_effect(name: &str, has_argument: bool) -> bool {
    // The argument of these says what to tell.
    const ASKS: &[&str] = &[
        "foreign_key_check",
        "foreign_key_list",
        "index_info",
        "index_list",
        "index_xinfo",
        "integrity_check",
        "quick_check",
        "table_info",
        "table_list",
        "table_xinfo",
    ];
    // These do something even without an argument.
    const ACTS: &[&str] = &["incremental_vacuum", "optimize", "shrink_memory", "wal_checkpoint"];
    let is_in = |names: &[&str]| names.iter().any(|known| name.eq_ignore_ascii_case(known));
    is_in(ACTS) || (has_argument && !is_in(ASKS))
}

/// Tells whether a pragma may leave a setting of the connection or of an open database changed, given whether it has an argument.
pub(super) fn pragma_sets(name: &str, has_argument: bool) -> bool {
    // These write the file or work off what is to be done.
    const WORKS: &[&str] = &[
        "application_id",
        "incremental_vacuum",
        "optimize",
        "schema_version",
        "shrink_memory",
        "user_version",
        "wal_checkpoint",
    ];
    pragma_has_effect(name, has_argument) && !WORKS.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Tells whether a pragma may change what other statements mean, given whether it has an argument.
pub(super) fn pragma_outdates(name: &str, has_argument: bool) -> bool {
    // Not among them: `query_only` and other flags, whose setting makes SQLite prepare all statements again.
    const HARMLESS: &[&str] = &[
        "analysis_limit",
        "application_id",
        "busy_timeout",
        "cache_size",
        "cache_spill",
        "hard_heap_limit",
        "incremental_vacuum",
        "journal_mode",
        "journal_size_limit",
        "locking_mode",
        "mmap_size",
        "secure_delete",
        "shrink_memory",
        "soft_heap_limit",
        "synchronous",
        "threads",
        "user_version",
        "wal_autocheckpoint",
        "wal_checkpoint",
    ];
    pragma_has_effect(name, has_argument) && !HARMLESS.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Tells whether a function of SQLite gives the same value for the same arguments, whenever and wherever it is called.
///
/// The date functions do as long as they are not asked for `'now'`, which their name does not tell: they count as not
/// repeatable. See <https://sqlite.org/deterministic.html>.
pub(super) fn is_deterministic_builtin(name: &str) -> bool {
    // A test compares this list with what SQLite says about its functions.
    const REPEATABLE: &[&str] = &[
        "->",
        "->>",
        "abs",
        "acos",
        "acosh",
        "asin",
        "asinh",
        "atan",
        "atan2",
        "atanh",
        "avg",
        "ceil",
        "ceiling",
        "char",
        "coalesce",
        "concat",
        "concat_ws",
        "cos",
        "cosh",
        "count",
        "cume_dist",
        "degrees",
        "dense_rank",
        "exp",
        "first_value",
        "floor",
        "format",
        "glob",
        "group_concat",
        "hex",
        "if",
        "ifnull",
        "iif",
        "instr",
        "json",
        "json_array",
        "json_array_insert",
        "json_array_length",
        "json_error_position",
        "json_extract",
        "json_group_array",
        "json_group_object",
        "json_insert",
        "json_object",
        "json_patch",
        "json_pretty",
        "json_quote",
        "json_remove",
        "json_replace",
        "json_set",
        "json_type",
        "json_valid",
        "jsonb",
        "jsonb_array",
        "jsonb_array_insert",
        "jsonb_extract",
        "jsonb_group_array",
        "jsonb_group_object",
        "jsonb_insert",
        "jsonb_object",
        "jsonb_patch",
        "jsonb_remove",
        "jsonb_replace",
        "jsonb_set",
        "lag",
        "last_value",
        "lead",
        "length",
        "like",
        "likelihood",
        "likely",
        "ln",
        "log",
        "log10",
        "log2",
        "lower",
        "ltrim",
        "max",
        "median",
        "min",
        "mod",
        "nth_value",
        "ntile",
        "nullif",
        "octet_length",
        "percent_rank",
        "percentile",
        "percentile_cont",
        "percentile_disc",
        "pi",
        "pow",
        "power",
        "printf",
        "quote",
        "radians",
        "rank",
        "replace",
        "round",
        "row_number",
        "rtrim",
        "sign",
        "sin",
        "sinh",
        "soundex",
        "sqrt",
        "string_agg",
        "substr",
        "substring",
        "subtype",
        "sum",
        "tan",
        "tanh",
        "total",
        "trim",
        "trunc",
        "typeof",
        "unhex",
        "unicode",
        "unistr",
        "unistr_quote",
        "unlikely",
        "upper",
        "zeroblob",
    ];
    // By the first letters first: comparing names costs several times as much, and this is asked of each function with each run.
    let letter = |name: &str| name.bytes().next();
    let from = REPEATABLE.partition_point(|known| letter(known) < letter(name));
    REPEATABLE[from..].iter().take_while(|known| letter(known) == letter(name)).any(|known| *known == name)
}

/// Tells whether what looks like a virtual table is a function of its arguments alone.
pub(super) fn is_pure_table_function(name: &str) -> bool {
    ["json_each", "json_tree", "jsonb_each", "jsonb_tree"].contains(&name)
}

/// The words of a text, without comments; anything else between them is skipped up to the first that is no white space.
struct Words<'a>(&'a str);

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        loop {
            self.0 = self.0.trim_start_matches(|mark: char| mark.is_ascii_whitespace() || mark == '\u{feff}');
            if let Some(comment) = self.0.strip_prefix("--") {
                self.0 = comment.split_once('\n').map_or("", |(_, rest)| rest);
            } else if let Some(comment) = self.0.strip_prefix("/*") {
                self.0 = comment.split_once("*/").map_or("", |(_, rest)| rest);
            } else if let Some(rest) = self.0.strip_prefix(';') {
                self.0 = rest;
            } else {
                break;
            }
        }
        let end = self.0.find(|mark: char| !(mark.is_alphanumeric() || mark == '_')).unwrap_or(self.0.len());
        let end = if end == 0 { self.0.chars().next()?.len_utf8() } else { end };
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        Some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_is_found_behind_comments() {
        let cases = [
            ("", StatementKind::Other),
            ("/* open", StatementKind::Other),
            ("-- a\n/* b */ select 1", StatementKind::Query),
            ("; ;SELECT 1", StatementKind::Query),
            ("values(1)", StatementKind::Query),
            ("REPLACE INTO t VALUES (1)", StatementKind::Insert),
            ("rollback", StatementKind::Rollback),
            ("ROLLBACK /* x */ TRANSACTION", StatementKind::Rollback),
            ("ROLLBACK TRANSACTION TO SAVEPOINT a", StatementKind::RollbackTo),
            ("ROLLBACK TO a", StatementKind::RollbackTo),
            ("END", StatementKind::Commit),
            ("EXPLAIN QUERY PLAN SELECT 1", StatementKind::Explain),
            ("HELLO", StatementKind::Other),
            ("'x'", StatementKind::Other),
        ];
        for (sql, expected) in cases {
            assert_eq!(kind(sql), expected, "{sql}");
        }
    }

    #[test]
    fn the_functions_called_deterministic_are_those_which_sqlite_calls_so_save_the_date_functions() {
        const DATES: [&str; 7] = ["date", "time", "datetime", "julianday", "unixepoch", "strftime", "timediff"];
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        // SQLite does not say of aggregates whether they are deterministic; all it brings are, for rows in a given order.
        let mut list = connection
            .prepare(
                "SELECT name, min(flags & 0x800 OR type <> 's') FROM pragma_function_list WHERE builtin GROUP BY name",
            )
            .unwrap();
        let functions = list.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)?))).unwrap();
        let mut wrong = Vec::new();
        for function in functions {
            let (name, deterministic) = function.unwrap();
            let expected = deterministic && !DATES.contains(&name.as_str());
            if is_deterministic_builtin(&name) != expected {
                wrong.push((name, deterministic));
            }
        }
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    #[test]
    fn what_may_change_the_schema_is_recognised() {
        for sql in [
            "create table t(a)",
            "ALTER TABLE t ADD b",
            "drop view v",
            "ATTACH 'x' AS y",
            "PRAGMA foreign_keys = ON",
            "PRAGMA main.temp_store(2)",
            "PRAGMA optimize",
            "UPDATE sqlite_schema SET sql = ''",
            "/* hm */ VACUUM",
        ] {
            assert!(may_change_schema(sql), "{sql}");
        }
        for sql in [
            "SELECT 1",
            "INSERT INTO t VALUES (1)",
            "PRAGMA foreign_keys",
            "PRAGMA main.table_info('t')",
            "PRAGMA main.cache_size(100)",
            "PRAGMA wal_checkpoint(TRUNCATE)",
            "PRAGMA table_info(t)",
            "BEGIN",
            "ROLLBACK",
        ] {
            assert!(!may_change_schema(sql), "{sql}");
        }
    }
}
