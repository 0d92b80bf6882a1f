//! SQL from a checked table description.
//!
//! Owns quoting: every identifier is quoted, every default is encoded as a literal, nothing of a user's text is ever read as SQL. It
//! must not be given a description that was not checked.

use std::fmt::Write;

use super::{Column, ColumnType, DefaultValue, Schema};

/// Quotes an identifier (<https://www.sqlite.org/lang_keywords.html>): double quotes, doubled where they occur.
pub(crate) fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn quote_text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A literal of bytes: <https://www.sqlite.org/lang_expr.html#literal_values_constants_>
pub(super) fn quote_bytes(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("x'{digits}'")
}

/// The statement that makes the table.
pub(crate) fn create_table(schema: &Schema) -> String {
    let primary: Vec<&Column> = schema.columns.iter().filter(|column| column.primary).collect();
    let mut parts: Vec<String> =
        schema.columns.iter().map(|column| column_definition(column, primary.len() == 1)).collect();
    if primary.len() > 1 {
        let names: Vec<String> = primary.iter().map(|column| quote_identifier(&column.name)).collect();
        parts.push(format!("PRIMARY KEY ({})", names.join(", ")));
    }
    format!("CREATE TABLE {} (\n  {}\n)", quote_identifier(&schema.name), parts.join(",\n  "))
}

fn column_definition(column: &Column, sole_key: bool) -> String {
    let name = quote_identifier(&column.name);
    let mut sql = format!("{name} {}", storage(column.kind));
    if column.primary && sole_key {
        sql.push_str(" PRIMARY KEY");
        if column.auto_increment {
            sql.push_str(" AUTOINCREMENT");
        }
    }
    if !column.is_nullable() {
        sql.push_str(" NOT NULL");
    }
    if column.unique && !(column.primary && sole_key) {
        sql.push_str(" UNIQUE");
    }
    if let Some(default) = &column.default {
        sql.push_str(" DEFAULT ");
        sql.push_str(&literal(column.kind, default));
    }
    match column.kind {
        ColumnType::Boolean => write!(sql, " CHECK ({name} IN (0, 1))"),
        ColumnType::Json => write!(sql, " CHECK ({name} IS NULL OR json_valid({name}))"),
        _ => Ok(()),
    }
    .unwrap_or_else(|_| unreachable!("BUG: writing to a String can't fail"));
    sql
}

fn storage(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::Number | ColumnType::Boolean => "INTEGER",
        ColumnType::Float => "REAL",
        ColumnType::String | ColumnType::Date | ColumnType::Json => "TEXT",
        ColumnType::Blob => "BLOB",
    }
}

fn literal(kind: ColumnType, default: &DefaultValue) -> String {
    match default {
        DefaultValue::Null => "NULL".to_owned(),
        _ if kind == ColumnType::Json => quote_text(&as_json(default).to_string()),
        // i64::MIN has no literal of its own: its digits alone are out of range.
        DefaultValue::Integer(i64::MIN) => "(-9223372036854775807 - 1)".to_owned(),
        DefaultValue::Integer(number) => number.to_string(),
        DefaultValue::Real(number) if kind == ColumnType::Number => format!("{number:.0}"),
        DefaultValue::Real(number) => format!("{number:?}"),
        DefaultValue::Text(text) => quote_text(text),
        DefaultValue::Boolean(flag) => i32::from(*flag).to_string(),
        DefaultValue::Json(value) => quote_text(&value.to_string()),
        DefaultValue::Blob(bytes) => quote_bytes(bytes),
        DefaultValue::CurrentTimestamp => "CURRENT_TIMESTAMP".to_owned(),
        DefaultValue::CurrentDate => "CURRENT_DATE".to_owned(),
        DefaultValue::CurrentTime => "CURRENT_TIME".to_owned(),
    }
}

/// What a JSON column gets by default: text is a JSON string, not JSON text.
fn as_json(default: &DefaultValue) -> serde_json::Value {
    match default {
        DefaultValue::Json(value) => value.clone(),
        DefaultValue::Integer(number) => (*number).into(),
        DefaultValue::Real(number) => (*number).into(),
        DefaultValue::Text(text) => text.as_str().into(),
        DefaultValue::Boolean(flag) => (*flag).into(),
        DefaultValue::Null
        | DefaultValue::Blob(_)
        | DefaultValue::CurrentTimestamp
        | DefaultValue::CurrentDate
        | DefaultValue::CurrentTime => serde_json::Value::Null,
    }
}
