//! Making described tables, all or none.
//!
//! Owns what happens when a table is there already: the same one is left alone, another one is an error that says where they
//! differ. It must not know how its transaction came to be.

use rusqlite::OptionalExtension;

use super::ddl::{create_table, quote_identifier};
use super::{Schema, SchemaError};
use crate::connection::Connection;
use crate::error::Result;

/// Makes all tables within the caller's transaction. Descriptions are checked before the first is made.
pub(crate) fn create_all(connection: &Connection, schemas: &[Schema]) -> Result<()> {
    for schema in schemas {
        let sql = create_table(schema);
        match existing(connection, &schema.name)? {
            None => connection.execute_batch(&sql)?,
            Some(found) if same_text(&found, &sql) => {}
            Some(_) => compare(connection, schema)?,
        }
    }
    Ok(())
}

/// Checks descriptions without touching a database, all problems at once.
pub(crate) fn check_all(schemas: &[Schema]) -> Result<()> {
    let problems = schemas.iter().filter_map(|schema| schema.check().err()).flat_map(|error| error.problems).collect();
    Ok(SchemaError::unless_empty(problems)?)
}

fn existing(connection: &Connection, table: &str) -> Result<Option<String>> {
    let sql =
        "SELECT coalesce(sql, '') FROM sqlite_schema WHERE type IN ('table', 'view') AND name = ?1 COLLATE NOCASE";
    Ok(connection.query_row(sql, [table], |row| row.get(0)).optional()?)
}

fn same_text(found: &str, wanted: &str) -> bool {
    let words = |sql: &str| sql.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    words(found) == words(wanted)
}

/// One column as SQLite describes it.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    name: String,
    kind: String,
    not_null: bool,
    default: Option<String>,
    key: i64,
    unique: bool,
}

/// A table made by other means is accepted when SQLite sees the same columns in it. To compare what SQLite sees, the described
/// table is made beside it for a moment, in memory.
fn compare(connection: &Connection, schema: &Schema) -> Result<()> {
    let model = rusqlite::Connection::open_in_memory()?;
    model.execute_batch(&create_table(schema))?;
    let wanted = columns(&model, &schema.name)?;
    let found = columns(connection, &schema.name)?;
    if wanted == found {
        return Ok(());
    }
    let differing = wanted
        .iter()
        .find(|column| !found.contains(column))
        .or_else(|| found.iter().find(|column| !wanted.contains(column)));
    let place =
        differing.map_or_else(|| "the order of columns".to_owned(), |column| format!("column {:?}", column.name));
    let problem = format!("table {:?} exists already and differs from its description in {place}", schema.name);
    Err(SchemaError { problems: vec![problem] }.into())
}

fn columns(connection: &rusqlite::Connection, table: &str) -> Result<Vec<Found>> {
    let mut unique = connection.prepare(
        "SELECT info.name FROM pragma_index_list(?1) AS list, pragma_index_info(list.name) AS info \
         WHERE list.\"unique\" AND list.origin = 'u' GROUP BY list.name HAVING count(*) = 1",
    )?;
    let unique: Vec<String> = unique.query_map([table], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut info = connection.prepare(&format!("PRAGMA table_xinfo({})", quote_identifier(table)))?;
    let rows = info.query_map([], |row| {
        let name: String = row.get("name")?;
        Ok(Found {
            kind: row.get::<_, String>("type")?.to_ascii_uppercase(),
            not_null: row.get("notnull")?,
            default: row.get("dflt_value")?,
            key: row.get("pk")?,
            unique: unique.contains(&name),
            name,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
