//! A column by whose values rows are told apart, and how values are told apart.
//!
//! Owns which columns will do, and the marks of values. It must not know who reads or writes rows with them (`reads`, `key_look`).
//! Invariants: if a row is found by an index of such a column as one that has a certain value, the mark of what is stored in it is one of the
//! marks of that value; and as long as no entry is removed from the index, the rows that there were before keep their values.
//!
//! A column will do if it is the first of an index that has all rows of a table with row numbers, compares byte by byte, and if it is stored:
//! nothing but changing it changes the index.

use std::hash::Hasher;

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use crate::bound::Value;
use crate::schema::quote_identifier;

/// The first column of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    /// The root page of the index.
    pub(crate) index: u32,
    /// A query of the value in the row with a certain number.
    pub(crate) query: Box<str>,
}

impl Column {
    /// The first column of the index at a root page of `main`, if it will do.
    pub(crate) fn of_index(connection: &Connection, root: u32) -> rusqlite::Result<Option<Self>> {
        // No function or collation is called here: it may be one of the program's.
        let mut indexes = connection
            .prepare("SELECT name, tbl_name FROM main.sqlite_schema WHERE type = 'index' AND rootpage = ?1")?;
        let mut found = indexes.query([root])?;
        let Some(row) = found.next()? else { return Ok(None) };
        let (index, table): (String, String) = (row.get(0)?, row.get(1)?);
        let mut whole =
            connection.prepare("SELECT 1 FROM pragma_index_list(?1, 'main') WHERE name = ?2 AND NOT partial")?;
        if !whole.exists([&table, &index])? {
            return Ok(None);
        }
        let mut first = None;
        let mut has_row_numbers = false;
        let mut columns = connection.prepare("SELECT seqno, cid, coll FROM pragma_index_xinfo(?1, 'main')")?;
        let mut columns = columns.query([&index])?;
        while let Some(row) = columns.next()? {
            let (at, column): (i64, i64) = (row.get(0)?, row.get(1)?);
            has_row_numbers |= column == -1;
            if at == 0 && row.get_ref(2)?.as_str()?.eq_ignore_ascii_case("BINARY") {
                first = Some(column);
            }
        }
        let mut name = None;
        let mut columns = connection.prepare("SELECT cid, name, hidden FROM pragma_table_xinfo(?1, 'main')")?;
        let mut columns = columns.query([&table])?;
        while let Some(row) = columns.next()? {
            let (column, named, hidden): (i64, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            if named.eq_ignore_ascii_case(ROW_NUMBER) {
                return Ok(None);
            }
            if Some(column) == first && hidden == 0 {
                name = Some(named);
            }
        }
        Ok(name.filter(|_| has_row_numbers).map(|name| {
            let (name, table) = (quote_identifier(&name), quote_identifier(&table));
            // With the table in front no column that is gone is taken for a text.
            let query = format!("SELECT found.{name} FROM main.{table} AS found WHERE found.{ROW_NUMBER} = ?1").into();
            Self { index: root, query }
        }))
    }
}

/// A name of row numbers: <https://www.sqlite.org/lang_createtable.html#rowid>
const ROW_NUMBER: &str = "_rowid_";

/// Stands for a value. Several may have the same.
pub(crate) type Mark = i64;

/// Up to here a number is the same as a fraction, too.
const EXACT: u64 = 1 << 53;

/// The marks of what is stored where a row is found as one with a certain value; `None` where that can't be told.
///
/// The value is converted to the column's type, which is not asked for here: numbers may be stored as texts, texts as numbers.
pub(crate) fn marks_of_wanted(value: &Value) -> Option<Vec<Mark>> {
    let of_number = |number: i64| vec![number, mark_of_text(&number.to_string())];
    match value {
        Value::Integer(number) => (number.unsigned_abs() <= EXACT).then(|| of_number(*number)),
        // What is no text in Unicode may be anything.
        Value::Text(text) if text.contains(char::REPLACEMENT_CHARACTER) => None,
        Value::Text(text) if !may_be_number(text) => Some(vec![mark_of_text(text)]),
        Value::Text(text) => {
            let digits = text.strip_prefix('-').unwrap_or(text);
            let number = text.parse::<i64>().ok().filter(|number| number.unsigned_abs() <= EXACT)?;
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| [of_number(number), vec![mark_of_text(text)]].concat())
        }
        Value::Other => None,
    }
}

/// Tells whether SQLite may take a text for a number: <https://www.sqlite.org/datatype3.html#type_affinity>
fn may_be_number(text: &str) -> bool {
    let first = text.bytes().find(|byte| !byte.is_ascii_whitespace() && *byte != 0x0b);
    first.is_some_and(|first| first.is_ascii_digit() || matches!(first, b'+' | b'-' | b'.'))
}

