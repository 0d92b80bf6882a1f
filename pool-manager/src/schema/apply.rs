//! Making described tables, all or none.
//!
//! Owns what happens when a table is there already: the same one is left alone, another one is an error that says where they
//! differ. It must not know how its transaction came to be.

use std::fmt;

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
            Some(found) if found == sql => {}
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

/// One column as SQLite describes it.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    name: String,
    kind: String,
    not_null: bool,
    default: Option<String>,
    key: i64,
    unique: bool,
    auto_increment: bool,
    generated: bool,
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
    let problem = format!(
        "table {:?} exists already and differs from its description: {}",
        schema.name,
        difference(&wanted, &found)
    );
    Err(SchemaError { problems: vec![problem] }.into())
}

/// Names the first place in which two lists of columns differ, and how.
fn difference(wanted: &[Found], found: &[Found]) -> String {
    let named =
        |columns: &[Found], name: &str| columns.iter().position(|column| column.name.eq_ignore_ascii_case(name));
    for column in wanted {
        match named(found, &column.name).map(|at| &found[at]) {
            None => return format!("column {:?} is missing", column.name),
            Some(other) if other != column => {
                return format!("column {:?} is {other}, described is {column}", column.name);
            }
            Some(_) => {}
        }
    }
    let more = found.iter().find(|column| named(wanted, &column.name).is_none());
    more.map_or_else(
        || "its columns are in another order".to_owned(),
        |column| format!("column {:?} is not described", column.name),
    )
}

impl fmt::Display for Found {
    /// As it would stand in `CREATE TABLE`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.kind.is_empty() { "without a type" } else { &self.kind })?;
        if self.key > 0 {
            f.write_str(" PRIMARY KEY")?;
        }
        if self.auto_increment {
            f.write_str(" AUTOINCREMENT")?;
        }
        if self.generated {
            f.write_str(" GENERATED")?;
        }
        if self.not_null {
            f.write_str(" NOT NULL")?;
        }
        if self.unique {
            f.write_str(" UNIQUE")?;
        }
        match &self.default {
            Some(default) => write!(f, " DEFAULT {default}"),
            None => Ok(()),
        }
    }
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
            auto_increment: false,
            // https://www.sqlite.org/pragma.html#pragma_table_xinfo
            generated: matches!(row.get("hidden")?, 2 | 3),
            name,
        })
    })?;
    let mut columns: Vec<Found> = rows.collect::<Result<_, _>>()?;
    let keys = columns.iter().filter(|column| column.key > 0).count();
    for column in &mut columns {
        // Such a column is the row's number, which is never null, said or not: https://www.sqlite.org/lang_createtable.html#rowid
        if keys == 1 && column.key > 0 && column.kind == "INTEGER" {
            column.not_null = true;
            column.auto_increment = auto_increment(connection, table, &column.name)?;
        }
    }
    Ok(columns)
}

fn auto_increment(connection: &rusqlite::Connection, table: &str, column: &str) -> Result<bool> {
    Ok(connection.column_metadata(Some("main"), table, column)?.4)
}
