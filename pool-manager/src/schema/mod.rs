//! Descriptions of tables: by hand or from JSON, checked whole before any SQL is made of them.
//!
//! Owns what a table description may say and the errors that refuse one. It must not know connections; `ddl` makes SQL of a
//! checked description, `json` reads the description's JSON, `apply` runs it. Invariant: every error names table, column and value.

mod apply;
mod ddl;
mod json;

use std::fmt;

pub(crate) use apply::{check_all, create_all};
pub(crate) use ddl::quote_identifier;

/// The type of a column, with the words of the description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ColumnType {
    /// `"number"`: whole numbers, `INTEGER`.
    Number,
    /// `"string"`: `TEXT`.
    String,
    /// `"float"`: `REAL`.
    Float,
    /// `"boolean"`: `INTEGER` that is 0 or 1, checked.
    Boolean,
    /// `"Date"`: `TEXT`, by convention ISO 8601.
    Date,
    /// `"json"`: `TEXT` that is valid JSON, checked.
    Json,
    /// `"blob"`: bytes, `BLOB`.
    Blob,
}

impl ColumnType {
    /// All types: those of the description in its order, then bytes.
    pub const ALL: [Self; 7] =
        [Self::Number, Self::String, Self::Float, Self::Boolean, Self::Date, Self::Json, Self::Blob];

    /// The word of the description.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::String => "string",
            Self::Float => "float",
            Self::Boolean => "boolean",
            Self::Date => "Date",
            Self::Json => "json",
            Self::Blob => "blob",
        }
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The value a column gets when an insert leaves it out.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum DefaultValue {
    /// `NULL`; refused for a column that is not nullable.
    Null,
    /// A whole number.
    Integer(i64),
    /// A finite floating-point number; NaN and infinities have no literal in SQL and are refused.
    Real(f64),
    /// Text, of any content but NUL.
    Text(String),
    /// True or false.
    Boolean(bool),
    /// A JSON document, stored as its text.
    Json(serde_json::Value),
    /// Bytes.
    Blob(Vec<u8>),
    /// The date and time of the insert in UTC, `YYYY-MM-DD HH:MM:SS`.
    CurrentTimestamp,
    /// The date of the insert in UTC, `YYYY-MM-DD`.
    CurrentDate,
    /// The time of the insert in UTC, `HH:MM:SS`.
    CurrentTime,
}

impl fmt::Display for DefaultValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Integer(number) => number.fmt(f),
            Self::Real(number) => write!(f, "{number:?}"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Boolean(flag) => flag.fmt(f),
            Self::Json(value) => value.fmt(f),
            Self::Blob(bytes) => f.write_str(&ddl::quote_bytes(bytes)),
            Self::CurrentTimestamp => f.write_str("CURRENT_TIMESTAMP"),
            Self::CurrentDate => f.write_str("CURRENT_DATE"),
            Self::CurrentTime => f.write_str("CURRENT_TIME"),
        }
    }
}