/// The mark of what is stored; `None` for what is found as no value that has marks.
pub(crate) fn mark_of_stored(value: ValueRef<'_>) -> Option<Mark> {
    match value {
        ValueRef::Integer(number) => Some(number),
        // Equal to the number, if it is one. What is too large for one becomes the largest, and is wanted by nobody.
        ValueRef::Real(fraction) => Some(fraction as i64),
        ValueRef::Text(text) => {
            let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
            Some(mark_of_text(&String::from_utf8_lossy(&text[..end])))
        }
        ValueRef::Null | ValueRef::Blob(_) => None,
    }
}

/// Of a text as far as its first NUL, where what is bound seems to end (`bound`).
fn mark_of_text(text: &str) -> Mark {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(text.as_bytes());
    hasher.finish().cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::params;
    use rusqlite::types::Value as Stored;

    #[test]
    fn a_column_will_do_if_an_index_of_all_rows_begins_with_it_and_compares_bytes() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "CREATE TABLE t (id INTEGER PRIMARY KEY, a, \"B\"\"b\" TEXT COLLATE NOCASE, c AS (a + 1), d UNIQUE);
                 CREATE INDEX yes_a ON t (a DESC, d); CREATE INDEX yes_id ON t (id); CREATE INDEX yes_b ON t (\"B\"\"b\" COLLATE binary);
                 CREATE INDEX no_b ON t (\"B\"\"b\"); CREATE INDEX no_a ON t (a) WHERE d > 1; CREATE INDEX no_e ON t (a + 1);
                 CREATE INDEX no_c ON t (c); CREATE INDEX no_rtrim ON t (a COLLATE RTRIM);
                 CREATE TABLE w (a PRIMARY KEY, b) WITHOUT ROWID; CREATE INDEX no_w ON w (b);
                 CREATE TABLE h (_rowid_, a); CREATE INDEX no_h ON h (a);
                 INSERT INTO t (id, a, \"B\"\"b\", d) VALUES (7, 8, 'x', 9);",
            )
            .unwrap();
        let mut all = connection.prepare("SELECT name, rootpage FROM sqlite_schema WHERE rootpage > 0").unwrap();
        let all = all.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, u32>(1)?))).unwrap();
        for (name, root) in all.map(Result::unwrap) {
            let column = Column::of_index(&connection, root).unwrap();
            let will_do = name.starts_with("yes_") || name == "sqlite_autoindex_t_1";
            assert_eq!(column.is_some(), will_do, "{name}");
            if let Some(column) = column {
                let value: Stored = connection.query_row(&column.query, [7], |row| row.get(0)).unwrap();
                let expected: Stored = match &*name {
                    "yes_a" => 8.into(),
                    "yes_id" => 7.into(),
                    "yes_b" => "x".to_owned().into(),
                    _ => 9.into(),
                };
                assert_eq!(value, expected, "{name}");
            }
        }
    }

    /// Whatever the type of the column: a row that is found has one of the marks of what it was found by.
    #[test]
    fn the_mark_of_a_row_that_is_found_is_among_those_of_what_was_wanted() {
        let connection = Connection::open_in_memory().unwrap();
        let texts = [
            "5",
            "05",
            "-5",
            "5.0",
            " 5",
            "+5",
            "5e0",
            "",
            "x",
            "é",
            "x\0y",
            "-",
            "0x5",
            "9007199254740993",
            "-0",
            "9223372036854775807",
            "1e999",
        ];
        let numbers = [0, 5, -5, 1 << 53, (1 << 53) + 1, i64::MAX, i64::MIN];
        let fractions = [0.0, -0.0, 5.0, 5.5, 9_007_199_254_740_992.0, 9.3e18, -9.3e18, f64::INFINITY];
        let mut all: Vec<Stored> = texts.iter().map(|text| (*text).to_owned().into()).collect();
        all.extend(numbers.map(Stored::Integer));
        all.extend(fractions.map(Stored::Real));
        all.extend([Stored::Null, Stored::Blob(b"5".to_vec())]);
        let mut told = 0;
        for kind in ["", "TEXT", "INTEGER", "REAL", "NUMERIC", "BLOB"] {
            connection.execute_batch(&format!("DROP TABLE IF EXISTS t; CREATE TABLE t (a {kind})")).unwrap();
            all.iter().for_each(|value| _ = connection.execute("INSERT INTO t VALUES (?1)", [value]).unwrap());
            for wanted in &all {
                let mut statement = connection.prepare("SELECT a, ?1 FROM t WHERE a = ?1").unwrap();
                statement.raw_bind_parameter(1, wanted).unwrap();
                let bound =
                    crate::bound::values("SELECT a, ?1 FROM t WHERE a = ?1", &statement.expanded_sql().unwrap());
                let Some(marks) = bound.and_then(|bound| marks_of_wanted(&bound[0])) else { continue };
                told += 1;
                let mut rows = statement.query(params![wanted]).unwrap();
                while let Some(row) = rows.next().unwrap() {
                    let mark = mark_of_stored(row.get_ref(0).unwrap());
                    assert!(
                        mark.is_some_and(|mark| marks.contains(&mark)),
                        "{wanted:?} finds {:?} in {kind}",
                        row.get_ref(0)
                    );
                }
            }
        }
        assert!(told > 60, "{told}");
    }
}
