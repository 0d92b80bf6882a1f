//! What is in somebody's database, found out by asking SQLite: tables, keys, indexes, references. Reads, and nothing else.
//!
//! Knows no pool. Invariant: every name is quoted, whatever is in it.

use pool_manager::rusqlite::{Connection, Result};

/// What a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A table with row numbers.
    Table,
    /// A table that is its primary key.
    WithoutRowid,
    View,
    Virtual,
}

/// A table, with what it can be asked by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// The columns that name a row, in order, quoted; empty for a view or a virtual table.
    pub(crate) key: Vec<String>,
    /// How the row number is called here; `None` when there is none, or columns have taken all its names.
    pub(crate) rowid: Option<&'static str>,
    /// Columns that an index begins with, quoted; those of the key left out.
    pub(crate) indexed: Vec<String>,
    /// How many indexes there are.
    pub(crate) indexes: usize,
    pub(crate) references: Vec<Reference>,
}

/// A foreign key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    /// The table referred to, as it calls itself.
    pub(crate) parent: String,
    /// The columns that refer and the columns referred to, pair by pair, quoted.
    pub(crate) columns: Vec<(String, String)>,
}

/// Writes a name so that SQLite takes it for a name: <https://www.sqlite.org/lang_keywords.html>.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The name that was quoted, or what was not a quoted name.
pub(crate) fn unquote(name: &str) -> String {
    match name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => name.into(),
    }
}

/// Finds the tables of the main database, in the order they were made; SQLite's own are left out.
pub(crate) fn tables(conn: &Connection) -> Result<Vec<Table>> {
    let mut list = conn.prepare(
        "SELECT list.name, list.type, list.wr
         FROM pragma_table_list AS list JOIN sqlite_schema AS schema ON schema.name = list.name
         WHERE list.schema = 'main' AND list.type IN ('table', 'view', 'virtual') AND list.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
         ORDER BY schema.rowid",
    )?;
    let listed =
        list.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, bool>(2)?)))?;
    let mut tables = Vec::new();
    for listed in listed {
        let (name, kind, without_rowid) = listed?;
        let kind = match (kind.as_str(), without_rowid) {
            ("view", _) => Kind::View,
            ("virtual", _) => Kind::Virtual,
            (_, true) => Kind::WithoutRowid,
            (_, false) => Kind::Table,
        };
        tables.push(describe(conn, name, kind)?);
    }
    Ok(tables)
}

fn describe(conn: &Connection, name: String, kind: Kind) -> Result<Table> {
    let mut table =
        Table { name, kind, key: Vec::new(), rowid: None, indexed: Vec::new(), indexes: 0, references: Vec::new() };
    if matches!(kind, Kind::View | Kind::Virtual) {
        return Ok(table);
    }
    if kind == Kind::Table {
        table.rowid = rowid_name(&columns(conn, &table.name)?);
    }
    table.key = primary_key(conn, &table.name)?.iter().map(|column| quote(column)).collect();
    if table.key.is_empty() {
        table.key.extend(table.rowid.map(str::to_owned));
    }
    let (indexes, firsts) = indexes(conn, &table.name)?;
    table.indexes = indexes;
    for column in firsts.iter().map(|column| quote(column)) {
        if !table.key.contains(&column) && !table.indexed.contains(&column) {
            table.indexed.push(column);
        }
    }
    table.references = references(conn, &table.name)?;
    Ok(table)
}

fn columns(conn: &Connection, table: &str) -> Result<Vec<String>> {
    names(conn, "SELECT name FROM pragma_table_xinfo(?1)", table)
}

fn primary_key(conn: &Connection, table: &str) -> Result<Vec<String>> {
    names(conn, "SELECT name FROM pragma_table_xinfo(?1) WHERE pk > 0 ORDER BY pk", table)
}

fn names(conn: &Connection, sql: &str, table: &str) -> Result<Vec<String>> {
    conn.prepare(sql)?.query_map([table], |row| row.get(0))?.collect()
}

/// The name of the row number that no column has taken: <https://www.sqlite.org/lang_createtable.html#rowid>.
fn rowid_name(columns: &[String]) -> Option<&'static str> {
    ["rowid", "_rowid_", "oid"].into_iter().find(|name| !columns.iter().any(|column| column.eq_ignore_ascii_case(name)))
}

/// How many indexes a table has, and the columns they begin with. A partial index or one on an expression serves no plain range.
fn indexes(conn: &Connection, table: &str) -> Result<(usize, Vec<String>)> {
    let mut list = conn.prepare("SELECT name, partial FROM pragma_index_list(?1)")?;
    let list: Vec<(String, bool)> =
        list.query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_>>()?;
    let mut firsts = Vec::new();
    for (index, partial) in &list {
        if !partial {
            let sql = "SELECT name FROM pragma_index_xinfo(?1) WHERE seqno = 0 AND name IS NOT NULL";
            firsts.extend(names(conn, sql, index)?);
        }
    }
    Ok((list.len(), firsts))
}

