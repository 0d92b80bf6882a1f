//! Table descriptions from the description's JSON.
//!
//! Owns the JSON's keys and what their values may be. By hand instead of by derive, so that every problem is reported, with table,
//! column, value and what is allowed.

use serde_json::{Map, Value};

use super::{Column, ColumnType, DefaultValue, Schema, SchemaError};

const TABLE_KEYS: [&str; 2] = ["name", "columns"];
const COLUMN_KEYS: [&str; 7] = ["name", "type", "primary", "autoIncrement", "unique", "nullable", "default"];

pub(super) fn parse(text: &str) -> Result<Schema, SchemaError> {
    let refuse = |problem: String| SchemaError { problems: vec![problem] };
    let value: Value = serde_json::from_str(text).map_err(|error| refuse(format!("not valid JSON: {error}")))?;
    let Value::Object(table) = value else {
        return Err(refuse(format!("a table description is an object, not {value}")));
    };
    let mut problems = Vec::new();
    let name = name_of(&table, "table", &mut problems);
    unknown_keys(&table, &TABLE_KEYS, &format!("table {name:?}"), &mut problems);
    let mut schema = Schema::new(name);
    match table.get("columns") {
        Some(Value::Array(columns)) => {
            for column in columns {
                if let Some(column) = parse_column(&schema.name, column, &mut problems) {
                    schema.columns.push(column);
                }
            }
        }
        Some(other) => {
            problems.push(format!("table {:?}: columns is {other}; allowed: an array of objects", schema.name))
        }
        None => problems.push(format!("table {:?} has no columns; at least one is needed", schema.name)),
    }
    SchemaError::unless_empty(problems)?;
    schema.check()?;
    Ok(schema)
}

fn parse_column(table: &str, value: &Value, problems: &mut Vec<String>) -> Option<Column> {
    let Value::Object(keys) = value else {
        problems.push(format!("table {table:?}: a column is an object, not {value}"));
        return None;
    };
    let name = name_of(keys, &format!("table {table:?}: column"), problems);
    let place = format!("table {table:?}, column {name:?}");
    unknown_keys(keys, &COLUMN_KEYS, &place, problems);
    let kind = match keys.get("type") {
        Some(Value::String(word)) => ColumnType::ALL.into_iter().find(|kind| kind.name() == word),
        _ => None,
    };
    let Some(kind) = kind else {
        let found = keys.get("type").map_or_else(|| "missing".to_owned(), Value::to_string);
        let allowed = ColumnType::ALL.map(|kind| format!("\"{kind}\"")).join(", ");
        problems.push(format!("{place}: type is {found}; allowed: {allowed}"));
        return None;
    };
    let mut flag = |key: &str| match keys.get(key) {
        None => None,
        Some(Value::Bool(flag)) => Some(*flag),
        Some(other) => {
            problems.push(format!("{place}: {key} is {other}; allowed: true or false"));
            None
        }
    };
    let mut column = Column::new(name, kind);
    column.primary = flag("primary").unwrap_or(false);
    column.auto_increment = flag("autoIncrement").unwrap_or(false);
    column.unique = flag("unique").unwrap_or(false);
    column.nullable = flag("nullable");
    column.default = match keys.get("default").map(|value| default_of(kind, value)) {
        None => None,
        Some(Ok(default)) => Some(default),
        Some(Err(problem)) => {
            problems.push(format!("{place}: {problem}"));
            None
        }
    };
    Some(column)
}

fn default_of(kind: ColumnType, value: &Value) -> Result<DefaultValue, String> {
    Ok(match value {
        Value::Null => DefaultValue::Null,
        _ if kind == ColumnType::Json => DefaultValue::Json(value.clone()),
        Value::Bool(flag) => DefaultValue::Boolean(*flag),
        Value::String(text) if kind == ColumnType::Date => match text.as_str() {
            "CURRENT_TIMESTAMP" => DefaultValue::CurrentTimestamp,
            "CURRENT_DATE" => DefaultValue::CurrentDate,
            "CURRENT_TIME" => DefaultValue::CurrentTime,
            _ => DefaultValue::Text(text.clone()),
        },
        Value::String(text) => DefaultValue::Text(text.clone()),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => DefaultValue::Integer(whole),
            (None, Some(real)) if !number.is_u64() => DefaultValue::Real(real),
            _ => return Err(format!("default {number} is out of range; allowed: up to {}", i64::MAX)),
        },
        Value::Array(_) | Value::Object(_) => {
            return Err(format!("default {value} does not fit type \"{kind}\"; only type \"json\" takes documents"));
        }
    })
}

fn name_of(keys: &Map<String, Value>, what: &str, problems: &mut Vec<String>) -> String {
    match keys.get("name") {
        Some(Value::String(name)) => name.clone(),
        found => {
            let found = found.map_or_else(|| "missing".to_owned(), Value::to_string);
            problems.push(format!("{what} name is {found}; allowed: text"));
            String::new()
        }
    }
}

fn unknown_keys(keys: &Map<String, Value>, known: &[&str], place: &str, problems: &mut Vec<String>) {
    for key in keys.keys().filter(|key| !known.contains(&key.as_str())) {
        problems.push(format!("{place}: unknown key {key:?}; allowed: {}", known.join(", ")));
    }
}