macro_rules! default_from {
    ($($from:ty => $variant:ident),* $(,)?) => {$(
        impl From<$from> for DefaultValue {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}
default_from!(i64 => Integer, i32 => Integer, u32 => Integer, f64 => Real, &str => Text, String => Text, bool => Boolean, serde_json::Value => Json, Vec<u8> => Blob, &[u8] => Blob);

/// One column of a [`Schema`].
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Column {
    pub(crate) name: String,
    pub(crate) kind: ColumnType,
    pub(crate) primary: bool,
    pub(crate) auto_increment: bool,
    pub(crate) unique: bool,
    pub(crate) nullable: Option<bool>,
    pub(crate) default: Option<DefaultValue>,
}

impl Column {
    /// Starts a column. Any name works as data; it is quoted.
    pub fn new(name: impl Into<String>, kind: ColumnType) -> Self {
        Self {
            name: name.into(),
            kind,
            primary: false,
            auto_increment: false,
            unique: false,
            nullable: None,
            default: None,
        }
    }

    /// Starts a column of whole numbers.
    pub fn number(name: impl Into<String>) -> Self {
        Self::new(name, ColumnType::Number)
    }

    /// Starts a column of text.
    pub fn string(name: impl Into<String>) -> Self {
        Self::new(name, ColumnType::String)
    }

    /// Starts a column of floating-point numbers.
    pub fn float(name: impl Into<String>) -> Self {
        Self::new(name, ColumnType::Float)
    }

    /// Starts a column of truth values.
    pub fn boolean(name: impl Into<String>) -> Self {
        Self::new(name, ColumnType::Boolean)
    }

    /// Starts a column of dates.
    pub fn date(name: impl Into<String>) -> Self {
        Self::new(name, ColumnType::Date)
    }

    /// Starts a column of JSON documents.
    pub fn json(name: impl Into<String>) -> Self {
        Self::new(name, ColumnType::Json)
    }

    /// Starts a column of bytes.
    pub fn blob(name: impl Into<String>) -> Self {
        Self::new(name, ColumnType::Blob)
    }

    /// Makes it (part of) the primary key; it is then never null.
    pub fn primary(mut self) -> Self {
        self.primary = true;
        self
    }

    /// Lets SQLite choose values that were never used before. Only for a `number` that is the whole primary key.
    pub fn auto_increment(mut self) -> Self {
        self.auto_increment = true;
        self
    }

    /// Refuses two rows with the same value (nulls excepted, as always in SQL).
    pub fn unique(mut self) -> Self {
        self.unique = true;
        self
    }

    /// Says whether null is allowed. Default: as in SQL, it is, but for the primary key.
    pub fn nullable(mut self, nullable: bool) -> Self {
        self.nullable = Some(nullable);
        self
    }

    /// Refuses null: the same as `nullable(false)`.
    pub fn not_null(self) -> Self {
        self.nullable(false)
    }

    /// Sets the value for inserts that leave the column out.
    pub fn default(mut self, value: impl Into<DefaultValue>) -> Self {
        self.default = Some(value.into());
        self
    }
}

/// A table description for [`DatabaseManager::create`](crate::DatabaseManager::create).
///
/// ```
/// use pool_manager::{Column, DatabaseManager, Schema};
///
/// let by_hand = Schema::new("users")
///     .column(Column::number("id").primary().auto_increment())
///     .column(Column::string("name"))
///     .column(Column::string("email").unique());
/// let from_json = Schema::from_json(r#"{
///     "name": "users",
///     "columns": [
///         { "name": "id", "type": "number", "primary": true, "autoIncrement": true },
///         { "name": "name", "type": "string" },
///         { "name": "email", "type": "string", "unique": true }
///     ]
/// }"#)?;
/// assert_eq!(by_hand, from_json);
/// DatabaseManager::open(":memory:")?.blocking().create(by_hand)?;
/// # Ok::<(), pool_manager::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Schema {
    pub(crate) name: String,
    pub(crate) columns: Vec<Column>,
}

impl Schema {
    /// Starts the description of a table. Any name works as data; it is quoted.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), columns: Vec::new() }
    }

    /// Adds a column.
    pub fn column(mut self, column: Column) -> Self {
        self.columns.push(column);
        self
    }

    /// Reads the JSON of the description.
    ///
    /// # Errors
    ///
    /// [`Error::Schema`](crate::Error::Schema) with everything that is wrong with it.
    pub fn from_json(text: &str) -> crate::Result<Self> {
        Ok(json::parse(text)?)
    }

    /// Returns the SQL that makes this table, after checking the description.
    ///
    /// # Errors
    ///
    /// [`Error::Schema`](crate::Error::Schema) with everything that is wrong with it.
    pub fn to_sql(&self) -> crate::Result<String> {
        self.check()?;
        Ok(ddl::create_table(self))
    }

    /// Finds everything that is wrong with the description.
    pub(crate) fn check(&self) -> Result<(), SchemaError> {
        let mut problems = Vec::new();
        if let Some(problem) = wrong_name(&self.name) {
            problems.push(format!("table name {:?} {problem}", self.name));
        }
        if self.name.to_ascii_lowercase().starts_with("sqlite_") {
            problems.push(format!(
                "table name {:?} is reserved: names that begin with \"sqlite_\" are SQLite's own",
                self.name
            ));
        }
        if self.columns.is_empty() {
            problems.push(format!("table {:?} has no columns; at least one is needed", self.name));
        } else if !self.columns.iter().any(|column| column.primary) {
            problems.push(format!("table {:?} has no primary key; mark at least one column as primary", self.name));
        }
        for (at, column) in self.columns.iter().enumerate() {
            // As SQLite compares them: without case, but in ASCII only.
            if self.columns[..at].iter().any(|earlier| earlier.name.eq_ignore_ascii_case(&column.name)) {
                problems
                    .push(format!("table {:?} has column {:?} twice (case does not count)", self.name, column.name));
            }
            let keys = self.columns.iter().filter(|column| column.primary).count();
            problems.extend(
                column
                    .problems(keys)
                    .into_iter()
                    .map(|problem| format!("table {:?}, column {:?}: {problem}", self.name, column.name)),
            );
        }
        SchemaError::unless_empty(problems)
    }
}

impl Column {
    fn problems(&self, primary_columns: usize) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(problem) = wrong_name(&self.name) {
            problems.push(format!("the name {problem}"));
        }
        if self.auto_increment {
            if self.kind != ColumnType::Number || !self.primary || primary_columns != 1 {
                problems
                    .push("autoIncrement needs a column of type \"number\" that is the whole primary key".to_owned());
            }
            if self.default.is_some() {
                problems.push("autoIncrement and a default exclude each other".to_owned());
            }
        }
        if self.primary && self.nullable == Some(true) {
            problems.push("a primary key can't be nullable".to_owned());
        }
        if let Some(default) = &self.default
            && let Some(problem) = self.wrong_default(default)
        {
            problems.push(format!("default {default} {problem}"));
        }
        problems
    }

    pub(crate) fn is_nullable(&self) -> bool {
        !self.primary && self.nullable != Some(false)
    }

    fn wrong_default(&self, default: &DefaultValue) -> Option<String> {
        let fits = match (self.kind, default) {
            (_, DefaultValue::Null) => {
                return (!self.is_nullable()).then(|| "is not allowed: the column is not nullable".to_owned());
            }
            (_, DefaultValue::Real(number)) if !number.is_finite() => {
                return Some("is not a finite number; SQL has no literal for it".to_owned());
            }
            (_, DefaultValue::Text(text)) if text.contains('\0') => {
                return Some("holds a NUL character, which no SQL text literal can".to_owned());
            }
            (ColumnType::Number, DefaultValue::Integer(_))
            | (ColumnType::Float, DefaultValue::Integer(_) | DefaultValue::Real(_))
            | (ColumnType::String | ColumnType::Date, DefaultValue::Text(_))
            | (ColumnType::Boolean, DefaultValue::Boolean(_))
            | (ColumnType::Blob, DefaultValue::Blob(_))
            | (
                ColumnType::String | ColumnType::Date,
                DefaultValue::CurrentTimestamp | DefaultValue::CurrentDate | DefaultValue::CurrentTime,
            ) => true,
            (ColumnType::Json, default) => !matches!(default, DefaultValue::Blob(_)),
            (ColumnType::Number, DefaultValue::Real(number)) => number.fract() == 0.0 && number.abs() < 9e15,
            _ => false,
        };
        if self.kind == ColumnType::Json
            && matches!(default, DefaultValue::CurrentTimestamp | DefaultValue::CurrentDate | DefaultValue::CurrentTime)
        {
            return Some("is no JSON document".to_owned());
        }
        let allowed = match self.kind {
            ColumnType::Number => "a whole number",
            ColumnType::String => "text",
            ColumnType::Float => "a number",
            ColumnType::Boolean => "true or false",
            ColumnType::Date => "text, CURRENT_TIMESTAMP, CURRENT_DATE or CURRENT_TIME",
            ColumnType::Json => "a JSON document",
            ColumnType::Blob => "bytes",
        };
        (!fits).then(|| format!("does not fit type \"{}\"; allowed: {allowed}", self.kind))
    }
}

fn wrong_name(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("is empty")
    } else if name.contains('\0') {
        Some("holds a NUL character, which no SQL identifier can")
    } else {
        None
    }
}

/// What is wrong with table descriptions, everything at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", problems.join("; "))]
#[non_exhaustive]
pub struct SchemaError {
    /// One sentence a problem; each names table, column and value.
    pub problems: Vec<String>,
}

impl SchemaError {
    pub(crate) fn unless_empty(problems: Vec<String>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self { problems }) }
    }
}