fn references(conn: &Connection, table: &str) -> Result<Vec<Reference>> {
    let mut list =
        conn.prepare("SELECT id, \"table\", \"from\", \"to\" FROM pragma_foreign_key_list(?1) ORDER BY id, seq")?;
    type Pair = (i64, String, String, Option<String>);
    let pairs: Vec<Pair> = list
        .query_map([table], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
        .collect::<Result<_>>()?;
    let mut references = Vec::new();
    for of_one in pairs.chunk_by(|a, b| a.0 == b.0) {
        let parent = &of_one[0].1;
        // Without names the reference is to the primary key of the parent.
        let implied = primary_key(conn, parent)?;
        let columns: Option<Vec<_>> = of_one
            .iter()
            .enumerate()
            .map(|(index, (_, _, from, to))| Some((quote(from), quote(to.as_ref().or(implied.get(index))?))))
            .collect();
        // A reference to a table that is not there leads nowhere.
        references.extend(columns.map(|columns| Reference { parent: parent.clone(), columns }));
    }
    Ok(references)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables_of(sql: &str) -> Vec<Table> {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(sql).unwrap();
        tables(&conn).unwrap()
    }

    #[test]
    fn an_empty_database_has_no_tables() {
        assert_eq!(tables_of(""), []);
    }

    #[test]
    fn names_are_quoted_whatever_is_in_them() {
        let found = tables_of(
            r#"CREATE TABLE "a ""b"" [c]; DROP TABLE x" ("order by" TEXT, "d""e" INT); CREATE INDEX "i i" ON "a ""b"" [c]; DROP TABLE x" ("d""e")"#,
        );
        assert_eq!(found[0].name, r#"a "b" [c]; DROP TABLE x"#);
        assert_eq!(quote(&found[0].name), r#""a ""b"" [c]; DROP TABLE x""#);
        assert_eq!(found[0].indexed, [r#""d""e""#]);
        assert_eq!((unquote(&found[0].indexed[0]), unquote("rowid")), (r#"d"e"#.to_owned(), "rowid".to_owned()));
    }

    #[test]
    fn the_key_is_the_primary_key_or_else_the_row_number() {
        let found = tables_of(
            "CREATE TABLE plain (a); CREATE TABLE numbered (id INTEGER PRIMARY KEY);
             CREATE TABLE pair (a, b, PRIMARY KEY (b, a)) WITHOUT ROWID;
             CREATE TABLE taken (rowid, oid); CREATE TABLE all_taken (rowid, oid, _ROWID_)",
        );
        let keys: Vec<_> = found.iter().map(|table| table.key.join(" ")).collect();
        assert_eq!(keys, ["rowid", "\"id\"", "\"b\" \"a\"", "_rowid_", ""]);
        let kinds: Vec<_> = found.iter().map(|table| table.kind).collect();
        assert_eq!(kinds[1..3], [Kind::Table, Kind::WithoutRowid]);
    }

    #[test]
    fn views_and_virtual_tables_are_found_and_what_belongs_to_sqlite_is_not() {
        let found = tables_of(
            "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT); CREATE VIEW v AS SELECT * FROM t;
             CREATE VIRTUAL TABLE f USING fts5(text); ANALYZE",
        );
        let found: Vec<_> = found.iter().map(|table| (table.name.as_str(), table.kind)).collect();
        assert_eq!(found, [("t", Kind::Table), ("v", Kind::View), ("f", Kind::Virtual)]);
    }

    #[test]
    fn an_index_on_an_expression_or_on_some_rows_begins_with_no_column() {
        let found = tables_of(
            "CREATE TABLE t (a, b, c, d); CREATE INDEX i1 ON t (a, b); CREATE INDEX i2 ON t (lower(b)); CREATE INDEX i3 ON t (c) WHERE c > 1",
        );
        assert_eq!((found[0].indexes, found[0].indexed.join(" ")), (3, "\"a\"".to_owned()));
    }

    #[test]
    fn references_are_followed_with_and_without_column_names() {
        let found = tables_of(
            "CREATE TABLE p (x, y, PRIMARY KEY (x, y));
             CREATE TABLE c (a, b REFERENCES nowhere, FOREIGN KEY (a, b) REFERENCES p, FOREIGN KEY (b) REFERENCES p (y))",
        );
        let columns: Vec<_> = found[1].references.iter().map(|reference| reference.columns.clone()).collect();
        let pair = |from: &str, to: &str| (quote(from), quote(to));
        assert!(columns.contains(&vec![pair("a", "x"), pair("b", "y")]), "{columns:?}");
        assert!(columns.contains(&vec![pair("b", "y")]), "{columns:?}");
        assert_eq!(columns.len(), 2);
    }
}
